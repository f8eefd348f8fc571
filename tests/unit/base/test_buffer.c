// SPDX-License-Identifier: Apache-2.0
#include "core/base/buffer.h"

#include "tests/support/check.h"
#include "tests/unit/data/chaos.h"

#include <string.h>

static void bytes_are_appended_in_order(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_buffer_append(&buffer, "ab\0c", 4), EFM_OK);
    assert_int_equal(efm_buffer_append_string(&buffer, "de"), EFM_OK);
    assert_int_equal(efm_buffer_format(&buffer, "%d-%s", 17, "x"), EFM_OK);
    assert_int_equal(buffer.size, 10);
    assert_memory_equal(buffer.data, "ab\0cde17-x", 10);
    efm_buffer_release(&buffer);
}

static void a_buffer_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    struct efm_buffer buffer = efm_buffer_limited((size_t)COUNT * 4);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(efm_buffer_append(&buffer, &i, sizeof i), EFM_OK);
    assert_int_equal(buffer.size, COUNT * 4);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_memory_equal(buffer.data + 4 * i, &i, 4);
    efm_buffer_release(&buffer);
}

static void the_limit_is_exact(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(10);
    assert_int_equal(efm_buffer_append(&buffer, "0123456789", 10), EFM_OK);
    assert_int_equal(efm_buffer_append(&buffer, "", 0), EFM_OK);
    assert_int_equal(efm_buffer_append(&buffer, "a", 1), EFM_E_LIMIT);
    assert_int_equal(buffer.size, 10);
    assert_memory_equal(buffer.data, "0123456789", 10);
    efm_buffer_release(&buffer);
}

static void the_first_failure_stays(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(10);
    assert_int_equal(efm_buffer_append(&buffer, "0123456789a", 11), EFM_E_LIMIT);
    assert_int_equal(efm_buffer_append(&buffer, "b", 1), EFM_E_LIMIT); /* though it would fit */
    assert_int_equal(efm_buffer_append_string(&buffer, "b"), EFM_E_LIMIT);
    assert_int_equal(efm_buffer_format(&buffer, "b"), EFM_E_LIMIT);
    assert_int_equal(buffer.status, EFM_E_LIMIT);
    assert_int_equal(buffer.size, 0);
    efm_buffer_release(&buffer);
}

static void a_huge_append_does_not_wrap_around(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(SIZE_MAX);
    assert_int_equal(efm_buffer_append(&buffer, "abc", 3), EFM_OK);
    assert_int_equal(efm_buffer_append(&buffer, "abc", SIZE_MAX - 1), EFM_E_LIMIT);
    assert_int_equal(buffer.size, 3);
    efm_buffer_release(&buffer);
}

static void format_obeys_the_limit(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(8);
    assert_int_equal(efm_buffer_format(&buffer, "%s", "seven77"), EFM_OK);
    assert_int_equal(buffer.size, 7);
    assert_int_equal(efm_buffer_format(&buffer, "%s", "more"), EFM_E_LIMIT);
    assert_int_equal(buffer.size, 7);
    efm_buffer_release(&buffer);
}

static void release_keeps_the_limit(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(4);
    assert_int_equal(efm_buffer_append(&buffer, "12345", 5), EFM_E_LIMIT);
    efm_buffer_release(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.status, EFM_OK);
    assert_int_equal(efm_buffer_append(&buffer, "1234", 4), EFM_OK);
    assert_int_equal(efm_buffer_append(&buffer, "5", 1), EFM_E_LIMIT);
    efm_buffer_release(&buffer);
    efm_buffer_release(&buffer);
}

static void no_memory_is_sticky_and_loses_nothing(void **state)
{
    (void)state;
    static const char block[5000];
    struct efm_buffer buffer = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_buffer_append_string(&buffer, "first"), EFM_OK);
    chaos_arm(0);
    assert_int_equal(efm_buffer_append(&buffer, block, sizeof block), EFM_E_MEMORY);
    chaos_disarm();
    assert_int_equal(efm_buffer_append_string(&buffer, "second"), EFM_E_MEMORY);
    assert_int_equal(buffer.size, 5);
    assert_memory_equal(buffer.data, "first", 5);
    efm_buffer_release(&buffer);
}

/* What was reserved is neither more nor moved: appends take no memory. */
static void a_reserve_takes_what_is_asked_for_once(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct efm_buffer buffer = efm_buffer_limited(2 * COUNT);
    assert_int_equal(efm_buffer_append_string(&buffer, "head"), EFM_OK);
    assert_int_equal(efm_buffer_reserve(&buffer, COUNT), EFM_OK);
    assert_int_equal(buffer.capacity, COUNT + 4);
    assert_int_equal(buffer.size, 4);
    assert_memory_equal(buffer.data, "head", 4);
    const uint8_t *place = buffer.data;
    chaos_arm(0);
    for (size_t i = 0; i < COUNT; i++)
        efm_buffer_append(&buffer, "x", 1);
    assert_int_equal(efm_buffer_reserve(&buffer, 0), EFM_OK);
    chaos_disarm();
    assert_int_equal(buffer.status, EFM_OK);
    assert_ptr_equal(buffer.data, place);
    assert_int_equal(efm_buffer_append(&buffer, "y", 1), EFM_OK); /* and grows as ever */
    assert_int_equal(buffer.size, COUNT + 5);
    assert_int_equal(buffer.data[COUNT + 4], 'y');
    assert_int_equal(efm_buffer_reserve(&buffer, 1), EFM_OK); /* there already */
    efm_buffer_release(&buffer);
}

static void a_reserve_fails_as_an_append_does(void **state)
{
    (void)state;
    struct efm_buffer buffer = efm_buffer_limited(10);
    assert_int_equal(efm_buffer_append(&buffer, "abc", 3), EFM_OK);
    assert_int_equal(efm_buffer_reserve(&buffer, 7), EFM_OK);
    assert_int_equal(efm_buffer_reserve(&buffer, 8), EFM_E_LIMIT);
    assert_int_equal(efm_buffer_append(&buffer, "d", 1), EFM_E_LIMIT); /* though it would fit */
    assert_int_equal(buffer.size, 3);
    efm_buffer_release(&buffer);
    buffer.limit = SIZE_MAX;
    assert_int_equal(efm_buffer_append(&buffer, "abc", 3), EFM_OK);
    assert_int_equal(efm_buffer_reserve(&buffer, SIZE_MAX - 2), EFM_E_LIMIT); /* does not wrap around */
    efm_buffer_release(&buffer);
    assert_int_equal(efm_buffer_append(&buffer, "abc", 3), EFM_OK);
    chaos_arm(0);
    assert_int_equal(efm_buffer_reserve(&buffer, 10000), EFM_E_MEMORY);
    chaos_disarm();
    assert_int_equal(efm_buffer_reserve(&buffer, 1), EFM_E_MEMORY);
    assert_memory_equal(buffer.data, "abc", 3);
    efm_buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_appended_in_order),
        cmocka_unit_test(a_buffer_grows_and_keeps_what_it_has),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(the_first_failure_stays),
        cmocka_unit_test(a_huge_append_does_not_wrap_around),
        cmocka_unit_test(format_obeys_the_limit),
        cmocka_unit_test(release_keeps_the_limit),
        cmocka_unit_test(no_memory_is_sticky_and_loses_nothing),
        cmocka_unit_test(a_reserve_takes_what_is_asked_for_once),
        cmocka_unit_test(a_reserve_fails_as_an_append_does),
    };
    return cmocka_run_group_tests_name("base/buffer", tests, NULL, NULL);
}
