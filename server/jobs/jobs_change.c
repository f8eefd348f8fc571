// SPDX-License-Identifier: Apache-2.0
/* The one way that a job is changed. Nobody holds a lock meanwhile: who finds that the record is no longer
 * the one that he read reads it again. */
#include "api/json.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>

/* So often a change is tried again because somebody else was faster. */
enum { TURNS = 32 };

/* ---- records ---- */

void srv_job_event_record(struct srv_jobs *jobs, const char *id, const struct api_event *event,
                          struct srv_record *record, struct efm_buffer *text)
{
    *record = (struct srv_record){.kind = SRV_RECORD_EVENT};
    srv_jobs_fresh_id(jobs, "evt_", record->id);
    snprintf(record->parent, sizeof record->parent, "%s", id);
    snprintf(record->group, sizeof record->group, "%s", event->type);
    *text = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    efm_buffer_append_string(text, "{\"level\":");
    api_json_string(text, event->level == NULL ? "info" : event->level);
    efm_buffer_append_string(text, ",\"message\":");
    api_json_string(text, event->message == NULL ? "" : event->message);
    efm_buffer_append_string(text, ",\"data\":");
    efm_buffer_append_string(text, event->data == NULL || event->data[0] == '\0' ? "{}" : event->data);
    efm_buffer_append(text, "}", sizeof "}");
    record->document = (char *)text->data;
    record->size = text->size - 1;
}

void srv_job_document(const struct api_job *job, struct srv_record *record, struct efm_buffer *text)
{
    *text = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    api_job_write(job, text);
    const size_t size = text->size;
    efm_buffer_append(text, "", 1);
    record->document = (char *)text->data;
    record->size = size;
    snprintf(record->state, sizeof record->state, "%s", api_job_state_word(job->state));
}

static void webhook_record(struct srv_jobs *jobs, const struct api_job *job, struct srv_record *record,
                           struct efm_buffer *text)
{
    *record = (struct srv_record){.kind = SRV_RECORD_WEBHOOK, .group = "webhook", .state = "pending"};
    srv_jobs_fresh_id(jobs, "msg_", record->id);
    snprintf(record->parent, sizeof record->parent, "%s", job->id);
    record->due = srv_store_now(jobs->store);
    *text = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    efm_buffer_append_string(text, "{\"url\":");
    api_json_string(text, job->webhook);
    efm_buffer_append_string(text, ",\"attempts\":0,\"last_status\":0,\"last_error\":\"\"}");
    record->size = text->size;
    efm_buffer_append(text, "", 1);
    record->document = (char *)text->data;
}

/* ---- states ---- */

void srv_job_state_event(const struct api_job *job, struct srv_job_change *change)
{
    const bool failed = job->state == API_JOB_FAILED;
    if (failed)
        snprintf(change->data, sizeof change->data, "{\"status\":\"failed\",\"code\":\"%s\"}",
                 job->error_code);
    else
        snprintf(change->data, sizeof change->data, "{\"status\":\"%s\"}", api_job_state_word(job->state));
    change->event = (struct api_event){.type = "state",
                                       .level = failed ? "error" : "info",
                                       .message = failed ? job->error_message : "",
                                       .data = change->data};
}

void srv_job_end(struct srv_jobs *jobs, struct srv_job_held *held, struct srv_job_change *change)
{
    struct api_job *job = &held->job;
    job->finished = srv_store_now(jobs->store);
    job->expires = job->finished + jobs->ttl;
    job->estimated_finish = 0;
    job->cancel_asked = false;
    if (job->webhook[0] != '\0')
        snprintf(job->webhook_state, sizeof job->webhook_state, "pending");
    held->record.owner[0] = '\0';
    held->record.lease = held->record.due = 0;
    held->record.expires = job->expires;
    change->ended = true;
    srv_job_state_event(job, change);
}

/* ---- commits ---- */

enum { JOB, EVENT, WEBHOOK, NAME, PARTS };

struct commit {
    struct srv_record records[PARTS];
    struct efm_buffer texts[PARTS];
    struct srv_change changes[PARTS];
    size_t count;
};

static void add(struct commit *commit, enum srv_change_kind kind, struct srv_record *record, uint64_t version)
{
    commit->changes[commit->count++] = (struct srv_change){kind, record, version};
}

static enum efm_status send_commit(struct srv_jobs *jobs, struct commit *commit, struct efm_error *error)
{
    for (size_t i = 0; i < PARTS; i++) {
        if (commit->texts[i].status != EFM_OK)
            return efm_error_set(error, commit->texts[i].status, "no memory for the record of a job");
    }
    size_t failed = SIZE_MAX;
    struct efm_error reason = {0};
    enum efm_status status = srv_store_commit(jobs->store, commit->changes, commit->count, &failed, &reason);
    const bool without_name = commit->count > 1 &&
                              commit->changes[commit->count - 1].record == &commit->records[NAME] &&
                              failed == commit->count - 1;
    if (status == EFM_E_NOT_FOUND && without_name) { // the name was free: nothing is lost
        commit->count--;
        return srv_store_commit(jobs->store, commit->changes, commit->count, NULL, error);
    }
    // Only of the job a version is asked for; that the job is gone meanwhile is for the next reading to say.
    if (status == EFM_E_NOT_FOUND)
        status = EFM_E_ARGUMENT;
    return status == EFM_OK ? EFM_OK : efm_error_set(error, status, "%s", reason.message);
}

static enum efm_status commit_change(struct srv_jobs *jobs, struct srv_job_held *held,
                                     const struct srv_job_change *change, struct efm_error *error)
{
    struct commit commit = {.count = 0};
    const struct api_job *job = &held->job;
    commit.records[JOB] = held->record;
    srv_job_document(job, &commit.records[JOB], &commit.texts[JOB]);
    add(&commit, SRV_UPDATE, &commit.records[JOB], held->record.version);
    if (change->event.type != NULL) {
        srv_job_event_record(jobs, job->id, &change->event, &commit.records[EVENT], &commit.texts[EVENT]);
        add(&commit, SRV_INSERT, &commit.records[EVENT], 0);
    }
    if (change->ended && job->webhook[0] != '\0') {
        webhook_record(jobs, job, &commit.records[WEBHOOK], &commit.texts[WEBHOOK]);
        add(&commit, SRV_INSERT, &commit.records[WEBHOOK], 0);
    }
    if (change->ended && strcmp(job->kind, "train") == 0) {
        commit.records[NAME].kind = SRV_RECORD_KEY;
        srv_jobs_model_key(job->model, commit.records[NAME].id);
        add(&commit, SRV_DELETE, &commit.records[NAME], 0);
    }
    enum efm_status status = send_commit(jobs, &commit, error);
    for (size_t i = 0; i < PARTS; i++)
        efm_buffer_release(&commit.texts[i]);
    return status;
}

/* What happens in this process once an end is durable. */
static void after_end(struct srv_jobs *jobs, const struct api_job *job)
{
    const bool trains = strcmp(job->kind, "train") == 0;
    const int group = trains ? SRV_JOB_TRAIN : SRV_JOB_REQUEST;
    const char *state = api_job_state_word(job->state);
    if (job->started > 0 && job->state == API_JOB_SUCCEEDED) {
        const double seconds = job->finished - job->started;
        pthread_mutex_lock(&jobs->mutex);
        double *pace = &jobs->seconds_a_job[group];
        *pace = *pace > 0 ? 0.7 * *pace + 0.3 * seconds : seconds;
        pthread_mutex_unlock(&jobs->mutex);
    }
    srv_metrics_add(jobs->metrics, SRV_M_JOBS_ENDED, 1, "kind=\"%s\",state=\"%s\"", srv_job_group(job->kind),
                    state);
    srv_log(jobs->log, SRV_LOG_INFO, "job_ended", "\"job\":\"%s\",\"kind\":\"%s\",\"state\":\"%s\"", job->id,
            job->kind, state);
    srv_jobs_drop_inputs(jobs, job->id, job->state != API_JOB_FAILED);
}

static enum efm_status change_once(struct srv_jobs *jobs, const char *id, srv_job_alter *alter, void *context,
                                   struct api_job *result, struct efm_error *error)
{
    struct srv_job_held held;
    struct srv_job_change change = {.none = false};
    enum efm_status status = srv_jobs_load(jobs, id, &held, error);
    if (status != EFM_OK)
        return status;
    if (srv_job_gone(&held.record))
        return efm_error_set(error, EFM_E_NOT_FOUND, "the job has expired or been deleted");
    status = alter(context, jobs, &held, &change, error);
    if (status == EFM_OK && !change.none)
        status = commit_change(jobs, &held, &change, error);
    if (status == EFM_OK && change.ended)
        after_end(jobs, &held.job);
    if (status == EFM_OK && !change.none)
        srv_jobs_changed(jobs, id);
    if (status == EFM_OK && result != NULL)
        *result = held.job;
    else
        srv_job_held_release(&held);
    return status;
}

enum efm_status srv_jobs_change(struct srv_jobs *jobs, const char *id, srv_job_alter *alter, void *context,
                                struct api_job *result, struct efm_error *error)
{
    struct efm_error reason = {0};
    enum efm_status status = EFM_E_ARGUMENT;
    for (int turn = 0; turn < TURNS && status == EFM_E_ARGUMENT; turn++) {
        efm_error_clear(&reason);
        status = change_once(jobs, id, alter, context, result, &reason);
    }
    if (status == EFM_E_ARGUMENT)
        return efm_error_set(error, EFM_E_IO, "the job is being changed by others all the time");
    return status == EFM_OK ? EFM_OK : efm_error_set(error, status, "%s", reason.message);
}

/* ---- by others ---- */

struct edit {
    void (*apply)(void *context, struct api_job *job);
    void *context;
    const struct api_event *event;
};

static enum efm_status edit_once(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                 struct srv_job_change *change, struct efm_error *error)
{
    const struct edit *edit = context;
    (void)jobs;
    (void)error;
    edit->apply(edit->context, &held->job);
    if (edit->event != NULL)
        change->event = *edit->event;
    return EFM_OK;
}

enum efm_status srv_jobs_edit(struct srv_jobs *jobs, const char *id,
                              void (*edit)(void *context, struct api_job *job), void *context,
                              const struct api_event *event, struct efm_error *error)
{
    struct edit mine = {edit, context, event};
    return srv_jobs_change(jobs, id, edit_once, &mine, NULL, error);
}
