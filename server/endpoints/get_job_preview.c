// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"
#include "server/jobs/previews.h"

#include <stdio.h>
#include <string.h>

enum { PICTURE_MOST = 64 << 20 };

static bool read_picture(struct srv_job_work *work, const char *key, struct api_problem *problem)
{
    struct api_reply *reply = &work->base.reply;
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    enum efm_status status = srv_blobs_open(work->base.service->blobs, key, &blob, &error);
    if (status == EFM_E_NOT_FOUND)
        return api_problem_set(problem, API_P_NOT_FINISHED, NULL, "the training has drawn no preview yet");
    if (status != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
    const uint8_t *bytes = srv_blob_map(blob, &error);
    api_reply_init(reply, PICTURE_MOST);
    snprintf(reply->content_type, sizeof reply->content_type, "image/png");
    if (bytes != NULL)
        efm_buffer_append(&reply->body, bytes, (size_t)srv_blob_size(blob));
    srv_blob_close(blob);
    return bytes != NULL || api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
}

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    char key[SRV_BLOB_KEY];
    struct api_job job = {.kind = ""};
    if (!srv_job_work_get(work, &job, problem))
        return false;
    srv_jobs_blob_key(job.id, "preview.png", key);
    const bool trains = strcmp(job.kind, "train") == 0;
    api_job_release(&job);
    if (!trains)
        return api_problem_set(problem, API_P_NOT_FOUND, NULL, "only a training has a preview");
    return read_picture(work, key, problem);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    if (!srv_previews_ask(service->previews, srv_exchange_name(exchange), exchange))
        srv_job_work_start(service, exchange, &class, 0);
}

const struct srv_endpoint srv_get_job_preview = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/preview.png"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "image/png",
    .help = "Samples carried by what a training has learned so far",
    .detail = "While it runs they are drawn for this request, and Efm-Step says after which step; otherwise "
              "they are the last "
              "ones. 409 not_finished while there are none.",
};
