// SPDX-License-Identifier: Apache-2.0
// Datasets on their way in: larger than memory would like, in pieces of any size, refused at the first wrong byte or past the
// quota, given up half-way.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon server;
static const char *const arguments[] = {"--dataset-quota", "80M", "--max-body", "1M", NULL};

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, arguments);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

/* Files in STATE/blobs, also those that are being written. */
static size_t count_files(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;
    for (const struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        char inner[1024];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        DIR *below = opendir(inner);
        if (below != NULL)
            closedir(below);
        count += below != NULL ? count_files(inner) : 1;
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

static size_t kept_files(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/blobs", server.state);
    return count_files(path);
}

static bool settles_at(size_t files)
{
    const double give_up = test_now() + 5 * test_patience();
    // counted once a round: what was seen is the answer, for the next moment may have another
    while (kept_files() != files) {
        if (test_now() >= give_up)
            return false;
        test_sleep(0.02);
    }
    return true;
}

/* 60 MB of vectors through a body limit of 1 MB; the daemon does not grow by as much. */
static void larger_than_a_body(void **state)
{
    enum { COUNT = 15000, DIMENSION = 1000 };
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply reply;
    (void)state;
    float *values = calloc((size_t)COUNT * DIMENSION, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < (size_t)COUNT * DIMENSION; ++i)
        values[i] = (float)(i % 17) / 17;
    test_make_npy(&file, "<f4", (size_t[]){COUNT, DIMENSION}, 2, values);
    free(values);
    test_send(&server,
              &(struct test_request){
                  .method = "PUT", .path = "/v1/datasets/large", .body = file.data, .size = file.size},
              &reply);
    test_expect(&reply, 201, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), COUNT);
    assert_int_equal(json_integer_value(json_object_get(json, "bytes")), file.size);
    json_decref(json);
    test_reply_release(&reply);
    assert_true(test_daemon_metric(&server, "efm_dataset_bytes", NULL) == (double)file.size);
    // a second one has no room beside it
    test_expect_problem(
        &server,
        &(struct test_request){
            .method = "PUT", .path = "/v1/datasets/second", .body = file.data, .size = file.size},
        413, "quota_exceeded");
    efm_buffer_release(&file);
    assert_true(settles_at(2));
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/large"},
                        204);
    assert_true(settles_at(0));
}

static void write_chunk(int connection, const void *bytes, size_t size)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%zx\r\n", size);
    test_write(connection, line, (size_t)length);
    test_write(connection, bytes, size);
    test_write(connection, "\r\n", 2);
}

static const char CHUNKED[] = "PUT /v1/datasets/chunked HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n";

static void in_chunks_of_a_few_bytes(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply reply;
    (void)state;
    test_make_pictures_tar(&file, 3, 8, 3, 1);
    int connection = test_connect(&server);
    test_write(connection, CHUNKED, sizeof CHUNKED - 1);
    for (size_t at = 0, next; at < file.size; at = next) {
        next = at + 1 + at % 700;
        if (next > file.size)
            next = file.size;
        write_chunk(connection, file.data + at, next - at);
    }
    test_write(connection, "0\r\n\r\n", 5);
    test_read_reply(connection, &reply, 20 * test_patience());
    test_expect(&reply, 201, "application/json");
    test_reply_release(&reply);
    efm_buffer_release(&file);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/chunked"},
                        204);
}

/* The answer comes while most of the body is still to be sent. */
static void refused_at_the_first_wrong_byte(void **state)
{
    static const char head[] = "PUT /v1/datasets/wrong HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               "Content-Length: 50000000\r\n\r\n";
    struct test_reply reply;
    char block[2048];
    (void)state;
    memset(block, 'x', sizeof block);
    int connection = test_connect(&server);
    test_write(connection, head, sizeof head - 1);
    test_write(connection, block, sizeof block);
    test_read_reply(connection, &reply, 10 * test_patience());
    test_check_problem(&reply, 422, "invalid_dataset");
    test_reply_release(&reply);
    assert_true(settles_at(0));
    // parameters and conditions are looked at before the body
    static const char query[] =
        "PUT /v1/datasets/wrong?size=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Length: 50000000\r\n\r\n";
    connection = test_connect(&server);
    test_write(connection, query, sizeof query - 1);
    test_read_reply(connection, &reply, 10 * test_patience());
    test_check_problem(&reply, 422, "invalid_parameter");
    test_reply_release(&reply);
    static const char much[] = "PUT /v1/datasets/wrong HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               "Content-Length: 50000000000\r\n\r\n";
    connection = test_connect(&server);
    test_write(connection, much, sizeof much - 1);
    test_read_reply(connection, &reply, 10 * test_patience());
    test_check_problem(&reply, 413, "quota_exceeded");
    test_reply_release(&reply);
}

static void given_up_half_way(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    (void)state;
    test_make_pictures_tar(&file, 20, 8, 3, 1);
    for (int i = 0; i < 5; ++i) {
        int connection = test_connect(&server);
        test_write(connection, CHUNKED, sizeof CHUNKED - 1);
        write_chunk(connection, file.data, 1000 + (size_t)i * 3000);
        assert_true(settles_at(1)); // it is on the disk
        close(connection);
        assert_true(settles_at(0));
    }
    efm_buffer_release(&file);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/chunked"}, 404,
                        "unknown_dataset");
    // and the quota is free again
    const char *toy = "{\"toy\":\"gaussian\"}";
    test_put_dataset(&server, "chunked", toy, strlen(toy));
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/chunked"},
                        204);
}

static void many_at_once(void **state)
{
    enum { COUNT = 12 };
    struct efm_buffer files[2];
    struct test_request requests[COUNT];
    struct test_reply replies[COUNT];
    (void)state;
    for (size_t i = 0; i < 2; ++i) {
        files[i] = efm_buffer_limited(TEST_FILE_LIMIT);
        test_make_pictures_npy(&files[i], 200, 16, 3, 100 * i);
    }
    for (size_t i = 0; i < COUNT; ++i)
        requests[i] = (struct test_request){.method = "PUT",
                                            .path = i % 3 == 0 ? "/v1/datasets/other" : "/v1/datasets/same",
                                            .body = files[i % 2].data,
                                            .size = files[i % 2].size};
    test_send_all(&server, requests, COUNT, replies);
    size_t created = 0;
    for (size_t i = 0; i < COUNT; ++i) {
        created += replies[i].status == 201;
        if (replies[i].status != 201)
            test_expect(&replies[i], 200, "application/json");
        test_reply_release(&replies[i]);
    }
    assert_int_equal(created, 2);
    assert_true(settles_at(4)); // two datasets and their previews
    test_expect_request(&server, &(struct test_request){.path = "/v1/datasets/same/preview.png"}, 200);
    efm_buffer_release(&files[0]);
    efm_buffer_release(&files[1]);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/same"},
                        204);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/other"},
                        204);
}

static void a_kill_leaves_nothing_half(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    const char *toy = "{\"toy\":\"gaussian\"}";
    (void)state;
    test_make_pictures_tar(&file, 20, 8, 3, 1);
    test_put_dataset(&server, "whole", toy, strlen(toy));
    int connection = test_connect(&server);
    test_write(connection, CHUNKED, sizeof CHUNKED - 1);
    write_chunk(connection, file.data, file.size / 2);
    assert_true(settles_at(3));
    test_daemon_signal(&server, SIGKILL);
    assert_true(WIFSIGNALED(test_daemon_wait(&server, 10)));
    close(connection);
    test_daemon_relaunch(&server, arguments);
    assert_true(settles_at(2));
    test_expect_request(&server, &(struct test_request){.path = "/v1/datasets/whole/preview.png"}, 200);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/chunked"}, 404,
                        "unknown_dataset");
    efm_buffer_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(larger_than_a_body),
        cmocka_unit_test(in_chunks_of_a_few_bytes),
        cmocka_unit_test(refused_at_the_first_wrong_byte),
        cmocka_unit_test(given_up_half_way),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(a_kill_leaves_nothing_half),
    };
    return cmocka_run_group_tests_name("http/uploads", tests, start, stop);
}
