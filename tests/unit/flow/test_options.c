// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/flow/voyage.h"

/* A field of each kind, and its defaults. */
struct trio {
    struct capacitor plates;
    struct efm_field *field[3];
};

static int make_fields(void **state)
{
    struct trio *trio = must_have(calloc(1, sizeof *trio));
    trio->plates = capacitor_random(5, 6, 3, 2, 1);
    for (int kind = 0; kind < 3; kind++)
        trio->field[kind] = capacitor_field(&trio->plates, (enum efm_field_kind)kind, EFM_EXACT_AUTO, 0);
    *state = trio;
    return 0;
}

static int free_fields(void **state)
{
    struct trio *trio = *state;
    for (int kind = 0; kind < 3; kind++)
        efm_field_destroy(trio->field[kind]);
    capacitor_free(&trio->plates);
    free(trio);
    return 0;
}

static struct efm_flow_options default_of(const struct trio *trio, enum efm_field_kind kind)
{
    struct efm_flow_options options;
    memset(&options, 0xff, sizeof options);
    efm_flow_options_default(&options, trio->field[kind]);
    return options;
}

static void refuse(const struct efm_field *field, const struct efm_flow_options *options, const char *words)
{
    struct efm_error error = {0};
    float start[3] = {0};
    struct efm_line *line = (struct efm_line *)&error;
    assert_int_equal(efm_flow_options_check(options, field, &error), EFM_E_ARGUMENT);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not speak of '%s'", error.message, words);
    assert_int_equal(efm_line_create(&line, field, options, start, 0, NULL), EFM_E_ARGUMENT);
    assert_null(line);
}

static void defaults_fit_their_field(void **state)
{
    static const enum efm_map maps[] = {EFM_MAP_FORWARD, EFM_MAP_FORWARD, EFM_MAP_CHAIN};
    for (int kind = 0; kind < 3; kind++) {
        struct trio *trio = *state;
        struct efm_flow_options options = default_of(trio, (enum efm_field_kind)kind);
        assert_int_equal(efm_flow_options_check(&options, trio->field[kind], NULL), EFM_OK);
        assert_int_equal(options.map, maps[kind]);
        assert_int_equal(options.direction, EFM_DIRECTION_FORWARD);
        assert_int_equal(options.frames, 0);
    }
}

static void steps_are_limited(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_PER_PLATE);
    options.steps = 0;
    refuse(trio->field[EFM_FIELD_PER_PLATE], &options, "steps must be 1..1000, not 0");
    options.steps = EFM_FLOW_MAX_STEPS + 1;
    refuse(trio->field[EFM_FIELD_PER_PLATE], &options, "not 1001");
    options.steps = EFM_FLOW_MAX_STEPS;
    assert_int_equal(efm_flow_options_check(&options, trio->field[EFM_FIELD_PER_PLATE], NULL), EFM_OK);
}

static void tolerance_is_limited(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_CHAIN);
    const double bad[] = {0, -1, 0.99e-8, 0.11, NAN, INFINITY}, good[] = {1e-8, 0.1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.tolerance = bad[i];
        refuse(trio->field[EFM_FIELD_CHAIN], &options, "tolerance must be 1e-8..0.1");
    }
    for (size_t i = 0; i < 2; i++) {
        options.tolerance = good[i];
        assert_int_equal(efm_flow_options_check(&options, trio->field[EFM_FIELD_CHAIN], NULL), EFM_OK);
    }
}

static void evaluations_are_limited(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_CHAIN);
    options.max_evaluations = 0;
    refuse(trio->field[EFM_FIELD_CHAIN], &options, "1 to 1000000 evaluations");
    options.max_evaluations = 1000001;
    refuse(trio->field[EFM_FIELD_CHAIN], &options, "1 to 1000000 evaluations");
}

static void frames_are_limited(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_CHAIN);
    options.frames = 1;
    refuse(trio->field[EFM_FIELD_CHAIN], &options, "frames must be 0 or 2..64, not 1");
    options.frames = EFM_FLOW_MAX_FRAMES + 1;
    refuse(trio->field[EFM_FIELD_CHAIN], &options, "not 65");
    options.frames = EFM_FLOW_MAX_FRAMES;
    assert_int_equal(efm_flow_options_check(&options, trio->field[EFM_FIELD_CHAIN], NULL), EFM_OK);
}

static void numbers_that_are_no_words_are_refused(void **state)
{
    struct trio *trio = *state;
    const struct efm_field *field = trio->field[EFM_FIELD_SUPERPOSITION];
    struct efm_flow_options options = default_of(trio, EFM_FIELD_SUPERPOSITION);
    options.map = (enum efm_map)3;
    refuse(field, &options, "out of range");
    options = default_of(trio, EFM_FIELD_SUPERPOSITION);
    options.solver = (enum efm_solver)4;
    refuse(field, &options, "out of range");
    options = default_of(trio, EFM_FIELD_SUPERPOSITION);
    options.variable = (enum efm_variable)3;
    refuse(field, &options, "out of range");
    options = default_of(trio, EFM_FIELD_SUPERPOSITION);
    options.direction = (enum efm_direction)2;
    refuse(field, &options, "out of range");
}

static void a_map_needs_its_field(void **state)
{
    struct trio *trio = *state;
    for (int kind = 0; kind < 3; kind++)
        for (int map = EFM_MAP_FORWARD; map <= EFM_MAP_CHAIN; map++) {
            struct efm_flow_options options = default_of(trio, (enum efm_field_kind)kind);
            bool fits = map == EFM_MAP_FORWARD      ? kind != EFM_FIELD_CHAIN
                        : map == EFM_MAP_STOCHASTIC ? kind == EFM_FIELD_SUPERPOSITION
                                                    : kind == EFM_FIELD_CHAIN;
            options.map = (enum efm_map)map;
            options.solver = EFM_SOLVER_ARC_LENGTH;
            if (fits)
                assert_int_equal(efm_flow_options_check(&options, trio->field[kind], NULL), EFM_OK);
            else
                refuse(trio->field[kind], &options, efm_field_kind_name((enum efm_field_kind)kind));
        }
}

static void the_stochastic_map_follows_the_arc(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_SUPERPOSITION);
    options.map = EFM_MAP_STOCHASTIC;
    for (int solver = EFM_SOLVER_EULER; solver < EFM_SOLVER_ARC_LENGTH; solver++) {
        options.solver = (enum efm_solver)solver;
        refuse(trio->field[EFM_FIELD_SUPERPOSITION], &options, "arc_length");
    }
}

static void a_start_must_be_finite(void **state)
{
    struct trio *trio = *state;
    struct efm_flow_options options = default_of(trio, EFM_FIELD_CHAIN);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float start[3] = {0, bad[i], 0};
        struct efm_error error = {0};
        struct efm_line *line = (struct efm_line *)&error;
        assert_int_equal(efm_line_create(&line, trio->field[EFM_FIELD_CHAIN], &options, start, 0, &error),
                         EFM_E_NUMERIC);
        assert_null(line);
        assert_non_null(strstr(error.message, "component 1"));
    }
}

static void a_flow_has_room(void **state)
{
    struct trio *trio = *state;
    struct efm_error error = {0};
    struct efm_flow *flow = (struct efm_flow *)&error;
    assert_int_equal(efm_flow_create(&flow, trio->field[0], 0, NULL, &error), EFM_E_ARGUMENT);
    assert_null(flow);
    flow = flow_of(trio->field[0], 7, NULL);
    assert_int_equal(efm_flow_capacity(flow), 7);
    efm_flow_destroy(flow);
    efm_flow_destroy(NULL);
    efm_line_destroy(NULL);
}

static void words_are_stable(void **state)
{
    (void)state;
    enum efm_map map;
    for (int m = EFM_MAP_FORWARD; m <= EFM_MAP_CHAIN; m++) {
        assert_int_equal(efm_map_parse(efm_map_name((enum efm_map)m), &map), EFM_OK);
        assert_int_equal(map, m);
    }
    assert_int_equal(efm_map_parse("backward", &map), EFM_E_NOT_FOUND);
    assert_string_equal(efm_map_name(EFM_MAP_STOCHASTIC), "stochastic");
    assert_string_equal(efm_map_name((enum efm_map)9), "unknown");
    assert_string_equal(efm_line_state_name(EFM_LINE_RUNNING), "running");
    assert_string_equal(efm_line_state_name(EFM_LINE_NOT_FINITE), "not_finite");
    assert_string_equal(efm_line_state_name((enum efm_line_state)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fit_their_field), cmocka_unit_test(steps_are_limited),
        cmocka_unit_test(tolerance_is_limited),     cmocka_unit_test(evaluations_are_limited),
        cmocka_unit_test(frames_are_limited),       cmocka_unit_test(numbers_that_are_no_words_are_refused),
        cmocka_unit_test(a_map_needs_its_field),    cmocka_unit_test(the_stochastic_map_follows_the_arc),
        cmocka_unit_test(a_start_must_be_finite),   cmocka_unit_test(a_flow_has_room),
        cmocka_unit_test(words_are_stable),
    };
    return cmocka_run_group_tests_name("flow/options", tests, make_fields, free_fields);
}
