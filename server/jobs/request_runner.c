// SPDX-License-Identifier: Apache-2.0
/* One thread looks after a few places, each of which holds one request that runs. What the requests need
 * is done by the same scheduler as for all others; this thread only begins them and keeps what comes out. */
#include "server/jobs/request_runner.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/http.h"
#include "server/log.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Seconds: between looks for jobs of other replicas and for those whose wait is over; between renewals;
 * before a job that found no room is tried again; before an end that could not be stored is tried again. */
static const double LOOK = 1, RENEWAL = SRV_JOBS_LEASE / 5.0, NO_ROOM = 1, STORE_AGAIN = 2;

enum place_state {
    PLACE_FREE,
    PLACE_RUNS,
    PLACE_ANSWERED, /* the answer is there */
    PLACE_ENDED,    /* and is in the job; the end is to be stored */
};

struct place {
    struct srv_request_runner *runner;
    enum place_state state; /* under the mutex */
    bool noticed;           /* under the mutex */
    struct api_job job;
    atomic_bool cancelled; /* of the request */
    bool cancel_asked;     /* by a client */
    bool lost;             /* the lease: what comes out is not wanted */
    bool given_back;       /* the daemon stops */
    double next_renewal, next_try;
    struct api_reply reply;
};

struct srv_request_runner {
    struct srv_service *service;
    size_t parallel;
    struct place *places; /* owned, [parallel] */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* under the mutex */
    bool woken, stopping, now, ending;
};

/* ---- the answer ---- */

static void take_answer(void *context, struct api_reply *reply)
{
    struct place *place = context;
    struct srv_request_runner *runner = place->runner;
    pthread_mutex_lock(&runner->mutex);
    place->reply = *reply;
    place->state = PLACE_ANSWERED;
    runner->woken = true;
    pthread_cond_signal(&runner->wake);
    pthread_mutex_unlock(&runner->mutex);
}

static void fail_job(struct api_job *job, const char *code, const char *message)
{
    job->state = API_JOB_FAILED;
    snprintf(job->error_code, sizeof job->error_code, "%s", code);
    snprintf(job->error_message, sizeof job->error_message, "%s", message);
}

static const char *text_of(const json_t *object, const char *name, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? fallback : text;
}

/* The problem that the request was answered with becomes the error of the job. */
static void take_problem(struct api_job *job, const struct api_reply *reply)
{
    json_t *problem = json_loadb((const char *)reply->body.data, reply->body.size, 0, NULL);
    const json_t *first = json_array_get(json_object_get(problem, "errors"), 0);
    fail_job(job, text_of(problem, "code", "internal"),
             text_of(problem, "detail", "the request was refused without a word"));
    snprintf(job->error_pointer, sizeof job->error_pointer, "%s", text_of(first, "pointer", ""));
    json_decref(problem);
}

/* What a client of the result shall see again. */
static bool is_kept(const char *name)
{
    return strncasecmp(name, "Efm-", 4) == 0 || strcasecmp(name, "Server-Timing") == 0 ||
           strcasecmp(name, "ETag") == 0;
}

static void keep_headers(struct api_job *job, const struct api_reply *reply)
{
    size_t used = 0;
    for (size_t i = 0; i < reply->header_count; i++) {
        const struct api_header *header = &reply->headers[i];
        const size_t room = sizeof job->result_headers - used;
        if (!is_kept(header->name) || strlen(header->name) + strlen(header->value) + 4 > room)
            continue;
        used += (size_t)snprintf(job->result_headers + used, room, "%s: %s\n", header->name, header->value);
    }
}

static void keep_result(struct place *place)
{
    struct api_job *job = &place->job;
    const struct api_reply *reply = &place->reply;
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(job->id, "result", key);
    if (srv_blobs_put(place->runner->service->blobs, key, reply->body.data, reply->body.size, &error) !=
        EFM_OK) {
        fail_job(job, api_problem_code_name(API_P_STORAGE), error.message);
        return;
    }
    job->state = API_JOB_SUCCEEDED;
    job->result_status = reply->status;
    job->result_size = reply->body.size;
    snprintf(job->result_type, sizeof job->result_type, "%s", reply->content_type);
    keep_headers(job, reply);
}

/* Whether it was not done because there was no room, or the server goes. */
static bool was_turned_away(const struct api_reply *reply)
{
    if (reply->status == api_problem_status(API_P_QUEUE_FULL))
        return true;
    if (reply->status != api_problem_status(API_P_DRAINING))
        return false;
    json_t *problem = json_loadb((const char *)reply->body.data, reply->body.size, 0, NULL);
    const bool draining = strcmp(text_of(problem, "code", ""), api_problem_code_name(API_P_DRAINING)) == 0;
    json_decref(problem);
    return draining;
}

static void set_free(struct place *place)
{
    // The state first: whoever notices a change reads the id of places that run.
    pthread_mutex_lock(&place->runner->mutex);
    place->state = PLACE_FREE;
    pthread_mutex_unlock(&place->runner->mutex);
    api_reply_release(&place->reply);
    api_job_release(&place->job);
    place->job = (struct api_job){.kind = ""};
}

static void complain(struct place *place, const char *event, const struct efm_error *error)
{
    char reason[300];
    srv_log(place->runner->service->log, SRV_LOG_WARNING, event, "\"job\":\"%s\",\"reason\":%s",
            place->job.id, srv_log_quote(error->message, reason, sizeof reason));
}

/* Stores how the job came out, now or, when the store is ill, later. */
static void store_end(struct place *place)
{
    struct efm_error error = {0};
    if (srv_jobs_finish(place->runner->service->jobs, &place->job, &error) == EFM_OK ||
        error.status == EFM_E_NOT_FOUND) {
        set_free(place);
        return;
    }
    complain(place, "job_end_not_stored", &error);
    place->next_try = srv_clock() + STORE_AGAIN;
    pthread_mutex_lock(&place->runner->mutex);
    place->state = PLACE_ENDED;
    pthread_mutex_unlock(&place->runner->mutex);
}

static void settle(struct place *place)
{
    struct srv_jobs *jobs = place->runner->service->jobs;
    struct efm_error error = {0};
    if (place->lost) {
        set_free(place);
    } else if (place->cancel_asked) {
        place->job.state = API_JOB_CANCELLED;
        store_end(place);
    } else if (was_turned_away(&place->reply)) {
        // a lease that cannot be given back runs out
        if (srv_jobs_postpone(jobs, &place->job, place->given_back ? 0 : NO_ROOM, &error) != EFM_OK)
            complain(place, "job_not_given_back", &error);
        set_free(place);
    } else {
        if (place->reply.status < 400)
            keep_result(place);
        else
            take_problem(&place->job, &place->reply);
        store_end(place);
    }
}

/* ---- the beginning ---- */

/* The body as it was kept, owned by the caller. False when it cannot be had. */
static bool read_body(struct place *place, uint8_t **body, size_t *size, struct efm_error *error)
{
    struct srv_blob *blob = NULL;
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(place->job.id, "request", key);
    *body = NULL;
    *size = 0;
    enum efm_status status = srv_blobs_open(place->runner->service->blobs, key, &blob, error);
    if (status == EFM_E_NOT_FOUND) { // a request without a body
        efm_error_clear(error);
        return true;
    }
    if (status != EFM_OK)
        return false;
    const uint8_t *bytes = srv_blob_map(blob, error);
    *size = (size_t)srv_blob_size(blob);
    *body = bytes == NULL ? NULL : efm_allocate(*size + 1);
    if (*body != NULL) {
        memcpy(*body, bytes, *size);
        (*body)[*size] = '\0';
    } else if (bytes != NULL) {
        efm_error_set(error, EFM_E_MEMORY, "no memory for the body of the request");
    }
    srv_blob_close(blob);
    return *body != NULL;
}

/* Back to the queue, after trouble that may pass. */
static void put_off(struct place *place, const struct efm_error *reason)
{
    struct efm_error error = {0};
    complain(place, "job_not_begun", reason);
    if (srv_jobs_postpone(place->runner->service->jobs, &place->job, NO_ROOM, &error) != EFM_OK)
        complain(place, "job_not_given_back", &error);
    set_free(place);
}

static void begin(struct place *place)
{
    struct efm_error error = {0};
    uint8_t *body;
    size_t size;
    if (!read_body(place, &body, &size, &error)) {
        put_off(place, &error);
        return;
    }
    struct srv_kept_request request = {
        .method = "POST",
        .target = place->job.target,
        .content_type = place->job.content_type,
        .accept = place->job.accept,
        .body = body,
        .body_size = size,
        .request_id = place->job.id,
        .traceparent = place->job.traceparent,
        .cancelled = &place->cancelled,
        .answer = take_answer,
        .context = place,
    };
    if (srv_http_replay(place->runner->service->http, &request))
        return;
    efm_error_set(&error, EFM_E_MEMORY, "no memory for the request");
    put_off(place, &error);
}

static bool runs_here(const struct srv_request_runner *runner, const char *id)
{
    for (size_t i = 0; i < runner->parallel; i++) {
        if (strcmp(runner->places[i].job.id, id) == 0)
            return true;
    }
    return false;
}

/* False when there is nothing to begin. */
static bool claim_into(struct place *place)
{
    struct srv_request_runner *runner = place->runner;
    struct api_job job = {.kind = ""};
    struct efm_error error = {0};
    if (srv_jobs_claim(runner->service->jobs, "request", &job, &error) != EFM_OK) {
        if (error.status != EFM_E_NOT_FOUND)
            srv_log(runner->service->log, SRV_LOG_WARNING, "no_claim", "\"status\":\"%s\"",
                    efm_status_name(error.status));
        return false;
    }
    if (runs_here(runner, job.id)) { // its lease had run out here: it is renewed by this
        api_job_release(&job);
        return true;
    }
    place->job = job;
    place->cancel_asked = place->lost = place->given_back = false;
    place->next_renewal = srv_clock() + RENEWAL;
    atomic_store(&place->cancelled, false);
    api_reply_init(&place->reply, 0);
    pthread_mutex_lock(&runner->mutex);
    place->noticed = false;
    const bool stopping = runner->stopping;
    if (!stopping)
        place->state = PLACE_RUNS; // before the answer may come
    pthread_mutex_unlock(&runner->mutex);
    if (!stopping) {
        begin(place);
    } else { // while the claim was made
        if (srv_jobs_give_back(runner->service->jobs, &place->job, &error) != EFM_OK)
            complain(place, "job_not_given_back", &error);
        set_free(place);
    }
    return !stopping;
}

/* ---- meanwhile ---- */

static void renew(struct place *place, bool stop_now)
{
    struct efm_error error = {0};
    bool asked = false;
    enum efm_status status = srv_jobs_renew(place->runner->service->jobs, place->job.id, &asked, &error);
    place->next_renewal = srv_clock() + RENEWAL;
    place->lost = place->lost || status == EFM_E_NOT_FOUND;
    place->cancel_asked = place->cancel_asked || (status == EFM_OK && asked);
    place->given_back = place->given_back || stop_now;
    if (place->lost || place->cancel_asked || place->given_back)
        atomic_store(&place->cancelled, true);
}

/* One place; the state is as it was under the lock, and only this thread leads on from any but PLACE_RUNS. */
static void look_at(struct place *place, enum place_state state, bool noticed, bool stop_now)
{
    const double now = srv_clock();
    if (state == PLACE_ANSWERED)
        settle(place);
    else if (state == PLACE_ENDED && now >= place->next_try)
        store_end(place);
    else if (state == PLACE_RUNS &&
             (noticed || now >= place->next_renewal || (stop_now && !place->given_back)))
        renew(place, stop_now);
}

static void look_at_all(struct srv_request_runner *runner, bool stop_now)
{
    for (size_t i = 0; i < runner->parallel; i++) {
        struct place *place = &runner->places[i];
        pthread_mutex_lock(&runner->mutex);
        const enum place_state state = place->state;
        const bool noticed = place->noticed;
        place->noticed = false;
        pthread_mutex_unlock(&runner->mutex);
        look_at(place, state, noticed, stop_now);
    }
}

static void begin_all(struct srv_request_runner *runner)
{
    for (size_t i = 0; i < runner->parallel; i++) {
        pthread_mutex_lock(&runner->mutex);
        const bool empty = runner->places[i].state == PLACE_FREE && !runner->stopping;
        pthread_mutex_unlock(&runner->mutex);
        if (empty && !claim_into(&runner->places[i]))
            return;
    }
}

/* (locked) */
static void wait_for_turn(struct srv_request_runner *runner)
{
    const double until = srv_clock() + LOOK;
    while (!runner->woken && srv_clock() < until)
        srv_condition_wait(&runner->wake, &runner->mutex, until);
    runner->woken = false;
}

/* What could not be stored until the end is left to its lease. */
static void leave(struct srv_request_runner *runner)
{
    for (size_t i = 0; i < runner->parallel; i++) {
        if (runner->places[i].state == PLACE_ENDED)
            set_free(&runner->places[i]);
    }
}

/* (locked) Whether a request is under way, whose answer must be waited for. */
static bool one_runs(const struct srv_request_runner *runner)
{
    for (size_t i = 0; i < runner->parallel; i++) {
        if (runner->places[i].state == PLACE_RUNS || runner->places[i].state == PLACE_ANSWERED)
            return true;
    }
    return false;
}

static void *run(void *argument)
{
    struct srv_request_runner *runner = argument;
    pthread_mutex_lock(&runner->mutex);
    while (!runner->ending || one_runs(runner)) {
        const bool stop_now = runner->now;
        pthread_mutex_unlock(&runner->mutex);
        look_at_all(runner, stop_now);
        begin_all(runner);
        pthread_mutex_lock(&runner->mutex);
        if (!runner->ending || one_runs(runner))
            wait_for_turn(runner);
    }
    pthread_mutex_unlock(&runner->mutex);
    leave(runner);
    return NULL;
}

/* ---- life ---- */

static enum efm_status prepare(struct srv_request_runner *runner, struct efm_error *error)
{
    bool good = runner->places != NULL && pthread_mutex_init(&runner->mutex, NULL) == 0 &&
                srv_condition_init(&runner->wake);
    return good ? EFM_OK : efm_error_set(error, EFM_E_MEMORY, "no memory for the runner of requests");
}

enum efm_status srv_request_runner_create(struct srv_request_runner **out, struct srv_service *service,
                                          size_t parallel, struct efm_error *error)
{
    struct srv_request_runner *runner = efm_allocate_array(1, sizeof *runner);
    if (runner == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the runner of requests");
    runner->service = service;
    runner->parallel = parallel;
    runner->places = efm_allocate_array(parallel, sizeof *runner->places);
    for (size_t i = 0; runner->places != NULL && i < parallel; i++)
        runner->places[i].runner = runner;
    enum efm_status status = prepare(runner, error);
    if (status == EFM_OK && pthread_create(&runner->thread, NULL, run, runner) != 0)
        status = efm_error_set(error, EFM_E_MEMORY, "no thread for the runner of requests");
    if (status != EFM_OK) {
        efm_free(runner->places);
        efm_free(runner);
        return status;
    }
    pthread_setname_np(runner->thread, "requests");
    *out = runner;
    return EFM_OK;
}

/* (locked) */
static void wake(struct srv_request_runner *runner)
{
    runner->woken = true;
    pthread_cond_signal(&runner->wake);
}

void srv_request_runner_wake(struct srv_request_runner *runner)
{
    pthread_mutex_lock(&runner->mutex);
    wake(runner);
    pthread_mutex_unlock(&runner->mutex);
}

void srv_request_runner_notice(struct srv_request_runner *runner, const char *id)
{
    pthread_mutex_lock(&runner->mutex);
    for (size_t i = 0; i < runner->parallel; i++) {
        struct place *place = &runner->places[i];
        if (place->state != PLACE_RUNS || strcmp(place->job.id, id) != 0)
            continue;
        place->noticed = true;
        wake(runner);
    }
    pthread_mutex_unlock(&runner->mutex);
}

void srv_request_runner_stop(struct srv_request_runner *runner, bool now)
{
    pthread_mutex_lock(&runner->mutex);
    runner->stopping = true;
    runner->now = runner->now || now;
    wake(runner);
    pthread_mutex_unlock(&runner->mutex);
}

void srv_request_runner_destroy(struct srv_request_runner *runner)
{
    if (runner == NULL)
        return;
    pthread_mutex_lock(&runner->mutex);
    runner->stopping = runner->ending = true;
    wake(runner);
    pthread_mutex_unlock(&runner->mutex);
    pthread_join(runner->thread, NULL);
    pthread_cond_destroy(&runner->wake);
    pthread_mutex_destroy(&runner->mutex);
    efm_free(runner->places);
    efm_free(runner);
}
