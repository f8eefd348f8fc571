// SPDX-License-Identifier: Apache-2.0
/* Requests without a connection: routed, handled and answered like others, their answers go to a callback. */
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/http_internal.h"
#include "server/log.h"

#include <stdio.h>
#include <string.h>

void srv_detached_free(struct srv_detached *detached)
{
    if (detached == NULL)
        return;
    efm_free(detached->method);
    efm_free(detached->content_type);
    efm_free(detached->accept);
    efm_free(detached->body);
    efm_free(detached);
}

/* After it the caller's flag is left alone. */
static void unlist(struct srv_http *http, struct srv_detached *detached)
{
    pthread_mutex_lock(&http->mutex);
    if (detached->previous != NULL)
        detached->previous->next = detached->next;
    else
        http->first_detached = detached->next;
    if (detached->next != NULL)
        detached->next->previous = detached->previous;
    pthread_mutex_unlock(&http->mutex);
}

static void log_replayed(const struct srv_exchange *exchange, const struct api_reply *reply, double seconds)
{
    char id[2 * SRV_REQUEST_ID_SIZE + 2], more[SRV_DESCRIPTION_SIZE];
    srv_exchange_describe(exchange, reply, more);
    srv_log(exchange->http->service->log, SRV_LOG_INFO, "replayed",
            "\"route\":\"%s\",\"status\":%d,\"bytes\":%zu,\"seconds\":%.6f,\"request_id\":%s%s",
            exchange->match.route, reply->status, reply->body.size, seconds,
            srv_log_quote(exchange->request_id, id, sizeof id), more);
}

void srv_detached_answer(struct srv_exchange *exchange, struct api_reply *reply)
{
    struct srv_http *http = exchange->http;
    struct srv_detached *detached = exchange->detached;
    struct api_reply answer = *reply;
    char timings[SRV_TIMINGS_SIZE];
    api_reply_init(reply, 0);
    if (answer.facts.model[0] == '\0')
        snprintf(answer.facts.model, sizeof answer.facts.model, "%s", srv_exchange_model(exchange));
    unlist(http, detached);
    const double seconds = srv_clock() - exchange->started;
    log_replayed(exchange, &answer, seconds);
    srv_timings_render(&answer.timings, seconds, timings);
    api_reply_header(&answer, "Server-Timing", "%s", timings);
    detached->answer(detached->context, &answer);
    atomic_fetch_sub(&http->pending, 1);
    srv_exchange_settle(exchange);
}

void srv_detached_refuse(struct srv_exchange *exchange, const struct api_problem *problem)
{
    struct srv_http *http = exchange->http;
    struct srv_detached *detached = exchange->detached;
    const struct api_reply refusal = {.status = api_problem_status(problem->code),
                                      .facts = {.code = api_problem_code_name(problem->code)}};
    if (!srv_exchange_claim(exchange))
        return;
    unlist(http, detached);
    log_replayed(exchange, &refusal, srv_clock() - exchange->started);
    detached->refuse(detached->context, problem);
    atomic_fetch_sub(&http->pending, 1);
    srv_exchange_settle(exchange);
}

void srv_detached_cancel_all(struct srv_http *http)
{
    pthread_mutex_lock(&http->mutex);
    for (struct srv_detached *detached = http->first_detached; detached != NULL; detached = detached->next)
        atomic_store(detached->cancelled, true);
    pthread_mutex_unlock(&http->mutex);
}

static struct srv_detached *create_detached(struct srv_exchange *exchange, struct srv_kept_request *request)
{
    struct srv_detached *detached = efm_allocate_array(1, sizeof *detached);
    if (detached == NULL)
        return NULL;
    detached->method = efm_copy_string(request->method);
    detached->content_type = efm_copy_string(request->content_type == NULL ? "" : request->content_type);
    detached->accept = efm_copy_string(request->accept == NULL ? "" : request->accept);
    size_t size; // one byte more, for the NUL past its end
    detached->body = efm_size_add(request->body_size, 1, &size) ? efm_allocate(size) : NULL;
    if (detached->method == NULL || detached->content_type == NULL || detached->accept == NULL ||
        detached->body == NULL) {
        srv_detached_free(detached);
        return NULL;
    }
    if (request->body_size > 0)
        memcpy(detached->body, request->body, request->body_size);
    detached->body[request->body_size] = '\0';
    detached->answer = request->answer;
    detached->refuse = request->refuse;
    detached->context = request->context;
    detached->admitted = request->admitted;
    detached->cancelled = request->cancelled != NULL ? request->cancelled : &exchange->cancelled;
    return detached;
}

static void enlist(struct srv_http *http, struct srv_exchange *exchange)
{
    struct srv_detached *detached = exchange->detached;
    pthread_mutex_lock(&http->mutex);
    exchange->handling = true;
    http->handling++;
    detached->next = http->first_detached;
    if (detached->next != NULL)
        detached->next->previous = detached;
    http->first_detached = detached;
    if (http->stopping)
        atomic_store(detached->cancelled, true);
    pthread_mutex_unlock(&http->mutex);
    atomic_fetch_add(&http->pending, 1);
}

static bool route(struct srv_exchange *exchange, struct api_problem *problem)
{
    struct srv_http *http = exchange->http;
    if (!srv_target_parse(&exchange->target, exchange->uri, problem) ||
        !srv_route(http->options.routes, http->options.route_count, exchange->method, &exchange->target,
                   &exchange->match, problem))
        return false;
    if (atomic_load(&http->draining) && !exchange->detached->admitted) {
        problem->retry_after = 1;
        return api_problem_set(problem, API_P_DRAINING, NULL, "the server is shutting down");
    }
    if (exchange->match.endpoint == NULL || exchange->match.endpoint->upload != NULL)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, NULL,
                               "this request cannot be answered later");
    return true;
}

static void fill(struct srv_exchange *exchange, size_t body_size)
{
    struct srv_detached *detached = exchange->detached;
    struct api_message *message = &exchange->message;
    message->method = strcmp(detached->method, "HEAD") == 0 ? "GET" : detached->method;
    message->path = exchange->target.path;
    message->query = exchange->target.query;
    message->content_type = detached->content_type;
    message->accept = detached->accept;
    message->body = detached->body;
    message->body_size = body_size;
}

bool srv_http_replay(struct srv_http *http, struct srv_kept_request *request)
{
    struct api_problem problem = {0};
    struct srv_exchange *exchange = efm_allocate_array(1, sizeof *exchange);
    char *uri = efm_copy_string(request->target);
    struct srv_detached *detached = exchange == NULL ? NULL : create_detached(exchange, request);
    const size_t body_size = request->body_size;
    efm_free(request->body);
    request->body = NULL;
    if (detached == NULL || uri == NULL || !srv_exchange_reserve(exchange)) {
        srv_detached_free(detached);
        efm_free(uri);
        efm_free(exchange);
        return false;
    }
    exchange->http = http;
    exchange->uri = uri;
    exchange->detached = detached;
    exchange->file = -1;
    exchange->started = srv_clock();
    exchange->method = detached->method;
    exchange->match.route = "none";
    exchange->target = (struct srv_target){.raw = "", .path = "", .query = ""};
    exchange->phase = SRV_PHASE_HANDLED;
    snprintf(exchange->request_id, sizeof exchange->request_id, "%s",
             request->request_id == NULL ? "" : request->request_id);
    if (request->traceparent != NULL)
        srv_trace_parse(request->traceparent, exchange->traceparent);
    api_reply_init(&exchange->reply, 0);
    atomic_init(&exchange->references, 2); // this call's, and that of the duty to answer
    enlist(http, exchange);
    const bool routed = route(exchange, &problem);
    fill(exchange, body_size);
    if (routed)
        exchange->match.endpoint->handle(http->service, exchange);
    else
        srv_exchange_problem(exchange, &problem);
    if (!exchange->deferred && !atomic_load(&exchange->answered)) {
        api_problem_set(&problem, API_P_INTERNAL, NULL, "the request was left without an answer");
        srv_exchange_problem(exchange, &problem);
    }
    srv_exchange_unref(exchange);
    return true;
}
