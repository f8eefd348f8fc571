// SPDX-License-Identifier: Apache-2.0
#include "server/engine/registry.h"

#include "core/base/memory.h"
#include "core/field/learned.h"
#include "server/engine/registry_internal.h"
#include "server/engine/scheduler.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- kinds ---- */

static void *ref_model(void *thing)
{
    return efm_model_ref(thing);
}

static void unref_model(void *thing)
{
    efm_model_unref(thing);
}

/* With the working space of a network, which is not shared: a worker that serves lines and points has two. */
static size_t model_bytes(const struct srv_registry *registry, const void *thing)
{
    const struct efm_field *field = efm_model_field(thing);
    size_t threads = registry->threads_per_worker, bytes;
    if (registry->workers == 0 || !efm_field_is_learned(field))
        return efm_model_bytes(thing);
    size_t points = srv_points_capacity(field, registry->batch);
    bool fits = efm_size_add(efm_learned_field_run_bytes(field, registry->batch, threads),
                             efm_learned_field_run_bytes(field, points, threads), &bytes) &&
                efm_size_multiply(bytes, registry->workers, &bytes) &&
                efm_size_add(bytes, efm_model_bytes(thing), &bytes);
    return fits ? bytes : SIZE_MAX;
}

static void *ref_dataset(void *thing)
{
    return efm_dataset_ref(thing);
}

static void unref_dataset(void *thing)
{
    efm_dataset_unref(thing);
}

static size_t dataset_bytes(const struct srv_registry *registry, const void *thing)
{
    (void)registry;
    return efm_dataset_bytes(thing);
}

static const struct srv_shelf_kind MODELS = {
    "model", "models", ".safetensors", API_P_UNKNOWN_MODEL, ref_model, unref_model, model_bytes,
};
static const struct srv_shelf_kind DATASETS = {
    "dataset", "datasets", ".dataset", API_P_UNKNOWN_DATASET, ref_dataset, unref_dataset, dataset_bytes,
};

/* ---- shelves, all with registry->lock held ---- */

/* Where `name` is, or would be put. */
static size_t find_place(const struct srv_shelf *shelf, const char *name, bool *found)
{
    size_t low = 0, high = shelf->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(shelf->items[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < shelf->count && strcmp(shelf->items[low].name, name) == 0;
    return low;
}

static struct srv_shelf_item *find_item(const struct srv_shelf *shelf, const char *name)
{
    bool found;
    size_t place = find_place(shelf, name, &found);
    return found ? &shelf->items[place] : NULL;
}

/* The item of that name, made when it is new. The caller has made sure of the room. */
static struct srv_shelf_item *provide_item(struct srv_shelf *shelf, const char *name)
{
    bool found;
    size_t place = find_place(shelf, name, &found);
    if (!found) {
        memmove(&shelf->items[place + 1], &shelf->items[place],
                (shelf->count - place) * sizeof(shelf->items[0]));
        shelf->count++;
        shelf->items[place] = (struct srv_shelf_item){0};
        memcpy(shelf->items[place].name, name, strlen(name) + 1);
    }
    return &shelf->items[place];
}

static void remove_item(struct srv_shelf *shelf, struct srv_shelf_item *item)
{
    size_t place = (size_t)(item - shelf->items);
    shelf->count--;
    memmove(item, item + 1, (shelf->count - place) * sizeof(*item));
}

static void show_metrics(struct srv_registry *registry, const struct srv_shelf *shelf, const char *name)
{
    if (shelf->kind == &DATASETS) {
        size_t bytes = 0;
        for (size_t i = 0; i < shelf->count; i++)
            bytes += shelf->items[i].bytes;
        srv_metrics_set(registry->metrics, SRV_M_DATASETS, (double)shelf->count, "");
        srv_metrics_set(registry->metrics, SRV_M_DATASET_BYTES, (double)bytes, "");
        return;
    }
    const struct srv_shelf_item *item = find_item(shelf, name);
    if (item == NULL) {
        srv_metrics_remove(registry->metrics, SRV_M_MODEL_LOADED, "model=\"%s\"", name);
        srv_metrics_remove(registry->metrics, SRV_M_MODEL_BYTES, "model=\"%s\"", name);
        return;
    }
    srv_metrics_set(registry->metrics, SRV_M_MODEL_LOADED, 1, "model=\"%s\"", name);
    srv_metrics_set(registry->metrics, SRV_M_MODEL_BYTES, (double)item->bytes, "model=\"%s\"", name);
}

/* Lends the budget `bytes`, to be taken by commit or given back by cancel. */
static bool reserve(struct srv_registry *registry, const struct srv_shelf *shelf, const char *name,
                    size_t bytes, struct api_problem *problem)
{
    const struct srv_shelf_item *old = find_item(shelf, name);
    if (old == NULL && shelf->count >= shelf->capacity)
        return api_problem_set(problem, API_P_CONFLICT, NULL,
                               "there are %zu %ss already, and no more are allowed", shelf->count,
                               shelf->kind->noun);
    size_t others = registry->used - (old == NULL ? 0 : old->bytes);
    if (bytes > registry->max_memory || others > registry->max_memory - bytes)
        return api_problem_set(
            problem, API_P_NO_MEMORY, NULL,
            "this takes %zu bytes, and the other models and datasets hold %zu of the %zu allowed", bytes,
            others, registry->max_memory);
    registry->used += bytes;
    return true;
}

/* Sets the thing that was reserved for; gives back the reference that was there before, or NULL. */
static void *commit(struct srv_registry *registry, struct srv_shelf *shelf, const char *name, void *thing,
                    size_t bytes, int64_t created)
{
    struct srv_shelf_item *item = provide_item(shelf, name);
    void *old = item->thing;
    registry->used -= item->bytes;
    item->thing = thing;
    item->bytes = bytes;
    item->created = created;
    show_metrics(registry, shelf, name);
    return old;
}

static bool as_expected(const struct srv_shelf *shelf, const char *name, const char *expected,
                        struct api_problem *problem)
{
    if (expected == NULL)
        return true;
    const struct srv_shelf_item *item = find_item(shelf, name);
    if (expected[0] == '\0') {
        if (item == NULL)
            return true;
        return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL, "there is a %s named %s already",
                               shelf->kind->noun, name);
    }
    if (item != NULL && shelf->kind == &MODELS && strcmp(efm_model_sha256(item->thing), expected) == 0)
        return true;
    return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL,
                           "the %s named %s is not the expected one", shelf->kind->noun, name);
}

/* ---- put and delete: files first, then the pointer ---- */

/* What has to be written for a put; bytes only for datasets. */
struct upload {
    const uint8_t *bytes;
    size_t size;
    const struct api_dataset_request *request;
};

static enum efm_status write_file(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                                  void *thing, const struct upload *upload, int64_t created,
                                  struct efm_error *error)
{
    if (shelf->folder < 0)
        return EFM_OK;
    if (shelf->kind == &MODELS)
        return srv_registry_write_model(registry, name, thing, created, error);
    return srv_registry_write_dataset(registry, name, upload->bytes, upload->size, upload->request, created,
                                      error);
}

static bool put(struct srv_registry *registry, struct srv_shelf *shelf, const char *name, void *thing,
                const struct upload *upload, struct srv_put *put, struct api_problem *problem)
{
    if (!api_name_valid(name))
        return api_problem_set(problem, API_P_INVALID_NAME, NULL,
                               "a name has 1 to 64 of the characters a-z A-Z 0-9 . _ - and begins with "
                               "neither . nor -");
    size_t bytes = shelf->kind->bytes(registry, thing);
    struct efm_error error = {0};
    pthread_mutex_lock(&shelf->files);
    pthread_mutex_lock(&registry->lock);
    bool good =
        as_expected(shelf, name, put->expected, problem) && reserve(registry, shelf, name, bytes, problem);
    pthread_mutex_unlock(&registry->lock);
    if (!good) {
        pthread_mutex_unlock(&shelf->files);
        return false;
    }
    put->created = (int64_t)time(NULL);
    good = write_file(registry, shelf, name, thing, upload, put->created, &error) == EFM_OK;
    void *old = NULL;
    pthread_mutex_lock(&registry->lock);
    if (good)
        old = commit(registry, shelf, name, shelf->kind->ref(thing), bytes, put->created);
    else
        registry->used -= bytes;
    pthread_mutex_unlock(&registry->lock);
    pthread_mutex_unlock(&shelf->files);
    if (!good) {
        char reason[300];
        srv_log(registry->log, SRV_LOG_ERROR, "storage_failed", "\"reason\":%s",
                srv_log_quote(error.message, reason, sizeof(reason)));
        return api_problem_set(problem, API_P_STORAGE, NULL, "%s", error.message);
    }
    put->replaced = old != NULL;
    if (old != NULL)
        shelf->kind->unref(old);
    return true;
}

static bool delete (struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                    struct api_problem *problem)
{
    struct efm_error error = {0};
    void *thing = NULL;
    pthread_mutex_lock(&shelf->files);
    pthread_mutex_lock(&registry->lock);
    bool found = find_item(shelf, name) != NULL;
    pthread_mutex_unlock(&registry->lock);
    /* the name is known, so it is one that passed api_name_valid */
    bool good = found && (shelf->folder < 0 || srv_registry_remove_file(shelf, name, &error) == EFM_OK);
    if (good) {
        pthread_mutex_lock(&registry->lock);
        struct srv_shelf_item *item = find_item(shelf, name);
        thing = item->thing;
        registry->used -= item->bytes;
        remove_item(shelf, item);
        show_metrics(registry, shelf, name);
        pthread_mutex_unlock(&registry->lock);
    }
    pthread_mutex_unlock(&shelf->files);
    if (!found)
        return api_problem_set(problem, shelf->kind->unknown, NULL, "there is no %s named '%.64s'",
                               shelf->kind->noun, name);
    if (!good)
        return api_problem_set(problem, API_P_STORAGE, NULL, "%s", error.message);
    shelf->kind->unref(thing);
    return true;
}

bool srv_registry_restore(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                          void *thing, int64_t created, struct efm_error *error)
{
    struct api_problem problem = {0};
    size_t bytes = shelf->kind->bytes(registry, thing);
    pthread_mutex_lock(&registry->lock);
    bool good = reserve(registry, shelf, name, bytes, &problem);
    if (good)
        commit(registry, shelf, name, thing, bytes, created);
    pthread_mutex_unlock(&registry->lock);
    if (good)
        return true;
    efm_error_set(error, EFM_E_FULL, "%.200s", problem.detail);
    shelf->kind->unref(thing);
    return false;
}

/* ---- looking ---- */

static void *get(struct srv_registry *registry, const struct srv_shelf *shelf, const char *name,
                 int64_t *created)
{
    void *thing = NULL;
    pthread_mutex_lock(&registry->lock);
    const struct srv_shelf_item *item = find_item(shelf, name);
    if (item != NULL) {
        thing = shelf->kind->ref(item->thing);
        if (created != NULL)
            *created = item->created;
    }
    pthread_mutex_unlock(&registry->lock);
    return thing;
}

/* The first item after `name`, copied to *next with a reference; goes on well when the shelf changes between
 * two calls. False at the end. */
static bool get_after(struct srv_registry *registry, const struct srv_shelf *shelf, const char *name,
                      struct srv_shelf_item *next)
{
    bool found;
    pthread_mutex_lock(&registry->lock);
    size_t place = find_place(shelf, name, &found);
    place += found;
    bool any = place < shelf->count;
    if (any) {
        *next = shelf->items[place];
        shelf->kind->ref(next->thing);
    }
    pthread_mutex_unlock(&registry->lock);
    return any;
}

/* ---- the public functions ---- */

struct efm_model *srv_registry_model(struct srv_registry *registry, const char *name, int64_t *created)
{
    return get(registry, &registry->models, name, created);
}

struct efm_dataset *srv_registry_dataset(struct srv_registry *registry, const char *name, int64_t *created)
{
    return get(registry, &registry->datasets, name, created);
}

struct efm_model *srv_registry_single_model(struct srv_registry *registry, char *out)
{
    struct efm_model *model = NULL;
    pthread_mutex_lock(&registry->lock);
    if (registry->models.count == 1) {
        model = efm_model_ref(registry->models.items[0].thing);
        memcpy(out, registry->models.items[0].name, API_NAME_SIZE);
    }
    pthread_mutex_unlock(&registry->lock);
    return model;
}

size_t srv_registry_room(struct srv_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    size_t room = registry->used < registry->max_memory ? registry->max_memory - registry->used : 0;
    pthread_mutex_unlock(&registry->lock);
    return room;
}

enum efm_status srv_registry_read_model(struct srv_registry *registry, struct efm_model **model,
                                        const uint8_t *bytes, size_t size, struct efm_error *error)
{
    return efm_model_load_as(model, bytes, size, srv_registry_room(registry), registry->precision, error);
}

bool srv_registry_put_model(struct srv_registry *registry, const char *name, struct efm_model *model,
                            struct srv_put *details, struct api_problem *problem)
{
    return put(registry, &registry->models, name, model, NULL, details, problem);
}

bool srv_registry_put_dataset(struct srv_registry *registry, const char *name, struct efm_dataset *dataset,
                              const uint8_t *bytes, size_t size, const struct api_dataset_request *request,
                              struct srv_put *details, struct api_problem *problem)
{
    struct upload upload = {bytes, size, request};
    return put(registry, &registry->datasets, name, dataset, &upload, details, problem);
}

bool srv_registry_delete_model(struct srv_registry *registry, const char *name, struct api_problem *problem)
{
    return delete (registry, &registry->models, name, problem);
}

bool srv_registry_delete_dataset(struct srv_registry *registry, const char *name, struct api_problem *problem)
{
    return delete (registry, &registry->datasets, name, problem);
}

void srv_registry_each_model(struct srv_registry *registry,
                             void (*visit)(void *context, const char *name, const struct efm_model *model,
                                           int64_t created),
                             void *context)
{
    struct srv_shelf_item item = {0};
    while (get_after(registry, &registry->models, item.name, &item)) {
        visit(context, item.name, item.thing, item.created);
        efm_model_unref(item.thing);
    }
}

void srv_registry_each_dataset(struct srv_registry *registry,
                               void (*visit)(void *context, const char *name,
                                             const struct efm_dataset *dataset, int64_t created),
                               void *context)
{
    struct srv_shelf_item item = {0};
    while (get_after(registry, &registry->datasets, item.name, &item)) {
        visit(context, item.name, item.thing, item.created);
        efm_dataset_unref(item.thing);
    }
}

/* ---- life ---- */

static bool init_shelf(struct srv_shelf *shelf, const struct srv_shelf_kind *kind, size_t capacity)
{
    shelf->kind = kind;
    shelf->folder = -1;
    shelf->capacity = capacity;
    shelf->items = efm_allocate_array(capacity, sizeof(*shelf->items));
    pthread_mutex_init(&shelf->files, NULL);
    return shelf->items != NULL;
}

static void release_shelf(struct srv_shelf *shelf)
{
    for (size_t i = 0; i < shelf->count; i++)
        shelf->kind->unref(shelf->items[i].thing);
    efm_free(shelf->items);
    if (shelf->folder >= 0)
        close(shelf->folder);
    pthread_mutex_destroy(&shelf->files);
}

enum efm_status srv_registry_create(struct srv_registry **registry,
                                    const struct srv_registry_options *options, struct srv_metrics *metrics,
                                    struct srv_log *log, struct efm_error *error)
{
    *registry = NULL;
    struct srv_registry *made = efm_allocate_array(1, sizeof(*made));
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the registry");
    made->metrics = metrics;
    made->log = log;
    made->max_memory = options->max_memory;
    made->image_limits = options->image_limits;
    made->precision = options->precision;
    made->workers = options->workers;
    made->threads_per_worker = options->threads_per_worker;
    made->batch = options->batch;
    if (made->image_limits.max_pixels == 0)
        made->image_limits = efm_image_limits_default();
    made->lock_file = -1;
    pthread_mutex_init(&made->lock, NULL);
    bool models = init_shelf(&made->models, &MODELS, options->max_models);
    bool datasets = init_shelf(&made->datasets, &DATASETS, options->max_datasets);
    enum efm_status status = EFM_OK;
    if (!models || !datasets)
        status = efm_error_set(error, EFM_E_MEMORY, "no memory for the registry");
    else if (options->state_dir != NULL && options->state_dir[0] != '\0')
        status = srv_registry_open(made, options->state_dir, error);
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
    release_shelf(&registry->models);
    release_shelf(&registry->datasets);
    if (registry->lock_file >= 0)
        close(registry->lock_file);
    pthread_mutex_destroy(&registry->lock);
    efm_free(registry);
}
