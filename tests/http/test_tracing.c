// SPDX-License-Identifier: Apache-2.0
// What is said of each answer: where its time went, and which trace it belongs to.
#include "tests/support/check.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define TRACE "traceparent: 00-" TRACE_ID "-00f067aa0ba902b7-01"

static struct test_daemon server;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_plane(&server);
    test_world_pictures(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

/* The milliseconds of a name, NAN when it is absent. */
static double timing_of(const struct test_reply *reply, const char *name)
{
    char text[256], wanted[32];
    test_reply_header(reply, "Server-Timing", text, sizeof text);
    snprintf(wanted, sizeof wanted, "%s;dur=", name);
    const char *at = strstr(text, wanted);
    return at == NULL ? (double)NAN : strtod(at + strlen(wanted), NULL);
}

static struct test_request json_to(const char *path, const char *json)
{
    return (struct test_request){
        .path = path, .type = "application/json", .body = json, .size = strlen(json)};
}

static void computed_answers_tell_their_times(void **state)
{
    const struct test_request requests[] = {
        json_to("/v1/transfer", "{\"model\":\"plane\",\"vector\":[0.1,0.2]}"),
        {.method = "POST", .path = "/v1/generate?model=pictures&n=2"},
        json_to("/v1/models/plane/field", "{\"points\":[[0,0,1]]}"),
        json_to("/v1/models/plane/trace", "{\"starts\":[[0.1,0.2]],\"points\":4}"),
        json_to("/v2/models/plane/infer",
                "{\"inputs\":[{\"name\":\"input\",\"shape\":[1,2],\"datatype\":\"FP32\","
                "\"data\":[0.1,0.2]}]}"),
        json_to("/v1/images/generations", "{\"model\":\"pictures\",\"prompt\":\"\",\"n\":1}"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct test_reply reply;
        test_send(&server, &requests[i], &reply);
        test_expect(&reply, 200, NULL);
        const double queue = timing_of(&reply, "queue"), infer = timing_of(&reply, "infer");
        const double encode = timing_of(&reply, "encode"), total = timing_of(&reply, "total");
        if (!(queue >= 0 && infer > 0 && encode >= 0 && total + 0.01 >= queue + infer + encode))
            fail_msg("%s: queue %g, infer %g, encode %g, total %g", requests[i].path, queue, infer, encode,
                     total);
        test_reply_release(&reply);
    }
    char line[4096];
    FILE *log = fopen(server.log, "r");
    bool found = false;
    assert_non_null(log);
    while (fgets(line, sizeof line, log) != NULL)
        found |= strstr(line, "\"route\":\"/v1/transfer\",\"status\":200") != NULL &&
                 strstr(line, ",\"queue_seconds\":") != NULL && strstr(line, ",\"infer_seconds\":") != NULL &&
                 strstr(line, ",\"encode_seconds\":") != NULL;
    fclose(log);
    assert_true(found);
}

/* True when the log has a line of this request id with all of `members`; lines are written before their answers leave. */
static bool is_logged(const char *id, const char *members)
{
    char line[4096];
    FILE *log = fopen(server.log, "r");
    bool found = false;
    assert_non_null(log);
    while (fgets(line, sizeof line, log) != NULL)
        found |= strstr(line, "\"event\":\"request\"") != NULL && strstr(line, id) != NULL &&
                 strstr(line, members) != NULL;
    fclose(log);
    return found;
}

static void the_log_tells_of_the_work(void **state)
{
    struct test_request generate = {.method = "POST",
                                    .path = "/v1/generate?model=plane&n=3&solver=euler&steps=7"};
    const struct {
        struct test_request request;
        int status;
        const char *members;
    } rows[] = {
        {generate, 200, ",\"model\":\"plane\",\"results\":3,\"evaluations\":"},
        {json_to("/v1/models/plane/field", "{\"points\":[[0,0,1],[0,1,1]]}"), 200,
         ",\"model\":\"plane\",\"results\":2,\"evaluations\":2"},
        {json_to("/v1/models/plane/trace", "{\"starts\":[[0.1,0.2]],\"points\":4}"), 200,
         ",\"model\":\"plane\",\"results\":1,\"evaluations\":"},
        {json_to("/v1/images/generations", "{\"model\":\"pictures\",\"prompt\":\"\",\"n\":2}"), 200,
         ",\"model\":\"pictures\",\"results\":2,\"evaluations\":"},
        {json_to("/v1/images/generations", "{\"model\":\"nobody\",\"prompt\":\"\"}"), 404,
         ",\"code\":\"unknown_model\""},
        {{.method = "POST", .path = "/v1/generate?model=nobody"},
         404,
         ",\"code\":\"unknown_model\",\"model\":\"nobody\""},
        {{.path = "/v1/models/plane/weights"}, 200, ",\"model\":\"plane\""},
        {{.path = "/v1/models"}, 200, "\"route\":\"/v1/models\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_request request = rows[i].request;
        char header[64], id[32];
        snprintf(id, sizeof id, "\"told-%zu\"", i);
        snprintf(header, sizeof header, "X-Request-Id: told-%zu", i);
        request.header = header;
        test_expect_request(&server, &request, rows[i].status);
        if (!is_logged(id, rows[i].members))
            fail_msg("no line of %s has %s", request.path, rows[i].members);
    }
    assert_false(is_logged("\"told-7\"", "\"model\":"));
    assert_false(is_logged("\"told-6\"", "\"results\":"));
}

static void other_answers_tell_what_they_know(void **state)
{
    struct test_reply reply;
    (void)state;
    test_send(&server, &(struct test_request){.path = "/v1/jobs"}, &reply);
    test_expect(&reply, 200, NULL);
    assert_true(timing_of(&reply, "queue") >= 0 && timing_of(&reply, "total") > 0);
    assert_true(isnan(timing_of(&reply, "infer")));
    test_reply_release(&reply);
    test_send(&server, &(struct test_request){.path = "/v1/models"}, &reply);
    test_expect(&reply, 200, NULL);
    assert_true(isnan(timing_of(&reply, "queue")) && timing_of(&reply, "total") > 0);
    test_reply_release(&reply);
}

static void problems_name_their_trace(void **state)
{
    struct test_request requests[] = {
        json_to("/v1/transfer", "{\"model\":\"nobody\",\"vector\":[0.1,0.2]}"),
        json_to("/v1/transfer", "{\"model\":\"plane\",\"vector\":[0.1]}"),
        json_to("/v1/images/generations", "{\"model\":\"nobody\",\"prompt\":\"\"}"),
        {.path = "/v1/jobs/job_none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct test_reply reply;
        requests[i].header = TRACE;
        test_send(&server, &requests[i], &reply);
        assert_true(reply.status >= 400);
        json_t *json = test_reply_json(&reply);
        const char *trace = json_string_value(json_object_get(json, "trace_id"));
        if (trace == NULL || strcmp(trace, TRACE_ID) != 0)
            fail_msg("%s: %s", requests[i].path, (char *)reply.body);
        json_decref(json);
        test_reply_release(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computed_answers_tell_their_times),
        cmocka_unit_test(the_log_tells_of_the_work),
        cmocka_unit_test(other_answers_tell_what_they_know),
        cmocka_unit_test(problems_name_their_trace),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
