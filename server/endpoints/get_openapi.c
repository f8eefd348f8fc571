// SPDX-License-Identifier: Apache-2.0
#include "api/openapi.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/openapi_document.h"

#include <stdio.h>

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

static enum efm_status render(struct efm_buffer *out, bool keyed)
{
    const struct api_document_options options = {.version = EFMD_VERSION, .keyed = keyed};
    size_t count = 0;
    struct api_operation_document *documents =
        efm_allocate_array(srv_route_count * SRV_ENDPOINT_PATHS, sizeof(*documents));
    if (documents == NULL)
        return EFM_E_MEMORY;
    for (size_t i = 0; i < srv_route_count; i++)
        for (size_t j = 0; j < SRV_ENDPOINT_PATHS && srv_routes[i]->paths[j] != NULL; j++)
            documents[count++] = document(srv_routes[i], srv_routes[i]->paths[j]);
    enum efm_status status = api_openapi_render(documents, count, &options, out);
    efm_free(documents);
    return status == EFM_OK ? out->status : status;
}

enum efm_status srv_openapi_create(struct srv_openapi **openapi, bool keyed, struct efm_error *error)
{
    enum { DOCUMENT_MOST = 16 << 20 };
    char digest[65];
    struct srv_openapi *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the OpenAPI document");
    made->text = efm_buffer_limited(DOCUMENT_MOST);
    enum efm_status status = render(&made->text, keyed);
    if (status != EFM_OK) {
        srv_openapi_destroy(made);
        return efm_error_set(error, status, "the OpenAPI document cannot be made");
    }
    efm_sha256_hex(made->text.data, made->text.size, digest);
    snprintf(made->etag, sizeof made->etag, "\"%s\"", digest);
    *openapi = made;
    return EFM_OK;
}

void srv_openapi_destroy(struct srv_openapi *openapi)
{
    if (openapi == NULL)
        return;
    efm_buffer_release(&openapi->text);
    efm_free(openapi);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const struct srv_openapi *openapi = service->openapi;
    struct api_reply reply;
    if (srv_answer_not_modified(exchange, openapi->etag))
        return;
    srv_answer_begin(&reply, 200);
    api_reply_header(&reply, "ETag", "%s", openapi->etag);
    api_reply_header(&reply, "Cache-Control", "no-cache");
    if (efm_buffer_reserve(&reply.body, openapi->text.size) == EFM_OK)
        efm_buffer_append(&reply.body, openapi->text.data, openapi->text.size);
    srv_answer_end(exchange, &reply);
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
