// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"

static bool run(struct srv_helper_work *work, struct api_problem *problem)
{
    struct srv_service *service = work->service;
    const char *name = srv_exchange_name(work->exchange);
    struct efm_model *model = srv_registry_load(service->registry, name, problem);
    if (model == NULL)
        return false;
    efm_model_unref(model);
    return srv_answer_model(service, name, &work->reply, problem);
}

static const struct srv_helper_class class = {"load_model", run, NULL, SRV_LANE_LOAD};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_helper_work *work = srv_helper_work_create(service, exchange, sizeof *work, &class);
    if (work != NULL)
        srv_helper_work_submit(work, 0);
}

const struct srv_endpoint srv_post_model_load = {
    .methods = "POST",
    .paths = {"/v1/models/{name}/load"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "Bring a model into memory, warm, before it is needed",
    .detail = "Answers when it is ready. Models that nobody uses leave when --memory-budget asks for it.",
};
