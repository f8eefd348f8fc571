// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/line_work.h"
#include "server/endpoints/points_work.h"
#include "server/endpoints/queue_headers.h"
#include "server/metrics.h"

enum { MAX_POINTS = 65536, SLICE = 64 };

struct field_work {
    struct srv_points_work base;
    struct efm_field_values values; /* owned [count] */
    size_t done;
};

/* Reading points takes time in proportion to the body, so it is done here and not on the event thread. */
static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct field_work *work = (struct field_work *)base;
    size_t dimension = efm_field_dimension(efm_model_field(base->model)), floats;
    if (!api_field_parse(&work->base.request, srv_exchange_message(work->base.exchange), dimension,
                         MAX_POINTS, problem))
        return false;
    size_t count = work->base.request.count;
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
    const struct api_points *request = &work->base.request;
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

static void release(struct srv_points_work *base)
{
    struct field_work *work = (struct field_work *)base;
    efm_free(work->values.x);
    efm_free(work->values.z);
    efm_free(work->values.log_norm);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct field_work *work = (struct field_work *)base;
    struct api_problem problem = *end;
    struct api_reply reply = {0};
    if (work->done > 0)
        srv_metrics_add(work->base.service->metrics, SRV_M_EVALUATIONS, (double)work->done, "model=\"%s\"",
                        base->model_name);
    if (problem.code == API_P_NONE)
        api_field_render(&work->base.request, &work->values, &reply, &problem);
    reply.facts.results = reply.facts.evaluations = work->done;
    srv_points_work_end(&work->base, &reply, &problem, release);
}

static const struct srv_work_class class = {"field", prepare, slice, complete};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_points_work *work =
        srv_points_work_create(service, exchange, sizeof(struct field_work), &class);
    if (work != NULL)
        srv_points_work_submit(work, srv_points_bytes(srv_exchange_message(exchange)), release);
}

const struct srv_endpoint srv_post_field = {
    .methods = "POST",
    .paths = {"/v1/models/{name}/field"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .takes = "application/json application/octet-stream",
    .gives = "application/json application/octet-stream application/x-npy",
    .help = "The direction and strength of the field at given points",
    .detail =
        "{\"points\": [[x_1, ..., x_D, z], ...]} or an NPY array [n, D + 1]; the source plate stands at "
        "z = 0, the target plate at z = L.",
};
