// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/inner_work.h"

#include "api/json.h"
#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"

static void release(struct srv_inner_work *work)
{
    work->class->release(work);
    efm_free(work);
}

/* Frees first: what the client asks for next finds the memory free. The problem may lie in the work. */
static void refuse(struct srv_inner_work *work, const struct api_problem *problem)
{
    struct srv_exchange *exchange = work->exchange;
    const struct api_problem kept = *problem;
    release(work);
    srv_exchange_problem(exchange, &kept);
}

/* On whatever thread answered the inner request: a success comes from the helper that rendered it. */
static void take_answer(void *context, struct api_reply *inner)
{
    struct srv_inner_work *work = context;
    struct srv_exchange *exchange = work->exchange;
    struct api_problem problem = {0};
    struct api_reply reply;
    const bool good = work->class->answer(work, inner, &reply, &problem);
    api_reply_release(inner);
    if (!good) {
        refuse(work, &problem);
        return;
    }
    release(work);
    srv_exchange_reply(exchange, &reply);
}

/* Likewise. Said once more by the outer exchange, and so about the path that the client knows. */
static void take_problem(void *context, const struct api_problem *inner)
{
    struct srv_inner_work *work = context;
    struct api_problem problem = *inner;
    if (work->class->translate != NULL)
        work->class->translate(&problem);
    refuse(work, &problem);
}

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct srv_inner_work *work = (struct srv_inner_work *)base;
    work->inner = work->class->read(work, problem);
    return work->inner != NULL;
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct srv_inner_work *work = (struct srv_inner_work *)base;
    if (end->code != API_P_NONE) {
        refuse(work, end);
        return;
    }
    struct efm_buffer body = work->inner->body;
    work->inner->body = efm_buffer_limited(0);
    struct srv_kept_request request = {
        .method = "POST",
        .target = (const char *)work->inner->target.data,
        .content_type = work->inner->content_type,
        .accept = api_media_type(work->inner->media),
        .body = body.data,
        .body_size = body.size,
        .request_id = srv_exchange_request_id(work->exchange),
        .traceparent = srv_exchange_traceparent(work->exchange),
        .cancelled = srv_exchange_cancelled(work->exchange),
        .admitted = true, /* with the outer one, which is answered whatever began since */
        .answer = take_answer,
        .refuse = take_problem,
        .context = work,
    };
    if (srv_http_replay(work->service->http, &request))
        return;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
    refuse(work, &problem);
}

struct srv_inner_work *srv_inner_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                             const struct srv_inner_class *class)
{
    struct srv_inner_work *work = efm_allocate_array(1, class->size);
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

/* The most that reading takes: bytes that become floats, twice; or as many numbers of JSON as there can be.
 * */
static size_t estimate(const struct api_message *message)
{
    enum { COPIES = 10, PARSED_NUMBER = 80 };
    size_t bytes, numbers;
    if (!efm_size_multiply(message->body_size, COPIES, &bytes) ||
        !efm_size_multiply(srv_points_numbers(message), PARSED_NUMBER, &numbers) ||
        !efm_size_add(numbers, message->body_size, &numbers))
        return SIZE_MAX;
    return api_json_is_object(message->body, message->body_size) && numbers > bytes ? numbers : bytes;
}

void srv_inner_work_submit(struct srv_inner_work *work)
{
    static const struct srv_work_class stations[] = {{"read", prepare, NULL, complete}};
    struct api_problem problem = {0};
    work->work.class = stations;
    work->work.bytes = estimate(srv_exchange_message(work->exchange));
    work->work.deadline = srv_lines_deadline(work->service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(work->exchange);
    srv_exchange_defer(work->exchange);
    if (!srv_scheduler_submit(work->service->scheduler, &work->work, &problem))
        refuse(work, &problem);
}

bool srv_inner_shape(struct srv_service *service, const char *model, struct efm_shape *shape,
                     struct api_problem *problem)
{
    struct srv_model_facts facts = {0};
    *shape = (struct efm_shape){0};
    if (!srv_registry_model_facts(service->registry, model, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", model);
    (void)api_described_shape(facts.about, shape);
    srv_model_facts_release(&facts);
    return true;
}
