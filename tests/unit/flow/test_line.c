// SPDX-License-Identifier: Apache-2.0
/* The life of a line: how it may be dropped, what it tells on the way, and the frames that it leaves. */
#include "tests/unit/flow/voyage.h"

/* ---- dropped lines ---- */

static double turns_back(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    for (size_t d = 0; d < dimension; d++)
        out[d] = 1;
    return 0.5 - z;
}

static double no_number(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    for (size_t d = 0; d < dimension; d++)
        out[d] = z > 0.3 ? NAN : 0.5;
    return z > 0.3 ? NAN : 1;
}

static double nothing(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    memset(out, 0, dimension * sizeof *out);
    return z > 0.3 ? 0 : 1;
}

static double sideways(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    (void)z;
    for (size_t d = 0; d < dimension; d++)
        out[d] = 1;
    return 1e-39;
}

static double straight_up(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    (void)z;
    memset(out, 0, dimension * sizeof *out);
    return 1;
}

/* Each solver's line in that field; chance as well. */
static void expect_end(formula_body *body, enum efm_line_state expected)
{
    for (int solver = EFM_SOLVER_EULER; solver <= EFM_SOLVER_ARC_LENGTH + 1; solver++)
        for (int variable = EFM_VARIABLE_Z; variable <= EFM_VARIABLE_ROOT_Z; variable++)
            for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++) {
                struct formula formula = formula_field(2, 1, body);
                bool chance = solver > EFM_SOLVER_ARC_LENGTH;
                struct efm_flow_options options =
                    options_of(&formula.base, chance ? EFM_MAP_STOCHASTIC : EFM_MAP_FORWARD,
                               chance ? EFM_SOLVER_ARC_LENGTH : (enum efm_solver)solver);
                const float start[2] = {0, 1};
                options.variable = (enum efm_variable)variable;
                options.direction = (enum efm_direction)direction;
                options.max_evaluations = 3000;
                struct efm_line *line = line_of(&formula.base, &options, start, 0);
                travel(&formula.base, line);
                assert_true(efm_line_evaluations(line) <= 3000);
                assert_int_equal(efm_line_evaluations(line), formula.evaluations);
                if (expected == EFM_LINE_RUNNING) /* any end will do, but not a landing */
                    assert_int_not_equal(efm_line_state(line), EFM_LINE_LANDED);
                else if (!chance)
                    assert_int_equal(efm_line_state(line), expected);
                assert_true(efm_line_progress(line) < 1 || efm_line_state(line) == EFM_LINE_LANDED);
                efm_line_destroy(line);
            }
}

static void a_field_that_turns_drops_the_line(void **state)
{
    (void)state;
    for (int solver = EFM_SOLVER_EULER; solver <= EFM_SOLVER_RK45; solver++) {
        struct formula formula = formula_field(2, 1, turns_back);
        struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, (enum efm_solver)solver);
        const float start[2] = {0, 1};
        options.variable = EFM_VARIABLE_Z;
        struct efm_line *line = line_of(&formula.base, &options, start, 0);
        travel(&formula.base, line);
        enum efm_line_state end = efm_line_state(line);
        /* an error control that meets the wall of E_z = 0 may run out of step size first */
        assert_true(end == EFM_LINE_TURNED || (solver == EFM_SOLVER_RK45 && end == EFM_LINE_LOST));
        assert_true(efm_line_height(line) <= 0.55);
        efm_line_destroy(line);
    }
}

static void no_field_hangs_a_line(void **state)
{
    (void)state;
    expect_end(no_number, EFM_LINE_RUNNING);
    expect_end(nothing, EFM_LINE_RUNNING);
    expect_end(turns_back, EFM_LINE_RUNNING);
    expect_end(sideways, EFM_LINE_RUNNING);
}

static void a_plain_field_lands(void **state)
{
    (void)state;
    expect_end(straight_up, EFM_LINE_LANDED);
}

static double blows_up(const float *x, double z, size_t dimension, double *out)
{
    (void)x;
    (void)z;
    for (size_t d = 0; d < dimension; d++)
        out[d] = 1e29;
    return 1;
}

static void a_position_past_floats_is_not_finite(void **state)
{
    (void)state;
    struct formula formula = formula_field(2, 1e10, blows_up);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_EULER);
    const float start[2] = {0, 1};
    options.variable = EFM_VARIABLE_Z;
    struct efm_line *line = line_of(&formula.base, &options, start, 0);
    travel(&formula.base, line);
    assert_int_equal(efm_line_state(line), EFM_LINE_NOT_FINITE);
    efm_line_destroy(line);
}

static void evaluations_run_out(void **state)
{
    (void)state;
    struct capacitor plates = capacitor_random(20, 20, 2, 2, 1);
    for (uint32_t most = 1; most < 9; most++)
        for (int kind = 0; kind < 3; kind += 2) {
            struct efm_field *field = capacitor_field(&plates, (enum efm_field_kind)kind, EFM_EXACT_AUTO, 0);
            struct efm_flow_options options;
            const float start[2] = {0, 1};
            efm_flow_options_default(&options, field);
            options.solver = EFM_SOLVER_RK45;
            options.max_evaluations = most;
            options.frames = 3;
            struct efm_line *line = line_of(field, &options, start, 0);
            travel(field, line);
            assert_int_equal(efm_line_state(line), EFM_LINE_LOST);
            assert_int_equal(efm_line_evaluations(line), most);
            efm_line_destroy(line);
            efm_field_destroy(field);
        }
    capacitor_free(&plates);
}

/* ---- on the way ---- */

/* Each kind with each of its solvers, from a few starts. */
static void for_each_voyage(void (*check)(const struct efm_field *field, struct efm_flow_options *options,
                                          const float *start))
{
    static const size_t dimensions[] = {1, 3, 12};
    for (size_t d = 0; d < 3; d++) {
        struct capacitor plates = capacitor_random(30, 20, dimensions[d], 2, d);
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
            for (int solver = EFM_SOLVER_EULER; solver <= EFM_SOLVER_ARC_LENGTH; solver++)
                for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++)
                    for (size_t start = 0; start < 3; start++) {
                        struct efm_flow_options options;
                        efm_flow_options_default(&options, field);
                        options.solver = (enum efm_solver)solver;
                        options.direction = (enum efm_direction)direction;
                        options.max_evaluations = 1000;
                        check(field, &options, plates.source + start * dimensions[d]);
                    }
            efm_field_destroy(field);
        }
        capacitor_free(&plates);
    }
}

static void watch_progress(const struct efm_field *field, struct efm_flow_options *options,
                           const float *start)
{
    struct efm_line *line = line_of(field, options, start, 0);
    struct efm_flow *flow = flow_of(field, 1, NULL);
    double before = efm_line_progress(line);
    uint32_t evaluations = 0;
    assert_true(before == 0);
    assert_int_equal(efm_line_state(line), EFM_LINE_RUNNING);
    while (efm_flow_step(flow, &line, 1) > 0) {
        double progress = efm_line_progress(line);
        assert_true(progress >= before && progress < 1);
        assert_int_equal(efm_line_evaluations(line), ++evaluations);
        before = progress;
    }
    assert_true(efm_line_progress(line) >= before);
    if (efm_line_state(line) == EFM_LINE_LANDED)
        assert_true(efm_line_progress(line) == 1);
    efm_line_destroy(line);
    efm_flow_destroy(flow);
}

static void progress_never_falls(void **state)
{
    (void)state;
    for_each_voyage(watch_progress);
}

/* ---- frames ---- */

static void watch_frames(const struct efm_field *field, struct efm_flow_options *options, const float *start)
{
    static const uint32_t frames[] = {2, 3, 10, EFM_FLOW_MAX_FRAMES};
    size_t dimension = efm_field_dimension(field), row = dimension * sizeof(float);
    double length = efm_field_length(field);
    bool forward = options->direction == EFM_DIRECTION_FORWARD;
    /* along the arc of a capacitor's field a line may dip before it rises; the chain's E_z is positive */
    bool rises = options->solver != EFM_SOLVER_ARC_LENGTH || options->map == EFM_MAP_CHAIN;
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        const float *x;
        const double *z;
        size_t count;
        options->frames = frames[i];
        struct efm_line *line = line_of(field, options, start, 0);
        efm_line_frames(line, &x, &z, &count);
        assert_int_equal(count, 0); /* while it runs */
        travel(field, line);
        efm_line_frames(line, &x, &z, &count);
        assert_int_equal(count, frames[i]);
        assert_memory_equal(x, start, row);
        assert_memory_equal(x + (count - 1) * dimension, efm_line_position(line), row);
        assert_true(z[0] == (forward ? 0 : length));
        assert_true(z[count - 1] == efm_line_height(line));
        for (size_t k = 1; k < count; k++)
            assert_true(!rises || (forward ? 1 : -1) * (z[k] - z[k - 1]) > -1e-14 * length); /* rounding */
        for (size_t k = 0; k < count * dimension; k++)
            assert_true(isfinite(x[k]));
        efm_line_destroy(line);
    }
}

static void frames_show_the_line_from_start_to_end(void **state)
{
    (void)state;
    for_each_voyage(watch_frames);
}

static void without_frames_there_are_none(void **state)
{
    (void)state;
    struct formula formula = formula_field(2, 1, straight_up);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_HEUN);
    const float start[2] = {0, 1}, *x;
    const double *z;
    size_t count = 7;
    struct efm_line *line = line_of(&formula.base, &options, start, 0);
    travel(&formula.base, line);
    efm_line_frames(line, &x, &z, &count);
    assert_int_equal(count, 0);
    efm_line_destroy(line);
}

/* In equal steps straight up, frames are evenly spread however often the track was thinned. */
static void frames_are_spread_over_the_line(void **state)
{
    (void)state;
    for (uint32_t steps = 50; steps <= 1000; steps += 95) {
        struct formula formula = formula_field(1, 1, straight_up);
        struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_EULER);
        const float start = 0, *x;
        const double *z;
        size_t count;
        options.variable = EFM_VARIABLE_Z;
        options.steps = steps;
        options.frames = 8;
        struct efm_line *line = line_of(&formula.base, &options, &start, 0);
        travel(&formula.base, line);
        efm_line_frames(line, &x, &z, &count);
        for (size_t k = 0; k < count; k++)
            assert_true(fabs(z[k] - (double)k / 7) < 0.13); /* the track has 9 points or more */
        efm_line_destroy(line);
    }
}

/* A dropped line shows how far it came. */
static void frames_of_a_dropped_line_end_where_it_was(void **state)
{
    (void)state;
    struct formula formula = formula_field(2, 1, turns_back);
    struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_EULER);
    const float start[2] = {0, 1}, *x;
    const double *z;
    size_t count;
    options.variable = EFM_VARIABLE_Z;
    options.frames = 4;
    struct efm_line *line = line_of(&formula.base, &options, start, 0);
    travel(&formula.base, line);
    assert_int_equal(efm_line_state(line), EFM_LINE_TURNED);
    efm_line_frames(line, &x, &z, &count);
    assert_int_equal(count, 4);
    assert_true(z[0] == 0 && z[3] == efm_line_height(line) && z[3] > 0.4 && z[3] < 0.6);
    efm_line_destroy(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_that_turns_drops_the_line),
        cmocka_unit_test(no_field_hangs_a_line),
        cmocka_unit_test(a_plain_field_lands),
        cmocka_unit_test(a_position_past_floats_is_not_finite),
        cmocka_unit_test(evaluations_run_out),
        cmocka_unit_test(progress_never_falls),
        cmocka_unit_test(frames_show_the_line_from_start_to_end),
        cmocka_unit_test(without_frames_there_are_none),
        cmocka_unit_test(frames_are_spread_over_the_line),
        cmocka_unit_test(frames_of_a_dropped_line_end_where_it_was),
    };
    return cmocka_run_group_tests_name("flow/line", tests, NULL, NULL);
}
