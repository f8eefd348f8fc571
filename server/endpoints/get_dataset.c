// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

#include "api/resources.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    int64_t created;
    struct efm_dataset *dataset = srv_answer_dataset(service, exchange, &created);
    if (dataset == NULL)
        return;
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    api_dataset_render(srv_exchange_name(exchange), dataset, created, &reply.body);
    efm_dataset_unref(dataset);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_dataset = {
    .methods = "GET",
    .paths = {"/v1/datasets/{name}"},
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What a dataset holds",
};
