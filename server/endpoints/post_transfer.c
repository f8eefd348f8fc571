// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/queue_headers.h"
#include "server/endpoints/respond_async.h"
#include "server/endpoints/transfer_work.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    if (!srv_respond_async(service, exchange, API_OP_TRANSFER))
        srv_transfer_start(service, exchange, API_OP_TRANSFER);
}

const struct srv_endpoint srv_post_transfer = {
    .methods = "POST PUT",
    .paths = {"/v1/transfer", "/transfer"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .parameters = &api_transfer_table,
    .takes = "image/png image/jpeg image/webp application/octet-stream multipart/form-data application/json",
    .gives = "image/png image/jpeg image/webp application/json application/octet-stream application/x-npy",
    .help = "Carry images or vectors from one plate of a model to the other",
    .detail =
        "The body is an image, an NPY array, a form with image fields, or JSON. Parameters may stand in "
        "the query, in the form or in the JSON. Prefer: respond-async makes a job of it (202), whose result "
        "is the answer.",
};
