/* api_test.h - messages, problems and small models for the tests of the contract.
 *
 *     struct api_message message = json_message("seed=3", "{\"vector\":[1,2]}");
 *     struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
 *
 * Included by one source file a program. Threads: one. */
#ifndef EFM_TESTS_API_TEST_H
#define EFM_TESTS_API_TEST_H

#include "api/message.h"
#include "api/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static inline struct api_message message_of(const char *query, const char *type, const void *body,
                                            size_t size)
{
    return (struct api_message){.method = "POST",
                                .path = "/",
                                .query = query,
                                .content_type = type,
                                .accept = "",
                                .body = body,
                                .body_size = size};
}

static inline struct api_message json_message(const char *query, const char *json)
{
    return message_of(query, "application/json", json, strlen(json));
}

/* Fails unless the problem has this code, a field at `pointer` (NULL: none looked for), and `words` in its
 * detail (NULL: any). */
static inline void expect_problem(const struct api_problem *problem, enum api_problem_code code,
                                  const char *pointer, const char *words)
{
    if (problem->code != code)
        fail_msg("%s (%s) instead of %s", api_problem_code_name(problem->code), problem->detail,
                 api_problem_code_name(code));
    if (words != NULL && strstr(problem->detail, words) == NULL)
        fail_msg("'%s' does not say '%s'", problem->detail, words);
    for (size_t i = 0; pointer != NULL && i < problem->field_count; i++)
        if (strcmp(problem->fields[i].pointer, pointer) == 0)
            return;
    if (pointer != NULL)
        fail_msg("no field error at %s (%s)", pointer, problem->detail);
}

static inline void expect_none(const struct api_problem *problem)
{
    if (problem->code != API_P_NONE)
        fail_msg("%s: %s", api_problem_code_name(problem->code), problem->detail);
}

/* What a buffer holds, as JSON; fails when it is none. json_decref it. */
static inline json_t *json_of(const struct efm_buffer *buffer)
{
    json_error_t error;
    assert_int_equal(buffer->status, EFM_OK);
    json_t *json = json_loadb((const char *)buffer->data, buffer->size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        fail_msg("line %d column %d: %s", error.line, error.column, error.text);
    return json;
}

static inline const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL)
        fail_msg("no string %s", name);
    return text;
}

static inline bool buffer_is(const struct efm_buffer *buffer, const char *text)
{
    return buffer->size == strlen(text) && memcmp(buffer->data, text, buffer->size) == 0;
}

#endif
