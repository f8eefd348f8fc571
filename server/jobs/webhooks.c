// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/webhooks.h"

#include "api/json.h"
#include "core/base/memory.h"
#include "core/base/random.h"
#include "server/http/clock.h"
#include "server/jobs/jobs_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const double DELAYS[] = {5,     300,   1800,  7200,
                                18000, 36000, 50400, 72000}; /* seconds after each attempt */
enum { RETRIES = sizeof DELAYS / sizeof DELAYS[0], ANSWER_MOST = 64 * 1024, BODY_MOST = 64 * 1024 };
static const double LEASE = 60, LOOK_SECONDS = 1, TIMEOUT = 20;

struct srv_webhooks {
    struct srv_webhooks_options options;
    struct srv_metrics *metrics;
    struct srv_log *log;
    char owner[SRV_RECORD_OWNER];
    struct efm_random random; /* of the thread */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken; /* under the mutex */
    atomic_bool stopping;
};

/* One delivery as its record says. */
struct delivery {
    struct srv_record record; /* without its document */
    char url[API_JOB_URL_SIZE];
    unsigned attempts;
    int status;      /* of the last attempt, 0 for no answer */
    char error[160]; /* "" when it was answered */
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

static enum efm_status note(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                            struct srv_job_change *change, struct efm_error *error)
{
    const struct delivery *delivery = context;
    const bool good = strcmp(delivery->record.state, "delivered") == 0;
    (void)jobs;
    (void)error;
    snprintf(held->job.webhook_state, sizeof held->job.webhook_state, "%.31s", delivery->record.state);
    held->job.webhook_attempts = delivery->attempts;
    struct efm_buffer data = efm_buffer_limited(sizeof change->data);
    efm_buffer_format(&data,
                      "{\"webhook\":\"%s\",\"attempt\":%u,\"status\":%d,\"error\":", delivery->record.state,
                      delivery->attempts, delivery->status);
    api_json_string(&data, delivery->error);
    efm_buffer_append_string(&data, "}");
    if (data.status == EFM_OK)
        efm_buffer_append(&data, "", 1);
    memcpy(change->data, data.status == EFM_OK ? (const char *)data.data : "{}",
           data.status == EFM_OK ? data.size : sizeof "{}");
    efm_buffer_release(&data);
    change->event =
        (struct api_event){.type = "message",
                           .level = good ? "info" : "warn",
                           .message = good ? "the webhook was delivered" : "the webhook was not delivered",
                           .data = change->data};
    return EFM_OK;
}

/* ---- an attempt ---- */

static enum efm_status post(struct srv_webhooks *webhooks, struct delivery *delivery,
                            const struct api_job *job, struct efm_error *error)
{
    char id[SRV_RECORD_ID + 16], moment[48], signature[SRV_WEBHOOK_SIGNATURE + 24], trace[96] = "";
    char plain[SRV_WEBHOOK_SIGNATURE];
    struct efm_buffer body = efm_buffer_limited(BODY_MOST);
    const double now = srv_store_now(webhooks->options.store);
    api_webhook_body(job, now, &body);
    if (body.status != EFM_OK) {
        enum efm_status status = body.status;
        efm_buffer_release(&body);
        return efm_error_set(error, status, "no memory for the body of a webhook");
    }
    srv_webhook_sign(&webhooks->options.secret, delivery->record.id, (int64_t)now, body.data, body.size,
                     plain);
    snprintf(id, sizeof id, "webhook-id: %s", delivery->record.id);
    snprintf(moment, sizeof moment, "webhook-timestamp: %lld", (long long)now);
    snprintf(signature, sizeof signature, "webhook-signature: %s", plain);
    if (job->traceparent[0] != '\0')
        snprintf(trace, sizeof trace, "traceparent: %s", job->traceparent);
    const char *const headers[] = {"Content-Type: application/json", "Expect:", id, moment, signature,
                                   trace[0] != '\0' ? trace : NULL,  NULL};
    const struct srv_outbound_request request = {
        .url = delivery->url,
        .method = "POST",
        .headers = headers,
        .body = body.data,
        .size = body.size,
        .timeout = webhooks->options.timeout > 0 ? webhooks->options.timeout : TIMEOUT,
        .limit = ANSWER_MOST,
        .go_on = go_on,
        .context = webhooks,
    };
    enum efm_status status =
        srv_outbound_perform(webhooks->options.outbound, &request, &delivery->status, error);
    efm_buffer_release(&body);
    return status;
}

/* What comes after an attempt: delivered, failed for good, or another one later. */
static const char *decide(struct srv_webhooks *webhooks, struct delivery *delivery)
{
    const double scale = webhooks->options.scale > 0 ? webhooks->options.scale : 1;
    if (delivery->status >= 200 && delivery->status < 300)
        return "delivered";
    if (delivery->status == 410 || delivery->attempts > RETRIES)
        return "failed";
    const double jitter = 1 + 0.1 * efm_random_uniform(&webhooks->random);
    delivery->record.due =
        srv_store_now(webhooks->options.store) + scale * jitter * DELAYS[delivery->attempts - 1];
    return "pending";
}

static void deliver(struct srv_webhooks *webhooks, struct delivery *delivery)
{
    struct api_job job = {0};
    struct api_problem problem = {0};
    struct efm_error error = {0};
    const char *state = "failed";
    if (!srv_jobs_get(webhooks->options.jobs, delivery->record.parent, &job, &problem)) {
        snprintf(delivery->error, sizeof delivery->error, "the job is gone");
        if (problem.code == API_P_STORAGE || problem.code == API_P_NO_MEMORY)
            return; // the lease runs out, and it is tried again
    } else {
        delivery->attempts++;
        enum efm_status status = post(webhooks, delivery, &job, &error);
        if (status == EFM_E_CANCELLED && atomic_load(&webhooks->stopping)) {
            api_job_release(&job);
            return;
        }
        if (status != EFM_OK && (delivery->status < 200 || delivery->status > 299))
            snprintf(delivery->error, sizeof delivery->error, "%.159s", error.message);
        state = status == EFM_E_ARGUMENT ? "failed" : decide(webhooks, delivery);
    }
    snprintf(delivery->record.state, sizeof delivery->record.state, "%s", state);
    put_record(webhooks, delivery);
    srv_metrics_add(webhooks->metrics, SRV_M_WEBHOOKS, 1, "outcome=\"%s\"",
                    strcmp(state, "pending") == 0 ? "retry" : state);
    srv_log(webhooks->log, SRV_LOG_INFO, "webhook",
            "\"id\":\"%s\",\"job\":\"%s\",\"attempt\":%u,\"status\":%d,\"state\":\"%s\"", delivery->record.id,
            delivery->record.parent, delivery->attempts, delivery->status, state);
    if (job.id[0] != '\0' &&
        srv_jobs_change(webhooks->options.jobs, job.id, note, delivery, NULL, &error) != EFM_OK)
        srv_log(webhooks->log, SRV_LOG_DEBUG, "webhook_not_shown", "\"job\":\"%s\"", job.id);
    api_job_release(&job);
}

/* True when there was one. */
static bool serve_one(struct srv_webhooks *webhooks)
{
    struct srv_record record = {0};
    struct delivery delivery;
    const struct srv_claim claim = {
        .kind = SRV_RECORD_WEBHOOK,
        .group = "webhook",
        .waiting = "pending",
        .active = "sending",
        .owner = webhooks->owner,
        .lease = LEASE,
    };
    if (srv_store_claim(webhooks->options.store, &claim, &record, NULL) != EFM_OK)
        return false;
    if (unpack(&record, &delivery)) {
        deliver(webhooks, &delivery);
    } else {
        snprintf(delivery.record.state, sizeof delivery.record.state, "failed");
        snprintf(delivery.error, sizeof delivery.error, "its record cannot be read");
        put_record(webhooks, &delivery);
    }
    return true;
}

/* ---- the thread ---- */

static void rest(struct srv_webhooks *webhooks)
{
    const double scale = webhooks->options.scale > 0 ? webhooks->options.scale : 1;
    const double until = clock_seconds() + fmax(0.005, LOOK_SECONDS * fmin(1, scale));
    const struct timespec moment = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
    pthread_mutex_lock(&webhooks->mutex);
    if (!webhooks->woken && !atomic_load(&webhooks->stopping))
        pthread_cond_timedwait(&webhooks->changed, &webhooks->mutex, &moment);
    webhooks->woken = false;
    pthread_mutex_unlock(&webhooks->mutex);
}

static void *run(void *argument)
{
    struct srv_webhooks *webhooks = argument;
    while (!atomic_load(&webhooks->stopping))
        if (!serve_one(webhooks))
            rest(webhooks);
    return NULL;
}

static bool init_locks(struct srv_webhooks *webhooks)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool good = pthread_mutex_init(&webhooks->mutex, NULL) == 0 &&
                pthread_cond_init(&webhooks->changed, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return good;
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
    made->metrics = metrics;
    made->log = log;
    snprintf(made->owner, sizeof made->owner, "%.60s", options->replica);
    efm_random_init(&made->random, (uint64_t)(srv_store_now(options->store) * 1e6), 0, EFM_RANDOM_CHOICE);
    if (!init_locks(made) || pthread_create(&made->thread, NULL, run, made) != 0) {
        explicit_bzero(&made->options.secret, sizeof made->options.secret);
        efm_free(made);
        return efm_error_set(error, EFM_E_MEMORY, "no thread for webhooks");
    }
    pthread_setname_np(made->thread, "webhooks");
    *webhooks = made;
    return EFM_OK;
}

void srv_webhooks_wake(struct srv_webhooks *webhooks)
{
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
    pthread_cond_destroy(&webhooks->changed);
    pthread_mutex_destroy(&webhooks->mutex);
    explicit_bzero(&webhooks->options.secret, sizeof webhooks->options.secret);
    efm_free(webhooks);
}
