// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"
#include "server/engine/registry.h"

struct put_work {
    struct srv_helper_work base;
    char expected[65];
    bool has_expected;
};

static bool find_dataset(struct srv_service *service, const char *name, const char *pointer,
                         struct efm_dataset **dataset, struct api_problem *problem)
{
    *dataset = srv_registry_dataset(service->registry, name, NULL);
    if (*dataset != NULL)
        return true;
    return api_problem_set(problem, API_P_UNKNOWN_DATASET, pointer, "there is no dataset named '%.64s'",
                           name);
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
    size_t room = srv_registry_room(service->registry);
    if (bytes <= room)
        return true;
    return api_problem_set(problem, API_P_NO_MEMORY, NULL,
                           "the model needs %zu bytes, and %zu are left for models and datasets", bytes,
                           room);
}

static bool build(struct srv_service *service, const struct api_exact_request *request,
                  struct efm_model **model, struct api_problem *problem)
{
    struct efm_exact_spec spec;
    struct efm_dataset *source = NULL, *target = NULL;
    struct efm_error error = {0};
    bool good = api_exact_spec(request, &spec, problem) &&
                find_dataset(service, request->source, "/source", &source, problem) &&
                find_dataset(service, request->target, "/target", &target, problem) &&
                has_room(service, &spec, source, target, problem);
    if (good && efm_model_create_exact(model, &spec, source, request->source, target, request->target,
                                       &error) != EFM_OK)
        good = api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER, NULL);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    return good;
}

static bool make_model(struct srv_helper_work *work, struct efm_model **model, struct api_problem *problem)
{
    const struct api_message *message = srv_exchange_message(work->exchange);
    struct api_exact_request request = {0};
    struct efm_error error = {0};
    bool is_weights = false;
    if (!api_model_parse(&request, message, &is_weights, problem))
        return false;
    if (!is_weights)
        return build(work->service, &request, model, problem);
    if (srv_registry_read_model(work->service->registry, model, message->body, message->body_size, &error) ==
        EFM_OK)
        return true;
    return api_problem_from_error(problem, &error, API_P_INVALID_MODEL, NULL);
}

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    struct put_work *work = (struct put_work *)base;
    struct srv_service *service = base->service;
    const char *name = srv_exchange_name(base->exchange);
    struct srv_put put = {.expected = work->has_expected ? work->expected : NULL};
    struct efm_model *model = NULL;
    if (!make_model(base, &model, problem))
        return false;
    bool good = srv_registry_put_model(service->registry, name, model, &put, problem);
    if (good) {
        srv_answer_begin(&base->reply, put.replaced ? 200 : 201);
        api_reply_header(&base->reply, "Location", "/v1/models/%s", name);
        api_reply_header(&base->reply, "ETag", "\"%s\"", efm_model_sha256(model));
        api_model_render(name, model, put.created, &service->limits, &base->reply.body);
    }
    efm_model_unref(model);
    return good;
}

static const struct srv_helper_class class = {"put_model", run, NULL};

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
    struct efm_model *present = srv_registry_model(work->base.service->registry, name, NULL);
    const char *sha256 = present == NULL ? NULL : efm_model_sha256(present);
    work->has_expected = srv_answer_expected(exchange, sha256, work->expected);
    bool refused = false;
    if (work->has_expected)
        refused = work->expected[0] == '\0' ? present != NULL : work->expected[0] == '-';
    efm_model_unref(present);
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
