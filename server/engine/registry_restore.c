// SPDX-License-Identifier: Apache-2.0
/* The start, while requests are served already: files are moved in, then models are loaded. A model that is asked for meanwhile is
 * loaded for who asks, as any other that is not in memory. */
#include "server/engine/registry_internal.h"

#include <stdio.h>

bool srv_registry_await_adoption(struct srv_registry *registry, struct api_problem *problem)
{
    pthread_mutex_lock(&registry->lock);
    while (!registry->adopted)
        pthread_cond_wait(&registry->loaded, &registry->lock);
    const bool good = !registry->cut_short;
    pthread_mutex_unlock(&registry->lock);
    return good || api_problem_set(problem, API_P_DRAINING, NULL,
                                   "the server stops before the files of its folder of models are moved in");
}

static void let_changes_go_on(struct srv_registry *registry, bool cut_short)
{
    pthread_mutex_lock(&registry->lock);
    registry->adopted = true;
    registry->cut_short = cut_short;
    pthread_cond_broadcast(&registry->loaded);
    pthread_mutex_unlock(&registry->lock);
}

void srv_registry_restore(struct srv_registry *registry)
{
    struct efm_error error = {0};
    char reason[300];
    if (registry->options.adopt != NULL &&
        srv_registry_adopt(registry, registry->options.adopt, &error) != EFM_OK)
        srv_log(registry->log, SRV_LOG_ERROR, "not_adopted", "\"reason\":%s",
                srv_log_quote(error.message, reason, sizeof reason));
    let_changes_go_on(registry, registry->options.adopt != NULL && atomic_load(&registry->stop));
    srv_registry_load_first(registry);
    atomic_store(&registry->restored, true);
}

static void *restore(void *argument)
{
    srv_registry_restore(argument);
    return NULL;
}

enum efm_status srv_registry_restore_later(struct srv_registry *registry, struct efm_error *error)
{
    if (pthread_create(&registry->thread, NULL, restore, registry) != 0) {
        let_changes_go_on(registry, true); /* nobody shall wait for what does not come */
        return efm_error_set(error, EFM_E_MEMORY, "the system refused another thread");
    }
    registry->has_thread = true;
    return EFM_OK;
}

void srv_registry_stop_restoring(struct srv_registry *registry)
{
    atomic_store(&registry->stop, true);
}

bool srv_registry_restoring(const struct srv_registry *registry)
{
    return !atomic_load(&registry->restored);
}
