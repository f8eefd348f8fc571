// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/http_world.h"

#include "server/log.h"
#include "server/metrics.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct world world;

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
    atomic_fetch_add(&world.calls, 1);
    if (given != &world.service || strcmp(srv_exchange_message(exchange)->method, "GET") != 0)
        atomic_store(&world.message_was_wrong, true);
    answer_text(exchange, "hello");
}

static void endpoint_echo(struct srv_service *given, struct srv_exchange *exchange)
{
    const struct api_message *message = srv_exchange_message(exchange);
    struct api_reply reply;
    (void)given;
    atomic_fetch_add(&world.calls, 1);
    api_reply_init(&reply, MAX_BODY);
    snprintf(reply.content_type, sizeof reply.content_type, "%s", message->content_type);
    efm_buffer_append(&reply.body, message->body, message->body_size);
    if (message->body[message->body_size] != '\0')
        atomic_store(&world.message_was_wrong, true);
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
        atomic_store(&world.seen_cancelled, peer_clock());
        atomic_fetch_add(&world.cancelled_waits, 1);
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
    atomic_fetch_add(&world.calls, 1);
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

/* Text of the kind that JSON is, with a tag and a date. */
static void answer_tagged(struct srv_exchange *exchange, const char *type)
{
    struct api_reply reply;
    size_t size = 0;
    (void)sscanf(srv_exchange_message(exchange)->query, "n=%zu", &size);
    api_reply_init(&reply, MAX_BODY);
    snprintf(reply.content_type, sizeof reply.content_type, "%s", type);
    for (size_t i = 0; reply.body.size < size && reply.body.status == EFM_OK; i++)
        efm_buffer_format(&reply.body, "{\"number\":%zu}", i % 1000);
    if (reply.body.status == EFM_OK)
        reply.body.size = size;
    api_reply_header(&reply, "ETag", "\"abc\"");
    api_reply_header(&reply, "Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    srv_exchange_reply(exchange, &reply);
}

static void endpoint_text(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    answer_tagged(exchange, "application/json");
}

static void endpoint_picture(struct srv_service *given, struct srv_exchange *exchange)
{
    (void)given;
    answer_tagged(exchange, "image/png");
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
static const struct srv_endpoint echo = {"POST PUT", {"/echo"}, endpoint_echo, SRV_BODY_UPLOAD};
static const struct srv_endpoint small = {"POST", {"/small"}, endpoint_echo, SMALL_BODY};
static const struct srv_endpoint image = {"POST", {"/image"}, endpoint_echo, SRV_BODY_IMAGES};
static const struct srv_endpoint bodyless = {"DELETE", {"/things/{name}"}, endpoint_echo};
static const struct srv_endpoint thing = {"PUT", {"/things/{name}"}, endpoint_echo, SRV_BODY_UPLOAD};
static const struct srv_endpoint later = {"GET POST", {"/later"}, endpoint_later, SRV_BODY_UPLOAD};
static const struct srv_endpoint waits = {"GET", {"/wait"}, endpoint_wait};
static const struct srv_endpoint both = {"GET", {"/both"}, endpoint_both};
static const struct srv_endpoint forgets = {"GET", {"/forgets"}, endpoint_forgets};
static const struct srv_endpoint overflows = {"GET", {"/overflows"}, endpoint_overflows};
static const struct srv_endpoint headers = {"GET", {"/headers"}, endpoint_headers};
static const struct srv_endpoint tagged = {"GET POST", {"/text"}, endpoint_text, SRV_BODY_UPLOAD};
static const struct srv_endpoint picture = {"GET", {"/picture"}, endpoint_picture};
static const struct srv_endpoint *const routes[] = {&tagged, &picture, &image,    &hello,     &livez,
                                                    &echo,   &small,   &bodyless, &thing,     &later,
                                                    &waits,  &both,    &forgets,  &overflows, &headers};

/* ---- the server under test ---- */

const struct srv_http_options world_usual = {
    .routes = routes,
    .route_count = sizeof routes / sizeof routes[0],
    .address = "127.0.0.1",
    .max_body = MAX_BODY,
    .max_image_body = 2 * SMALL_BODY,
    .connection_limit = 1000,
    .idle_timeout = 30,
    .header_timeout = 20,
    .body_timeout = 20,
    .event_threads = 1,
    .access_log = SRV_ACCESS_LOG_ON,
    .max_buffered = 64 << 20,
};

void world_start(const struct srv_http_options *options)
{
    struct efm_error error = {0};
    atomic_store(&world.calls, 0);
    atomic_store(&world.cancelled_waits, 0);
    atomic_store(&world.message_was_wrong, false);
    world.log_file = memfd_create("log", MFD_CLOEXEC);
    fcntl(world.log_file, F_SETFL, O_APPEND);
    assert_int_equal(srv_log_create(&world.service.log, SRV_LOG_INFO, world.log_file, &error), EFM_OK);
    assert_int_equal(srv_metrics_create(&world.service.metrics, &error), EFM_OK);
    if (srv_http_create(&world.http, options, &world.service, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_ptr_equal(world.service.http, world.http);
    world.port = srv_http_port(world.http);
}

void world_stop(void)
{
    srv_http_destroy(world.http);
    srv_metrics_destroy(world.service.metrics);
    srv_log_destroy(world.service.log);
    close(world.log_file);
    world.http = NULL;
}

int world_start_usual(void **state)
{
    (void)state;
    world_start(&world_usual);
    return 0;
}

int world_stop_usual(void **state)
{
    (void)state;
    if (world.http != NULL)
        world_stop();
    return atomic_load(&world.message_was_wrong) ? -1 : 0;
}

/* The sample of that name and these labels, 0 when there is none. */
double world_metric(const char *series)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    char line[256];
    double value = 0;
    srv_metrics_render(world.service.metrics, &out);
    assert_int_equal(efm_buffer_append(&out, "", 1), EFM_OK);
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr((const char *)out.data, line);
    if (at != NULL)
        assert_int_equal(sscanf(at + strlen(line), "%lf", &value), 1);
    efm_buffer_release(&out);
    return value;
}

bool world_settles(const char *series, double value)
{
    for (int i = 0; i < 1000; i++) {
        if (world_metric(series) == value)
            return true;
        peer_sleep(0.005);
    }
    return false;
}

void world_wait_for_calls(int count)
{
    for (int i = 0; i < 1000 && atomic_load(&world.calls) < count; i++)
        peer_sleep(0.005);
    assert_true(atomic_load(&world.calls) >= count);
}

const char *world_log(void)
{
    static char text[1 << 20];
    ssize_t size = pread(world.log_file, text, sizeof text - 1, 0);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

void world_assert_problem(const struct peer_answer *answer, int status, const char *code)
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

void world_assert_asks(const char *method, const char *path, const char *body, int status, const char *code)
{
    struct peer_answer answer;
    peer_ask(world.port, method, path, "", body, body == NULL ? 0 : strlen(body), &answer);
    world_assert_problem(&answer, status, code);
    peer_answer_release(&answer);
}
