// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"

struct delete_work {
    struct srv_helper_work base;
    char expected[65];
    bool has_expected;
};

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    const struct delete_work *work = (struct delete_work *)base;
    api_reply_init(&base->reply, 0);
    base->reply.status = 204;
    return srv_registry_delete_model(base->service->registry, srv_exchange_name(base->exchange),
                                     work->has_expected ? work->expected : NULL, problem);
}

static const struct srv_helper_class class = {"delete_model", run, NULL, SRV_LANE_LOAD};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_model_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    struct srv_helper_work *base =
        srv_helper_work_create(service, exchange, sizeof(struct delete_work), &class);
    if (base == NULL)
        return;
    struct delete_work *work = (struct delete_work *)base;
    if (srv_registry_model_facts(service->registry, srv_exchange_name(exchange), &facts)) {
        srv_model_etag(&facts, etag);
        work->has_expected = srv_answer_expected(exchange, etag, facts.sha256, facts.created, work->expected);
        srv_model_facts_release(&facts);
    }
    srv_helper_work_submit(base, 0);
}

const struct srv_endpoint srv_delete_model = {
    .methods = "DELETE",
    .paths = {"/v1/models/{name}"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "",
    .help = "Forget a model; requests that use it keep it until they are done",
    .detail = "If-Match with its ETag, or If-Unmodified-Since with its date, refuses to delete another one.",
};
