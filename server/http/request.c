// SPDX-License-Identifier: Apache-2.0
#include "server/clock.h"
#include "server/http/http_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* A refused body of at most SKIP_MOST bytes is read away, so that the connection lives on. After a direct
 * answer the rest is read for LINGER_SECONDS and LINGER_MOST bytes: closing at once would reset the
 * connection and could take the answer with it. */
enum { SKIP_MOST = 1 << 20, LINGER_MOST = 64 << 20, LINGER_SECONDS = 5 };

enum { NO_BODY = 0, CHUNKED = SRV_BODY_UNKNOWN };

/* The Content-Length, NO_BODY or CHUNKED. False when the headers leave it open where the body ends, which is
 * how requests are smuggled past proxies. */
static bool body_length(const struct srv_exchange *exchange, int64_t *length, struct api_problem *problem)
{
    struct MHD_Connection *connection = exchange->connection;
    const char *text = srv_link_header(connection, "Content-Length");
    const size_t lengths = srv_link_count(connection, "Content-Length");
    const size_t codings = srv_link_count(connection, "Transfer-Encoding");
    *length = codings > 0 ? CHUNKED : NO_BODY;
    if (lengths + codings > 1)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               "the length of the body is given more than once");
    if (codings > 0 && strcasecmp(srv_link_header(connection, "Transfer-Encoding"), "chunked") != 0)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               "a Transfer-Encoding other than chunked is not taken");
    // whoever knows no chunks reads on after the head (RFC 9112, 6.1)
    if (codings > 0 && exchange->head.old)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL, "HTTP/1.0 has no Transfer-Encoding");
    if (lengths == 0)
        return true;
    int64_t value = 0;
    for (; isdigit((unsigned char)*text); text++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *text - '0', &value))
            value = INT64_MAX;
    }
    *length = value;
    return true;
}

bool srv_is_health(const char *route)
{
    static const char *const health[] = {"/livez", "/readyz", "/health", "/v2/health/live",
                                         "/v2/health/ready"};
    for (size_t i = 0; i < sizeof health / sizeof health[0]; i++) {
        if (strcmp(route, health[i]) == 0)
            return true;
    }
    return false;
}

bool srv_is_probe(const char *route)
{
    return srv_is_health(route) || strcmp(route, "/metrics") == 0;
}

static bool refuse_draining(struct srv_exchange *exchange, struct api_problem *problem)
{
    exchange->close = true;
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_DRAINING, NULL, "the server is shutting down");
}

static void fill_message(struct srv_exchange *exchange)
{
    struct api_message *message = &exchange->message;
    message->method = strcmp(exchange->method, "HEAD") == 0 ? "GET" : exchange->method;
    message->path = exchange->target.path;
    message->query = exchange->target.query;
    message->content_type = srv_link_header(exchange->connection, "Content-Type");
    message->accept = srv_head_value(exchange, "Accept");
}

/* All that can be refused before the body is read. */
static bool admit(struct srv_exchange *exchange, int64_t *length, struct api_problem *problem)
{
    struct srv_http *http = exchange->http;
    const struct srv_http_options *options = &http->options;
    if (!body_length(exchange, length, problem) || !srv_head_check(exchange, problem)) {
        exchange->close |=
            problem->code != API_P_EXPECTATION && problem->code != API_P_UNSUPPORTED_MEDIA_TYPE;
        return false;
    }
    if (!srv_target_parse(&exchange->target, exchange->uri, problem) ||
        !srv_route(options->routes, options->route_count, exchange->method, &exchange->target,
                   &exchange->match, problem))
        return false;
    // health and metrics are there until the very end
    if (atomic_load(&http->draining) && !srv_is_probe(exchange->match.route))
        return refuse_draining(exchange, problem);
    const struct srv_endpoint *endpoint = exchange->match.endpoint;
    // a browser asks whether it may (OPTIONS) without the key
    if (!srv_admit_client(exchange, endpoint == NULL ? SRV_SCOPE_OPEN : endpoint->scope, problem))
        return false;
    fill_message(exchange);
    size_t limit = endpoint == NULL ? 0 : endpoint->max_body;
    if (limit == SRV_BODY_UPLOAD)
        limit = options->max_body;
    else if (limit == SRV_BODY_IMAGES)
        limit = options->max_image_body;
    if (endpoint != NULL && endpoint->upload != NULL)
        return srv_upload_begin(exchange, *length, limit == SRV_BODY_STREAM ? UINT64_MAX : limit, problem);
    return srv_body_begin(&exchange->body, *length, limit, &http->budget, problem);
}

static void count_refusal(struct srv_exchange *exchange, enum api_problem_code code)
{
    const char *reason = code == API_P_QUEUE_FULL  ? "body_budget"
                         : code == API_P_DRAINING  ? "draining"
                         : code == API_P_NO_MEMORY ? "insufficient_memory"
                                                   : NULL;
    if (reason != NULL)
        srv_metrics_add(exchange->http->service->metrics, SRV_M_REJECTED, 1, "reason=\"%s\"", reason);
}

/* Writes exchange->reply on the socket and reads on for a while. The deadline must have been taken off. */
static enum srv_verdict answer_directly(struct srv_exchange *exchange)
{
    struct srv_watcher *watcher = exchange->http->watcher;
    srv_direct_send(srv_watch_socket(exchange->watch), exchange, &exchange->reply);
    srv_watcher_arm(watcher, exchange->watch, srv_clock() + LINGER_SECONDS, NULL);
    exchange->phase = SRV_PHASE_LINGER;
    return SRV_GO_ON;
}

/* How an answer that exists before the body leaves. */
static enum srv_verdict answer_early(struct srv_exchange *exchange, int64_t length)
{
    if (length == NO_BODY) {
        exchange->phase = SRV_PHASE_SKIP;
        return SRV_GO_ON;
    }
    const bool waits = strcasecmp(srv_link_header(exchange->connection, "Expect"), "100-continue") == 0;
    if (!waits && length > 0 && length <= SKIP_MOST && !exchange->close) {
        exchange->phase = SRV_PHASE_SKIP;
        return SRV_GO_ON;
    }
    if (!srv_watcher_disarm(exchange->http->watcher, exchange->watch))
        return SRV_CLOSE;
    return waits ? SRV_SEND : answer_directly(exchange); // who waits has not begun to send
}

enum srv_verdict srv_request_start(struct srv_exchange *exchange, const char *method, const char *version)
{
    struct srv_http *http = exchange->http;
    struct api_problem problem = {0};
    int64_t length = NO_BODY;
    const char *known = srv_exchange_known_method(method);
    // Until then the watcher may be reading the exchange to write a 408 of its own.
    if (!srv_watcher_disarm(http->watcher, exchange->watch))
        return SRV_CLOSE;
    srv_watcher_arm(http->watcher, exchange->watch, exchange->started + http->options.body_timeout, NULL);
    exchange->method = known == NULL ? method : known;
    exchange->head_end = srv_link_head_end(exchange->connection, method);
    srv_head_read(exchange, method, version);
    srv_exchange_identify(exchange);
    if (!admit(exchange, &length, &problem)) {
        count_refusal(exchange, problem.code);
        srv_exchange_problem(exchange, &problem);
        return answer_early(exchange, length);
    }
    if (exchange->match.endpoint == NULL) {
        struct api_reply reply;
        api_reply_init(&reply, 0);
        reply.status = 204;
        api_reply_header(&reply, "Allow", "%s", exchange->match.allow);
        srv_admit_preflight(exchange, &reply);
        srv_exchange_reply(exchange, &reply);
        return answer_early(exchange, length);
    }
    exchange->phase = SRV_PHASE_BODY;
    if (length != NO_BODY)
        srv_watcher_arm(http->watcher, exchange->watch, exchange->started + http->options.body_timeout,
                        exchange);
    return SRV_GO_ON;
}

static bool take_body(struct srv_exchange *exchange, const void *data, size_t size,
                      struct api_problem *problem)
{
    if (exchange->upload != NULL)
        return srv_upload_take(exchange, data, size, problem);
    return srv_body_append(&exchange->body, data, size, problem);
}

enum srv_verdict srv_request_take(struct srv_exchange *exchange, const void *data, size_t size)
{
    struct api_problem problem = {0};
    switch (exchange->phase) {
    case SRV_PHASE_BODY:
        if (take_body(exchange, data, size, &problem))
            return SRV_GO_ON;
        // First of all: until then the watcher may be reading the exchange to write a 408 of its own.
        if (!srv_watcher_disarm(exchange->http->watcher, exchange->watch))
            return SRV_CLOSE;
        count_refusal(exchange, problem.code);
        srv_exchange_problem(exchange, &problem);
        return answer_directly(exchange);
    case SRV_PHASE_LINGER:
        exchange->lingered += size;
        return exchange->lingered > LINGER_MOST ? SRV_CLOSE : SRV_GO_ON;
    case SRV_PHASE_SKIP:
        return SRV_GO_ON;
    case SRV_PHASE_HEADERS:
    case SRV_PHASE_HANDLED:
        break;
    }
    return SRV_CLOSE;
}

/* Counts the exchange as the endpoint's; false when the server is being stopped. */
static bool begin_handling(struct srv_exchange *exchange)
{
    struct srv_http *http = exchange->http;
    pthread_mutex_lock(&http->mutex);
    exchange->handling = !http->stopping;
    http->handling += exchange->handling ? 1 : 0;
    pthread_mutex_unlock(&http->mutex);
    return exchange->handling;
}

static enum srv_verdict handle(struct srv_exchange *exchange)
{
    struct api_problem problem = {0};
    exchange->phase = SRV_PHASE_HANDLED;
    if (!srv_body_finish(&exchange->body, &problem)) {
        srv_exchange_problem(exchange, &problem);
        return SRV_SEND;
    }
    exchange->message.body = exchange->body.data;
    exchange->message.body_size = exchange->body.size;
    if (!begin_handling(exchange)) {
        refuse_draining(exchange, &problem);
        srv_exchange_problem(exchange, &problem);
        return SRV_SEND;
    }
    exchange->match.endpoint->handle(exchange->http->service, exchange);
    if (exchange->deferred)
        return SRV_GO_ON;
    if (!atomic_load(&exchange->answered)) {
        api_problem_set(&problem, API_P_INTERNAL, NULL, "the request was left without an answer");
        srv_exchange_problem(exchange, &problem);
    }
    return SRV_SEND;
}

enum srv_verdict srv_request_finish(struct srv_exchange *exchange)
{
    switch (exchange->phase) {
    case SRV_PHASE_BODY:
        return srv_watcher_disarm(exchange->http->watcher, exchange->watch) ? handle(exchange) : SRV_CLOSE;
    case SRV_PHASE_SKIP:
        return srv_watcher_disarm(exchange->http->watcher, exchange->watch) ? SRV_SEND : SRV_CLOSE;
    case SRV_PHASE_HANDLED: // resumed
        return exchange->gone || !atomic_load(&exchange->answered) ? SRV_CLOSE : SRV_SEND;
    case SRV_PHASE_HEADERS:
    case SRV_PHASE_LINGER:
        break;
    }
    return SRV_CLOSE;
}

/* What became of a request that never was answered by us. */
static int status_of_end(struct srv_exchange *exchange, bool in_time, enum srv_ending ending, int status)
{
    if (!in_time || ending == SRV_ENDED_LATE)
        return api_problem_status(API_P_REQUEST_TIMEOUT);
    if (status > 0)
        return status;
    if (ending == SRV_ENDED_STOPPED) {
        srv_metrics_add(exchange->http->service->metrics, SRV_M_CANCELLED, 1, "reason=\"shutdown\"");
        return api_problem_status(API_P_DRAINING);
    }
    return SRV_CLIENT_GONE;
}

void srv_request_end(struct srv_exchange *exchange, enum srv_ending ending, int status)
{
    struct srv_http *http = exchange->http;
    const bool in_time = srv_watcher_disarm(http->watcher, exchange->watch);
    if (exchange->stream != NULL)
        srv_stream_close(exchange->stream, ending);
    if (atomic_load(&exchange->answered)) {
        pthread_mutex_lock(&http->mutex);
        http->sending--;
        pthread_cond_broadcast(&http->settled);
        pthread_mutex_unlock(&http->mutex);
    } else if (exchange->phase != SRV_PHASE_HANDLED) {
        srv_exchange_record(exchange, status_of_end(exchange, in_time, ending, status), 0);
        srv_exchange_unref(exchange); // nobody has the duty to answer
    }
    // The next request line must be here before an idle connection and a slow request would be over.
    srv_watcher_arm(http->watcher, exchange->watch,
                    srv_clock() + http->options.idle_timeout + http->options.header_timeout, NULL);
    srv_exchange_unref(exchange);
}

void srv_request_late(int socket, void *context)
{
    struct srv_exchange *exchange = context;
    struct api_problem problem = {0};
    struct api_reply reply;
    const struct srv_http_options *options = &exchange->http->options;
    const bool headers = exchange->phase == SRV_PHASE_HEADERS;
    api_problem_set(&problem, API_P_REQUEST_TIMEOUT, NULL, "the %s did not arrive within %g seconds",
                    headers ? "headers" : "request",
                    headers ? options->header_timeout : options->body_timeout);
    srv_exchange_render_problem(exchange, &problem, &reply);
    srv_direct_send(socket, exchange, &reply);
    exchange->reply.facts = reply.facts; // it is recorded when the connection ends
    api_reply_release(&reply);
}
