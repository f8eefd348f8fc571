// SPDX-License-Identifier: Apache-2.0
/* What workers do with jobs, and the cancellation that reaches into their work. */
#include "core/base/memory.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>

static bool holds_lease(const struct srv_jobs *jobs, const struct srv_job_held *held)
{
    return held->job.state == API_JOB_RUNNING && strcmp(held->record.owner, jobs->owner) == 0;
}

static enum efm_status refuse_lost(struct efm_error *error)
{
    return efm_error_set(error, EFM_E_NOT_FOUND, "the lease of the job is lost");
}

/* ---- claims ---- */

static enum efm_status begin(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                             struct srv_job_change *change, struct efm_error *error)
{
    struct api_job *job = &held->job;
    (void)context;
    if (!holds_lease(jobs, held))
        return refuse_lost(error);
    if (job->cancel_asked) {
        job->state = API_JOB_CANCELLED;
        srv_job_end(jobs, held, change);
        return EFM_OK;
    }
    if (job->attempts >= SRV_JOBS_ATTEMPTS) {
        job->state = API_JOB_FAILED;
        snprintf(job->error_code, sizeof job->error_code, "interrupted");
        snprintf(job->error_message, sizeof job->error_message,
                 "the job was begun %d times, and each time the server stopped before it got anywhere",
                 SRV_JOBS_ATTEMPTS);
        srv_job_end(jobs, held, change);
        return EFM_OK;
    }
    held->record.lease = srv_store_now(jobs->store) + SRV_JOBS_LEASE; // of a stray it may be old
    job->attempts++;
    if (job->started == 0)
        job->started = srv_store_now(jobs->store);
    srv_job_state_event(job, change);
    return EFM_OK;
}

/* The names of models that it holds: who can tell which one it was to make? */
static void free_names(struct srv_jobs *jobs, const char *id)
{
    const struct srv_query query = {.kind = SRV_RECORD_KEY, .parent = id};
    struct srv_record *keys = NULL;
    size_t count = 0;
    if (srv_store_list(jobs->store, &query, &keys, &count, NULL) != EFM_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct srv_change change = {SRV_DELETE, &keys[i], keys[i].version};
        struct efm_error error = {0};
        if (strncmp(keys[i].id, "model/", strlen("model/")) == 0 &&
            srv_store_commit(jobs->store, &change, 1, NULL, &error) != EFM_OK)
            srv_log(jobs->log, SRV_LOG_WARNING, "name_not_freed", "\"job\":\"%s\"", id);
    }
    srv_records_release(keys, count);
}

/* A record that no version of the program can read any more would be claimed for ever. */
static void bury(struct srv_jobs *jobs, const struct srv_record *claimed)
{
    struct srv_record record = *claimed;
    struct efm_buffer text;
    struct efm_error error = {0};
    const double now = srv_store_now(jobs->store);
    struct api_job job = {.state = API_JOB_FAILED, .created = record.created, .finished = now};
    job.expires = record.expires = now + jobs->ttl;
    snprintf(job.id, sizeof job.id, "%.63s", record.id);
    snprintf(job.kind, sizeof job.kind, "%s", strcmp(record.group, "train") == 0 ? "train" : "transfer");
    snprintf(job.error_code, sizeof job.error_code, "internal");
    snprintf(job.error_message, sizeof job.error_message, "the record of the job was damaged");
    srv_job_document(&job, &record, &text);
    record.owner[0] = '\0';
    record.lease = 0;
    const struct srv_change change = {SRV_UPDATE, &record, claimed->version};
    const bool ended =
        text.status == EFM_OK && srv_store_commit(jobs->store, &change, 1, NULL, &error) == EFM_OK;
    efm_buffer_release(&text);
    if (ended)
        free_names(jobs, job.id);
    else
        srv_log(jobs->log, SRV_LOG_ERROR, "job_record_damaged", "\"job\":\"%s\"", job.id);
    srv_jobs_changed(jobs, job.id);
}

/* ---- strays: a store that fails for a moment leaves jobs leased that nobody works on ---- */

static int group_number(const char *group)
{
    return strcmp(group, "train") == 0 ? SRV_JOB_TRAIN : SRV_JOB_REQUEST;
}

/* To be begun by the next claim. One too many is left to its lease, which runs out. */
static void keep_stray(struct srv_jobs *jobs, const char *group, const char *id)
{
    pthread_mutex_lock(&jobs->mutex);
    for (size_t i = 0; i < SRV_JOB_STRAYS; i++) {
        char *stray = jobs->strays[group_number(group)][i];
        if (stray[0] != '\0')
            continue;
        snprintf(stray, API_JOB_ID_SIZE, "%.63s", id);
        break;
    }
    pthread_mutex_unlock(&jobs->mutex);
}

static bool take_stray(struct srv_jobs *jobs, const char *group, char id[API_JOB_ID_SIZE])
{
    id[0] = '\0';
    pthread_mutex_lock(&jobs->mutex);
    for (size_t i = 0; i < SRV_JOB_STRAYS && id[0] == '\0'; i++) {
        char *stray = jobs->strays[group_number(group)][i];
        memcpy(id, stray, API_JOB_ID_SIZE);
        stray[0] = '\0';
    }
    pthread_mutex_unlock(&jobs->mutex);
    return id[0] != '\0';
}

/* EFM_E_NOT_FOUND when none is to be begun. */
static enum efm_status begin_stray(struct srv_jobs *jobs, const char *group, struct api_job *job,
                                   struct efm_error *error)
{
    char id[API_JOB_ID_SIZE];
    while (take_stray(jobs, group, id)) {
        struct efm_error reason = {0};
        enum efm_status status = srv_jobs_change(jobs, id, begin, NULL, job, &reason);
        if (status == EFM_OK && job->state == API_JOB_RUNNING)
            return EFM_OK;
        if (status == EFM_OK) {
            api_job_release(job);
        } else if (status != EFM_E_FORMAT &&
                   status != EFM_E_NOT_FOUND) { // those are lost, or left to their lease
            keep_stray(jobs, group, id);
            return efm_error_set(error, status, "%s", reason.message);
        }
    }
    return EFM_E_NOT_FOUND;
}

enum efm_status srv_jobs_claim(struct srv_jobs *jobs, const char *group, struct api_job *job,
                               struct efm_error *error)
{
    enum { LOOKS = 100 }; // at jobs that end instead of beginning
    enum efm_status stray = begin_stray(jobs, group, job, error);
    if (stray != EFM_E_NOT_FOUND)
        return stray;
    const struct srv_claim claim = {.kind = SRV_RECORD_JOB,
                                    .group = group,
                                    .waiting = "queued",
                                    .active = "running",
                                    .owner = jobs->owner,
                                    .lease = SRV_JOBS_LEASE};
    for (int i = 0; i < LOOKS; i++) {
        struct srv_record record = {0};
        enum efm_status status = srv_store_claim(jobs->store, &claim, &record, error);
        if (status != EFM_OK)
            return status;
        struct efm_error reason = {0};
        status = srv_jobs_change(jobs, record.id, begin, NULL, job, &reason);
        if (status == EFM_E_FORMAT)
            bury(jobs, &record);
        else if (status != EFM_OK && status != EFM_E_NOT_FOUND)
            keep_stray(jobs, group, record.id);
        srv_record_release(&record);
        if (status == EFM_OK && job->state == API_JOB_RUNNING)
            return EFM_OK;
        if (status == EFM_OK)
            api_job_release(job);
        else if (status != EFM_E_FORMAT && status != EFM_E_NOT_FOUND)
            return efm_error_set(error, status, "%s", reason.message);
    }
    return efm_error_set(error, EFM_E_NOT_FOUND, "no job to begin");
}

enum efm_status srv_jobs_renew(struct srv_jobs *jobs, const char *id, bool *cancel_asked,
                               struct efm_error *error)
{
    struct srv_job_held held;
    enum efm_status status =
        srv_store_renew(jobs->store, SRV_RECORD_JOB, id, jobs->owner, SRV_JOBS_LEASE, error);
    if (status == EFM_OK)
        status = srv_jobs_load(jobs, id, &held, error);
    if (status != EFM_OK)
        return status;
    const bool held_still = holds_lease(jobs, &held);
    *cancel_asked = held.job.cancel_asked;
    srv_job_held_release(&held);
    return held_still ? EFM_OK : refuse_lost(error);
}

/* ---- progress and end ---- */

struct report {
    struct api_job *job; /* the worker's */
    const struct api_event *event;
    double delay; /* of a job that goes back */
};

/* What a worker may find out of its job, from `from` to `to`. */
static enum efm_status take_progress(struct api_job *to, const struct api_job *from, struct efm_error *error)
{
    if (from->spec != NULL && (to->spec == NULL || strcmp(from->spec, to->spec) != 0)) {
        char *spec = efm_copy_string(from->spec);
        if (spec == NULL)
            return efm_error_set(error, EFM_E_MEMORY, "no memory for the spec of a job");
        efm_free(to->spec);
        to->spec = spec;
    }
    if (from->checkpoint_step > to->checkpoint_step)
        to->attempts = 1; // it gets somewhere
    to->step = from->step;
    to->total_steps = from->total_steps;
    to->loss = from->loss;
    to->images_per_second = from->images_per_second;
    to->estimated_finish = from->estimated_finish;
    to->checkpoint_step = from->checkpoint_step;
    to->checkpoint_time = from->checkpoint_time;
    to->seed = from->seed;
    return EFM_OK;
}

static enum efm_status store_progress(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                      struct srv_job_change *change, struct efm_error *error)
{
    const struct report *report = context;
    if (!holds_lease(jobs, held))
        return refuse_lost(error);
    held->record.lease = srv_store_now(jobs->store) + SRV_JOBS_LEASE;
    if (report->event != NULL)
        change->event = *report->event;
    return take_progress(&held->job, report->job, error);
}

enum efm_status srv_jobs_progress(struct srv_jobs *jobs, struct api_job *job, const struct api_event *event,
                                  struct efm_error *error)
{
    struct report report = {.job = job, .event = event};
    struct api_job now;
    enum efm_status status = srv_jobs_change(jobs, job->id, store_progress, &report, &now, error);
    if (status != EFM_OK)
        return status;
    job->cancel_asked = now.cancel_asked;
    job->attempts = now.attempts;
    api_job_release(&now);
    return EFM_OK;
}

static enum efm_status store_end(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                 struct srv_job_change *change, struct efm_error *error)
{
    const struct api_job *from = ((const struct report *)context)->job;
    struct api_job *to = &held->job;
    if (!holds_lease(jobs, held))
        return refuse_lost(error);
    enum efm_status status = take_progress(to, from, error);
    if (status != EFM_OK)
        return status;
    to->state = from->state;
    memcpy(to->model_sha256, from->model_sha256, sizeof to->model_sha256);
    memcpy(to->error_code, from->error_code, sizeof to->error_code);
    memcpy(to->error_message, from->error_message, sizeof to->error_message);
    memcpy(to->error_pointer, from->error_pointer, sizeof to->error_pointer);
    memcpy(to->result_type, from->result_type, sizeof to->result_type);
    memcpy(to->result_headers, from->result_headers, sizeof to->result_headers);
    to->result_status = from->result_status;
    to->result_size = from->result_size;
    srv_job_end(jobs, held, change);
    return EFM_OK;
}

enum efm_status srv_jobs_finish(struct srv_jobs *jobs, struct api_job *job, struct efm_error *error)
{
    struct report report = {.job = job};
    if (!api_job_state_ended(job->state))
        return efm_error_set(error, EFM_E_ARGUMENT, "the state is not one that ends a job");
    struct api_job now;
    enum efm_status status = srv_jobs_change(jobs, job->id, store_end, &report, &now, error);
    if (status != EFM_OK)
        return status;
    job->finished = now.finished;
    job->expires = now.expires;
    api_job_release(&now);
    return EFM_OK;
}

static enum efm_status store_return(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                    struct srv_job_change *change, struct efm_error *error)
{
    const struct report *report = context;
    struct api_job *job = &held->job;
    if (!holds_lease(jobs, held))
        return refuse_lost(error);
    enum efm_status status = take_progress(job, report->job, error);
    if (status != EFM_OK)
        return status;
    if (job->cancel_asked) {
        job->state = API_JOB_CANCELLED;
        srv_job_end(jobs, held, change);
        return EFM_OK;
    }
    job->state = API_JOB_QUEUED;
    job->attempts -= job->attempts > 0; // an orderly stop is no failure
    job->estimated_finish = 0;
    held->record.owner[0] = '\0';
    held->record.lease = 0;
    held->record.due = report->delay > 0 ? srv_store_now(jobs->store) + report->delay : 0;
    srv_job_state_event(job, change);
    return EFM_OK;
}

enum efm_status srv_jobs_postpone(struct srv_jobs *jobs, struct api_job *job, double seconds,
                                  struct efm_error *error)
{
    struct report report = {.job = job, .delay = seconds};
    enum efm_status status = srv_jobs_change(jobs, job->id, store_return, &report, NULL, error);
    if (status != EFM_OK && status != EFM_E_NOT_FOUND && status != EFM_E_FORMAT)
        keep_stray(jobs, srv_job_group(job->kind), job->id);
    return status;
}

enum efm_status srv_jobs_give_back(struct srv_jobs *jobs, struct api_job *job, struct efm_error *error)
{
    return srv_jobs_postpone(jobs, job, 0, error);
}

/* ---- cancellation ---- */

static enum efm_status ask_cancel(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                  struct srv_job_change *change, struct efm_error *error)
{
    struct api_job *job = &held->job;
    bool *asked = context;
    (void)error;
    *asked = false;
    change->none = api_job_state_ended(job->state) || job->cancel_asked;
    if (change->none)
        return EFM_OK;
    *asked = true;
    if (job->state == API_JOB_QUEUED) {
        job->state = API_JOB_CANCELLED;
        srv_job_end(jobs, held, change);
        return EFM_OK;
    }
    job->cancel_asked = true;
    change->event = (struct api_event){
        .type = "message", .level = "info", .message = "cancellation was asked for", .data = "{}"};
    return EFM_OK;
}

bool srv_jobs_cancel(struct srv_jobs *jobs, const char *id, struct api_job *job, struct api_problem *problem)
{
    struct efm_error error = {0};
    bool asked = false;
    enum efm_status status = srv_jobs_change(jobs, id, ask_cancel, &asked, job, &error);
    if (status == EFM_E_NOT_FOUND) {
        // says which of the two it is, unknown or gone
        struct api_job other = {.kind = ""};
        if (srv_jobs_get(jobs, id, &other, problem))
            api_job_release(&other);
        return problem->code == API_P_NONE
                   ? api_problem_set(problem, API_P_CONFLICT, NULL, "the job is being changed; try again")
                   : false;
    }
    if (status != EFM_OK)
        return srv_jobs_storage_problem(jobs, &error, problem);
    if (asked)
        srv_metrics_add(jobs->metrics, SRV_M_CANCELLED, 1, "reason=\"api\"");
    return true;
}
