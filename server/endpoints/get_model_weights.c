// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/blob_answer.h"
#include "server/endpoints/endpoints.h"

#include <stdio.h>

static bool find(struct srv_service *service, const struct srv_exchange *exchange, struct api_reply *reply,
                 char key[SRV_BLOB_KEY], struct api_problem *problem)
{
    const char *name = srv_exchange_name(exchange);
    struct srv_model_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    if (!srv_registry_model_facts(service->registry, name, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", name);
    srv_model_etag(&facts, etag);
    snprintf(key, SRV_BLOB_KEY, "%s", facts.blob);
    const int64_t created = (int64_t)facts.created;
    srv_model_facts_release(&facts);
    snprintf(reply->content_type, sizeof reply->content_type, "application/octet-stream");
    api_reply_header(reply, "ETag", "%s", etag);
    srv_answer_modified(reply, created);
    api_reply_header(reply, "Content-Disposition", "attachment; filename=\"%s.safetensors\"", name);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_model_facts facts;
    char etag[SRV_ETAG_SIZE];
    if (!srv_answer_model_facts(service, exchange, &facts))
        return;
    srv_model_etag(&facts, etag);
    srv_model_facts_release(&facts);
    if (!srv_answer_not_modified(exchange, etag))
        srv_answer_blob(service, exchange, find);
}

const struct srv_endpoint srv_get_model_weights = {
    .methods = "GET",
    .paths = {"/v1/models/{name}/weights"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "application/octet-stream",
    .help = "The safetensors file of a model",
    .detail = "The ETag is the SHA-256 of the file; If-None-Match gives 304, Range a part of it. What is "
              "downloaded can be put "
              "again, here or on another server.",
};
