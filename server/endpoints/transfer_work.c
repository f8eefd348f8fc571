// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/transfer_work.h"

#include "api/json.h"
#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"
#include "server/endpoints/model_need.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"
#include "server/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct transfer_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    enum api_operation operation;
    struct api_transfer request; /* borrows the body from the exchange */
    struct api_plan plan;
    bool unloaded; /* the model has to be loaded first */
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

static void list_name(void *context, const struct srv_model_facts *facts)
{
    struct name_list *list = context;
    int length = snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s",
                          list->used > 0 ? ", " : "", facts->name);
    if (length > 0 && (size_t)length < sizeof(list->text) - list->used)
        list->used += (size_t)length;
    else
        list->text[list->used] = '\0'; /* no half names */
}

/* Says what there is to choose from, or how a first model is made. */
static void refuse_model(struct srv_service *service, const char *name, struct api_problem *problem)
{
    struct name_list names = {0};
    srv_registry_each_model(service->registry, list_name, &names);
    if (names.used == 0)
        api_problem_set(problem, API_P_UNKNOWN_MODEL, "/model",
                        "there is no model yet; put two datasets to /v1/datasets/{name}, then {\"arch\": "
                        "\"exact\", \"source\": ..., \"target\": ...} to /v1/models/{name}");
    else if (name == NULL)
        api_problem_set(problem, API_P_MISSING_PARAMETER, "/model", "must name one of the models: %s",
                        names.text);
    else
        api_problem_set(problem, API_P_UNKNOWN_MODEL, "/model",
                        "there is no model named '%.64s', only %.120s", name, names.text);
}

/* The model that the request names; when it names none, the only one, whose name is then set. True also when it is not in
 * memory. */
static bool choose_model(struct transfer_work *work, struct api_problem *problem)
{
    struct srv_registry *registry = work->service->registry;
    struct api_transfer *request = &work->request;
    enum srv_model_state state;
    const bool named = api_parameter_given(&api_transfer_table, &request->seen, "model");
    if (named)
        srv_exchange_name_model(work->exchange, request->model);
    if (!named && !srv_registry_single_model(registry, request->model)) {
        refuse_model(work->service, NULL, problem);
        return false;
    }
    work->work.model = srv_registry_model(registry, request->model, &state);
    if (state == SRV_MODEL_UNKNOWN) {
        refuse_model(work->service, request->model, problem);
        return false;
    }
    work->unloaded = work->work.model == NULL;
    return true;
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
        srv_work_timings(base, &reply.timings);
        srv_lines_facts(base, &reply.facts);
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

/* Decides all that admission asks for, once the model is there. */
static bool plan(struct transfer_work *work, struct api_problem *problem)
{
    uint64_t seed = 0;
    return fresh_seed(&seed, problem) &&
           api_transfer_plan(&work->request, work->work.model, seed, &work->plan, problem);
}

/* Reads the request and plans it, unless its model has to be loaded first. On failure the caller releases the work. */
static bool read_request(struct transfer_work *work, struct api_problem *problem)
{
    const struct api_message *message = srv_exchange_message(work->exchange);
    return api_transfer_parse(&work->request, message, work->operation, &work->service->limits, problem) &&
           (!is_given(work, "timeout") ||
            srv_exchange_is_of_job(work->exchange) || // which was asked when it was sent
            srv_lines_timeout_allowed(work->request.timeout, work->service->config->max_timeout, problem)) &&
           choose_model(work, problem) && (work->unloaded || plan(work, problem));
}

/* What the scheduler is told of the lines. */
static void describe_lines(struct transfer_work *work)
{
    struct srv_service *service = work->service;
    const struct api_message *message = srv_exchange_message(work->exchange);
    const bool of_job = srv_exchange_is_of_job(work->exchange);
    double timeout = of_job ? INFINITY : service->config->timeout; // a client that waits would have gone
    if (is_given(work, "timeout"))
        timeout = work->request.timeout;
    work->work.class = &classes[work->operation];
    work->work.lane = SRV_LANE_LIGHT;
    snprintf(work->work.model_name, sizeof(work->work.model_name), "%s", work->request.model);
    work->work.line_count = work->plan.line_count;
    work->work.evaluations = srv_lines_evaluations(&work->plan.options);
    work->work.bytes = estimate_bytes(work, work->work.model, message->body_size);
    work->work.deadline = srv_lines_deadline(timeout);
    work->work.low_priority = work->request.priority == API_PRIORITY_LOW;
    work->work.aside = of_job; // its place is one of the few that jobs have
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
}

/* To the lines, or to an answer that says why not. */
static void submit(struct transfer_work *work)
{
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = {0};
    if (srv_scheduler_submit(work->service->scheduler, &work->work, &problem))
        return;
    release(work);
    srv_exchange_problem(exchange, &problem);
}

/* ---- long texts ---- */

/* Parsing a megabyte of JSON takes some ten milliseconds, and sixty of a form as much; all clients of an event thread would
 * wait for it: long ones are read by a helper, in a work of its own before the one of the lines. */
enum { LONG_TEXT = 256 * 1024 };

static bool has_form(const struct api_message *message)
{
    char type[64];
    api_content_type(message->content_type, type, sizeof(type));
    return strcmp(type, "multipart/form-data") == 0;
}

static bool has_long_text(const struct api_message *message)
{
    char type[64];
    api_content_type(message->content_type, type, sizeof(type));
    return message->body_size > LONG_TEXT &&
           (has_form(message) || api_json_is_object(message->body, message->body_size) ||
            strcmp(type, "application/json") == 0);
}

static bool read_long(struct srv_work *base, struct api_problem *problem)
{
    return read_request((struct transfer_work *)base, problem);
}

/* What was read need not be read again after the model was loaded: that is one more work before the one of the lines, among the
 * long ones. */
static bool load(struct srv_work *base, struct api_problem *problem)
{
    struct transfer_work *work = (struct transfer_work *)base;
    work->unloaded = false;
    base->model = srv_registry_load(work->service->registry, work->request.model, problem);
    return base->model != NULL && plan(work, problem);
}

static void complete_long(struct srv_work *base, const struct api_problem *end);

static const struct srv_work_class long_class = {"read", read_long, NULL, complete_long};
static const struct srv_work_class load_class = {"load", load, NULL, complete_long};

static void complete_long(struct srv_work *base, const struct api_problem *end)
{
    struct transfer_work *work = (struct transfer_work *)base;
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = *end;
    if (problem.code != API_P_NONE) {
        release(work);
        srv_exchange_problem(exchange, &problem);
        return;
    }
    if (work->unloaded) {
        work->work.class = &load_class;
        work->work.lane = SRV_LANE_LOAD;
    } else {
        describe_lines(work);
    }
    submit(work);
}

/* The most that reading takes: one long string three times over, or as many numbers as there can be; of a form an array of
 * bytes that become floats. */
static size_t estimate_reading(const struct api_message *message)
{
    enum { COPIES = 4, FORM_COPIES = 5, PARSED_NUMBER = 72 };
    size_t text, numbers;
    if (has_form(message))
        return efm_size_multiply(message->body_size, FORM_COPIES, &text) ? text : SIZE_MAX;
    if (!efm_size_multiply(message->body_size, COPIES, &text) ||
        !efm_size_multiply(srv_points_numbers(message), PARSED_NUMBER, &numbers) ||
        !efm_size_add(numbers, message->body_size, &numbers))
        return SIZE_MAX;
    return text > numbers ? text : numbers;
}

static void submit_long(struct transfer_work *work, const struct api_message *message)
{
    work->work.class = &long_class;
    work->work.bytes = estimate_reading(message);
    work->work.aside = srv_exchange_is_of_job(work->exchange);
    work->work.deadline = work->work.aside ? INFINITY : srv_lines_deadline(work->service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
    srv_exchange_defer(work->exchange);
    submit(work);
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
    work->operation = operation;
    const struct api_message *message = srv_exchange_message(exchange);
    if (has_long_text(message)) {
        submit_long(work, message);
    } else if (read_request(work, &problem) && work->unloaded) {
        char name[API_NAME_SIZE];
        memcpy(name, work->request.model, sizeof name);
        release(work);
        srv_load_for_exchange(service, exchange, name); /* and then all of this again */
    } else if (problem.code == API_P_NONE) {
        describe_lines(work);
        srv_exchange_defer(exchange);
        submit(work);
    } else {
        release(work);
        srv_exchange_problem(exchange, &problem);
    }
}
