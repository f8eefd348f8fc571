/* model_need.h - the model of a request, brought into memory first when it is not there.
 *
 *     struct efm_model *model = srv_need_model(service, exchange, name);
 *     if (model == NULL)
 *         return;            answered, or deferred: the handler is called again once the model is there
 *
 * Loading is work for helpers that do long things, so that short ones go on meanwhile; many that wait for one model share one
 * load, and what was loaded stays in memory until their handlers have run.
 * Threads: handlers, on whatever thread they are called; for srv_load_for_exchange also whoever may answer. */
#ifndef SRV_ENDPOINTS_MODEL_NEED_H
#define SRV_ENDPOINTS_MODEL_NEED_H

#include "core/model/model.h"
#include "server/http/http.h"

/* A new reference. NULL: the exchange is no longer the caller's. */
struct efm_model *srv_need_model(struct srv_service *service, struct srv_exchange *exchange,
                                 const char *name);

/* For a model that is known not to be in memory. Takes over the exchange. */
void srv_load_for_exchange(struct srv_service *service, struct srv_exchange *exchange, const char *name);

#endif
