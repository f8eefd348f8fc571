/* store_suite.h - what every store of records must do, whatever database is behind it. Each case gets an empty store. */
#ifndef TESTS_STORE_SUITE_H
#define TESTS_STORE_SUITE_H

#include "server/store/store.h"

struct store_case {
    const char *name;
    void (*run)(struct srv_store *store);
};

extern const struct store_case store_cases[];
extern const size_t store_case_count;

/* ---- short forms, for more tests of stores ---- */

/* A record with this document, borrowed; "" is an empty one. */
struct srv_record store_record(enum srv_record_kind kind, const char *id, const char *state,
                               const char *document);
enum efm_status store_insert(struct srv_store *store, struct srv_record *record);
enum efm_status store_update(struct srv_store *store, struct srv_record *record, uint64_t version);
enum efm_status store_delete(struct srv_store *store, enum srv_record_kind kind, const char *id,
                             uint64_t version);
/* Whether the record is there with this document; NULL: is not there. */
void store_expect(struct srv_store *store, enum srv_record_kind kind, const char *id, const char *document);
size_t store_total(struct srv_store *store, enum srv_record_kind kind);
/* Inserts `count` jobs in the state "queued" and lets four threads claim them by turns through `stores`. Each job must be had
 * once. */
void store_share_out(struct srv_store *const stores[4], int count);

/* ---- cases of other files ---- */

void queries_find_what_they_ask_for(struct srv_store *store);
void queries_that_are_none_are_refused(struct srv_store *store);
void words_are_values_never_text_of_a_query(struct srv_store *store);
void deleting_follows_the_query(struct srv_store *store);
void a_list_without_a_limit_has_a_thousand(struct srv_store *store);
void the_oldest_waiting_is_claimed(struct srv_store *store);
void the_longest_due_is_claimed_when_asked_for(struct srv_store *store);
void a_lease_that_ran_out_can_be_had(struct srv_store *store);
void a_lease_ends_by_the_clock(struct srv_store *store);
void each_record_is_claimed_by_one(struct srv_store *store);
void versions_keep_every_change(struct srv_store *store);
void a_follower_misses_nothing(struct srv_store *store);

#endif
