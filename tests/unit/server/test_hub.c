// SPDX-License-Identifier: Apache-2.0
// Clients that wait for a job: long polls and streams of events, with exchanges that are not there.
#include "server/jobs/hub.h"

#include "server/jobs/jobs.h"
#include "server/metrics.h"
#include "tests/unit/server/fake_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { LIMIT = 4 };
/* Seconds in which what shall happen happens, and in which what shall not would have. */
static const double SOON = 10, WHILE = 0.15;

static struct {
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_metrics *metrics;
    struct srv_jobs *jobs;
    struct srv_hub *hub;
    struct srv_exchange exchanges[LIMIT + 1];
    char id[API_JOB_ID_SIZE];
    struct api_job job; /* claimed */
} world;

static void on_changed(void *context, const char *id)
{
    srv_hub_notify(context, id);
}

static void submit(void)
{
    struct api_job job = {.kind = "train", .model = "m"};
    struct srv_submission submission = {.job = &job};
    struct api_problem problem = {0};
    if (!srv_jobs_submit(world.jobs, &submission, &problem))
        fail_msg("%s", problem.detail);
    memcpy(world.id, job.id, sizeof world.id);
    api_job_release(&job);
}

static int start(void **state)
{
    struct efm_error error = {0};
    (void)state;
    assert_int_equal(srv_store_open_sqlite(&world.store, NULL, &error), EFM_OK);
    assert_int_equal(srv_blobs_open_memory(&world.blobs, &error), EFM_OK);
    assert_int_equal(srv_metrics_create(&world.metrics, &error), EFM_OK);
    const struct srv_jobs_options options = {.store = world.store,
                                             .blobs = world.blobs,
                                             .replica = "here",
                                             .max_waiting = 10,
                                             .max_finished = 10,
                                             .ttl = 1000};
    assert_int_equal(srv_jobs_create(&world.jobs, &options, world.metrics, NULL, &error), EFM_OK);
    assert_int_equal(srv_hub_create(&world.hub, world.jobs, LIMIT, world.metrics, NULL, &error), EFM_OK);
    const struct srv_jobs_listener listener = {world.hub, on_changed, NULL};
    srv_jobs_listen(world.jobs, &listener);
    submit();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    srv_jobs_listen(world.jobs, NULL);
    srv_hub_destroy(world.hub);
    for (size_t i = 0; i <= LIMIT; i++)
        fake_release(&world.exchanges[i]);
    api_job_release(&world.job);
    world.job = (struct api_job){0};
    srv_jobs_destroy(world.jobs);
    srv_metrics_destroy(world.metrics);
    srv_blobs_close(world.blobs);
    srv_store_close(world.store);
    return 0;
}

/* ---- short words ---- */

static void claim(void)
{
    struct efm_error error = {0};
    assert_int_equal(srv_jobs_claim(world.jobs, "train", &world.job, &error), EFM_OK);
}

static void report(uint64_t step)
{
    char data[64];
    struct efm_error error = {0};
    snprintf(data, sizeof data, "{\"step\":%d}", (int)step);
    const struct api_event event = {.type = "metrics", .level = "info", .data = data};
    world.job.step = step;
    assert_int_equal(srv_jobs_progress(world.jobs, &world.job, &event, &error), EFM_OK);
}

static void finish(void)
{
    struct efm_error error = {0};
    world.job.state = API_JOB_SUCCEEDED;
    assert_int_equal(srv_jobs_finish(world.jobs, &world.job, &error), EFM_OK);
}

static bool says(const struct srv_exchange *exchange, const char *words)
{
    const struct efm_buffer *body = &exchange->reply.body;
    return body->size > 0 && memmem(body->data, body->size, words, strlen(words)) != NULL;
}

static struct srv_exchange *poll_job(size_t index, const char *etag, double seconds)
{
    struct srv_exchange *exchange = &world.exchanges[index];
    fake_release(exchange);
    srv_hub_poll(world.hub, exchange, world.id, etag, seconds);
    return exchange;
}

static struct srv_exchange *follow(size_t index, uint64_t after)
{
    struct srv_exchange *exchange = &world.exchanges[index];
    fake_release(exchange);
    srv_hub_follow(world.hub, exchange, world.id, after);
    return exchange;
}

static bool contains(const struct srv_stream *stream, const char *words, double seconds)
{
    const double until = srv_clock() + seconds;
    for (;;) {
        pthread_mutex_lock(&fake_mutex);
        const bool found = strstr(stream->text, words) != NULL;
        pthread_mutex_unlock(&fake_mutex);
        if (found || srv_clock() > until)
            return found;
        fake_sleep(0.002);
    }
}

static size_t times(const char *text, const char *word)
{
    size_t count = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        count++;
    return count;
}

static double streams(void)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    double value = 0;
    srv_metrics_render(world.metrics, &out);
    efm_buffer_append(&out, "", 1);
    const char *line = strstr((const char *)out.data, "\nefm_event_streams ");
    if (line != NULL)
        sscanf(line, "\nefm_event_streams %lf", &value);
    efm_buffer_release(&out);
    return value;
}

/* ---- long polls ---- */

static void without_a_wait_the_job_comes_at_once(void **state)
{
    (void)state;
    struct srv_exchange *exchange = poll_job(0, "", 0);
    assert_true(exchange->deferred);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 200);
    assert_true(says(exchange, "\"queued\""));
    assert_int_equal(fake_header(exchange, "ETag")[0], '"');
    // and a 304 to whoever has it
    char etag[80];
    snprintf(etag, sizeof etag, "W/\"x\", %s", fake_header(exchange, "ETag"));
    exchange = poll_job(0, etag, 0);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 304);
    assert_int_equal(exchange->reply.body.size, 0);
}

static bool tags_fail; /* as without memory */

void __real_api_job_etag(const struct api_job *job, char out[72]);
void __wrap_api_job_etag(const struct api_job *job, char out[72]);
void __wrap_api_job_etag(const struct api_job *job, char out[72])
{
    if (tags_fail)
        out[0] = '\0';
    else
        __real_api_job_etag(job, out);
}

static void a_job_without_a_tag_is_not_one_that_they_have(void **state)
{
    static const char *const known[] = {"", "\"0123\"", "W/\"0\", \"1\""};
    (void)state;
    tags_fail = true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct srv_exchange *exchange = poll_job(0, known[i], 0);
        const bool answered = fake_answered(exchange, SOON);
        assert_true(answered);
        assert_int_equal(exchange->status, 200);
        assert_true(says(exchange, "\"queued\""));
        assert_int_equal(exchange->reply.header_count, 0);
    }
    tags_fail = false;
}

static void an_unknown_job_is_a_problem(void **state)
{
    struct srv_exchange *poll = &world.exchanges[0], *stream = &world.exchanges[1];
    (void)state;
    srv_hub_poll(world.hub, poll, "job_nobody", NULL, 60);
    srv_hub_follow(world.hub, stream, "job_nobody", 0);
    assert_true(fake_answered(poll, SOON) && fake_answered(stream, SOON));
    assert_int_equal(poll->problem.code, API_P_UNKNOWN_JOB);
    assert_int_equal(stream->problem.code, API_P_UNKNOWN_JOB);
}

static void a_wait_ends_with_the_status(void **state)
{
    (void)state;
    claim();
    struct srv_exchange *exchange = poll_job(0, NULL, 60);
    report(1);
    assert_false(fake_answered(exchange, WHILE));
    finish();
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 200);
    assert_true(says(exchange, "\"succeeded\""));
    // of a job that has ended nothing is to be waited for
    exchange = poll_job(1, NULL, 60);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 200);
}

static void a_wait_for_another_tag_ends_with_any_change(void **state)
{
    char etag[80];
    (void)state;
    claim();
    struct srv_exchange *exchange = poll_job(0, "", 0);
    assert_true(fake_answered(exchange, SOON));
    snprintf(etag, sizeof etag, "%s", fake_header(exchange, "ETag"));
    exchange = poll_job(0, etag, 60);
    assert_false(fake_answered(exchange, WHILE));
    report(7);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 200);
    assert_true(says(exchange, "\"step\":7"));
    snprintf(etag, sizeof etag, "%s", fake_header(exchange, "ETag"));
    exchange = poll_job(0, etag, 0.1);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 304);
}

static void what_is_no_tag_does_not_end_a_wait(void **state)
{
    static const char *const none[LIMIT] = {"", ",", "\"0123", "*, \"0123\""};
    (void)state;
    claim();
    for (size_t i = 0; i < LIMIT; i++)
        poll_job(i, none[i], 60);
    for (size_t i = 0; i < LIMIT; i++)
        assert_false(fake_answered(&world.exchanges[i], WHILE));
    srv_hub_drain(world.hub);
    for (size_t i = 0; i < LIMIT; i++) {
        assert_true(fake_answered(&world.exchanges[i], SOON));
        assert_int_equal(world.exchanges[i].status, 200);
    }
}

static void a_wait_has_its_end(void **state)
{
    (void)state;
    const double begun = srv_clock();
    struct srv_exchange *exchange = poll_job(0, NULL, 0.1);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->status, 200);
    assert_true(srv_clock() - begun > 0.09);
}

static void what_another_replica_did_is_seen_without_a_word(void **state)
{
    (void)state;
    claim();
    struct srv_exchange *exchange = poll_job(0, NULL, 60);
    assert_false(fake_answered(exchange, WHILE));
    srv_jobs_listen(world.jobs, NULL);
    finish();
    assert_true(fake_answered(exchange, SOON));
}

static void who_hangs_up_is_forgotten(void **state)
{
    (void)state;
    struct srv_exchange *exchange = poll_job(0, NULL, 60);
    atomic_store(&exchange->cancelled, true);
    assert_true(fake_answered(exchange, SOON));
}

static void too_many_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LIMIT; i++)
        poll_job(i, NULL, 60);
    struct srv_exchange *exchange = poll_job(LIMIT, NULL, 60);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->problem.code, API_P_QUEUE_FULL);
    assert_true(exchange->problem.retry_after > 0);
    assert_false(fake_answered(&world.exchanges[0], 0));
}

/* ---- streams ---- */

static void a_stream_tells_all_once_and_ends(void **state)
{
    (void)state;
    struct srv_exchange *exchange = follow(0, 0);
    struct srv_stream *stream = &exchange->stream;
    assert_true(contains(stream, "\"queued\"", SOON));
    assert_true(exchange->deferred);
    assert_int_equal(exchange->status, 200);
    assert_string_equal(exchange->reply.content_type, "text/event-stream");
    assert_int_equal(strncmp(stream->text, "retry: 2000\n\n", 13), 0);
    assert_true(streams() == 1);
    claim();
    for (uint64_t step = 1; step <= 150; step++) // more than a helping
        report(step);
    finish();
    assert_true(fake_settles(&stream->ended, SOON));
    assert_true(streams() == 0);
    assert_int_equal(times(stream->text, "event: metrics\n"), 150);
    assert_int_equal(times(stream->text, "event: state\n"), 3);
    assert_non_null(strstr(stream->text, "\"succeeded\""));
    uint64_t last = 0;
    for (const char *at = stream->text; (at = strstr(at, "id: ")) != NULL; at += 4) {
        unsigned long long id = 0;
        if (at != stream->text && at[-1] != '\n')
            continue;
        assert_int_equal(sscanf(at, "id: %llu", &id), 1);
        assert_true(id > last);
        last = id;
    }
    // whoever comes back hears the rest, and then that there is none
    struct srv_exchange *again = follow(1, last - 1);
    assert_true(fake_settles(&again->stream.ended, SOON));
    assert_int_equal(times(again->stream.text, "event: "), 1);
    again = follow(1, last);
    assert_true(fake_answered(again, SOON));
    assert_int_equal(again->status, 204);
}

static void a_slow_client_is_not_fed(void **state)
{
    (void)state;
    claim();
    struct srv_exchange *exchange = follow(0, 0);
    struct srv_stream *stream = &exchange->stream;
    assert_true(contains(stream, "\"running\"", SOON));
    pthread_mutex_lock(&fake_mutex);
    stream->pending = 1 << 20;
    pthread_mutex_unlock(&fake_mutex);
    report(5);
    assert_false(contains(stream, "\"step\":5", WHILE));
    pthread_mutex_lock(&fake_mutex);
    stream->pending = 0;
    pthread_mutex_unlock(&fake_mutex);
    assert_true(contains(stream, "\"step\":5", SOON));
}

static void who_left_gets_no_more(void **state)
{
    (void)state;
    struct srv_exchange *exchange = follow(0, 0);
    assert_true(contains(&exchange->stream, "\"queued\"", SOON));
    pthread_mutex_lock(&fake_mutex);
    exchange->stream.gone = true;
    pthread_mutex_unlock(&fake_mutex);
    assert_true(fake_settles(&exchange->stream.ended, SOON));
    exchange = &world.exchanges[1];
    exchange->nobody = true; // gone before the first word
    srv_hub_follow(world.hub, exchange, world.id, 0);
    assert_true(fake_answered(exchange, SOON));
    assert_true(streams() == 0);
}

static void a_deleted_job_ends_its_streams(void **state)
{
    struct api_problem problem = {0};
    struct srv_exchange *exchange;
    (void)state;
    claim();
    finish();
    assert_true(srv_jobs_delete(world.jobs, world.id, &problem));
    exchange = follow(0, 0);
    assert_true(fake_answered(exchange, SOON));
    assert_int_equal(exchange->problem.code, API_P_GONE);
}

static void draining_sends_all_home(void **state)
{
    (void)state;
    struct srv_exchange *poll = poll_job(0, NULL, 60), *stream = follow(1, 0);
    assert_true(contains(&stream->stream, "\"queued\"", SOON));
    srv_hub_drain(world.hub);
    assert_true(fake_answered(poll, SOON));
    assert_int_equal(poll->status, 200);
    assert_true(fake_settles(&stream->stream.ended, SOON));
    // and those who come later
    poll = poll_job(2, NULL, 60);
    stream = follow(3, 0);
    assert_true(fake_answered(poll, SOON));
    assert_true(fake_settles(&stream->stream.ended, SOON));
}

static void the_end_answers_all(void **state)
{
    struct efm_error error = {0};
    (void)state;
    struct srv_exchange *poll = poll_job(0, NULL, 60), *stream = follow(1, 0);
    srv_jobs_listen(world.jobs, NULL);
    srv_hub_destroy(world.hub);
    assert_int_equal(poll->answers, 1);
    assert_int_equal(stream->answers, 1);
    assert_true(stream->stream.ended);
    assert_int_equal(srv_hub_create(&world.hub, world.jobs, LIMIT, world.metrics, NULL, &error), EFM_OK);
}

#define WAITED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAITED(without_a_wait_the_job_comes_at_once),
        WAITED(a_job_without_a_tag_is_not_one_that_they_have),
        WAITED(an_unknown_job_is_a_problem),
        WAITED(a_wait_ends_with_the_status),
        WAITED(a_wait_for_another_tag_ends_with_any_change),
        WAITED(what_is_no_tag_does_not_end_a_wait),
        WAITED(a_wait_has_its_end),
        WAITED(what_another_replica_did_is_seen_without_a_word),
        WAITED(who_hangs_up_is_forgotten),
        WAITED(too_many_are_refused),
        WAITED(a_stream_tells_all_once_and_ends),
        WAITED(a_slow_client_is_not_fed),
        WAITED(who_left_gets_no_more),
        WAITED(a_deleted_job_ends_its_streams),
        WAITED(draining_sends_all_home),
        WAITED(the_end_answers_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
