// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/job_answer.h"

#include "core/base/sha256.h"
#include "server/endpoints/answer.h"
#include "server/http/conditions.h"

#include <stdio.h>
#include <string.h>

/* ---- work ---- */

/* Jobs of others are not there for whoever asks, whatever is asked of them. */
static bool check_owner(struct srv_job_work *work, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    if (work->admin || srv_job_work_id(work)[0] == '\0')
        return true;
    const bool good = srv_job_work_get(work, &job, problem);
    api_job_release(&job);
    return good;
}

static bool run_quickly(struct srv_helper_work *base, struct api_problem *problem)
{
    struct srv_job_work *work = (struct srv_job_work *)base;
    return check_owner(work, problem) && work->class->run(work, problem);
}

static void release_quickly(struct srv_helper_work *base)
{
    struct srv_job_work *work = (struct srv_job_work *)base;
    if (work->class->release != NULL)
        work->class->release(work);
}

struct srv_job_work *srv_job_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                         const struct srv_job_class *class)
{
    static const struct srv_helper_class quick = {"job", run_quickly, release_quickly};
    struct api_problem problem = {0};
    struct srv_job_work *work =
        (struct srv_job_work *)srv_helper_work_create(service, exchange, class->size, &quick);
    if (work == NULL)
        return NULL;
    work->class = class;
    snprintf(work->traceparent, sizeof work->traceparent, "%s", srv_exchange_traceparent(exchange));
    work->admin = srv_exchange_is_admin(exchange);
    snprintf(work->if_none_match, sizeof work->if_none_match, "%s",
             srv_exchange_header(exchange, "If-None-Match"));
    if (api_idempotency_key(srv_exchange_header(exchange, "Idempotency-Key"), work->idempotency_key,
                            &problem))
        return work;
    srv_helper_work_refuse(&work->base, &problem);
    return NULL;
}

void srv_job_work_submit(struct srv_job_work *work, size_t bytes)
{
    srv_helper_work_submit(&work->base, bytes);
}

void srv_job_work_start(struct srv_service *service, struct srv_exchange *exchange,
                        const struct srv_job_class *class, size_t bytes)
{
    struct srv_job_work *work = srv_job_work_create(service, exchange, class);
    if (work != NULL)
        srv_job_work_submit(work, bytes);
}

const char *srv_job_work_id(const struct srv_job_work *work)
{
    return srv_exchange_name(work->base.exchange);
}

struct srv_job_viewer srv_job_work_viewer(const struct srv_job_work *work)
{
    return (struct srv_job_viewer){srv_exchange_key_name(work->base.exchange), work->admin};
}

bool srv_job_work_get(struct srv_job_work *work, struct api_job *job, struct api_problem *problem)
{
    const struct srv_job_viewer viewer = srv_job_work_viewer(work);
    return srv_jobs_get_for(work->base.service->jobs, srv_job_work_id(work), &viewer, job, problem);
}

static void name_owner(const struct srv_job_work *work, struct api_job *job)
{
    snprintf(job->owner, sizeof job->owner, "%s", srv_exchange_key_name(work->base.exchange));
}

bool srv_job_work_may_end(struct srv_job_work *work, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    if (work->admin)
        return true;
    if (!srv_job_work_get(work, &job, problem))
        return false;
    const bool training = strcmp(job.kind, "train") == 0;
    api_job_release(&job);
    return !training ||
           api_problem_set(problem, API_P_FORBIDDEN, NULL, "a training is ended with the scope admin");
}

bool srv_job_work_not_modified(struct srv_job_work *work, const char *etag)
{
    if (!srv_tags_not_modified(work->if_none_match, etag))
        return false;
    api_reply_init(&work->base.reply, 0);
    work->base.reply.status = 304;
    api_reply_header(&work->base.reply, "ETag", "%s", etag);
    return true;
}

/* ---- answers ---- */

void srv_job_answer(struct api_reply *reply, int status, const struct api_job *job)
{
    char etag[72];
    srv_answer_begin(reply, status);
    api_job_etag(job, etag);
    api_reply_header(reply, "ETag", "%s", etag);
    api_job_render(job, &reply->body);
}

/* What must be the same for the same key: all that decides what the job does. */
static void digest_request(const struct srv_job_work *work, const char *kind, char out[65])
{
    const struct api_message *message = srv_exchange_message(work->base.exchange);
    // two holders of keys that use one idempotency key do not get each other's jobs
    const char *const texts[] = {kind, message->query, message->content_type, message->accept,
                                 srv_exchange_key_name(work->base.exchange)};
    struct efm_sha256 digest;
    efm_sha256_begin(&digest);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        efm_sha256_add(&digest, texts[i], strlen(texts[i]) + 1);
    efm_sha256_add(&digest, message->body, message->body_size);
    efm_sha256_end(&digest, out);
}

static void answer_accepted(struct srv_job_work *work, const struct api_job *job, bool replayed)
{
    struct api_reply *reply = &work->base.reply;
    srv_job_answer(reply, 202, job);
    api_reply_header(reply, "Location", "/v1/jobs/%s", job->id);
    api_reply_header(reply, "Retry-After", "2");
    if (replayed)
        api_reply_header(reply, "Idempotency-Replayed", "true");
}

bool srv_job_work_replay(struct srv_job_work *work, const char *kind, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    char digest[65];
    if (work->idempotency_key[0] == '\0')
        return false;
    digest_request(work, kind, digest);
    name_owner(work, &job);
    struct srv_submission submission = {
        .job = &job, .idempotency_key = work->idempotency_key, .digest = digest};
    const bool settled = srv_jobs_find_replay(work->base.service->jobs, &submission, problem);
    if (submission.replayed)
        answer_accepted(work, &job, true);
    api_job_release(&job);
    return settled;
}

bool srv_job_work_accept(struct srv_job_work *work, struct api_job *job, const struct srv_job_input *inputs,
                         size_t input_count, struct api_problem *problem)
{
    char digest[65];
    digest_request(work, job->kind, digest);
    name_owner(work, job);
    struct srv_submission submission = {.job = job,
                                        .inputs = inputs,
                                        .input_count = input_count,
                                        .idempotency_key = work->idempotency_key,
                                        .digest = digest};
    snprintf(job->traceparent, sizeof job->traceparent, "%s", work->traceparent);
    const bool good = srv_jobs_submit(work->base.service->jobs, &submission, problem);
    if (good)
        answer_accepted(work, job, submission.replayed);
    api_job_release(job);
    return good;
}
