// SPDX-License-Identifier: Apache-2.0
/* Shelves, looking at them, and the registry's life. */
#include "core/base/memory.h"
#include "server/engine/registry_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* ---- shelves, with the lock held ---- */

/* Where `name` is, or would be put. */
static size_t find_place(const struct srv_shelf *shelf, const char *name, bool *found)
{
    size_t low = 0, high = shelf->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(shelf->items[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < shelf->count && strcmp(shelf->items[low]->name, name) == 0;
    return low;
}

struct srv_item *srv_shelf_find(const struct srv_shelf *shelf, const char *name)
{
    bool found;
    size_t place = find_place(shelf, name, &found);
    return found ? shelf->items[place] : NULL;
}

bool srv_shelf_reserve(struct srv_shelf *shelf)
{
    return efm_array_grow(&shelf->items, shelf->count, &shelf->capacity, sizeof(struct srv_item *));
}

struct srv_item *srv_shelf_put(struct srv_shelf *shelf, struct srv_item *item)
{
    bool found;
    size_t place = find_place(shelf, item->name, &found);
    struct srv_item *old = found ? shelf->items[place] : NULL;
    if (!found) {
        memmove(&shelf->items[place + 1], &shelf->items[place],
                (shelf->count - place) * sizeof(struct srv_item *));
        shelf->count++;
    }
    shelf->items[place] = item;
    return old;
}

struct srv_item *srv_shelf_take(struct srv_shelf *shelf, const char *name)
{
    bool found;
    size_t place = find_place(shelf, name, &found);
    if (!found)
        return NULL;
    struct srv_item *item = shelf->items[place];
    shelf->count--;
    memmove(&shelf->items[place], &shelf->items[place + 1],
            (shelf->count - place) * sizeof(struct srv_item *));
    return item;
}

const struct srv_item *srv_shelf_after(const struct srv_shelf *shelf, const char *name)
{
    bool found;
    size_t place = find_place(shelf, name, &found) + (found ? 1 : 0);
    return place < shelf->count ? shelf->items[place] : NULL;
}

struct efm_model *srv_item_detach(struct srv_registry *registry, struct srv_item *item, const char *reason)
{
    struct efm_model *model = item->model;
    if (model == NULL)
        return NULL;
    item->model = NULL;
    item->memory = 0;
    item->state = SRV_MODEL_UNLOADED;
    srv_metrics_remove(registry->metrics, SRV_M_MODEL_LOADED, "model=\"%s\"", item->name);
    srv_metrics_remove(registry->metrics, SRV_M_MODEL_BYTES, "model=\"%s\"", item->name);
    srv_metrics_add(registry->metrics, SRV_M_MODEL_UNLOADS, 1, "reason=\"%s\"", reason);
    srv_log(registry->log, SRV_LOG_INFO, "model_unloaded", "\"model\":\"%s\",\"reason\":\"%s\"", item->name,
            reason);
    return model;
}

/* ---- small things that both kinds need ---- */

void srv_item_free(struct srv_item *item)
{
    if (item == NULL)
        return;
    efm_model_unref(item->model);
    efm_free(item->about);
    efm_free(item);
}

bool srv_registry_check_name(const char *name, struct api_problem *problem)
{
    return api_name_valid(name) || api_problem_set(problem, API_P_INVALID_NAME, NULL,
                                                   "a name has 1 to 64 of the characters a-z A-Z 0-9 . _ - "
                                                   "and begins with neither . nor -");
}

bool srv_registry_unknown(const struct srv_shelf *shelf, const char *name, struct api_problem *problem)
{
    return api_problem_set(problem, shelf->unknown, NULL, "there is no %s named '%.64s'", shelf->noun, name);
}

bool srv_registry_blob_key(const struct srv_shelf *shelf, const char *name, char random[17],
                           const char *suffix, char key[SRV_BLOB_KEY], struct api_problem *problem)
{
    uint64_t bits;
    if (random[0] == '\0') {
        if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
            return api_problem_set(problem, API_P_INTERNAL, NULL, "the system gave no random numbers");
        snprintf(random, 17, "%016llx", (unsigned long long)bits);
    }
    snprintf(key, SRV_BLOB_KEY, "%s%.64s/%.16s%s", shelf->folder, name, random, suffix);
    return true;
}

bool srv_registry_store_failed(struct srv_registry *registry, const struct efm_error *error,
                               struct api_problem *problem)
{
    char reason[300];
    if (error->status == EFM_E_MEMORY)
        return api_problem_from_error(problem, error, API_P_STORAGE, NULL);
    srv_log(registry->log, SRV_LOG_ERROR, "storage_failed", "\"reason\":%s",
            srv_log_quote(error->message, reason, sizeof reason));
    return api_problem_set(problem, API_P_STORAGE, NULL, "%s", error->message);
}

void srv_registry_remove_blob(struct srv_registry *registry, const char *key)
{
    struct efm_error error = {0};
    char reason[300];
    if (key[0] == '\0' || srv_blobs_remove(registry->options.blobs, key, &error) == EFM_OK)
        return;
    srv_log(registry->log, SRV_LOG_WARNING, "blob_left", "\"key\":\"%s\",\"reason\":%s", key,
            srv_log_quote(error.message, reason, sizeof reason));
}

/* ---- looking ---- */

static char *copy_about(const struct srv_item *item)
{
    return item->about == NULL ? NULL : efm_copy_string(item->about);
}

static void fill_model_facts(const struct srv_item *item, struct srv_model_facts *facts)
{
    *facts = (struct srv_model_facts){
        .state = item->state, .bytes = item->bytes, .memory = item->memory, .created = item->created};
    memcpy(facts->name, item->name, sizeof facts->name);
    memcpy(facts->sha256, item->sha256, sizeof facts->sha256);
    memcpy(facts->blob, item->blob, sizeof facts->blob);
    memcpy(facts->trained_by, item->trained_by, sizeof facts->trained_by);
    if (item->state == SRV_MODEL_FAILED)
        memcpy(facts->reason, item->reason, sizeof facts->reason);
    facts->about = copy_about(item);
}

static void fill_dataset_facts(const struct srv_item *item, struct srv_dataset_facts *facts)
{
    *facts = (struct srv_dataset_facts){.bytes = item->bytes, .created = item->created};
    memcpy(facts->name, item->name, sizeof facts->name);
    memcpy(facts->sha256, item->sha256, sizeof facts->sha256);
    memcpy(facts->blob, item->blob, sizeof facts->blob);
    memcpy(facts->preview, item->preview, sizeof facts->preview);
    memcpy(facts->query, item->query, sizeof facts->query);
    facts->about = copy_about(item);
}

bool srv_registry_model_facts(struct srv_registry *registry, const char *name, struct srv_model_facts *facts)
{
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *item = srv_shelf_find(&registry->models, name);
    if (item != NULL)
        fill_model_facts(item, facts);
    pthread_mutex_unlock(&registry->lock);
    return item != NULL;
}

void srv_model_facts_release(struct srv_model_facts *facts)
{
    efm_free(facts->about);
    facts->about = NULL;
}

bool srv_registry_dataset_facts(struct srv_registry *registry, const char *name,
                                struct srv_dataset_facts *facts)
{
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *item = srv_shelf_find(&registry->datasets, name);
    if (item != NULL)
        fill_dataset_facts(item, facts);
    pthread_mutex_unlock(&registry->lock);
    return item != NULL;
}

void srv_dataset_facts_release(struct srv_dataset_facts *facts)
{
    efm_free(facts->about);
    facts->about = NULL;
}

/* Both go on well when a shelf changes between two visits. */
void srv_registry_each_model(struct srv_registry *registry,
                             void (*visit)(void *context, const struct srv_model_facts *facts), void *context)
{
    struct srv_model_facts facts = {0};
    for (;;) {
        pthread_mutex_lock(&registry->lock);
        const struct srv_item *item = srv_shelf_after(&registry->models, facts.name);
        if (item != NULL)
            fill_model_facts(item, &facts);
        pthread_mutex_unlock(&registry->lock);
        if (item == NULL)
            return;
        visit(context, &facts);
        srv_model_facts_release(&facts);
    }
}

void srv_registry_each_dataset(struct srv_registry *registry,
                               void (*visit)(void *context, const struct srv_dataset_facts *facts),
                               void *context)
{
    struct srv_dataset_facts facts = {0};
    for (;;) {
        pthread_mutex_lock(&registry->lock);
        const struct srv_item *item = srv_shelf_after(&registry->datasets, facts.name);
        if (item != NULL)
            fill_dataset_facts(item, &facts);
        pthread_mutex_unlock(&registry->lock);
        if (item == NULL)
            return;
        visit(context, &facts);
        srv_dataset_facts_release(&facts);
    }
}

bool srv_registry_single_model(struct srv_registry *registry, char *out)
{
    pthread_mutex_lock(&registry->lock);
    bool single = registry->models.count == 1;
    if (single)
        memcpy(out, registry->models.items[0]->name, API_NAME_SIZE);
    pthread_mutex_unlock(&registry->lock);
    return single;
}

const char *srv_registry_scratch(const struct srv_registry *registry)
{
    return registry->options.scratch;
}

size_t srv_registry_loading(struct srv_registry *registry)
{
    return atomic_load(&registry->loading);
}

size_t srv_registry_memory(const struct srv_registry *registry)
{
    return srv_model_memory_used(registry->memory);
}

void srv_registry_show_datasets(struct srv_registry *registry)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; i < registry->datasets.count; i++)
        bytes += registry->datasets.items[i]->bytes;
    srv_metrics_set(registry->metrics, SRV_M_DATASETS, (double)registry->datasets.count, "");
    srv_metrics_set(registry->metrics, SRV_M_DATASET_BYTES, (double)bytes, "");
    pthread_mutex_unlock(&registry->lock);
}

/* ---- life ---- */

/* Longer than workers keep the working space of models that they do not use. */
static const double PATIENCE = 3;

static void init_shelf(struct srv_shelf *shelf, enum srv_record_kind kind, size_t most)
{
    const bool models = kind == SRV_RECORD_MODEL;
    shelf->kind = kind;
    shelf->noun = models ? "model" : "dataset";
    shelf->folder = models ? "models/" : "datasets/";
    shelf->unknown = models ? API_P_UNKNOWN_MODEL : API_P_UNKNOWN_DATASET;
    shelf->most = most;
    pthread_mutex_init(&shelf->changes, NULL);
}

static void release_shelf(struct srv_shelf *shelf)
{
    for (size_t i = 0; i < shelf->count; i++)
        srv_item_free(shelf->items[i]);
    efm_free(shelf->items);
    pthread_mutex_destroy(&shelf->changes);
}

static enum efm_status open_registry(struct srv_registry *registry, struct efm_error *error)
{
    struct srv_shelf *shelves[] = {&registry->datasets, &registry->models};
    enum efm_status status =
        srv_model_memory_create(&registry->memory, registry->options.memory_budget, error);
    for (size_t i = 0; i < 2 && status == EFM_OK; i++) {
        status = srv_registry_read_records(registry, shelves[i], error);
        if (status == EFM_OK)
            status = srv_registry_remove_orphans(registry, shelves[i], error);
    }
    if (status == EFM_OK && registry->options.adopt != NULL)
        status = srv_registry_make_folder(registry->options.adopt, error);
    if (status != EFM_OK)
        return status;
    srv_metrics_set(registry->metrics, SRV_M_MODELS_BUDGET, (double)registry->options.memory_budget, "");
    srv_metrics_set(registry->metrics, SRV_M_DATASET_QUOTA, (double)registry->options.dataset_quota, "");
    srv_registry_show_datasets(registry);
    registry->clock = registry->models.count; /* what is asked for is used later than what is restored */
    return EFM_OK;
}

enum efm_status srv_registry_create(struct srv_registry **registry,
                                    const struct srv_registry_options *options, struct srv_metrics *metrics,
                                    struct srv_log *log, struct efm_error *error)
{
    *registry = NULL;
    struct srv_registry *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the registry");
    made->options = *options;
    if (made->options.image_limits.max_pixels == 0)
        made->options.image_limits = efm_image_limits_default();
    if (made->options.patience <= 0)
        made->options.patience = PATIENCE;
    made->metrics = metrics;
    made->log = log;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->loaded, NULL);
    init_shelf(&made->models, SRV_RECORD_MODEL, options->max_models);
    init_shelf(&made->datasets, SRV_RECORD_DATASET, options->max_datasets);
    enum efm_status status = open_registry(made, error);
    if (status != EFM_OK) {
        srv_registry_destroy(made);
        return status;
    }
    *registry = made;
    return EFM_OK;
}

void srv_registry_destroy(struct srv_registry *registry)
{
    if (registry == NULL)
        return;
    srv_registry_stop_restoring(registry);
    if (registry->has_thread)
        pthread_join(registry->thread, NULL);
    release_shelf(&registry->models);
    release_shelf(&registry->datasets);
    srv_model_memory_unref(registry->memory);
    pthread_cond_destroy(&registry->loaded);
    pthread_mutex_destroy(&registry->lock);
    efm_free(registry);
}
