// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/respond_async.h"

#include "server/config.h"
#include "server/endpoints/job_answer.h"
#include "server/endpoints/line_work.h"
#include "server/engine/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct async_work {
    struct srv_job_work base;
    enum api_operation operation;
};

static const char *kind_of(enum api_operation operation)
{
    return operation == API_OP_TRANSFER ? "transfer" : "generate";
}

static bool given(const struct api_transfer *request, const char *name)
{
    return api_parameter_given(&api_transfer_table, &request->seen, name);
}

static bool choose_model(struct srv_service *service, struct api_transfer *request,
                         struct api_problem *problem)
{
    struct srv_model_facts facts = {.about = NULL};
    if (!given(request, "model"))
        return srv_registry_single_model(service->registry, request->model) ||
               api_problem_set(problem, API_P_MISSING_PARAMETER, "/model", "must name one of /v1/models");
    if (!srv_registry_model_facts(service->registry, request->model, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_MODEL, "/model", "there is no model named '%.64s'",
                               request->model);
    srv_model_facts_release(&facts);
    return true;
}

static bool choose_seed(struct api_transfer *request, struct api_problem *problem)
{
    uint64_t bits;
    if (given(request, "seed"))
        return true;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return api_problem_set(problem, API_P_INTERNAL, NULL, "the system gave no random numbers");
    request->seed = bits >> 11; // 53 bits pass through every JSON reader
    return true;
}

/* The request as it will be made: with the model and the seed that were chosen for it, so that it comes
 * out the same whenever and however often it is run. */
static bool write_target(const struct async_work *work, const struct api_transfer *request,
                         struct api_job *job, struct api_problem *problem)
{
    const char *query = srv_exchange_message(work->base.base.exchange)->query;
    char model[API_NAME_SIZE + 8] = "", seed[32] = "";
    if (!given(request, "model"))
        snprintf(model, sizeof model, "&model=%s", request->model);
    if (!given(request, "seed"))
        snprintf(seed, sizeof seed, "&seed=%" PRIu64, request->seed);
    const int length =
        snprintf(job->target, sizeof job->target, "/v1/%s?%s%s%s", job->kind, query, model, seed);
    if (length > 0 && (size_t)length < sizeof job->target)
        return true;
    return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                           "the query is longer than the %zu bytes that are kept with respond-async",
                           sizeof job->target - sizeof model - sizeof seed - sizeof "/v1/transfer?");
}

/* What does not fit is left off at a comma: that is what the client wants least. */
static void keep_accept(struct api_job *job, const char *accept)
{
    snprintf(job->accept, sizeof job->accept, "%s", accept);
    if (strlen(accept) < sizeof job->accept)
        return;
    char *comma = strrchr(job->accept, ',');
    if (comma != NULL)
        *comma = '\0';
}

static bool describe(const struct async_work *work, const struct api_transfer *request, struct api_job *job,
                     struct api_problem *problem)
{
    const struct api_message *message = srv_exchange_message(work->base.base.exchange);
    snprintf(job->kind, sizeof job->kind, "%s", kind_of(work->operation));
    snprintf(job->model, sizeof job->model, "%s", request->model);
    job->seed = request->seed;
    if (strlen(message->content_type) >= sizeof job->content_type)
        return api_problem_set(
            problem, API_P_MALFORMED_REQUEST, NULL,
            "the Content-Type is longer than the %zu bytes that are kept with respond-async",
            sizeof job->content_type - 1);
    snprintf(job->content_type, sizeof job->content_type, "%s", message->content_type);
    keep_accept(job, message->accept);
    return write_target(work, request, job, problem);
}

static bool run(struct srv_job_work *base, struct api_problem *problem)
{
    const struct async_work *work = (const struct async_work *)base;
    struct srv_service *service = base->base.service;
    const struct api_message *message = srv_exchange_message(base->base.exchange);
    struct api_transfer request = {.operation = work->operation};
    struct api_job job = {.kind = ""};
    if (srv_job_work_replay(base, kind_of(work->operation), problem)) {
        api_reply_header(&base->base.reply, "Preference-Applied", "respond-async");
        return problem->code == API_P_NONE;
    }
    // All that can be said against it now is said now.
    bool good = api_transfer_parse(&request, message, work->operation, &service->limits, problem) &&
                (!given(&request, "timeout") ||
                 srv_lines_timeout_allowed(request.timeout, service->config->max_timeout, problem)) &&
                choose_model(service, &request, problem) && choose_seed(&request, problem) &&
                describe(work, &request, &job, problem);
    api_transfer_release(&request);
    const struct srv_job_input input = {"request", NULL, message->body, message->body_size};
    good = good && srv_job_work_accept(base, &job, &input, message->body_size > 0 ? 1 : 0, problem);
    if (good)
        api_reply_header(&base->base.reply, "Preference-Applied", "respond-async");
    return good;
}

/* A key is of use to jobs alone, but what cannot be one is wrong in any request. */
static bool refuse_wrong_key(struct srv_exchange *exchange)
{
    char key[API_KEY_SIZE];
    struct api_problem problem = {0};
    if (api_idempotency_key(srv_exchange_header(exchange, "Idempotency-Key"), key, &problem))
        return false;
    srv_exchange_problem(exchange, &problem);
    return true;
}

bool srv_respond_async(struct srv_service *service, struct srv_exchange *exchange,
                       enum api_operation operation)
{
    enum { COPIES = 4 }; // of a body: parsed, decoded
    static const struct srv_job_class class = {sizeof(struct async_work), run, NULL};
    struct api_prefer prefer = {0};
    api_prefer_parse(&prefer, srv_exchange_header(exchange, "Prefer"));
    if (!prefer.respond_async)
        return refuse_wrong_key(exchange);
    struct srv_job_work *work = srv_job_work_create(service, exchange, &class);
    if (work == NULL)
        return true;
    ((struct async_work *)work)->operation = operation;
    srv_job_work_submit(work, COPIES * srv_exchange_message(exchange)->body_size);
    return true;
}
