// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/queue_headers.h"
#include "server/endpoints/respond_async.h"
#include "server/endpoints/transfer_work.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    if (!srv_respond_async(service, exchange, API_OP_GENERATE))
        srv_transfer_start(service, exchange, API_OP_GENERATE);
}

const struct srv_endpoint srv_post_generate = {
    .methods = "POST PUT",
    .paths = {"/v1/generate", "/generate"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .finish = srv_queue_headers,
    .max_body = SRV_BODY_IMAGES,
    .parameters = &api_transfer_table,
    .takes = "application/json multipart/form-data",
    .gives = "image/png image/jpeg image/webp application/json application/octet-stream application/x-npy",
    .help = "Draw points on the plate where the lines begin, and carry them to the other",
    .detail = "Starts are fresh draws from N(0, I) where the plate is standard normal, otherwise samples of "
              "its dataset. Prefer: respond-async makes a job of it (202), whose result is the answer.",
};
