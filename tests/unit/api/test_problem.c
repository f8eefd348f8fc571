// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/api/api_test.h"

static json_t *traced(const struct api_problem *problem, const char *id, const char *trace,
                      const char *instance)
{
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    api_problem_render(problem, id, trace, instance, &out);
    json_t *json = json_of(&out);
    efm_buffer_release(&out);
    return json;
}

static json_t *rendered(const struct api_problem *problem, const char *id, const char *instance)
{
    return traced(problem, id, "", instance);
}

static void body_has_every_member(void **state)
{
    (void)state;
    struct api_problem problem = {0};
    assert_false(api_problem_set(&problem, API_P_QUEUE_FULL, NULL, "model '%s' has %d waiting", "m", 64));
    json_t *json = rendered(&problem, "req_1", "/v1/transfer");
    assert_string_equal(text_at(json, "type"), "/problems/queue-full");
    assert_string_equal(text_at(json, "title"), "Queue is full");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 429);
    assert_string_equal(text_at(json, "detail"), "model 'm' has 64 waiting");
    assert_string_equal(text_at(json, "error"), "model 'm' has 64 waiting");
    assert_string_equal(text_at(json, "instance"), "/v1/transfer");
    assert_string_equal(text_at(json, "code"), "queue_full");
    assert_string_equal(text_at(json, "request_id"), "req_1");
    assert_null(json_object_get(json, "trace_id"));
    assert_null(json_object_get(json, "errors"));
    json_decref(json);
    json = traced(&problem, "req_1", "4bf92f3577b34da6a3ce929d0e0e4736", "/v1/transfer");
    assert_string_equal(text_at(json, "trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    json_decref(json);
}

static void first_problem_wins_and_fields_gather(void **state)
{
    (void)state;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_INVALID_PARAMETER, "/steps", "must be %d..%d", 1, 1000);
    api_problem_set(&problem, API_P_UNKNOWN_PARAMETER, "/step", "is unknown");
    api_problem_set(&problem, API_P_INTERNAL, NULL, "later");
    assert_int_equal(problem.code, API_P_INVALID_PARAMETER);
    assert_string_equal(problem.detail, "steps: must be 1..1000");
    json_t *json = rendered(&problem, "", "");
    json_t *errors = json_object_get(json, "errors");
    assert_int_equal(json_array_size(errors), 2);
    assert_string_equal(text_at(json_array_get(errors, 0), "pointer"), "/steps");
    assert_string_equal(text_at(json_array_get(errors, 0), "detail"), "must be 1..1000");
    assert_string_equal(text_at(json_array_get(errors, 1), "pointer"), "/step");
    json_decref(json);
    for (int i = 0; i < 20; i++)
        api_problem_set(&problem, API_P_INVALID_PARAMETER, "/x", "again");
    assert_int_equal(problem.field_count, API_PROBLEM_FIELDS);
}

static void bytes_of_clients_become_valid_json(void **state)
{
    (void)state;
    char long_text[2000];
    memset(long_text, 'x', sizeof long_text);
    for (size_t i = 0; i + 1 < sizeof long_text; i += 2)
        memcpy(long_text + i, "\xc3\xa9", 2); /* a cut in the middle of a letter */
    long_text[sizeof long_text - 1] = '\0';
    const char *const texts[] = {"\"\\\n\r\t\b\f\x01\x1f\x7f/",
                                 "\xff\xfe",
                                 "caf\xc3\xa9",
                                 "\xc3",
                                 "\xe2\x82",
                                 "\xed\xa0\x80",
                                 "\xc0\xaf",
                                 "\xf4\x90\x80\x80",
                                 "\xf0\x9f\x98\x80",
                                 "\xe0\x80\x80",
                                 long_text};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct api_problem problem = {0};
        api_problem_set(&problem, API_P_INVALID_PARAMETER, texts[i], "%s", texts[i]);
        json_t *json = rendered(&problem, texts[i], texts[i]);
        if (i == 2)
            assert_string_equal(text_at(json, "request_id"), "caf\xc3\xa9");
        if (i == 1)
            assert_string_equal(text_at(json, "request_id"), "\xef\xbf\xbd\xef\xbf\xbd");
        if (i == 0)
            assert_string_equal(text_at(json, "request_id"), texts[0]);
        json_decref(json);
    }
}

static void core_errors_map_to_codes(void **state)
{
    (void)state;
    static const struct {
        enum efm_status status;
        enum api_problem_code when_format, expected;
    } cases[] = {
        {EFM_E_FORMAT, API_P_DAMAGED_IMAGE, API_P_DAMAGED_IMAGE},
        {EFM_E_FORMAT, API_P_INVALID_MODEL, API_P_INVALID_MODEL},
        {EFM_E_UNSUPPORTED, API_P_DAMAGED_IMAGE, API_P_UNSUPPORTED_IMAGE},
        {EFM_E_UNSUPPORTED, API_P_INVALID_MODEL, API_P_INVALID_MODEL},
        {EFM_E_LIMIT, API_P_NOT_AN_IMAGE, API_P_IMAGE_TOO_LARGE},
        {EFM_E_LIMIT, API_P_INVALID_DATASET, API_P_DATASET_TOO_LARGE},
        {EFM_E_LIMIT, API_P_INVALID_MODEL, API_P_MODEL_TOO_LARGE},
        {EFM_E_LIMIT, API_P_INVALID_NPY, API_P_INVALID_NPY},
        {EFM_E_LIMIT, API_P_INTERNAL, API_P_BODY_TOO_LARGE},
        {EFM_E_UNSUPPORTED, API_P_INVALID_NPY, API_P_INVALID_NPY},
        {EFM_E_MEMORY, API_P_DAMAGED_IMAGE, API_P_NO_MEMORY},
        {EFM_E_SHAPE, API_P_INVALID_DATASET, API_P_SHAPE_MISMATCH},
        {EFM_E_NUMERIC, API_P_INVALID_DATASET, API_P_NOT_FINITE},
        {EFM_E_ARGUMENT, API_P_INVALID_DATASET, API_P_INVALID_PARAMETER},
        {EFM_E_IO, API_P_INVALID_DATASET, API_P_STORAGE},
        {EFM_E_DEADLINE, API_P_INVALID_DATASET, API_P_DEADLINE},
        {EFM_E_INTERNAL, API_P_INVALID_DATASET, API_P_INTERNAL},
        {EFM_OK, API_P_INVALID_DATASET, API_P_INTERNAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_problem problem = {0};
        struct efm_error error = {.status = cases[i].status};
        if (i % 2 == 0)
            snprintf(error.message, sizeof error.message, "the PNG is truncated");
        assert_false(api_problem_from_error(&problem, &error, cases[i].when_format, "/image"));
        expect_problem(&problem, cases[i].expected, "/image", i % 2 == 0 ? "the PNG is truncated" : NULL);
        assert_true(strlen(problem.detail) > 8);
    }
}

static void every_code_has_its_words(void **state)
{
    (void)state;
    for (int code = API_P_NONE + 1; code < API_P_COUNT; code++) {
        struct api_problem problem = {.code = (enum api_problem_code)code};
        json_t *json = rendered(&problem, "", "");
        assert_in_range(api_problem_status(problem.code), 400, 599);
        assert_string_equal(text_at(json, "code"), api_problem_code_name(problem.code));
        assert_string_equal(text_at(json, "detail"), api_problem_title(problem.code));
        assert_null(strchr(text_at(json, "type"), '_'));
        json_decref(json);
    }
    assert_int_equal(api_problem_status((enum api_problem_code)1000), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_has_every_member),
        cmocka_unit_test(first_problem_wins_and_fields_gather),
        cmocka_unit_test(bytes_of_clients_become_valid_json),
        cmocka_unit_test(core_errors_map_to_codes),
        cmocka_unit_test(every_code_has_its_words),
    };
    return cmocka_run_group_tests_name("api/problem", tests, NULL, NULL);
}
