// SPDX-License-Identifier: Apache-2.0
/* Which models are in memory: who leaves for whom, who stays, what is counted, many that ask at once. */
#include "tests/unit/server/registry_world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static int setup(void **state)
{
    static struct world world;
    world_create(&world, false);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    world_destroy(*state);
    return 0;
}

/* Room for two models and a half. */
static void open_small(struct world *world)
{
    world->options.memory_budget = 2 * world->model_bytes + world->model_bytes / 2;
    world_open(world);
}

static void the_least_recently_used_leaves(void **state)
{
    struct world *world = *state;
    open_small(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    assert_true(is_ready(world, "a", 0)); /* and is the latest now */
    assert_int_equal(put_model(world, "c", 2, NULL), API_P_NONE);
    assert_int_equal(state_of(world, "b"), SRV_MODEL_UNLOADED);
    assert_true(is_ready(world, "a", 0));
    assert_true(is_ready(world, "c", 2));
    assert_true(metric(world, "efm_model_unloads_total{reason=\"evicted\"}") == 1);

    enum srv_model_state seen;
    assert_null(srv_registry_model(world->registry, "b", &seen));
    assert_int_equal(seen, SRV_MODEL_UNLOADED);
    assert_int_equal(load_model(world, "b"), API_P_NONE);
    assert_true(is_ready(world, "b", 1));
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
}

static void models_in_use_stay(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    open_small(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    struct efm_model *a = srv_registry_model(world->registry, "a", NULL);
    assert_int_equal(put_model(world, "c", 2, NULL), API_P_NONE);
    assert_true(is_ready(world, "a", 0)); /* though it was used before b */
    assert_int_equal(state_of(world, "b"), SRV_MODEL_UNLOADED);
    struct efm_model *c = srv_registry_model(world->registry, "c", NULL);
    assert_null(srv_registry_load(world->registry, "b", &problem));
    assert_int_equal(problem.code, API_P_NO_MEMORY);
    assert_int_equal(problem.retry_after, 1);
    assert_int_equal(state_of(world, "b"), SRV_MODEL_UNLOADED); /* it has not failed */
    assert_int_equal(put_model(world, "d", 3, NULL), API_P_NO_MEMORY);
    assert_int_equal(blob_count(world, "models/"), 3);
    assert_int_equal(srv_registry_room(world->registry), world->model_bytes / 2);
    efm_model_unref(c);
    assert_int_equal(load_model(world, "b"), API_P_NONE);
    efm_model_unref(a);
}

/* What was taken out of the registry still fills the memory while somebody holds it. */
static void memory_counts_until_the_last_one_is_out(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    open_small(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    struct efm_model *a = srv_registry_model(world->registry, "a", NULL);
    struct efm_model *b = srv_registry_model(world->registry, "b", NULL);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    assert_true(srv_registry_delete_model(world->registry, "b", NULL, &problem));
    assert_int_equal(load_model(world, "a"), API_P_NO_MEMORY);
    efm_model_unref(b);
    assert_int_equal(load_model(world, "a"), API_P_NONE);
    assert_true(is_ready(world, "a", 0));
    /* also beyond the registry */
    world_close(world);
    efm_model_unref(a);
}

static void replacing_needs_no_room_for_both(void **state)
{
    struct world *world = *state;
    world->options.memory_budget = world->model_bytes + world->model_bytes / 2;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    struct efm_model *a = srv_registry_model(world->registry, "a", NULL);
    assert_int_equal(put_model(world, "a", 1, NULL), API_P_NONE);
    assert_true(is_ready(world, "a", 1));
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NO_MEMORY); /* but then both count */
    efm_model_unref(a);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
}

static void what_never_fits_is_said_to_be_too_large(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    world->options.memory_budget = world->model_bytes / 2;
    world_reopen(world);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    assert_int_equal(load_model(world, "a"), API_P_MODEL_TOO_LARGE);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_FAILED);
    assert_int_equal(put_model(world, "b", 0, NULL), API_P_MODEL_TOO_LARGE);
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
    world->options.memory_budget = world->model_bytes;
    world_reopen(world);
    assert_true(is_ready(world, "a", 0));
}

/* At the start as many as fit are loaded, and none leaves for another. */
static void a_start_loads_what_fits(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "c", 2, NULL), API_P_NONE);
    world_close(world);
    open_small(world);
    assert_int_equal((state_of(world, "a") == SRV_MODEL_READY) + (state_of(world, "b") == SRV_MODEL_READY) +
                         (state_of(world, "c") == SRV_MODEL_READY),
                     2);
    assert_int_equal(srv_registry_loading(world->registry), 0);
}

static void unloaded_and_back(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    struct srv_model_facts facts = {0};
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    assert_true(srv_registry_unload(world->registry, "a", &problem)); /* nothing more to do */
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    assert_true(srv_registry_model_facts(world->registry, "a", &facts));
    assert_int_equal(facts.memory, 0);
    assert_string_equal(facts.sha256, world->sha256[0]);
    srv_model_facts_release(&facts);
    assert_int_equal(load_model(world, "a"), API_P_NONE);
    assert_true(is_ready(world, "a", 0));
    assert_false(srv_registry_unload(world->registry, "b", &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_MODEL);
}

/* ---- many threads ---- */

enum { ASKING = 6 };

struct asking {
    struct world *world;
    pthread_barrier_t *barrier;
    enum api_problem_code code;
};

static void *ask(void *context)
{
    struct asking *asking = context;
    struct api_problem problem = {0};
    pthread_barrier_wait(asking->barrier);
    struct efm_model *model = srv_registry_load(asking->world->registry, "a", &problem);
    asking->code = problem.code;
    efm_model_unref(model);
    return NULL;
}

static void ask_at_once(struct world *world, enum api_problem_code expected)
{
    pthread_t threads[ASKING];
    struct asking asking[ASKING];
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, ASKING), 0);
    for (size_t i = 0; i < ASKING; i++) {
        asking[i] = (struct asking){world, &barrier, API_P_NONE};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &asking[i]), 0);
    }
    for (size_t i = 0; i < ASKING; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    for (size_t i = 0; i < ASKING; i++)
        assert_int_equal(asking[i].code, expected);
}

static void many_share_one_load(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    struct srv_model_facts facts = {0};
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    ask_at_once(world, API_P_NONE);
    assert_true(metric(world, "efm_model_loads_total{outcome=\"ready\"}") == 2); /* the put, and one load */

    assert_true(srv_registry_model_facts(world->registry, "a", &facts));
    srv_model_facts_release(&facts);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    assert_int_equal(srv_blobs_put(world->blobs, facts.blob, "garbage", 7, NULL), EFM_OK);
    ask_at_once(world, API_P_INVALID_MODEL);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_FAILED);
}

/* ---- a load that is overtaken ---- */

const uint8_t *__real_srv_blob_map(struct srv_blob *blob, struct efm_error *error);
const uint8_t *__wrap_srv_blob_map(struct srv_blob *blob, struct efm_error *error);

static atomic_bool hold;              /* the next blob that is mapped waits for its turn */
static atomic_size_t waiting, let_go; /* how many have come, and may go on */

const uint8_t *__wrap_srv_blob_map(struct srv_blob *blob, struct efm_error *error)
{
    if (atomic_exchange(&hold, false)) {
        const size_t turn = atomic_fetch_add(&waiting, 1);
        while (atomic_load(&let_go) <= turn)
            usleep(1000);
    }
    return __real_srv_blob_map(blob, error);
}

static void *load_a(void *context)
{
    struct api_problem problem = {0};
    efm_model_unref(srv_registry_load(((struct world *)context)->registry, "a", &problem));
    return NULL;
}

static pthread_t begin_load(struct world *world)
{
    pthread_t thread;
    const size_t before = atomic_load(&waiting);
    atomic_store(&hold, true);
    assert_int_equal(pthread_create(&thread, NULL, load_a, world), 0);
    while (atomic_load(&waiting) == before)
        usleep(1000);
    return thread;
}

static void end_load(pthread_t thread)
{
    atomic_fetch_add(&let_go, 1);
    pthread_join(thread, NULL);
}

/* Records begin anew with version 1: a name that was deleted and put again is another model, whoever still loads the old one. */
static void a_load_of_what_was_deleted_is_not_the_new_one(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    pthread_t old = begin_load(world);
    assert_true(srv_registry_delete_model(world->registry, "a", NULL, &problem));
    assert_int_equal(put_model(world, "a", 1, NULL), API_P_NONE);
    assert_true(srv_registry_unload(world->registry, "a", &problem));
    pthread_t new = begin_load(world);
    end_load(old);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_LOADING);
    end_load(new);
    assert_true(is_ready(world, "a", 1));
}

/* Loads, replacements, unloads and deletions in any order: nobody sees half of anything, and all memory comes back. */
struct stress {
    struct world *world;
    size_t index;
    atomic_size_t *ready;
};

static void *stress(void *context)
{
    struct stress *mine = context;
    struct world *world = mine->world;
    for (size_t i = 0; i < 60; i++) {
        static const char *const names[] = {"a", "b", "c"};
        const char *name = names[(i + mine->index) % 3];
        struct api_problem problem = {0};
        struct srv_put put = {0};
        struct efm_model *model = NULL;
        size_t which = (i * 7 + mine->index) % WORLD_MODELS;
        if (mine->index == 0) {
            if (!srv_registry_put_model(world->registry, name, world->weights[which].data,
                                        world->weights[which].size, &put, NULL, &problem))
                assert_int_equal(problem.code, API_P_NO_MEMORY);
            continue;
        }
        if (mine->index == 1 && i % 3 == 0) {
            srv_registry_unload(world->registry, name, &problem);
            continue;
        }
        if (mine->index == 2 && i % 16 == 5) {
            srv_registry_delete_model(world->registry, name, NULL, &problem);
            continue;
        }
        model = srv_registry_load(world->registry, name, &problem);
        if (model == NULL)
            assert_true(problem.code == API_P_UNKNOWN_MODEL || problem.code == API_P_NO_MEMORY);
        else
            atomic_fetch_add(mine->ready, 1);
        efm_model_unref(model);
    }
    return NULL;
}

static void everything_at_once(void **state)
{
    struct world *world = *state;
    pthread_t threads[4];
    struct stress stresses[4];
    struct api_problem problem = {0};
    atomic_size_t ready = 0;
    open_small(world);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(put_model(world, (const char *[]){"a", "b", "c"}[i], i, NULL), API_P_NONE);
    for (size_t i = 0; i < 4; i++) {
        stresses[i] = (struct stress){world, i, &ready};
        assert_int_equal(pthread_create(&threads[i], NULL, stress, &stresses[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&ready) > 0);
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
    assert_int_equal(srv_registry_loading(world->registry), 0);
    for (size_t i = 0; i < 3; i++)
        (void)srv_registry_delete_model(world->registry, (const char *[]){"a", "b", "c"}[i], NULL, &problem);
    assert_int_equal(blob_count(world, ""), 0);
}

/* ---- the start ---- */

static void names_are_known_before_models_are_loaded(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_false(srv_registry_restoring(world->registry));
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    world_close(world);
    world_open_cold(world);
    assert_true(srv_registry_restoring(world->registry));
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    assert_int_equal(state_of(world, "b"), SRV_MODEL_UNLOADED);
    assert_int_equal(load_model(world, "b"), API_P_NONE); /* who asks waits for no other */
    assert_true(is_ready(world, "b", 1));
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    srv_registry_restore(world->registry);
    assert_true(is_ready(world, "a", 0));
    assert_false(srv_registry_restoring(world->registry));
}

static void a_start_that_is_stopped_loads_no_more(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    world_close(world);
    world_open_cold(world);
    srv_registry_stop_restoring(world->registry);
    srv_registry_restore(world->registry);
    assert_false(srv_registry_restoring(world->registry));
    assert_int_equal(state_of(world, "a"), SRV_MODEL_UNLOADED);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE); /* waits for nothing */
}

/* What was put last leaves last, and what was asked for meanwhile leaves after all that was restored. */
static void what_was_asked_for_at_the_start_stays_longer(void **state)
{
    struct world *world = *state;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    world_close(world);
    world->options.memory_budget = 2 * world->model_bytes + world->model_bytes / 2;
    world_open_cold(world);
    assert_int_equal(load_model(world, "a"), API_P_NONE);
    srv_registry_restore(world->registry);
    assert_int_equal(state_of(world, "b"), SRV_MODEL_READY);
    assert_int_equal(put_model(world, "c", 2, NULL), API_P_NONE);
    assert_int_equal(state_of(world, "b"), SRV_MODEL_UNLOADED);
    assert_int_equal(state_of(world, "a"), SRV_MODEL_READY);
}

static void *restore(void *context)
{
    srv_registry_restore(context);
    return NULL;
}

/* Restored on one thread, and asked for by others: each is loaded once. */
static void asked_for_while_it_is_restored(void **state)
{
    struct world *world = *state;
    pthread_t thread;
    world_open(world);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_model(world, "b", 1, NULL), API_P_NONE);
    world_close(world);
    world_open_cold(world);
    assert_int_equal(pthread_create(&thread, NULL, restore, world->registry), 0);
    ask_at_once(world, API_P_NONE);
    assert_int_equal(load_model(world, "b"), API_P_NONE);
    pthread_join(thread, NULL);
    assert_true(metric(world, "efm_model_loads_total{outcome=\"ready\"}") == 4); /* two puts, two loads */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_least_recently_used_leaves),
        TEST(models_in_use_stay),
        TEST(memory_counts_until_the_last_one_is_out),
        TEST(replacing_needs_no_room_for_both),
        TEST(what_never_fits_is_said_to_be_too_large),
        TEST(a_start_loads_what_fits),
        TEST(unloaded_and_back),
        TEST(many_share_one_load),
        TEST(a_load_of_what_was_deleted_is_not_the_new_one),
        TEST(everything_at_once),
        TEST(names_are_known_before_models_are_loaded),
        TEST(a_start_that_is_stopped_loads_no_more),
        TEST(what_was_asked_for_at_the_start_stays_longer),
        TEST(asked_for_while_it_is_restored),
    };
    return cmocka_run_group_tests_name("server/registry_loads", tests, NULL, NULL);
}
