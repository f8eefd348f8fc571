// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/janitor.h"

#include "core/base/memory.h"
#include "server/clock.h"

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
        const double until = srv_clock() + (more ? BREATH : janitor->seconds);
        while (!janitor->stopping && srv_clock() < until)
            srv_condition_wait(&janitor->wake, &janitor->mutex, until);
    }
    pthread_mutex_unlock(&janitor->mutex);
    return NULL;
}

enum efm_status srv_janitor_create(struct srv_janitor **out, struct srv_jobs *jobs, double seconds,
                                   struct efm_error *error)
{
    struct srv_janitor *janitor = efm_allocate_array(1, sizeof *janitor);
    if (janitor == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the janitor");
    janitor->jobs = jobs;
    janitor->seconds = seconds;
    bool good = pthread_mutex_init(&janitor->mutex, NULL) == 0 && srv_condition_init(&janitor->wake);
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
