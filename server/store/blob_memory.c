// SPDX-License-Identifier: Apache-2.0
// Blobs without a disk: each is a memfd, held by the table, by those who have it open, and by its copies.
#include "server/store/blobs_internal.h"

#include "core/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct entry {
    char key[SRV_BLOB_KEY];
    int file;
    uint64_t size;
    double modified;
};

struct memory {
    struct srv_blobs blobs;
    pthread_mutex_t lock; /* the table */
    struct entry *entries;
    size_t count, capacity;
};

struct memory_writer {
    struct srv_blob_writer writer;
    char key[SRV_BLOB_KEY];
    int file;
};

/* ---- the table, with the lock held ---- */

static struct entry *find(struct memory *memory, const char *key)
{
    for (size_t i = 0; i < memory->count; i++)
        if (strcmp(memory->entries[i].key, key) == 0)
            return &memory->entries[i];
    return NULL;
}

static struct entry *add(struct memory *memory, const char *key)
{
    if (!efm_array_grow(&memory->entries, memory->count, &memory->capacity, sizeof *memory->entries))
        return NULL;
    struct entry *entry = &memory->entries[memory->count++];
    *entry = (struct entry){.file = -1};
    snprintf(entry->key, sizeof entry->key, "%s", key);
    return entry;
}

/* Takes `file` over. */
static enum efm_status set(struct memory *memory, const char *key, int file, uint64_t size,
                           struct efm_error *error)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    struct entry *entry = find(memory, key);
    if (entry == NULL)
        entry = add(memory, key);
    if (entry == NULL) {
        close(file);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the blob %.100s", key);
    }
    if (entry->file >= 0)
        close(entry->file);
    entry->file = file;
    entry->size = size;
    entry->modified = srv_blob_seconds(&time);
    return EFM_OK;
}

/* A second descriptor of the blob, for the caller to close. */
static enum efm_status share(struct memory *memory, const char *key, int *file, uint64_t *size,
                             struct efm_error *error)
{
    const struct entry *entry = find(memory, key);
    if (entry == NULL)
        return efm_error_set(error, EFM_E_NOT_FOUND, "there is no blob %.100s", key);
    *file = fcntl(entry->file, F_DUPFD_CLOEXEC, 0);
    *size = entry->size;
    return *file >= 0 ? EFM_OK : srv_blobs_failed(key, "opened", error);
}

/* ---- writing ---- */

static enum efm_status begin(struct srv_blobs *blobs, const char *key, struct srv_blob_writer **writer,
                             struct efm_error *error)
{
    (void)blobs;
    struct memory_writer *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the blob %.100s", key);
    made->file = memfd_create("efmd-blob", MFD_CLOEXEC);
    if (made->file < 0) {
        enum efm_status status = srv_blobs_failed(key, "begun", error);
        efm_free(made);
        return status;
    }
    snprintf(made->key, sizeof made->key, "%s", key);
    *writer = &made->writer;
    return EFM_OK;
}

static enum efm_status append(struct srv_blob_writer *writer, const void *bytes, size_t size,
                              struct efm_error *error)
{
    struct memory_writer *own = (struct memory_writer *)writer;
    return srv_blob_write_all(own->file, bytes, size) ? EFM_OK : srv_blobs_failed(own->key, "written", error);
}

static enum efm_status commit(struct srv_blob_writer *writer, struct efm_error *error)
{
    struct memory_writer *own = (struct memory_writer *)writer;
    struct memory *memory = (struct memory *)writer->blobs;
    pthread_mutex_lock(&memory->lock);
    enum efm_status status = set(memory, own->key, own->file, writer->written, error);
    pthread_mutex_unlock(&memory->lock);
    efm_free(own);
    return status;
}

static void abort_writer(struct srv_blob_writer *writer)
{
    struct memory_writer *own = (struct memory_writer *)writer;
    close(own->file);
    efm_free(own);
}

static enum efm_status copy(struct srv_blobs *blobs, const char *from, const char *to,
                            struct efm_error *error)
{
    struct memory *memory = (struct memory *)blobs;
    int file = -1;
    uint64_t size = 0;
    pthread_mutex_lock(&memory->lock);
    enum efm_status status = share(memory, from, &file, &size, error);
    if (status == EFM_OK)
        status = set(memory, to, file, size, error);
    pthread_mutex_unlock(&memory->lock);
    return status;
}

/* ---- reading ---- */

static enum efm_status open_blob(struct srv_blobs *blobs, const char *key, struct srv_blob **blob,
                                 struct efm_error *error)
{
    struct memory *memory = (struct memory *)blobs;
    int file = -1;
    uint64_t size = 0;
    pthread_mutex_lock(&memory->lock);
    enum efm_status status = share(memory, key, &file, &size, error);
    pthread_mutex_unlock(&memory->lock);
    return status != EFM_OK ? status : srv_blob_file_create(blobs, file, size, blob, error);
}

static enum efm_status remove_blob(struct srv_blobs *blobs, const char *key, struct efm_error *error)
{
    struct memory *memory = (struct memory *)blobs;
    (void)error;
    pthread_mutex_lock(&memory->lock);
    struct entry *entry = find(memory, key);
    if (entry != NULL) {
        close(entry->file);
        *entry = memory->entries[--memory->count];
    }
    pthread_mutex_unlock(&memory->lock);
    return EFM_OK;
}

static enum efm_status list(struct srv_blobs *blobs, const char *prefix, struct srv_blob_facts **facts,
                            size_t *count, struct efm_error *error)
{
    struct memory *memory = (struct memory *)blobs;
    struct srv_blob_list found = {0};
    enum efm_status status = EFM_OK;
    pthread_mutex_lock(&memory->lock);
    for (size_t i = 0; i < memory->count && status == EFM_OK; i++) {
        const struct entry *entry = &memory->entries[i];
        if (strncmp(entry->key, prefix, strlen(prefix)) == 0)
            status = srv_blob_list_add(&found, entry->key, entry->size, entry->modified, error);
    }
    pthread_mutex_unlock(&memory->lock);
    return srv_blob_list_finish(&found, status, facts, count);
}

/* ---- the store ---- */

static void close_store(struct srv_blobs *blobs)
{
    struct memory *memory = (struct memory *)blobs;
    for (size_t i = 0; i < memory->count; i++)
        close(memory->entries[i].file);
    efm_free(memory->entries);
    pthread_mutex_destroy(&memory->lock);
    efm_free(memory);
}

static const struct srv_blobs_class MEMORY = {
    .name = "memory",
    .close = close_store,
    .begin = begin,
    .append = append,
    .commit = commit,
    .abort = abort_writer,
    .open = open_blob,
    .map = srv_blob_file_map,
    .descriptor = srv_blob_file_descriptor,
    .close_blob = srv_blob_file_close,
    .copy = copy,
    .remove = remove_blob,
    .list = list,
};

enum efm_status srv_blobs_open_memory(struct srv_blobs **blobs, struct efm_error *error)
{
    struct memory *memory = efm_allocate_array(1, sizeof *memory);
    if (memory == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a store of blobs");
    memory->blobs.class = &MEMORY;
    pthread_mutex_init(&memory->lock, NULL);
    *blobs = &memory->blobs;
    return EFM_OK;
}
