// SPDX-License-Identifier: Apache-2.0
/* What the registry keeps in the state directory: names, the form of a dataset file, loading at the start. */
#include "api/json.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/engine/registry_internal.h"
#include "server/store/storage.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_LENGTH = 8, HEADER_MOST = 4096, FILE_NAME_SIZE = 96 };

/* A file may be somewhat larger than what it is in memory, for its header. */
enum { FILE_SLACK = 32 << 20 };

static void file_name(const struct srv_shelf *shelf, const char *name, char out[FILE_NAME_SIZE])
{
    snprintf(out, FILE_NAME_SIZE, "%.64s%s", name, shelf->kind->suffix);
}

/* ---- writing ---- */

enum efm_status srv_registry_write_model(struct srv_registry *registry, const char *name,
                                         const struct efm_model *model, int64_t created,
                                         struct efm_error *error)
{
    char file[FILE_NAME_SIZE];
    file_name(&registry->models, name, file);
    struct efm_buffer bytes = efm_buffer_limited(SIZE_MAX / 2);
    enum efm_status status = efm_model_save(model, &bytes, error);
    if (status == EFM_OK) {
        struct srv_storage_part part = {bytes.data, bytes.size};
        status = srv_storage_write(registry->models.folder, file, &part, 1, created, error);
    }
    efm_buffer_release(&bytes);
    return status;
}

static void append_parameter(struct efm_buffer *query, const struct api_parameter *parameter,
                             const struct api_dataset_request *request)
{
    const char *value = (const char *)request + parameter->offset;
    efm_buffer_format(query, "%s%s=", query->size > 0 ? "&" : "", parameter->name);
    uint64_t integer;
    int word;
    uint8_t colour[3];
    switch (parameter->kind) {
    case API_INTEGER:
        memcpy(&integer, value, sizeof(integer));
        efm_buffer_format(query, "%llu", (unsigned long long)integer);
        break;
    case API_WORD:
        memcpy(&word, value, sizeof(word));
        efm_buffer_append_string(query, parameter->words[word]);
        break;
    case API_COLOUR:
        memcpy(colour, value, sizeof(colour));
        efm_buffer_format(query, "%02x%02x%02x", colour[0], colour[1], colour[2]);
        break;
    default: /* a kind that has no text here must not be forgotten silently */
        query->status = EFM_E_INTERNAL;
    }
}

/* The parameters that were given, as the query that gives them again. */
static void render_query(const struct api_dataset_request *request, struct efm_buffer *query)
{
    for (size_t i = 0; i < api_dataset_table.count; i++)
        if (api_parameter_given(&api_dataset_table, &request->seen, api_dataset_table.items[i].name))
            append_parameter(query, &api_dataset_table.items[i], request);
    efm_buffer_append(query, "", 1);
}

enum efm_status srv_registry_write_dataset(struct srv_registry *registry, const char *name,
                                           const uint8_t *bytes, size_t size,
                                           const struct api_dataset_request *request, int64_t created,
                                           struct efm_error *error)
{
    char file[FILE_NAME_SIZE], sha256[65];
    file_name(&registry->datasets, name, file);
    efm_sha256_hex(bytes, size, sha256);
    struct efm_buffer query = efm_buffer_limited(HEADER_MOST / 2);
    struct efm_buffer header = efm_buffer_limited(HEADER_MOST);
    render_query(request, &query);
    efm_buffer_append_string(&header, "{\"efmd_dataset\":1,\"query\":");
    api_json_string(&header, query.status == EFM_OK ? (const char *)query.data : "");
    efm_buffer_format(&header, ",\"sha256\":\"%s\"}", sha256);
    enum efm_status status = query.status != EFM_OK ? query.status : header.status;
    if (status != EFM_OK) {
        efm_error_set(error, status, "the header of %.64s cannot be made", name);
    } else {
        uint8_t length[HEADER_LENGTH];
        for (size_t i = 0; i < HEADER_LENGTH; i++)
            length[i] = (uint8_t)((uint64_t)header.size >> (8 * i));
        struct srv_storage_part parts[] = {
            {length, sizeof(length)}, {header.data, header.size}, {bytes, size}};
        status = srv_storage_write(registry->datasets.folder, file, parts, 3, created, error);
    }
    efm_buffer_release(&query);
    efm_buffer_release(&header);
    return status;
}

enum efm_status srv_registry_remove_file(struct srv_shelf *shelf, const char *name, struct efm_error *error)
{
    char file[FILE_NAME_SIZE];
    file_name(shelf, name, file);
    return srv_storage_remove(shelf->folder, file, error);
}

/* ---- loading ---- */

static size_t file_limit(struct srv_registry *registry)
{
    size_t room = srv_registry_room(registry), limit;
    return efm_size_add(room, FILE_SLACK, &limit) ? limit : SIZE_MAX;
}

static enum efm_status load_model(struct srv_registry *registry, const char *name, struct efm_error *error)
{
    char file[FILE_NAME_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t changed = 0;
    struct efm_model *model = NULL;
    file_name(&registry->models, name, file);
    enum efm_status status =
        srv_storage_read(registry->models.folder, file, file_limit(registry), &bytes, &size, &changed, error);
    if (status == EFM_OK)
        status = srv_registry_read_model(registry, &model, bytes, size, error);
    efm_free(bytes);
    if (status == EFM_OK && !srv_registry_restore(registry, &registry->models, name, model, changed, error))
        status = EFM_E_FULL;
    return status;
}

/* Reads and checks the header; *content points past it. */
static enum efm_status read_header(const uint8_t *bytes, size_t size, struct api_dataset_request *request,
                                   size_t *content, struct efm_error *error)
{
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
    struct api_message message = {.method = "PUT",
                                  .path = "",
                                  .query = query,
                                  .content_type = "",
                                  .accept = "",
                                  .body = bytes + *content,
                                  .body_size = size - *content};
    if (!api_dataset_parse(request, &message, &problem))
        status = efm_error_set(error, EFM_E_FORMAT, "%.200s", problem.detail);
done:
    json_decref(header);
    return status;
}

static enum efm_status load_dataset(struct srv_registry *registry, const char *name, struct efm_error *error)
{
    char file[FILE_NAME_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0, content = 0;
    int64_t changed = 0;
    struct api_dataset_request request = {0};
    struct efm_dataset *dataset = NULL;
    file_name(&registry->datasets, name, file);
    enum efm_status status = srv_storage_read(registry->datasets.folder, file, file_limit(registry), &bytes,
                                              &size, &changed, error);
    if (status == EFM_OK)
        status = read_header(bytes, size, &request, &content, error);
    if (status == EFM_OK) {
        struct efm_dataset_options options = efm_dataset_options_default();
        api_dataset_options(&request, &options);
        options.image_limits = registry->image_limits;
        options.max_decoded_bytes = srv_registry_room(registry);
        status = efm_dataset_read(&dataset, bytes + content, size - content, &options, error);
    }
    efm_free(bytes);
    if (status == EFM_OK &&
        !srv_registry_restore(registry, &registry->datasets, name, dataset, changed, error))
        status = EFM_E_FULL;
    return status;
}

struct loading {
    struct srv_registry *registry;
    struct srv_shelf *shelf;
    enum efm_status (*load)(struct srv_registry *registry, const char *name, struct efm_error *error);
};

static void load_one(void *context, const char *name)
{
    const struct loading *loading = context;
    struct efm_error error = {0};
    enum efm_status status =
        api_name_valid(name) ? loading->load(loading->registry, name, &error)
                             : efm_error_set(&error, EFM_E_FORMAT, "the file has a name that is not allowed");
    char quoted[160], reason[320];
    srv_log_quote(name, quoted, sizeof(quoted));
    if (status == EFM_OK)
        srv_log(loading->registry->log, SRV_LOG_INFO, "restored", "\"%s\":%s", loading->shelf->kind->noun,
                quoted);
    else
        srv_log(loading->registry->log, SRV_LOG_WARNING, "not_restored", "\"%s\":%s,\"reason\":%s",
                loading->shelf->kind->noun, quoted, srv_log_quote(error.message, reason, sizeof(reason)));
}

static enum efm_status
open_shelf(struct srv_registry *registry, const char *directory, struct srv_shelf *shelf,
           enum efm_status (*load)(struct srv_registry *registry, const char *name, struct efm_error *error),
           struct efm_error *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", directory, shelf->kind->folder) >= (int)sizeof(path))
        return efm_error_set(error, EFM_E_IO, "the path of the state directory is too long");
    enum efm_status status = srv_storage_folder(path, &shelf->folder, error);
    if (status != EFM_OK)
        return status;
    struct loading loading = {registry, shelf, load};
    return srv_storage_each(shelf->folder, shelf->kind->suffix, load_one, &loading, error);
}

enum efm_status srv_registry_open(struct srv_registry *registry, const char *directory,
                                  struct efm_error *error)
{
    int folder = -1;
    enum efm_status status = srv_storage_folder(directory, &folder, error);
    if (status != EFM_OK)
        return status;
    close(folder);
    status = srv_storage_lock(directory, &registry->lock_file, error);
    if (status == EFM_OK)
        status = open_shelf(registry, directory, &registry->datasets, load_dataset, error);
    if (status == EFM_OK)
        status = open_shelf(registry, directory, &registry->models, load_model, error);
    return status;
}
