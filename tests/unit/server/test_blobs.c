// SPDX-License-Identifier: Apache-2.0
// The suite of all stores of blobs on files and on memory; and what only files can show.
#include "server/store/blobs.h"

#include "core/base/memory.h"
#include "tests/unit/server/blobs_suite.h"
#include "tests/unit/server/store_place.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct place place;

static int setup(void **state)
{
    (void)state;
    place_make(&place);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

static struct srv_blobs *open_files(void)
{
    struct efm_error error = {0};
    struct srv_blobs *blobs = NULL;
    enum efm_status status = srv_blobs_open_files(&blobs, place_path(&place, "state/blobs"), &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
    return blobs;
}

static const char *path_of(const char *key)
{
    char name[250];
    snprintf(name, sizeof name, "state/blobs/%s", key);
    return place_path(&place, name);
}

static int entries_of(const char *path)
{
    int count = 0;
    const struct dirent *entry;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count;
}

/* ---- the suite ---- */

static void run_on_files(void **state)
{
    const struct blobs_case *test = *state;
    struct srv_blobs *blobs = open_files();
    test->run(blobs);
    srv_blobs_close(blobs);
    assert_int_equal(entries_of(path_of(".temporary")), 0);
}

static void run_in_memory(void **state)
{
    const struct blobs_case *test = *state;
    struct srv_blobs *blobs;
    assert_int_equal(srv_blobs_open_memory(&blobs, NULL), EFM_OK);
    test->run(blobs);
    srv_blobs_close(blobs);
    srv_blobs_close(NULL);
}

static int run_suite(const char *name, void (*run)(void **))
{
    struct CMUnitTest tests[64];
    assert_true(blobs_case_count <= 64);
    for (size_t i = 0; i < blobs_case_count; i++)
        tests[i] = (struct CMUnitTest){.name = blobs_cases[i].name,
                                       .test_func = run,
                                       .setup_func = setup,
                                       .teardown_func = teardown,
                                       .initial_state = (void *)(uintptr_t)&blobs_cases[i]};
    return _cmocka_run_group_tests(name, tests, blobs_case_count, NULL, NULL);
}

/* ---- files ---- */

static void blobs_are_there_again(void **state)
{
    (void)state;
    struct stat facts;
    struct srv_blobs *blobs = open_files();
    blobs_write(blobs, "models/cats/1f", "weights");
    srv_blobs_close(blobs);
    blobs = open_files();
    blobs_expect(blobs, "models/cats/1f", "weights");
    assert_int_equal(stat(path_of("models/cats/1f"), &facts), 0);
    assert_int_equal(facts.st_mode & 0007, 0);
    srv_blobs_close(blobs);
}

static void empty_folders_go(void **state)
{
    (void)state;
    struct srv_blobs *blobs = open_files();
    blobs_write(blobs, "jobs/1/a/b", "x");
    blobs_write(blobs, "jobs/2/a", "x");
    assert_int_equal(srv_blobs_remove(blobs, "jobs/1/a/b", NULL), EFM_OK);
    assert_false(place_exists(path_of("jobs/1")));
    assert_true(place_exists(path_of("jobs/2")));
    assert_int_equal(srv_blobs_remove_all(blobs, "jobs/", NULL), EFM_OK);
    assert_false(place_exists(path_of("jobs")));
    assert_true(place_exists(path_of(".temporary")));
    srv_blobs_close(blobs);
}

static void a_copy_takes_no_room(void **state)
{
    (void)state;
    struct stat one, two;
    struct srv_blobs *blobs = open_files();
    blobs_write(blobs, "a", "x");
    assert_int_equal(srv_blobs_copy(blobs, "a", "b/c", NULL), EFM_OK);
    assert_int_equal(stat(path_of("a"), &one), 0);
    assert_int_equal(stat(path_of("b/c"), &two), 0);
    assert_true(one.st_ino == two.st_ino);
    srv_blobs_close(blobs);
}

static void a_copy_looks_as_new_as_it_is(void **state)
{
    (void)state;
    struct srv_blob_facts *facts;
    size_t count;
    struct srv_blobs *blobs = open_files();
    blobs_write(blobs, "a", "x");
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path_of("a"), old, 0), 0);
    double before = (double)time(NULL) - 1;
    assert_int_equal(srv_blobs_copy(blobs, "a", "b/c", NULL), EFM_OK);
    assert_int_equal(srv_blobs_list(blobs, "b/", &facts, &count, NULL), EFM_OK);
    assert_int_equal(count, 1);
    assert_true(facts[0].modified >= before);
    efm_free(facts);
    srv_blobs_close(blobs);
}

/* Begins a blob and is killed. */
static void leave_unfinished(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct srv_blobs *blobs;
        struct srv_blob_writer *writer;
        if (srv_blobs_open_files(&blobs, path_of(""), NULL) == EFM_OK &&
            srv_blobs_begin(blobs, "a/b", &writer, NULL) == EFM_OK &&
            srv_blob_append(writer, "half", 4, NULL) == EFM_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void only_what_nobody_writes_is_cleared(void **state)
{
    (void)state;
    struct srv_blob_writer *writer;
    struct srv_blobs *blobs = open_files();
    leave_unfinished();
    assert_int_equal(srv_blobs_begin(blobs, "mine", &writer, NULL), EFM_OK);
    assert_int_equal(srv_blob_append(writer, "all of ", 7, NULL), EFM_OK);
    assert_int_equal(entries_of(path_of(".temporary")), 2);
    struct srv_blobs *other = open_files();
    assert_int_equal(entries_of(path_of(".temporary")), 1);
    assert_int_equal(srv_blob_append(writer, "it", 2, NULL), EFM_OK);
    assert_int_equal(srv_blob_commit(writer, NULL), EFM_OK);
    blobs_expect(other, "mine", "all of it");
    assert_string_equal(blobs_keys(other, ""), "mine ");
    srv_blobs_close(other);
    srv_blobs_close(blobs);
}

static void two_stores_of_one_folder(void **state)
{
    (void)state;
    struct srv_blobs *one = open_files(), *two = open_files();
    blobs_write(one, "a", "1");
    blobs_expect(two, "a", "1");
    blobs_write(two, "a", "2");
    blobs_expect(one, "a", "2");
    assert_int_equal(srv_blobs_remove(two, "a", NULL), EFM_OK);
    blobs_put_and_remove(one, two, 100); /* each removes folders under the other's hands */
    srv_blobs_close(one);
    srv_blobs_close(two);
}

static void a_blob_is_no_folder(void **state)
{
    (void)state;
    struct srv_blobs *blobs = open_files();
    struct efm_error error = {0};
    blobs_write(blobs, "a", "x");
    blobs_write(blobs, "b/c", "y");
    assert_int_equal(srv_blobs_put(blobs, "a/b", "z", 1, &error), EFM_E_ARGUMENT);
    assert_int_equal(srv_blobs_put(blobs, "a/b/c", "z", 1, NULL), EFM_E_ARGUMENT);
    assert_int_equal(srv_blobs_put(blobs, "b", "z", 1, NULL), EFM_E_ARGUMENT);
    assert_int_equal(srv_blobs_copy(blobs, "a", "b", NULL), EFM_E_ARGUMENT);
    blobs_expect(blobs, "a/b", NULL);
    assert_int_equal(srv_blobs_remove(blobs, "a/b", NULL), EFM_OK);
    assert_int_equal(srv_blobs_remove(blobs, "b", NULL), EFM_OK); /* there is no such blob */
    assert_string_equal(blobs_keys(blobs, "a/"), "");
    assert_string_equal(blobs_keys(blobs, ""), "a b/c ");
    blobs_expect(blobs, "a", "x");
    blobs_expect(blobs, "b/c", "y");
    srv_blobs_close(blobs);
}

static void what_is_no_blob_is_passed_over(void **state)
{
    (void)state;
    struct srv_blobs *blobs = open_files();
    blobs_write(blobs, "d/a", "x");
    place_write(path_of("d/.hidden"), "x", 1);
    place_write(path_of("d/not a key"), "x", 1);
    assert_int_equal(mkfifo(path_of("d/pipe"), 0600), 0);
    assert_int_equal(symlink("a", path_of("d/link")), 0);
    assert_int_equal(mkdir(path_of("d/folder"), 0700), 0);
    assert_string_equal(blobs_keys(blobs, ""), "d/a ");
    blobs_expect(blobs, "d/pipe", NULL);
    blobs_expect(blobs, "d/folder", NULL);
    srv_blobs_close(blobs);
}

static void a_folder_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    struct srv_blobs *blobs;
    struct efm_error error = {0};
    place_write(place_path(&place, "file"), "x", 1);
    assert_int_equal(srv_blobs_open_files(&blobs, place_path(&place, "file/blobs"), &error), EFM_E_IO);
    assert_true(error.message[0] != '\0');
}

int main(void)
{
    int failures = run_suite("blobs: files", run_on_files);
    failures += run_suite("blobs: memory", run_in_memory);
    const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
        TEST(blobs_are_there_again),
        TEST(empty_folders_go),
        TEST(a_copy_takes_no_room),
        TEST(a_copy_looks_as_new_as_it_is),
        TEST(only_what_nobody_writes_is_cleared),
        TEST(two_stores_of_one_folder),
        TEST(a_blob_is_no_folder),
        TEST(what_is_no_blob_is_passed_over),
        TEST(a_folder_that_cannot_be_is_an_error),
    };
    return failures + cmocka_run_group_tests_name("blobs: what files show", tests, NULL, NULL);
}
