// SPDX-License-Identifier: Apache-2.0
// Answers that another thread gives later, and clients that do not wait for them.
#include "tests/unit/server/http_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void another_thread_may_answer(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    for (int i = 0; i < 3; i++) { // on one connection, also right after each other
        peer_send(peer, i == 1 ? "GET /later?s=0.05 HTTP/1.1\r\nHost: x\r\n\r\n"
                               : "GET /later?s=0 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(peer_read(peer, &answer));
        assert_int_equal(answer.status, 200);
        assert_int_equal(strncmp((char *)answer.body, "late s=0", 8), 0);
        peer_answer_release(&answer);
    }
    close(peer);
    for (int i = 0; i < 50; i++)
        assert_int_equal(peer_status(world.port, "GET", "/both", "", NULL), 200);
}

static void a_client_that_hangs_up_is_noticed(void **state)
{
    double best = INFINITY;
    (void)state;
    for (int i = 0; i < 5; i++) {
        int peer = peer_dial(world.port);
        peer_send(peer, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
        world_wait_for_calls(i + 1);
        peer_sleep(0.02);
        assert_int_equal(atomic_load(&world.cancelled_waits), i);
        const double hung_up = peer_clock();
        if (i % 2 == 1) { // with a reset in place of an end
            const struct linger at_once = {.l_onoff = 1};
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        close(peer);
        for (int wait = 0; wait < 2000 && atomic_load(&world.cancelled_waits) == i; wait++)
            peer_sleep(0.002);
        assert_int_equal(atomic_load(&world.cancelled_waits), i + 1);
        best = fmin(best, atomic_load(&world.seen_cancelled) - hung_up);
    }
    assert_true(best < 0.1);
    assert_true(world_settles("efm_cancelled_total{reason=\"client_gone\"}", 5));
    assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"/wait\",code=\"499\"}") == 5);
    assert_non_null(strstr(world_log(), "\"route\":\"/wait\",\"status\":499,\"bytes\":0"));
    assert_true(world_settles("efm_http_connections", 0));
}

static void a_pipelining_client_is_not_gone(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer,
              "GET /later?s=0.2 HTTP/1.1\r\nHost: x\r\n\r\nGET /later?s=0.01 HTTP/1.1\r\nHost: x\r\n\r\n"
              "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    peer_sleep(0.05);
    peer_send(peer, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); // more, while the first one is worked on
    static const char *const expected[] = {"late s=0.2", "late s=0.01", "hello", "hello"};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(peer_read(peer, &answer));
        assert_int_equal(answer.status, 200);
        assert_string_equal((char *)answer.body, expected[i]);
        peer_answer_release(&answer);
    }
    close(peer);
    assert_true(world_metric("efm_cancelled_total{reason=\"client_gone\"}") == 0);
}

static void run_many(unsigned event_threads)
{
    enum { MANY = 150 };
    struct srv_http_options options = world_usual;
    int peers[MANY];
    world_stop();
    options.event_threads = event_threads;
    world_start(&options);
    for (int i = 0; i < MANY; i++) {
        char head[128];
        peers[i] = peer_dial(world.port);
        snprintf(head, sizeof head, "GET /later?s=0.%03d1&i=%d HTTP/1.1\r\nHost: x\r\n\r\n", i * 37 % 200, i);
        peer_send(peers[i], head);
    }
    for (int i = 0; i < MANY; i++) {
        struct peer_answer answer;
        char expected[64];
        snprintf(expected, sizeof expected, "late s=0.%03d1&i=%d", i * 37 % 200, i);
        assert_true(peer_read(peers[i], &answer));
        assert_string_equal((char *)answer.body, expected);
        peer_answer_release(&answer);
        close(peers[i]);
    }
    assert_int_equal(srv_http_pending(world.http), 0);
    assert_true(world_settles("efm_http_connections", 0));
}

static void many_can_wait_at_once(void **state)
{
    (void)state;
    run_many(1);
}

static void many_can_wait_on_several_event_threads(void **state)
{
    (void)state;
    run_many(3);
}

/* Answers and hang-ups at the same moment, again and again. */
static void answers_race_with_hang_ups(void **state)
{
    (void)state;
    for (int i = 0; i < 150; i++) {
        char head[96];
        int peer = peer_dial(world.port);
        snprintf(head, sizeof head, "GET /later?s=0.%04d HTTP/1.1\r\nHost: x\r\n\r\n", i % 50);
        peer_send(peer, head);
        peer_sleep((i % 50) * 1e-4);
        close(peer);
    }
    assert_true(world_settles("efm_http_requests_in_flight", 0));
    assert_true(world_settles("efm_http_connections", 0));
    assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
}
#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(another_thread_may_answer),
        SERVED(a_client_that_hangs_up_is_noticed),
        SERVED(a_pipelining_client_is_not_gone),
        SERVED(many_can_wait_at_once),
        SERVED(many_can_wait_on_several_event_threads),
        SERVED(answers_race_with_hang_ups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
