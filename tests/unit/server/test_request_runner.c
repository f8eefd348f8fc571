// SPDX-License-Identifier: Apache-2.0
// Requests that are answered later: run, kept, tried again, cancelled. The server that would answer them is a fake.
#include "server/jobs/request_runner.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/http.h"
#include "server/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const double SOON = 10;

static struct {
    struct srv_service service;
    struct srv_request_runner *runner;
    char id[API_JOB_ID_SIZE];
} world;

/* ---- the fake server ---- */

enum manner { ANSWERS, HOLDS, REFUSES, IS_FULL, IS_FULL_ONCE, IS_OUT_OF_MEMORY_ONCE };

enum { HELD = 8 };

static struct {
    pthread_mutex_t mutex;
    enum manner manner;
    int calls;
    char method[16], target[512], content_type[128], accept[128], request_id[128], body[64];
    size_t body_size;
    struct held {
        void (*answer)(void *context, struct api_reply *reply);
        void *context;
        atomic_bool *cancelled;
    } held[HELD];
    size_t held_count;
} server = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void answer_well(const struct held *held)
{
    struct api_reply reply;
    api_reply_init(&reply, 1024);
    snprintf(reply.content_type, sizeof reply.content_type, "image/png");
    api_reply_header(&reply, "Efm-Seed", "7");
    api_reply_header(&reply, "Server-Timing", "queue;dur=1");
    api_reply_header(&reply, "Set-Cookie", "no");
    efm_buffer_append_string(&reply.body, "picture");
    held->answer(held->context, &reply);
}

static void answer_problem(const struct held *held, enum api_problem_code code)
{
    struct api_reply reply;
    struct api_problem problem = {0};
    api_problem_set(&problem, code, "/steps", "not like this");
    api_reply_init(&reply, 4096);
    reply.status = api_problem_status(code);
    api_problem_render(&problem, "req", "", "/v1/transfer", &reply.body);
    held->answer(held->context, &reply);
}

bool srv_http_replay(struct srv_http *http, struct srv_kept_request *request)
{
    const struct held held = {request->answer, request->context, request->cancelled};
    (void)http;
    pthread_mutex_lock(&server.mutex);
    const enum manner manner = server.manner;
    server.calls++;
    snprintf(server.method, sizeof server.method, "%s", request->method);
    snprintf(server.target, sizeof server.target, "%s", request->target);
    snprintf(server.content_type, sizeof server.content_type, "%s", request->content_type);
    snprintf(server.accept, sizeof server.accept, "%s", request->accept);
    snprintf(server.request_id, sizeof server.request_id, "%s", request->request_id);
    server.body_size = request->body_size;
    if (request->body_size < sizeof server.body && request->body != NULL)
        memcpy(server.body, request->body, request->body_size);
    if (manner == HOLDS && server.held_count < HELD)
        server.held[server.held_count++] = held;
    if (manner == IS_FULL_ONCE || manner == IS_OUT_OF_MEMORY_ONCE)
        server.manner = ANSWERS;
    pthread_mutex_unlock(&server.mutex);
    efm_free(request->body);
    if (manner == IS_OUT_OF_MEMORY_ONCE)
        return false;
    if (manner == ANSWERS)
        answer_well(&held);
    else if (manner == REFUSES)
        answer_problem(&held, API_P_INVALID_PARAMETER);
    else if (manner == IS_FULL || manner == IS_FULL_ONCE)
        answer_problem(&held, API_P_QUEUE_FULL);
    return true;
}

static void behave(enum manner manner)
{
    pthread_mutex_lock(&server.mutex);
    server.manner = manner;
    pthread_mutex_unlock(&server.mutex);
}

static bool waits_for(const size_t *number, size_t value)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    const double until = srv_clock() + SOON;
    for (;;) {
        pthread_mutex_lock(&server.mutex);
        const bool reached = *number >= value;
        pthread_mutex_unlock(&server.mutex);
        if (reached || srv_clock() > until)
            return reached;
        nanosleep(&moment, NULL);
    }
}

/* What is held is answered as the scheduler would, when it is withdrawn or not. */
static void answer_held(void)
{
    pthread_mutex_lock(&server.mutex);
    const size_t count = server.held_count;
    struct held held[HELD];
    memcpy(held, server.held, sizeof held);
    server.held_count = 0;
    pthread_mutex_unlock(&server.mutex);
    for (size_t i = 0; i < count; i++) {
        if (atomic_load(held[i].cancelled))
            answer_problem(&held[i], API_P_DRAINING);
        else
            answer_well(&held[i]);
    }
}

/* ---- the world ---- */

static void on_changed(void *context, const char *id)
{
    (void)context;
    srv_request_runner_notice(world.runner, id);
}

static void on_submitted(void *context, const char *group)
{
    (void)context;
    (void)group;
    srv_request_runner_wake(world.runner);
}

static void start_runner(size_t parallel)
{
    struct efm_error error = {0};
    assert_int_equal(srv_request_runner_create(&world.runner, &world.service, parallel, &error), EFM_OK);
    const struct srv_jobs_listener listener = {NULL, on_changed, on_submitted};
    srv_jobs_listen(world.service.jobs, &listener);
}

static void stop_runner(void)
{
    srv_jobs_listen(world.service.jobs, NULL);
    srv_request_runner_destroy(world.runner);
    world.runner = NULL;
}

static int start(void **state)
{
    struct efm_error error = {0};
    struct srv_service *service = &world.service;
    (void)state;
    server.manner = ANSWERS;
    server.calls = 0;
    server.held_count = 0;
    assert_int_equal(srv_store_open_sqlite(&service->store, NULL, &error), EFM_OK);
    assert_int_equal(srv_blobs_open_memory(&service->blobs, &error), EFM_OK);
    assert_int_equal(srv_metrics_create(&service->metrics, &error), EFM_OK);
    const struct srv_jobs_options options = {.store = service->store,
                                             .blobs = service->blobs,
                                             .replica = "here",
                                             .max_waiting = 20,
                                             .max_finished = 20,
                                             .ttl = 1000};
    assert_int_equal(srv_jobs_create(&service->jobs, &options, service->metrics, NULL, &error), EFM_OK);
    start_runner(2);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    // whatever is left is answered, for the runner waits for it
    behave(ANSWERS);
    answer_held();
    stop_runner();
    srv_jobs_destroy(world.service.jobs);
    srv_metrics_destroy(world.service.metrics);
    srv_blobs_close(world.service.blobs);
    srv_store_close(world.service.store);
    return 0;
}

static void submit(const char *body)
{
    struct api_job job = {.kind = "transfer",
                          .model = "m",
                          .target = "/v1/transfer?model=m&seed=7",
                          .content_type = "image/png",
                          .accept = "image/webp"};
    const struct srv_job_input input = {
        .name = "request", .bytes = (const uint8_t *)body, .size = strlen(body)};
    struct srv_submission submission = {.job = &job, .inputs = &input, .input_count = body[0] != '\0'};
    struct api_problem problem = {0};
    if (!srv_jobs_submit(world.service.jobs, &submission, &problem))
        fail_msg("%s", problem.detail);
    memcpy(world.id, job.id, sizeof world.id);
    api_job_release(&job);
}

static void get(struct api_job *job)
{
    struct api_problem problem = {0};
    *job = (struct api_job){0};
    if (!srv_jobs_get(world.service.jobs, world.id, job, &problem))
        fail_msg("%s", problem.detail);
}

/* The job once it is in that state. */
static void expect_state(enum api_job_state state, struct api_job *out)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    const double until = srv_clock() + SOON;
    struct api_job job;
    for (;;) {
        get(&job);
        if (job.state == state || srv_clock() > until)
            break;
        api_job_release(&job);
        nanosleep(&moment, NULL);
    }
    assert_int_equal(job.state, state);
    if (out != NULL)
        *out = job;
    else
        api_job_release(&job);
}

/* ---- tests ---- */

static void the_answer_is_kept(void **state)
{
    struct api_job job;
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    (void)state;
    submit("bytes");
    expect_state(API_JOB_SUCCEEDED, &job);
    assert_int_equal(job.result_status, 200);
    assert_string_equal(job.result_type, "image/png");
    assert_string_equal(job.result_headers, "Efm-Seed: 7\nServer-Timing: queue;dur=1\n");
    assert_int_equal(job.result_size, 7);
    api_job_release(&job);
    srv_jobs_blob_key(world.id, "result", key);
    assert_int_equal(srv_blobs_open(world.service.blobs, key, &blob, &error), EFM_OK);
    assert_int_equal(srv_blob_size(blob), 7);
    assert_memory_equal(srv_blob_map(blob, &error), "picture", 7);
    srv_blob_close(blob);
    assert_string_equal(server.method, "POST");
    assert_string_equal(server.target, "/v1/transfer?model=m&seed=7");
    assert_string_equal(server.content_type, "image/png");
    assert_string_equal(server.accept, "image/webp");
    assert_string_equal(server.request_id, world.id);
    assert_int_equal(server.body_size, 5);
    assert_memory_equal(server.body, "bytes", 5);
}

static void a_request_may_have_no_body(void **state)
{
    (void)state;
    submit("");
    expect_state(API_JOB_SUCCEEDED, NULL);
    assert_int_equal(server.body_size, 0);
}

static void a_refusal_becomes_the_error(void **state)
{
    struct api_job job;
    (void)state;
    behave(REFUSES);
    submit("x");
    expect_state(API_JOB_FAILED, &job);
    assert_string_equal(job.error_code, "invalid_parameter");
    assert_string_equal(job.error_pointer, "/steps");
    assert_non_null(strstr(job.error_message, "not like this"));
    api_job_release(&job);
}

static void what_finds_no_room_is_tried_again(void **state)
{
    (void)state;
    behave(IS_FULL_ONCE);
    submit("x");
    expect_state(API_JOB_SUCCEEDED, NULL);
    assert_int_equal(server.calls, 2);
    behave(IS_OUT_OF_MEMORY_ONCE);
    submit("y");
    expect_state(API_JOB_SUCCEEDED, NULL);
    assert_int_equal(server.calls, 4);
}

static void a_cancelled_request_ends(void **state)
{
    struct api_job job = {0};
    struct api_problem problem = {0};
    (void)state;
    behave(HOLDS);
    submit("x");
    assert_true(waits_for(&server.held_count, 1));
    assert_true(srv_jobs_cancel(world.service.jobs, world.id, &job, &problem));
    api_job_release(&job);
    const double until = srv_clock() + SOON;
    while (!atomic_load(server.held[0].cancelled) && srv_clock() < until) {
    }
    assert_true(atomic_load(server.held[0].cancelled));
    answer_held();
    expect_state(API_JOB_CANCELLED, NULL);
}

static void only_so_many_run_at_once(void **state)
{
    (void)state;
    behave(HOLDS);
    for (int i = 0; i < 4; i++)
        submit("x");
    assert_true(waits_for(&server.held_count, 2));
    const struct timespec moment = {.tv_nsec = 100000000};
    nanosleep(&moment, NULL);
    assert_int_equal(server.held_count, 2);
    answer_held();
    assert_true(waits_for(&server.held_count, 2));
    answer_held();
    expect_state(API_JOB_SUCCEEDED, NULL);
}

static void a_stop_lets_end_what_runs_and_begins_nothing(void **state)
{
    char first[API_JOB_ID_SIZE];
    struct api_problem problem = {0};
    struct api_job job = {0};
    (void)state;
    behave(HOLDS);
    submit("x");
    memcpy(first, world.id, sizeof first);
    assert_true(waits_for(&server.held_count, 1));
    srv_request_runner_stop(world.runner, false);
    submit("y");
    answer_held();
    stop_runner();
    expect_state(API_JOB_QUEUED, NULL);
    assert_true(srv_jobs_get(world.service.jobs, first, &job, &problem));
    assert_int_equal(job.state, API_JOB_SUCCEEDED);
    api_job_release(&job);
    start_runner(1);
}

static void a_stop_at_once_gives_back(void **state)
{
    (void)state;
    behave(HOLDS);
    submit("x");
    assert_true(waits_for(&server.held_count, 1));
    srv_request_runner_stop(world.runner, true);
    const double until = srv_clock() + SOON;
    while (!atomic_load(server.held[0].cancelled) && srv_clock() < until) {
    }
    answer_held();
    stop_runner();
    expect_state(API_JOB_QUEUED, NULL);
    // and the next one runs it
    behave(ANSWERS);
    start_runner(1);
    expect_state(API_JOB_SUCCEEDED, NULL);
}

#define RAN(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAN(the_answer_is_kept),
        RAN(a_request_may_have_no_body),
        RAN(a_refusal_becomes_the_error),
        RAN(what_finds_no_room_is_tried_again),
        RAN(a_cancelled_request_ends),
        RAN(only_so_many_run_at_once),
        RAN(a_stop_lets_end_what_runs_and_begins_nothing),
        RAN(a_stop_at_once_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
