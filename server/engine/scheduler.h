/* scheduler.h - admission, fairness, batches: the one place where work waits and is done.
 *
 * A piece of work goes through three stations and is always finished by exactly one call of `complete`:
 *   submit (event thread)  admitted, or refused at once: the queue is bounded by count and by bytes
 *   prepare (helper)       decodes inputs, creates the lines
 *   compute (worker)       a worker forms a batch from the lines of all works of one model, one evaluation
 * each, again and again: lines join at the next evaluation, whatever the age of the others complete (helper)
 * encodes and answers; also called, with a problem, after cancel, deadline, failure A cancelled work loses
 * its lines before the next evaluation.
 *
 * Embed struct srv_work as the first member of your own struct; the scheduler never frees it.
 *
 * Threads: submit from any; callbacks as said above; stop from the main thread.
 */
#ifndef SRV_ENGINE_SCHEDULER_H
#define SRV_ENGINE_SCHEDULER_H

#include "api/problem.h"
#include "core/flow/flow.h"
#include "core/model/model.h"
#include "server/service.h"

#include <stdatomic.h>
#include <stdbool.h>

struct srv_work;

struct srv_work_class {
    const char *operation; /* for metrics: "transfer" */

    /* Helper thread. Fills work->lines (owned by the work's owner). False with a problem: complete is next.
     * NULL: nothing. */
    bool (*prepare)(struct srv_work *work, struct api_problem *problem);

    /* Compute worker, for work without lines: does a bounded piece (at most one batch of points) with a
     * workspace of the model's field; true when all is done. NULL for work that has lines, or none at all. */
    bool (*slice)(struct srv_work *work, struct efm_field_workspace *workspace);

    /* Helper thread, last call for this work: answers and frees. `problem` is API_P_NONE when all lines have
     * ended. */
    void (*complete)(struct srv_work *work, const struct api_problem *problem);
};

struct srv_work {
    const struct srv_work_class *class;
    struct efm_model
        *model; /* a reference of the owner's, released by complete; NULL for work on helpers alone */
    char model_name[65];     /* for metrics */
    struct efm_line **lines; /* [line_count] after prepare */
    size_t line_count;       /* known at submit: results asked for; 0 for slices */
    size_t bytes;            /* memory it will hold, for admission */
    double deadline;         /* CLOCK_MONOTONIC seconds; INFINITY: none */
    atomic_bool *cancelled;  /* borrowed; NULL: cannot be cancelled */

    /* written by the scheduler */
    double submitted, first_step, finished; /* CLOCK_MONOTONIC seconds */
    struct api_problem problem;
    size_t next_line;                 /* where the next batch takes from */
    size_t running;                   /* lines that still run */
    int state;                        /* private */
    struct srv_work *previous, *next; /* private */
};

struct srv_scheduler_options {
    unsigned workers;            /* compute threads that form batches */
    unsigned threads_per_worker; /* size of each worker's team */
    unsigned helpers;            /* threads for prepare and complete */
    size_t batch;                /* lines in one evaluation */
    size_t max_works;            /* admitted and unfinished */
    size_t max_bytes;
};

struct srv_scheduler;

EFM_MUST_CHECK enum efm_status srv_scheduler_create(struct srv_scheduler **scheduler,
                                                    const struct srv_scheduler_options *options,
                                                    struct srv_metrics *metrics, struct srv_log *log,
                                                    struct efm_error *error);

/* True: admitted, complete will be called. False: refused with API_P_QUEUE_FULL (retry_after from the queue
 * and the measured step time), API_P_DRAINING; the work is still the caller's and no callback is called. */
bool srv_scheduler_submit(struct srv_scheduler *scheduler, struct srv_work *work,
                          struct api_problem *problem);

/* Works that are admitted and unfinished. */
size_t srv_scheduler_load(const struct srv_scheduler *scheduler);

/* Refuses new work. */
void srv_scheduler_drain(struct srv_scheduler *scheduler);

/* Ends what is left with API_P_DRAINING, joins all threads, frees. */
void srv_scheduler_destroy(struct srv_scheduler *scheduler);

#endif
