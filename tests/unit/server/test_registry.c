// SPDX-License-Identifier: Apache-2.0
/* The registry in memory and in a state directory: what survives a restart, what damage does, what has no
 * room. */
#include "server/engine/registry.h"

#include "core/base/memory.h"
#include "server/store/storage.h"
#include "server/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char TOY[] = "{\"toy\": \"gaussian\", \"count\": 50, \"dimension\": 3, \"seed\": 4}";

struct fixture {
    char directory[300];
    struct srv_registry_options options;
    struct srv_metrics *metrics;
    struct srv_registry *registry;
    struct efm_dataset *dataset;
    struct api_dataset_request request;
    struct efm_model *models[2];
};

static void open_registry(struct fixture *f)
{
    struct efm_error error = {0};
    enum efm_status status = srv_registry_create(&f->registry, &f->options, f->metrics, NULL, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
}

static void reopen(struct fixture *f)
{
    srv_registry_destroy(f->registry);
    open_registry(f);
}

static struct efm_dataset *read_toy(const char *text)
{
    struct efm_dataset *dataset;
    struct efm_dataset_options options = efm_dataset_options_default();
    assert_int_equal(efm_dataset_read(&dataset, (const uint8_t *)text, strlen(text), &options, NULL), EFM_OK);
    return dataset;
}

static struct efm_model *make_model(const struct efm_dataset *dataset, double length)
{
    struct efm_exact_spec spec = {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_CHAIN, .length = length};
    struct efm_model *model;
    assert_int_equal(efm_model_create_exact(&model, &spec, dataset, "p", dataset, "q", NULL), EFM_OK);
    return model;
}

static struct api_message put_message(const char *query)
{
    return (struct api_message){.method = "PUT",
                                .path = "",
                                .query = query,
                                .content_type = "",
                                .accept = "",
                                .body = (const uint8_t *)TOY,
                                .body_size = strlen(TOY)};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    snprintf(f->directory, sizeof f->directory, "%s/efmd-registry-XXXXXX", base != NULL ? base : P_tmpdir);
    assert_non_null(mkdtemp(f->directory));
    f->options = (struct srv_registry_options){
        .state_dir = f->directory, .max_models = 8, .max_datasets = 8, .max_memory = 64 << 20};
    assert_int_equal(srv_metrics_create(&f->metrics, NULL), EFM_OK);
    f->dataset = read_toy(TOY);
    f->models[0] = make_model(f->dataset, 3);
    f->models[1] = make_model(f->dataset, 4);
    struct api_message message = put_message("");
    struct api_problem problem = {0};
    assert_true(api_dataset_parse(&f->request, &message, &problem));
    *state = f;
    return 0;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    char inner[600];
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) != 0)
            remove_folder(inner);
    }
    if (folder != NULL)
        closedir(folder);
    rmdir(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    srv_registry_destroy(f->registry);
    efm_dataset_unref(f->dataset);
    efm_model_unref(f->models[0]);
    efm_model_unref(f->models[1]);
    srv_metrics_destroy(f->metrics);
    remove_folder(f->directory);
    free(f);
    return 0;
}

static enum api_problem_code put_model(struct fixture *f, const char *name, struct efm_model *model,
                                       const char *expected, bool *replaced)
{
    struct api_problem problem = {0};
    struct srv_put put = {.expected = expected};
    bool good = srv_registry_put_model(f->registry, name, model, &put, &problem);
    assert_int_equal(good, problem.code == API_P_NONE);
    if (replaced != NULL)
        *replaced = put.replaced;
    if (good)
        assert_true(put.created > 0);
    return problem.code;
}

static enum api_problem_code put_dataset(struct fixture *f, const char *name)
{
    struct api_problem problem = {0};
    struct srv_put put = {0};
    bool good = srv_registry_put_dataset(f->registry, name, f->dataset, (const uint8_t *)TOY, strlen(TOY),
                                         &f->request, &put, &problem);
    assert_int_equal(good, problem.code == API_P_NONE);
    return problem.code;
}

static bool has_model(struct fixture *f, const char *name, const struct efm_model *same)
{
    int64_t created = 0;
    struct efm_model *model = srv_registry_model(f->registry, name, &created);
    if (model == NULL)
        return false;
    if (same != NULL)
        assert_string_equal(efm_model_sha256(model), efm_model_sha256(same));
    assert_true(created > 0);
    efm_model_unref(model);
    return true;
}

static bool has_dataset(struct fixture *f, const char *name)
{
    int64_t created = 0;
    struct efm_dataset *dataset = srv_registry_dataset(f->registry, name, &created);
    if (dataset == NULL)
        return false;
    float mine[3], other[3];
    assert_int_equal(efm_dataset_count(dataset), 50);
    assert_int_equal(efm_dataset_floats(dataset, 49, 1, mine, NULL), EFM_OK);
    assert_int_equal(efm_dataset_floats(f->dataset, 49, 1, other, NULL), EFM_OK);
    assert_memory_equal(mine, other, sizeof mine);
    efm_dataset_unref(dataset);
    return true;
}

static void file_path(const struct fixture *f, const char *name, char out[600])
{
    snprintf(out, 600, "%s/%s", f->directory, name);
}

static void write_file(const struct fixture *f, const char *name, const void *bytes, size_t size)
{
    char path[600];
    file_path(f, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool file_exists(const struct fixture *f, const char *name)
{
    char path[600];
    file_path(f, name, path);
    return access(path, F_OK) == 0;
}

/* ---- tests ---- */

static void check_put_get_replace_delete(struct fixture *f)
{
    bool replaced;
    struct api_problem problem = {0};
    char single[API_NAME_SIZE];
    open_registry(f);
    assert_null(srv_registry_model(f->registry, "a", NULL));
    assert_null(srv_registry_single_model(f->registry, single));
    assert_int_equal(put_model(f, "a", f->models[0], NULL, &replaced), API_P_NONE);
    assert_false(replaced);
    assert_true(has_model(f, "a", f->models[0]));
    struct efm_model *only = srv_registry_single_model(f->registry, single);
    assert_ptr_equal(only, f->models[0]);
    assert_string_equal(single, "a");

    assert_int_equal(put_model(f, "a", f->models[1], NULL, &replaced), API_P_NONE);
    assert_true(replaced);
    assert_true(has_model(f, "a", f->models[1]));
    assert_string_equal(efm_model_arch(only), "exact"); /* the old one lives on for who holds it */
    efm_model_unref(only);

    assert_int_equal(put_model(f, "b", f->models[0], NULL, &replaced), API_P_NONE);
    assert_null(srv_registry_single_model(f->registry, single));
    assert_int_equal(put_dataset(f, "d"), API_P_NONE);
    assert_true(has_dataset(f, "d"));

    assert_true(srv_registry_delete_model(f->registry, "a", &problem));
    assert_false(has_model(f, "a", NULL));
    assert_false(srv_registry_delete_model(f->registry, "a", &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_MODEL);
    problem = (struct api_problem){0};
    assert_true(srv_registry_delete_dataset(f->registry, "d", &problem));
    assert_false(srv_registry_delete_dataset(f->registry, "d", &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_DATASET);
    problem = (struct api_problem){0};
    assert_true(srv_registry_delete_model(f->registry, "b", &problem));
    assert_int_equal(srv_registry_room(f->registry), f->options.max_memory);
    assert_int_equal(put_model(f, "../x", f->models[0], NULL, NULL), API_P_INVALID_NAME);
}

static void test_in_memory(void **state)
{
    struct fixture *f = *state;
    f->options.state_dir = NULL;
    check_put_get_replace_delete(f);
    assert_false(file_exists(f, "lock"));
}

static void test_with_files(void **state)
{
    struct fixture *f = *state;
    check_put_get_replace_delete(f);
    assert_false(file_exists(f, "models/a.safetensors"));
    assert_false(file_exists(f, "models/b.safetensors"));
    assert_false(file_exists(f, "datasets/d.dataset"));
}

static void test_restart(void **state)
{
    struct fixture *f = *state;
    open_registry(f);
    struct api_message message = put_message("size=16&channels=1&fit=contain&background=ff8000");
    struct api_problem problem = {0};
    struct api_dataset_request request = {0};
    assert_true(api_dataset_parse(&request, &message, &problem));
    static const char IMAGES[] = "{\"toy\": \"gaussian\", \"count\": 3, \"shape\": [16, 16, 1]}";
    struct efm_dataset *images = read_toy(IMAGES);
    struct srv_put put = {0};
    assert_true(srv_registry_put_dataset(f->registry, "images", images, (const uint8_t *)IMAGES,
                                         strlen(IMAGES), &request, &put, &problem));
    efm_dataset_unref(images);
    assert_int_equal(put_model(f, "m.1", f->models[0], NULL, NULL), API_P_NONE);
    assert_int_equal(put_model(f, "m.1", f->models[1], NULL, NULL), API_P_NONE);
    assert_int_equal(put_dataset(f, "d"), API_P_NONE);
    size_t room = srv_registry_room(f->registry);
    reopen(f);
    assert_true(has_model(f, "m.1", f->models[1]));
    assert_true(has_dataset(f, "d"));
    images = srv_registry_dataset(f->registry, "images", NULL);
    assert_non_null(images);
    assert_int_equal(efm_dataset_shape(images)->height, 16);
    efm_dataset_unref(images);
    assert_int_equal(srv_registry_room(f->registry), room);
}

static void test_damage_is_skipped(void **state)
{
    struct fixture *f = *state;
    open_registry(f);
    assert_int_equal(put_model(f, "good", f->models[0], NULL, NULL), API_P_NONE);
    assert_int_equal(put_dataset(f, "good"), API_P_NONE);
    assert_int_equal(put_dataset(f, "hurt"), API_P_NONE);
    srv_registry_destroy(f->registry);
    f->registry = NULL;

    write_file(f, "models/bad.safetensors", "\x10\0\0\0\0\0\0\0garbage", 15);
    write_file(f, "models/empty.safetensors", "", 0);
    write_file(f, "models/-bad-name.safetensors", "x", 1);
    write_file(f, "models/.crashed.safetensors.tmp", "half", 4);
    write_file(f, "models/notes.txt", "mine", 4);
    write_file(f, "datasets/short.dataset", "\x10\0\0", 3);
    write_file(f, "datasets/huge.dataset", "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    write_file(f, "datasets/header.dataset", "\x02\0\0\0\0\0\0\0{}", 10);
    char path[600];
    file_path(f, "datasets/pipe.dataset", path);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not keep the start waiting */
    file_path(f, "datasets/hurt.dataset", path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -2, SEEK_END), 0);
    assert_int_equal(fputc('5', file), '5');
    assert_int_equal(fclose(file), 0);

    open_registry(f);
    assert_true(has_model(f, "good", f->models[0]));
    assert_true(has_dataset(f, "good"));
    assert_false(has_model(f, "bad", NULL));
    assert_false(has_dataset(f, "hurt"));
    assert_false(has_dataset(f, "header"));
    /* left where they are, but for what a crash left half written */
    assert_true(file_exists(f, "models/bad.safetensors"));
    assert_true(file_exists(f, "models/notes.txt"));
    assert_true(file_exists(f, "datasets/hurt.dataset"));
    assert_false(file_exists(f, "models/.crashed.safetensors.tmp"));
    /* and in nobody's way */
    assert_int_equal(put_model(f, "bad", f->models[1], "", NULL), API_P_NONE);
    reopen(f);
    assert_true(has_model(f, "bad", f->models[1]));
}

static void test_second_daemon_is_refused(void **state)
{
    struct fixture *f = *state;
    open_registry(f);
    struct srv_registry *second;
    struct efm_error error = {0};
    assert_int_equal(srv_registry_create(&second, &f->options, f->metrics, NULL, &error), EFM_E_IO);
    assert_null(second);
    assert_non_null(strstr(error.message, "in use by another"));
    reopen(f);
}

/* `created` comes back from the file: a restart a second later must not change it. */
static void test_files_keep_their_time(void **state)
{
    struct fixture *f = *state;
    const struct srv_storage_part part = {"abc", 3};
    int folder;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t changed = 0;
    assert_int_equal(srv_storage_folder(f->directory, &folder, NULL), EFM_OK);
    assert_int_equal(srv_storage_write(folder, "old.txt", &part, 1, 1234567890, NULL), EFM_OK);
    assert_int_equal(srv_storage_read(folder, "old.txt", 100, &bytes, &size, &changed, NULL), EFM_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "abc", 3);
    assert_int_equal(changed, 1234567890);
    efm_free(bytes);
    close(folder);
}

static void test_directory_that_cannot_be_made(void **state)
{
    struct fixture *f = *state;
    char path[600];
    write_file(f, "file", "", 0);
    file_path(f, "file/state", path);
    f->options.state_dir = path;
    struct efm_error error = {0};
    assert_int_equal(srv_registry_create(&f->registry, &f->options, f->metrics, NULL, &error), EFM_E_IO);
    assert_null(f->registry);
    assert_true(strlen(error.message) > 0);
    file_path(f, "a/b/c", path);
    open_registry(f);
}

static void test_no_room(void **state)
{
    struct fixture *f = *state;
    size_t bytes = efm_model_bytes(f->models[0]);
    f->options.max_memory = 2 * bytes + bytes / 2;
    f->options.max_models = 2;
    open_registry(f);
    assert_int_equal(put_model(f, "a", f->models[0], NULL, NULL), API_P_NONE);
    assert_int_equal(put_model(f, "b", f->models[0], NULL, NULL), API_P_NONE);
    assert_int_equal(put_model(f, "c", f->models[0], NULL, NULL), API_P_CONFLICT);
    /* replacing needs no room for both */
    assert_int_equal(put_model(f, "b", f->models[1], NULL, NULL), API_P_NONE);
    assert_true(srv_registry_room(f->registry) < bytes);
    srv_registry_destroy(f->registry);

    f->options.max_models = 3;
    open_registry(f);
    assert_int_equal(put_model(f, "c", f->models[0], NULL, NULL), API_P_NO_MEMORY);
    assert_false(has_model(f, "c", NULL));
    assert_false(file_exists(f, "models/c.safetensors"));
    srv_registry_destroy(f->registry);

    f->options.max_memory =
        bytes + bytes / 2; /* the next start with less: one is loaded, one is left alone */
    open_registry(f);
    assert_true(has_model(f, "a", NULL));
    assert_false(has_model(f, "b", NULL));
    assert_true(file_exists(f, "models/b.safetensors"));
}

static void test_conditions(void **state)
{
    struct fixture *f = *state;
    open_registry(f);
    const char *first = efm_model_sha256(f->models[0]);
    assert_int_equal(put_model(f, "a", f->models[0], first, NULL), API_P_PRECONDITION_FAILED);
    assert_int_equal(put_model(f, "a", f->models[0], "", NULL), API_P_NONE);
    assert_int_equal(put_model(f, "a", f->models[1], "", NULL), API_P_PRECONDITION_FAILED);
    assert_true(has_model(f, "a", f->models[0]));
    assert_int_equal(put_model(f, "a", f->models[1], first, NULL), API_P_NONE);
    assert_int_equal(put_model(f, "a", f->models[0], first, NULL), API_P_PRECONDITION_FAILED);
    assert_true(has_model(f, "a", f->models[1]));
}

/* A full disk, as far as a process can have one of its own. */
static void test_disk_refuses(void **state)
{
    struct fixture *f = *state;
    open_registry(f);
    assert_int_equal(put_model(f, "a", f->models[0], NULL, NULL), API_P_NONE);
    size_t room = srv_registry_room(f->registry);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum api_problem_code replaced = put_model(f, "a", f->models[1], NULL, NULL);
    enum api_problem_code fresh = put_dataset(f, "d");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(replaced, API_P_STORAGE);
    assert_int_equal(fresh, API_P_STORAGE);
    assert_true(has_model(f, "a", f->models[0]));
    assert_false(has_dataset(f, "d"));
    assert_int_equal(srv_registry_room(f->registry), room);
    assert_false(file_exists(f, "datasets/.d.dataset.tmp"));
    reopen(f);
    assert_true(has_model(f, "a", f->models[0]));
    assert_false(has_dataset(f, "d"));
}

struct seen {
    struct fixture *f;
    char names[100];
};

static void append_name(struct seen *seen, const char *name)
{
    size_t used = strlen(seen->names);
    snprintf(seen->names + used, sizeof seen->names - used, "%s ", name);
}

static void see_model(void *context, const char *name, const struct efm_model *model, int64_t created)
{
    struct seen *seen = context;
    assert_non_null(model);
    assert_true(created > 0);
    append_name(seen, name);
    struct api_problem problem = {0};
    if (strcmp(name, "b") == 0) /* the registry may change meanwhile */
        assert_true(srv_registry_delete_model(seen->f->registry, "b", &problem));
}

static void see_dataset(void *context, const char *name, const struct efm_dataset *dataset, int64_t created)
{
    struct seen *seen = context;
    assert_non_null(dataset);
    assert_true(created > 0);
    append_name(seen, name);
}

static void test_each_is_sorted(void **state)
{
    struct fixture *f = *state;
    f->options.state_dir = NULL;
    open_registry(f);
    const char *names[] = {"c", "a", "d", "b", "B"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(put_model(f, names[i], f->models[0], NULL, NULL), API_P_NONE);
    struct seen seen = {.f = f};
    srv_registry_each_model(f->registry, see_model, &seen);
    assert_string_equal(seen.names, "B a b c d ");
    assert_int_equal(put_dataset(f, "y"), API_P_NONE);
    assert_int_equal(put_dataset(f, "x"), API_P_NONE);
    seen.names[0] = '\0';
    srv_registry_each_dataset(f->registry, see_dataset, &seen);
    assert_string_equal(seen.names, "x y ");
}

static void test_metrics_follow(void **state)
{
    struct fixture *f = *state;
    f->options.state_dir = NULL;
    open_registry(f);
    assert_int_equal(put_model(f, "m", f->models[0], NULL, NULL), API_P_NONE);
    assert_int_equal(put_dataset(f, "d"), API_P_NONE);
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    srv_metrics_render(f->metrics, &out);
    efm_buffer_append(&out, "", 1);
    assert_non_null(strstr((char *)out.data, "efm_model_loaded{model=\"m\"} 1\n"));
    assert_non_null(strstr((char *)out.data, "efm_datasets 1\n"));
    efm_buffer_release(&out);
    struct api_problem problem = {0};
    assert_true(srv_registry_delete_model(f->registry, "m", &problem));
    assert_true(srv_registry_delete_dataset(f->registry, "d", &problem));
    srv_metrics_render(f->metrics, &out);
    efm_buffer_append(&out, "", 1);
    assert_null(strstr((char *)out.data, "model=\"m\""));
    assert_non_null(strstr((char *)out.data, "efm_datasets 0\n"));
    efm_buffer_release(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_memory),
        TEST(test_with_files),
        TEST(test_restart),
        TEST(test_damage_is_skipped),
        TEST(test_second_daemon_is_refused),
        TEST(test_directory_that_cannot_be_made),
        TEST(test_files_keep_their_time),
        TEST(test_no_room),
        TEST(test_conditions),
        TEST(test_disk_refuses),
        TEST(test_each_is_sorted),
        TEST(test_metrics_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
