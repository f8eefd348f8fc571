// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/inner_work.h"
#include "server/endpoints/queue_headers.h"

#include <stdio.h>

struct infer_work {
    struct srv_inner_work base;
    struct api_oip_infer request;
    char header_length[32]; /* as sent, cut to more digits than it may have */
};

static struct api_inner_request *read(struct srv_inner_work *base, struct api_problem *problem)
{
    struct infer_work *work = (struct infer_work *)base;
    struct efm_shape shape;
    const char *model = srv_exchange_name(base->exchange);
    const bool good = srv_inner_shape(base->service, model, &shape, problem) &&
                      api_oip_infer_parse(&work->request, model, &shape, srv_exchange_message(base->exchange),
                                          work->header_length, &base->service->limits, problem);
    return good ? &work->request.inner : NULL;
}

static bool answer(struct srv_inner_work *base, const struct api_reply *inner, struct api_reply *reply,
                   struct api_problem *problem)
{
    return api_oip_infer_render(&((struct infer_work *)base)->request, inner, reply, problem);
}

static void release(struct srv_inner_work *base)
{
    api_oip_infer_release(&((struct infer_work *)base)->request);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_inner_class class = {sizeof(struct infer_work), read, answer,
                                                 api_oip_infer_problem, release};
    struct srv_inner_work *work = srv_inner_work_create(service, exchange, &class);
    if (work == NULL)
        return;
    char *length = ((struct infer_work *)work)->header_length;
    snprintf(length, sizeof((struct infer_work *)work)->header_length, "%s",
             srv_exchange_header(exchange, API_OIP_LENGTH_HEADER));
    srv_inner_work_submit(work);
}

const struct srv_endpoint srv_oip_infer = {
    .methods = "POST",
    .paths = {"/v2/models/{name}/infer", "/v2/models/{name}/versions/" API_OIP_VERSION "/infer"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .takes = "application/json application/octet-stream",
    .gives = "application/json application/octet-stream",
    .help = "Carry a tensor from one plate to the other, as the Open Inference Protocol has it",
    .detail =
        "The input \"input\" is FP32, FP64 or FP16 [n, h, w, c] in -1..1 or [n, D], UINT8 [n, h, w, c], or "
        "BYTES [n] of PNG, JPEG and WebP files (base64 in JSON). Outputs: \"output\" FP32 (the one that is "
        "answered when none is named), \"pixels\" UINT8, \"image\" BYTES of the parameter format. Parameters "
        "are those of /v1/transfer but for model, layout and trajectory, in the member parameters or in the "
        "query, with timeout in microseconds in both "
        "and priority a word or a number, of which 0 and 1 are normal and more is low; "
        "\"operation\": \"generate\" takes no input. Binary tensors as in the binary extension; a JSON "
        "length "
        "of 0 says that the body is the input.",
};
