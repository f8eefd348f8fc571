// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/helper_work.h"

#include "core/base/memory.h"
#include "server/clock.h"

#include <math.h>

static void release(struct srv_helper_work *work)
{
    if (work->class->release != NULL)
        work->class->release(work);
    api_reply_release(&work->reply);
    efm_free(work);
}

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct srv_helper_work *work = (struct srv_helper_work *)base;
    work->started = srv_clock();
    return work->class->run(work, problem);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct srv_helper_work *work = (struct srv_helper_work *)base;
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = *end;
    struct api_reply reply = work->reply;
    reply.timings = (struct api_timings){.queued = true, .queue = work->started - base->submitted};
    work->reply = (struct api_reply){0};
    release(work);
    if (problem.code == API_P_NONE && reply.body.status != EFM_OK)
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
    if (problem.code == API_P_NONE) {
        srv_exchange_reply(exchange, &reply);
        return;
    }
    api_reply_release(&reply);
    srv_exchange_problem(exchange, &problem);
}

static const struct srv_work_class helper_class = {"helper", prepare, NULL, complete};

struct srv_helper_work *srv_helper_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                               size_t size, const struct srv_helper_class *class)
{
    struct srv_helper_work *work = efm_allocate_array(1, size);
    if (work == NULL) {
        struct api_problem problem = {0};
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return NULL;
    }
    work->class = class;
    work->service = service;
    work->exchange = exchange;
    return work;
}

void srv_helper_work_submit(struct srv_helper_work *work, size_t bytes)
{
    struct api_problem problem = {0};
    work->work.class = &helper_class;
    work->work.lane = work->class->lane;
    work->work.aside = true;
    work->work.bytes = bytes;
    work->work.deadline = INFINITY; /* an upload that arrived is worth finishing */
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
    srv_exchange_defer(work->exchange);
    if (!srv_scheduler_submit(work->service->scheduler, &work->work, &problem))
        srv_helper_work_refuse(work, &problem);
}

void srv_helper_work_refuse(struct srv_helper_work *work, const struct api_problem *problem)
{
    struct srv_exchange *exchange = work->exchange;
    release(work);
    srv_exchange_problem(exchange, problem);
}
