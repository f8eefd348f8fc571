// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/coding.h"
#include "server/http/http_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

enum { PROBLEM_LIMIT = 16 * 1024, SPARE = 4096 };

bool srv_exchange_reserve(struct srv_exchange *exchange)
{
    exchange->spare = efm_buffer_limited(SPARE);
    return efm_buffer_reserve(&exchange->spare, SPARE) == EFM_OK;
}

static void make_request_id(struct srv_exchange *exchange)
{
    uint8_t random[12] = {0};
    ssize_t got = getrandom(random, sizeof random, 0);
    (void)got; // so few bytes always come at once
    size_t used = (size_t)snprintf(exchange->request_id, sizeof exchange->request_id, "req_");
    for (size_t i = 0; i < sizeof random; i++)
        used += (size_t)snprintf(exchange->request_id + used, sizeof exchange->request_id - used, "%02x",
                                 random[i]);
}

struct srv_exchange *srv_exchange_create(struct srv_http *http, struct MHD_Connection *connection,
                                         struct srv_watch *watch, const char *uri)
{
    struct srv_exchange *exchange = efm_allocate_array(1, sizeof *exchange);
    char *copy = efm_copy_string(uri);
    if (exchange == NULL || copy == NULL || !srv_exchange_reserve(exchange)) {
        efm_free(exchange);
        efm_free(copy);
        return NULL;
    }
    exchange->http = http;
    exchange->connection = connection;
    exchange->watch = watch;
    exchange->uri = copy;
    exchange->started = srv_clock();
    make_request_id(exchange);
    exchange->method = "";
    exchange->file = -1;
    exchange->match.route = "none";
    exchange->target = (struct srv_target){.raw = "", .path = "", .query = ""};
    api_reply_init(&exchange->reply, 0);
    atomic_init(&exchange->references, 2);
    atomic_fetch_add(&http->pending, 1);
    atomic_fetch_add(&http->begun, 1);
    srv_metrics_add(http->service->metrics, SRV_M_HTTP_IN_FLIGHT, 1, "");
    return exchange;
}

void srv_exchange_unref(struct srv_exchange *exchange)
{
    if (atomic_fetch_sub(&exchange->references, 1) != 1)
        return;
    srv_upload_abandon(exchange);
    srv_stream_free(exchange->stream);
    if (exchange->file >= 0)
        close(exchange->file);
    srv_detached_free(exchange->detached);
    srv_body_release(&exchange->body);
    srv_head_release(exchange);
    srv_target_release(&exchange->target);
    api_reply_release(&exchange->reply);
    efm_buffer_release(&exchange->spare);
    efm_free(exchange->uri);
    efm_free(exchange);
}

const struct api_message *srv_exchange_message(const struct srv_exchange *exchange)
{
    return &exchange->message;
}

const char *srv_exchange_name(const struct srv_exchange *exchange)
{
    return exchange->match.name;
}

const char *srv_exchange_request_id(const struct srv_exchange *exchange)
{
    return exchange->request_id;
}

const char *srv_exchange_header(const struct srv_exchange *exchange, const char *name)
{
    if (exchange->detached == NULL)
        return srv_head_value(exchange, name);
    if (strcasecmp(name, "Content-Type") == 0)
        return exchange->detached->content_type;
    return strcasecmp(name, "Accept") == 0 ? exchange->detached->accept : "";
}

const char *srv_exchange_key_name(const struct srv_exchange *exchange)
{
    static const char mark[] = "key:"; // clients without one are addresses
    const size_t length = sizeof mark - 1;
    return strncmp(exchange->pass.client, mark, length) == 0 ? exchange->pass.client + length : "";
}

bool srv_exchange_is_of_job(const struct srv_exchange *exchange)
{
    return exchange->detached != NULL && !exchange->detached->admitted;
}

bool srv_exchange_is_admin(const struct srv_exchange *exchange)
{
    return exchange->pass.admin;
}

void srv_exchange_name_model(struct srv_exchange *exchange, const char *name)
{
    snprintf(exchange->model, sizeof exchange->model, "%s", name);
}

const char *srv_exchange_traceparent(const struct srv_exchange *exchange)
{
    return exchange->traceparent;
}

double srv_exchange_started(const struct srv_exchange *exchange)
{
    return exchange->started;
}

atomic_bool *srv_exchange_cancelled(struct srv_exchange *exchange)
{
    return exchange->detached != NULL ? exchange->detached->cancelled : &exchange->cancelled;
}

/* 1..128 printable ASCII characters without spaces. */
static bool is_request_id(const char *text)
{
    size_t length = 0;
    for (; text[length] != '\0'; length++) {
        if (length == SRV_REQUEST_ID_SIZE - 1 || text[length] <= ' ' || text[length] > '~')
            return false;
    }
    return length > 0;
}

void srv_exchange_identify(struct srv_exchange *exchange)
{
    struct MHD_Connection *connection = exchange->connection;
    const char *given = srv_link_header(connection, "X-Request-Id");
    if (srv_link_count(connection, "traceparent") == 1)
        srv_trace_parse(srv_link_header(connection, "traceparent"), exchange->traceparent);
    exchange->gzip = srv_accepts_gzip(srv_head_value(exchange, "Accept-Encoding"));
    snprintf(exchange->user_agent, sizeof exchange->user_agent, "%s",
             srv_link_header(connection, "User-Agent"));
    if (is_request_id(given))
        memcpy(exchange->request_id, given, strlen(given) + 1);
}

void srv_exchange_defer(struct srv_exchange *exchange)
{
    if (exchange->deferred)
        return;
    exchange->deferred = true;
    if (exchange->detached != NULL)
        return;
    // Suspended first: from here on the connection stands still until the answer, whenever that comes.
    srv_link_suspend(exchange->connection);
    srv_watcher_follow(exchange->http->watcher, exchange->watch, &exchange->cancelled, NULL, NULL);
}

void srv_exchange_handle_again(struct srv_exchange *exchange)
{
    exchange->match.endpoint->handle(exchange->http->service, exchange);
}

void *srv_exchange_take_upload(struct srv_exchange *exchange)
{
    void *upload = exchange->upload;
    exchange->upload = NULL;
    return upload;
}

void srv_exchange_settle(struct srv_exchange *exchange)
{
    struct srv_http *http = exchange->http;
    const bool handling = exchange->handling;
    srv_exchange_unref(exchange);
    if (!handling)
        return;
    // Last of all: after it the server may be torn down.
    pthread_mutex_lock(&http->mutex);
    http->handling--;
    pthread_cond_broadcast(&http->settled);
    pthread_mutex_unlock(&http->mutex);
}

bool srv_exchange_claim(struct srv_exchange *exchange)
{
    if (atomic_exchange(&exchange->answered, true)) {
        srv_log(exchange->http->service->log, SRV_LOG_ERROR, "answered_twice", NULL);
        return false;
    }
    srv_upload_abandon(exchange);
    srv_body_release(&exchange->body);
    return true;
}

void srv_exchange_reply(struct srv_exchange *exchange, struct api_reply *reply)
{
    struct api_problem problem = {0};
    if (reply->body.status != EFM_OK) // half of an answer is none
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "there is no memory for the answer now");
    if (reply->body.status != EFM_OK || !srv_exchange_is_wanted(exchange, reply, &problem)) {
        api_reply_release(reply);
        srv_exchange_problem(exchange, &problem); // whose body is never half
        return;
    }
    if (!srv_exchange_claim(exchange)) {
        api_reply_release(reply);
    } else if (exchange->detached != NULL) {
        srv_detached_answer(exchange, reply);
    } else {
        if (srv_exchange_is_known(exchange, reply))
            srv_exchange_make_known(reply);
        srv_exchange_code(exchange, reply);
        srv_exchange_send(exchange, reply);
    }
}

void srv_exchange_send(struct srv_exchange *exchange, struct api_reply *reply)
{
    struct srv_http *http = exchange->http;
    const struct srv_endpoint *endpoint = exchange->match.endpoint;
    if (endpoint != NULL && endpoint->finish != NULL)
        endpoint->finish(http->service, reply);
    exchange->reply = *reply;
    api_reply_init(reply, 0);
    // Its client shall come back to another server, or to the next one here.
    exchange->close |= atomic_load(&http->announced);
    // Not followed any longer before it is resumed: the socket may be closed right after that.
    if (exchange->deferred)
        exchange->gone = srv_watcher_unfollow(http->watcher, exchange->watch);
    if (exchange->gone) // and has no problem of ours
        exchange->reply.facts.code = NULL;
    srv_exchange_record(exchange, exchange->gone ? SRV_CLIENT_GONE : exchange->reply.status,
                        exchange->gone        ? 0
                        : exchange->file >= 0 ? (size_t)exchange->file_length
                                              : exchange->reply.body.size);

    pthread_mutex_lock(&http->mutex);
    http->sending++;
    pthread_mutex_unlock(&http->mutex);
    if (exchange->deferred)
        srv_link_resume(exchange->connection);
    srv_exchange_settle(exchange);
}

/* The path for `instance`: an address has printable ASCII only. */
static void instance_of(const struct srv_exchange *exchange, char *out, size_t size)
{
    snprintf(out, size, "%s", exchange->target.raw);
    for (; *out != '\0'; out++) {
        if (*out <= ' ' || *out > '~')
            *out = '?';
    }
}

static void render_body(const struct srv_exchange *exchange, const struct api_problem *problem,
                        struct efm_buffer *body)
{
    char instance[256], trace_id[SRV_TRACE_ID_LENGTH + 1];
    snprintf(trace_id, sizeof trace_id, "%.*s", SRV_TRACE_ID_LENGTH, srv_trace_id(exchange->traceparent));
    instance_of(exchange, instance, sizeof instance);
    api_problem_render(problem, exchange->request_id, trace_id, instance, body);
    if (body->status != EFM_OK) // the status of the answer says the most of it
        efm_buffer_release(body);
}

/* Once: afterwards there is no spare. */
static void use_spare(struct srv_exchange *exchange, const struct api_problem *problem,
                      struct api_reply *reply)
{
    struct api_problem brief = *problem;
    brief.field_count = 0;
    reply->body = exchange->spare;
    exchange->spare = efm_buffer_limited(0);
    render_body(exchange, &brief, &reply->body);
}

void srv_exchange_render_problem(struct srv_exchange *exchange, const struct api_problem *problem,
                                 struct api_reply *reply)
{
    api_reply_init(reply, PROBLEM_LIMIT);
    reply->status = api_problem_status(problem->code);
    reply->facts.code = api_problem_code_name(problem->code);
    snprintf(reply->content_type, sizeof reply->content_type, "application/problem+json");
    render_body(exchange, problem, &reply->body);
    if (reply->body.size == 0)
        use_spare(exchange, problem, reply);
    if (problem->code == API_P_UNAUTHORIZED)
        api_reply_header(reply, "WWW-Authenticate", "Bearer realm=\"efmd\"");
    if (problem->retry_after > 0)
        api_reply_header(reply, "Retry-After", "%u", problem->retry_after);
    if (exchange->refused_coding)
        api_reply_header(reply, "Accept-Encoding", "identity");
    if (problem->allow[0] != '\0')
        api_reply_header(reply, "Allow", "%s", problem->allow);
}

void srv_exchange_problem(struct srv_exchange *exchange, const struct api_problem *problem)
{
    struct api_reply reply;
    if (exchange->detached != NULL && exchange->detached->refuse != NULL) {
        srv_detached_refuse(exchange, problem);
        return;
    }
    srv_exchange_render_problem(exchange, problem, &reply);
    srv_exchange_reply(exchange, &reply);
}

void srv_timings_render(const struct api_timings *timings, double total, char out[SRV_TIMINGS_SIZE])
{
    size_t used = 0;
    if (timings->queued)
        used += (size_t)snprintf(out, SRV_TIMINGS_SIZE, "queue;dur=%.3f, ", timings->queue * 1e3);
    if (timings->computed)
        used += (size_t)snprintf(out + used, SRV_TIMINGS_SIZE - used, "infer;dur=%.3f, encode;dur=%.3f, ",
                                 timings->infer * 1e3, timings->encode * 1e3);
    snprintf(out + used, SRV_TIMINGS_SIZE - used, "total;dur=%.3f", total * 1e3);
}

void srv_exchange_each_header(const struct srv_exchange *exchange, const struct api_reply *reply,
                              void (*visit)(void *context, const char *name, const char *value),
                              void *context)
{
    static const char *const fallbacks[][2] = {{"X-Content-Type-Options", "nosniff"},
                                               {"Cache-Control", "no-store"},
                                               {"Vary", "Accept, Accept-Encoding"}};
    char timings[SRV_TIMINGS_SIZE];
    if (reply->content_type[0] != '\0')
        visit(context, "Content-Type", reply->content_type);
    visit(context, "X-Request-Id", exchange->request_id);
    if (exchange->stream == NULL) { // one that goes on has no end yet
        srv_timings_render(&reply->timings, srv_clock() - exchange->started, timings);
        visit(context, "Server-Timing", timings);
    }
    for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++) {
        if (api_reply_find(reply, fallbacks[i][0]) == NULL)
            visit(context, fallbacks[i][0], fallbacks[i][1]);
    }
    for (size_t i = 0; i < reply->header_count; i++)
        visit(context, reply->headers[i].name, reply->headers[i].value);
    if (exchange->pass.cors) {
        visit(context, "Access-Control-Allow-Origin", srv_link_header(exchange->connection, "Origin"));
        visit(context, "Access-Control-Expose-Headers", "*");
        visit(context, "Vary", "Origin");
    }
    if (exchange->preflight)
        visit(context, "Access-Control-Allow-Headers", srv_admit_headers(exchange));
    if (exchange->close)
        visit(context, "Connection", "close");
}
