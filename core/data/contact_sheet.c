// SPDX-License-Identifier: Apache-2.0
/* A look at a dataset: tiles of its images, or a plot of the first one or two numbers of its vectors. */
#include "core/base/memory.h"
#include "core/data/data_internal.h"

#include <string.h>

enum {
    MOST_SAMPLES = 1024,
    SMALLEST_TILE = 32,
    LARGEST_TILE = 128,
    GAP = 2,
    PLOT = 320, /* a side, pixels */
    MARGIN = 10,
    INNER = PLOT - 2 * MARGIN,
    BARS = 30,
    BAR = INNER / BARS,
};

static const uint8_t black[3] = {0, 0, 0};
static const uint8_t ground[3] = {40, 44, 52}; /* between tiles: told from black and from white samples */
static const uint8_t frame[3] = {176, 176, 176};
static const uint8_t axis[3] = {224, 224, 224};
static const uint8_t ink[3] = {31, 95, 166};

/* Which sample is number `i` of `shown` ones, spread evenly. */
static size_t pick(const struct efm_dataset *dataset, size_t i, size_t shown)
{
    return (size_t)((uint64_t)i * (dataset->count / shown) + (uint64_t)i * (dataset->count % shown) / shown);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- images ---- */

/* Small ones are magnified by a whole number, so that their pixels can be counted; large ones keep their proportions. */
static struct efm_shape tile_shape(const struct efm_shape *shape)
{
    const uint32_t side = shape->height > shape->width ? shape->height : shape->width;
    if (side <= LARGEST_TILE) {
        const uint32_t times = (SMALLEST_TILE + side - 1) / side;
        return efm_shape_image(shape->height * times, shape->width * times, shape->channels);
    }
    const uint32_t height = (uint32_t)((uint64_t)shape->height * LARGEST_TILE / side);
    const uint32_t width = (uint32_t)((uint64_t)shape->width * LARGEST_TILE / side);
    return efm_shape_image(height > 0 ? height : 1, width > 0 ? width : 1, shape->channels);
}

static void take_sample(struct efm_image *image, const struct efm_dataset *dataset, size_t index)
{
    const size_t dimension = dataset->shape.dimension;
    if (dataset->pixels != NULL)
        memcpy(image->pixels, dataset->pixels + index * dimension, dimension);
    else
        efm_image_from_floats(image, dataset->floats + index * dimension);
}

/* Each pixel `times` times as wide and as high, with the left upper corner at `target`. */
static void magnify(uint8_t *target, size_t stride, const struct efm_image *image, uint32_t times)
{
    const size_t channels = image->channels;
    for (uint32_t y = 0; y < image->height * times; y++)
        for (uint32_t x = 0; x < image->width * times; x++)
            memcpy(target + y * stride + x * channels,
                   image->pixels + ((size_t)(y / times) * image->width + x / times) * channels, channels);
}

static enum efm_status draw_tile(struct efm_image *sheet, uint32_t left, uint32_t top,
                                 const struct efm_image *sample, const struct efm_shape *tile,
                                 struct efm_error *error)
{
    const size_t stride = (size_t)sheet->width * sheet->channels;
    uint8_t *target = sheet->pixels + top * stride + (size_t)left * sheet->channels;
    if (tile->height >= sample->height && tile->width >= sample->width) {
        magnify(target, stride, sample, tile->height / sample->height);
        return EFM_OK;
    }
    struct efm_image reduced = {0};
    enum efm_status status = efm_image_fit(&reduced, sample, tile, EFM_IMAGE_FIT_STRETCH, black, error);
    if (status == EFM_OK)
        magnify(target, stride, &reduced, 1);
    efm_image_release(&reduced);
    return status;
}

static void fill(struct efm_image *image, const uint8_t colour[3])
{
    const size_t pixels = (size_t)image->width * image->height;
    for (size_t i = 0; i < pixels; i++)
        memcpy(image->pixels + i * image->channels, colour, image->channels);
}

static enum efm_status draw_tiles(struct efm_image *sheet, const struct efm_dataset *dataset, size_t shown,
                                  struct efm_error *error)
{
    const struct efm_shape *shape = &dataset->shape;
    const struct efm_shape tile = tile_shape(shape);
    uint32_t columns = 1;
    while ((size_t)columns * columns < shown)
        columns++;
    const uint32_t rows = (uint32_t)((shown + columns - 1) / columns);
    struct efm_image sample = {0};
    enum efm_status status = efm_image_create(&sample, shape->width, shape->height, shape->channels, error);
    if (status == EFM_OK)
        status = efm_image_create(sheet, columns * (tile.width + GAP) + GAP, rows * (tile.height + GAP) + GAP,
                                  shape->channels, error);
    if (status == EFM_OK)
        fill(sheet, ground);
    for (size_t i = 0; i < shown && status == EFM_OK; i++) {
        take_sample(&sample, dataset, pick(dataset, i, shown));
        status = draw_tile(sheet, GAP + (uint32_t)(i % columns) * (tile.width + GAP),
                           GAP + (uint32_t)(i / columns) * (tile.height + GAP), &sample, &tile, error);
    }
    efm_image_release(&sample);
    return status;
}

/* ---- vectors ---- */

struct range {
    double low, high;
};

static float number(const struct efm_dataset *dataset, size_t i, size_t shown, size_t place)
{
    return dataset->floats[pick(dataset, i, shown) * dataset->shape.dimension + place];
}

/* Of the number at `place` of what is shown. */
static struct range range_of(const struct efm_dataset *dataset, size_t shown, size_t place)
{
    struct range range = {number(dataset, 0, shown, place), number(dataset, 0, shown, place)};
    for (size_t i = 1; i < shown; i++) {
        const double value = number(dataset, i, shown, place);
        range.low = value < range.low ? value : range.low;
        range.high = value > range.high ? value : range.high;
    }
    return range;
}

/* Around the same middle, `width` wide. */
static struct range centred(struct range range, double width)
{
    const double middle = range.low / 2 + range.high / 2;
    return (struct range){middle - width / 2, middle + width / 2};
}

/* 0 .. INNER - 1 */
static uint32_t place_of(double value, struct range range)
{
    const double place = (value - range.low) / (range.high - range.low) * INNER;
    return place >= INNER - 1 ? INNER - 1 : place > 0 ? (uint32_t)place : 0;
}

static uint8_t *pixel(struct efm_image *plot, uint32_t x, uint32_t y)
{
    return plot->pixels + ((size_t)y * PLOT + x) * 3;
}

/* Over what is there, so that crowded places grow darker. */
static void dab(struct efm_image *plot, uint32_t x, uint32_t y, unsigned sixteenths)
{
    uint8_t *at = pixel(plot, x, y);
    for (int c = 0; c < 3; c++)
        at[c] = (uint8_t)((at[c] * (16 - sixteenths) + ink[c] * sixteenths) / 16);
}

static void draw_frame(struct efm_image *plot)
{
    for (uint32_t i = MARGIN - 2; i < PLOT - MARGIN + 2; i++) {
        memcpy(pixel(plot, i, MARGIN - 2), frame, 3);
        memcpy(pixel(plot, i, PLOT - MARGIN + 1), frame, 3);
        memcpy(pixel(plot, MARGIN - 2, i), frame, 3);
        memcpy(pixel(plot, PLOT - MARGIN + 1, i), frame, 3);
    }
}

/* A line where the number is zero. */
static void draw_axis(struct efm_image *plot, struct range range, bool upright)
{
    if (range.low > 0 || range.high < 0)
        return;
    const uint32_t place = place_of(0, range);
    for (uint32_t i = MARGIN; i < PLOT - MARGIN; i++)
        memcpy(upright ? pixel(plot, MARGIN + place, i) : pixel(plot, i, PLOT - 1 - MARGIN - place), axis, 3);
}

static double width_of(struct range range)
{
    const double width = range.high - range.low;
    return width > 0 ? width : 1;
}

/* The first number to the right and the second upwards, both by the same scale. */
static void draw_scatter(struct efm_image *plot, const struct efm_dataset *dataset, size_t shown)
{
    static const unsigned weights[3][3] = {{2, 6, 2}, {6, 10, 6}, {2, 6, 2}};
    struct range across = range_of(dataset, shown, 0), up = range_of(dataset, shown, 1);
    const double widest = width_of(across) > width_of(up) ? width_of(across) : width_of(up);
    across = centred(across, widest * 1.04);
    up = centred(up, widest * 1.04);
    draw_axis(plot, across, true);
    draw_axis(plot, up, false);
    for (size_t i = 0; i < shown; i++) {
        const uint32_t x = MARGIN + place_of(number(dataset, i, shown, 0), across);
        const uint32_t y = PLOT - 1 - MARGIN - place_of(number(dataset, i, shown, 1), up);
        for (uint32_t j = 0; j < 9; j++)
            dab(plot, x + j % 3 - 1, y + j / 3 - 1, weights[j / 3][j % 3]);
    }
}

static void draw_histogram(struct efm_image *plot, const struct efm_dataset *dataset, size_t shown)
{
    size_t bars[BARS] = {0}, highest = 1;
    struct range range = range_of(dataset, shown, 0);
    range = centred(range, width_of(range) * 1.04);
    draw_axis(plot, range, true);
    for (size_t i = 0; i < shown; i++) {
        const size_t bar = place_of(number(dataset, i, shown, 0), range) / BAR;
        bars[bar]++;
        highest = bars[bar] > highest ? bars[bar] : highest;
    }
    for (uint32_t x = 0; x < INNER; x++)
        for (uint32_t y = 0; y < bars[x / BAR] * INNER / highest; y++)
            memcpy(pixel(plot, MARGIN + x, PLOT - 1 - MARGIN - y), ink, 3);
}

static enum efm_status draw_plot(struct efm_image *plot, const struct efm_dataset *dataset, size_t shown,
                                 struct efm_error *error)
{
    enum efm_status status = efm_image_create(plot, PLOT, PLOT, 3, error);
    if (status != EFM_OK)
        return status;
    memset(plot->pixels, 255, (size_t)PLOT * PLOT * 3);
    if (dataset->shape.dimension == 1)
        draw_histogram(plot, dataset, shown);
    else
        draw_scatter(plot, dataset, shown);
    draw_frame(plot);
    return EFM_OK;
}

enum efm_status efm_dataset_contact_sheet(const struct efm_dataset *dataset, size_t most,
                                          struct efm_buffer *png, struct efm_error *error)
{
    struct efm_image sheet = {0};
    if (most < 1 || most > MOST_SAMPLES)
        return efm_error_set(error, EFM_E_ARGUMENT, "a contact sheet shows 1 to %d samples, not %zu",
                             MOST_SAMPLES, most);
    const size_t shown = least(most, dataset->count);
    enum efm_status status = efm_shape_is_image(&dataset->shape) ? draw_tiles(&sheet, dataset, shown, error)
                                                                 : draw_plot(&sheet, dataset, shown, error);
    if (status == EFM_OK)
        status = efm_image_encode(png, &sheet, EFM_IMAGE_PNG, 100, NULL, 0, error);
    efm_image_release(&sheet);
    return status;
}
