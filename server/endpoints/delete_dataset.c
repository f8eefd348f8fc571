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
    return srv_registry_delete_dataset(base->service->registry, srv_exchange_name(base->exchange),
                                       work->has_expected ? work->expected : NULL, problem);
}

static const struct srv_helper_class class = {"delete_dataset", run, NULL, SRV_LANE_LOAD};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_dataset_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    struct srv_helper_work *base =
        srv_helper_work_create(service, exchange, sizeof(struct delete_work), &class);
    if (base == NULL)
        return;
    struct delete_work *work = (struct delete_work *)base;
    if (srv_registry_dataset_facts(service->registry, srv_exchange_name(exchange), &facts)) {
        srv_dataset_etag(&facts, etag);
        work->has_expected = srv_answer_expected(exchange, etag, facts.sha256, facts.created, work->expected);
        srv_dataset_facts_release(&facts);
    }
    srv_helper_work_submit(base, 0);
}

const struct srv_endpoint srv_delete_dataset = {
    .methods = "DELETE",
    .paths = {"/v1/datasets/{name}"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "",
    .help = "Forget a dataset; models that were made of it stay",
    .detail = "If-Match with its ETag, or If-Unmodified-Since with its date, refuses to delete another one.",
};
