// SPDX-License-Identifier: Apache-2.0
#include "server/train/files.h"

#include "server/store/storage.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char SUFFIX[] = ".safetensors";
/* with the longest ending, the dot before it and ".tmp" it is still the name of a file */
enum { MAX_STEM = 200 };

enum efm_status srv_train_open_folder(const char *path, int *folder, const char **name,
                                      struct efm_error *error)
{
    char parent[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    size_t length = slash != NULL ? (size_t)(slash - path) + 1 : 0;
    if (length >= sizeof parent)
        return efm_error_set(error, EFM_E_IO, "the path %.100s is too long", path);
    if (length > 0) {
        memcpy(parent, path, length);
        parent[length] = '\0';
    }
    *folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return efm_error_set(error, EFM_E_IO, "the folder %.150s cannot be opened: %m", parent);
    return EFM_OK;
}

enum efm_status srv_train_files_open(struct srv_train_files *files, const char *path, struct efm_error *error)
{
    const char *name;
    files->folder = -1;
    size_t length = strlen(path), suffix = sizeof SUFFIX - 1;
    if (length <= suffix || strcmp(path + length - suffix, SUFFIX) != 0 || path[length - suffix - 1] == '/')
        return efm_error_set(error, EFM_E_ARGUMENT, "--out: %.150s does not end in NAME%s", path, SUFFIX);
    enum efm_status status = srv_train_open_folder(path, &files->folder, &name, error);
    if (status != EFM_OK)
        return status;
    int stem = (int)(strlen(name) - suffix);
    if (stem > MAX_STEM) {
        srv_train_files_close(files);
        return efm_error_set(error, EFM_E_ARGUMENT, "--out: the name of the file is too long");
    }
    snprintf(files->model, sizeof files->model, "%.*s%s", stem, name, SUFFIX);
    snprintf(files->checkpoint, sizeof files->checkpoint, "%.*s.checkpoint%s", stem, name, SUFFIX);
    snprintf(files->log, sizeof files->log, "%.*s.log.jsonl", stem, name);
    snprintf(files->loss, sizeof files->loss, "%.*s.loss.png", stem, name);
    snprintf(files->samples, sizeof files->samples, "%.*s.samples.png", stem, name);
    return EFM_OK;
}

void srv_train_files_close(struct srv_train_files *files)
{
    if (files->folder >= 0)
        close(files->folder);
    files->folder = -1;
}

bool srv_train_files_exists(const struct srv_train_files *files, const char *name)
{
    return faccessat(files->folder, name, F_OK, 0) == 0;
}

enum efm_status srv_train_files_write(const struct srv_train_files *files, const char *name,
                                      const struct efm_buffer *bytes, struct efm_error *error)
{
    const struct srv_storage_part part = {bytes->data, bytes->size};
    if (bytes->status != EFM_OK)
        return efm_error_set(error, bytes->status, "no memory to make the file %.150s", name);
    return srv_storage_write(files->folder, name, &part, 1, (int64_t)time(NULL), error);
}

enum efm_status srv_train_files_remove(const struct srv_train_files *files, const char *name,
                                       struct efm_error *error)
{
    char temporary[SRV_TRAIN_FILE_NAME + 8];
    snprintf(temporary, sizeof temporary, ".%s.tmp", name); /* as srv_storage_write names it */
    enum efm_status status = srv_storage_remove(files->folder, temporary, error);
    return status == EFM_OK ? srv_storage_remove(files->folder, name, error) : status;
}
