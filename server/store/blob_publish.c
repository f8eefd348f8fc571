// SPDX-License-Identifier: Apache-2.0
/* A finished file becomes a blob, or stops being one. What is there already is swapped, not overwritten, so that a folder
 * that cannot be synced leaves the older blob in its place. */
#include "server/store/blobs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 16 /* against folders that another process removes while they are empty */ };

enum placed {
    NEW,        /* the key was free */
    SWAPPED,    /* the older one has the temporary name */
    OVERWRITTEN /* by a file system that cannot swap */
};

static const char *name_of(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash == NULL ? key : slash + 1;
}

/* Cuts the last part off; "" stays for the root. */
static void shorten(char *path)
{
    char *slash = strrchr(path, '/');
    *(slash == NULL ? path : slash) = '\0';
}

static int open_folder(int root, const char *path)
{
    return openat(root, path[0] == '\0' ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void close_quietly(int folder)
{
    int reason = errno;
    close(folder);
    errno = reason;
}

static bool sync_folder(int root, const char *path)
{
    int folder = open_folder(root, path);
    if (folder < 0)
        return false;
    bool synced = fsync(folder) == 0;
    close_quietly(folder);
    return synced;
}

/* ---- folders ---- */

static bool make_folder(int root, const char *path)
{
    char parent[SRV_BLOB_KEY];
    if (mkdirat(root, path, 0750) != 0)
        return errno == EEXIST;
    snprintf(parent, sizeof parent, "%s", path);
    shorten(parent);
    if (sync_folder(root, parent))
        return true;
    int reason = errno;
    unlinkat(root, path, AT_REMOVEDIR); /* or the next one would find it and think it durable */
    errno = reason;
    return false;
}

/* The folder of the key, made with its parents, open; -1 with errno. */
static int make_folders(int root, const char *key)
{
    char path[SRV_BLOB_KEY] = "";
    for (size_t i = 0; key[i] != '\0'; i++) {
        if (key[i] == '/' && !make_folder(root, path))
            return -1;
        path[i] = key[i];
        path[i + 1] = '\0';
    }
    shorten(path);
    return open_folder(root, path);
}

static void prune(int root, const char *key)
{
    char path[SRV_BLOB_KEY];
    int reason = errno;
    snprintf(path, sizeof path, "%s", key);
    shorten(path);
    while (path[0] != '\0' && unlinkat(root, path, AT_REMOVEDIR) == 0)
        shorten(path);
    errno = reason;
}

/* ---- names ---- */

/* Once; ENOENT is worth another try. */
static bool place(int temporaries, const char *temporary, int folder, const char *name, enum placed *placed)
{
    struct stat facts;
    *placed = NEW;
    if (renameat2(temporaries, temporary, folder, name, RENAME_NOREPLACE) == 0)
        return true;
    if (errno == EEXIST) {
        *placed = SWAPPED;
        if (fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
            return false;
        if (S_ISDIR(facts.st_mode)) { /* which would be swapped without a word */
            errno = EISDIR;
            return false;
        }
        if (renameat2(temporaries, temporary, folder, name, RENAME_EXCHANGE) == 0)
            return true;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    *placed = OVERWRITTEN;
    return renameat(temporaries, temporary, folder, name) == 0;
}

/* Back to how it was, unless another process has put its own there since. */
static void undo(int temporaries, const char *temporary, int folder, const char *name, enum placed placed,
                 const struct stat *ours)
{
    struct stat facts;
    int reason = errno;
    if (fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && facts.st_ino == ours->st_ino &&
        facts.st_dev == ours->st_dev) {
        if (placed == SWAPPED)
            (void)renameat2(temporaries, temporary, folder, name, RENAME_EXCHANGE);
        else if (placed == NEW)
            unlinkat(folder, name, 0);
    }
    errno = reason;
}

static bool publish_once(int root, int temporaries, const char *temporary, const char *key)
{
    enum placed placed;
    struct stat ours;
    const char *name = name_of(key);
    if (fstatat(temporaries, temporary, &ours, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    int folder = make_folders(root, key);
    if (folder < 0)
        return false;
    bool good = place(temporaries, temporary, folder, name, &placed);
    if (good && fsync(folder) != 0) {
        undo(temporaries, temporary, folder, name, placed, &ours);
        good = false;
    }
    close_quietly(folder);
    return good;
}

bool srv_blob_publish(int root, int temporaries, const char *temporary, const char *key)
{
    bool good = publish_once(root, temporaries, temporary, key);
    for (int i = 1; i < TRIES && !good && errno == ENOENT; i++)
        good = publish_once(root, temporaries, temporary, key);
    if (!good)
        prune(root, key);
    int reason = errno;
    unlinkat(temporaries, temporary,
             0); /* the new one when it failed, the older one when they were swapped */
    errno = reason;
    return good;
}

bool srv_blob_withdraw(int root, const char *key)
{
    char path[SRV_BLOB_KEY];
    snprintf(path, sizeof path, "%s", key);
    shorten(path);
    int folder = open_folder(root, path);
    if (folder < 0)
        return errno == ENOENT || errno == ENOTDIR;
    bool good = unlinkat(folder, name_of(key), 0) == 0 || errno == ENOENT || errno == EISDIR;
    /* though it was not there: an earlier removal may have failed after this point */
    good = good && fsync(folder) == 0;
    close_quietly(folder);
    if (good)
        prune(root, key);
    return good;
}
