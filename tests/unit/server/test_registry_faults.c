// SPDX-License-Identifier: Apache-2.0
/* Every allocation, every call of the store and every call of the blobs fails once, in each of the ways into the registry: an error each
 * time, what was there is still there, nothing is left over, and the same thing done again succeeds. */
#include "tests/unit/data/chaos.h"
#include "tests/unit/server/registry_world.h"

/* ---- a store and blobs that refuse ---- */

static size_t calls_left = SIZE_MAX;

static void refuse_after(size_t calls)
{
    calls_left = calls;
}

static bool refuses(void)
{
    if (calls_left == SIZE_MAX)
        return false;
    return calls_left-- == 0;
}

static enum efm_status no(struct efm_error *error)
{
    return efm_error_set(error, EFM_E_IO, "the disk refused");
}

/* A commit that fails and has happened all the same; and whether the store then stays silent. */
static bool late, mute;

static const struct srv_store_class *real_store;
static const struct srv_blobs_class *real_blobs;

static enum efm_status commit(struct srv_store *store, const struct srv_change *changes, size_t count,
                              size_t *failed, struct efm_error *error)
{
    if (refuses())
        return no(error);
    enum efm_status status = real_store->commit(store, changes, count, failed, error);
    return late && status == EFM_OK ? no(error) : status;
}

static enum efm_status get(struct srv_store *store, enum srv_record_kind kind, const char *id,
                           struct srv_record *record, struct efm_error *error)
{
    static bool asked;
    asked = late && !asked; /* before the commit it answers */
    if (refuses() || (mute && late && !asked))
        return no(error);
    return real_store->get(store, kind, id, record, error);
}

static enum efm_status begin_blob(struct srv_blobs *blobs, const char *key, struct srv_blob_writer **writer,
                                  struct efm_error *error)
{
    return refuses() ? no(error) : real_blobs->begin(blobs, key, writer, error);
}

static enum efm_status append(struct srv_blob_writer *writer, const void *bytes, size_t size,
                              struct efm_error *error)
{
    return refuses() ? no(error) : real_blobs->append(writer, bytes, size, error);
}

static enum efm_status commit_blob(struct srv_blob_writer *writer, struct efm_error *error)
{
    if (!refuses())
        return real_blobs->commit(writer, error);
    real_blobs->abort(writer);
    return no(error);
}

static enum efm_status open_blob(struct srv_blobs *blobs, const char *key, struct srv_blob **blob,
                                 struct efm_error *error)
{
    return refuses() ? no(error) : real_blobs->open(blobs, key, blob, error);
}

static const uint8_t *map(struct srv_blob *blob, struct efm_error *error)
{
    if (!refuses())
        return real_blobs->map(blob, error);
    no(error);
    return NULL;
}

static struct srv_store_class store_class;
static struct srv_blobs_class blobs_class;

static int setup(void **state)
{
    static struct world world;
    world_create(&world, false);
    real_store = world.store->class;
    real_blobs = world.blobs->class;
    store_class = *real_store;
    store_class.commit = commit;
    store_class.get = get;
    blobs_class = *real_blobs;
    blobs_class.begin = begin_blob;
    blobs_class.append = append;
    blobs_class.commit = commit_blob;
    blobs_class.open = open_blob;
    blobs_class.map = map;
    world.store->class = &store_class;
    world.blobs->class = &blobs_class;
    world_open(&world);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    world->store->class = real_store;
    world->blobs->class = real_blobs;
    world_destroy(world);
    return 0;
}

/* ---- things to do ---- */

static enum api_problem_code put_second(struct world *world)
{
    return put_model(world, "a", 1, NULL);
}

static enum api_problem_code load_again(struct world *world)
{
    struct api_problem problem = {0};
    srv_registry_unload(world->registry, "a", &problem);
    return load_model(world, "a");
}

static enum api_problem_code put_data(struct world *world)
{
    return put_toy(world, "e");
}

static enum api_problem_code read_data(struct world *world)
{
    struct api_problem problem = {0};
    struct efm_dataset *dataset = srv_registry_read_dataset(world->registry, "d", NULL, &problem);
    efm_dataset_unref(dataset);
    return problem.code;
}

static enum api_problem_code delete_model(struct world *world)
{
    struct api_problem problem = {0};
    srv_registry_delete_model(world->registry, "a", NULL, &problem);
    return problem.code;
}

static const struct {
    enum api_problem_code (*run)(struct world *world);
} things[] = {{load_again}, {read_data}, {put_second}, {put_data}, {delete_model}};

static void prepare(struct world *world)
{
    struct api_problem problem = {0};
    srv_registry_delete_model(world->registry, "a", NULL, &problem);
    srv_registry_delete_dataset(world->registry, "e", NULL, &problem);
    assert_int_equal(put_model(world, "a", 0, NULL), API_P_NONE);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
}

static void check(struct world *world, enum api_problem_code code)
{
    if (code != API_P_STORAGE && code != API_P_NO_MEMORY)
        fail_msg("%s", api_problem_code_name(code));
    assert_int_equal(blob_count(world, ""), 3); /* a, d and its preview */
    assert_int_equal(srv_registry_room(world->registry), world->options.memory_budget);
    assert_int_equal(srv_registry_loading(world->registry), 0);
    assert_int_equal(load_model(world, "a"), API_P_NONE);
    assert_true(is_ready(world, "a", 0));
    assert_true(has_toy(world, "d"));
}

static void fail_each(struct world *world, void (*arm)(size_t successes), size_t least)
{
    enum { MOST = 2000 };
    for (size_t i = 0; i < sizeof things / sizeof things[0]; i++) {
        enum api_problem_code code = API_P_INTERNAL;
        size_t n = 0;
        for (; code != API_P_NONE && n < MOST; n++) {
            prepare(world);
            arm(n);
            code = things[i].run(world);
            arm(SIZE_MAX);
            if (code != API_P_NONE)
                check(world, code);
        }
        assert_int_equal(code, API_P_NONE);
        assert_true(n > least);
        if (things[i].run == delete_model)
            assert_int_equal(state_of(world, "a"), SRV_MODEL_UNKNOWN);
    }
}

static void every_call_of_the_store(void **state)
{
    fail_each(*state, refuse_after, 1);
}

static void every_allocation(void **state)
{
    fail_each(*state, chaos_arm, 0);
}

/* A daemon that has no memory for what it keeps does not start, rather than say that there is no such thing. */
static void every_allocation_of_a_start(void **state)
{
    struct world *world = *state;
    enum efm_status status = EFM_E_MEMORY;
    size_t n = 0;
    prepare(world);
    for (; status != EFM_OK || n < 100; n++) {
        struct efm_error error = {0};
        world_close(world);
        chaos_arm(n);
        status = srv_registry_create(&world->registry, &world->options, world->metrics, NULL, &error);
        if (status == EFM_OK)
            srv_registry_restore(world->registry);
        chaos_disarm();
        if (status == EFM_OK) {
            assert_int_equal(load_model(world, "a"), API_P_NONE); /* perhaps it could not be loaded at once */
            assert_true(is_ready(world, "a", 0));
            assert_true(has_toy(world, "d"));
        } else {
            assert_int_equal(status, EFM_E_MEMORY);
            assert_non_null(strstr(error.message, "memory"));
            assert_null(world->registry);
        }
        assert_int_equal(blob_count(world, ""), 3);
    }
    assert_true(n >= 100);
}

static void a_commit_that_happened_after_all(void **state)
{
    struct world *world = *state;
    prepare(world);
    late = true;
    enum api_problem_code model = put_model(world, "a", 1, NULL), dataset = put_toy(world, "d");
    late = false;
    assert_int_equal(model, API_P_NONE);
    assert_int_equal(dataset, API_P_NONE);
    assert_int_equal(blob_count(world, ""), 3);
    world_reopen(world);
    assert_true(is_ready(world, "a", 1));
    assert_true(has_toy(world, "d"));
}

/* Nobody knows what is stored: the bytes of both stay until a start, which finds out. */
static void a_commit_that_nobody_knows_of(void **state)
{
    struct world *world = *state;
    prepare(world);
    late = mute = true;
    enum api_problem_code model = put_model(world, "a", 1, NULL), dataset = put_toy(world, "d");
    late = mute = false;
    assert_int_equal(model, API_P_STORAGE);
    assert_int_equal(dataset, API_P_STORAGE);
    assert_int_equal(blob_count(world, ""), 6);
    assert_true(is_ready(world, "a", 0));
    world_reopen(world);
    assert_true(is_ready(world, "a", 1));
    assert_true(has_toy(world, "d"));
    assert_int_equal(blob_count(world, ""), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_call_of_the_store),       TEST(every_allocation),
        TEST(every_allocation_of_a_start),   TEST(a_commit_that_happened_after_all),
        TEST(a_commit_that_nobody_knows_of),
    };
    return cmocka_run_group_tests_name("server/registry_faults", tests, NULL, NULL);
}
