// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/store_suite.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct srv_record store_record(enum srv_record_kind kind, const char *id, const char *state,
                               const char *document)
{
    struct srv_record record = {
        .kind = kind, .document = (char *)(uintptr_t)document, .size = strlen(document)};
    snprintf(record.id, sizeof record.id, "%s", id);
    snprintf(record.state, sizeof record.state, "%s", state);
    return record;
}

static enum efm_status change_one(struct srv_store *store, enum srv_change_kind change,
                                  struct srv_record *record, uint64_t version)
{
    struct efm_error error = {0};
    struct srv_change changes[] = {{change, record, version}};
    size_t failed = 7;
    enum efm_status status = srv_store_commit(store, changes, 1, &failed, &error);
    assert_int_equal(status, error.status);
    if (status == EFM_OK)
        assert_true(failed == SIZE_MAX);
    return status;
}

enum efm_status store_insert(struct srv_store *store, struct srv_record *record)
{
    return change_one(store, SRV_INSERT, record, 0);
}

enum efm_status store_update(struct srv_store *store, struct srv_record *record, uint64_t version)
{
    return change_one(store, SRV_UPDATE, record, version);
}

enum efm_status store_delete(struct srv_store *store, enum srv_record_kind kind, const char *id,
                             uint64_t version)
{
    struct srv_record record = store_record(kind, id, "", "");
    return change_one(store, SRV_DELETE, &record, version);
}

void store_expect(struct srv_store *store, enum srv_record_kind kind, const char *id, const char *document)
{
    struct srv_record record;
    enum efm_status status = srv_store_get(store, kind, id, &record, NULL);
    assert_int_equal(status, document == NULL ? EFM_E_NOT_FOUND : EFM_OK);
    if (document != NULL)
        assert_string_equal(record.document, document);
    srv_record_release(&record);
}

size_t store_total(struct srv_store *store, enum srv_record_kind kind)
{
    size_t count = 77;
    assert_int_equal(srv_store_count(store, &(struct srv_query){.kind = kind}, &count, NULL), EFM_OK);
    return count;
}

/* ---- one record ---- */

static void all_fields_come_back(struct srv_store *store)
{
    static const char document[] = "{\"a\":1}\0 and more";
    struct srv_record record = store_record(SRV_RECORD_WEBHOOK, "w!~", "waiting", "");
    struct srv_record found;
    record.document = (char *)(uintptr_t)document;
    record.size = sizeof document - 1;
    snprintf(record.parent, sizeof record.parent, "%096d", 5);
    snprintf(record.group, sizeof record.group, "%032d", 6);
    snprintf(record.owner, sizeof record.owner, "%064d", 7);
    record.lease = 1700000000.25;
    record.due = -1.5;
    record.expires = 1e300;
    assert_int_equal(store_insert(store, &record), EFM_OK);
    assert_true(record.sequence > 0);
    assert_int_equal(record.version, 1);
    assert_true(fabs(record.created - srv_store_now(store)) < 60);
    assert_int_equal(srv_store_get(store, SRV_RECORD_WEBHOOK, "w!~", &found, NULL), EFM_OK);
    assert_int_equal(found.kind, SRV_RECORD_WEBHOOK);
    assert_string_equal(found.id, record.id);
    assert_string_equal(found.parent, record.parent);
    assert_string_equal(found.group, record.group);
    assert_string_equal(found.state, "waiting");
    assert_string_equal(found.owner, record.owner);
    assert_true(found.lease == record.lease && found.due == record.due && found.expires == record.expires);
    assert_int_equal(found.sequence, record.sequence);
    assert_int_equal(found.version, 1);
    assert_true(found.created == record.created);
    assert_int_equal(found.size, record.size);
    assert_memory_equal(found.document, document, sizeof document); /* and a NUL behind it */
    srv_record_release(&found);
    srv_record_release(&found);
    assert_int_equal(srv_store_get(store, SRV_RECORD_JOB, "w!~", &found, NULL), EFM_E_NOT_FOUND);
    assert_null(found.document);
}

static void documents_may_be_empty_or_large(struct srv_store *store)
{
    struct srv_record record = store_record(SRV_RECORD_MODEL, "m", "", "");
    struct srv_record found;
    record.document = NULL;
    assert_int_equal(store_insert(store, &record), EFM_OK);
    store_expect(store, SRV_RECORD_MODEL, "m", "");

    char *large = malloc(SRV_RECORD_DOCUMENT + 1);
    assert_non_null(large);
    for (size_t i = 0; i <= SRV_RECORD_DOCUMENT; i++)
        large[i] = (char)(i * 7 + i / 251);
    record.document = large;
    record.size = SRV_RECORD_DOCUMENT;
    assert_int_equal(store_update(store, &record, 0), EFM_OK);
    assert_int_equal(srv_store_get(store, SRV_RECORD_MODEL, "m", &found, NULL), EFM_OK);
    assert_int_equal(found.size, SRV_RECORD_DOCUMENT);
    assert_true(memcmp(found.document, large, found.size) == 0);
    srv_record_release(&found);
    record.size++;
    assert_int_equal(store_update(store, &record, 0), EFM_E_LIMIT);
    assert_int_equal(srv_store_get(store, SRV_RECORD_MODEL, "m", &found, NULL), EFM_OK);
    assert_int_equal(found.size, SRV_RECORD_DOCUMENT);
    srv_record_release(&found);
    free(large);
}

static void an_update_replaces_and_counts_versions(struct srv_store *store)
{
    struct srv_record record = store_record(SRV_RECORD_JOB, "j", "queued", "one");
    struct srv_record found;
    assert_int_equal(store_insert(store, &record), EFM_OK);
    uint64_t sequence = record.sequence;
    double created = record.created;
    struct srv_record next = store_record(SRV_RECORD_JOB, "j", "running", "two");
    snprintf(next.owner, sizeof next.owner, "me");
    assert_int_equal(store_update(store, &next, 1), EFM_OK);
    assert_int_equal(next.version, 2);
    assert_int_equal(next.sequence, sequence);
    assert_true(next.created == created);
    assert_int_equal(store_update(store, &next, 1), EFM_E_ARGUMENT); /* somebody else came first */
    assert_int_equal(store_update(store, &next, UINT64_MAX), EFM_E_ARGUMENT);
    assert_int_equal(store_update(store, &next, 0), EFM_OK);
    assert_int_equal(srv_store_get(store, SRV_RECORD_JOB, "j", &found, NULL), EFM_OK);
    assert_int_equal(found.version, 3);
    assert_string_equal(found.state, "running");
    assert_string_equal(found.owner, "me");
    assert_string_equal(found.document, "two");
    srv_record_release(&found);
    struct srv_record none = store_record(SRV_RECORD_JOB, "k", "", "");
    assert_int_equal(store_update(store, &none, 0), EFM_E_NOT_FOUND);
    assert_int_equal(store_update(store, &none, 1), EFM_E_NOT_FOUND);
}

static void deleted_is_gone_and_its_number_too(struct srv_store *store)
{
    struct srv_record record = store_record(SRV_RECORD_JOB, "j", "", "x");
    assert_int_equal(store_insert(store, &record), EFM_OK);
    assert_int_equal(store_delete(store, SRV_RECORD_JOB, "j", 2), EFM_E_ARGUMENT);
    store_expect(store, SRV_RECORD_JOB, "j", "x");
    assert_int_equal(store_delete(store, SRV_RECORD_JOB, "j", 1), EFM_OK);
    store_expect(store, SRV_RECORD_JOB, "j", NULL);
    assert_int_equal(store_delete(store, SRV_RECORD_JOB, "j", 0), EFM_E_NOT_FOUND);
    uint64_t last = record.sequence;
    for (int i = 0; i < 5; i++) { /* over all kinds, though the table is empty each time */
        struct srv_record again = store_record((enum srv_record_kind)i, "j", "", "y");
        assert_int_equal(store_insert(store, &again), EFM_OK);
        assert_true(again.sequence > last);
        assert_int_equal(again.version, 1);
        last = again.sequence;
        assert_int_equal(store_delete(store, (enum srv_record_kind)i, "j", 0), EFM_OK);
    }
}

/* ---- commits ---- */

static void a_commit_is_all_or_nothing(struct srv_store *store)
{
    struct srv_record taken = store_record(SRV_RECORD_JOB, "taken", "", "old");
    assert_int_equal(store_insert(store, &taken), EFM_OK);
    struct srv_record first = store_record(SRV_RECORD_EVENT, "first", "", "1");
    struct srv_record update = store_record(SRV_RECORD_JOB, "taken", "", "new");
    struct srv_record last = store_record(SRV_RECORD_EVENT, "last", "", "2");
    struct srv_record none = store_record(SRV_RECORD_KEY, "none", "", "");
    const struct {
        struct srv_change bad;
        enum efm_status status;
    } cases[] = {{{SRV_INSERT, &taken, 0}, EFM_E_EXISTS},   {{SRV_UPDATE, &none, 0}, EFM_E_NOT_FOUND},
                 {{SRV_UPDATE, &taken, 9}, EFM_E_ARGUMENT}, {{SRV_DELETE, &none, 0}, EFM_E_NOT_FOUND},
                 {{SRV_DELETE, &taken, 9}, EFM_E_ARGUMENT}, {{SRV_INSERT, &first, 0}, EFM_E_EXISTS}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_error error = {0};
        struct srv_change changes[] = {
            {SRV_INSERT, &first, 0}, {SRV_UPDATE, &update, 1}, cases[i].bad, {SRV_INSERT, &last, 0}};
        size_t failed = 77;
        assert_int_equal(srv_store_commit(store, changes, 4, &failed, &error), cases[i].status);
        assert_int_equal(failed, 2);
        assert_int_equal(error.status, cases[i].status);
        assert_true(error.message[0] != '\0');
        assert_int_equal(first.sequence, 0);
        assert_int_equal(update.version, 0);
        store_expect(store, SRV_RECORD_EVENT, "first", NULL);
        store_expect(store, SRV_RECORD_EVENT, "last", NULL);
        store_expect(store, SRV_RECORD_JOB, "taken", "old");
    }
    struct srv_change changes[] = {{SRV_INSERT, &first, 0},
                                   {SRV_UPDATE, &first, 1},
                                   {SRV_UPDATE, &update, 1},
                                   {SRV_INSERT, &last, 0},
                                   {SRV_DELETE, &last, 1}};
    assert_int_equal(srv_store_commit(store, changes, 5, NULL, NULL), EFM_OK);
    assert_int_equal(first.version, 2);
    assert_true(last.sequence > first.sequence && first.sequence > taken.sequence);
    store_expect(store, SRV_RECORD_EVENT, "first", "1");
    store_expect(store, SRV_RECORD_EVENT, "last", NULL);
    store_expect(store, SRV_RECORD_JOB, "taken", "new");
}

static void a_commit_has_at_most_64_changes(struct srv_store *store)
{
    struct srv_record records[65];
    struct srv_change changes[65];
    size_t failed = 7;
    for (int i = 0; i < 65; i++) {
        char id[20];
        snprintf(id, sizeof id, "e%d", i);
        records[i] = store_record(SRV_RECORD_EVENT, id, "", "x");
        changes[i] = (struct srv_change){SRV_INSERT, &records[i], 0};
    }
    assert_int_equal(srv_store_commit(store, changes, 65, &failed, NULL), EFM_E_ARGUMENT);
    assert_true(failed == SIZE_MAX);
    assert_int_equal(store_total(store, SRV_RECORD_EVENT), 0);
    assert_int_equal(srv_store_commit(store, changes, 0, &failed, NULL), EFM_OK);
    assert_int_equal(srv_store_commit(store, changes, 64, &failed, NULL), EFM_OK);
    assert_int_equal(store_total(store, SRV_RECORD_EVENT), 64);
    for (int i = 1; i < 64; i++)
        assert_true(records[i].sequence > records[i - 1].sequence);
}

static void what_is_no_record_is_refused(struct srv_store *store)
{
    struct srv_record good = store_record(SRV_RECORD_JOB, "good", "s", "x");
    struct srv_record bad[12];
    size_t count = 0;
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[count++].id[0] = '\0';
    snprintf(bad[count++].id, SRV_RECORD_ID, "a b");
    snprintf(bad[count++].id, SRV_RECORD_ID, "a\x7f");
    snprintf(bad[count++].id, SRV_RECORD_ID, "\xc3\xa9");
    memset(bad[count++].id, 'a', SRV_RECORD_ID); /* no end */
    memset(bad[count++].parent, 'a', SRV_RECORD_ID);
    memset(bad[count++].state, 'a', SRV_RECORD_WORD);
    snprintf(bad[count++].group, SRV_RECORD_WORD, "a\tb");
    snprintf(bad[count++].owner, SRV_RECORD_OWNER, " ");
    bad[count++].due = (double)NAN;
    bad[count++].lease = (double)INFINITY;
    bad[count++].kind = SRV_RECORD_KINDS;
    assert_int_equal(count, 12);
    for (size_t i = 0; i < count; i++) {
        struct srv_change changes[] = {{SRV_INSERT, &good, 0}, {SRV_INSERT, &bad[i], 0}};
        size_t failed = 7;
        assert_int_equal(srv_store_commit(store, changes, 2, &failed, NULL), EFM_E_ARGUMENT);
        assert_int_equal(failed, 1);
    }
    assert_int_equal(store_total(store, SRV_RECORD_JOB), 0);
    struct srv_record none = good;
    none.document = NULL;
    assert_int_equal(store_insert(store, &none), EFM_E_ARGUMENT);
    struct srv_record found;
    assert_int_equal(srv_store_get(store, SRV_RECORD_JOB, "", &found, NULL), EFM_E_ARGUMENT);
    assert_int_equal(srv_store_get(store, SRV_RECORD_KINDS, "a", &found, NULL), EFM_E_ARGUMENT);
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "a", "", 3, NULL), EFM_E_ARGUMENT);
    struct srv_claim claim = {SRV_RECORD_JOB, "", "queued", "running", "", 3};
    assert_int_equal(srv_store_claim(store, &claim, &found, NULL), EFM_E_ARGUMENT);
}

const struct store_case store_cases[] = {
#define CASE(function)                                                                                       \
    {                                                                                                        \
#function, function                                                                                  \
    }
    CASE(all_fields_come_back),
    CASE(documents_may_be_empty_or_large),
    CASE(an_update_replaces_and_counts_versions),
    CASE(deleted_is_gone_and_its_number_too),
    CASE(a_commit_is_all_or_nothing),
    CASE(a_commit_has_at_most_64_changes),
    CASE(what_is_no_record_is_refused),
    CASE(queries_find_what_they_ask_for),
    CASE(queries_that_are_none_are_refused),
    CASE(words_are_values_never_text_of_a_query),
    CASE(deleting_follows_the_query),
    CASE(a_list_without_a_limit_has_a_thousand),
    CASE(the_oldest_waiting_is_claimed),
    CASE(the_longest_due_is_claimed_when_asked_for),
    CASE(a_lease_that_ran_out_can_be_had),
    CASE(a_lease_ends_by_the_clock),
    CASE(each_record_is_claimed_by_one),
    CASE(versions_keep_every_change),
    CASE(a_follower_misses_nothing),
};
const size_t store_case_count = sizeof store_cases / sizeof store_cases[0];
