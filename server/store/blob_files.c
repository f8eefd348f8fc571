// SPDX-License-Identifier: Apache-2.0
/* Blobs as files: the key is the path below the folder. What is being written lies in FOLDER/.temporary, a name that no
 * key can have, and is locked by its writer: whatever there can be locked belongs to nobody who lives. */
#include "server/store/blobs_internal.h"

#include "core/base/memory.h"
#include "server/store/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

enum { TRIES = 16, TEMPORARY_NAME = 48 };

static const char TEMPORARIES[] = ".temporary";

struct files {
    struct srv_blobs blobs;
    int root, temporaries;
    pthread_mutex_t names;         /* held while names are put and removed */
    uint64_t instance;             /* drawn at opening: no two processes make the same temporary names */
    atomic_uint_fast64_t numbered; /* temporary names so far */
};

struct files_writer {
    struct srv_blob_writer writer;
    char key[SRV_BLOB_KEY];
    char temporary[TEMPORARY_NAME];
    int file; /* locked */
};

/* ---- temporary files ---- */

static void name_temporary(struct files *files, char name[TEMPORARY_NAME])
{
    snprintf(name, TEMPORARY_NAME, "%016llx-%llu", (unsigned long long)files->instance,
             (unsigned long long)atomic_fetch_add(&files->numbered, 1));
}

/* Between open and flock a process that is opening the store may take it for a dead one's. */
static bool is_held(int file)
{
    struct stat facts;
    if (flock(file, LOCK_EX | LOCK_NB) != 0)
        return errno != EWOULDBLOCK; /* a file system without locks; then nothing is cleared either */
    return fstat(file, &facts) == 0 && facts.st_nlink > 0;
}

static int make_temporary(struct files *files, char name[TEMPORARY_NAME])
{
    for (int i = 0; i < TRIES; i++) {
        name_temporary(files, name);
        int file = openat(files->temporaries, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        if (file < 0 || is_held(file))
            return file;
        close(file);
        unlinkat(files->temporaries, name, 0);
    }
    errno = EBUSY;
    return -1;
}

static void clear_one(int folder, const char *name)
{
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return;
    if (flock(file, LOCK_EX | LOCK_NB) == 0)
        unlinkat(folder, name, 0);
    close(file);
}

static bool clear_temporaries(int folder)
{
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0)
        return false;
    DIR *entries = fdopendir(again);
    if (entries == NULL) {
        close(again);
        return false;
    }
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL)
        if (entry->d_name[0] != '.')
            clear_one(folder, entry->d_name);
    closedir(entries);
    return true;
}

/* ---- writing ---- */

static enum efm_status begin(struct srv_blobs *blobs, const char *key, struct srv_blob_writer **writer,
                             struct efm_error *error)
{
    struct files_writer *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the blob %.100s", key);
    made->file = make_temporary((struct files *)blobs, made->temporary);
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
    struct files_writer *own = (struct files_writer *)writer;
    return srv_blob_write_all(own->file, bytes, size) ? EFM_OK : srv_blobs_failed(own->key, "written", error);
}

static void abort_writer(struct srv_blob_writer *writer)
{
    struct files_writer *own = (struct files_writer *)writer;
    unlinkat(((struct files *)writer->blobs)->temporaries, own->temporary, 0);
    close(own->file);
    efm_free(own);
}

static bool publish(struct files *files, const char *temporary, const char *key)
{
    pthread_mutex_lock(&files->names);
    bool good = srv_blob_publish(files->root, files->temporaries, temporary, key);
    pthread_mutex_unlock(&files->names);
    return good;
}

static enum efm_status commit(struct srv_blob_writer *writer, struct efm_error *error)
{
    struct files_writer *own = (struct files_writer *)writer;
    /* closed last, because that unlocks it; after the sync a close has nothing to report */
    if (fsync(own->file) != 0 || !publish((struct files *)writer->blobs, own->temporary, own->key)) {
        enum efm_status status = srv_blobs_failed(own->key, "written", error);
        abort_writer(writer);
        return status;
    }
    close(own->file);
    efm_free(own);
    return EFM_OK;
}

/* ---- reading ---- */

static enum efm_status open_blob(struct srv_blobs *blobs, const char *key, struct srv_blob **blob,
                                 struct efm_error *error)
{
    struct files *files = (struct files *)blobs;
    struct stat facts;
    /* without O_NONBLOCK a pipe of that name would never open */
    int file = openat(files->root, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0 && (errno == ENOENT || errno == ENOTDIR))
        return efm_error_set(error, EFM_E_NOT_FOUND, "there is no blob %.100s", key);
    if (file < 0)
        return srv_blobs_failed(key, "opened", error);
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        close(file);
        return efm_error_set(error, EFM_E_NOT_FOUND, "there is no blob %.100s", key);
    }
    return srv_blob_file_create(blobs, file, (uint64_t)facts.st_size, blob, error);
}

/* ---- copying ---- */

static enum efm_status copy_bytes(struct srv_blobs *blobs, const char *from, const char *to,
                                  struct efm_error *error)
{
    struct srv_blob *blob;
    enum efm_status status = srv_blobs_open(blobs, from, &blob, error);
    if (status != EFM_OK)
        return status;
    const uint8_t *bytes = srv_blob_map(blob, error);
    status = bytes == NULL ? EFM_E_IO : srv_blobs_put(blobs, to, bytes, (size_t)blob->size, error);
    srv_blob_close(blob);
    return status;
}

static enum efm_status copy(struct srv_blobs *blobs, const char *from, const char *to,
                            struct efm_error *error)
{
    struct files *files = (struct files *)blobs;
    char temporary[TEMPORARY_NAME];
    for (int i = 0; i < TRIES; i++) {
        name_temporary(files, temporary);
        if (linkat(files->root, from, files->temporaries, temporary, 0) != 0) {
            if (errno == ENOENT || errno == ENOTDIR)
                return efm_error_set(error, EFM_E_NOT_FOUND, "there is no blob %.100s", from);
            if (errno == EMLINK || errno == EPERM || errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS)
                return copy_bytes(blobs, from, to, error);
            return srv_blobs_failed(to, "written", error);
        }
        if (publish(files, temporary, to))
            return EFM_OK;
        if (errno !=
            ENOENT) /* a second name is not locked: a process that opens the store may have cleared it */
            break;
    }
    return srv_blobs_failed(to, "written", error);
}

/* ---- names ---- */

static enum efm_status remove_blob(struct srv_blobs *blobs, const char *key, struct efm_error *error)
{
    struct files *files = (struct files *)blobs;
    pthread_mutex_lock(&files->names);
    bool good = srv_blob_withdraw(files->root, key);
    enum efm_status status = good ? EFM_OK : srv_blobs_failed(key, "removed", error);
    pthread_mutex_unlock(&files->names);
    return status;
}

static enum efm_status walk(int folder, const char *prefix, struct srv_blob_list *list,
                            struct efm_error *error);

static enum efm_status visit(DIR *folder, const char *prefix, const char *name, struct srv_blob_list *list,
                             struct efm_error *error)
{
    char key[SRV_BLOB_KEY];
    struct stat facts;
    if (snprintf(key, sizeof key, "%s%s", prefix, name) >= (int)sizeof key || !srv_blob_key_valid(key))
        return EFM_OK; /* not from here */
    if (fstatat(dirfd(folder), name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? EFM_OK : srv_blobs_failed(key, "listed", error);
    if (S_ISREG(facts.st_mode)) /* the time of change, because a second name keeps the time of writing */
        return srv_blob_list_add(list, key, (uint64_t)facts.st_size, srv_blob_seconds(&facts.st_ctim), error);
    if (!S_ISDIR(facts.st_mode) || strlen(key) + 1 >= sizeof key)
        return EFM_OK;
    int inner = openat(dirfd(folder), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inner < 0)
        return errno == ENOENT ? EFM_OK : srv_blobs_failed(key, "listed", error);
    key[strlen(key) + 1] = '\0';
    key[strlen(key)] = '/';
    return walk(inner, key, list, error);
}

/* Takes the folder over. As deep as a key has parts. */
static enum efm_status walk(int folder, const char *prefix, struct srv_blob_list *list,
                            struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    const struct dirent *entry;
    DIR *entries = fdopendir(folder);
    if (entries == NULL) {
        status = srv_blobs_failed(prefix, "listed", error);
        close(folder);
        return status;
    }
    errno = 0;
    while (status == EFM_OK && (entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] != '.')
            status = visit(entries, prefix, entry->d_name, list, error);
        errno = 0;
    }
    if (status == EFM_OK && errno != 0)
        status = srv_blobs_failed(prefix, "listed", error);
    closedir(entries);
    return status;
}

static enum efm_status list(struct srv_blobs *blobs, const char *prefix, struct srv_blob_facts **facts,
                            size_t *count, struct efm_error *error)
{
    struct files *files = (struct files *)blobs;
    struct srv_blob_list found = {0};
    int folder = openat(files->root, prefix[0] == '\0' ? "." : prefix, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && (errno == ENOENT || errno == ENOTDIR))
        return EFM_OK;
    if (folder < 0)
        return srv_blobs_failed(prefix, "listed", error);
    return srv_blob_list_finish(&found, walk(folder, prefix, &found, error), facts, count);
}

/* ---- the store ---- */

static void close_store(struct srv_blobs *blobs)
{
    struct files *files = (struct files *)blobs;
    if (files->temporaries >= 0)
        close(files->temporaries);
    if (files->root >= 0)
        close(files->root);
    pthread_mutex_destroy(&files->names);
    efm_free(files);
}

static const struct srv_blobs_class FILES = {
    .name = "files",
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

static enum efm_status open_folders(struct files *files, const char *folder, struct efm_error *error)
{
    enum efm_status status = srv_storage_folder(folder, &files->root, error);
    if (status != EFM_OK)
        return status;
    if (mkdirat(files->root, TEMPORARIES, 0750) == 0 || errno == EEXIST)
        files->temporaries = openat(files->root, TEMPORARIES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->temporaries < 0 || !clear_temporaries(files->temporaries))
        return srv_blobs_failed(TEMPORARIES, "used as a folder", error);
    return EFM_OK;
}

enum efm_status srv_blobs_open_files(struct srv_blobs **blobs, const char *folder, struct efm_error *error)
{
    struct files *files = efm_allocate_array(1, sizeof *files);
    if (files == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a store of blobs");
    files->blobs.class = &FILES;
    files->root = files->temporaries = -1;
    pthread_mutex_init(&files->names, NULL);
    if (getrandom(&files->instance, sizeof files->instance, 0) != (ssize_t)sizeof files->instance)
        files->instance = (uint64_t)getpid(); /* before the kernel has any */
    enum efm_status status = open_folders(files, folder, error);
    if (status != EFM_OK) {
        srv_blobs_close(&files->blobs);
        return status;
    }
    *blobs = &files->blobs;
    return EFM_OK;
}
