/* samples.h - small files for the tests of core/data: images, tars, gzip, and the reading of bytes. */
#ifndef EFM_TESTS_DATA_SAMPLES_H
#define EFM_TESTS_DATA_SAMPLES_H

#include "core/base/buffer.h"
#include "core/data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

static inline struct efm_buffer new_buffer(void)
{
    return efm_buffer_limited(16 << 20);
}

/* A PNG of one colour. */
static inline void append_png(struct efm_buffer *out, uint32_t width, uint32_t height, uint32_t channels,
                              uint8_t value)
{
    struct efm_image image = {0};
    assert_int_equal(efm_image_create(&image, width, height, channels, NULL), EFM_OK);
    memset(image.pixels, value, (size_t)width * height * channels);
    assert_int_equal(efm_image_encode(out, &image, EFM_IMAGE_PNG, 0, NULL, 0, NULL), EFM_OK);
    efm_image_release(&image);
}

/* The header of an entry; `magic` "ustar" is POSIX, "" the form before it. */
static inline void append_tar_header(struct efm_buffer *out, const char *name, char type, size_t size,
                                     const char *magic)
{
    char header[512] = {0};
    memcpy(header, name, strnlen(name, 100));
    snprintf(header + 100, 8, "%07o", 0644u);
    char digits[32];
    snprintf(digits, sizeof digits, "%011zo", size);
    memcpy(header + 124, digits, 11);
    header[156] = type;
    memcpy(header + 257, magic, strlen(magic));
    if (magic[0] != '\0')
        memcpy(header + 263, "00", 2);
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < sizeof header; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    header[155] = ' ';
    efm_buffer_append(out, header, sizeof header);
}

static inline void append_tar_data(struct efm_buffer *out, const void *data, size_t size)
{
    static const char zeros[512];
    efm_buffer_append(out, data, size);
    efm_buffer_append(out, zeros, (512 - size % 512) % 512);
}

static inline void append_tar_entry(struct efm_buffer *out, const char *name, char type, const void *data,
                                    size_t size)
{
    append_tar_header(out, name, type, size, "ustar");
    append_tar_data(out, data, size);
}

static inline void append_tar_end(struct efm_buffer *out)
{
    static const char zeros[1024];
    efm_buffer_append(out, zeros, sizeof zeros);
    assert_int_equal(out->status, EFM_OK);
}

/* A grey or RGB picture of one colour as an entry. */
static inline void append_tar_image(struct efm_buffer *out, const char *name, uint32_t width, uint32_t height,
                                    uint32_t channels, uint8_t value)
{
    struct efm_buffer png = new_buffer();
    append_png(&png, width, height, channels, value);
    append_tar_entry(out, name, '0', png.data, png.size);
    efm_buffer_release(&png);
}

static inline void append_gzip(struct efm_buffer *out, const void *data, size_t size)
{
    z_stream stream = {0};
    uint8_t chunk[4096];
    int result = Z_OK;
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (z_const Bytef *)data;
    stream.avail_in = (uInt)size;
    while (result != Z_STREAM_END) {
        stream.next_out = chunk;
        stream.avail_out = sizeof chunk;
        result = deflate(&stream, Z_FINISH);
        efm_buffer_append(out, chunk, sizeof chunk - stream.avail_out);
    }
    deflateEnd(&stream);
}

/* Reads an exact heap copy, so that a sanitizer sees every byte too many; NULL options are the default. */
static inline enum efm_status read_bytes(struct efm_dataset **dataset, const void *bytes, size_t size,
                                         const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_dataset_options standard = efm_dataset_options_default();
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    efm_error_clear(error);
    *dataset = NULL;
    enum efm_status status =
        efm_dataset_read(dataset, copy, size, options != NULL ? options : &standard, error);
    free(copy);
    if (status != EFM_OK) {
        assert_null(*dataset);
        assert_int_equal(error->status, status);
        assert_true(error->message[0] != '\0' && error->message[strlen(error->message) - 1] != '.');
    }
    return status;
}

/* Expects a failure, and words in its message. */
static inline void assert_refused(const void *bytes, size_t size, const struct efm_dataset_options *options,
                                  enum efm_status wanted, const char *words)
{
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    enum efm_status status = read_bytes(&dataset, bytes, size, options, &error);
    if (status != wanted || strstr(error.message, words) == NULL)
        fail_msg("got %s: %s; expected %s: ...%s...", efm_status_name(status), error.message,
                 efm_status_name(wanted), words);
}

/* Each shorter file must be refused as damaged, never read past its end. */
static inline void assert_truncations_refused(const void *bytes, size_t size)
{
    for (size_t shorter = 0; shorter < size; shorter++) {
        struct efm_error error = {0};
        struct efm_dataset *dataset;
        enum efm_status status = read_bytes(&dataset, bytes, shorter, NULL, &error);
        if (status != EFM_E_FORMAT)
            fail_msg("cut to %zu of %zu bytes: %s: %s", shorter, size, efm_status_name(status),
                     error.message);
    }
}

#endif
