// SPDX-License-Identifier: Apache-2.0
#include "api/points.h"
#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/line_work.h"
#include "server/metrics.h"

#include <stdio.h>

enum { MAX_POINTS = 65536, SLICE = 64 };

struct field_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_points request;
    struct efm_field_values values; /* owned [count] */
    size_t done;
};

/* Reading points takes time in proportion to the body, so it is done here and not on the event thread. */
static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct field_work *work = (struct field_work *)base;
    size_t dimension = efm_field_dimension(efm_model_field(base->model)), floats;
    if (!api_field_parse(&work->request, srv_exchange_message(work->exchange), dimension, MAX_POINTS,
                         problem))
        return false;
    size_t count = work->request.count;
    if (efm_size_multiply(count, dimension, &floats))
        work->values.x = efm_allocate_array(floats, sizeof(float));
    work->values.z = efm_allocate_array(count, sizeof(double));
    work->values.log_norm = efm_allocate_array(count, sizeof(double));
    if (work->values.x == NULL || work->values.z == NULL || work->values.log_norm == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the field at %zu points",
                               count);
    return true;
}

static bool slice(struct srv_work *base, struct efm_field_workspace *workspace)
{
    struct field_work *work = (struct field_work *)base;
    const struct api_points *request = &work->request;
    size_t at = work->done, left = request->count - at;
    size_t count = efm_field_workspace_capacity(workspace);
    if (count > SLICE)
        count = SLICE;
    if (count > left)
        count = left;
    struct efm_field_values values = {.x = work->values.x + at * request->dimension,
                                      .z = work->values.z + at,
                                      .log_norm = work->values.log_norm + at};
    efm_field_evaluate(efm_model_field(base->model), workspace, request->x + at * request->dimension,
                       request->z + at, count, &values);
    work->done += count;
    return work->done == request->count;
}

static void release(struct field_work *work)
{
    api_points_release(&work->request);
    efm_free(work->values.x);
    efm_free(work->values.z);
    efm_free(work->values.log_norm);
    efm_model_unref(work->work.model);
    efm_free(work);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct field_work *work = (struct field_work *)base;
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = *end;
    struct api_reply reply = {0};
    if (work->done > 0)
        srv_metrics_add(work->service->metrics, SRV_M_EVALUATIONS, (double)work->done, "model=\"%s\"",
                        base->model_name);
    if (problem.code == API_P_NONE)
        api_field_render(&work->request, &work->values, &reply, &problem);
    release(work);
    if (problem.code == API_P_NONE)
        srv_exchange_reply(exchange, &reply);
    else
        srv_exchange_problem(exchange, &problem);
}

static const struct srv_work_class class = {"field", prepare, slice, complete};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_problem problem = {0};
    struct efm_model *model = srv_answer_model(service, exchange, NULL);
    if (model == NULL)
        return;
    struct field_work *work = efm_allocate_array(1, sizeof(*work));
    if (work == NULL) {
        efm_model_unref(model);
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    work->service = service;
    work->exchange = exchange;
    work->work.class = &class;
    work->work.model = model;
    snprintf(work->work.model_name, sizeof(work->work.model_name), "%s", srv_exchange_name(exchange));
    work->work.bytes = srv_points_bytes(srv_exchange_message(exchange));
    work->work.deadline = srv_lines_deadline(service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(exchange);
    srv_exchange_defer(exchange);
    if (srv_scheduler_submit(service->scheduler, &work->work, &problem))
        return;
    release(work);
    srv_exchange_problem(exchange, &problem);
}

const struct srv_endpoint srv_post_field = {
    .methods = "POST",
    .paths = {"/v1/models/{name}/field"},
    .handle = handle,
    .max_body = SRV_BODY_IMAGES,
    .takes = "application/json application/octet-stream",
    .gives = "application/json application/octet-stream application/x-npy",
    .help = "The direction and strength of the field at given points",
    .detail =
        "{\"points\": [[x_1, ..., x_D, z], ...]} or an NPY array [n, D + 1]; the source plate stands at "
        "z = 0, the target plate at z = L.",
};
