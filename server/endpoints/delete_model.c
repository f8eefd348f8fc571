// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/delete_item.h"
#include "server/endpoints/endpoints.h"

#include <stdio.h>

static bool look(struct srv_registry *registry, const char *name, struct srv_item_tags *tags)
{
    struct srv_model_facts facts = {0};
    if (!srv_registry_model_facts(registry, name, &facts))
        return false;
    srv_model_etag(&facts, tags->etag);
    snprintf(tags->sha256, sizeof tags->sha256, "%s", facts.sha256);
    tags->created = facts.created;
    srv_model_facts_release(&facts);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_item_class class = {look, srv_registry_delete_model};
    srv_delete_item(service, exchange, &class);
}

const struct srv_endpoint srv_delete_model = {
    .methods = "DELETE",
    .paths = {"/v1/models/{name}"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .takes = "",
    .gives = "",
    .help = "Forget a model; requests that use it keep it until they are done",
    .detail = "If-Match with its ETag, or If-Unmodified-Since with its date, refuses to delete another one.",
};
