// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/previews.h"

#include "core/base/memory.h"
#include "server/store/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { WAITING = 16 };

struct srv_previews {
    atomic_bool wanted;
    pthread_mutex_t mutex;
    /* under the mutex */
    char id[SRV_RECORD_ID]; /* "" while nothing runs */
    struct srv_exchange *waiting[WAITING];
    size_t count;
};

enum efm_status srv_previews_create(struct srv_previews **out, struct efm_error *error)
{
    struct srv_previews *previews = efm_allocate_array(1, sizeof *previews);
    if (previews == NULL || pthread_mutex_init(&previews->mutex, NULL) != 0) {
        efm_free(previews);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for previews");
    }
    atomic_init(&previews->wanted, false);
    *out = previews;
    return EFM_OK;
}

void srv_previews_destroy(struct srv_previews *previews)
{
    if (previews == NULL)
        return;
    srv_previews_open(previews, NULL);
    pthread_mutex_destroy(&previews->mutex);
    efm_free(previews);
}

/* Those that wait until now, for the caller to answer without the lock. */
static size_t take_waiting(struct srv_previews *previews, struct srv_exchange *waiting[WAITING],
                           const char *id)
{
    pthread_mutex_lock(&previews->mutex);
    const size_t count = previews->count;
    memcpy(waiting, previews->waiting, count * sizeof waiting[0]);
    previews->count = 0;
    atomic_store(&previews->wanted, false);
    if (id != NULL)
        snprintf(previews->id, sizeof previews->id, "%s", id);
    pthread_mutex_unlock(&previews->mutex);
    return count;
}

void srv_previews_open(struct srv_previews *previews, const char *id)
{
    struct srv_exchange *waiting[WAITING];
    struct api_problem problem = {0};
    const size_t count = take_waiting(previews, waiting, id == NULL ? "" : id);
    api_problem_set(&problem, API_P_CONFLICT, NULL,
                    "the training stopped before it drew a preview; ask again");
    for (size_t i = 0; i < count; i++)
        srv_exchange_problem(waiting[i], &problem);
}

bool srv_previews_ask(struct srv_previews *previews, const char *id, struct srv_exchange *exchange)
{
    pthread_mutex_lock(&previews->mutex);
    const bool taken = id[0] != '\0' && strcmp(previews->id, id) == 0 && previews->count < WAITING;
    if (taken) {
        srv_exchange_defer(exchange); // before the worker can see it
        previews->waiting[previews->count++] = exchange;
        atomic_store(&previews->wanted, true);
    }
    pthread_mutex_unlock(&previews->mutex);
    return taken;
}

bool srv_previews_wanted(const struct srv_previews *previews)
{
    return atomic_load(&previews->wanted);
}

void srv_previews_give(struct srv_previews *previews, const uint8_t *png, size_t size, uint64_t step)
{
    struct srv_exchange *waiting[WAITING];
    const size_t count = take_waiting(previews, waiting, NULL);
    for (size_t i = 0; i < count; i++) {
        struct api_reply reply;
        api_reply_init(&reply, size);
        snprintf(reply.content_type, sizeof reply.content_type, "image/png");
        api_reply_header(&reply, "Efm-Step", "%" PRIu64, step);
        efm_buffer_append(&reply.body, png, size);
        srv_exchange_reply(waiting[i], &reply);
    }
}

void srv_previews_fail(struct srv_previews *previews, const struct api_problem *problem)
{
    struct srv_exchange *waiting[WAITING];
    const size_t count = take_waiting(previews, waiting, NULL);
    for (size_t i = 0; i < count; i++)
        srv_exchange_problem(waiting[i], problem);
}
