// SPDX-License-Identifier: Apache-2.0
#include "core/image/image.h"

#include "core/base/memory.h"
#include "core/image/image_internal.h"

#include <string.h>

static const struct efm_codec *const codecs[] = {&efm_codec_png, &efm_codec_jpeg, &efm_codec_webp};
enum { CODEC_COUNT = sizeof codecs / sizeof codecs[0] };

const char *efm_image_format_name(enum efm_image_format format)
{
    switch (format) {
#define FORMAT_NAME(symbol, word, media_type)                                                                \
    case symbol:                                                                                             \
        return word;
        EFM_IMAGE_FORMAT_MAP(FORMAT_NAME)
#undef FORMAT_NAME
    case EFM_IMAGE_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *efm_image_format_media_type(enum efm_image_format format)
{
    switch (format) {
#define FORMAT_MEDIA_TYPE(symbol, word, media_type)                                                          \
    case symbol:                                                                                             \
        return media_type;
        EFM_IMAGE_FORMAT_MAP(FORMAT_MEDIA_TYPE)
#undef FORMAT_MEDIA_TYPE
    case EFM_IMAGE_UNKNOWN:
        break;
    }
    return "application/octet-stream";
}

static const struct efm_codec *codec_of_bytes(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < CODEC_COUNT; i++)
        if (codecs[i]->matches(bytes, size))
            return codecs[i];
    return NULL;
}

static const struct efm_codec *codec_of_format(enum efm_image_format format)
{
    for (size_t i = 0; i < CODEC_COUNT; i++)
        if (codecs[i]->format == format)
            return codecs[i];
    return NULL;
}

enum efm_image_format efm_image_sniff(const uint8_t *bytes, size_t size)
{
    const struct efm_codec *codec = codec_of_bytes(bytes, size);
    return codec == NULL ? EFM_IMAGE_UNKNOWN : codec->format;
}

struct efm_image_limits efm_image_limits_default(void)
{
    return (struct efm_image_limits){.max_side = 8192, .max_pixels = UINT64_C(16) << 20};
}

/* Formats people do send, so that the answer can name them. */
static enum efm_status refuse_unknown(const uint8_t *bytes, size_t size, struct efm_error *error)
{
    static const struct {
        size_t offset;
        const char *magic;
        size_t length;
        const char *title;
    } known[] = {
        {0, "GIF8", 4, "a GIF"},         {0, "II*\0", 4, "a TIFF"},       {0, "MM\0*", 4, "a TIFF"},
        {4, "ftypavif", 8, "an AVIF"},   {4, "ftypheic", 8, "a HEIC"},    {4, "ftypmif1", 8, "a HEIF"},
        {0, "\xff\x0a", 2, "a JPEG XL"}, {4, "JXL \r\n", 6, "a JPEG XL"}, {4, "jP  \r\n", 6, "a JPEG 2000"},
        {0, "<svg", 4, "an SVG"},        {0, "%PDF-", 5, "a PDF"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (size >= known[i].offset + known[i].length &&
            memcmp(bytes + known[i].offset, known[i].magic, known[i].length) == 0)
            return efm_error_set(error, EFM_E_UNSUPPORTED,
                                 "the file is %s, only PNG, JPEG and WebP are taken", known[i].title);
    if (size == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the image is empty (0 bytes)");
    return efm_error_set(error, EFM_E_FORMAT, "the %zu bytes are not a PNG, JPEG or WebP image", size);
}

enum efm_status efm_image_probe(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                                struct efm_error *error)
{
    *info = (struct efm_image_info){0};
    const struct efm_codec *codec = codec_of_bytes(bytes, size);
    if (codec == NULL)
        return refuse_unknown(bytes, size, error);
    struct efm_image_info found = {.format = codec->format};
    enum efm_status status = codec->probe(bytes, size, &found, error);
    if (status != EFM_OK)
        return status;
    if (found.width == 0 || found.height == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the %s has no pixels (%u x %u)", codec->title, found.width,
                             found.height);
    *info = found;
    return EFM_OK;
}

static enum efm_status check_limits(const struct efm_codec *codec, const struct efm_image_info *info,
                                    const struct efm_image_limits *limits, struct efm_error *error)
{
    uint32_t max_side = limits->max_side < EFM_IMAGE_MAX_SIDE ? limits->max_side : EFM_IMAGE_MAX_SIDE;
    uint64_t max_pixels = EFM_IMAGE_MAX_BYTES / 4;
    if (limits->max_pixels < max_pixels)
        max_pixels = limits->max_pixels;
    if (info->width > max_side || info->height > max_side)
        return efm_error_set(error, EFM_E_LIMIT, "the %s is %u x %u pixels, the limit is %u a side",
                             codec->title, info->width, info->height, max_side);
    if ((uint64_t)info->width * info->height > max_pixels)
        return efm_error_set(error, EFM_E_LIMIT, "the %s is %u x %u pixels, the limit is %llu in all",
                             codec->title, info->width, info->height, (unsigned long long)max_pixels);
    return EFM_OK;
}

/* True for a height, a width and 1 or 3 channels. */
static bool is_picture_shape(const struct efm_shape *shape)
{
    return shape->height > 0 && shape->width > 0 && (shape->channels == 1 || shape->channels == 3);
}

static bool is_open_shape(const struct efm_shape *shape)
{
    return shape->height == 0 && shape->width == 0 && shape->channels == 0;
}

/* From the pixels of the file to an upright image of the wanted shape. */
static enum efm_status finish(struct efm_image *image, struct efm_raster *raster,
                              const struct efm_image_options *options, struct efm_error *error)
{
    struct efm_image upright = {0};
    int orientation = raster->orientation;
    efm_raster_flatten(&upright, raster, options->shape.channels, options->background);
    enum efm_status status = efm_image_turn(&upright, orientation, error);
    if (status != EFM_OK)
        goto done;
    bool as_it_is = is_open_shape(&options->shape) ||
                    (upright.width == options->shape.width && upright.height == options->shape.height &&
                     upright.channels == options->shape.channels);
    if (as_it_is) {
        *image = upright;
        upright = (struct efm_image){0};
    } else {
        status = efm_image_fit(image, &upright, &options->shape, options->fit, options->background, error);
    }
done:
    efm_image_release(&upright);
    return status;
}

enum efm_status efm_image_decode(struct efm_image *image, const uint8_t *bytes, size_t size,
                                 const struct efm_image_options *options, struct efm_error *error)
{
    *image = (struct efm_image){0};
    if (!is_open_shape(&options->shape) && !is_picture_shape(&options->shape))
        return efm_error_set(error, EFM_E_ARGUMENT, "a picture cannot have the shape [%u, %u, %u]",
                             options->shape.height, options->shape.width, options->shape.channels);
    struct efm_image_info info;
    enum efm_status status = efm_image_probe(bytes, size, &info, error);
    if (status != EFM_OK)
        return status;
    const struct efm_codec *codec = codec_of_format(info.format);
    status = check_limits(codec, &info, &options->limits, error);
    if (status != EFM_OK)
        return status;
    if (info.cmyk)
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "the %s is in CMYK (print) colours, only grey and RGB are taken", codec->title);
    struct efm_raster raster = {.orientation = 1};
    status = codec->decode(&raster, bytes, size, &info, error);
    if (status == EFM_OK)
        status = finish(image, &raster, options, error);
    efm_raster_release(&raster);
    return status;
}

static enum efm_status check_size(uint32_t width, uint32_t height, uint32_t channels, size_t *bytes,
                                  struct efm_error *error)
{
    size_t pixels;
    if (width > EFM_IMAGE_MAX_SIDE || height > EFM_IMAGE_MAX_SIDE ||
        !efm_size_multiply(width, height, &pixels) || !efm_size_multiply(pixels, channels, bytes) ||
        *bytes > EFM_IMAGE_MAX_BYTES)
        return efm_error_set(error, EFM_E_LIMIT, "a picture of %u x %u pixels is too large", width, height);
    return EFM_OK;
}

enum efm_status efm_raster_allocate(struct efm_raster *raster, struct efm_error *error)
{
    size_t bytes;
    enum efm_status status = check_size(raster->width, raster->height, raster->channels, &bytes, error);
    if (status != EFM_OK)
        return status;
    raster->pixels = efm_allocate(bytes);
    if (raster->pixels == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a picture of %u x %u pixels", raster->width,
                             raster->height);
    return EFM_OK;
}

void efm_raster_release(struct efm_raster *raster)
{
    efm_free(raster->pixels);
    *raster = (struct efm_raster){0};
}

enum efm_status efm_image_allocate(struct efm_image *image, uint32_t width, uint32_t height,
                                   uint32_t channels, struct efm_error *error)
{
    *image = (struct efm_image){0};
    if (width == 0 || height == 0 || (channels != 1 && channels != 3))
        return efm_error_set(error, EFM_E_ARGUMENT, "a picture cannot have the shape [%u, %u, %u]", height,
                             width, channels);
    struct efm_raster raster = {.width = width, .height = height, .channels = channels};
    enum efm_status status = efm_raster_allocate(&raster, error);
    if (status == EFM_OK)
        *image = (struct efm_image){width, height, channels, raster.pixels};
    return status;
}

enum efm_status efm_image_create(struct efm_image *image, uint32_t width, uint32_t height, uint32_t channels,
                                 struct efm_error *error)
{
    enum efm_status status = efm_image_allocate(image, width, height, channels, error);
    if (status == EFM_OK)
        memset(image->pixels, 0, (size_t)width * height * channels);
    return status;
}

void efm_image_release(struct efm_image *image)
{
    efm_free(image->pixels);
    *image = (struct efm_image){0};
}

enum efm_status efm_image_encode(struct efm_buffer *out, const struct efm_image *image,
                                 enum efm_image_format format, int quality, const struct efm_image_text *text,
                                 size_t text_count, struct efm_error *error)
{
    const struct efm_codec *codec = codec_of_format(format);
    if (codec == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no image format number %d", (int)format);
    if (image->pixels == NULL || image->width == 0 || image->height == 0 ||
        (image->channels != 1 && image->channels != 3))
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no picture to write");
    if (format != EFM_IMAGE_PNG && (quality < 1 || quality > 100))
        return efm_error_set(error, EFM_E_ARGUMENT, "the quality %d is not within 1 and 100", quality);
    size_t start = out->size;
    enum efm_status status = codec->encode(out, image, quality, text, text_count, error);
    if (status != EFM_OK)
        out->size = start;
    return status;
}
