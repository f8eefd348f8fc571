/* registry.h - models and datasets by name, in memory and, with a state directory, on disk.
 *
 * A name points to an immutable thing; putting another one under the name swaps the pointer, and whoever
 * holds the old one keeps it until done. With a state directory a put is durable before it returns (temporary
 * file, fsync, rename, fsync of the folder), and create() loads all that is there:
 *   STATE/models/NAME.safetensors
 *   STATE/datasets/NAME.dataset    8 bytes: length of the header, little-endian; the header, a JSON object
 *                                  {"efmd_dataset": 1, "query": "size=32", "sha256": of the rest}; the bytes
 *                                  as they were uploaded
 *   STATE/lock                     held by the daemon that uses the directory
 *
 * Threads: any. Calls that read or write files may block: helper threads, not event threads. */
#ifndef SRV_ENGINE_REGISTRY_H
#define SRV_ENGINE_REGISTRY_H

#include "api/problem.h"
#include "api/resources.h"
#include "core/data/dataset.h"
#include "core/model/model.h"
#include "server/service.h"

#include <stddef.h>
#include <stdint.h>

struct srv_registry_options {
    const char *state_dir; /* NULL: memory only */
    size_t max_models, max_datasets;
    size_t max_memory;                    /* bytes of models and datasets together */
    struct efm_image_limits image_limits; /* for datasets that are loaded at the start; zero: the defaults */
    enum efm_precision precision;         /* that learned models run in */
    /* The working space that a learned model needs wherever it is used, counted as memory of the model: `workers`
     * of so many threads, each with an evaluation of `batch` lines and one of srv_points_capacity points. 0: none is counted. */
    size_t workers, threads_per_worker, batch;
};

struct srv_registry;

/* Loads what the state directory holds; a file that cannot be read is logged and left where it is. EFM_E_IO
 * when the directory itself cannot be made or is in use by another daemon (a lock file). */
EFM_MUST_CHECK enum efm_status srv_registry_create(struct srv_registry **registry,
                                                   const struct srv_registry_options *options,
                                                   struct srv_metrics *metrics, struct srv_log *log,
                                                   struct efm_error *error);
void srv_registry_destroy(struct srv_registry *registry);

/* A new reference, or NULL when there is none of that name; *created is when it was put (Unix seconds). */
struct efm_model *srv_registry_model(struct srv_registry *registry, const char *name, int64_t *created);
struct efm_dataset *srv_registry_dataset(struct srv_registry *registry, const char *name, int64_t *created);

/* The only model when there is just one (for requests that name none): name into out[API_NAME_SIZE]; NULL
 * otherwise. */
struct efm_model *srv_registry_single_model(struct srv_registry *registry, char *out);

/* The bytes that the budget still has, for limits on what is read or built next. */
size_t srv_registry_room(struct srv_registry *registry);

/* A model from the bytes of its file, in the precision and within the room of this registry; see efm_model_load. */
EFM_MUST_CHECK enum efm_status srv_registry_read_model(struct srv_registry *registry,
                                                       struct efm_model **model, const uint8_t *bytes,
                                                       size_t size, struct efm_error *error);

struct srv_put {
    const char *expected; /* in: NULL: whatever is there now; "": nothing of this name may be there; else the
                             sha256 of the model that is to be replaced */
    bool replaced;        /* out: there was one before */
    int64_t created;      /* out: Unix seconds */
};

/* Puts a reference of its own under `name`. False: API_P_PRECONDITION_FAILED when something else is there
 * than was expected, API_P_NO_MEMORY past the budget, API_P_STORAGE when the disk refused (the old one
 * stays), API_P_CONFLICT past the count. */
bool srv_registry_put_model(struct srv_registry *registry, const char *name, struct efm_model *model,
                            struct srv_put *put, struct api_problem *problem);
/* `bytes` are what was uploaded and `request` how they are read, for the state directory. */
bool srv_registry_put_dataset(struct srv_registry *registry, const char *name, struct efm_dataset *dataset,
                              const uint8_t *bytes, size_t size, const struct api_dataset_request *request,
                              struct srv_put *put, struct api_problem *problem);

/* False with API_P_UNKNOWN_MODEL / API_P_UNKNOWN_DATASET, or API_P_STORAGE. */
bool srv_registry_delete_model(struct srv_registry *registry, const char *name, struct api_problem *problem);
bool srv_registry_delete_dataset(struct srv_registry *registry, const char *name,
                                 struct api_problem *problem);

/* Calls visit for each, sorted by name, holding a reference during the call. */
void srv_registry_each_model(struct srv_registry *registry,
                             void (*visit)(void *context, const char *name, const struct efm_model *model,
                                           int64_t created),
                             void *context);
void srv_registry_each_dataset(struct srv_registry *registry,
                               void (*visit)(void *context, const char *name,
                                             const struct efm_dataset *dataset, int64_t created),
                               void *context);

#endif
