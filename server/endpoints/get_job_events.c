// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"
#include "server/jobs/hub.h"

#include <string.h>

struct events_work {
    struct srv_job_work base;
    struct api_events_request request;
};

struct listing {
    struct efm_buffer *out;
    size_t count, limit;
    bool more;
};

static bool list_one(void *context, const struct api_event *event)
{
    struct listing *listing = context;
    listing->more = listing->count == listing->limit;
    if (listing->more)
        return false;
    api_list_item(listing->out, listing->count++);
    api_event_render(event, listing->out);
    return true;
}

static bool run(struct srv_job_work *base, struct api_problem *problem)
{
    const struct api_events_request *request = &((struct events_work *)base)->request;
    struct api_reply *reply = &base->base.reply;
    struct listing listing = {.out = &reply->body, .limit = (size_t)request->limit};
    srv_answer_begin(reply, 200);
    efm_buffer_append_string(&reply->body, "{\"object\":\"list\",\"data\":[");
    if (!srv_jobs_events(base->base.service->jobs, srv_job_work_id(base), request->after, listing.limit + 1,
                         list_one, &listing, problem))
        return false;
    efm_buffer_format(&reply->body, "],\"has_more\":%s}\n", listing.more ? "true" : "false");
    return true;
}

enum wish { WISH_STREAM, WISH_LIST, WISH_NEITHER };

/* A stream unless JSON is asked for by name: curl sends Accept: *, and with -N it wants to follow. Of the
 * two the first one counts. */
static enum wish wish_of(const char *accept)
{
    const char *json = strstr(accept, "application/json"), *stream = strstr(accept, "text/event-stream");
    if (json != NULL && (stream == NULL || json < stream))
        return WISH_LIST;
    if (stream != NULL || accept[0] == '\0' || strstr(accept, "*/*") != NULL ||
        strstr(accept, "text/*") != NULL)
        return WISH_STREAM;
    return strstr(accept, "application/*") != NULL ? WISH_LIST : WISH_NEITHER;
}

static void start_list(struct srv_service *service, struct srv_exchange *exchange,
                       const struct api_events_request *request)
{
    static const struct srv_job_class class = {sizeof(struct events_work), run, NULL};
    struct srv_job_work *work = srv_job_work_create(service, exchange, &class);
    if (work == NULL)
        return;
    ((struct events_work *)work)->request = *request;
    srv_job_work_submit(work, 0);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const struct api_message *message = srv_exchange_message(exchange);
    struct api_events_request request;
    struct api_problem problem = {0};
    const enum wish wish = wish_of(message->accept);
    if (wish == WISH_NEITHER)
        api_problem_set(&problem, API_P_NOT_ACCEPTABLE, NULL,
                        "events come as text/event-stream or application/json");
    if (problem.code != API_P_NONE || !api_events_parse(&request, message, &problem)) {
        srv_exchange_problem(exchange, &problem);
        return;
    }
    if (wish == WISH_LIST) {
        start_list(service, exchange, &request);
        return;
    }
    const uint64_t last = api_last_event_id(srv_exchange_header(exchange, "Last-Event-ID"));
    srv_hub_follow(service->hub, exchange, srv_exchange_name(exchange),
                   last > request.after ? last : request.after);
}

const struct srv_endpoint srv_get_job_events = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/events"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .parameters = &api_events_table,
    .takes = "",
    .gives = "text/event-stream application/json",
    .help = "What happened to a job, from its beginning or after an event, as a stream or as a list",
    .detail = "The stream (Server-Sent Events) is what comes unless Accept asks for application/json. Its "
              "events are named state, metrics, "
              "checkpoint, preview and message; their ids ascend. It ends after the event state that says "
              "succeeded, failed or "
              "cancelled. Who comes back with Last-Event-ID goes on after that event; when there is nothing "
              "more to come the "
              "answer is 204, and an EventSource stays away. A comment keeps the connection alive every 15 "
              "seconds.",
};
