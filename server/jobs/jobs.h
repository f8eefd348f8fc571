/* jobs.h - jobs in the store: made, watched, claimed, worked on, ended, forgotten.
 *
 *   record JOB   id = job id; group "train" or "request"; state = word of api_job_state, and "gone" for what
 *                has expired or was deleted (kept for SRV_JOBS_TOMB seconds without a document, so that 410 is
 *                not 404)
 *   record EVENT parent = job id; group = type; document {"level","message","data"}
 *   record KEY   id = sha256 of the owner's name, where there is one, and an Idempotency-Key; parent = the job it made; document: the digest of the
 *                request. And, while a training is not finished, id = "model/NAME" of the model that it makes;
 *                parent = the job
 *   blob         jobs/ID/source, target (datasets of a training, as they were when it was submitted), request
 *                (body), checkpoint, preview.png, result
 *
 * An acknowledged job always ends: what a dead replica held is claimed again when its lease runs out, at once
 * when the replica of the same name starts anew, and goes on from its checkpoint.
 * Threads: any. Nearly all may block for the store: not from event threads. */
#ifndef SRV_JOBS_JOBS_H
#define SRV_JOBS_JOBS_H

#include "api/job.h"
#include "server/service.h"
#include "server/store/blobs.h"
#include "server/store/store.h"

struct srv_jobs_options {
    struct srv_store *store; /* borrowed */
    struct srv_blobs *blobs; /* borrowed */
    const char *replica;     /* name of this daemon among those that share the store */
    size_t max_waiting;      /* queued jobs: past it 429 */
    size_t max_finished;
    double ttl; /* seconds after the end */
};

enum {
    SRV_JOBS_LEASE = 30,
    SRV_JOBS_TOMB = 7 * 86400,
    SRV_JOBS_KEY = 86400,  /* seconds that an Idempotency-Key is remembered */
    SRV_JOBS_ATTEMPTS = 20 /* begun so often without an end or a new checkpoint: failed */
};

struct srv_jobs;

/* Takes back what an earlier run of this replica had claimed. */
EFM_MUST_CHECK enum efm_status srv_jobs_create(struct srv_jobs **jobs, const struct srv_jobs_options *options,
                                               struct srv_metrics *metrics, struct srv_log *log,
                                               struct efm_error *error);
void srv_jobs_destroy(struct srv_jobs *jobs);

/* Called, from any thread, after each change of a job or new event; and for a new job, with its group.
 * They must be quick and not call back. NULL: nobody any more; once listen returns, none of the earlier
 * listener's calls runs or comes. */
struct srv_jobs_listener {
    void *context;
    void (*changed)(void *context, const char *id);
    void (*submitted)(void *context, const char *group);
};
void srv_jobs_listen(struct srv_jobs *jobs, const struct srv_jobs_listener *listener);

/* ---- for endpoints ---- */

struct srv_job_input {
    const char *name;     /* "source", "target", "request" */
    const char *blob;     /* key to be copied; or NULL and */
    const uint8_t *bytes; /* to be written */
    size_t size;
};

struct srv_submission {
    struct api_job *job; /* kind, owner and all that the request says; id, state, created are filled in */
    const struct srv_job_input *inputs;
    size_t input_count;
    const char *idempotency_key; /* "" for none */
    const char *digest;          /* sha256 of the request, for the key */
    bool replayed;               /* out: the key was known, and `job` is the job it made */
};

/* Looks for the key alone, before anything else is held against the request: a repeated one is not to find
 * the model in its way that it has made. True when that settles it: replayed, or refused with a problem. */
bool srv_jobs_find_replay(struct srv_jobs *jobs, struct srv_submission *submission,
                          struct api_problem *problem);

/* A training without a name for its model gets the id without "job_". Durable once it returns true.
 * API_P_QUEUE_FULL (retry_after from the speed of the jobs before it), API_P_CONFLICT (an unfinished
 * training makes a model of the same name), API_P_KEY_REUSED, API_P_STORAGE, API_P_NO_MEMORY. */
bool srv_jobs_submit(struct srv_jobs *jobs, struct srv_submission *submission, struct api_problem *problem);

/* API_P_UNKNOWN_JOB, API_P_GONE, API_P_STORAGE. queue_position is filled in. Release the job. */
bool srv_jobs_get(struct srv_jobs *jobs, const char *id, struct api_job *job, struct api_problem *problem);

/* Who asks: the name of the API key, "" without keys. */
struct srv_job_viewer {
    const char *key;
    bool admin;
};

/* As srv_jobs_get, but what was sent with another key is unknown to all but admins. A training is everybody's. */
bool srv_jobs_get_for(struct srv_jobs *jobs, const char *id, const struct srv_job_viewer *viewer,
                      struct api_job *job, struct api_problem *problem);

/* Those that the viewer may see, newest first; *list is owned: release each, then efm_free. */
bool srv_jobs_list(struct srv_jobs *jobs, const struct api_jobs_request *request,
                   const struct srv_job_viewer *viewer, struct api_job **list, size_t *count, bool *has_more,
                   struct api_problem *problem);

/* Idempotent. Queued: cancelled at once. Running: cancel_asked, and its worker ends it within a step.
 * Ended: as it is. */
bool srv_jobs_cancel(struct srv_jobs *jobs, const char *id, struct api_job *job, struct api_problem *problem);

/* Forgets a finished job, its events and its blobs; API_P_CONFLICT while it is not finished. */
bool srv_jobs_delete(struct srv_jobs *jobs, const char *id, struct api_problem *problem);

/* Events after `after`, at most `limit`, oldest first. `visit` returns false to stop. */
bool srv_jobs_events(struct srv_jobs *jobs, const char *id, uint64_t after, size_t limit,
                     bool (*visit)(void *context, const struct api_event *event), void *context,
                     struct api_problem *problem);
/* Only of one type ("metrics", "checkpoint"); NULL: all. */
bool srv_jobs_events_of(struct srv_jobs *jobs, const char *id, const char *type, uint64_t after, size_t limit,
                        bool (*visit)(void *context, const struct api_event *event), void *context,
                        struct api_problem *problem);

/* "jobs/ID/name" */
void srv_jobs_blob_key(const char *id, const char *name, char out[SRV_BLOB_KEY]);

/* ---- for workers ---- */

/* The oldest job of the group, now running and leased for SRV_JOBS_LEASE seconds; EFM_E_NOT_FOUND when
 * there is none. One that was begun SRV_JOBS_ATTEMPTS times is failed instead, with the code
 * "interrupted", and the next one is looked at. */
EFM_MUST_CHECK enum efm_status srv_jobs_claim(struct srv_jobs *jobs, const char *group, struct api_job *job,
                                              struct efm_error *error);
/* Every third of a lease at least. EFM_E_NOT_FOUND: the lease is lost, stop without a word. *cancel_asked
 * as it is now. */
EFM_MUST_CHECK enum efm_status srv_jobs_renew(struct srv_jobs *jobs, const char *id, bool *cancel_asked,
                                              struct efm_error *error);
/* Stores step, total_steps, loss, images_per_second, estimated_finish, checkpoint_* and total of the job
 * and, with `event` not NULL, the event, in one commit; what others changed meanwhile (cancel_asked) is
 * kept and read into the job. EFM_E_NOT_FOUND when the lease is lost. */
EFM_MUST_CHECK enum efm_status srv_jobs_progress(struct srv_jobs *jobs, struct api_job *job,
                                                 const struct api_event *event, struct efm_error *error);
/* Ends it: job->state and error_* or result_* and model_sha256 say how. The event "state", the delivery of
 * a webhook and the end of the lease are of the same commit. Inputs and, unless it failed, its checkpoint
 * are then removed. */
EFM_MUST_CHECK enum efm_status srv_jobs_finish(struct srv_jobs *jobs, struct api_job *job,
                                               struct efm_error *error);
/* Back to the queue, at its old place, because this replica stops. */
EFM_MUST_CHECK enum efm_status srv_jobs_give_back(struct srv_jobs *jobs, struct api_job *job,
                                                  struct efm_error *error);
/* The same because there was no room for it now: not claimed again for so many seconds. */
EFM_MUST_CHECK enum efm_status srv_jobs_postpone(struct srv_jobs *jobs, struct api_job *job, double seconds,
                                                 struct efm_error *error);

/* For what is known of a job beside its work (its webhook), also after its end: `edit` changes it, perhaps
 * more than once when others are at it, and the event, when not NULL, is of the same commit.
 * EFM_E_NOT_FOUND: there is no such job any more. */
EFM_MUST_CHECK enum efm_status srv_jobs_edit(struct srv_jobs *jobs, const char *id,
                                             void (*edit)(void *context, struct api_job *job), void *context,
                                             const struct api_event *event, struct efm_error *error);

/* ---- for the janitor ---- */

/* Expires finished jobs past ttl and count, tombstones past their time, keys; removes blobs of jobs that
 * are gone; sets the gauges. Bounded work a call; true when there is more to do now. */
bool srv_jobs_clean(struct srv_jobs *jobs);

#endif
