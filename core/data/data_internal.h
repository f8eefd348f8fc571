/* data_internal.h - what the readers of core/data share: the dataset itself, the table of a reader, and the
 * ways to fill a dataset from pixels, floats or image files. Not for other rooms. */
#ifndef EFM_DATA_DATA_INTERNAL_H
#define EFM_DATA_DATA_INTERNAL_H

#include "core/base/buffer.h"
#include "core/data/dataset.h"

#include <stdatomic.h>

/* Samples lie either as pixels or as floats; the other pointer is NULL. */
struct efm_dataset {
    atomic_size_t references;
    const char *format; /* borrowed for ever */
    struct efm_shape shape;
    size_t count;
    bool standard_normal;
    float low, high;
    uint8_t *pixels; /* owned [count, height, width, channels] */
    float *floats;   /* owned [count, dimension] */
};

/* One way of reading a file that lies in memory. */
struct efm_dataset_reader {
    const char *format;
    bool (*probe)(const uint8_t *bytes, size_t size); /* from the first bytes */
    enum efm_status (*read)(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                            const struct efm_dataset_options *options, struct efm_error *error);
};

extern const struct efm_dataset_reader efm_idx_reader;
extern const struct efm_dataset_reader efm_npy_reader;
extern const struct efm_dataset_reader efm_tar_reader;
extern const struct efm_dataset_reader efm_toy_reader;

/* True when the options leave the shape to the file. */
bool efm_dataset_shape_is_free(const struct efm_dataset_options *options);

/* EFM_E_SHAPE unless the wanted shape is free or is `shape`. */
EFM_MUST_CHECK enum efm_status efm_dataset_check_shape(const struct efm_dataset_options *options,
                                                       const struct efm_shape *shape,
                                                       struct efm_error *error);

/* Room for `count` samples, held against the limits first; the contents are undefined until filled. */
EFM_MUST_CHECK enum efm_status efm_dataset_create_pixels(struct efm_dataset **dataset, const char *format,
                                                         size_t count, const struct efm_shape *shape,
                                                         const struct efm_dataset_options *options,
                                                         struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_dataset_create_floats(struct efm_dataset **dataset, const char *format,
                                                         size_t count, const struct efm_shape *shape,
                                                         const struct efm_dataset_options *options,
                                                         struct efm_error *error);

/* To be called once the samples are in place: finds their range. */
void efm_dataset_finish(struct efm_dataset *dataset);

/* A dataset of `count` images that lie one after the other in `pixels` (borrowed), fitted to the wanted
 * shape. Sides and channels are checked here. */
EFM_MUST_CHECK enum efm_status efm_dataset_from_pixels(struct efm_dataset **dataset, const char *format,
                                                       const uint8_t *pixels, const uint64_t sizes[4],
                                                       const struct efm_dataset_options *options,
                                                       struct efm_error *error);

/* Image files in their final order. `fetch` lends file `index` until the next call. */
struct efm_image_files {
    void *context;
    size_t count;
    enum efm_status (*fetch)(void *context, size_t index, const char **name, const uint8_t **bytes,
                             size_t *size, struct efm_error *error);
};
EFM_MUST_CHECK enum efm_status efm_dataset_from_files(struct efm_dataset **dataset, const char *format,
                                                      const struct efm_image_files *files,
                                                      const struct efm_dataset_options *options,
                                                      struct efm_error *error);

/* v / 127.5 - 1, the same floats as efm_image_to_floats. */
void efm_pixels_to_floats(const uint8_t *pixels, size_t count, float *out);

bool efm_gzip_probe(const uint8_t *bytes, size_t size);

/* Unpacks all members of a gzip file; `out` brings its limit. */
EFM_MUST_CHECK enum efm_status efm_gzip_unpack(struct efm_buffer *out, const uint8_t *bytes, size_t size,
                                               struct efm_error *error);

/* A name from outside, made fit for a message: printable, at most 80 bytes. */
struct efm_shown_name {
    char text[84];
};
struct efm_shown_name efm_show_name(const char *name, size_t length);

#endif
