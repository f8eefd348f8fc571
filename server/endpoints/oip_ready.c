// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/engine/registry.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const bool ready = !srv_http_draining(service->http) && !srv_registry_restoring(service->registry);
    struct api_reply reply;
    srv_answer_begin(&reply, ready ? 200 : 503);
    efm_buffer_format(&reply.body, "{\"ready\":%s}", ready ? "true" : "false");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_ready = {
    .methods = "GET",
    .paths = {"/v2/health/ready"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 while new requests are taken, 503 while models are loaded at the start and while the server "
            "drains",
};
