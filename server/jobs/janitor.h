/* janitor.h - one thread that clears away: expired jobs and their blobs, every few seconds. Threads:
 * create, destroy. */
#ifndef SRV_JOBS_JANITOR_H
#define SRV_JOBS_JANITOR_H

#include "server/jobs/jobs.h"

struct srv_janitor;

EFM_MUST_CHECK enum efm_status srv_janitor_create(struct srv_janitor **janitor, struct srv_jobs *jobs,
                                                  double seconds, struct efm_error *error);
void srv_janitor_destroy(struct srv_janitor *janitor);

#endif
