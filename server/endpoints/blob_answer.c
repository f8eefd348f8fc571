// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/blob_answer.h"

#include "core/base/memory.h"
#include "server/config.h"
#include "server/endpoints/line_work.h"
#include "server/engine/scheduler.h"

#include <unistd.h>

struct blob_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    srv_blob_finder *find;
    struct api_reply reply;
    int file; /* -1: the body is in the reply */
    uint64_t size;
};

static enum efm_status open_blob(struct blob_work *work, const char *key, struct efm_error *error)
{
    struct srv_blob *blob = NULL;
    enum efm_status status = srv_blobs_open(work->service->blobs, key, &blob, error);
    if (status != EFM_OK)
        return status;
    work->size = srv_blob_size(blob);
    work->file = srv_blob_descriptor(blob);
    if (work->file < 0) { /* a store without files */
        const uint8_t *bytes = srv_blob_map(blob, error);
        status = bytes == NULL ? EFM_E_IO : efm_buffer_append(&work->reply.body, bytes, (size_t)work->size);
    }
    srv_blob_close(blob);
    return status;
}

static bool prepare(struct srv_work *base, struct api_problem *problem)
{
    enum { TRIES = 4 };
    struct blob_work *work = (struct blob_work *)base;
    struct efm_error error = {0};
    enum efm_status status = EFM_E_NOT_FOUND;
    for (int i = 0; i < TRIES && status == EFM_E_NOT_FOUND; i++) {
        char key[SRV_BLOB_KEY] = "";
        efm_error_clear(&error);
        api_reply_release(&work->reply);
        api_reply_init(&work->reply, SIZE_MAX / 2);
        if (!work->find(work->service, work->exchange, &work->reply, key, problem))
            return false;
        if (key[0] == '\0')
            return true; /* the reply is whole */
        status = open_blob(work, key, &error);
    }
    return status == EFM_OK || api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
}

static void complete(struct srv_work *base, const struct api_problem *end)
{
    struct blob_work *work = (struct blob_work *)base;
    srv_work_timings(base, &work->reply.timings);
    if (end->code != API_P_NONE)
        srv_exchange_problem(work->exchange, end);
    else if (work->file >= 0)
        srv_exchange_reply_file(work->exchange, &work->reply, work->file, work->size);
    else
        srv_exchange_reply(work->exchange, &work->reply);
    if (end->code != API_P_NONE && work->file >= 0)
        close(work->file);
    api_reply_release(&work->reply);
    efm_free(work);
}

static const struct srv_work_class class = {"blob", prepare, NULL, complete};

void srv_answer_blob(struct srv_service *service, struct srv_exchange *exchange, srv_blob_finder *find)
{
    struct api_problem problem = {0};
    struct blob_work *work = efm_allocate_array(1, sizeof *work);
    if (work == NULL) {
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    work->service = service;
    work->exchange = exchange;
    work->find = find;
    work->file = -1;
    work->work.class = &class;
    work->work.aside = true;
    work->work.deadline = srv_lines_deadline(service->config->timeout);
    work->work.cancelled = srv_exchange_cancelled(exchange);
    srv_exchange_defer(exchange);
    if (srv_scheduler_submit(service->scheduler, &work->work, &problem))
        return;
    efm_free(work);
    srv_exchange_problem(exchange, &problem);
}
