// SPDX-License-Identifier: Apache-2.0
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 256 << 20 }; /* no picture within the limits of image.h is larger */

struct folder {
    DIR *stream;
    const struct efm_dataset_options *options;
    char **names; /* owned, and each of them */
    size_t count, capacity;
    uint8_t *bytes; /* owned: the file lent last */
};

static enum efm_status fail_io(const char *what, const char *name, int reason, struct efm_error *error)
{
    char text[96];
    const char *message = strerror_r(reason, text, sizeof text); /* the GNU one */
    return efm_error_set(error, EFM_E_IO, "cannot read the %s %s: %s", what,
                         efm_show_name(name, strlen(name)).text, message);
}

static enum efm_status grow(struct folder *folder, struct efm_error *error)
{
    if (folder->count == folder->options->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "the folder holds more than %zu images",
                             folder->options->max_count);
    if (!efm_array_grow(&folder->names, folder->count, &folder->capacity, sizeof *folder->names))
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a folder");
    return EFM_OK;
}

static enum efm_status take_name(struct folder *folder, const char *name, struct efm_error *error)
{
    struct stat about;
    if (name[0] == '.')
        return EFM_OK;
    if (fstatat(dirfd(folder->stream), name, &about, 0) != 0)
        return fail_io("file", name, errno, error);
    if (!S_ISREG(about.st_mode))
        return EFM_OK;
    enum efm_status status = grow(folder, error);
    if (status != EFM_OK)
        return status;
    char *copy = efm_copy_string(name);
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a folder");
    folder->names[folder->count++] = copy;
    return EFM_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum efm_status list(struct folder *folder, const char *path, struct efm_error *error)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder->stream);
        if (entry == NULL && errno != 0)
            return fail_io("folder", path, errno, error);
        if (entry == NULL)
            break;
        enum efm_status status = efm_dataset_ask(folder->options, error);
        if (status == EFM_OK)
            status = take_name(folder, entry->d_name, error);
        if (status != EFM_OK)
            return status;
    }
    if (folder->count > 0)
        qsort(folder->names, folder->count, sizeof *folder->names, compare_names);
    return EFM_OK;
}

/* The whole of an open file into folder->bytes. */
static enum efm_status load(struct folder *folder, int file, const char *name, size_t *size,
                            struct efm_error *error)
{
    struct stat about;
    if (fstat(file, &about) != 0)
        return fail_io("file", name, errno, error);
    if (!S_ISREG(about.st_mode) || about.st_size > MAX_FILE)
        return efm_error_set(error, EFM_E_LIMIT, "%s is not a file of at most %d bytes",
                             efm_show_name(name, strlen(name)).text, MAX_FILE);
    size_t wanted = (size_t)about.st_size, have = 0;
    efm_free(folder->bytes);
    folder->bytes = efm_allocate(wanted);
    if (folder->bytes == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a file of %zu bytes", wanted);
    while (have < wanted) {
        ssize_t got = read(file, folder->bytes + have, wanted - have);
        if (got < 0 && errno != EINTR)
            return fail_io("file", name, errno, error);
        if (got == 0)
            break;
        have += got > 0 ? (size_t)got : 0;
    }
    *size = have;
    return EFM_OK;
}

static enum efm_status fetch(void *context, size_t index, const char **name, const uint8_t **bytes,
                             size_t *size, struct efm_error *error)
{
    struct folder *folder = context;
    *name = folder->names[index];
    /* not blocking: the file may have become a pipe since it was listed */
    int file = openat(dirfd(folder->stream), *name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return fail_io("file", *name, errno, error);
    enum efm_status status = load(folder, file, *name, size, error);
    close(file);
    *bytes = folder->bytes;
    return status;
}

enum efm_status efm_dataset_read_folder(struct efm_dataset **dataset, const char *path,
                                        const struct efm_dataset_options *options, struct efm_error *error)
{
    struct folder folder = {.stream = opendir(path), .options = options};
    if (folder.stream == NULL)
        return fail_io("folder", path, errno, error);
    enum efm_status status = list(&folder, path, error);
    if (status == EFM_OK) {
        struct efm_image_files files = {&folder, folder.count, fetch};
        status = efm_dataset_from_files(dataset, "folder", &files, options, error);
    }
    for (size_t i = 0; i < folder.count; i++)
        efm_free(folder.names[i]);
    efm_free(folder.names);
    efm_free(folder.bytes);
    closedir(folder.stream);
    return status;
}
