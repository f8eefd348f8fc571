// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

/* Takes no lock and looks at nothing: it says that the event threads run. */
static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    efm_buffer_append_string(&reply.body, "{\"status\":\"ok\",\"version\":\"" EFMD_VERSION "\"}");
    api_reply_header(&reply, "Cache-Control", "no-store");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_livez = {
    .methods = "GET",
    .paths = {"/livez"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 as long as the process serves connections",
};
