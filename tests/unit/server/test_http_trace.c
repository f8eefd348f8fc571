// SPDX-License-Identifier: Apache-2.0
// What is known of a request afterwards: its trace, its times, its line in the log.
#include "server/http/http_internal.h"
#include "server/http/trace.h"
#include "server/log.h"
#include "server/metrics.h"
#include "tests/unit/server/http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void a_traceparent_is_read_strictly(void **state)
{
    static const struct {
        const char *header, *taken; /* NULL: refused */
    } rows[] = {
        {"00-" ID "-" PARENT "-01", "00-" ID "-" PARENT "-01"},
        {"00-" ID "-" PARENT "-ff", "00-" ID "-" PARENT "-ff"},
        {"00-" ID "-" PARENT "-01-", NULL},
        {"00-" ID "-" PARENT "-01-more", NULL},
        {"01-" ID "-" PARENT "-01", "00-" ID "-" PARENT "-01"},
        {"01-" ID "-" PARENT "-02", "00-" ID "-" PARENT "-00"},
        {"fe-" ID "-" PARENT "-03-more-fields", "00-" ID "-" PARENT "-01"},
        {"01-" ID "-" PARENT "-01.more", NULL},
        {"ff-" ID "-" PARENT "-01", NULL},
        {"0g-" ID "-" PARENT "-01", NULL},
        {"0-" ID "-" PARENT "-01", NULL},
        {"00-" ID "-" PARENT "-0x", NULL},
        {"00-" ID "-" PARENT "-1", NULL},
        {"00-" ID "-" PARENT, NULL},
        {"00_" ID "-" PARENT "-01", NULL},
        {"00-" ID "_" PARENT "-01", NULL},
        {"00-" ID "-" PARENT "_01", NULL},
        {"00-00000000000000000000000000000000-" PARENT "-01", NULL},
        {"00-" ID "-0000000000000000-01", NULL},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", NULL},
        {"00-" ID "-00F067AA0BA902B7-01", NULL},
        {"00-" ID "0-" PARENT "-1", NULL},
        {" 00-" ID "-" PARENT "-01", NULL},
        {"", NULL},
    };
    char taken[SRV_TRACEPARENT_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const bool good = srv_trace_parse(rows[i].header, taken);
        if (good != (rows[i].taken != NULL))
            fail_msg("'%s' is %s", rows[i].header, good ? "taken" : "refused");
        assert_string_equal(taken, good ? rows[i].taken : "");
        assert_int_equal(strncmp(srv_trace_id(taken), good ? ID : "", SRV_TRACE_ID_LENGTH), 0);
    }
}

static void a_trace_is_in_problems_and_in_the_log(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "GET", "/nothing", "traceparent: 00-" ID "-" PARENT "-01\r\n", NULL, 0, &answer);
    world_assert_problem(&answer, 404, "not_found");
    assert_non_null(strstr((char *)answer.body, "\"trace_id\":\"" ID "\""));
    assert_non_null(strstr(world_log(), ",\"trace_id\":\"" ID "\"}"));
    peer_answer_release(&answer);
}

static void what_is_no_trace_is_nowhere(void **state)
{
    static const char *const headers[] = {"", "traceparent: 00-" ID "-" PARENT "\r\n",
                                          "traceparent: 00-" ID "-" PARENT "-01\r\ntraceparent: 00-" ID
                                          "-" PARENT "-01\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct peer_answer answer;
        peer_ask(world.port, "GET", "/nothing", headers[i], NULL, 0, &answer);
        world_assert_problem(&answer, 404, "not_found");
        assert_null(strstr((char *)answer.body, "trace_id"));
        peer_answer_release(&answer);
    }
    assert_null(strstr(world_log(), "trace_id"));
}

static void times_are_written_as_they_are_known(void **state)
{
    const struct api_timings queued = {.queued = true, .queue = 0.25};
    const struct api_timings all = {
        .queued = true, .computed = true, .queue = 0.001, .infer = 2, .encode = 0};
    char out[SRV_TIMINGS_SIZE];
    (void)state;
    srv_timings_render(&(struct api_timings){0}, 0.0015, out);
    assert_string_equal(out, "total;dur=1.500");
    srv_timings_render(&queued, 1, out);
    assert_string_equal(out, "queue;dur=250.000, total;dur=1000.000");
    srv_timings_render(&all, 86400, out);
    assert_string_equal(out, "queue;dur=1.000, infer;dur=2000.000, encode;dur=0.000, total;dur=86400000.000");
    struct peer_answer answer;
    peer_ask(world.port, "GET", "/later?s=0.05", "", NULL, 0, &answer);
    double total = 0;
    assert_int_equal(sscanf(peer_header(&answer, "Server-Timing"), "total;dur=%lf", &total), 1);
    assert_true(total >= 50 && total < 20e3);
    peer_answer_release(&answer);
}

static void the_log_holds_no_secrets(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "POST", "/echo?key=in-the-query",
             "Authorization: Bearer in-authorization\r\nCookie: in=a-cookie\r\nX-Api-Key: in-a-key\r\n"
             "User-Agent: test/1 \"quoted\"\r\nReferer: http://in-referer/\r\n",
             "in-the-body", 11, &answer);
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    const char *log = world_log();
    assert_non_null(strstr(log, "\"user_agent\":\"test/1 \\\"quoted\\\"\""));
    assert_non_null(strstr(log, "\"route\":\"/echo\""));
    static const char *const secrets[] = {"in-the-query", "in-authorization", "a-cookie",
                                          "in-a-key",     "in-referer",       "in-the-body"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        if (strstr(log, secrets[i]) != NULL)
            fail_msg("the log holds %s", secrets[i]);
    }
}

static void a_long_user_agent_is_cut(void **state)
{
    char line[400] = "User-Agent: ", cut[SRV_USER_AGENT_SIZE + 20];
    struct peer_answer answer;
    (void)state;
    memset(line + 12, 'u', 300);
    memcpy(line + 312, "\r\n", 3);
    peer_ask(world.port, "GET", "/hello", line, NULL, 0, &answer);
    peer_answer_release(&answer);
    snprintf(cut, sizeof cut, "\"user_agent\":\"%.*s\"", SRV_USER_AGENT_SIZE - 1, line + 12);
    assert_non_null(strstr(world_log(), cut));
}

static void the_log_holds_the_requests_that_are_wanted(void **state)
{
    static const struct {
        const char *word;
        bool work, probe, error;
    } rows[] = {{"on", true, true, true},
                {"work", true, false, true},
                {"errors", false, false, true},
                {"off", false, false, false}};
    struct srv_http_options options = world_usual;
    (void)state;
    assert_false(srv_access_log_parse("", &options.access_log));
    assert_false(srv_access_log_parse("On", &options.access_log));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(srv_access_log_parse(rows[i].word, &options.access_log));
        world_start(&options);
        assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
        assert_int_equal(peer_status(world.port, "GET", "/livez", "", NULL), 200);
        assert_int_equal(peer_status(world.port, "GET", "/nothing", "", NULL), 404);
        const char *log = world_log();
        assert_int_equal(strstr(log, "\"route\":\"/hello\"") != NULL, rows[i].work);
        assert_int_equal(strstr(log, "\"route\":\"/livez\"") != NULL, rows[i].probe);
        assert_int_equal(strstr(log, "\"status\":404") != NULL, rows[i].error);
        assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"/hello\",code=\"200\"}") ==
                    1);
        world_stop();
    }
}

static void problems_are_counted_and_logged_by_their_code(void **state)
{
    (void)state;
    // there from the start, so that the first one is a rise
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    srv_metrics_render(world.service.metrics, &out);
    assert_int_equal(efm_buffer_append(&out, "", 1), EFM_OK);
    assert_non_null(strstr((char *)out.data, "\nefm_problems_total{code=\"storage_failed\"} 0\n"));
    efm_buffer_release(&out);
    assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
    assert_null(strstr(world_log(), "\"code\":"));
    assert_int_equal(peer_status(world.port, "GET", "/nothing", "", NULL), 404);
    assert_int_equal(peer_status(world.port, "GET", "/overflows", "", NULL), 503);
    assert_non_null(strstr(world_log(), ",\"code\":\"not_found\"}"));
    assert_non_null(strstr(world_log(), ",\"code\":\"insufficient_memory\"}"));
    assert_true(world_metric("efm_problems_total{code=\"not_found\"}") == 1);
    assert_true(world_metric("efm_problems_total{code=\"insufficient_memory\"}") == 1);
}

static void a_request_that_comes_too_slowly_is_a_problem(void **state)
{
    struct srv_http_options options = world_usual;
    (void)state;
    options.body_timeout = 0.2;
    world_start(&options);
    assert_int_equal(peer_status(world.port, "POST", "/echo", "Content-Length: 5\r\n", NULL), 408);
    peer_sleep(0.3);
    assert_true(world_metric("efm_problems_total{code=\"request_timeout\"}") == 1);
    world_stop();
}

static void what_the_server_may_have_is_shown(void **state)
{
    (void)state;
    assert_true(world_metric("efm_http_connections_limit") == world_usual.connection_limit);
    assert_true(world_metric("efm_ready") == 1);
    srv_http_announce_drain(world.http);
    assert_true(world_metric("efm_ready") == 0);
}

int main(void)
{
#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_is_read_strictly),
        SERVED(a_trace_is_in_problems_and_in_the_log),
        SERVED(what_is_no_trace_is_nowhere),
        SERVED(times_are_written_as_they_are_known),
        SERVED(the_log_holds_no_secrets),
        SERVED(a_long_user_agent_is_cut),
        cmocka_unit_test(the_log_holds_the_requests_that_are_wanted),
        SERVED(problems_are_counted_and_logged_by_their_code),
        cmocka_unit_test(a_request_that_comes_too_slowly_is_a_problem),
        SERVED(what_the_server_may_have_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
