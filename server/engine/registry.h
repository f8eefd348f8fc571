/* registry.h - models and datasets by name, in memory and, with a state directory, on disk.
 *
 * A name points to an immutable thing; putting another one under the name swaps the pointer, and whoever
 * holds the old one keeps it until done. With a state directory a put is durable before it returns (temporary
 * file, fsync, rename, fsync of the folder), and create() loads all that is there:
 * STATE/models/NAME.safetensors, STATE/datasets/NAME.data (the bytes as uploaded) with NAME.json (how they
 * are read).
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
    size_t max_memory; /* bytes of models and datasets together */
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

/* Puts a reference of its own under `name`. *replaced says whether there was one before. False:
 * API_P_NO_MEMORY past the budget, API_P_STORAGE when the disk refused (the old one stays), API_P_CONFLICT
 * past the count. */
bool srv_registry_put_model(struct srv_registry *registry, const char *name, struct efm_model *model,
                            bool *replaced, struct api_problem *problem);
/* `bytes` are what was uploaded and `request` how they are read, for the state directory. */
bool srv_registry_put_dataset(struct srv_registry *registry, const char *name, struct efm_dataset *dataset,
                              const uint8_t *bytes, size_t size, const struct api_dataset_request *request,
                              bool *replaced, struct api_problem *problem);

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
