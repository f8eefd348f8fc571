// SPDX-License-Identifier: Apache-2.0
// Answers of the HTTP server that need no body, and its life.
#include "tests/unit/server/http_world.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void an_answer_has_its_headers(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "GET", "/hello?x=1", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal((char *)answer.body, "hello");
    assert_string_equal(peer_header(&answer, "Content-Type"), "text/plain");
    assert_string_equal(peer_header(&answer, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(peer_header(&answer, "Cache-Control"), "no-store");
    assert_string_equal(peer_header(&answer, "Vary"), "Accept, Accept-Encoding");
    const char *id = peer_header(&answer, "X-Request-Id");
    assert_int_equal(strlen(id), 4 + 24);
    assert_int_equal(strncmp(id, "req_", 4), 0);
    assert_int_equal(strspn(id + 4, "0123456789abcdef"), 24);
    char line[128];
    snprintf(line, sizeof line, "\"method\":\"GET\",\"route\":\"/hello\",\"status\":200,\"bytes\":5,");
    assert_non_null(strstr(world_log(), line));
    assert_non_null(strstr(world_log(), id));
    peer_answer_release(&answer);
    peer_ask(world.port, "GET", "/headers", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(peer_header(&answer, "Cache-Control"), "max-age=5"); // once, the endpoint's own
    peer_answer_release(&answer);
}

static void answers_are_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        peer_status(world.port, "GET", "/", "", NULL); // by its alias
    peer_status(world.port, "FROBNICATE", "/hello", "", NULL);
    peer_status(world.port, "GET", "/nothing", "", NULL);
    assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"/hello\",code=\"200\"}") == 3);
    assert_true(world_metric("efm_http_requests_total{method=\"other\",route=\"/hello\",code=\"405\"}") == 1);
    assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"none\",code=\"404\"}") == 1);
    assert_true(world_metric("efm_http_request_duration_seconds_count{route=\"/hello\"}") == 4);
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
    assert_int_equal(srv_http_pending(world.http), 0);
    assert_true(world_settles("efm_http_connections", 0));
}

static void a_request_id_is_kept_when_it_is_one(void **state)
{
    struct peer_answer answer;
    char longest[200] = "X-Request-Id: ", expected[129] = "";
    (void)state;
    memset(expected, 'i', 128);
    snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "%s\r\n", expected);
    peer_ask(world.port, "GET", "/nothing", longest, NULL, 0, &answer);
    assert_string_equal(peer_header(&answer, "X-Request-Id"), expected);
    world_assert_problem(&answer, 404, "not_found");
    peer_answer_release(&answer);
    static const char *const bad[] = {"", "two words", "gr\xc3\xbc"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "X-Request-Id: %s\r\n", bad[i]);
        peer_ask(world.port, "GET", "/hello", line, NULL, 0, &answer);
        assert_int_equal(strncmp(peer_header(&answer, "X-Request-Id"), "req_", 4), 0);
        peer_answer_release(&answer);
    }
    longest[strlen(longest) - 2] = 'i'; // 129 of them
    snprintf(longest + strlen(longest) - 1, 3, "\r\n");
    peer_ask(world.port, "GET", "/hello", longest, NULL, 0, &answer);
    assert_int_equal(strncmp(peer_header(&answer, "X-Request-Id"), "req_", 4), 0);
    peer_answer_release(&answer);
}

static void head_is_get_without_a_body(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 200);
    assert_string_equal(peer_header(&answer, "Content-Length"), "5");
    peer_send(peer, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); // the connection is in step
    assert_true(peer_read(peer, &answer));
    assert_string_equal((char *)answer.body, "hello");
    peer_answer_release(&answer);
    close(peer);
    assert_true(world_metric("efm_http_requests_total{method=\"HEAD\",route=\"/hello\",code=\"200\"}") == 1);
}

static void paths_and_methods_are_refused_with_reason(void **state)
{
    struct peer_answer answer;
    (void)state;
    world_assert_asks("GET", "/nothing", NULL, 404, "not_found");
    world_assert_asks("GET", "/hello/", NULL, 404, "not_found");
    world_assert_asks("GET", "/%zz", NULL, 400, "malformed_request");
    world_assert_asks("PUT", "/things/.x", "body", 422, "invalid_name");
    peer_ask(world.port, "POST", "/hello", "", "body", 4, &answer);
    world_assert_problem(&answer, 405, "method_not_allowed");
    assert_string_equal(peer_header(&answer, "Allow"), "GET, HEAD, OPTIONS");
    peer_answer_release(&answer);
    peer_ask(world.port, "OPTIONS", "/things/x", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(peer_header(&answer, "Allow"), "DELETE, PUT, OPTIONS");
    peer_answer_release(&answer);
    assert_int_equal(atomic_load(&world.calls), 0);
}

static void a_request_arrives_as_it_was_sent(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "PUT", "/things/m%2e1?a=%20b&c",
             "Content-Type: image/png\r\nAccept: a/b\r\nX-Test: y\r\n", "\0png", 4, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, 4);
    assert_memory_equal(answer.body, "\0png", 4);
    assert_string_equal(peer_header(&answer, "Content-Type"), "image/png");
    assert_string_equal(peer_header(&answer, "Echo-Name"), "m.1");
    assert_string_equal(peer_header(&answer, "Echo-Query"), "a=%20b&c");
    assert_string_equal(peer_header(&answer, "Echo-Accept"), "a/b");
    assert_string_equal(peer_header(&answer, "Echo-Test"), "y");
    peer_answer_release(&answer);
    peer_ask(world.port, "POST", "/echo", "", "", 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, 0);
    peer_answer_release(&answer);
}

static void faults_of_endpoints_become_problems(void **state)
{
    (void)state;
    world_assert_asks("GET", "/forgets", NULL, 500, "internal");
    world_assert_asks("GET", "/overflows", NULL, 503, "insufficient_memory");
}

static size_t open_files(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void connections_leave_no_descriptors(void **state)
{
    (void)state;
    peer_status(world.port, "GET", "/later?s=0", "", NULL);
    assert_true(world_settles("efm_http_connections", 0));
    const size_t before = open_files();
    for (int i = 0; i < 200; i++)
        peer_status(world.port, "GET", i % 2 == 0 ? "/hello" : "/later?s=0", "", NULL);
    assert_true(world_settles("efm_http_connections", 0));
    assert_int_equal(open_files(), before);
}

static void a_draining_server_finishes_and_refuses(void **state)
{
    struct peer_answer answer;
    int under_way = peer_dial(world.port), idle = peer_dial(world.port);
    (void)state;
    peer_send(under_way, "GET /later?s=0.4 HTTP/1.1\r\nHost: x\r\n\r\n");
    world_wait_for_calls(1);
    assert_false(srv_http_draining(world.http));
    srv_http_announce_drain(world.http);
    assert_true(srv_http_draining(world.http));
    peer_ask(world.port, "GET", "/hello", "", NULL, 0,
             &answer); // still taken, and the last one of its connection
    assert_int_equal(answer.status, 200);
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    peer_answer_release(&answer);
    srv_http_drain(world.http);
    assert_int_equal(srv_http_pending(world.http), 1);
    peer_send(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); // an old connection, a new request
    assert_true(peer_read(idle, &answer));
    world_assert_problem(&answer, 503, "draining");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    assert_non_null(peer_header(&answer, "Retry-After"));
    peer_answer_release(&answer);
    assert_true(peer_is_closed(idle, 2));
    world_assert_asks("POST", "/echo", "body", 503, "draining");
    assert_int_equal(peer_status(world.port, "GET", "/livez", "", NULL), 200);
    assert_true(peer_read(under_way, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    assert_int_equal(srv_http_pending(world.http), 0);
    const double begun = peer_clock();
    srv_http_close_door(world.http, 5);
    assert_true(peer_clock() - begun < 4); // nothing comes
    close(under_way);
    close(idle);
}

static void stopping_cancels_and_answers_what_waits(void **state)
{
    enum { WAITING = 30 };
    int peers[WAITING], upload = peer_dial(world.port), idle = peer_dial(world.port);
    (void)state;
    peer_send(upload, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    for (int i = 0; i < WAITING; i++) {
        peers[i] = peer_dial(world.port);
        peer_send(peers[i], "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    world_wait_for_calls(WAITING);
    const double begun = peer_clock();
    world_stop();
    assert_true(peer_clock() - begun < 4);
    assert_int_equal(atomic_load(&world.cancelled_waits), WAITING);
    for (int i = 0; i < WAITING; i++) {
        struct peer_answer answer;
        assert_true(peer_read(peers[i], &answer));
        assert_int_equal(answer.status, 503);
        peer_answer_release(&answer);
        close(peers[i]);
    }
    assert_true(peer_is_closed(upload, 1));
    assert_true(peer_is_closed(idle, 1));
    close(upload);
    close(idle);
}

static void a_server_that_cannot_listen_says_why(void **state)
{
    struct efm_error error = {0};
    struct srv_http_options options = world_usual;
    struct srv_http *second = NULL;
    struct srv_service other = world.service;
    (void)state;
    options.port = world.port;
    assert_int_equal(srv_http_create(&second, &options, &other, &error), EFM_E_IO);
    assert_null(second);
    assert_null(other.http);
    char expected[64];
    snprintf(expected, sizeof expected, "127.0.0.1 port %u", (unsigned)world.port);
    assert_non_null(strstr(error.message, expected));
    efm_error_clear(&error);
    options.address = "localhost";
    assert_int_equal(srv_http_create(&second, &options, &other, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "localhost"));
    srv_http_destroy(NULL);
}

static void it_listens_on_ipv6(void **state)
{
    struct srv_http_options options = world_usual;
    struct peer_answer answer;
    (void)state;
    world_stop();
    options.address = "::1";
    world_start(&options);
    int peer = peer_dial_ipv6(world.port);
    peer_send(peer, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
}
#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(an_answer_has_its_headers),
        SERVED(answers_are_counted),
        SERVED(a_request_id_is_kept_when_it_is_one),
        SERVED(head_is_get_without_a_body),
        SERVED(paths_and_methods_are_refused_with_reason),
        SERVED(a_request_arrives_as_it_was_sent),
        SERVED(faults_of_endpoints_become_problems),
        SERVED(connections_leave_no_descriptors),
        SERVED(a_draining_server_finishes_and_refuses),
        SERVED(stopping_cancels_and_answers_what_waits),
        SERVED(a_server_that_cannot_listen_says_why),
        SERVED(it_listens_on_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
