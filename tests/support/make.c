// SPDX-License-Identifier: Apache-2.0
#include "tests/support/make.h"

#include "core/base/memory.h"
#include "core/base/random.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(struct efm_buffer *out, const void *data, size_t size)
{
    assert_int_equal(efm_buffer_append(out, data, size), EFM_OK);
}

void test_make_pixels(uint8_t *pixels, uint32_t side, uint32_t channels, uint64_t seed)
{
    struct efm_random random;
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    double x = side * (0.25 + 0.5 * efm_random_uniform(&random));
    double y = side * (0.25 + 0.5 * efm_random_uniform(&random));
    double radius = side * (0.15 + 0.15 * efm_random_uniform(&random));
    double colour[3];
    for (size_t c = 0; c < 3; ++c)
        colour[c] = 64 + 191 * efm_random_uniform(&random);
    for (uint32_t row = 0; row < side; ++row)
        for (uint32_t column = 0; column < side; ++column) {
            double distance = hypot(column + 0.5 - x, row + 0.5 - y) / radius;
            for (uint32_t c = 0; c < channels; ++c)
                *pixels++ = (uint8_t)lrint(colour[c] * exp(-distance * distance));
        }
}

static void encode(struct efm_buffer *out, const struct efm_image *image, enum efm_image_format format)
{
    struct efm_error error = {0};
    if (efm_image_encode(out, image, format, 90, NULL, 0, &error) != EFM_OK)
        fail_msg("a test picture cannot be encoded: %s", error.message);
}

void test_make_picture(struct efm_buffer *out, uint32_t side, uint32_t channels, uint64_t seed,
                       enum efm_image_format format)
{
    struct efm_image image;
    assert_int_equal(efm_image_create(&image, side, side, channels, NULL), EFM_OK);
    test_make_pixels(image.pixels, side, channels, seed);
    encode(out, &image, format);
    efm_image_release(&image);
}

void test_make_plain_picture(struct efm_buffer *out, uint32_t width, uint32_t height)
{
    struct efm_image image;
    assert_int_equal(efm_image_create(&image, width, height, 3, NULL), EFM_OK);
    memset(image.pixels, 200, (size_t)width * height * 3);
    encode(out, &image, EFM_IMAGE_PNG);
    efm_image_release(&image);
}

void test_make_npy(struct efm_buffer *out, const char *type, const size_t *shape, size_t rank,
                   const void *data)
{
    char header[256], sizes[128] = "";
    size_t size = (size_t)(type[2] - '0'), used = 0;
    for (size_t i = 0; i < rank; ++i) {
        size *= shape[i];
        used += (size_t)snprintf(sizes + used, sizeof sizes - used, "%zu,", shape[i]);
    }
    int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                          type, sizes);
    size_t padded = ((size_t)length + 11 + 63) / 64 * 64 - 10;
    memset(header + length, ' ', padded - (size_t)length);
    header[padded - 1] = '\n';
    uint8_t start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)(padded & 255), (uint8_t)(padded >> 8)};
    append(out, start, sizeof start);
    append(out, header, padded);
    append(out, data, size);
}

static uint8_t *make_block(size_t count, uint32_t side, uint32_t channels, uint64_t first)
{
    size_t size = (size_t)side * side * channels;
    uint8_t *block = efm_allocate_array(count, size);
    assert_non_null(block);
    for (size_t i = 0; i < count; ++i)
        test_make_pixels(block + i * size, side, channels, first + i);
    return block;
}

void test_make_pictures_npy(struct efm_buffer *out, size_t count, uint32_t side, uint32_t channels,
                            uint64_t first)
{
    uint8_t *block = make_block(count, side, channels, first);
    test_make_npy(out, "|u1", (size_t[]){count, side, side, channels}, 4, block);
    efm_free(block);
}

void test_make_pictures_idx(struct efm_buffer *out, size_t count, uint32_t side, uint64_t first)
{
    uint8_t *block = make_block(count, side, 1, first);
    uint8_t head[16] = {0,
                        0,
                        8,
                        3,
                        0,
                        0,
                        (uint8_t)(count >> 8),
                        (uint8_t)count,
                        0,
                        0,
                        0,
                        (uint8_t)side,
                        0,
                        0,
                        0,
                        (uint8_t)side};
    assert_true(count < 65536 && side < 256);
    append(out, head, sizeof head);
    append(out, block, count * side * side);
    efm_free(block);
}

void test_tar_add(struct efm_buffer *out, const char *name, const void *data, size_t size)
{
    static const char zeros[512];
    char block[513] = "";
    unsigned sum = 0;
    snprintf(block, 100, "%s", name);
    memcpy(block + 100, "0000644\0000000000\0000000000", 23);
    snprintf(block + 124, 13, "%011zo", size);
    memcpy(block + 136, "00000000000", 11);
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257, "ustar\00000", 8);
    for (size_t i = 0; i < 512; ++i)
        sum += (uint8_t)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    append(out, block, 512);
    append(out, data, size);
    append(out, zeros, (512 - size % 512) % 512);
}

void test_tar_end(struct efm_buffer *out)
{
    static const char zeros[1024];
    append(out, zeros, sizeof zeros);
}

void test_make_pictures_tar(struct efm_buffer *out, size_t count, uint32_t side, uint32_t channels,
                            uint64_t first)
{
    for (size_t i = 0; i < count; ++i) {
        char name[32];
        struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
        snprintf(name, sizeof name, "%05zu.png", i);
        test_make_picture(&png, side, channels, first + i, EFM_IMAGE_PNG);
        test_tar_add(out, name, png.data, png.size);
        efm_buffer_release(&png);
    }
    test_tar_end(out);
}

float *test_read_npy(const uint8_t *bytes, size_t size, size_t *shape, size_t *rank)
{
    assert_true(size > 10 && memcmp(bytes, "\x93NUMPY\x01", 7) == 0);
    size_t header = bytes[8] + 256u * bytes[9], count = 1;
    char text[512] = "";
    assert_true(header < sizeof text && size >= 10 + header);
    memcpy(text, bytes + 10, header);
    assert_non_null(strstr(text, "'<f4'"));
    assert_non_null(strstr(text, "False"));
    char *next = strchr(strstr(text, "'shape'"), '(') + 1;
    for (*rank = 0; *next != ')' && *rank < 8; ++*rank) {
        shape[*rank] = strtoull(next, &next, 10);
        count *= shape[*rank];
        next += strspn(next, ", ");
    }
    assert_int_equal(size, 10 + header + count * sizeof(float));
    float *values = efm_allocate_array(count, sizeof(float));
    assert_non_null(values);
    memcpy(values, bytes + 10 + header, count * sizeof(float));
    return values;
}

void test_read_picture(struct efm_image *image, const uint8_t *bytes, size_t size)
{
    struct efm_image_options options = {.limits = efm_image_limits_default()};
    struct efm_error error = {0};
    if (efm_image_decode(image, bytes, size, &options, &error) != EFM_OK)
        fail_msg("the answer is not a picture: %s", error.message);
}

struct efm_buffer test_data_file(const char *path)
{
    char name[1024], block[4096];
    const char *folder = getenv("TEST_DATA");
    struct efm_buffer out = efm_buffer_limited(TEST_FILE_LIMIT);
    snprintf(name, sizeof name, "%s/%s", folder != NULL ? folder : "tests/data", path);
    FILE *file = fopen(name, "rb");
    if (file == NULL)
        fail_msg("%s cannot be read", name);
    for (size_t count = fread(block, 1, sizeof block, file); count > 0;
         count = fread(block, 1, sizeof block, file))
        append(&out, block, count);
    fclose(file);
    return out;
}
