/* hub.h - clients that wait: long polls of a job, and streams of its events. One thread serves them all.
 *
 * It is told of changes by srv_hub_notify and looks by itself once a second, for changes made by other
 * replicas. A stream gets each event once, in order, `: ping` every 15 seconds of silence, and ends after the
 * event that ends the job. Threads: any. */
#ifndef SRV_JOBS_HUB_H
#define SRV_JOBS_HUB_H

#include "server/http/http.h"
#include "server/jobs/jobs.h"

struct srv_hub;

/* `limit`: waiting clients at most. */
EFM_MUST_CHECK enum efm_status srv_hub_create(struct srv_hub **hub, struct srv_jobs *jobs, size_t limit,
                                              struct srv_metrics *metrics, struct srv_log *log,
                                              struct efm_error *error);
/* Answers all that wait. */
void srv_hub_destroy(struct srv_hub *hub);
/* Long polls are answered now, streams end (their clients come back by themselves); later ones likewise. */
void srv_hub_drain(struct srv_hub *hub);

void srv_hub_notify(struct srv_hub *hub, const char *id); /* never blocks for the store */

/* Both take over the duty to answer, and defer the exchange; called by handlers, on event threads. Too
 * many that wait: 429. */

/* Answers with the job and its ETag, at the latest after `seconds`, at once when it has ended. `etag` says
 * what is waited for: NULL: another state than the one it has now; otherwise it is a list of tags as in
 * If-None-Match, and the wait is over when the tag of the job is none of them. 304 when it still is one.
 * What is no such list, or empty, counts as NULL. */
void srv_hub_poll(struct srv_hub *hub, struct srv_exchange *exchange, const char *id, const char *etag,
                  double seconds);
/* Server-Sent Events after the event `after`. 204 when there is none and none will come: an EventSource
 * then stays away. */
void srv_hub_follow(struct srv_hub *hub, struct srv_exchange *exchange, const char *id, uint64_t after);

#endif
