// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { MOST = 1000 };

struct listing {
    struct efm_buffer *out;
    size_t count;
};

static uint64_t count_of(const json_t *data, const char *name)
{
    const json_int_t value = json_integer_value(json_object_get(data, name));
    return value > 0 ? (uint64_t)value : 0;
}

static bool list_one(void *context, const struct api_event *event)
{
    struct listing *listing = context;
    json_t *data = json_loads(event->data, 0, NULL);
    const json_t *loss = json_object_get(data, "loss");
    if (listing->count < MOST && data != NULL) {
        api_list_item(listing->out, listing->count++);
        api_checkpoint_render(count_of(data, "step"), event->created,
                              json_is_number(loss) ? json_number_value(loss) : NAN, count_of(data, "bytes"),
                              listing->out);
    }
    json_decref(data);
    return listing->count < MOST;
}

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    struct api_reply *reply = &work->base.reply;
    struct listing listing = {.out = &reply->body};
    srv_answer_begin(reply, 200);
    api_list_begin(&reply->body);
    if (!srv_jobs_events_of(work->base.service->jobs, srv_job_work_id(work), "checkpoint", 0, MOST, list_one,
                            &listing, problem))
        return false;
    api_list_end(&reply->body);
    return true;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    srv_job_work_start(service, exchange, &class, 0);
}

const struct srv_endpoint srv_get_job_checkpoints = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/checkpoints"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "When a training wrote checkpoints",
    .detail = "Only the last one is kept, for the job to go on from when the server stops; it cannot be "
              "downloaded.",
};
