/* jobs_internal.h - what the parts of jobs share.
 *
 *   jobs.c         made, listened to, read, listed
 *   jobs_change.c  the one way that a job is changed: read, altered, committed with what belongs to the change
 *   jobs_submit.c  new jobs
 *   jobs_work.c    claim, progress, end; cancellation
 *   jobs_clean.c   deletion, expiry, gauges */
#ifndef SRV_JOBS_INTERNAL_H
#define SRV_JOBS_INTERNAL_H

#include "server/jobs/jobs.h"

#include <pthread.h>

#define SRV_JOB_GONE "gone"

enum { SRV_JOB_TRAIN, SRV_JOB_REQUEST, SRV_JOB_GROUPS };
enum { SRV_JOB_STRAYS = 16 };

struct srv_jobs {
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_metrics *metrics;
    struct srv_log *log;
    size_t max_waiting, max_finished;
    double ttl;
    char owner[SRV_RECORD_OWNER]; /* of the leases of this run: "replica#5f0e91c3" */
    pthread_rwlock_t listening;   /* read while the listener is called */
    struct srv_jobs_listener listener;
    pthread_mutex_t mutex;
    /* under the mutex */
    double seconds_a_job[SRV_JOB_GROUPS]; /* of the last ones; 0: none has ended yet */
    double next_sweep;                    /* for blobs without a job, by the clock of the store */
    char strays[SRV_JOB_GROUPS][SRV_JOB_STRAYS]
               [API_JOB_ID_SIZE]; /* leased by us, nobody works on them; "": none */
};

const char *srv_job_group(const char *kind);

/* prefix, then 26 letters and digits that sort by time; `out` has API_JOB_ID_SIZE bytes. */
void srv_jobs_fresh_id(struct srv_jobs *jobs, const char *prefix, char *out);

void srv_jobs_changed(struct srv_jobs *jobs, const char *id);
void srv_jobs_submitted(struct srv_jobs *jobs, const char *group);

/* The store refused: API_P_NO_MEMORY or API_P_STORAGE. */
bool srv_jobs_storage_problem(struct srv_jobs *jobs, const struct efm_error *error,
                              struct api_problem *problem);

/* Whether the job has ended, at the price of one look. API_P_UNKNOWN_JOB, API_P_GONE, API_P_STORAGE. */
bool srv_jobs_ended(struct srv_jobs *jobs, const char *id, bool *ended, struct api_problem *problem);

/* A job as it is in the store. Of one that is gone only the record says something. */
struct srv_job_held {
    struct srv_record record; /* without a document */
    struct api_job job;
};
/* EFM_E_NOT_FOUND, EFM_E_FORMAT. On failure it holds nothing. */
EFM_MUST_CHECK enum efm_status srv_jobs_load(struct srv_jobs *jobs, const char *id, struct srv_job_held *held,
                                             struct efm_error *error);
void srv_job_held_release(struct srv_job_held *held);
/* Takes the record apart; it is released in any case. */
EFM_MUST_CHECK enum efm_status srv_jobs_unpack(struct srv_record *record, struct srv_job_held *held,
                                               struct efm_error *error);
bool srv_job_gone(const struct srv_record *record);

/* What goes into the commit of a change. */
struct srv_job_change {
    bool none;              /* all is as it shall be: nothing is committed */
    bool ended;             /* a webhook is told, the name of the model is free */
    struct api_event event; /* type NULL: none */
    char data[512];         /* room for the event's */
};

/* The event "state" of the state that the job has now. */
void srv_job_state_event(const struct api_job *job, struct srv_job_change *change);
/* job->state is an end: times, the end of the lease, the event. */
void srv_job_end(struct srv_jobs *jobs, struct srv_job_held *held, struct srv_job_change *change);

/* Changes held->job and held->record; anything but EFM_OK ends the change. Called again when somebody else
 * was faster. */
typedef enum efm_status srv_job_alter(void *context, struct srv_jobs *jobs, struct srv_job_held *held,
                                      struct srv_job_change *change, struct efm_error *error);
/* EFM_E_NOT_FOUND also for a job that is gone. `result`, when not NULL, is the job as it is then; release
 * it after EFM_OK. */
EFM_MUST_CHECK enum efm_status srv_jobs_change(struct srv_jobs *jobs, const char *id, srv_job_alter *alter,
                                               void *context, struct api_job *result,
                                               struct efm_error *error);

/* An event as a record, its text in *text (to be released by the caller). */
void srv_job_event_record(struct srv_jobs *jobs, const char *id, const struct api_event *event,
                          struct srv_record *record, struct efm_buffer *text);
/* The job as a record's document. */
void srv_job_document(const struct api_job *job, struct srv_record *record, struct efm_buffer *text);
/* The id of the KEY that holds the name of a model. */
void srv_jobs_model_key(const char *model, char out[SRV_RECORD_ID]);

/* Removes the blobs that an ended job needs no more: its inputs, and `checkpoint` where it says so. */
void srv_jobs_drop_inputs(struct srv_jobs *jobs, const char *id, bool checkpoint);
/* All that hangs on a job but its record. */
void srv_jobs_drop_all(struct srv_jobs *jobs, const char *id);

#endif
