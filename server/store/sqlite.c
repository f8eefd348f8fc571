// SPDX-License-Identifier: Apache-2.0
/* Records in SQLite. Every change runs in BEGIN IMMEDIATE ... COMMIT, so two processes take turns and one that reads
 * before it writes cannot be overtaken between. */
#include "server/store/sqlite_internal.h"

#include "core/base/memory.h"

#include <string.h>
#include <time.h>

static const char *const TEXTS[SRV_SQLITE_STATEMENTS] = {
    [SRV_SQLITE_BEGIN] = "BEGIN IMMEDIATE",
    [SRV_SQLITE_COMMIT] = "COMMIT",
    [SRV_SQLITE_ROLLBACK] = "ROLLBACK",
    [SRV_SQLITE_INSERT] =
        ("INSERT INTO records (kind, id, parent, \"group\", state, owner, lease, due, expires, document,"
         " version, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11)"
         " RETURNING sequence, version, created"),
    [SRV_SQLITE_UPDATE] =
        ("UPDATE records SET parent = ?3, \"group\" = ?4, state = ?5, owner = ?6, lease = ?7, due = ?8,"
         " expires = ?9, document = ?10, version = version + 1"
         " WHERE kind = ?1 AND id = ?2 AND (?11 = 0 OR version = ?11) RETURNING sequence, version, created"),
    [SRV_SQLITE_DELETE] =
        "DELETE FROM records WHERE kind = ?1 AND id = ?2 AND (?11 = 0 OR version = ?11) RETURNING sequence",
    [SRV_SQLITE_EXISTS] = "SELECT 1 FROM records WHERE kind = ?1 AND id = ?2",
    [SRV_SQLITE_GET] = ("SELECT " SRV_SQLITE_COLUMNS " FROM records WHERE kind = ?1 AND id = ?2"),
    /* the two halves are searched apart, each in the order of an index, up to its first */
    [SRV_SQLITE_CLAIMABLE] =
        ("SELECT min(sequence) FROM ("
         " SELECT * FROM (SELECT sequence FROM records WHERE kind = ?1 AND state = ?2"
         "  AND (?4 = '' OR \"group\" = ?4) AND due <= ?5 ORDER BY sequence LIMIT 1)"
         " UNION ALL"
         " SELECT * FROM (SELECT sequence FROM records WHERE kind = ?1 AND state = ?3"
         "  AND (?4 = '' OR \"group\" = ?4) AND due <= ?5 AND lease <= ?5 ORDER BY sequence LIMIT 1))"),
    [SRV_SQLITE_CLAIMABLE_BY_DUE] =
        ("SELECT coalesce((SELECT sequence FROM records WHERE kind = ?1 AND (?4 = '' OR \"group\" = ?4) AND "
         "due <= ?5"
         "  AND (state = ?2 OR (state = ?3 AND lease <= ?5)) ORDER BY due, sequence LIMIT 1), 0)"),
    [SRV_SQLITE_CLAIM] = ("UPDATE records SET state = ?2, owner = ?3, lease = ?4, version = version + 1"
                          " WHERE sequence = ?1 RETURNING " SRV_SQLITE_COLUMNS),
    [SRV_SQLITE_RENEW] = ("UPDATE records SET lease = ?4 WHERE kind = ?1 AND id = ?2 AND owner = ?3"
                          " RETURNING sequence"),
};

/* What a commit gives to a record, kept until it is durable. */
struct outcome {
    uint64_t sequence, version;
    double created;
};

static double now(struct srv_store *store)
{
    struct timespec time;
    (void)store;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* NULL, with *code, when it cannot be prepared now. */
static sqlite3_stmt *statement_of(struct srv_sqlite *sqlite, enum srv_sqlite_statement which, int *code)
{
    sqlite3_stmt **slot = &sqlite->statements[which];
    *code = SQLITE_OK;
    if (*slot == NULL)
        *code = sqlite3_prepare_v3(sqlite->database, TEXTS[which], -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
    return *slot;
}

static sqlite3_stmt *statement_for(struct srv_sqlite *sqlite, enum srv_sqlite_statement which,
                                   enum srv_record_kind kind, const char *id, int *code)
{
    sqlite3_stmt *statement = statement_of(sqlite, which, code);
    if (statement == NULL)
        return NULL;
    *code = sqlite3_bind_int(statement, 1, (int)kind);
    if (*code == SQLITE_OK)
        *code = sqlite3_bind_text(statement, 2, id, -1, SQLITE_STATIC);
    if (*code == SQLITE_OK)
        return statement;
    srv_sqlite_done(statement);
    return NULL;
}

/* ---- transactions ---- */

static int run(struct srv_sqlite *sqlite, enum srv_sqlite_statement which)
{
    int code;
    sqlite3_stmt *statement = statement_of(sqlite, which, &code);
    if (statement == NULL)
        return code;
    code = sqlite3_step(statement);
    int ended = sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : ended;
}

static void roll_back(struct srv_sqlite *sqlite)
{
    if (!sqlite3_get_autocommit(sqlite->database)) /* some failures have rolled back by themselves */
        (void)run(sqlite, SRV_SQLITE_ROLLBACK);
}

static struct srv_sqlite *lock(struct srv_store *store)
{
    struct srv_sqlite *sqlite = (struct srv_sqlite *)store;
    pthread_mutex_lock(&sqlite->lock);
    roll_back(sqlite); /* one that could not be, or its changes would be seen */
    return sqlite;
}

static void unlock(struct srv_sqlite *sqlite)
{
    pthread_mutex_unlock(&sqlite->lock);
}

static enum efm_status begin(struct srv_sqlite *sqlite, struct efm_error *error)
{
    int code = run(sqlite, SRV_SQLITE_BEGIN);
    return code == SQLITE_OK ? EFM_OK : srv_sqlite_failed(sqlite->database, code, error);
}

/* Commits when `status` is EFM_OK, otherwise rolls back. */
static enum efm_status end(struct srv_sqlite *sqlite, enum efm_status status, struct efm_error *error)
{
    if (status != EFM_OK) {
        roll_back(sqlite);
        return status;
    }
    int code = run(sqlite, SRV_SQLITE_COMMIT);
    if (code == SQLITE_OK)
        return EFM_OK;
    status = srv_sqlite_failed(sqlite->database, code, error);
    roll_back(sqlite);
    /* When it was the sync that failed, all of the commit stands in the log behind the last good one, and a crash now
     * would bring it back to life. A commit of nothing is written over its front. */
    if (sqlite->in_file)
        srv_sqlite_touch(sqlite->database);
    return status;
}

/* ---- changes ---- */

static int bind_change(sqlite3_stmt *statement, const struct srv_change *change, double time)
{
    int code = SQLITE_OK;
    if (change->change != SRV_DELETE)
        code = srv_sqlite_bind(statement, 3, change->record);
    if (code != SQLITE_OK)
        return code;
    if (change->change == SRV_INSERT)
        return sqlite3_bind_double(statement, 11, time);
    uint64_t version = change->version > INT64_MAX ? INT64_MAX : change->version;
    return sqlite3_bind_int64(statement, 11, (sqlite3_int64)version);
}

/* Why an update or delete met no row. */
static enum efm_status missed(struct srv_sqlite *sqlite, const struct srv_record *record,
                              struct efm_error *error)
{
    int code;
    sqlite3_stmt *statement = statement_for(sqlite, SRV_SQLITE_EXISTS, record->kind, record->id, &code);
    if (statement == NULL)
        return srv_sqlite_failed(sqlite->database, code, error);
    code = sqlite3_step(statement);
    srv_sqlite_done(statement);
    if (code == SQLITE_ROW)
        return efm_error_set(error, EFM_E_ARGUMENT, "the record %.96s was changed meanwhile", record->id);
    if (code == SQLITE_DONE)
        return efm_error_set(error, EFM_E_NOT_FOUND, "there is no record %.96s", record->id);
    return srv_sqlite_failed(sqlite->database, code, error);
}

static enum efm_status apply(struct srv_sqlite *sqlite, const struct srv_change *change, double time,
                             struct outcome *outcome, struct efm_error *error)
{
    static const enum srv_sqlite_statement statements[] = {
        [SRV_INSERT] = SRV_SQLITE_INSERT, [SRV_UPDATE] = SRV_SQLITE_UPDATE, [SRV_DELETE] = SRV_SQLITE_DELETE};
    const struct srv_record *record = change->record;
    int code;
    sqlite3_stmt *statement =
        statement_for(sqlite, statements[change->change], record->kind, record->id, &code);
    if (statement == NULL)
        return srv_sqlite_failed(sqlite->database, code, error);
    code = bind_change(statement, change, time);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW && change->change != SRV_DELETE)
        *outcome = (struct outcome){(uint64_t)sqlite3_column_int64(statement, 0),
                                    (uint64_t)sqlite3_column_int64(statement, 1),
                                    sqlite3_column_double(statement, 2)};
    srv_sqlite_done(statement);
    if (code == SQLITE_ROW)
        return EFM_OK;
    if (code == SQLITE_DONE)
        return missed(sqlite, record, error);
    if (code == SQLITE_CONSTRAINT_UNIQUE)
        return efm_error_set(error, EFM_E_EXISTS, "there is a record %.96s already", record->id);
    return srv_sqlite_failed(sqlite->database, code, error);
}

static bool is_refusal(enum efm_status status)
{
    return status == EFM_E_EXISTS || status == EFM_E_NOT_FOUND || status == EFM_E_ARGUMENT ||
           status == EFM_E_LIMIT;
}

static enum efm_status commit(struct srv_store *store, const struct srv_change *changes, size_t count,
                              size_t *failed, struct efm_error *error)
{
    struct outcome *outcomes = efm_allocate_array(count, sizeof *outcomes);
    if (outcomes == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a commit");
    struct srv_sqlite *sqlite = lock(store);
    enum efm_status status = begin(sqlite, error);
    if (status == EFM_OK) {
        double time = now(store);
        for (size_t i = 0; i < count && status == EFM_OK; i++) {
            status = apply(sqlite, &changes[i], time, &outcomes[i], error);
            if (is_refusal(status))
                *failed = i;
        }
        status = end(sqlite, status, error);
    }
    unlock(sqlite);
    for (size_t i = 0; i < count && status == EFM_OK; i++) {
        if (changes[i].change == SRV_DELETE)
            continue;
        changes[i].record->sequence = outcomes[i].sequence;
        changes[i].record->version = outcomes[i].version;
        changes[i].record->created = outcomes[i].created;
    }
    efm_free(outcomes);
    return status;
}

/* ---- searches ---- */

static enum efm_status get(struct srv_store *store, enum srv_record_kind kind, const char *id,
                           struct srv_record *record, struct efm_error *error)
{
    int code;
    enum efm_status status;
    struct srv_sqlite *sqlite = lock(store);
    sqlite3_stmt *statement = statement_for(sqlite, SRV_SQLITE_GET, kind, id, &code);
    if (statement != NULL)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        status = srv_sqlite_read(sqlite->database, statement, record, error);
    else if (code == SQLITE_DONE)
        status = efm_error_set(error, EFM_E_NOT_FOUND, "there is no record %.96s", id);
    else
        status = srv_sqlite_failed(sqlite->database, code, error);
    if (statement != NULL)
        srv_sqlite_done(statement);
    unlock(sqlite);
    return status;
}

static enum efm_status read_all(struct srv_sqlite *sqlite, sqlite3_stmt *statement,
                                struct srv_record **records, size_t *count, struct efm_error *error)
{
    size_t capacity = 0;
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (!efm_array_grow(records, *count, &capacity, sizeof **records))
            return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu records", *count + 1);
        enum efm_status status = srv_sqlite_read(sqlite->database, statement, &(*records)[*count], error);
        if (status != EFM_OK)
            return status;
        (*count)++;
    }
    return code == SQLITE_DONE ? EFM_OK : srv_sqlite_failed(sqlite->database, code, error);
}

static enum efm_status list(struct srv_store *store, const struct srv_query *query,
                            struct srv_record **records, size_t *count, struct efm_error *error)
{
    sqlite3_stmt *statement;
    struct srv_sqlite *sqlite = lock(store);
    enum efm_status status = srv_sqlite_query(sqlite, SRV_SQLITE_LIST, query, &statement, error);
    if (status == EFM_OK) {
        status = read_all(sqlite, statement, records, count, error);
        srv_sqlite_done(statement);
    }
    unlock(sqlite);
    if (status != EFM_OK) {
        srv_records_release(*records, *count);
        *records = NULL;
        *count = 0;
    }
    return status;
}

static enum efm_status count_records(struct srv_store *store, const struct srv_query *query, size_t *count,
                                     struct efm_error *error)
{
    sqlite3_stmt *statement;
    struct srv_sqlite *sqlite = lock(store);
    enum efm_status status = srv_sqlite_query(sqlite, SRV_SQLITE_COUNT, query, &statement, error);
    if (status == EFM_OK) {
        int code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
            *count = (size_t)sqlite3_column_int64(statement, 0);
        else
            status = srv_sqlite_failed(sqlite->database, code, error);
        srv_sqlite_done(statement);
    }
    unlock(sqlite);
    return status;
}

static enum efm_status delete_records(struct srv_store *store, const struct srv_query *query, size_t *count,
                                      struct efm_error *error)
{
    sqlite3_stmt *statement;
    size_t gone = 0;
    struct srv_sqlite *sqlite = lock(store);
    enum efm_status status = begin(sqlite, error);
    if (status == EFM_OK) {
        status = srv_sqlite_query(sqlite, SRV_SQLITE_REMOVE, query, &statement, error);
        if (status == EFM_OK) {
            int code = sqlite3_step(statement);
            if (code == SQLITE_DONE)
                gone = (size_t)sqlite3_changes(sqlite->database);
            else
                status = srv_sqlite_failed(sqlite->database, code, error);
            srv_sqlite_done(statement);
        }
        status = end(sqlite, status, error);
    }
    unlock(sqlite);
    if (status == EFM_OK)
        *count = gone;
    return status;
}

/* ---- leases ---- */

/* *sequence is 0 when there is nothing to be had. */
static enum efm_status find_claimable(struct srv_sqlite *sqlite, const struct srv_claim *claim, double time,
                                      sqlite3_int64 *sequence, struct efm_error *error)
{
    int code;
    sqlite3_stmt *statement =
        statement_for(sqlite, claim->by_due ? SRV_SQLITE_CLAIMABLE_BY_DUE : SRV_SQLITE_CLAIMABLE, claim->kind,
                      claim->waiting, &code);
    if (statement == NULL)
        return srv_sqlite_failed(sqlite->database, code, error);
    code = sqlite3_bind_text(statement, 3, claim->active, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(statement, 4, claim->group, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_double(statement, 5, time);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    *sequence = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0; /* NULL is 0 */
    srv_sqlite_done(statement);
    return code == SQLITE_ROW ? EFM_OK : srv_sqlite_failed(sqlite->database, code, error);
}

static enum efm_status take(struct srv_sqlite *sqlite, const struct srv_claim *claim, double time,
                            sqlite3_int64 sequence, struct srv_record *record, struct efm_error *error)
{
    int code;
    sqlite3_stmt *statement = statement_of(sqlite, SRV_SQLITE_CLAIM, &code);
    if (statement == NULL)
        return srv_sqlite_failed(sqlite->database, code, error);
    code = sqlite3_bind_int64(statement, 1, sequence);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(statement, 2, claim->active, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(statement, 3, claim->owner, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_double(statement, 4, time + claim->lease);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    enum efm_status status = code == SQLITE_ROW ? srv_sqlite_read(sqlite->database, statement, record, error)
                                                : srv_sqlite_failed(sqlite->database, code, error);
    srv_sqlite_done(statement);
    return status;
}

static enum efm_status claim_record(struct srv_store *store, const struct srv_claim *claim,
                                    struct srv_record *record, struct efm_error *error)
{
    sqlite3_int64 sequence;
    struct srv_sqlite *sqlite = lock(store);
    double time = now(store);
    /* Looked for before the transaction too: most claims find nothing, and shall hold up nobody who writes. */
    enum efm_status status = find_claimable(sqlite, claim, time, &sequence, error);
    if (status == EFM_OK && sequence != 0)
        status = begin(sqlite, error);
    if (status == EFM_OK && sequence != 0) {
        time = now(store);
        status = find_claimable(sqlite, claim, time, &sequence, error);
        if (status == EFM_OK && sequence != 0)
            status = take(sqlite, claim, time, sequence, record, error);
        status = end(sqlite, status, error);
    }
    unlock(sqlite);
    if (status == EFM_OK && sequence == 0)
        status = efm_error_set(error, EFM_E_NOT_FOUND, "there is nothing to claim");
    if (status != EFM_OK) {
        srv_record_release(record);
        *record = (struct srv_record){0};
    }
    return status;
}

static enum efm_status renew(struct srv_store *store, enum srv_record_kind kind, const char *id,
                             const char *owner, double seconds, struct efm_error *error)
{
    struct srv_sqlite *sqlite = lock(store);
    enum efm_status status = begin(sqlite, error);
    if (status == EFM_OK) {
        int code;
        sqlite3_stmt *statement = statement_for(sqlite, SRV_SQLITE_RENEW, kind, id, &code);
        if (statement != NULL) {
            code = sqlite3_bind_text(statement, 3, owner, -1, SQLITE_STATIC);
            if (code == SQLITE_OK)
                code = sqlite3_bind_double(statement, 4, now(store) + seconds);
            if (code == SQLITE_OK)
                code = sqlite3_step(statement);
            srv_sqlite_done(statement);
        }
        if (code == SQLITE_DONE)
            status = efm_error_set(error, EFM_E_NOT_FOUND, "%.64s does not hold the record %.96s", owner, id);
        else if (code != SQLITE_ROW)
            status = srv_sqlite_failed(sqlite->database, code, error);
        status = end(sqlite, status, error);
    }
    unlock(sqlite);
    return status;
}

int srv_sqlite_prepare(struct srv_sqlite *sqlite)
{
    int code = SQLITE_OK;
    for (size_t i = SRV_SQLITE_BEGIN; i <= SRV_SQLITE_ROLLBACK && code == SQLITE_OK; i++)
        (void)statement_of(sqlite, (enum srv_sqlite_statement)i, &code);
    return code;
}

static void close_store(struct srv_store *store)
{
    struct srv_sqlite *sqlite = (struct srv_sqlite *)store;
    for (size_t i = 0; i < SRV_SQLITE_STATEMENTS; i++)
        sqlite3_finalize(sqlite->statements[i]);
    for (size_t i = 0; i < SRV_SQLITE_QUERIES; i++)
        sqlite3_finalize(sqlite->queries[i]);
    sqlite3_close(sqlite->database); /* what it cannot move out of the log now, the next opening does */
    pthread_mutex_destroy(&sqlite->lock);
    efm_free(sqlite);
}

const struct srv_store_class srv_sqlite_class = {
    .name = "sqlite",
    .close = close_store,
    .now = now,
    .commit = commit,
    .get = get,
    .list = list,
    .count = count_records,
    .delete = delete_records,
    .claim = claim_record,
    .renew = renew,
};
