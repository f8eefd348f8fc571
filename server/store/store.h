/* store.h - records that survive: jobs, their events, models, datasets, deliveries of webhooks, idempotency keys.
 *
 * One interface for every database. A record is a JSON document with the few fields that are searched beside it; what
 * a document holds is the business of whoever owns its kind. Changes are commits: all of their records change, or
 * none does, durably once commit returns. A record that another replica may be working on is leased: whoever claims
 * it renews the lease while it works, and whoever finds a lease that ran out may claim it.
 *
 *     struct srv_record job = {.kind = SRV_RECORD_JOB, .id = "job_1", .group = "train", .state = "queued",
 *                              .document = text, .size = length};
 *     struct srv_change changes[] = {{SRV_INSERT, &job, 0}, {SRV_INSERT, &event, 0}};
 *     status = srv_store_commit(store, changes, 2, NULL, &error);
 *
 *     srv_store_claim(store, &(struct srv_claim){SRV_RECORD_JOB, "train", "queued", "running", owner, 30}, &found, &error);
 *     srv_store_renew(store, SRV_RECORD_JOB, found.id, owner, 30, &error);          EFM_E_NOT_FOUND: somebody else has it
 *
 * Callers never assume that they are the only process. Times are Unix seconds by the clock of the store.
 * Threads: any. Calls may block for a disk: never from an event thread. */
#ifndef SRV_STORE_STORE_H
#define SRV_STORE_STORE_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum srv_record_kind {
    SRV_RECORD_JOB,
    SRV_RECORD_EVENT,
    SRV_RECORD_MODEL,
    SRV_RECORD_DATASET,
    SRV_RECORD_WEBHOOK,
    SRV_RECORD_KEY, /* an Idempotency-Key and what was answered */
    SRV_RECORD_KINDS
};

enum {
    SRV_RECORD_ID = 97,   /* bytes of an id with its NUL: printable ASCII without spaces */
    SRV_RECORD_WORD = 33, /* of a group, state */
    SRV_RECORD_OWNER = 65,
    SRV_RECORD_DOCUMENT = 4 << 20 /* bytes of a document, at most */
};

struct srv_record {
    enum srv_record_kind kind;
    char id[SRV_RECORD_ID];
    char parent[SRV_RECORD_ID];  /* the job of an event or delivery; "" for none */
    char group[SRV_RECORD_WORD]; /* "train", "transfer": what is claimed and listed apart; "" for none */
    char state[SRV_RECORD_WORD];
    char owner[SRV_RECORD_OWNER]; /* who holds the lease; "" nobody. Changed by claim, and by an update */
    double lease;                 /* until when */
    double due;                   /* not claimed before */
    double expires;               /* 0: never. The store does not act on it: see srv_query */
    uint64_t
        sequence; /* given by the store: ascending over all kinds, never used twice. Who has seen one never sees
                          a smaller one appear later, so "after the last I saw" misses nothing */
    uint64_t version; /* given by the store: 1, and one more with each update or claim; renewing leaves it */
    double created;   /* given by the store at insertion */
    char *document;   /* out: owned, see srv_record_release, NUL-terminated. In: borrowed */
    size_t size;      /* of the document without the NUL */
};

/* Frees the document; the record may be released twice. */
void srv_record_release(struct srv_record *record);
void srv_records_release(struct srv_record *records, size_t count); /* and the array itself */

enum srv_change_kind {
    SRV_INSERT, /* EFM_E_EXISTS when the id is taken */
    SRV_UPDATE, /* parent, group, state, owner, lease, due, expires, document are replaced */
    SRV_DELETE  /* only kind and id are looked at */
};

struct srv_change {
    enum srv_change_kind change;
    struct srv_record *record; /* sequence, version and created are filled in by the commit */
    uint64_t version;          /* UPDATE, DELETE: EFM_E_ARGUMENT unless this is the stored one; 0: any.
                                  EFM_E_NOT_FOUND when there is no such record */
};

/* Which records a list shows. Zero and NULL members ask for nothing; "" is a parent or group of its own: those without one. */
struct srv_query {
    enum srv_record_kind kind;
    const char *parent, *group;
    const char *const *states; /* NULL-terminated, at most 16; an empty list asks for nothing */
    uint64_t after;            /* sequence: only later ones */
    uint64_t before;           /* sequence: only earlier ones */
    double expired;            /* only those with 0 < expires <= expired */
    double due;                /* only those with due <= due */
    bool newest_first;
    size_t limit; /* 0: 1000; more than 10000 is EFM_E_ARGUMENT */
};

struct srv_claim {
    enum srv_record_kind kind;
    const char *group;   /* "" any, unlike in a query */
    const char *waiting; /* the state of those nobody has begun: "queued" */
    const char
        *active; /* the state they get: "running". Also claimed: those that have it and whose lease ran out */
    const char *owner; /* this replica and worker */
    double lease;      /* seconds from now */
    bool by_due;       /* the one that has been due for longest first, in place of the oldest */
};

struct srv_store;

/* SQLite in WAL mode, in the file `path`, made when it is not there; NULL: in memory. Migrations run here.
 * EFM_E_UNSUPPORTED when the file is of a newer version than this program knows (the message names both),
 * EFM_E_FORMAT when it is no database or damaged, EFM_E_IO. Several processes of one machine may have it open; one that
 * holds it for more than 10 seconds makes the others' calls fail with EFM_E_IO. A commit that failed at its sync, on a
 * disk that takes no further write either, may be seen after a crash; in every other case what failed never is. */
EFM_MUST_CHECK enum efm_status srv_store_open_sqlite(struct srv_store **store, const char *path,
                                                     struct efm_error *error);
void srv_store_close(struct srv_store *store); /* NULL is fine */

double srv_store_now(struct srv_store *store);

/* At most 64 changes, applied one after the other. On failure nothing has changed, and *failed, when not NULL, is the
 * index of the change that was refused, SIZE_MAX when it was none of them. EFM_E_EXISTS, EFM_E_NOT_FOUND, EFM_E_ARGUMENT (another version),
 * EFM_E_LIMIT (document too large), EFM_E_FULL (the disk is full), EFM_E_IO, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_store_commit(struct srv_store *store, const struct srv_change *changes,
                                                size_t count, size_t *failed, struct efm_error *error);

/* EFM_E_NOT_FOUND. */
EFM_MUST_CHECK enum efm_status srv_store_get(struct srv_store *store, enum srv_record_kind kind,
                                             const char *id, struct srv_record *record,
                                             struct efm_error *error);

/* In order of their sequence; *records is owned by the caller, NULL when there are none. */
EFM_MUST_CHECK enum efm_status srv_store_list(struct srv_store *store, const struct srv_query *query,
                                              struct srv_record **records, size_t *count,
                                              struct efm_error *error);

/* How many a list would show, without its limit. */
EFM_MUST_CHECK enum efm_status srv_store_count(struct srv_store *store, const struct srv_query *query,
                                               size_t *count, struct efm_error *error);

/* Deletes all that the query finds (its limit holds); *count, when not NULL, is how many. One commit. */
EFM_MUST_CHECK enum efm_status srv_store_delete(struct srv_store *store, const struct srv_query *query,
                                                size_t *count, struct efm_error *error);

/* The oldest record that can be had, now leased and in the active state; EFM_E_NOT_FOUND when there is none. */
EFM_MUST_CHECK enum efm_status srv_store_claim(struct srv_store *store, const struct srv_claim *claim,
                                               struct srv_record *record, struct efm_error *error);

/* Moves the end of a lease to `seconds` from now. EFM_E_NOT_FOUND when `owner` has lost it, or the record is gone. */
EFM_MUST_CHECK enum efm_status srv_store_renew(struct srv_store *store, enum srv_record_kind kind,
                                               const char *id, const char *owner, double seconds,
                                               struct efm_error *error);

/* ---- for those who implement one ---- */

struct srv_store_class {
    const char *name;
    void (*close)(struct srv_store *store);
    double (*now)(struct srv_store *store);
    enum efm_status (*commit)(struct srv_store *store, const struct srv_change *changes, size_t count,
                              size_t *failed, struct efm_error *error);
    enum efm_status (*get)(struct srv_store *store, enum srv_record_kind kind, const char *id,
                           struct srv_record *record, struct efm_error *error);
    enum efm_status (*list)(struct srv_store *store, const struct srv_query *query,
                            struct srv_record **records, size_t *count, struct efm_error *error);
    enum efm_status (*count)(struct srv_store *store, const struct srv_query *query, size_t *count,
                             struct efm_error *error);
    enum efm_status (*delete)(struct srv_store *store, const struct srv_query *query, size_t *count,
                              struct efm_error *error);
    enum efm_status (*claim)(struct srv_store *store, const struct srv_claim *claim,
                             struct srv_record *record, struct efm_error *error);
    enum efm_status (*renew)(struct srv_store *store, enum srv_record_kind kind, const char *id,
                             const char *owner, double seconds, struct efm_error *error);
};

/* Embedded as the first member of an implementation. */
struct srv_store {
    const struct srv_store_class *class;
};

#endif
