// SPDX-License-Identifier: Apache-2.0
// Every allocation of the HTTP server fails in turn: a request is answered or its connection closed, nothing
// is lost, and the next one is served.
#include "core/base/memory.h"
#include "tests/unit/server/http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* Counts down at each allocation and fails the one at zero; below zero all succeed. */
static atomic_int left = -1;
static _Thread_local bool spared; /* the test's own thread, while it asks */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static bool fails(void)
{
    return !spared && atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return fails() ? NULL : __real_efm_allocate(size);
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return fails() ? NULL : __real_efm_allocate_array(count, size);
}

char *__wrap_efm_copy_string(const char *text)
{
    return fails() ? NULL : __real_efm_copy_string(text);
}

/* One request while the n-th allocation fails; false once n is past all of them. */
static bool ask_with_failure(const char *request, int number)
{
    struct peer_answer answer;
    spared = true;
    atomic_store(&left, number);
    int peer = peer_dial(world.port);
    bool sent = peer_send_bytes(peer, request, strlen(request));
    if (sent && peer_read(peer, &answer)) {
        assert_true(answer.status >= 200 && answer.status < 600);
        if (answer.status >= 400) // whatever was missing, it says what is wrong
            assert_non_null(strstr((const char *)answer.body, "\"code\":\""));
        peer_answer_release(&answer);
    }
    close(peer);
    assert_true(world_settles("efm_http_connections", 0));
    bool reached = atomic_exchange(&left, -1) < 0;
    spared = false;
    assert_int_equal(srv_http_pending(world.http), 0);
    return reached;
}

/* Ends when no request fails any more. */
static void ask_with_every_failure(const char *const *requests, size_t count, const char *healthy)
{
    for (size_t i = 0; i < count; i++) {
        int number = 0;
        while (ask_with_failure(requests[i], number)) {
            number++;
            assert_true(number < 100);
            assert_int_equal(peer_status(world.port, "GET", healthy, "", NULL), 200);
            assert_true(world_settles("efm_http_connections", 0));
        }
        assert_true(number > 3);
    }
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
}

static void requests_survive_a_failed_allocation(void **state)
{
    static const char *const requests[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /text?n=3000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n",
        ("GET /text?n=30 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-Match: \"x\"\r\nIf-Match: \"abc\"\r\n"
         "Accept: a/b\r\nAccept: c/d\r\n\r\n"),
        "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /later?s=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        ("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0\r\n\r\n"),
        "PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n",
    };
    (void)state;
    ask_with_every_failure(requests, sizeof requests / sizeof requests[0], "/hello");
}

/* ---- uploads, streams, files, kept requests ---- */

static atomic_int uploads;

static void *begin(struct srv_service *service, struct srv_exchange *exchange, int64_t length,
                   struct api_problem *problem)
{
    (void)service;
    (void)exchange;
    (void)length;
    void *made = efm_allocate(16);
    if (made == NULL)
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "there is no memory");
    else
        atomic_fetch_add(&uploads, 1);
    return made;
}

static bool take(void *upload, const void *bytes, size_t size, struct api_problem *problem)
{
    (void)upload;
    (void)bytes;
    (void)size;
    (void)problem;
    return true;
}

static void abandon(void *upload)
{
    efm_free(upload);
    atomic_fetch_sub(&uploads, 1);
}

static const struct srv_upload_class class = {begin, take, abandon};

static void handle_upload(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)service;
    abandon(srv_exchange_take_upload(exchange));
    api_reply_init(&reply, 0);
    srv_exchange_reply(exchange, &reply);
}

static void handle_stream(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)service;
    api_reply_init(&reply, 0);
    struct srv_stream *stream = srv_exchange_stream(exchange, &reply);
    if (stream == NULL)
        return;
    srv_stream_write(stream, "text", 4);
    srv_stream_end(stream);
}

static void handle_file(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)service;
    api_reply_init(&reply, 0);
    int file = memfd_create("file", MFD_CLOEXEC);
    if (write(file, "text", 4) != 4)
        atomic_store(&world.message_was_wrong, true);
    srv_exchange_reply_file(exchange, &reply, file, 4);
}

static const struct srv_endpoint put = {"PUT", {"/put"}, handle_upload, SRV_BODY_STREAM, &class};
static const struct srv_endpoint stream = {"GET", {"/stream"}, handle_stream};
static const struct srv_endpoint file = {"GET", {"/file"}, handle_file};
static const struct srv_endpoint *const routes[] = {&put, &stream, &file};

static void start_own(void)
{
    struct srv_http_options options = world_usual;
    options.routes = routes;
    options.route_count = sizeof routes / sizeof routes[0];
    world_start(&options);
}

static void uploads_streams_and_files_survive_too(void **state)
{
    static const char *const requests[] = {
        "PUT /put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    };
    static const char *const partial[] = {
        "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=9-\r\n\r\n"};
    (void)state;
    start_own();
    ask_with_every_failure(requests, 2, "/file");
    ask_with_every_failure(partial, 1, "/file");
    assert_int_equal(atomic_load(&uploads), 0);
}

static void keep(void *context, struct api_reply *reply)
{
    *(int *)context = reply->status;
    api_reply_release(reply);
}

static void kept_requests_survive_too(void **state)
{
    int number = 0, status = 0, refused = 0, answered = 0;
    (void)state;
    start_own();
    for (bool reached = true; reached; number++) {
        struct srv_kept_request request = {.method = "GET",
                                           .target = "/file?q",
                                           .body = __real_efm_allocate(3),
                                           .body_size = 3,
                                           .answer = keep,
                                           .context = &status};
        assert_non_null(request.body);
        memset(request.body, 0, 3);
        status = 0;
        atomic_store(&left, number);
        const bool good = srv_http_replay(world.http, &request);
        reached = atomic_exchange(&left, -1) < 0;
        assert_int_equal(good, status != 0);
        refused += !good;
        answered += good && reached;
        assert_true(!good || status == (reached ? 503 : 200));
        assert_int_equal(srv_http_pending(world.http), 0);
        assert_true(number < 100);
    }
    assert_true(refused >= 5);
    assert_true(answered >= 1);
}

static void a_server_that_finds_no_memory_is_not_made(void **state)
{
    (void)state;
    for (int number = 0; number < 2;
         number++) { // the server and its watcher; the rest belongs to the library
        struct efm_error error = {0};
        struct srv_service service = world.service;
        struct srv_http *http = NULL;
        atomic_store(&left, number);
        enum efm_status status = srv_http_create(&http, &world_usual, &service, &error);
        atomic_store(&left, -1);
        assert_int_equal(status, EFM_E_MEMORY);
        assert_null(http);
        assert_non_null(strstr(error.message, "memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_survive_a_failed_allocation, world_start_usual,
                                        world_stop_usual),
        cmocka_unit_test_teardown(uploads_streams_and_files_survive_too, world_stop_usual),
        cmocka_unit_test_teardown(kept_requests_survive_too, world_stop_usual),
        cmocka_unit_test_setup_teardown(a_server_that_finds_no_memory_is_not_made, world_start_usual,
                                        world_stop_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
