// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <string.h>

enum { TIFF_HEADER = 8, ENTRY_SIZE = 12, TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, UPRIGHT = 1 };

/* A TIFF block in either byte order. */
struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool little;
};

static uint32_t read_16(const struct tiff *tiff, size_t at)
{
    return tiff->little ? efm_read_le16(tiff->bytes + at) : efm_read_be16(tiff->bytes + at);
}

static uint32_t read_32(const struct tiff *tiff, size_t at)
{
    return tiff->little ? efm_read_le32(tiff->bytes + at) : efm_read_be32(tiff->bytes + at);
}

int efm_exif_orientation(const uint8_t *bytes, size_t size)
{
    if (size >= 6 && memcmp(bytes, "Exif\0\0", 6) == 0) {
        bytes += 6;
        size -= 6;
    }
    if (size < TIFF_HEADER)
        return UPRIGHT;
    struct tiff tiff = {bytes, size, memcmp(bytes, "II", 2) == 0};
    if ((!tiff.little && memcmp(bytes, "MM", 2) != 0) || read_16(&tiff, 2) != 42)
        return UPRIGHT;
    size_t directory = read_32(&tiff, 4);
    if (directory < TIFF_HEADER || directory > size - 2)
        return UPRIGHT;
    size_t count = read_16(&tiff, directory);
    size_t room = (size - directory - 2) / ENTRY_SIZE;
    if (count > room)
        count = room;
    for (size_t i = 0; i < count; i++) {
        size_t entry = directory + 2 + i * ENTRY_SIZE;
        if (read_16(&tiff, entry) != TAG_ORIENTATION)
            continue;
        uint32_t value = read_16(&tiff, entry + 8);
        bool sound = read_16(&tiff, entry + 2) == TYPE_SHORT && read_32(&tiff, entry + 4) == 1 &&
                     value >= 1 && value <= 8;
        return sound ? (int)value : UPRIGHT;
    }
    return UPRIGHT;
}

/* The pixel of the source under (x, y) of the result is at start + x * step_x + y * step_y bytes. */
struct walk {
    size_t start;
    ptrdiff_t step_x, step_y;
};

static struct walk plan_walk(const struct efm_image *image, int orientation)
{
    ptrdiff_t pixel = (ptrdiff_t)image->channels;
    ptrdiff_t row = pixel * (ptrdiff_t)image->width;
    size_t last_column = (size_t)pixel * (image->width - 1);
    size_t last_row = (size_t)row * (image->height - 1);
    switch (orientation) {
    case 2: /* mirrored left to right */
        return (struct walk){last_column, -pixel, row};
    case 3: /* upside down */
        return (struct walk){last_row + last_column, -pixel, -row};
    case 4: /* mirrored top to bottom */
        return (struct walk){last_row, pixel, -row};
    case 5: /* mirrored along the diagonal */
        return (struct walk){0, row, pixel};
    case 6: /* to be turned a quarter clockwise */
        return (struct walk){last_row, -row, pixel};
    case 7: /* mirrored along the other diagonal */
        return (struct walk){last_row + last_column, -row, -pixel};
    case 8: /* to be turned a quarter anticlockwise */
        return (struct walk){last_column, row, -pixel};
    default:
        return (struct walk){0, pixel, row};
    }
}

enum efm_status efm_image_turn(struct efm_image *image, int orientation, struct efm_error *error)
{
    if (orientation <= UPRIGHT || orientation > 8)
        return EFM_OK;
    bool sideways = orientation >= 5;
    struct efm_image turned;
    enum efm_status status =
        efm_image_allocate(&turned, sideways ? image->height : image->width,
                           sideways ? image->width : image->height, image->channels, error);
    if (status != EFM_OK)
        return status;
    struct walk walk = plan_walk(image, orientation);
    size_t pixel = image->channels;
    /* in strips of columns, so that a sideways walk meets the source rows while they are in the cache */
    enum { STRIP = 32 };
    for (uint32_t left = 0; left < turned.width; left += STRIP) {
        uint32_t right = turned.width - left < STRIP ? turned.width : left + STRIP;
        for (uint32_t y = 0; y < turned.height; y++) {
            uint8_t *target = turned.pixels + ((size_t)y * turned.width + left) * pixel;
            const uint8_t *source = image->pixels + ((ptrdiff_t)walk.start + (ptrdiff_t)y * walk.step_y +
                                                     (ptrdiff_t)left * walk.step_x);
            for (uint32_t x = left; x < right; x++, target += pixel, source += walk.step_x)
                for (size_t c = 0; c < pixel; c++)
                    target[c] = source[c];
        }
    }
    efm_image_release(image);
    *image = turned;
    return EFM_OK;
}
