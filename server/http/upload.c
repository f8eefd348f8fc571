// SPDX-License-Identifier: Apache-2.0
#include "server/http/clock.h"
#include "server/http/http_internal.h"

/* What an upload must bring for its deadline to be moved: otherwise a byte now and then would keep it for ever. */
static const double BYTES_A_SECOND = 1000;

static const struct srv_upload_class *class_of(const struct srv_exchange *exchange)
{
    return exchange->match.endpoint->upload;
}

bool srv_upload_begin(struct srv_exchange *exchange, int64_t length, struct api_problem *problem)
{
    exchange->progress = clock_seconds();
    exchange->upload = class_of(exchange)->begin(exchange->http->service, exchange, length, problem);
    if (exchange->upload == NULL && problem->code == API_P_NONE)
        api_problem_set(problem, API_P_INTERNAL, NULL, "the upload could not begin");
    return exchange->upload != NULL;
}

bool srv_upload_take(struct srv_exchange *exchange, const void *data, size_t size,
                     struct api_problem *problem)
{
    const double seconds = exchange->http->options.body_timeout;
    exchange->progress_bytes += size;
    if ((double)exchange->progress_bytes >= BYTES_A_SECOND * seconds) {
        exchange->progress = clock_seconds();
        exchange->progress_bytes = 0;
        srv_watcher_arm(exchange->http->watcher, exchange->watch, exchange->progress + seconds, exchange);
    }
    if (class_of(exchange)->take(exchange->upload, data, size, problem))
        return true;
    srv_upload_abandon(exchange);
    return false;
}

void srv_upload_abandon(struct srv_exchange *exchange)
{
    if (exchange->upload == NULL)
        return;
    class_of(exchange)->abandon(exchange->upload);
    exchange->upload = NULL;
}
