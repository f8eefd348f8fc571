// SPDX-License-Identifier: Apache-2.0
// Bodies that the endpoint takes as they arrive: all of them, refused before and in the middle, broken off,
// slow.
#include "tests/unit/server/http_world.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct received {
    int64_t length; /* as announced */
    size_t size;
    unsigned sum;
    size_t breaks_at;
};

static atomic_int begun, kept, abandoned;
static atomic_size_t bytes_taken;

static void *begin(struct srv_service *service, struct srv_exchange *exchange, int64_t length,
                   struct api_problem *problem)
{
    if (service != &world.service || strcmp(srv_exchange_message(exchange)->method, "PUT") != 0)
        atomic_store(&world.message_was_wrong, true);
    if (strcmp(srv_exchange_header(exchange, "If-None-Match"), "*") == 0) {
        api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL, "%s is there", srv_exchange_name(exchange));
        return NULL;
    }
    if (strcmp(srv_exchange_message(exchange)->query, "forgets") == 0)
        return NULL;
    struct received *made = calloc(1, sizeof *made);
    made->length = length;
    made->breaks_at = strcmp(srv_exchange_message(exchange)->query, "breaks") == 0 ? 5000 : SIZE_MAX;
    atomic_fetch_add(&begun, 1);
    return made;
}

static bool take(void *upload, const void *bytes, size_t size, struct api_problem *problem)
{
    struct received *received = upload;
    for (size_t i = 0; i < size; i++)
        received->sum += ((const unsigned char *)bytes)[i] * (unsigned)(++received->size % 251 + 1);
    atomic_fetch_add(&bytes_taken, size);
    if (received->size >= received->breaks_at)
        return api_problem_set(problem, API_P_QUOTA, NULL, "enough");
    return true;
}

static void abandon(void *upload)
{
    free(upload);
    atomic_fetch_add(&abandoned, 1);
}

static const struct srv_upload_class class = {begin, take, abandon};

static void keep(struct srv_exchange *exchange)
{
    struct api_reply reply;
    struct received *received = srv_exchange_take_upload(exchange);
    api_reply_init(&reply, 1000);
    if (received == NULL || srv_exchange_take_upload(exchange) != NULL ||
        srv_exchange_message(exchange)->body_size != 0 || srv_exchange_message(exchange)->body[0] != '\0')
        atomic_store(&world.message_was_wrong, true);
    else
        efm_buffer_format(&reply.body, "%lld %zu %u", (long long)received->length, received->size,
                          received->sum);
    atomic_fetch_add(&kept, 1);
    free(received);
    api_reply_header(&reply, "Echo-Test", "%s", srv_exchange_header(exchange, "X-Test"));
    srv_exchange_reply(exchange, &reply);
}

static void handle_kept(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    keep(exchange);
}

static void handle_untaken(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)service;
    api_reply_init(&reply, 0);
    reply.status = 204;
    srv_exchange_reply(exchange, &reply);
}

static void *call_again(void *exchange)
{
    peer_sleep(0.02);
    srv_exchange_handle_again(exchange);
    return NULL;
}

/* Waits for something at first, and finds it there when it is called again. */
static void handle_later(struct srv_service *service, struct srv_exchange *exchange)
{
    static _Atomic(struct srv_exchange *) waiting;
    (void)service;
    if (atomic_load(&waiting) == exchange) {
        atomic_store(&waiting, NULL);
        srv_exchange_defer(exchange); // is deferred already: nothing happens
        keep(exchange);
        return;
    }
    pthread_t thread;
    atomic_store(&waiting, exchange);
    srv_exchange_defer(exchange);
    srv_exchange_defer(exchange);
    if (pthread_create(&thread, NULL, call_again, exchange) == 0)
        pthread_detach(thread);
    else
        call_again(exchange);
}

static const struct srv_endpoint in = {"PUT", {"/in/{name}"}, handle_kept, SRV_BODY_STREAM, &class};
static const struct srv_endpoint small = {"PUT", {"/small"}, handle_kept, SMALL_BODY, &class};
static const struct srv_endpoint untaken = {"PUT", {"/untaken"}, handle_untaken, SRV_BODY_STREAM, &class};
static const struct srv_endpoint later = {"PUT", {"/later"}, handle_later, SRV_BODY_STREAM, &class};
static const struct srv_endpoint *const routes[] = {&in, &small, &untaken, &later};

static void start(double body_timeout)
{
    struct srv_http_options options = world_usual;
    options.routes = routes;
    options.route_count = sizeof routes / sizeof routes[0];
    options.max_buffered = 1000; // uploads do not count
    options.body_timeout = body_timeout;
    atomic_store(&begun, 0);
    atomic_store(&kept, 0);
    atomic_store(&abandoned, 0);
    atomic_store(&bytes_taken, 0);
    world_start(&options);
}

static int start_usual(void **state)
{
    (void)state;
    start(20);
    return 0;
}

/* Each upload that began has ended once, one way or the other. */
static int stop(void **state)
{
    int broken = world_stop_usual(state);
    return broken != 0 || atomic_load(&begun) != atomic_load(&kept) + atomic_load(&abandoned) ? -1 : 0;
}

static bool becomes(atomic_int *value, int expected)
{
    for (int i = 0; i < 1000 && atomic_load(value) != expected; i++)
        peer_sleep(0.005);
    return atomic_load(value) == expected;
}

static unsigned sum_of(const unsigned char *bytes, size_t size)
{
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i] * (unsigned)((i + 1) % 251 + 1);
    return sum;
}

static void assert_kept(const struct peer_answer *answer, int64_t length, size_t size, unsigned sum)
{
    char expected[100];
    snprintf(expected, sizeof expected, "%lld %zu %u", (long long)length, size, sum);
    assert_int_equal(answer->status, 200);
    assert_string_equal((char *)answer->body, expected);
}

static void a_body_of_any_size_is_taken(void **state)
{
    static const size_t sizes[] = {0, 1, 1001, 100000, 20 << 20};
    unsigned char *body = malloc(20 << 20);
    (void)state;
    for (size_t i = 0; i < 20 << 20; i++)
        body[i] = (unsigned char)(i * i >> 7);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct peer_answer answer;
        peer_ask(world.port, "PUT", "/in/a", "X-Test: me\r\n", body, sizes[i], &answer);
        assert_kept(&answer, (int64_t)sizes[i], sizes[i], sum_of(body, sizes[i]));
        assert_string_equal(peer_header(&answer, "Echo-Test"), "me");
        peer_answer_release(&answer);
    }
    free(body);
    assert_int_equal(atomic_load(&kept), sizeof sizes / sizeof sizes[0]);
}

static void a_body_in_chunks_is_taken(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_kept(&answer, -1, 8, sum_of((const unsigned char *)"abcdefgh", 8));
    peer_answer_release(&answer);
    // and the connection goes on
    peer_send(peer, "PUT /in/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    assert_true(peer_read(peer, &answer));
    assert_kept(&answer, 1, 1, sum_of((const unsigned char *)"x", 1));
    peer_answer_release(&answer);
    close(peer);
}

static void a_refusal_costs_no_body(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 100000000\r\n"
                    "Expect: 100-continue\r\n\r\n");
    assert_true(peer_read(peer, &answer)); // the first thing that comes is no 100
    world_assert_problem(&answer, 412, "precondition_failed");
    peer_answer_release(&answer);
    close(peer);
    peer = peer_dial(world.port);
    peer_send(peer,
              "PUT /in/a HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 100000000\r\n\r\nabc");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 412, "precondition_failed");
    peer_answer_release(&answer);
    close(peer);
    world_assert_asks("PUT", "/in/a?forgets", "abc", 500, "internal");
    assert_int_equal(atomic_load(&begun), 0);

    peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 100);
    assert_int_equal(atomic_load(&begun), 1);
    peer_send(peer, "abc");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);

    srv_http_drain(world.http);
    world_assert_asks("PUT", "/in/a", "abc", 503, "draining");
    assert_int_equal(atomic_load(&begun), 1);
}

static void an_error_in_the_middle_is_answered_at_once(void **state)
{
    struct peer_answer answer;
    char body[6000];
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a?breaks HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    memset(body, 'b', sizeof body);
    assert_true(peer_send_bytes(peer, body, sizeof body));
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "quota_exceeded");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    peer_answer_release(&answer);
    assert_true(becomes(&abandoned, 1));
    assert_true(peer_is_closed(peer, 2));
    close(peer);
    assert_int_equal(atomic_load(&kept), 0);
    assert_true(
        world_settles("efm_http_requests_total{method=\"PUT\",route=\"/in/{name}\",code=\"413\"}", 1));
}

static void an_endpoint_may_have_a_limit(void **state)
{
    struct peer_answer answer;
    char body[SMALL_BODY + 1], head[200];
    (void)state;
    memset(body, 'b', sizeof body);
    peer_ask(world.port, "PUT", "/small", "", body, SMALL_BODY, &answer);
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    peer_ask(world.port, "PUT", "/small", "", body, SMALL_BODY + 1, &answer);
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    assert_int_equal(atomic_load(&begun), 1);
    int peer = peer_dial(world.port);
    snprintf(head, sizeof head, "PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
             SMALL_BODY + 1);
    peer_send(peer, head);
    peer_send_bytes(peer, body, sizeof body);
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    close(peer);
    assert_true(becomes(&abandoned, 1));
}

static void what_the_client_breaks_off_is_abandoned(void **state)
{
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    assert_true(becomes(&begun, 1));
    assert_int_equal(atomic_load(&abandoned), 0);
    close(peer);
    assert_true(becomes(&abandoned, 1));
    assert_true(
        world_settles("efm_http_requests_total{method=\"PUT\",route=\"/in/{name}\",code=\"499\"}", 1));
}

static void what_nobody_takes_is_abandoned(void **state)
{
    (void)state;
    assert_int_equal(peer_status(world.port, "PUT", "/untaken", "", "abc"), 204);
    assert_true(becomes(&abandoned, 1));
}

static void a_handler_that_is_called_again_finds_the_upload(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct peer_answer answer;
        peer_ask(world.port, "PUT", "/later", "X-Test: again\r\n", "abc", 3, &answer);
        assert_kept(&answer, 3, 3, sum_of((const unsigned char *)"abc", 3));
        assert_string_equal(peer_header(&answer, "Echo-Test"), "again");
        peer_answer_release(&answer);
    }
}

/* 0.4 seconds are allowed, or as long as 400 bytes come in them. */
static void an_upload_may_take_long_but_not_stand_still(void **state)
{
    struct peer_answer answer;
    char piece[200];
    (void)state;
    start(0.4);
    memset(piece, 'b', sizeof piece);
    int steady = peer_dial(world.port), dripping = peer_dial(world.port);
    peer_send(steady, "PUT /in/a HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n");
    peer_send(dripping, "PUT /in/b HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n");
    const double from = peer_clock();
    for (int i = 0; i < 30; i++) {
        assert_true(peer_send_bytes(steady, piece, sizeof piece));
        peer_send_bytes(dripping, piece, 1);
        peer_sleep(0.04);
    }
    assert_true(peer_clock() - from > 1);
    assert_true(peer_read(steady, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    assert_true(peer_read(dripping, &answer));
    world_assert_problem(&answer, 408, "request_timeout");
    peer_answer_release(&answer);
    assert_true(becomes(&abandoned, 1));
    close(steady);
    close(dripping);
    // standing still after a good beginning
    steady = peer_dial(world.port);
    peer_send(steady, "PUT /in/a HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n");
    for (int i = 0; i < 10; i++)
        assert_true(peer_send_bytes(steady, piece, sizeof piece));
    assert_true(peer_read(steady, &answer));
    assert_int_equal(answer.status, 408);
    peer_answer_release(&answer);
    close(steady);
    assert_true(becomes(&abandoned, 2));
}

static void the_end_of_the_server_abandons(void **state)
{
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /in/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    assert_true(becomes(&begun, 1));
    world_stop();
    assert_int_equal(atomic_load(&abandoned), 1);
    close(peer);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start_usual, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(a_body_of_any_size_is_taken),
        SERVED(a_body_in_chunks_is_taken),
        SERVED(a_refusal_costs_no_body),
        SERVED(an_error_in_the_middle_is_answered_at_once),
        SERVED(an_endpoint_may_have_a_limit),
        SERVED(what_the_client_breaks_off_is_abandoned),
        SERVED(what_nobody_takes_is_abandoned),
        SERVED(a_handler_that_is_called_again_finds_the_upload),
        cmocka_unit_test_teardown(an_upload_may_take_long_but_not_stand_still, stop),
        SERVED(the_end_of_the_server_abandons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
