// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/line_work.h"
#include "server/endpoints/points_work.h"
#include "server/endpoints/queue_headers.h"

/* Reading points takes time in proportion to the body, so it is done here and not on the event thread; only
 * now are the number of lines and the time allowed known. */
static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct srv_points_work *work = (struct srv_points_work *)base;
    struct efm_flow_options options;
    size_t dimension = efm_field_dimension(efm_model_field(base->model));
    if (!api_trace_parse(&work->request, srv_exchange_message(work->exchange), dimension,
                         work->service->limits.max_images, problem) ||
        !api_trace_options(&work->request, base->model, &options, problem))
        return false;
    if (api_parameter_given(&api_trace_table, &work->request.seen, "timeout")) {
        if (!srv_lines_timeout_allowed(work->request.timeout, work->service->config->max_timeout, problem))
            return false;
        base->deadline = base->submitted + work->request.timeout;
    }
    base->line_count = work->request.count;
    return srv_lines_create(base, &options, work->request.x, dimension, problem);
}

static void release(struct srv_points_work *work)
{
    srv_lines_destroy(&work->work);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct srv_points_work *work = (struct srv_points_work *)base;
    struct api_problem problem = *end;
    struct api_reply reply = {0};
    if (problem.code == API_P_NONE)
        api_trace_render(&work->request, base->lines, &reply, &problem);
    if (problem.code == API_P_NONE)
        srv_lines_facts(base, &reply.facts);
    srv_points_work_end(work, &reply, &problem, release);
}

/* As many lines as the body can hold, each with all its frames. */
static size_t estimate_bytes(const struct srv_service *service, const struct efm_model *model,
                             const struct api_message *message)
{
    enum { AS_TEXT = 24 };
    struct efm_flow_options options;
    efm_model_flow_options(model, &options);
    options.frames = EFM_FLOW_MAX_FRAMES;
    size_t dimension = efm_field_dimension(efm_model_field(model)), line, text, total;
    size_t lines = srv_points_numbers(message) / dimension + 1;
    if (lines > service->limits.max_images)
        lines = service->limits.max_images;
    if (!efm_size_multiply(dimension, (size_t)EFM_FLOW_MAX_FRAMES * AS_TEXT, &text) ||
        !efm_size_add(efm_line_bytes(efm_model_field(model), &options), text, &line) ||
        !efm_size_multiply(line, lines, &total) || !efm_size_add(total, srv_points_bytes(message), &total))
        return SIZE_MAX;
    return total;
}

static const struct srv_work_class class = {"trace", prepare, NULL, complete};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_points_work *work = srv_points_work_create(service, exchange, sizeof(*work), &class);
    if (work == NULL)
        return;
    work->work.line_count = 1; /* at least; prepare knows */
    srv_points_work_submit(work, estimate_bytes(service, work->work.model, srv_exchange_message(exchange)),
                           release);
}

const struct srv_endpoint srv_post_trace = {
    .methods = "POST",
    .paths = {"/v1/models/{name}/trace"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .parameters = &api_trace_table,
    .takes = "application/json application/octet-stream",
    .gives = "application/json application/octet-stream application/x-npy",
    .help = "Whole field lines from given starts, as points",
    .detail = "{\"starts\": [[x_1, ..., x_D], ...]} or an NPY array [n, D].",
};
