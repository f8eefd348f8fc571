// SPDX-License-Identifier: Apache-2.0
#include "core/data/toy.h"
#include "tests/unit/data/samples.h"

#include <math.h>

static struct efm_dataset *read_toy(const char *json)
{
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    if (read_bytes(&dataset, json, strlen(json), NULL, &error) != EFM_OK)
        fail_msg("%s: %s", json, error.message);
    assert_string_equal(efm_dataset_format(dataset), "toy");
    return dataset;
}

static float *all_floats(const struct efm_dataset *dataset)
{
    size_t count = efm_dataset_count(dataset), dimension = efm_dataset_shape(dataset)->dimension;
    float *values = malloc(count * dimension * sizeof *values);
    assert_non_null(values);
    assert_int_equal(efm_dataset_floats(dataset, 0, count, values, NULL), EFM_OK);
    return values;
}

static void draws_gaussians(void **state)
{
    (void)state;
    struct efm_dataset *dataset = read_toy("{\"toy\": \"gaussian\", \"count\": 20000, \"dimension\": 3}");
    assert_true(efm_dataset_is_standard_normal(dataset));
    assert_int_equal(efm_dataset_count(dataset), 20000);
    float *values = all_floats(dataset);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < 60000; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    assert_true(fabs(sum / 60000) < 0.02); /* five deviations of the mean */
    assert_true(fabs(squares / 60000 - 1) < 0.03);
    free(values);
    efm_dataset_unref(dataset);

    dataset = read_toy(" {\"toy\": \"gaussian\", \"shape\": [4, 5, 3], \"count\": 7, \"seed\": 3}");
    struct efm_shape shape = efm_shape_image(4, 5, 3);
    assert_true(efm_shape_equal(efm_dataset_shape(dataset), &shape));
    assert_true(efm_dataset_is_standard_normal(dataset));
    efm_dataset_unref(dataset);
}

static void draws_mixtures(void **state)
{
    (void)state;
    struct efm_dataset *dataset =
        read_toy("{\"toy\": \"mixture\", \"centers\": [[8, 0, 1], [-8, 0, 1]], \"deviation\": 0.5}");
    assert_int_equal(efm_dataset_count(dataset), 2000);
    assert_int_equal(efm_dataset_shape(dataset)->dimension, 3);
    assert_false(efm_dataset_is_standard_normal(dataset));
    float *values = all_floats(dataset);
    size_t right = 0;
    double squares = 0;
    for (size_t i = 0; i < 2000; i++) {
        const float *v = values + 3 * i;
        double offset = fabs(v[0]) - 8;
        right += v[0] > 0;
        squares += offset * offset + v[1] * v[1] + (v[2] - 1) * (v[2] - 1);
        assert_true(fabs(offset) < 3);
    }
    assert_in_range(right, 880, 1120);
    assert_true(fabs(sqrt(squares / 6000) - 0.5) < 0.03);
    free(values);
    efm_dataset_unref(dataset);
}

static void draws_the_roll(void **state)
{
    (void)state;
    struct efm_dataset *dataset = read_toy("{\"toy\": \"swiss_roll\", \"noise\": 0, \"seed\": 9}");
    float *values = all_floats(dataset);
    double scale = 4 / (4.5 * M_PI), outer = 0, inner = 9;
    for (size_t i = 0; i < 2000; i++) {
        double x = values[2 * i], y = values[2 * i + 1], radius = hypot(x, y), angle = radius / scale;
        assert_true(fabs(x - radius * cos(angle)) < 1e-5 && fabs(y - radius * sin(angle)) < 1e-5);
        outer = fmax(outer, radius);
        inner = fmin(inner, radius);
    }
    assert_true(outer <= 4 + 1e-5 && outer > 3.9 && inner > 4. / 3 - 1e-5 && inner < 1.4);
    free(values);
    efm_dataset_unref(dataset);

    float low, high;
    dataset = read_toy("{\"toy\": \"swiss_roll\"}");
    efm_dataset_range(dataset, &low, &high);
    assert_true(low > -4.6f && high < 4.6f && high > 3);
    efm_dataset_unref(dataset);
}

static void draws_intervals(void **state)
{
    (void)state;
    struct efm_dataset *dataset = read_toy("{\"toy\": \"two_intervals\"}");
    float *values = all_floats(dataset);
    size_t right = 0;
    assert_int_equal(efm_dataset_shape(dataset)->dimension, 1);
    for (size_t i = 0; i < 2000; i++) {
        assert_true(fabsf(values[i]) >= 2 && fabsf(values[i]) <= 3);
        right += values[i] > 0;
    }
    assert_in_range(right, 880, 1120);
    free(values);
    efm_dataset_unref(dataset);

    float low, high;
    dataset = read_toy("{\"toy\": \"uniform\", \"dimension\": 5}");
    efm_dataset_range(dataset, &low, &high);
    assert_true(low >= -1 && low < -0.99f && high <= 1 && high > 0.99f);
    assert_false(efm_dataset_is_standard_normal(dataset));
    efm_dataset_unref(dataset);
}

static void is_a_function_of_its_spec(void **state)
{
    (void)state;
    static const enum efm_toy_kind kinds[] = {EFM_TOY_GAUSSIAN, EFM_TOY_MIXTURE, EFM_TOY_SWISS_ROLL,
                                              EFM_TOY_UNIFORM, EFM_TOY_TWO_INTERVALS};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct efm_toy_spec spec = efm_toy_spec_default(kinds[i]);
        float first[40], again[40], other[40];
        assert_int_equal(efm_toy_spec_check(&spec, NULL), EFM_OK);
        spec.count = 20;
        size_t bytes = 20 * spec.shape.dimension * sizeof(float);
        efm_toy_fill(&spec, first);
        spec.count = 10; /* fewer samples are the first of more */
        efm_toy_fill(&spec, again);
        assert_memory_equal(first, again, bytes / 2);
        spec.count = 20;
        spec.seed = 2;
        efm_toy_fill(&spec, other);
        assert_memory_not_equal(first, other, bytes);

        struct efm_dataset_options options = efm_dataset_options_default();
        struct efm_dataset *dataset;
        assert_int_equal(efm_toy_dataset(&dataset, &spec, &options, NULL), EFM_OK);
        assert_int_equal(efm_dataset_floats(dataset, 0, 20, again, NULL), EFM_OK);
        assert_memory_equal(other, again, bytes);
        efm_dataset_unref(dataset);
    }
    /* Plates of different toys are not drawn from the same numbers: a shared stream would make the normals
     * of a mixture, after the choice of the center, those of a gaussian. */
    struct efm_toy_spec spec = efm_toy_spec_default(EFM_TOY_GAUSSIAN);
    struct efm_toy_spec other = efm_toy_spec_default(EFM_TOY_UNIFORM);
    float a[2], b[2];
    spec.count = other.count = 1;
    efm_toy_fill(&spec, a);
    efm_toy_fill(&other, b);
    assert_true(atan2f(a[1], a[0]) / (float)M_PI != b[1]);
}

static void json_and_struct_agree(void **state)
{
    (void)state;
    struct efm_toy_spec spec = efm_toy_spec_default(EFM_TOY_SWISS_ROLL);
    float values[60];
    spec.count = 30;
    spec.seed = 77;
    spec.noise = 0.25;
    spec.scale = 2;
    efm_toy_fill(&spec, values);
    struct efm_dataset *dataset = read_toy("{\"scale\": 2, \"noise\": 0.25, \"seed\": 77, \"count\": 30, "
                                           "\"toy\": \"swiss_roll\", \"dimension\": 2}");
    float *read = all_floats(dataset);
    assert_memory_equal(values, read, sizeof values);
    free(read);
    efm_dataset_unref(dataset);
}

static void refuses_bad_json(void **state)
{
    (void)state;
    const struct {
        const char *json;
        enum efm_status status;
        const char *words;
    } cases[] = {
        {"{", EFM_E_FORMAT, "damaged in line 1"},
        {"{}", EFM_E_FORMAT, "no toy"},
        {"{\"toy\": 3}", EFM_E_FORMAT, "no toy"},
        {"{\"toy\": \"moon\"}", EFM_E_UNSUPPORTED, "'moon'"},
        {"{\"toy\": \"gaussian\", \"toy\": \"gaussian\"}", EFM_E_FORMAT, "damaged"},
        {"{\"toy\": \"gaussian\"} x", EFM_E_FORMAT, "damaged"},
        {"{\"toy\": \"gaussian\", \"size\": 3}", EFM_E_FORMAT, "\"size\""},
        {"{\"toy\": \"gaussian\", \"noise\": 3}", EFM_E_FORMAT, "\"noise\""},
        {"{\"toy\": \"swiss_roll\", \"shape\": [2, 2, 1]}", EFM_E_FORMAT, "\"shape\""},
        {"{\"toy\": \"gaussian\", \"count\": 0}", EFM_E_FORMAT, "\"count\""},
        {"{\"toy\": \"gaussian\", \"count\": -5}", EFM_E_FORMAT, "\"count\""},
        {"{\"toy\": \"gaussian\", \"count\": 2.5}", EFM_E_FORMAT, "\"count\""},
        {"{\"toy\": \"gaussian\", \"count\": 1048577}", EFM_E_LIMIT, "1048577"},
        {"{\"toy\": \"gaussian\", \"count\": 99999999999999999999}", EFM_E_FORMAT, "damaged"},
        {"{\"toy\": \"gaussian\", \"dimension\": 16777217}", EFM_E_LIMIT, "16777217"},
        {"{\"toy\": \"gaussian\", \"dimension\": 16777216}", EFM_E_LIMIT, "4294967296 bytes"},
        {"{\"toy\": \"gaussian\", \"seed\": -1}", EFM_E_FORMAT, "\"seed\""},
        {"{\"toy\": \"gaussian\", \"shape\": [2, 2]}", EFM_E_FORMAT, "\"shape\""},
        {"{\"toy\": \"gaussian\", \"shape\": [2, 2, 2]}", EFM_E_FORMAT, "not 2"},
        {"{\"toy\": \"gaussian\", \"shape\": [2, 0, 1]}", EFM_E_FORMAT, "\"shape\""},
        {"{\"toy\": \"gaussian\", \"shape\": [8193, 1, 1]}", EFM_E_LIMIT, "8193"},
        {"{\"toy\": \"gaussian\", \"shape\": [2, 2, 1], \"dimension\": 4}", EFM_E_FORMAT, "not both"},
        {"{\"toy\": \"two_intervals\", \"dimension\": 2}", EFM_E_FORMAT, "dimension 1"},
        {"{\"toy\": \"swiss_roll\", \"dimension\": 3}", EFM_E_FORMAT, "dimension 2"},
        {"{\"toy\": \"swiss_roll\", \"noise\": -1}", EFM_E_FORMAT, "noise"},
        {"{\"toy\": \"swiss_roll\", \"noise\": \"1\"}", EFM_E_FORMAT, "\"noise\""},
        {"{\"toy\": \"swiss_roll\", \"scale\": 0}", EFM_E_FORMAT, "scale"},
        {"{\"toy\": \"mixture\", \"deviation\": 0}", EFM_E_FORMAT, "deviation"},
        {"{\"toy\": \"mixture\", \"centers\": []}", EFM_E_FORMAT, "\"centers\""},
        {"{\"toy\": \"mixture\", \"centers\": [[]]}", EFM_E_FORMAT, "\"centers\""},
        {"{\"toy\": \"mixture\", \"centers\": [[1, 2], [1]]}", EFM_E_FORMAT, "center 1"},
        {"{\"toy\": \"mixture\", \"centers\": [[1, null]]}", EFM_E_FORMAT, "no number"},
        {"{\"toy\": \"mixture\", \"centers\": [[1e7, 0]]}", EFM_E_FORMAT, "1e+07"},
        {"{\"toy\": \"mixture\", \"centers\": [[1, 0]], \"dimension\": 3}", EFM_E_FORMAT, "3"},
        {"{\"toy\": \"mixture\", \"dimension\": 3, \"centers\": [[1, 0]]}", EFM_E_FORMAT, "3"},
        {"{\"toy\": \"mixture\", \"dimension\": 3}", EFM_E_FORMAT, "needs \"centers\""},
    };
    const struct efm_dataset_options usual = efm_dataset_options_default();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_shape shape;
        size_t count;
        struct efm_error error = {0};
        assert_refused(cases[i].json, strlen(cases[i].json), NULL, cases[i].status, cases[i].words);
        assert_int_equal(efm_toy_describe((const uint8_t *)cases[i].json, strlen(cases[i].json), &usual,
                                          &shape, &count, &error),
                         cases[i].status);
        assert_non_null(strstr(error.message, cases[i].words));
    }
    const char whole[] = "{\"toy\": \"mixture\", \"centers\": [[1, 0]], \"count\": 3}";
    assert_truncations_refused(whole, sizeof whole - 1);

    struct efm_dataset_options options = efm_dataset_options_default();
    options.shape = efm_shape_vector(3);
    assert_refused(whole, sizeof whole - 1, &options, EFM_E_SHAPE, "2 numbers");
}

/* However many they are, and without memory for them. */
static void is_described_without_being_drawn(void **state)
{
    (void)state;
    const char *json = "{\"toy\": \"uniform\", \"shape\": [8, 4, 3], \"count\": 1000000000000}";
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_shape shape = {0};
    const struct efm_shape expected = efm_shape_image(8, 4, 3);
    size_t count = 0;
    options.max_count = options.max_decoded_bytes = SIZE_MAX;
    assert_int_equal(efm_toy_describe((const uint8_t *)json, strlen(json), &options, &shape, &count, NULL),
                     EFM_OK);
    assert_true(efm_shape_equal(&shape, &expected));
    assert_true(count == 1000000000000);
    options.max_decoded_bytes = 1000000000000;
    assert_int_equal(efm_toy_describe((const uint8_t *)json, strlen(json), &options, &shape, &count, NULL),
                     EFM_E_LIMIT);
    options.shape = efm_shape_vector(96);
    assert_int_equal(efm_toy_describe((const uint8_t *)json, strlen(json), &options, &shape, &count, NULL),
                     EFM_E_SHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_gaussians),
        cmocka_unit_test(draws_mixtures),
        cmocka_unit_test(draws_the_roll),
        cmocka_unit_test(draws_intervals),
        cmocka_unit_test(is_a_function_of_its_spec),
        cmocka_unit_test(json_and_struct_agree),
        cmocka_unit_test(refuses_bad_json),
        cmocka_unit_test(is_described_without_being_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
