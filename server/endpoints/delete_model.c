// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"
#include "server/engine/registry.h"

static bool run(struct srv_helper_work *work, struct api_problem *problem)
{
    api_reply_init(&work->reply, 0);
    work->reply.status = 204;
    return srv_registry_delete_model(work->service->registry, srv_exchange_name(work->exchange), problem);
}

static const struct srv_helper_class class = {"delete_model", run, NULL};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_helper_work *work = srv_helper_work_create(service, exchange, sizeof(*work), &class);
    if (work != NULL)
        srv_helper_work_submit(work, 0);
}

const struct srv_endpoint srv_delete_model = {
    .methods = "DELETE",
    .paths = {"/v1/models/{name}"},
    .handle = handle,
    .takes = "",
    .gives = "",
    .help = "Forget a model; requests that use it keep it until they are done",
};
