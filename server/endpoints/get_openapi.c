// SPDX-License-Identifier: Apache-2.0
#include "api/openapi.h"
#include "core/base/memory.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

/* The word of the scope that a key must have for it; NULL: none. */
static const char *scope_of(const struct srv_endpoint *endpoint)
{
    switch (endpoint->scope) {
    case SRV_SCOPE_ADMIN:
        return "admin";
    case SRV_SCOPE_INFER:
        return "infer";
    case SRV_SCOPE_OPEN:
        break;
    }
    return NULL;
}

static struct api_operation_document document(const struct srv_endpoint *endpoint, const char *path)
{
    return (struct api_operation_document){
        .methods = endpoint->methods,
        .path = path,
        .parameters = endpoint->parameters,
        .takes = endpoint->takes,
        .gives = endpoint->gives,
        .help = endpoint->help,
        .detail = endpoint->detail,
        .scope = scope_of(endpoint),
    };
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    struct api_problem problem = {0};
    const struct api_document_options options = {
        .version = EFMD_VERSION,
        .keyed = srv_guard_has_keys(service->guard),
    };
    size_t count = 0;
    struct api_operation_document *documents =
        efm_allocate_array(srv_route_count * SRV_ENDPOINT_PATHS, sizeof(*documents));
    if (documents == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the document");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    for (size_t i = 0; i < srv_route_count; i++)
        for (size_t j = 0; j < SRV_ENDPOINT_PATHS && srv_routes[i]->paths[j] != NULL; j++)
            documents[count++] = document(srv_routes[i], srv_routes[i]->paths[j]);
    srv_answer_begin(&reply, 200);
    enum efm_status status = api_openapi_render(documents, count, &options, &reply.body);
    efm_free(documents);
    if (status != EFM_OK && reply.body.status == EFM_OK)
        reply.body.status = status;
    srv_answer_end_tagged(exchange, &reply);
}

const struct srv_endpoint srv_get_openapi = {
    .methods = "GET",
    .paths = {"/openapi.json", "/v1/openapi.json"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "This contract as an OpenAPI 3.1 document",
};
