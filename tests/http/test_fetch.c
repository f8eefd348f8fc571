// SPDX-License-Identifier: Apache-2.0
// Trainings on what lies at a URL: fetched from where the operator allows it, checked, bounded, cancelled.
#include "core/base/sha256.h"
#include "tests/support/check.h"
#include "tests/support/job.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/receiver.h"

#include <stdio.h>
#include <string.h>

enum { SAMPLES = 200 };

static struct test_daemon server;
static struct test_receiver receiver;
static struct efm_buffer points;
static char points_head[128];

static int make_points(void **state)
{
    static float values[SAMPLES * 2];
    (void)state;
    for (size_t i = 0; i < SAMPLES * 2; i++)
        values[i] = (float)(i * 37 % 100) / 50 - 1;
    points = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_npy(&points, "<f4", (const size_t[]){SAMPLES, 2}, 2, values);
    snprintf(points_head, sizeof points_head,
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", points.size);
    return 0;
}

static int release_points(void **state)
{
    (void)state;
    efm_buffer_release(&points);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    test_receiver_stop(&receiver);
    return 0;
}

/* A receiver and a daemon that may fetch from it, under this name, when its address is in these networks. */
static void start_as(const char *host, const char *networks, const struct test_answer *answers, size_t count)
{
    char prefix[128];
    test_receiver_start(&receiver, answers, count);
    snprintf(prefix, sizeof prefix, "http://%s:%u/sets", host, receiver.port);
    test_daemon_start(&server, (const char *const[]){"--fetch-allow", prefix, "--allow-private", networks,
                                                     "--fetch-limit", "100K", NULL});
}

static void start(const struct test_answer *answers, size_t count)
{
    start_as("127.0.0.1", "127.0.0.1", answers, count);
}

/* Trains on it; the error code of the job that ended, or "" when it succeeded. */
static void train(const char *path, const char *sha256, const char *model, char code[64])
{
    char json[1024], id[TEST_JOB_ID];
    snprintf(json, sizeof json,
             "{\"source\":\"gaussian\",\"target\":{\"url\":\"http://"
             "127.0.0.1:%u%s\"%s%s%s},\"model\":\"%s\"," TEST_SMALL_TRAINING "}",
             receiver.port, path, sha256[0] == '\0' ? "" : ",\"sha256\":\"", sha256,
             sha256[0] == '\0' ? "" : "\"", model);
    test_post_training(&server, json, NULL, id);
    json_t *job = test_await_job(&server, id);
    snprintf(code, 64, "%s", test_job_text(job, "error", "code"));
    assert_string_equal(test_job_text(job, NULL, "status"), code[0] == '\0' ? "succeeded" : "failed");
    if (code[0] != '\0')
        assert_string_equal(test_job_text(job, "error", "param"), "/target");
    json_decref(job);
}

static void a_dataset_at_a_url_is_trained_on(void **state)
{
    const struct test_answer answers[] = {{points_head, .body = points.data, .size = points.size}};
    char code[64], digest[65];
    (void)state;
    start(answers, 1);
    efm_sha256_hex(points.data, points.size, digest);
    train("/sets/points.npy?token=secret", digest, "fetched", code);
    assert_string_equal(code, "");
    assert_memory_equal(receiver.received[0].head, "GET /sets/points.npy?token=secret HTTP/1.1\r\n", 43);
    assert_int_equal(test_receiver_count(&receiver), 1);
    test_expect_request(
        &server,
        &(struct test_request){.method = "POST", .path = "/v1/generate?model=fetched&n=2&format=json"}, 200);
    assert_true(test_daemon_metric(&server, "efm_fetched_bytes_total", NULL) == (double)points.size);
    train("/sets/points.npy", "", "again", code);
    assert_string_equal(code, "");
    digest[0] = digest[0] == '0' ? '1' : '0';
    train("/sets/points.npy", digest, "other", code);
    assert_string_equal(code, "sha256_mismatch");
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/other"}, 404);
}

static void what_is_no_dataset_fails_the_job(void **state)
{
    const struct test_answer answers[] = {
        {"HTTP/1.1 404 None\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        {"HTTP/1.1 302 Found\r\nLocation: /sets/other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        {TEST_ANSWER_200},
        {points_head, .body = points.data, .size = points.size - 1},
        {"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", .filler = 1000, .lingers = true},
        {NULL},
    };
    static const char *const codes[] = {"fetch_failed", "fetch_failed",      "invalid_dataset",
                                        "fetch_failed", "dataset_too_large", "fetch_failed"};
    char code[64];
    (void)state;
    start(answers, 6);
    for (size_t i = 0; i < 6; i++) {
        train("/sets/x", "", "none", code);
        assert_string_equal(code, codes[i]);
    }
    assert_int_equal(test_receiver_count(&receiver), 6); // no redirect is followed
}

static void other_addresses_are_refused_at_once(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    static const char *const urls[] = {
        "http://127.0.0.1:%u/private",    "http://127.0.0.1:%u/sets/%2e%2e/private",
        "http://127.0.0.2:%u/sets/x",     "http://localhost:%u/sets/x",
        "https://127.0.0.1:%u/sets/x",    "http://user:secret@127.0.0.1:%u/sets/x",
        "http://127.0.0.1:%u@evil/sets/x"};
    (void)state;
    start(answers, 1);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char url[256], json[512];
        const char *hole = strstr(urls[i], "%u");
        snprintf(url, sizeof url, "%.*s%u%s", (int)(hole - urls[i]), urls[i], receiver.port, hole + 2);
        snprintf(json, sizeof json, "{\"source\":\"gaussian\",\"target\":\"%s\"," TEST_SMALL_TRAINING "}",
                 url);
        test_expect_problem(
            &server,
            &(struct test_request){
                .path = "/train", .type = "application/json", .body = json, .size = strlen(json)},
            422, "url_refused");
    }
    assert_int_equal(test_receiver_count(&receiver), 0);
}

static void a_name_for_a_private_address_is_not_gone_to(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    char json[512], id[TEST_JOB_ID];
    (void)state;
    start_as("localhost", "10.0.0.0/8", answers, 1);
    snprintf(json, sizeof json,
             "{\"source\":\"gaussian\",\"target\":\"http://localhost:%u/sets/x\"," TEST_SMALL_TRAINING "}",
             receiver.port);
    test_post_training(&server, json, NULL, id);
    json_t *job = test_await_job(&server, id);
    assert_string_equal(test_job_text(job, "error", "code"), "url_refused");
    json_decref(job);
    assert_int_equal(test_receiver_count(&receiver), 0);
}

static void a_fetch_is_cancelled(void **state)
{
    static const struct test_answer answers[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", .delay = 0.1, .lingers = true}};
    char json[512], id[TEST_JOB_ID], path[TEST_JOB_ID + 32];
    struct test_reply reply;
    (void)state;
    start(answers, 1);
    snprintf(json, sizeof json,
             "{\"source\":\"gaussian\",\"target\":\"http://127.0.0.1:%u/sets/x\"," TEST_SMALL_TRAINING "}",
             receiver.port);
    test_post_training(&server, json, NULL, id);
    assert_true(test_receiver_waits(&receiver, 1, 10));
    const double begun = test_now();
    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", id);
    test_send(&server, &(struct test_request){.method = "POST", .path = path}, &reply);
    test_expect(&reply, 202, "application/json");
    test_reply_release(&reply);
    json_t *job = test_await_job(&server, id);
    assert_string_equal(test_job_text(job, NULL, "status"), "cancelled");
    json_decref(job);
    assert_true(test_now() - begun < 5 * test_patience());
}

#define CASE(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_dataset_at_a_url_is_trained_on),
        CASE(what_is_no_dataset_fails_the_job),
        CASE(other_addresses_are_refused_at_once),
        CASE(a_name_for_a_private_address_is_not_gone_to),
        CASE(a_fetch_is_cancelled),
    };
    return cmocka_run_group_tests_name("http/fetch", tests, make_points, release_points);
}
