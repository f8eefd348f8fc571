// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"

enum { BODY_MOST = 4096 }; // of clients that cannot send none

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    if (!srv_job_work_may_end(work, problem) ||
        !srv_jobs_cancel(work->base.service->jobs, srv_job_work_id(work), &job, problem))
        return false;
    srv_job_answer(&work->base.reply, api_job_state_ended(job.state) ? 200 : 202, &job);
    api_job_release(&job);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    srv_job_work_start(service, exchange, &class, 0);
}

const struct srv_endpoint srv_post_job_cancel = {
    .methods = "POST",
    .paths = {"/v1/jobs/{name}/cancel"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .max_body = BODY_MOST,
    .takes = "",
    .gives = "application/json",
    .help = "End a job before its time",
    .detail = "200 with the job when it is ended now, or was before, as it is; 202 when it runs, and then it "
              "is cancelled within one "
              "step. May be repeated.",
};
