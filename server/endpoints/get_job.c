// SPDX-License-Identifier: Apache-2.0
#include "api/job.h"
#include "server/endpoints/endpoints.h"
#include "server/jobs/hub.h"

/* The hub answers all of these, so that a busy queue of images does not keep anybody from looking at a job. */
static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    enum { LONGEST = 300 };
    struct api_job_wait request;
    struct api_prefer prefer = {0};
    struct api_problem problem = {0};
    const char *etag = srv_exchange_header(exchange, "If-None-Match");
    if (!api_job_wait_parse(&request, srv_exchange_message(exchange), &problem)) {
        srv_exchange_problem(exchange, &problem);
        return;
    }
    api_prefer_parse(&prefer, srv_exchange_header(exchange, "Prefer"));
    double wait = request.wait;
    if (prefer.wait_given && !api_parameter_given(&api_job_wait_table, &request.seen, "wait"))
        wait = prefer.wait < LONGEST ? prefer.wait : LONGEST;
    srv_hub_poll(service->hub, exchange, srv_exchange_name(exchange), etag, wait);
}

const struct srv_endpoint srv_get_job = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .parameters = &api_job_wait_table,
    .takes = "",
    .gives = "application/json",
    .help = "A job: its state, how far it has come, what came out",
    .detail = "With wait (or Prefer: wait=n) the answer comes when there is news, or after so many seconds. "
              "News is a status "
              "other than the one at the beginning; with If-None-Match it is any change, progress too, and "
              "no news is a "
              "304. A job that has ended is answered at once. 404: there never was such a job; 410: it has "
              "expired or "
              "was deleted.",
};
