// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const bool draining = srv_http_draining(service->http);
    struct api_reply reply;
    srv_answer_begin(&reply, draining ? 503 : 200);
    efm_buffer_format(&reply.body, "{\"ready\":%s}", draining ? "false" : "true");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_ready = {
    .methods = "GET",
    .paths = {"/v2/health/ready"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 while new requests are taken, 503 while the server drains",
};
