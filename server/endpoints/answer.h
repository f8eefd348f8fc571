/* answer.h - what the endpoints of models and datasets have in common: JSON answers and conditions.
 *
 *     struct api_reply reply;
 *     srv_answer_begin(&reply, 200);
 *     api_model_render(name, model, created, &service->limits, &reply.body);
 *     srv_answer_end(exchange, &reply);
 *
 * Threads: any that holds the duty to answer; headers are read by handlers alone. */
#ifndef SRV_ENDPOINTS_ANSWER_H
#define SRV_ENDPOINTS_ANSWER_H

#include "server/http/http.h"

/* A JSON reply, still empty. */
void srv_answer_begin(struct api_reply *reply, int status);

/* Sends it; an API_P_NO_MEMORY problem in its place when the body could not be made. */
void srv_answer_end(struct srv_exchange *exchange, struct api_reply *reply);

/* True when If-None-Match names `etag` (with its quotes): a 304 has been sent, and nothing is left to do. */
bool srv_answer_not_modified(struct srv_exchange *exchange, const char *etag);

/* What a PUT expects to be there, from If-None-Match: * and If-Match, for struct srv_put: false when there is
 * no condition. `present` is the sha256 of what is there now, NULL for nothing. */
bool srv_answer_expected(const struct srv_exchange *exchange, const char *present, char expected[65]);

/* The model or dataset that the path names, with a reference; NULL after a 404 has been sent. */
struct efm_model *srv_answer_model(struct srv_service *service, struct srv_exchange *exchange,
                                   int64_t *created);
struct efm_dataset *srv_answer_dataset(struct srv_service *service, struct srv_exchange *exchange,
                                       int64_t *created);

#endif
