// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/queue_headers.h"

#include "server/engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

/* What a 429 says of when to come again, 0 when it says nothing. */
static unsigned said(const struct api_reply *reply)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (strcmp(reply->headers[i].name, "Retry-After") == 0)
            return (unsigned)strtoul(reply->headers[i].value, NULL, 10);
    return 0;
}

void srv_queue_headers(struct srv_service *service, struct api_reply *reply)
{
    if (reply->status != 200 && reply->status != 429)
        return;
    struct srv_quota quota = srv_scheduler_quota(service->scheduler);
    const unsigned wait = said(reply);
    if (wait > 0) // one answer, one time
        quota.seconds = wait;
    api_reply_header(reply, "RateLimit-Policy", "\"queue\";q=%zu;qu=\"concurrent-requests\"", quota.most);
    api_reply_header(reply, "RateLimit", "\"queue\";r=%zu;t=%u", quota.left, quota.seconds);
}
