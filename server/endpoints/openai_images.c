// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/openai_images.h"

#include "api/openai.h"
#include "server/endpoints/inner_work.h"

#include <time.h>

struct images_work {
    struct srv_inner_work base;
    enum api_operation operation;
    struct api_openai_images request;
};

static struct api_inner_request *read(struct srv_inner_work *base, struct api_problem *problem)
{
    struct images_work *work = (struct images_work *)base;
    struct srv_service *service = base->service;
    char single[API_NAME_SIZE];
    struct efm_shape shape;
    if (!api_openai_parse(&work->request, srv_exchange_message(base->exchange), work->operation,
                          &service->limits, problem))
        return NULL;
    const char *model = api_openai_model(&work->request);
    if (model == NULL && srv_registry_single_model(service->registry, single))
        model = single;
    if (model == NULL)
        api_problem_set(problem, API_P_MISSING_PARAMETER, "/model", "must name one of /v1/models");
    else if (srv_inner_shape(service, model, &shape, problem) &&
             api_openai_plan(&work->request, model, &shape, problem))
        return &work->request.inner;
    return NULL;
}

static bool answer(struct srv_inner_work *base, const struct api_reply *inner, struct api_reply *reply,
                   struct api_problem *problem)
{
    return api_openai_render(&((struct images_work *)base)->request, inner, time(NULL), reply, problem);
}

static void release(struct srv_inner_work *base)
{
    api_openai_release(&((struct images_work *)base)->request);
}

void srv_openai_images(struct srv_service *service, struct srv_exchange *exchange,
                       enum api_operation operation)
{
    static const struct srv_inner_class class = {sizeof(struct images_work), read, answer, NULL, release};
    struct srv_inner_work *work = srv_inner_work_create(service, exchange, &class);
    if (work == NULL)
        return;
    ((struct images_work *)work)->operation = operation;
    srv_inner_work_submit(work);
}
