// SPDX-License-Identifier: Apache-2.0
#include "server/http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct srv_endpoint get_model = {.methods = "GET", .paths = {"/v1/models/{name}"}};
static const struct srv_endpoint put_model = {.methods = "PUT DELETE", .paths = {"/v1/models/{name}"}};
static const struct srv_endpoint get_field = {.methods = "GET", .paths = {"/v1/models/{name}/field"}};
static const struct srv_endpoint list = {.methods = "GET", .paths = {"/v1/models", "/models"}};
static const struct srv_endpoint special = {.methods = "POST", .paths = {"/v1/models/special"}};
static const struct srv_endpoint root = {.methods = "GET", .paths = {"/"}};
static const struct srv_endpoint transfer = {.methods = "POST PUT", .paths = {"/v1/transfer", "/transfer"}};
static const struct srv_endpoint *const routes[] = {&get_model, &put_model, &get_field, &list,
                                                    &special,   &root,      &transfer};

static struct srv_match match;
static struct api_problem problem;

static bool find(const char *method, const char *uri)
{
    struct srv_target target;
    problem = (struct api_problem){0};
    bool found = srv_target_parse(&target, uri, &problem) &&
                 srv_route(routes, sizeof routes / sizeof routes[0], method, &target, &match, &problem);
    srv_target_release(&target);
    return found;
}

static void targets_are_taken_apart(void **state)
{
    static const struct {
        const char *uri, *raw, *path, *query;
    } cases[] = {
        {"/", "/", "/", ""},
        {"/a%20b?x=1&y=%20", "/a%20b", "/a b", "x=1&y=%20"},
        {"/a?b?c", "/a", "/a", "b?c"},
        {"/a?", "/a", "/a", ""},
        {"http://host:80/a/b?c", "/a/b", "/a/b", "c"},
        {"HTTP://host", "", "", ""},
        {"https://host?q", "", "", "q"},
        {"*", "*", "*", ""},
        {"", "", "", ""},
        {"/%C3%BC", "/%C3%BC", "/\xc3\xbc", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct srv_target target;
        problem = (struct api_problem){0};
        assert_true(srv_target_parse(&target, cases[i].uri, &problem));
        assert_string_equal(target.raw, cases[i].raw);
        assert_string_equal(target.path, cases[i].path);
        assert_string_equal(target.query, cases[i].query);
        srv_target_release(&target);
    }
}

static void broken_escapes_are_refused(void **state)
{
    static const char *const broken[] = {"/%", "/%2", "/%zz", "/a%4", "/a%0", "/%00", "/a%00b", "/%4g/x"};
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        assert_false(find("GET", broken[i]));
        assert_int_equal(problem.code, API_P_MALFORMED_REQUEST);
    }
}

static void endpoints_are_found(void **state)
{
    (void)state;
    assert_true(find("GET", "/"));
    assert_ptr_equal(match.endpoint, &root);
    assert_true(find("GET", "/v1/models"));
    assert_ptr_equal(match.endpoint, &list);
    assert_string_equal(match.name, "");
    assert_true(find("GET", "/models?limit=3")); // an alias has the canonical route
    assert_string_equal(match.route, "/v1/models");
    assert_true(find("HEAD", "/models"));
    assert_ptr_equal(match.endpoint, &list);
    assert_true(find("GET", "/v1/models/mnist-2to3"));
    assert_ptr_equal(match.endpoint, &get_model);
    assert_string_equal(match.name, "mnist-2to3");
    assert_string_equal(match.route, "/v1/models/{name}");
    assert_true(find("DELETE", "/v1/models/m%2ea%5F1"));
    assert_ptr_equal(match.endpoint, &put_model);
    assert_string_equal(match.name, "m.a_1");
    assert_true(find("GET", "/v1/%6dodels/x/fiel%64"));
    assert_ptr_equal(match.endpoint, &get_field);
    assert_string_equal(match.name, "x");
    assert_true(find("PUT", "http://localhost/transfer"));
    assert_ptr_equal(match.endpoint, &transfer);
}

static void a_literal_path_beats_a_name(void **state)
{
    (void)state;
    assert_true(find("POST", "/v1/models/special"));
    assert_ptr_equal(match.endpoint, &special);
    assert_string_equal(match.name, "");
    assert_false(find("GET", "/v1/models/special"));
    assert_int_equal(problem.code, API_P_METHOD_NOT_ALLOWED);
}

static void wrong_methods_are_told_the_right_ones(void **state)
{
    (void)state;
    assert_false(find("POST", "/v1/models/m"));
    assert_int_equal(problem.code, API_P_METHOD_NOT_ALLOWED);
    assert_string_equal(problem.allow, "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_string_equal(match.route, "/v1/models/{name}");
    assert_false(find("HEAD", "/transfer")); // only where there is GET
    assert_string_equal(problem.allow, "POST, PUT, OPTIONS");
    assert_false(find("GE", "/v1/models"));
    assert_false(find("", "/v1/models"));
    assert_false(find("POST PUT", "/transfer"));
    assert_int_equal(problem.code, API_P_METHOD_NOT_ALLOWED);
}

static void options_says_what_is_allowed(void **state)
{
    (void)state;
    assert_true(find("OPTIONS", "/v1/models/m"));
    assert_null(match.endpoint);
    assert_string_equal(match.allow, "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_false(find("OPTIONS", "/nothing"));
}

static void unknown_paths_are_not_found(void **state)
{
    static const char *const unknown[] = {"",
                                          "*",
                                          "/v1",
                                          "/v1/modelsx",
                                          "/v1/model",
                                          "//",
                                          "/v1//models",
                                          "/v1/models/m/x",
                                          "/V1/models",
                                          "v1/models",
                                          "/v1/models/m/field/x"};
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_false(find("GET", unknown[i]));
        assert_int_equal(problem.code, API_P_NOT_FOUND);
        assert_string_equal(match.route, "none");
    }
}

static void a_slash_at_the_end_is_explained(void **state)
{
    (void)state;
    assert_false(find("GET", "/v1/models/"));
    assert_int_equal(problem.code, API_P_NOT_FOUND);
    assert_non_null(strstr(problem.detail, "slash"));
    assert_false(find("GET", "/v1/models/m/"));
    assert_non_null(strstr(problem.detail, "slash"));
    assert_false(find("GET", "/nothing/"));
    assert_null(strstr(problem.detail, "slash"));
}

static void bad_names_have_a_problem_of_their_own(void **state)
{
    char longest[128] = "/v1/models/", too_long[128];
    static const char *const bad[] = {"/v1/models/.hidden",  "/v1/models/-x",       "/v1/models/a%2fb",
                                      "/v1/models/a%20b",    "/v1/models/%2e%2e",   "/v1/models/a+b",
                                      "/v1/models/\xc3\xbc", "/v1/models/a,b/field"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(find("GET", bad[i]));
        assert_int_equal(problem.code, API_P_INVALID_NAME);
        assert_string_equal(problem.fields[0].pointer, "/name");
    }
    memset(longest + strlen("/v1/models/"), 'a', 64);
    assert_true(find("GET", longest));
    memcpy(too_long, longest, sizeof too_long);
    too_long[strlen(longest)] = 'a';
    assert_false(find("GET", too_long));
    assert_int_equal(problem.code, API_P_INVALID_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_taken_apart),
        cmocka_unit_test(broken_escapes_are_refused),
        cmocka_unit_test(endpoints_are_found),
        cmocka_unit_test(a_literal_path_beats_a_name),
        cmocka_unit_test(wrong_methods_are_told_the_right_ones),
        cmocka_unit_test(options_says_what_is_allowed),
        cmocka_unit_test(unknown_paths_are_not_found),
        cmocka_unit_test(a_slash_at_the_end_is_explained),
        cmocka_unit_test(bad_names_have_a_problem_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
