// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

enum {
    RIFF_HEADER = 12,
    CHUNK_HEADER = 8,
    EXTENDED_PAYLOAD = 10,
    LOSSLESS_QUALITY = 100, /* of our encode */
    LOSSLESS_EFFORT = 2,    /* of 9: above it the time doubles for a few percent */
    LOSSY_METHOD = 4,       /* of 6, the default of libwebp */
};

static bool matches(const uint8_t *bytes, size_t size)
{
    return size >= RIFF_HEADER && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

static uint32_t read_le24(const uint8_t *bytes)
{
    return efm_read_le16(bytes) | (uint32_t)bytes[2] << 16;
}

/* The extended header says the size of the whole; libwebp would look further before it believes it, and a
 * bomb is better refused at the first word. NULL when the file has none. */
static const uint8_t *extended_header(const uint8_t *bytes, size_t size)
{
    if (size < RIFF_HEADER + CHUNK_HEADER + EXTENDED_PAYLOAD || memcmp(bytes + RIFF_HEADER, "VP8X", 4) != 0)
        return NULL;
    return bytes + RIFF_HEADER + CHUNK_HEADER;
}

static enum efm_status webp_failure(VP8StatusCode code, size_t size, struct efm_error *error)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a WebP");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the WebP is of a kind that is not supported");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return efm_error_set(error, EFM_E_FORMAT, "the WebP is truncated after %zu bytes", size);
    default:
        return efm_error_set(error, EFM_E_FORMAT, "the WebP is damaged");
    }
}

static enum efm_status probe(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                             struct efm_error *error)
{
    info->bits = 8;
    const uint8_t *extended = extended_header(bytes, size);
    if (extended != NULL) {
        info->channels = (extended[0] & ALPHA_FLAG) != 0 ? 4 : 3;
        info->width = read_le24(extended + 4) + 1;
        info->height = read_le24(extended + 7) + 1;
        if ((extended[0] & ANIMATION_FLAG) != 0)
            return efm_error_set(error, EFM_E_UNSUPPORTED,
                                 "the WebP is animated, only still pictures are taken");
        return EFM_OK;
    }
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(bytes, size, &features);
    if (code != VP8_STATUS_OK)
        return webp_failure(code, size, error);
    info->channels = features.has_alpha ? 4 : 3;
    info->width = (uint32_t)features.width;
    info->height = (uint32_t)features.height;
    return EFM_OK;
}

static enum efm_status find_orientation(const uint8_t *bytes, size_t size, int *orientation,
                                        struct efm_error *error)
{
    *orientation = 1;
    const uint8_t *extended = extended_header(bytes, size);
    if (extended == NULL || (extended[0] & EXIF_FLAG) == 0)
        return EFM_OK;
    WebPData data = {bytes, size};
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (demuxer == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the WebP is damaged: its parts do not fit together");
    WebPChunkIterator iterator;
    if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &iterator)) {
        *orientation = efm_exif_orientation(iterator.chunk.bytes, iterator.chunk.size);
        WebPDemuxReleaseChunkIterator(&iterator);
    }
    WebPDemuxDelete(demuxer);
    return EFM_OK;
}

static enum efm_status read_picture(struct efm_raster *raster, const uint8_t *bytes, size_t size,
                                    struct efm_error *error)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return efm_error_set(error, EFM_E_INTERNAL, "libwebp is not the version this was built for");
    VP8StatusCode code = WebPGetFeatures(bytes, size, &config.input);
    if (code != VP8_STATUS_OK)
        return webp_failure(code, size, error);
    if (config.input.has_animation || (uint32_t)config.input.width != raster->width ||
        (uint32_t)config.input.height != raster->height)
        return efm_error_set(error, EFM_E_FORMAT, "the WebP is damaged: its headers disagree");
    raster->channels = config.input.has_alpha ? 4 : 3;
    enum efm_status status = efm_raster_allocate(raster, error);
    if (status != EFM_OK)
        return status;
    size_t stride = (size_t)raster->width * raster->channels;
    config.output.colorspace = raster->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = raster->pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * raster->height;
    code = WebPDecode(bytes, size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? EFM_OK : webp_failure(code, size, error);
}

static enum efm_status decode(struct efm_raster *raster, const uint8_t *bytes, size_t size,
                              const struct efm_image_info *info, struct efm_error *error)
{
    *raster = (struct efm_raster){.width = info->width, .height = info->height};
    enum efm_status status = read_picture(raster, bytes, size, error);
    if (status == EFM_OK)
        status = find_orientation(bytes, size, &raster->orientation, error);
    if (status != EFM_OK)
        efm_raster_release(raster);
    return status;
}

static int append_bytes(const uint8_t *bytes, size_t size, const WebPPicture *picture)
{
    return efm_buffer_append(picture->custom_ptr, bytes, size) == EFM_OK;
}

static bool configure(WebPConfig *config, int quality)
{
    if (!WebPConfigInit(config))
        return false;
    if (quality >= LOSSLESS_QUALITY)
        return WebPConfigLosslessPreset(config, LOSSLESS_EFFORT);
    config->quality = (float)quality;
    config->method = LOSSY_METHOD;
    return WebPValidateConfig(config);
}

/* libwebp takes RGB only: a grey picture is widened for it. `wide` owns the copy when there is one. */
static enum efm_status import_pixels(WebPPicture *picture, const struct efm_image *image,
                                     struct efm_image *wide, struct efm_error *error)
{
    const uint8_t *pixels = image->pixels;
    if (image->channels == 1) {
        enum efm_status status = efm_image_allocate(wide, image->width, image->height, 3, error);
        if (status != EFM_OK)
            return status;
        size_t count = (size_t)image->width * image->height;
        for (size_t i = 0; i < count; i++)
            memset(wide->pixels + i * 3, image->pixels[i], 3);
        pixels = wide->pixels;
    }
    if (!WebPPictureImportRGB(picture, pixels, (int)image->width * 3))
        return efm_error_set(error, EFM_E_MEMORY, "no memory to write a WebP");
    return EFM_OK;
}

static enum efm_status encode_failure(const WebPPicture *picture, const struct efm_buffer *out,
                                      struct efm_error *error)
{
    if (out->status != EFM_OK)
        return efm_error_set(error, out->status, "no room for the WebP in %zu bytes", out->limit);
    if (picture->error_code == VP8_ENC_ERROR_OUT_OF_MEMORY ||
        picture->error_code == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to write a WebP");
    return efm_error_set(error, EFM_E_LIMIT, "the WebP cannot be written: error %d of libwebp",
                         (int)picture->error_code);
}

static enum efm_status encode(struct efm_buffer *out, const struct efm_image *image, int quality,
                              const struct efm_image_text *text, size_t text_count, struct efm_error *error)
{
    (void)text;
    (void)text_count;
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION)
        return efm_error_set(error, EFM_E_LIMIT, "a WebP can have %d pixels a side, not %u x %u",
                             WEBP_MAX_DIMENSION, image->width, image->height);
    WebPConfig config;
    WebPPicture picture;
    if (!configure(&config, quality) || !WebPPictureInit(&picture))
        return efm_error_set(error, EFM_E_INTERNAL, "libwebp is not the version this was built for");
    picture.use_argb = config.lossless;
    picture.width = (int)image->width;
    picture.height = (int)image->height;
    picture.writer = append_bytes;
    picture.custom_ptr = out;
    struct efm_image wide = {0};
    enum efm_status status = import_pixels(&picture, image, &wide, error);
    if (status == EFM_OK && !WebPEncode(&config, &picture))
        status = encode_failure(&picture, out, error);
    WebPPictureFree(&picture);
    efm_image_release(&wide);
    return status;
}

const struct efm_codec efm_codec_webp = {
    .format = EFM_IMAGE_WEBP,
    .title = "WebP",
    .matches = matches,
    .probe = probe,
    .decode = decode,
    .encode = encode,
};
