// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"
#include "server/endpoints/blob_answer.h"
#include "server/endpoints/endpoints.h"

#include <stdio.h>

static bool find(struct srv_service *service, const struct srv_exchange *exchange, struct api_reply *reply,
                 char key[SRV_BLOB_KEY], struct api_problem *problem)
{
    const char *name = srv_exchange_name(exchange);
    struct srv_dataset_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    if (!srv_registry_dataset_facts(service->registry, name, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_DATASET, NULL, "there is no dataset named '%.64s'",
                               name);
    srv_dataset_etag(&facts, etag);
    snprintf(key, SRV_BLOB_KEY, "%s", facts.preview);
    srv_dataset_facts_release(&facts);
    if (key[0] == '\0')
        return api_problem_set(problem, API_P_NOT_FOUND, NULL, "this dataset has no preview");
    snprintf(reply->content_type, sizeof reply->content_type, "image/png");
    api_reply_header(reply, "ETag", "%s", etag);
    api_reply_header(reply, "Cache-Control", "no-cache");
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_dataset_facts facts;
    char etag[SRV_ETAG_SIZE];
    if (!srv_answer_dataset_facts(service, exchange, &facts))
        return;
    srv_dataset_etag(&facts, etag);
    srv_dataset_facts_release(&facts);
    if (!srv_answer_not_modified(exchange, etag))
        srv_answer_blob(service, exchange, find);
}

const struct srv_endpoint srv_get_dataset_preview = {
    .methods = "GET",
    .paths = {"/v1/datasets/{name}/preview.png"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "image/png",
    .help = "A contact sheet of a dataset, or a picture of its vectors",
};
