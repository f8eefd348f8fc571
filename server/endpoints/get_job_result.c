// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/endpoints/endpoints.h"
#include "server/jobs/jobs.h"

#include "server/engine/scheduler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The bytes of a result leave as a file, so this is no work that makes a reply in memory. */
struct result_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_reply reply;
    int file; /* -1: the reply has its body itself */
    uint64_t size;
};

static bool refuse(const struct api_job *job, struct api_problem *problem)
{
    if (job->state == API_JOB_FAILED)
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the job failed: %s: %s", job->error_code,
                               job->error_message);
    if (job->state == API_JOB_CANCELLED)
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the job was cancelled");
    return api_problem_set(problem, API_P_NOT_FINISHED, NULL,
                           "the job is %s; its result comes when it has succeeded",
                           api_job_state_word(job->state));
}

/* "Name: value\n" lines. */
static void add_headers(struct api_reply *reply, const char *lines)
{
    while (*lines != '\0') {
        const size_t length = strcspn(lines, "\n"), name = strcspn(lines, ":");
        char header[32];
        if (name + 2 < length && name < sizeof header) {
            memcpy(header, lines, name);
            header[name] = '\0';
            api_reply_header(reply, header, "%.*s", (int)(length - name - 2), lines + name + 2);
        }
        lines += length + (lines[length] == '\n');
    }
}

static bool open_result(struct result_work *work, const struct api_job *job, struct api_problem *problem)
{
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(job->id, "result", key);
    if (srv_blobs_open(work->service->blobs, key, &blob, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
    work->size = srv_blob_size(blob);
    work->file = srv_blob_descriptor(blob);
    if (work->file < 0) {
        const uint8_t *bytes = srv_blob_map(blob, &error);
        if (bytes != NULL)
            efm_buffer_append(&work->reply.body, bytes, (size_t)work->size);
        else
            api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
    }
    srv_blob_close(blob);
    return problem->code == API_P_NONE;
}

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    struct result_work *work = (struct result_work *)base;
    struct api_reply *reply = &work->reply;
    struct api_job job = {.kind = ""};
    base->line_count = 0; // there are none; counted as one the work is light
    if (!srv_jobs_get(work->service->jobs, srv_exchange_name(work->exchange), &job, problem))
        return false;
    api_reply_init(reply, SIZE_MAX / 2);
    bool good = job.state == API_JOB_SUCCEEDED || refuse(&job, problem);
    if (good && strcmp(job.kind, "train") == 0) {
        reply->status = 303;
        api_reply_header(reply, "Location", "/v1/models/%s/weights", job.model);
    } else if (good) {
        reply->status = job.result_status;
        snprintf(reply->content_type, sizeof reply->content_type, "%s", job.result_type);
        add_headers(reply, job.result_headers);
        good = open_result(work, &job, problem);
    }
    api_job_release(&job);
    return good;
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct result_work work = *(struct result_work *)base;
    const struct api_problem problem = *end;
    efm_free(base);
    if (problem.code != API_P_NONE) {
        api_reply_release(&work.reply);
        srv_exchange_problem(work.exchange, &problem);
    } else if (work.file >= 0) {
        srv_exchange_reply_file(work.exchange, &work.reply, work.file, work.size);
    } else {
        srv_exchange_reply(work.exchange, &work.reply);
    }
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_work_class class = {"result", prepare, NULL, complete};
    struct api_problem problem = {0};
    struct result_work *work = efm_allocate_array(1, sizeof *work);
    if (work == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    *work = (struct result_work){.service = service, .exchange = exchange, .file = -1};
    work->work.class = &class;
    work->work.line_count = 1;
    work->work.deadline = INFINITY;
    work->work.cancelled = srv_exchange_cancelled(exchange);
    srv_exchange_defer(exchange);
    if (srv_scheduler_submit(service->scheduler, &work->work, &problem))
        return;
    efm_free(work);
    srv_exchange_problem(exchange, &problem);
}

const struct srv_endpoint srv_get_job_result = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/result"},
    .handle = handle,
    .takes = "",
    .gives = "image/png image/jpeg image/webp application/json application/octet-stream application/x-npy",
    .help = "What a request that was answered later would have been answered with; of a training, its model",
    .detail = "A training leads to the file of its model (303). 409: not_finished while it is under way, "
              "conflict when it failed "
              "or was cancelled.",
};
