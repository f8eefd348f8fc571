// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/samples.h"

#include <math.h>

/* The sheet of a dataset, decoded again. */
static struct efm_image sheet_of(const struct efm_dataset *dataset, size_t most)
{
    struct efm_buffer png = new_buffer();
    struct efm_image sheet = {0};
    struct efm_error error = {0};
    struct efm_image_options options = {.limits = efm_image_limits_default()};
    if (efm_dataset_contact_sheet(dataset, most, &png, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_int_equal(efm_image_sniff(png.data, png.size), EFM_IMAGE_PNG);
    assert_int_equal(efm_image_decode(&sheet, png.data, png.size, &options, &error), EFM_OK);
    efm_buffer_release(&png);
    return sheet;
}

/* `count` images of one colour each: image i has the value i. */
static struct efm_dataset *flat_images(uint32_t height, uint32_t width, uint32_t channels, size_t count)
{
    struct efm_dataset *dataset = NULL;
    struct efm_shape shape = efm_shape_image(height, width, channels);
    float *values = calloc(count * shape.dimension, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count * shape.dimension; i++)
        values[i] = (float)(i / shape.dimension) / 127.5f - 1;
    assert_int_equal(efm_dataset_from_floats(&dataset, values, count, &shape, NULL), EFM_OK);
    free(values);
    return dataset;
}

static uint8_t at(const struct efm_image *image, uint32_t x, uint32_t y)
{
    return image->pixels[((size_t)y * image->width + x) * image->channels];
}

static void magnifies_small_images(void **state)
{
    (void)state;
    struct efm_dataset *dataset = flat_images(28, 28, 1, 100);
    struct efm_image sheet = sheet_of(dataset, 10);
    assert_int_equal(sheet.width, 4 * 58 + 2); /* 4 columns, 3 rows */
    assert_int_equal(sheet.height, 3 * 58 + 2);
    assert_int_equal(sheet.channels, 1);
    for (uint32_t i = 0; i < 10; i++) { /* evenly spread: 0, 10, 20 ... */
        uint32_t left = 2 + i % 4 * 58, top = 2 + i / 4 * 58;
        assert_int_equal(at(&sheet, left, top), 10 * i);
        assert_int_equal(at(&sheet, left + 55, top + 55), 10 * i);
        assert_int_equal(at(&sheet, left + 56, top + 55), 40);
    }
    assert_int_equal(at(&sheet, 3 * 58 + 20, 2 * 58 + 20), 40);
    efm_image_release(&sheet);
    efm_dataset_unref(dataset);

    dataset = flat_images(1, 1, 3, 3); /* fewer than asked for */
    sheet = sheet_of(dataset, 1024);
    assert_int_equal(sheet.width, 2 * 34 + 2);
    assert_int_equal(sheet.height, 2 * 34 + 2);
    assert_int_equal(at(&sheet, 2 + 31, 36 + 31), 2);
    efm_image_release(&sheet);
    efm_dataset_unref(dataset);
}

/* Every pixel of a sample becomes a square. */
static void keeps_pixels_apart(void **state)
{
    (void)state;
    const uint8_t idx[16 + 6] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60};
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    assert_int_equal(read_bytes(&dataset, idx, sizeof idx, NULL, &error), EFM_OK);
    struct efm_image sheet = sheet_of(dataset, 1);
    assert_int_equal(sheet.width, 33 + 4); /* 11 times */
    assert_int_equal(sheet.height, 22 + 4);
    for (uint32_t y = 0; y < 22; y++)
        for (uint32_t x = 0; x < 33; x++)
            assert_int_equal(at(&sheet, 2 + x, 2 + y), idx[16 + y / 11 * 3 + x / 11]);
    efm_image_release(&sheet);
    efm_dataset_unref(dataset);
}

static void reduces_large_images(void **state)
{
    (void)state;
    struct efm_dataset *dataset = flat_images(100, 300, 3, 2);
    struct efm_image sheet = sheet_of(dataset, 2);
    assert_int_equal(sheet.width, 2 * 130 + 2);
    assert_int_equal(sheet.height, 42 + 4);
    assert_int_equal(sheet.channels, 3);
    assert_int_equal(at(&sheet, 132 + 127, 2 + 41), 1);
    efm_image_release(&sheet);
    efm_dataset_unref(dataset);
    dataset = flat_images(1, 2000, 1, 1);
    sheet = sheet_of(dataset, 1);
    assert_int_equal(sheet.height, 1 + 4);
    efm_image_release(&sheet);
    efm_dataset_unref(dataset);
}

static struct efm_dataset *vectors(const float *values, size_t count, size_t dimension)
{
    struct efm_dataset *dataset = NULL;
    struct efm_shape shape = efm_shape_vector(dimension);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, count, &shape, NULL), EFM_OK);
    return dataset;
}

/* True where the red part says ink. */
static bool is_inked(const struct efm_image *plot, uint32_t x, uint32_t y)
{
    return at(plot, x, y) < 170;
}

static void scatters_two_numbers(void **state)
{
    (void)state;
    /* right below, left above, and a third number that does not matter */
    const float values[] = {1, 2, 900, 3, 1, -900};
    struct efm_dataset *dataset = vectors(values, 2, 3);
    struct efm_image plot = sheet_of(dataset, 100);
    assert_true(plot.width == 320 && plot.height == 320);
    bool above[2] = {false, false}, below[2] = {false, false};
    for (uint32_t y = 12; y < 308; y++) {
        for (uint32_t x = 12; x < 308; x++) {
            if (is_inked(&plot, x, y) && y < 160)
                above[x >= 160] = true;
            if (is_inked(&plot, x, y) && y >= 160)
                below[x >= 160] = true;
        }
    }
    assert_true(above[0] && !above[1] && below[1] && !below[0]);
    efm_image_release(&plot);
    efm_dataset_unref(dataset);
}

static void counts_single_numbers(void **state)
{
    (void)state;
    const float values[] = {-1, -1, -1, -1, 1, 1};
    struct efm_dataset *dataset = vectors(values, 6, 1);
    struct efm_image plot = sheet_of(dataset, 1024);
    size_t left = 0, right = 0;
    for (uint32_t y = 10; y < 310; y++) {
        left += is_inked(&plot, 18, y);
        right += is_inked(&plot, 301, y);
    }
    assert_int_equal(left, 300);
    assert_int_equal(right, 150);
    efm_image_release(&plot);
    efm_dataset_unref(dataset);
}

static void draws_what_has_no_width(void **state)
{
    (void)state;
    const float same[] = {7, 7, 7, 7}, far[] = {-3.4e38f, 3.4e38f, 3.4e38f, -3.4e38f};
    for (size_t dimension = 1; dimension <= 2; dimension++) {
        for (int turn = 0; turn < 2; turn++) {
            struct efm_dataset *dataset = vectors(turn == 0 ? same : far, 4 / dimension, dimension);
            struct efm_image plot = sheet_of(dataset, 4);
            size_t inked = 0;
            for (uint32_t y = 10; y < 310; y++)
                for (uint32_t x = 10; x < 310; x++)
                    inked += is_inked(&plot, x, y);
            assert_true(inked > 0);
            efm_image_release(&plot);
            efm_dataset_unref(dataset);
        }
    }
}

static void refuses_and_survives(void **state)
{
    (void)state;
    struct efm_dataset *dataset = flat_images(200, 200, 3, 2);
    struct efm_buffer png = new_buffer();
    struct efm_error error = {0};
    assert_int_equal(efm_dataset_contact_sheet(dataset, 0, &png, &error), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_contact_sheet(dataset, 1025, &png, NULL), EFM_E_ARGUMENT);
    assert_int_equal(png.size, 0);
    enum efm_status status = EFM_E_MEMORY;
    size_t failures = 0;
    for (; status != EFM_OK && failures < 100; failures++) {
        efm_buffer_release(&png);
        chaos_arm(failures);
        status = efm_dataset_contact_sheet(dataset, 2, &png, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
    }
    assert_in_range(failures, 4, 99);
    efm_buffer_release(&png);
    efm_dataset_unref(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magnifies_small_images), cmocka_unit_test(keeps_pixels_apart),
        cmocka_unit_test(reduces_large_images),   cmocka_unit_test(scatters_two_numbers),
        cmocka_unit_test(counts_single_numbers),  cmocka_unit_test(draws_what_has_no_width),
        cmocka_unit_test(refuses_and_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
