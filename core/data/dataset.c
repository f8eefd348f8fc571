// SPDX-License-Identifier: Apache-2.0
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <math.h>
#include <string.h>

/* The tar last: it alone may begin with any bytes, those of a name. */
static const struct efm_dataset_reader *const readers[] = {&efm_npy_reader, &efm_idx_reader, &efm_zip_reader,
                                                           &efm_toy_reader, &efm_tar_reader};

struct efm_dataset_options efm_dataset_options_default(void)
{
    return (struct efm_dataset_options){
        .fit = EFM_IMAGE_FIT_CROP,
        .image_limits = efm_image_limits_default(),
        .max_count = (size_t)1 << 20,
        .max_decoded_bytes = (size_t)4 << 30,
    };
}

enum efm_status efm_dataset_ask(const struct efm_dataset_options *options, struct efm_error *error)
{
    if (options->go_on == NULL || options->go_on(options->go_on_context))
        return EFM_OK;
    return efm_error_set(error, EFM_E_CANCELLED, "the reading of the dataset was withdrawn");
}

enum efm_status efm_dataset_copy(void *to, const void *from, size_t size,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    for (size_t at = 0, piece; at < size && status == EFM_OK; at += piece) {
        piece = size - at < EFM_DATASET_STRIDE ? size - at : EFM_DATASET_STRIDE;
        memcpy((char *)to + at, (const char *)from + at, piece);
        status = efm_dataset_ask(options, error);
    }
    return status;
}

bool efm_dataset_shape_is_free(const struct efm_dataset_options *options)
{
    const struct efm_shape *shape = &options->shape;
    return shape->height == 0 && shape->width == 0 && shape->channels == 0 && shape->dimension == 0;
}

static enum efm_status check_shape_itself(const struct efm_shape *shape, struct efm_error *error)
{
    if (shape->dimension == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a sample needs at least one number");
    if (shape->height == 0 && shape->width == 0 && shape->channels == 0)
        return EFM_OK;
    if (shape->height == 0 || shape->width == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "an image of %ux%u pixels has no area", shape->width,
                             shape->height);
    if (shape->channels != 1 && shape->channels != 3)
        return efm_error_set(error, EFM_E_ARGUMENT, "an image has 1 or 3 channels, not %u", shape->channels);
    size_t dimension;
    if (!efm_size_multiply((size_t)shape->height * shape->width, shape->channels, &dimension) ||
        dimension != shape->dimension)
        return efm_error_set(error, EFM_E_ARGUMENT, "the dimension %zu is not that of a %ux%ux%u image",
                             shape->dimension, shape->height, shape->width, shape->channels);
    return EFM_OK;
}

enum efm_status efm_dataset_check_shape(const struct efm_dataset_options *options,
                                        const struct efm_shape *shape, struct efm_error *error)
{
    const struct efm_shape *wanted = &options->shape;
    if (efm_dataset_shape_is_free(options) || efm_shape_equal(wanted, shape))
        return EFM_OK;
    if (efm_shape_is_image(wanted) != efm_shape_is_image(shape))
        return efm_error_set(error, EFM_E_SHAPE, "the samples are %s, but %s are wanted",
                             efm_shape_is_image(shape) ? "images" : "plain vectors",
                             efm_shape_is_image(wanted) ? "images" : "plain vectors");
    if (!efm_shape_is_image(shape))
        return efm_error_set(error, EFM_E_SHAPE, "the vectors have %zu numbers, but %zu are wanted",
                             shape->dimension, wanted->dimension);
    return efm_error_set(error, EFM_E_SHAPE, "the images are %ux%ux%u, but %ux%ux%u are wanted",
                         shape->height, shape->width, shape->channels, wanted->height, wanted->width,
                         wanted->channels);
}

enum efm_status efm_dataset_check_size(size_t count, const struct efm_shape *shape, size_t element,
                                       const struct efm_dataset_options *options, size_t *bytes,
                                       struct efm_error *error)
{
    enum efm_status status = check_shape_itself(shape, error);
    if (status != EFM_OK)
        return status;
    if (count == 0)
        return efm_error_set(error, EFM_E_FORMAT, "there are no samples in it");
    if (count > options->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "%zu samples are more than the %zu allowed", count,
                             options->max_count);
    if (!efm_size_multiply(count, shape->dimension, bytes) || !efm_size_multiply(*bytes, element, bytes) ||
        *bytes > options->max_decoded_bytes)
        return efm_error_set(error, EFM_E_LIMIT, "%zu samples of %zu numbers need more than %zu bytes", count,
                             shape->dimension, options->max_decoded_bytes);
    return EFM_OK;
}

static enum efm_status create(struct efm_dataset **dataset, const char *format, size_t count,
                              const struct efm_shape *shape, size_t element,
                              const struct efm_dataset_options *options, struct efm_error *error)
{
    size_t bytes;
    enum efm_status status = efm_dataset_check_size(count, shape, element, options, &bytes, error);
    if (status != EFM_OK)
        return status;
    struct efm_dataset *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a dataset");
    atomic_init(&made->references, 1);
    made->format = format;
    made->shape = *shape;
    made->count = count;
    status = efm_stored_samples_create(&made->samples, bytes, options->scratch, error);
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    *dataset = made;
    return EFM_OK;
}

enum efm_status efm_dataset_create_pixels(struct efm_dataset **dataset, const char *format, size_t count,
                                          const struct efm_shape *shape,
                                          const struct efm_dataset_options *options, struct efm_error *error)
{
    enum efm_status status = create(dataset, format, count, shape, 1, options, error);
    if (status == EFM_OK)
        (*dataset)->pixels = (*dataset)->samples.data;
    return status;
}

enum efm_status efm_dataset_create_floats(struct efm_dataset **dataset, const char *format, size_t count,
                                          const struct efm_shape *shape,
                                          const struct efm_dataset_options *options, struct efm_error *error)
{
    enum efm_status status = create(dataset, format, count, shape, sizeof(float), options, error);
    if (status == EFM_OK)
        (*dataset)->floats = (*dataset)->samples.data;
    return status;
}

void efm_pixels_to_floats(const uint8_t *pixels, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)pixels[i] / 127.5f - 1.0f;
}

/* Widens the range to that of `count` more values. */
static void widen(struct efm_dataset *dataset, size_t first, size_t count)
{
    if (dataset->pixels == NULL) {
        const float *values = dataset->floats + first;
        float low = values[0], high = values[0];
        for (size_t i = 1; i < count; i++) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
        }
        dataset->low = low < dataset->low ? low : dataset->low;
        dataset->high = high > dataset->high ? high : dataset->high;
        return;
    }
    const uint8_t *values = dataset->pixels + first;
    uint8_t ends[2] = {255, 0};
    float range[2];
    for (size_t i = 0; i < count; i++) {
        ends[0] = values[i] < ends[0] ? values[i] : ends[0];
        ends[1] = values[i] > ends[1] ? values[i] : ends[1];
    }
    efm_pixels_to_floats(ends, 2, range);
    dataset->low = range[0] < dataset->low ? range[0] : dataset->low;
    dataset->high = range[1] > dataset->high ? range[1] : dataset->high;
}

enum efm_status efm_dataset_finish(struct efm_dataset **dataset, struct efm_dataset *made,
                                   const struct efm_dataset_options *options, struct efm_error *error)
{
    const size_t total = made->count * made->shape.dimension;
    enum efm_status status = EFM_OK;
    made->low = INFINITY;
    made->high = -INFINITY;
    for (size_t at = 0, piece; at < total && status == EFM_OK; at += piece) {
        piece = total - at < EFM_DATASET_STRIDE ? total - at : EFM_DATASET_STRIDE;
        widen(made, at, piece);
        status = efm_dataset_ask(options, error);
    }
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    efm_stored_samples_seal(&made->samples);
    *dataset = made;
    return EFM_OK;
}

const struct efm_dataset_reader *efm_dataset_find_reader(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        if (readers[i]->probe(bytes, size))
            return readers[i];
    return NULL;
}

enum efm_status efm_dataset_fail_unknown(const uint8_t *bytes, size_t size, struct efm_error *error)
{
    if (efm_image_sniff(bytes, size) != EFM_IMAGE_UNKNOWN)
        return efm_error_set(error, EFM_E_FORMAT, "a single image is not a dataset; send a tar of images");
    return efm_error_set(error, EFM_E_FORMAT,
                         "the file is none of IDX, NPY, tar, zip or toy JSON, or it is truncated");
}

enum efm_status efm_dataset_read(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    if (!efm_dataset_shape_is_free(options)) {
        enum efm_status status = check_shape_itself(&options->shape, error);
        if (status != EFM_OK)
            return status;
    }
    if (size == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the dataset is empty");

    struct efm_spill spill = efm_spill_limited(options->max_decoded_bytes, options->scratch);
    struct efm_stored_samples unpacked = {0};
    enum efm_status status = efm_dataset_ask(options, error);
    if (status == EFM_OK && efm_gzip_probe(bytes, size)) {
        status = efm_gzip_unpack(&spill, bytes, size, options, error);
        if (status == EFM_OK)
            status = efm_spill_take(&spill, &unpacked, error);
        if (status != EFM_OK)
            goto done;
        bytes = unpacked.data;
        size = unpacked.size;
        if (efm_gzip_probe(bytes, size)) {
            status = efm_error_set(error, EFM_E_UNSUPPORTED, "a gzip file inside a gzip file is not read");
            goto done;
        }
    }
    if (status != EFM_OK)
        goto done;
    const struct efm_dataset_reader *reader = efm_dataset_find_reader(bytes, size);
    status = reader != NULL ? reader->read(dataset, bytes, size, options, error)
                            : efm_dataset_fail_unknown(bytes, size, error);
done:
    efm_stored_samples_release(&unpacked);
    efm_spill_release(&spill);
    return status;
}

enum efm_status efm_dataset_from_floats(struct efm_dataset **dataset, const float *values, size_t count,
                                        const struct efm_shape *shape, struct efm_error *error)
{
    struct efm_dataset_options unlimited = {.max_count = SIZE_MAX, .max_decoded_bytes = SIZE_MAX};
    struct efm_dataset *made = NULL;
    if (count == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a dataset needs at least one sample");
    enum efm_status status = efm_dataset_create_floats(&made, "floats", count, shape, &unlimited, error);
    if (status != EFM_OK)
        return status;
    size_t total = count * shape->dimension;
    for (size_t i = 0; i < total; i++) {
        if (!isfinite(values[i])) {
            efm_dataset_unref(made);
            return efm_error_set(error, EFM_E_NUMERIC, "value %zu of the samples is not finite", i);
        }
    }
    memcpy(made->floats, values, total * sizeof *values);
    return efm_dataset_finish(dataset, made, &unlimited, error);
}

struct efm_dataset *efm_dataset_ref(struct efm_dataset *dataset)
{
    atomic_fetch_add_explicit(&dataset->references, 1, memory_order_relaxed);
    return dataset;
}

void efm_dataset_unref(struct efm_dataset *dataset)
{
    /* acquire-release: whoever frees must see all that the others did with it before */
    if (dataset == NULL || atomic_fetch_sub_explicit(&dataset->references, 1, memory_order_acq_rel) != 1)
        return;
    efm_stored_samples_release(&dataset->samples);
    efm_free(dataset);
}

size_t efm_dataset_count(const struct efm_dataset *dataset)
{
    return dataset->count;
}

const struct efm_shape *efm_dataset_shape(const struct efm_dataset *dataset)
{
    return &dataset->shape;
}

const char *efm_dataset_format(const struct efm_dataset *dataset)
{
    return dataset->format;
}

size_t efm_dataset_bytes(const struct efm_dataset *dataset)
{
    return sizeof *dataset + (dataset->samples.mapped ? 0 : dataset->samples.size);
}

size_t efm_dataset_mapped_bytes(const struct efm_dataset *dataset)
{
    return dataset->samples.mapped ? dataset->samples.size : 0;
}

void efm_dataset_range(const struct efm_dataset *dataset, float *low, float *high)
{
    *low = dataset->low;
    *high = dataset->high;
}

bool efm_dataset_is_standard_normal(const struct efm_dataset *dataset)
{
    return dataset->standard_normal;
}

enum efm_status efm_dataset_floats(const struct efm_dataset *dataset, size_t first, size_t count, float *out,
                                   struct efm_error *error)
{
    if (first > dataset->count || count > dataset->count - first)
        return efm_error_set(error, EFM_E_ARGUMENT, "samples %zu and %zu more are past the end of %zu", first,
                             count, dataset->count);
    size_t dimension = dataset->shape.dimension;
    if (dataset->pixels != NULL)
        efm_pixels_to_floats(dataset->pixels + first * dimension, count * dimension, out);
    else
        memcpy(out, dataset->floats + first * dimension, count * dimension * sizeof *out);
    return EFM_OK;
}
