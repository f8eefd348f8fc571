// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"

/* Takes no lock of the engine: a full queue or a long step must not look like a broken server. */
static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const bool draining = srv_http_draining(service->http);
    const bool loading = srv_registry_restoring(service->registry);
    struct api_reply reply;
    srv_answer_begin(&reply, draining || loading ? 503 : 200);
    efm_buffer_format(&reply.body,
                      "{\"status\":\"%s\",\"checks\":{\"accepting\":%s,\"queue\":{\"requests\":%zu,"
                      "\"capacity\":%llu},\"models\":{\"loading\":%zu}},\"version\":\"" EFMD_VERSION "\"}",
                      draining  ? "draining"
                      : loading ? "loading"
                                : "ok",
                      draining ? "false" : "true", srv_scheduler_quota(service->scheduler).used,
                      (unsigned long long)service->config->queue, srv_registry_loading(service->registry));
    api_reply_header(&reply, "Cache-Control", "no-store");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_readyz = {
    .methods = "GET",
    .paths = {"/readyz", "/health"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 while new requests are taken, 503 while models are loaded at the start and while the server "
            "drains",
};
