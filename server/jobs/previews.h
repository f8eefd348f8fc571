/* previews.h - where requests for a picture of a running training wait until its worker has drawn one.
 * Threads: any. */
#ifndef SRV_JOBS_PREVIEWS_H
#define SRV_JOBS_PREVIEWS_H

#include "server/http/http.h"

struct srv_previews;

EFM_MUST_CHECK enum efm_status srv_previews_create(struct srv_previews **previews, struct efm_error *error);
void srv_previews_destroy(struct srv_previews *previews);

/* The worker runs this job from now on; NULL: none. Requests that wait for another one are answered with
 * API_P_CONFLICT. */
void srv_previews_open(struct srv_previews *previews, const char *id);

/* Takes over the duty to answer the exchange, and defers it: for handlers, on event threads. False when
 * this replica does not run the job, or too many (16) wait. */
bool srv_previews_ask(struct srv_previews *previews, const char *id, struct srv_exchange *exchange);

/* For the worker, between steps: somebody waits. Reads one atomic. */
bool srv_previews_wanted(const struct srv_previews *previews);
/* The picture of this step, copied for each that waits. */
void srv_previews_give(struct srv_previews *previews, const uint8_t *png, size_t size, uint64_t step);
void srv_previews_fail(struct srv_previews *previews, const struct api_problem *problem);

#endif
