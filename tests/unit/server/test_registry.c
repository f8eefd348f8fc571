// SPDX-License-Identifier: Apache-2.0
/* The registry: what is kept, what survives a restart, what damage does, what is taken in, conditions. */
#include "core/base/sha256.h"
#include "tests/unit/server/registry_world.h"

#include <signal.h>
#include <sys/resource.h>

static int setup_memory(void **state)
{
    static struct world world;
    world_create(&world, false);
    *state = &world;
    return 0;
}

static int setup_files(void **state)
{
    static struct world world;
    world_create(&world, true);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    world_destroy(*state);
    return 0;
}

/* ---- put, replace, delete ---- */

static void put_replace_delete(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    char single[API_NAME_SIZE];
    world_open(world);
    assert_null(srv_registry_model(world->registry, "a", NULL));
    assert_false(srv_registry_single_model(world->registry, single));
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_true(is_ready(world, "a", 0));
    assert_true(srv_registry_single_model(world->registry, single));
    assert_string_equal(single, "a");
    struct efm_model *old = srv_registry_model(world->registry, "a", NULL);

    assert_int_equal(put_model(world, "a", 1, NULL), API_P_NONE);
    assert_true(is_ready(world, "a", 1));
    assert_string_equal(efm_model_sha256(old), world->sha256[0]); /* lives on for who holds it */
    efm_model_unref(old);
    assert_int_equal(blob_count(world, "models/"), 1);

    assert_int_equal(put_model(world, "b", 0, NULL), API_P_NONE);
    assert_false(srv_registry_single_model(world->registry, single));
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    assert_true(has_toy(world, "d"));
    assert_int_equal(blob_count(world, "datasets/"), 2);

    assert_true(srv_registry_delete_model(world->registry, "a", NULL, &problem));
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNKNOWN);
    assert_false(srv_registry_delete_model(world->registry, "a", NULL, &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_MODEL);
    problem = (struct api_problem){0};
    assert_true(srv_registry_delete_dataset(world->registry, "d", NULL, &problem));
    assert_false(srv_registry_delete_dataset(world->registry, "d", NULL, &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_DATASET);
    problem = (struct api_problem){0};
    assert_true(srv_registry_delete_model(world->registry, "b", NULL, &problem));
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
    assert_int_equal(blob_count(world, ""), 0);
    assert_int_equal(put_model(world, "../x", 0, NULL), API_P_INVALID_NAME);
    assert_int_equal(put_toy(world, "../x"), API_P_INVALID_NAME);
    assert_false(srv_registry_delete_model(world->registry, "../x", NULL, &problem));
}

static void facts_say_what_was_put(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    struct srv_put put = {.trained_by = "job_42"};
    struct srv_model_facts facts = {0};
    struct efm_model *model = NULL;
    world_open(world);
    assert_true(srv_registry_put_model(world->registry, "m", world->weights[2].data, world->weights[2].size,
                                       &put, &model, &problem));
    assert_non_null(model);
    efm_model_unref(model);
    assert_false(put.replaced);
    assert_true(srv_registry_model_facts(world->registry, "m", &facts));
    assert_string_equal(facts.sha256, world->sha256[2]);
    assert_string_equal(facts.trained_by, "job_42");
    assert_int_equal(facts.bytes, world->weights[2].size);
    assert_int_equal(facts.memory, world->model_bytes);
    assert_int_equal(facts.created, put.created);
    assert_non_null(strstr(facts.about, "\"id\":\"m\""));
    srv_model_facts_release(&facts);
    assert_false(srv_registry_model_facts(world->registry, "n", &facts));

    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    struct srv_dataset_facts data = {0};
    char sha256[65];
    efm_sha256_hex(WORLD_TOY, strlen(WORLD_TOY), sha256);
    assert_true(srv_registry_dataset_facts(world->registry, "d", &data));
    assert_string_equal(data.sha256, sha256);
    assert_int_equal(data.bytes, strlen(WORLD_TOY));
    assert_non_null(strstr(data.about, "\"count\":50"));
    srv_dataset_facts_release(&data);
}

static void a_bad_file_leaves_the_old_model(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    struct srv_put put = {0};
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_false(srv_registry_put_model(world->registry, "a", world->weights[1].data,
                                        world->weights[1].size - 1, &put, NULL, &problem));
    assert_int_equal(problem.code, API_P_INVALID_MODEL);
    assert_true(is_ready(world, "a", 0));
    assert_int_equal(blob_count(world, "models/"), 1);
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
}

static void there_is_a_most(void **state)
{
    struct world *world = *state;
    world->options.max_models = 2;
    world->options.max_datasets = 1;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "c", 0, NULL), API_P_CONFLICT);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    assert_int_equal(put_toy(world, "e"), API_P_CONFLICT);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
}

/* ---- conditions ---- */

static void conditions(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    const char *first = world->sha256[0];
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, first), API_P_PRECONDITION_FAILED);
    assert_int_equal(put_model(world, "a", 0, ""), API_P_NONE);
    assert_int_equal(put_model(world, "a", 1, ""), API_P_PRECONDITION_FAILED);
    assert_true(is_ready(world, "a", 0));
    assert_int_equal(put_model(world, "a", 1, first), API_P_NONE);
    assert_int_equal(put_model(world, "a", 0, first), API_P_PRECONDITION_FAILED);
    assert_true(is_ready(world, "a", 1));
    assert_false(srv_registry_delete_model(world->registry, "a", first, &problem));
    assert_int_equal(problem.code, API_P_PRECONDITION_FAILED);
    problem = (struct api_problem){0};
    assert_true(srv_registry_delete_model(world->registry, "a", world->sha256[1], &problem));

    assert_int_equal(put_dataset(world, "d", "", WORLD_TOY, strlen(WORLD_TOY), ""), API_P_NONE);
    assert_int_equal(put_dataset(world, "d", "", WORLD_TOY, strlen(WORLD_TOY), ""),
                     API_P_PRECONDITION_FAILED);
    assert_int_equal(blob_count(world, "datasets/"), 2);
}

/* Two daemons on one store: what the other one did is found out when it matters. */
static void two_registries_on_one_store(void **state)
{
    struct world *world = *state;
    struct world other = *world;
    struct api_problem problem = {0};
    world_open(world);
    world_open(&other);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(state_of(&other, "a"), SRV_MODEL_UNKNOWN);
    assert_int_equal(load_model(&other, "a"), API_P_NONE);
    assert_true(is_ready(&other, "a", 0));
    assert_int_equal(put_model(&other, "b", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, ""), API_P_PRECONDITION_FAILED);
    assert_int_equal(put_model(&other, "a", 1, world->sha256[0]), API_P_NONE);
    assert_int_equal(put_model(world, "a", 2, world->sha256[0]), API_P_PRECONDITION_FAILED);
    /* its blob is gone: the record says where the new one is */
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    assert_int_equal(load_model(world, "a"), API_P_NONE);
    assert_true(is_ready(world, "a", 1));
    assert_true(srv_registry_delete_model(other.registry, "a", NULL, &problem));
    assert_false(srv_registry_delete_model(world->registry, "a", NULL, &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_MODEL);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNKNOWN);
    assert_int_equal(load_model(world, "nobody"), API_P_UNKNOWN_MODEL);
    assert_int_equal(blob_count(world, "models/"), 1);
    world_close(&other);
}

/* ---- restart ---- */

static void a_restart_keeps_all(void **state)
{
    struct world *world = *state;
    static const char IMAGES[] = "{\"toy\": \"gaussian\", \"count\": 3, \"shape\": [16, 16, 1]}";
    struct api_problem problem = {0};
    struct srv_model_facts before = {0}, after = {0};
    struct srv_dataset_facts data = {0};
    world_open(world);
    assert_int_equal(put_dataset(world, "images", "size=16&channels=1&fit=contain&background=ff8000", IMAGES,
                                 strlen(IMAGES), NULL),
                     API_P_NONE);
    assert_int_equal(put_model(world, "m.1", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "m.1", 1, NULL), API_P_NONE);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    assert_true(srv_registry_model_facts(world->registry, "m.1", &before));
    world_reopen(world);
    assert_true(is_ready(world, "m.1", 1));
    assert_true(srv_registry_model_facts(world->registry, "m.1", &after));
    assert_string_equal(before.about, after.about);
    assert_int_equal(before.created, after.created);
    assert_int_equal(before.memory, after.memory);
    srv_model_facts_release(&before);
    srv_model_facts_release(&after);
    assert_true(has_toy(world, "d"));
    assert_true(srv_registry_dataset_facts(world->registry, "images", &data));
    assert_string_equal(data.query, "size=16&channels=1&fit=contain&background=ff8000");
    srv_dataset_facts_release(&data);
    struct efm_dataset *images = srv_registry_read_dataset(world->registry, "images", NULL, &problem);
    assert_non_null(images);
    assert_int_equal(efm_dataset_shape(images)->height, 16);
    efm_dataset_unref(images);
    assert_int_equal(blob_count(world, ""), 5);
}

static void a_damaged_blob_is_a_failed_model(void **state)
{
    struct world *world = *state;
    struct srv_model_facts facts = {0};
    world_open(world);
    assert_int_equal(put_model(world, "good", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "hurt", 0, NULL), API_P_NONE);
    assert_true(srv_registry_model_facts(world->registry, "hurt", &facts));
    srv_model_facts_release(&facts);
    assert_int_equal(srv_blobs_put(world->blobs, facts.blob, "garbage", 7, NULL), EFM_OK);
    world_reopen(world);
    assert_true(is_ready(world, "good", 0));
    assert_int_equal(state_of(world, "hurt"), SRV_MODEL_FAILED);
    assert_true(srv_registry_model_facts(world->registry, "hurt", &facts));
    assert_true(strlen(facts.reason) > 0);
    srv_model_facts_release(&facts);
    assert_int_equal(load_model(world, "hurt"), API_P_INVALID_MODEL);
    assert_int_equal(put_model(world, "hurt", 1, NULL), API_P_NONE);
    assert_true(is_ready(world, "hurt", 1));
}

static void what_was_cut_off_is_removed(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    static const char *const keys[] = {"models/a/0123", "models/gone/0123.safetensors", "datasets/d/0123",
                                       "datasets/d/0123.png", "jobs/job_1/ckpt"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(srv_blobs_put(world->blobs, keys[i], "x", 1, NULL), EFM_OK);
    world->options.orphan_seconds = 3600; /* somebody else may be writing them */
    world_reopen(world);
    assert_int_equal(blob_count(world, ""), 8);
    world->options.orphan_seconds = 0;
    world_reopen(world);
    assert_int_equal(blob_count(world, ""), 4);
    assert_int_equal(blob_count(world, "jobs/"), 1); /* somebody else's */
    assert_true(is_ready(world, "a", 0));
    assert_true(has_toy(world, "d"));
}

/* ---- a disk that is full ---- */

/* A full disk, as far as a process can have one of its own. */
static void the_disk_refuses(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    size_t room = srv_registry_room(world->registry);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 10;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum api_problem_code replaced = put_model(world, "a", 1, NULL);
    enum api_problem_code fresh = put_toy(world, "d");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(replaced, API_P_STORAGE);
    assert_int_equal(fresh, API_P_STORAGE);
    assert_true(is_ready(world, "a", 0));
    assert_int_equal(srv_registry_room(world->registry), room);
    assert_int_equal(blob_count(world, ""), 1);
    world_reopen(world);
    assert_true(is_ready(world, "a", 0));
    assert_false(has_toy(world, "d"));
}

/* ---- lists and metrics ---- */

struct seen {
    struct world *world;
    char names[100];
};

static void append_name(struct seen *seen, const char *name)
{
    size_t used = strlen(seen->names);
    snprintf(seen->names + used, sizeof seen->names - used, "%s ", name);
}

static void see_model(void *context, const struct srv_model_facts *facts)
{
    struct seen *seen = context;
    struct api_problem problem = {0};
    assert_true(facts->created > 0);
    append_name(seen, facts->name);
    if (strcmp(facts->name, "b") == 0) /* the registry may change meanwhile */
        assert_true(srv_registry_delete_model(seen->world->registry, "b", NULL, &problem));
}

static void see_dataset(void *context, const struct srv_dataset_facts *facts)
{
    append_name(context, facts->name);
}

static void each_is_sorted(void **state)
{
    struct world *world = *state;
    static const char *const names[] = {"c", "a", "d", "b", "B"};
    struct seen seen = {.world = world};
    world_open(world);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(put_model(world, names[i], 0, NULL), API_P_NONE);
    srv_registry_each_model(world->registry, see_model, &seen);
    assert_string_equal(seen.names, "B a b c d ");
    assert_int_equal(put_toy(world, "y"), API_P_NONE);
    assert_int_equal(put_toy(world, "x"), API_P_NONE);
    seen.names[0] = '\0';
    srv_registry_each_dataset(world->registry, see_dataset, &seen);
    assert_string_equal(seen.names, "x y ");
}

static void metrics_follow(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    world_open(world);
    assert_int_equal(put_model(world, "m", 0, NULL), API_P_NONE);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    assert_true(metric(world, "efm_model_loaded{model=\"m\"}") == 1);
    assert_true(metric(world, "efm_model_memory_bytes{model=\"m\"}") == (double)world->model_bytes);
    assert_true(metric(world, "efm_model_loads_total{outcome=\"ready\"}") == 1);
    assert_true(metric(world, "efm_datasets") == 1);
    assert_true(metric(world, "efm_dataset_bytes") == (double)strlen(WORLD_TOY));
    assert_true(srv_registry_unload(world->registry, "m", &problem));
    assert_true(metric(world, "efm_model_loaded{model=\"m\"}") == -1);
    assert_true(metric(world, "efm_model_unloads_total{reason=\"unloaded\"}") == 1);
    assert_true(srv_registry_delete_dataset(world->registry, "d", NULL, &problem));
    assert_true(metric(world, "efm_datasets") == 0);
}

#define IN_MEMORY(name)                                                                                      \
    {                                                                                                        \
        "memory/" #name, name, setup_memory, teardown, NULL                                                  \
    }
#define IN_FILES(name)                                                                                       \
    {                                                                                                        \
        "files/" #name, name, setup_files, teardown, NULL                                                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_MEMORY(put_replace_delete),
        IN_FILES(put_replace_delete),
        IN_MEMORY(facts_say_what_was_put),
        IN_MEMORY(a_bad_file_leaves_the_old_model),
        IN_MEMORY(there_is_a_most),
        IN_MEMORY(conditions),
        IN_MEMORY(two_registries_on_one_store),
        IN_MEMORY(a_restart_keeps_all),
        IN_FILES(a_restart_keeps_all),
        IN_MEMORY(a_damaged_blob_is_a_failed_model),
        IN_FILES(a_damaged_blob_is_a_failed_model),
        IN_MEMORY(what_was_cut_off_is_removed),
        IN_FILES(what_was_cut_off_is_removed),
        IN_FILES(the_disk_refuses),
        IN_MEMORY(each_is_sorted),
        IN_MEMORY(metrics_follow),
    };
    return cmocka_run_group_tests_name("server/registry", tests, NULL, NULL);
}
