// SPDX-License-Identifier: Apache-2.0
#include "core/data/subset.h"
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/samples.h"

enum { COUNT = 8 };

/* Sample i is the vector (i, -i), or the 1x2 grey picture (i, 100 + i); its label is i % 3. */
static struct efm_dataset *numbered(bool pictures)
{
    struct efm_dataset *dataset = NULL;
    if (pictures) {
        uint8_t bytes[16 + 2 * COUNT] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, 1, 0, 0, 0, 2};
        for (uint8_t i = 0; i < COUNT; i++) {
            bytes[16 + 2 * i] = i;
            bytes[17 + 2 * i] = (uint8_t)(100 + i);
        }
        struct efm_error error = {0};
        assert_int_equal(read_bytes(&dataset, bytes, sizeof bytes, NULL, &error), EFM_OK);
        return dataset;
    }
    float values[2 * COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        values[2 * i] = (float)i;
        values[2 * i + 1] = -(float)i;
    }
    const struct efm_shape shape = efm_shape_vector(2);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, COUNT, &shape, NULL), EFM_OK);
    return dataset;
}

static uint8_t label_values[] = {0, 1, 2, 0, 1, 2, 0, 1};
static const struct efm_labels labels = {label_values, COUNT};

static void selects(void **state)
{
    (void)state;
    static const struct {
        struct efm_selection selection;
        size_t count;
        float samples[COUNT];
    } cases[] = {
        {{0}, 8, {0, 1, 2, 3, 4, 5, 6, 7}},
        {{.first = 6}, 2, {6, 7}},
        {{.first = -3}, 3, {5, 6, 7}},
        {{.first = -3, .count = 2}, 2, {5, 6}},
        {{.count = -6}, 2, {0, 1}},
        {{.first = 1, .count = -6}, 1, {1}},
        {{.labels = &labels, .label = 0}, 3, {0, 3, 6}},
        {{.labels = &labels, .label = 1, .first = 1}, 2, {4, 7}},
        {{.labels = &labels, .label = 2, .count = -1}, 1, {2}},
    };
    struct efm_dataset *dataset = numbered(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_dataset *subset = NULL;
        float values[2 * COUNT], low, high;
        assert_int_equal(efm_dataset_select(&subset, dataset, &cases[i].selection, NULL), EFM_OK);
        assert_int_equal(efm_dataset_count(subset), cases[i].count);
        assert_int_equal(efm_dataset_floats(subset, 0, cases[i].count, values, NULL), EFM_OK);
        for (size_t j = 0; j < cases[i].count; j++)
            assert_true(values[2 * j] == cases[i].samples[j] && values[2 * j + 1] == -cases[i].samples[j]);
        efm_dataset_range(subset, &low, &high);
        assert_true(high == cases[i].samples[cases[i].count - 1] && low == -high);
        efm_dataset_unref(subset);
    }
    efm_dataset_unref(dataset);
}

static void selects_pictures(void **state)
{
    (void)state;
    struct efm_dataset *dataset = numbered(true), *subset = NULL;
    const struct efm_selection selection = {.labels = &labels, .label = 2, .first = 1};
    float values[2];
    assert_int_equal(efm_dataset_select(&subset, dataset, &selection, NULL), EFM_OK);
    efm_dataset_unref(dataset); /* nothing is borrowed from it */
    assert_int_equal(efm_dataset_count(subset), 1);
    assert_int_equal(efm_dataset_floats(subset, 0, 1, values, NULL), EFM_OK);
    assert_true(values[0] == 5 / 127.5f - 1 && values[1] == 105 / 127.5f - 1);
    assert_string_equal(efm_dataset_format(subset), "idx");
    efm_dataset_unref(subset);
}

static void refuses_selections(void **state)
{
    (void)state;
    static uint8_t few[] = {1, 2};
    static const struct efm_labels short_labels = {few, 2};
    static const struct {
        struct efm_selection selection;
        enum efm_status status;
        const char *words;
    } cases[] = {
        {{.labels = &short_labels, .label = 1}, EFM_E_SHAPE, "2 labels for 8 samples"},
        {{.labels = &labels, .label = 9}, EFM_E_NOT_FOUND, "label 9"},
        {{.first = 9}, EFM_E_ARGUMENT, "first sample is 9"},
        {{.first = -9}, EFM_E_ARGUMENT, "first sample is -9"},
        {{.first = INT64_MIN}, EFM_E_ARGUMENT, "first sample"},
        {{.first = 6, .count = 3}, EFM_E_ARGUMENT, "past the end of 8"},
        {{.count = INT64_MAX}, EFM_E_ARGUMENT, "past the end"},
        {{.count = INT64_MIN}, EFM_E_ARGUMENT, "past the end"},
        {{.first = 8}, EFM_E_NOT_FOUND, "no sample is left"},
        {{.first = 4, .count = -4}, EFM_E_NOT_FOUND, "no sample is left"},
        {{.labels = &labels, .label = 2, .first = 0, .count = 3}, EFM_E_ARGUMENT, "past the end of 2"},
    };
    struct efm_dataset *dataset = numbered(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_dataset *subset = NULL;
        struct efm_error error = {0};
        assert_int_equal(efm_dataset_select(&subset, dataset, &cases[i].selection, &error), cases[i].status);
        assert_null(subset);
        if (strstr(error.message, cases[i].words) == NULL)
            fail_msg("'%s' does not say '%s'", error.message, cases[i].words);
    }
    efm_dataset_unref(dataset);
}

static const uint8_t idx[] = {0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 255};

static void reads_labels(void **state)
{
    (void)state;
    struct efm_labels read = {0};
    assert_int_equal(efm_labels_read(&read, idx, sizeof idx, NULL), EFM_OK);
    assert_int_equal(read.count, 3);
    assert_memory_equal(read.values, "\7\0\377", 3);
    efm_labels_release(&read);
    assert_null(read.values);

    struct efm_buffer packed = new_buffer();
    append_gzip(&packed, idx, sizeof idx);
    assert_int_equal(efm_labels_read(&read, packed.data, packed.size, NULL), EFM_OK);
    assert_memory_equal(read.values, "\7\0\377", 3);
    efm_labels_release(&read);
    packed.data[packed.size - 5] ^= 1; /* its checksum */
    assert_int_equal(efm_labels_read(&read, packed.data, packed.size, NULL), EFM_E_FORMAT);
    efm_buffer_release(&packed);
}

static void refuses_labels(void **state)
{
    (void)state;
    struct efm_labels read = {0};
    for (size_t size = 0; size < sizeof idx; size++) {
        uint8_t *copy =
            malloc(size + 1); /* exact but for malloc(0), so that a sanitizer sees a byte too many */
        memcpy(copy + 1, idx, size);
        assert_int_equal(efm_labels_read(&read, copy + 1, size, NULL), EFM_E_FORMAT);
        free(copy);
    }
    static const uint8_t empty[] = {0, 0, 8, 1, 0, 0, 0, 0}, floats[] = {0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t pictures[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 5};
    assert_int_equal(efm_labels_read(&read, empty, sizeof empty, NULL), EFM_E_FORMAT);
    assert_int_equal(efm_labels_read(&read, floats, sizeof floats, NULL), EFM_E_UNSUPPORTED);
    assert_int_equal(efm_labels_read(&read, pictures, sizeof pictures, NULL), EFM_E_UNSUPPORTED);
}

static void survives_no_memory(void **state)
{
    (void)state;
    struct efm_dataset *dataset = numbered(true), *subset = NULL;
    const struct efm_selection selection = {.first = 2};
    struct efm_labels read = {0};
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        chaos_arm(n);
        status = efm_dataset_select(&subset, dataset, &selection, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && subset == NULL));
        assert_true(n < 10);
    }
    chaos_arm(0);
    assert_int_equal(efm_labels_read(&read, idx, sizeof idx, NULL), EFM_E_MEMORY);
    chaos_disarm();
    efm_dataset_unref(subset);
    efm_dataset_unref(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selects),
        cmocka_unit_test(selects_pictures),
        cmocka_unit_test(refuses_selections),
        cmocka_unit_test(reads_labels),
        cmocka_unit_test(refuses_labels),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
