/* scheduler.h - admission, fairness, batches: the one place where work waits and is done.
 *
 * A piece of work goes through these stations and is always finished by exactly one call of `complete`:
 *   submit    any thread; admitted, or refused at once: the queue is bounded by count and by bytes
 *   prepare   helper; decodes inputs, creates the lines
 *   compute   worker; forms a batch from the lines of all works of one model, gives each line one evaluation,
 *             again and again: lines join at the next evaluation, whatever the age of the others
 *   complete  helper; encodes and answers. Also called, with a problem, after cancel, deadline or failure
 * A cancelled work loses its lines before the next evaluation. Models share the time of the workers. Within a model what
 * needs few evaluations goes first, the others take turns and keep a quarter of the lines; a batch of a network, which
 * gains nothing from size, is kept to some milliseconds. So a small request does not wait for a big one.
 *
 * Embed struct srv_work as the first member of your own struct; the scheduler never frees it.
 *
 *     work->work = (struct srv_work){.class = &class, .model = model, .line_count = n, .deadline = INFINITY};
 *     if (!srv_scheduler_submit(scheduler, &work->work, &problem))
 *         ... answer with the problem and free
 *
 * Threads: submit from any; callbacks as said above; drain and destroy from the main thread.
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
struct srv_model_group;

/* Who prepares a work. */
enum srv_lane {
    SRV_LANE_LIGHT, /* quick, as the decoding of an image: any helper */
    SRV_LANE_HEAVY, /* may take long, as reading a dataset or building a model: one helper always stays free of it */
    SRV_LANE_LOAD, /* others may wait for it, as for a model that is brought into memory: threads of its own */
    SRV_LANES
};

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
    size_t line_count;       /* known at submit: results asked for, which prepare may correct; 0 for slices */
    size_t bytes;            /* memory it will hold, for admission */
    double evaluations;      /* that each of its lines will need; 0: not known */
    double deadline;         /* CLOCK_MONOTONIC seconds; INFINITY: none; prepare may change it */
    bool low_priority;       /* lines: behind those of other works, which leave them a sixteenth */
    enum srv_lane lane;
    bool
        aside; /* asks for no results, as the cancelling of a job: takes no place in the queue of those that do */
    atomic_bool *cancelled; /* borrowed; NULL: cannot be cancelled */

    /* written by the scheduler */
    double submitted, first_step, finished; /* CLOCK_MONOTONIC seconds */
    struct api_problem problem;
    size_t running; /* lines that still run */

    /* private */
    int state;
    size_t *waiting;  /* a ring [line_count]: indices of the lines that are in no batch and still run */
    size_t next_line; /* in the ring: where the next batch takes from */
    size_t ready;     /* in the ring: how many */
    size_t taken;     /* lines (or the one slice) in the hands of workers */
    size_t had;       /* evaluations that its lines were given */
    struct srv_model_group *group;
    struct srv_work *previous, *next;
};

struct srv_scheduler_options {
    unsigned workers;            /* compute threads that form batches */
    unsigned threads_per_worker; /* size of each worker's team */
    unsigned helpers; /* threads for prepare and complete; SRV_LOADERS more prepare SRV_LANE_LOAD alone */
    size_t batch;     /* lines in one evaluation */
    size_t max_works; /* admitted and unfinished, without the SRV_ASIDES_MOST that may be beside them */
    size_t max_bytes;
};

struct srv_scheduler;

EFM_MUST_CHECK enum efm_status srv_scheduler_create(struct srv_scheduler **scheduler,
                                                    const struct srv_scheduler_options *options,
                                                    struct srv_metrics *metrics, struct srv_log *log,
                                                    struct efm_error *error);

enum { SRV_RETRY_MOST = 60, SRV_ASIDES_MOST = 256 };

/* True: admitted, complete will be called. False: refused with API_P_QUEUE_FULL (retry_after, 1 to SRV_RETRY_MOST
 * seconds: until what is admitted will be done, by the evaluations that it needs and the measured time of one), API_P_DRAINING, or API_P_TOO_MANY_IMAGES / API_P_BODY_TOO_LARGE for a work
 * that would never fit; the work is still the caller's and no callback is called. */
bool srv_scheduler_submit(struct srv_scheduler *scheduler, struct srv_work *work,
                          struct api_problem *problem);

/* The queue as clients see it. */
struct srv_quota {
    size_t most, left; /* works that may be admitted, now as well */
    size_t used;       /* works in the queue: without those beside it */
    unsigned seconds;  /* until what is admitted will be done, at most SRV_RETRY_MOST */
};
struct srv_quota srv_scheduler_quota(struct srv_scheduler *scheduler);

/* Works that are admitted and unfinished. Takes no lock. */
size_t srv_scheduler_load(const struct srv_scheduler *scheduler);

/* Points in one slice of a field: as many as lines in a batch, but few for a network, whose working space a point
 * is large. */
size_t srv_points_capacity(const struct efm_field *field, size_t batch);

/* Refuses new work. */
void srv_scheduler_drain(struct srv_scheduler *scheduler);

/* Ends what is left with API_P_DRAINING, joins all threads, frees. */
void srv_scheduler_destroy(struct srv_scheduler *scheduler);

#endif
