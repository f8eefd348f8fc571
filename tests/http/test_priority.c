// SPDX-License-Identifier: Apache-2.0
// priority=low waits while others run and yet gets on; timeout= ends what waits as well as what runs.
#include "tests/support/check.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct test_daemon server;

#define LONG "/v1/generate?model=slow&solver=euler&steps=30&n=8&format=npy&seed="

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--workers", "1", "--threads", "1", "--batch", "8",
                                                     "--max-timeout", "50", NULL});
    test_world_slow(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

/* Sends a POST on a connection of its own. */
static int begin(const char *path, const char *body)
{
    char request[600];
    const int length = snprintf(request, sizeof request,
                                "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                "Content-Length: %zu\r\n\r\n%s",
                                path, strlen(body), body);
    int connection = test_connect(&server);
    test_write(connection, request, (size_t)length);
    return connection;
}

static void expect_end(int connection, struct test_reply *reply)
{
    test_read_reply(connection, reply, 50 * test_patience());
    close(connection);
}

static double evaluations(void)
{
    return test_daemon_metric(&server, "efm_function_evaluations_total", "model=\"slow\"");
}

static void wait_for_evaluations(double wanted)
{
    const double give_up = test_now() + 20 * test_patience();
    while (evaluations() < wanted && test_now() < give_up)
        test_sleep(0.002);
    assert_true(evaluations() >= wanted);
}

static void wait_for_lines(double wanted)
{
    const double give_up = test_now() + 20 * test_patience();
    while (test_daemon_metric(&server, "efm_lines_in_flight", NULL) < wanted && test_now() < give_up)
        test_sleep(0.002);
    assert_true(test_daemon_metric(&server, "efm_lines_in_flight", NULL) >= wanted);
}

/* Begins the low one; when the normal one that came later has all of its evaluations, the low one has had few. */
static void expect_behind(const char *path, const char *body)
{
    struct test_reply reply;
    const double before = evaluations();
    int low = begin(path, body);
    wait_for_evaluations(before + 80);
    const double between = evaluations();
    int plain = begin(LONG "1", "");
    expect_end(plain, &reply);
    const double spent = evaluations() - between;
    test_expect(&reply, 200, NULL);
    const double own = 8 * 30; // at least: Euler takes one a step
    test_reply_release(&reply);
    print_message("%.0f evaluations while %.0f were asked for\n", spent, own);
    assert_true(spent >= own);
    assert_true(spent < 1.4 * own); // taking turns it would be twice as many
    expect_end(low, &reply);
    test_expect(&reply, 200, NULL);
    test_reply_release(&reply);
}

static void low_comes_behind(void **state)
{
    (void)state;
    expect_behind(LONG "2&priority=low", "");
}

static void low_comes_behind_in_the_inference_protocol(void **state)
{
    (void)state;
    expect_behind("/v2/models/slow/infer",
                  "{\"parameters\":{\"operation\":\"generate\",\"solver\":\"euler\",\"steps\":30,\"n\":8,"
                  "\"priority\":2}}");
}

static void low_comes_behind_as_a_job(void **state)
{
    struct test_request request = {
        .method = "POST", .path = LONG "3&priority=low", .header = "Prefer: respond-async"};
    struct test_reply reply;
    char path[128], id[64];
    (void)state;
    const double before = evaluations();
    test_send(&server, &request, &reply);
    test_expect(&reply, 202, NULL);
    json_t *job = test_reply_json(&reply);
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(job, "id")));
    json_decref(job);
    test_reply_release(&reply);
    wait_for_evaluations(before + 80);
    const double between = evaluations();
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = LONG "4"}, 200);
    assert_true(evaluations() - between < 1.4 * 8 * 30);
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    test_send(&server, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, NULL);
    job = test_reply_json(&reply);
    assert_string_equal(json_string_value(json_object_get(job, "status")), "running");
    json_decref(job);
    test_reply_release(&reply);
    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", id);
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = path}, 202);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
}

static bool has_answer(int connection)
{
    struct pollfd poll_for = {.fd = connection, .events = POLLIN};
    return poll(&poll_for, 1, 0) == 1;
}

/* However many come before it: two at a time, without a pause. */
static void low_gets_on(void **state)
{
    enum { MOST = 60 };
    struct test_reply reply;
    size_t others = 0;
    (void)state;
    int normal[2] = {begin(LONG "5", ""), begin(LONG "6", "")};
    wait_for_lines(16);
    int low = begin("/v1/generate?model=slow&solver=euler&steps=5&n=4&seed=1&priority=low", "");
    while (!has_answer(low) && others < MOST) {
        expect_end(normal[others % 2], &reply);
        test_expect(&reply, 200, NULL);
        test_reply_release(&reply);
        normal[others % 2] = begin(LONG "7", "");
        ++others;
    }
    print_message("answered while %zu others were\n", others);
    assert_true(others < MOST);
    expect_end(low, &reply);
    test_expect(&reply, 200, NULL);
    test_reply_release(&reply);
    for (size_t i = 0; i < 2; ++i)
        close(normal[i]);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
}

static void what_waits_ends_at_its_timeout(void **state)
{
    struct test_reply reply;
    (void)state;
    const double before = evaluations();
    int busy = begin(TEST_SLOW, "");
    wait_for_evaluations(before + 32 * 20);
    const double begun = test_now();
    int waiting = begin(LONG "8&priority=low&timeout=0.2", "");
    expect_end(waiting, &reply);
    const double took = test_now() - begun;
    test_check_problem(&reply, 504, "deadline_exceeded");
    test_reply_release(&reply);
    assert_true(took >= 0.2 && took < 0.2 + 1 * test_patience());
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 32, 2)); // the other one goes on
    assert_true(test_daemon_metric(&server, "efm_late_evaluations_total", NULL) == 0);
    close(busy);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
}

/* --max-timeout bounds what a client may ask for, wherever that is said. */
static void no_timeout_past_the_bound(void **state)
{
    static const char *const good[] = {"/v1/generate?model=plane&n=1&steps=1&timeout=50",
                                       "/v1/generate?model=plane&n=1&steps=1"};
    static const struct {
        const char *path, *body;
    } bad[] = {{"/v1/generate?model=plane&n=1&steps=1&timeout=50.5", ""},
               {"/v1/generate", "{\"model\":\"plane\",\"n\":1,\"steps\":1,\"timeout\":86400}"},
               {"/v1/models/plane/trace?timeout=51", "{\"starts\":[[0.1,0.2]]}"},
               {"/v2/models/plane/infer",
                "{\"parameters\":{\"operation\":\"generate\",\"timeout\":50500000},\"inputs\":[]}"}};
    (void)state;
    test_world_plane(&server);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        test_expect_request(&server, &(struct test_request){.method = "POST", .path = good[i]}, 200);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        test_expect_problem(&server,
                            &(struct test_request){.method = "POST",
                                                   .path = bad[i].path,
                                                   .body = bad[i].body,
                                                   .size = strlen(bad[i].body),
                                                   .type = "application/json"},
                            422, "invalid_parameter");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_comes_behind),
        cmocka_unit_test(low_comes_behind_in_the_inference_protocol),
        cmocka_unit_test(low_comes_behind_as_a_job),
        cmocka_unit_test(low_gets_on),
        cmocka_unit_test(no_timeout_past_the_bound),
        cmocka_unit_test(what_waits_ends_at_its_timeout),
    };
    return cmocka_run_group_tests_name("http/priority", tests, start, stop);
}
