// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/points_work.h"

#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"
#include "server/endpoints/model_need.h"

#include <stdio.h>

struct srv_points_work *srv_points_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                               size_t size, const struct srv_work_class *class)
{
    struct efm_model *model = srv_need_model(service, exchange, srv_exchange_name(exchange));
    if (model == NULL)
        return NULL;
    struct srv_points_work *work = efm_allocate_array(1, size);
    if (work == NULL) {
        struct api_problem problem = {0};
        efm_model_unref(model);
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return NULL;
    }
    work->service = service;
    work->exchange = exchange;
    work->work.class = class;
    work->work.model = model;
    snprintf(work->work.model_name, sizeof(work->work.model_name), "%s", srv_exchange_name(exchange));
    return work;
}

void srv_points_work_submit(struct srv_points_work *work, size_t bytes,
                            void (*release)(struct srv_points_work *work))
{
    struct api_problem problem = {0};
    work->work.bytes = bytes;
    work->work.deadline = srv_lines_deadline(work->service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
    srv_exchange_defer(work->exchange);
    if (!srv_scheduler_submit(work->service->scheduler, &work->work, &problem))
        srv_points_work_end(work, NULL, &problem, release);
}

void srv_points_work_end(struct srv_points_work *work, struct api_reply *reply,
                         const struct api_problem *problem, void (*release)(struct srv_points_work *work))
{
    struct srv_exchange *exchange = work->exchange;
    if (problem->code == API_P_NONE)
        srv_work_timings(&work->work, &reply->timings);
    release(work);
    api_points_release(&work->request);
    efm_model_unref(work->work.model);
    efm_free(work);
    if (problem->code == API_P_NONE)
        srv_exchange_reply(exchange, reply);
    else
        srv_exchange_problem(exchange, problem);
}
