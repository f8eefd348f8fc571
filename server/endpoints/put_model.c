// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"

#include <string.h>

struct put_work {
    struct srv_helper_work base;
    char expected[65];
    bool has_expected;
};

static struct efm_dataset *read_dataset(struct srv_service *service, const char *name, const char *pointer,
                                        struct api_problem *problem)
{
    struct api_problem trouble = {0};
    struct efm_dataset *dataset = srv_registry_read_dataset(service->registry, name, NULL, &trouble);
    if (dataset == NULL)
        api_problem_set(problem, trouble.code, pointer, "%s", trouble.detail);
    return dataset;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The budget is asked before the model is built, not when it already fills the memory. */
static bool has_room(struct srv_service *service, const struct efm_exact_spec *spec,
                     const struct efm_dataset *source, const struct efm_dataset *target,
                     struct api_problem *problem)
{
    size_t most = spec->max_charges == 0 ? SIZE_MAX : spec->max_charges;
    size_t bytes =
        efm_exact_field_bytes(smaller(efm_dataset_count(source), most),
                              smaller(efm_dataset_count(target), most), efm_dataset_shape(source)->dimension);
    if (bytes <= service->config->memory_budget)
        return true;
    return api_problem_set(problem, API_P_MODEL_TOO_LARGE, NULL,
                           "the model takes %zu bytes of memory, and all models together have %llu", bytes,
                           (unsigned long long)service->config->memory_budget);
}

/* The file of the exact model that the request describes. */
static bool build(struct srv_service *service, const struct api_exact_request *request,
                  struct efm_buffer *file, struct api_problem *problem)
{
    struct efm_exact_spec spec;
    struct efm_dataset *source = NULL, *target = NULL;
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    if (!api_exact_spec(request, &spec, problem))
        return false;
    source = read_dataset(service, request->source, "/source", problem);
    if (source != NULL && strcmp(request->source, request->target) == 0)
        target = efm_dataset_ref(source);
    else if (source != NULL)
        target = read_dataset(service, request->target, "/target", problem);
    bool good = target != NULL && has_room(service, &spec, source, target, problem);
    if (good && (efm_model_create_exact(&model, &spec, source, request->source, target, request->target,
                                        &error) != EFM_OK ||
                 efm_model_save(model, file, &error) != EFM_OK))
        good = api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER, NULL);
    efm_model_unref(model);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    return good;
}

static bool put_bytes(const struct put_work *work, const uint8_t *bytes, size_t size, struct srv_put *outcome,
                      struct api_problem *problem)
{
    return srv_registry_put_model(work->base.service->registry, srv_exchange_name(work->base.exchange), bytes,
                                  size, outcome, NULL, problem);
}

static bool put_model(const struct put_work *work, struct srv_put *outcome, struct api_problem *problem)
{
    const struct api_message *message = srv_exchange_message(work->base.exchange);
    struct api_exact_request request = {0};
    struct efm_buffer file = efm_buffer_limited(SIZE_MAX / 2);
    bool is_weights = false;
    if (!api_model_parse(&request, message, &is_weights, problem))
        return false;
    if (is_weights)
        return put_bytes(work, message->body, message->body_size, outcome, problem);
    bool good = build(work->base.service, &request, &file, problem) &&
                put_bytes(work, file.data, file.size, outcome, problem);
    efm_buffer_release(&file);
    return good;
}

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    const struct put_work *work = (struct put_work *)base;
    struct srv_service *service = base->service;
    const char *name = srv_exchange_name(base->exchange);
    struct srv_put outcome = {.expected = work->has_expected ? work->expected : NULL};
    struct srv_model_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    if (!put_model(work, &outcome, problem))
        return false;
    if (!srv_registry_model_facts(service->registry, name, &facts))
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the model was put, and deleted at once");
    srv_model_etag(&facts, etag);
    srv_answer_begin(&base->reply, outcome.replaced ? 200 : 201);
    api_reply_header(&base->reply, "Location", "/v1/models/%s", name);
    api_reply_header(&base->reply, "ETag", "%s", etag);
    srv_answer_render_model(&facts, &service->limits, &base->reply.body);
    srv_model_facts_release(&facts);
    return true;
}

static const struct srv_helper_class class = {"put_model", run, NULL, SRV_LANE_HEAVY};

/* Conditions are held against what is there now, so that a refusal comes before the work; the registry asks
 * again when it puts. */
static bool check(struct put_work *work, struct api_problem *problem)
{
    struct srv_exchange *exchange = work->base.exchange;
    const char *name = srv_exchange_name(exchange);
    if (!api_name_valid(name))
        return api_problem_set(problem, API_P_INVALID_NAME, NULL,
                               "a name has 1 to 64 of the characters a-z A-Z 0-9 . _ - and begins with "
                               "neither . nor -");
    if (srv_exchange_message(exchange)->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL,
                               "a model is put as JSON that names two datasets, or as a safetensors file");
    struct srv_model_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    bool present = srv_registry_model_facts(work->base.service->registry, name, &facts), refused = false;
    if (present)
        srv_model_etag(&facts, etag);
    work->has_expected = srv_answer_expected(exchange, present ? etag : NULL, present ? facts.sha256 : NULL,
                                             facts.created, work->expected);
    srv_model_facts_release(&facts);
    if (work->has_expected)
        refused = work->expected[0] == '\0' ? present : work->expected[0] == '-';
    if (refused)
        return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL,
                               "the model named %s is not as the request expects it", name);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_problem problem = {0};
    struct srv_helper_work *base = srv_helper_work_create(service, exchange, sizeof(struct put_work), &class);
    if (base == NULL)
        return;
    if (!check((struct put_work *)base, &problem))
        srv_helper_work_refuse(base, &problem);
    else
        srv_helper_work_submit(base, srv_exchange_message(exchange)->body_size);
}

const struct srv_endpoint srv_put_model = {
    .methods = "PUT",
    .paths = {"/v1/models/{name}"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .max_body = SRV_BODY_UPLOAD,
    .parameters = &api_exact_table,
    .takes = "application/json application/octet-stream",
    .gives = "application/json",
    .help = "Make the exact model of two datasets, or store a model file, exact or learned",
    .detail = "JSON names the datasets; a safetensors file is told by its bytes. If-None-Match: * refuses to "
              "replace a model, If-Match with its ETag refuses to replace another one. Requests that use the "
              "old model keep it until they are done.",
};
