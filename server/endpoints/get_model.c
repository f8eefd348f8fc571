// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

#include "api/resources.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    int64_t created;
    struct efm_model *model = srv_answer_model(service, exchange, &created);
    if (model == NULL)
        return;
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    api_reply_header(&reply, "ETag", "\"%s\"", efm_model_sha256(model));
    api_model_render(srv_exchange_name(exchange), model, created, &service->limits, &reply.body);
    efm_model_unref(model);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_model = {
    .methods = "GET",
    .paths = {"/v1/models/{name}"},
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What a model is, its defaults and limits",
};
