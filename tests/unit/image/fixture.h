// SPDX-License-Identifier: Apache-2.0
/* fixture.h - the small pictures of tests/data/image, and checks on what became of them.
 *
 *     struct fixture file = fixture_read("rgb8.png");
 *     fixture_decode(&image, &file, fixture_options());
 *     fixture_release(&file);
 *
 * Threads: one. Errors end the test. */
#ifndef TEST_IMAGE_FIXTURE_H
#define TEST_IMAGE_FIXTURE_H

#include "core/image/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef IMAGE_FIXTURES /* the build gives the full path */
#define IMAGE_FIXTURES "tests/data/image"
#endif

struct fixture {
    uint8_t *bytes; /* owned, exactly `size` bytes, so that a sanitizer sees reads past the end */
    size_t size;
};

static inline struct fixture fixture_copy(const uint8_t *bytes, size_t size)
{
    struct fixture file = {malloc(size > 0 ? size : 1), size};
    assert_non_null(file.bytes);
    if (size > 0)
        memcpy(file.bytes, bytes, size);
    return file;
}

static inline struct fixture fixture_read(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", IMAGE_FIXTURES, name);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        fail_msg("cannot open %s", path);
    uint8_t bytes[16384];
    size_t size = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    assert_in_range(size, 1, sizeof bytes - 1);
    return fixture_copy(bytes, size);
}

static inline void fixture_release(struct fixture *file)
{
    free(file->bytes);
    *file = (struct fixture){0};
}

/* As in the file, over black. */
static inline struct efm_image_options fixture_options(void)
{
    return (struct efm_image_options){.limits = efm_image_limits_default()};
}

static inline void fixture_decode(struct efm_image *image, const struct fixture *file,
                                  struct efm_image_options options)
{
    struct efm_error error = {0};
    enum efm_status status = efm_image_decode(image, file->bytes, file->size, &options, &error);
    if (status != EFM_OK)
        fail_msg("%s: %s", efm_status_name(status), error.message);
}

static inline void fixture_decode_name(struct efm_image *image, const char *name,
                                       struct efm_image_options options)
{
    struct fixture file = fixture_read(name);
    fixture_decode(image, &file, options);
    fixture_release(&file);
}

/* Decoding must fail with `status` and a message that contains `words`. */
static inline void fixture_refuse(const struct fixture *file, struct efm_image_options options,
                                  enum efm_status status, const char *words)
{
    struct efm_image image = {.width = 77};
    struct efm_error error = {0};
    assert_int_equal(efm_image_decode(&image, file->bytes, file->size, &options, &error), status);
    assert_int_equal(error.status, status);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, words);
    assert_null(image.pixels);
    efm_image_release(&image);
}

static inline const uint8_t *pixel_at(const struct efm_image *image, uint32_t x, uint32_t y)
{
    return image->pixels + ((size_t)y * image->width + x) * image->channels;
}

static inline void assert_pixel(const struct efm_image *image, uint32_t x, uint32_t y, int red, int green,
                                int blue, int tolerance)
{
    const uint8_t *pixel = pixel_at(image, x, y);
    int wanted[3] = {red, green, blue};
    for (uint32_t c = 0; c < image->channels; c++)
        if (abs(pixel[c] - wanted[c]) > tolerance)
            fail_msg("channel %u at (%u, %u) is %d, not %d", c, x, y, pixel[c], wanted[c]);
}

static inline void assert_size(const struct efm_image *image, uint32_t width, uint32_t height,
                               uint32_t channels)
{
    assert_int_equal(image->width, width);
    assert_int_equal(image->height, height);
    assert_int_equal(image->channels, channels);
}

/* Red, green above blue, white: the quadrants of the fixtures, looked at in their middles. */
static inline void assert_quadrants(const struct efm_image *image, int tolerance)
{
    uint32_t left = image->width / 4, right = image->width * 3 / 4;
    uint32_t top = image->height / 4, bottom = image->height * 3 / 4;
    assert_pixel(image, left, top, 255, 0, 0, tolerance);
    assert_pixel(image, right, top, 0, 255, 0, tolerance);
    assert_pixel(image, left, bottom, 0, 0, 255, tolerance);
    assert_pixel(image, right, bottom, 255, 255, 255, tolerance);
}

static inline void assert_grey_quadrants(const struct efm_image *image, const int levels[4], int tolerance)
{
    uint32_t left = image->width / 4, right = image->width * 3 / 4;
    uint32_t top = image->height / 4, bottom = image->height * 3 / 4;
    assert_int_equal(image->channels, 1);
    assert_pixel(image, left, top, levels[0], 0, 0, tolerance);
    assert_pixel(image, right, top, levels[1], 0, 0, tolerance);
    assert_pixel(image, left, bottom, levels[2], 0, 0, tolerance);
    assert_pixel(image, right, bottom, levels[3], 0, 0, tolerance);
}

/* A picture with colour, edges and gradients everywhere, the same each time. */
static inline void fixture_paint(struct efm_image *image, uint32_t width, uint32_t height, uint32_t channels)
{
    assert_int_equal(efm_image_create(image, width, height, channels, NULL), EFM_OK);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++)
                image->pixels[((size_t)y * width + x) * channels + c] =
                    (uint8_t)(x * 200 / width + y * 50 / height + (x / 4 + y / 4) % 2 * 5 * (c + 1));
}

static inline struct fixture fixture_encode(const struct efm_image *image, enum efm_image_format format,
                                            int quality)
{
    struct efm_buffer out = efm_buffer_limited(1 << 24);
    struct efm_error error = {0};
    if (efm_image_encode(&out, image, format, quality, NULL, 0, &error) != EFM_OK)
        fail_msg("%s", error.message);
    struct fixture file = fixture_copy(out.data, out.size);
    efm_buffer_release(&out);
    return file;
}

/* The greatest difference between two pictures of one size. */
static inline int fixture_difference(const struct efm_image *a, const struct efm_image *b)
{
    assert_size(a, b->width, b->height, b->channels);
    int greatest = 0;
    for (size_t i = 0; i < (size_t)a->width * a->height * a->channels; i++) {
        int difference = abs(a->pixels[i] - b->pixels[i]);
        greatest = difference > greatest ? difference : greatest;
    }
    return greatest;
}

#endif
