/* request_runner.h - runs the transfers and generations that were asked for with Prefer: respond-async:
 * replays the kept request (srv_http_replay), keeps its answer as the result. A full queue sends the job
 * back to wait. Threads: any. */
#ifndef SRV_JOBS_REQUEST_RUNNER_H
#define SRV_JOBS_REQUEST_RUNNER_H

#include "server/jobs/jobs.h"

struct srv_request_runner;

/* `parallel`: how many at once. Uses service->http, which must outlive it. */
EFM_MUST_CHECK enum efm_status srv_request_runner_create(struct srv_request_runner **runner,
                                                         struct srv_service *service, size_t parallel,
                                                         struct efm_error *error);
void srv_request_runner_wake(struct srv_request_runner *runner);
/* A job has changed: looks, on its own thread, whether one that runs shall end. */
void srv_request_runner_notice(struct srv_request_runner *runner, const char *id);
/* Begins nothing any more, and gives back what runs when `now`, else lets it end. */
void srv_request_runner_stop(struct srv_request_runner *runner, bool now);
void srv_request_runner_destroy(struct srv_request_runner *runner); /* waits for what runs */

#endif
