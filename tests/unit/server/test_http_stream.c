// SPDX-License-Identifier: Apache-2.0
// Answers that go on: each piece at once, whoever leaves is noticed, whoever does not read is dropped.
#include "tests/unit/server/http_world.h"

#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The last stream that an endpoint opened, for the test to write to; and whether one was refused. */
static _Atomic(struct srv_stream *) opened;
static atomic_int refused;

static struct srv_stream *open_stream(struct srv_exchange *exchange)
{
    struct api_reply reply;
    api_reply_init(&reply, 0);
    snprintf(reply.content_type, sizeof reply.content_type, "text/event-stream");
    api_reply_header(&reply, "X-Accel-Buffering", "no");
    struct srv_stream *stream = srv_exchange_stream(exchange, &reply);
    if (stream == NULL)
        atomic_fetch_add(&refused, 1);
    return stream;
}

static void run_aside(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) == 0)
        pthread_detach(thread);
    else
        body(argument);
}

static void handle_now(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    atomic_store(&opened, open_stream(exchange));
}

static void *open_later(void *exchange)
{
    peer_sleep(0.02);
    atomic_store(&opened, open_stream(exchange));
    return NULL;
}

static void handle_later(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    srv_exchange_defer(exchange);
    run_aside(open_later, exchange);
}

/* Opens only when the client has left. */
static void *open_too_late(void *exchange)
{
    while (!atomic_load(srv_exchange_cancelled(exchange)))
        peer_sleep(0.001);
    open_stream(exchange);
    return NULL;
}

static void handle_too_late(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    atomic_fetch_add(&world.calls, 1);
    srv_exchange_defer(exchange);
    run_aside(open_too_late, exchange);
}

static void *count_up(void *argument)
{
    struct srv_stream *stream = open_stream(argument);
    if (stream == NULL)
        return NULL;
    char text[32];
    for (int i = 0; i < 40; i++) {
        const int size = snprintf(text, sizeof text, "data: %d\n\n", i);
        if (!srv_stream_write(stream, text, (size_t)size))
            break;
        if (i % 4 == 0)
            peer_sleep(0.0005);
    }
    srv_stream_end(stream);
    return NULL;
}

static void handle_count(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    srv_exchange_defer(exchange);
    run_aside(count_up, exchange);
}

/* All is said before libmicrohttpd has seen the answer. */
static void handle_at_once(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    struct srv_stream *stream = open_stream(exchange);
    srv_stream_write(stream, "all", 3);
    srv_stream_end(stream);
}

static const struct srv_endpoint now = {"GET POST", {"/now"}, handle_now};
static const struct srv_endpoint later = {"GET", {"/later"}, handle_later};
static const struct srv_endpoint too_late = {"GET", {"/too-late"}, handle_too_late};
static const struct srv_endpoint count = {"GET", {"/count"}, handle_count};
static const struct srv_endpoint at_once = {"GET", {"/at-once"}, handle_at_once};
static const struct srv_endpoint *const routes[] = {&now, &later, &too_late, &count, &at_once};

static int start(void **state)
{
    struct srv_http_options options = world_usual;
    (void)state;
    options.routes = routes;
    options.route_count = sizeof routes / sizeof routes[0];
    options.event_threads = 2;
    atomic_store(&opened, NULL);
    atomic_store(&refused, 0);
    world_start(&options);
    return 0;
}

static struct srv_stream *take_opened(void)
{
    struct srv_stream *stream = NULL;
    for (int i = 0; i < 5000 && stream == NULL; i++) {
        stream = atomic_exchange(&opened, NULL);
        if (stream == NULL)
            peer_sleep(0.001);
    }
    assert_non_null(stream);
    return stream;
}

static void expect(int peer, const char *text)
{
    char got[256] = "";
    size_t size = strlen(text), used = 0;
    assert_true(size < sizeof got);
    while (used < size) {
        ssize_t part = recv(peer, got + used, size - used, 0);
        assert_true(part > 0);
        used += (size_t)part;
    }
    assert_string_equal(got, text);
}

static bool gone_within(struct srv_stream *stream, double seconds)
{
    for (const double until = peer_clock() + seconds; peer_clock() < until;) {
        if (srv_stream_gone(stream))
            return true;
        peer_sleep(0.001);
    }
    return srv_stream_gone(stream);
}

static void write_text(struct srv_stream *stream, const char *text)
{
    assert_true(srv_stream_write(stream, text, strlen(text)));
}

static void every_piece_comes_at_once(void **state)
{
    static const char *const paths[] = {"GET /now", "GET /later"};
    (void)state;
    int peer = peer_dial(world.port);
    for (size_t i = 0; i < 2; i++) {
        struct peer_answer answer;
        char head[64];
        double slowest_head = peer_clock(), slowest = 0;
        snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        peer_send(peer, head);
        assert_true(peer_read_head(peer, &answer)); // before there is anything to say
        slowest_head = peer_clock() - slowest_head;
        assert_int_equal(answer.status, 200);
        assert_string_equal(peer_header(&answer, "Content-Type"), "text/event-stream");
        assert_string_equal(peer_header(&answer, "Cache-Control"), "no-store");
        assert_string_equal(peer_header(&answer, "X-Accel-Buffering"), "no");
        assert_string_equal(peer_header(&answer, "Transfer-Encoding"), "chunked");
        struct srv_stream *stream = take_opened();
        for (int piece = 0; piece < 20; piece++) {
            const double from = peer_clock();
            write_text(stream, "data: x\n\n");
            expect(peer, "9\r\ndata: x\n\n\r\n");
            slowest = fmax(slowest, peer_clock() - from);
            assert_int_equal(srv_stream_pending(stream), 0);
            peer_sleep(0.002);
        }
        assert_true(slowest_head < 0.15); // kept back for more it would be 0.2
        assert_true(slowest < 0.15);
        assert_int_equal(srv_http_pending(world.http), 1);
        assert_false(srv_stream_gone(stream));
        srv_stream_end(stream);
        expect(peer, "0\r\n\r\n"); // and the connection goes on
    }
    close(peer);
    assert_true(world_settles("efm_http_requests_in_flight", 0));
    assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"/now\",code=\"200\"}") == 1);
    assert_non_null(strstr(world_log(), "\"route\":\"/now\",\"status\":200,\"bytes\":180,"));
}

static void an_answer_may_be_complete_at_once(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    for (int i = 0; i < 10; i++) {
        peer_send(peer, "GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(peer_read_head(peer, &answer));
        expect(peer, "3\r\nall\r\n0\r\n\r\n");
    }
    close(peer);
}

static void who_leaves_is_noticed_without_a_write(void **state)
{
    double best = INFINITY;
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct peer_answer answer;
        int peer = peer_dial(world.port);
        peer_send(peer, i % 3 == 0 ? "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                                   : "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(peer_read_head(peer, &answer));
        struct srv_stream *stream = take_opened();
        write_text(stream, "hello");
        expect(peer, "5\r\nhello\r\n");
        peer_sleep(0.01);
        assert_false(srv_stream_gone(stream));
        if (i % 2 == 1) { // with a reset in place of an end
            const struct linger reset = {.l_onoff = 1};
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        const double from = peer_clock();
        close(peer);
        assert_true(gone_within(stream, 5));
        best = fmin(best, peer_clock() - from);
        assert_true(world_settles("efm_http_connections", 0)); // though nobody has ended the stream
        assert_int_equal(srv_http_pending(world.http), 1);
        assert_false(srv_stream_write(stream, "x", 1));
        srv_stream_end(stream);
        assert_int_equal(srv_http_pending(world.http), 0);
    }
    assert_true(best < 0.1);
    assert_true(world_settles("efm_http_requests_total{method=\"GET\",route=\"/now\",code=\"499\"}", 4));
    assert_true(world_metric("efm_cancelled_total{reason=\"client_gone\"}") == 6);
}

static void who_leaves_before_it_begins_gets_none(void **state)
{
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "GET /too-late HTTP/1.1\r\nHost: x\r\n\r\n");
    world_wait_for_calls(1);
    close(peer);
    assert_true(world_settles("efm_http_requests_total{method=\"GET\",route=\"/too-late\",code=\"499\"}", 1));
    assert_true(world_settles("efm_http_connections", 0));
    assert_int_equal(atomic_load(&refused), 1);
    assert_int_equal(srv_http_pending(world.http), 0);
}

static void who_does_not_read_is_dropped(void **state)
{
    enum { PIECE = 10000 };
    static char piece[PIECE];
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    struct srv_stream *stream = take_opened();
    size_t written = 0, most = 0;
    while (srv_stream_write(stream, piece, PIECE)) {
        const size_t pending = srv_stream_pending(stream);
        most = pending > most ? pending : most;
        written += PIECE;
        assert_true(written < 64 << 20); // what the kernel keeps is bounded too
    }
    assert_true(most <= 1 << 20);
    assert_true(most > (1 << 20) - 2 * PIECE);
    assert_true(srv_stream_gone(stream));
    assert_true(world_settles("efm_http_connections", 0)); // the client still has not read
    srv_stream_end(stream);
    close(peer);
    assert_true(world_settles("efm_http_requests_total{method=\"GET\",route=\"/now\",code=\"499\"}", 1));
}

static void one_piece_past_the_bound_is_too_much(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    struct srv_stream *stream = take_opened();
    char *piece = calloc((1 << 20) + 1, 1);
    assert_non_null(piece);
    assert_true(srv_stream_write(stream, "", 0));
    assert_false(srv_stream_write(stream, piece, (1 << 20) + 1));
    free(piece);
    assert_true(peer_is_closed(peer, 2));
    srv_stream_end(stream);
    close(peer);
}

struct download {
    size_t size;
    bool wrong;
};

static size_t take(char *data, size_t size, size_t number, void *context)
{
    struct download *download = context;
    for (size_t i = 0; i < size * number; i++)
        download->wrong |= (unsigned char)data[i] != (unsigned char)((download->size + i) * 31 >> 4);
    download->size += size * number;
    return size * number;
}

enum { MUCH = 8 << 20 };

static void *write_much(void *argument)
{
    struct srv_stream *stream = argument;
    static unsigned char piece[70000];
    for (size_t written = 0; written < MUCH;) {
        const size_t size = MUCH - written < sizeof piece ? MUCH - written : sizeof piece;
        for (size_t i = 0; i < size; i++)
            piece[i] = (unsigned char)((written + i) * 31 >> 4);
        while (srv_stream_pending(stream) > 900000 && !srv_stream_gone(stream))
            peer_sleep(0.0005);
        if (!srv_stream_write(stream, piece, size))
            break;
        written += size;
    }
    srv_stream_end(stream);
    return NULL;
}

static void *write_when_opened(void *unused)
{
    (void)unused;
    return write_much(take_opened());
}

static void much_arrives_whole(void **state)
{
    struct download download = {0};
    char url[64];
    (void)state;
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/now", (unsigned)world.port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &download);
    run_aside(write_when_opened, NULL);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_cleanup(curl);
    assert_int_equal(download.size, MUCH);
    assert_false(download.wrong);
}

static void head_has_no_body_to_wait_for(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "HEAD /now HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 200);
    struct srv_stream *stream = take_opened();
    assert_true(gone_within(stream, 5));
    assert_false(srv_stream_write(stream, "x", 1));
    char more;
    assert_int_equal(recv(peer, &more, 1, 0), 0); // no last chunk either
    srv_stream_end(stream);
    close(peer);
    assert_true(world_settles("efm_http_requests_total{method=\"HEAD\",route=\"/now\",code=\"200\"}", 1));
}

static void an_old_client_reads_until_the_end(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "GET /now HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_null(peer_header(&answer, "Transfer-Encoding"));
    struct srv_stream *stream = take_opened();
    for (int i = 0; i < 3; i++) {
        write_text(stream, "hello");
        expect(peer, "hello");
    }
    srv_stream_end(stream);
    assert_true(peer_is_closed(peer, 2));
    close(peer);
}

static double processor_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

static void silence_costs_nothing(void **state)
{
    enum { QUIET = 20 };
    struct srv_stream *streams[QUIET];
    int peers[QUIET];
    (void)state;
    for (int i = 0; i < QUIET; i++) {
        struct peer_answer answer;
        peers[i] = peer_dial(world.port);
        peer_send(peers[i], "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(peer_read_head(peers[i], &answer));
        streams[i] = take_opened();
    }
    const double before = processor_seconds();
    peer_sleep(0.4);
    assert_true(processor_seconds() - before < 0.2); // one that turns in a circle takes 0.4
    for (int i = 0; i < QUIET; i++) {
        write_text(streams[i], "x");
        expect(peers[i], "1\r\nx\r\n");
        srv_stream_end(streams[i]);
        close(peers[i]);
    }
    assert_true(world_settles("efm_http_connections", 0));
}

/* Writes, ends, hang-ups and connections at the same moment, again and again. */
static void writes_race_with_hang_ups(void **state)
{
    enum { AT_ONCE = 8, ROUNDS = 40 };
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        int peers[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            peers[i] = peer_dial(world.port);
            peer_send(peers[i], "GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for (int i = 0; i < AT_ONCE; i++) {
            struct peer_answer answer;
            if (i % 4 == 0)
                assert_true(peer_read_head(peers[i], &answer));
            peer_sleep((round * AT_ONCE + i) % 50 * 1e-5);
            close(peers[i]);
        }
    }
    assert_true(world_settles("efm_http_requests_in_flight", 0));
    assert_true(world_settles("efm_http_connections", 0));
    assert_int_equal(srv_http_pending(world.http), 0);
}

static void all_pieces_come_in_order(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct peer_answer answer;
        char got[4096] = "", plain[4096] = "";
        size_t used = 0, kept = 0;
        int peer = peer_dial(world.port);
        peer_send(peer, "GET /count HTTP/1.0\r\nHost: x\r\n\r\n");
        assert_true(peer_read_head(peer, &answer));
        for (ssize_t part; (part = recv(peer, got + used, sizeof got - 1 - used, 0)) > 0;)
            used += (size_t)part;
        for (int i = 0; i < 40; i++)
            kept += (size_t)snprintf(plain + kept, sizeof plain - kept, "data: %d\n\n", i);
        assert_string_equal(got, plain);
        close(peer);
    }
}

static void *destroy(void *unused)
{
    srv_http_destroy(world.http);
    return unused;
}

static void the_end_of_the_server_ends_streams(void **state)
{
    struct peer_answer answer;
    pthread_t thread;
    (void)state;
    int idle = peer_dial(world.port), other = peer_dial(world.port);
    peer_send(idle, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(idle, &answer));
    struct srv_stream *first = take_opened();
    peer_send(other, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read_head(other, &answer));
    struct srv_stream *second = take_opened();
    write_text(second, "hello");
    assert_int_equal(pthread_create(&thread, NULL, destroy, NULL), 0);
    assert_true(gone_within(first, 5));
    assert_true(gone_within(second, 5));
    assert_false(srv_stream_write(first, "x", 1));
    expect(idle, "0\r\n\r\n"); // a proper end, so that proxies do not complain
    expect(other, "5\r\nhello\r\n0\r\n\r\n");
    peer_sleep(0.02);
    srv_stream_end(first); // which the server waits for
    srv_stream_end(second);
    const double from = peer_clock();
    pthread_join(thread, NULL);
    assert_true(peer_clock() - from < 2);
    assert_true(peer_is_closed(idle, 2));
    close(idle);
    close(other);
    assert_true(world_metric("efm_http_requests_total{method=\"GET\",route=\"/now\",code=\"200\"}") == 1);
    world.http = NULL;
    world_stop();
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, world_stop_usual)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(every_piece_comes_at_once),
        SERVED(an_answer_may_be_complete_at_once),
        SERVED(who_leaves_is_noticed_without_a_write),
        SERVED(who_leaves_before_it_begins_gets_none),
        SERVED(who_does_not_read_is_dropped),
        SERVED(one_piece_past_the_bound_is_too_much),
        SERVED(much_arrives_whole),
        SERVED(head_has_no_body_to_wait_for),
        SERVED(an_old_client_reads_until_the_end),
        SERVED(silence_costs_nothing),
        SERVED(writes_race_with_hang_ups),
        SERVED(all_pieces_come_in_order),
        cmocka_unit_test_setup(the_end_of_the_server_ends_streams, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
