// SPDX-License-Identifier: Apache-2.0
#include "server/store/storage.h"

#include "core/base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char TEMPORARY[] = ".tmp";

static bool ends_in(const char *name, const char *suffix)
{
    size_t length = strlen(name), wanted = strlen(suffix);
    return length > wanted && strcmp(name + length - wanted, suffix) == 0;
}

/* The name of a folder that was just made. */
static bool sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    memcpy(parent, path, length);
    snprintf(parent + length, sizeof(parent) - length, ".");
    int folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == EACCES; /* one that may be passed but not read */
    bool synced = fsync(folder) == 0;
    close(folder);
    return synced;
}

enum efm_status srv_storage_folder(const char *path, int *folder, struct efm_error *error)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(part))
        return efm_error_set(error, EFM_E_IO, "the path of the state directory is empty or too long");
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        bool made = mkdir(part, 0750) == 0;
        if (made ? !sync_parent(part) : errno != EEXIST) {
            efm_error_set(error, EFM_E_IO, "the folder %.120s cannot be made: %m", part);
            if (made)
                rmdir(part);
            return EFM_E_IO;
        }
    }
    *folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return efm_error_set(error, EFM_E_IO, "the folder %.120s cannot be opened: %m", path);
    return EFM_OK;
}

enum efm_status srv_storage_lock(const char *directory, int *file, struct efm_error *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/lock", directory) >= (int)sizeof(path))
        return efm_error_set(error, EFM_E_IO, "the path of the state directory is too long");
    int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (opened < 0)
        return efm_error_set(error, EFM_E_IO, "the file %.120s cannot be made: %m", path);
    if (flock(opened, LOCK_EX | LOCK_NB) != 0) {
        bool taken = errno == EWOULDBLOCK;
        close(opened);
        if (taken)
            return efm_error_set(error, EFM_E_IO, "the state directory %.120s is in use by another daemon",
                                 directory);
        return efm_error_set(error, EFM_E_IO, "the file %.120s cannot be locked", path);
    }
    *file = opened;
    return EFM_OK;
}

/* ---- writing ---- */

static bool write_all(int file, const struct srv_storage_part *part)
{
    const uint8_t *data = part->data;
    size_t left = part->size;
    while (left > 0) {
        ssize_t written = write(file, data, left);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            data += written;
            left -= (size_t)written;
        }
    }
    return true;
}

static bool write_temporary(int folder, const char *name, const struct srv_storage_part *parts, size_t count,
                            int64_t changed)
{
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0)
        return false;
    bool good = true;
    for (size_t i = 0; i < count && good; i++)
        good = write_all(file, &parts[i]);
    /* of the last access nothing is said */
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)changed}};
    good = good && futimens(file, times) == 0 && fsync(file) == 0;
    int reason = errno;
    if (close(file) != 0 && good)
        return false;
    errno = reason;
    return good;
}

enum efm_status srv_storage_write(int folder, const char *name, const struct srv_storage_part *parts,
                                  size_t count, int64_t changed, struct efm_error *error)
{
    char temporary[NAME_MAX + 1];
    if (snprintf(temporary, sizeof(temporary), ".%s%s", name, TEMPORARY) >= (int)sizeof(temporary))
        return efm_error_set(error, EFM_E_IO, "the file name is too long");
    if (!write_temporary(folder, temporary, parts, count, changed) ||
        renameat(folder, temporary, folder, name) != 0) {
        efm_error_set(error, EFM_E_IO, "the file %.100s cannot be written: %m", name);
        unlinkat(folder, temporary, 0);
        return EFM_E_IO;
    }
    if (fsync(folder) != 0)
        return efm_error_set(error, EFM_E_IO, "the folder of %.100s cannot be synced: %m", name);
    return EFM_OK;
}

enum efm_status srv_storage_remove(int folder, const char *name, struct efm_error *error)
{
    if (unlinkat(folder, name, 0) != 0 && errno != ENOENT)
        return efm_error_set(error, EFM_E_IO, "the file %.100s cannot be removed: %m", name);
    if (fsync(folder) != 0)
        return efm_error_set(error, EFM_E_IO, "the folder of %.100s cannot be synced: %m", name);
    return EFM_OK;
}

/* ---- reading ---- */

static bool read_all(int file, uint8_t *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(file, bytes + done, size - done);
        if (got == 0)
            errno = EIO; /* shorter than it was a moment ago */
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0)
            done += (size_t)got;
    }
    return true;
}

enum efm_status srv_storage_read(int folder, const char *name, size_t limit, uint8_t **bytes, size_t *size,
                                 int64_t *changed, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    uint8_t *read_bytes = NULL;
    struct stat facts;
    /* without O_NONBLOCK a pipe of that name would keep the daemon from starting */
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return efm_error_set(error, EFM_E_IO, "the file %.100s cannot be opened: %m", name);
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        status = efm_error_set(error, EFM_E_IO, "%.100s is not a regular file", name);
        goto done;
    }
    if ((uint64_t)facts.st_size > limit) {
        status =
            efm_error_set(error, EFM_E_LIMIT, "the file %.100s has %lld bytes, more than the %zu allowed",
                          name, (long long)facts.st_size, limit);
        goto done;
    }
    read_bytes = efm_allocate((size_t)facts.st_size);
    if (read_bytes == NULL) {
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to read the file %.100s", name);
        goto done;
    }
    if (!read_all(file, read_bytes, (size_t)facts.st_size)) {
        status = efm_error_set(error, EFM_E_IO, "the file %.100s cannot be read: %m", name);
        goto done;
    }
    *bytes = read_bytes;
    *size = (size_t)facts.st_size;
    *changed = (int64_t)facts.st_mtime;
    read_bytes = NULL;
done:
    efm_free(read_bytes);
    close(file);
    return status;
}

enum efm_status srv_storage_each(int folder, const char *suffix,
                                 void (*visit)(void *context, const char *stem), void *context,
                                 struct efm_error *error)
{
    struct dirent **entries;
    int count = scandirat(folder, ".", &entries, NULL, alphasort);
    if (count < 0)
        return efm_error_set(error, EFM_E_IO, "a folder of the state directory cannot be listed: %m");
    for (int i = 0; i < count; i++) {
        char *name = entries[i]->d_name;
        if (name[0] == '.' && ends_in(name, TEMPORARY)) {
            unlinkat(folder, name, 0);
        } else if (ends_in(name, suffix)) {
            name[strlen(name) - strlen(suffix)] = '\0';
            visit(context, name);
        }
        free(entries[i]);
    }
    free(entries);
    return EFM_OK;
}
