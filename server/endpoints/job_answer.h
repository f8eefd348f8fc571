/* job_answer.h - what the endpoints of jobs have in common: quick work on a helper, and answers that show a job.
 *
 *     static bool run(struct srv_job_work *work, struct api_problem *problem) { ... fills work->base.reply ... }
 *     static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
 *
 *     srv_job_work_start(service, exchange, &class, 0);       in handle; all of it
 *
 * Threads: start on an event thread, run on a helper. */
#ifndef SRV_ENDPOINTS_JOB_ANSWER_H
#define SRV_ENDPOINTS_JOB_ANSWER_H

#include "api/job.h"
#include "server/endpoints/helper_work.h"
#include "server/jobs/jobs.h"

struct srv_job_work;

struct srv_job_class {
    size_t size; /* of the struct that embeds the work */
    bool (*run)(struct srv_job_work *work, struct api_problem *problem);
    void (*release)(struct srv_job_work *work); /* may be NULL */
};

/* Unlike other work on helpers it does not wait behind uploads and models that are being built. */
struct srv_job_work {
    struct srv_helper_work base;
    const struct srv_job_class *class;
    /* headers, which only handlers may read; cut to their size */
    char if_none_match[256];
    char idempotency_key[API_KEY_SIZE];
    char traceparent[64]; /* "" unless it is well-formed */
    bool admin;           /* the client may do what takes the scope admin */
};

/* Zeroed, with the headers; NULL after a problem has been sent. */
struct srv_job_work *srv_job_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                         const struct srv_job_class *class);
/* Takes it over. `bytes`: memory that it will hold. */
void srv_job_work_submit(struct srv_job_work *work, size_t bytes);
/* Both. */
void srv_job_work_start(struct srv_service *service, struct srv_exchange *exchange,
                        const struct srv_job_class *class, size_t bytes);

/* The id that the path names. */
const char *srv_job_work_id(const struct srv_job_work *work);
/* Who asks. */
struct srv_job_viewer srv_job_work_viewer(const struct srv_job_work *work);
/* The job that the path names, if the client may see it, which is so whenever `run` is called; release it. */
bool srv_job_work_get(struct srv_job_work *work, struct api_job *job, struct api_problem *problem);
/* Whether this client may end or delete the job that the path names: one that is a training takes the scope admin, as its
 * beginning did. */
bool srv_job_work_may_end(struct srv_job_work *work, struct api_problem *problem);
/* True when If-None-Match names the tag: the reply is a 304 then. */
bool srv_job_work_not_modified(struct srv_job_work *work, const char *etag);

/* The job as JSON with its ETag. */
void srv_job_answer(struct api_reply *reply, int status, const struct api_job *job);

/* Comes first in what makes a job: true when the Idempotency-Key settles it, and the reply shows the job
 * that was made before, or there is a problem. */
bool srv_job_work_replay(struct srv_job_work *work, const char *kind, struct api_problem *problem);

/* Submits `job`, which is released in any case, with the headers of the work; the reply is a 202 with
 * Location and Retry-After. */
bool srv_job_work_accept(struct srv_job_work *work, struct api_job *job, const struct srv_job_input *inputs,
                         size_t input_count, struct api_problem *problem);

#endif
