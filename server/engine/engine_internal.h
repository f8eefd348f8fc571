/* engine_internal.h - what the files of the scheduler share: queues, groups of one model, batches, workers.
 *
 * One mutex guards everything here but what a worker keeps to itself. It is never held while something is
 * prepared, evaluated, completed or freed in bulk. Functions marked (locked) expect it to be held.
 *
 * The life of a work's state:
 *   WAITING    in the list of its lane, for a helper
 *   PREPARING  in a helper's hands
 *   COMPUTING  in the lists of its model's group
 *   ENDED      in no list: it waits for the batches that still hold lines of it
 *   COMPLETING in `ended`, then in a helper's hands, then gone */
#ifndef SRV_ENGINE_INTERNAL_H
#define SRV_ENGINE_INTERNAL_H

#include "server/clock.h"
#include "server/engine/scheduler.h"
#include "server/log.h"
#include "server/metrics.h"

#include <pthread.h>

enum srv_work_state {
    SRV_WORK_WAITING,
    SRV_WORK_PREPARING,
    SRV_WORK_COMPUTING,
    SRV_WORK_ENDED,
    SRV_WORK_COMPLETING
};

struct srv_work_list {
    struct srv_work *first, *last;
    size_t count;
};

/* Who goes first within a model. A request of few evaluations is over before a long one would notice; so it goes first, and
 * what is behind keeps a share, whatever comes before it. */
enum srv_work_rank {
    SRV_RANK_SHORT, /* needs at most SRV_SHORT evaluations; where that is not known: has had fewer */
    SRV_RANK_LONG,
    SRV_RANK_LOW, /* asked for with priority=low */
    SRV_RANKS
};
enum { SRV_SHORT = 128 };

/* The works in computation that share a model. Lives while it has works or a worker holds it. */
struct srv_model_group {
    struct srv_model_group *previous, *next; /* least recently served first */
    struct efm_model *model;                 /* borrowed from the works */
    char name[65];
    struct srv_work_list lines;  /* works with lines, least recently served first */
    struct srv_work_list slices; /* works done in slices, likewise */
    size_t ready;                /* lines that are in no batch */
    size_t idle_slices;          /* works in `slices` that no worker holds */
    size_t holders;              /* workers with a batch or slice of this group */
    double served;
    double service;          /* seconds of workers that it has had: models share time, not turns */
    double line_seconds;     /* moving average of an evaluation's time over its lines; 0: not known yet */
    double line_evaluations; /* moving average of what a line has needed in all; 0: not known yet */
    double owed[SRV_RANKS];  /* lines of the next batch that are due to a rank, though others go before it */
    bool slice_next;         /* lines and slices take turns */
};

/* The lines of one evaluation. The first `live` of them are evaluated; the others were struck out. */
struct srv_batch {
    struct srv_model_group *group;
    struct efm_line **lines;  /* [capacity] */
    struct srv_work **owners; /* [capacity] */
    size_t *indices;          /* [capacity] of the line in its work */
    size_t capacity, count, live;
    double started, ended; /* of the evaluation */
};

enum { SRV_WORKER_MODELS = 4, SRV_LOADERS = 2 };

/* Working space of one worker for one model; holds a reference, so the pointer stays the model's. */
struct srv_workspace {
    struct efm_model *model;
    struct efm_flow *flow;              /* NULL until lines come */
    struct efm_field_workspace *points; /* NULL until slices come */
    double used;
};

struct srv_worker {
    struct srv_scheduler *scheduler;
    pthread_t thread;
    struct efm_team *team;
    struct srv_batch batch;
    struct srv_workspace workspaces[SRV_WORKER_MODELS];
};

struct srv_scheduler {
    struct srv_scheduler_options options;
    struct srv_metrics *metrics;
    struct srv_log *log;

    pthread_mutex_t lock;
    pthread_cond_t compute; /* workers: lines or slices to be had, or the end */
    pthread_cond_t help;    /* helpers: something to prepare or complete, or the end */
    pthread_cond_t bring;   /* loaders: something to prepare, or the end */

    struct srv_work_list waiting[SRV_LANES]; /* to be prepared */
    struct srv_work_list ended;              /* to be completed */
    struct srv_model_group *first_group, *last_group;

    atomic_size_t load;    /* admitted and unfinished */
    size_t admitted;       /* load without those in `complete` */
    size_t asides;         /* of them, those beside the queue */
    size_t bytes;          /* of the admitted */
    size_t heavy_running;  /* helpers that prepare what is of SRV_LANE_HEAVY */
    size_t idle_workers;   /* workers that wait */
    double next_sweep;     /* when the waiting are looked through again */
    double last_finish;    /* when a work was last finished, or the first came to an idle scheduler */
    double seconds_a_work; /* moving average of the time between two finishes under load; 0: none yet */
    bool draining, stopping;

    struct srv_worker *workers;
    size_t workers_started;
    pthread_t *helpers;
    size_t helpers_started;
    pthread_t loaders[SRV_LOADERS];
    size_t loaders_started;
};

/* ---- scheduler.c ---- */

/* (locked) Waits on `condition`, at most `seconds`; INFINITY for ever. */
void srv_scheduler_wait(struct srv_scheduler *scheduler, pthread_cond_t *condition, double seconds);

/* (locked) Takes a work out of wherever it waits, for good: completion comes next, as soon as no worker holds
 * a line of it. work->problem says why. */
void srv_work_end(struct srv_scheduler *scheduler, struct srv_work *work, double now);

/* (locked) Hands an ended work to the helpers. */
void srv_work_hand_over(struct srv_scheduler *scheduler, struct srv_work *work);

/* True once nothing more may be done for a work: its flag is set or its deadline has passed. Reads only what
 * is constant while a worker holds a line of it. */
bool srv_work_expired(const struct srv_work *work, double now);

/* (locked) Ends a work with the reason found by srv_work_expired, or for the shutdown. */
void srv_work_withdraw(struct srv_scheduler *scheduler, struct srv_work *work, double now);

/* (locked) Withdraws what has expired while waiting, at most every SWEEP seconds. */
void srv_scheduler_sweep(struct srv_scheduler *scheduler, double now);

/* ---- pace.c: all of it (locked) ---- */

void srv_pace_note_batch(struct srv_model_group *group, const struct srv_batch *batch);
void srv_pace_note_line(struct srv_model_group *group, const struct efm_line *line); /* one that has ended */
void srv_pace_note_finish(struct srv_scheduler *scheduler, const struct srv_work *work, double now);
/* Until all that is admitted is done. */
double srv_pace_seconds(const struct srv_scheduler *scheduler, double now);

/* ---- group.c ---- */

void srv_work_list_append(struct srv_work_list *list, struct srv_work *work);
void srv_work_list_remove(struct srv_work_list *list, struct srv_work *work);

enum srv_work_rank srv_work_rank_of(const struct srv_work *work);

/* (locked) NULL when no work of the model is in computation. */
struct srv_model_group *srv_group_find(const struct srv_scheduler *scheduler, const struct efm_model *model);

/* (locked) Puts the group at the end of the rotation. */
void srv_group_mark_served(struct srv_scheduler *scheduler, struct srv_model_group *group, double now);

/* (locked) Puts a prepared work among those of its model. False when there is no memory. */
bool srv_group_join(struct srv_scheduler *scheduler, struct srv_work *work, double now);
void srv_group_leave(struct srv_scheduler *scheduler, struct srv_work *work);
void srv_group_release(struct srv_scheduler *scheduler, struct srv_model_group *group);

/* (locked) The seconds by which a group's turn is judged: the least is next. */
double srv_group_claim(const struct srv_model_group *group);

/* (locked) Ends all works of a model for lack of memory. */
void srv_group_fail(struct srv_scheduler *scheduler, const struct efm_model *model,
                    const struct efm_error *error, double now);

/* ---- batch.c ---- */

bool srv_batch_init(struct srv_batch *batch, size_t capacity);
void srv_batch_destroy(struct srv_batch *batch);

/* (locked) Takes lines from the group's works in turn and holds the group; false when there were none. */
bool srv_batch_form(struct srv_scheduler *scheduler, struct srv_batch *batch, struct srv_model_group *group,
                    double now);
/* One evaluation: strikes out what has expired, steps the others. */
void srv_batch_run(struct srv_scheduler *scheduler, struct srv_batch *batch, struct efm_flow *flow);
/* (locked) Gives the lines back and ends the works that are done. */
void srv_batch_return(struct srv_scheduler *scheduler, struct srv_batch *batch);

/* (locked) Takes the next slice work of the group and holds both; NULL when there was none. */
struct srv_work *srv_slice_take(struct srv_scheduler *scheduler, struct srv_model_group *group, double now);
/* Does the slice, unless the work has expired; true when the work is done. */
bool srv_slice_run(struct srv_work *work, struct efm_field_workspace *points, double *started);
/* (locked) */
void srv_slice_return(struct srv_scheduler *scheduler, struct srv_model_group *group, struct srv_work *work,
                      bool done, double started);

/* ---- worker.c, helper.c: the threads ---- */

void *srv_worker_main(void *worker);
void *srv_helper_main(void *scheduler);
void *srv_loader_main(void *scheduler);

#endif
