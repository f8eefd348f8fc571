// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"
#include "server/train/loss_curve.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* As many points as a picture can show with some to spare; a longer history is thinned, every second one
 * at a time. */
enum { POINTS = 4096, PAGE = 1000, PAGES = 2000, PICTURE_MOST = 4 << 20 };

struct curve {
    struct srv_loss_point *points; /* owned, [POINTS] */
    size_t count, seen, stride;
    uint64_t last; /* id of an event */
    size_t taken;  /* of the page */
};

static void thin(struct curve *curve)
{
    for (size_t i = 0; i < curve->count / 2; i++)
        curve->points[i] = curve->points[2 * i];
    curve->count /= 2;
    curve->stride *= 2;
}

static bool take_event(void *context, const struct api_event *event)
{
    struct curve *curve = context;
    curve->last = event->id;
    curve->taken++;
    json_t *data = json_loads(event->data, 0, NULL);
    const json_t *loss = json_object_get(data, "loss");
    const json_int_t step = json_integer_value(json_object_get(data, "step"));
    if (json_is_number(loss) && step >= 0 && curve->seen++ % curve->stride == 0) {
        if (curve->count == POINTS)
            thin(curve);
        curve->points[curve->count++] = (struct srv_loss_point){(uint64_t)step, json_number_value(loss)};
    }
    json_decref(data);
    return true;
}

static bool gather(struct srv_job_work *work, struct curve *curve, struct api_problem *problem)
{
    for (size_t page = 0; page < PAGES; page++) {
        curve->taken = 0;
        if (!srv_jobs_events_of(work->base.service->jobs, srv_job_work_id(work), "metrics", curve->last, PAGE,
                                take_event, curve, problem))
            return false;
        if (curve->taken < PAGE)
            break;
    }
    return true;
}

static bool draw(struct srv_job_work *work, const struct curve *curve, struct api_problem *problem)
{
    struct api_reply *reply = &work->base.reply;
    struct efm_error error = {0};
    char etag[32];
    snprintf(etag, sizeof etag, "\"%" PRIu64 "\"", curve->last);
    if (srv_job_work_not_modified(work, etag))
        return true;
    api_reply_init(reply, PICTURE_MOST);
    snprintf(reply->content_type, sizeof reply->content_type, "image/png");
    api_reply_header(reply, "ETag", "%s", etag);
    return srv_loss_curve_render(curve->points, curve->count, &reply->body, &error) == EFM_OK ||
           api_problem_from_error(problem, &error, API_P_INTERNAL, NULL);
}

static bool run(struct srv_job_work *work, struct api_problem *problem)
{
    struct api_job job = {.kind = ""};
    if (!srv_job_work_get(work, &job, problem))
        return false;
    const bool trains = strcmp(job.kind, "train") == 0;
    api_job_release(&job);
    if (!trains)
        return api_problem_set(problem, API_P_NOT_FOUND, NULL, "only a training has a loss");
    struct curve curve = {.points = efm_allocate_array(POINTS, sizeof *curve.points), .stride = 1};
    if (curve.points == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the curve");
    const bool good = gather(work, &curve, problem) && draw(work, &curve, problem);
    efm_free(curve.points);
    return good;
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    static const struct srv_job_class class = {sizeof(struct srv_job_work), run, NULL};
    srv_job_work_start(service, exchange, &class, PICTURE_MOST);
}

const struct srv_endpoint srv_get_job_loss = {
    .methods = "GET",
    .paths = {"/v1/jobs/{name}/loss.png"},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "image/png",
    .help = "The loss of a training over its steps, as a picture",
};
