// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/blobs_suite.h"

#include "core/base/memory.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

void blobs_write(struct srv_blobs *blobs, const char *key, const char *text)
{
    struct efm_error error = {0};
    enum efm_status status = srv_blobs_put(blobs, key, text, strlen(text), &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
}

static bool has_text(struct srv_blob *blob, const char *text)
{
    const uint8_t *bytes = srv_blob_map(blob, NULL);
    return bytes != NULL && srv_blob_size(blob) == strlen(text) && memcmp(bytes, text, strlen(text)) == 0;
}

void blobs_expect(struct srv_blobs *blobs, const char *key, const char *text)
{
    struct srv_blob *blob;
    enum efm_status status = srv_blobs_open(blobs, key, &blob, NULL);
    assert_int_equal(status, text == NULL ? EFM_E_NOT_FOUND : EFM_OK);
    if (text != NULL)
        assert_true(has_text(blob, text));
    srv_blob_close(blob);
}

const char *blobs_keys(struct srv_blobs *blobs, const char *prefix)
{
    static char text[1000];
    struct srv_blob_facts *facts;
    size_t count, length = 0;
    assert_int_equal(srv_blobs_list(blobs, prefix, &facts, &count, NULL), EFM_OK);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s ", facts[i].key);
    assert_true(length < sizeof text);
    efm_free(facts);
    return text;
}

/* ---- one blob ---- */

static void bytes_come_back(struct srv_blobs *blobs)
{
    struct srv_blob *blob;
    static const char bytes[] = "a\0b\xff";
    blobs_expect(blobs, "models/cats", NULL);
    assert_int_equal(srv_blobs_put(blobs, "models/cats", bytes, sizeof bytes, NULL), EFM_OK);
    assert_int_equal(srv_blobs_open(blobs, "models/cats", &blob, NULL), EFM_OK);
    assert_int_equal(srv_blob_size(blob), sizeof bytes);
    const uint8_t *mapped = srv_blob_map(blob, NULL);
    assert_memory_equal(mapped, bytes, sizeof bytes);
    assert_ptr_equal(srv_blob_map(blob, NULL), mapped);
    srv_blob_close(blob);
    srv_blob_close(NULL);
    blobs_write(blobs, "top", "no folder");
    blobs_expect(blobs, "top", "no folder");
    blobs_expect(blobs, "models", NULL); /* a folder */
}

static void a_blob_may_be_empty(struct srv_blobs *blobs)
{
    assert_int_equal(srv_blobs_put(blobs, "e/mpty", NULL, 0, NULL), EFM_OK);
    blobs_expect(blobs, "e/mpty", "");
    assert_int_equal(srv_blobs_copy(blobs, "e/mpty", "e/copy", NULL), EFM_OK);
    blobs_expect(blobs, "e/copy", "");
    struct srv_blob *blob;
    assert_int_equal(srv_blobs_open(blobs, "e/mpty", &blob, NULL), EFM_OK);
    int file = srv_blob_descriptor(blob);
    char byte;
    if (file >= 0)
        assert_int_equal(read(file, &byte, 1), 0);
    close(file);
    srv_blob_close(blob);
}

static void nothing_is_seen_before_the_commit(struct srv_blobs *blobs)
{
    struct srv_blob_writer *writer;
    blobs_write(blobs, "a/b", "old");
    assert_int_equal(srv_blobs_begin(blobs, "a/b", &writer, NULL), EFM_OK);
    assert_int_equal(srv_blob_written(writer), 0);
    assert_int_equal(srv_blob_append(writer, "new", 3, NULL), EFM_OK);
    assert_int_equal(srv_blob_append(writer, NULL, 0, NULL), EFM_OK);
    assert_int_equal(srv_blob_append(writer, " one", 4, NULL), EFM_OK);
    assert_int_equal(srv_blob_written(writer), 7);
    blobs_expect(blobs, "a/b", "old");
    assert_string_equal(blobs_keys(blobs, ""), "a/b ");
    assert_int_equal(srv_blob_commit(writer, NULL), EFM_OK);
    blobs_expect(blobs, "a/b", "new one");
    assert_int_equal(srv_blobs_begin(blobs, "c/d", &writer, NULL), EFM_OK);
    assert_int_equal(srv_blob_append(writer, "never", 5, NULL), EFM_OK);
    srv_blob_abort(writer);
    srv_blob_abort(NULL);
    assert_string_equal(blobs_keys(blobs, ""), "a/b ");
}

static void a_large_blob_in_many_pieces(struct srv_blobs *blobs)
{
    enum { PIECE = 65537, PIECES = 50 };
    static uint8_t piece[PIECE];
    struct srv_blob_writer *writer;
    struct srv_blob *blob;
    for (size_t i = 0; i < PIECE; i++)
        piece[i] = (uint8_t)(i * 31 + i / 256);
    assert_int_equal(srv_blobs_begin(blobs, "large", &writer, NULL), EFM_OK);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(srv_blob_append(writer, piece, PIECE, NULL), EFM_OK);
    assert_int_equal(srv_blob_commit(writer, NULL), EFM_OK);
    assert_int_equal(srv_blobs_open(blobs, "large", &blob, NULL), EFM_OK);
    assert_int_equal(srv_blob_size(blob), PIECE * PIECES);
    const uint8_t *bytes = srv_blob_map(blob, NULL);
    assert_non_null(bytes);
    for (int i = 0; i < PIECES; i++)
        assert_true(memcmp(bytes + (size_t)i * PIECE, piece, PIECE) == 0);
    srv_blob_close(blob);
}

static void who_has_it_open_keeps_it(struct srv_blobs *blobs)
{
    struct srv_blob *first, *second;
    blobs_write(blobs, "k/ey", "one");
    assert_int_equal(srv_blobs_open(blobs, "k/ey", &first, NULL), EFM_OK);
    blobs_write(blobs, "k/ey", "number two");
    assert_int_equal(srv_blobs_open(blobs, "k/ey", &second, NULL), EFM_OK);
    assert_int_equal(srv_blobs_remove(blobs, "k/ey", NULL), EFM_OK);
    blobs_expect(blobs, "k/ey", NULL);
    assert_int_equal(srv_blobs_remove(blobs, "k/ey", NULL), EFM_OK);
    assert_int_equal(srv_blobs_remove(blobs, "never/was", NULL), EFM_OK);
    assert_true(has_text(first, "one"));
    assert_true(has_text(second, "number two"));
    int file = srv_blob_descriptor(second), again = srv_blob_descriptor(second);
    srv_blob_close(first);
    srv_blob_close(second);
    if (file >= 0) { /* of its own: it outlives the blob, and has its own place */
        char text[20] = "";
        assert_int_equal(read(file, text, 6), 6);
        assert_int_equal(read(again, text, sizeof text), 10);
        assert_string_equal(text, "number two");
        assert_int_equal(read(file, text, sizeof text), 4);
    }
    close(file);
    close(again);
}

static void a_copy_is_a_blob_of_its_own(struct srv_blobs *blobs)
{
    blobs_write(blobs, "datasets/a", "bytes");
    blobs_write(blobs, "jobs/1/target", "to be replaced");
    assert_int_equal(srv_blobs_copy(blobs, "datasets/a", "jobs/1/source", NULL), EFM_OK);
    assert_int_equal(srv_blobs_copy(blobs, "datasets/a", "jobs/1/target", NULL), EFM_OK);
    assert_int_equal(srv_blobs_copy(blobs, "datasets/a", "jobs/1/target", NULL), EFM_OK);
    assert_int_equal(srv_blobs_copy(blobs, "datasets/a", "datasets/a", NULL), EFM_OK);
    blobs_expect(blobs, "datasets/a", "bytes");
    blobs_write(blobs, "datasets/a", "others");
    blobs_expect(blobs, "jobs/1/source", "bytes");
    assert_int_equal(srv_blobs_remove(blobs, "datasets/a", NULL), EFM_OK);
    assert_int_equal(srv_blobs_remove(blobs, "jobs/1/source", NULL), EFM_OK);
    blobs_expect(blobs, "jobs/1/target", "bytes");
    struct efm_error error = {0};
    assert_int_equal(srv_blobs_copy(blobs, "datasets/a", "jobs/1/target", &error), EFM_E_NOT_FOUND);
    assert_int_equal(srv_blobs_copy(blobs, "jobs/1", "jobs/2", NULL), EFM_E_NOT_FOUND);
    blobs_expect(blobs, "jobs/1/target", "bytes");
    assert_string_equal(blobs_keys(blobs, ""), "jobs/1/target ");
}

/* ---- keys ---- */

static void keys_are_checked(struct srv_blobs *blobs)
{
    char longest[SRV_BLOB_KEY], longer[SRV_BLOB_KEY + 1];
    memset(longest, 'a', sizeof longest - 1);
    memset(longer, 'a', sizeof longer - 1);
    longest[sizeof longest - 1] = longer[sizeof longer - 1] = '\0';
    static const char *const bad[] = {"",    "/",    "/a",  "a/",  "a//b", ".a",   "a/.b",  "a/..", "..",
                                      "a b", "a\\b", "a%b", "a:b", "\xc3", "a\nb", "a/./b", "~",    "a*"};
    static const char *const good[] = {"a", "A-Z_0.9", "a/b/c/d", "a.b/c..d", "-", "_/_"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct srv_blob_writer *writer;
        struct srv_blob *blob;
        assert_false(srv_blob_key_valid(bad[i]));
        assert_int_equal(srv_blobs_begin(blobs, bad[i], &writer, NULL), EFM_E_ARGUMENT);
        assert_null(writer);
        assert_int_equal(srv_blobs_open(blobs, bad[i], &blob, NULL), EFM_E_ARGUMENT);
        assert_null(blob);
        assert_int_equal(srv_blobs_remove(blobs, bad[i], NULL), EFM_E_ARGUMENT);
        assert_int_equal(srv_blobs_copy(blobs, bad[i], "a", NULL), EFM_E_ARGUMENT);
        assert_int_equal(srv_blobs_copy(blobs, "a", bad[i], NULL), EFM_E_ARGUMENT);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(srv_blob_key_valid(good[i]));
    assert_false(srv_blob_key_valid(longer));
    assert_true(srv_blob_key_valid(longest));
    for (size_t i = 1; i + 2 < sizeof longest; i += 2) /* as deep as can be, no part too long for a file */
        longest[i] = '/';
    assert_true(srv_blob_key_valid(longest));
    blobs_write(blobs, longest, "deep");
    blobs_expect(blobs, longest, "deep");
    struct srv_blob_facts *facts;
    size_t count;
    assert_int_equal(srv_blobs_list(blobs, "", &facts, &count, NULL), EFM_OK);
    assert_int_equal(count, 1);
    assert_string_equal(facts[0].key, longest);
    efm_free(facts);
    assert_int_equal(srv_blobs_remove(blobs, longest, NULL), EFM_OK);
}

static void lists_are_of_whole_folders(struct srv_blobs *blobs)
{
    struct srv_blob_facts *facts;
    size_t count = 7;
    assert_string_equal(blobs_keys(blobs, ""), "");
    assert_int_equal(srv_blobs_list(blobs, "", &facts, &count, NULL), EFM_OK);
    assert_null(facts);
    assert_int_equal(count, 0);
    static const char *const keys[] = {"jobs/10/b", "jobs/1/z", "jobs/1/a/c", "top", "jobs/1/a-b", "jobsx/1"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        blobs_write(blobs, keys[i], keys[i]);
    assert_string_equal(blobs_keys(blobs, ""), "jobs/1/a-b jobs/1/a/c jobs/1/z jobs/10/b jobsx/1 top ");
    assert_string_equal(blobs_keys(blobs, "jobs/"), "jobs/1/a-b jobs/1/a/c jobs/1/z jobs/10/b ");
    assert_string_equal(blobs_keys(blobs, "jobs/1/"), "jobs/1/a-b jobs/1/a/c jobs/1/z ");
    assert_string_equal(blobs_keys(blobs, "jobs/2/"), "");
    static const char *const bad[] = {"jobs", "/", "jobs//", "../", ".temporary/", "jobs/../"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(srv_blobs_list(blobs, bad[i], &facts, &count, NULL), EFM_E_ARGUMENT);
        assert_int_equal(srv_blobs_remove_all(blobs, bad[i], NULL), EFM_E_ARGUMENT);
    }
    assert_int_equal(srv_blobs_list(blobs, "jobs/10/", &facts, &count, NULL), EFM_OK);
    assert_int_equal(count, 1);
    assert_int_equal(facts[0].size, 9);
    assert_true(fabs(facts[0].modified - (double)time(NULL)) < 60);
    efm_free(facts);
    assert_int_equal(srv_blobs_remove_all(blobs, "jobs/1/", NULL), EFM_OK);
    assert_int_equal(srv_blobs_remove_all(blobs, "jobs/2/", NULL), EFM_OK);
    assert_string_equal(blobs_keys(blobs, ""), "jobs/10/b jobsx/1 top ");
    assert_int_equal(srv_blobs_remove_all(blobs, "", NULL), EFM_OK);
    assert_string_equal(blobs_keys(blobs, ""), "");
}

static void a_list_may_be_long(struct srv_blobs *blobs)
{
    struct srv_blob_facts *facts;
    size_t count;
    for (int i = 0; i < 150; i++) {
        char key[40];
        snprintf(key, sizeof key, "f%d/n%d", i % 3, i);
        blobs_write(blobs, key, "x");
    }
    assert_int_equal(srv_blobs_list(blobs, "", &facts, &count, NULL), EFM_OK);
    assert_int_equal(count, 150);
    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(facts[i - 1].key, facts[i].key) < 0);
    efm_free(facts);
    assert_int_equal(srv_blobs_remove_all(blobs, "f1/", NULL), EFM_OK);
    assert_int_equal(srv_blobs_list(blobs, "", &facts, &count, NULL), EFM_OK);
    assert_int_equal(count, 100);
    efm_free(facts);
}

/* ---- threads ---- */

enum { THREADS = 4 };

struct worker {
    pthread_t thread;
    struct srv_blobs *blobs;
    int number, rounds;
    bool good;
};

static void run_workers(struct worker workers[THREADS], void *(*work)(void *))
{
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].good = true;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_true(workers[i].good);
}

/* Writes one letter many times under the one key; whatever is read is of one letter and whole. */
static void *write_and_read_one(void *argument)
{
    struct worker *worker = argument;
    char text[5000];
    memset(text, 'a' + worker->number, sizeof text);
    for (int i = 0; i < worker->rounds && worker->good; i++) {
        struct srv_blob *blob;
        size_t size = 1000 + (size_t)worker->number * 1000;
        worker->good = srv_blobs_put(worker->blobs, "hot/key", text, size, NULL) == EFM_OK &&
                       srv_blobs_open(worker->blobs, "hot/key", &blob, NULL) == EFM_OK;
        if (!worker->good)
            break;
        const uint8_t *bytes = srv_blob_map(blob, NULL);
        worker->good = bytes != NULL && srv_blob_size(blob) == 1000 + (size_t)(bytes[0] - 'a') * 1000;
        for (size_t b = 1; worker->good && b < srv_blob_size(blob); b++)
            worker->good = bytes[b] == bytes[0];
        srv_blob_close(blob);
    }
    return NULL;
}

static void a_reader_sees_all_or_nothing(struct srv_blobs *blobs)
{
    struct worker workers[THREADS] = {{.blobs = NULL}};
    for (int i = 0; i < THREADS; i++) {
        workers[i].blobs = blobs;
        workers[i].rounds = 30;
    }
    run_workers(workers, write_and_read_one);
    assert_string_equal(blobs_keys(blobs, ""), "hot/key ");
}

static void *put_and_remove_one(void *argument)
{
    struct worker *worker = argument;
    char key[60];
    snprintf(key, sizeof key, "jobs/1/deep/er/%d", worker->number);
    for (int i = 0; i < worker->rounds && worker->good; i++) {
        struct srv_blob *blob;
        worker->good = srv_blobs_put(worker->blobs, key, "x", 1, NULL) == EFM_OK &&
                       srv_blobs_open(worker->blobs, key, &blob, NULL) == EFM_OK;
        if (!worker->good)
            break;
        srv_blob_close(blob);
        worker->good = srv_blobs_remove(worker->blobs, key, NULL) == EFM_OK;
    }
    return NULL;
}

void blobs_put_and_remove(struct srv_blobs *one, struct srv_blobs *two, int rounds)
{
    struct worker workers[THREADS] = {{.blobs = NULL}};
    for (int i = 0; i < THREADS; i++) {
        workers[i].blobs = i % 2 == 0 ? one : two;
        workers[i].rounds = rounds;
    }
    run_workers(workers, put_and_remove_one);
    assert_string_equal(blobs_keys(one, ""), "");
}

static void a_folder_may_empty_while_others_write(struct srv_blobs *blobs)
{
    blobs_put_and_remove(blobs, blobs, 30);
}

const struct blobs_case blobs_cases[] = {
#define CASE(function)                                                                                       \
    {                                                                                                        \
#function, function                                                                                  \
    }
    CASE(bytes_come_back),
    CASE(a_blob_may_be_empty),
    CASE(nothing_is_seen_before_the_commit),
    CASE(a_large_blob_in_many_pieces),
    CASE(who_has_it_open_keeps_it),
    CASE(a_copy_is_a_blob_of_its_own),
    CASE(keys_are_checked),
    CASE(lists_are_of_whole_folders),
    CASE(a_list_may_be_long),
    CASE(a_reader_sees_all_or_nothing),
    CASE(a_folder_may_empty_while_others_write),
};
const size_t blobs_case_count = sizeof blobs_cases / sizeof blobs_cases[0];
