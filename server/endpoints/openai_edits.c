// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/openai_images.h"
#include "server/endpoints/queue_headers.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    srv_openai_images(service, exchange, API_OP_TRANSFER);
}

const struct srv_endpoint srv_openai_edits = {
    .methods = "POST",
    .paths = {"/v1/images/edits"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .takes = "multipart/form-data",
    .gives = "application/json",
    .help = "Carry images from one plate to the other, as the OpenAI API edits them",
    .detail = "Each image is carried by itself, n times over. prompt and user are taken and not looked at; "
              "seed, steps, solver and direction are those of /v1/transfer. What asks for something else "
              "than auto, b64_json and the model's own size is refused.",
};
