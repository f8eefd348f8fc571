// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"
#include "tests/unit/api/api_test.h"

struct target {
    uint64_t steps, seed;
    double tolerance;
    int solver;
    char name[API_NAME_SIZE];
    uint8_t colour[3];
};

static const char *const solvers[] = {"euler", "heun", NULL};
static const struct api_parameter items[] = {
    {"steps", API_INTEGER, offsetof(struct target, steps), .low = 1, .high = 1000, .fallback = "50"},
    {"seed", API_INTEGER, offsetof(struct target, seed), .low = 0, .high = 9007199254740991.0,
     .fallback = "a fresh one"},
    {"tolerance", API_REAL, offsetof(struct target, tolerance), .low = 1e-8, .high = 0.1,
     .fallback = "0.001"},
    {"solver", API_WORD, offsetof(struct target, solver), .words = solvers, .fallback = "heun"},
    {"model", API_NAME, offsetof(struct target, name)},
    {"background", API_COLOUR, offsetof(struct target, colour), .fallback = "white"},
};
static const struct api_parameter_table table = {items, sizeof items / sizeof items[0]};

static bool set(struct target *target, const char *name, const char *text, struct api_problem *problem)
{
    struct api_parameters_seen seen = {0};
    *problem = (struct api_problem){0};
    return api_parameter_set(&table, target, &seen, name, text, problem);
}

static void expect_refused(const char *name, const char *text, const char *words)
{
    struct target target = {.steps = 7, .seed = 7, .tolerance = 7, .solver = 7};
    struct target before = target;
    struct api_problem problem;
    char pointer[72];
    snprintf(pointer, sizeof pointer, "/%s", name);
    if (set(&target, name, text, &problem))
        fail_msg("%s=%s was taken", name, text);
    expect_problem(&problem, API_P_INVALID_PARAMETER, pointer, words);
    assert_memory_equal(&target, &before, sizeof target);
}

static void integers_are_strict(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_problem problem;
    assert_true(set(&target, "steps", "1", &problem) && target.steps == 1);
    assert_true(set(&target, "steps", "1000", &problem) && target.steps == 1000);
    assert_true(set(&target, "steps", "007", &problem) && target.steps == 7);
    assert_true(set(&target, "seed", "9007199254740991", &problem) &&
                target.seed == UINT64_C(9007199254740991));
    static const char *const wrong[] = {"",
                                        "0",
                                        "1001",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1.0",
                                        "1e2",
                                        "0x10",
                                        "ten",
                                        "18446744073709551617",
                                        "99999999999999999999999999",
                                        "1\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_refused("steps", wrong[i], "must be a whole number in 1..1000, not ");
    expect_refused("seed", "9007199254740992", "0..9007199254740991");
    expect_refused("seed", "18446744073709551615", NULL);
    expect_refused("steps", "0", "not 0");
    expect_refused("steps", "", "not nothing");
}

static void reals_are_finite_and_in_range(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_problem problem;
    assert_true(set(&target, "tolerance", "1e-8", &problem) && target.tolerance == 1e-8);
    assert_true(set(&target, "tolerance", "0.1", &problem) && target.tolerance == 0.1);
    assert_true(set(&target, "tolerance", "5E-3", &problem) && target.tolerance == 5e-3);
    static const char *const wrong[] = {"",     "nan",    "inf",   "1e999", "-0.01", "0.2",
                                        "1e-9", "0x1p-5", " 0.01", "0.01 ", ".01",   "0.",
                                        "1e",   "1e+",    "+0.01", "0,01",  "0.01f"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_refused("tolerance", wrong[i], "must be a number in 1e-08..0.1, not ");
}

static void words_names_colours(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_problem problem;
    assert_true(set(&target, "solver", "heun", &problem) && target.solver == 1);
    expect_refused("solver", "Heun", "must be one of euler, heun, not Heun");
    expect_refused("solver", "", "must be one of euler, heun");
    assert_true(set(&target, "model", "mnist-2to3_v1.0", &problem));
    assert_string_equal(target.name, "mnist-2to3_v1.0");
    expect_refused("model", "../etc", "1..64 of a-z");
    assert_true(set(&target, "background", "#Ff8001", &problem));
    assert_memory_equal(target.colour, "\xff\x80\x01", 3);
    assert_true(set(&target, "background", "0a0B0c", &problem));
    assert_memory_equal(target.colour, "\x0a\x0b\x0c", 3);
    assert_true(set(&target, "background", "white", &problem));
    assert_memory_equal(target.colour, "\xff\xff\xff", 3);
    assert_true(set(&target, "background", "grey", &problem));
    assert_memory_equal(target.colour, "\x80\x80\x80", 3);
    static const char *const wrong[] = {"",       "#",       "fff",     "fffffg", "+fffff",
                                        "0xffff", "fffffff", "##fffff", "blue"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_refused("background", wrong[i], "must be a colour");
}

static void long_values_are_cut_in_messages(void **state)
{
    (void)state;
    char text[4000];
    memset(text, '9', sizeof text);
    text[sizeof text - 1] = '\0';
    expect_refused("steps", text, "9999...");
    expect_refused("tolerance", text, "9999...");
    expect_refused("solver", text, "9999...");
}

static void unknown_names_are_helped(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_problem problem;
    assert_false(set(&target, "stesp", "5", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/stesp", "known are steps");
    assert_null(strstr(problem.detail, "solver"));
    assert_false(set(&target, "zzzz", "5", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/zzzz",
                   "steps, seed, tolerance, solver, model, background");
    assert_false(set(&target, "Seed", "5", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/Seed", "known are seed");
    assert_false(set(&target, "a/b~c", "5", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/a~1b~0c", NULL);
    char name[600];
    memset(name, '~', sizeof name);
    name[599] = '\0';
    assert_false(set(&target, name, "5", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, NULL, NULL);
    const struct api_parameter_table none = {NULL, 0};
    struct api_parameters_seen seen = {0};
    problem = (struct api_problem){0};
    assert_false(api_parameter_set(&none, &target, &seen, "x", "1", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/x", "no parameters are taken here");
}

static void twice_is_refused_from_any_source(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_parameters_seen seen = {0};
    struct api_problem problem = {0};
    json_t *five = json_integer(5);
    assert_true(api_parameters_from_query(&table, &target, &seen, "steps=5", &problem));
    assert_true(api_parameter_given(&table, &seen, "steps"));
    assert_false(api_parameter_given(&table, &seen, "seed"));
    assert_false(api_parameter_given(&table, &seen, "nothing"));
    assert_false(api_parameter_set_json(&table, &target, &seen, "steps", five, &problem));
    expect_problem(&problem, API_P_DUPLICATE_PARAMETER, "/steps", "twice");
    problem = (struct api_problem){0};
    assert_false(api_parameter_set(&table, &target, &seen, "steps", "5", &problem));
    expect_problem(&problem, API_P_DUPLICATE_PARAMETER, "/steps", NULL);
    problem = (struct api_problem){0};
    assert_false(api_parameters_from_query(&table, &target, &seen, "seed=5&seed=5", &problem));
    expect_problem(&problem, API_P_DUPLICATE_PARAMETER, "/seed", NULL);
    json_decref(five);
}

static void json_values_keep_their_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *name, *json;
        bool good;
    } cases[] = {
        {"steps", "5", true},
        {"steps", "5.0", true},
        {"steps", "5.5", false},
        {"steps", "\"5\"", false},
        {"steps", "-1", false},
        {"steps", "0", false},
        {"steps", "null", false},
        {"steps", "true", false},
        {"steps", "[5]", false},
        {"steps", "{}", false},
        {"steps", "1e300", false},
        {"tolerance", "0.01", true},
        {"tolerance", "1", false},
        {"tolerance", "\"0.01\"", false},
        {"solver", "\"euler\"", true},
        {"solver", "\"rk4\"", false},
        {"solver", "0", false},
        {"model", "\"m\"", true},
        {"model", "7", false},
        {"model", "\"..\"", false},
        {"background", "\"#ffffff\"", true},
        {"background", "0", false},
        {"seed", "9007199254740991", true},
        {"seed", "9007199254740992", false},
        {"seed", "9007199254740991.0", true},
        {"seed", "-0.0", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct target target = {0};
        struct api_parameters_seen seen = {0};
        struct api_problem problem = {0};
        json_t *value = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        if (api_parameter_set_json(&table, &target, &seen, cases[i].name, value, &problem) != cases[i].good)
            fail_msg("%s: %s", cases[i].name, cases[i].json);
        if (!cases[i].good)
            expect_problem(&problem, API_P_INVALID_PARAMETER, NULL, "must be");
        json_decref(value);
    }
}

static void queries_are_decoded(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_parameters_seen seen = {0};
    struct api_problem problem = {0};
    assert_true(api_parameters_from_query(&table, &target, &seen, "", &problem));
    assert_true(api_parameters_from_query(&table, &target, &seen,
                                          "&&st%65ps=%312&model=a%2Db&&background=%23ff0000&", &problem));
    assert_int_equal(target.steps, 12);
    assert_string_equal(target.name, "a-b");
    assert_memory_equal(target.colour, "\xff\0\0", 3);
    assert_false(api_parameters_from_query(&table, &target, &seen, "seed=+1", &problem)); /* a space */
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/seed", "not  1");
}

static void broken_queries(void **state)
{
    (void)state;
    static const char *const broken[] = {"seed=%", "seed=%1",  "seed=%zz", "seed=%1z",
                                         "%=1",    "seed=%00", "a%0=1&b",  "seed=1%"};
    char text[2000];
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct target target = {0};
        struct api_parameters_seen seen = {0};
        struct api_problem problem = {0};
        assert_false(api_parameters_from_query(&table, &target, &seen, broken[i], &problem));
        expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "escape");
    }
    struct target target = {0};
    struct api_parameters_seen seen = {0};
    struct api_problem problem = {0};
    memset(text, 'a', sizeof text);
    text[1999] = '\0';
    assert_false(api_parameters_from_query(&table, &target, &seen, text, &problem));
    expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "longer than 64");
    memcpy(text, "steps=", 6);
    problem = (struct api_problem){0};
    assert_false(api_parameters_from_query(&table, &target, &seen, text, &problem));
    expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "longer than 512");
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "a&", 2);
    problem = (struct api_problem){0};
    assert_false(api_parameters_from_query(&table, &target, &seen, text, &problem));
    assert_int_equal(problem.field_count, API_PROBLEM_FIELDS);
}

static void all_mistakes_are_told(void **state)
{
    (void)state;
    struct target target = {0};
    struct api_parameters_seen seen = {0};
    struct api_problem problem = {0};
    assert_false(
        api_parameters_from_query(&table, &target, &seen, "steps=0&seed=3&solver=x&zzz=1", &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/steps", NULL);
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/solver", NULL);
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/zzz", NULL);
    assert_int_equal(target.seed, 3);
}

static void names(void **state)
{
    (void)state;
    char text[80];
    static const char *const good[] = {"a", "0", "_x", "A.b-c_d", "mnist-2to3"};
    static const char *const bad[] = {"",    ".",   "..",          ".a", "-a",  "a/b",
                                      "a b", "a\n", "caf\xc3\xa9", "a%", "a@b", "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(api_name_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(api_name_valid(bad[i]));
    memset(text, 'a', sizeof text);
    text[64] = '\0';
    assert_true(api_name_valid(text));
    text[64] = 'a';
    text[65] = '\0';
    assert_false(api_name_valid(text));
}

static void defaults_are_what_is_documented(void **state)
{
    (void)state;
    struct target target = {.seed = 5};
    api_parameters_defaults(&table, &target);
    assert_int_equal(target.steps, 50);
    assert_int_equal(target.seed, 5);
    assert_true(target.tolerance == 0.001);
    assert_int_equal(target.solver, 1);
    assert_memory_equal(target.colour, "\xff\xff\xff", 3);
    assert_true(api_parameter_takes(&items[0], "50"));
    assert_false(api_parameter_takes(&items[1], "a fresh one"));
    assert_false(api_parameter_takes(&items[4], NULL));
    assert_true(api_parameter_takes(&items[4], "name"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_strict),
        cmocka_unit_test(reals_are_finite_and_in_range),
        cmocka_unit_test(words_names_colours),
        cmocka_unit_test(long_values_are_cut_in_messages),
        cmocka_unit_test(unknown_names_are_helped),
        cmocka_unit_test(twice_is_refused_from_any_source),
        cmocka_unit_test(json_values_keep_their_kinds),
        cmocka_unit_test(queries_are_decoded),
        cmocka_unit_test(broken_queries),
        cmocka_unit_test(all_mistakes_are_told),
        cmocka_unit_test(names),
        cmocka_unit_test(defaults_are_what_is_documented),
    };
    return cmocka_run_group_tests_name("api/parameters", tests, NULL, NULL);
}
