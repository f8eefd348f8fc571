// SPDX-License-Identifier: Apache-2.0
/* Jobs that go: deleted by a client, or past their time or number. The record goes first, for what hangs
 * on it is of no use without it and is found later if this is cut off. */
#include "core/base/memory.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>

enum {
    ROUND = 100,          /* jobs in one call */
    KEYS = 1000,          /* keys in one call */
    EVENTS = 10000,       /* events in one commit */
    SWEEP = 3600,         /* seconds between two looks for blobs without a job */
    FRESH = 3600,         /* so young they may belong to a job that is being submitted */
    PATIENCE = 4 * 86400, /* seconds that a job past its time waits for its webhook */
    WAITING_MOST = 1000,  /* jobs past their number that may */
};

static const char *const FINISHED[] = {"succeeded", "failed", "cancelled", NULL};

/* ---- what hangs on a job ---- */

static void drop_blob(struct srv_jobs *jobs, const char *id, const char *name)
{
    char key[SRV_BLOB_KEY];
    struct efm_error error = {0};
    srv_jobs_blob_key(id, name, key);
    if (srv_blobs_remove(jobs->blobs, key, &error) != EFM_OK)
        srv_log(jobs->log, SRV_LOG_WARNING, "blob_not_removed", "\"blob\":\"%s\"", key);
}

void srv_jobs_drop_inputs(struct srv_jobs *jobs, const char *id, bool checkpoint)
{
    drop_blob(jobs, id, "source");
    drop_blob(jobs, id, "target");
    drop_blob(jobs, id, "request");
    if (checkpoint)
        drop_blob(jobs, id, "checkpoint");
}

static void drop_records(struct srv_jobs *jobs, const char *id, enum srv_record_kind kind)
{
    const struct srv_query query = {.kind = kind, .parent = id, .limit = EVENTS};
    struct efm_error error = {0};
    size_t count = EVENTS;
    while (count == EVENTS && srv_store_delete(jobs->store, &query, &count, &error) == EFM_OK) {
    }
}

void srv_jobs_drop_all(struct srv_jobs *jobs, const char *id)
{
    char prefix[SRV_BLOB_KEY];
    struct efm_error error = {0};
    drop_records(jobs, id, SRV_RECORD_EVENT);
    drop_records(jobs, id, SRV_RECORD_WEBHOOK);
    snprintf(prefix, sizeof prefix, "jobs/%s/", id);
    if (srv_blobs_remove_all(jobs->blobs, prefix, &error) != EFM_OK)
        srv_log(jobs->log, SRV_LOG_WARNING, "blobs_not_removed", "\"job\":\"%s\"", id);
}

/* A tombstone in place of the job. EFM_E_ARGUMENT: it has changed meanwhile. */
static enum efm_status entomb(struct srv_jobs *jobs, const struct srv_record *found, struct efm_error *error)
{
    char nothing[] = "";
    struct srv_record record = *found;
    snprintf(record.state, sizeof record.state, "%s", SRV_JOB_GONE);
    record.document = nothing;
    record.size = 0;
    record.expires = srv_store_now(jobs->store) + SRV_JOBS_TOMB;
    const struct srv_change change = {SRV_UPDATE, &record, found->version};
    enum efm_status status = srv_store_commit(jobs->store, &change, 1, NULL, error);
    if (status != EFM_OK)
        return status;
    srv_jobs_drop_all(jobs, found->id);
    srv_jobs_changed(jobs, found->id);
    return EFM_OK;
}

bool srv_jobs_delete(struct srv_jobs *jobs, const char *id, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    struct srv_record record = {0};
    struct efm_error error = {0};
    if (!srv_jobs_get(jobs, id, &job, problem)) // unknown, gone
        return false;
    const enum api_job_state state = job.state;
    api_job_release(&job);
    if (!api_job_state_ended(state))
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the job is %s; cancel it first",
                               api_job_state_word(state));
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_JOB, id, &record, &error);
    if (status == EFM_OK && !srv_job_gone(&record))
        status = entomb(jobs, &record, &error);
    srv_record_release(&record);
    if (status == EFM_E_ARGUMENT)
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the job was being changed; try again");
    return status == EFM_OK || status == EFM_E_NOT_FOUND || srv_jobs_storage_problem(jobs, &error, problem);
}

/* ---- expiry ---- */

/* A job whose end somebody is still to be told of stays a while longer. */
static bool waits_for_webhook(struct srv_jobs *jobs, const struct srv_record *record)
{
    struct api_job job = {.kind = ""};
    struct efm_error error = {0};
    if (api_job_read(&job, record->document, record->size, &error) != EFM_OK)
        return false;
    const bool waits =
        strcmp(job.webhook_state, "pending") == 0 && srv_store_now(jobs->store) < job.finished + PATIENCE;
    api_job_release(&job);
    return waits;
}

/* What becomes of one that waits for its webhook: it is looked at again later, stays for now, or goes all the same. */
enum waiting { WAITING_LATER, WAITING_STAYS, WAITING_GOES };

static void look_later(struct srv_jobs *jobs, const struct srv_record *record)
{
    enum { LONGER = 3600 };
    struct efm_error error = {0};
    struct srv_record later = *record;
    later.expires = srv_store_now(jobs->store) + LONGER;
    const struct srv_change change = {SRV_UPDATE, &later, record->version};
    if (srv_store_commit(jobs->store, &change, 1, NULL, &error) != EFM_OK)
        srv_log(jobs->log, SRV_LOG_DEBUG, "job_changed_meanwhile", "\"job\":\"%s\"", record->id);
}

/* True when it is gone. */
static bool expire_one(struct srv_jobs *jobs, const struct srv_record *record, enum waiting waiting)
{
    struct efm_error error = {0};
    if (waits_for_webhook(jobs, record)) {
        if (waiting == WAITING_LATER)
            look_later(jobs, record);
        if (waiting != WAITING_GOES)
            return false;
        srv_log(jobs->log, SRV_LOG_WARNING, "webhook_dropped", "\"job\":\"%s\"", record->id);
    }
    if (entomb(jobs, record, &error) == EFM_OK)
        return true;
    srv_log(jobs->log, SRV_LOG_WARNING, "job_not_expired", "\"job\":\"%s\"", record->id);
    return false;
}

/* How many the query found; *gone: how many of them went, the first `most` that may. */
static size_t expire(struct srv_jobs *jobs, const struct srv_query *query, enum waiting waiting, size_t most,
                     size_t *gone)
{
    struct srv_record *records = NULL;
    struct efm_error error = {0};
    size_t count = 0;
    *gone = 0;
    if (srv_store_list(jobs->store, query, &records, &count, &error) != EFM_OK)
        return 0;
    for (size_t i = 0; i < count && *gone < most; i++)
        *gone += expire_one(jobs, &records[i], waiting);
    srv_records_release(records, count);
    return count;
}

static bool expire_by_time(struct srv_jobs *jobs)
{
    size_t gone;
    const struct srv_query query = {
        .kind = SRV_RECORD_JOB, .states = FINISHED, .expired = srv_store_now(jobs->store), .limit = ROUND};
    return expire(jobs, &query, WAITING_LATER, ROUND, &gone) == ROUND;
}

static size_t count_pending_webhooks(struct srv_jobs *jobs)
{
    static const char *const undone[] = {"pending", "sending", NULL};
    const struct srv_query query = {.kind = SRV_RECORD_WEBHOOK, .states = undone};
    size_t count = 0;
    return srv_store_count(jobs->store, &query, &count, NULL) == EFM_OK ? count : 0;
}

/* The oldest go; those that wait for their webhook stay beyond the number, until there are far too many of them. */
static bool expire_by_count(struct srv_jobs *jobs)
{
    struct srv_query query = {.kind = SRV_RECORD_JOB, .states = FINISHED};
    struct efm_error error = {0};
    size_t count = 0, gone;
    if (srv_store_count(jobs->store, &query, &count, &error) != EFM_OK || count <= jobs->max_finished)
        return false;
    const size_t waiting = count_pending_webhooks(jobs), excess = count - jobs->max_finished;
    const size_t most = excess < ROUND ? excess : ROUND;
    const bool patient = waiting <= WAITING_MOST;
    query.limit = most + (patient ? waiting : 0); // those that stay may be the oldest
    expire(jobs, &query, patient ? WAITING_STAYS : WAITING_GOES, most, &gone);
    return gone == ROUND && excess > ROUND;
}

static bool remove_tombs(struct srv_jobs *jobs)
{
    static const char *const gone[] = {SRV_JOB_GONE, NULL};
    const struct srv_query query = {
        .kind = SRV_RECORD_JOB, .states = gone, .expired = srv_store_now(jobs->store), .limit = ROUND};
    struct srv_record *records = NULL;
    struct efm_error error = {0};
    size_t count = 0;
    if (srv_store_list(jobs->store, &query, &records, &count, &error) != EFM_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct srv_change change = {SRV_DELETE, &records[i], records[i].version};
        struct efm_error reason = {0};
        srv_jobs_drop_all(jobs, records[i].id);
        if (srv_store_commit(jobs->store, &change, 1, NULL, &reason) != EFM_OK)
            srv_log(jobs->log, SRV_LOG_DEBUG, "job_changed_meanwhile", "\"job\":\"%s\"", records[i].id);
    }
    srv_records_release(records, count);
    return count == ROUND;
}

static bool remove_keys(struct srv_jobs *jobs)
{
    const struct srv_query query = {
        .kind = SRV_RECORD_KEY, .expired = srv_store_now(jobs->store), .limit = KEYS};
    struct efm_error error = {0};
    size_t count = 0;
    return srv_store_delete(jobs->store, &query, &count, &error) == EFM_OK && count == KEYS;
}

/* ---- blobs without a job ---- */

/* "jobs/ID/name": the ID. */
static bool id_of_key(const char *key, char id[API_JOB_ID_SIZE])
{
    const char *begin = key + strlen("jobs/"), *end = strchr(begin, '/');
    if (end == NULL || (size_t)(end - begin) >= API_JOB_ID_SIZE)
        return false;
    memcpy(id, begin, (size_t)(end - begin));
    id[end - begin] = '\0';
    return true;
}

static bool is_orphan(struct srv_jobs *jobs, const char *id)
{
    struct srv_record record = {0};
    struct efm_error error = {0};
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_JOB, id, &record, &error);
    const bool orphan = status == EFM_E_NOT_FOUND || (status == EFM_OK && srv_job_gone(&record));
    srv_record_release(&record);
    return orphan;
}

static void sweep_blobs(struct srv_jobs *jobs)
{
    struct srv_blob_facts *facts = NULL;
    struct efm_error error = {0};
    size_t count = 0;
    char id[API_JOB_ID_SIZE], last[API_JOB_ID_SIZE] = "";
    bool orphan = false;
    const double now = srv_store_now(jobs->store);
    if (srv_blobs_list(jobs->blobs, "jobs/", &facts, &count, &error) != EFM_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        if (facts[i].modified > now - FRESH || !id_of_key(facts[i].key, id))
            continue;
        if (strcmp(id, last) != 0) {
            orphan = is_orphan(jobs, id);
            memcpy(last, id, sizeof last);
        }
        struct efm_error reason = {0};
        if (orphan && srv_blobs_remove(jobs->blobs, facts[i].key, &reason) != EFM_OK)
            srv_log(jobs->log, SRV_LOG_WARNING, "blob_not_removed", "\"blob\":\"%s\"", facts[i].key);
    }
    efm_free(facts);
}

static bool sweep_is_due(struct srv_jobs *jobs)
{
    const double now = srv_store_now(jobs->store);
    pthread_mutex_lock(&jobs->mutex);
    const bool due = now >= jobs->next_sweep;
    if (due)
        jobs->next_sweep = now + SWEEP;
    pthread_mutex_unlock(&jobs->mutex);
    return due;
}

/* ---- gauges ---- */

static void set_gauges(struct srv_jobs *jobs)
{
    static const char *const groups[] = {"train", "request"};
    for (size_t group = 0; group < sizeof groups / sizeof groups[0]; group++) {
        for (int state = API_JOB_QUEUED; state <= API_JOB_CANCELLED; state++) {
            const char *const states[] = {api_job_state_word((enum api_job_state)state), NULL};
            const struct srv_query query = {.kind = SRV_RECORD_JOB, .group = groups[group], .states = states};
            struct efm_error error = {0};
            size_t count = 0;
            if (srv_store_count(jobs->store, &query, &count, &error) == EFM_OK)
                srv_metrics_set(jobs->metrics, SRV_M_JOBS, (double)count, "kind=\"%s\",state=\"%s\"",
                                groups[group], states[0]);
        }
    }
}

bool srv_jobs_clean(struct srv_jobs *jobs)
{
    bool more = expire_by_time(jobs);
    more = expire_by_count(jobs) || more;
    more = remove_tombs(jobs) || more;
    more = remove_keys(jobs) || more;
    if (!more) {
        if (sweep_is_due(jobs))
            sweep_blobs(jobs);
        set_gauges(jobs);
    }
    return more;
}
