// SPDX-License-Identifier: Apache-2.0
// The HTTP server with endpoints of the test's own: answered at once, or later by another thread.
#include "server/http/http.h"
#include "server/log.h"
#include "server/metrics.h"
#include "tests/unit/server/http_peer.h"

#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_BODY = 1 << 20, SMALL_BODY = 1000 };

static struct srv_service service;
static struct srv_http *http;
static uint16_t port;
static int log_file;
static atomic_int calls;              /* of any endpoint */
static atomic_int cancelled_waits;    /* endpoint_wait saw its flag */
static _Atomic double seen_cancelled; /* when it did, the last time */
static atomic_bool message_was_wrong; /* what an endpoint found unlike the contract */

/* ---- endpoints ---- */

static void answer_text(struct srv_exchange *exchange, const char *text)
{
    struct api_reply reply;
    api_reply_init(&reply, 65536);
    snprintf(reply.content_type, sizeof reply.content_type, "text/plain");
    efm_buffer_append_string(&reply.body, text);
    srv_exchange_reply(exchange, &reply);
}

static void endpoint_hello(struct srv_service *given, struct srv_exchange *exchange)
{
    atomic_fetch_add(&calls, 1);
    if (given != &service || strcmp(srv_exchange_message(exchange)->method, "GET") != 0)
        atomic_store(&message_was_wrong, true);
    answer_text(exchange, "hello");
}

static void endpoint_echo(struct srv_service *given, struct srv_exchange *exchange)
{
    const struct api_message *message = srv_exchange_message(exchange);
    struct api_reply reply;
    (void)given;
    atomic_fetch_add(&calls, 1);
    api_reply_init(&reply, MAX_BODY);
    snprintf(reply.content_type, sizeof reply.content_type, "%s", message->content_type);
    efm_buffer_append(&reply.body, message->body, message->body_size);
    if (message->body[message->body_size] != '\0')
        atomic_store(&message_was_wrong, true);
    api_reply_header(&reply, "Echo-Query", "%s", message->query);
    api_reply_header(&reply, "Echo-Name", "%s", srv_exchange_name(exchange));
    api_reply_header(&reply, "Echo-Accept", "%s", message->accept);
    api_reply_header(&reply, "Echo-Test", "%s", srv_exchange_header(exchange, "x-test"));
    srv_exchange_reply(exchange, &reply);
}

static void *answer_later(void *argument)
{
    struct srv_exchange *exchange = argument;
    const char *query = srv_exchange_message(exchange)->query;
    double seconds = 0;
    if (sscanf(query, "s=%lf", &seconds) == 1)
        peer_sleep(seconds);
    char text[128];
    snprintf(text, sizeof text, "late %.100s", query);
    answer_text(exchange, text);
    return NULL;
}

static void *answer_when_cancelled(void *argument)
{
    struct srv_exchange *exchange = argument;
    const double until = peer_clock() + 8;
    while (!atomic_load(srv_exchange_cancelled(exchange)) && peer_clock() < until)
        peer_sleep(0.001);
    if (peer_clock() < until) {
        atomic_store(&seen_cancelled, peer_clock());
        atomic_fetch_add(&cancelled_waits, 1);
    }
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_DRAINING, NULL, "given up");
    srv_exchange_problem(exchange, &problem);
    return NULL;
}

static void start_thread(struct srv_exchange *exchange, void *(*body)(void *))
{
    pthread_t thread;
    pthread_attr_t attributes;
    atomic_fetch_add(&calls, 1);
    srv_exchange_defer(exchange);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    if (pthread_create(&thread, &attributes, body, exchange) != 0)
        body(exchange);
    pthread_attr_destroy(&attributes);
}

static void endpoint_later(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    start_thread(exchange, answer_later);
}

static void endpoint_wait(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    start_thread(exchange, answer_when_cancelled);
}

/* Deferred, and answered by the handler itself before libmicrohttpd has seen the suspension. */
static void endpoint_both(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    srv_exchange_defer(exchange);
    answer_text(exchange, "both");
}

static void endpoint_forgets(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    (void)exchange;
}

static void endpoint_overflows(struct srv_service *given, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)given;
    api_reply_init(&reply, 4);
    efm_buffer_append_string(&reply.body, "too long");
    srv_exchange_reply(exchange, &reply);
}

static void endpoint_headers(struct srv_service *given, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)given;
    api_reply_init(&reply, 0);
    reply.status = 204;
    api_reply_header(&reply, "Cache-Control", "max-age=5");
    srv_exchange_reply(exchange, &reply);
}

static const struct srv_endpoint hello = {"GET", {"/hello", "/", NULL}, endpoint_hello, .gives = ""};
static const struct srv_endpoint livez = {"GET", {"/livez"}, endpoint_hello};
static const struct srv_endpoint echo = {"POST PUT", {"/echo"}, endpoint_echo, SIZE_MAX};
static const struct srv_endpoint small = {"POST", {"/small"}, endpoint_echo, SMALL_BODY};
static const struct srv_endpoint bodyless = {"DELETE", {"/things/{name}"}, endpoint_echo};
static const struct srv_endpoint thing = {"PUT", {"/things/{name}"}, endpoint_echo, SIZE_MAX};
static const struct srv_endpoint later = {"GET POST", {"/later"}, endpoint_later, SIZE_MAX};
static const struct srv_endpoint waits = {"GET", {"/wait"}, endpoint_wait};
static const struct srv_endpoint both = {"GET", {"/both"}, endpoint_both};
static const struct srv_endpoint forgets = {"GET", {"/forgets"}, endpoint_forgets};
static const struct srv_endpoint overflows = {"GET", {"/overflows"}, endpoint_overflows};
static const struct srv_endpoint headers = {"GET", {"/headers"}, endpoint_headers};
static const struct srv_endpoint *const routes[] = {&hello, &livez, &echo, &small,   &bodyless,  &thing,
                                                    &later, &waits, &both, &forgets, &overflows, &headers};

/* ---- the server under test ---- */

static const struct srv_http_options usual = {
    .routes = routes,
    .route_count = sizeof routes / sizeof routes[0],
    .address = "127.0.0.1",
    .max_body = MAX_BODY,
    .connection_limit = 1000,
    .idle_timeout = 30,
    .body_timeout = 20,
    .event_threads = 1,
    .max_buffered = 64 << 20,
};

static void start(const struct srv_http_options *options)
{
    struct efm_error error = {0};
    atomic_store(&calls, 0);
    atomic_store(&cancelled_waits, 0);
    atomic_store(&message_was_wrong, false);
    log_file = memfd_create("log", MFD_CLOEXEC);
    fcntl(log_file, F_SETFL, O_APPEND);
    assert_int_equal(srv_log_create(&service.log, SRV_LOG_INFO, log_file, &error), EFM_OK);
    assert_int_equal(srv_metrics_create(&service.metrics, &error), EFM_OK);
    if (srv_http_create(&http, options, &service, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_ptr_equal(service.http, http);
    port = srv_http_port(http);
}

static void stop(void)
{
    srv_http_destroy(http);
    srv_metrics_destroy(service.metrics);
    srv_log_destroy(service.log);
    close(log_file);
    http = NULL;
}

static int start_usual(void **state)
{
    (void)state;
    start(&usual);
    return 0;
}

static int stop_usual(void **state)
{
    (void)state;
    if (http != NULL)
        stop();
    return atomic_load(&message_was_wrong) ? -1 : 0;
}

/* The sample of that name and these labels, 0 when there is none. */
static double metric(const char *series)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    char line[256];
    double value = 0;
    srv_metrics_render(service.metrics, &out);
    assert_int_equal(efm_buffer_append(&out, "", 1), EFM_OK);
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr((const char *)out.data, line);
    if (at != NULL)
        assert_int_equal(sscanf(at + strlen(line), "%lf", &value), 1);
    efm_buffer_release(&out);
    return value;
}

static bool settles(const char *series, double value)
{
    for (int i = 0; i < 1000; i++) {
        if (metric(series) == value)
            return true;
        peer_sleep(0.005);
    }
    return false;
}

static void wait_for_calls(int count)
{
    for (int i = 0; i < 1000 && atomic_load(&calls) < count; i++)
        peer_sleep(0.005);
    assert_true(atomic_load(&calls) >= count);
}

static const char *log_text(void)
{
    static char text[1 << 20];
    ssize_t size = pread(log_file, text, sizeof text - 1, 0);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

static void assert_problem(const struct peer_answer *answer, int status, const char *code)
{
    assert_int_equal(answer->status, status);
    assert_string_equal(peer_header(answer, "Content-Type"), "application/problem+json");
    json_t *body = json_loadb((const char *)answer->body, answer->size, 0, NULL);
    assert_non_null(body);
    assert_int_equal(json_integer_value(json_object_get(body, "status")), status);
    assert_string_equal(json_string_value(json_object_get(body, "code")), code);
    assert_non_null(json_string_value(json_object_get(body, "error")));
    assert_string_equal(json_string_value(json_object_get(body, "request_id")),
                        peer_header(answer, "X-Request-Id"));
    json_decref(body);
}

static void assert_asks(const char *method, const char *path, const char *body, int status, const char *code)
{
    struct peer_answer answer;
    peer_ask(port, method, path, "", body, body == NULL ? 0 : strlen(body), &answer);
    assert_problem(&answer, status, code);
    peer_answer_release(&answer);
}

/* ---- answers ---- */

static void an_answer_has_its_headers(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(port, "GET", "/hello?x=1", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal((char *)answer.body, "hello");
    assert_string_equal(peer_header(&answer, "Content-Type"), "text/plain");
    assert_string_equal(peer_header(&answer, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(peer_header(&answer, "Cache-Control"), "no-store");
    assert_string_equal(peer_header(&answer, "Vary"), "Accept");
    const char *id = peer_header(&answer, "X-Request-Id");
    assert_int_equal(strlen(id), 4 + 24);
    assert_int_equal(strncmp(id, "req_", 4), 0);
    assert_int_equal(strspn(id + 4, "0123456789abcdef"), 24);
    char line[128];
    snprintf(line, sizeof line, "\"method\":\"GET\",\"route\":\"/hello\",\"status\":200,\"bytes\":5,");
    assert_non_null(strstr(log_text(), line));
    assert_non_null(strstr(log_text(), id));
    peer_answer_release(&answer);
    peer_ask(port, "GET", "/headers", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(peer_header(&answer, "Cache-Control"), "max-age=5"); // once, the endpoint's own
    peer_answer_release(&answer);
}

static void answers_are_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        peer_status(port, "GET", "/", "", NULL); // by its alias
    peer_status(port, "FROBNICATE", "/hello", "", NULL);
    peer_status(port, "GET", "/nothing", "", NULL);
    assert_true(metric("efm_http_requests_total{method=\"GET\",route=\"/hello\",code=\"200\"}") == 3);
    assert_true(metric("efm_http_requests_total{method=\"other\",route=\"/hello\",code=\"405\"}") == 1);
    assert_true(metric("efm_http_requests_total{method=\"GET\",route=\"none\",code=\"404\"}") == 1);
    assert_true(metric("efm_http_request_duration_seconds_count{route=\"/hello\"}") == 4);
    assert_true(metric("efm_http_requests_in_flight") == 0);
    assert_int_equal(srv_http_pending(http), 0);
    assert_true(settles("efm_http_connections", 0));
}

static void a_request_id_is_kept_when_it_is_one(void **state)
{
    struct peer_answer answer;
    char longest[200] = "X-Request-Id: ", expected[129] = "";
    (void)state;
    memset(expected, 'i', 128);
    snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "%s\r\n", expected);
    peer_ask(port, "GET", "/nothing", longest, NULL, 0, &answer);
    assert_string_equal(peer_header(&answer, "X-Request-Id"), expected);
    assert_problem(&answer, 404, "not_found");
    peer_answer_release(&answer);
    static const char *const bad[] = {"", "two words", "gr\xc3\xbc"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "X-Request-Id: %s\r\n", bad[i]);
        peer_ask(port, "GET", "/hello", line, NULL, 0, &answer);
        assert_int_equal(strncmp(peer_header(&answer, "X-Request-Id"), "req_", 4), 0);
        peer_answer_release(&answer);
    }
    longest[strlen(longest) - 2] = 'i'; // 129 of them
    snprintf(longest + strlen(longest) - 1, 3, "\r\n");
    peer_ask(port, "GET", "/hello", longest, NULL, 0, &answer);
    assert_int_equal(strncmp(peer_header(&answer, "X-Request-Id"), "req_", 4), 0);
    peer_answer_release(&answer);
}

static void head_is_get_without_a_body(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(port);
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
    assert_true(metric("efm_http_requests_total{method=\"HEAD\",route=\"/hello\",code=\"200\"}") == 1);
}

static void paths_and_methods_are_refused_with_reason(void **state)
{
    struct peer_answer answer;
    (void)state;
    assert_asks("GET", "/nothing", NULL, 404, "not_found");
    assert_asks("GET", "/hello/", NULL, 404, "not_found");
    assert_asks("GET", "/%zz", NULL, 400, "malformed_request");
    assert_asks("PUT", "/things/.x", "body", 422, "invalid_name");
    peer_ask(port, "POST", "/hello", "", "body", 4, &answer);
    assert_problem(&answer, 405, "method_not_allowed");
    assert_string_equal(peer_header(&answer, "Allow"), "GET, HEAD, OPTIONS");
    peer_answer_release(&answer);
    peer_ask(port, "OPTIONS", "/things/x", "", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(peer_header(&answer, "Allow"), "DELETE, PUT, OPTIONS");
    peer_answer_release(&answer);
    assert_int_equal(atomic_load(&calls), 0);
}

static void a_request_arrives_as_it_was_sent(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(port, "PUT", "/things/m%2e1?a=%20b&c", "Content-Type: image/png\r\nAccept: a/b\r\nX-Test: y\r\n",
             "\0png", 4, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, 4);
    assert_memory_equal(answer.body, "\0png", 4);
    assert_string_equal(peer_header(&answer, "Content-Type"), "image/png");
    assert_string_equal(peer_header(&answer, "Echo-Name"), "m.1");
    assert_string_equal(peer_header(&answer, "Echo-Query"), "a=%20b&c");
    assert_string_equal(peer_header(&answer, "Echo-Accept"), "a/b");
    assert_string_equal(peer_header(&answer, "Echo-Test"), "y");
    peer_answer_release(&answer);
    peer_ask(port, "POST", "/echo", "", "", 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, 0);
    peer_answer_release(&answer);
}

static void faults_of_endpoints_become_problems(void **state)
{
    (void)state;
    assert_asks("GET", "/forgets", NULL, 500, "internal");
    assert_asks("GET", "/overflows", NULL, 503, "insufficient_memory");
}

/* ---- bodies ---- */

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
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)port, path);
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
    assert_int_equal(atomic_load(&calls), 0);
    assert_int_equal(peer_status(port, "GET", "/hello", "", NULL), 200);
}

/* By hand: the answer comes in the middle of the body and is a whole one, then the connection ends. */
static void the_answer_to_endless_chunks_is_whole(void **state)
{
    struct peer_answer answer;
    char chunk[1040];
    int peer = peer_dial(port);
    (void)state;
    peer_send(peer, "POST /small HTTP/1.1\r\nHost: x\r\nX-Request-Id: endless\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n");
    snprintf(chunk, sizeof chunk, "400\r\n%01024d\r\n", 0);
    for (int i = 0; i < 20; i++)
        assert_true(peer_send_bytes(peer, chunk, strlen(chunk)));
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 413, "body_too_large");
    assert_string_equal(peer_header(&answer, "X-Request-Id"), "endless");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    assert_non_null(peer_header(&answer, "Date"));
    peer_answer_release(&answer);
    assert_true(peer_is_closed(peer, 1));
    close(peer);
    assert_int_equal(atomic_load(&calls), 0);
    assert_true(metric("efm_http_requests_total{method=\"POST\",route=\"/small\",code=\"413\"}") == 1);
}

static void who_expects_100_is_refused_before_the_body(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(port);
    (void)state;
    peer_send(peer,
              "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    assert_true(peer_read(peer, &answer)); // the first thing that comes is no 100
    assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    assert_true(peer_is_closed(peer, 2));
    close(peer);

    peer = peer_dial(port);
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
    int peer = peer_dial(port);
    (void)state;
    snprintf(body, sizeof body, "%01500d", 0);
    peer_send(peer, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n");
    peer_send(peer, body);
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    peer_send(peer, "DELETE /things/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    peer_send(peer, "DELETE /things/x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
}

static void a_long_refused_body_is_answered_at_once(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(port);
    (void)state;
    peer_send(peer, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    close(peer);
}

static void a_length_given_twice_is_refused(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nbody");
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 400, "malformed_request");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    peer_answer_release(&answer);
    close(peer);
    peer = peer_dial(port);
    peer_send(peer,
              "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
              "4\r\nbody\r\n0\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_problem(&answer, 400, "malformed_request");
    peer_answer_release(&answer);
    close(peer);
    assert_int_equal(atomic_load(&calls), 0);
}

static void bodies_share_a_budget(void **state)
{
    struct srv_http_options options = usual;
    struct peer_answer answer;
    static char body[600 * 1024];
    (void)state;
    stop();
    options.max_buffered = 1000 * 1024;
    start(&options);
    memset(body, 'b', sizeof body);
    int peer = peer_dial(port);
    peer_send(peer, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 614400\r\n\r\n");
    assert_true(peer_send_bytes(peer, body, sizeof body - 1));
    // Another of the size is refused as soon as the first one has really come.
    int status = 0;
    for (int i = 0; i < 200 && status != 429; i++) {
        peer_ask(port, "PUT", "/echo", "", body, sizeof body, &answer);
        status = answer.status;
        if (status == 429) {
            assert_problem(&answer, 429, "queue_full");
            assert_string_equal(peer_header(&answer, "Retry-After"), "1");
        }
        peer_answer_release(&answer);
    }
    assert_int_equal(status, 429);
    assert_int_equal(peer_status(port, "PUT", "/echo", "", "small"), 200);
    assert_true(metric("efm_rejected_total{reason=\"body_budget\"}") >= 1);
    peer_send(peer, "b");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
    peer_ask(port, "PUT", "/echo", "", body, sizeof body, &answer); // given back
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
}

static void slow_requests_end(void **state)
{
    struct srv_http_options options = usual;
    struct peer_answer answer;
    (void)state;
    stop();
    options.body_timeout = 0.4;
    options.idle_timeout = 1;
    start(&options);
    const double begun = peer_clock();
    int body = peer_dial(port), header = peer_dial(port), quiet = peer_dial(port);
    peer_send(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    peer_send(header, "POST /echo HTTP/1.1\r\nHost: x\r\n");
    // A byte now and then keeps the idle timeout away, not ours.
    for (int i = 0; i < 8; i++) {
        peer_send_bytes(body, "b", 1);
        peer_send_bytes(header, "X", 1);
        peer_sleep(0.05);
    }
    assert_int_equal(peer_status(port, "GET", "/hello", "", NULL), 200);
    assert_true(peer_read(body, &answer));
    assert_problem(&answer, 408, "request_timeout");
    peer_answer_release(&answer);
    assert_true(peer_clock() - begun >= 0.4);
    assert_true(peer_is_closed(body, 2));
    assert_true(peer_is_closed(header, 2));
    assert_true(peer_is_closed(quiet, 5));
    close(body);
    close(header);
    close(quiet);
    assert_true(settles("efm_http_requests_total{method=\"POST\",route=\"/echo\",code=\"408\"}", 1));
    assert_int_equal(srv_http_pending(http), 0);
    // Work is not arrival: it may take as long as it wants.
    assert_int_equal(peer_status(port, "GET", "/later?s=1.5", "", NULL), 200);
}

static void a_broken_off_upload_is_counted(void **state)
{
    (void)state;
    int peer = peer_dial(port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    for (int i = 0; i < 1000 && srv_http_pending(http) == 0; i++)
        peer_sleep(0.002);
    assert_int_equal(srv_http_pending(http), 1);
    close(peer);
    assert_true(settles("efm_http_requests_total{method=\"POST\",route=\"/echo\",code=\"499\"}", 1));
    assert_true(metric("efm_cancelled_total{reason=\"client_gone\"}") == 1);
    assert_true(metric("efm_http_requests_in_flight") == 0);
    assert_int_equal(atomic_load(&calls), 0);
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
        int peer = peer_dial(port);
        peer_send_bytes(peer, nonsense[i], strlen(nonsense[i]));
        shutdown(peer, SHUT_WR);
        assert_true(peer_is_closed(peer, 5));
        close(peer);
    }
    assert_int_equal(atomic_load(&calls), 0);
    assert_int_equal(peer_status(port, "GET", "/hello", "", NULL), 200);
    assert_int_equal(srv_http_pending(http), 0);
    assert_true(metric("efm_http_requests_in_flight") == 0);
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
        int peer = peer_dial(port);
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
    assert_true(settles("efm_http_connections", 0));
}

/* ---- deferred answers ---- */

static void another_thread_may_answer(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(port);
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
        assert_int_equal(peer_status(port, "GET", "/both", "", NULL), 200);
}

static void a_client_that_hangs_up_is_noticed(void **state)
{
    double best = INFINITY;
    (void)state;
    for (int i = 0; i < 5; i++) {
        int peer = peer_dial(port);
        peer_send(peer, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
        wait_for_calls(i + 1);
        peer_sleep(0.02);
        assert_int_equal(atomic_load(&cancelled_waits), i);
        const double hung_up = peer_clock();
        if (i % 2 == 1) { // with a reset in place of an end
            const struct linger at_once = {.l_onoff = 1};
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        close(peer);
        for (int wait = 0; wait < 2000 && atomic_load(&cancelled_waits) == i; wait++)
            peer_sleep(0.002);
        assert_int_equal(atomic_load(&cancelled_waits), i + 1);
        best = fmin(best, atomic_load(&seen_cancelled) - hung_up);
    }
    assert_true(best < 0.1);
    assert_true(settles("efm_cancelled_total{reason=\"client_gone\"}", 5));
    assert_true(metric("efm_http_requests_total{method=\"GET\",route=\"/wait\",code=\"499\"}") == 5);
    assert_non_null(strstr(log_text(), "\"route\":\"/wait\",\"status\":499,\"bytes\":0"));
    assert_true(settles("efm_http_connections", 0));
}

static void a_pipelining_client_is_not_gone(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(port);
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
    assert_true(metric("efm_cancelled_total{reason=\"client_gone\"}") == 0);
}

static void run_many(unsigned event_threads)
{
    enum { MANY = 150 };
    struct srv_http_options options = usual;
    int peers[MANY];
    stop();
    options.event_threads = event_threads;
    start(&options);
    for (int i = 0; i < MANY; i++) {
        char head[128];
        peers[i] = peer_dial(port);
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
    assert_int_equal(srv_http_pending(http), 0);
    assert_true(settles("efm_http_connections", 0));
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
        int peer = peer_dial(port);
        snprintf(head, sizeof head, "GET /later?s=0.%04d HTTP/1.1\r\nHost: x\r\n\r\n", i % 50);
        peer_send(peer, head);
        peer_sleep((i % 50) * 1e-4);
        close(peer);
    }
    assert_true(settles("efm_http_requests_in_flight", 0));
    assert_true(settles("efm_http_connections", 0));
    assert_int_equal(peer_status(port, "GET", "/hello", "", NULL), 200);
}

/* ---- life of the server ---- */

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
    peer_status(port, "GET", "/later?s=0", "", NULL);
    assert_true(settles("efm_http_connections", 0));
    const size_t before = open_files();
    for (int i = 0; i < 200; i++)
        peer_status(port, "GET", i % 2 == 0 ? "/hello" : "/later?s=0", "", NULL);
    assert_true(settles("efm_http_connections", 0));
    assert_int_equal(open_files(), before);
}

static void a_draining_server_finishes_and_refuses(void **state)
{
    struct peer_answer answer;
    int under_way = peer_dial(port), idle = peer_dial(port);
    (void)state;
    peer_send(under_way, "GET /later?s=0.4 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for_calls(1);
    assert_false(srv_http_draining(http));
    srv_http_announce_drain(http);
    assert_true(srv_http_draining(http));
    assert_int_equal(peer_status(port, "GET", "/hello", "", NULL), 200); // still taken
    srv_http_drain(http);
    assert_int_equal(srv_http_pending(http), 1);
    peer_send(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); // an old connection, a new request
    assert_true(peer_read(idle, &answer));
    assert_problem(&answer, 503, "draining");
    assert_string_equal(peer_header(&answer, "Connection"), "close");
    assert_non_null(peer_header(&answer, "Retry-After"));
    peer_answer_release(&answer);
    assert_true(peer_is_closed(idle, 2));
    assert_asks("POST", "/echo", "body", 503, "draining");
    assert_int_equal(peer_status(port, "GET", "/livez", "", NULL), 200);
    assert_true(peer_read(under_way, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    assert_int_equal(srv_http_pending(http), 0);
    close(under_way);
    close(idle);
}

static void stopping_cancels_and_answers_what_waits(void **state)
{
    enum { WAITING = 30 };
    int peers[WAITING], upload = peer_dial(port), idle = peer_dial(port);
    (void)state;
    peer_send(upload, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    for (int i = 0; i < WAITING; i++) {
        peers[i] = peer_dial(port);
        peer_send(peers[i], "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    wait_for_calls(WAITING);
    const double begun = peer_clock();
    stop();
    assert_true(peer_clock() - begun < 4);
    assert_int_equal(atomic_load(&cancelled_waits), WAITING);
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
    struct srv_http_options options = usual;
    struct srv_http *second = NULL;
    struct srv_service other = service;
    (void)state;
    options.port = port;
    assert_int_equal(srv_http_create(&second, &options, &other, &error), EFM_E_IO);
    assert_null(second);
    assert_null(other.http);
    char expected[64];
    snprintf(expected, sizeof expected, "127.0.0.1 port %u", (unsigned)port);
    assert_non_null(strstr(error.message, expected));
    efm_error_clear(&error);
    options.address = "localhost";
    assert_int_equal(srv_http_create(&second, &options, &other, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "localhost"));
    srv_http_destroy(NULL);
}

static void it_listens_on_ipv6(void **state)
{
    struct srv_http_options options = usual;
    struct peer_answer answer;
    (void)state;
    stop();
    options.address = "::1";
    start(&options);
    int peer = peer_dial_ipv6(port);
    peer_send(peer, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    close(peer);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start_usual, stop_usual)

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
        SERVED(bodies_in_chunks_are_put_together),
        SERVED(a_body_in_chunks_past_the_limit_is_413),
        SERVED(the_answer_to_endless_chunks_is_whole),
        SERVED(who_expects_100_is_refused_before_the_body),
        SERVED(a_short_refused_body_leaves_the_connection_open),
        SERVED(a_long_refused_body_is_answered_at_once),
        SERVED(a_length_given_twice_is_refused),
        SERVED(bodies_share_a_budget),
        SERVED(slow_requests_end),
        SERVED(a_broken_off_upload_is_counted),
        SERVED(nonsense_does_no_harm),
        SERVED(half_closed_connections_do_not_linger),
        SERVED(another_thread_may_answer),
        SERVED(a_client_that_hangs_up_is_noticed),
        SERVED(a_pipelining_client_is_not_gone),
        SERVED(many_can_wait_at_once),
        SERVED(many_can_wait_on_several_event_threads),
        SERVED(answers_race_with_hang_ups),
        SERVED(connections_leave_no_descriptors),
        SERVED(a_draining_server_finishes_and_refuses),
        SERVED(stopping_cancels_and_answers_what_waits),
        SERVED(a_server_that_cannot_listen_says_why),
        SERVED(it_listens_on_ipv6),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
