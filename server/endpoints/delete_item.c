// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/delete_item.h"

#include "server/endpoints/helper_work.h"

struct delete_work {
    struct srv_helper_work base;
    const struct srv_item_class *class;
    char expected[65];
    bool has_expected;
};

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    const struct delete_work *work = (struct delete_work *)base;
    api_reply_init(&base->reply, 0);
    base->reply.status = 204;
    return work->class->remove(base->service->registry, srv_exchange_name(base->exchange),
                               work->has_expected ? work->expected : NULL, problem);
}

void srv_delete_item(struct srv_service *service, struct srv_exchange *exchange,
                     const struct srv_item_class *class)
{
    static const struct srv_helper_class deletion = {"delete", run, NULL, SRV_LANE_HEAVY};
    struct srv_item_tags tags;
    struct srv_helper_work *base =
        srv_helper_work_create(service, exchange, sizeof(struct delete_work), &deletion);
    if (base == NULL)
        return;
    struct delete_work *work = (struct delete_work *)base;
    work->class = class;
    if (class->look(service->registry, srv_exchange_name(exchange), &tags))
        work->has_expected =
            srv_answer_expected(exchange, tags.etag, tags.sha256, tags.created, work->expected);
    srv_helper_work_submit(base, 0);
}
