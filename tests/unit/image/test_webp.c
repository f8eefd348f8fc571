// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

static void reads_both_kinds(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_decode_name(&image, "lossless.webp", fixture_options());
    assert_size(&image, 32, 16, 3);
    assert_quadrants(&image, 0);
    efm_image_release(&image);
    fixture_decode_name(&image, "lossy.webp", fixture_options());
    assert_quadrants(&image, 8);
    efm_image_release(&image);
}

static void lays_alpha_over_background(void **state)
{
    (void)state;
    struct efm_image_options options = fixture_options();
    memcpy(options.background, (uint8_t[]){10, 20, 30}, 3);
    struct efm_image image;
    fixture_decode_name(&image, "alpha.webp", options);
    assert_pixel(&image, 8, 4, 255, 0, 0, 0);
    assert_pixel(&image, 24, 4, 5, 138, 15, 0); /* green at 128 / 255 */
    assert_pixel(&image, 24, 12, 10, 20, 30, 0);
    efm_image_release(&image);
}

static void refuses_animation(void **state)
{
    (void)state;
    struct fixture file = fixture_read("animated.webp");
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "animated");
    fixture_release(&file);
}

static void refuses_headers_that_disagree(void **state)
{
    (void)state;
    struct fixture file = fixture_read("exif6.webp");
    assert_memory_equal(file.bytes + 12, "VP8X", 4);
    file.bytes[24]++; /* canvas width */
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "damaged");
    fixture_release(&file);
}

static void quality_100_is_lossless(void **state)
{
    (void)state;
    for (uint32_t channels = 1; channels <= 3; channels += 2) {
        struct efm_image image, back;
        fixture_paint(&image, 37, 29, channels);
        struct fixture file = fixture_encode(&image, EFM_IMAGE_WEBP, 100);
        struct fixture again = fixture_encode(&image, EFM_IMAGE_WEBP, 100);
        assert_int_equal(file.size, again.size);
        assert_memory_equal(file.bytes, again.bytes, file.size);
        struct efm_image_options options = fixture_options();
        options.shape = efm_shape_image(29, 37, channels);
        fixture_decode(&back, &file, options);
        assert_int_equal(fixture_difference(&image, &back), 0);
        efm_image_release(&image);
        efm_image_release(&back);
        fixture_release(&file);
        fixture_release(&again);
    }
}

static void lossy_is_close(void **state)
{
    (void)state;
    struct efm_image image, back;
    fixture_paint(&image, 64, 48, 3);
    struct fixture file = fixture_encode(&image, EFM_IMAGE_WEBP, 90);
    fixture_decode(&back, &file, fixture_options());
    assert_in_range(fixture_difference(&image, &back), 1, 24);
    efm_image_release(&image);
    efm_image_release(&back);
    fixture_release(&file);
}

static void refuses_what_the_format_cannot_hold(void **state)
{
    (void)state;
    struct efm_image image;
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    struct efm_error error = {0};
    assert_int_equal(efm_image_create(&image, 16384, 1, 1, NULL), EFM_OK);
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_WEBP, 90, NULL, 0, &error), EFM_E_LIMIT);
    assert_non_null(strstr(error.message, "16383"));
    efm_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_kinds),
        cmocka_unit_test(lays_alpha_over_background),
        cmocka_unit_test(refuses_animation),
        cmocka_unit_test(refuses_headers_that_disagree),
        cmocka_unit_test(quality_100_is_lossless),
        cmocka_unit_test(lossy_is_close),
        cmocka_unit_test(refuses_what_the_format_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
