/* queue_headers.h - what answers say of the queue: RateLimit-Policy and RateLimit, after the draft of that name.
 *
 *     RateLimit-Policy: "queue";q=64;qu="concurrent-requests"       so many may be there at once
 *     RateLimit: "queue";r=63;t=2                                   so many more now; the queue is empty in 2 s
 *
 * Threads: any. */
#ifndef SRV_ENDPOINTS_QUEUE_HEADERS_H
#define SRV_ENDPOINTS_QUEUE_HEADERS_H

#include "api/message.h"
#include "server/service.h"

/* For srv_endpoint.finish of those whose requests go through the queue: adds both to a 200 and a 429. */
void srv_queue_headers(struct srv_service *service, struct api_reply *reply);

#endif
