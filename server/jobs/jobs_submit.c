// SPDX-License-Identifier: Apache-2.0
/* New jobs: their inputs first, then the record, so that a job which is there can be run. */
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the key ---- */

enum found { FOUND_NONE, FOUND_JOB, FOUND_TROUBLE };

/* What a request with the same key has made before. */
static enum found find_replay(struct srv_jobs *jobs, struct srv_submission *submission, const char *key,
                              struct api_problem *problem)
{
    struct srv_record record = {0};
    struct efm_error error = {0};
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_KEY, key, &record, &error);
    if (status == EFM_E_NOT_FOUND)
        return FOUND_NONE;
    bool good = status == EFM_OK || srv_jobs_storage_problem(jobs, &error, problem);
    if (good && (record.document == NULL || strcmp(record.document, submission->digest) != 0))
        good = api_problem_set(problem, API_P_KEY_REUSED, NULL,
                               "the Idempotency-Key came with another request before; use a new one");
    struct api_job job = {.kind = ""};
    good = good && srv_jobs_get(jobs, record.parent, &job, problem);
    srv_record_release(&record);
    if (!good)
        return FOUND_TROUBLE;
    api_job_release(submission->job);
    *submission->job = job;
    submission->replayed = true;
    return FOUND_JOB;
}

/* ---- admission ---- */

static unsigned retry_after(struct srv_jobs *jobs, const char *group)
{
    enum { USUAL = 10, MOST = 600 };
    pthread_mutex_lock(&jobs->mutex);
    const double pace = jobs->seconds_a_job[strcmp(group, "train") == 0 ? SRV_JOB_TRAIN : SRV_JOB_REQUEST];
    pthread_mutex_unlock(&jobs->mutex);
    return pace > 0 ? (unsigned)fmin(MOST, fmax(1, ceil(pace))) : USUAL;
}

static bool has_room(struct srv_jobs *jobs, const char *group, struct api_problem *problem)
{
    static const char *const queued[] = {"queued", NULL};
    const struct srv_query query = {.kind = SRV_RECORD_JOB, .states = queued};
    struct efm_error error = {0};
    size_t waiting = 0;
    if (srv_store_count(jobs->store, &query, &waiting, &error) != EFM_OK)
        return srv_jobs_storage_problem(jobs, &error, problem);
    if (waiting < jobs->max_waiting)
        return true;
    problem->retry_after = retry_after(jobs, group);
    srv_metrics_add(jobs->metrics, SRV_M_REJECTED, 1, "reason=\"jobs_full\"");
    return api_problem_set(problem, API_P_QUEUE_FULL, NULL,
                           "%zu jobs are waiting, and there is room for no more", waiting);
}

/* ---- inputs ---- */

static bool keep_input(struct srv_jobs *jobs, const char *id, const struct srv_job_input *input,
                       struct api_problem *problem)
{
    char key[SRV_BLOB_KEY];
    struct efm_error error = {0};
    srv_jobs_blob_key(id, input->name, key);
    enum efm_status status = input->blob != NULL
                                 ? srv_blobs_copy(jobs->blobs, input->blob, key, &error)
                                 : srv_blobs_put(jobs->blobs, key, input->bytes, input->size, &error);
    if (status == EFM_E_NOT_FOUND)
        return api_problem_set(problem, API_P_CONFLICT, NULL,
                               "the %s was replaced or deleted just now; send the request again",
                               input->name);
    return status == EFM_OK || srv_jobs_storage_problem(jobs, &error, problem);
}

static bool keep_inputs(struct srv_jobs *jobs, const struct srv_submission *submission,
                        struct api_problem *problem)
{
    for (size_t i = 0; i < submission->input_count; i++) {
        if (!keep_input(jobs, submission->job->id, &submission->inputs[i], problem))
            return false;
    }
    return true;
}

/* ---- the commit ---- */

enum { JOB, EVENT, NAME, KEY, PARTS };

struct commit {
    struct srv_record records[PARTS];
    struct efm_buffer job, event;
    struct srv_change changes[PARTS];
    size_t places[PARTS]; /* of the parts among the changes */
    size_t count;
};

static void add(struct commit *commit, size_t part)
{
    commit->places[part] = commit->count;
    commit->changes[commit->count++] = (struct srv_change){SRV_INSERT, &commit->records[part], 0};
}

static void fill_commit(struct srv_jobs *jobs, const struct srv_submission *submission, const char *key,
                        struct commit *commit)
{
    const struct api_job *job = submission->job;
    struct srv_job_change change = {.none = false};
    *commit = (struct commit){.places = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX}};
    struct srv_record *record = &commit->records[JOB];
    record->kind = SRV_RECORD_JOB;
    snprintf(record->id, sizeof record->id, "%s", job->id);
    snprintf(record->group, sizeof record->group, "%s", srv_job_group(job->kind));
    srv_job_document(job, record, &commit->job);
    add(commit, JOB);
    srv_job_state_event(job, &change);
    srv_job_event_record(jobs, job->id, &change.event, &commit->records[EVENT], &commit->event);
    add(commit, EVENT);
    if (strcmp(job->kind, "train") == 0) {
        record = &commit->records[NAME];
        record->kind = SRV_RECORD_KEY;
        snprintf(record->parent, sizeof record->parent, "%s", job->id);
        srv_jobs_model_key(job->model, record->id);
        add(commit, NAME);
    }
    if (key[0] != '\0') {
        record = &commit->records[KEY];
        record->kind = SRV_RECORD_KEY;
        snprintf(record->id, sizeof record->id, "%s", key);
        snprintf(record->parent, sizeof record->parent, "%s", job->id);
        record->document = (char *)submission->digest;
        record->size = strlen(submission->digest);
        record->expires = job->created + SRV_JOBS_KEY;
        add(commit, KEY);
    }
}

static bool refuse_name(struct srv_jobs *jobs, const char *model, struct api_problem *problem)
{
    char key[SRV_RECORD_ID];
    struct srv_record record = {0};
    struct efm_error error = {0};
    srv_jobs_model_key(model, key);
    const bool found = srv_store_get(jobs->store, SRV_RECORD_KEY, key, &record, &error) == EFM_OK;
    api_problem_set(problem, API_P_CONFLICT, "/model", "the job %s is making a model of this name",
                    found ? record.parent : "of somebody else");
    srv_record_release(&record);
    return false;
}

/* FOUND_NONE: it is committed. */
static enum found commit_job(struct srv_jobs *jobs, struct srv_submission *submission, const char *key,
                             struct api_problem *problem)
{
    struct commit commit;
    struct efm_error error = {0};
    size_t failed = SIZE_MAX;
    fill_commit(jobs, submission, key, &commit);
    enum efm_status status = commit.job.status != EFM_OK ? commit.job.status : commit.event.status;
    if (status != EFM_OK)
        efm_error_set(&error, status, "no memory for the record of a job");
    else
        status = srv_store_commit(jobs->store, commit.changes, commit.count, &failed, &error);
    efm_buffer_release(&commit.job);
    efm_buffer_release(&commit.event);
    if (status == EFM_OK)
        return FOUND_NONE;
    if (status == EFM_E_EXISTS && failed == commit.places[KEY]) {
        enum found found = find_replay(jobs, submission, key, problem);
        if (found == FOUND_NONE) // expired in between
            api_problem_set(problem, API_P_KEY_IN_USE, NULL,
                            "the key has just expired; send the request again");
        return found == FOUND_NONE ? FOUND_TROUBLE : found;
    }
    if (status == EFM_E_EXISTS && failed == commit.places[NAME])
        refuse_name(jobs, submission->job->model, problem);
    else
        srv_jobs_storage_problem(jobs, &error, problem);
    return FOUND_TROUBLE;
}

static void name_job(struct srv_jobs *jobs, struct api_job *job)
{
    srv_jobs_fresh_id(jobs, "job_", job->id);
    job->state = API_JOB_QUEUED;
    job->created = srv_store_now(jobs->store);
    if (strcmp(job->kind, "train") == 0 && job->model[0] == '\0')
        snprintf(job->model, sizeof job->model, "%s", job->id + strlen("job_"));
}

/* The id of the KEY; "" for none. The holders of two API keys may well count their requests the same way: the name of the one
 * that the request came with is a part of it. */
static void hash_key(const struct srv_submission *submission, char out[65])
{
    const char *key = submission->idempotency_key, *owner = submission->job->owner;
    struct efm_sha256 digest;
    out[0] = '\0';
    if (key == NULL || key[0] == '\0')
        return;
    efm_sha256_begin(&digest);
    if (owner[0] != '\0')
        efm_sha256_add(&digest, owner, strlen(owner) + 1);
    efm_sha256_add(&digest, key, strlen(key));
    efm_sha256_end(&digest, out);
}

bool srv_jobs_find_replay(struct srv_jobs *jobs, struct srv_submission *submission,
                          struct api_problem *problem)
{
    char key[65];
    hash_key(submission, key);
    submission->replayed = false;
    return key[0] != '\0' && find_replay(jobs, submission, key, problem) != FOUND_NONE;
}

bool srv_jobs_submit(struct srv_jobs *jobs, struct srv_submission *submission, struct api_problem *problem)
{
    struct api_job *job = submission->job;
    char key[65], id[API_JOB_ID_SIZE], prefix[SRV_BLOB_KEY];
    if (srv_jobs_find_replay(jobs, submission, problem))
        return submission->replayed;
    hash_key(submission, key);
    if (!has_room(jobs, srv_job_group(job->kind), problem))
        return false;
    name_job(jobs, job);
    memcpy(id, job->id, sizeof id);
    enum found found =
        keep_inputs(jobs, submission, problem) ? commit_job(jobs, submission, key, problem) : FOUND_TROUBLE;
    if (found != FOUND_NONE) {
        struct efm_error error = {0};
        snprintf(prefix, sizeof prefix, "jobs/%s/", id);
        if (srv_blobs_remove_all(jobs->blobs, prefix, &error) != EFM_OK)
            srv_log(jobs->log, SRV_LOG_WARNING, "blobs_not_removed", "\"job\":\"%s\"", id);
        return found == FOUND_JOB;
    }
    job->queue_position = 0;
    srv_log(jobs->log, SRV_LOG_INFO, "job_submitted", "\"job\":\"%s\",\"kind\":\"%s\"", id, job->kind);
    srv_jobs_changed(jobs, id);
    srv_jobs_submitted(jobs, srv_job_group(job->kind));
    struct api_job now = {.kind = ""};
    struct api_problem ignored = {0};
    if (srv_jobs_get(jobs, id, &now, &ignored)) { // with its place in the queue
        job->queue_position = now.queue_position;
        api_job_release(&now);
    }
    return true;
}
