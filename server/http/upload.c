// SPDX-License-Identifier: Apache-2.0
#include "server/clock.h"
#include "server/http/http_internal.h"

/* What an upload must bring for its deadline to be moved: otherwise a byte now and then would keep it for
 * ever. */
static const double BYTES_A_SECOND = 1000;

/* The deadline is not moved more often than this part of the time that it allows. */
static const double SELDOM = 1.0 / 16;

static const struct srv_upload_class *class_of(const struct srv_exchange *exchange)
{
    return exchange->match.endpoint->upload;
}

static bool refuse_size(const struct srv_exchange *exchange, struct api_problem *problem)
{
    if (exchange->upload_limit == 0)
        return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL, "this path takes no body");
    return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL,
                           "the body is larger than the limit of %llu bytes here",
                           (unsigned long long)exchange->upload_limit);
}

bool srv_upload_begin(struct srv_exchange *exchange, int64_t length, uint64_t limit,
                      struct api_problem *problem)
{
    exchange->upload_limit = limit;
    if (length > 0 && (uint64_t)length > limit)
        return refuse_size(exchange, problem);
    exchange->upload = class_of(exchange)->begin(exchange->http->service, exchange, length, problem);
    exchange->progress = srv_clock();
    if (exchange->upload == NULL && problem->code == API_P_NONE)
        api_problem_set(problem, API_P_INTERNAL, NULL, "the upload could not begin");
    return exchange->upload != NULL;
}

static void move_deadline(struct srv_exchange *exchange, size_t size)
{
    const double seconds = exchange->http->options.body_timeout;
    exchange->progress_bytes += size;
    if ((double)exchange->progress_bytes < BYTES_A_SECOND * seconds)
        return;
    const double now = srv_clock();
    if (now - exchange->progress < SELDOM * seconds)
        return;
    exchange->progress = now;
    exchange->progress_bytes = 0;
    srv_watcher_arm(exchange->http->watcher, exchange->watch, now + seconds, exchange);
}

bool srv_upload_take(struct srv_exchange *exchange, const void *data, size_t size,
                     struct api_problem *problem)
{
    if (size > exchange->upload_limit - exchange->upload_taken)
        return refuse_size(exchange, problem);
    exchange->upload_taken += size;
    move_deadline(exchange, size);
    if (class_of(exchange)->take(exchange->upload, data, size, problem))
        return true;
    if (problem->code == API_P_NONE)
        api_problem_set(problem, API_P_INTERNAL, NULL, "the upload broke off");
    return false;
}

void srv_upload_abandon(struct srv_exchange *exchange)
{
    if (exchange->upload == NULL)
        return;
    void *upload = exchange->upload;
    exchange->upload = NULL;
    class_of(exchange)->abandon(upload);
}
