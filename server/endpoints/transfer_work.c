// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/transfer_work.h"

#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct transfer_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_transfer request; /* borrows the body from the exchange */
    struct api_plan plan;
};

static const char *operation_name(enum api_operation operation)
{
    return operation == API_OP_TRANSFER ? "transfer" : "generate";
}

/* ---- choosing the model ---- */

struct name_list {
    char text[160];
    size_t used;
};

static void list_name(void *context, const char *name, const struct efm_model *model, int64_t created)
{
    struct name_list *list = context;
    (void)model;
    (void)created;
    int length = snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s",
                          list->used > 0 ? ", " : "", name);
    if (length > 0 && (size_t)length < sizeof(list->text) - list->used)
        list->used += (size_t)length;
    else
        list->text[list->used] = '\0'; /* no half names */
}

/* The model that the request names; when it names none, the only one, whose name is then set. */
static struct efm_model *choose_model(struct srv_service *service, struct api_transfer *request,
                                      struct api_problem *problem)
{
    struct efm_model *model;
    if (api_parameter_given(&api_transfer_table, &request->seen, "model")) {
        model = srv_registry_model(service->registry, request->model, NULL);
        if (model == NULL)
            api_problem_set(problem, API_P_UNKNOWN_MODEL, "/model", "there is no model named '%.64s'",
                            request->model);
        return model;
    }
    model = srv_registry_single_model(service->registry, request->model);
    if (model != NULL)
        return model;
    struct name_list names = {0};
    srv_registry_each_model(service->registry, list_name, &names);
    api_problem_set(problem, API_P_MISSING_PARAMETER, "/model",
                    names.used > 0 ? "must name one of the models: %s"
                                   : "there is no model yet: put one to /v1/models/{name}%s",
                    names.text);
    return NULL;
}

/* ---- admission ---- */

static bool fresh_seed(uint64_t *seed, struct api_problem *problem)
{
    uint64_t bits;
    if (getrandom(&bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
        return api_problem_set(problem, API_P_INTERNAL, NULL, "the system gave no random numbers");
    *seed = bits >> 11; /* 53 bits pass through every JSON reader */
    return true;
}

static bool is_given(const struct transfer_work *work, const char *name)
{
    return api_parameter_given(&api_transfer_table, &work->request.seen, name);
}

/* The most memory that this request will take: its body, its lines, their starts, and the answer with every
 * number as JSON text where it is asked for. */
static size_t estimate_bytes(const struct transfer_work *work, const struct efm_model *model, size_t body)
{
    enum { JSON_NUMBER = 24, RAW_NUMBER = 5, LINE_OVERHEAD = 1024 };
    const struct api_plan *plan = &work->plan;
    size_t frames = plan->options.frames > 0 ? plan->options.frames : 1;
    bool text = plan->media == API_MEDIA_JSON && !efm_shape_is_image(efm_model_shape(model));
    size_t line, answer, total;
    if (!efm_size_multiply(plan->dimension, frames * (text ? JSON_NUMBER : RAW_NUMBER), &answer) ||
        !efm_size_add(efm_line_bytes(efm_model_field(model), &plan->options), answer, &line) ||
        !efm_size_add(line, plan->dimension * sizeof(float) + LINE_OVERHEAD, &line) ||
        !efm_size_multiply(line, plan->line_count, &total) || !efm_size_add(total, body, &total))
        return SIZE_MAX;
    return total;
}

/* ---- the stations of the work ---- */

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct transfer_work *work = (struct transfer_work *)base;
    float *starts = srv_lines_starts(base->line_count, work->plan.dimension, problem);
    bool good = starts != NULL &&
                api_transfer_starts(&work->request, base->model, &work->plan, starts, problem) &&
                srv_lines_create(base, &work->plan.options, starts, work->plan.dimension, problem);
    efm_free(starts);
    return good;
}

static void release(struct transfer_work *work)
{
    srv_lines_destroy(&work->work);
    api_transfer_release(&work->request);
    efm_model_unref(work->work.model);
    efm_free(work);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct transfer_work *work = (struct transfer_work *)base;
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = *end;
    struct api_reply reply = {0};
    if (problem.code == API_P_NONE) {
        double started = base->first_step > 0 ? base->first_step : base->finished;
        struct api_outcome outcome = {.lines = base->lines,
                                      .queue_seconds = started - base->submitted,
                                      .compute_seconds = base->finished - started};
        if (api_transfer_render(&work->request, base->model, &work->plan, &outcome, &reply, &problem))
            srv_metrics_add(work->service->metrics, SRV_M_IMAGES, (double)base->line_count,
                            "model=\"%s\",operation=\"%s\"", base->model_name, base->class->operation);
    }
    release(work); /* before the answer: what the client asks for next finds the memory free */
    if (problem.code == API_P_NONE)
        srv_exchange_reply(exchange, &reply);
    else
        srv_exchange_problem(exchange, &problem);
}

static const struct srv_work_class classes[] = {
    [API_OP_TRANSFER] = {"transfer", prepare, NULL, complete},
    [API_OP_GENERATE] = {"generate", prepare, NULL, complete},
};

/* Everything before admission. On failure the caller releases the work. */
static bool plan(struct transfer_work *work, enum api_operation operation, struct api_problem *problem)
{
    struct srv_service *service = work->service;
    const struct api_message *message = srv_exchange_message(work->exchange);
    uint64_t seed = 0;
    if (!api_transfer_parse(&work->request, message, operation, &service->limits, problem))
        return false;
    struct efm_model *model = choose_model(service, &work->request, problem);
    work->work.model = model;
    if (model == NULL || !fresh_seed(&seed, problem) ||
        !api_transfer_plan(&work->request, model, seed, &work->plan, problem))
        return false;
    double timeout = is_given(work, "timeout") ? work->request.timeout : service->config->timeout;
    work->work.class = &classes[operation];
    snprintf(work->work.model_name, sizeof(work->work.model_name), "%s", work->request.model);
    work->work.line_count = work->plan.line_count;
    work->work.bytes = estimate_bytes(work, model, message->body_size);
    work->work.deadline = srv_lines_deadline(timeout);
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
    return true;
}

void srv_transfer_start(struct srv_service *service, struct srv_exchange *exchange,
                        enum api_operation operation)
{
    struct api_problem problem = {0};
    struct transfer_work *work = efm_allocate_array(1, sizeof(*work));
    if (work == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory to %s", operation_name(operation));
        srv_exchange_problem(exchange, &problem);
        return;
    }
    work->service = service;
    work->exchange = exchange;
    if (!plan(work, operation, &problem)) {
        release(work);
        srv_exchange_problem(exchange, &problem);
        return;
    }
    srv_exchange_defer(exchange);
    if (srv_scheduler_submit(service->scheduler, &work->work, &problem))
        return;
    release(work);
    srv_exchange_problem(exchange, &problem);
}
