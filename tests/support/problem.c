// SPDX-License-Identifier: Apache-2.0
#include "tests/support/problem.h"

#include "tests/support/check.h"

#include <string.h>

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    if (text == NULL || text[0] == '\0')
        fail_msg("the problem has no string \"%s\"", name);
    return text;
}

/* A URI whose last part is the code with dashes. */
static void check_type(const char *type, const char *code)
{
    const char *last = strrchr(type, '/');
    assert_non_null(last);
    assert_int_equal(strlen(last + 1), strlen(code));
    for (size_t i = 0; code[i] != '\0'; ++i)
        assert_true(last[i + 1] == code[i] || (last[i + 1] == '-' && code[i] == '_'));
}

void test_check_problem(const struct test_reply *reply, int status, const char *code)
{
    char id[256];
    test_expect(reply, status, "application/problem+json");
    json_t *json = test_reply_json(reply);
    if (strcmp(text_of(json, "code"), code) != 0)
        fail_msg("code %s instead of %s: %s", text_of(json, "code"), code, (const char *)reply->body);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), status);
    (void)text_of(json, "title");
    (void)text_of(json, "detail");
    (void)text_of(json, "error");
    check_type(text_of(json, "type"), code);
    test_reply_header(reply, "X-Request-Id", id, sizeof id);
    assert_string_equal(text_of(json, "request_id"), id);
    json_decref(json);
}

void test_expect_problem(const struct test_daemon *daemon, const struct test_request *request, int status,
                         const char *code)
{
    struct test_reply reply;
    test_send(daemon, request, &reply);
    if (reply.status != status)
        print_error("%s should have been refused with %d %s\n", request->path, status, code);
    test_check_problem(&reply, status, code);
    test_reply_release(&reply);
}
