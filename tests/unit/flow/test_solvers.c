// SPDX-License-Identifier: Apache-2.0
/* Do the solvers find where a line ends, and how fast do they come nearer? */
#include "tests/unit/flow/voyage.h"

/* ---- one charge a plate: every line ends on the other charge ---- */

struct route {
    enum efm_field_kind kind;
    enum efm_map map;
    enum efm_solver solver;
    enum efm_variable variable;
    double tolerance; /* of the landing, in L: fixed steps lose a little on the bend */
};

static const struct route routes[] = {
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_FORWARD, EFM_SOLVER_EULER, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_FORWARD, EFM_SOLVER_HEUN, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_FORWARD, EFM_SOLVER_RK45, EFM_VARIABLE_LOG_Z, 1e-5},
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_FORWARD, EFM_SOLVER_RK45, EFM_VARIABLE_Z, 1e-5},
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_FORWARD, EFM_SOLVER_ARC_LENGTH, EFM_VARIABLE_Z, 1e-5},
    {EFM_FIELD_SUPERPOSITION, EFM_MAP_STOCHASTIC, EFM_SOLVER_ARC_LENGTH, EFM_VARIABLE_Z, 2e-2},
    {EFM_FIELD_PER_PLATE, EFM_MAP_FORWARD, EFM_SOLVER_EULER, EFM_VARIABLE_Z, 1e-2},
    {EFM_FIELD_PER_PLATE, EFM_MAP_FORWARD, EFM_SOLVER_HEUN, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_PER_PLATE, EFM_MAP_FORWARD, EFM_SOLVER_RK45, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_CHAIN, EFM_MAP_CHAIN, EFM_SOLVER_EULER, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_CHAIN, EFM_MAP_CHAIN, EFM_SOLVER_HEUN, EFM_VARIABLE_LOG_Z, 1e-3},
    {EFM_FIELD_CHAIN, EFM_MAP_CHAIN, EFM_SOLVER_RK45, EFM_VARIABLE_LOG_Z, 1e-5},
    {EFM_FIELD_CHAIN, EFM_MAP_CHAIN, EFM_SOLVER_ARC_LENGTH, EFM_VARIABLE_Z, 1e-5},
};

static void travel_between(const struct route *route, size_t dimension, enum efm_direction direction,
                           double aside)
{
    enum { LENGTH = 4 };
    float charges[2][20] = {{0}, {0}}, start[20];
    for (size_t d = 0; d < dimension; d++) /* a fifth of L apart in all */
        charges[1][d] = (float)(0.2 * LENGTH / sqrt((double)dimension) * (d % 2 == 0 ? 1 : -1));
    struct capacitor plates = {1, 1, dimension, LENGTH, charges[0], charges[1]};
    struct efm_field *field = capacitor_field(&plates, route->kind, EFM_EXACT_AUTO, 0);
    struct efm_flow_options options = options_of(field, route->map, route->solver);
    options.variable = route->variable;
    options.direction = direction;
    options.steps = 200;
    options.tolerance = 1e-5;
    const float *from = charges[direction == EFM_DIRECTION_FORWARD ? 0 : 1],
                *to = charges[direction == EFM_DIRECTION_FORWARD ? 1 : 0];
    memcpy(start, from, sizeof start);
    start[0] += (float)aside;
    struct efm_line *line = line_of(field, &options, start, 0);
    travel(field, line);
    double missed = sqrt(squared_between(efm_line_position(line), to, dimension));
    if (efm_line_state(line) != EFM_LINE_LANDED || !(missed < route->tolerance * LENGTH))
        fail_msg("D %zu, %s, %s, solver %d, variable %d, direction %d, %g aside: %s, %g from the charge",
                 dimension, efm_field_kind_name(route->kind), efm_map_name(route->map), route->solver,
                 route->variable, direction, aside, efm_line_state_name(efm_line_state(line)), missed);
    assert_true(efm_line_height(line) == (direction == EFM_DIRECTION_FORWARD ? LENGTH : 0));
    assert_true(efm_line_landing_distance(line) < LENGTH);
    assert_true(efm_line_progress(line) == 1);
    efm_line_destroy(line);
    efm_field_destroy(field);
}

static void every_line_ends_on_the_charge(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 3, 20};
    for (size_t r = 0; r < sizeof routes / sizeof routes[0]; r++)
        for (size_t d = 0; d < 3; d++)
            for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++)
                for (int aside = 0; aside < 2; aside++)
                    travel_between(&routes[r], dimensions[d], (enum efm_direction)direction, 1e-3 * aside);
}

/* ---- a start that is a charge: the line straight up would land nowhere ---- */

static void start_on_a_charge_lands_on_one(void **state)
{
    (void)state;
    enum { DIMENSION = 64, CHARGES = 12 };
    static float charges[2][CHARGES * DIMENSION];
    for (int side = 0; side < 2; side++) {
        struct efm_random random;
        efm_random_init(&random, 5, (uint64_t)side, EFM_RANDOM_TEST);
        efm_random_fill_normal(&random, charges[side], CHARGES * DIMENSION);
    }
    struct capacitor plates = {CHARGES, CHARGES, DIMENSION, 5, charges[0], charges[1]};
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
    struct efm_flow_options options = options_of(field, EFM_MAP_CHAIN, EFM_SOLVER_ARC_LENGTH);
    options.tolerance = 1e-2;
    for (int i = 0; i < 2 * CHARGES; i++) {
        const float *start = charges[i % 2] + i / 2 * DIMENSION, *ends = charges[1 - i % 2];
        options.direction = i % 2 == 0 ? EFM_DIRECTION_FORWARD : EFM_DIRECTION_REVERSE;
        struct efm_line *line = line_of(field, &options, start, (uint64_t)i);
        travel(field, line);
        assert_int_equal(efm_line_state(line), EFM_LINE_LANDED);
        double nearest = INFINITY;
        for (int j = 0; j < CHARGES; j++)
            nearest =
                fmin(nearest, squared_between(efm_line_position(line), ends + j * DIMENSION, DIMENSION));
        assert_true(sqrt(nearest) < 1e-2); /* charges are 11 apart */
        efm_line_destroy(line);
    }
    efm_field_destroy(field);
}

/* ---- a smooth field: dx/dz = x cos z, so x = x0 e^(sin z - sin z0) ---- */

static double swell(const float *x, double z, size_t dimension, double *out)
{
    for (size_t d = 0; d < dimension; d++)
        out[d] = 2 * (double)x[d] * cos(z);
    return 2;
}

enum { SWELL_LENGTH = 3 };

/* Without charges a line starts at the plate's resolution, 1e-4. */
static double swell_end(double start)
{
    return start * exp(sin(SWELL_LENGTH) - sin(1e-4));
}

struct outcome {
    double error; /* relative, the larger of two coordinates */
    uint32_t evaluations;
};

static struct outcome swell_outcome(const struct efm_flow_options *options, struct formula *formula)
{
    const float start[2] = {1, -0.5f};
    struct efm_line *line = line_of(&formula->base, options, start, 0);
    formula->evaluations = 0;
    travel(&formula->base, line);
    assert_int_equal(efm_line_state(line), EFM_LINE_LANDED);
    const float *end = efm_line_position(line);
    struct outcome outcome = {
        fmax(fabs((double)end[0] / swell_end(1) - 1), fabs((double)end[1] / swell_end(-0.5) - 1)),
        efm_line_evaluations(line)};
    assert_int_equal(outcome.evaluations, formula->evaluations);
    efm_line_destroy(line);
    return outcome;
}

static void expect_order(enum efm_solver solver, enum efm_variable variable, uint32_t steps, double least,
                         double most)
{
    struct formula formula = formula_field(2, SWELL_LENGTH, swell);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, solver);
    double before = 0;
    options.variable = variable;
    for (int doubling = 0; doubling < 3; doubling++, steps *= 2) {
        options.steps = steps;
        double error = swell_outcome(&options, &formula).error;
        if (doubling > 0 && !(before / error > least && before / error < most))
            fail_msg("%u steps: error %g after %g", steps, error, before);
        before = error;
    }
}

static void the_error_of_euler_halves(void **state)
{
    (void)state;
    expect_order(EFM_SOLVER_EULER, EFM_VARIABLE_Z, 20, 1.7, 2.3);
    expect_order(EFM_SOLVER_EULER, EFM_VARIABLE_LOG_Z, 100, 1.7, 2.3);
    expect_order(EFM_SOLVER_EULER, EFM_VARIABLE_ROOT_Z, 20, 1.7, 2.3);
}

static void the_error_of_heun_quarters(void **state)
{
    (void)state;
    expect_order(EFM_SOLVER_HEUN, EFM_VARIABLE_Z, 20, 3.2, 5.5);
    expect_order(EFM_SOLVER_HEUN, EFM_VARIABLE_LOG_Z, 150, 3.2, 7);
    expect_order(EFM_SOLVER_HEUN, EFM_VARIABLE_ROOT_Z, 40, 2.8,
                 5.5); /* a line begins where the root is steepest */
}

/* One look for the nearest charge; then every step; and Heun takes its last step straight. */
static void fixed_steps_cost_what_they_say(void **state)
{
    (void)state;
    struct formula formula = formula_field(2, SWELL_LENGTH, swell);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_EULER);
    for (options.steps = 1; options.steps < 40; options.steps += 13) {
        options.solver = EFM_SOLVER_EULER;
        options.variable = EFM_VARIABLE_Z;
        assert_int_equal(swell_outcome(&options, &formula).evaluations, 1 + options.steps);
        options.variable = EFM_VARIABLE_LOG_Z;
        uint32_t extra = options.steps == 1 ? 1 : 0; /* one step cannot be the straight one as well */
        assert_int_equal(swell_outcome(&options, &formula).evaluations, 1 + options.steps + extra);
        options.solver = EFM_SOLVER_HEUN;
        assert_int_equal(swell_outcome(&options, &formula).evaluations, 2 * options.steps + 2 * extra);
    }
}

/* Errors of accepted steps add up over a line, so its end is good to several times the tolerance. */
static void expect_tolerance(enum efm_solver solver, enum efm_variable variable)
{
    struct formula formula = formula_field(2, SWELL_LENGTH, swell);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, solver);
    struct outcome before = {0, 0};
    uint32_t least = UINT32_MAX;
    options.variable = variable;
    for (options.tolerance = 1e-2; options.tolerance > 1e-6; options.tolerance *= 0.1) {
        struct outcome outcome = swell_outcome(&options, &formula);
        if (!(outcome.error < 20 * options.tolerance))
            fail_msg("solver %d, tolerance %g: error %g", solver, options.tolerance, outcome.error);
        assert_true(outcome.evaluations >= before.evaluations);
        least = outcome.evaluations < least ? outcome.evaluations : least;
        before = outcome;
    }
    assert_true(before.error < 1e-4);
    assert_true(before.evaluations > 1.3 * least);
}

static void rk45_respects_the_tolerance(void **state)
{
    (void)state;
    expect_tolerance(EFM_SOLVER_RK45, EFM_VARIABLE_Z);
    expect_tolerance(EFM_SOLVER_RK45, EFM_VARIABLE_LOG_Z);
}

static void arc_length_respects_the_tolerance(void **state)
{
    (void)state;
    expect_tolerance(EFM_SOLVER_ARC_LENGTH, EFM_VARIABLE_Z);
}

/* The way back is the same line: forward, then in reverse, is where it began. */
static void reverse_undoes_forward(void **state)
{
    (void)state;
    struct formula formula = formula_field(2, SWELL_LENGTH, swell);
    static const enum efm_solver solvers[] = {EFM_SOLVER_HEUN, EFM_SOLVER_RK45, EFM_SOLVER_ARC_LENGTH};
    for (size_t i = 0; i < 3; i++) {
        struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, solvers[i]);
        const float start[2] = {1, -0.5f};
        options.steps = 300;
        options.tolerance = 1e-5;
        struct efm_line *there = line_of(&formula.base, &options, start, 0);
        travel(&formula.base, there);
        assert_true(efm_line_height(there) == SWELL_LENGTH);
        options.direction = EFM_DIRECTION_REVERSE;
        struct efm_line *back = line_of(&formula.base, &options, efm_line_position(there), 0);
        travel(&formula.base, back);
        assert_true(efm_line_height(back) == 0);
        assert_true(fabs((double)efm_line_position(there)[0] / swell_end(1) - 1) < 1e-3);
        for (size_t d = 0; d < 2; d++) /* each starts 1e-4 above its plate */
            assert_true(fabs((double)efm_line_position(back)[d] - start[d]) < 1e-3);
        efm_line_destroy(there);
        efm_line_destroy(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_ends_on_the_charge),     cmocka_unit_test(start_on_a_charge_lands_on_one),
        cmocka_unit_test(the_error_of_euler_halves),         cmocka_unit_test(the_error_of_heun_quarters),
        cmocka_unit_test(fixed_steps_cost_what_they_say),    cmocka_unit_test(rk45_respects_the_tolerance),
        cmocka_unit_test(arc_length_respects_the_tolerance), cmocka_unit_test(reverse_undoes_forward),
    };
    return cmocka_run_group_tests_name("flow/solvers", tests, NULL, NULL);
}
