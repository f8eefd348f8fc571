// SPDX-License-Identifier: Apache-2.0
/* A dataset on its way in: into a blob while it arrives, looked at as it passes, read as a whole when it is there. */
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/data/stream_check.h"
#include "server/engine/registry_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 64, SHEET_MOST = 64 << 20 };

struct srv_dataset_upload {
    struct srv_registry *registry;
    char name[API_NAME_SIZE], random[17];
    char blob[SRV_BLOB_KEY], preview[SRV_BLOB_KEY]; /* those that are there; "" not yet */
    struct srv_blob_writer *writer;
    struct efm_stream_check *check;
    struct efm_sha256 digest;
    uint64_t bytes, reserved; /* of the quota */
};

/* ---- the quota ---- */

/* Raises what the upload holds to `bytes`. */
static bool reserve(struct srv_dataset_upload *upload, uint64_t bytes, struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    const uint64_t quota = registry->options.dataset_quota;
    if (bytes <= upload->reserved)
        return true;
    pthread_mutex_lock(&registry->lock);
    uint64_t others = registry->uploading - upload->reserved;
    for (size_t i = 0; i < registry->datasets.count; i++)
        others += registry->datasets.items[i]->bytes;
    bool fits = bytes <= quota && others <= quota - bytes;
    if (fits) {
        registry->uploading += bytes - upload->reserved;
        upload->reserved = bytes;
    }
    pthread_mutex_unlock(&registry->lock);
    return fits || api_problem_set(problem, API_P_QUOTA, NULL,
                                   "datasets may take %llu bytes, of which %llu are taken by others",
                                   (unsigned long long)quota, (unsigned long long)others);
}

static void give_back(struct srv_dataset_upload *upload)
{
    pthread_mutex_lock(&upload->registry->lock);
    upload->registry->uploading -= upload->reserved;
    upload->reserved = 0;
    pthread_mutex_unlock(&upload->registry->lock);
}

/* ---- begin, append ---- */

static void destroy(struct srv_dataset_upload *upload)
{
    srv_blob_abort(upload->writer);
    srv_registry_remove_blob(upload->registry, upload->blob);
    srv_registry_remove_blob(upload->registry, upload->preview);
    efm_stream_check_destroy(upload->check);
    give_back(upload);
    efm_free(upload);
}

void srv_dataset_upload_abort(struct srv_dataset_upload *upload)
{
    if (upload != NULL)
        destroy(upload);
}

static bool open_writer(struct srv_dataset_upload *upload, struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_registry_limit_reading(registry, &options);
    const struct efm_stream_limits limits = {.max_count = options.max_count,
                                             .max_bytes = registry->options.dataset_quota,
                                             .max_decoded = options.max_decoded_bytes};
    if (!srv_registry_blob_key(&registry->datasets, upload->name, upload->random, "", key, problem))
        return false;
    if (efm_stream_check_create(&upload->check, &limits, &error) != EFM_OK ||
        srv_blobs_begin(registry->options.blobs, key, &upload->writer, &error) != EFM_OK)
        return srv_registry_store_failed(registry, &error, problem);
    return true;
}

struct srv_dataset_upload *srv_registry_begin_dataset(struct srv_registry *registry, const char *name,
                                                      int64_t length, struct api_problem *problem)
{
    if (!srv_registry_check_name(name, problem) ||
        !srv_registry_check_expected(registry, &registry->datasets, name, NULL, problem))
        return NULL;
    struct srv_dataset_upload *upload = efm_allocate_array(1, sizeof *upload);
    if (upload == NULL) {
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the upload");
        return NULL;
    }
    upload->registry = registry;
    snprintf(upload->name, sizeof upload->name, "%s", name);
    efm_sha256_begin(&upload->digest);
    if (reserve(upload, length > 0 ? (uint64_t)length : 0, problem) && open_writer(upload, problem))
        return upload;
    destroy(upload);
    return NULL;
}

bool srv_dataset_upload_append(struct srv_dataset_upload *upload, const void *bytes, size_t size,
                               struct api_problem *problem)
{
    struct efm_error error = {0};
    if (!reserve(upload, upload->bytes + size, problem))
        return false;
    if (efm_stream_check_feed(upload->check, bytes, size, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    efm_sha256_add(&upload->digest, bytes, size);
    if (srv_blob_append(upload->writer, bytes, size, &error) != EFM_OK)
        return srv_registry_store_failed(upload->registry, &error, problem);
    upload->bytes += size;
    return true;
}

/* ---- finish ---- */

static bool seal(struct srv_dataset_upload *upload, struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    struct efm_error error = {0};
    struct srv_blob_writer *writer = upload->writer;
    char key[SRV_BLOB_KEY];
    if (upload->bytes == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL,
                               "the body is empty; send IDX, NPY, a tar or zip of images or a JSON toy");
    if (efm_stream_check_finish(upload->check, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    if (!srv_registry_blob_key(&registry->datasets, upload->name, upload->random, "", key, problem))
        return false;
    upload->writer = NULL; /* commit frees it, whatever comes of it */
    if (srv_blob_commit(writer, &error) != EFM_OK)
        return srv_registry_store_failed(registry, &error, problem);
    memcpy(upload->blob, key, sizeof key);
    return true;
}

static bool read_whole(struct srv_dataset_upload *upload, const struct api_dataset_request *request,
                       struct efm_dataset **dataset, struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    struct efm_dataset_options options;
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    api_dataset_options(request, &options);
    srv_registry_limit_reading(registry, &options);
    if (srv_blobs_open(registry->options.blobs, upload->blob, &blob, &error) != EFM_OK)
        return srv_registry_store_failed(registry, &error, problem);
    const uint8_t *bytes = srv_blob_map(blob, &error);
    bool good = bytes != NULL || srv_registry_store_failed(registry, &error, problem);
    if (good && efm_dataset_read(dataset, bytes, (size_t)srv_blob_size(blob), &options, &error) != EFM_OK)
        good = api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    srv_blob_close(blob);
    return good;
}

static bool draw_preview(struct srv_dataset_upload *upload, const struct efm_dataset *dataset,
                         struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    struct efm_buffer png = efm_buffer_limited(SHEET_MOST);
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    bool good =
        srv_registry_blob_key(&registry->datasets, upload->name, upload->random, ".png", key, problem);
    if (good && efm_dataset_contact_sheet(dataset, SAMPLES, &png, &error) != EFM_OK)
        good = api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    else if (good && srv_blobs_put(registry->options.blobs, key, png.data, png.size, &error) != EFM_OK)
        good = srv_registry_store_failed(registry, &error, problem);
    efm_buffer_release(&png);
    if (good)
        memcpy(upload->preview, key, sizeof key);
    return good;
}

/* The text of a buffer that api functions filled. */
static bool close_text(struct efm_buffer *text)
{
    return efm_buffer_append(text, "", 1) == EFM_OK;
}

static struct srv_item *describe(struct srv_dataset_upload *upload, const struct efm_dataset *dataset,
                                 const struct api_dataset_request *request, int64_t created)
{
    struct srv_item *item = efm_allocate_array(1, sizeof *item);
    struct efm_buffer about = efm_buffer_limited(64 << 10), query = efm_buffer_limited(sizeof item->query);
    if (item == NULL)
        return NULL;
    memcpy(item->name, upload->name, sizeof item->name);
    memcpy(item->blob, upload->blob, sizeof item->blob);
    memcpy(item->preview, upload->preview, sizeof item->preview);
    efm_sha256_end(&upload->digest, item->sha256);
    item->bytes = upload->bytes;
    item->created = created;
    item->state = SRV_MODEL_UNLOADED;
    const struct api_dataset_file file = {item->sha256, item->bytes, created};
    api_dataset_render(item->name, dataset, &file, &about);
    api_dataset_query(request, &query);
    bool good = close_text(&about) && close_text(&query);
    if (good) {
        memcpy(item->query, query.data, query.size);
        item->about = efm_copy_string((const char *)about.data);
    }
    efm_buffer_release(&about);
    efm_buffer_release(&query);
    if (item->about != NULL)
        return item;
    srv_item_free(item);
    return NULL;
}

static bool keep(struct srv_dataset_upload *upload, const struct efm_dataset *dataset,
                 const struct api_dataset_request *request, int64_t created, struct srv_put *put,
                 struct api_problem *problem)
{
    struct srv_registry *registry = upload->registry;
    struct srv_item *item = describe(upload, dataset, request, created);
    if (item == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the dataset");
    if (!srv_registry_commit(registry, &registry->datasets, item, put, problem)) {
        memcpy(upload->blob, item->blob, sizeof upload->blob);
        memcpy(upload->preview, item->preview, sizeof upload->preview);
        srv_item_free(item);
        return false;
    }
    upload->blob[0] = upload->preview[0] = '\0'; /* they belong to the record */
    return true;
}

bool srv_dataset_upload_finish_as_of(struct srv_dataset_upload *upload,
                                     const struct api_dataset_request *request, int64_t created,
                                     struct srv_put *put, struct api_problem *problem)
{
    struct efm_dataset *dataset = NULL;
    bool good = srv_registry_check_expected(upload->registry, &upload->registry->datasets, upload->name,
                                            put->expected, problem) &&
                seal(upload, problem) && read_whole(upload, request, &dataset, problem) &&
                draw_preview(upload, dataset, problem) &&
                keep(upload, dataset, request, created, put, problem);
    efm_dataset_unref(dataset);
    destroy(upload);
    return good;
}

bool srv_dataset_upload_finish(struct srv_dataset_upload *upload, const struct api_dataset_request *request,
                               struct srv_put *put, struct api_problem *problem)
{
    if (!srv_registry_await_adoption(upload->registry, problem)) {
        srv_dataset_upload_abort(upload);
        return false;
    }
    return srv_dataset_upload_finish_as_of(upload, request, (int64_t)time(NULL), put, problem);
}
