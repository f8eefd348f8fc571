/* train_worker.h - the one thread that trains, at the lowest priority of the system, so that requests come first.
 *
 * It claims a job, reads its datasets, makes its steps, writes a checkpoint every checkpoint_seconds and at a stop, and puts the
 * model into the registry at the end. Step by step it looks for: the stop, the cancellation, a lost lease, somebody who wants a
 * preview. The weights that come out are the same whether or not it was interrupted.
 * Threads: create, wake, stop and destroy from any. */
#ifndef SRV_JOBS_TRAIN_WORKER_H
#define SRV_JOBS_TRAIN_WORKER_H

#include "server/jobs/jobs.h"
#include "server/jobs/previews.h"

struct srv_train_worker_options {
    struct srv_service
        *service;   /* jobs, registry, blobs, previews, metrics, log, config (fetch_*, allow_private) */
    size_t threads; /* of its team */
    size_t memory;  /* bytes that a training may take beside its datasets; 0: any */
    double checkpoint_seconds;
};

struct srv_train_worker;

EFM_MUST_CHECK enum efm_status srv_train_worker_create(struct srv_train_worker **worker,
                                                       const struct srv_train_worker_options *options,
                                                       struct efm_error *error);
void srv_train_worker_wake(struct srv_train_worker *worker); /* there may be a job */
/* A job has changed: when it is the one that runs, looks before the next step whether it shall end. */
void srv_train_worker_notice(struct srv_train_worker *worker, const char *id);
/* Asks it to write a checkpoint, give its job back and end; returns at once. */
void srv_train_worker_stop(struct srv_train_worker *worker);
/* Joins it. NULL is fine. */
void srv_train_worker_destroy(struct srv_train_worker *worker);

#endif
