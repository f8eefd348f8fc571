// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which needs FILE */
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

enum {
    MAX_SCANS = 64, /* the usual progressive file has 10; every scan walks over the whole picture */
    FULL_COLOUR_QUALITY = 90,
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_APP1 = 0xe1,
};

static bool matches(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0xff && bytes[1] == MARKER_SOI && bytes[2] == 0xff;
}

/* One marker of the header and what it carries. */
struct segment {
    int marker;
    const uint8_t *payload; /* borrowed */
    size_t size;
};

static bool has_payload(int marker)
{
    return marker != 0x01 && (marker < 0xd0 || marker > MARKER_EOI);
}

/* Finds the segment at or after *at and moves on past it; false when the file ends. */
static bool next_segment(const uint8_t *bytes, size_t size, size_t *at, struct segment *segment)
{
    size_t i = *at;
    while (i < size && bytes[i] != 0xff)
        i++;
    while (i < size && bytes[i] == 0xff)
        i++;
    if (i >= size)
        return false;
    *segment = (struct segment){.marker = bytes[i++]};
    if (has_payload(segment->marker) && segment->marker != 0) {
        if (size - i < 2)
            return false;
        size_t length = efm_read_be16(bytes + i);
        if (length < 2 || length > size - i)
            return false;
        segment->payload = bytes + i + 2;
        segment->size = length - 2;
        i += length;
    }
    *at = i;
    return true;
}

static bool is_frame_header(int marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static enum efm_status read_frame_header(const struct segment *segment, struct efm_image_info *info,
                                         struct efm_error *error)
{
    if (segment->size < 6)
        return efm_error_set(error, EFM_E_FORMAT, "the JPEG is damaged: its frame header is too short");
    if (segment->marker > 0xc2)
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "the JPEG is of a rare kind (frame type %d) that is not supported",
                             segment->marker - 0xc0);
    uint32_t bits = segment->payload[0];
    uint32_t components = segment->payload[5];
    if (bits != 8)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the JPEG has %u bits a sample, only 8 are supported",
                             bits);
    if (components != 1 && components != 3 && components != 4)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the JPEG has %u colour components", components);
    info->bits = bits;
    info->height = efm_read_be16(segment->payload + 1);
    info->width = efm_read_be16(segment->payload + 3);
    info->channels = components;
    info->cmyk = components == 4;
    return EFM_OK;
}

static enum efm_status probe(const uint8_t *bytes, size_t size, struct efm_image_info *info,
                             struct efm_error *error)
{
    size_t at = 2;
    struct segment segment;
    while (next_segment(bytes, size, &at, &segment)) {
        if (is_frame_header(segment.marker))
            return read_frame_header(&segment, info, error);
        if (segment.marker == MARKER_SOS || segment.marker == MARKER_EOI)
            return efm_error_set(error, EFM_E_FORMAT, "the JPEG is damaged: it has no frame header");
    }
    return efm_error_set(error, EFM_E_FORMAT, "the JPEG is truncated after %zu bytes", size);
}

static int find_orientation(const uint8_t *bytes, size_t size)
{
    size_t at = 2;
    struct segment segment;
    while (next_segment(bytes, size, &at, &segment)) {
        if (segment.marker == MARKER_SOS || segment.marker == MARKER_EOI)
            break;
        if (segment.marker == MARKER_APP1 && segment.size >= 6 && memcmp(segment.payload, "Exif\0\0", 6) == 0)
            return efm_exif_orientation(segment.payload, segment.size);
    }
    return 1;
}

/* libjpeg reports through callbacks and is left by longjmp. All that changes on the way lives in a reader or
 * a writer outside of the function that calls setjmp, so nothing is lost in a register. A session is the
 * first member of both, so client_data can be seen as either. */
struct session {
    struct jpeg_error_mgr manager;
    jmp_buf escape;
    struct efm_error *error; /* borrowed */
    enum efm_status status;
};

static _Noreturn void escape(struct session *session, enum efm_status status)
{
    session->status = status;
    longjmp(session->escape, 1);
}

static enum efm_status status_of_code(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY:
        return EFM_E_MEMORY;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_SOF_UNSUPPORTED:
        return EFM_E_UNSUPPORTED;
    default:
        return EFM_E_FORMAT;
    }
}

static void on_error(j_common_ptr common)
{
    struct session *session = common->client_data;
    char reason[JMSG_LENGTH_MAX];
    common->err->format_message(common, reason);
    enum efm_status status = status_of_code(common->err->msg_code);
    if (common->err->msg_code == JWRN_JPEG_EOF)
        efm_error_set(session->error, status, "the JPEG is truncated");
    else if (status == EFM_E_MEMORY)
        efm_error_set(session->error, status, "no memory for a JPEG");
    else if (status == EFM_E_UNSUPPORTED)
        efm_error_set(session->error, status, "the JPEG is of a kind that is not supported: %s", reason);
    else
        efm_error_set(session->error, status, "the JPEG is damaged: %s", reason);
    escape(session, status);
}

/* libjpeg goes on after damage and fills in grey; a model must not see that. What is let through leaves the
 * pixels as they were meant. */
static void on_message(j_common_ptr common, int level)
{
    if (level >= 0)
        return;
    switch (common->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
        return;
    default:
        on_error(common);
    }
}

static void on_output(j_common_ptr common)
{
    (void)common;
}

static void prepare(struct session *session, struct efm_error *error)
{
    jpeg_std_error(&session->manager);
    session->manager.error_exit = on_error;
    session->manager.emit_message = on_message;
    session->manager.output_message = on_output;
    session->error = error;
}

struct reader {
    struct session session;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_progress_mgr progress;
    struct efm_raster *raster; /* borrowed */
};

static void on_progress(j_common_ptr common)
{
    j_decompress_ptr jpeg = (j_decompress_ptr)common;
    struct session *session = common->client_data;
    if (jpeg->input_scan_number <= MAX_SCANS)
        return;
    efm_error_set(session->error, EFM_E_LIMIT, "the JPEG has more than %d scans", MAX_SCANS);
    escape(session, EFM_E_LIMIT);
}

static void read_rows(struct reader *reader)
{
    struct jpeg_decompress_struct *jpeg = &reader->jpeg;
    size_t row_size = (size_t)reader->raster->width * reader->raster->channels;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW rows[8];
        for (size_t i = 0; i < 8; i++) {
            size_t y = jpeg->output_scanline + i;
            rows[i] = reader->raster->pixels + (y < jpeg->output_height ? y : 0) * row_size;
        }
        JDIMENSION left = jpeg->output_height - jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, rows, left < 8 ? left : 8);
    }
}

static enum efm_status read_picture(struct reader *reader, const uint8_t *bytes, size_t size)
{
    struct jpeg_decompress_struct *jpeg = &reader->jpeg;
    if (setjmp(reader->session.escape) != 0)
        return reader->session.status;
    jpeg_create_decompress(jpeg);
    reader->progress.progress_monitor = on_progress;
    jpeg->progress = &reader->progress;
    jpeg_mem_src(jpeg, bytes, (unsigned long)size);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->image_width != reader->raster->width || jpeg->image_height != reader->raster->height)
        return efm_error_set(reader->session.error, EFM_E_FORMAT, "the JPEG is damaged: it has two sizes");
    jpeg->out_color_space = reader->raster->grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(jpeg);
    if (jpeg->output_components != (int)reader->raster->channels)
        return efm_error_set(reader->session.error, EFM_E_UNSUPPORTED,
                             "the JPEG has %d colour components where %u are expected",
                             jpeg->output_components, reader->raster->channels);
    enum efm_status status = efm_raster_allocate(reader->raster, reader->session.error);
    if (status != EFM_OK)
        return status;
    read_rows(reader);
    jpeg_finish_decompress(jpeg);
    return EFM_OK;
}

static enum efm_status decode(struct efm_raster *raster, const uint8_t *bytes, size_t size,
                              const struct efm_image_info *info, struct efm_error *error)
{
    bool grey = info->channels == 1;
    *raster = (struct efm_raster){.width = info->width,
                                  .height = info->height,
                                  .channels = grey ? 1 : 3,
                                  .grey = grey,
                                  .orientation = find_orientation(bytes, size)};
    struct reader reader = {.raster = raster};
    prepare(&reader.session, error);
    reader.jpeg.err = &reader.session.manager;
    reader.jpeg.client_data = &reader;
    enum efm_status status = read_picture(&reader, bytes, size);
    jpeg_destroy_decompress(&reader.jpeg);
    if (status != EFM_OK)
        efm_raster_release(raster);
    return status;
}

struct writer {
    struct session session;
    struct jpeg_compress_struct jpeg;
    struct jpeg_destination_mgr destination;
    struct efm_buffer *out; /* borrowed */
    uint8_t piece[4096];
};

static void begin_piece(j_compress_ptr jpeg)
{
    struct writer *writer = (struct writer *)jpeg->client_data;
    writer->destination.next_output_byte = writer->piece;
    writer->destination.free_in_buffer = sizeof writer->piece;
}

static void append_piece(struct writer *writer, size_t size)
{
    enum efm_status status = efm_buffer_append(writer->out, writer->piece, size);
    if (status == EFM_OK)
        return;
    efm_error_set(writer->session.error, status, "no room for the JPEG in %zu bytes", writer->out->limit);
    escape(&writer->session, status);
}

static boolean flush_piece(j_compress_ptr jpeg)
{
    struct writer *writer = (struct writer *)jpeg->client_data;
    append_piece(writer, sizeof writer->piece);
    begin_piece(jpeg);
    return TRUE;
}

static void end_piece(j_compress_ptr jpeg)
{
    struct writer *writer = (struct writer *)jpeg->client_data;
    append_piece(writer, sizeof writer->piece - writer->destination.free_in_buffer);
}

static enum efm_status write_picture(struct writer *writer, const struct efm_image *image, int quality)
{
    struct jpeg_compress_struct *jpeg = &writer->jpeg;
    if (setjmp(writer->session.escape) != 0)
        return writer->session.status;
    jpeg_create_compress(jpeg);
    writer->destination.init_destination = begin_piece;
    writer->destination.empty_output_buffer = flush_piece;
    writer->destination.term_destination = end_piece;
    jpeg->dest = &writer->destination;
    jpeg->image_width = image->width;
    jpeg->image_height = image->height;
    jpeg->input_components = (int)image->channels;
    jpeg->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(jpeg);
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_set_quality(jpeg, quality, TRUE);
    if (quality >= FULL_COLOUR_QUALITY) /* small pictures suffer visibly from halved colour */
        jpeg->comp_info[0].h_samp_factor = jpeg->comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(jpeg, TRUE);
    size_t row_size = (size_t)image->width * image->channels;
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = image->pixels + jpeg->next_scanline * row_size;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
    return EFM_OK;
}

static enum efm_status encode(struct efm_buffer *out, const struct efm_image *image, int quality,
                              const struct efm_image_text *text, size_t text_count, struct efm_error *error)
{
    (void)text;
    (void)text_count;
    if (image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
        return efm_error_set(error, EFM_E_LIMIT, "a JPEG can have %ld pixels a side, not %u x %u",
                             JPEG_MAX_DIMENSION, image->width, image->height);
    struct writer writer = {.out = out};
    prepare(&writer.session, error);
    writer.jpeg.err = &writer.session.manager;
    writer.jpeg.client_data = &writer;
    enum efm_status status = write_picture(&writer, image, quality);
    jpeg_destroy_compress(&writer.jpeg);
    return status;
}

const struct efm_codec efm_codec_jpeg = {
    .format = EFM_IMAGE_JPEG,
    .title = "JPEG",
    .matches = matches,
    .probe = probe,
    .decode = decode,
    .encode = encode,
};
