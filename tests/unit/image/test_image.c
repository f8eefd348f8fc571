// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <time.h>

static void names_and_media_types(void **state)
{
    (void)state;
    assert_string_equal(efm_image_format_name(EFM_IMAGE_PNG), "png");
    assert_string_equal(efm_image_format_name(EFM_IMAGE_JPEG), "jpeg");
    assert_string_equal(efm_image_format_name(EFM_IMAGE_WEBP), "webp");
    assert_string_equal(efm_image_format_name(EFM_IMAGE_UNKNOWN), "unknown");
    assert_string_equal(efm_image_format_media_type(EFM_IMAGE_WEBP), "image/webp");
    assert_string_equal(efm_image_format_media_type(EFM_IMAGE_UNKNOWN), "application/octet-stream");
}

static void sniffs_by_the_first_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum efm_image_format format;
        size_t needed;
    } cases[] = {
        {"rgb8.png", EFM_IMAGE_PNG, 8}, {"rgb.jpg", EFM_IMAGE_JPEG, 3}, {"lossy.webp", EFM_IMAGE_WEBP, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture file = fixture_read(cases[i].name);
        for (size_t size = 0; size <= 16; size++) {
            struct fixture start = fixture_copy(file.bytes, size);
            assert_int_equal(efm_image_sniff(start.bytes, size),
                             size < cases[i].needed ? EFM_IMAGE_UNKNOWN : cases[i].format);
            fixture_release(&start);
        }
        fixture_release(&file);
    }
    assert_int_equal(efm_image_sniff(NULL, 0), EFM_IMAGE_UNKNOWN);
}

static void refuses_what_is_no_image(void **state)
{
    (void)state;
    struct fixture file = {NULL, 0};
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "empty");
    file = fixture_copy((const uint8_t *)"hello, world", 12);
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "the 12 bytes are not a PNG, JPEG or WebP");
    fixture_release(&file);
    file = fixture_copy((const uint8_t *)"GIF89a\1\0\1\0\0\0\0", 13);
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "a GIF");
    fixture_release(&file);
    file = fixture_copy((const uint8_t *)"\0\0\0\x1c"
                                         "ftypavif",
                        12);
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "an AVIF");
    fixture_release(&file);
    /* the same through probe, which must leave nothing behind */
    struct efm_image_info info = {.width = 5};
    assert_int_equal(efm_image_probe((const uint8_t *)"x", 1, &info, NULL), EFM_E_FORMAT);
    assert_int_equal(info.width, 0);
}

static void refuses_bombs_by_their_header(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
    } cases[] = {{"bomb.png", "the PNG is 30000 x 30000 pixels, the limit is 8192 a side"},
                 {"bomb.jpg", "the JPEG is 30000 x 30000 pixels, the limit is 8192 a side"},
                 {"bomb.webp", "the WebP is 30000 x 30000 pixels, the limit is 8192 a side"},
                 {"bomb_lossless.webp", "the WebP is 16384 x 16384 pixels, the limit is 8192 a side"}};
    clock_t start = clock();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture file = fixture_read(cases[i].name);
        fixture_refuse(&file, fixture_options(), EFM_E_LIMIT, cases[i].words);
        fixture_release(&file);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 0.1);
}

static void limits_are_inclusive(void **state)
{
    (void)state;
    struct fixture file = fixture_read("rgb.jpg"); /* 32 x 16 */
    struct efm_image_options options = {.limits = {.max_side = 32, .max_pixels = 512}};
    struct efm_image image;
    fixture_decode(&image, &file, options);
    efm_image_release(&image);
    options.limits.max_pixels = 511;
    fixture_refuse(&file, options, EFM_E_LIMIT, "the limit is 511 in all");
    options.limits = (struct efm_image_limits){.max_side = 31, .max_pixels = 512};
    fixture_refuse(&file, options, EFM_E_LIMIT, "the limit is 31 a side");
    options.limits = (struct efm_image_limits){0};
    fixture_refuse(&file, options, EFM_E_LIMIT, "the limit is 0 a side");
    fixture_release(&file);
}

static void no_limit_lifts_the_last_one(void **state)
{
    (void)state;
    struct fixture file = fixture_read("bomb.png");
    struct efm_image_options options = {.limits = {.max_side = UINT32_MAX, .max_pixels = UINT64_MAX}};
    fixture_refuse(&file, options, EFM_E_LIMIT, "30000 x 30000");
    fixture_release(&file);
}

static void one_pixel_grows_to_the_shape(void **state)
{
    (void)state;
    for (int format = EFM_IMAGE_PNG; format <= EFM_IMAGE_WEBP; format++) {
        struct efm_image pixel, image;
        assert_int_equal(efm_image_create(&pixel, 1, 1, 3, NULL), EFM_OK);
        memcpy(pixel.pixels, (uint8_t[]){200, 40, 90}, 3);
        struct fixture file = fixture_encode(&pixel, (enum efm_image_format)format, 100);
        struct efm_image_options options = fixture_options();
        options.shape = efm_shape_image(32, 48, 3);
        fixture_decode(&image, &file, options);
        assert_size(&image, 48, 32, 3);
        for (uint32_t y = 0; y < 32; y++)
            for (uint32_t x = 0; x < 48; x++)
                assert_pixel(&image, x, y, 200, 40, 90, 3);
        efm_image_release(&image);
        efm_image_release(&pixel);
        fixture_release(&file);
    }
}

static void decode_fits_and_converts(void **state)
{
    (void)state;
    struct fixture file = fixture_read("rgb.jpg");
    struct efm_image_options options = fixture_options();
    struct efm_image image;
    options.shape = efm_shape_image(8, 16, 3);
    fixture_decode(&image, &file, options);
    assert_size(&image, 16, 8, 3);
    assert_quadrants(&image, 40); /* the filter reaches over the edges */
    efm_image_release(&image);
    options.shape = efm_shape_image(16, 32, 1);
    fixture_decode(&image, &file, options);
    assert_grey_quadrants(&image, (const int[]){76, 150, 29, 255}, 4);
    efm_image_release(&image);
    fixture_release(&file);
    options.shape = efm_shape_image(8, 8, 3);
    fixture_decode_name(&image, "grey8.png", options);
    assert_size(&image, 8, 8, 3);
    assert_pixel(&image, 6, 1, 85, 85, 85, 0);
    efm_image_release(&image);
}

static void refuses_impossible_shapes(void **state)
{
    (void)state;
    static const struct efm_shape shapes[] = {
        {8, 8, 2, 128}, {8, 0, 3, 0}, {0, 8, 1, 0}, {8, 8, 0, 64}, {0, 0, 3, 0}};
    struct fixture file = fixture_read("rgb8.png");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct efm_image_options options = fixture_options();
        options.shape = shapes[i];
        fixture_refuse(&file, options, EFM_E_ARGUMENT, "cannot have the shape");
    }
    struct efm_image_options options = fixture_options();
    options.shape = (struct efm_shape){70000, 1, 1, 70000};
    fixture_refuse(&file, options, EFM_E_LIMIT, "1 x 70000");
    options.shape = (struct efm_shape){65535, 65535, 3, 0};
    fixture_refuse(&file, options, EFM_E_LIMIT, "too large");
    fixture_release(&file);
}

static void create_and_release(void **state)
{
    (void)state;
    struct efm_image image = {0};
    efm_image_release(&image); /* zeroed is releasable */
    assert_int_equal(efm_image_create(&image, 3, 2, 3, NULL), EFM_OK);
    for (size_t i = 0; i < 18; i++)
        assert_int_equal(image.pixels[i], 0);
    efm_image_release(&image);
    assert_null(image.pixels);
    efm_image_release(&image);
    assert_int_equal(efm_image_create(&image, 0, 2, 3, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_image_create(&image, 2, 2, 4, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_image_create(&image, UINT32_MAX, UINT32_MAX, 3, NULL), EFM_E_LIMIT);
    assert_null(image.pixels);
}

static void encode_checks_its_arguments(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    struct efm_image image = {0};
    struct efm_error error = {0};
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_PNG, 1, NULL, 0, NULL), EFM_E_ARGUMENT);
    fixture_paint(&image, 4, 4, 3);
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_UNKNOWN, 1, NULL, 0, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_JPEG, 0, NULL, 0, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_WEBP, 101, NULL, 0, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "101"));
    assert_int_equal(out.size, 0);
    efm_image_release(&image);
    efm_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_media_types),        cmocka_unit_test(sniffs_by_the_first_bytes),
        cmocka_unit_test(refuses_what_is_no_image),     cmocka_unit_test(refuses_bombs_by_their_header),
        cmocka_unit_test(limits_are_inclusive),         cmocka_unit_test(no_limit_lifts_the_last_one),
        cmocka_unit_test(one_pixel_grows_to_the_shape), cmocka_unit_test(decode_fits_and_converts),
        cmocka_unit_test(refuses_impossible_shapes),    cmocka_unit_test(create_and_release),
        cmocka_unit_test(encode_checks_its_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
