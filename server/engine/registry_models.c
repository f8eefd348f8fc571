// SPDX-License-Identifier: Apache-2.0
/* Models: asked for, loaded, put, taken out of memory. */
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/engine/engine_internal.h"
#include "server/engine/registry_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- looking ---- */

struct efm_model *srv_registry_model(struct srv_registry *registry, const char *name,
                                     enum srv_model_state *state)
{
    struct efm_model *model = NULL;
    pthread_mutex_lock(&registry->lock);
    struct srv_item *item = srv_shelf_find(&registry->models, name);
    if (item != NULL && item->model != NULL) {
        model = efm_model_ref(item->model);
        item->used = ++registry->clock;
    }
    if (state != NULL)
        *state = item == NULL ? SRV_MODEL_UNKNOWN : item->state;
    pthread_mutex_unlock(&registry->lock);
    return model;
}

/* ---- loading ---- */

/* What a load was begun for: by its end the name may stand for something else. */
struct errand {
    char name[API_NAME_SIZE],
        blob[SRV_BLOB_KEY]; /* every put has a blob of its own, while versions begin anew after a deletion */
    uint64_t needs;
    double patience;
    uint64_t rank; /* how late it is used, when it is restored; 0: it is asked for now */
};

static bool is_of(const struct srv_item *item, const char *blob)
{
    return strcmp(item->blob, blob) == 0;
}

enum turn { TURN_READY, TURN_OURS, TURN_FAILED, TURN_UNKNOWN };

/* (locked) Waits until the load that is under way has ended; false when it failed and nothing has changed since. */
static bool await(struct srv_registry *registry, const struct errand *errand, const struct srv_item *item)
{
    char blob[SRV_BLOB_KEY];
    const unsigned loads = item->loads;
    memcpy(blob, item->blob, sizeof blob);
    while (item != NULL && item->state == SRV_MODEL_LOADING && is_of(item, blob) && item->loads == loads) {
        pthread_cond_wait(&registry->loaded, &registry->lock);
        item = srv_shelf_find(&registry->models, errand->name);
    }
    return item == NULL || !is_of(item, blob) || item->failure == API_P_NONE;
}

static void report_failure(const struct srv_item *item, struct api_problem *problem)
{
    if (item->failure == API_P_NO_MEMORY)
        problem->retry_after = 1;
    api_problem_set(problem, item->failure, NULL, "%s", item->reason);
}

/* Whose turn it is to load. */
static enum turn take_turn(struct srv_registry *registry, struct errand *errand, struct efm_model **model,
                           struct api_problem *problem)
{
    enum turn turn = TURN_UNKNOWN;
    bool good = true;
    pthread_mutex_lock(&registry->lock);
    struct srv_item *item = srv_shelf_find(&registry->models, errand->name);
    while (good && item != NULL && item->state == SRV_MODEL_LOADING) {
        good = await(registry, errand, item);
        item = srv_shelf_find(&registry->models, errand->name);
    }
    if (item == NULL) {
        turn = TURN_UNKNOWN;
    } else if (item->state == SRV_MODEL_READY) {
        *model = efm_model_ref(item->model);
        item->used = ++registry->clock;
        turn = TURN_READY;
    } else if (!good) {
        report_failure(item, problem);
        turn = TURN_FAILED;
    } else {
        item->state = SRV_MODEL_LOADING;
        item->leave = false;
        item->failure = API_P_NONE;
        memcpy(errand->blob, item->blob, sizeof errand->blob);
        errand->needs = item->needs;
        atomic_fetch_add(&registry->loading, 1);
        turn = TURN_OURS;
    }
    pthread_mutex_unlock(&registry->lock);
    return turn;
}

static void set_failure(struct srv_item *item, const struct errand *errand, const struct api_problem *problem)
{
    /* for want of memory it has not failed: there was no room */
    const bool no_room = problem->code == API_P_NO_MEMORY;
    item->state = no_room ? SRV_MODEL_UNLOADED : SRV_MODEL_FAILED;
    /* who waited for a restoration, for which none leaves, can make room */
    item->failure = no_room && errand->rank > 0 ? API_P_NONE : problem->code;
    snprintf(item->reason, sizeof item->reason, "%.199s", problem->detail);
}

static void count_load(struct srv_registry *registry, const char *name, const struct api_problem *problem,
                       double seconds)
{
    const bool good = problem->code == API_P_NONE;
    char reason[300];
    srv_metrics_add(registry->metrics, SRV_M_MODEL_LOADS, 1, "outcome=\"%s\"", good ? "ready" : "failed");
    if (good) {
        srv_metrics_observe(registry->metrics, SRV_M_MODEL_LOAD_SECONDS, seconds, "");
        srv_log(registry->log, SRV_LOG_INFO, "model_loaded", "\"model\":\"%s\",\"seconds\":%.3f", name,
                seconds);
    } else {
        srv_log(registry->log, SRV_LOG_WARNING, "model_not_loaded", "\"model\":\"%s\",\"reason\":%s", name,
                srv_log_quote(problem->detail, reason, sizeof reason));
    }
}

/* (locked) The model is there for everybody. *about becomes its description: what it runs in is a matter of options, and may have
 * changed since it was put. */
static void show_loaded(struct srv_registry *registry, struct srv_item *item, const struct errand *errand,
                        struct efm_model *model, char **about)
{
    char *old = item->about;
    item->state = SRV_MODEL_READY;
    item->model = efm_model_ref(model);
    item->memory = srv_registry_model_bytes(registry, model);
    item->used = errand->rank > 0 ? errand->rank : ++registry->clock;
    if (*about != NULL) {
        item->about = *about;
        *about = old;
    }
    srv_metrics_set(registry->metrics, SRV_M_MODEL_LOADED, 1, "model=\"%s\"", item->name);
    srv_metrics_set(registry->metrics, SRV_M_MODEL_BYTES, (double)item->memory, "model=\"%s\"", item->name);
}

/* Makes the outcome known; the model stays the caller's too. */
static void end_load(struct srv_registry *registry, const struct errand *errand, struct efm_model *model,
                     const struct api_problem *problem)
{
    char *about = model == NULL ? NULL : srv_registry_describe_model(errand->name, model);
    pthread_mutex_lock(&registry->lock);
    struct srv_item *item = srv_shelf_find(&registry->models, errand->name);
    if (item != NULL && is_of(item, errand->blob) && item->state == SRV_MODEL_LOADING) {
        item->loads++;
        if (model == NULL)
            set_failure(item, errand, problem);
        else if (item->leave)
            item->state = SRV_MODEL_UNLOADED;
        else
            show_loaded(registry, item, errand, model, &about);
    }
    atomic_fetch_sub(&registry->loading, 1);
    pthread_cond_broadcast(&registry->loaded);
    pthread_mutex_unlock(&registry->lock);
    efm_free(about);
}

static bool load_blob(struct srv_model_making *making, const struct errand *errand,
                      struct api_problem *problem)
{
    struct srv_registry *registry = making->registry;
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    if (srv_blobs_open(registry->options.blobs, errand->blob, &blob, &error) != EFM_OK)
        return srv_registry_store_failed(registry, &error, problem);
    bool good = false;
    making->bytes = srv_blob_map(blob, &error);
    making->size = (size_t)srv_blob_size(blob);
    if (making->bytes == NULL)
        srv_registry_store_failed(registry, &error, problem);
    else
        good = srv_registry_make_model(making, problem);
    srv_blob_close(blob);
    return good;
}

static struct efm_model *load(struct srv_registry *registry, const struct errand *errand,
                              struct api_problem *problem)
{
    const double started = srv_clock();
    struct srv_model_making making = {
        .registry = registry, .name = errand->name, .needs = errand->needs, .patience = errand->patience};
    load_blob(&making, errand, problem);
    count_load(registry, errand->name, problem, srv_clock() - started);
    end_load(registry, errand, making.model, problem);
    return making.model;
}

/* What is stored under the name by now, should it be another one than on the shelf: put there by another daemon, or while
 * the blob was being opened. True when something has changed. */
static bool refresh(struct srv_registry *registry, const struct errand *errand, struct api_problem *problem)
{
    struct efm_error error = {0};
    struct srv_item *item = NULL, *old = NULL;
    bool changed = false;
    struct srv_shelf *shelf = &registry->models;
    pthread_mutex_lock(&shelf->changes);
    enum efm_status status = api_name_valid(errand->name)
                                 ? srv_registry_fetch(registry, shelf, errand->name, &item, &error)
                                 : EFM_E_NOT_FOUND;
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *present = srv_shelf_find(shelf, errand->name);
    if (status == EFM_OK && (present == NULL || !is_of(present, item->blob)) && srv_shelf_reserve(shelf)) {
        old = srv_shelf_put(shelf, item);
        item = NULL;
        changed = true;
    } else if (present != NULL && !is_of(present, errand->blob)) {
        changed = true;
    }
    pthread_mutex_unlock(&registry->lock);
    pthread_mutex_unlock(&shelf->changes);
    srv_item_free(old);
    srv_item_free(item);
    if (status != EFM_OK && status != EFM_E_NOT_FOUND && problem->code == API_P_NONE)
        srv_registry_store_failed(registry, &error, problem);
    return changed;
}

struct efm_model *srv_registry_load(struct srv_registry *registry, const char *name,
                                    struct api_problem *problem)
{
    enum { TRIES = 4 };
    struct errand errand = {.patience = registry->options.patience};
    snprintf(errand.name, sizeof errand.name, "%.64s", name);
    for (int i = 0; i < TRIES; i++) {
        struct efm_model *model = NULL;
        struct api_problem trouble = {0};
        enum turn turn = take_turn(registry, &errand, &model, problem);
        if (turn == TURN_OURS)
            model = load(registry, &errand, &trouble);
        if (model != NULL || turn == TURN_FAILED)
            return model;
        if (turn == TURN_OURS && trouble.code != API_P_STORAGE) {
            *problem = trouble;
            return NULL;
        }
        if (!refresh(registry, &errand, &trouble)) {
            if (turn == TURN_UNKNOWN && trouble.code == API_P_NONE)
                srv_registry_unknown(&registry->models, name, &trouble);
            *problem = trouble;
            return NULL;
        }
    }
    api_problem_set(problem, API_P_CONFLICT, NULL, "others keep changing this model");
    return NULL;
}

/* ---- at the start ---- */

struct candidate {
    char name[API_NAME_SIZE];
    int64_t created;
};

/* Most recently put first. */
static int compare_age(const void *a, const void *b)
{
    const struct candidate *first = a, *second = b;
    if (first->created != second->created)
        return first->created < second->created ? 1 : -1;
    return strcmp(first->name, second->name);
}

/* Owned by the caller; NULL without memory. */
static struct candidate *list_candidates(struct srv_registry *registry, size_t *count)
{
    pthread_mutex_lock(&registry->lock);
    const struct srv_shelf *shelf = &registry->models;
    struct candidate *candidates = efm_allocate_array(shelf->count + 1, sizeof *candidates);
    *count = candidates == NULL ? 0 : shelf->count;
    for (size_t i = 0; i < *count; i++) {
        memcpy(candidates[i].name, shelf->items[i]->name, sizeof candidates[i].name);
        candidates[i].created = shelf->items[i]->created;
    }
    pthread_mutex_unlock(&registry->lock);
    return candidates;
}

/* Nobody has asked for it yet, and there is room without one that leaves. */
static bool is_to_be_restored(struct srv_registry *registry, const char *name)
{
    size_t sum;
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *item = srv_shelf_find(&registry->models, name);
    const bool fits = item != NULL && item->state == SRV_MODEL_UNLOADED &&
                      efm_size_add(srv_model_memory_used(registry->memory), (size_t)item->needs, &sum) &&
                      sum <= registry->options.memory_budget;
    pthread_mutex_unlock(&registry->lock);
    return fits;
}

void srv_registry_load_first(struct srv_registry *registry)
{
    size_t count;
    struct candidate *candidates = list_candidates(registry, &count);
    if (candidates == NULL)
        return; /* they are loaded when they are asked for */
    qsort(candidates, count, sizeof *candidates, compare_age);
    for (size_t i = 0; i < count && !atomic_load(&registry->stop); i++) {
        /* who was put last leaves last */
        struct errand errand = {.patience = -1, .rank = count - i};
        struct efm_model *model = NULL;
        struct api_problem problem = {0};
        if (!is_to_be_restored(registry, candidates[i].name))
            continue;
        memcpy(errand.name, candidates[i].name, sizeof errand.name);
        if (take_turn(registry, &errand, &model, &problem) == TURN_OURS)
            model = load(registry, &errand, &problem);
        efm_model_unref(model);
    }
    efm_free(candidates);
}

bool srv_registry_unload(struct srv_registry *registry, const char *name, struct api_problem *problem)
{
    struct efm_model *model = NULL;
    pthread_mutex_lock(&registry->lock);
    struct srv_item *item = srv_shelf_find(&registry->models, name);
    if (item != NULL) {
        model = srv_item_detach(registry, item, "unloaded");
        item->leave = item->state == SRV_MODEL_LOADING;
    }
    pthread_mutex_unlock(&registry->lock);
    efm_model_unref(model);
    return item != NULL || srv_registry_unknown(&registry->models, name, problem);
}

/* ---- putting ---- */

/* The bytes to keep: those that came, or what the model is saved as when they are another program's. */
static bool write_blob(struct srv_registry *registry, const struct srv_model_making *making, const char *key,
                       uint64_t *size, struct api_problem *problem)
{
    struct efm_buffer saved = efm_buffer_limited(SIZE_MAX / 2);
    struct efm_error error = {0};
    char sha256[65];
    const uint8_t *bytes = making->bytes;
    *size = making->size;
    efm_sha256_hex(making->bytes, making->size, sha256);
    enum efm_status status = EFM_OK;
    if (strcmp(sha256, efm_model_sha256(making->model)) != 0) {
        status = efm_model_save(making->model, &saved, &error);
        bytes = saved.data;
        *size = saved.size;
    }
    if (status == EFM_OK)
        status = srv_blobs_put(registry->options.blobs, key, bytes, (size_t)*size, &error);
    efm_buffer_release(&saved);
    return status == EFM_OK || srv_registry_store_failed(registry, &error, problem);
}

static struct srv_item *make_item(const struct srv_model_making *making, int64_t created,
                                  const char *trained_by)
{
    struct srv_item *item = efm_allocate_array(1, sizeof *item);
    if (item == NULL)
        return NULL;
    snprintf(item->name, sizeof item->name, "%s", making->name);
    snprintf(item->sha256, sizeof item->sha256, "%s", efm_model_sha256(making->model));
    snprintf(item->trained_by, sizeof item->trained_by, "%.63s", trained_by == NULL ? "" : trained_by);
    item->created = created;
    item->about = srv_registry_describe_model(making->name, making->model);
    item->memory = srv_registry_model_bytes(making->registry, making->model);
    item->needs = efm_model_bytes(making->model); /* working space is a matter of options */
    item->state = SRV_MODEL_READY;
    item->model = efm_model_ref(making->model);
    if (item->about != NULL)
        return item;
    srv_item_free(item);
    return NULL;
}

/* Bytes first, then the record, then the pointer. */
static bool keep(struct srv_registry *registry, const struct srv_model_making *making, int64_t created,
                 struct srv_put *put, struct api_problem *problem)
{
    char random[17] = "";
    struct srv_item *item = make_item(making, created, put->trained_by);
    if (item == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the model");
    if (srv_registry_blob_key(&registry->models, making->name, random, ".safetensors", item->blob, problem) &&
        write_blob(registry, making, item->blob, &item->bytes, problem)) {
        if (srv_registry_commit(registry, &registry->models, item, put, problem))
            return true;
        srv_registry_remove_blob(registry, item->blob);
    }
    srv_item_free(item);
    return false;
}

bool srv_registry_put_model_as_of(struct srv_registry *registry, const char *name, const uint8_t *bytes,
                                  size_t size, int64_t created, struct srv_put *put, struct efm_model **model,
                                  struct api_problem *problem)
{
    const double started = srv_clock();
    struct srv_model_making making = {.registry = registry,
                                      .name = name,
                                      .bytes = bytes,
                                      .size = size,
                                      .needs = size,
                                      .patience = registry->options.patience};
    if (!srv_registry_check_name(name, problem) ||
        !srv_registry_check_expected(registry, &registry->models, name, put->expected, problem))
        return false;
    bool made = srv_registry_make_model(&making, problem);
    count_load(registry, name, problem, srv_clock() - started);
    if (!made)
        return false;
    bool good = keep(registry, &making, created, put, problem);
    if (good && model != NULL)
        *model = efm_model_ref(making.model);
    efm_model_unref(making.model);
    return good;
}

bool srv_registry_put_model(struct srv_registry *registry, const char *name, const uint8_t *bytes,
                            size_t size, struct srv_put *put, struct efm_model **model,
                            struct api_problem *problem)
{
    if (!srv_registry_await_adoption(registry, problem))
        return false;
    return srv_registry_put_model_as_of(registry, name, bytes, size, (int64_t)time(NULL), put, model,
                                        problem);
}

bool srv_registry_delete_model(struct srv_registry *registry, const char *name, const char *expected,
                               struct api_problem *problem)
{
    return srv_registry_delete(registry, &registry->models, name, expected, problem);
}
