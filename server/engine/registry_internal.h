/* registry_internal.h - what registry.c and registry_files.c share: shelves of named things.
 *
 * Two kinds of lock: `lock` guards names, pointers and the budget, and is held for moments only; `files` of a
 * shelf makes the changes of one kind follow one another, is taken first and held while files are written. */
#ifndef SRV_ENGINE_REGISTRY_INTERNAL_H
#define SRV_ENGINE_REGISTRY_INTERNAL_H

#include "server/engine/registry.h"
#include "server/log.h"
#include "server/metrics.h"

#include <pthread.h>

/* One kind of thing; `thing` is a struct efm_model or struct efm_dataset. */
struct srv_shelf_kind {
    const char *noun; /* "model" */
    const char *folder, *suffix;
    enum api_problem_code unknown;
    void *(*ref)(void *thing);
    void (*unref)(void *thing);
    size_t (*bytes)(const struct srv_registry *registry, const void *thing);
};

struct srv_shelf_item {
    char name[API_NAME_SIZE];
    int64_t created;
    size_t bytes;
    void *thing; /* a reference of ours */
};

struct srv_shelf {
    const struct srv_shelf_kind *kind;
    struct srv_shelf_item *items; /* [capacity], sorted by name */
    size_t count, capacity;
    pthread_mutex_t files;
    int folder; /* -1 without a state directory */
};

struct srv_registry {
    struct srv_metrics *metrics;
    struct srv_log *log;
    size_t max_memory;
    struct efm_image_limits image_limits;
    enum efm_precision precision;
    size_t workers, threads_per_worker, batch; /* of the working space that is counted */
    int lock_file;                             /* -1 without a state directory */
    pthread_mutex_t lock;
    size_t used; /* bytes of all items, and of those about to be put */
    struct srv_shelf models, datasets;
};

/* Puts what was read from a file; false when there is no room. Takes over the reference. */
bool srv_registry_restore(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                          void *thing, int64_t created, struct efm_error *error);

/* ---- registry_files.c ---- */

/* Opens and locks the directory and loads what it holds. */
EFM_MUST_CHECK enum efm_status srv_registry_open(struct srv_registry *registry, const char *directory,
                                                 struct efm_error *error);
EFM_MUST_CHECK enum efm_status srv_registry_write_model(struct srv_registry *registry, const char *name,
                                                        const struct efm_model *model, int64_t created,
                                                        struct efm_error *error);
EFM_MUST_CHECK enum efm_status srv_registry_write_dataset(struct srv_registry *registry, const char *name,
                                                          const uint8_t *bytes, size_t size,
                                                          const struct api_dataset_request *request,
                                                          int64_t created, struct efm_error *error);
EFM_MUST_CHECK enum efm_status srv_registry_remove_file(struct srv_shelf *shelf, const char *name,
                                                        struct efm_error *error);

#endif
