// SPDX-License-Identifier: Apache-2.0
/* Memory of fields: none in an evaluation, as much as announced, and a clean refusal when there is none. */
#include "tests/support/allocations.h"
#include "tests/unit/field/capacitor.h"

static const struct {
    size_t dimension;
    enum efm_exact_path path;
} paths[] = {
    {3, EFM_EXACT_PLAIN}, {1, EFM_EXACT_LOW}, {3, EFM_EXACT_LOW}, {3, EFM_EXACT_BLAS}, {300, EFM_EXACT_BLAS}};
enum { PATHS = sizeof paths / sizeof paths[0], POINTS = 70 };

static void create_survives_any_failing_allocation(void **state)
{
    (void)state;
    for (size_t i = 0; i < PATHS; i++) {
        struct capacitor plates = capacitor_random(9, 11, paths[i].dimension, 2, i);
        struct efm_exact_options options = {.path = paths[i].path, .length = 2};
        size_t failures = 0;
        enum efm_status status = EFM_E_MEMORY;
        for (size_t n = 0; status != EFM_OK; n++) {
            struct efm_error error = {0};
            struct efm_field *field;
            allocations_fail(n);
            status = efm_exact_field_create(&field, plates.source, 9, plates.target, 11, paths[i].dimension,
                                            &options, &error);
            allocations_succeed();
            if (status != EFM_OK) {
                failures++;
                assert_int_equal(status, EFM_E_MEMORY);
                assert_int_equal(error.status, EFM_E_MEMORY);
                assert_null(field);
            }
            efm_field_destroy(field);
        }
        assert_in_range(failures, 3, 20);
        capacitor_free(&plates);
    }
}

static void workspace_survives_any_failing_allocation(void **state)
{
    (void)state;
    for (size_t i = 0; i < PATHS; i++) {
        struct capacitor plates = capacitor_random(9, 11, paths[i].dimension, 2, i);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, paths[i].path, 0);
        size_t failures = 0;
        enum efm_status status = EFM_E_MEMORY;
        for (size_t n = 0; status != EFM_OK; n++) {
            struct efm_error error = {0};
            struct efm_field_workspace *workspace;
            allocations_fail(n);
            status = efm_field_workspace_create(&workspace, field, POINTS, NULL, &error);
            allocations_succeed();
            if (status != EFM_OK) {
                failures++;
                assert_int_equal(status, EFM_E_MEMORY);
                assert_int_equal(error.status, EFM_E_MEMORY);
                assert_null(workspace);
            }
            efm_field_workspace_destroy(workspace);
        }
        assert_int_equal(failures, 2);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

static void an_evaluation_allocates_nothing(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    for (size_t i = 0; i < PATHS; i++)
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct capacitor plates = capacitor_random(90, 110, paths[i].dimension, 200, i);
            struct efm_field *field = capacitor_field(&plates, kind, paths[i].path, 3);
            struct efm_field_workspace *workspace;
            struct probes points = probes_around(&plates, POINTS, i);
            struct answers answers = answers_new(POINTS, paths[i].dimension);
            struct efm_field_values values = {answers.x, answers.z, answers.log_norm, answers.nearest};
            assert_int_equal(efm_field_workspace_create(&workspace, field, POINTS, team, NULL), EFM_OK);
            struct allocations before = allocations_now();
            efm_field_evaluate(field, workspace, points.x, points.z, POINTS, &values);
            assert_int_equal(allocations_now().count, before.count);
            efm_field_workspace_destroy(workspace);
            answers_free(&answers);
            probes_free(&points);
            efm_field_destroy(field);
            capacitor_free(&plates);
        }
    efm_team_destroy(team);
}

/* On the path that is chosen for its dimensions. */
static void a_field_takes_no_more_than_announced(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 17, 300};
    for (size_t i = 0; i < PATHS; i++)
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            size_t dimension = paths[i].dimension, m = counts[k], n = 1 + m / 2;
            if (paths[i].path == EFM_EXACT_BLAS && dimension <= EFM_EXACT_LOW_DIMENSION)
                continue;
            struct capacitor plates = capacitor_random(m, n, dimension, 2, i);
            struct allocations before = allocations_now();
            struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, paths[i].path, 0);
            size_t taken = allocations_now().bytes - before.bytes;
            size_t announced = efm_exact_field_bytes(m, n, dimension);
            assert_true(taken <= announced);
            if (paths[i].path != EFM_EXACT_PLAIN)
                assert_true(announced <= 3 * taken + 1024); /* and the announcement is not idle */
            efm_field_destroy(field);
            capacitor_free(&plates);
        }
}

static void sizes_past_counting_are_announced_as_such(void **state)
{
    (void)state;
    assert_true(efm_exact_field_bytes(SIZE_MAX, 1, 1) == SIZE_MAX);
    assert_true(efm_exact_field_bytes(SIZE_MAX / 2, 1, 4) == SIZE_MAX);
    assert_true(efm_exact_field_bytes(1, SIZE_MAX / 15, 1) == SIZE_MAX);
    assert_true(efm_exact_field_bytes(1, SIZE_MAX / 20, 1) == SIZE_MAX);
    assert_true(efm_exact_field_bytes(1, 1, SIZE_MAX / 4) == SIZE_MAX);
    assert_true(efm_exact_field_bytes(1000, 1000, 3072) < (size_t)64 << 20);
}

/* How many bytes a workspace takes does not grow with the capacity: longer calls go tile by tile. */
static void a_huge_workspace_is_refused_or_small(void **state)
{
    (void)state;
    for (size_t i = 0; i < PATHS; i++) {
        struct capacitor plates = capacitor_random(9, 11, paths[i].dimension, 2, i);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, paths[i].path, 0);
        struct efm_field_workspace *workspace;
        struct efm_error error = {0};
        struct allocations before = allocations_now();
        if (efm_field_workspace_create(&workspace, field, SIZE_MAX, NULL, &error) == EFM_OK)
            assert_true(allocations_now().bytes - before.bytes < (size_t)64 << 20);
        else
            assert_true(error.status == EFM_E_LIMIT || error.status == EFM_E_MEMORY);
        efm_field_workspace_destroy(workspace);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_survives_any_failing_allocation),
        cmocka_unit_test(workspace_survives_any_failing_allocation),
        cmocka_unit_test(an_evaluation_allocates_nothing),
        cmocka_unit_test(a_field_takes_no_more_than_announced),
        cmocka_unit_test(sizes_past_counting_are_announced_as_such),
        cmocka_unit_test(a_huge_workspace_is_refused_or_small),
    };
    return cmocka_run_group_tests_name("field/memory", tests, NULL, NULL);
}
