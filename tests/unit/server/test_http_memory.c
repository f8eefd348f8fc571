// SPDX-License-Identifier: Apache-2.0
// Every allocation of the HTTP server fails in turn: a request is answered or its connection closed, nothing
// is lost, and the next one is served.
#include "core/base/memory.h"
#include "tests/unit/server/http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
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
        peer_answer_release(&answer);
    }
    close(peer);
    assert_true(world_settles("efm_http_connections", 0));
    bool reached = atomic_exchange(&left, -1) < 0;
    spared = false;
    assert_int_equal(srv_http_pending(world.http), 0);
    return reached;
}

static void requests_survive_a_failed_allocation(void **state)
{
    static const char *const requests[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /later?s=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        ("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0\r\n\r\n"),
        "PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int number = 0;
        while (ask_with_failure(requests[i], number)) {
            number++;
            assert_true(number < 100);
            assert_int_equal(peer_status(world.port, "GET", "/hello", "", NULL), 200);
            assert_true(world_settles("efm_http_connections", 0));
        }
        assert_true(number > 3);
    }
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
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
        cmocka_unit_test_setup_teardown(a_server_that_finds_no_memory_is_not_made, world_start_usual,
                                        world_stop_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
