// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <spng.h>
#include <string.h>
#include <zlib.h> /* Z_RLE */

enum {
    SIGNATURE_SIZE = 8,
    IHDR_SIZE = 13,
    CHUNK_FRAME = 12,
    HEADER_SIZE = SIGNATURE_SIZE + CHUNK_FRAME + IHDR_SIZE
};

static const uint8_t signature[SIGNATURE_SIZE] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

static bool matches(const uint8_t *bytes, size_t size)
{
    return size >= SIGNATURE_SIZE && memcmp(bytes, signature, SIGNATURE_SIZE) == 0;
}

static bool is_legal_depth(uint32_t colour_type, uint32_t bits)
{
    switch (colour_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
        return bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16;
    case SPNG_COLOR_TYPE_INDEXED:
        return bits == 1 || bits == 2 || bits == 4 || bits == 8;
    case SPNG_COLOR_TYPE_TRUECOLOR:
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
        return bits == 8 || bits == 16;
    default:
        return false;
    }
}

static enum efm_status probe(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                             struct efm_error *error)
{
    static const uint8_t channels[7] = {1, 0, 3, 3, 2, 0, 4}; /* by colour type */
    if (size < HEADER_SIZE)
        return efm_error_set(error, EFM_E_FORMAT, "the PNG is truncated after %zu bytes", size);
    const uint8_t *chunk = bytes + SIGNATURE_SIZE;
    if (efm_read_be32(chunk) != IHDR_SIZE || memcmp(chunk + 4, "IHDR", 4) != 0)
        return efm_error_set(error, EFM_E_FORMAT, "the PNG does not begin with its header");
    const uint8_t *header = chunk + 8;
    uint32_t bits = header[8];
    uint32_t colour_type = header[9];
    if (!is_legal_depth(colour_type, bits))
        return efm_error_set(error, EFM_E_FORMAT, "the PNG claims colour type %u with %u bits", colour_type,
                             bits);
    info->width = efm_read_be32(header);
    info->height = efm_read_be32(header + 4);
    info->channels = channels[colour_type];
    info->bits = bits;
    return EFM_OK;
}

/* libspng takes an allocator without a context, and its realloc needs the old size: it is kept in front. */
static void *spng_allocate(size_t size)
{
    size_t padded;
    if (!efm_size_add(size, EFM_ALIGNMENT, &padded))
        return NULL;
    char *block = efm_allocate(padded);
    if (block == NULL)
        return NULL;
    memcpy(block, &size, sizeof size);
    return block + EFM_ALIGNMENT;
}

static void spng_release(void *pointer)
{
    if (pointer != NULL)
        efm_free((char *)pointer - EFM_ALIGNMENT);
}

static void *spng_allocate_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (!efm_size_multiply(count, size, &bytes))
        return NULL;
    void *pointer = spng_allocate(bytes);
    if (pointer != NULL)
        memset(pointer, 0, bytes);
    return pointer;
}

static void *spng_reallocate(void *pointer, size_t size)
{
    void *grown = spng_allocate(size);
    if (grown == NULL || pointer == NULL)
        return grown;
    size_t old_size;
    memcpy(&old_size, (char *)pointer - EFM_ALIGNMENT, sizeof old_size);
    memcpy(grown, pointer, old_size < size ? old_size : size);
    spng_release(pointer);
    return grown;
}

static spng_ctx *create_context(int flags, struct efm_error *error)
{
    struct spng_alloc allocator = {spng_allocate, spng_reallocate, spng_allocate_zeroed, spng_release};
    spng_ctx *context = spng_ctx_new2(&allocator, flags);
    if (context == NULL)
        efm_error_set(error, EFM_E_MEMORY, "no memory for a PNG");
    return context;
}

/* The file as libspng gets to see it: only the chunks that make the picture. Profiles, texts and whatever
 * else may be attached never reach it, so they can neither cost memory nor spoil a good picture. */
struct chunk_stream {
    const uint8_t *bytes;
    size_t size;
    size_t at;
    size_t left; /* bytes of the present piece still to be handed out */
};

static bool shapes_the_picture(const uint8_t *type)
{
    bool critical = (type[0] & 0x20) == 0;
    return critical || memcmp(type, "tRNS", 4) == 0;
}

/* The size of the chunk at `at` with its frame, or 0 when the file ends within it. */
static size_t chunk_extent(const uint8_t *bytes, size_t size, size_t at)
{
    if (size - at < CHUNK_FRAME)
        return 0;
    size_t extent = (size_t)efm_read_be32(bytes + at) + CHUNK_FRAME;
    return extent <= size - at ? extent : 0;
}

static int read_stream(spng_ctx *context, void *user, void *target, size_t length)
{
    (void)context;
    struct chunk_stream *stream = user;
    uint8_t *to = target;
    while (length > 0) {
        if (stream->left == 0) {
            size_t extent = chunk_extent(stream->bytes, stream->size, stream->at);
            if (extent == 0)
                return SPNG_IO_EOF;
            if (!shapes_the_picture(stream->bytes + stream->at + 4)) {
                stream->at += extent;
                continue;
            }
            stream->left = extent;
        }
        size_t piece = length < stream->left ? length : stream->left;
        memcpy(to, stream->bytes + stream->at, piece);
        to += piece;
        length -= piece;
        stream->at += piece;
        stream->left -= piece;
    }
    return SPNG_OK;
}

/* What the chunks before the pixels say. */
struct chunk_facts {
    bool transparent;
    int orientation;
};

static enum efm_status survey(const uint8_t *bytes, size_t size, struct chunk_facts *facts,
                              struct efm_error *error)
{
    *facts = (struct chunk_facts){.orientation = 1};
    size_t at = SIGNATURE_SIZE;
    bool before_pixels = true;
    for (;;) {
        size_t extent = chunk_extent(bytes, size, at);
        if (extent == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the PNG is truncated after %zu bytes", size);
        const uint8_t *type = bytes + at + 4;
        if (memcmp(type, "IEND", 4) == 0)
            return EFM_OK;
        if (memcmp(type, "IDAT", 4) == 0)
            before_pixels = false;
        else if (memcmp(type, "tRNS", 4) == 0 && before_pixels)
            facts->transparent = true;
        else if (memcmp(type, "eXIf", 4) == 0)
            facts->orientation = efm_exif_orientation(bytes + at + 8, extent - CHUNK_FRAME);
        at += extent;
    }
}

static enum efm_status spng_failure(int code, struct efm_error *error)
{
    switch (code) {
    case SPNG_EMEM:
    case SPNG_EZLIB_INIT:
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a PNG");
    case SPNG_ECHUNK_UNKNOWN_CRITICAL:
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the PNG uses an extension that is not supported");
    default:
        return efm_error_set(error, EFM_E_FORMAT, "the PNG is damaged: %s", spng_strerror(code));
    }
}

/* 0 or an error of libspng. */
static int read_picture(spng_ctx *context, struct chunk_stream *stream, struct efm_raster *raster)
{
    int code = spng_set_image_limits(context, raster->width, raster->height);
    if (code == SPNG_OK)
        code = spng_set_png_stream(context, read_stream, stream);
    if (code != SPNG_OK)
        return code;
    bool alpha = raster->channels == 4;
    code =
        spng_decode_image(context, raster->pixels, (size_t)raster->width * raster->height * raster->channels,
                          alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8, alpha ? SPNG_DECODE_TRNS : 0);
    if (code != SPNG_OK)
        return code;
    return spng_decode_chunks(context); /* up to the end, so that a damaged tail is noticed */
}

static int read_once(const uint8_t *bytes, size_t size, struct efm_raster *raster, struct efm_error *error)
{
    struct chunk_stream stream = {.bytes = bytes, .size = size, .left = SIGNATURE_SIZE};
    spng_ctx *context = create_context(0, error);
    if (context == NULL)
        return SPNG_EMEM;
    int code = read_picture(context, &stream, raster);
    spng_ctx_free(context);
    return code;
}

static enum efm_status decode(struct efm_raster *raster, const uint8_t *bytes, size_t size,
                              const struct efm_image_info *info, struct efm_error *error)
{
    struct chunk_facts facts;
    enum efm_status status = survey(bytes, size, &facts, error);
    if (status != EFM_OK)
        return status;
    bool alpha = facts.transparent || info->channels == 2 || info->channels == 4;
    *raster = (struct efm_raster){.width = info->width,
                                  .height = info->height,
                                  .channels = alpha ? 4 : 3,
                                  .grey = info->channels <= 2,
                                  .orientation = facts.orientation};
    status = efm_raster_allocate(raster, error);
    if (status != EFM_OK)
        return status;
    int code = read_once(bytes, size, raster, error);
    /* zlib takes its window at first use, and libspng reports that failure as a damaged stream: only a
     * second try tells them apart */
    if (code == SPNG_EIDAT_STREAM)
        code = read_once(bytes, size, raster, error);
    if (code != SPNG_OK) {
        status = spng_failure(code, error);
        efm_raster_release(raster);
    }
    return status;
}

static int write_stream(spng_ctx *context, void *user, void *bytes, size_t length)
{
    (void)context;
    return efm_buffer_append(user, bytes, length) == EFM_OK ? SPNG_OK : SPNG_IO_ERROR;
}

static enum efm_status check_text(const struct efm_image_text *text, struct efm_error *error)
{
    size_t length = strnlen(text->key, 80);
    if (length < 1 || length > 79)
        return efm_error_set(error, EFM_E_ARGUMENT, "a PNG text key must have 1 to 79 bytes");
    if (strlen(text->value) > INT32_MAX)
        return efm_error_set(error, EFM_E_LIMIT, "the PNG text '%s' is too long", text->key);
    return EFM_OK;
}

static enum efm_status add_texts(spng_ctx *context, const struct efm_image_text *text, size_t text_count,
                                 struct efm_error *error)
{
    if (text_count == 0)
        return EFM_OK;
    if (text_count > UINT16_MAX)
        return efm_error_set(error, EFM_E_LIMIT, "%zu texts are too many for a PNG", text_count);
    struct spng_text *chunks = efm_allocate_array(text_count, sizeof *chunks);
    if (chunks == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the texts of a PNG");
    enum efm_status status = EFM_OK;
    uint32_t count = 0;
    for (size_t i = 0; i < text_count; i++) {
        status = check_text(&text[i], error);
        if (status != EFM_OK)
            goto done;
        if (text[i].value[0] == '\0') /* refused by libspng, and says nothing */
            continue;
        struct spng_text *chunk = &chunks[count++];
        memcpy(chunk->keyword, text[i].key, strlen(text[i].key));
        chunk->type = SPNG_TEXT;
        chunk->length = strlen(text[i].value);
        chunk->text = (char *)(uintptr_t)text[i].value; /* borrowed until the picture is written, only read */
    }
    int code = count == 0 ? SPNG_OK : spng_set_text(context, chunks, count);
    if (code == SPNG_EMEM)
        status = efm_error_set(error, EFM_E_MEMORY, "no memory for the texts of a PNG");
    else if (code != SPNG_OK)
        status = efm_error_set(error, EFM_E_ARGUMENT, "a PNG text is refused: %s", spng_strerror(code));
done:
    efm_free(chunks);
    return status;
}

static int write_picture(spng_ctx *context, struct efm_buffer *out, const struct efm_image *image)
{
    struct spng_ihdr header = {.width = image->width,
                               .height = image->height,
                               .bit_depth = 8,
                               .color_type = image->channels == 1 ? SPNG_COLOR_TYPE_GRAYSCALE
                                                                  : SPNG_COLOR_TYPE_TRUECOLOR};
    int code = spng_set_ihdr(context, &header);
    if (code == SPNG_OK)
        code = spng_set_png_stream(context, write_stream, out);
    if (code != SPNG_OK)
        return code;
    return spng_encode_image(context, image->pixels, (size_t)image->width * image->height * image->channels,
                             SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
}

/* Measured on photographs and noise of 32 to 256 a side: runs of one byte after the Paeth filter are both
 * smaller and three times faster to find than zlib's longer matches at its low levels, and they need no
 * large tables, whose clearing was most of the time of a small picture. */
static void choose_effort(spng_ctx *context)
{
    spng_set_option(context, SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_PAETH);
    spng_set_option(context, SPNG_IMG_COMPRESSION_STRATEGY, Z_RLE);
    spng_set_option(context, SPNG_IMG_COMPRESSION_LEVEL, 3);
    spng_set_option(context, SPNG_IMG_WINDOW_BITS, 12);
    spng_set_option(context, SPNG_IMG_MEM_LEVEL, 6);
}

static enum efm_status encode(struct efm_buffer *out, const struct efm_image *image, int quality,
                              const struct efm_image_text *text, size_t text_count, struct efm_error *error)
{
    (void)quality;
    spng_ctx *context = create_context(SPNG_CTX_ENCODER, error);
    if (context == NULL)
        return EFM_E_MEMORY;
    choose_effort(context);
    enum efm_status status = add_texts(context, text, text_count, error);
    if (status != EFM_OK)
        goto done;
    int code = write_picture(context, out, image);
    if (out->status != EFM_OK)
        status = efm_error_set(error, out->status, "no room for the PNG in %zu bytes", out->limit);
    else if (code == SPNG_EMEM || code == SPNG_EZLIB_INIT)
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to write a PNG");
    else if (code != SPNG_OK)
        status = efm_error_set(error, EFM_E_INTERNAL, "the PNG cannot be written: %s", spng_strerror(code));
done:
    spng_ctx_free(context);
    return status;
}

const struct efm_codec efm_codec_png = {
    .format = EFM_IMAGE_PNG,
    .title = "PNG",
    .matches = matches,
    .probe = probe,
    .decode = decode,
    .encode = encode,
};
