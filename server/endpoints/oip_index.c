// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

struct listing {
    struct efm_buffer *out;
    size_t count;
    bool ready_only;
};

static void list_one(void *context, const struct srv_model_facts *facts)
{
    struct listing *listing = context;
    if (!listing->ready_only || facts->state == SRV_MODEL_READY)
        api_oip_index_item(listing->count++, facts->name,
                           facts->state == SRV_MODEL_READY     ? "ready"
                           : facts->state == SRV_MODEL_LOADING ? "loading"
                                                               : "unloaded",
                           facts->reason, listing->out);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    struct api_problem problem = {0};
    struct listing listing = {.out = &reply.body};
    if (!api_oip_index_parse(srv_exchange_message(exchange), &listing.ready_only, &problem)) {
        srv_exchange_problem(exchange, &problem);
        return;
    }
    srv_answer_begin(&reply, 200);
    efm_buffer_append_string(&reply.body, "[");
    srv_registry_each_model(service->registry, list_one, &listing);
    efm_buffer_append_string(&reply.body, "]");
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_index = {
    .methods = "POST",
    .paths = {"/v2/repository/index"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .max_body = 64 << 10,
    .takes = "application/json",
    .gives = "application/json",
    .help = "All models and their states; with {\"ready\": true} those in memory",
};
