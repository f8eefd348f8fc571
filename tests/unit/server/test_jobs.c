// SPDX-License-Identifier: Apache-2.0
// Jobs in the store: submitted, claimed, worked on, ended, cancelled, forgotten, found again by the next run.
#include "server/jobs/jobs.h"

#include "core/base/memory.h"
#include "server/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct {
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_metrics *metrics;
    struct srv_jobs *jobs;
    atomic_int changes, submissions;
} world;

static const char DIGEST[] = "d1", OTHER_DIGEST[] = "d2";

static void on_changed(void *context, const char *id)
{
    (void)context;
    (void)id;
    atomic_fetch_add(&world.changes, 1);
}

static void on_submitted(void *context, const char *group)
{
    (void)context;
    (void)group;
    atomic_fetch_add(&world.submissions, 1);
}

static void open_jobs(const char *replica, double ttl)
{
    struct efm_error error = {0};
    const struct srv_jobs_options options = {.store = world.store,
                                             .blobs = world.blobs,
                                             .replica = replica,
                                             .max_waiting = 4,
                                             .max_finished = 3,
                                             .ttl = ttl};
    if (srv_jobs_create(&world.jobs, &options, world.metrics, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
    const struct srv_jobs_listener listener = {NULL, on_changed, on_submitted};
    srv_jobs_listen(world.jobs, &listener);
}

static int start(void **state)
{
    struct efm_error error = {0};
    (void)state;
    if (srv_store_open_sqlite(&world.store, NULL, &error) != EFM_OK ||
        srv_blobs_open_memory(&world.blobs, &error) != EFM_OK ||
        srv_metrics_create(&world.metrics, &error) != EFM_OK)
        fail_msg("%s", error.message);
    atomic_store(&world.changes, 0);
    atomic_store(&world.submissions, 0);
    open_jobs("here", 1000);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    srv_jobs_destroy(world.jobs);
    srv_metrics_destroy(world.metrics);
    srv_blobs_close(world.blobs);
    srv_store_close(world.store);
    return 0;
}

/* The next run of a replica. */
static void run_anew(const char *replica, double ttl)
{
    srv_jobs_destroy(world.jobs);
    open_jobs(replica, ttl);
}

/* ---- short words ---- */

static void fill_job(struct api_job *job, const char *kind, const char *model)
{
    *job = (struct api_job){.total_steps = 100};
    snprintf(job->kind, sizeof job->kind, "%s", kind);
    snprintf(job->model, sizeof job->model, "%s", model);
}

static bool submit(const char *kind, const char *model, char id[API_JOB_ID_SIZE], struct api_problem *problem)
{
    static const uint8_t body[] = "body";
    struct api_job job;
    const struct srv_job_input input = {.name = "request", .bytes = body, .size = 4};
    struct srv_submission submission = {.job = &job, .inputs = &input, .input_count = 1};
    *problem = (struct api_problem){0};
    fill_job(&job, kind, model);
    const bool good = srv_jobs_submit(world.jobs, &submission, problem);
    if (good && id != NULL)
        memcpy(id, job.id, API_JOB_ID_SIZE);
    api_job_release(&job);
    return good;
}

static void expect_submit(const char *kind, const char *model, char id[API_JOB_ID_SIZE])
{
    struct api_problem problem;
    if (!submit(kind, model, id, &problem))
        fail_msg("%s", problem.detail);
}

static void claim(const char *group, struct api_job *job)
{
    struct efm_error error = {0};
    *job = (struct api_job){0};
    if (srv_jobs_claim(world.jobs, group, job, &error) != EFM_OK)
        fail_msg("%s", error.message);
}

static void expect_no_claim(const char *group)
{
    struct api_job job = {0};
    struct efm_error error = {0};
    assert_int_equal(srv_jobs_claim(world.jobs, group, &job, &error), EFM_E_NOT_FOUND);
}

static void finish(struct api_job *job, enum api_job_state state)
{
    struct efm_error error = {0};
    job->state = state;
    if (srv_jobs_finish(world.jobs, job, &error) != EFM_OK)
        fail_msg("%s", error.message);
    api_job_release(job);
}

static enum api_job_state state_of(const char *id)
{
    struct api_job job = {0};
    struct api_problem problem = {0};
    if (!srv_jobs_get(world.jobs, id, &job, &problem))
        fail_msg("%s", problem.detail);
    const enum api_job_state state = job.state;
    api_job_release(&job);
    return state;
}

static void expect_lost(const char *id, enum api_problem_code code)
{
    struct api_job job = {0};
    struct api_problem problem = {0};
    assert_false(srv_jobs_get(world.jobs, id, &job, &problem));
    assert_int_equal(problem.code, code);
}

static bool blob_is_there(const char *id, const char *name)
{
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(id, name, key);
    const bool there = srv_blobs_open(world.blobs, key, &blob, &error) == EFM_OK;
    srv_blob_close(blob);
    return there;
}

static void put_blob(const char *id, const char *name)
{
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(id, name, key);
    assert_int_equal(srv_blobs_put(world.blobs, key, "x", 1, &error), EFM_OK);
}

static size_t count_of(enum srv_record_kind kind, const char *parent)
{
    const struct srv_query query = {.kind = kind, .parent = parent};
    struct efm_error error = {0};
    size_t count = 0;
    assert_int_equal(srv_store_count(world.store, &query, &count, &error), EFM_OK);
    return count;
}

struct story {
    char text[1024];
    uint64_t last;
};

static bool tell(void *context, const struct api_event *event)
{
    struct story *story = context;
    const size_t used = strlen(story->text);
    assert_true(event->id > story->last);
    story->last = event->id;
    snprintf(story->text + used, sizeof story->text - used, "%s%s ", event->type, event->data);
    return true;
}

static void expect_story(const char *id, const char *wanted)
{
    struct story story = {.text = ""};
    struct api_problem problem = {0};
    assert_true(srv_jobs_events(world.jobs, id, 0, 100, tell, &story, &problem));
    assert_string_equal(story.text, wanted);
}

/* ---- tests ---- */

static void a_job_lives_its_life(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job, seen = {0};
    struct efm_error error = {0};
    struct api_problem problem = {0};
    (void)state;
    expect_submit("train", "m", id);
    assert_int_equal(strlen(id), 30);
    assert_int_equal(strncmp(id, "job_", 4), 0);
    assert_int_equal(atomic_load(&world.submissions), 1);
    assert_int_equal(state_of(id), API_JOB_QUEUED);
    expect_no_claim("request");
    claim("train", &job);
    assert_string_equal(job.id, id);
    assert_int_equal(job.state, API_JOB_RUNNING);
    assert_true(job.started > 0);
    expect_no_claim("train");
    const struct api_event event = {.type = "metrics", .level = "info", .data = "{\"step\":7}"};
    job.step = 7;
    job.loss = 0.5;
    put_blob(id, "checkpoint");
    assert_int_equal(srv_jobs_progress(world.jobs, &job, &event, &error), EFM_OK);
    assert_true(srv_jobs_get(world.jobs, id, &seen, &problem));
    assert_int_equal(seen.step, 7);
    assert_int_equal(seen.state, API_JOB_RUNNING);
    api_job_release(&seen);
    assert_true(blob_is_there(id, "request"));
    job.step = 100;
    finish(&job, API_JOB_SUCCEEDED);
    assert_true(srv_jobs_get(world.jobs, id, &seen, &problem));
    assert_int_equal(seen.state, API_JOB_SUCCEEDED);
    assert_int_equal(seen.step, 100);
    assert_true(seen.finished >= seen.started && seen.expires > seen.finished + 900);
    api_job_release(&seen);
    assert_false(blob_is_there(id, "request"));
    assert_false(blob_is_there(id, "checkpoint"));
    expect_story(id, "state{\"status\":\"queued\"} state{\"status\":\"running\"} metrics{\"step\":7} "
                     "state{\"status\":\"succeeded\"} ");
    assert_int_equal(count_of(SRV_RECORD_KEY, NULL), 0);
    assert_true(atomic_load(&world.changes) >= 4);
}

static void a_failed_job_says_why_and_keeps_its_checkpoint(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job;
    (void)state;
    expect_submit("train", "m", id);
    claim("train", &job);
    put_blob(id, "checkpoint");
    snprintf(job.error_code, sizeof job.error_code, "not_finite");
    snprintf(job.error_message, sizeof job.error_message, "the loss is no number");
    finish(&job, API_JOB_FAILED);
    assert_int_equal(state_of(id), API_JOB_FAILED);
    assert_true(blob_is_there(id, "checkpoint"));
    expect_story(id, "state{\"status\":\"queued\"} state{\"status\":\"running\"} "
                     "state{\"status\":\"failed\",\"code\":\"not_finite\"} ");
}

/* ---- a store that fails for a moment ---- */

static struct {
    struct srv_store_class class;
    const struct srv_store_class *whole;
    int failures; /* commits to come that fail */
} ill;

static enum efm_status fail_commit(struct srv_store *store, const struct srv_change *changes, size_t count,
                                   size_t *failed, struct efm_error *error)
{
    if (ill.failures == 0)
        return ill.whole->commit(store, changes, count, failed, error);
    ill.failures--;
    return efm_error_set(error, EFM_E_FULL, "no room");
}

static void fail_commits(int count)
{
    if (ill.whole == NULL)
        ill.whole = world.store->class;
    ill.class = *ill.whole;
    ill.class.commit = fail_commit;
    ill.failures = count;
    world.store->class = &ill.class;
}

static void what_cannot_be_begun_is_begun_by_the_next_claim(void **state)
{
    static const char *const groups[] = {"train", "request"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char id[API_JOB_ID_SIZE], cancelled[API_JOB_ID_SIZE];
        struct api_job job = {0}, answer = {0};
        struct api_problem problem = {0};
        expect_submit(i == 0 ? "train" : "transfer", "m", id);
        fail_commits(2);
        for (int tries = 0; tries < 2; tries++) {
            struct efm_error error = {0};
            assert_int_equal(srv_jobs_claim(world.jobs, groups[i], &job, &error), EFM_E_FULL);
        }
        expect_no_claim(groups[1 - i]);
        claim(groups[i], &job);
        assert_string_equal(job.id, id);
        assert_int_equal(job.state, API_JOB_RUNNING);
        assert_int_equal(job.attempts, 1);
        expect_no_claim(groups[i]);
        finish(&job, API_JOB_SUCCEEDED);
        // one that was cancelled meanwhile ends
        expect_submit(i == 0 ? "train" : "transfer", "m", cancelled);
        fail_commits(1);
        struct efm_error error = {0};
        assert_int_equal(srv_jobs_claim(world.jobs, groups[i], &job, &error), EFM_E_FULL);
        assert_true(srv_jobs_cancel(world.jobs, cancelled, &answer, &problem));
        api_job_release(&answer);
        expect_no_claim(groups[i]);
        assert_int_equal(state_of(cancelled), API_JOB_CANCELLED);
    }
}

static void what_cannot_be_given_back_is_begun_by_the_next_claim(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job = {0};
    struct efm_error error = {0};
    (void)state;
    expect_submit("transfer", "m", id);
    claim("request", &job);
    fail_commits(1);
    assert_int_equal(srv_jobs_postpone(world.jobs, &job, 0.5, &error), EFM_E_FULL);
    api_job_release(&job);
    claim("request", &job);
    assert_string_equal(job.id, id);
    finish(&job, API_JOB_SUCCEEDED);
    expect_no_claim("request");
}

static void the_oldest_comes_first_and_all_know_their_place(void **state)
{
    char ids[3][API_JOB_ID_SIZE];
    struct api_job job = {0};
    struct api_problem problem = {0};
    (void)state;
    for (int i = 0; i < 3; i++)
        expect_submit("transfer", "m", ids[i]);
    assert_true(srv_jobs_get(world.jobs, ids[2], &job, &problem));
    assert_int_equal(job.queue_position, 3);
    api_job_release(&job);
    for (int i = 0; i < 3; i++) {
        claim("request", &job);
        assert_string_equal(job.id, ids[i]);
        api_job_release(&job);
    }
}

static void a_full_queue_refuses_with_a_time(void **state)
{
    struct api_problem problem;
    (void)state;
    for (int i = 0; i < 4; i++)
        expect_submit("transfer", "m", NULL);
    assert_false(submit("transfer", "m", NULL, &problem));
    assert_int_equal(problem.code, API_P_QUEUE_FULL);
    assert_true(problem.retry_after > 0);
}

static void one_training_makes_a_model_at_a_time(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job;
    struct api_problem problem;
    (void)state;
    expect_submit("train", "m", id);
    assert_false(submit("train", "m", NULL, &problem));
    assert_int_equal(problem.code, API_P_CONFLICT);
    assert_non_null(strstr(problem.detail, id));
    assert_int_equal(count_of(SRV_RECORD_JOB, NULL), 1);
    claim("train", &job);
    finish(&job, API_JOB_FAILED);
    expect_submit("train", "m", id);
    // without a name each is its own
    expect_submit("train", "", id);
    assert_true(srv_jobs_get(world.jobs, id, &job, &problem));
    assert_string_equal(job.model, id + 4);
    api_job_release(&job);
}

static bool submit_owned(const char *owner, const char *kind, const char *key, const char *digest,
                         bool *replayed, char id[API_JOB_ID_SIZE], struct api_problem *problem)
{
    struct api_job job;
    struct srv_submission submission = {.job = &job, .idempotency_key = key, .digest = digest};
    *problem = (struct api_problem){0};
    fill_job(&job, kind, "");
    snprintf(job.owner, sizeof job.owner, "%s", owner);
    const bool good = srv_jobs_submit(world.jobs, &submission, problem);
    *replayed = submission.replayed;
    if (good)
        memcpy(id, job.id, API_JOB_ID_SIZE);
    api_job_release(&job);
    return good;
}

static bool submit_with_key(const char *key, const char *digest, bool *replayed, char id[API_JOB_ID_SIZE],
                            struct api_problem *problem)
{
    return submit_owned("", "train", key, digest, replayed, id, problem);
}

static void each_owner_counts_for_itself(void **state)
{
    char first[API_JOB_ID_SIZE], second[API_JOB_ID_SIZE], third[API_JOB_ID_SIZE];
    struct api_problem problem;
    bool replayed;
    (void)state;
    assert_true(submit_owned("ci", "transfer", "k", DIGEST, &replayed, first, &problem));
    assert_true(submit_owned("cd", "transfer", "k", OTHER_DIGEST, &replayed, second, &problem));
    assert_false(replayed);
    assert_true(submit_owned("", "transfer", "k", OTHER_DIGEST, &replayed, second, &problem));
    assert_false(replayed);
    assert_true(submit_owned("ci", "transfer", "k", DIGEST, &replayed, third, &problem));
    assert_true(replayed);
    assert_string_equal(first, third);
    assert_false(submit_owned("ci", "transfer", "k", OTHER_DIGEST, &replayed, third, &problem));
    assert_int_equal(problem.code, API_P_KEY_REUSED);
}

static void a_request_is_its_owners(void **state)
{
    static const struct {
        const char *key;
        bool admin, sees;
    } viewers[] = {{"ci", false, true}, {"cd", false, false}, {"", false, false}, {"cd", true, true}};
    char sent[API_JOB_ID_SIZE], trained[API_JOB_ID_SIZE];
    struct api_problem problem;
    bool replayed;
    (void)state;
    assert_true(submit_owned("ci", "transfer", "", DIGEST, &replayed, sent, &problem));
    assert_true(submit_owned("ci", "train", "", DIGEST, &replayed, trained, &problem));
    for (size_t i = 0; i < sizeof viewers / sizeof viewers[0]; i++) {
        const struct srv_job_viewer viewer = {viewers[i].key, viewers[i].admin};
        struct api_job job = {.kind = ""};
        problem = (struct api_problem){0};
        assert_true(srv_jobs_get_for(world.jobs, trained, &viewer, &job, &problem));
        api_job_release(&job);
        assert_true(srv_jobs_get_for(world.jobs, sent, &viewer, &job, &problem) == viewers[i].sees);
        if (!viewers[i].sees)
            assert_int_equal(problem.code, API_P_UNKNOWN_JOB);
        api_job_release(&job);
    }
}

static void the_same_key_makes_one_job(void **state)
{
    char first[API_JOB_ID_SIZE], second[API_JOB_ID_SIZE];
    struct api_problem problem;
    bool replayed;
    (void)state;
    assert_true(submit_with_key("k", DIGEST, &replayed, first, &problem));
    assert_false(replayed);
    assert_true(submit_with_key("k", DIGEST, &replayed, second, &problem));
    assert_true(replayed);
    assert_string_equal(first, second);
    assert_false(submit_with_key("k", OTHER_DIGEST, &replayed, second, &problem));
    assert_int_equal(problem.code, API_P_KEY_REUSED);
    assert_true(submit_with_key("other", DIGEST, &replayed, second, &problem));
    assert_string_not_equal(first, second);
    assert_int_equal(count_of(SRV_RECORD_JOB, NULL), 2);
}

enum { RIVALS = 6 };

struct rival {
    pthread_t thread;
    char id[API_JOB_ID_SIZE];
    bool good;
};

static void *race(void *argument)
{
    struct rival *rival = argument;
    struct api_problem problem;
    bool replayed;
    rival->good = submit_with_key("race", DIGEST, &replayed, rival->id, &problem);
    return NULL;
}

static void the_same_key_at_the_same_moment_makes_one_job(void **state)
{
    struct rival rivals[RIVALS] = {0};
    (void)state;
    for (int i = 0; i < RIVALS; i++)
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, race, &rivals[i]), 0);
    for (int i = 0; i < RIVALS; i++)
        pthread_join(rivals[i].thread, NULL);
    for (int i = 0; i < RIVALS; i++) {
        assert_true(rivals[i].good);
        assert_string_equal(rivals[i].id, rivals[0].id);
    }
    assert_int_equal(count_of(SRV_RECORD_JOB, NULL), 1);
}

static void a_waiting_job_is_cancelled_at_once(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job = {0};
    struct api_problem problem = {0};
    (void)state;
    expect_submit("train", "m", id);
    for (int i = 0; i < 2; i++) {
        assert_true(srv_jobs_cancel(world.jobs, id, &job, &problem));
        assert_int_equal(job.state, API_JOB_CANCELLED);
        api_job_release(&job);
    }
    expect_no_claim("train");
    expect_story(id, "state{\"status\":\"queued\"} state{\"status\":\"cancelled\"} ");
    assert_false(srv_jobs_cancel(world.jobs, "job_nobody", &job, &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_JOB);
}

static void a_running_job_is_asked_to_end(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job, seen = {0};
    struct api_problem problem = {0};
    struct efm_error error = {0};
    bool asked = true;
    (void)state;
    expect_submit("transfer", "m", id);
    claim("request", &job);
    assert_int_equal(srv_jobs_renew(world.jobs, id, &asked, &error), EFM_OK);
    assert_false(asked);
    assert_true(srv_jobs_cancel(world.jobs, id, &seen, &problem));
    assert_int_equal(seen.state, API_JOB_RUNNING);
    assert_true(seen.cancel_asked);
    api_job_release(&seen);
    assert_int_equal(srv_jobs_renew(world.jobs, id, &asked, &error), EFM_OK);
    assert_true(asked);
    // what its worker says meanwhile does not take the wish away
    assert_int_equal(srv_jobs_progress(world.jobs, &job, NULL, &error), EFM_OK);
    assert_true(job.cancel_asked);
    finish(&job, API_JOB_CANCELLED);
    assert_int_equal(state_of(id), API_JOB_CANCELLED);
}

static void a_cancelled_job_that_goes_back_ends(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job, seen = {0};
    struct api_problem problem = {0};
    struct efm_error error = {0};
    (void)state;
    expect_submit("transfer", "m", id);
    claim("request", &job);
    assert_true(srv_jobs_cancel(world.jobs, id, &seen, &problem));
    api_job_release(&seen);
    assert_int_equal(srv_jobs_give_back(world.jobs, &job, &error), EFM_OK);
    api_job_release(&job);
    assert_int_equal(state_of(id), API_JOB_CANCELLED);
}

static void a_job_given_back_keeps_its_place(void **state)
{
    char first[API_JOB_ID_SIZE], second[API_JOB_ID_SIZE];
    struct api_job job;
    struct efm_error error = {0};
    (void)state;
    expect_submit("transfer", "m", first);
    expect_submit("transfer", "m", second);
    claim("request", &job);
    assert_int_equal(srv_jobs_give_back(world.jobs, &job, &error), EFM_OK);
    api_job_release(&job);
    claim("request", &job);
    assert_string_equal(job.id, first);
    assert_int_equal(job.attempts, 1);
    assert_int_equal(srv_jobs_postpone(world.jobs, &job, 100, &error), EFM_OK);
    api_job_release(&job);
    claim("request", &job);
    assert_string_equal(job.id, second);
    api_job_release(&job);
    expect_no_claim("request");
}

static void the_next_run_goes_on(void **state)
{
    char id[API_JOB_ID_SIZE], other[API_JOB_ID_SIZE];
    struct api_job job, old;
    struct efm_error error = {0};
    bool asked;
    (void)state;
    expect_submit("train", "m", id);
    claim("train", &old);
    run_anew("here", 1000);
    assert_int_equal(state_of(id), API_JOB_QUEUED);
    // the earlier run, were it still there, has lost it
    assert_int_equal(srv_jobs_renew(world.jobs, id, &asked, &error), EFM_E_NOT_FOUND);
    efm_error_clear(&error);
    assert_int_equal(srv_jobs_progress(world.jobs, &old, NULL, &error), EFM_E_NOT_FOUND);
    api_job_release(&old);
    claim("train", &job);
    assert_string_equal(job.id, id);
    assert_int_equal(job.attempts, 2);
    api_job_release(&job);
    // what another replica has is left to it
    run_anew("there", 1000);
    assert_int_equal(state_of(id), API_JOB_RUNNING);
    expect_submit("train", "n", other);
    claim("train", &job);
    assert_string_equal(job.id, other);
    api_job_release(&job);
}

static void a_job_that_never_gets_anywhere_fails(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job;
    struct efm_error error = {0};
    struct api_problem problem = {0};
    (void)state;
    expect_submit("train", "m", id);
    for (int i = 0; i < SRV_JOBS_ATTEMPTS + 5; i++) {
        claim("train", &job);
        if (i == 4) { // it gets somewhere once
            job.checkpoint_step = 10;
            assert_int_equal(srv_jobs_progress(world.jobs, &job, NULL, &error), EFM_OK);
            assert_int_equal(job.attempts, 1);
        }
        api_job_release(&job);
        run_anew("here", 1000);
        if (i == SRV_JOBS_ATTEMPTS + 3)
            break;
    }
    expect_no_claim("train");
    assert_true(srv_jobs_get(world.jobs, id, &job, &problem));
    assert_int_equal(job.state, API_JOB_FAILED);
    assert_string_equal(job.error_code, "interrupted");
    api_job_release(&job);
}

static void a_webhook_is_told_of_the_end_in_the_same_commit(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job, seen = {0};
    struct srv_submission submission = {.job = &job};
    struct api_problem problem = {0};
    (void)state;
    fill_job(&job, "train", "m");
    snprintf(job.webhook, sizeof job.webhook, "https://example.org/\"");
    assert_true(srv_jobs_submit(world.jobs, &submission, &problem));
    memcpy(id, job.id, sizeof id);
    api_job_release(&job);
    assert_int_equal(count_of(SRV_RECORD_WEBHOOK, id), 0);
    claim("train", &job);
    finish(&job, API_JOB_SUCCEEDED);
    assert_int_equal(count_of(SRV_RECORD_WEBHOOK, id), 1);
    assert_true(srv_jobs_get(world.jobs, id, &seen, &problem));
    assert_string_equal(seen.webhook_state, "pending");
    api_job_release(&seen);
}

static void set_webhook(void *context, struct api_job *job)
{
    (void)context;
    snprintf(job->webhook_state, sizeof job->webhook_state, "delivered");
}

static void others_may_note_what_they_know(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job = {0};
    struct api_problem problem = {0};
    struct efm_error error = {0};
    const struct api_event event = {
        .type = "message", .level = "warn", .message = "a \"word\"", .data = "{}"};
    (void)state;
    expect_submit("train", "m", id);
    assert_int_equal(srv_jobs_edit(world.jobs, id, set_webhook, NULL, &event, &error), EFM_OK);
    assert_true(srv_jobs_get(world.jobs, id, &job, &problem));
    assert_string_equal(job.webhook_state, "delivered");
    api_job_release(&job);
    expect_story(id, "state{\"status\":\"queued\"} message{} ");
    assert_int_equal(srv_jobs_edit(world.jobs, "job_x", set_webhook, NULL, NULL, &error), EFM_E_NOT_FOUND);
}

static void a_deleted_job_is_gone_and_not_unknown(void **state)
{
    char id[API_JOB_ID_SIZE];
    struct api_job job = {0};
    struct api_problem problem = {0};
    (void)state;
    expect_submit("transfer", "m", id);
    assert_false(srv_jobs_delete(world.jobs, id, &problem));
    assert_int_equal(problem.code, API_P_CONFLICT);
    claim("request", &job);
    put_blob(id, "result");
    finish(&job, API_JOB_SUCCEEDED);
    problem = (struct api_problem){0};
    assert_true(srv_jobs_delete(world.jobs, id, &problem));
    expect_lost(id, API_P_GONE);
    expect_lost("job_never", API_P_UNKNOWN_JOB);
    assert_false(blob_is_there(id, "result"));
    assert_int_equal(count_of(SRV_RECORD_EVENT, id), 0);
    assert_false(srv_jobs_delete(world.jobs, id, &problem));
    assert_int_equal(problem.code, API_P_GONE);
    problem = (struct api_problem){0};
    assert_false(srv_jobs_cancel(world.jobs, id, &job, &problem));
    assert_int_equal(problem.code, API_P_GONE);
}

static void end_one(char id[API_JOB_ID_SIZE])
{
    struct api_job job;
    expect_submit("transfer", "m", id);
    claim("request", &job);
    finish(&job, API_JOB_SUCCEEDED);
}

static void clean_all(void)
{
    for (int i = 0; i < 100 && srv_jobs_clean(world.jobs); i++) {
    }
}

static void finished_jobs_leave_by_count_and_by_time(void **state)
{
    char ids[5][API_JOB_ID_SIZE];
    (void)state;
    for (int i = 0; i < 5; i++)
        end_one(ids[i]);
    clean_all();
    expect_lost(ids[0], API_P_GONE);
    expect_lost(ids[1], API_P_GONE);
    for (int i = 2; i < 5; i++)
        assert_int_equal(state_of(ids[i]), API_JOB_SUCCEEDED);
    run_anew("here", -1); // they expire before they end
    end_one(ids[0]);
    clean_all();
    expect_lost(ids[0], API_P_GONE);
    assert_int_equal(count_of(SRV_RECORD_EVENT, ids[0]), 0);
    assert_int_equal(state_of(ids[4]), API_JOB_SUCCEEDED);
}

/* It ends, and the name of the model that it was to make is free again. */
static void a_job_that_cannot_be_read_is_ended(void **state)
{
    char id[API_JOB_ID_SIZE], other[API_JOB_ID_SIZE], garbage[] = "{";
    struct srv_record record = {0};
    struct api_job job = {.kind = ""};
    struct efm_error error = {0};
    (void)state;
    expect_submit("train", "m", id);
    assert_int_equal(srv_store_get(world.store, SRV_RECORD_JOB, id, &record, NULL), EFM_OK);
    struct srv_record damaged = record;
    damaged.document = garbage;
    damaged.size = 1;
    const struct srv_change change = {SRV_UPDATE, &damaged, record.version};
    assert_int_equal(srv_store_commit(world.store, &change, 1, NULL, NULL), EFM_OK);
    srv_record_release(&record);
    assert_int_not_equal(srv_jobs_claim(world.jobs, "train", &job, &error), EFM_OK);
    assert_int_equal(state_of(id), API_JOB_FAILED);
    expect_submit("train", "m", other);
}

/* Beyond their number, too, until there are very many. */
static void who_waits_for_a_webhook_stays(void **state)
{
    enum { WAITING = 120, OTHERS = 6 };
    static char told[WAITING][API_JOB_ID_SIZE];
    char ids[OTHERS][API_JOB_ID_SIZE];
    struct api_job job;
    struct srv_submission submission = {.job = &job};
    struct api_problem problem = {0};
    (void)state;
    for (int i = 0; i < WAITING; i++) {
        fill_job(&job, "transfer", "m");
        snprintf(job.webhook, sizeof job.webhook, "https://example.org/");
        assert_true(srv_jobs_submit(world.jobs, &submission, &problem));
        memcpy(told[i], job.id, sizeof told[i]);
        api_job_release(&job);
        claim("request", &job);
        finish(&job, API_JOB_SUCCEEDED);
    }
    for (int i = 0; i < OTHERS; i++)
        end_one(ids[i]);
    clean_all();
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(state_of(told[i]), API_JOB_SUCCEEDED);
    assert_int_equal(count_of(SRV_RECORD_WEBHOOK, told[0]), 1);
    for (int i = 0; i < OTHERS; i++) // all that may go: there are far more than there should be
        expect_lost(ids[i], API_P_GONE);
}

/* ---- lists ---- */

static char *list(const char *query, bool *more)
{
    static char text[512];
    struct api_jobs_request request;
    const struct api_message message = {.method = "GET",
                                        .path = "/v1/jobs",
                                        .query = query,
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)""};
    struct api_problem problem = {0};
    struct api_job *jobs = NULL;
    size_t count = 0;
    assert_true(api_jobs_parse(&request, &message, &problem));
    const struct srv_job_viewer admin = {"", true};
    if (!srv_jobs_list(world.jobs, &request, &admin, &jobs, &count, more, &problem))
        fail_msg("%s", problem.detail);
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", jobs[i].model);
        api_job_release(&jobs[i]);
    }
    efm_free(jobs);
    return text;
}

static void lists_are_filtered_and_paged(void **state)
{
    char ids[4][API_JOB_ID_SIZE], query[128];
    struct api_job job;
    bool more;
    (void)state;
    expect_submit("train", "a", ids[0]);
    expect_submit("transfer", "b", ids[1]);
    expect_submit("generate", "c", ids[2]);
    expect_submit("transfer", "d", ids[3]);
    claim("request", &job);
    finish(&job, API_JOB_SUCCEEDED);
    claim("request", &job);
    api_job_release(&job);
    assert_string_equal(list("", &more), "dcba");
    assert_false(more);
    assert_string_equal(list("limit=2", &more), "dc");
    assert_true(more);
    snprintf(query, sizeof query, "limit=2&after=%s", ids[2]);
    assert_string_equal(list(query, &more), "ba");
    assert_false(more);
    assert_string_equal(list("status=queued", &more), "da");
    assert_string_equal(list("status=running", &more), "c");
    assert_string_equal(list("status=finished", &more), "b");
    assert_string_equal(list("status=unfinished", &more), "dca");
    assert_string_equal(list("kind=transfer", &more), "db");
    assert_string_equal(list("kind=train", &more), "a");
    assert_string_equal(list("model=c", &more), "c");
    assert_string_equal(list("kind=transfer&limit=1", &more), "d");
    assert_true(more);
}

static void after_listening_nobody_calls(void **state)
{
    (void)state;
    srv_jobs_listen(world.jobs, NULL);
    expect_submit("transfer", "m", NULL);
    assert_int_equal(atomic_load(&world.changes), 0);
    assert_int_equal(atomic_load(&world.submissions), 0);
}

#define LIVED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVED(a_job_lives_its_life),
        LIVED(a_failed_job_says_why_and_keeps_its_checkpoint),
        LIVED(what_cannot_be_begun_is_begun_by_the_next_claim),
        LIVED(what_cannot_be_given_back_is_begun_by_the_next_claim),
        LIVED(the_oldest_comes_first_and_all_know_their_place),
        LIVED(a_full_queue_refuses_with_a_time),
        LIVED(one_training_makes_a_model_at_a_time),
        LIVED(the_same_key_makes_one_job),
        LIVED(each_owner_counts_for_itself),
        LIVED(a_request_is_its_owners),
        LIVED(the_same_key_at_the_same_moment_makes_one_job),
        LIVED(a_waiting_job_is_cancelled_at_once),
        LIVED(a_running_job_is_asked_to_end),
        LIVED(a_cancelled_job_that_goes_back_ends),
        LIVED(a_job_given_back_keeps_its_place),
        LIVED(the_next_run_goes_on),
        LIVED(a_job_that_never_gets_anywhere_fails),
        LIVED(a_webhook_is_told_of_the_end_in_the_same_commit),
        LIVED(others_may_note_what_they_know),
        LIVED(a_deleted_job_is_gone_and_not_unknown),
        LIVED(finished_jobs_leave_by_count_and_by_time),
        LIVED(who_waits_for_a_webhook_stays),
        LIVED(a_job_that_cannot_be_read_is_ended),
        LIVED(lists_are_filtered_and_paged),
        LIVED(after_listening_nobody_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
