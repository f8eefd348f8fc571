// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/engine/registry.h"

struct listing {
    struct srv_service *service;
    struct efm_buffer *out;
    size_t count;
};

static void list_one(void *context, const struct srv_model_facts *facts)
{
    struct listing *listing = context;
    api_list_item(listing->out, listing->count++);
    srv_answer_render_model(facts, &listing->service->limits, listing->out);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    struct listing listing = {.service = service, .out = &reply.body};
    api_list_begin(&reply.body);
    srv_registry_each_model(service->registry, list_one, &listing);
    api_list_end(&reply.body);
    srv_answer_end_tagged(exchange, &reply);
}

const struct srv_endpoint srv_list_models = {
    .methods = "GET",
    .paths = {"/v1/models"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "All models, sorted by name",
};
