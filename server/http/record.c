// SPDX-License-Identifier: Apache-2.0
/* What is counted of a request that has been answered, and its line in the log. */
#include "server/clock.h"
#include "server/http/http_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>

const char *srv_exchange_known_method(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(method, known[i]) == 0)
            return known[i];
    }
    return NULL;
}

const char *srv_exchange_model(const struct srv_exchange *exchange)
{
    const bool by_path = strstr(exchange->match.route, "/models/{name}") != NULL;
    return exchange->model[0] == '\0' && by_path ? exchange->match.name : exchange->model;
}

static size_t describe_facts(const struct srv_exchange *exchange, const struct api_facts *facts,
                             char out[SRV_DESCRIPTION_SIZE])
{
    const char *model = facts->model[0] == '\0' ? srv_exchange_model(exchange) : facts->model;
    size_t used = 0;
    out[0] = '\0';
    if (facts->code != NULL)
        used += (size_t)snprintf(out, SRV_DESCRIPTION_SIZE, ",\"code\":\"%s\"", facts->code);
    if (model[0] != '\0') // a valid name: nothing in it is to be quoted
        used += (size_t)snprintf(out + used, SRV_DESCRIPTION_SIZE - used, ",\"model\":\"%s\"", model);
    if (facts->results > 0)
        used += (size_t)snprintf(out + used, SRV_DESCRIPTION_SIZE - used,
                                 ",\"results\":%llu,\"evaluations\":%llu", (unsigned long long)facts->results,
                                 (unsigned long long)facts->evaluations);
    return used;
}

void srv_exchange_describe(const struct srv_exchange *exchange, const struct api_reply *reply,
                           char out[SRV_DESCRIPTION_SIZE])
{
    const struct api_timings *timings = &reply->timings;
    size_t used = describe_facts(exchange, &reply->facts, out);
    if (timings->queued)
        used += (size_t)snprintf(out + used, SRV_DESCRIPTION_SIZE - used, ",\"queue_seconds\":%.6f",
                                 timings->queue);
    if (timings->computed)
        used += (size_t)snprintf(out + used, SRV_DESCRIPTION_SIZE - used,
                                 ",\"infer_seconds\":%.6f,\"encode_seconds\":%.6f", timings->infer,
                                 timings->encode);
    if (exchange->traceparent[0] != '\0')
        snprintf(out + used, SRV_DESCRIPTION_SIZE - used, ",\"trace_id\":\"%.*s\"", SRV_TRACE_ID_LENGTH,
                 srv_trace_id(exchange->traceparent));
}

/* Nothing of the query, the headers or the body: they may hold secrets. */
static void write_line(const struct srv_exchange *exchange, const char *method, int status, size_t bytes,
                       double seconds)
{
    char id[2 * SRV_REQUEST_ID_SIZE + 2], agent[2 * SRV_USER_AGENT_SIZE + 2], more[SRV_DESCRIPTION_SIZE];
    srv_exchange_describe(exchange, &exchange->reply, more);
    srv_log(exchange->http->service->log, SRV_LOG_INFO, "request",
            "\"method\":\"%s\",\"route\":\"%s\",\"status\":%d,\"bytes\":%zu,\"seconds\":%.6f,"
            "\"client\":\"%s\",\"request_id\":%s,\"user_agent\":%s%s",
            method, exchange->match.route, status, bytes, seconds, exchange->pass.client,
            srv_log_quote(exchange->request_id, id, sizeof id),
            srv_log_quote(exchange->user_agent, agent, sizeof agent), more);
}

static bool is_logged(const struct srv_exchange *exchange, int status)
{
    switch (exchange->http->options.access_log) {
    case SRV_ACCESS_LOG_ON:
        return true;
    case SRV_ACCESS_LOG_WORK:
        return !srv_is_probe(exchange->match.route);
    case SRV_ACCESS_LOG_ERRORS:
        return status >= 400;
    case SRV_ACCESS_LOG_OFF:
        break;
    }
    return false;
}

void srv_exchange_record(struct srv_exchange *exchange, int status, size_t bytes)
{
    struct srv_metrics *metrics = exchange->http->service->metrics;
    const char *known = srv_exchange_known_method(exchange->method), *route = exchange->match.route;
    const char *method = known == NULL ? "other" : known; // clients can invent others without end
    const double seconds = srv_clock() - exchange->started;
    srv_admit_leave(exchange); // before the client can have the answer and send the next
    srv_metrics_add(metrics, SRV_M_HTTP_REQUESTS, 1, "method=\"%s\",route=\"%s\",code=\"%d\"", method, route,
                    status);
    srv_metrics_observe(metrics, SRV_M_HTTP_SECONDS, seconds, "route=\"%s\"", route);
    srv_metrics_add(metrics, SRV_M_HTTP_IN_FLIGHT, -1, "");
    if (status == SRV_CLIENT_GONE)
        srv_metrics_add(metrics, SRV_M_CANCELLED, 1, "reason=\"client_gone\"");
    if (exchange->reply.facts.code != NULL)
        srv_metrics_add(metrics, SRV_M_PROBLEMS, 1, "code=\"%s\"", exchange->reply.facts.code);
    if (is_logged(exchange, status))
        write_line(exchange, method, status, bytes, seconds);
    atomic_fetch_sub(&exchange->http->pending, 1);
}
