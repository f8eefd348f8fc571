/* registry.h - models and datasets by name: what is kept, what is in memory, what is being loaded.
 *
 * Records and bytes lie in the store; models in use lie in memory as well, least recently used ones leave when others need the room, and
 * come back when they are asked for. A name points to an immutable thing; putting another one under the name swaps the
 * pointer, and whoever holds the old one keeps it until done. A put is durable before it returns. Datasets are not kept in
 * memory at all: who needs one reads it.
 *
 *   record MODEL    id = name; document {"blob": key, "sha256", "bytes", "created", "trained_by", "needs": bytes of memory, "about": text}
 *   record DATASET  id = name; document {"blob": key, "preview": key, "sha256", "bytes", "created", "query": "size=32", "about": text}
 *   blob   models/NAME/RANDOM.safetensors, datasets/NAME/RANDOM, datasets/NAME/RANDOM.png
 *
 * "about" is the text of a JSON object: what api_model_describe or api_dataset_render said.
 *
 * A blob without a record is an upload that was cut off, and is removed when the daemon starts. Model files that somebody puts
 * into STATE/models/ are moved in at the start, as are the files of versions before 0.2.
 *
 *     srv_registry_create(&registry, &options, metrics, log, &error);   all names are known
 *     srv_registry_restore_later(registry, &error);                     and it serves at once
 *
 * Threads: any. Calls that say so block for files or computation: helper threads, not event threads. */
#ifndef SRV_ENGINE_REGISTRY_H
#define SRV_ENGINE_REGISTRY_H

#include "api/problem.h"
#include "api/resources.h"
#include "core/data/dataset.h"
#include "core/model/model.h"
#include "server/service.h"
#include "server/store/blobs.h"
#include "server/store/store.h"

#include <stddef.h>
#include <stdint.h>

struct srv_registry_options {
    struct srv_store *store; /* borrowed */
    struct srv_blobs *blobs; /* borrowed */
    const char *adopt;       /* folder whose model and dataset files are taken in; NULL: none */
    const char *scratch;     /* folder for the samples of large datasets; NULL: memory */
    size_t max_models, max_datasets;
    size_t memory_budget;   /* bytes of models in memory */
    uint64_t dataset_quota; /* bytes of stored datasets */
    double
        orphan_seconds; /* blobs without a record are removed at the start when they are as old; 0: all, where no other
                              daemon can be at work in the store */
    double patience; /* seconds that models in use are waited for when another one needs the room; 0: 3 */
    struct efm_image_limits image_limits; /* zero: the defaults */
    enum efm_precision precision;         /* that learned models run in */
    /* The working space that a learned model needs wherever it is used, counted as memory of the model: `workers`
     * of so many threads, each with an evaluation of `batch` lines and one of srv_points_capacity points. 0: none is counted. */
    size_t workers, threads_per_worker, batch;
};

struct srv_registry;

/* Reads the records and removes what was cut off. No model is in memory yet; who asks for one loads it. Puts and deletions wait until
 * srv_registry_restore has adopted files, which are older than they. */
EFM_MUST_CHECK enum efm_status srv_registry_create(struct srv_registry **registry,
                                                   const struct srv_registry_options *options,
                                                   struct srv_metrics *metrics, struct srv_log *log,
                                                   struct efm_error *error);
/* Also ends what restore_later began, and waits for it. NULL is fine. */
void srv_registry_destroy(struct srv_registry *registry);

/* Blocks; once. Adopts files, then loads models as far as the budget goes, most recently put first; one that cannot be loaded is
 * "failed" with its reason. What else goes wrong is in the log. */
void srv_registry_restore(struct srv_registry *registry);
/* The same on a thread of its own. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_registry_restore_later(struct srv_registry *registry,
                                                          struct efm_error *error);
/* Ends it before the next file or model. */
void srv_registry_stop_restoring(struct srv_registry *registry);
/* From create until it has gone through or was stopped. Takes no lock. */
bool srv_registry_restoring(const struct srv_registry *registry);

enum srv_model_state {
    SRV_MODEL_UNKNOWN,  /* no model of this name */
    SRV_MODEL_UNLOADED, /* kept, not in memory */
    SRV_MODEL_LOADING,
    SRV_MODEL_READY,
    SRV_MODEL_FAILED, /* could not be loaded; tried again when asked for */
};

/* A new reference when it is READY (and it is the most recently used one then); NULL otherwise, and the caller asks
 * srv_registry_load on a helper. Never blocks. `state` may be NULL. */
struct efm_model *srv_registry_model(struct srv_registry *registry, const char *name,
                                     enum srv_model_state *state);

/* The name of the only model when there is just one (for requests that name none) into out[API_NAME_SIZE]. */
bool srv_registry_single_model(struct srv_registry *registry, char *out);

/* Blocks. A new reference to a model that is loaded and warm, loading it when needed: many that ask at once share one load. Models that
 * nobody uses leave for it, the least recently used first; those in use stay, and are waited for some seconds. NULL with
 * API_P_UNKNOWN_MODEL, API_P_NO_MEMORY (models in use fill the budget), API_P_MODEL_TOO_LARGE (it alone is past the budget),
 * API_P_INVALID_MODEL, API_P_STORAGE. */
struct efm_model *srv_registry_load(struct srv_registry *registry, const char *name,
                                    struct api_problem *problem);

/* Takes it out of memory; requests under way keep it. It comes back when it is asked for. False with API_P_UNKNOWN_MODEL. */
bool srv_registry_unload(struct srv_registry *registry, const char *name, struct api_problem *problem);

struct srv_model_facts {
    char name[API_NAME_SIZE];
    char sha256[65];
    char trained_by[64]; /* id of a job; "" for none */
    char blob[SRV_BLOB_KEY];
    char reason[200]; /* of FAILED */
    enum srv_model_state state;
    uint64_t bytes; /* of the file */
    size_t memory;  /* 0 unless READY */
    int64_t created;
    char *
        about; /* owned: the JSON object of api_model_describe; NULL without memory for it; see srv_model_facts_release */
};
bool srv_registry_model_facts(struct srv_registry *registry, const char *name, struct srv_model_facts *facts);
void srv_model_facts_release(struct srv_model_facts *facts);

struct srv_dataset_facts {
    char name[API_NAME_SIZE];
    char sha256[65]; /* of the bytes as they were uploaded */
    char blob[SRV_BLOB_KEY], preview[SRV_BLOB_KEY];
    char query[256]; /* how it is read: "size=32&channels=3" */
    uint64_t bytes;  /* of the file */
    int64_t created;
    char *about; /* owned: the JSON object that clients see */
};
bool srv_registry_dataset_facts(struct srv_registry *registry, const char *name,
                                struct srv_dataset_facts *facts);
void srv_dataset_facts_release(struct srv_dataset_facts *facts);

/* Blocks: reads the samples. `override` replaces the options of the upload, NULL: as uploaded. NULL with a problem. */
struct efm_dataset *srv_registry_read_dataset(struct srv_registry *registry, const char *name,
                                              const struct efm_dataset_options *override,
                                              struct api_problem *problem);

/* The bytes that the budget of memory still has when all that can leave has left. */
size_t srv_registry_room(struct srv_registry *registry);

/* The folder for samples of large datasets, or NULL. */
const char *srv_registry_scratch(const struct srv_registry *registry);

struct srv_put {
    const char *expected; /* in: NULL: whatever is there now; "": nothing of this name may be there; else the
                               sha256 of what is to be replaced */
    const char *trained_by; /* in: id of a job; NULL: none */
    bool replaced;          /* out: there was one before */
    int64_t created;        /* out: Unix seconds */
};

/* Blocks. The bytes of a safetensors file, checked by loading and warming them before anything is replaced; a failure leaves
 * the old one. False: API_P_PRECONDITION_FAILED when something else is there than was expected, API_P_NO_MEMORY and
 * API_P_MODEL_TOO_LARGE as when loading, API_P_STORAGE when the disk refused, API_P_CONFLICT past the count, API_P_INVALID_MODEL and its like. *model, when
 * not NULL, is a new reference. */
bool srv_registry_put_model(struct srv_registry *registry, const char *name, const uint8_t *bytes,
                            size_t size, struct srv_put *put, struct efm_model **model,
                            struct api_problem *problem);

/* An upload of a dataset that is written while it arrives.
 * begin: API_P_QUOTA when `length` (-1: unknown) does not fit under the quota. append: the same, or API_P_INVALID_DATASET at the first wrong
 * byte, API_P_STORAGE. finish (blocks): reads and describes it, makes the preview, and puts it under `name`. */
struct srv_dataset_upload;
struct srv_dataset_upload *srv_registry_begin_dataset(struct srv_registry *registry, const char *name,
                                                      int64_t length, struct api_problem *problem);
bool srv_dataset_upload_append(struct srv_dataset_upload *upload, const void *bytes, size_t size,
                               struct api_problem *problem);
bool srv_dataset_upload_finish(struct srv_dataset_upload *upload, const struct api_dataset_request *request,
                               struct srv_put *put, struct api_problem *problem); /* frees the upload */
void srv_dataset_upload_abort(struct srv_dataset_upload *upload);                 /* NULL is fine */

/* Block. `expected`: NULL: whatever is there; else the sha256 of what is to be deleted. False with API_P_UNKNOWN_MODEL / API_P_UNKNOWN_DATASET, API_P_PRECONDITION_FAILED, or API_P_STORAGE. */
bool srv_registry_delete_model(struct srv_registry *registry, const char *name, const char *expected,
                               struct api_problem *problem);
bool srv_registry_delete_dataset(struct srv_registry *registry, const char *name, const char *expected,
                                 struct api_problem *problem);

/* Calls visit for each, sorted by name; facts are borrowed during the call. */
void srv_registry_each_model(struct srv_registry *registry,
                             void (*visit)(void *context, const struct srv_model_facts *facts),
                             void *context);
void srv_registry_each_dataset(struct srv_registry *registry,
                               void (*visit)(void *context, const struct srv_dataset_facts *facts),
                               void *context);

/* Names in state LOADING, for /readyz. */
size_t srv_registry_loading(struct srv_registry *registry);

/* Bytes that count against the budget now. Takes no lock. */
size_t srv_registry_memory(const struct srv_registry *registry);

#endif
