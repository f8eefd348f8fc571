// SPDX-License-Identifier: Apache-2.0
/* Memory of flows: all taken at creation, as much as announced, and a clean refusal when there is none. */
#include "tests/support/allocations.h"
#include "tests/unit/flow/voyage.h"

static struct efm_flow_options options_with(const struct efm_field *field, uint32_t frames,
                                            enum efm_solver solver)
{
    struct efm_flow_options options;
    efm_flow_options_default(&options, field);
    options.frames = frames;
    options.solver = solver;
    return options;
}

static void line_create_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct capacitor plates = capacitor_random(9, 11, 3, 2, 1);
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
    struct efm_flow_options options = options_with(field, 5, EFM_SOLVER_RK45);
    size_t failures = 0;
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        struct efm_error error = {0};
        struct efm_line *line;
        allocations_fail(n);
        status = efm_line_create(&line, field, &options, plates.source, 0, &error);
        allocations_succeed();
        if (status != EFM_OK) {
            failures++;
            assert_int_equal(status, EFM_E_MEMORY);
            assert_int_equal(error.status, EFM_E_MEMORY);
            assert_null(line);
        }
        efm_line_destroy(line);
    }
    assert_int_equal(failures, 2);
    efm_field_destroy(field);
    capacitor_free(&plates);
}

static void flow_create_survives_any_failing_allocation(void **state)
{
    (void)state;
    static const size_t dimensions[] = {3, 30};
    for (size_t d = 0; d < 2; d++) {
        struct capacitor plates = capacitor_random(9, 11, dimensions[d], 2, 1);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        size_t failures = 0;
        enum efm_status status = EFM_E_MEMORY;
        for (size_t n = 0; status != EFM_OK; n++) {
            struct efm_error error = {0};
            struct efm_flow *flow;
            allocations_fail(n);
            status = efm_flow_create(&flow, field, 5, NULL, &error);
            allocations_succeed();
            if (status != EFM_OK) {
                failures++;
                assert_int_equal(status, EFM_E_MEMORY);
                assert_int_equal(error.status, EFM_E_MEMORY);
                assert_null(flow);
            }
            efm_flow_destroy(flow);
        }
        assert_int_equal(failures, 4);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

static void impossible_capacities_are_refused(void **state)
{
    (void)state;
    const size_t capacities[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 12, (size_t)1 << 60};
    struct capacitor plates = capacitor_random(9, 11, 3, 2, 1);
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        struct efm_error error = {0};
        struct efm_flow *flow = (struct efm_flow *)&error;
        assert_int_equal(efm_flow_create(&flow, field, capacities[i], NULL, &error), EFM_E_MEMORY);
        assert_null(flow);
    }
    efm_field_destroy(field);
    capacitor_free(&plates);
}

static void a_line_takes_what_was_announced(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 3, 1000};
    static const uint32_t frames[] = {0, 2, 5, EFM_FLOW_MAX_FRAMES};
    for (size_t d = 0; d < 3; d++) {
        struct capacitor plates = capacitor_random(3, 3, dimensions[d], 2, d);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        for (size_t f = 0; f < 4; f++)
            for (int solver = EFM_SOLVER_EULER; solver <= EFM_SOLVER_ARC_LENGTH; solver++) {
                struct efm_flow_options options = options_with(field, frames[f], (enum efm_solver)solver);
                struct allocations before = allocations_now();
                struct efm_line *line = line_of(field, &options, plates.source, 0);
                assert_int_equal(allocations_now().bytes - before.bytes, efm_line_bytes(field, &options));
                efm_line_destroy(line);
            }
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

/* From the first step to the last, frames included. */
static void steps_allocate_nothing(void **state)
{
    (void)state;
    enum { LINES = 8 };
    static const size_t dimensions[] = {1, 3, 40};
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    for (size_t d = 0; d < 3; d++)
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct capacitor plates = capacitor_random(30, 40, dimensions[d], 2, d);
            struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
            struct efm_flow *flow = flow_of(field, LINES, team);
            struct efm_line *lines[LINES];
            for (size_t i = 0; i < LINES; i++) {
                struct efm_flow_options options =
                    options_with(field, i % 2 == 0 ? 0 : 6, (enum efm_solver)(i % 4));
                options.max_evaluations = 300;
                if (kind == EFM_FIELD_SUPERPOSITION && i % 4 == EFM_SOLVER_ARC_LENGTH)
                    options.map = EFM_MAP_STOCHASTIC;
                lines[i] = line_of(field, &options, plates.source + i * dimensions[d], i);
            }
            struct allocations before = allocations_now();
            while (efm_flow_step(flow, lines, LINES) > 0)
                ;
            assert_int_equal(allocations_now().count, before.count);
            for (size_t i = 0; i < LINES; i++)
                efm_line_destroy(lines[i]);
            efm_flow_destroy(flow);
            efm_field_destroy(field);
            capacitor_free(&plates);
        }
    efm_team_destroy(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_create_survives_any_failing_allocation),
        cmocka_unit_test(flow_create_survives_any_failing_allocation),
        cmocka_unit_test(impossible_capacities_are_refused),
        cmocka_unit_test(a_line_takes_what_was_announced),
        cmocka_unit_test(steps_allocate_nothing),
    };
    return cmocka_run_group_tests_name("flow/memory", tests, NULL, NULL);
}
