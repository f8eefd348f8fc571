// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

static const uint8_t black[3] = {0, 0, 0};

static void fit(struct efm_image *result, const struct efm_image *source, uint32_t width, uint32_t height,
                uint32_t channels, enum efm_image_fit how, const uint8_t background[3])
{
    struct efm_shape shape = efm_shape_image(height, width, channels);
    assert_int_equal(efm_image_fit(result, source, &shape, how, background, NULL), EFM_OK);
    assert_size(result, width, height, channels);
}

static void same_size_is_a_copy(void **state)
{
    (void)state;
    for (int how = EFM_IMAGE_FIT_CROP; how <= EFM_IMAGE_FIT_STRETCH; how++) {
        struct efm_image image, result;
        fixture_paint(&image, 21, 13, 3);
        fit(&result, &image, 21, 13, 3, (enum efm_image_fit)how, black);
        assert_int_equal(fixture_difference(&image, &result), 0);
        efm_image_release(&image);
        efm_image_release(&result);
    }
}

/* A side that stays is not blurred while the other changes. */
static void a_side_that_stays_is_exact(void **state)
{
    (void)state;
    struct efm_image image, result;
    assert_int_equal(efm_image_create(&image, 16, 40, 1, NULL), EFM_OK);
    for (size_t i = 0; i < 16 * 40; i++)
        image.pixels[i] = i % 2 == 0 ? 250 : 3;
    fit(&result, &image, 16, 10, 1, EFM_IMAGE_FIT_STRETCH, black);
    for (uint32_t y = 0; y < 10; y++)
        for (uint32_t x = 0; x < 16; x++)
            assert_pixel(&result, x, y, x % 2 == 0 ? 250 : 3, 0, 0, 0);
    efm_image_release(&image);
    efm_image_release(&result);
}

static void constant_stays_constant(void **state)
{
    (void)state;
    static const uint32_t sides[] = {1, 2, 3, 7, 32, 33, 257};
    enum { COUNT = sizeof sides / sizeof sides[0] };
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < COUNT; k++) {
            struct efm_image image, result;
            assert_int_equal(efm_image_create(&image, sides[i], sides[COUNT - 1 - i], 1, NULL), EFM_OK);
            memset(image.pixels, 201, (size_t)image.width * image.height);
            fit(&result, &image, sides[k], sides[(k + i) % COUNT], 1, EFM_IMAGE_FIT_STRETCH, black);
            for (size_t p = 0; p < (size_t)result.width * result.height; p++)
                assert_in_range(result.pixels[p], 198, 204); /* the newer stb is off by up to 3 */
            efm_image_release(&image);
            efm_image_release(&result);
        }
}

static double mean(const struct efm_image *image)
{
    double sum = 0;
    size_t count = (size_t)image->width * image->height * image->channels;
    for (size_t i = 0; i < count; i++)
        sum += image->pixels[i];
    return sum / (double)count;
}

static void shrinking_keeps_the_mean(void **state)
{
    (void)state;
    struct efm_image image, result;
    fixture_paint(&image, 333, 250, 3);
    /* a chequerboard of single pixels: any skipped pixel would show as black or white */
    for (size_t i = 0; i < (size_t)333 * 250 * 3; i++)
        image.pixels[i] = (i / 3 % 333 + i / 3 / 333) % 2 == 0 ? 255 : 0;
    fit(&result, &image, 32, 24, 3, EFM_IMAGE_FIT_STRETCH, black);
    for (size_t i = 0; i < 32 * 24 * 3; i++)
        assert_in_range(result.pixels[i], 118, 137);
    assert_in_range((int)(mean(&result) * 10), 1265, 1285);
    efm_image_release(&result);
    efm_image_release(&image);
}

static void growing_is_smooth_and_ordered(void **state)
{
    (void)state;
    struct efm_image image, result;
    assert_int_equal(efm_image_create(&image, 4, 1, 1, NULL), EFM_OK);
    memcpy(image.pixels, (uint8_t[]){0, 80, 160, 240}, 4);
    fit(&result, &image, 64, 16, 1, EFM_IMAGE_FIT_STRETCH, black);
    for (uint32_t x = 8; x < 56; x++) {
        int step = result.pixels[x] - result.pixels[x - 1];
        assert_in_range(step + 2, 0, 10); /* never a jump; a ramp of 5 a pixel */
    }
    assert_memory_equal(result.pixels, result.pixels + (size_t)15 * 64, 64);
    efm_image_release(&result);
    efm_image_release(&image);
}

static void mirrored_in_mirrored_out(void **state)
{
    (void)state;
    struct efm_image image, mirror, a, b;
    fixture_paint(&image, 50, 20, 1);
    fixture_paint(&mirror, 50, 20, 1);
    for (uint32_t y = 0; y < 20; y++)
        for (uint32_t x = 0; x < 50; x++)
            mirror.pixels[y * 50 + x] = image.pixels[y * 50 + 49 - x];
    fit(&a, &image, 17, 11, 1, EFM_IMAGE_FIT_STRETCH, black);
    fit(&b, &mirror, 17, 11, 1, EFM_IMAGE_FIT_STRETCH, black);
    for (uint32_t y = 0; y < 11; y++)
        for (uint32_t x = 0; x < 17; x++)
            assert_in_range(abs(a.pixels[y * 17 + x] - b.pixels[y * 17 + 16 - x]), 0, 1);
    efm_image_release(&image);
    efm_image_release(&mirror);
    efm_image_release(&a);
    efm_image_release(&b);
}

/* Left third red, middle green, right blue. */
static void paint_thirds(struct efm_image *image, bool upright)
{
    uint32_t width = upright ? 20 : 60, height = upright ? 60 : 20;
    assert_int_equal(efm_image_create(image, width, height, 3, NULL), EFM_OK);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            image->pixels[((size_t)y * width + x) * 3 + (upright ? y : x) / 20] = 255;
}

static void crop_takes_the_centre(void **state)
{
    (void)state;
    for (int upright = 0; upright < 2; upright++) {
        struct efm_image image, result;
        paint_thirds(&image, upright);
        fit(&result, &image, 20, 20, 3, EFM_IMAGE_FIT_CROP, black);
        for (uint32_t i = 0; i < 20; i++)
            assert_pixel(&result, i, 19 - i, 0, 255, 0, 0);
        efm_image_release(&result);
        fit(&result, &image, 10, 10, 3, EFM_IMAGE_FIT_CROP, black);
        for (uint32_t i = 0; i < 10; i++)
            assert_pixel(&result, i, i, 0, 255, 0, 0); /* nothing of the thirds outside leaks in */
        efm_image_release(&result);
        efm_image_release(&image);
    }
}

static void contain_fills_with_background(void **state)
{
    (void)state;
    const uint8_t ground[3] = {9, 8, 7};
    for (int upright = 0; upright < 2; upright++) {
        struct efm_image image, result;
        paint_thirds(&image, upright);
        fit(&result, &image, 60, 60, 3, EFM_IMAGE_FIT_CONTAIN, ground);
        uint32_t edge[3][2] = {{30, 19}, {30, 40}, {30, 0}};
        for (int i = 0; i < 3; i++)
            assert_pixel(&result, edge[i][upright], edge[i][1 - upright], 9, 8, 7, 0);
        uint32_t inside[3][2] = {{10, 20}, {30, 30}, {50, 39}};
        for (int i = 0; i < 3; i++) {
            int colour[3] = {0};
            colour[i] = 255;
            assert_pixel(&result, inside[i][upright], inside[i][1 - upright], colour[0], colour[1], colour[2],
                         0);
        }
        efm_image_release(&result);
        efm_image_release(&image);
    }
}

static void contain_converts_channels(void **state)
{
    (void)state;
    const uint8_t ground[3] = {255, 0, 0};
    struct efm_image image, result;
    paint_thirds(&image, false);
    fit(&result, &image, 60, 60, 1, EFM_IMAGE_FIT_CONTAIN, ground);
    assert_pixel(&result, 0, 0, 76, 0, 0, 0);
    assert_pixel(&result, 30, 30, 150, 0, 0, 0);
    efm_image_release(&image);
    image = result;
    fit(&result, &image, 90, 60, 3, EFM_IMAGE_FIT_CONTAIN, ground);
    assert_pixel(&result, 2, 30, 255, 0, 0, 0);
    assert_pixel(&result, 45, 30, 150, 150, 150, 0);
    efm_image_release(&image);
    efm_image_release(&result);
}

static void stretch_shows_all(void **state)
{
    (void)state;
    struct efm_image image, result;
    paint_thirds(&image, false);
    fit(&result, &image, 30, 30, 3, EFM_IMAGE_FIT_STRETCH, black);
    assert_pixel(&result, 2, 15, 255, 0, 0, 2);
    assert_pixel(&result, 15, 15, 0, 255, 0, 2);
    assert_pixel(&result, 27, 15, 0, 0, 255, 2);
    efm_image_release(&image);
    efm_image_release(&result);
}

static void extreme_proportions(void **state)
{
    (void)state;
    static const uint32_t sides[][4] = {
        {8000, 1, 1, 1}, {1, 8000, 32, 32}, {1, 1, 1, 8000}, {3, 500, 500, 3}};
    for (size_t i = 0; i < 4; i++)
        for (int how = EFM_IMAGE_FIT_CROP; how <= EFM_IMAGE_FIT_STRETCH; how++) {
            struct efm_image image, result;
            fixture_paint(&image, sides[i][0], sides[i][1], 3);
            fit(&result, &image, sides[i][2], sides[i][3], 3, (enum efm_image_fit)how, black);
            efm_image_release(&image);
            efm_image_release(&result);
        }
}

static void refuses_bad_arguments(void **state)
{
    (void)state;
    struct efm_image image = {0}, result;
    struct efm_shape shape = efm_shape_image(4, 4, 3);
    assert_int_equal(efm_image_fit(&result, &image, &shape, EFM_IMAGE_FIT_CROP, black, NULL), EFM_E_ARGUMENT);
    fixture_paint(&image, 4, 4, 3);
    shape = efm_shape_vector(48);
    assert_int_equal(efm_image_fit(&result, &image, &shape, EFM_IMAGE_FIT_CROP, black, NULL), EFM_E_ARGUMENT);
    assert_null(result.pixels);
    efm_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_size_is_a_copy),           cmocka_unit_test(a_side_that_stays_is_exact),
        cmocka_unit_test(constant_stays_constant),       cmocka_unit_test(shrinking_keeps_the_mean),
        cmocka_unit_test(growing_is_smooth_and_ordered), cmocka_unit_test(mirrored_in_mirrored_out),
        cmocka_unit_test(crop_takes_the_centre),         cmocka_unit_test(contain_fills_with_background),
        cmocka_unit_test(contain_converts_channels),     cmocka_unit_test(stretch_shows_all),
        cmocka_unit_test(extreme_proportions),           cmocka_unit_test(refuses_bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
