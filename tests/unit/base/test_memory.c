// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "core/base/shape.h"

#include "tests/support/check.h"

#include <string.h>

static bool is_aligned(const void *block)
{
    return (uintptr_t)block % EFM_ALIGNMENT == 0;
}

static void sizes_are_multiplied_exactly_or_not_at_all(void **state)
{
    (void)state;
    size_t result = 7;
    assert_true(efm_size_multiply(6, 9, &result));
    assert_int_equal(result, 54);
    assert_true(efm_size_multiply(SIZE_MAX, 1, &result));
    assert_true(result == SIZE_MAX);
    assert_true(efm_size_multiply(SIZE_MAX, 0, &result));
    assert_int_equal(result, 0);
    result = 7;
    assert_false(efm_size_multiply(SIZE_MAX / 2 + 1, 2, &result));
    assert_int_equal(result, 7);
}

static void sizes_are_added_exactly_or_not_at_all(void **state)
{
    (void)state;
    size_t result = 7;
    assert_true(efm_size_add(SIZE_MAX - 3, 3, &result));
    assert_true(result == SIZE_MAX);
    result = 7;
    assert_false(efm_size_add(SIZE_MAX - 3, 4, &result));
    assert_int_equal(result, 7);
}

static void blocks_are_aligned_and_as_large_as_asked(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 4097};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = efm_allocate(sizes[i]);
        assert_non_null(block);
        assert_true(is_aligned(block));
        memset(block, 0xa5, sizes[i]);
        efm_free(block);
    }
    efm_free(NULL);
}

static void impossible_sizes_give_null(void **state)
{
    (void)state;
    size_t largest = SIZE_MAX, half = SIZE_MAX / 2; /* past the compiler, which knows allocators */
    assert_null(efm_allocate(largest));
    assert_null(efm_allocate(largest - EFM_ALIGNMENT));
    assert_null(efm_allocate(half + 2));
    assert_null(efm_allocate_array(half, 3));
    assert_null(efm_allocate_array(largest, largest));
}

static void arrays_are_zero(void **state)
{
    (void)state;
    unsigned char *dirty = efm_allocate(1000);
    assert_non_null(dirty);
    memset(dirty, 0xff, 1000);
    efm_free(dirty);
    unsigned char *array = efm_allocate_array(250, 4);
    assert_non_null(array);
    assert_true(is_aligned(array));
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(array[i], 0);
    efm_free(array);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char text[] = "plates";
    char *copy = efm_copy_string(text);
    assert_non_null(copy);
    text[0] = 'P';
    assert_string_equal(copy, "plates");
    efm_free(copy);
}

static void an_arena_hands_out_what_was_planned(void **state)
{
    (void)state;
    struct efm_arena arena = {0};
    const size_t counts[] = {3, 0, 100, 1}, sizes[] = {8, 4, 1, 65};
    char *pieces[4];
    for (int i = 0; i < 4; i++)
        assert_true(efm_arena_measure(&arena, counts[i], sizes[i]));
    assert_int_equal(arena.size, 64 + 64 + 128 + 128);
    assert_int_equal(efm_arena_create(&arena, NULL), EFM_OK);
    for (int i = 0; i < 4; i++) {
        pieces[i] = efm_arena_take(&arena, counts[i], sizes[i]);
        assert_non_null(pieces[i]);
        assert_true(is_aligned(pieces[i]));
        memset(pieces[i], i, counts[i] * sizes[i]);
    }
    for (int i = 0; i < 4; i++) /* the pieces do not overlap */
        for (size_t k = 0; k < counts[i] * sizes[i]; k++)
            assert_int_equal(pieces[i][k], i);
    assert_int_equal(arena.used, arena.size);
    efm_arena_release(&arena);
    assert_null(arena.base);
    assert_int_equal(arena.size, 0);
}

static void an_arena_gives_no_more_than_planned(void **state)
{
    (void)state;
    struct efm_arena arena = {0};
    assert_true(efm_arena_measure(&arena, 10, 8));
    assert_int_equal(efm_arena_create(&arena, NULL), EFM_OK);
    assert_null(efm_arena_take(&arena, 129, 1));
    assert_null(efm_arena_take(&arena, SIZE_MAX, 2));
    assert_null(efm_arena_take(&arena, SIZE_MAX, 1));
    assert_non_null(efm_arena_take(&arena, 10, 8)); /* a refusal takes nothing */
    assert_null(efm_arena_take(&arena, 0, 1));
    efm_arena_release(&arena);
}

static void an_arena_plan_may_overflow(void **state)
{
    (void)state;
    struct efm_arena plan = {0};
    assert_false(efm_arena_measure(&plan, SIZE_MAX, 2));
    assert_false(efm_arena_measure(&plan, SIZE_MAX, 1));
    assert_int_equal(plan.size, 0);
    assert_true(efm_arena_measure(&plan, SIZE_MAX - 200, 1));
    assert_false(efm_arena_measure(&plan, 200, 1));
}

static void an_arena_too_large_is_reported(void **state)
{
    (void)state;
    struct efm_arena plan = {0};
    struct efm_error error = {0};
    assert_true(efm_arena_measure(&plan, SIZE_MAX - 200, 1));
    assert_int_equal(efm_arena_create(&plan, &error), EFM_E_MEMORY);
    assert_int_equal(error.status, EFM_E_MEMORY);
    assert_non_null(strstr(error.message, "working space"));
    efm_arena_release(&plan);
}

static void an_array_grows_and_keeps_its_items(void **state)
{
    (void)state;
    int *items = NULL;
    size_t capacity = 0;
    for (size_t count = 0; count < 100; count++) {
        assert_true(efm_array_grow(&items, count, &capacity, sizeof *items));
        assert_true(capacity > count);
        for (size_t i = count; i < capacity; i++)
            assert_int_equal(items[i], 0);
        items[count] = (int)count + 1;
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(items[i], i + 1);
    const size_t before = capacity;
    int *const block = items;
    assert_true(efm_array_grow(&items, 100, &capacity, sizeof *items)); /* there is room */
    assert_ptr_equal(items, block);
    assert_false(efm_array_grow(&items, capacity, &capacity, SIZE_MAX / 64)); /* no memory is as large */
    assert_ptr_equal(items, block);
    assert_int_equal(capacity, before);
    efm_free(items);
    capacity = SIZE_MAX / 2 + 1;
    items = NULL;
    assert_false(efm_array_grow(&items, capacity, &capacity, 1));
}

static void shapes_know_what_they_are(void **state)
{
    (void)state;
    struct efm_shape image = efm_shape_image(4, 5, 3), vector = efm_shape_vector(60);
    assert_true(efm_shape_is_image(&image));
    assert_false(efm_shape_is_image(&vector));
    assert_int_equal(image.dimension, 60);
    assert_int_equal(vector.dimension, 60);
    assert_true(efm_shape_equal(&image, &image));
    assert_false(efm_shape_equal(&image, &vector)); /* of the same dimension */
    const struct efm_shape turned = efm_shape_image(5, 4, 3), grey = efm_shape_image(4, 15, 1);
    assert_false(efm_shape_equal(&image, &turned));
    assert_false(efm_shape_equal(&image, &grey));
    assert_true(efm_shape_image(UINT32_MAX, 65536, 2).dimension == (size_t)UINT32_MAX * 65536 * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_multiplied_exactly_or_not_at_all),
        cmocka_unit_test(sizes_are_added_exactly_or_not_at_all),
        cmocka_unit_test(blocks_are_aligned_and_as_large_as_asked),
        cmocka_unit_test(impossible_sizes_give_null),
        cmocka_unit_test(arrays_are_zero),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(an_arena_hands_out_what_was_planned),
        cmocka_unit_test(an_arena_gives_no_more_than_planned),
        cmocka_unit_test(an_arena_plan_may_overflow),
        cmocka_unit_test(an_arena_too_large_is_reported),
        cmocka_unit_test(an_array_grows_and_keeps_its_items),
        cmocka_unit_test(shapes_know_what_they_are),
    };
    return cmocka_run_group_tests_name("base/memory", tests, NULL, NULL);
}
