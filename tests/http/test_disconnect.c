// SPDX-License-Identifier: Apache-2.0
// A client that hangs up takes its work with it, at once, and nobody else's.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct test_daemon server;
static const char slow_request[] =
    "POST " TEST_SLOW " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

static int start(void **state)
{
    (void)state;
    // a client that closes in the middle of its body may only be noticed by its silence
    test_daemon_start(&server, (const char *const[]){"--idle-timeout", "2", NULL});
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

static bool waits_for_lines(double at_least)
{
    double give_up = test_now() + 20 * test_patience();
    while (test_now() < give_up) {
        if (test_daemon_metric(&server, "efm_lines_in_flight", NULL) >= at_least)
            return true;
        test_sleep(0.005);
    }
    return false;
}

static void hang_up(int connection, bool with_reset)
{
    if (with_reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(connection);
}

static void hanging_up_frees_the_lines(void **state)
{
    (void)state;
    for (int i = 0; i < 4; ++i) {
        double cancelled = test_daemon_metric(&server, "efm_lines_cancelled_total", NULL);
        int connection = test_connect(&server);
        test_write(connection, slow_request, sizeof slow_request - 1);
        assert_true(waits_for_lines(32));
        double begun = test_now();
        hang_up(connection, i % 2 == 1);
        assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 2));
        print_message("lines freed %.0f ms after the client left\n", 1000 * (test_now() - begun));
        assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 2));
        assert_true(test_daemon_metric(&server, "efm_lines_cancelled_total", NULL) >= cancelled + 32);
        assert_true(test_daemon_metric(&server, "efm_late_evaluations_total", NULL) == 0);
    }
    assert_true(test_daemon_metric(&server, "efm_cancelled_total", NULL) >= 4);
    // nobody was told of a problem
    assert_true(test_daemon_metric(&server, "efm_problems_total", NULL) == 0);
}

static void others_do_not_notice(void **state)
{
    struct test_reply alone, beside;
    struct test_request request = {
        .method = "POST", .path = "/v1/generate?model=slow&solver=euler&steps=40&n=2&seed=5&format=npy"};
    int connections[3];
    (void)state;
    test_send(&server, &request, &alone);
    test_expect(&alone, 200, NULL);
    for (int i = 0; i < 3; ++i) {
        connections[i] = test_connect(&server);
        test_write(connections[i], slow_request, sizeof slow_request - 1);
    }
    assert_true(waits_for_lines(64));
    int mine = test_connect(&server);
    static const char text[] =
        "POST /v1/generate?model=slow&solver=euler&steps=40&n=2&seed=5&format=npy HTTP/1.1\r\n"
        "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    test_write(mine, text, sizeof text - 1);
    test_sleep(0.05);
    for (int i = 0; i < 3; ++i)
        hang_up(connections[i], false);
    test_read_reply(mine, &beside, 60);
    assert_int_equal(beside.status, 200);
    assert_int_equal(alone.size, beside.size);
    assert_memory_equal(alone.body, beside.body, alone.size);
    close(mine);
    test_reply_release(&alone);
    test_reply_release(&beside);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 2));
    assert_true(test_daemon_metric(&server, "efm_late_evaluations_total", NULL) == 0);
}

static void hanging_up_while_sending(void **state)
{
    static const char head[] =
        "POST /v1/transfer?model=slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc";
    double open_before = test_daemon_metric(&server, "process_open_fds", NULL);
    (void)state;
    for (int i = 0; i < 20; ++i) {
        int connection = test_connect(&server);
        test_write(connection, head, i % 2 == 0 ? sizeof head - 1 : 30);
        hang_up(connection, i % 4 < 2);
    }
    assert_true(test_daemon_settles(&server, "efm_http_requests_in_flight", 1, 6)); // the one that asks
    double give_up = test_now() + 5 * test_patience(), open_now = 0;
    do {
        open_now = test_daemon_metric(&server, "process_open_fds", NULL);
    } while (open_now > open_before + 1 && test_now() < give_up);
    assert_true(open_now <= open_before + 1);
}

static void a_deadline_frees_the_lines_too(void **state)
{
    struct test_reply reply;
    double begun = test_now();
    (void)state;
    test_send(&server, &(struct test_request){.method = "POST", .path = TEST_SLOW "&timeout=0.2"}, &reply);
    test_check_problem(&reply, 504, "deadline_exceeded");
    assert_true(test_now() - begun < 3 * test_patience());
    test_reply_release(&reply);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 2));
    test_expect_request(
        &server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=plane&seed=1"}, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hanging_up_frees_the_lines),
        cmocka_unit_test(others_do_not_notice),
        cmocka_unit_test(hanging_up_while_sending),
        cmocka_unit_test(a_deadline_frees_the_lines_too),
    };
    return cmocka_run_group_tests_name("http/disconnect", tests, start, stop);
}
