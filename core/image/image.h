/* image.h - pictures in and out: PNG, JPEG, WebP to pixels and back, pixels to floats and back.
 *
 * The format is told from the first bytes, never from a name. Width, height and depth are read from the
 * header and held against the limits before a pixel is decoded. A decoded image is 8-bit,
 * [height, width, channels], upright (EXIF orientation applied), without alpha (laid over a background).
 *
 *     struct efm_image_options options = {.shape = {32, 32, 3, 3072}, .limits = efm_image_limits_default()};
 *     efm_image_decode(&image, bytes, size, &options, &error);
 *     efm_image_to_floats(&image, floats);
 *
 * Threads: all functions are pure; an image belongs to one thread at a time.
 */
#ifndef EFM_IMAGE_IMAGE_H
#define EFM_IMAGE_IMAGE_H

#include "core/base/buffer.h"
#include "core/base/shape.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EFM_IMAGE_FORMAT_MAP(X)                                                                              \
    X(EFM_IMAGE_PNG, "png", "image/png")                                                                     \
    X(EFM_IMAGE_JPEG, "jpeg", "image/jpeg")                                                                  \
    X(EFM_IMAGE_WEBP, "webp", "image/webp")

enum efm_image_format {
    EFM_IMAGE_UNKNOWN,
#define EFM_IMAGE_ENUM(symbol, word, media_type) symbol,
    EFM_IMAGE_FORMAT_MAP(EFM_IMAGE_ENUM)
#undef EFM_IMAGE_ENUM
};

const char *efm_image_format_name(enum efm_image_format format);       /* "png"; "unknown" */
const char *efm_image_format_media_type(enum efm_image_format format); /* "image/png" */

/* From the first bytes; EFM_IMAGE_UNKNOWN when they are none of ours. */
enum efm_image_format efm_image_sniff(const uint8_t *bytes, size_t size);

struct efm_image_limits {
    uint32_t max_side;   /* pixels along either side, as in the file */
    uint64_t max_pixels; /* width * height, as in the file */
};
struct efm_image_limits efm_image_limits_default(void); /* 8192 a side, 16 Mi pixels */

struct efm_image_info {
    enum efm_image_format format;
    uint32_t width, height; /* as stored, before the orientation */
    uint32_t channels;      /* as stored: 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA or CMYK */
    uint32_t bits;          /* a channel: 1, 2, 4, 8, 16 */
    bool cmyk;              /* refused by decode: EFM_E_UNSUPPORTED */
};

/* Reads the header alone. EFM_E_FORMAT: not an image or truncated; EFM_E_UNSUPPORTED: a kind we do not take.
 */
EFM_MUST_CHECK enum efm_status efm_image_probe(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                                               struct efm_error *error);

enum efm_image_fit {
    EFM_IMAGE_FIT_CROP,    /* the largest centred rectangle of the wanted proportions, then resample */
    EFM_IMAGE_FIT_CONTAIN, /* the whole picture, the rest filled with the background */
    EFM_IMAGE_FIT_STRETCH, /* the whole picture, proportions lost */
};

struct efm_image_options {
    struct efm_shape
        shape; /* wanted height, width, channels (1 or 3); all zero: as in the file, RGB or grey */
    enum efm_image_fit fit;
    uint8_t background[3]; /* what shows through alpha and around a contained picture */
    struct efm_image_limits limits;
};

struct efm_image {
    uint32_t width, height, channels; /* channels 1 or 3 */
    uint8_t *pixels;                  /* owned, [height, width, channels] */
};

/* Decodes, turns upright, lays over the background, converts to grey or RGB, crops and resamples.
 * 16-bit PNG is reduced to 8 bits. EFM_E_LIMIT: header past the limits, nothing was decoded, or a JPEG of
 * more than 64 scans; EFM_E_FORMAT: empty, truncated, damaged, not an image; EFM_E_UNSUPPORTED: CMYK,
 * animation; EFM_E_MEMORY. Resampling filters the samples in their sRGB encoding, not in linear light,
 * because the pipelines that make training sets do: Mitchell where a side shrinks, Catmull-Rom where it
 * grows, edges clamped. Colour profiles and gamma are ignored; an animated PNG gives its still picture.
 * Limits of zero let nothing pass. */
EFM_MUST_CHECK enum efm_status efm_image_decode(struct efm_image *image, const uint8_t *bytes, size_t size,
                                                const struct efm_image_options *options,
                                                struct efm_error *error);

/* An image of zeros (black). */
EFM_MUST_CHECK enum efm_status efm_image_create(struct efm_image *image, uint32_t width, uint32_t height,
                                                uint32_t channels, struct efm_error *error);
void efm_image_release(struct efm_image *image);

/* A new image of the wanted shape from an upright one; `source` is borrowed. */
EFM_MUST_CHECK enum efm_status efm_image_fit(struct efm_image *result, const struct efm_image *source,
                                             const struct efm_shape *shape, enum efm_image_fit fit,
                                             const uint8_t background[3], struct efm_error *error);

struct efm_image_text {
    const char *key; /* Latin-1, 1..79 bytes */
    const char *value;
};

/* Appends the file to `out`. `quality` 1..100 (JPEG, WebP; 100 makes WebP lossless); `text` [text_count]
 * becomes PNG tEXt chunks and is ignored by the others. The same input gives the same bytes. */
EFM_MUST_CHECK enum efm_status efm_image_encode(struct efm_buffer *out, const struct efm_image *image,
                                                enum efm_image_format format, int quality,
                                                const struct efm_image_text *text, size_t text_count,
                                                struct efm_error *error);

/* 8-bit pixels to floats in [-1, 1] (v / 127.5 - 1), [height * width * channels]; and back, rounded to
 * nearest and clipped; a float that is not finite becomes the middle grey. */
void efm_image_to_floats(const struct efm_image *image, float *out);
void efm_image_from_floats(struct efm_image *image, const float *values);

/* One picture of `count` equal images in rows of `columns` (0: as square as possible), `gap` pixels of
 * `background` between them. `images` are borrowed. */
EFM_MUST_CHECK enum efm_status efm_image_grid(struct efm_image *result, const struct efm_image *images,
                                              size_t count, size_t columns, uint32_t gap,
                                              const uint8_t background[3], struct efm_error *error);

#endif
