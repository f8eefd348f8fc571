// SPDX-License-Identifier: Apache-2.0
// Prefer: respond-async: transfers and generations as jobs, with the bytes that the same request gets at once.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct test_daemon server;

enum { ID = 64 };

#define ASYNC "Prefer: respond-async"

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server,
                      (const char *const[]){"--shutdown-timeout", "0.5", "--max-timeout", "3600", NULL});
    test_world_pictures(&server);
    test_world_slow(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

static void post(const struct test_request *request, char *id)
{
    struct test_reply reply;
    char applied[64];
    test_send(&server, request, &reply);
    test_expect(&reply, 202, "application/json");
    assert_string_equal(test_reply_header(&reply, "Preference-Applied", applied, sizeof applied),
                        "respond-async");
    json_t *job = test_reply_json(&reply);
    snprintf(id, ID, "%s", text_of(job, "id"));
    json_decref(job);
    test_reply_release(&reply);
}

static const char *path_of(const char *id, const char *rest)
{
    static char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s%s", id, rest);
    return path;
}

static json_t *get_job(const char *id, const char *query)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path_of(id, query)}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *job = test_reply_json(&reply);
    test_reply_release(&reply);
    return job;
}

static json_t *expect_status(const char *id, const char *wanted)
{
    const double until = test_now() + 30 * test_patience();
    for (;;) {
        json_t *job = get_job(id, "");
        const char *status = text_of(job, "status");
        if (strcmp(status, wanted) == 0)
            return job;
        if (test_now() > until || (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0))
            fail_msg("not %s: %s", wanted, json_dumps(job, 0));
        json_decref(job);
        test_sleep(0.02);
    }
}

static void expect_same(const struct test_request *direct, const char *id)
{
    struct test_reply wanted, kept;
    char one[128], two[128];
    json_decref(expect_status(id, "succeeded"));
    test_send(&server, direct, &wanted);
    test_expect(&wanted, 200, NULL);
    test_send(&server, &(struct test_request){.path = path_of(id, "/result")}, &kept);
    test_expect(&kept, 200, NULL);
    assert_int_equal(wanted.size, kept.size);
    assert_memory_equal(wanted.body, kept.body, kept.size);
    static const char *const headers[] = {"Content-Type", "Efm-Seed", "Efm-Model", "Efm-Steps"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_string_equal(test_reply_header(&wanted, headers[i], one, sizeof one),
                            test_reply_header(&kept, headers[i], two, sizeof two));
    test_reply_release(&wanted);
    test_reply_release(&kept);
}

/* ---- tests ---- */

static void a_transfer_later_gives_the_same_bytes(void **state)
{
    char id[ID];
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    (void)state;
    test_make_picture(&png, 8, 3, 42, EFM_IMAGE_PNG);
    struct test_request request = {.method = "POST",
                                   .path = "/v1/transfer?model=pictures&seed=7",
                                   .accept = "image/webp, image/png;q=0.5",
                                   .header = ASYNC,
                                   .body = png.data,
                                   .size = png.size};
    post(&request, id);
    request.header = NULL;
    expect_same(&request, id);
    // a form, by another path
    const struct test_part parts[] = {
        {.name = "image", .filename = "a.png", .data = png.data, .size = png.size},
        {.name = "model", .data = "pictures", .size = 8},
        {.name = "seed", .data = "8", .size = 1}};
    request = (struct test_request){.path = "/transfer", .header = ASYNC, .parts = parts, .part_count = 3};
    post(&request, id);
    request.header = NULL;
    expect_same(&request, id);
    efm_buffer_release(&png);
}

static void a_seed_that_was_not_given_is_chosen_and_shown(void **state)
{
    char id[ID], path[128];
    (void)state;
    post(&(struct test_request){.method = "POST", .path = "/v1/generate?model=pictures&n=3", .header = ASYNC},
         id);
    json_t *job = expect_status(id, "succeeded");
    assert_string_equal(text_of(job, "kind"), "generate");
    assert_string_equal(text_of(job, "model"), "pictures");
    snprintf(path, sizeof path, "/v1/generate?model=pictures&n=3&seed=%lld",
             (long long)json_integer_value(json_object_get(job, "seed")));
    json_decref(job);
    expect_same(&(struct test_request){.method = "POST", .path = path}, id);
}

static void what_is_wrong_is_said_at_once(void **state)
{
    (void)state;
    test_expect_problem(
        &server,
        &(struct test_request){.method = "POST", .path = "/v1/generate?model=nobody", .header = ASYNC}, 404,
        "unknown_model");
    test_expect_problem(&server,
                        &(struct test_request){
                            .method = "POST", .path = "/v1/generate?model=pictures&stepz=1", .header = ASYNC},
                        422, "unknown_parameter");
    test_expect_problem(
        &server,
        &(struct test_request){.method = "POST", .path = "/v1/transfer?model=pictures", .header = ASYNC}, 400,
        "empty_body");
    test_expect_problem(&server,
                        &(struct test_request){.method = "POST", .path = "/v1/generate", .header = ASYNC},
                        422, "missing_parameter");
    test_expect_problem(&server,
                        &(struct test_request){.method = "POST",
                                               .path = "/v1/generate?model=pictures&timeout=3601",
                                               .header = ASYNC},
                        422, "invalid_parameter");
}

static void a_key_makes_one_job(void **state)
{
    static const char headers[] = ASYNC "\nIdempotency-Key: twice";
    char first[ID], second[ID];
    const struct test_request request = {
        .method = "POST", .path = "/v1/generate?model=pictures", .header = headers};
    (void)state;
    post(&request, first);
    post(&request, second);
    assert_string_equal(first, second);
}

static void what_is_no_key_is_refused_without_a_job_too(void **state)
{
    (void)state;
    test_expect_problem(&server,
                        &(struct test_request){.method = "POST",
                                               .path = "/v1/generate?model=pictures",
                                               .header = "Idempotency-Key: \"not closed"},
                        400, "malformed_request");
}

static void a_refusal_later_is_the_error_of_the_job(void **state)
{
    char id[ID];
    (void)state;
    post(&(struct test_request){.method = "POST", .path = TEST_SLOW "&timeout=0.05", .header = ASYNC}, id);
    json_t *job = expect_status(id, "failed");
    assert_string_equal(text_of(json_object_get(job, "error"), "code"), "deadline_exceeded");
    json_decref(job);
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/result")}, 409, "conflict");
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/loss.png")}, 404, "not_found");
}

static void a_running_one_ends_when_asked(void **state)
{
    char id[ID];
    (void)state;
    post(&(struct test_request){.method = "POST", .path = TEST_SLOW, .header = ASYNC}, id);
    json_decref(expect_status(id, "running"));
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/result")}, 409, "not_finished");
    const double begun = test_now();
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = path_of(id, "/cancel")},
                        202);
    json_decref(expect_status(id, "cancelled"));
    assert_true(test_now() - begun < 4 * test_patience());
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 10));
}

static void a_restart_runs_it_again(void **state)
{
    char id[ID];
    (void)state;
    post(&(struct test_request){.method = "POST", .path = TEST_SLOW, .header = ASYNC}, id);
    json_decref(expect_status(id, "running"));
    test_daemon_restart(&server, NULL);
    json_decref(expect_status(id, "running"));
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = path_of(id, "/cancel")},
                        202);
    json_decref(expect_status(id, "cancelled"));
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = path_of(id, "")}, 204);
}

/* Jobs have places of their own, and the time that they name: clients that wait for their answers take neither from them. */
static void a_full_queue_holds_up_no_job(void **state)
{
    static const struct test_request small = {
        .method = "POST", .path = "/v1/generate?model=slow&solver=euler&steps=2&n=1&seed=1", .header = ASYNC};
    static const char busy[] =
        "POST " TEST_SLOW "&timeout=600 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    char id[ID], long_one[ID];
    struct test_reply reply;
    (void)state;
    test_daemon_restart(
        &server, (const char *const[]){"--queue", "1", "--timeout", "1", "--shutdown-timeout", "0.5", NULL});
    int connection = test_connect(&server);
    test_write(connection, busy, sizeof busy - 1);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 32, 10));
    test_expect_problem(&server, &(struct test_request){.method = "POST", .path = small.path}, 429,
                        "queue_full");
    post(&small, id);
    json_decref(expect_status(id, "succeeded"));
    test_send(&server, &(struct test_request){.path = path_of(id, "/events"), .accept = "application/json"},
              &reply);
    test_expect(&reply, 200, "application/json");
    json_t *events = test_reply_json(&reply);
    assert_true(json_array_size(json_object_get(events, "data")) <
                6); // and not one for each time that it found no room
    json_decref(events);
    test_reply_release(&reply);
    post(&(struct test_request){.method = "POST", .path = TEST_SLOW, .header = ASYNC}, long_one);
    test_sleep(1.5); // past --timeout
    json_decref(expect_status(long_one, "running"));
    test_expect_request(&server, &(struct test_request){.path = "/v1/jobs"}, 200);
    test_expect_request(&server,
                        &(struct test_request){.method = "POST", .path = path_of(long_one, "/cancel")}, 202);
    json_decref(expect_status(long_one, "cancelled"));
    close(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transfer_later_gives_the_same_bytes),
        cmocka_unit_test(a_seed_that_was_not_given_is_chosen_and_shown),
        cmocka_unit_test(what_is_wrong_is_said_at_once),
        cmocka_unit_test(a_key_makes_one_job),
        cmocka_unit_test(what_is_no_key_is_refused_without_a_job_too),
        cmocka_unit_test(a_refusal_later_is_the_error_of_the_job),
        cmocka_unit_test(a_running_one_ends_when_asked),
        cmocka_unit_test(a_restart_runs_it_again),
        cmocka_unit_test(a_full_queue_holds_up_no_job),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
