// SPDX-License-Identifier: Apache-2.0
#include "server/store/blobs_internal.h"

#include "core/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum efm_status srv_blobs_failed(const char *key, const char *what, struct efm_error *error)
{
    enum efm_status status = EFM_E_IO;
    if (errno == ENOSPC || errno == EDQUOT)
        status = EFM_E_FULL;
    else if (errno == ENOMEM)
        status = EFM_E_MEMORY;
    else if (errno == ENOTDIR || errno == EISDIR)
        return efm_error_set(error, EFM_E_ARGUMENT, "the key %.100s cannot be had: a blob is no folder", key);
    return efm_error_set(error, status, "the blob %.100s cannot be %s: %m", key, what);
}

/* ---- lists ---- */

enum efm_status srv_blob_list_add(struct srv_blob_list *list, const char *key, uint64_t size, double modified,
                                  struct efm_error *error)
{
    if (list->count == list->capacity) {
        size_t larger;
        struct srv_blob_facts *moved = NULL;
        if (efm_size_multiply(list->capacity, 2, &larger) && efm_size_add(larger, 32, &larger))
            moved = efm_allocate_array(larger, sizeof *moved);
        if (moved == NULL)
            return efm_error_set(error, EFM_E_MEMORY, "no memory for a list of blobs");
        if (list->count > 0)
            memcpy(moved, list->facts, list->count * sizeof *moved);
        efm_free(list->facts);
        list->facts = moved;
        list->capacity = larger;
    }
    struct srv_blob_facts *facts = &list->facts[list->count++];
    snprintf(facts->key, sizeof facts->key, "%s", key);
    facts->size = size;
    facts->modified = modified;
    return EFM_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct srv_blob_facts *)a)->key, ((const struct srv_blob_facts *)b)->key);
}

enum efm_status srv_blob_list_finish(struct srv_blob_list *list, enum efm_status status,
                                     struct srv_blob_facts **facts, size_t *count)
{
    if (status != EFM_OK) {
        efm_free(list->facts);
        return status;
    }
    if (list->count > 0)
        qsort(list->facts, list->count, sizeof *list->facts, by_key);
    *facts = list->facts;
    *count = list->count;
    return EFM_OK;
}

/* ---- descriptors ---- */

enum efm_status srv_blob_file_create(struct srv_blobs *blobs, int file, uint64_t size, struct srv_blob **blob,
                                     struct efm_error *error)
{
    struct srv_blob_file *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL) {
        close(file);
        return efm_error_set(error, EFM_E_MEMORY, "no memory to open a blob");
    }
    made->blob = (struct srv_blob){.blobs = blobs, .size = size};
    made->file = file;
    *blob = &made->blob;
    return EFM_OK;
}

const uint8_t *srv_blob_file_map(struct srv_blob *blob, struct efm_error *error)
{
    struct srv_blob_file *file = (struct srv_blob_file *)blob;
    if (file->mapped != NULL)
        return file->mapped;
    if (blob->size > SIZE_MAX) {
        efm_error_set(error, EFM_E_MEMORY, "a blob is too large to be mapped");
        return NULL;
    }
    void *mapped = mmap(NULL, (size_t)blob->size, PROT_READ, MAP_SHARED, file->file, 0);
    if (mapped == MAP_FAILED) {
        efm_error_set(error, errno == ENOMEM ? EFM_E_MEMORY : EFM_E_IO, "a blob cannot be mapped: %m");
        return NULL;
    }
    file->mapped = mapped;
    return mapped;
}

int srv_blob_file_descriptor(struct srv_blob *blob)
{
    const struct srv_blob_file *file = (const struct srv_blob_file *)blob;
    char path[64];
    /* opened anew, because duplicates share one place of reading; works for what was removed too */
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->file);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    return opened >= 0 ? opened : fcntl(file->file, F_DUPFD_CLOEXEC, 0);
}

void srv_blob_file_close(struct srv_blob *blob)
{
    struct srv_blob_file *file = (struct srv_blob_file *)blob;
    if (file->mapped != NULL)
        munmap(file->mapped, (size_t)blob->size);
    close(file->file);
    efm_free(file);
}

bool srv_blob_write_all(int file, const void *bytes, size_t size)
{
    const uint8_t *left = bytes;
    while (size > 0) {
        ssize_t written = write(file, left, size);
        if (written == 0)
            errno = EIO;
        if (written == 0 || (written < 0 && errno != EINTR))
            return false;
        if (written > 0) {
            left += written;
            size -= (size_t)written;
        }
    }
    return true;
}

double srv_blob_seconds(const struct timespec *time)
{
    return (double)time->tv_sec + (double)time->tv_nsec * 1e-9;
}
