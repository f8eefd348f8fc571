/* respond_async.h - Prefer: respond-async: a request becomes a job, and is answered when somebody asks for
 * the result. Threads: event threads. */
#ifndef SRV_ENDPOINTS_RESPOND_ASYNC_H
#define SRV_ENDPOINTS_RESPOND_ASYNC_H

#include "server/http/http.h"

/* True when the client prefers that and this has taken over the duty to answer. */
bool srv_respond_async(struct srv_service *service, struct srv_exchange *exchange,
                       enum api_operation operation);

#endif
