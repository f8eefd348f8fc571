// SPDX-License-Identifier: Apache-2.0
/* A line's result is a function of field, options, start and image index: the same bytes alone, in a crowd of
 * lines with other options, in any order, in any batches, on any team. */
#include "tests/unit/flow/voyage.h"

enum { LINES = 40, FRAMES = 5 };

struct crowd {
    struct capacitor plates;
    struct efm_field *field;
    size_t dimension;
    float *starts;
    struct efm_flow_options options[LINES];
};

/* Every solver, variable, direction and map that the kind allows, in turn. */
static struct crowd crowd_of(enum efm_field_kind kind, size_t dimension)
{
    struct crowd crowd = {.plates = capacitor_random(60, 45, dimension, 3, dimension),
                          .dimension = dimension};
    struct efm_random random;
    crowd.field = capacitor_field(&crowd.plates, kind, EFM_EXACT_AUTO, 0);
    crowd.starts = must_have(malloc(LINES * dimension * sizeof(float)));
    efm_random_init(&random, 3, dimension, EFM_RANDOM_TEST);
    fill_normal(&random, crowd.starts, LINES * dimension, 1, 1);
    for (size_t i = 0; i < LINES; i++) {
        struct efm_flow_options *options = &crowd.options[i];
        efm_flow_options_default(options, crowd.field);
        options->solver = (enum efm_solver)(i % 4);
        options->variable = (enum efm_variable)(i / 4 % 2);
        options->direction = (enum efm_direction)(i / 8 % 2);
        options->steps = (uint32_t)(5 + i);
        options->max_evaluations = i == 17 ? 11 : 400;
        options->tolerance = i % 3 == 0 ? 1e-2 : 1e-3;
        options->frames = i % 5 == 0 ? FRAMES : 0;
        options->seed = 5;
        if (kind == EFM_FIELD_SUPERPOSITION && options->solver == EFM_SOLVER_ARC_LENGTH && i % 8 > 4)
            options->map = EFM_MAP_STOCHASTIC;
        assert_int_equal(efm_flow_options_check(options, crowd.field, NULL), EFM_OK);
    }
    return crowd;
}

static void crowd_free(struct crowd *crowd)
{
    efm_field_destroy(crowd->field);
    capacitor_free(&crowd->plates);
    free(crowd->starts);
}

static struct efm_line *nth_line(const struct crowd *crowd, size_t i)
{
    return line_of(crowd->field, &crowd->options[i], crowd->starts + i * crowd->dimension, i);
}

static void expect_same(const struct crowd *crowd, struct efm_line *const lines[],
                        struct efm_line *const others[])
{
    size_t row = crowd->dimension * sizeof(float);
    for (size_t i = 0; i < LINES; i++) {
        struct efm_line *a = lines[i], *b = others[i];
        double height[2] = {efm_line_height(a), efm_line_height(b)};
        const float *x[2];
        const double *z[2];
        size_t count[2];
        efm_line_frames(a, &x[0], &z[0], &count[0]);
        efm_line_frames(b, &x[1], &z[1], &count[1]);
        bool same =
            efm_line_state(a) == efm_line_state(b) && efm_line_evaluations(a) == efm_line_evaluations(b) &&
            memcmp(efm_line_position(a), efm_line_position(b), row) == 0 &&
            memcmp(&height[0], &height[1], sizeof(double)) == 0 && count[0] == count[1] &&
            (count[0] == 0 ||
             (memcmp(x[0], x[1], count[0] * row) == 0 && memcmp(z[0], z[1], count[0] * sizeof(double)) == 0));
        if (!same)
            fail_msg("D %zu, %s: line %zu is %s after %u evaluations, and %s after %u", crowd->dimension,
                     efm_field_kind_name(efm_field_kind(crowd->field)), i,
                     efm_line_state_name(efm_line_state(a)), efm_line_evaluations(a),
                     efm_line_state_name(efm_line_state(b)), efm_line_evaluations(b));
    }
}

static void destroy_lines(struct efm_line *lines[])
{
    for (size_t i = 0; i < LINES; i++)
        efm_line_destroy(lines[i]);
}

static void all_alone(const struct crowd *crowd, struct efm_line *lines[])
{
    for (size_t i = 0; i < LINES; i++) {
        lines[i] = nth_line(crowd, i);
        travel(crowd->field, lines[i]);
    }
}

static void all_together(const struct crowd *crowd, struct efm_line *lines[], bool backwards,
                         struct efm_team *team)
{
    struct efm_line *queue[LINES];
    struct efm_flow *flow = flow_of(crowd->field, LINES, team);
    for (size_t i = 0; i < LINES; i++)
        queue[backwards ? LINES - 1 - i : i] = lines[i] = nth_line(crowd, i);
    while (efm_flow_step(flow, queue, LINES) > 0)
        ;
    efm_flow_destroy(flow);
}

/* Batches of any size, of any lines, on two flows; lines join when they like. */
static void by_chance(const struct crowd *crowd, struct efm_line *lines[])
{
    struct efm_flow *flows[2] = {flow_of(crowd->field, 1 + LINES / 3, NULL),
                                 flow_of(crowd->field, LINES, NULL)};
    struct efm_random random;
    size_t running = LINES;
    efm_random_init(&random, 4, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < LINES; i++)
        lines[i] = nth_line(crowd, i);
    while (running > 0) {
        struct efm_line *batch[LINES];
        size_t count = 0, which = efm_random_below(&random, 2);
        for (size_t i = 0; i < LINES && count < efm_flow_capacity(flows[which]); i++)
            if (efm_random_below(&random, 3) > 0)
                batch[count++] = lines[i];
        efm_flow_step(flows[which], batch, count);
        running = 0;
        for (size_t i = 0; i < LINES; i++)
            running += efm_line_state(lines[i]) == EFM_LINE_RUNNING;
    }
    efm_flow_destroy(flows[0]);
    efm_flow_destroy(flows[1]);
}

static void a_line_does_not_know_its_neighbours(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 9, 65};
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 3, NULL), EFM_OK);
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++)
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct crowd crowd = crowd_of(kind, dimensions[d]);
            struct efm_line *alone[LINES], *others[LINES];
            all_alone(&crowd, alone);
            for (int way = 0; way < 4; way++) {
                if (way == 3)
                    by_chance(&crowd, others);
                else
                    all_together(&crowd, others, way == 1, way == 2 ? team : NULL);
                expect_same(&crowd, alone, others);
                destroy_lines(others);
            }
            destroy_lines(alone);
            crowd_free(&crowd);
        }
    efm_team_destroy(team);
}

static void a_flow_takes_as_many_as_it_holds(void **state)
{
    (void)state;
    struct crowd crowd = crowd_of(EFM_FIELD_CHAIN, 2);
    struct efm_flow *flow = flow_of(crowd.field, 3, NULL);
    struct efm_line *lines[LINES];
    for (size_t i = 0; i < LINES; i++)
        lines[i] = nth_line(&crowd, i);
    assert_int_equal(efm_flow_step(flow, lines, LINES), 3);
    for (size_t i = 0; i < LINES; i++)
        assert_int_equal(efm_line_evaluations(lines[i]), i < 3 ? 1 : 0);
    assert_int_equal(efm_flow_step(flow, lines, 0), 0);
    destroy_lines(lines);
    efm_flow_destroy(flow);
    crowd_free(&crowd);
}

static void ended_lines_are_left_alone(void **state)
{
    (void)state;
    struct crowd crowd = crowd_of(EFM_FIELD_CHAIN, 2);
    struct efm_line *pair[2] = {nth_line(&crowd, 0), nth_line(&crowd, 4)};
    struct efm_flow *flow = flow_of(crowd.field, 2, NULL);
    travel(crowd.field, pair[0]);
    uint32_t evaluations = efm_line_evaluations(pair[0]);
    assert_int_equal(efm_flow_step(flow, pair, 2), 1); /* how many still run */
    assert_int_equal(efm_line_evaluations(pair[0]), evaluations);
    assert_int_equal(efm_line_evaluations(pair[1]), 1);
    efm_line_destroy(pair[0]);
    efm_line_destroy(pair[1]);
    efm_flow_destroy(flow);
    crowd_free(&crowd);
}

/* ---- chance ---- */

enum { STARTS = 24 };

/* Where lines from one place in the middle of the source end, a line each. */
static void chance_ends(const struct efm_field *field, uint64_t seed, uint64_t first_image, float out[STARTS])
{
    struct efm_flow_options options = options_of(field, EFM_MAP_STOCHASTIC, EFM_SOLVER_ARC_LENGTH);
    options.seed = seed;
    for (size_t i = 0; i < STARTS; i++) {
        const float start = 0.1f;
        struct efm_line *line = line_of(field, &options, &start, first_image + i);
        travel(field, line);
        out[i] = efm_line_position(line)[0];
        efm_line_destroy(line);
    }
}

static bool all_equal(const float *values)
{
    for (size_t i = 1; i < STARTS; i++)
        if (memcmp(&values[i], &values[0], sizeof(float)) != 0)
            return false;
    return true;
}

static void chance_is_named_by_seed_and_image(void **state)
{
    (void)state;
    struct capacitor plates = capacitor_random(40, 40, 1, 1, 2);
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, EFM_EXACT_AUTO, 0);
    float first[STARTS], again[STARTS], shifted[STARTS], other[STARTS];
    chance_ends(field, 1, 100, first);
    chance_ends(field, 1, 100, again);
    assert_memory_equal(first, again, sizeof first);
    assert_false(all_equal(first)); /* one start, many images: chance decides */
    chance_ends(field, 1, 101, shifted);
    assert_memory_equal(first + 1, shifted, sizeof first - sizeof first[0]);
    chance_ends(field, 2, 100, other);
    assert_memory_not_equal(first, other, sizeof first);
    efm_field_destroy(field);
    capacitor_free(&plates);
}

/* The other maps have no use for chance. */
static void the_seed_does_not_matter_elsewhere(void **state)
{
    (void)state;
    struct capacitor plates = capacitor_random(40, 40, 2, 1, 2);
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
    const float start[2] = {0.3f, 1};
    struct efm_flow_options options;
    float end[2];
    efm_flow_options_default(&options, field);
    for (uint64_t seed = 0; seed < 4; seed++) {
        options.seed = seed;
        struct efm_line *line = line_of(field, &options, start, seed);
        travel(field, line);
        if (seed == 0)
            memcpy(end, efm_line_position(line), sizeof end);
        assert_memory_equal(end, efm_line_position(line), sizeof end);
        efm_line_destroy(line);
    }
    efm_field_destroy(field);
    capacitor_free(&plates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_does_not_know_its_neighbours),
        cmocka_unit_test(a_flow_takes_as_many_as_it_holds),
        cmocka_unit_test(ended_lines_are_left_alone),
        cmocka_unit_test(chance_is_named_by_seed_and_image),
        cmocka_unit_test(the_seed_does_not_matter_elsewhere),
    };
    return cmocka_run_group_tests_name("flow/crowd", tests, NULL, NULL);
}
