// SPDX-License-Identifier: Apache-2.0
// As test_store_faults.c, for blobs: what failed has left the older blob in its place.
#include "core/base/memory.h"
#include "server/store/blobs.h"
#include "tests/unit/server/store_faults.h"
#include "tests/unit/server/store_place.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct place place;

static int teardown(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

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
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    enum efm_status status = operation->run(blobs, &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        assert_true(reached);
        faults_explain(which, status, &error);
        if (operation->run != remove_one) { /* gone or not: whoever removes it again learns that it is */
            /* a disk that refuses all may refuse the way back as well; the bytes are whole in any case */
            if (!faults_all[which].stays)
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
        for (int which = 0; which < faults_count; which++) {
            int number = 0;
            while (change_blobs_with_fault(&BLOB_OPERATIONS[o], NULL, which, number))
                number++;
            bool reads = BLOB_OPERATIONS[o].run == read_all;
            assert_true(faults_all[which].fault == FAULT_MEMORY || (reads ? number == 0 : number >= 2));
        }
}

static void blobs_in_memory_survive_every_fault(void **state)
{
    (void)state;
    for (size_t o = 0; o < sizeof BLOB_OPERATIONS / sizeof BLOB_OPERATIONS[0]; o++)
        for (int which = 0; which < faults_count; which++) {
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
    faults_arm(faults_all[which].fault, number, faults_all[which].stays);
    enum efm_status status = srv_blobs_open_files(&blobs, place_path(&place, "blobs"), &error);
    bool reached = faults_disarm();
    if (status != EFM_OK) {
        faults_explain(which, status, &error);
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
    for (int which = 0; which < faults_count; which++) {
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
        cmocka_unit_test_teardown(blobs_survive_every_fault, teardown),
        cmocka_unit_test_teardown(blobs_in_memory_survive_every_fault, teardown),
        cmocka_unit_test_teardown(a_folder_of_blobs_is_opened_through_every_fault, teardown),
    };
    return cmocka_run_group_tests_name("blobs: faults", tests, NULL, NULL);
}
