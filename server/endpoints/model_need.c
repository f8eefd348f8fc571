// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/model_need.h"

#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"

#include <math.h>
#include <stdio.h>

struct load_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    char name[API_NAME_SIZE];
    struct efm_model *model; /* held until the handler has run again */
};

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct load_work *work = (struct load_work *)base;
    work->model = srv_registry_load(work->service->registry, work->name, problem);
    return work->model != NULL;
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct load_work *work = (struct load_work *)base;
    struct efm_model *model = work->model;
    struct srv_exchange *exchange = work->exchange;
    const struct api_problem problem = *end; /* it lies in the work */
    efm_free(work);
    if (problem.code == API_P_NONE)
        srv_exchange_handle_again(exchange);
    else
        srv_exchange_problem(exchange, &problem);
    efm_model_unref(model);
}

static const struct srv_work_class class = {"load", prepare, NULL, complete};

void srv_load_for_exchange(struct srv_service *service, struct srv_exchange *exchange, const char *name)
{
    struct api_problem problem = {0};
    struct load_work *work = efm_allocate_array(1, sizeof *work);
    if (work == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    work->service = service;
    work->exchange = exchange;
    snprintf(work->name, sizeof work->name, "%.64s", name);
    work->work.class = &class;
    work->work.lane = SRV_LANE_LOAD;
    work->work.aside = srv_exchange_is_of_job(exchange);
    work->work.bytes = srv_exchange_message(exchange)->body_size;
    work->work.deadline = work->work.aside ? INFINITY : srv_lines_deadline(service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(exchange);
    srv_exchange_defer(exchange);
    if (srv_scheduler_submit(service->scheduler, &work->work, &problem))
        return;
    efm_free(work);
    srv_exchange_problem(exchange, &problem);
}

struct efm_model *srv_need_model(struct srv_service *service, struct srv_exchange *exchange, const char *name)
{
    enum srv_model_state state;
    struct efm_model *model = srv_registry_model(service->registry, name, &state);
    if (model != NULL)
        return model;
    if (state != SRV_MODEL_UNKNOWN) {
        srv_load_for_exchange(service, exchange, name);
        return NULL;
    }
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", name);
    srv_exchange_problem(exchange, &problem);
    return NULL;
}
