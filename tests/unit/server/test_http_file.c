// SPDX-License-Identifier: Apache-2.0
// Answers that are files, whole and in parts; the Range header.
#include "server/http/range.h"
#include "tests/unit/server/http_world.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_SIZE = 300000 };
static unsigned char content[FILE_SIZE];

static int open_copy(size_t size)
{
    int file = memfd_create("file", MFD_CLOEXEC);
    assert_true(file >= 0);
    if (write(file, content, size) != (ssize_t)size)
        abort();
    return file; // its own position is at the end: it does not matter
}

static void answer_file(struct srv_exchange *exchange, size_t size)
{
    struct api_reply reply;
    api_reply_init(&reply, 4);
    efm_buffer_append_string(&reply.body, "not used, and too long");
    snprintf(reply.content_type, sizeof reply.content_type, "application/octet-stream");
    api_reply_header(&reply, "ETag", "\"v1\"");
    srv_exchange_reply_file(exchange, &reply, open_copy(size), size);
}

static void handle_file(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    answer_file(exchange, FILE_SIZE);
}

static void handle_empty(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    answer_file(exchange, 0);
}

static void *answer_later(void *argument)
{
    struct srv_exchange *exchange = argument;
    peer_sleep(0.02);
    answer_file(exchange, FILE_SIZE);
    return NULL;
}

static void handle_later(struct srv_service *service, struct srv_exchange *exchange)
{
    pthread_t thread;
    (void)service;
    atomic_fetch_add(&world.calls, 1);
    srv_exchange_defer(exchange);
    if (pthread_create(&thread, NULL, answer_later, exchange) == 0)
        pthread_detach(thread);
    else
        answer_later(exchange);
}

/* A second answer has a descriptor to close as well. */
static void handle_twice(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    answer_file(exchange, FILE_SIZE);
    answer_file(exchange, FILE_SIZE);
}

static const struct srv_endpoint whole = {"GET", {"/file"}, handle_file};
static const struct srv_endpoint empty = {"GET", {"/empty"}, handle_empty};
static const struct srv_endpoint later = {"GET", {"/later"}, handle_later};
static const struct srv_endpoint twice = {"GET", {"/twice"}, handle_twice};
static const struct srv_endpoint *const routes[] = {&whole, &empty, &later, &twice};

static int open_files(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static int files_before;

static int start(void **state)
{
    struct srv_http_options options = world_usual;
    (void)state;
    options.routes = routes;
    options.route_count = sizeof routes / sizeof routes[0];
    for (size_t i = 0; i < FILE_SIZE; i++)
        content[i] = (unsigned char)(i * 7 + (i >> 8));
    files_before = open_files();
    world_start(&options);
    return 0;
}

static int stop(void **state)
{
    int broken = world_stop_usual(state);
    return broken != 0 || open_files() != files_before ? -1 : 0;
}

static void assert_part(const char *path, const char *headers, int status, size_t offset, size_t length)
{
    struct peer_answer answer;
    peer_ask(world.port, "GET", path, headers, NULL, 0, &answer);
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.size, length);
    assert_memory_equal(answer.body, content + offset, length);
    assert_string_equal(peer_header(&answer, "Accept-Ranges"), "bytes");
    assert_string_equal(peer_header(&answer, "ETag"), "\"v1\"");
    assert_string_equal(peer_header(&answer, "Content-Type"), "application/octet-stream");
    if (status == 206) {
        char expected[100];
        snprintf(expected, sizeof expected, "bytes %zu-%zu/%d", offset, offset + length - 1, FILE_SIZE);
        assert_string_equal(peer_header(&answer, "Content-Range"), expected);
    } else {
        assert_null(peer_header(&answer, "Content-Range"));
    }
    peer_answer_release(&answer);
}

static void a_file_is_sent_whole(void **state)
{
    (void)state;
    assert_part("/file", "", 200, 0, FILE_SIZE);
    assert_part("/later", "", 200, 0, FILE_SIZE);
    assert_part("/twice", "", 200, 0, FILE_SIZE);
    assert_part("/empty", "", 200, 0, 0);
    assert_part("/empty", "Range: bytes=-5\r\n", 200, 0, 0);
    assert_non_null(strstr(world_log(), "\"route\":\"/file\",\"status\":200,\"bytes\":300000"));
}

static void a_part_is_sent(void **state)
{
    (void)state;
    assert_part("/file", "Range: bytes=0-0\r\n", 206, 0, 1);
    assert_part("/file", "Range: bytes=1000-\r\n", 206, 1000, FILE_SIZE - 1000);
    assert_part("/file", "Range: bytes=100-299999999\r\n", 206, 100, FILE_SIZE - 100);
    assert_part("/file", "Range: BYTES=-70000\r\n", 206, FILE_SIZE - 70000, 70000);
    assert_part("/later", "Range: bytes=5-1004\r\n", 206, 5, 1000);
    assert_non_null(strstr(world_log(), "\"route\":\"/later\",\"status\":206,\"bytes\":1000"));
}

static void what_is_no_single_range_is_ignored(void **state)
{
    (void)state;
    assert_part("/file", "Range: bytes=0-1,5-6\r\n", 200, 0, FILE_SIZE);
    assert_part("/file", "Range: bytes=5-4\r\n", 200, 0, FILE_SIZE);
    assert_part("/file", "Range: lines=0-1\r\n", 200, 0, FILE_SIZE);
    assert_part("/file", "Range: bytes=0-1\r\nRange: bytes=5-6\r\n", 200, 0, FILE_SIZE);
}

static void a_range_of_another_version_is_ignored(void **state)
{
    (void)state;
    assert_part("/file", "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n", 206, 0, 2);
    assert_part("/file", "Range: bytes=0-1\r\nIf-Range: \"v0\"\r\n", 200, 0, FILE_SIZE);
    assert_part("/file", "Range: bytes=0-1\r\nIf-Range: W/\"v1\"\r\n", 200, 0, FILE_SIZE);
    assert_part("/file", "Range: bytes=0-1\r\nIf-Range: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 200, 0,
                FILE_SIZE);
    assert_part("/file", "Range: bytes=900000-\r\nIf-Range: \"v0\"\r\n", 200, 0, FILE_SIZE);
}

static void a_version_that_is_not_wanted_is_not_sent(void **state)
{
    static const char *const paths[] = {"/file", "/later"};
    struct peer_answer answer;
    (void)state;
    assert_part("/file", "Range: bytes=0-1\r\nIf-Match: \"v1\"\r\n", 206, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        peer_ask(world.port, "GET", paths[i], "Range: bytes=0-1\r\nIf-Match: \"v0\"\r\n", NULL, 0, &answer);
        world_assert_problem(&answer, 412, "precondition_failed");
        peer_answer_release(&answer);
    }
}

static void a_range_past_the_end_is_416(void **state)
{
    static const char *const ranges[] = {"Range: bytes=300000-\r\n", "Range: bytes=-0\r\n",
                                         "Range: bytes=99999999999999999999999-\r\n"};
    struct peer_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        peer_ask(world.port, "GET", i == 1 ? "/later" : "/file", ranges[i], NULL, 0, &answer);
        world_assert_problem(&answer, 416, "range_not_satisfiable");
        assert_string_equal(peer_header(&answer, "Content-Range"), "bytes */300000");
        peer_answer_release(&answer);
    }
    peer_ask(world.port, "GET", "/empty", "Range: bytes=0-\r\n", NULL, 0, &answer);
    assert_int_equal(answer.status, 416);
    peer_answer_release(&answer);
}

static void head_tells_the_size(void **state)
{
    struct peer_answer answer;
    (void)state;
    int peer = peer_dial(world.port);
    for (int i = 0; i < 2; i++) { // a range is none of HEAD's
        peer_send(peer, "HEAD /file HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n");
        assert_true(peer_read_head(peer, &answer));
        assert_int_equal(answer.status, 200);
        assert_string_equal(peer_header(&answer, "Content-Length"), "300000");
        assert_string_equal(peer_header(&answer, "Accept-Ranges"), "bytes");
    }
    close(peer);
}

static void who_leaves_leaves_no_descriptor(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int peer = peer_dial(world.port);
        peer_send(peer, i % 2 == 0 ? "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                                   : "GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
        if (i % 2 == 0)
            world_wait_for_calls(i / 2 + 1);
        close(peer);
    }
    assert_true(world_settles("efm_http_requests_in_flight", 0));
    assert_true(world_settles("efm_http_connections", 0));
}

struct kept {
    int status;
    size_t size;
    bool same;
};

static void keep_answer(void *context, struct api_reply *reply)
{
    struct kept *kept = context;
    kept->status = reply->status;
    kept->size = reply->body.size;
    kept->same = kept->size == FILE_SIZE && memcmp(reply->body.data, content, FILE_SIZE) == 0;
    api_reply_release(reply);
}

static void without_a_connection_it_is_the_body(void **state)
{
    static const char *const paths[] = {"/file", "/empty"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct kept kept = {0};
        struct srv_kept_request request = {
            .method = "GET", .target = paths[i], .request_id = "r", .answer = keep_answer, .context = &kept};
        assert_true(srv_http_replay(world.http, &request));
        assert_int_equal(kept.status, 200);
        assert_int_equal(kept.size, i == 0 ? FILE_SIZE : 0);
        assert_int_equal(kept.same, i == 0);
    }
}

static void ranges_are_read_strictly(void **state)
{
    static const struct {
        const char *header;
        uint64_t size;
        enum srv_range range;
        uint64_t offset, length;
    } cases[] = {
        {"bytes=0-9", 100, SRV_RANGE_PART, 0, 10},
        {"bytes=00-09", 100, SRV_RANGE_PART, 0, 10},
        {"bytes=99-99", 100, SRV_RANGE_PART, 99, 1},
        {"bytes=99-100", 100, SRV_RANGE_PART, 99, 1},
        {"bytes=0-", UINT64_MAX, SRV_RANGE_PART, 0, UINT64_MAX},
        {"bytes=0-18446744073709551615", UINT64_MAX, SRV_RANGE_PART, 0, UINT64_MAX},
        {"bytes=1-99999999999999999999999999", 100, SRV_RANGE_PART, 1, 99},
        {"bytes=-1", 100, SRV_RANGE_PART, 99, 1},
        {"bytes=-1000", 100, SRV_RANGE_PART, 0, 100},
        {"bytes=-99999999999999999999999999", 100, SRV_RANGE_PART, 0, 100},
        {"bytes=100-", 100, SRV_RANGE_NONE, 0, 0},
        {"bytes=100-200", 100, SRV_RANGE_NONE, 0, 0},
        {"bytes=-0", 100, SRV_RANGE_NONE, 0, 0},
        {"bytes=0-0", 0, SRV_RANGE_NONE, 0, 0},
        {"bytes=-3", 0, SRV_RANGE_WHOLE, 0, 0},
        {"", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=-", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=9-5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=1-2-3", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=--5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=+1-5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes= 1-5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=1-5 ", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes =1-5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=0x1-5", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytes=1-5,7-9", 100, SRV_RANGE_WHOLE, 0, 0},
        {"bytess=1-5", 100, SRV_RANGE_WHOLE, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t offset = 0, length = 0;
        enum srv_range range = srv_range_parse(cases[i].header, cases[i].size, &offset, &length);
        if (range != cases[i].range || offset != cases[i].offset || length != cases[i].length)
            fail_msg("%s of %llu: %d %llu %llu", cases[i].header, (unsigned long long)cases[i].size,
                     (int)range, (unsigned long long)offset, (unsigned long long)length);
    }
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(a_file_is_sent_whole),
        SERVED(a_part_is_sent),
        SERVED(what_is_no_single_range_is_ignored),
        SERVED(a_range_of_another_version_is_ignored),
        SERVED(a_version_that_is_not_wanted_is_not_sent),
        SERVED(a_range_past_the_end_is_416),
        SERVED(head_tells_the_size),
        SERVED(who_leaves_leaves_no_descriptor),
        SERVED(without_a_connection_it_is_the_body),
        cmocka_unit_test(ranges_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
