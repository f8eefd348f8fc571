// SPDX-License-Identifier: Apache-2.0
/* The budget of memory: who counts against it, and who leaves for whom.
 *
 * A model counts from before it is read until its last reference is gone: one that was replaced, unloaded or deleted still takes
 * the memory while requests are on their way in it. Only models that nobody but the registry holds leave for others; what a
 * worker keeps for a model that it has just served is given back within a second or so, and is waited for. */
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/engine/registry_internal.h"

#include <malloc.h>
#include <time.h>

struct srv_model_memory {
    atomic_size_t holders; /* the registry and the models */
    atomic_size_t used;
    size_t budget;
};

struct charge {
    struct srv_model_memory *memory;
    size_t bytes;
};

enum efm_status srv_model_memory_create(struct srv_model_memory **memory, size_t budget,
                                        struct efm_error *error)
{
    *memory = efm_allocate_array(1, sizeof **memory);
    if (*memory == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the registry");
    atomic_init(&(*memory)->holders, 1);
    (*memory)->budget = budget;
    return EFM_OK;
}

void srv_model_memory_unref(struct srv_model_memory *memory)
{
    if (memory != NULL && atomic_fetch_sub(&memory->holders, 1) == 1)
        efm_free(memory);
}

size_t srv_model_memory_used(const struct srv_model_memory *memory)
{
    return atomic_load(&memory->used);
}

static bool take(struct srv_model_memory *memory, size_t bytes, size_t allowance)
{
    size_t limit, used = atomic_load(&memory->used), sum;
    if (!efm_size_add(memory->budget, allowance, &limit))
        limit = SIZE_MAX;
    do {
        if (!efm_size_add(used, bytes, &sum) || sum > limit)
            return false;
    } while (!atomic_compare_exchange_weak(&memory->used, &used, sum));
    return true;
}

void srv_registry_give_memory(struct srv_registry *registry, size_t bytes)
{
    atomic_fetch_sub(&registry->memory->used, bytes);
}

static void model_gone(void *context)
{
    enum { LARGE = 1 << 20 };
    struct charge *charge = context;
    const bool large = charge->bytes >= LARGE;
    atomic_fetch_sub(&charge->memory->used, charge->bytes);
    srv_model_memory_unref(charge->memory);
    efm_free(charge);
    if (large) /* back to the system: the C library would keep the holes, as many as there are threads that load */
        malloc_trim(0);
}

bool srv_registry_charge(struct srv_registry *registry, struct efm_model *model, size_t bytes)
{
    struct charge *charge = efm_allocate_array(1, sizeof *charge);
    if (charge == NULL)
        return false;
    *charge = (struct charge){registry->memory, bytes};
    atomic_fetch_add(&registry->memory->holders, 1);
    efm_model_when_gone(model, model_gone, charge);
    return true;
}

/* ---- who leaves ---- */

/* With the lock held: nobody can come to hold an idle model, for that goes by the registry. */
static bool is_idle(const struct srv_item *item)
{
    return item->model != NULL && efm_model_references(item->model) == 1;
}

static size_t idle_bytes(const struct srv_registry *registry, const struct srv_item *but)
{
    size_t sum = 0;
    for (size_t i = 0; i < registry->models.count; i++)
        if (registry->models.items[i] != but && is_idle(registry->models.items[i]))
            sum += registry->models.items[i]->memory;
    return sum;
}

static size_t minus(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

static struct srv_item *find_oldest(const struct srv_registry *registry, const struct srv_item *but)
{
    struct srv_item *oldest = NULL;
    for (size_t i = 0; i < registry->models.count; i++) {
        struct srv_item *item = registry->models.items[i];
        if (item != but && is_idle(item) && (oldest == NULL || item->used < oldest->used))
            oldest = item;
    }
    return oldest;
}

enum outcome { TAKEN, ONE_LEFT, NO_ROOM };

/* None leaves in vain: only when all that can leave would make the room. */
static enum outcome try_to_take(struct srv_registry *registry, const char *name, size_t bytes, bool evict)
{
    struct srv_model_memory *memory = registry->memory;
    struct efm_model *leaving = NULL;
    enum outcome outcome = NO_ROOM;
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *replaced = srv_shelf_find(&registry->models, name);
    const size_t allowance = replaced == NULL ? 0 : replaced->memory;
    if (take(memory, bytes, allowance)) {
        outcome = TAKEN;
    } else if (evict) {
        size_t staying = minus(srv_model_memory_used(memory), idle_bytes(registry, replaced)), sum;
        struct srv_item *oldest = find_oldest(registry, replaced);
        if (oldest != NULL && efm_size_add(staying, bytes, &sum) && minus(sum, allowance) <= memory->budget) {
            leaving = srv_item_detach(registry, oldest, "evicted");
            outcome = ONE_LEFT;
        }
    }
    pthread_mutex_unlock(&registry->lock);
    efm_model_unref(leaving);
    return outcome;
}

bool srv_registry_take_memory(struct srv_registry *registry, const char *name, size_t bytes, double patience,
                              struct api_problem *problem)
{
    static const struct timespec PAUSE = {.tv_nsec = 10 * 1000 * 1000};
    const size_t budget = registry->memory->budget;
    const double until = srv_clock() + patience;
    if (bytes > budget)
        return api_problem_set(problem, API_P_MODEL_TOO_LARGE, NULL,
                               "the model takes %zu bytes of memory, and all models together have %zu", bytes,
                               budget);
    for (;;) {
        enum outcome outcome = try_to_take(registry, name, bytes, patience >= 0);
        if (outcome == TAKEN)
            return true;
        if (outcome == NO_ROOM && srv_clock() >= until)
            break;
        if (outcome == NO_ROOM)
            nanosleep(&PAUSE, NULL);
    }
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_NO_MEMORY, NULL,
                           "the model takes %zu bytes of memory, and models in use hold %zu of %zu now",
                           bytes, srv_model_memory_used(registry->memory), budget);
}

size_t srv_registry_room(struct srv_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    size_t staying = minus(srv_model_memory_used(registry->memory), idle_bytes(registry, NULL));
    pthread_mutex_unlock(&registry->lock);
    return minus(registry->memory->budget, staying);
}
