// SPDX-License-Identifier: Apache-2.0
// The suite of all stores on SQLite, in a file and in memory; and what only a file can show.
#include "server/store/sqlite_internal.h"
#include "tests/unit/server/store_place.h"
#include "tests/unit/server/store_suite.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct place place;

static struct srv_store *open_store(const char *path)
{
    struct efm_error error = {0};
    struct srv_store *store = NULL;
    enum efm_status status = srv_store_open_sqlite(&store, path, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
    return store;
}

static const char *database_path(void)
{
    return place_path(&place, "efmd.db");
}

static void insert_job(struct srv_store *store, const char *id)
{
    struct srv_record job = store_record(SRV_RECORD_JOB, id, "queued", id);
    assert_int_equal(store_insert(store, &job), EFM_OK);
}

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

/* ---- the suite ---- */

static void run_in_file(void **state)
{
    const struct store_case *test = *state;
    struct srv_store *store = open_store(database_path());
    test->run(store);
    srv_store_close(store);
}

static void run_in_memory(void **state)
{
    const struct store_case *test = *state;
    struct srv_store *store = open_store(NULL);
    test->run(store);
    srv_store_close(store);
}

/* cmocka keeps the initial state in *state only when there is no setup that sets it; ours leaves it. */
static int run_suite(const char *name, void (*run)(void **))
{
    struct CMUnitTest tests[64];
    assert_true(store_case_count <= 64);
    for (size_t i = 0; i < store_case_count; i++)
        tests[i] = (struct CMUnitTest){.name = store_cases[i].name,
                                       .test_func = run,
                                       .setup_func = setup,
                                       .teardown_func = teardown,
                                       .initial_state = (void *)(uintptr_t)&store_cases[i]};
    return _cmocka_run_group_tests(name, tests, store_case_count, NULL, NULL);
}

/* ---- a file ---- */

static void what_was_committed_is_there_again(void **state)
{
    (void)state;
    struct srv_store *store = open_store(database_path());
    struct srv_record a = store_record(SRV_RECORD_JOB, "a", "queued", "1"), b = a;
    snprintf(b.id, sizeof b.id, "b");
    assert_int_equal(store_insert(store, &a), EFM_OK);
    assert_int_equal(store_insert(store, &b), EFM_OK);
    assert_int_equal(store_delete(store, SRV_RECORD_JOB, "b", 0), EFM_OK);
    srv_store_close(store);
    store = open_store(database_path());
    store_expect(store, SRV_RECORD_JOB, "a", "1");
    store_expect(store, SRV_RECORD_JOB, "b", NULL);
    struct srv_record c = store_record(SRV_RECORD_EVENT, "c", "", "");
    assert_int_equal(store_insert(store, &c), EFM_OK);
    assert_true(c.sequence > b.sequence); /* though b is forgotten */
    srv_store_close(store);
}

static void others_may_not_read_it(void **state)
{
    (void)state;
    struct stat facts;
    struct srv_store *store = open_store(database_path());
    insert_job(store, "a");
    assert_int_equal(stat(database_path(), &facts), 0);
    assert_int_equal(facts.st_mode & 0007, 0);
    assert_int_equal(stat(place_path(&place, "efmd.db-wal"), &facts), 0);
    assert_int_equal(facts.st_mode & 0007, 0);
    srv_store_close(store);
}

static void a_path_is_only_a_path(void **state)
{
    (void)state;
    char before[1000];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(place.folder), 0);
    static const char *const names[] = {":memory:", "file:x?mode=memory"};
    for (size_t i = 0; i < 2; i++) {
        struct srv_store *store = open_store(names[i]);
        insert_job(store, "a");
        srv_store_close(store);
        assert_true(place_exists(place_path(&place, names[i])));
    }
    assert_int_equal(chdir(before), 0);
    struct srv_store *store;
    assert_int_equal(srv_store_open_sqlite(&store, "", NULL), EFM_E_ARGUMENT);
    struct efm_error error = {0};
    assert_int_equal(srv_store_open_sqlite(&store, place_path(&place, "no/such/folder"), &error), EFM_E_IO);
}

static void two_connections_see_each_other(void **state)
{
    (void)state;
    struct srv_store *one = open_store(database_path()), *two = open_store(database_path());
    struct srv_record job = store_record(SRV_RECORD_JOB, "a", "queued", "1");
    assert_int_equal(store_insert(one, &job), EFM_OK);
    store_expect(two, SRV_RECORD_JOB, "a", "1");
    job.document = "2";
    assert_int_equal(store_update(two, &job, 1), EFM_OK);
    store_expect(one, SRV_RECORD_JOB, "a", "2");
    assert_int_equal(store_update(one, &job, 1), EFM_E_ARGUMENT);
    struct srv_record event = store_record(SRV_RECORD_EVENT, "e", "", "");
    assert_int_equal(store_insert(one, &event), EFM_OK);
    assert_true(event.sequence > job.sequence);
    srv_store_close(one);
    store_expect(two, SRV_RECORD_EVENT, "e", "");
    insert_job(two, "b");
    srv_store_close(two);
}

static void two_connections_share_a_queue(void **state)
{
    (void)state;
    struct srv_store *one = open_store(database_path()), *two = open_store(database_path());
    store_share_out((struct srv_store *const[]){one, two, one, two}, 80);
    srv_store_close(one);
    srv_store_close(two);
}

static void *open_and_insert(void *argument)
{
    struct srv_store *store;
    struct efm_error error = {0};
    struct srv_record job = store_record(SRV_RECORD_JOB, argument, "queued", "x");
    struct srv_change changes[] = {{SRV_INSERT, &job, 0}};
    if (srv_store_open_sqlite(&store, database_path(), &error) != EFM_OK) {
        print_error("%s: %s\n", efm_status_name(error.status), error.message);
        return NULL;
    }
    enum efm_status status = srv_store_commit(store, changes, 1, NULL, &error);
    srv_store_close(store);
    if (status != EFM_OK)
        print_error("%s: %s\n", efm_status_name(status), error.message);
    return status == EFM_OK ? argument : NULL;
}

static void a_new_file_may_be_opened_by_many_at_once(void **state)
{
    (void)state;
    static char ids[6][4] = {"a", "b", "c", "d", "e", "f"};
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_insert, ids[i]), 0);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    struct srv_store *store = open_store(database_path());
    assert_int_equal(store_total(store, SRV_RECORD_JOB), 6);
    srv_store_close(store);
}

/* Inserts until it is killed, and says what was acknowledged. */
static void insert_for_ever(int report)
{
    struct srv_store *store;
    if (srv_store_open_sqlite(&store, database_path(), NULL) != EFM_OK)
        _exit(1);
    for (int i = 0;; i++) {
        char id[20];
        snprintf(id, sizeof id, "j%d", i);
        struct srv_record job = store_record(SRV_RECORD_JOB, id, "queued", id);
        struct srv_record event = store_record(SRV_RECORD_EVENT, id, "", id);
        struct srv_change changes[] = {{SRV_INSERT, &job, 0}, {SRV_INSERT, &event, 0}};
        if (srv_store_commit(store, changes, 2, NULL, NULL) != EFM_OK ||
            write(report, &i, sizeof i) != sizeof i)
            _exit(1);
    }
}

static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    int pipes[2], last = -1, next;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        insert_for_ever(pipes[1]);
    close(pipes[1]);
    while (last < 40 && read(pipes[0], &next, sizeof next) == sizeof next)
        last = next;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(pipes[0], &next, sizeof next) == sizeof next)
        last = next;
    close(pipes[0]);
    assert_true(last >= 40);
    struct srv_store *store = open_store(database_path());
    size_t jobs = store_total(store, SRV_RECORD_JOB);
    assert_true(jobs == (size_t)last + 1 || jobs == (size_t)last + 2); /* the last may not have been told */
    assert_int_equal(store_total(store, SRV_RECORD_EVENT), jobs);
    for (int i = 0; i <= last; i++) {
        char id[20];
        snprintf(id, sizeof id, "j%d", i);
        store_expect(store, SRV_RECORD_JOB, id, id);
    }
    srv_store_close(store);
}

/* ---- versions ---- */

/* One more column, and what is there filled in. */
static const char EXTRA[] = "ALTER TABLE records ADD COLUMN note TEXT NOT NULL DEFAULT 'none';"
                            "UPDATE records SET note = 'old ' || id";

static void an_older_database_is_migrated(void **state)
{
    (void)state;
    struct srv_store *store = open_store(database_path());
    insert_job(store, "a");
    srv_store_close(store);
    const char *migrations[] = {srv_sqlite_migrations[0], EXTRA,
                                "UPDATE records SET document = CAST(note || '!' AS BLOB)"};
    assert_int_equal(srv_sqlite_newest, 1); /* else the list above needs the others too */
    assert_int_equal(srv_sqlite_open(&store, database_path(), migrations, 3, NULL), EFM_OK);
    store_expect(store, SRV_RECORD_JOB, "a", "old a!");
    insert_job(store, "b");
    srv_store_close(store);
    assert_int_equal(srv_sqlite_open(&store, database_path(), migrations, 3, NULL), EFM_OK); /* not twice */
    store_expect(store, SRV_RECORD_JOB, "b", "b");
    srv_store_close(store);
}

static void a_migration_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct srv_store *store = open_store(database_path());
    struct efm_error error = {0};
    insert_job(store, "a");
    srv_store_close(store);
    const char *migrations[] = {srv_sqlite_migrations[0], EXTRA,
                                "DELETE FROM records; UPDATE nothing SET x = 1"};
    assert_int_equal(srv_sqlite_open(&store, database_path(), migrations, 3, &error), EFM_E_INTERNAL);
    assert_non_null(strstr(error.message, "version 2"));
    assert_int_equal(srv_sqlite_open(&store, database_path(), migrations, 2, NULL), EFM_OK);
    store_expect(store, SRV_RECORD_JOB, "a", "a");
    srv_store_close(store);
}

static void a_newer_database_is_left_alone(void **state)
{
    (void)state;
    struct srv_store *store, *newer;
    const char *migrations[] = {srv_sqlite_migrations[0], EXTRA};
    assert_int_equal(srv_sqlite_open(&newer, database_path(), migrations, 2, NULL), EFM_OK);
    insert_job(newer, "a");
    /* as the newer program left it when it was killed: part of it is in the log */
    place_copy(database_path(), place_path(&place, "killed.db"));
    place_copy(place_path(&place, "efmd.db-wal"), place_path(&place, "killed.db-wal"));
    srv_store_close(newer);
    static const char *const names[] = {"efmd.db", "killed.db", "killed.db-wal"};
    uint8_t *before[3];
    size_t sizes[3];
    for (int i = 0; i < 3; i++)
        before[i] = place_read(place_path(&place, names[i]), &sizes[i]);
    for (int i = 0; i < 2; i++) {
        struct efm_error error = {0};
        assert_int_equal(srv_store_open_sqlite(&store, place_path(&place, names[i]), &error),
                         EFM_E_UNSUPPORTED);
        assert_non_null(strstr(error.message, "version 2"));
        assert_non_null(strstr(error.message, "up to 1"));
    }
    for (int i = 0; i < 3; i++) {
        size_t size = 0;
        uint8_t *after = place_read(place_path(&place, names[i]), &size);
        assert_non_null(after);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(after, before[i], size);
        free(after);
        free(before[i]);
    }
}

/* ---- what is no database of ours ---- */

static void refuses(const void *bytes, size_t size)
{
    struct srv_store *store;
    struct efm_error error = {0};
    size_t after_size;
    place_write(place_path(&place, "bad.db"), bytes, size);
    assert_int_equal(srv_store_open_sqlite(&store, place_path(&place, "bad.db"), &error), EFM_E_FORMAT);
    assert_true(error.message[0] != '\0');
    uint8_t *after = place_read(place_path(&place, "bad.db"), &after_size);
    assert_int_equal(after_size, size);
    assert_memory_equal(after, bytes, size);
    free(after);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text);
    refuses(text, sizeof text);
    refuses("short", 5);
    sqlite3 *foreign;
    size_t size;
    assert_int_equal(sqlite3_open(place_path(&place, "foreign.db"), &foreign), SQLITE_OK);
    assert_int_equal(sqlite3_exec(foreign, "CREATE TABLE records (a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(foreign);
    uint8_t *bytes = place_read(place_path(&place, "foreign.db"), &size);
    refuses(bytes, size);
    free(bytes);
}

static void damage_is_found_when_it_is_opened(void **state)
{
    (void)state;
    struct srv_store *store = open_store(database_path());
    for (int i = 0; i < 300; i++) {
        char id[20];
        snprintf(id, sizeof id, "j%d", i);
        insert_job(store, id);
    }
    srv_store_close(store);
    size_t size;
    uint8_t *bytes = place_read(database_path(), &size);
    assert_true(size > 8 * 4096);
    refuses(bytes, size - 4096); /* cut short */
    for (size_t page = 0; page < size / 4096; page++) {
        uint8_t kept[4096];
        memcpy(kept, bytes + page * 4096, 4096);
        memset(bytes + page * 4096, 0x5a, 4096);
        refuses(bytes, size);
        memcpy(bytes + page * 4096, kept, 4096);
    }
    free(bytes);
}

int main(void)
{
    int failures = run_suite("store: sqlite in a file", run_in_file);
    failures += run_suite("store: sqlite in memory", run_in_memory);
    const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
        TEST(what_was_committed_is_there_again),
        TEST(others_may_not_read_it),
        TEST(a_path_is_only_a_path),
        TEST(two_connections_see_each_other),
        TEST(two_connections_share_a_queue),
        TEST(a_new_file_may_be_opened_by_many_at_once),
        TEST(a_killed_process_loses_nothing),
        TEST(an_older_database_is_migrated),
        TEST(a_migration_that_fails_changes_nothing),
        TEST(a_newer_database_is_left_alone),
        TEST(what_is_no_database_is_refused),
        TEST(damage_is_found_when_it_is_opened),
    };
    return failures + cmocka_run_group_tests_name("store: files", tests, NULL, NULL);
}
