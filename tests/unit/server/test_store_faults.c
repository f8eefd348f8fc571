// SPDX-License-Identifier: Apache-2.0
/* Each write, sync, change of a name and allocation fails in turn. A call that then fails says so with a status of the
 * right sort and has changed nothing; whatever happened, the store works on, and who opens it anew, after a crash right
 * then or later, finds exactly what was acknowledged. */
#include "server/store/store.h"
#include "tests/unit/server/store_faults.h"
#include "tests/unit/server/store_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct place place;

static int teardown(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

/* What is done to the job "a" (queued, "old", version 1) and the events "x" and "y" of it, under a fault. */
struct operation {
    const char *name;
    enum efm_status (*run)(struct srv_store *store, struct efm_error *error);
    bool (*is_done)(struct srv_store *store);
    bool (*is_undone)(struct srv_store *store);
};

static struct srv_record get_job(struct srv_store *store)
{
    struct srv_record job;
    struct efm_error error = {0};
    if (srv_store_get(store, SRV_RECORD_JOB, "a", &job, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return job;
}

static bool job_is(struct srv_store *store, const char *state, const char *document, uint64_t version)
{
    struct srv_record job = get_job(store);
    bool is = strcmp(job.state, state) == 0 && strcmp(job.document, document) == 0 && job.version == version;
    srv_record_release(&job);
    return is;
}

static bool events_are(struct srv_store *store, size_t expected)
{
    size_t count;
    assert_int_equal(srv_store_count(store, &(struct srv_query){.kind = SRV_RECORD_EVENT}, &count, NULL),
                     EFM_OK);
    return count == expected;
}

static enum efm_status insert_event(struct srv_store *store, const char *id, struct efm_error *error)
{
    struct srv_record event = {.kind = SRV_RECORD_EVENT, .parent = "a"};
    snprintf(event.id, sizeof event.id, "%s", id);
    return srv_store_commit(store, &(struct srv_change){SRV_INSERT, &event, 0}, 1, NULL, error);
}

static void fill(struct srv_store *store)
{
    struct srv_record job = {.kind = SRV_RECORD_JOB,
                             .id = "a",
                             .state = "queued",
                             .document = (char *)(uintptr_t) "old",
                             .size = 3};
    assert_int_equal(srv_store_commit(store, &(struct srv_change){SRV_INSERT, &job, 0}, 1, NULL, NULL),
                     EFM_OK);
    assert_int_equal(insert_event(store, "x", NULL), EFM_OK);
    assert_int_equal(insert_event(store, "y", NULL), EFM_OK);
}

static bool is_as_filled(struct srv_store *store)
{
    return job_is(store, "queued", "old", 1) && events_are(store, 2);
}

static enum efm_status update_and_insert(struct srv_store *store, struct efm_error *error)
{
    static char document[20000]; /* some pages */
    memset(document, 'n', sizeof document - 1);
    struct srv_record job = {.kind = SRV_RECORD_JOB,
                             .id = "a",
                             .state = "queued",
                             .document = document,
                             .size = sizeof document - 1};
    struct srv_record event = {.kind = SRV_RECORD_EVENT, .id = "z", .parent = "a"};
    struct srv_change changes[] = {{SRV_UPDATE, &job, 1}, {SRV_INSERT, &event, 0}};
    size_t failed = 7;
    enum efm_status status = srv_store_commit(store, changes, 2, &failed, error);
    assert_true(failed == SIZE_MAX);
    assert_int_equal(job.version, status == EFM_OK ? 2 : 0);
    return status;
}

static bool is_updated(struct srv_store *store)
{
    struct srv_record job = get_job(store);
    bool is = job.size == 19999 && job.document[19998] == 'n' && job.version == 2;
    srv_record_release(&job);
    return is && events_are(store, 3);
}

static enum efm_status claim(struct srv_store *store, struct efm_error *error)
{
    struct srv_record found;
    struct srv_claim wanted = {SRV_RECORD_JOB, "", "queued", "running", "me", 1000};
    enum efm_status status = srv_store_claim(store, &wanted, &found, error);
    assert_string_equal(found.id, status == EFM_OK ? "a" : "");
    srv_record_release(&found);
    return status;
}

static bool is_claimed(struct srv_store *store)
{
    return job_is(store, "running", "old", 2) && events_are(store, 2);
}

static enum efm_status remove_events(struct srv_store *store, struct efm_error *error)
{
    size_t count;
    enum efm_status status =
        srv_store_delete(store, &(struct srv_query){.kind = SRV_RECORD_EVENT, .parent = "a"}, &count, error);
    assert_int_equal(count, status == EFM_OK ? 2 : 0);
    return status;
}

static bool is_without_events(struct srv_store *store)
{
    return job_is(store, "queued", "old", 1) && events_are(store, 0);
}

static enum efm_status claim_and_renew(struct srv_store *store, struct efm_error *error)
{
    enum efm_status status = claim(store, error);
    if (status == EFM_OK || status == EFM_E_NOT_FOUND) /* had before */
        status = srv_store_renew(store, SRV_RECORD_JOB, "a", "me", 5000, status == EFM_OK ? error : NULL);
    return status;
}

static bool is_renewed(struct srv_store *store)
{
    struct srv_record job = get_job(store);
    bool renewed = job.lease > srv_store_now(store) + 3000;
    srv_record_release(&job);
    return renewed && is_claimed(store);
}

static bool is_not_renewed(struct srv_store *store)
{
    return is_as_filled(store) || (is_claimed(store) && !is_renewed(store));
}

static enum efm_status look(struct srv_store *store, struct efm_error *error)
{
    struct srv_record found, *records;
    size_t count = 0;
    enum efm_status status = srv_store_get(store, SRV_RECORD_JOB, "a", &found, error);
    assert_true((found.document != NULL) == (status == EFM_OK));
    srv_record_release(&found);
    if (status == EFM_OK) {
        status =
            srv_store_list(store, &(struct srv_query){.kind = SRV_RECORD_EVENT}, &records, &count, error);
        assert_int_equal(count, status == EFM_OK ? 2 : 0);
        srv_records_release(records, count);
    }
    if (status == EFM_OK)
        status = srv_store_count(store, &(struct srv_query){.kind = SRV_RECORD_EVENT}, &count, error);
    return status;
}

static const struct operation OPERATIONS[] = {
    {"update and insert", update_and_insert, is_updated, is_as_filled},
    {"claim", claim, is_claimed, is_as_filled},
    {"delete", remove_events, is_without_events, is_as_filled},
    {"renew", claim_and_renew, is_renewed, is_not_renewed},
    {"look", look, is_as_filled, is_as_filled},
};

static struct srv_store *open_store(const char *name)
{
    struct srv_store *store;
    struct efm_error error = {0};
    if (srv_store_open_sqlite(&store, place_path(&place, name), &error) != EFM_OK)
        fail_msg("%s", error.message);
    return store;
}

static void after_a_crash_now(bool (*is_right)(struct srv_store *store))
{
    place_copy(place_path(&place, "efmd.db"), place_path(&place, "crash.db"));
    place_copy(place_path(&place, "efmd.db-wal"), place_path(&place, "crash.db-wal"));
    struct srv_store *store = open_store("crash.db");
    assert_true(is_right(store));
    srv_store_close(store);
}

/* False when the operation has no call of that number. */
static bool operate_with_fault(const struct operation *operation, int which, int number)
{
    struct efm_error error = {0};
    place_make(&place);
    struct srv_store *store = open_store("efmd.db");
    fill(store);
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    enum efm_status status = operation->run(store, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        assert_true(reached);
        faults_explain(which, status, &error);
        assert_true(operation->is_undone(store));
    } else {
        assert_false(faults_met_sync());
        assert_true(operation->is_done(store));
    }
    /* When nothing can be written after a sync that failed, no more than a crash then may show the commit. */
    if (!faults_all[which].stays)
        after_a_crash_now(status == EFM_OK ? operation->is_done : operation->is_undone);
    if (status != EFM_OK) {
        assert_int_equal(operation->run(store, NULL), EFM_OK);
        assert_true(operation->is_done(store));
        after_a_crash_now(operation->is_done);
    }
    srv_store_close(store);
    store = open_store("efmd.db");
    assert_true(operation->is_done(store));
    srv_store_close(store);
    place_remove(&place);
    return reached;
}

static void records_survive_every_fault(void **state)
{
    (void)state;
    for (size_t o = 0; o < sizeof OPERATIONS / sizeof OPERATIONS[0]; o++)
        for (int which = 0; which < faults_count; which++) {
            int number = 0;
            while (operate_with_fault(&OPERATIONS[o], which, number))
                number = faults_next(which, number);
            bool reads = OPERATIONS[o].run == look;
            assert_true(faults_all[which].fault == FAULT_MEMORY || reads || number >= 2);
            assert_true(faults_all[which].fault != FAULT_MEMORY || number >= 2);
        }
}

/* A log so long that the commit under the fault moves it into the database. */
static bool move_log_with_fault(int which, int number)
{
    static char document[3 << 20];
    struct efm_error error = {0};
    memset(document, 'd', sizeof document);
    struct srv_record model = {
        .kind = SRV_RECORD_MODEL, .id = "m", .document = document, .size = sizeof document};
    struct srv_change changes[] = {{SRV_INSERT, &model, 0}};
    place_make(&place);
    struct srv_store *store = open_store("efmd.db");
    fill(store);
    assert_int_equal(srv_store_commit(store, changes, 1, NULL, NULL), EFM_OK);
    changes[0].change = SRV_UPDATE;
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    enum efm_status status = srv_store_commit(store, changes, 1, NULL, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK)
        faults_explain(which, status, &error);
    assert_true(is_as_filled(store));
    struct srv_record found;
    assert_int_equal(srv_store_get(store, SRV_RECORD_MODEL, "m", &found, NULL), EFM_OK);
    assert_int_equal(found.version, status == EFM_OK ? 2 : 1);
    assert_int_equal(found.size, sizeof document);
    srv_record_release(&found);
    after_a_crash_now(is_as_filled);
    assert_int_equal(update_and_insert(store, NULL), EFM_OK);
    srv_store_close(store);
    store = open_store("efmd.db");
    assert_true(is_updated(store));
    srv_store_close(store);
    place_remove(&place);
    return reached;
}

static void the_log_is_moved_through_every_fault(void **state)
{
    (void)state;
    for (int which = 0; which < faults_count; which += faults_all[which].stays ? 3 : 2) {
        int number = 0, tries = 0;
        while (move_log_with_fault(which, number)) {
            number += 1 + number / 2; /* there are thousands, most of one kind */
            tries++;
        }
        assert_true(tries > 5);
    }
}

static bool close_with_fault(int which, int number)
{
    place_make(&place);
    struct srv_store *store = open_store("efmd.db");
    fill(store);
    assert_int_equal(update_and_insert(store, NULL), EFM_OK);
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    srv_store_close(store);
    bool reached = faults_disarm();
    after_a_crash_now(is_updated);
    store = open_store("efmd.db");
    assert_true(is_updated(store));
    srv_store_close(store);
    place_remove(&place);
    return reached;
}

/* On a new file, or on one that a crash left with its log. */
static bool open_with_fault(bool filled, int which, int number)
{
    struct efm_error error = {0};
    struct srv_store *store;
    place_make(&place);
    if (filled) {
        store = open_store("before.db");
        fill(store);
        place_copy(place_path(&place, "before.db"), place_path(&place, "efmd.db"));
        place_copy(place_path(&place, "before.db-wal"), place_path(&place, "efmd.db-wal"));
        srv_store_close(store);
    }
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    enum efm_status status = srv_store_open_sqlite(&store, place_path(&place, "efmd.db"), &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        faults_explain(which, status, &error);
        store = open_store("efmd.db");
    }
    if (!filled)
        fill(store);
    assert_true(is_as_filled(store));
    srv_store_close(store);
    place_remove(&place);
    return reached;
}

static void opening_and_closing_survive_every_fault(void **state)
{
    (void)state;
    for (int which = 0; which < faults_count; which++) {
        int numbers[3] = {0};
        while (close_with_fault(which, numbers[0]))
            numbers[0]++;
        while (open_with_fault(false, which, numbers[1]))
            numbers[1] = faults_next(which, numbers[1]);
        while (open_with_fault(true, which, numbers[2]))
            numbers[2] = faults_next(which, numbers[2]);
        assert_true(numbers[0] > 0 || faults_all[which].fault == FAULT_MEMORY);
        assert_true(numbers[1] > 0 && numbers[2] > 0);
    }
}

int main(void)
{
    faults_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(records_survive_every_fault, teardown),
        cmocka_unit_test_teardown(the_log_is_moved_through_every_fault, teardown),
        cmocka_unit_test_teardown(opening_and_closing_survive_every_fault, teardown),
    };
    return cmocka_run_group_tests_name("store: faults", tests, NULL, NULL);
}
