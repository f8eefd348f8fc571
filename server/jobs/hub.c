// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/hub.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/conditions.h"
#include "server/jobs/hub_internal.h"
#include "server/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Seconds between two looks after all clients: for what other replicas do, and for clients that went away. */
static const double TICK = 1;

enum { ANSWER_MOST = 4 << 20 };

/* ---- one answer ---- */

static void answer(struct srv_hub_client *client, const struct api_job *job, const char *etag, bool same)
{
    struct api_reply reply;
    api_reply_init(&reply, same ? 0 : ANSWER_MOST);
    if (etag[0] != '\0')
        api_reply_header(&reply, "ETag", "%s", etag);
    if (same) {
        reply.status = 304;
    } else {
        snprintf(reply.content_type, sizeof reply.content_type, "application/json");
        api_job_render(job, &reply.body);
    }
    srv_exchange_reply(client->exchange, &reply);
}

bool srv_hub_get(struct srv_hub *hub, const struct srv_hub_client *client, struct api_job *job,
                 struct api_problem *problem)
{
    const struct srv_job_viewer viewer = {srv_exchange_key_name(client->exchange),
                                          srv_exchange_is_admin(client->exchange)};
    return srv_jobs_get_for(hub->jobs, client->id, &viewer, job, problem);
}

/* True when it has been answered. */
static bool look_at_poll(struct srv_hub *hub, struct srv_hub_client *client, double now, bool last)
{
    struct api_job job = {.kind = ""};
    struct api_problem problem = {0};
    char etag[72];
    if (!srv_hub_get(hub, client, &job, &problem)) {
        srv_exchange_problem(client->exchange, &problem);
        return true;
    }
    api_job_etag(&job, etag);
    if (client->state < 0)
        client->state = (int)job.state;
    const bool same = client->etag != NULL && srv_tags_not_modified(client->etag, etag);
    const bool waits = client->etag != NULL ? same : client->state == (int)job.state;
    const bool over = !waits || last || api_job_state_ended(job.state) || now >= client->deadline ||
                      atomic_load(srv_exchange_cancelled(client->exchange));
    if (over)
        answer(client, &job, etag, same);
    api_job_release(&job);
    return over;
}

/* ---- the thread ---- */

static void free_client(struct srv_hub_client *client)
{
    efm_free(client->etag);
    efm_free(client);
}

static bool is_noted(const char (*notes)[SRV_RECORD_ID], size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(notes[i], id) == 0)
            return true;
    }
    return false;
}

/* Looks after those whose turn it is; returns how many are done with. */
static size_t look_after(struct srv_hub *hub, bool last)
{
    size_t done = 0;
    struct srv_hub_client **link = &hub->clients;
    while (*link != NULL) {
        struct srv_hub_client *client = *link;
        const double now = srv_clock();
        const bool due = last || client->due || (!client->follows && now >= client->deadline);
        client->due = false;
        if (due && (client->follows ? srv_hub_look_at_stream(hub, client, now, last)
                                    : look_at_poll(hub, client, now, last))) {
            *link = client->next;
            free_client(client);
            done++;
        } else {
            link = &client->next;
        }
    }
    return done;
}

/* (locked) Takes over what has come, and marks whose turn it is. */
static void gather(struct srv_hub *hub)
{
    const double now = srv_clock();
    const bool all = hub->all || now >= hub->next_tick;
    while (hub->incoming != NULL) {
        struct srv_hub_client *client = hub->incoming;
        hub->incoming = client->next;
        client->next = hub->clients;
        hub->clients = client;
    }
    for (struct srv_hub_client *client = hub->clients; client != NULL; client = client->next) {
        if (all || is_noted(hub->notes, hub->note_count, client->id))
            client->due = true;
    }
    if (now >= hub->next_tick)
        hub->next_tick = now + TICK;
    hub->note_count = 0;
    hub->all = hub->woken = false;
}

/* (locked) Until somebody comes, something changes, or a wait is over. */
static void wait_for_turn(struct srv_hub *hub)
{
    double until = hub->clients == NULL ? INFINITY : hub->next_tick;
    for (const struct srv_hub_client *client = hub->clients; client != NULL; client = client->next) {
        if (client->due)
            return;
        if (!client->follows)
            until = fmin(until, client->deadline);
    }
    while (!hub->woken && srv_clock() < until)
        srv_condition_wait(&hub->wake, &hub->mutex, until);
}

static void *run(void *argument)
{
    struct srv_hub *hub = argument;
    pthread_mutex_lock(&hub->mutex);
    for (;;) {
        wait_for_turn(hub);
        const bool stopping = hub->stopping, last = hub->draining || stopping;
        gather(hub);
        pthread_mutex_unlock(&hub->mutex);
        const size_t done = look_after(hub, last);
        pthread_mutex_lock(&hub->mutex);
        hub->count -= done;
        if (stopping && hub->clients == NULL && hub->incoming == NULL)
            break;
    }
    pthread_mutex_unlock(&hub->mutex);
    return NULL;
}

/* ---- life ---- */

static enum efm_status prepare_lock(struct srv_hub *hub, struct efm_error *error)
{
    if (pthread_mutex_init(&hub->mutex, NULL) == 0 && srv_condition_init(&hub->wake))
        return EFM_OK;
    return efm_error_set(error, EFM_E_MEMORY, "no memory for the locks of the hub");
}

enum efm_status srv_hub_create(struct srv_hub **out, struct srv_jobs *jobs, size_t limit,
                               struct srv_metrics *metrics, struct srv_log *log, struct efm_error *error)
{
    struct srv_hub *hub = efm_allocate_array(1, sizeof *hub);
    if (hub == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the hub of jobs");
    hub->jobs = jobs;
    hub->limit = limit;
    hub->metrics = metrics;
    hub->log = log;
    enum efm_status status = prepare_lock(hub, error);
    if (status == EFM_OK && pthread_create(&hub->thread, NULL, run, hub) != 0)
        status = efm_error_set(error, EFM_E_MEMORY, "no thread for the hub of jobs");
    if (status != EFM_OK) {
        efm_free(hub);
        return status;
    }
    pthread_setname_np(hub->thread, "hub");
    *out = hub;
    return EFM_OK;
}

static void tell(struct srv_hub *hub, bool stopping)
{
    pthread_mutex_lock(&hub->mutex);
    hub->draining = true;
    hub->stopping = hub->stopping || stopping;
    hub->woken = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->mutex);
}

void srv_hub_drain(struct srv_hub *hub)
{
    tell(hub, false);
}

void srv_hub_destroy(struct srv_hub *hub)
{
    if (hub == NULL)
        return;
    tell(hub, true);
    pthread_join(hub->thread, NULL);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->mutex);
    efm_free(hub);
}

void srv_hub_notify(struct srv_hub *hub, const char *id)
{
    pthread_mutex_lock(&hub->mutex);
    if (hub->note_count == SRV_HUB_NOTES)
        hub->all = true;
    else
        snprintf(hub->notes[hub->note_count++], SRV_RECORD_ID, "%s", id);
    hub->woken = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->mutex);
}

/* ---- those who come ---- */

static struct srv_hub_client *make_client(const char *id, const char *etag)
{
    struct srv_hub_client *client = efm_allocate_array(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->state = -1;
    client->due = true;
    snprintf(client->id, sizeof client->id, "%s", id);
    if (etag == NULL)
        return client;
    client->etag = efm_copy_string(etag);
    if (client->etag != NULL)
        return client;
    efm_free(client);
    return NULL;
}

/* Takes the client over, NULL for no memory. The exchange is the caller's no longer, and deferred before
 * the thread may see it. */
static void enter(struct srv_hub *hub, struct srv_exchange *exchange, struct srv_hub_client *client)
{
    struct api_problem problem = {0};
    srv_exchange_defer(exchange);
    if (client == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for one more client that waits");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    client->exchange = exchange;
    pthread_mutex_lock(&hub->mutex);
    if (hub->stopping) {
        api_problem_set(&problem, API_P_DRAINING, NULL, "the server is shutting down");
    } else if (hub->count >= hub->limit) {
        problem.retry_after = 2;
        api_problem_set(&problem, API_P_QUEUE_FULL, NULL, "%zu clients wait for jobs already", hub->count);
    } else {
        client->next = hub->incoming;
        hub->incoming = client;
        hub->count++;
        hub->woken = true;
        pthread_cond_signal(&hub->wake);
    }
    pthread_mutex_unlock(&hub->mutex);
    if (problem.code == API_P_NONE)
        return;
    free_client(client);
    srv_exchange_problem(exchange, &problem);
}

void srv_hub_poll(struct srv_hub *hub, struct srv_exchange *exchange, const char *id, const char *etag,
                  double seconds)
{
    // what is no list of tags is no condition, and must not end the wait
    const enum srv_tags tags = etag == NULL ? SRV_TAGS_ABSENT : srv_tags_find(etag, NULL, SRV_TAGS_WEAK);
    const bool conditional = tags != SRV_TAGS_ABSENT && tags != SRV_TAGS_MALFORMED;
    struct srv_hub_client *client = make_client(id, conditional ? etag : NULL);
    if (client != NULL)
        client->deadline = srv_clock() + seconds;
    enter(hub, exchange, client);
}

void srv_hub_follow(struct srv_hub *hub, struct srv_exchange *exchange, const char *id, uint64_t after)
{
    struct srv_hub_client *client = make_client(id, NULL);
    if (client != NULL) {
        client->follows = true;
        client->after = after;
    }
    enter(hub, exchange, client);
}
