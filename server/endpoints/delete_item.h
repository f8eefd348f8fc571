/* delete_item.h - DELETE of a model or a dataset, done by a helper: 204, or a problem. If-Match and If-None-Match say which one may be
 * deleted.
 *
 *     static const struct srv_item_class class = {look, srv_registry_delete_model};
 *     srv_delete_item(service, exchange, &class);             in handle; all of it
 */
#ifndef SRV_ENDPOINTS_DELETE_ITEM_H
#define SRV_ENDPOINTS_DELETE_ITEM_H

#include "server/endpoints/answer.h"

/* What conditions are about. */
struct srv_item_tags {
    char etag[SRV_ETAG_SIZE], sha256[65];
    int64_t created; /* Unix seconds */
};

struct srv_item_class {
    /* Event thread. Of what is there now; false when nothing is. */
    bool (*look)(struct srv_registry *registry, const char *name, struct srv_item_tags *tags);
    /* Helper. `expected` as of srv_answer_expected; NULL: whatever is there. */
    bool (*remove)(struct srv_registry *registry, const char *name, const char *expected,
                   struct api_problem *problem);
};

/* Takes over the duty to answer; `class` outlives it. */
void srv_delete_item(struct srv_service *service, struct srv_exchange *exchange,
                     const struct srv_item_class *class);

#endif
