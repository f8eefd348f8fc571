// SPDX-License-Identifier: Apache-2.0
// Bodies on their way in: whole, in chunks, too large, too slow, broken off.
#include "tests/unit/server/http_world.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct upload {
    size_t left;
    unsigned char next;
};

static size_t give(char *out, size_t size, size_t count, void *context)
{
    struct upload *upload = context;
    size_t given = size * count < 1000 ? size * count : 1000; // small chunks
    if (given > upload->left)
        given = upload->left;
    for (size_t i = 0; i < given; i++)
        out[i] = (char)upload->next++;
    upload->left -= given;
    return given;
}

struct download {
    size_t size;
    bool wrong;
};

static size_t take(char *data, size_t size, size_t count, void *context)
{
    struct download *download = context;
    for (size_t i = 0; i < size * count; i++)
        download->wrong |= (unsigned char)data[i] != (unsigned char)(download->size + i);
    download->size += size * count;
    return size * count;
}

/* Uploads `size` bytes in chunks by libcurl; the status, or -1 when there was none. */
static long put_in_chunks(const char *path, size_t size, struct download *download)
{
    char url[128];
    long status = -1;
    struct upload upload = {.left = size};
    *download = (struct download){0};
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)world.port, path);
    struct curl_slist *list = curl_slist_append(NULL, "Transfer-Encoding: chunked");
    list = curl_slist_append(list, "Expect:");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(curl, CURLOPT_READDATA, &upload);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, download);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(list);
    curl_easy_cleanup(curl);
    return status;
}

static void bodies_in_chunks_are_put_together(void **state)
{
    static const size_t sizes[] = {0, 1, 999, 1001, 16384, 16385, 300000, MAX_BODY};
    struct download download;
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(put_in_chunks("/echo", sizes[i], &download), 200);
        assert_int_equal(download.size, sizes[i]);
        assert_false(download.wrong);
    }
}

static void a_body_in_chunks_past_the_limit_is_413(void **state)
{
    struct download download;
    (void)state;
    assert_int_equal(put_in_chunks("/echo", MAX_BODY + 1, &download), 413);
    assert_int_equal(put_in_chunks("/echo", 20 * MAX_BODY, &download), 413);
    assert_int_equal(atomic_load(&world.calls), 0);
    assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
}

/* By hand: the answer comes in the middle of the body and is a whole one, then the connection ends. */
static void the_answer_to_endless_chunks_is_whole(void **state)
{
    struct peer_answer answer;
    char chunk[1040];
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer, "POST /small HTTP/1.1\r\nHost: x\r\nX-Request-Id: endless\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n");
    snprintf(chunk, sizeof chunk, "400\r\n%01024d\r\n", 0);
    for (int i = 0; i < 20; i++)
        assert_true(peer_send_bytes(peer, chunk, strlen(chunk)));
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    assert_string_equal(peer_header(&answer, "X-Request-Id"), "endless");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    assert_non_null(peer_header(&answer, "Date"));
    peer_answer_release(&answer);
    assert_true(peer_is_closed(peer, 1));
    close(peer);
    assert_int_equal(atomic_load(&world.calls), 0);
    assert_true(world_metric("efm_http_requests_total{method=\"POST\",route=\"/small\",code=\"413\"}") == 1);
}

static void who_expects_100_is_refused_before_the_body(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer,
              "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    assert_true(peer_read(peer, &answer)); // the first thing that comes is no 100
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    assert_true(peer_is_closed(peer, 2));
    close(peer);

    peer = peer_dial(world.port);
    peer_send(peer, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 100);
    peer_send(peer, "abc");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    assert_string_equal((char *)answer.body, "abc");
    peer_answer_release(&answer);
    close(peer);
}

static void a_short_refused_body_leaves_the_connection_open(void **state)
{
    struct peer_answer answer;
    char body[1501];
    int peer = peer_dial(world.port);
    (void)state;
    snprintf(body, sizeof body, "%01500d", 0);
    peer_send(peer, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n");
    peer_send(peer, body);
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    peer_send(peer, "DELETE /things/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    peer_send(peer, "DELETE /things/x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
}

static void every_endpoint_has_its_own_limit(void **state)
{
    static const struct {
        const char *path;
        size_t limit;
    } cases[] = {{"/small", SMALL_BODY}, {"/image", 2 * SMALL_BODY}, {"/echo", MAX_BODY}};
    static char body[MAX_BODY + 1];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer_answer answer;
        peer_ask(world.port, "POST", cases[i].path, "", body, cases[i].limit, &answer);
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.size, cases[i].limit);
        peer_answer_release(&answer);
        peer_ask(world.port, "POST", cases[i].path, "", body, cases[i].limit + 1, &answer);
        world_assert_problem(&answer, 413, "body_too_large");
        peer_answer_release(&answer);
    }
}

static void a_long_refused_body_is_answered_at_once(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    close(peer);
}

static void a_length_given_twice_is_refused(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nbody");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 400, "malformed_request");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    peer_answer_release(&answer);
    close(peer);
    peer = peer_dial(world.port);
    peer_send(peer,
              "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
              "4\r\nbody\r\n0\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 400, "malformed_request");
    peer_answer_release(&answer);
    close(peer);
    assert_int_equal(atomic_load(&world.calls), 0);
}

static void bodies_share_a_budget(void **state)
{
    struct srv_http_options options = world_usual;
    struct peer_answer answer;
    static char body[600 * 1024];
    (void)state;
    world_stop();
    options.max_buffered = 1000 * 1024;
    world_start(&options);
    memset(body, 'b', sizeof body);
    int peer = peer_dial(world.port);
    peer_send(peer, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 614400\r\n\r\n");
    assert_true(peer_send_bytes(peer, body, sizeof body - 1));
    // Another of the size is refused once the first one has really come: before that it would be the other way round.
    const double until = peer_clock() + 20;
    while (srv_http_body_bytes(world.http) < sizeof body - 1 && peer_clock() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    peer_ask(world.port, "PUT", "/echo", "", body, sizeof body, &answer);
    world_assert_problem(&answer, 429, "queue_full");
    assert_string_equal(peer_header(&answer, "Retry-After"), "1");
    peer_answer_release(&answer);
    assert_int_equal(peer_status(world.port, "PUT", "/echo", "", "small"), 200);
    assert_true(world_metric("efm_rejected_total{reason=\"body_budget\"}") >= 1);
    peer_send(peer, "b");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
    peer_ask(world.port, "PUT", "/echo", "", body, sizeof body, &answer); // given back
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
}

static void slow_requests_end(void **state)
{
    struct srv_http_options options = world_usual;
    struct peer_answer answer;
    (void)state;
    world_stop();
    options.body_timeout = 0.4;
    options.idle_timeout = 1;
    world_start(&options);
    const double begun = peer_clock();
    int body = peer_dial(world.port), header = peer_dial(world.port), quiet = peer_dial(world.port);
    peer_send(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    peer_send(header, "POST /echo HTTP/1.1\r\nHost: x\r\n");
    // A byte now and then keeps the idle timeout away, not ours.
    for (int i = 0; i < 8; i++) {
        peer_send_bytes(body, "b", 1);
        peer_send_bytes(header, "X", 1);
        peer_sleep(0.05);
    }
    assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
    assert_true(peer_read(body, &answer));
    world_assert_problem(&answer, 408, "request_timeout");
    peer_answer_release(&answer);
    assert_true(peer_clock() - begun >= 0.4);
    assert_true(peer_is_closed(body, 2));
    assert_true(peer_is_closed(header, 2));
    assert_true(peer_is_closed(quiet, 5));
    close(body);
    close(header);
    close(quiet);
    assert_true(world_settles("efm_http_requests_total{method=\"POST\",route=\"/echo\",code=\"408\"}", 1));
    assert_int_equal(srv_http_pending(world.http), 0);
    // Work is not arrival: it may take as long as it wants.
    assert_int_equal(peer_status(world.port, "GET", "/later?s=1.5", "", NULL), 200);
}

static void a_broken_off_upload_is_counted(void **state)
{
    (void)state;
    int peer = peer_dial(world.port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    for (int i = 0; i < 1000 && srv_http_pending(world.http) == 0; i++)
        peer_sleep(0.002);
    assert_int_equal(srv_http_pending(world.http), 1);
    close(peer);
    assert_true(world_settles("efm_http_requests_total{method=\"POST\",route=\"/echo\",code=\"499\"}", 1));
    assert_true(world_metric("efm_cancelled_total{reason=\"client_gone\"}") == 1);
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
    assert_int_equal(atomic_load(&world.calls), 0);
}

static void nonsense_does_no_harm(void **state)
{
    static const char *const nonsense[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /hello HTTP/9.9\r\n\r\n",
        "GET /hello HTTP/1.1\r\n\r\n", // no Host
        "GET /hello HTTP/1.1\r\nHost: x\r\n broken\r\n:\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    };
    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        int peer = peer_dial(world.port);
        peer_send_bytes(peer, nonsense[i], strlen(nonsense[i]));
        shutdown(peer, SHUT_WR);
        assert_true(peer_is_closed(peer, 5));
        close(peer);
    }
    assert_int_equal(atomic_load(&world.calls), 0);
    assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
    assert_int_equal(srv_http_pending(world.http), 0);
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
}

/* The end of the client's data comes together with a request, whole or not. */
static void half_closed_connections_do_not_linger(void **state)
{
    static const char *const requests[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\n",
    };
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        struct peer_answer answer;
        int peer = peer_dial(world.port);
        peer_send(peer, requests[i % 4]);
        shutdown(peer, SHUT_WR);
        if (i % 4 < 2) {
            assert_true(peer_read(peer, &answer));
            assert_int_equal(answer.status, 200);
            peer_answer_release(&answer);
        }
        assert_true(peer_is_closed(peer, 5));
        close(peer);
    }
    assert_true(world_settles("efm_http_connections", 0));
}
#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(bodies_in_chunks_are_put_together),
        SERVED(a_body_in_chunks_past_the_limit_is_413),
        SERVED(the_answer_to_endless_chunks_is_whole),
        SERVED(who_expects_100_is_refused_before_the_body),
        SERVED(a_short_refused_body_leaves_the_connection_open),
        SERVED(every_endpoint_has_its_own_limit),
        SERVED(a_long_refused_body_is_answered_at_once),
        SERVED(a_length_given_twice_is_refused),
        SERVED(bodies_share_a_budget),
        SERVED(slow_requests_end),
        SERVED(a_broken_off_upload_is_counted),
        SERVED(nonsense_does_no_harm),
        SERVED(half_closed_connections_do_not_linger),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
