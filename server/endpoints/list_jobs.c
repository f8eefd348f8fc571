// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "core/base/memory.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    struct srv_jobs *jobs = work->base.service->jobs;
    struct efm_buffer *out = &work->base.reply.body;
    struct api_jobs_request request;
    struct api_job *list = NULL;
    size_t count = 0;
    bool has_more = false;
    const struct srv_job_viewer viewer = srv_job_work_viewer(work);
    if (!api_jobs_parse(&request, srv_exchange_message(work->base.exchange), problem) ||
        !srv_jobs_list(jobs, &request, &viewer, &list, &count, &has_more, problem))
        return false;
    srv_answer_begin(&work->base.reply, 200);
    efm_buffer_append_string(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        api_list_item(out, i);
        api_job_render(&list[i], out);
        api_job_release(&list[i]);
    }
    efm_buffer_format(out, "],\"has_more\":%s}\n", has_more ? "true" : "false");
    efm_free(list);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    srv_job_work_start(service, exchange, &class, 0);
}

const struct srv_endpoint srv_list_jobs = {
    .methods = "GET",
    .paths = {"/v1/jobs"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .parameters = &api_jobs_table,
    .takes = "",
    .gives = "application/json",
    .help = "Jobs, the newest first: trainings, and what was sent with this key",
    .detail =
        "When has_more is true, the next page is asked for with after=, the id of the last job of this one.",
};
