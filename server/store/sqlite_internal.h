/* sqlite_internal.h - what the files of the SQLite store share. One connection behind a mutex; statements are prepared
 * once and kept. All functions are called with the mutex held, or before anybody else knows the store. */
#ifndef SRV_STORE_SQLITE_INTERNAL_H
#define SRV_STORE_SQLITE_INTERNAL_H

#include "server/store/store.h"

#include <pthread.h>
#include <sqlite3.h>

/* As srv_sqlite_read expects them. */
#define SRV_SQLITE_COLUMNS                                                                                   \
    "kind, id, parent, \"group\", state, owner, lease, due, expires, sequence, version, created, document"

enum srv_sqlite_statement {
    SRV_SQLITE_BEGIN,
    SRV_SQLITE_COMMIT,
    SRV_SQLITE_ROLLBACK,
    SRV_SQLITE_INSERT,
    SRV_SQLITE_UPDATE,
    SRV_SQLITE_DELETE,
    SRV_SQLITE_EXISTS,
    SRV_SQLITE_GET,
    SRV_SQLITE_CLAIMABLE,
    SRV_SQLITE_CLAIMABLE_BY_DUE,
    SRV_SQLITE_CLAIM,
    SRV_SQLITE_RENEW,
    SRV_SQLITE_STATEMENTS
};

enum { SRV_SQLITE_QUERIES = 24 /* shapes of queries whose statements are kept */ };

struct srv_sqlite {
    struct srv_store store;
    pthread_mutex_t lock;
    sqlite3 *database;
    bool in_file;
    sqlite3_stmt *statements[SRV_SQLITE_STATEMENTS];
    sqlite3_stmt *queries[SRV_SQLITE_QUERIES]; /* the last used first */
};

/* ---- sqlite_migrations.c ---- */

/* The text at [n] leads from version n to n + 1. */
extern const char *const srv_sqlite_migrations[];
extern const int srv_sqlite_newest;

/* Refuses what is not ours or of a newer version, without having changed it. */
EFM_MUST_CHECK enum efm_status srv_sqlite_check_version(sqlite3 *database, int newest,
                                                        struct efm_error *error);
/* Brings the schema up to version `newest`, each step in a transaction of its own. */
EFM_MUST_CHECK enum efm_status srv_sqlite_migrate(sqlite3 *database, const char *const *migrations,
                                                  int newest, struct efm_error *error);
/* The version is written once more, as it is: a transaction that changes nothing. */
void srv_sqlite_touch(sqlite3 *database);

/* ---- sqlite_query.c ---- */

enum srv_sqlite_verb { SRV_SQLITE_LIST, SRV_SQLITE_COUNT, SRV_SQLITE_REMOVE };

/* A statement for the query with all values bound, borrowed until srv_sqlite_done. The words of the query must stay
 * where they are until then. */
EFM_MUST_CHECK enum efm_status srv_sqlite_query(struct srv_sqlite *sqlite, enum srv_sqlite_verb verb,
                                                const struct srv_query *query, sqlite3_stmt **statement,
                                                struct efm_error *error);
/* Makes a statement ready for its next use. */
void srv_sqlite_done(sqlite3_stmt *statement);

/* ---- sqlite.c ---- */

extern const struct srv_store_class srv_sqlite_class;
/* Prepares what begins and ends a transaction, so that one can be rolled back without memory; a code of SQLite. */
EFM_MUST_CHECK int srv_sqlite_prepare(struct srv_sqlite *sqlite);

/* ---- sqlite_open.c ---- */

/* srv_store_open_sqlite with migrations of the caller's. */
EFM_MUST_CHECK enum efm_status srv_sqlite_open(struct srv_store **store, const char *path,
                                               const char *const *migrations, int newest,
                                               struct efm_error *error);

/* ---- sqlite_record.c ---- */

/* What a code of SQLite, the last of this connection, means for the caller. */
enum efm_status srv_sqlite_failed(sqlite3 *database, int code, struct efm_error *error);

/* The row that the statement stands on, its columns SRV_SQLITE_COLUMNS; release the record. */
EFM_MUST_CHECK enum efm_status srv_sqlite_read(sqlite3 *database, sqlite3_stmt *statement,
                                               struct srv_record *record, struct efm_error *error);
/* Binds what an update replaces to the parameters from `first` on, borrowed; a code of SQLite. */
EFM_MUST_CHECK int srv_sqlite_bind(sqlite3_stmt *statement, int first, const struct srv_record *record);

#endif
