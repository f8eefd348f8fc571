// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_dataset_facts facts;
    char etag[SRV_ETAG_SIZE];
    if (!srv_answer_dataset_facts(service, exchange, &facts))
        return;
    srv_dataset_etag(&facts, etag);
    if (!srv_answer_not_modified(exchange, etag)) {
        struct api_reply reply;
        srv_answer_begin(&reply, 200);
        api_reply_header(&reply, "ETag", "%s", etag);
        srv_answer_modified(&reply, (int64_t)facts.created);
        srv_answer_render_dataset(&facts, &reply.body);
        srv_answer_end(exchange, &reply);
    }
    srv_dataset_facts_release(&facts);
}

const struct srv_endpoint srv_get_dataset = {
    .methods = "GET",
    .paths = {"/v1/datasets/{name}"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What a dataset holds",
    .detail = "The ETag is made of the SHA-256 of the file and of how it is read.",
};
