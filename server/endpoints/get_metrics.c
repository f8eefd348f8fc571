// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/engine/registry.h"
#include "server/http/guard.h"
#include "server/metrics.h"

#include <stdio.h>

/* What is known only by looking. */
static void look(struct srv_service *service)
{
    const int64_t expiry = srv_guard_next_expiry(service->guard);
    if (expiry < INT64_MAX)
        srv_metrics_set(service->metrics, SRV_M_KEY_EXPIRY, (double)expiry, "");
    else
        srv_metrics_remove(service->metrics, SRV_M_KEY_EXPIRY, "%s", "");
    srv_metrics_set(service->metrics, SRV_M_MODELS_BYTES, (double)srv_registry_memory(service->registry), "");
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    snprintf(reply.content_type, sizeof(reply.content_type), "text/plain; version=0.0.4; charset=utf-8");
    look(service);
    srv_metrics_set(service->metrics, SRV_M_BODY_BYTES, (double)srv_http_body_bytes(service->http), "");
    srv_metrics_render(service->metrics, &reply.body);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_metrics = {
    .methods = "GET",
    .paths = {"/metrics"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "text/plain",
    .help = "Counters, gauges and histograms in the Prometheus text format",
};
