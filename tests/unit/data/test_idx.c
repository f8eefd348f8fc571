// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/samples.h"

static const uint8_t grey[] = {0, 0, 8, 3,  0,   0,   0,   2,   0, 0, 0, 2, 0, 0,
                               0, 3, 0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6};

static void reads_grey(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    float values[12], low, high;
    assert_int_equal(read_bytes(&dataset, grey, sizeof grey, NULL, &error), EFM_OK);
    struct efm_shape shape = efm_shape_image(2, 3, 1);
    assert_true(efm_shape_equal(efm_dataset_shape(dataset), &shape));
    assert_int_equal(efm_dataset_count(dataset), 2);
    assert_string_equal(efm_dataset_format(dataset), "idx");
    assert_false(efm_dataset_is_standard_normal(dataset));
    assert_int_equal(efm_dataset_floats(dataset, 0, 2, values, &error), EFM_OK);
    for (size_t i = 0; i < 12; i++)
        assert_true(values[i] == (float)grey[16 + i] / 127.5f - 1);
    efm_dataset_range(dataset, &low, &high);
    assert_true(low == -1 && high == 1);
    efm_dataset_unref(dataset);
}

static void reads_rgb(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 8, 7, 6, 5, 4};
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    assert_int_equal(read_bytes(&dataset, bytes, sizeof bytes, NULL, &error), EFM_OK);
    struct efm_shape shape = efm_shape_image(1, 2, 3);
    assert_true(efm_shape_equal(efm_dataset_shape(dataset), &shape));
    efm_dataset_unref(dataset);
}

static void fits_to_wanted_shape(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 80, 80, 80, 80};
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    float values[48];
    options.shape = efm_shape_image(4, 4, 3);
    assert_int_equal(read_bytes(&dataset, bytes, sizeof bytes, &options, &error), EFM_OK);
    assert_true(efm_shape_equal(efm_dataset_shape(dataset), &options.shape));
    assert_int_equal(efm_dataset_floats(dataset, 0, 1, values, &error), EFM_OK);
    for (size_t i = 0; i < 48; i++)
        assert_true(values[i] == 80 / 127.5f - 1);
    efm_dataset_unref(dataset);

    options.shape = efm_shape_vector(4);
    assert_refused(bytes, sizeof bytes, &options, EFM_E_SHAPE, "vectors");
}

static void refuses_wrong_sizes(void **state)
{
    (void)state;
    uint8_t bytes[sizeof grey + 1] = {0};
    memcpy(bytes, grey, sizeof grey);
    assert_refused(bytes, sizeof bytes, NULL, EFM_E_FORMAT, "promises 2 images");
    assert_truncations_refused(grey, sizeof grey);

    memset(bytes + 4, 0xff, 12); /* the product of the sizes overflows */
    assert_refused(bytes, sizeof grey, NULL, EFM_E_FORMAT, "promises 4294967295 images");
    memset(bytes + 4, 0, 4);
    assert_refused(bytes, 16, NULL, EFM_E_FORMAT, "no samples");
}

static void refuses_other_kinds(void **state)
{
    (void)state;
    const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 1, 7};
    const uint8_t floats[] = {0, 0, 0x0d, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0};
    const uint8_t two_channels[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2};
    assert_refused(labels, sizeof labels, NULL, EFM_E_UNSUPPORTED, "labels are not samples");
    assert_refused(floats, sizeof floats, NULL, EFM_E_UNSUPPORTED, "0x0d");
    assert_refused(two_channels, sizeof two_channels, NULL, EFM_E_UNSUPPORTED, "not 2");
}

static void holds_limits(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    options.max_count = 1;
    assert_refused(grey, sizeof grey, &options, EFM_E_LIMIT, "2 samples");
    options = efm_dataset_options_default();
    options.max_decoded_bytes = 11;
    assert_refused(grey, sizeof grey, &options, EFM_E_LIMIT, "more than 11 bytes");
    options = efm_dataset_options_default();
    options.image_limits.max_side = 2;
    assert_refused(grey, sizeof grey, &options, EFM_E_LIMIT, "3x2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_grey),           cmocka_unit_test(reads_rgb),
        cmocka_unit_test(fits_to_wanted_shape), cmocka_unit_test(refuses_wrong_sizes),
        cmocka_unit_test(refuses_other_kinds),  cmocka_unit_test(holds_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
