/* answer.h - what the endpoints of models and datasets have in common: JSON answers and conditions.
 *
 *     struct srv_model_facts facts;
 *     if (!srv_answer_model_facts(service, exchange, &facts))
 *         return;                                                  a 404 was sent
 *     srv_answer_begin(&reply, 200);
 *     srv_answer_render_model(&facts, &service->limits, &reply.body);
 *     srv_model_facts_release(&facts);
 *     srv_answer_end(exchange, &reply);
 *
 * Threads: any that holds the duty to answer; headers are read by handlers alone. */
#ifndef SRV_ENDPOINTS_ANSWER_H
#define SRV_ENDPOINTS_ANSWER_H

#include "server/engine/registry.h"
#include "server/http/http.h"

/* A JSON reply, still empty. */
void srv_answer_begin(struct api_reply *reply, int status);

/* Sends it; an API_P_NO_MEMORY problem in its place when the body could not be made. */
void srv_answer_end(struct srv_exchange *exchange, struct api_reply *reply);

/* The same with the SHA-256 of the body as its ETag, for what is made anew each time. */
void srv_answer_end_tagged(struct srv_exchange *exchange, struct api_reply *reply);

/* Last-Modified, from the second after `created` on: until then something else could come to bear the same date. */
void srv_answer_modified(struct api_reply *reply, int64_t created);

/* True when If-None-Match names `etag` (with its quotes): a 304 has been sent, and nothing is left to do. */
bool srv_answer_not_modified(struct srv_exchange *exchange, const char *etag);

/* What a PUT or DELETE expects to be there, from If-None-Match, If-Match and If-Unmodified-Since, for struct srv_put: false when
 * there is no condition. Tags that are not well-formed are a condition that nothing meets, a date that is none is no condition.
 * `etag` (with its quotes), `sha256` and `created` are of what is there now, NULL, NULL and 0 for nothing. Handlers and the begin of an upload alone. */
bool srv_answer_expected(const struct srv_exchange *exchange, const char *etag, const char *sha256,
                         int64_t created, char expected[65]);

enum { SRV_ETAG_SIZE = 96 };

/* The SHA-256 of the file in quotes; for a dataset also how it is read, for that is shown as well. */
void srv_model_etag(const struct srv_model_facts *facts, char etag[SRV_ETAG_SIZE]);
void srv_dataset_etag(const struct srv_dataset_facts *facts, char etag[SRV_ETAG_SIZE]);

/* What is known of the model or dataset that the path names, to be released; false after a 404 has been sent. */
bool srv_answer_model_facts(struct srv_service *service, struct srv_exchange *exchange,
                            struct srv_model_facts *facts);
bool srv_answer_dataset_facts(struct srv_service *service, struct srv_exchange *exchange,
                              struct srv_dataset_facts *facts);

/* The model as a JSON reply; API_P_UNKNOWN_MODEL, and then there is no reply. */
bool srv_answer_model(struct srv_service *service, const char *name, struct api_reply *reply,
                      struct api_problem *problem);

/* The JSON objects that clients see. */
void srv_answer_render_model(const struct srv_model_facts *facts, const struct api_limits *limits,
                             struct efm_buffer *out);
void srv_answer_render_dataset(const struct srv_dataset_facts *facts, struct efm_buffer *out);

#endif
