// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"

#include <stdio.h>

struct weights_work {
    struct srv_helper_work base;
    struct efm_model *model;
};

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    struct weights_work *work = (struct weights_work *)base;
    struct api_reply *reply = &base->reply;
    struct efm_error error = {0};
    api_reply_init(reply, SIZE_MAX / 2);
    snprintf(reply->content_type, sizeof(reply->content_type), "application/octet-stream");
    api_reply_header(reply, "ETag", "\"%s\"", efm_model_sha256(work->model));
    api_reply_header(reply, "Content-Disposition", "attachment; filename=\"%s.safetensors\"",
                     srv_exchange_name(base->exchange));
    if (efm_model_save(work->model, &reply->body, &error) == EFM_OK)
        return true;
    return api_problem_from_error(problem, &error, API_P_INTERNAL, NULL);
}

static void release(struct srv_helper_work *base)
{
    efm_model_unref(((struct weights_work *)base)->model);
}

static const struct srv_helper_class class = {"get_model_weights", run, release};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct efm_model *model = srv_answer_model(service, exchange, NULL);
    if (model == NULL)
        return;
    char etag[80];
    snprintf(etag, sizeof(etag), "\"%s\"", efm_model_sha256(model));
    if (srv_answer_not_modified(exchange, etag)) {
        efm_model_unref(model);
        return;
    }
    struct srv_helper_work *base =
        srv_helper_work_create(service, exchange, sizeof(struct weights_work), &class);
    if (base == NULL) {
        efm_model_unref(model);
        return;
    }
    ((struct weights_work *)base)->model = model;
    srv_helper_work_submit(base, efm_model_bytes(model));
}

const struct srv_endpoint srv_get_model_weights = {
    .methods = "GET",
    .paths = {"/v1/models/{name}/weights"},
    .handle = handle,
    .takes = "",
    .gives = "application/octet-stream",
    .help = "The safetensors file of a model",
    .detail = "The ETag is the SHA-256 of the file; If-None-Match gives 304. What is downloaded can be put "
              "again, here or on another server.",
};
