/* data_internal.h - what the readers of core/data share: the dataset itself, the table of a reader, and the
 * ways to fill a dataset from pixels, floats or image files. Not for other rooms. */
#ifndef EFM_DATA_DATA_INTERNAL_H
#define EFM_DATA_DATA_INTERNAL_H

#include "core/base/buffer.h"
#include "core/data/dataset.h"
#include "core/data/npy.h"

#include <stdatomic.h>

/* Where samples lie: in memory, or in a file without a name that is mapped. */
struct efm_stored_samples {
    void *data; /* owned */
    size_t size;
    bool mapped;
};

/* What lies in memory even when there is a scratch folder. */
enum { EFM_SAMPLES_IN_MEMORY = 64 << 20 };

/* Room for `size` bytes, contents undefined; in a file of the folder `scratch` when they are more than
 * EFM_SAMPLES_IN_MEMORY and it is not NULL. The room on disk is taken here, so that writing to it later cannot fail.
 * EFM_E_MEMORY, EFM_E_FULL, EFM_E_IO. */
EFM_MUST_CHECK enum efm_status efm_stored_samples_create(struct efm_stored_samples *samples, size_t size,
                                                         const char *scratch, struct efm_error *error);

/* Bytes whose number is only known at their end, in the same two places: at first in memory, later in the file. */
struct efm_spill {
    struct efm_buffer buffer; /* owned: what is not in the file yet */
    const char *scratch;      /* borrowed */
    uint64_t limit;
    uint64_t size;
    int file; /* owned; -1: all is in the buffer */
};
struct efm_spill efm_spill_limited(uint64_t limit, const char *scratch);

/* EFM_E_LIMIT, EFM_E_MEMORY, EFM_E_FULL, EFM_E_IO. */
EFM_MUST_CHECK enum efm_status efm_spill_append(struct efm_spill *spill, const void *bytes, size_t size,
                                                struct efm_error *error);
/* All that was appended, to be read only; the spill is empty afterwards. */
EFM_MUST_CHECK enum efm_status efm_spill_take(struct efm_spill *spill, struct efm_stored_samples *samples,
                                              struct efm_error *error);
void efm_spill_release(struct efm_spill *spill);

/* From now on they are only read: a write to mapped ones ends the program. */
void efm_stored_samples_seal(struct efm_stored_samples *samples);
void efm_stored_samples_release(struct efm_stored_samples *samples);

/* The samples are seen either as pixels or as floats; the other pointer is NULL. */
struct efm_dataset {
    atomic_size_t references;
    const char *format; /* borrowed for ever */
    struct efm_shape shape;
    size_t count;
    bool standard_normal;
    float low, high;
    struct efm_stored_samples samples; /* owned */
    uint8_t *pixels;                   /* into the samples [count, height, width, channels] */
    float *floats;                     /* into the samples [count, dimension] */
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
extern const struct efm_dataset_reader efm_zip_reader;

/* The reader whose probe likes the first bytes, or NULL. `size` is that of the whole file as far as it is known. */
const struct efm_dataset_reader *efm_dataset_find_reader(const uint8_t *bytes, size_t size);

/* Why a file is none that can be read, from its first bytes. */
enum efm_status efm_dataset_fail_unknown(const uint8_t *bytes, size_t size, struct efm_error *error);

/* How many bytes of work may pass before the caller is asked whether to go on. */
enum { EFM_DATASET_STRIDE = 1 << 20 };

/* EFM_E_CANCELLED when the caller does not want to go on. */
EFM_MUST_CHECK enum efm_status efm_dataset_ask(const struct efm_dataset_options *options,
                                               struct efm_error *error);

/* memcpy that asks on the way. */
EFM_MUST_CHECK enum efm_status efm_dataset_copy(void *to, const void *from, size_t size,
                                                const struct efm_dataset_options *options,
                                                struct efm_error *error);

/* True when the options leave the shape to the file. */
bool efm_dataset_shape_is_free(const struct efm_dataset_options *options);

/* Whether `count` samples with elements of `element` bytes are within the options; *bytes: what they take together. */
EFM_MUST_CHECK enum efm_status efm_dataset_check_size(size_t count, const struct efm_shape *shape,
                                                      size_t element,
                                                      const struct efm_dataset_options *options,
                                                      size_t *bytes, struct efm_error *error);

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

/* To be called once the samples are in place: finds their range and gives `made` out as `*dataset`, or drops it.
 * EFM_E_CANCELLED. */
EFM_MUST_CHECK enum efm_status efm_dataset_finish(struct efm_dataset **dataset, struct efm_dataset *made,
                                                  const struct efm_dataset_options *options,
                                                  struct efm_error *error);

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

/* The size of an IDX header, from its first 4 bytes. EFM_E_UNSUPPORTED for what are not images. */
EFM_MUST_CHECK enum efm_status efm_idx_header_size(const uint8_t *bytes, size_t *header,
                                                   struct efm_error *error);
/* [count, rows, columns, channels] of a whole header, and their product; false when that overflows. */
EFM_MUST_CHECK bool efm_idx_sizes(const uint8_t *bytes, uint64_t sizes[4], size_t *total);

/* Where the text of an NPY header begins and how long it is: of 12 bytes, or fewer when there are no more. */
EFM_MUST_CHECK enum efm_status efm_npy_find_header(const uint8_t *bytes, size_t size, size_t *start,
                                                   size_t *length, struct efm_error *error);
/* The view of a whole header, and how many bytes of data are to follow. */
EFM_MUST_CHECK enum efm_status efm_npy_parse_header(const uint8_t *bytes, size_t size,
                                                    struct efm_npy_view *view, size_t *needed,
                                                    struct efm_error *error);
/* Whether an array can be a dataset at all. */
EFM_MUST_CHECK enum efm_status efm_npy_check_samples(const struct efm_npy_view *view,
                                                     struct efm_error *error);

bool efm_gzip_probe(const uint8_t *bytes, size_t size);

/* Unpacks all members of a gzip file; `out` brings its limit. `options` may be NULL: nobody is asked. */
EFM_MUST_CHECK enum efm_status efm_gzip_unpack(struct efm_spill *out, const uint8_t *bytes, size_t size,
                                               const struct efm_dataset_options *options,
                                               struct efm_error *error);

/* The same in pieces: what is unpacked goes to `sink`, whose failure ends the work. */
struct efm_gunzip;
typedef enum efm_status efm_gunzip_sink(void *context, const uint8_t *bytes, size_t size,
                                        struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_gunzip_create(struct efm_gunzip **gunzip, efm_gunzip_sink *sink,
                                                 void *context, struct efm_error *error);
void efm_gunzip_destroy(struct efm_gunzip *gunzip); /* NULL is fine */
EFM_MUST_CHECK enum efm_status efm_gunzip_feed(struct efm_gunzip *gunzip, const uint8_t *bytes, size_t size,
                                               struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_gunzip_finish(struct efm_gunzip *gunzip, struct efm_error *error);

/* A name from outside, made fit for a message: printable, at most 80 bytes. */
struct efm_shown_name {
    char text[84];
};
struct efm_shown_name efm_show_name(const char *name, size_t length);

/* EFM_E_FORMAT for no name, an absolute one and one with "..". `archive` is the word for it: "tar". */
EFM_MUST_CHECK enum efm_status efm_archive_check_name(const char *archive, const char *name, size_t length,
                                                      struct efm_error *error);
/* Without the "./" that some archivers put before each name. */
const char *efm_archive_plain_name(const char *name);
/* Hidden files, and the "._" companions that one desktop writes, are no samples. */
bool efm_archive_name_is_hidden(const char *name);

static inline uint64_t efm_little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

/* EFM_E_FORMAT, EFM_E_LIMIT, EFM_E_MEMORY when the directory of a zip archive would cost libzip more memory or time than
 * the number of its members explains. */
EFM_MUST_CHECK enum efm_status efm_zip_check_directory(const uint8_t *bytes, size_t size,
                                                       const struct efm_dataset_options *options,
                                                       struct efm_error *error);

/* How many bytes of a zip efm_zip_check_start wants, as far as `size` bytes tell: its first local header and the name. */
size_t efm_zip_start_size(const uint8_t *bytes, size_t size);
/* EFM_E_FORMAT, EFM_E_UNSUPPORTED, EFM_E_LIMIT when the first member cannot be read. */
EFM_MUST_CHECK enum efm_status efm_zip_check_start(const uint8_t *bytes, size_t size,
                                                   struct efm_error *error);

#endif
