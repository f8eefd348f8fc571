// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <string.h>

/* Samples are filtered as they are stored, in their sRGB encoding, as the pipelines that make training sets
 * do; light is not linear in it, but a model must meet at run time what it met in training. */

/* round(a * b / c), at least 1 and at most `most`. */
static uint32_t scaled(uint64_t a, uint64_t b, uint64_t c, uint32_t most)
{
    uint64_t value = (a * b * 2 + c) / (c * 2);
    if (value < 1)
        return 1;
    return value > most ? most : (uint32_t)value;
}

static struct efm_view view_of(const struct efm_image *image)
{
    return (struct efm_view){image->pixels, image->width, image->height,
                             (size_t)image->width * image->channels};
}

/* The centred part of `whole`. */
static struct efm_view centre(const struct efm_view *whole, uint32_t width, uint32_t height,
                              uint32_t channels)
{
    size_t left = (whole->width - width) / 2;
    size_t top = (whole->height - height) / 2;
    return (struct efm_view){whole->pixels + top * whole->stride + left * channels, width, height,
                             whole->stride};
}

/* Narrows what is read for a crop, what is written for a contained picture. */
static void apply_fit(struct efm_view *source, uint32_t source_channels, struct efm_view *target,
                      uint32_t target_channels, enum efm_image_fit fit)
{
    uint64_t source_wide = (uint64_t)source->width * target->height;
    uint64_t target_wide = (uint64_t)target->width * source->height;
    if (fit == EFM_IMAGE_FIT_STRETCH || source_wide == target_wide)
        return;
    bool too_wide = source_wide > target_wide;
    if (fit == EFM_IMAGE_FIT_CROP && too_wide)
        *source = centre(source, scaled(source->height, target->width, target->height, source->width),
                         source->height, source_channels);
    else if (fit == EFM_IMAGE_FIT_CROP)
        *source =
            centre(source, source->width,
                   scaled(source->width, target->height, target->width, source->height), source_channels);
    else if (too_wide)
        *target =
            centre(target, target->width,
                   scaled(target->width, source->height, source->width, target->height), target_channels);
    else
        *target = centre(target, scaled(target->height, source->width, source->height, target->width),
                         target->height, target_channels);
}

static enum efm_status resample(const struct efm_view *target, const struct efm_view *source,
                                uint32_t channels, struct efm_error *error)
{
    if (target->width == source->width && target->height == source->height) {
        for (uint32_t y = 0; y < target->height; y++)
            memcpy(target->pixels + y * target->stride, source->pixels + y * source->stride,
                   (size_t)target->width * channels);
        return EFM_OK;
    }
    if (!efm_resample(target, source, channels))
        return efm_error_set(error, EFM_E_MEMORY, "no memory to resample %u x %u to %u x %u pixels",
                             source->width, source->height, target->width, target->height);
    return EFM_OK;
}

/* RGB to grey: reduced first, so that a third is left to resample. */
static enum efm_status resample_to_grey(const struct efm_view *target, const struct efm_view *source,
                                        struct efm_error *error)
{
    struct efm_image grey;
    enum efm_status status = efm_image_allocate(&grey, source->width, source->height, 1, error);
    if (status != EFM_OK)
        return status;
    for (uint32_t y = 0; y < source->height; y++) {
        const uint8_t *from = source->pixels + y * source->stride;
        uint8_t *to = grey.pixels + (size_t)y * grey.width;
        for (uint32_t x = 0; x < source->width; x++, from += 3)
            to[x] = efm_luma(from[0], from[1], from[2]);
    }
    struct efm_view view = view_of(&grey);
    status = resample(target, &view, 1, error);
    efm_image_release(&grey);
    return status;
}

/* Grey to RGB: replicated last, for the same reason. */
static enum efm_status resample_to_rgb(const struct efm_view *target, const struct efm_view *source,
                                       struct efm_error *error)
{
    struct efm_image grey;
    enum efm_status status = efm_image_allocate(&grey, target->width, target->height, 1, error);
    if (status != EFM_OK)
        return status;
    struct efm_view view = view_of(&grey);
    status = resample(&view, source, 1, error);
    if (status != EFM_OK)
        goto done;
    for (uint32_t y = 0; y < target->height; y++) {
        const uint8_t *from = grey.pixels + (size_t)y * grey.width;
        uint8_t *to = target->pixels + y * target->stride;
        for (uint32_t x = 0; x < target->width; x++, to += 3)
            memset(to, from[x], 3);
    }
done:
    efm_image_release(&grey);
    return status;
}

void efm_image_fill(struct efm_image *image, const uint8_t background[3])
{
    uint8_t colour[3] = {background[0], background[1], background[2]};
    if (image->channels == 1)
        colour[0] = efm_luma(background[0], background[1], background[2]);
    size_t count = (size_t)image->width * image->height;
    for (size_t i = 0; i < count; i++)
        memcpy(image->pixels + i * image->channels, colour, image->channels);
}

enum efm_status efm_image_fit(struct efm_image *result, const struct efm_image *source,
                              const struct efm_shape *shape, enum efm_image_fit fit,
                              const uint8_t background[3], struct efm_error *error)
{
    *result = (struct efm_image){0};
    if (source->pixels == NULL || source->width == 0 || source->height == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no picture to resample");
    struct efm_image canvas;
    enum efm_status status = efm_image_allocate(&canvas, shape->width, shape->height, shape->channels, error);
    if (status != EFM_OK)
        return status;
    struct efm_view from = view_of(source);
    struct efm_view to = view_of(&canvas);
    apply_fit(&from, source->channels, &to, canvas.channels, fit);
    if (to.width != canvas.width || to.height != canvas.height)
        efm_image_fill(&canvas, background);
    if (source->channels == canvas.channels)
        status = resample(&to, &from, canvas.channels, error);
    else if (canvas.channels == 1)
        status = resample_to_grey(&to, &from, error);
    else
        status = resample_to_rgb(&to, &from, error);
    if (status == EFM_OK)
        *result = canvas;
    else
        efm_image_release(&canvas);
    return status;
}
