// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/store_suite.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- queries ---- */

/* The ids that a query finds, joined; borrowed until the next call. */
static const char *ids_of(struct srv_store *store, const struct srv_query *query)
{
    static char text[400];
    struct srv_record *records;
    size_t count, length = 0;
    assert_int_equal(srv_store_list(store, query, &records, &count, NULL), EFM_OK);
    assert_true((records == NULL) == (count == 0));
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s ", records[i].id);
    srv_records_release(records, count);
    return text;
}

static void fill_for_queries(struct srv_store *store, uint64_t sequences[6])
{
    static const struct {
        const char *id, *parent, *group, *state;
        double due, expires;
    } rows[6] = {{"a", "p", "train", "queued", 0, 0},   {"b", "p", "train", "running", 10, 5},
                 {"c", "q", "", "queued", 20, 10},      {"d", "", "train", "failed", 30, 15},
                 {"e", "p", "other", "queued", 40, 20}, {"f", "p", "train", "queued", 50, -3}};
    for (int i = 0; i < 6; i++) {
        struct srv_record record = store_record(SRV_RECORD_JOB, rows[i].id, rows[i].state, rows[i].id);
        snprintf(record.parent, sizeof record.parent, "%s", rows[i].parent);
        snprintf(record.group, sizeof record.group, "%s", rows[i].group);
        record.due = rows[i].due;
        record.expires = rows[i].expires;
        assert_int_equal(store_insert(store, &record), EFM_OK);
        sequences[i] = record.sequence;
        record.kind = SRV_RECORD_EVENT; /* never to be found */
        assert_int_equal(store_insert(store, &record), EFM_OK);
    }
}

void queries_find_what_they_ask_for(struct srv_store *store)
{
    static const char *const two[] = {"running", "failed", NULL}, *const none[] = {NULL};
    uint64_t s[6];
    fill_for_queries(store, s);
    const enum srv_record_kind job = SRV_RECORD_JOB;
    const struct {
        struct srv_query query;
        const char *ids;
        size_t count;
    } cases[] = {
        {{.kind = job}, "a b c d e f ", 6},
        {{.kind = job, .states = none}, "a b c d e f ", 6},
        {{.kind = SRV_RECORD_KEY}, "", 0},
        {{.kind = job, .parent = "p"}, "a b e f ", 4},
        {{.kind = job, .parent = ""}, "d ", 1},
        {{.kind = job, .group = "train"}, "a b d f ", 4},
        {{.kind = job, .group = ""}, "c ", 1},
        {{.kind = job, .states = two}, "b d ", 2},
        {{.kind = job, .after = s[2]}, "d e f ", 3},
        {{.kind = job, .before = s[2]}, "a b ", 2},
        {{.kind = job, .after = s[0], .before = s[4]}, "b c d ", 3},
        {{.kind = job, .after = UINT64_MAX}, "", 0},
        {{.kind = job, .before = UINT64_MAX}, "a b c d e f ", 6},
        {{.kind = job, .expired = 15}, "b c d ", 3},
        {{.kind = job, .due = 20}, "a b c ", 3},
        {{.kind = job, .newest_first = true}, "f e d c b a ", 6},
        {{.kind = job, .limit = 2}, "a b ", 6},
        {{.kind = job, .limit = 2, .newest_first = true}, "f e ", 6},
        {{.kind = job, .limit = 2, .newest_first = true, .before = s[4]}, "d c ", 4},
        {{job, "p", "train", (const char *const[]){"queued", "running", NULL}, s[0], s[5], 5, 10, true, 9},
         "b ",
         1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t count = 77;
        assert_string_equal(ids_of(store, &cases[i].query), cases[i].ids);
        assert_int_equal(srv_store_count(store, &cases[i].query, &count, NULL), EFM_OK);
        assert_int_equal(count, cases[i].count);
    }
}

void queries_that_are_none_are_refused(struct srv_store *store)
{
    const char *many[18] = {0};
    struct srv_record *records;
    size_t count;
    for (int i = 0; i < 16; i++)
        many[i] = "queued";
    struct srv_query query = {.kind = SRV_RECORD_JOB, .states = many, .limit = 10000};
    assert_string_equal(ids_of(store, &query), "");
    many[16] = "queued";
    assert_int_equal(srv_store_list(store, &query, &records, &count, NULL), EFM_E_ARGUMENT);
    const struct srv_query bad[] = {{.kind = SRV_RECORD_KINDS},
                                    {.kind = SRV_RECORD_JOB, .limit = 10001},
                                    {.kind = SRV_RECORD_JOB, .parent = "a b"},
                                    {.kind = SRV_RECORD_JOB, .group = "123456789012345678901234567890123"},
                                    {.kind = SRV_RECORD_JOB, .due = (double)NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(srv_store_list(store, &bad[i], &records, &count, NULL), EFM_E_ARGUMENT);
        assert_null(records);
        assert_int_equal(srv_store_count(store, &bad[i], &count, NULL), EFM_E_ARGUMENT);
        assert_int_equal(srv_store_delete(store, &bad[i], NULL, NULL), EFM_E_ARGUMENT);
    }
}

void words_are_values_never_text_of_a_query(struct srv_store *store)
{
    uint64_t s[6];
    fill_for_queries(store, s);
    static const char *const states[] = {"queued')OR('1'='1", "?1", NULL};
    assert_string_equal(ids_of(store, &(struct srv_query){.kind = SRV_RECORD_JOB, .states = states}), "");
    assert_string_equal(ids_of(store, &(struct srv_query){.kind = SRV_RECORD_JOB, .parent = "'OR''='"}), "");
}

void deleting_follows_the_query(struct srv_store *store)
{
    uint64_t s[6];
    size_t count = 77;
    fill_for_queries(store, s);
    assert_int_equal(srv_store_delete(store,
                                      &(struct srv_query){.kind = SRV_RECORD_JOB, .expired = 15, .limit = 2},
                                      &count, NULL),
                     EFM_OK);
    assert_int_equal(count, 2);
    assert_string_equal(ids_of(store, &(struct srv_query){.kind = SRV_RECORD_JOB}), "a d e f ");
    struct srv_query newest = {.kind = SRV_RECORD_JOB, .newest_first = true, .limit = 1};
    assert_int_equal(srv_store_delete(store, &newest, NULL, NULL), EFM_OK);
    assert_string_equal(ids_of(store, &(struct srv_query){.kind = SRV_RECORD_JOB}), "a d e ");
    assert_int_equal(
        srv_store_delete(store, &(struct srv_query){.kind = SRV_RECORD_JOB, .parent = "z"}, &count, NULL),
        EFM_OK);
    assert_int_equal(count, 0);
    assert_int_equal(srv_store_delete(store, &(struct srv_query){.kind = SRV_RECORD_JOB}, &count, NULL),
                     EFM_OK);
    assert_int_equal(count, 3);
    assert_int_equal(store_total(store, SRV_RECORD_EVENT), 6);
}

void a_list_without_a_limit_has_a_thousand(struct srv_store *store)
{
    struct srv_record records[60], *found;
    struct srv_change changes[60];
    size_t count;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 60; i++) {
            char id[20];
            snprintf(id, sizeof id, "e%d", round * 60 + i);
            records[i] = store_record(SRV_RECORD_EVENT, id, "", id[1] == '7' ? "seven" : "other");
            changes[i] = (struct srv_change){SRV_INSERT, &records[i], 0};
        }
        assert_int_equal(srv_store_commit(store, changes, 60, NULL, NULL), EFM_OK);
    }
    struct srv_query query = {.kind = SRV_RECORD_EVENT};
    assert_int_equal(srv_store_list(store, &query, &found, &count, NULL), EFM_OK);
    assert_int_equal(count, 1000);
    assert_string_equal(found[777].id, "e777");
    assert_string_equal(found[777].document, "seven");
    query.after = found[999].sequence;
    srv_records_release(found, count);
    assert_int_equal(srv_store_list(store, &query, &found, &count, NULL), EFM_OK);
    assert_int_equal(count, 200);
    assert_string_equal(found[0].id, "e1000");
    srv_records_release(found, count);
    assert_int_equal(store_total(store, SRV_RECORD_EVENT), 1200);
}
