/* registry_world.h - a registry on a store and blobs, in memory or in a temporary folder, and small things to put into it.
 *
 *     struct world world;
 *     world_create(&world, true);
 *     world_open(&world);                              options may be changed before
 *     assert_int_equal(put_model(&world, "a", 0, NULL), API_P_NONE);
 *     world_reopen(&world);                            as after a restart
 *     world_destroy(&world);
 *
 * Errors: every function fails the running cmocka test. Threads: one. */
#ifndef TESTS_REGISTRY_WORLD_H
#define TESTS_REGISTRY_WORLD_H

#include "core/base/memory.h"
#include "server/engine/registry.h"
#include "server/metrics.h"
#include "tests/support/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char WORLD_TOY[] = "{\"toy\": \"gaussian\", \"count\": 50, \"dimension\": 3, \"seed\": 4}";

enum { WORLD_MODELS = 4 };

struct world {
    bool files;
    char folder[300]; /* "" in memory */
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_metrics *metrics;
    struct srv_registry_options options;
    struct srv_registry *registry;
    struct efm_buffer weights[WORLD_MODELS]; /* of one size */
    char sha256[WORLD_MODELS][65];
    size_t model_bytes; /* of each in memory */
};

static inline void world_path(const struct world *world, const char *name, char out[600])
{
    snprintf(out, 600, "%s/%s", world->folder, name);
}

static inline void world_remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    char inner[600];
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%.300s/%.255s", path, entry->d_name);
        if (unlink(inner) != 0)
            world_remove_folder(inner);
    }
    if (folder != NULL)
        closedir(folder);
    rmdir(path);
}

static inline void world_make_models(struct world *world)
{
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_dataset *dataset = NULL;
    assert_int_equal(
        efm_dataset_read(&dataset, (const uint8_t *)WORLD_TOY, strlen(WORLD_TOY), &options, NULL), EFM_OK);
    for (size_t i = 0; i < WORLD_MODELS; i++) {
        struct efm_exact_spec spec = {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_CHAIN, .length = 3 + (double)i};
        struct efm_model *model = NULL;
        assert_int_equal(efm_model_create_exact(&model, &spec, dataset, "p", dataset, "q", NULL), EFM_OK);
        world->weights[i] = efm_buffer_limited(1 << 20);
        assert_int_equal(efm_model_save(model, &world->weights[i], NULL), EFM_OK);
        memcpy(world->sha256[i], efm_model_sha256(model), 65);
        world->model_bytes = efm_model_bytes(model);
        efm_model_unref(model);
    }
    efm_dataset_unref(dataset);
}

static inline void world_open_store(struct world *world)
{
    char records[600], blobs[600];
    struct efm_error error = {0};
    world_path(world, "records.sqlite", records);
    world_path(world, "blobs", blobs);
    assert_int_equal(srv_store_open_sqlite(&world->store, world->files ? records : NULL, &error), EFM_OK);
    enum efm_status status = world->files ? srv_blobs_open_files(&world->blobs, blobs, &error)
                                          : srv_blobs_open_memory(&world->blobs, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
    world->options.store = world->store;
    world->options.blobs = world->blobs;
}

static inline void world_create(struct world *world, bool files)
{
    const char *base = getenv("TMPDIR");
    memset(world, 0, sizeof *world);
    world->files = files;
    if (files) {
        snprintf(world->folder, sizeof world->folder, "%s/efmd-registry-XXXXXX",
                 base != NULL ? base : P_tmpdir);
        assert_non_null(mkdtemp(world->folder));
    }
    assert_int_equal(srv_metrics_create(&world->metrics, NULL), EFM_OK);
    world->options = (struct srv_registry_options){.adopt = files ? world->folder : NULL,
                                                   .max_models = 8,
                                                   .max_datasets = 8,
                                                   .memory_budget = 64 << 20,
                                                   .dataset_quota = 1 << 20,
                                                   .patience = 0.05,
                                                   .batch = 4};
    world_open_store(world);
    world_make_models(world);
}

/* Nothing is restored. */
static inline void world_open_cold(struct world *world)
{
    struct efm_error error = {0};
    enum efm_status status =
        srv_registry_create(&world->registry, &world->options, world->metrics, NULL, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
}

static inline void world_open(struct world *world)
{
    world_open_cold(world);
    srv_registry_restore(world->registry);
}

static inline void world_close(struct world *world)
{
    srv_registry_destroy(world->registry);
    world->registry = NULL;
}

static inline void world_reopen(struct world *world)
{
    world_close(world);
    if (world->files) {
        srv_store_close(world->store);
        srv_blobs_close(world->blobs);
        world_open_store(world);
    }
    world_open(world);
}

static inline void world_destroy(struct world *world)
{
    world_close(world);
    srv_store_close(world->store);
    srv_blobs_close(world->blobs);
    for (size_t i = 0; i < WORLD_MODELS; i++)
        efm_buffer_release(&world->weights[i]);
    srv_metrics_destroy(world->metrics);
    if (world->files)
        world_remove_folder(world->folder);
}

/* ---- doing ---- */

static inline enum api_problem_code put_model(struct world *world, const char *name, size_t which,
                                              const char *expected)
{
    struct api_problem problem = {0};
    struct srv_put put = {.expected = expected};
    bool good = srv_registry_put_model(world->registry, name, world->weights[which].data,
                                       world->weights[which].size, &put, NULL, &problem);
    assert_int_equal(good, problem.code == API_P_NONE);
    if (good)
        assert_true(put.created > 0);
    return problem.code;
}

static inline void parse_query(struct api_dataset_request *request, const char *query)
{
    struct api_problem problem = {0};
    const struct api_message message = {.method = "PUT",
                                        .path = "",
                                        .query = query,
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)""};
    assert_true(api_dataset_parse(request, &message, &problem));
}

static inline enum api_problem_code put_dataset(struct world *world, const char *name, const char *query,
                                                const void *bytes, size_t size, const char *expected)
{
    struct api_problem problem = {0};
    struct api_dataset_request request;
    struct srv_put put = {.expected = expected};
    parse_query(&request, query);
    struct srv_dataset_upload *upload = srv_registry_begin_dataset(world->registry, name, -1, &problem);
    if (upload == NULL)
        return problem.code;
    if (!srv_dataset_upload_append(upload, bytes, size, &problem)) {
        srv_dataset_upload_abort(upload);
        assert_int_not_equal(problem.code, API_P_NONE);
        return problem.code;
    }
    bool good = srv_dataset_upload_finish(upload, &request, &put, &problem);
    assert_int_equal(good, problem.code == API_P_NONE);
    return problem.code;
}

static inline enum api_problem_code put_toy(struct world *world, const char *name)
{
    return put_dataset(world, name, "", WORLD_TOY, strlen(WORLD_TOY), NULL);
}

/* ---- looking ---- */

static inline enum srv_model_state state_of(struct world *world, const char *name)
{
    enum srv_model_state state = SRV_MODEL_UNKNOWN;
    struct srv_model_facts facts = {0};
    if (srv_registry_model_facts(world->registry, name, &facts))
        state = facts.state;
    srv_model_facts_release(&facts);
    return state;
}

/* In memory, and made of these weights. */
static inline bool is_ready(struct world *world, const char *name, size_t which)
{
    enum srv_model_state state;
    struct efm_model *model = srv_registry_model(world->registry, name, &state);
    assert_int_equal(model != NULL, state == SRV_MODEL_READY);
    bool same = model != NULL && strcmp(efm_model_sha256(model), world->sha256[which]) == 0;
    efm_model_unref(model);
    return same;
}

static inline enum api_problem_code load_model(struct world *world, const char *name)
{
    struct api_problem problem = {0};
    struct efm_model *model = srv_registry_load(world->registry, name, &problem);
    assert_int_equal(model != NULL, problem.code == API_P_NONE);
    efm_model_unref(model);
    return problem.code;
}

static inline bool has_toy(struct world *world, const char *name)
{
    struct api_problem problem = {0};
    struct efm_dataset *dataset = srv_registry_read_dataset(world->registry, name, NULL, &problem);
    if (dataset != NULL)
        assert_int_equal(efm_dataset_count(dataset), 50);
    efm_dataset_unref(dataset);
    return dataset != NULL;
}

static inline size_t blob_count(struct world *world, const char *prefix)
{
    struct srv_blob_facts *facts = NULL;
    size_t count = 0;
    assert_int_equal(srv_blobs_list(world->blobs, prefix, &facts, &count, NULL), EFM_OK);
    efm_free(facts);
    return count;
}

/* The value of a series, as it is printed; -1 when there is none. */
static inline double metric(struct world *world, const char *series)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    char line[200];
    srv_metrics_render(world->metrics, &out);
    efm_buffer_append(&out, "", 1);
    snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr((const char *)out.data, line);
    double value = found == NULL ? -1 : strtod(found + strlen(line), NULL);
    efm_buffer_release(&out);
    return value;
}

#endif
