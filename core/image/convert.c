// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <math.h>
#include <string.h>

static uint8_t blend(uint32_t colour, uint32_t alpha, uint32_t background)
{
    return (uint8_t)((colour * alpha + background * (255 - alpha) + 127) / 255);
}

/* In place: a pixel never grows, so writing stays behind reading. */
static void flatten_pixels(uint8_t *pixels, size_t count, const struct efm_raster *raster, uint32_t channels,
                           const uint8_t background[3])
{
    const uint8_t *source = pixels;
    uint8_t *target = pixels;
    for (size_t i = 0; i < count; i++, source += raster->channels, target += channels) {
        uint8_t colour[3] = {source[0], source[1], source[2]};
        uint32_t alpha = raster->channels == 4 ? source[3] : 255;
        if (alpha < 255)
            for (int c = 0; c < 3; c++)
                colour[c] = blend(colour[c], alpha, background[c]);
        if (channels == 1)
            target[0] = efm_luma(colour[0], colour[1], colour[2]);
        else
            memcpy(target, colour, 3);
    }
}

void efm_raster_flatten(struct efm_image *image, struct efm_raster *raster, uint32_t channels,
                        const uint8_t background[3])
{
    bool grey_ground = background[0] == background[1] && background[1] == background[2];
    bool stays_grey = raster->grey && (raster->channels < 4 || channels == 0 || grey_ground);
    uint32_t flat = channels == 1 || stays_grey ? 1 : 3;
    if (raster->channels != flat)
        flatten_pixels(raster->pixels, (size_t)raster->width * raster->height, raster, flat, background);
    *image = (struct efm_image){raster->width, raster->height, flat, raster->pixels};
    *raster = (struct efm_raster){0};
}

static size_t value_count(const struct efm_image *image)
{
    return (size_t)image->width * image->height * image->channels;
}

void efm_image_to_floats(const struct efm_image *image, float *out)
{
    size_t count = value_count(image);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)image->pixels[i] / 127.5f - 1.0f;
}

void efm_image_from_floats(struct efm_image *image, const float *values)
{
    const uint8_t middle_grey = 128;
    size_t count = value_count(image);
    for (size_t i = 0; i < count; i++) {
        float level = (values[i] + 1.0f) * 127.5f + 0.5f;
        float clipped = level > 255.0f ? 255.0f : level > 0.0f ? level : 0.0f;
        image->pixels[i] = isfinite(values[i]) ? (uint8_t)clipped : middle_grey;
    }
}

static size_t square_side(size_t count)
{
    size_t side = (size_t)sqrt((double)count);
    while (side * side < count)
        side++;
    return side;
}

/* total = count * length + (count - 1) * gap, false when it is more than an image may have. */
static bool span(size_t count, uint32_t length, uint32_t gap, uint32_t *total)
{
    size_t step, sum;
    if (!efm_size_add(length, gap, &step) || !efm_size_multiply(count, step, &sum) ||
        sum - gap > EFM_IMAGE_MAX_SIDE)
        return false;
    *total = (uint32_t)(sum - gap);
    return true;
}

static void place(struct efm_image *canvas, const struct efm_image *image, size_t left, size_t top)
{
    size_t row = (size_t)image->width * image->channels;
    for (uint32_t y = 0; y < image->height; y++)
        memcpy(canvas->pixels + ((top + y) * canvas->width + left) * canvas->channels,
               image->pixels + y * row, row);
}

enum efm_status efm_image_grid(struct efm_image *result, const struct efm_image *images, size_t count,
                               size_t columns, uint32_t gap, const uint8_t background[3],
                               struct efm_error *error)
{
    *result = (struct efm_image){0};
    if (count == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a grid needs at least one picture");
    for (size_t i = 1; i < count; i++)
        if (images[i].width != images[0].width || images[i].height != images[0].height ||
            images[i].channels != images[0].channels)
            return efm_error_set(error, EFM_E_SHAPE, "picture %zu of the grid is not like the first", i);
    if (columns == 0)
        columns = square_side(count);
    if (columns > count)
        columns = count;
    size_t rows = (count - 1) / columns + 1;
    uint32_t width, height;
    if (!span(columns, images[0].width, gap, &width) || !span(rows, images[0].height, gap, &height))
        return efm_error_set(error, EFM_E_LIMIT, "a grid of %zu x %zu pictures is too large", columns, rows);
    enum efm_status status = efm_image_allocate(result, width, height, images[0].channels, error);
    if (status != EFM_OK)
        return status;
    efm_image_fill(result, background);
    for (size_t i = 0; i < count; i++)
        place(result, &images[i], i % columns * ((size_t)images[0].width + gap),
              i / columns * ((size_t)images[0].height + gap));
    return EFM_OK;
}
