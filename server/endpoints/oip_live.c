// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    efm_buffer_append_string(&reply.body, "{\"live\":true}");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_live = {
    .methods = "GET",
    .paths = {"/v2/health/live"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 as long as the process serves connections",
};
