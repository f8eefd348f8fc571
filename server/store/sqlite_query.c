// SPDX-License-Identifier: Apache-2.0
// Statements from struct srv_query: the text from constant pieces, the values as bound parameters.
#include "server/store/sqlite_internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MOST_VALUES = 32, MOST_TEXT = 1024 };

struct value {
    enum { TEXT, NUMBER, REAL } type;
    const char *text;
    sqlite3_int64 number;
    double real;
};

struct draft {
    char text[MOST_TEXT];
    size_t length;
    struct value values[MOST_VALUES];
    int count;
};

static void add(struct draft *draft, const char *piece)
{
    size_t length = strlen(piece);
    if (length >= sizeof draft->text - draft->length)
        return; /* the checks of the query keep it far below; SQLite would refuse the torso */
    memcpy(draft->text + draft->length, piece, length + 1);
    draft->length += length;
}

static void add_value(struct draft *draft, const char *piece, struct value value)
{
    if (draft->count == MOST_VALUES)
        return;
    add(draft, piece);
    draft->values[draft->count++] = value;
}

static void add_number(struct draft *draft, const char *piece, uint64_t number)
{
    sqlite3_int64 kept = number > INT64_MAX ? INT64_MAX : (sqlite3_int64)number;
    add_value(draft, piece, (struct value){.type = NUMBER, .number = kept});
}

static void add_conditions(struct draft *draft, const struct srv_query *query)
{
    add_number(draft, " FROM records WHERE kind = ?", query->kind);
    if (query->parent != NULL)
        add_value(draft, " AND parent = ?", (struct value){.type = TEXT, .text = query->parent});
    if (query->group != NULL)
        add_value(draft, " AND \"group\" = ?", (struct value){.type = TEXT, .text = query->group});
    if (query->states != NULL && query->states[0] != NULL) {
        for (size_t i = 0; query->states[i] != NULL; i++)
            add_value(draft, i == 0 ? " AND state IN (?" : ",?",
                      (struct value){.type = TEXT, .text = query->states[i]});
        add(draft, ")");
    }
    if (query->after > 0)
        add_number(draft, " AND sequence > ?", query->after);
    if (query->before > 0)
        add_number(draft, " AND sequence < ?", query->before);
    if (query->expired != 0)
        add_value(draft, " AND expires > 0 AND expires <= ?",
                  (struct value){.type = REAL, .real = query->expired});
    if (query->due != 0)
        add_value(draft, " AND due <= ?", (struct value){.type = REAL, .real = query->due});
}

static void compose(struct draft *draft, enum srv_sqlite_verb verb, const struct srv_query *query)
{
    static const char *const heads[] = {
        [SRV_SQLITE_LIST] = ("SELECT " SRV_SQLITE_COLUMNS),
        [SRV_SQLITE_COUNT] = "SELECT count(*)",
        [SRV_SQLITE_REMOVE] = "DELETE FROM records WHERE sequence IN (SELECT sequence",
    };
    add(draft, heads[verb]);
    add_conditions(draft, query);
    if (verb == SRV_SQLITE_COUNT)
        return;
    add(draft, query->newest_first ? " ORDER BY sequence DESC" : " ORDER BY sequence");
    add_number(draft, " LIMIT ?", query->limit);
    if (verb == SRV_SQLITE_REMOVE)
        add(draft, ")");
}

/* From those kept, or prepared in place of the one that was not used for longest. */
static int find_statement(struct srv_sqlite *sqlite, const char *text, sqlite3_stmt **statement)
{
    size_t at = 0;
    while (at < SRV_SQLITE_QUERIES && sqlite->queries[at] != NULL &&
           strcmp(sqlite3_sql(sqlite->queries[at]), text) != 0)
        at++;
    sqlite3_stmt *found = at < SRV_SQLITE_QUERIES ? sqlite->queries[at] : NULL;
    if (found == NULL) {
        int code = sqlite3_prepare_v3(sqlite->database, text, -1, SQLITE_PREPARE_PERSISTENT, &found, NULL);
        if (code != SQLITE_OK)
            return code;
        if (at == SRV_SQLITE_QUERIES)
            sqlite3_finalize(sqlite->queries[--at]);
    }
    memmove(&sqlite->queries[1], &sqlite->queries[0], at * sizeof sqlite->queries[0]);
    sqlite->queries[0] = found;
    *statement = found;
    return SQLITE_OK;
}

static int bind(sqlite3_stmt *statement, int at, const struct value *value)
{
    switch (value->type) {
    case TEXT:
        return sqlite3_bind_text(statement, at, value->text, -1, SQLITE_STATIC);
    case NUMBER:
        return sqlite3_bind_int64(statement, at, value->number);
    default:
        return sqlite3_bind_double(statement, at, value->real);
    }
}

enum efm_status srv_sqlite_query(struct srv_sqlite *sqlite, enum srv_sqlite_verb verb,
                                 const struct srv_query *query, sqlite3_stmt **statement,
                                 struct efm_error *error)
{
    struct draft draft = {.length = 0};
    compose(&draft, verb, query);
    int code = find_statement(sqlite, draft.text, statement);
    if (code != SQLITE_OK)
        return srv_sqlite_failed(sqlite->database, code, error);
    for (int i = 0; i < draft.count && code == SQLITE_OK; i++)
        code = bind(*statement, i + 1, &draft.values[i]);
    if (code == SQLITE_OK)
        return EFM_OK;
    srv_sqlite_done(*statement);
    return srv_sqlite_failed(sqlite->database, code, error);
}

void srv_sqlite_done(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}
