// SPDX-License-Identifier: Apache-2.0
// What answers say of the queue: Retry-After, RateLimit-Policy and RateLimit.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct test_daemon server;

enum { PLACES = 3, LINES = 16, STEPS = 600 };

static const char POLICY[] = "\"queue\";q=3;qu=\"concurrent-requests\"";
#define SLOW "/v1/generate?model=slow&solver=euler&steps=600&n=16&seed=1"

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--queue", "3", NULL});
    test_world_slow(&server);
    test_world_plane(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static int begin_slow(void)
{
    static const char text[] = "POST " SLOW " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    int connection = test_connect(&server);
    test_write(connection, text, sizeof text - 1);
    return connection;
}

static void expect_limits(const struct test_reply *reply, int left, long *seconds)
{
    char value[128], start_of[32];
    assert_string_equal(test_reply_header(reply, "RateLimit-Policy", value, sizeof value), POLICY);
    test_reply_header(reply, "RateLimit", value, sizeof value);
    snprintf(start_of, sizeof start_of, "\"queue\";r=%d;t=", left);
    if (strncmp(value, start_of, strlen(start_of)) != 0)
        fail_msg("RateLimit is %s, not %s", value, start_of);
    char *end;
    *seconds = strtol(value + strlen(start_of), &end, 10);
    assert_int_equal(*end, '\0');
}

/* Of everything that is computed, on an idle daemon: all places are free, for the request itself has left. */
static void every_answer_tells_the_limits(void **state)
{
    static const char infer[] = "{\"parameters\":{\"operation\":\"generate\"}}",
                      trace[] = "{\"starts\":[[0.1,0.2]]}", field[] = "{\"points\":[[0.1,0.2,1]]}";
    const struct test_request requests[] = {
        {.method = "POST", .path = "/v1/generate?model=plane"},
        {.method = "POST", .path = "/v1/transfer?model=plane", .body = "{\"vector\":[1,2]}", .size = 16},
        {.path = "/v2/models/plane/infer", .body = infer, .size = sizeof infer - 1},
        {.path = "/v1/models/plane/trace", .body = trace, .size = sizeof trace - 1},
        {.path = "/v1/models/plane/field", .body = field, .size = sizeof field - 1},
    };
    struct test_reply reply;
    char value[128];
    long seconds;
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; ++i) {
        test_send(&server, &requests[i], &reply);
        test_expect(&reply, 200, NULL);
        expect_limits(&reply, PLACES, &seconds);
        assert_int_equal(seconds, 0);
        test_reply_release(&reply);
    }
    // nothing is promised where nothing was admitted
    test_send(&server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=nobody"}, &reply);
    test_expect(&reply, 404, NULL);
    assert_string_equal(test_reply_header(&reply, "RateLimit", value, sizeof value), "");
    test_reply_release(&reply);
}

/* A form of `size` bytes without an end. */
static void send_endless_form(size_t size, struct test_reply *reply)
{
    static const char start[] = "--XX\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n";
    struct efm_buffer body = efm_buffer_limited(TEST_FILE_LIMIT);
    efm_buffer_append_string(&body, start);
    while (body.status == EFM_OK && body.size < size)
        efm_buffer_append_string(&body, "\r\n--XY and so on");
    assert_int_equal(body.status, EFM_OK);
    test_send(&server,
              &(struct test_request){.path = "/v1/transfer",
                                     .type = "multipart/form-data; boundary=XX",
                                     .body = body.data,
                                     .size = body.size},
              reply);
    efm_buffer_release(&body);
}

/* Which a full queue shows: what an event thread reads is found wanting at once, what a helper reads has to wait for a place. */
static void long_forms_are_read_by_helpers(void **state)
{
    int slow[PLACES];
    struct test_reply reply;
    (void)state;
    send_endless_form(400 << 10, &reply);
    test_check_problem(&reply, 400, "malformed_multipart");
    test_reply_release(&reply);
    for (int i = 0; i < PLACES; ++i)
        slow[i] = begin_slow();
    assert_true(test_daemon_settles(&server, "efm_queue_requests", PLACES, 5));
    send_endless_form(1 << 10, &reply);
    test_check_problem(&reply, 400, "malformed_multipart");
    test_reply_release(&reply);
    send_endless_form(400 << 10, &reply);
    test_check_problem(&reply, 429, "queue_full");
    test_reply_release(&reply);
    for (int i = 0; i < PLACES; ++i)
        close(slow[i]);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
}

static double evaluations(void)
{
    return test_daemon_metric(&server, "efm_function_evaluations_total", "model=\"slow\"");
}

/* The time that a full queue will take, told by the daemon, beside the time that it takes by its own counters. */
static void retry_after_is_what_is_left(void **state)
{
    int slow[PLACES];
    struct test_reply reply;
    char value[128];
    long seconds;
    (void)state;
    const double before = evaluations() > 0 ? evaluations() : 0;
    for (int i = 0; i < PLACES; ++i)
        slow[i] = begin_slow();
    const double give_up = test_now() + 20 * test_patience();
    while (evaluations() < before + 200 && test_now() < give_up)
        test_sleep(0.01);
    const double from = evaluations(), begun = test_now();
    test_sleep(1);
    const double to = evaluations(), speed = (to - from) / (test_now() - begun);
    const double left = (double)PLACES * LINES * STEPS - (to - before);
    test_send(&server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=plane"}, &reply);
    test_check_problem(&reply, 429, "queue_full");
    const long wait = strtol(test_reply_header(&reply, "Retry-After", value, sizeof value), NULL, 10);
    expect_limits(&reply, 0, &seconds);
    assert_int_equal(seconds, wait);
    test_reply_release(&reply);
    print_message("Retry-After %ld with %.0f evaluations to do at %.0f a second\n", wait, left, speed);
    const double wanted = left / speed < 60 ? left / speed : 60;
    assert_true(wait >= 1 && wait <= 60);
    assert_true((double)wait > 0.5 * wanted - 1 && (double)wait < 2 * wanted + 1);
    for (int i = 0; i < PLACES; ++i)
        close(slow[i]);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
}

/* What was chosen stands in the log and in the index, and is the same. */
static void the_threads_are_told(void **state)
{
    char line[1024] = "";
    struct test_reply reply;
    long long cores = 0, workers = 0, threads = 0, shown_cores = 0, shown_workers = 0, shown_threads = 0;
    (void)state;
    FILE *log = fopen(server.log, "re");
    assert_non_null(log);
    while (strstr(line, "\"listening\"") == NULL)
        assert_non_null(fgets(line, sizeof line, log));
    fclose(log);
    json_t *event = json_loads(line, 0, NULL);
    assert_int_equal(
        json_unpack(event, "{s:I,s:I,s:I}", "cores", &cores, "workers", &workers, "threads", &threads), 0);
    json_decref(event);
    assert_true(cores >= 1 && workers * threads <= cores);
    test_send(&server, &(struct test_request){.path = "/", .accept = "application/json"}, &reply);
    test_expect(&reply, 200, NULL);
    json_t *index = test_reply_json(&reply);
    assert_int_equal(json_unpack(index, "{s:{s:I,s:I,s:I}}", "build", "cores", &shown_cores, "workers",
                                 &shown_workers, "threads", &shown_threads),
                     0);
    json_decref(index);
    test_reply_release(&reply);
    assert_true(cores == shown_cores && workers == shown_workers && threads == shown_threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_tells_the_limits),
        cmocka_unit_test(long_forms_are_read_by_helpers),
        cmocka_unit_test(retry_after_is_what_is_left),
        cmocka_unit_test(the_threads_are_told),
    };
    return cmocka_run_group_tests_name("http/queue", tests, start, stop);
}
