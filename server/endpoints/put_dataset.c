// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"
#include "server/engine/registry.h"

struct put_work {
    struct srv_helper_work base;
    struct api_dataset_request request;
    char expected[65];
    bool has_expected;
};

static bool read_dataset(const struct put_work *work, struct efm_dataset **dataset,
                         struct api_problem *problem)
{
    struct srv_service *service = work->base.service;
    const struct api_message *message = srv_exchange_message(work->base.exchange);
    struct efm_error error = {0};
    struct efm_dataset_options options = efm_dataset_options_default();
    api_dataset_options(&work->request, &options);
    options.image_limits = service->limits.image;
    options.max_decoded_bytes = srv_registry_room(service->registry);
    if (efm_dataset_read(dataset, message->body, message->body_size, &options, &error) == EFM_OK)
        return true;
    return api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
}

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    struct put_work *work = (struct put_work *)base;
    const char *name = srv_exchange_name(base->exchange);
    const struct api_message *message = srv_exchange_message(base->exchange);
    struct srv_put put = {.expected = work->has_expected ? work->expected : NULL};
    struct efm_dataset *dataset = NULL;
    if (!read_dataset(work, &dataset, problem))
        return false;
    bool good = srv_registry_put_dataset(base->service->registry, name, dataset, message->body,
                                         message->body_size, &work->request, &put, problem);
    if (good) {
        srv_answer_begin(&base->reply, put.replaced ? 200 : 201);
        api_reply_header(&base->reply, "Location", "/v1/datasets/%s", name);
        api_dataset_render(name, dataset, put.created, &base->reply.body);
    }
    efm_dataset_unref(dataset);
    return good;
}

static const struct srv_helper_class class = {"put_dataset", run, NULL};

static bool check(struct put_work *work, struct api_problem *problem)
{
    struct srv_exchange *exchange = work->base.exchange;
    const struct api_message *message = srv_exchange_message(exchange);
    const char *name = srv_exchange_name(exchange);
    if (!api_name_valid(name))
        return api_problem_set(problem, API_P_INVALID_NAME, NULL,
                               "a name has 1 to 64 of the characters a-z A-Z 0-9 . _ - and begins with "
                               "neither . nor -");
    work->has_expected = srv_answer_expected(exchange, NULL, work->expected);
    return api_dataset_parse(&work->request, message, problem);
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

const struct srv_endpoint srv_put_dataset = {
    .methods = "PUT",
    .paths = {"/v1/datasets/{name}"},
    .handle = handle,
    .max_body = SRV_BODY_UPLOAD,
    .parameters = &api_dataset_table,
    .takes = "application/octet-stream application/x-tar application/gzip application/json",
    .gives = "application/json",
    .help = "Store a dataset: IDX, NPY, a tar of images (each also gzipped), or JSON that names a toy",
    .detail = "If-None-Match: * refuses to replace one.",
};
