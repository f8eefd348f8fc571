// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include "core/image/image_internal.h"

#include <math.h>

static void floats_span_minus_one_to_one(void **state)
{
    (void)state;
    struct efm_image image;
    float values[256];
    assert_int_equal(efm_image_create(&image, 256, 1, 1, NULL), EFM_OK);
    for (int i = 0; i < 256; i++)
        image.pixels[i] = (uint8_t)i;
    efm_image_to_floats(&image, values);
    assert_true(values[0] == -1.0f);
    assert_true(values[255] == 1.0f);
    for (int i = 0; i < 256; i++)
        assert_true(values[i] == (float)i / 127.5f - 1.0f);
    memset(image.pixels, 77, 256);
    efm_image_from_floats(&image, values);
    for (int i = 0; i < 256; i++)
        assert_int_equal(image.pixels[i], i);
    efm_image_release(&image);
}

static void floats_are_rounded_and_clipped(void **state)
{
    (void)state;
    static const struct {
        float value;
        int pixel;
    } cases[] = {
        {-1.0f, 0},
        {1.0f, 255},
        {0.0f, 128},
        {-1.5f, 0},
        {1.5f, 255},
        {-3e38f, 0},
        {3e38f, 255},
        {NAN, 128},
        {INFINITY, 128},
        {-INFINITY, 128},
        {-1.0f + 0.4f / 127.5f, 0},
        {-1.0f + 0.6f / 127.5f, 1},
        {1.0f - 0.4f / 127.5f, 255},
        {1.0f - 0.6f / 127.5f, 254},
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };
    struct efm_image image;
    float values[COUNT];
    assert_int_equal(efm_image_create(&image, COUNT, 1, 1, NULL), EFM_OK);
    for (size_t i = 0; i < COUNT; i++)
        values[i] = cases[i].value;
    efm_image_from_floats(&image, values);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(image.pixels[i], cases[i].pixel);
    efm_image_release(&image);
}

static void floats_keep_the_order(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_paint(&image, 3, 2, 3);
    float values[18];
    efm_image_to_floats(&image, values);
    for (size_t i = 0; i < 18; i++)
        assert_true(fabsf(values[i] - ((float)image.pixels[i] / 127.5f - 1.0f)) < 1e-6f);
    efm_image_release(&image);
}

static void luma_is_rec_601(void **state)
{
    (void)state;
    assert_int_equal(efm_luma(255, 255, 255), 255);
    assert_int_equal(efm_luma(0, 0, 0), 0);
    assert_int_equal(efm_luma(255, 0, 0), 76);
    assert_int_equal(efm_luma(0, 255, 0), 150);
    assert_int_equal(efm_luma(0, 0, 255), 29);
    for (uint32_t v = 0; v < 256; v++)
        assert_int_equal(efm_luma(v, v, v), v);
}

static void make_tiles(struct efm_image *tiles, size_t count, uint32_t channels)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(efm_image_create(&tiles[i], 3, 2, channels, NULL), EFM_OK);
        memset(tiles[i].pixels, (int)(10 * (i + 1)), 6 * (size_t)channels);
    }
}

static void release_tiles(struct efm_image *tiles, size_t count)
{
    for (size_t i = 0; i < count; i++)
        efm_image_release(&tiles[i]);
}

static void grid_places_row_by_row(void **state)
{
    (void)state;
    const uint8_t ground[3] = {1, 2, 3};
    struct efm_image tiles[5], grid;
    make_tiles(tiles, 5, 3);
    assert_int_equal(efm_image_grid(&grid, tiles, 5, 0, 1, ground, NULL), EFM_OK);
    assert_size(&grid, 3 * 3 + 2, 2 * 2 + 1, 3);
    for (uint32_t y = 0; y < 5; y++)
        for (uint32_t x = 0; x < 11; x++) {
            uint32_t tile = y / 3 * 3 + x / 4;
            bool gap = x % 4 == 3 || y == 2 || tile >= 5;
            int level = (int)(10 * (tile + 1));
            if (gap)
                assert_pixel(&grid, x, y, 1, 2, 3, 0);
            else
                assert_pixel(&grid, x, y, level, level, level, 0);
        }
    efm_image_release(&grid);
    assert_int_equal(efm_image_grid(&grid, tiles, 5, 1, 0, ground, NULL), EFM_OK);
    assert_size(&grid, 3, 10, 3);
    efm_image_release(&grid);
    assert_int_equal(efm_image_grid(&grid, tiles, 5, 100, 2, ground, NULL), EFM_OK);
    assert_size(&grid, 5 * 3 + 4 * 2, 2, 3);
    efm_image_release(&grid);
    release_tiles(tiles, 5);
}

static void grid_of_grey_uses_luma(void **state)
{
    (void)state;
    const uint8_t ground[3] = {255, 0, 0};
    struct efm_image tiles[2], grid;
    make_tiles(tiles, 2, 1);
    assert_int_equal(efm_image_grid(&grid, tiles, 2, 2, 1, ground, NULL), EFM_OK);
    assert_pixel(&grid, 3, 0, 76, 0, 0, 0);
    efm_image_release(&grid);
    release_tiles(tiles, 2);
}

static void grid_refuses(void **state)
{
    (void)state;
    const uint8_t ground[3] = {0};
    struct efm_image tiles[3], grid = {.width = 5};
    struct efm_error error = {0};
    make_tiles(tiles, 3, 3);
    assert_int_equal(efm_image_grid(&grid, tiles, 0, 0, 0, ground, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_image_grid(&grid, tiles, 3, 0, UINT32_MAX, ground, NULL), EFM_E_LIMIT);
    tiles[2].width = 2;
    assert_int_equal(efm_image_grid(&grid, tiles, 3, 0, 0, ground, &error), EFM_E_SHAPE);
    assert_non_null(strstr(error.message, "picture 2"));
    assert_null(grid.pixels);
    release_tiles(tiles, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_span_minus_one_to_one),
        cmocka_unit_test(floats_are_rounded_and_clipped),
        cmocka_unit_test(floats_keep_the_order),
        cmocka_unit_test(luma_is_rec_601),
        cmocka_unit_test(grid_places_row_by_row),
        cmocka_unit_test(grid_of_grey_uses_luma),
        cmocka_unit_test(grid_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
