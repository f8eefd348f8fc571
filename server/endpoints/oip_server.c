// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    api_oip_server_render(EFMD_VERSION, &reply.body);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_server = {
    .methods = "GET",
    .paths = {"/v2"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What the server is to a client of the Open Inference Protocol",
};
