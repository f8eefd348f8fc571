// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/samples.h"

static const uint8_t idx[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40};

static void reads_members(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    for (size_t cut = 0; cut < sizeof idx; cut += 5) { /* one member, or two */
        struct efm_buffer zipped = new_buffer();
        if (cut > 0)
            append_gzip(&zipped, idx, cut);
        append_gzip(&zipped, idx + cut, sizeof idx - cut);
        assert_int_equal(read_bytes(&dataset, zipped.data, zipped.size, NULL, &error), EFM_OK);
        assert_string_equal(efm_dataset_format(dataset), "idx");
        assert_int_equal(efm_dataset_count(dataset), 2);
        efm_dataset_unref(dataset);
        assert_truncations_refused(zipped.data, zipped.size);
        efm_buffer_append(&zipped, "x", 1);
        assert_refused(zipped.data, zipped.size, NULL, EFM_E_FORMAT, "follow");
        efm_buffer_release(&zipped);
    }
}

static void refuses_damage_and_nesting(void **state)
{
    (void)state;
    struct efm_buffer zipped = new_buffer(), twice = new_buffer();
    append_gzip(&zipped, idx, sizeof idx);
    append_gzip(&twice, zipped.data, zipped.size);
    assert_refused(twice.data, twice.size, NULL, EFM_E_UNSUPPORTED, "inside a gzip");
    zipped.data[zipped.size - 8] ^= 1; /* the checksum */
    assert_refused(zipped.data, zipped.size, NULL, EFM_E_FORMAT, "damaged");
    efm_buffer_release(&twice);
    efm_buffer_release(&zipped);
    twice = new_buffer();
    append_gzip(&twice, "", 0);
    assert_refused(twice.data, twice.size, NULL, EFM_E_FORMAT, "none of");
    efm_buffer_release(&twice);
}

static void stops_at_the_limit(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_buffer bomb = new_buffer();
    uint8_t *zeros = calloc(1, 8 << 20);
    assert_non_null(zeros);
    append_gzip(&bomb, zeros, 8 << 20);
    assert_true(bomb.size < 16384);
    options.max_decoded_bytes = 1 << 20;
    assert_refused(bomb.data, bomb.size, &options, EFM_E_LIMIT, "unpacks to more than 1048576 bytes");
    free(zeros);
    efm_buffer_release(&bomb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_members),
        cmocka_unit_test(refuses_damage_and_nesting),
        cmocka_unit_test(stops_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
