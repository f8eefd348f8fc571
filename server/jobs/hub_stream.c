// SPDX-License-Identifier: Apache-2.0
/* A client that follows the events of a job. It is fed from the store alone, by the number of the last
 * event that it was sent, so nothing is lost or said twice, whichever replica it talks to. */
#include "server/jobs/hub_internal.h"
#include "server/jobs/jobs_internal.h"
#include "server/metrics.h"

#include <stdio.h>

enum {
    PAGE = 64,            /* events in one helping */
    PAGE_MOST = 16 << 20, /* bytes of it */
    FULL = 512 << 10,     /* bytes that a client has not taken: it waits until it has */
    PING_SECONDS = 15,
};

static const char RETRY[] = "retry: 2000\n\n", PING[] = ": ping\n\n";

struct helping {
    struct efm_buffer text;
    uint64_t last;
    size_t count;
};

static bool take_event(void *context, const struct api_event *event)
{
    struct helping *helping = context;
    api_event_frame(event, &helping->text);
    if (helping->text.status != EFM_OK)
        return false;
    helping->last = event->id;
    helping->count++;
    return true;
}

/* The first words, or an answer that says why there are none; false when that was sent. */
static bool open_stream(struct srv_hub *hub, struct srv_hub_client *client, double now)
{
    struct api_reply reply;
    api_reply_init(&reply, 0);
    snprintf(reply.content_type, sizeof reply.content_type, "text/event-stream");
    api_reply_header(&reply, "Cache-Control", "no-store");
    api_reply_header(&reply, "X-Accel-Buffering", "no");
    client->stream = srv_exchange_stream(client->exchange, &reply);
    client->exchange = NULL;
    if (client->stream == NULL)
        return false;
    srv_metrics_add(hub->metrics, SRV_M_STREAMS, 1, "");
    client->last_word = now;
    return srv_stream_write(client->stream, RETRY, sizeof RETRY - 1);
}

static void answer_nothing(struct srv_hub_client *client)
{
    struct api_reply reply;
    api_reply_init(&reply, 0);
    reply.status = 204;
    srv_exchange_reply(client->exchange, &reply);
    client->exchange = NULL;
}

static bool end_stream(struct srv_hub *hub, struct srv_hub_client *client)
{
    if (client->stream != NULL) {
        srv_stream_end(client->stream);
        srv_metrics_add(hub->metrics, SRV_M_STREAMS, -1, "");
    }
    return true;
}

/* The store or the job does not allow more. A stream that has begun cannot say so; a store that is ill may
 * recover. */
static bool meet_problem(struct srv_hub *hub, struct srv_hub_client *client,
                         const struct api_problem *problem, bool last)
{
    if (client->stream == NULL) {
        srv_exchange_problem(client->exchange, problem);
        return true;
    }
    const bool over = problem->code == API_P_UNKNOWN_JOB || problem->code == API_P_GONE;
    return over || last ? end_stream(hub, client) : false;
}

/* Hands out a page; true when the client is done with. `ended` is older than the page: when it is true,
 * all events of the end are in the store. */
static bool feed(struct srv_hub *hub, struct srv_hub_client *client, double now, bool ended, bool last)
{
    struct helping helping = {.text = efm_buffer_limited(PAGE_MOST)};
    struct api_problem problem = {0};
    if (!srv_jobs_events(hub->jobs, client->id, client->after, PAGE, take_event, &helping, &problem)) {
        efm_buffer_release(&helping.text);
        return meet_problem(hub, client, &problem, last);
    }
    if (client->stream == NULL && ended && helping.count == 0) {
        answer_nothing(client);
        return true;
    }
    bool good = client->stream != NULL || open_stream(hub, client, now);
    if (good && helping.count > 0) {
        client->after = helping.last;
        client->last_word = now;
        good = helping.text.status == EFM_OK &&
               srv_stream_write(client->stream, helping.text.data, helping.text.size);
    } else if (good && now >= client->last_word + PING_SECONDS) {
        client->last_word = now;
        good = srv_stream_write(client->stream, PING, sizeof PING - 1);
    }
    client->due = helping.count == PAGE;
    efm_buffer_release(&helping.text);
    return !good || last || (ended && !client->due) ? end_stream(hub, client) : false;
}

/* Once: whose the job is does not change. */
static bool may_follow(struct srv_hub *hub, const struct srv_hub_client *client, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    const bool good = srv_hub_get(hub, client, &job, problem);
    api_job_release(&job);
    return good;
}

bool srv_hub_look_at_stream(struct srv_hub *hub, struct srv_hub_client *client, double now, bool last)
{
    struct api_problem problem = {0};
    bool ended = false;
    if (client->stream != NULL && srv_stream_gone(client->stream))
        return end_stream(hub, client);
    if (client->stream != NULL && srv_stream_pending(client->stream) > FULL)
        return last ? end_stream(hub, client) : false;
    if (client->stream == NULL && !may_follow(hub, client, &problem))
        return meet_problem(hub, client, &problem, last);
    if (!srv_jobs_ended(hub->jobs, client->id, &ended, &problem))
        return meet_problem(hub, client, &problem, last);
    return feed(hub, client, now, ended, last);
}
