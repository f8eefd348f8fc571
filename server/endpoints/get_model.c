// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_model_facts facts;
    char etag[SRV_ETAG_SIZE];
    if (!srv_answer_model_facts(service, exchange, &facts))
        return;
    srv_model_etag(&facts, etag);
    if (!srv_answer_not_modified(exchange, etag)) {
        struct api_reply reply;
        srv_answer_begin(&reply, 200);
        api_reply_header(&reply, "ETag", "%s", etag);
        srv_answer_modified(&reply, (int64_t)facts.created);
        srv_answer_render_model(&facts, &service->limits, &reply.body);
        srv_answer_end(exchange, &reply);
    }
    srv_model_facts_release(&facts);
}

const struct srv_endpoint srv_get_model = {
    .methods = "GET",
    .paths = {"/v1/models/{name}"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What a model is, its state, defaults and limits",
    .detail = "state: ready (in memory), loading, unloaded (comes back when it is asked for), failed (with a "
              "reason). The ETag is "
              "the SHA-256 of the model's file.",
};
