// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"
#include "server/engine/registry.h"

static bool run(struct srv_helper_work *work, struct api_problem *problem)
{
    if (!srv_registry_unload(work->service->registry, srv_exchange_name(work->exchange), problem))
        return false;
    api_reply_init(&work->reply, 0);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_helper_class class = {"unload_model", run, NULL, SRV_LANE_LOAD};
    struct api_problem problem = {0};
    struct srv_helper_work *work = srv_helper_work_create(service, exchange, sizeof *work, &class);
    if (work == NULL)
        return;
    if (api_oip_load_parse(srv_exchange_message(exchange), true, &problem))
        srv_helper_work_submit(work, 0);
    else
        srv_helper_work_refuse(work, &problem);
}

const struct srv_endpoint srv_oip_unload = {
    .methods = "POST",
    .paths = {"/v2/repository/models/{name}/unload"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .max_body = 64 << 10,
    .takes = "application/json",
    .gives = "",
    .help = "Take a model out of memory; it comes back when it is asked for",
};
