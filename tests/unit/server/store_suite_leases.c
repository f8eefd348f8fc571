// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/store_suite.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- leases ---- */

static enum efm_status claim_one(struct srv_store *store, const char *group, const char *owner, double lease,
                                 char id[SRV_RECORD_ID])
{
    struct srv_record found;
    struct srv_claim claim = {SRV_RECORD_JOB, group, "queued", "running", owner, lease};
    enum efm_status status = srv_store_claim(store, &claim, &found, NULL);
    snprintf(id, SRV_RECORD_ID, "%s", found.id);
    srv_record_release(&found);
    return status;
}

void the_oldest_waiting_is_claimed(struct srv_store *store)
{
    static const char *const rows[][3] = {{"done", "train", "succeeded"},
                                          {"other", "transfer", "queued"},
                                          {"late", "train", "queued"},
                                          {"a", "train", "queued"},
                                          {"b", "train", "queued"}};
    char id[SRV_RECORD_ID];
    double now = srv_store_now(store);
    for (size_t i = 0; i < 5; i++) {
        struct srv_record record = store_record(SRV_RECORD_JOB, rows[i][0], rows[i][2], rows[i][0]);
        snprintf(record.group, sizeof record.group, "%s", rows[i][1]);
        record.due = strcmp(rows[i][0], "late") == 0 ? now + 1000 : now;
        assert_int_equal(store_insert(store, &record), EFM_OK);
        record.kind = SRV_RECORD_WEBHOOK;
        assert_int_equal(store_insert(store, &record), EFM_OK);
    }
    struct srv_record found;
    struct srv_claim claim = {SRV_RECORD_JOB, "train", "queued", "running", "me", 30};
    assert_int_equal(srv_store_claim(store, &claim, &found, NULL), EFM_OK);
    assert_string_equal(found.id, "a");
    assert_string_equal(found.state, "running");
    assert_string_equal(found.owner, "me");
    assert_string_equal(found.document, "a");
    assert_int_equal(found.version, 2);
    assert_true(found.lease > now + 29 && found.lease < srv_store_now(store) + 31);
    srv_record_release(&found);
    assert_int_equal(srv_store_get(store, SRV_RECORD_JOB, "a", &found, NULL), EFM_OK);
    assert_string_equal(found.owner, "me");
    assert_int_equal(found.version, 2);
    srv_record_release(&found);
    assert_int_equal(claim_one(store, "train", "me", 30, id), EFM_OK);
    assert_string_equal(id, "b");
    assert_int_equal(claim_one(store, "train", "me", 30, id), EFM_E_NOT_FOUND);
    assert_string_equal(id, "");
    assert_int_equal(claim_one(store, "", "me", 30, id), EFM_OK);
    assert_string_equal(id, "other");
    assert_int_equal(claim_one(store, "", "me", 30, id), EFM_E_NOT_FOUND);
}

void the_longest_due_is_claimed_when_asked_for(struct srv_store *store)
{
    static const double due[] = {50, 0, 70, 0, 60};
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    static const char *const expected[] = {"b", "d", "a", "e", "c"};
    for (size_t i = 0; i < 5; i++) {
        struct srv_record record = store_record(SRV_RECORD_WEBHOOK, ids[i], "queued", "x");
        record.due = due[i];
        assert_int_equal(store_insert(store, &record), EFM_OK);
    }
    struct srv_record late = store_record(SRV_RECORD_WEBHOOK, "late", "queued", "x"), found;
    late.due = srv_store_now(store) + 1000;
    assert_int_equal(store_insert(store, &late), EFM_OK);
    const struct srv_claim claim = {SRV_RECORD_WEBHOOK, "", "queued", "running", "me", 30, .by_due = true};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(srv_store_claim(store, &claim, &found, NULL), EFM_OK);
        assert_string_equal(found.id, expected[i]);
        srv_record_release(&found);
    }
    assert_int_equal(srv_store_claim(store, &claim, &found, NULL), EFM_E_NOT_FOUND);
    assert_int_equal(srv_store_renew(store, SRV_RECORD_WEBHOOK, "e", "me", -1, NULL), EFM_OK);
    assert_int_equal(srv_store_claim(store, &claim, &found, NULL), EFM_OK);
    assert_string_equal(found.id, "e");
    srv_record_release(&found);
}

void a_lease_that_ran_out_can_be_had(struct srv_store *store)
{
    char id[SRV_RECORD_ID];
    struct srv_record job = store_record(SRV_RECORD_JOB, "j", "queued", "x"), found;
    assert_int_equal(store_insert(store, &job), EFM_OK);
    assert_int_equal(claim_one(store, "", "first", 1000, id), EFM_OK);
    assert_int_equal(claim_one(store, "", "second", 1000, id), EFM_E_NOT_FOUND);
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "j", "first", -1, NULL), EFM_OK);
    struct srv_record later = store_record(SRV_RECORD_JOB, "k", "queued", "x");
    assert_int_equal(store_insert(store, &later), EFM_OK);
    assert_int_equal(claim_one(store, "", "second", 1000, id), EFM_OK);
    assert_string_equal(id, "j"); /* the older one, though it was begun */
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "j", "first", 9, NULL), EFM_E_NOT_FOUND);
    assert_int_equal(srv_store_get(store, SRV_RECORD_JOB, "j", &found, NULL), EFM_OK);
    assert_int_equal(found.version, 3); /* two claims; renewing leaves it */
    assert_string_equal(found.owner, "second");
    assert_true(found.lease > srv_store_now(store) + 900);
    srv_record_release(&found);
    /* a lease that nobody took since is still had */
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "j", "second", -1, NULL), EFM_OK);
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "j", "second", 9, NULL), EFM_OK);
    assert_int_equal(store_delete(store, SRV_RECORD_JOB, "j", 0), EFM_OK);
    assert_int_equal(srv_store_renew(store, SRV_RECORD_JOB, "j", "second", 9, NULL), EFM_E_NOT_FOUND);
}

void a_lease_ends_by_the_clock(struct srv_store *store)
{
    char id[SRV_RECORD_ID];
    struct srv_record job = store_record(SRV_RECORD_JOB, "j", "queued", "x");
    assert_int_equal(store_insert(store, &job), EFM_OK);
    assert_int_equal(claim_one(store, "", "first", 0.05, id), EFM_OK);
    enum efm_status status = EFM_E_NOT_FOUND;
    for (int i = 0; i < 1000 && status == EFM_E_NOT_FOUND; i++) {
        usleep(5000);
        status = claim_one(store, "", "second", 1000, id);
    }
    assert_int_equal(status, EFM_OK);
}

/* ---- threads ---- */

enum { THREADS = 4 };

struct worker {
    pthread_t thread;
    struct srv_store *store;
    int number, rounds;
    int had[400];
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

static void *claim_all(void *argument)
{
    struct worker *worker = argument;
    char owner[20];
    struct srv_record found;
    snprintf(owner, sizeof owner, "worker%d", worker->number);
    struct srv_claim claim = {SRV_RECORD_JOB, "", "queued", "running", owner, 1000};
    enum efm_status status;
    while ((status = srv_store_claim(worker->store, &claim, &found, NULL)) == EFM_OK) {
        worker->had[strtol(found.id + 1, NULL, 10)]++;
        worker->good = worker->good && strcmp(found.owner, owner) == 0 && found.version == 2;
        srv_record_release(&found);
    }
    worker->good = worker->good && status == EFM_E_NOT_FOUND;
    return NULL;
}

void store_share_out(struct srv_store *const stores[4], int count)
{
    struct worker *workers = calloc(THREADS, sizeof *workers);
    assert_non_null(workers);
    for (int i = 0; i < count; i++) {
        char id[20];
        snprintf(id, sizeof id, "j%d", i);
        struct srv_record job = store_record(SRV_RECORD_JOB, id, "queued", "x");
        assert_int_equal(store_insert(stores[0], &job), EFM_OK);
    }
    for (int i = 0; i < THREADS; i++)
        workers[i].store = stores[i];
    run_workers(workers, claim_all);
    for (int i = 0; i < count; i++) {
        int times = 0;
        for (int w = 0; w < THREADS; w++)
            times += workers[w].had[i];
        assert_int_equal(times, 1);
    }
    free(workers);
}

void each_record_is_claimed_by_one(struct srv_store *store)
{
    struct srv_store *const same[4] = {store, store, store, store};
    store_share_out(same, 120);
}

/* Adds to the number in one document, as often as it takes to do so `rounds` times. */
static void *add_rounds(void *argument)
{
    struct worker *worker = argument;
    for (int done = 0; done < worker->rounds && worker->good;) {
        struct srv_record record;
        char text[24];
        worker->good = srv_store_get(worker->store, SRV_RECORD_JOB, "sum", &record, NULL) == EFM_OK;
        if (!worker->good)
            break;
        snprintf(text, sizeof text, "%ld", strtol(record.document, NULL, 10) + 1);
        uint64_t version = record.version;
        srv_record_release(&record);
        record.document = text;
        record.size = strlen(text);
        struct srv_change changes[] = {{SRV_UPDATE, &record, version}};
        enum efm_status status = srv_store_commit(worker->store, changes, 1, NULL, NULL);
        done += status == EFM_OK;
        worker->good = status == EFM_OK || status == EFM_E_ARGUMENT;
    }
    return NULL;
}

void versions_keep_every_change(struct srv_store *store)
{
    struct worker *workers = calloc(THREADS, sizeof *workers);
    assert_non_null(workers);
    struct srv_record sum = store_record(SRV_RECORD_JOB, "sum", "", "0");
    assert_int_equal(store_insert(store, &sum), EFM_OK);
    for (int i = 0; i < THREADS; i++) {
        workers[i].store = store;
        workers[i].rounds = 25;
    }
    run_workers(workers, add_rounds);
    store_expect(store, SRV_RECORD_JOB, "sum", "100");
    free(workers);
}

/* The first reads on from the last event it saw, the others write events. */
static void *write_or_follow(void *argument)
{
    struct worker *worker = argument;
    uint64_t last = 0;
    for (int done = 0; done < worker->rounds && worker->good;) {
        if (worker->number > 0) {
            char id[40];
            snprintf(id, sizeof id, "e%d-%d", worker->number, done++);
            struct srv_record event = store_record(SRV_RECORD_EVENT, id, "", "x");
            struct srv_change changes[] = {{SRV_INSERT, &event, 0}};
            worker->good = srv_store_commit(worker->store, changes, 1, NULL, NULL) == EFM_OK;
            continue;
        }
        struct srv_record *records;
        size_t count;
        struct srv_query query = {.kind = SRV_RECORD_EVENT, .after = last};
        worker->good = srv_store_list(worker->store, &query, &records, &count, NULL) == EFM_OK;
        if (count > 0)
            last = records[count - 1].sequence;
        done += (int)count; /* ends only when none was missed */
        srv_records_release(records, count);
        if (count == 0)
            usleep(1000);
    }
    return NULL;
}

void a_follower_misses_nothing(struct srv_store *store)
{
    struct worker *workers = calloc(THREADS, sizeof *workers);
    assert_non_null(workers);
    for (int i = 0; i < THREADS; i++) {
        workers[i].store = store;
        workers[i].rounds = i == 0 ? 120 : 40;
    }
    alarm(60); /* one that was missed would be waited for */
    run_workers(workers, write_or_follow);
    alarm(0);
    free(workers);
}
