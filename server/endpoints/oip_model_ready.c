// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "api/oip.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_model_facts facts;
    if (!srv_answer_model_facts(service, exchange, &facts))
        return;
    const bool ready = facts.state == SRV_MODEL_READY;
    struct api_reply reply;
    srv_model_facts_release(&facts);
    /* the protocol says 4xx: nothing is wrong with the server, and a proxy shall not try again */
    srv_answer_begin(&reply, ready ? 200 : 409);
    efm_buffer_append_string(&reply.body, "{\"name\":");
    api_json_string(&reply.body, facts.name);
    efm_buffer_format(&reply.body, ",\"ready\":%s}", ready ? "true" : "false");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_model_ready = {
    .methods = "GET",
    .paths = {"/v2/models/{name}/ready", "/v2/models/{name}/versions/" API_OIP_VERSION "/ready"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "200 while a model is in memory, else 409",
    .detail = "A model that is not in memory is brought there when it is asked for.",
};
