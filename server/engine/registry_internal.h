/* registry_internal.h - what the files of the registry share: shelves of named items, their records, the memory of models.
 *
 * Locks: `changes` of a shelf makes changes of one kind follow one another, is taken first and held while a record is committed;
 * `lock` guards shelves and the state of items, and is held for moments only. No model is freed under `lock`. */
#ifndef SRV_ENGINE_REGISTRY_INTERNAL_H
#define SRV_ENGINE_REGISTRY_INTERNAL_H

#include "server/engine/registry.h"
#include "server/log.h"
#include "server/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

/* A model or a dataset: what its record says and, of models, what is in memory. */
struct srv_item {
    char name[API_NAME_SIZE];
    char blob[SRV_BLOB_KEY], preview[SRV_BLOB_KEY]; /* preview "": none */
    char sha256[65], trained_by[64], query[256];
    uint64_t bytes;   /* of the blob */
    uint64_t needs;   /* bytes of memory that the model took when it was put */
    uint64_t version; /* of the record */
    int64_t created;
    char *about; /* owned */

    /* of models, not in the record */
    enum srv_model_state state;
    struct efm_model *model; /* our reference; NULL unless READY */
    size_t memory;           /* of the model, as charged */
    uint64_t used;           /* by the registry's clock, when it was last asked for */
    unsigned loads;          /* that have ended */
    bool leave;              /* was unloaded while it was being loaded */
    enum api_problem_code failure;
    char reason[200];
};

struct srv_shelf {
    enum srv_record_kind kind;
    const char *noun, *folder; /* "model", "models/": the folder of its blobs */
    enum api_problem_code unknown;
    struct srv_item **items; /* [capacity], owned, sorted by name */
    size_t count, capacity;
    size_t most; /* that may be put */
    pthread_mutex_t changes;
};

/* Counts the bytes of models from when they are made until their last reference is gone, wherever that is held: it may outlive the
 * registry, so it is shared with the models. Threads: any. */
struct srv_model_memory;

struct srv_registry {
    struct srv_registry_options options; /* the limits of images filled in */
    struct srv_metrics *metrics;
    struct srv_log *log;
    struct srv_model_memory *memory;
    pthread_mutex_t lock;
    pthread_cond_t loaded; /* a load has ended, or files were adopted */
    struct srv_shelf models, datasets;
    uint64_t clock;
    uint64_t uploading; /* bytes of the quota that unfinished uploads hold */
    atomic_size_t loading;

    /* the start */
    bool adopted;   /* under `lock`, told by `loaded`: changes may be made */
    bool cut_short; /* under `lock`: the server stops, and files were left for the next start */
    atomic_bool restored, stop;
    bool has_thread;
    pthread_t thread; /* that restores */
};

/* ---- registry.c: shelves, with `lock` held ---- */

struct srv_item *srv_shelf_find(const struct srv_shelf *shelf, const char *name);
/* Makes sure that one more can be put. */
EFM_MUST_CHECK bool srv_shelf_reserve(struct srv_shelf *shelf);
/* Takes over `item`, for which there is room; gives back the one it replaces, or NULL. */
struct srv_item *srv_shelf_put(struct srv_shelf *shelf, struct srv_item *item);
struct srv_item *srv_shelf_take(struct srv_shelf *shelf, const char *name); /* NULL: none there */
/* The first item after `name` ("": the first of all), or NULL. */
const struct srv_item *srv_shelf_after(const struct srv_shelf *shelf, const char *name);
/* Takes the model out of a READY item; the caller gives back the reference, without the lock. */
struct efm_model *srv_item_detach(struct srv_registry *registry, struct srv_item *item, const char *reason);

/* ---- registry.c, without the lock ---- */

void srv_item_free(struct srv_item *item); /* and its reference to the model */
bool srv_registry_check_name(const char *name, struct api_problem *problem);
bool srv_registry_unknown(const struct srv_shelf *shelf, const char *name, struct api_problem *problem);
/* models/NAME/RANDOM plus `suffix`; `random`, 16 digits and a NUL, is made when it is empty. */
bool srv_registry_blob_key(const struct srv_shelf *shelf, const char *name, char random[17],
                           const char *suffix, char key[SRV_BLOB_KEY], struct api_problem *problem);
/* Says so in the log and to the client; EFM_E_FULL and EFM_E_IO are API_P_STORAGE. Always false. */
bool srv_registry_store_failed(struct srv_registry *registry, const struct efm_error *error,
                               struct api_problem *problem);
/* What can be done no more about a failure is in the log. "": no blob. */
void srv_registry_remove_blob(struct srv_registry *registry, const char *key);
void srv_registry_show_datasets(struct srv_registry *registry); /* in the metrics */

/* ---- registry_records.c ---- */

/* Every record of the kind onto its shelf, except those that no daemon could read. */
EFM_MUST_CHECK enum efm_status srv_registry_read_records(struct srv_registry *registry,
                                                         struct srv_shelf *shelf, struct efm_error *error);
EFM_MUST_CHECK enum efm_status srv_registry_remove_orphans(struct srv_registry *registry,
                                                           const struct srv_shelf *shelf,
                                                           struct efm_error *error);
/* The record as it is now; *item is the caller's. EFM_E_NOT_FOUND. */
EFM_MUST_CHECK enum efm_status srv_registry_fetch(struct srv_registry *registry,
                                                  const struct srv_shelf *shelf, const char *name,
                                                  struct srv_item **item, struct efm_error *error);
/* Commits the record and puts the item, which is taken over when this is true; its blobs are there already. The blobs that were
 * replaced are removed. On failure the item names the blobs that the caller is to remove. */
bool srv_registry_commit(struct srv_registry *registry, struct srv_shelf *shelf, struct srv_item *item,
                         struct srv_put *put, struct api_problem *problem);
bool srv_registry_delete(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                         const char *expected, struct api_problem *problem);
/* What is there now against what was expected, by the shelf: for refusing early. */
bool srv_registry_check_expected(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                                 const char *expected, struct api_problem *problem);

/* ---- registry_memory.c ---- */

EFM_MUST_CHECK enum efm_status srv_model_memory_create(struct srv_model_memory **memory, size_t budget,
                                                       struct efm_error *error);
void srv_model_memory_unref(struct srv_model_memory *memory);
size_t srv_model_memory_used(const struct srv_model_memory *memory);

/* Takes `bytes` of the budget for the model `name`; what is in memory under this name will make room and is not counted. Models that
 * only the registry holds leave, least recently used first, if that makes the room; else those in use get up to `patience`
 * seconds to become idle; none leaves when that is negative. API_P_MODEL_TOO_LARGE when it never fits, API_P_NO_MEMORY when it does not now. */
bool srv_registry_take_memory(struct srv_registry *registry, const char *name, size_t bytes, double patience,
                              struct api_problem *problem);
void srv_registry_give_memory(struct srv_registry *registry, size_t bytes);
/* What was taken belongs to the model from now on, and comes back when that is gone. */
EFM_MUST_CHECK bool srv_registry_charge(struct srv_registry *registry, struct efm_model *model, size_t bytes);

/* ---- registry_making.c ---- */

/* The bytes of a file on their way to a model. */
struct srv_model_making {
    struct srv_registry *registry;
    const char *name;
    const uint8_t *bytes;
    size_t size;
    uint64_t needs;  /* of memory, as far as is known; taken before it is read, the rest after */
    double patience; /* see srv_registry_take_memory */
    struct efm_model *model;
    size_t memory; /* taken, until it is the model's */
};

/* making->model is warm and charged, or there is a problem and nothing is left. */
bool srv_registry_make_model(struct srv_model_making *making, struct api_problem *problem);
/* What the model takes: with the working space of a network, which is not shared. */
size_t srv_registry_model_bytes(const struct srv_registry *registry, const struct efm_model *model);
/* What api_model_describe says, owned by the caller; NULL without memory for it. */
char *srv_registry_describe_model(const char *name, const struct efm_model *model);

/* ---- registry_models.c ---- */

/* Loads what fits, most recently put first, until registry->stop. */
void srv_registry_load_first(struct srv_registry *registry);
bool srv_registry_put_model_as_of(struct srv_registry *registry, const char *name, const uint8_t *bytes,
                                  size_t size, int64_t created, struct srv_put *put, struct efm_model **model,
                                  struct api_problem *problem);

/* ---- dataset_upload.c ---- */

bool srv_dataset_upload_finish_as_of(struct srv_dataset_upload *upload,
                                     const struct api_dataset_request *request, int64_t created,
                                     struct srv_put *put, struct api_problem *problem);
/* How a dataset is read by the daemon: the limits of images and samples, the scratch folder. */
void srv_registry_limit_reading(const struct srv_registry *registry, struct efm_dataset_options *options);

/* ---- registry_adopt.c ---- */

/* Makes STATE/models where there is none; EFM_E_IO when it cannot be read later. */
EFM_MUST_CHECK enum efm_status srv_registry_make_folder(const char *directory, struct efm_error *error);
/* Moves in files of STATE/models and STATE/datasets, until registry->stop. */
EFM_MUST_CHECK enum efm_status srv_registry_adopt(struct srv_registry *registry, const char *directory,
                                                  struct efm_error *error);

/* ---- registry_restore.c ---- */

/* Waits until files have been adopted: what lay there before is not to replace what a client puts now. False when some were left for the
 * next start, which would. */
bool srv_registry_await_adoption(struct srv_registry *registry, struct api_problem *problem);

#endif
