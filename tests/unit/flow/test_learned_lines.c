// SPDX-License-Identifier: Apache-2.0
/* Lines of a field without charges: where they begin and land, and what they cost. The field is a formula in place of
 * a network, so every evaluation can be watched. */
#include "tests/unit/flow/voyage.h"

enum { DIMENSION = 2 };
static const double LENGTH = 4, LOWEST = 1e-3;

/* Heights of all evaluations since they were last forgotten. */
static double seen[4096];
static size_t seen_count;

static double watch(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    for (size_t d = 0; d < dimension; d++)
        out[d] = 0.5 * (double)(d + 1);
    seen[seen_count++ % (sizeof seen / sizeof seen[0])] = z;
    return 1;
}

/* dx/dz = x / 2: e^(L/2) from plate to plate. */
static double spread(const float *x, double z, size_t dimension, double *out)
{
    for (size_t d = 0; d < dimension; d++)
        out[d] = 0.5 * (double)x[d];
    seen[seen_count++ % (sizeof seen / sizeof seen[0])] = z;
    return 1;
}

static struct formula field_of(enum efm_field_kind kind, formula_body *body)
{
    seen_count = 0;
    return learned_formula(DIMENSION, LENGTH, LOWEST, kind, body);
}

static const float start[DIMENSION] = {0.25F, -1};

static void euler_costs_its_steps(void **state)
{
    (void)state;
    static const uint32_t steps[] = {1, 2, 3, 10, 100};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        for (int variable = EFM_VARIABLE_Z; variable <= EFM_VARIABLE_ROOT_Z; variable++)
            for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++) {
                struct formula field = field_of(EFM_FIELD_PER_PLATE, watch);
                struct efm_flow_options options = options_of(&field.base, EFM_MAP_FORWARD, EFM_SOLVER_EULER);
                options.variable = (enum efm_variable)variable;
                options.direction = (enum efm_direction)direction;
                options.steps = steps[i];
                struct efm_line *line = line_of(&field.base, &options, start, 0);
                travel(&field.base, line);
                assert_int_equal(efm_line_state(line), EFM_LINE_LANDED);
                assert_int_equal(efm_line_evaluations(line), steps[i]);
                assert_int_equal(field.evaluations, steps[i]);
                assert_true(efm_line_height(line) == (direction == EFM_DIRECTION_FORWARD ? LENGTH : 0));
                efm_line_destroy(line);
            }
}

/* Heights of a line of n equal steps: the lowest one first, never a plate. */
static void equal_steps_begin_at_the_lowest_height(void **state)
{
    (void)state;
    for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++) {
        struct formula field = field_of(EFM_FIELD_FLOW_MATCHING, watch);
        struct efm_flow_options options;
        efm_flow_options_default(&options, &field.base);
        options.direction = (enum efm_direction)direction;
        struct efm_line *line = line_of(&field.base, &options, start, 0);
        travel(&field.base, line);
        assert_int_equal(seen_count, 10);
        double step = (LENGTH - LOWEST) / 10;
        for (size_t i = 0; i < 10; i++) {
            double height = LOWEST + (double)i * step;
            assert_true(fabs(seen[i] - (direction == EFM_DIRECTION_FORWARD ? height : LENGTH - height)) <
                        1e-12);
        }
        /* a straight field: the end is the slope times the height that was walked */
        double sign = direction == EFM_DIRECTION_FORWARD ? 1 : -1;
        for (size_t d = 0; d < DIMENSION; d++)
            assert_true(fabs((double)efm_line_position(line)[d] - (double)start[d] -
                             sign * 0.5 * (double)(d + 1) * (LENGTH - LOWEST)) < 1e-5);
        efm_line_destroy(line);
    }
}

/* n steps in the root of the height: finer where the line starts, whichever plate that is, and straight in z. */
static void steps_in_the_root_are_finer_at_the_start(void **state)
{
    (void)state;
    for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++) {
        struct formula field = field_of(EFM_FIELD_SUPERPOSITION, watch);
        struct efm_flow_options options;
        efm_flow_options_default(&options, &field.base);
        assert_int_equal(options.variable, EFM_VARIABLE_ROOT_Z);
        options.direction = (enum efm_direction)direction;
        struct efm_line *line = line_of(&field.base, &options, start, 0);
        travel(&field.base, line);
        assert_int_equal(seen_count, 10);
        double first = sqrt(LOWEST), step = (sqrt(LENGTH) - first) / 10;
        for (size_t i = 0; i < 10; i++) {
            double height = pow(first + (double)i * step, 2);
            assert_true(fabs(seen[i] - (direction == EFM_DIRECTION_FORWARD ? height : LENGTH - height)) <
                        1e-9);
        }
        double sign = direction == EFM_DIRECTION_FORWARD ? 1 : -1;
        for (size_t d = 0; d < DIMENSION; d++)
            assert_true(fabs((double)efm_line_position(line)[d] - (double)start[d] -
                             sign * 0.5 * (double)(d + 1) * (LENGTH - LOWEST)) < 1e-5);
        assert_true(efm_line_height(line) == (direction == EFM_DIRECTION_FORWARD ? LENGTH : 0));
        efm_line_destroy(line);
    }
}

/* Every solver in every variable stays between the lowest heights and ends where the solution does. */
static void all_solvers_stay_where_the_network_was_trained(void **state)
{
    (void)state;
    for (int kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_FLOW_MATCHING; kind++)
        for (int solver = EFM_SOLVER_EULER; solver <= EFM_SOLVER_ARC_LENGTH; solver++)
            for (int variable = EFM_VARIABLE_Z; variable <= EFM_VARIABLE_ROOT_Z; variable++) {
                struct formula field = field_of((enum efm_field_kind)kind, spread);
                enum efm_map map = kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD;
                struct efm_flow_options options = options_of(&field.base, map, (enum efm_solver)solver);
                options.variable = (enum efm_variable)variable;
                options.steps = 500;
                options.tolerance = 1e-5;
                struct efm_line *line = line_of(&field.base, &options, start, 0);
                travel(&field.base, line);
                assert_int_equal(efm_line_state(line), EFM_LINE_LANDED);
                assert_true(efm_line_height(line) == LENGTH);
                /* the last arc length step ends somewhere between that height and the plate */
                double highest = solver == EFM_SOLVER_ARC_LENGTH ? LENGTH : LENGTH - LOWEST * (1 - 1e-9);
                for (size_t i = 0; i < seen_count; i++)
                    assert_true(seen[i] >= LOWEST * (1 - 1e-9) && seen[i] <= highest);
                double wanted = (double)start[0] * exp(0.5 * LENGTH);
                assert_true(fabs((double)efm_line_position(line)[0] - wanted) < 0.02 * fabs(wanted));
                assert_true(efm_line_landing_distance(line) == INFINITY);
                efm_line_destroy(line);
            }
}

static void defaults_are_few_equal_steps(void **state)
{
    (void)state;
    static const uint32_t steps[] = {[EFM_FIELD_SUPERPOSITION] = 10,
                                     [EFM_FIELD_PER_PLATE] = 10,
                                     [EFM_FIELD_CHAIN] = 50,
                                     [EFM_FIELD_FLOW_MATCHING] = 10};
    for (int kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_FLOW_MATCHING; kind++) {
        struct formula field = field_of((enum efm_field_kind)kind, watch);
        struct efm_flow_options options;
        efm_flow_options_default(&options, &field.base);
        assert_int_equal(efm_flow_options_check(&options, &field.base, NULL), EFM_OK);
        assert_int_equal(options.map, kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD);
        assert_int_equal(options.solver, EFM_SOLVER_EULER);
        assert_int_equal(options.variable,
                         kind == EFM_FIELD_SUPERPOSITION ? EFM_VARIABLE_ROOT_Z : EFM_VARIABLE_Z);
        assert_int_equal(options.steps, steps[kind]);
    }
}

static void no_map_goes_behind_the_plates(void **state)
{
    (void)state;
    for (int kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_FLOW_MATCHING; kind++) {
        struct formula field = field_of((enum efm_field_kind)kind, watch);
        struct efm_flow_options options = options_of(&field.base, EFM_MAP_STOCHASTIC, EFM_SOLVER_ARC_LENGTH);
        struct efm_error error = {0};
        assert_int_equal(efm_flow_options_check(&options, &field.base, &error), EFM_E_ARGUMENT);
        assert_non_null(strstr(error.message, "behind the plates"));
        options.map = kind == EFM_FIELD_CHAIN ? EFM_MAP_FORWARD : EFM_MAP_CHAIN;
        assert_int_equal(efm_flow_options_check(&options, &field.base, NULL), EFM_E_ARGUMENT);
    }
}

static void frames_and_progress_work_without_a_probe(void **state)
{
    (void)state;
    struct formula field = field_of(EFM_FIELD_PER_PLATE, watch);
    struct efm_flow_options options;
    const float *x;
    const double *z;
    size_t count;
    efm_flow_options_default(&options, &field.base);
    options.frames = 5;
    struct efm_line *line = line_of(&field.base, &options, start, 0);
    struct efm_flow *flow = flow_of(&field.base, 1, NULL);
    double before = 0;
    assert_true(efm_line_progress(line) == 0);
    while (efm_flow_step(flow, &line, 1) > 0) {
        assert_true(efm_line_progress(line) > before);
        before = efm_line_progress(line);
    }
    efm_line_frames(line, &x, &z, &count);
    assert_int_equal(count, 5);
    assert_memory_equal(x, start, sizeof start);
    assert_true(z[0] == 0 && z[4] == LENGTH);
    assert_memory_equal(x + 4 * DIMENSION, efm_line_position(line), sizeof start);
    efm_flow_destroy(flow);
    efm_line_destroy(line);
}

static double turns_round(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    memset(out, 0, dimension * sizeof *out);
    return 2 - z;
}

static void a_field_that_turns_drops_the_line(void **state)
{
    (void)state;
    struct formula field = field_of(EFM_FIELD_PER_PLATE, turns_round);
    struct efm_flow_options options;
    efm_flow_options_default(&options, &field.base);
    struct efm_line *line = line_of(&field.base, &options, start, 0);
    travel(&field.base, line);
    assert_int_equal(efm_line_state(line), EFM_LINE_TURNED);
    efm_line_destroy(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(euler_costs_its_steps),
        cmocka_unit_test(equal_steps_begin_at_the_lowest_height),
        cmocka_unit_test(steps_in_the_root_are_finer_at_the_start),
        cmocka_unit_test(all_solvers_stay_where_the_network_was_trained),
        cmocka_unit_test(defaults_are_few_equal_steps),
        cmocka_unit_test(no_map_goes_behind_the_plates),
        cmocka_unit_test(frames_and_progress_work_without_a_probe),
        cmocka_unit_test(a_field_that_turns_drops_the_line),
    };
    return cmocka_run_group_tests_name("flow/learned_lines", tests, NULL, NULL);
}
