// SPDX-License-Identifier: Apache-2.0
// Rows to records and records to rows, and what SQLite's codes mean.
#include "server/store/sqlite_internal.h"

#include "core/base/memory.h"

#include <errno.h>
#include <string.h>

/* ---- codes ---- */

static bool is_full(sqlite3 *database, int code)
{
    if ((code & 0xff) == SQLITE_FULL)
        return true;
    /* a quota, or no room for the index of the log */
    int reason = (code & 0xff) == SQLITE_IOERR ? sqlite3_system_errno(database) : 0;
    return reason == ENOSPC || reason == EDQUOT;
}

enum efm_status srv_sqlite_failed(sqlite3 *database, int code, struct efm_error *error)
{
    int primary = code & 0xff;
    if (code == SQLITE_IOERR_NOMEM || primary == SQLITE_NOMEM)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the database");
    if (is_full(database, code))
        return efm_error_set(error, EFM_E_FULL, "the disk of the database is full");
    switch (primary) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return efm_error_set(error, EFM_E_FORMAT, "the database is damaged, or no database: %.100s",
                             sqlite3_errstr(code));
    case SQLITE_TOOBIG:
        return efm_error_set(error, EFM_E_LIMIT, "a record is too large for the database");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return efm_error_set(error, EFM_E_IO, "the database was held by another process for too long");
    default:
        return efm_error_set(error, EFM_E_IO, "the database cannot be used: %.100s (%d)",
                             sqlite3_errstr(code), code);
    }
}

/* ---- rows ---- */

static enum efm_status read_text(sqlite3 *database, sqlite3_stmt *statement, int column, char *out,
                                 size_t size, struct efm_error *error)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    if (text == NULL)
        return srv_sqlite_failed(database, SQLITE_NOMEM, error); /* no column is NULL */
    size_t length = (size_t)sqlite3_column_bytes(statement, column);
    if (length >= size)
        return efm_error_set(error, EFM_E_FORMAT, "a word in the database is too long");
    memcpy(out, text, length);
    out[length] = '\0';
    return EFM_OK;
}

static enum efm_status read_document(sqlite3 *database, sqlite3_stmt *statement, int column,
                                     struct srv_record *record, struct efm_error *error)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    size_t size = (size_t)sqlite3_column_bytes(statement, column);
    if (size > SRV_RECORD_DOCUMENT)
        return efm_error_set(error, EFM_E_FORMAT, "a document in the database is too large");
    if (bytes == NULL && sqlite3_errcode(database) == SQLITE_NOMEM)
        return srv_sqlite_failed(database, SQLITE_NOMEM, error);
    record->document = efm_allocate(size + 1);
    if (record->document == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a record");
    if (bytes != NULL)
        memcpy(record->document, bytes, size);
    record->document[size] = '\0';
    record->size = size;
    return EFM_OK;
}

enum efm_status srv_sqlite_read(sqlite3 *database, sqlite3_stmt *statement, struct srv_record *record,
                                struct efm_error *error)
{
    struct srv_record read = {.kind = (enum srv_record_kind)sqlite3_column_int(statement, 0)};
    const struct {
        char *out;
        size_t size;
    } words[] = {{read.id, sizeof read.id},
                 {read.parent, sizeof read.parent},
                 {read.group, sizeof read.group},
                 {read.state, sizeof read.state},
                 {read.owner, sizeof read.owner}};
    enum { WORDS = sizeof words / sizeof words[0] };
    enum efm_status status = EFM_OK;
    for (int i = 0; i < WORDS && status == EFM_OK; i++)
        status = read_text(database, statement, 1 + i, words[i].out, words[i].size, error);
    if (status != EFM_OK)
        return status;
    read.lease = sqlite3_column_double(statement, 6);
    read.due = sqlite3_column_double(statement, 7);
    read.expires = sqlite3_column_double(statement, 8);
    read.sequence = (uint64_t)sqlite3_column_int64(statement, 9);
    read.version = (uint64_t)sqlite3_column_int64(statement, 10);
    read.created = sqlite3_column_double(statement, 11);
    status = read_document(database, statement, 12, &read, error);
    if (status == EFM_OK)
        *record = read;
    return status;
}

int srv_sqlite_bind(sqlite3_stmt *statement, int first, const struct srv_record *record)
{
    const char *words[] = {record->parent, record->group, record->state, record->owner};
    const double times[] = {record->lease, record->due, record->expires};
    int at = first, code = SQLITE_OK;
    for (size_t i = 0; i < sizeof words / sizeof words[0] && code == SQLITE_OK; i++)
        code = sqlite3_bind_text(statement, at++, words[i], -1, SQLITE_STATIC);
    for (size_t i = 0; i < sizeof times / sizeof times[0] && code == SQLITE_OK; i++)
        code = sqlite3_bind_double(statement, at++, times[i]);
    if (code == SQLITE_OK) /* no pointer would mean NULL */
        code = sqlite3_bind_blob(statement, at, record->size > 0 ? record->document : "", (int)record->size,
                                 SQLITE_STATIC);
    return code;
}
