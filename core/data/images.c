// SPDX-License-Identifier: Apache-2.0
/* Images into a dataset: raw pixels one after the other, or files to be decoded. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <string.h>

/* [count, height, width, channels] as a file gives it, to a shape within the limits. */
static enum efm_status raw_shape(const uint64_t sizes[4], const struct efm_dataset_options *options,
                                 struct efm_shape *shape, struct efm_error *error)
{
    const struct efm_image_limits *limits = &options->image_limits;
    if (sizes[3] != 1 && sizes[3] != 3)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "images have 1 or 3 channels, not %llu",
                             (unsigned long long)sizes[3]);
    if (sizes[1] == 0 || sizes[2] == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the images have no pixels");
    if (sizes[1] > limits->max_side || sizes[2] > limits->max_side ||
        sizes[1] * sizes[2] > limits->max_pixels)
        return efm_error_set(error, EFM_E_LIMIT, "images of %llux%llu pixels are larger than allowed",
                             (unsigned long long)sizes[2], (unsigned long long)sizes[1]);
    *shape = efm_shape_image((uint32_t)sizes[1], (uint32_t)sizes[2], (uint32_t)sizes[3]);
    return EFM_OK;
}

static enum efm_status fit_all(struct efm_dataset *dataset, const uint8_t *pixels,
                               const struct efm_shape *shape, const struct efm_dataset_options *options,
                               struct efm_error *error)
{
    struct efm_image source = {0};
    enum efm_status status = efm_image_create(&source, shape->width, shape->height, shape->channels, error);
    for (size_t i = 0; i < dataset->count && status == EFM_OK; i++) {
        struct efm_image fitted = {0};
        status = efm_dataset_ask(options, error);
        if (status != EFM_OK)
            break;
        memcpy(source.pixels, pixels + i * shape->dimension, shape->dimension);
        status = efm_image_fit(&fitted, &source, &dataset->shape, options->fit, options->background, error);
        if (status == EFM_OK)
            memcpy(dataset->pixels + i * dataset->shape.dimension, fitted.pixels, dataset->shape.dimension);
        efm_image_release(&fitted);
    }
    efm_image_release(&source);
    return status;
}

enum efm_status efm_dataset_from_pixels(struct efm_dataset **dataset, const char *format,
                                        const uint8_t *pixels, const uint64_t sizes[4],
                                        const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_shape shape;
    enum efm_status status = raw_shape(sizes, options, &shape, error);
    if (status != EFM_OK)
        return status;
    bool fits = efm_dataset_shape_is_free(options) || efm_shape_equal(&options->shape, &shape);
    if (!fits && !efm_shape_is_image(&options->shape))
        return efm_dataset_check_shape(options, &shape, error);

    struct efm_dataset *made = NULL;
    status = efm_dataset_create_pixels(&made, format, (size_t)sizes[0], fits ? &shape : &options->shape,
                                       options, error);
    if (status != EFM_OK)
        return status;
    if (fits)
        status = efm_dataset_copy(made->pixels, pixels, made->count * shape.dimension, options, error);
    else
        status = fit_all(made, pixels, &shape, options, error);
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    return efm_dataset_finish(dataset, made, options, error);
}

/* Decodes file `index`; a failure names the file. */
static enum efm_status decode(struct efm_image *image, const struct efm_image_files *files, size_t index,
                              const struct efm_dataset_options *options, struct efm_error *error)
{
    const char *name;
    const uint8_t *bytes;
    size_t size;
    enum efm_status status = files->fetch(files->context, index, &name, &bytes, &size, error);
    if (status != EFM_OK)
        return status;
    struct efm_image_options wanted = {
        .shape = options->shape,
        .fit = options->fit,
        .limits = options->image_limits,
    };
    memcpy(wanted.background, options->background, sizeof wanted.background);
    struct efm_error reason = {0};
    status = efm_image_sniff(bytes, size) == EFM_IMAGE_UNKNOWN
                 ? efm_error_set(&reason, EFM_E_FORMAT, "not a PNG, JPEG or WebP image")
                 : efm_image_decode(image, bytes, size, &wanted, &reason);
    if (status != EFM_OK)
        return efm_error_set(error, status, "%s: %s", efm_show_name(name, strlen(name)).text, reason.message);
    return EFM_OK;
}

/* The first image decides the shape, so the room for all is only taken once it is known. */
static enum efm_status take(struct efm_dataset **made, const struct efm_image *image, const char *format,
                            const struct efm_image_files *files, size_t index,
                            const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_shape shape = efm_shape_image(image->height, image->width, image->channels);
    if (*made == NULL) {
        enum efm_status status =
            efm_dataset_create_pixels(made, format, files->count, &shape, options, error);
        if (status != EFM_OK)
            return status;
    }
    const struct efm_shape *first = &(*made)->shape;
    if (!efm_shape_equal(first, &shape))
        return efm_error_set(error, EFM_E_SHAPE,
                             "image %zu is %ux%ux%u and the first one %ux%ux%u; ask for a shape to have them "
                             "fitted",
                             index, shape.height, shape.width, shape.channels, first->height, first->width,
                             first->channels);
    memcpy((*made)->pixels + index * shape.dimension, image->pixels, shape.dimension);
    return EFM_OK;
}

enum efm_status efm_dataset_from_files(struct efm_dataset **dataset, const char *format,
                                       const struct efm_image_files *files,
                                       const struct efm_dataset_options *options, struct efm_error *error)
{
    if (files->count == 0)
        return efm_error_set(error, EFM_E_FORMAT, "there are no images in it");
    if (!efm_dataset_shape_is_free(options) && !efm_shape_is_image(&options->shape))
        return efm_error_set(error, EFM_E_SHAPE, "the samples are images, but plain vectors are wanted");
    struct efm_dataset *made = NULL;
    enum efm_status status = EFM_OK;
    for (size_t i = 0; i < files->count && status == EFM_OK; i++) {
        struct efm_image image = {0};
        status = efm_dataset_ask(options, error);
        if (status == EFM_OK)
            status = decode(&image, files, i, options, error);
        if (status == EFM_OK)
            status = take(&made, &image, format, files, i, options, error);
        efm_image_release(&image);
    }
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    return efm_dataset_finish(dataset, made, options, error);
}
