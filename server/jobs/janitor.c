// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/janitor.h"

#include "core/base/memory.h"
#include "server/http/clock.h"

#include <math.h>
#include <pthread.h>

struct srv_janitor {
    struct srv_jobs *jobs;
    double seconds;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping; /* under the mutex */
};

/* Seconds between two rounds of one long clean-up: others want the store, too. */
static const double BREATH = 0.02;

static void *run(void *argument)
{
    struct srv_janitor *janitor = argument;
    pthread_mutex_lock(&janitor->mutex);
    while (!janitor->stopping) {
        pthread_mutex_unlock(&janitor->mutex);
        const bool more = srv_jobs_clean(janitor->jobs);
        pthread_mutex_lock(&janitor->mutex);
        const double until = clock_seconds() + (more ? BREATH : janitor->seconds);
        const struct timespec moment = {.tv_sec = (time_t)until,
                                        .tv_nsec = (long)((until - floor(until)) * 1e9)};
        while (!janitor->stopping && clock_seconds() < until)
            pthread_cond_timedwait(&janitor->wake, &janitor->mutex, &moment);
    }
    pthread_mutex_unlock(&janitor->mutex);
    return NULL;
}

enum efm_status srv_janitor_create(struct srv_janitor **out, struct srv_jobs *jobs, double seconds,
                                   struct efm_error *error)
{
    pthread_condattr_t attributes;
    struct srv_janitor *janitor = efm_allocate_array(1, sizeof *janitor);
    if (janitor == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the janitor");
    janitor->jobs = jobs;
    janitor->seconds = seconds;
    bool good = pthread_mutex_init(&janitor->mutex, NULL) == 0 && pthread_condattr_init(&attributes) == 0;
    if (good) {
        good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
               pthread_cond_init(&janitor->wake, &attributes) == 0;
        pthread_condattr_destroy(&attributes);
    }
    if (!good || pthread_create(&janitor->thread, NULL, run, janitor) != 0) {
        efm_free(janitor);
        return efm_error_set(error, EFM_E_MEMORY, "no thread for the janitor");
    }
    pthread_setname_np(janitor->thread, "janitor");
    *out = janitor;
    return EFM_OK;
}

void srv_janitor_destroy(struct srv_janitor *janitor)
{
    if (janitor == NULL)
        return;
    pthread_mutex_lock(&janitor->mutex);
    janitor->stopping = true;
    pthread_cond_signal(&janitor->wake);
    pthread_mutex_unlock(&janitor->mutex);
    pthread_join(janitor->thread, NULL);
    pthread_cond_destroy(&janitor->wake);
    pthread_mutex_destroy(&janitor->mutex);
    efm_free(janitor);
}
