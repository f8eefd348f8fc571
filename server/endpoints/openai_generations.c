// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/openai_images.h"
#include "server/endpoints/queue_headers.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    srv_openai_images(service, exchange, API_OP_GENERATE);
}

const struct srv_endpoint srv_openai_generations = {
    .methods = "POST",
    .paths = {"/v1/images/generations"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .takes = "application/json multipart/form-data",
    .gives = "application/json",
    .help = "Draw images, as the OpenAI API generates them",
    .detail =
        "prompt and user are taken and not looked at; seed, steps, solver and direction are those of "
        "/v1/generate. What asks for something else than auto, b64_json and the model's own size is refused.",
};
