// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/blob_answer.h"
#include "server/endpoints/endpoints.h"
#include "server/engine/registry.h"
#include "server/jobs/jobs.h"

#include <stdio.h>
#include <string.h>

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

/* To the file of the model that it made, as long as that is the one of its name. */
static bool lead_to_model(struct srv_service *service, const struct api_job *job, struct api_reply *reply,
                          struct api_problem *problem)
{
    struct srv_model_facts facts = {0};
    const bool same = srv_registry_model_facts(service->registry, job->model, &facts) &&
                      strcmp(facts.sha256, job->model_sha256) == 0;
    srv_model_facts_release(&facts);
    if (!same)
        return api_problem_set(problem, API_P_GONE, NULL,
                               "the model '%.64s' that this training made was replaced or deleted",
                               job->model);
    reply->status = 303;
    api_reply_header(reply, "Location", "/v1/models/%s/weights", job->model);
    return true;
}

static bool find(struct srv_service *service, const struct srv_exchange *exchange, struct api_reply *reply,
                 char key[SRV_BLOB_KEY], struct api_problem *problem)
{
    const struct srv_job_viewer viewer = {srv_exchange_key_name(exchange), srv_exchange_is_admin(exchange)};
    struct api_job job = {.kind = ""};
    if (!srv_jobs_get_for(service->jobs, srv_exchange_name(exchange), &viewer, &job, problem))
        return false;
    bool good = job.state == API_JOB_SUCCEEDED || refuse(&job, problem);
    if (good && strcmp(job.kind, "train") == 0) {
        good = lead_to_model(service, &job, reply, problem);
    } else if (good) {
        reply->status = job.result_status;
        snprintf(reply->content_type, sizeof reply->content_type, "%s", job.result_type);
        add_headers(reply, job.result_headers);
        if (reply->status == 200 && strcasestr(job.result_headers, "ETag:") == NULL) // it never changes
            api_reply_header(reply, "ETag", "\"%s\"", job.id);
        srv_jobs_blob_key(job.id, "result", key);
    }
    api_job_release(&job);
    return good;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    srv_answer_blob(service, exchange, find);
}

const struct srv_endpoint srv_get_job_result = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/result"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "image/png image/jpeg image/webp application/json application/octet-stream application/x-npy",
    .help = "What a request that was answered later would have been answered with; of a training, its model",
    .detail = "A training leads to the file of its model (303; 410 once another one has its name). 409: "
              "not_finished while it is under way, "
              "conflict when it failed "
              "or was cancelled.",
};
