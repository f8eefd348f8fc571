/* dataset.h - samples of one domain: images or vectors, read from what people have.
 *
 * One reader a format, chosen by looking at the first bytes: IDX (.idx, .gz), NPY, tar of images (plain or
 * .gz), zip of images, a folder of images, JSON that names a toy distribution. A dataset is read whole, checked, and then
 * immutable and shared by reference count.
 *
 *     struct efm_dataset_options options = efm_dataset_options_default();
 *     efm_dataset_read(&dataset, bytes, size, &options, &error);
 *     efm_dataset_floats(dataset, first, count, floats);
 *     efm_dataset_unref(dataset);
 *
 * Threads: any, after creation.
 */
#ifndef EFM_DATA_DATASET_H
#define EFM_DATA_DATASET_H

#include "core/base/buffer.h"
#include "core/base/shape.h"
#include "core/base/status.h"
#include "core/image/image.h"

#include <stddef.h>
#include <stdint.h>

struct efm_dataset;

struct efm_dataset_options {
    struct efm_shape shape; /* images are brought to this height, width, channels; all zero: the shape of the
                               first one, which all others must then have */
    enum efm_image_fit fit;
    uint8_t background[3];
    struct efm_image_limits image_limits;
    size_t max_count;         /* samples; EFM_E_LIMIT past it */
    size_t max_decoded_bytes; /* of what is kept; EFM_E_LIMIT past it, before it is allocated */
    /* A folder: samples past 64 MiB, and what a gzip file of that size unpacks to, lie in a file there that has no name
     * and goes with them. That is memory which the system can take back; EFM_E_FULL when the disk has no room. NULL: all
     * in memory. */
    const char *scratch;
    /* Asked between images and after each MiB or so of other work; false ends the reading with EFM_E_CANCELLED. NULL:
     * never asked. */
    bool (*go_on)(void *context);
    void *go_on_context;
};

/* 1 Mi samples, 4 GiB, default image limits, black background, centre crop. */
struct efm_dataset_options efm_dataset_options_default(void);

/* Reads a whole file from memory (borrowed for the call). Formats and their words in `format`:
 *   idx   IDX of unsigned bytes, 3 dimensions [count, rows, columns] (grey) or 4 [count, rows, columns,
 *         channels]
 *   npy   uint8 [n, h, w, c] or [n, h, w] images; float32 or float64 [n, d] vectors, [n, h, w, c] or
 *         [n, h, w] images, whose values are taken as they are ([-1, 1] is black to white) and not resized
 *   tar   regular files, each an image of any format in image.h; other entries are skipped, and files
 *         whose names begin with a dot; names with ".." or a leading "/" are refused; samples in order of
 *         their names
 *   zip   as tar: the members of a zip archive (stored or deflated), by libzip; __MACOSX is skipped; together they
 *         unpack to at most max_decoded_bytes, or to the size of the archive when that is more
 *   toy   JSON {"toy": "gaussian" | "mixture" | "swiss_roll", ...}, see toy.h
 * any of them may come gzipped; the unpacked size is held against the limits while unpacking.
 * EFM_E_FORMAT, EFM_E_UNSUPPORTED, EFM_E_LIMIT, EFM_E_NUMERIC (NaN or infinity in NPY), EFM_E_SHAPE (samples
 * that cannot be brought to the wanted shape, or to that of the first one), EFM_E_ARGUMENT (an impossible
 * wanted shape), EFM_E_MEMORY, EFM_E_FULL (no room in the scratch folder), EFM_E_IO (it cannot be used),
 * EFM_E_CANCELLED. */
EFM_MUST_CHECK enum efm_status efm_dataset_read(struct efm_dataset **dataset, const uint8_t *bytes,
                                                size_t size, const struct efm_dataset_options *options,
                                                struct efm_error *error);

/* Every image of a folder, in order of their names. EFM_E_IO when it cannot be read. */
EFM_MUST_CHECK enum efm_status efm_dataset_read_folder(struct efm_dataset **dataset, const char *path,
                                                       const struct efm_dataset_options *options,
                                                       struct efm_error *error);

/* `values` [count, shape->dimension] copied and taken as they are; [-1, 1] is black to white in an image.
 * EFM_E_NUMERIC for NaN or infinity. */
EFM_MUST_CHECK enum efm_status efm_dataset_from_floats(struct efm_dataset **dataset, const float *values,
                                                       size_t count, const struct efm_shape *shape,
                                                       struct efm_error *error);

struct efm_dataset *efm_dataset_ref(struct efm_dataset *dataset);
void efm_dataset_unref(struct efm_dataset *dataset); /* NULL is fine */

size_t efm_dataset_count(const struct efm_dataset *dataset);
const struct efm_shape *efm_dataset_shape(const struct efm_dataset *dataset);
/* "idx" "npy" "tar" "zip" "folder" "toy" "floats" */
const char *efm_dataset_format(const struct efm_dataset *dataset);
/* What it holds of a memory budget: samples in a scratch file count nothing, since the system can take their memory
 * back at any time; those are counted apart, in what they take on disk. */
size_t efm_dataset_bytes(const struct efm_dataset *dataset);
size_t efm_dataset_mapped_bytes(const struct efm_dataset *dataset);

/* Smallest and largest float over all samples. */
void efm_dataset_range(const struct efm_dataset *dataset, float *low, float *high);

/* True when the samples were drawn from N(0, I) by a toy, so that a fresh draw is as good as a stored one. */
bool efm_dataset_is_standard_normal(const struct efm_dataset *dataset);

/* A picture of samples spread evenly over the dataset, at most `most` (1..1024) of them, in a grid of tiles (images), or a scatter
 * of the first two numbers / a histogram of the only one (vectors): PNG appended. EFM_E_ARGUMENT, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_dataset_contact_sheet(const struct efm_dataset *dataset, size_t most,
                                                         struct efm_buffer *png, struct efm_error *error);

/* Samples first .. first + count - 1 as floats [count, D]; EFM_E_ARGUMENT past the end. */
EFM_MUST_CHECK enum efm_status efm_dataset_floats(const struct efm_dataset *dataset, size_t first,
                                                  size_t count, float *out, struct efm_error *error);

#endif
