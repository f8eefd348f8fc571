// SPDX-License-Identifier: Apache-2.0
/* The guard's part in a request: what it is shown, and what becomes of its answer. */
#include "server/http/coding.h"
#include "server/http/http_internal.h"
#include "server/metrics.h"

#include <string.h>

bool srv_admit_client(struct srv_exchange *exchange, enum srv_scope scope, struct api_problem *problem)
{
    struct srv_http *http = exchange->http;
    struct MHD_Connection *connection = exchange->connection;
    struct srv_guard *guard = http->options.guard;
    const char *reason = "";
    char address[SRV_CLIENT_SIZE];
    if (guard == NULL) {
        exchange->pass.admin = true;
        return true;
    }
    srv_link_address(connection, address, sizeof address);
    const struct srv_guard_request request = {
        .host = srv_link_header(connection, "Host"),
        .origin = srv_link_header(connection, "Origin"),
        .fetch_site = srv_link_header(connection, "Sec-Fetch-Site"),
        .authorization = srv_link_header(connection, "Authorization"),
        .address = address,
        .tls = http->tls,
        .probe = srv_is_health(exchange->match.route),
    };
    if (!srv_guard_check(guard, &request, scope, &exchange->pass, &reason, problem)) {
        srv_metrics_add(http->service->metrics, SRV_M_REJECTED, 1, "reason=\"%s\"", reason);
        return false;
    }
    if (scope == SRV_SCOPE_OPEN) // health must not depend on what else a client does
        return true;
    exchange->entered = srv_guard_enter(guard, exchange->pass.client, problem);
    if (!exchange->entered)
        srv_metrics_add(http->service->metrics, SRV_M_REJECTED, 1, "reason=\"client_limit\"");
    return exchange->entered;
}

/* Names with commas between. */
static bool is_list_of_names(const char *text)
{
    bool any = false;
    while (*text != '\0') {
        text += strspn(text, " \t,");
        const size_t length = srv_token_length(text);
        text += length;
        any |= length > 0;
        if (text[strspn(text, " \t")] != ',' && text[strspn(text, " \t")] != '\0')
            return false;
    }
    return any;
}

const char *srv_admit_headers(const struct srv_exchange *exchange)
{
    enum { ASKED_MOST = 1024 };
    const char *asked = srv_link_header(exchange->connection, "Access-Control-Request-Headers");
    if (strlen(asked) <= ASKED_MOST && is_list_of_names(asked))
        return asked;
    return "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, "
           "If-None-Match, "
           "If-Range, If-Unmodified-Since, Inference-Header-Content-Length, Last-Event-ID, Prefer, Range, "
           "traceparent, X-Request-Id";
}

void srv_admit_preflight(struct srv_exchange *exchange, struct api_reply *reply)
{
    enum { SECONDS = 600 };
    if (!exchange->pass.cors)
        return;
    exchange->preflight = true;
    api_reply_header(reply, "Access-Control-Allow-Methods", "%s", exchange->match.allow);
    api_reply_header(reply, "Access-Control-Max-Age", "%d", SECONDS);
}

void srv_admit_leave(struct srv_exchange *exchange)
{
    if (exchange->entered)
        srv_guard_leave(exchange->http->options.guard, exchange->pass.client);
    exchange->entered = false;
}
