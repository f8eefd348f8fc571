// SPDX-License-Identifier: Apache-2.0
// A database is opened: looked at before it is changed, then put into WAL mode, then migrated.
#include "server/store/sqlite_internal.h"

#include "core/base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { BUSY_MILLISECONDS = 10000, WAL_TRIES = 500, LOG_BYTES = 16 << 20 };

/* A path that SQLite takes for nothing else, such as ":memory:" or "file:". */
static enum efm_status name_file(const char *path, char out[PATH_MAX], struct efm_error *error)
{
    int length = snprintf(out, PATH_MAX, "%s%s", path[0] == '/' ? "" : "./", path);
    if (path[0] == '\0' || length >= PATH_MAX)
        return efm_error_set(error, EFM_E_ARGUMENT, "the path of the database is empty or too long");
    /* Made here, because SQLite would let everybody read it; and without opening it, because closing any descriptor
     * of the file would let go of the locks that another connection of this process has. */
    if (mknod(out, S_IFREG | 0640, 0) != 0 && errno != EEXIST)
        return efm_error_set(error, errno == ENOSPC || errno == EDQUOT ? EFM_E_FULL : EFM_E_IO,
                             "the database %.120s cannot be made: %m", path);
    return EFM_OK;
}

static int keep_row(void *context, int columns, char **values, char **names)
{
    (void)names;
    if (columns > 0 && values[0] != NULL)
        snprintf(context, 128, "%s", values[0]);
    return 0;
}

/* For two that open a new database at once SQLite does not wait: one of them has to try again. */
static enum efm_status enter_wal(sqlite3 *database, struct efm_error *error)
{
    char mode[128] = "";
    int code = SQLITE_BUSY;
    for (int i = 0; i < WAL_TRIES && (code & 0xff) == SQLITE_BUSY; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        code = sqlite3_exec(database, "PRAGMA journal_mode = WAL", keep_row, mode, NULL);
    }
    if (code != SQLITE_OK)
        return srv_sqlite_failed(database, code, error);
    if (strcmp(mode, "wal") != 0)
        return efm_error_set(error, EFM_E_IO, "the file system cannot hold a database in WAL mode");
    return EFM_OK;
}

static enum efm_status look_for_damage(sqlite3 *database, struct efm_error *error)
{
    char found[128] = "";
    int code = sqlite3_exec(database, "PRAGMA quick_check(1)", keep_row, found, NULL);
    if (code != SQLITE_OK)
        return srv_sqlite_failed(database, code, error);
    if (strcmp(found, "ok") != 0)
        return efm_error_set(error, EFM_E_FORMAT, "the database is damaged: %.120s", found);
    return EFM_OK;
}

static enum efm_status configure(struct srv_sqlite *sqlite, struct efm_error *error)
{
    char text[200];
    snprintf(text, sizeof text,
             "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
             "PRAGMA journal_size_limit = %d",
             LOG_BYTES);
    int code = sqlite3_exec(sqlite->database, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? EFM_OK : srv_sqlite_failed(sqlite->database, code, error);
}

static enum efm_status prepare_database(struct srv_sqlite *sqlite, const char *const *migrations, int newest,
                                        struct efm_error *error)
{
    sqlite3 *database = sqlite->database;
    sqlite3_busy_timeout(database, BUSY_MILLISECONDS);
    sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* one that is refused stays as it is, with its log */
    sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    enum efm_status status = srv_sqlite_check_version(database, newest, error);
    if (status == EFM_OK &&
        sqlite3_db_readonly(database, "main") == 1) /* SQLite falls back to that in silence */
        status = efm_error_set(error, EFM_E_IO, "the database may only be read, not written");
    if (status == EFM_OK)
        status = look_for_damage(database, error);
    if (status == EFM_OK && sqlite->in_file)
        status = enter_wal(database, error);
    if (status == EFM_OK)
        status = configure(sqlite, error);
    if (status == EFM_OK)
        status = srv_sqlite_migrate(database, migrations, newest, error);
    if (status != EFM_OK)
        return status;
    sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    int code = srv_sqlite_prepare(sqlite);
    return code == SQLITE_OK ? EFM_OK : srv_sqlite_failed(database, code, error);
}

enum efm_status srv_sqlite_open(struct srv_store **store, const char *path, const char *const *migrations,
                                int newest, struct efm_error *error)
{
    char file[PATH_MAX] = ":memory:";
    enum efm_status status = path == NULL ? EFM_OK : name_file(path, file, error);
    if (status != EFM_OK)
        return status;
    struct srv_sqlite *sqlite = efm_allocate_array(1, sizeof *sqlite);
    if (sqlite == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the database");
    sqlite->store.class = &srv_sqlite_class;
    sqlite->in_file = path != NULL;
    pthread_mutex_init(&sqlite->lock, NULL);
    int code = sqlite3_open_v2(file, &sqlite->database,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                               NULL);
    if (code != SQLITE_OK)
        status = srv_sqlite_failed(sqlite->database, code, error);
    else
        status = prepare_database(sqlite, migrations, newest, error);
    if (status != EFM_OK) {
        srv_store_close(&sqlite->store);
        return status;
    }
    *store = &sqlite->store;
    return EFM_OK;
}

enum efm_status srv_store_open_sqlite(struct srv_store **store, const char *path, struct efm_error *error)
{
    return srv_sqlite_open(store, path, srv_sqlite_migrations, srv_sqlite_newest, error);
}
