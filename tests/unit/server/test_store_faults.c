// SPDX-License-Identifier: Apache-2.0
/* Each write, sync, change of a name and allocation fails in turn. A call that then fails says so with a status of the
 * right sort and has changed nothing; whatever happened, the store works on, and who opens it anew, after a crash right
 * then or later, finds exactly what was acknowledged. */
#include "core/base/memory.h"
#include "server/store/blobs.h"
#include "server/store/store.h"
#include "tests/unit/server/store_faults.h"
#include "tests/unit/server/store_place.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct place place;

static const struct {
    const char *name;
    enum fault fault;
    bool stays;
} FAULTS[] = {
    {"full", FAULT_FULL, false},     {"full to the end", FAULT_FULL, true},
    {"error", FAULT_IO, false},      {"errors to the end", FAULT_IO, true},
    {"short", FAULT_SHORT, false},   {"short to the end", FAULT_SHORT, true},
    {"memory", FAULT_MEMORY, false}, {"no memory to the end", FAULT_MEMORY, true},
};
enum { FAULT_COUNT = sizeof FAULTS / sizeof FAULTS[0] };

/* Every call of the system; of the allocations, of which SQLite makes hundreds, the first ones and then some. */
static int next_number(int which, int number)
{
    return number +
           (FAULTS[which].fault == FAULT_MEMORY && number > 20 ? (FAULTS[which].stays ? 37 : 13) : 1);
}

static void status_fits(enum fault fault, enum efm_status status, const struct efm_error *error)
{
    bool fits = fault == FAULT_MEMORY ? status == EFM_E_MEMORY
                : fault == FAULT_IO   ? status == EFM_E_IO
                                      : status == EFM_E_FULL || status == EFM_E_IO;
    if (!fits)
        fail_msg("%s: %s", efm_status_name(status), error->message);
    assert_int_equal(error->status, status);
    assert_true(error->message[0] != '\0');
}

/* ---- records ---- */

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
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
    enum efm_status status = operation->run(store, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        assert_true(reached);
        status_fits(FAULTS[which].fault, status, &error);
        assert_true(operation->is_undone(store));
    } else {
        assert_false(faults_met_sync());
        assert_true(operation->is_done(store));
    }
    /* When nothing can be written after a sync that failed, no more than a crash then may show the commit. */
    if (!FAULTS[which].stays)
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
        for (int which = 0; which < FAULT_COUNT; which++) {
            int number = 0;
            while (operate_with_fault(&OPERATIONS[o], which, number))
                number = next_number(which, number);
            bool reads = OPERATIONS[o].run == look;
            assert_true(FAULTS[which].fault == FAULT_MEMORY || reads || number >= 2);
            assert_true(FAULTS[which].fault != FAULT_MEMORY || number >= 2);
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
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
    enum efm_status status = srv_store_commit(store, changes, 1, NULL, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK)
        status_fits(FAULTS[which].fault, status, &error);
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
    for (int which = 0; which < FAULT_COUNT; which += FAULTS[which].stays ? 3 : 2) {
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
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
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
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
    enum efm_status status = srv_store_open_sqlite(&store, place_path(&place, "efmd.db"), &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        status_fits(FAULTS[which].fault, status, &error);
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
    for (int which = 0; which < FAULT_COUNT; which++) {
        int numbers[3] = {0};
        while (close_with_fault(which, numbers[0]))
            numbers[0]++;
        while (open_with_fault(false, which, numbers[1]))
            numbers[1] = next_number(which, numbers[1]);
        while (open_with_fault(true, which, numbers[2]))
            numbers[2] = next_number(which, numbers[2]);
        assert_true(numbers[0] > 0 || FAULTS[which].fault == FAULT_MEMORY);
        assert_true(numbers[1] > 0 && numbers[2] > 0);
    }
}

/* ---- blobs ---- */

/* What is done to the blobs "jobs/1/old" ("old bytes") and "top" ("top bytes"), under a fault. */
struct blob_operation {
    const char *name;
    enum efm_status (*run)(struct srv_blobs *blobs, struct efm_error *error);
    const char *changed; /* the key that it changes */
    const char *before, *after;
    const char *keys; /* of all blobs afterwards */
};

static enum efm_status put_new(struct srv_blobs *blobs, struct efm_error *error)
{
    return srv_blobs_put(blobs, "jobs/2/a/new", "new bytes", 9, error);
}

static enum efm_status put_in_place(struct srv_blobs *blobs, struct efm_error *error)
{
    return srv_blobs_put(blobs, "jobs/1/old", "new bytes", 9, error);
}

static enum efm_status put_in_pieces(struct srv_blobs *blobs, struct efm_error *error)
{
    struct srv_blob_writer *writer;
    enum efm_status status = srv_blobs_begin(blobs, "jobs/1/old", &writer, error);
    if (status != EFM_OK)
        return status;
    status = srv_blob_append(writer, "new ", 4, error);
    if (status == EFM_OK)
        status = srv_blob_append(writer, "bytes", 5, error);
    if (status == EFM_OK)
        return srv_blob_commit(writer, error);
    assert_int_equal(srv_blob_append(writer, "x", 1, NULL), EFM_E_ARGUMENT);
    assert_int_equal(srv_blob_commit(writer, NULL), EFM_E_ARGUMENT); /* a part is never taken for the whole */
    return status;
}

static enum efm_status copy_new(struct srv_blobs *blobs, struct efm_error *error)
{
    return srv_blobs_copy(blobs, "top", "jobs/2/a/new", error);
}

static enum efm_status copy_in_place(struct srv_blobs *blobs, struct efm_error *error)
{
    return srv_blobs_copy(blobs, "top", "jobs/1/old", error);
}

static enum efm_status remove_one(struct srv_blobs *blobs, struct efm_error *error)
{
    return srv_blobs_remove(blobs, "jobs/1/old", error);
}

static enum efm_status read_all(struct srv_blobs *blobs, struct efm_error *error)
{
    struct srv_blob *blob;
    struct srv_blob_facts *facts;
    size_t count;
    enum efm_status status = srv_blobs_open(blobs, "jobs/1/old", &blob, error);
    if (status == EFM_OK && srv_blob_map(blob, error) == NULL)
        status = error->status;
    srv_blob_close(blob);
    if (status == EFM_OK)
        status = srv_blobs_list(blobs, "", &facts, &count, error);
    if (status == EFM_OK)
        efm_free(facts);
    return status;
}

static const struct blob_operation BLOB_OPERATIONS[] = {
    {"put new", put_new, "jobs/2/a/new", NULL, "new bytes", "jobs/1/old jobs/2/a/new top "},
    {"put in place", put_in_place, "jobs/1/old", "old bytes", "new bytes", "jobs/1/old top "},
    {"put in pieces", put_in_pieces, "jobs/1/old", "old bytes", "new bytes", "jobs/1/old top "},
    {"copy new", copy_new, "jobs/2/a/new", NULL, "top bytes", "jobs/1/old jobs/2/a/new top "},
    {"copy in place", copy_in_place, "jobs/1/old", "old bytes", "top bytes", "jobs/1/old top "},
    {"remove", remove_one, "jobs/1/old", "old bytes", NULL, "top "},
    {"read", read_all, "jobs/1/old", "old bytes", "old bytes", "jobs/1/old top "},
};

static void blob_is(struct srv_blobs *blobs, const char *key, const char *text)
{
    struct srv_blob *blob;
    enum efm_status status = srv_blobs_open(blobs, key, &blob, NULL);
    assert_int_equal(status, text == NULL ? EFM_E_NOT_FOUND : EFM_OK);
    if (text == NULL)
        return;
    const uint8_t *bytes = srv_blob_map(blob, NULL);
    assert_int_equal(srv_blob_size(blob), strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
    srv_blob_close(blob);
}

static void keys_are(struct srv_blobs *blobs, const char *expected)
{
    char text[400] = "";
    size_t length = 0, count;
    struct srv_blob_facts *facts;
    assert_int_equal(srv_blobs_list(blobs, "", &facts, &count, NULL), EFM_OK);
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s ", facts[i].key);
    efm_free(facts);
    assert_string_equal(text, expected);
}

static struct srv_blobs *open_files(void)
{
    struct srv_blobs *blobs;
    struct efm_error error = {0};
    if (srv_blobs_open_files(&blobs, place_path(&place, "blobs"), &error) != EFM_OK)
        fail_msg("%s", error.message);
    return blobs;
}

static int empty_folders;

static int count_empty(const char *path, const struct stat *facts, int kind, struct FTW *where)
{
    (void)facts;
    (void)where;
    const char *end = strrchr(path, '.');
    if (kind == FTW_D && (end == NULL || strcmp(end, ".temporary") != 0) && rmdir(path) == 0)
        empty_folders++;
    return 0;
}

/* The folder of a store that was opened anew holds the blobs and nothing else. */
static void nothing_is_left_behind(void)
{
    assert_int_equal(rmdir(place_path(&place, "blobs/.temporary")), 0);
    empty_folders = 0;
    assert_int_equal(nftw(place_path(&place, "blobs"), count_empty, 16, FTW_PHYS), 0);
    assert_int_equal(empty_folders, 0);
}

static bool change_blobs_with_fault(const struct blob_operation *operation, struct srv_blobs *memory,
                                    int which, int number)
{
    struct efm_error error = {0};
    place_make(&place);
    struct srv_blobs *blobs = memory != NULL ? memory : open_files();
    assert_int_equal(srv_blobs_put(blobs, "jobs/1/old", "old bytes", 9, NULL), EFM_OK);
    assert_int_equal(srv_blobs_put(blobs, "top", "top bytes", 9, NULL), EFM_OK);
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
    enum efm_status status = operation->run(blobs, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        assert_true(reached);
        status_fits(FAULTS[which].fault, status, &error);
        if (operation->run != remove_one) { /* gone or not: whoever removes it again learns that it is */
            /* a disk that refuses all may refuse the way back as well; the bytes are whole in any case */
            if (!FAULTS[which].stays)
                blob_is(blobs, operation->changed, operation->before);
        }
        blob_is(blobs, "top", "top bytes");
        assert_int_equal(operation->run(blobs, NULL), EFM_OK);
    } else {
        assert_false(faults_met_sync());
    }
    blob_is(blobs, operation->changed, operation->after);
    keys_are(blobs, operation->keys);
    if (memory == NULL) {
        srv_blobs_close(blobs);
        blobs = open_files();
        blob_is(blobs, operation->changed, operation->after);
        keys_are(blobs, operation->keys);
        srv_blobs_close(blobs);
        if (operation->run != remove_one || !reached) /* a folder that could not go may stay, empty */
            nothing_is_left_behind();
    }
    place_remove(&place);
    return reached;
}

static void blobs_survive_every_fault(void **state)
{
    (void)state;
    for (size_t o = 0; o < sizeof BLOB_OPERATIONS / sizeof BLOB_OPERATIONS[0]; o++)
        for (int which = 0; which < FAULT_COUNT; which++) {
            int number = 0;
            while (change_blobs_with_fault(&BLOB_OPERATIONS[o], NULL, which, number))
                number++;
            bool reads = BLOB_OPERATIONS[o].run == read_all;
            assert_true(FAULTS[which].fault == FAULT_MEMORY || (reads ? number == 0 : number >= 2));
        }
}

static void blobs_in_memory_survive_every_fault(void **state)
{
    (void)state;
    for (size_t o = 0; o < sizeof BLOB_OPERATIONS / sizeof BLOB_OPERATIONS[0]; o++)
        for (int which = 0; which < FAULT_COUNT; which++) {
            bool reached = true;
            for (int number = 0; reached; number++) {
                struct srv_blobs *memory;
                assert_int_equal(srv_blobs_open_memory(&memory, NULL), EFM_OK);
                reached = change_blobs_with_fault(&BLOB_OPERATIONS[o], memory, which, number);
                srv_blobs_close(memory);
            }
        }
}

static bool open_files_with_fault(int which, int number)
{
    struct efm_error error = {0};
    struct srv_blobs *blobs;
    place_make(&place);
    faults_arm(FAULTS[which].fault, number, FAULTS[which].stays);
    enum efm_status status = srv_blobs_open_files(&blobs, place_path(&place, "blobs"), &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        status_fits(FAULTS[which].fault, status, &error);
        blobs = open_files();
    }
    assert_int_equal(srv_blobs_put(blobs, "a", "x", 1, NULL), EFM_OK);
    srv_blobs_close(blobs);
    place_remove(&place);
    return reached;
}

static void a_folder_of_blobs_is_opened_through_every_fault(void **state)
{
    (void)state;
    for (int which = 0; which < FAULT_COUNT; which++) {
        int number = 0;
        while (open_files_with_fault(which, number))
            number++;
        assert_true(number > 0);
    }
}

int main(void)
{
    faults_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_survive_every_fault),
        cmocka_unit_test(the_log_is_moved_through_every_fault),
        cmocka_unit_test(opening_and_closing_survive_every_fault),
        cmocka_unit_test(blobs_survive_every_fault),
        cmocka_unit_test(blobs_in_memory_survive_every_fault),
        cmocka_unit_test(a_folder_of_blobs_is_opened_through_every_fault),
    };
    return cmocka_run_group_tests_name("store: faults", tests, NULL, NULL);
}
