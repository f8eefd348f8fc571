/* blobs.h - large bytes that survive: weights, checkpoints, datasets, results.
 *
 * A blob has a key of folders and a name ("models/cats/1f3c.safetensors"), is written once as a whole and never
 * changed: a reader sees all of it or nothing, and one who has it open keeps it though it is removed or replaced.
 *
 *     struct srv_blob_writer *writer;
 *     srv_blobs_begin(blobs, "datasets/cats/1f3c", &writer, &error);
 *     srv_blob_append(writer, bytes, size, &error);
 *     srv_blob_commit(writer, &error);                      durable from here on; the writer is gone
 *
 *     srv_blobs_open(blobs, "datasets/cats/1f3c", &blob, &error);
 *     bytes = srv_blob_map(blob, &error);
 *     srv_blob_close(blob);
 *
 * Keys: parts of a-z A-Z 0-9 . _ - that do not begin with '.', joined by '/', at most SRV_BLOB_KEY - 1 bytes.
 * No key is the folder of another one: a store may refuse that with EFM_E_ARGUMENT.
 * Threads: any; a writer or an open blob belongs to one thread at a time. Calls may block for a disk; append does so
 * only as a write into the cache of the system does. */
#ifndef SRV_STORE_BLOBS_H
#define SRV_STORE_BLOBS_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SRV_BLOB_KEY = 200 };

struct srv_blobs;
struct srv_blob_writer;
struct srv_blob;

/* Files under `folder`, made when it is not there, all of it on one file system: temporary file, fsync, rename, fsync of
 * the folders. What a crash left unfinished is cleared away here; what a living process is writing is not. */
EFM_MUST_CHECK enum efm_status srv_blobs_open_files(struct srv_blobs **blobs, const char *folder,
                                                    struct efm_error *error);
/* In memory: memfd. */
EFM_MUST_CHECK enum efm_status srv_blobs_open_memory(struct srv_blobs **blobs, struct efm_error *error);
void srv_blobs_close(struct srv_blobs *blobs); /* NULL is fine; writers and blobs must be gone */

/* EFM_E_ARGUMENT for a key that is none; EFM_E_FULL when the disk is full; EFM_E_IO; EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_blobs_begin(struct srv_blobs *blobs, const char *key,
                                               struct srv_blob_writer **writer, struct efm_error *error);
/* After a failure only abort is allowed. */
EFM_MUST_CHECK enum efm_status srv_blob_append(struct srv_blob_writer *writer, const void *bytes, size_t size,
                                               struct efm_error *error);
uint64_t srv_blob_written(const struct srv_blob_writer *writer);
/* The bytes are there under the key, in place of older ones; whatever comes of it, the writer is freed. */
EFM_MUST_CHECK enum efm_status srv_blob_commit(struct srv_blob_writer *writer, struct efm_error *error);
void srv_blob_abort(struct srv_blob_writer *writer); /* NULL is fine */

/* begin, append, commit. */
EFM_MUST_CHECK enum efm_status srv_blobs_put(struct srv_blobs *blobs, const char *key, const void *bytes,
                                             size_t size, struct efm_error *error);

/* EFM_E_NOT_FOUND. */
EFM_MUST_CHECK enum efm_status srv_blobs_open(struct srv_blobs *blobs, const char *key,
                                              struct srv_blob **blob, struct efm_error *error);
uint64_t srv_blob_size(const struct srv_blob *blob);
/* All bytes, borrowed until close: mapped where the store can, read otherwise. NULL with an error; a blob of no bytes
 * gives a pointer to nothing. */
const uint8_t *srv_blob_map(struct srv_blob *blob, struct efm_error *error);
/* A descriptor of its own for sending, to be closed by the caller; -1 when the store has none (then map). */
int srv_blob_descriptor(struct srv_blob *blob);
void srv_blob_close(struct srv_blob *blob); /* NULL is fine */

/* The same bytes under a second key, without copying them where the store can. EFM_E_NOT_FOUND. Replaces. */
EFM_MUST_CHECK enum efm_status srv_blobs_copy(struct srv_blobs *blobs, const char *from, const char *to,
                                              struct efm_error *error);

/* A key that is not there is no error. */
EFM_MUST_CHECK enum efm_status srv_blobs_remove(struct srv_blobs *blobs, const char *key,
                                                struct efm_error *error);

struct srv_blob_facts {
    char key[SRV_BLOB_KEY];
    uint64_t size;
    double
        modified; /* Unix seconds: when it came under this key, or later; a copy may make the original look newer */
};

/* Every blob whose key begins with `prefix` (of whole parts: "jobs/", "datasets/cats/"; "" all), sorted by key;
 * *facts is owned by the caller (efm_free). */
EFM_MUST_CHECK enum efm_status srv_blobs_list(struct srv_blobs *blobs, const char *prefix,
                                              struct srv_blob_facts **facts, size_t *count,
                                              struct efm_error *error);
/* Removes all of them. */
EFM_MUST_CHECK enum efm_status srv_blobs_remove_all(struct srv_blobs *blobs, const char *prefix,
                                                    struct efm_error *error);

bool srv_blob_key_valid(const char *key);

/* ---- for those who implement one ---- */

struct srv_blobs_class {
    const char *name;
    void (*close)(struct srv_blobs *blobs);
    enum efm_status (*begin)(struct srv_blobs *blobs, const char *key, struct srv_blob_writer **writer,
                             struct efm_error *error);
    enum efm_status (*append)(struct srv_blob_writer *writer, const void *bytes, size_t size,
                              struct efm_error *error);
    enum efm_status (*commit)(struct srv_blob_writer *writer, struct efm_error *error);
    void (*abort)(struct srv_blob_writer *writer);
    enum efm_status (*open)(struct srv_blobs *blobs, const char *key, struct srv_blob **blob,
                            struct efm_error *error);
    const uint8_t *(*map)(struct srv_blob *blob, struct efm_error *error);
    int (*descriptor)(struct srv_blob *blob);
    void (*close_blob)(struct srv_blob *blob);
    enum efm_status (*copy)(struct srv_blobs *blobs, const char *from, const char *to,
                            struct efm_error *error);
    enum efm_status (*remove)(struct srv_blobs *blobs, const char *key, struct efm_error *error);
    enum efm_status (*list)(struct srv_blobs *blobs, const char *prefix, struct srv_blob_facts **facts,
                            size_t *count, struct efm_error *error);
};

/* Embedded as first members of an implementation. */
struct srv_blobs {
    const struct srv_blobs_class *class;
};
struct srv_blob_writer {
    struct srv_blobs *blobs;
    uint64_t written;
    bool failed; /* an append: there is nothing to commit */
};
struct srv_blob {
    struct srv_blobs *blobs;
    uint64_t size;
};

#endif
