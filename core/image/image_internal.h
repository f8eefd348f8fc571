/* image_internal.h - what the codecs, the orientation and the resampler share inside core/image.
 *
 * A codec turns a file into a raster: pixels as the file has them, 8 bits, alpha included, not yet upright.
 * image.c then makes an image of it: flatten, turn, fit. Every function is pure.
 */
#ifndef EFM_IMAGE_INTERNAL_H
#define EFM_IMAGE_INTERNAL_H

#include "core/image/image.h"

/* What no caller can lift: stb counts bytes in an int, JPEG and WebP end before it. */
#define EFM_IMAGE_MAX_SIDE UINT32_C(65535)
#define EFM_IMAGE_MAX_BYTES ((size_t)1 << 30)

struct efm_raster {
    uint32_t width, height;
    uint32_t channels; /* 1 grey, 3 RGB, 4 RGBA */
    bool grey;         /* red, green and blue of every pixel are equal */
    int orientation;   /* EXIF 1..8 */
    uint8_t *pixels;   /* owned, from efm_allocate */
};

/* `title` is the name in messages. decode is called only after probe succeeded and `info` passed the limits;
 * on failure it leaves no pixels in `raster`. encode is called with a valid image and arguments. */
struct efm_codec {
    enum efm_image_format format;
    const char *title;
    bool (*matches)(const uint8_t *bytes, size_t size);
    enum efm_status (*probe)(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                             struct efm_error *error);
    enum efm_status (*decode)(struct efm_raster *raster, const uint8_t *bytes, size_t size,
                              const struct efm_image_info *info, struct efm_error *error);
    enum efm_status (*encode)(struct efm_buffer *out, const struct efm_image *image, int quality,
                              const struct efm_image_text *text, size_t text_count, struct efm_error *error);
};

extern const struct efm_codec efm_codec_png;
extern const struct efm_codec efm_codec_jpeg;
extern const struct efm_codec efm_codec_webp;

/* Pixels (contents undefined) for width, height and channels as set; EFM_E_LIMIT or EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_raster_allocate(struct efm_raster *raster, struct efm_error *error);
void efm_raster_release(struct efm_raster *raster);

/* Like efm_image_create, with the contents undefined. */
EFM_MUST_CHECK enum efm_status efm_image_allocate(struct efm_image *image, uint32_t width, uint32_t height,
                                                  uint32_t channels, struct efm_error *error);

/* Paints every pixel in the background colour, or its luma. */
void efm_image_fill(struct efm_image *image, const uint8_t background[3]);

/* The EXIF orientation, 1..8, from a TIFF block with or without "Exif\0\0" before it; 1 when there is none
 * or the block is damaged: a wrong tag is no reason to refuse a picture. */
int efm_exif_orientation(const uint8_t *bytes, size_t size);

/* Turns `image` upright, replacing its pixels. */
EFM_MUST_CHECK enum efm_status efm_image_turn(struct efm_image *image, int orientation,
                                              struct efm_error *error);

/* Lays the raster over the background into `image`, which takes over its memory. `channels` is what is
 * wanted in the end, 0 as in the file; a grey result may be given for a wanted 3, never the reverse. */
void efm_raster_flatten(struct efm_image *image, struct efm_raster *raster, uint32_t channels,
                        const uint8_t background[3]);

/* Rec. 601 luma, rounded. */
static inline uint8_t efm_luma(uint32_t red, uint32_t green, uint32_t blue)
{
    return (uint8_t)((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
}

/* A rectangle of 8-bit pixels inside a larger picture. */
struct efm_view {
    uint8_t *pixels; /* borrowed */
    uint32_t width, height;
    size_t stride; /* bytes from row to row */
};

/* Resamples `source` into `target`, both of `channels`; false when there is no memory. */
EFM_MUST_CHECK bool efm_resample(const struct efm_view *target, const struct efm_view *source,
                                 uint32_t channels);

static inline uint32_t efm_read_be16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static inline uint32_t efm_read_be32(const uint8_t *bytes)
{
    return efm_read_be16(bytes) << 16 | efm_read_be16(bytes + 2);
}

static inline uint32_t efm_read_le16(const uint8_t *bytes)
{
    return (uint32_t)bytes[1] << 8 | bytes[0];
}

static inline uint32_t efm_read_le32(const uint8_t *bytes)
{
    return efm_read_le16(bytes + 2) << 16 | efm_read_le16(bytes);
}

#endif
