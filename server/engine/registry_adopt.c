// SPDX-License-Identifier: Apache-2.0
/* Files that are taken in at the start: model files that somebody puts into STATE/models, and what earlier versions kept there
 * and in STATE/datasets. A file is removed when the store has it; one that cannot be read is left where it is, as is one that cannot
 * be removed, which counts again at the next start only when it is newer than what has its name by then.
 *
 * A dataset file of earlier versions: the length of a header in 8 little-endian bytes; the header, JSON
 * {"efmd_dataset":1,"query":"size=32","sha256":"..."}; the file as it was uploaded. */
#include "api/json.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/engine/registry_internal.h"
#include "server/store/storage.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_LENGTH = 8, HEADER_MOST = 4096, FILE_NAME_SIZE = 96 };

/* A model file may be somewhat larger than what it is in memory, for its header. */
enum { FILE_SLACK = 32 << 20 };

struct found_file {
    uint8_t *bytes; /* owned */
    size_t size;
    int64_t changed;
};

static size_t sum_or_most(size_t a, size_t b)
{
    size_t sum;
    return efm_size_add(a, b, &sum) ? sum : SIZE_MAX;
}

/* ---- models ---- */

static bool is_stored(struct srv_registry *registry, const char *name, const struct found_file *file)
{
    struct srv_model_facts facts = {0};
    char sha256[65];
    if (!srv_registry_model_facts(registry, name, &facts))
        return false;
    efm_sha256_hex(file->bytes, file->size, sha256);
    srv_model_facts_release(&facts);
    return strcmp(facts.sha256, sha256) == 0;
}

static bool take_model(struct srv_registry *registry, const char *name, const struct found_file *file,
                       struct api_problem *problem)
{
    struct srv_put put = {0};
    return is_stored(registry, name, file) || /* the last start was cut off before it was removed */
           srv_registry_put_model_as_of(registry, name, file->bytes, file->size, file->changed, &put, NULL,
                                        problem);
}

/* ---- datasets ---- */

/* Reads and checks the header; *content points past it. */
static enum efm_status read_header(const struct found_file *file, struct api_dataset_request *request,
                                   size_t *content, struct efm_error *error)
{
    const uint8_t *bytes = file->bytes;
    const size_t size = file->size;
    uint64_t length = 0;
    for (size_t i = 0; i < HEADER_LENGTH && i < size; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (size < HEADER_LENGTH || length > HEADER_MOST || length > size - HEADER_LENGTH)
        return efm_error_set(error, EFM_E_FORMAT, "the header is cut off");
    *content = HEADER_LENGTH + (size_t)length;

    struct api_problem problem = {0};
    const char *query = NULL, *sha256 = NULL;
    int version = 0;
    char actual[65];
    enum efm_status status = EFM_OK;
    json_t *header = api_json_parse(bytes + HEADER_LENGTH, (size_t)length, &problem);
    if (header == NULL || json_unpack(header, "{s:i,s:s,s:s}", "efmd_dataset", &version, "query", &query,
                                      "sha256", &sha256) != 0) {
        status = efm_error_set(error, EFM_E_FORMAT, "the header cannot be read");
        goto done;
    }
    if (version != 1) {
        status = efm_error_set(error, EFM_E_UNSUPPORTED, "the file is of version %d", version);
        goto done;
    }
    efm_sha256_hex(bytes + *content, size - *content, actual);
    if (strcmp(actual, sha256) != 0) {
        status = efm_error_set(error, EFM_E_FORMAT, "the contents are damaged");
        goto done;
    }
    const struct api_message message = {.method = "PUT",
                                        .path = "",
                                        .query = query,
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)""};
    if (!api_dataset_parse(request, &message, &problem))
        status = efm_error_set(error, EFM_E_FORMAT, "%.200s", problem.detail);
done:
    json_decref(header);
    return status;
}

static bool take_dataset(struct srv_registry *registry, const char *name, const struct found_file *file,
                         struct api_problem *problem)
{
    struct api_dataset_request request = {0};
    struct srv_put put = {0};
    struct efm_error error = {0};
    size_t content = 0;
    if (read_header(file, &request, &content, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    const size_t size = file->size - content;
    struct srv_dataset_upload *upload = srv_registry_begin_dataset(registry, name, (int64_t)size, problem);
    if (upload == NULL)
        return false;
    if (srv_dataset_upload_append(upload, file->bytes + content, size, problem))
        return srv_dataset_upload_finish_as_of(upload, &request, file->changed, &put, problem);
    srv_dataset_upload_abort(upload);
    return false;
}

/* ---- folders ---- */

struct folder {
    struct srv_registry *registry;
    const struct srv_shelf *shelf;
    const char *suffix;
    int descriptor;
    size_t limit; /* bytes of a file */
    bool (*take)(struct srv_registry *registry, const char *name, const struct found_file *file,
                 struct api_problem *problem);
};

/* A file that cannot be removed was taken by an earlier start, unless it is newer than what has its name. */
static bool was_taken(const struct folder *folder, const char *name, const struct found_file *file)
{
    struct srv_model_facts facts = {0};
    if (faccessat(folder->descriptor, ".", W_OK, AT_EACCESS) == 0 ||
        !srv_registry_model_facts(folder->registry, name, &facts))
        return false;
    const bool newer = file->changed > facts.created;
    srv_model_facts_release(&facts);
    return !newer;
}

/* True: the store has it; `left` then says why the file could not be removed. */
static bool take_file(const struct folder *folder, const char *name, struct efm_error *left,
                      struct api_problem *problem)
{
    struct found_file file = {0};
    struct efm_error error = {0};
    char file_name[FILE_NAME_SIZE];
    if (!srv_registry_check_name(name, problem))
        return false;
    snprintf(file_name, sizeof file_name, "%.64s%s", name, folder->suffix);
    if (srv_storage_read(folder->descriptor, file_name, folder->limit, &file.bytes, &file.size, &file.changed,
                         &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_STORAGE, NULL);
    const bool model = folder->shelf == &folder->registry->models;
    bool good =
        (model && was_taken(folder, name, &file)) || folder->take(folder->registry, name, &file, problem);
    efm_free(file.bytes);
    return good &&
           (srv_storage_remove(folder->descriptor, file_name, left) == EFM_OK || left->status != EFM_OK);
}

static void take_one(void *context, const char *name)
{
    const struct folder *folder = context;
    struct srv_log *log = folder->registry->log;
    struct api_problem problem = {0};
    struct efm_error left = {0};
    char quoted[160], reason[340];
    if (atomic_load(&folder->registry->stop))
        return;
    srv_log_quote(name, quoted, sizeof quoted);
    if (!take_file(folder, name, &left, &problem))
        srv_log(log, SRV_LOG_WARNING, "not_adopted", "\"%s\":%s,\"reason\":%s", folder->shelf->noun, quoted,
                srv_log_quote(problem.detail, reason, sizeof reason));
    else if (left.status != EFM_OK)
        srv_log(log, SRV_LOG_WARNING, "adopted", "\"%s\":%s,\"file_left\":%s", folder->shelf->noun, quoted,
                srv_log_quote(left.message, reason, sizeof reason));
    else
        srv_log(log, SRV_LOG_INFO, "adopted", "\"%s\":%s", folder->shelf->noun, quoted);
}

static enum efm_status take_folder(struct folder *folder, const char *path, struct efm_error *error)
{
    enum efm_status status = srv_storage_folder(path, &folder->descriptor, error);
    if (status != EFM_OK)
        return status;
    status = srv_storage_each(folder->descriptor, folder->suffix, take_one, folder, error);
    close(folder->descriptor);
    return status;
}

static enum efm_status join(char out[PATH_MAX], const char *directory, const char *name,
                            struct efm_error *error)
{
    if (snprintf(out, PATH_MAX, "%s/%s", directory, name) >= PATH_MAX)
        return efm_error_set(error, EFM_E_IO, "the path of the state directory is too long");
    return EFM_OK;
}

enum efm_status srv_registry_make_folder(const char *directory, struct efm_error *error)
{
    char path[PATH_MAX];
    int folder = -1;
    enum efm_status status = join(path, directory, "models", error);
    if (status == EFM_OK)
        status = srv_storage_folder(path, &folder, error);
    if (status == EFM_OK)
        close(folder);
    return status;
}

enum efm_status srv_registry_adopt(struct srv_registry *registry, const char *directory,
                                   struct efm_error *error)
{
    char path[PATH_MAX];
    const uint64_t quota = registry->options.dataset_quota;
    struct folder models = {.registry = registry,
                            .shelf = &registry->models,
                            .suffix = ".safetensors",
                            .limit = sum_or_most(registry->options.memory_budget, FILE_SLACK),
                            .take = take_model};
    struct folder datasets = {.registry = registry,
                              .shelf = &registry->datasets,
                              .suffix = ".dataset",
                              .limit = sum_or_most(quota < SIZE_MAX ? (size_t)quota : SIZE_MAX, HEADER_MOST),
                              .take = take_dataset};
    enum efm_status status = join(path, directory, "datasets", error);
    if (status == EFM_OK && access(path, F_OK) == 0) /* only earlier versions made it */
        status = take_folder(&datasets, path, error);
    if (status == EFM_OK)
        status = join(path, directory, "models", error);
    return status == EFM_OK ? take_folder(&models, path, error) : status;
}
