// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    api_reply_init(&work->base.reply, 0);
    work->base.reply.status = 204;
    return srv_job_work_may_end(work, problem) &&
           srv_jobs_delete(work->base.service->jobs, srv_job_work_id(work), problem);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    srv_job_work_start(service, exchange, &class, 0);
}

const struct srv_endpoint srv_delete_job = {
    .methods = "DELETE",
    .paths = {"/v1/jobs/{name}"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "",
    .help = "Forget a job that has ended, with its events and its result; a model that it made stays",
    .detail = "409 while it is under way: cancel it first. Afterwards it is 410 for a week, then 404.",
};
