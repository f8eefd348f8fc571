// SPDX-License-Identifier: Apache-2.0
/* Files that the registry takes in at the start, and those that it leaves. */
#include "core/base/sha256.h"
#include "tests/unit/server/registry_world.h"

#include "server/log.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int setup(void **state)
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

static void write_file(const struct world *world, const char *name, const void *bytes, size_t size)
{
    char path[600];
    world_path(world, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool file_exists(const struct world *world, const char *name)
{
    char path[600];
    world_path(world, name, path);
    return access(path, F_OK) == 0;
}

static size_t make_old_dataset(uint8_t out[1000])
{
    char sha256[65];
    efm_sha256_hex(WORLD_TOY, strlen(WORLD_TOY), sha256);
    memset(out, 0, 8);
    int length = snprintf((char *)out + 8, 900, "{\"efmd_dataset\":1,\"query\":\"\",\"sha256\":\"%s\"}%s",
                          sha256, WORLD_TOY);
    out[0] = (uint8_t)((size_t)length - strlen(WORLD_TOY));
    return (size_t)length + 8;
}

static void files_are_taken_in(void **state)
{
    struct world *world = *state;
    char path[600];
    uint8_t old[1000];
    struct srv_model_facts facts = {0};
    world_open(world); /* makes the folder */
    assert_false(file_exists(world, "datasets"));
    world_close(world);
    size_t size = make_old_dataset(old);
    world_path(world, "datasets", path);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(world, "datasets/d.dataset", old, size);
    write_file(world, "models/m.safetensors", world->weights[0].data, world->weights[0].size);
    world_path(world, "models/m.safetensors", path);
    const struct timespec times[2] = {{.tv_sec = 1234567890}, {.tv_sec = 1234567890}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    world_open(world);
    assert_true(is_ready(world, "m", 0));
    assert_true(has_toy(world, "d"));
    assert_true(srv_registry_model_facts(world->registry, "m", &facts));
    assert_int_equal(facts.created, 1234567890);
    srv_model_facts_release(&facts);
    assert_false(file_exists(world, "models/m.safetensors"));
    assert_false(file_exists(world, "datasets/d.dataset"));

    /* again, as after a start that was cut off before the file was removed; and a new one of the same name */
    write_file(world, "models/m.safetensors", world->weights[0].data, world->weights[0].size);
    world_reopen(world);
    assert_true(is_ready(world, "m", 0));
    assert_true(srv_registry_model_facts(world->registry, "m", &facts));
    assert_int_equal(facts.created, 1234567890);
    srv_model_facts_release(&facts);
    write_file(world, "models/m.safetensors", world->weights[1].data, world->weights[1].size);
    world_reopen(world);
    assert_true(is_ready(world, "m", 1));
    assert_false(file_exists(world, "models/m.safetensors"));
    assert_int_equal(blob_count(world, "models/"), 1);
}

static void damaged_files_are_left(void **state)
{
    struct world *world = *state;
    char path[600];
    uint8_t old[1000];
    world_open(world);
    assert_int_equal(put_model(world, "good", 0, NULL), API_P_NONE);
    world_close(world);
    size_t size = make_old_dataset(old);
    world_path(world, "datasets", path);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(world, "models/bad.safetensors", "\x10\0\0\0\0\0\0\0garbage", 15);
    write_file(world, "models/empty.safetensors", "", 0);
    write_file(world, "models/-bad-name.safetensors", "x", 1);
    write_file(world, "models/notes.txt", "mine", 4);
    write_file(world, "datasets/short.dataset", "\x10\0\0", 3);
    write_file(world, "datasets/huge.dataset", "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    write_file(world, "datasets/header.dataset", "\x02\0\0\0\0\0\0\0{}", 10);
    world_path(world, "datasets/pipe.dataset", path);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not keep the start waiting */
    old[size - 2] = '5';
    write_file(world, "datasets/hurt.dataset", old, size);
    world_open(world);
    assert_true(is_ready(world, "good", 0));
    static const char *const names[] = {"models/bad.safetensors",       "models/empty.safetensors",
                                        "models/-bad-name.safetensors", "models/notes.txt",
                                        "datasets/hurt.dataset",        "datasets/header.dataset"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_true(file_exists(world, names[i]));
    assert_int_equal(state_of(world, "bad"), SRV_MODEL_UNKNOWN);
    assert_false(has_toy(world, "hurt"));
    assert_int_equal(blob_count(world, "datasets/"), 0);
    assert_int_equal(put_model(world, "bad", 1, ""), API_P_NONE); /* in nobody's way */
    world_reopen(world);
    assert_true(is_ready(world, "bad", 1));
}

static void a_folder_that_cannot_be_made(void **state)
{
    struct world *world = *state;
    char path[600];
    struct efm_error error = {0};
    write_file(world, "file", "", 0);
    world_path(world, "file/state", path);
    world->options.adopt = path;
    assert_int_equal(srv_registry_create(&world->registry, &world->options, world->metrics, NULL, &error),
                     EFM_E_IO);
    assert_null(world->registry);
    assert_true(strlen(error.message) > 0);
}

/* Whether this thread may write where the mode says that it may not. */
static void be_above_modes(bool above)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    const uint32_t bit = 1u << CAP_DAC_OVERRIDE;
    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    data[0].effective = above ? data[0].effective | (data[0].permitted & bit) : data[0].effective & ~bit;
    assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

/* As on a read-only mount: the model is there, the file stays, and the log says so. */
static void a_file_that_cannot_be_removed(void **state)
{
    struct world *world = *state;
    char models[600], path[600], text[2000] = "";
    struct srv_log *log = NULL;
    world_open(world);
    world_close(world);
    write_file(world, "models/m.safetensors", world->weights[0].data, world->weights[0].size);
    world_path(world, "models", models);
    world_path(world, "log", path);
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(srv_log_create(&log, SRV_LOG_INFO, file, NULL), EFM_OK);
    assert_int_equal(chmod(models, 0555), 0);
    be_above_modes(false);
    assert_int_equal(srv_registry_create(&world->registry, &world->options, world->metrics, log, NULL),
                     EFM_OK);
    srv_registry_restore(world->registry);
    be_above_modes(true);
    assert_int_equal(chmod(models, 0755), 0);
    assert_true(is_ready(world, "m", 0));
    assert_true(file_exists(world, "models/m.safetensors"));
    world_close(world);
    srv_log_destroy(log);
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    close(file);
    // what was put since is newer than the file, which is still there
    world_open(world);
    assert_int_equal(put_model(world, "m", 1, NULL), API_P_NONE);
    world_close(world);
    assert_int_equal(chmod(models, 0555), 0);
    be_above_modes(false);
    world_open(world);
    be_above_modes(true);
    assert_int_equal(chmod(models, 0755), 0);
    assert_true(is_ready(world, "m", 1));
    assert_null(strstr(text, "not_adopted"));
    assert_non_null(strstr(text, "\"adopted\""));
    assert_non_null(strstr(text, "\"file_left\":\""));
}

/* What is put, or deleted, before an older file of its name is moved in would be undone by the next start. */
static void a_start_that_is_stopped_takes_no_changes(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    world_open(world);
    world_close(world);
    write_file(world, "models/m.safetensors", world->weights[0].data, world->weights[0].size);
    assert_int_equal(srv_registry_create(&world->registry, &world->options, world->metrics, NULL, NULL),
                     EFM_OK);
    srv_registry_stop_restoring(world->registry);
    srv_registry_restore(world->registry);
    assert_int_equal(put_model(world, "m", 1, NULL), API_P_DRAINING);
    assert_false(srv_registry_delete_model(world->registry, "m", NULL, &problem));
    assert_int_equal(problem.code, API_P_DRAINING);
    world_close(world);
    world_open(world);
    assert_true(is_ready(world, "m", 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_are_taken_in),
        TEST(damaged_files_are_left),
        TEST(a_file_that_cannot_be_removed),
        TEST(a_start_that_is_stopped_takes_no_changes),
        TEST(a_folder_that_cannot_be_made),
    };
    return cmocka_run_group_tests_name("server/registry_adopt", tests, NULL, NULL);
}
