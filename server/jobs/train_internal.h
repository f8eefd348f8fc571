/* train_internal.h - what the files of the training worker share: the worker, and the job that it runs.
 *
 * Two threads: the worker's own, of ordinary priority, which claims, renews, stores and answers; and the idle thread,
 * which reads samples, makes steps, draws and writes checkpoints into memory. Only one of them works on the job at a time: while the
 * idle thread computes, the worker only keeps the lease and looks whether the job shall end. */
#ifndef SRV_JOBS_TRAIN_INTERNAL_H
#define SRV_JOBS_TRAIN_INTERNAL_H

#include "core/base/buffer.h"
#include "core/base/team.h"
#include "server/jobs/idle_thread.h"
#include "server/jobs/train_worker.h"

#include <pthread.h>
#include <stdatomic.h>

struct srv_train_worker {
    struct srv_train_worker_options options;
    struct srv_idle_thread *idle;
    pthread_t thread;
    sem_t signal;          /* something happened: look */
    atomic_bool stop;      /* for good */
    atomic_bool noticed;   /* the job that runs was changed by somebody else */
    _Atomic uint64_t mark; /* of the id of the job that runs; 0: none */
    atomic_int self;       /* thread id of the worker: its own changes are no news */
};

/* Until something happens, or so many seconds have passed. */
void srv_train_worker_wait(struct srv_train_worker *worker, double seconds);

/* Why a job leaves the worker. */
enum srv_train_end {
    SRV_TRAIN_GOES_ON,
    SRV_TRAIN_END_DONE,
    SRV_TRAIN_END_FAILED,
    SRV_TRAIN_END_CANCELLED,
    SRV_TRAIN_END_STOPPED, /* back to the queue */
    SRV_TRAIN_END_LOST,    /* somebody else has it */
};

/* The losses and steps since the last event of metrics. */
struct srv_train_reporting {
    struct efm_trainer_report last;
    double loss; /* sum */
    uint64_t steps;
    double since, shown; /* when the last event, and when the last progress of any kind was stored */
};

struct srv_train_job {
    struct srv_train_worker *worker;
    struct srv_service *service;
    struct api_job record;
    _Atomic enum srv_train_end end; /* the first reason wins */
    double renewed;                 /* when the lease was */
    bool store_failing;             /* said once in the log */

    struct api_train train;
    struct efm_trainer_spec spec;
    struct efm_dataset *datasets[2]; /* by enum efm_plate_side; NULL: N(0, I) */
    struct efm_team *team;
    struct efm_trainer *trainer;
    size_t threads;

    struct srv_blob *checkpoint;   /* to go on from, while that happens */
    struct efm_error not_restored; /* EFM_OK unless it could not be used */
    bool begun;                    /* the trainer stands where the job is */
    uint64_t first_step;           /* of this run */
    uint64_t saved_step;           /* of the last checkpoint */
    double began, steps_began, saved;
    unsigned failed_checkpoints; /* in a row */
    struct srv_train_reporting reporting;
    double preview_due, preview_kept; /* not before; for those who ask, and for those at checkpoints */

    /* between the idle thread and the worker */
    double until; /* of a run of steps */
    struct efm_buffer bytes;
    enum efm_status status;
    struct efm_error error;
};

/* ---- train_job.c: from the claim to the end ---- */

/* Runs a claimed job, which is released, to whatever end. */
void srv_train_job_run(struct srv_train_worker *worker, struct api_job *record);

/* On the worker's thread: looks whether it shall end, and keeps the lease; at once when somebody changed the job. */
bool srv_train_job_goes_on(struct srv_train_job *job);
/* Asks the store, before something is written that only the holder of the lease may write. */
bool srv_train_job_still_ours(struct srv_train_job *job);
/* On any thread: ends it; the first reason wins. Return false. */
bool srv_train_job_end(struct srv_train_job *job, enum srv_train_end end);
bool srv_train_job_fail(struct srv_train_job *job, const char *code, const char *pointer, const char *format,
                        ...) EFM_PRINTF(4, 5);
bool srv_train_job_fail_problem(struct srv_train_job *job, const struct api_problem *problem);
/* `when_format` as in api_problem_from_error. */
bool srv_train_job_fail_error(struct srv_train_job *job, const struct efm_error *error,
                              enum api_problem_code when_format, const char *pointer);

/* Runs `body` on the idle thread, keeping the lease meanwhile. */
void srv_train_job_compute(struct srv_train_job *job, void (*body)(void *context), void *context);
/* False when the job ends meanwhile. */
bool srv_train_job_pause(struct srv_train_job *job, double seconds);

/* Stores the record; with `type` also an event of that type, whose data are JSON by `format`. What cannot be stored is said in the log
 * and otherwise forgotten: the next one tells more. */
void srv_train_job_progress(struct srv_train_job *job);
void srv_train_job_event(struct srv_train_job *job, const char *type, const char *level, const char *message,
                         const char *format, ...) EFM_PRINTF(5, 6);
void srv_train_job_warn(struct srv_train_job *job, const char *event, const char *reason);

/* The name that the model gets. */
const char *srv_train_job_model(const struct srv_train_job *job);

/* ---- train_data.c: samples ---- */

/* Fetches what lies at URLs, and reads both plates. */
bool srv_train_data_read(struct srv_train_job *job);

/* ---- train_steps.c ---- */

/* The team, the trainer, and the checkpoint that it goes on from. */
bool srv_train_steps_prepare(struct srv_train_job *job);
/* All that are left, with what happens between them. */
bool srv_train_steps_make(struct srv_train_job *job);

/* ---- train_results.c ---- */

/* Writes one; a failure is said, and the third in a row ends the job. */
void srv_train_checkpoint(struct srv_train_job *job);
/* Draws for whoever waits, and no more often than is bearable. */
void srv_train_preview_answer(struct srv_train_job *job);
/* Draws, and keeps it with the job. `last`: however short ago the one before was drawn. */
void srv_train_preview_keep(struct srv_train_job *job, bool last);
/* The job, run before, had put its model already. */
bool srv_train_model_is_there(struct srv_train_job *job);
/* False with a failure when the model's name is taken by another one. */
bool srv_train_model_name_free(struct srv_train_job *job);
/* Makes the model and puts it into the registry. */
bool srv_train_model_put(struct srv_train_job *job);

#endif
