/* transfer_work.h - the way of a request for results through the daemon, the same for /transfer and
 * /generate. Threads: an event thread. */
#ifndef SRV_ENDPOINTS_TRANSFER_WORK_H
#define SRV_ENDPOINTS_TRANSFER_WORK_H

#include "server/http/http.h"

/* Parses, plans, asks for admission; answers now or leaves it to the scheduler's threads. */
void srv_transfer_start(struct srv_service *service, struct srv_exchange *exchange,
                        enum api_operation operation);

#endif
