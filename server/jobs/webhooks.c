// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/webhooks.h"

#include "api/json.h"
#include "core/base/memory.h"
#include "core/base/random.h"
#include "server/clock.h"
#include "server/log.h"
#include "server/metrics.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Seconds from one attempt to the next. */
static const double DELAYS[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000};
enum {
    RETRIES = sizeof DELAYS / sizeof DELAYS[0],
    ANSWER_MOST = 64 << 10,
    BODY_MOST = 64 << 10,
    SENDERS = 4
};
static const double LOOK_SECONDS = 1, TIMEOUT = 20;
/* A lease outlives the longest attempt by so much: resolving a name cannot be broken off, and the store may be busy. */
static const double LEASE_MORE = 40;

/* One delivery as its record says. */
struct delivery {
    struct srv_record record; /* without its document */
    char url[API_JOB_URL_SIZE];
    unsigned attempts;
    int status;      /* of the last attempt, 0 for no answer */
    char error[160]; /* "" when it was answered */
};

/* A thread that makes attempts: receivers that do not answer must not hold up the others. */
struct sender {
    struct srv_webhooks *webhooks;
    pthread_t thread;
    bool busy; /* under the mutex: the delivery is there, and the sender's */
    struct delivery delivery;
};

struct srv_webhooks {
    struct srv_webhooks_options options; /* scale and timeout filled in */
    struct srv_metrics *metrics;
    struct srv_log *log;
    char owner[SRV_RECORD_OWNER];
    pthread_t thread; /* claims, and hands on to the senders */
    struct sender senders[SENDERS];
    size_t senders_started;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for the thread */
    pthread_cond_t given;   /* for the senders */
    /* under the mutex */
    bool woken, ended;
    struct efm_random random;
    atomic_bool stopping;
};

static bool go_on(void *context, uint64_t received, uint64_t expected)
{
    const struct srv_webhooks *webhooks = context;
    (void)received;
    (void)expected;
    return !atomic_load(&webhooks->stopping);
}

/* ---- records ---- */

static bool unpack(struct srv_record *record, struct delivery *delivery)
{
    const char *url = NULL;
    int attempts = 0;
    json_t *document = json_loadb(record->document, record->size, 0, NULL);
    bool good = document != NULL &&
                json_unpack(document, "{s:s,s:i}", "url", &url, "attempts", &attempts) == 0 &&
                strlen(url) < sizeof delivery->url && attempts >= 0;
    *delivery = (struct delivery){.attempts = good ? (unsigned)attempts : 0};
    if (good)
        snprintf(delivery->url, sizeof delivery->url, "%s", url);
    json_decref(document);
    delivery->record = *record;
    delivery->record.document = NULL;
    delivery->record.size = 0;
    srv_record_release(record);
    return good;
}

/* Lets go of it, in the state that it bears. */
static void put_record(struct srv_webhooks *webhooks, struct delivery *delivery)
{
    struct efm_buffer text = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    struct efm_error error = {0};
    efm_buffer_append_string(&text, "{\"url\":");
    api_json_string(&text, delivery->url);
    efm_buffer_format(&text, ",\"attempts\":%u,\"last_status\":%d,\"last_error\":", delivery->attempts,
                      delivery->status);
    api_json_string(&text, delivery->error);
    efm_buffer_append_string(&text, "}");
    const size_t size = text.size;
    efm_buffer_append(&text, "", 1);
    delivery->record.owner[0] = '\0';
    delivery->record.lease = 0;
    delivery->record.document = (char *)text.data;
    delivery->record.size = size;
    const struct srv_change change = {SRV_UPDATE, &delivery->record, delivery->record.version};
    // When the store refuses, the lease runs out and the attempt is made again, under the same id.
    enum efm_status status = text.status != EFM_OK
                                 ? text.status
                                 : srv_store_commit(webhooks->options.store, &change, 1, NULL, &error);
    if (status != EFM_OK)
        srv_log(webhooks->log, SRV_LOG_WARNING, "webhook_not_noted", "\"id\":\"%s\"", delivery->record.id);
    efm_buffer_release(&text);
    delivery->record.document = NULL;
}

/* ---- what the job shows ---- */

static void show(void *context, struct api_job *job)
{
    const struct delivery *delivery = context;
    snprintf(job->webhook_state, sizeof job->webhook_state, "%.31s", delivery->record.state);
    job->webhook_attempts = delivery->attempts;
}

static void note_in_job(struct srv_webhooks *webhooks, struct delivery *delivery)
{
    const bool delivered = strcmp(delivery->record.state, "delivered") == 0;
    struct efm_error error = {0};
    struct efm_buffer data = efm_buffer_limited(BODY_MOST);
    efm_buffer_format(&data,
                      "{\"webhook\":\"%s\",\"attempt\":%u,\"status\":%d,\"error\":", delivery->record.state,
                      delivery->attempts, delivery->status);
    api_json_string(&data, delivery->error);
    efm_buffer_append(&data, "}", sizeof "}");
    const struct api_event event = {
        .type = "message",
        .level = delivered ? "info" : "warn",
        .message = delivered ? "the webhook was delivered" : "the webhook was not delivered",
        .data = data.status == EFM_OK ? (const char *)data.data : "{}",
    };
    if (srv_jobs_edit(webhooks->options.jobs, delivery->record.parent, show, delivery, &event, &error) !=
        EFM_OK)
        srv_log(webhooks->log, SRV_LOG_WARNING, "webhook_not_shown", "\"job\":\"%s\"",
                delivery->record.parent);
    efm_buffer_release(&data);
}

/* ---- an attempt ---- */

static enum efm_status send_body(struct srv_webhooks *webhooks, struct delivery *delivery,
                                 const struct api_job *job, const struct efm_buffer *body,
                                 struct efm_error *error)
{
    char id[SRV_RECORD_ID + 16], moment[48], signature[SRV_WEBHOOK_SIGNATURE + 24], trace[96] = "";
    char plain[SRV_WEBHOOK_SIGNATURE];
    const int64_t now = (int64_t)srv_store_now(webhooks->options.store);
    srv_webhook_sign(&webhooks->options.secret, delivery->record.id, now, body->data, body->size, plain);
    snprintf(id, sizeof id, "webhook-id: %s", delivery->record.id);
    snprintf(moment, sizeof moment, "webhook-timestamp: %lld", (long long)now);
    snprintf(signature, sizeof signature, "webhook-signature: %s", plain);
    if (job->traceparent[0] != '\0')
        snprintf(trace, sizeof trace, "traceparent: %s", job->traceparent);
    const char *const headers[] = {"Content-Type: application/json", id,  moment, signature,
                                   trace[0] != '\0' ? trace : NULL,  NULL};
    const struct srv_outbound_request request = {
        .url = delivery->url,
        .method = "POST",
        .headers = headers,
        .body = body->data,
        .size = body->size,
        .timeout = webhooks->options.timeout,
        .limit = ANSWER_MOST,
        .go_on = go_on,
        .context = webhooks,
    };
    return srv_outbound_perform(webhooks->options.outbound, &request, &delivery->status, error);
}

static enum efm_status attempt(struct srv_webhooks *webhooks, struct delivery *delivery,
                               const struct api_job *job, struct efm_error *error)
{
    struct efm_buffer body = efm_buffer_limited(BODY_MOST);
    // when it happened, however late it is told
    api_webhook_body(job, job->finished, &body);
    enum efm_status status = body.status;
    if (status == EFM_OK)
        status = send_body(webhooks, delivery, job, &body, error);
    else
        efm_error_set(error, status, "there was no memory for the body");
    efm_buffer_release(&body);
    return status;
}

/* What comes after an attempt: delivered, failed for good, or pending and due later. Who sent a 2xx knows, whatever became of
 * the rest of the answer. */
static const char *decide(struct srv_webhooks *webhooks, struct delivery *delivery, enum efm_status status)
{
    if (delivery->status >= 200 && delivery->status < 300)
        return "delivered";
    if (delivery->status == 410 || status == EFM_E_ARGUMENT || delivery->attempts > RETRIES)
        return "failed";
    pthread_mutex_lock(&webhooks->mutex);
    const double jitter = 1 + 0.1 * efm_random_uniform(&webhooks->random);
    pthread_mutex_unlock(&webhooks->mutex);
    const double delay = webhooks->options.scale * jitter * DELAYS[delivery->attempts - 1];
    delivery->record.due = srv_store_now(webhooks->options.store) + delay;
    return "pending";
}

static void set_state(struct delivery *delivery, const char *state)
{
    snprintf(delivery->record.state, sizeof delivery->record.state, "%s", state);
}

static void report(struct srv_webhooks *webhooks, const struct delivery *delivery)
{
    char error[256];
    const bool pending = strcmp(delivery->record.state, "pending") == 0;
    srv_metrics_add(webhooks->metrics, SRV_M_WEBHOOKS, 1, "outcome=\"%s\"",
                    pending ? "retry" : delivery->record.state);
    srv_log(webhooks->log, SRV_LOG_INFO, "webhook",
            "\"id\":\"%s\",\"job\":\"%s\",\"attempt\":%u,\"status\":%d,\"state\":\"%s\",\"error\":%s",
            delivery->record.id, delivery->record.parent, delivery->attempts, delivery->status,
            delivery->record.state, srv_log_quote(delivery->error, error, sizeof error));
}

static void deliver_job(struct srv_webhooks *webhooks, struct delivery *delivery, const struct api_job *job)
{
    struct efm_error error = {0};
    enum efm_status status = attempt(webhooks, delivery, job, &error);
    if (status == EFM_E_CANCELLED && atomic_load(&webhooks->stopping)) {
        set_state(delivery, "pending"); // as if it had not begun
        put_record(webhooks, delivery);
        return;
    }
    delivery->attempts++;
    set_state(delivery, decide(webhooks, delivery, status));
    if (status != EFM_OK && strcmp(delivery->record.state, "delivered") != 0)
        snprintf(delivery->error, sizeof delivery->error, "%.159s", error.message);
    report(webhooks, delivery);
    // The record comes last: a crash in between delivers again, and does not leave a job that says "pending" for ever.
    note_in_job(webhooks, delivery);
    put_record(webhooks, delivery);
}

static void deliver(struct srv_webhooks *webhooks, struct delivery *delivery)
{
    struct api_job job = {.kind = ""};
    struct api_problem problem = {0};
    if (srv_jobs_get(webhooks->options.jobs, delivery->record.parent, &job, &problem)) {
        deliver_job(webhooks, delivery, &job);
        api_job_release(&job);
    } else if (problem.code == API_P_UNKNOWN_JOB || problem.code == API_P_GONE) {
        set_state(delivery, "failed");
        snprintf(delivery->error, sizeof delivery->error, "the job is gone");
        put_record(webhooks, delivery);
        report(webhooks, delivery);
    }
    // else the store is unwell: the lease runs out, and it is tried again
}

/* (locked) NULL when all are at work. */
static struct sender *idle_sender(struct srv_webhooks *webhooks)
{
    for (size_t i = 0; i < webhooks->senders_started; i++)
        if (!webhooks->senders[i].busy)
            return &webhooks->senders[i];
    return NULL;
}

/* True when there was one for this sender, which is idle. First attempts go before second ones: they have been due since ever. */
static bool serve_one(struct srv_webhooks *webhooks, struct sender *sender)
{
    struct srv_record record = {0};
    const struct srv_claim claim = {
        .kind = SRV_RECORD_WEBHOOK,
        .group = "webhook",
        .waiting = "pending",
        .active = "sending",
        .owner = webhooks->owner,
        .lease = webhooks->options.timeout + LEASE_MORE,
        .by_due = true,
    };
    if (srv_store_claim(webhooks->options.store, &claim, &record, NULL) != EFM_OK)
        return false;
    if (!unpack(&record, &sender->delivery)) {
        set_state(&sender->delivery, "failed");
        snprintf(sender->delivery.error, sizeof sender->delivery.error, "its record cannot be read");
        put_record(webhooks, &sender->delivery);
        return true;
    }
    pthread_mutex_lock(&webhooks->mutex);
    sender->busy = true;
    pthread_cond_broadcast(&webhooks->given);
    pthread_mutex_unlock(&webhooks->mutex);
    return true;
}

/* What an earlier run of this replica was sending when it was killed need not wait for the end of its lease. */
static void take_back(struct srv_webhooks *webhooks)
{
    const struct srv_query query = {
        .kind = SRV_RECORD_WEBHOOK, .group = "webhook", .states = (const char *const[]){"sending", NULL}};
    struct srv_record *records = NULL;
    size_t count = 0;
    if (srv_store_list(webhooks->options.store, &query, &records, &count, NULL) != EFM_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        struct srv_record *record = &records[i];
        const struct srv_change change = {SRV_UPDATE, record, record->version};
        if (strcmp(record->owner, webhooks->owner) != 0)
            continue;
        snprintf(record->state, sizeof record->state, "pending");
        record->owner[0] = '\0';
        record->lease = 0;
        if (srv_store_commit(webhooks->options.store, &change, 1, NULL, NULL) != EFM_OK)
            srv_log(webhooks->log, SRV_LOG_WARNING, "webhook_not_taken_back", "\"id\":\"%s\"", record->id);
    }
    srv_records_release(records, count);
}

/* ---- the thread ---- */

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    struct srv_webhooks *webhooks = sender->webhooks;
    pthread_mutex_lock(&webhooks->mutex);
    while (sender->busy || !webhooks->ended) {
        if (!sender->busy) {
            pthread_cond_wait(&webhooks->given, &webhooks->mutex);
            continue;
        }
        pthread_mutex_unlock(&webhooks->mutex);
        deliver(webhooks, &sender->delivery);
        pthread_mutex_lock(&webhooks->mutex);
        sender->busy = false;
        webhooks->woken = true;
        pthread_cond_signal(&webhooks->changed);
    }
    pthread_mutex_unlock(&webhooks->mutex);
    return NULL;
}

/* (locked) */
static void rest(struct srv_webhooks *webhooks)
{
    const double until = srv_clock() + fmax(0.005, LOOK_SECONDS * fmin(1, webhooks->options.scale));
    if (!webhooks->woken && !atomic_load(&webhooks->stopping))
        srv_condition_wait(&webhooks->changed, &webhooks->mutex, until);
    webhooks->woken = false;
}

static void *run(void *argument)
{
    struct srv_webhooks *webhooks = argument;
    take_back(webhooks);
    pthread_mutex_lock(&webhooks->mutex);
    while (!atomic_load(&webhooks->stopping)) {
        struct sender *sender = idle_sender(webhooks);
        bool served = false;
        if (sender != NULL) {
            webhooks->woken = false; // what comes from here on is looked for again
            pthread_mutex_unlock(&webhooks->mutex);
            served = serve_one(webhooks, sender);
            pthread_mutex_lock(&webhooks->mutex);
        }
        if (!served)
            rest(webhooks);
    }
    pthread_mutex_unlock(&webhooks->mutex);
    return NULL;
}

static void destroy_locks(struct srv_webhooks *webhooks)
{
    pthread_cond_destroy(&webhooks->given);
    pthread_cond_destroy(&webhooks->changed);
    pthread_mutex_destroy(&webhooks->mutex);
}

static bool init_locks(struct srv_webhooks *webhooks)
{
    if (pthread_mutex_init(&webhooks->mutex, NULL) != 0)
        return false;
    if (!srv_condition_init(&webhooks->changed)) {
        pthread_mutex_destroy(&webhooks->mutex);
        return false;
    }
    if (srv_condition_init(&webhooks->given))
        return true;
    pthread_cond_destroy(&webhooks->changed);
    pthread_mutex_destroy(&webhooks->mutex);
    return false;
}

static void discard(struct srv_webhooks *webhooks)
{
    explicit_bzero(&webhooks->options.secret, sizeof webhooks->options.secret);
    efm_free(webhooks);
}

/* Once nothing is handed on to them any more. */
static void join_senders(struct srv_webhooks *webhooks)
{
    pthread_mutex_lock(&webhooks->mutex);
    webhooks->ended = true;
    pthread_cond_broadcast(&webhooks->given);
    pthread_mutex_unlock(&webhooks->mutex);
    for (size_t i = 0; i < webhooks->senders_started; i++)
        pthread_join(webhooks->senders[i].thread, NULL);
}

static bool start_threads(struct srv_webhooks *webhooks)
{
    for (size_t i = 0; i < SENDERS; i++) {
        struct sender *sender = &webhooks->senders[i];
        sender->webhooks = webhooks;
        if (pthread_create(&sender->thread, NULL, send_all, sender) != 0)
            return false;
        pthread_setname_np(sender->thread, "webhook");
        webhooks->senders_started++;
    }
    if (pthread_create(&webhooks->thread, NULL, run, webhooks) != 0)
        return false;
    pthread_setname_np(webhooks->thread, "webhooks");
    return true;
}

enum efm_status srv_webhooks_create(struct srv_webhooks **webhooks,
                                    const struct srv_webhooks_options *options, struct srv_metrics *metrics,
                                    struct srv_log *log, struct efm_error *error)
{
    struct srv_webhooks *made = efm_allocate_array(1, sizeof *made);
    *webhooks = NULL;
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for webhooks");
    made->options = *options;
    made->options.replica = NULL;
    made->options.scale = options->scale > 0 ? options->scale : 1;
    made->options.timeout = options->timeout > 0 ? options->timeout : TIMEOUT;
    made->metrics = metrics;
    made->log = log;
    snprintf(made->owner, sizeof made->owner, "%.64s", options->replica);
    efm_random_init(&made->random, (uint64_t)(srv_store_now(options->store) * 1e6), 0, EFM_RANDOM_CHOICE);
    if (!init_locks(made)) {
        discard(made);
        return efm_error_set(error, EFM_E_MEMORY, "no lock for webhooks");
    }
    if (!start_threads(made)) {
        join_senders(made);
        destroy_locks(made);
        discard(made);
        return efm_error_set(error, EFM_E_MEMORY, "no thread for webhooks");
    }
    *webhooks = made;
    return EFM_OK;
}

void srv_webhooks_wake(struct srv_webhooks *webhooks)
{
    if (webhooks == NULL)
        return;
    pthread_mutex_lock(&webhooks->mutex);
    webhooks->woken = true;
    pthread_cond_signal(&webhooks->changed);
    pthread_mutex_unlock(&webhooks->mutex);
}

void srv_webhooks_destroy(struct srv_webhooks *webhooks)
{
    if (webhooks == NULL)
        return;
    atomic_store(&webhooks->stopping, true);
    srv_webhooks_wake(webhooks);
    pthread_join(webhooks->thread, NULL);
    join_senders(webhooks);
    destroy_locks(webhooks);
    discard(webhooks);
}
