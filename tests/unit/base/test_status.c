// SPDX-License-Identifier: Apache-2.0
#include "core/base/status.h"

#include "tests/support/check.h"

#include <string.h>

static void first_error_wins(void **state)
{
    (void)state;
    struct efm_error error = {0};
    assert_int_equal(efm_error_set(&error, EFM_E_LIMIT, "%d is more than %d", 9, 8), EFM_E_LIMIT);
    assert_int_equal(efm_error_set(&error, EFM_E_MEMORY, "the cleanup failed too"), EFM_E_MEMORY);
    assert_int_equal(error.status, EFM_E_LIMIT);
    assert_string_equal(error.message, "9 is more than 8");
}

static void a_cleared_error_records_again(void **state)
{
    (void)state;
    struct efm_error error = {0};
    assert_int_equal(efm_error_set(&error, EFM_E_IO, "first"), EFM_E_IO);
    efm_error_clear(&error);
    assert_int_equal(error.status, EFM_OK);
    assert_string_equal(error.message, "");
    assert_int_equal(efm_error_set(&error, EFM_E_FORMAT, "second"), EFM_E_FORMAT);
    assert_string_equal(error.message, "second");
}

static void error_may_be_null(void **state)
{
    (void)state;
    assert_int_equal(efm_error_set(NULL, EFM_E_SHAPE, "nobody listens"), EFM_E_SHAPE);
    efm_error_clear(NULL);
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    struct efm_error error = {0};
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(efm_error_set(&error, EFM_E_FORMAT, "%s", text), EFM_E_FORMAT);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_memory_equal(error.message, text, sizeof error.message - 1);
}

static void every_status_has_its_own_words(void **state)
{
    (void)state;
    assert_string_equal(efm_status_name(EFM_OK), "ok");
    assert_string_equal(efm_status_name(EFM_E_FORMAT), "format");
    assert_string_equal(efm_status_name(EFM_E_INTERNAL), "internal");
    assert_string_equal(efm_status_meaning(EFM_E_FORMAT), "the bytes are malformed or truncated");
    for (int a = EFM_OK; a <= EFM_E_INTERNAL; a++) {
        assert_true(strlen(efm_status_name((enum efm_status)a)) > 0);
        for (int b = EFM_OK; b < a; b++) {
            assert_string_not_equal(efm_status_name((enum efm_status)a), efm_status_name((enum efm_status)b));
            assert_string_not_equal(efm_status_meaning((enum efm_status)a),
                                    efm_status_meaning((enum efm_status)b));
        }
    }
}

static void other_numbers_are_unknown(void **state)
{
    (void)state;
    assert_string_equal(efm_status_name((enum efm_status)(EFM_E_INTERNAL + 1)), "unknown");
    assert_string_equal(efm_status_meaning((enum efm_status)1000), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(a_cleared_error_records_again),
        cmocka_unit_test(error_may_be_null),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(every_status_has_its_own_words),
        cmocka_unit_test(other_numbers_are_unknown),
    };
    return cmocka_run_group_tests_name("base/status", tests, NULL, NULL);
}
