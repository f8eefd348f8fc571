// SPDX-License-Identifier: Apache-2.0
/* The schema of the database and how older ones become it. A migration that was published is never edited: what is to
 * be different is a new one. One table for all kinds, so that one counter numbers all records; the document is its
 * last column, so that searches do not read it. */
#include "server/store/sqlite_internal.h"

#include <stdio.h>

enum { APPLICATION = 0x65666d64 /* "efmd" in the header of the file */ };

const char *const srv_sqlite_migrations[] = {
    "CREATE TABLE records ("
    " sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
    " kind INTEGER NOT NULL,"
    " id TEXT NOT NULL,"
    " parent TEXT NOT NULL,"
    " \"group\" TEXT NOT NULL,"
    " state TEXT NOT NULL,"
    " owner TEXT NOT NULL,"
    " lease REAL NOT NULL,"
    " due REAL NOT NULL,"
    " expires REAL NOT NULL,"
    " version INTEGER NOT NULL,"
    " created REAL NOT NULL,"
    " document BLOB NOT NULL"
    ") STRICT;"
    /* each ends in the sequence, as all indices do: ordered pages come straight from them */
    "CREATE UNIQUE INDEX records_id ON records (kind, id);"
    "CREATE INDEX records_parent ON records (kind, parent);"
    "CREATE INDEX records_state ON records (kind, state);"
    "CREATE INDEX records_kind ON records (kind);"
    "CREATE INDEX records_expires ON records (kind, expires) WHERE expires > 0;",
};
const int srv_sqlite_newest = sizeof srv_sqlite_migrations / sizeof srv_sqlite_migrations[0];

/* The number that a text gives in its first row. */
static int read_number(sqlite3 *database, const char *text, sqlite3_int64 *number)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(database, text, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    int ended = sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : ended;
}

static int write_number(sqlite3 *database, const char *pragma, int number)
{
    char text[64];
    snprintf(text, sizeof text, "PRAGMA %s = %d", pragma, number); /* pragmas take no parameters */
    return sqlite3_exec(database, text, NULL, NULL, NULL);
}

/* What a file says of itself. */
struct marks {
    sqlite3_int64 version, application, tables;
};

/* In one transaction: another process may just be making the database, and its marks come all at once. */
static int read_marks(sqlite3 *database, struct marks *marks)
{
    int code = sqlite3_exec(database, "BEGIN", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = read_number(database, "PRAGMA user_version", &marks->version);
    if (code == SQLITE_OK)
        code = read_number(database, "PRAGMA application_id", &marks->application);
    if (code == SQLITE_OK)
        code = read_number(database, "SELECT count(*) FROM sqlite_schema", &marks->tables);
    if (code == SQLITE_OK)
        code = sqlite3_exec(database, "COMMIT", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(database))
        sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

enum efm_status srv_sqlite_check_version(sqlite3 *database, int newest, struct efm_error *error)
{
    struct marks marks = {0};
    int code = read_marks(database, &marks);
    if (code != SQLITE_OK)
        return srv_sqlite_failed(database, code, error);
    if (marks.application != APPLICATION &&
        (marks.application != 0 || marks.version != 0 || marks.tables != 0))
        return efm_error_set(error, EFM_E_FORMAT, "the database belongs to another program");
    if (marks.version > newest)
        return efm_error_set(
            error, EFM_E_UNSUPPORTED,
            "the database is of version %lld, but this program knows versions up to %d only: "
            "use a newer efmd, or another state directory",
            (long long)marks.version, newest);
    return EFM_OK;
}

/* One step, unless another process was faster; *version is where the database then stands. */
static int migrate_once(sqlite3 *database, const char *const *migrations, int newest, sqlite3_int64 *version)
{
    int code = sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = read_number(database, "PRAGMA user_version", version);
    if (code == SQLITE_OK && *version < newest) {
        code = sqlite3_exec(database, migrations[*version], NULL, NULL, NULL);
        if (code == SQLITE_OK)
            code = write_number(database, "application_id", APPLICATION);
        if (code == SQLITE_OK)
            code = write_number(database, "user_version", (int)++*version);
    }
    if (code == SQLITE_OK)
        code = sqlite3_exec(database, "COMMIT", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(database))
        sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

enum efm_status srv_sqlite_migrate(sqlite3 *database, const char *const *migrations, int newest,
                                   struct efm_error *error)
{
    sqlite3_int64 version = 0;
    int code = read_number(database, "PRAGMA user_version", &version);
    while (code == SQLITE_OK && version < newest) {
        sqlite3_int64 from = version;
        code = migrate_once(database, migrations, newest, &version);
        if (code != SQLITE_OK && (code & 0xff) == SQLITE_ERROR)
            return efm_error_set(error, EFM_E_INTERNAL,
                                 "the database cannot be brought from version %lld to the next: %.150s",
                                 (long long)from, sqlite3_errmsg(database));
    }
    if (code != SQLITE_OK)
        return srv_sqlite_failed(database, code, error);
    return srv_sqlite_check_version(database, newest, error); /* another process may be a newer program */
}

void srv_sqlite_touch(sqlite3 *database)
{
    sqlite3_int64 version = 0;
    if (sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
        read_number(database, "PRAGMA user_version", &version) == SQLITE_OK &&
        write_number(database, "user_version", (int)version) == SQLITE_OK)
        sqlite3_exec(database, "COMMIT", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(database))
        sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
}
