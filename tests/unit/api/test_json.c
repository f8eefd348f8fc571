// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "api/parameters.h"
#include "core/base/memory.h"
#include "tests/unit/api/api_test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static json_t *parse(const char *text, size_t size, struct api_problem *problem)
{
    *problem = (struct api_problem){0};
    return api_json_parse((const uint8_t *)text, size, problem);
}

static void expect_malformed(const char *text, const char *words)
{
    struct api_problem problem;
    if (parse(text, strlen(text), &problem) != NULL)
        fail_msg("'%s' was taken", text);
    expect_problem(&problem, API_P_MALFORMED_JSON, NULL, words);
}

static void parsing_is_strict(void **state)
{
    (void)state;
    struct api_problem problem;
    json_t *value = parse(" {\"a\": [1, 2.5, \"caf\xc3\xa9\", null]}\n", 32, &problem);
    assert_non_null(value);
    json_decref(value);
    expect_malformed("", NULL);
    expect_malformed("{\"a\":1", "line 1, column ");
    expect_malformed("{\n\"a\":x}", "line 2, column ");
    expect_malformed("{\"a\":1} x", NULL);
    expect_malformed("{\"a\":1}{}", NULL);
    expect_malformed("{\"a\":1,\"a\":2}", "duplicate");
    expect_malformed("{\"a\":\"\xff\"}", NULL);
    expect_malformed("{\"a\":\"\\u0000\"}", NULL);
    expect_malformed("{\"a\":NaN}", NULL);
    expect_malformed("{\"a\":Infinity}", NULL);
    expect_malformed("{\"a\":1e999}", "overflow");
    expect_malformed("{\"a\":99999999999999999999}", NULL);
    expect_malformed("{\"a\":01}", NULL);
    expect_malformed("{'a':1}", NULL);
    expect_malformed("{\"a\":1,}", NULL);
    expect_malformed("5", NULL);
    expect_malformed("\xef\xbb\xbf{}", NULL);
    assert_null(parse("{\"a\":1}\0", 8, &problem));
}

static void depth_and_count_are_bounded(void **state)
{
    (void)state;
    struct api_problem problem;
    char text[80];
    memset(text, '[', 40);
    memset(text + 40, ']', 40);
    json_t *value = parse(text + 8, 64, &problem); /* 32 levels */
    assert_non_null(value);
    json_decref(value);
    assert_null(parse(text + 7, 66, &problem));
    expect_problem(&problem, API_P_MALFORMED_JSON, NULL, "deeper than 32");
    value = parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"]", 48, &problem); /* in a string */
    assert_non_null(value);
    json_decref(value);

    size_t size = (2 << 20) * 2 + 64;
    char *many = malloc(size);
    memset(many, ',', size);
    for (size_t i = 1; i < size; i += 2)
        many[i] = '1';
    many[0] = '[';
    many[size - 1] = ']';
    assert_null(parse(many, size, &problem));
    expect_problem(&problem, API_P_BODY_TOO_LARGE, NULL, "send large arrays as NPY");
    for (size_t i = 0; i + 3 < size; i += 3) // empty objects, which take more than numbers
        memcpy(many + i, "{},", 3);
    many[0] = '[';
    assert_null(parse(many, 1200000, &problem));
    expect_problem(&problem, API_P_BODY_TOO_LARGE, NULL, "send large arrays as NPY");
    free(many);
}

/* [{"b":0, then `members` members beside it, then the end. */
static json_t *parse_members(size_t members, const char *end, struct api_problem *problem)
{
    struct efm_buffer text = efm_buffer_limited(1 << 20);
    efm_buffer_append_string(&text, "[{\"b\":[1,2,{\"c\":3}]");
    for (size_t i = 0; i < members; i++)
        efm_buffer_format(&text, ",\"%zu\":1", i);
    efm_buffer_append_string(&text, end);
    assert_int_equal(text.status, EFM_OK);
    json_t *value = parse((const char *)text.data, text.size, problem);
    efm_buffer_release(&text);
    return value;
}

static void members_of_an_object_are_bounded(void **state)
{
    struct api_problem problem;
    (void)state;
    json_t *value = parse_members(4095, "},{\"b\":1,\"c\":2}]", &problem); // each object counts for itself
    assert_non_null(value);
    assert_int_equal(json_object_size(json_array_get(value, 0)), 4096);
    json_decref(value);
    assert_null(parse_members(4096, "}]", &problem));
    expect_problem(&problem, API_P_BODY_TOO_LARGE, NULL, "more than 4096 members");
}

static void numbers_read_back(void **state)
{
    (void)state;
    static const double reals[] = {0, -0.0, 0.1, 1.0 / 3, 1e-300, DBL_MAX, DBL_MIN, 9007199254740991.0, 6};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        struct efm_buffer out = efm_buffer_limited(1000);
        api_json_real(&out, reals[i]);
        efm_buffer_append(&out, "", 1);
        assert_true(strtod((const char *)out.data, NULL) == reals[i]);
        efm_buffer_release(&out);
        api_json_float(&out, (float)(1 / (reals[i] + 3)));
        efm_buffer_append(&out, "", 1);
        assert_true(strtof((const char *)out.data, NULL) == (float)(1 / (reals[i] + 3)));
        efm_buffer_release(&out);
    }
    struct efm_buffer out = efm_buffer_limited(1000);
    const float values[4] = {1, NAN, -INFINITY, 0.1F};
    api_json_floats(&out, values, 4);
    api_json_real(&out, INFINITY);
    api_json_real(&out, 0.1);
    assert_true(buffer_is(&out, "[1,null,null,0.100000001]null0.1"));
    efm_buffer_release(&out);
}

static void objects_are_told_by_their_first_byte(void **state)
{
    (void)state;
    assert_true(api_json_is_object((const uint8_t *)" \t\r\n{", 5));
    assert_false(api_json_is_object((const uint8_t *)" [", 2));
    assert_false(api_json_is_object((const uint8_t *)"   ", 3));
    assert_false(api_json_is_object(NULL, 0));
}

static void base64_there_and_back(void **state)
{
    (void)state;
    uint8_t bytes[2000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 131 + 7);
    for (size_t size = 0; size < sizeof bytes; size = size < 10 ? size + 1 : size * 2 - 3) {
        struct efm_buffer out = efm_buffer_limited(4000);
        struct api_problem problem = {0};
        uint8_t *back = NULL;
        size_t back_size = 99;
        api_base64_encode(&out, bytes, size);
        assert_int_equal(out.size, (size + 2) / 3 * 4);
        assert_true(api_base64_decode(size == 0 ? "" : (const char *)out.data, out.size, &back, &back_size,
                                      &problem, "/image"));
        assert_int_equal(back_size, size);
        assert_memory_equal(back, bytes, size);
        efm_free(back);
        efm_buffer_release(&out);
    }
}

static void base64_as_people_write_it(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bytes;
    } good[] = {
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYg", "foob"},
        {"Zm9vYmE", "fooba"},
        {"Zm8", "fo"},
        {"Zm9\r\nvYm\tE =", "fooba"},
        {"data:image/png;base64,Zm9v", "foo"},
        {"DATA:;BASE64,Zm9v", "foo"},
        {"", ""},
        {"+/+/", "\xfb\xff\xbf"},
    };
    static const char *const bad[] = {"Z",
                                      "Zm9v!",
                                      "Zm9v=",
                                      "Zm9v====",
                                      "Zg=",
                                      "Zg=x",
                                      "Zg===",
                                      "-_-_",
                                      "Zh",
                                      "Zm9vYmF",
                                      "data:image/png,Zm9v",
                                      "data:text/plain",
                                      "data:",
                                      "\xff\xff",
                                      "=",
                                      "Zm9v\x01"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct api_problem problem = {0};
        uint8_t *bytes = NULL;
        size_t size;
        if (!api_base64_decode(good[i].text, strlen(good[i].text), &bytes, &size, &problem, "/image"))
            fail_msg("'%s': %s", good[i].text, problem.detail);
        assert_int_equal(size, strlen(good[i].bytes));
        assert_memory_equal(bytes, good[i].bytes, size);
        efm_free(bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct api_problem problem = {0};
        uint8_t *bytes = NULL;
        size_t size;
        if (api_base64_decode(bad[i], strlen(bad[i]), &bytes, &size, &problem, "/image"))
            fail_msg("'%s' was taken", bad[i]);
        expect_problem(&problem, API_P_INVALID_PARAMETER, "/image", "base64");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing_is_strict),
        cmocka_unit_test(depth_and_count_are_bounded),
        cmocka_unit_test(members_of_an_object_are_bounded),
        cmocka_unit_test(numbers_read_back),
        cmocka_unit_test(objects_are_told_by_their_first_byte),
        cmocka_unit_test(base64_there_and_back),
        cmocka_unit_test(base64_as_people_write_it),
    };
    return cmocka_run_group_tests_name("api/json", tests, NULL, NULL);
}
