/* blob_answer.h - an answer whose body is a blob of the store: opened by a helper, sent from its file, in ranges when asked.
 *
 *     static bool find(struct srv_service *service, const struct srv_exchange *exchange, struct api_reply *reply, ...)
 *     srv_answer_blob(service, exchange, find);           in place of an answer; handlers only
 */
#ifndef SRV_ENDPOINTS_BLOB_ANSWER_H
#define SRV_ENDPOINTS_BLOB_ANSWER_H

#include "server/http/http.h"
#include "server/store/blobs.h"

/* Says which blob it is, or none in an empty key, and fills the type and the headers of `reply`, an empty 200. False with a problem. On a helper; called
 * again when the blob was replaced before it could be opened. */
typedef bool srv_blob_finder(struct srv_service *service, const struct srv_exchange *exchange,
                             struct api_reply *reply, char key[SRV_BLOB_KEY], struct api_problem *problem);

void srv_answer_blob(struct srv_service *service, struct srv_exchange *exchange, srv_blob_finder *find);

#endif
