// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/jobs.h"

#include "core/base/memory.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

const char *srv_job_group(const char *kind)
{
    return strcmp(kind, "train") == 0 ? "train" : "request";
}

/* ---- ids ---- */

/* So many letters of Crockford's base 32, the highest first. */
static void write_base32(uint64_t bits, size_t letters, char *out)
{
    static const char ALPHABET[] = "0123456789abcdefghjkmnpqrstvwxyz";
    for (size_t i = letters; i-- > 0; bits >>= 5)
        out[i] = ALPHABET[bits & 31];
}

/* In the manner of a ULID: 48 bits of milliseconds, 80 bits of chance. */
void srv_jobs_fresh_id(struct srv_jobs *jobs, const char *prefix, char *out)
{
    enum { TIME = 10, HALF = 8 };
    uint64_t random[2] = {0};
    ssize_t got = getrandom(random, sizeof random, 0);
    (void)got; // so few bytes always come at once
    char text[TIME + 2 * HALF + 1];
    write_base32((uint64_t)(srv_store_now(jobs->store) * 1000), TIME, text);
    write_base32(random[0], HALF, text + TIME);
    write_base32(random[1], HALF, text + TIME + HALF);
    text[sizeof text - 1] = '\0';
    snprintf(out, API_JOB_ID_SIZE, "%s%s", prefix, text);
}

void srv_jobs_blob_key(const char *id, const char *name, char out[SRV_BLOB_KEY])
{
    snprintf(out, SRV_BLOB_KEY, "jobs/%s/%s", id, name);
}

void srv_jobs_model_key(const char *model, char out[SRV_RECORD_ID])
{
    snprintf(out, SRV_RECORD_ID, "model/%s", model);
}

/* ---- life ---- */

static enum efm_status take_back(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                 struct srv_job_change *change, struct efm_error *error)
{
    const char *owner = context;
    (void)jobs;
    (void)error;
    change->none = held->job.state != API_JOB_RUNNING || strcmp(held->record.owner, owner) != 0;
    if (change->none)
        return EFM_OK;
    held->job.state = API_JOB_QUEUED;
    held->record.owner[0] = '\0';
    held->record.lease = 0;
    srv_job_state_event(&held->job, change);
    return EFM_OK;
}

/* What an earlier run of this replica had under way waits again, at its old place. */
static enum efm_status take_all_back(struct srv_jobs *jobs, const char *replica, struct efm_error *error)
{
    static const char *const running[] = {"running", NULL};
    const struct srv_query query = {.kind = SRV_RECORD_JOB, .states = running, .limit = 10000};
    struct srv_record *records = NULL;
    size_t count = 0, length = strlen(replica);
    enum efm_status status = srv_store_list(jobs->store, &query, &records, &count, error);
    for (size_t i = 0; status == EFM_OK && i < count; i++) {
        if (strncmp(records[i].owner, replica, length) != 0 || records[i].owner[length] != '#')
            continue;
        struct efm_error reason = {0};
        // one that cannot be read is failed by the claim that comes when its lease has run out
        if (srv_jobs_change(jobs, records[i].id, take_back, records[i].owner, NULL, &reason) != EFM_OK)
            srv_log(jobs->log, SRV_LOG_WARNING, "job_not_taken_back", "\"job\":\"%s\"", records[i].id);
        else
            srv_log(jobs->log, SRV_LOG_INFO, "job_taken_back", "\"job\":\"%s\"", records[i].id);
    }
    srv_records_release(records, count);
    return status;
}

enum efm_status srv_jobs_create(struct srv_jobs **out, const struct srv_jobs_options *options,
                                struct srv_metrics *metrics, struct srv_log *log, struct efm_error *error)
{
    enum { REPLICA = SRV_RECORD_OWNER - 10 };
    struct srv_jobs *jobs = efm_allocate_array(1, sizeof *jobs);
    if (jobs == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for jobs");
    char replica[REPLICA + 1];
    uint32_t run = 0;
    ssize_t got = getrandom(&run, sizeof run, 0);
    (void)got;
    snprintf(replica, sizeof replica, "%s", options->replica);
    jobs->store = options->store;
    jobs->blobs = options->blobs;
    jobs->metrics = metrics;
    jobs->log = log;
    jobs->max_waiting = options->max_waiting;
    jobs->max_finished = options->max_finished;
    jobs->ttl = options->ttl;
    snprintf(jobs->owner, sizeof jobs->owner, "%s#%08x", replica, run);
    pthread_rwlock_init(&jobs->listening, NULL);
    pthread_mutex_init(&jobs->mutex, NULL);
    enum efm_status status = take_all_back(jobs, replica, error);
    if (status == EFM_OK)
        *out = jobs;
    else
        srv_jobs_destroy(jobs);
    return status;
}

void srv_jobs_destroy(struct srv_jobs *jobs)
{
    if (jobs == NULL)
        return;
    pthread_mutex_destroy(&jobs->mutex);
    pthread_rwlock_destroy(&jobs->listening);
    efm_free(jobs);
}

void srv_jobs_listen(struct srv_jobs *jobs, const struct srv_jobs_listener *listener)
{
    pthread_rwlock_wrlock(&jobs->listening);
    jobs->listener = listener == NULL ? (struct srv_jobs_listener){0} : *listener;
    pthread_rwlock_unlock(&jobs->listening);
}

void srv_jobs_changed(struct srv_jobs *jobs, const char *id)
{
    pthread_rwlock_rdlock(&jobs->listening);
    if (jobs->listener.changed != NULL)
        jobs->listener.changed(jobs->listener.context, id);
    pthread_rwlock_unlock(&jobs->listening);
}

void srv_jobs_submitted(struct srv_jobs *jobs, const char *group)
{
    pthread_rwlock_rdlock(&jobs->listening);
    if (jobs->listener.submitted != NULL)
        jobs->listener.submitted(jobs->listener.context, group);
    pthread_rwlock_unlock(&jobs->listening);
}

bool srv_jobs_storage_problem(struct srv_jobs *jobs, const struct efm_error *error,
                              struct api_problem *problem)
{
    char text[300];
    if (error->status == EFM_E_MEMORY)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "there is no memory for this now");
    srv_log(jobs->log, SRV_LOG_ERROR, "job_storage", "\"reason\":%s",
            srv_log_quote(error->message, text, sizeof text));
    return api_problem_set(problem, API_P_STORAGE, NULL, "%s", error->message);
}

/* ---- reading ---- */

bool srv_job_gone(const struct srv_record *record)
{
    return strcmp(record->state, SRV_JOB_GONE) == 0;
}

enum efm_status srv_jobs_unpack(struct srv_record *record, struct srv_job_held *held, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    *held = (struct srv_job_held){.record = *record};
    held->record.document = NULL;
    held->record.size = 0;
    if (!srv_job_gone(record)) {
        enum api_job_state state;
        status = api_job_read(&held->job, record->document, record->size, error);
        // The record knows best: a claim changes it and not the document.
        if (status == EFM_OK && api_job_state_parse(record->state, &state))
            held->job.state = state;
    }
    srv_record_release(record);
    return status;
}

enum efm_status srv_jobs_load(struct srv_jobs *jobs, const char *id, struct srv_job_held *held,
                              struct efm_error *error)
{
    struct srv_record record = {0};
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_JOB, id, &record, error);
    return status == EFM_OK ? srv_jobs_unpack(&record, held, error) : status;
}

void srv_job_held_release(struct srv_job_held *held)
{
    api_job_release(&held->job);
}

/* 1 for the one that comes next. A number that cannot be had is left out. */
static size_t queue_position(struct srv_jobs *jobs, const struct srv_record *record)
{
    static const char *const queued[] = {"queued", NULL};
    const struct srv_query query = {
        .kind = SRV_RECORD_JOB, .group = record->group, .states = queued, .before = record->sequence};
    struct efm_error error = {0};
    size_t before = 0;
    return srv_store_count(jobs->store, &query, &before, &error) == EFM_OK ? before + 1 : 0;
}

static bool refuse_unknown(const char *id, struct api_problem *problem)
{
    return api_problem_set(problem, API_P_UNKNOWN_JOB, NULL, "there is no job '%.80s'", id);
}

static bool refuse_gone(const char *id, struct api_problem *problem)
{
    return api_problem_set(problem, API_P_GONE, NULL, "the job '%.80s' has expired or been deleted", id);
}

bool srv_jobs_get(struct srv_jobs *jobs, const char *id, struct api_job *job, struct api_problem *problem)
{
    struct srv_job_held held;
    struct efm_error error = {0};
    enum efm_status status = srv_jobs_load(jobs, id, &held, &error);
    if (status == EFM_E_NOT_FOUND)
        return refuse_unknown(id, problem);
    if (status != EFM_OK)
        return srv_jobs_storage_problem(jobs, &error, problem);
    if (srv_job_gone(&held.record))
        return refuse_gone(id, problem);
    *job = held.job;
    if (job->state == API_JOB_QUEUED)
        job->queue_position = queue_position(jobs, &held.record);
    return true;
}

static bool is_shown(const struct api_job *job, const struct srv_job_viewer *viewer)
{
    return viewer->admin || strcmp(job->kind, "train") == 0 || strcmp(job->owner, viewer->key) == 0;
}

bool srv_jobs_get_for(struct srv_jobs *jobs, const char *id, const struct srv_job_viewer *viewer,
                      struct api_job *job, struct api_problem *problem)
{
    if (!srv_jobs_get(jobs, id, job, problem))
        return false;
    if (is_shown(job, viewer))
        return true;
    api_job_release(job);
    return refuse_unknown(id, problem);
}

/* ---- lists ---- */

enum { PAGE = 200 };

struct listing {
    const struct api_jobs_request *request;
    const struct srv_job_viewer *viewer;
    const char *kind;      /* NULL: any */
    const char *states[6]; /* NULL-terminated */
    struct api_job *list;  /* owned, [request->limit] */
    size_t count;
    bool more;
};

/* The word that a parameter of the table was set to; NULL when it was not given. */
static const char *given_word(const struct api_jobs_request *request, const char *name, int index)
{
    const struct api_parameter_table *table = &api_jobs_table;
    if (!api_parameter_given(table, &request->seen, name))
        return NULL;
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->items[i].name, name) == 0)
            return table->items[i].words[index];
    return NULL;
}

static void choose_states(struct listing *listing)
{
    const char *word = given_word(listing->request, "status", listing->request->status);
    size_t count = 0;
    for (int state = API_JOB_QUEUED; state <= API_JOB_CANCELLED; state++) {
        const char *name = api_job_state_word((enum api_job_state)state);
        const bool ended = api_job_state_ended((enum api_job_state)state);
        if (word == NULL || strcmp(word, name) == 0 || (ended && strcmp(word, "finished") == 0) ||
            (!ended && strcmp(word, "unfinished") == 0))
            listing->states[count++] = name;
    }
}

/* Takes over the record; one that cannot be read is left out. */
static void list_one(struct srv_jobs *jobs, struct listing *listing, struct srv_record *record)
{
    struct srv_job_held held;
    struct efm_error error = {0};
    if (srv_jobs_unpack(record, &held, &error) != EFM_OK)
        return;
    const char *model = listing->request->model;
    bool wanted = (listing->kind == NULL || strcmp(held.job.kind, listing->kind) == 0) &&
                  (model[0] == '\0' || strcmp(held.job.model, model) == 0) &&
                  is_shown(&held.job, listing->viewer);
    if (wanted && listing->count == listing->request->limit) {
        listing->more = true;
        wanted = false;
    }
    if (!wanted) {
        srv_job_held_release(&held);
        return;
    }
    if (held.job.state == API_JOB_QUEUED)
        held.job.queue_position = queue_position(jobs, &held.record);
    listing->list[listing->count++] = held.job;
}

/* Page by page, for the store does not know of all that is asked for. */
static enum efm_status list_pages(struct srv_jobs *jobs, struct listing *listing, uint64_t before,
                                  struct efm_error *error)
{
    struct srv_query query = {.kind = SRV_RECORD_JOB,
                              .states = listing->states,
                              .before = before,
                              .newest_first = true,
                              .limit = PAGE};
    if (listing->kind != NULL)
        query.group = srv_job_group(listing->kind);
    size_t count = PAGE;
    while (count == PAGE && !listing->more) {
        struct srv_record *records = NULL;
        enum efm_status status = srv_store_list(jobs->store, &query, &records, &count, error);
        if (status != EFM_OK)
            return status;
        for (size_t i = 0; i < count; i++) {
            query.before = records[i].sequence;
            list_one(jobs, listing, &records[i]);
        }
        srv_records_release(records, count);
    }
    return EFM_OK;
}

/* The place of the job after which the list goes on; 0 for the beginning. */
static bool find_place(struct srv_jobs *jobs, const char *after, uint64_t *before,
                       struct api_problem *problem)
{
    struct srv_record record = {0};
    struct efm_error error = {0};
    *before = 0;
    if (after[0] == '\0')
        return true;
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_JOB, after, &record, &error);
    *before = record.sequence;
    srv_record_release(&record);
    if (status == EFM_E_NOT_FOUND)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/after", "is not the id of a job");
    return status == EFM_OK || srv_jobs_storage_problem(jobs, &error, problem);
}

bool srv_jobs_list(struct srv_jobs *jobs, const struct api_jobs_request *request,
                   const struct srv_job_viewer *viewer, struct api_job **list, size_t *count, bool *has_more,
                   struct api_problem *problem)
{
    struct listing listing = {
        .request = request, .viewer = viewer, .kind = given_word(request, "kind", request->kind)};
    struct efm_error error = {0};
    uint64_t before;
    if (!find_place(jobs, request->after, &before, problem))
        return false;
    choose_states(&listing);
    listing.list = efm_allocate_array((size_t)request->limit + 1, sizeof *listing.list);
    if (listing.list == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the list");
    if (list_pages(jobs, &listing, before, &error) != EFM_OK) {
        for (size_t i = 0; i < listing.count; i++)
            api_job_release(&listing.list[i]);
        efm_free(listing.list);
        return srv_jobs_storage_problem(jobs, &error, problem);
    }
    *list = listing.list;
    *count = listing.count;
    *has_more = listing.more;
    return true;
}

/* ---- events ---- */

static int append_text(const char *text, size_t size, void *context)
{
    return efm_buffer_append(context, text, size) == EFM_OK ? 0 : -1;
}

/* Hands one event out; false to stop. One that cannot be read is left out. */
static bool show_event(const struct srv_record *record,
                       bool (*visit)(void *context, const struct api_event *event), void *context)
{
    struct efm_buffer data = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    json_t *document = json_loadb(record->document, record->size, 0, NULL);
    const char *level = json_string_value(json_object_get(document, "level"));
    const char *message = json_string_value(json_object_get(document, "message"));
    const json_t *value = json_object_get(document, "data");
    bool go_on = true;
    if (json_is_object(value) && json_dump_callback(value, append_text, &data, JSON_COMPACT) == 0 &&
        efm_buffer_append(&data, "", 1) == EFM_OK) {
        const struct api_event event = {.id = record->sequence,
                                        .created = record->created,
                                        .type = record->group,
                                        .level = level == NULL ? "info" : level,
                                        .message = message == NULL ? "" : message,
                                        .data = (const char *)data.data};
        go_on = visit(context, &event);
    }
    json_decref(document);
    efm_buffer_release(&data);
    return go_on;
}

bool srv_jobs_ended(struct srv_jobs *jobs, const char *id, bool *ended, struct api_problem *problem)
{
    struct srv_record record = {0};
    struct efm_error error = {0};
    enum efm_status status = srv_store_get(jobs->store, SRV_RECORD_JOB, id, &record, &error);
    const bool gone = srv_job_gone(&record);
    enum api_job_state state;
    *ended = status == EFM_OK && api_job_state_parse(record.state, &state) && api_job_state_ended(state);
    srv_record_release(&record);
    if (status == EFM_E_NOT_FOUND)
        return refuse_unknown(id, problem);
    if (status != EFM_OK)
        return srv_jobs_storage_problem(jobs, &error, problem);
    return !gone || refuse_gone(id, problem);
}

bool srv_jobs_events_of(struct srv_jobs *jobs, const char *id, const char *type, uint64_t after, size_t limit,
                        bool (*visit)(void *context, const struct api_event *event), void *context,
                        struct api_problem *problem)
{
    const struct srv_query query = {
        .kind = SRV_RECORD_EVENT, .parent = id, .group = type, .after = after, .limit = limit};
    struct srv_record *records = NULL;
    size_t count = 0;
    struct efm_error error = {0};
    bool ended;
    if (!srv_jobs_ended(jobs, id, &ended, problem))
        return false;
    if (srv_store_list(jobs->store, &query, &records, &count, &error) != EFM_OK)
        return srv_jobs_storage_problem(jobs, &error, problem);
    for (size_t i = 0; i < count && show_event(&records[i], visit, context); i++) {
    }
    srv_records_release(records, count);
    return true;
}

bool srv_jobs_events(struct srv_jobs *jobs, const char *id, uint64_t after, size_t limit,
                     bool (*visit)(void *context, const struct api_event *event), void *context,
                     struct api_problem *problem)
{
    return srv_jobs_events_of(jobs, id, NULL, after, limit, visit, context, problem);
}
