// SPDX-License-Identifier: Apache-2.0
// What holds for every database: arguments are looked at here, so that an implementation meets only good ones.
#include "server/store/store.h"

#include "core/base/memory.h"

#include <math.h>
#include <string.h>

enum { MOST_CHANGES = 64, MOST_STATES = 16, DEFAULT_LIMIT = 1000, MOST_RECORDS = 10000 };

void srv_record_release(struct srv_record *record)
{
    efm_free(record->document);
    record->document = NULL;
    record->size = 0;
}

void srv_records_release(struct srv_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++)
        srv_record_release(&records[i]);
    efm_free(records);
}

void srv_store_close(struct srv_store *store)
{
    if (store != NULL)
        store->class->close(store);
}

double srv_store_now(struct srv_store *store)
{
    return store->class->now(store);
}

/* ---- arguments ---- */

/* Printable ASCII without spaces, ended within `size` bytes. */
static bool is_word(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return length < size;
}

static bool is_id(const char *text)
{
    return text[0] != '\0' && is_word(text, SRV_RECORD_ID);
}

static enum efm_status check_kind(enum srv_record_kind kind, struct efm_error *error)
{
    if ((unsigned)kind >= SRV_RECORD_KINDS)
        return efm_error_set(error, EFM_E_ARGUMENT, "%d is no kind of record", (int)kind);
    return EFM_OK;
}

static enum efm_status check_name(enum srv_record_kind kind, const char *id, struct efm_error *error)
{
    enum efm_status status = check_kind(kind, error);
    if (status == EFM_OK && !is_id(id))
        status = efm_error_set(error, EFM_E_ARGUMENT, "the id of a record is empty, too long, or has spaces");
    return status;
}

static enum efm_status check_record(const struct srv_record *record, struct efm_error *error)
{
    if (!is_word(record->parent, sizeof record->parent) || !is_word(record->group, sizeof record->group) ||
        !is_word(record->state, sizeof record->state) || !is_word(record->owner, sizeof record->owner))
        return efm_error_set(error, EFM_E_ARGUMENT, "a word of the record %.96s is too long or has spaces",
                             record->id);
    if (!isfinite(record->lease) || !isfinite(record->due) || !isfinite(record->expires))
        return efm_error_set(error, EFM_E_ARGUMENT, "a time of the record %.96s is not finite", record->id);
    if (record->document == NULL && record->size > 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "the record %.96s has no document", record->id);
    if (record->size > SRV_RECORD_DOCUMENT)
        return efm_error_set(error, EFM_E_LIMIT,
                             "the document of the record %.96s has %zu bytes, more than the %d allowed",
                             record->id, record->size, SRV_RECORD_DOCUMENT);
    return EFM_OK;
}

static enum efm_status check_change(const struct srv_change *change, struct efm_error *error)
{
    if (change->record == NULL || (unsigned)change->change > SRV_DELETE)
        return efm_error_set(error, EFM_E_ARGUMENT, "a change is of no known sort or has no record");
    enum efm_status status = check_name(change->record->kind, change->record->id, error);
    if (status == EFM_OK && change->change != SRV_DELETE)
        status = check_record(change->record, error);
    return status;
}

/* *checked is the query with its limit filled in. */
static enum efm_status check_query(const struct srv_query *query, struct srv_query *checked,
                                   struct efm_error *error)
{
    enum efm_status status = check_kind(query->kind, error);
    if (status != EFM_OK)
        return status;
    if ((query->parent != NULL && !is_word(query->parent, SRV_RECORD_ID)) ||
        (query->group != NULL && !is_word(query->group, SRV_RECORD_WORD)))
        return efm_error_set(error, EFM_E_ARGUMENT, "a word of a query is too long or has spaces");
    for (size_t i = 0; query->states != NULL && query->states[i] != NULL; i++)
        if (i == MOST_STATES || !is_word(query->states[i], SRV_RECORD_WORD))
            return efm_error_set(error, EFM_E_ARGUMENT, "a query has too many states, or one that is none");
    if (!isfinite(query->expired) || !isfinite(query->due))
        return efm_error_set(error, EFM_E_ARGUMENT, "a time of a query is not finite");
    if (query->limit > MOST_RECORDS)
        return efm_error_set(error, EFM_E_ARGUMENT, "a query asks for %zu records, more than %d",
                             query->limit, MOST_RECORDS);
    *checked = *query;
    if (checked->limit == 0)
        checked->limit = DEFAULT_LIMIT;
    return EFM_OK;
}

/* ---- doors ---- */

enum efm_status srv_store_commit(struct srv_store *store, const struct srv_change *changes, size_t count,
                                 size_t *failed, struct efm_error *error)
{
    size_t nowhere;
    if (failed == NULL)
        failed = &nowhere;
    *failed = SIZE_MAX;
    if (count > MOST_CHANGES)
        return efm_error_set(error, EFM_E_ARGUMENT, "a commit of %zu changes, more than the %d allowed",
                             count, MOST_CHANGES);
    for (size_t i = 0; i < count; i++) {
        enum efm_status status = check_change(&changes[i], error);
        if (status != EFM_OK) {
            *failed = i;
            return status;
        }
    }
    return count == 0 ? EFM_OK : store->class->commit(store, changes, count, failed, error);
}

enum efm_status srv_store_get(struct srv_store *store, enum srv_record_kind kind, const char *id,
                              struct srv_record *record, struct efm_error *error)
{
    *record = (struct srv_record){0};
    enum efm_status status = check_name(kind, id, error);
    return status != EFM_OK ? status : store->class->get(store, kind, id, record, error);
}

enum efm_status srv_store_list(struct srv_store *store, const struct srv_query *query,
                               struct srv_record **records, size_t *count, struct efm_error *error)
{
    struct srv_query checked;
    *records = NULL;
    *count = 0;
    enum efm_status status = check_query(query, &checked, error);
    return status != EFM_OK ? status : store->class->list(store, &checked, records, count, error);
}

enum efm_status srv_store_count(struct srv_store *store, const struct srv_query *query, size_t *count,
                                struct efm_error *error)
{
    struct srv_query checked;
    *count = 0;
    enum efm_status status = check_query(query, &checked, error);
    return status != EFM_OK ? status : store->class->count(store, &checked, count, error);
}

enum efm_status srv_store_delete(struct srv_store *store, const struct srv_query *query, size_t *count,
                                 struct efm_error *error)
{
    struct srv_query checked;
    size_t nowhere;
    if (count == NULL)
        count = &nowhere;
    *count = 0;
    enum efm_status status = check_query(query, &checked, error);
    return status != EFM_OK ? status : store->class->delete (store, &checked, count, error);
}

enum efm_status srv_store_claim(struct srv_store *store, const struct srv_claim *claim,
                                struct srv_record *record, struct efm_error *error)
{
    *record = (struct srv_record){0};
    enum efm_status status = check_kind(claim->kind, error);
    if (status != EFM_OK)
        return status;
    if (!is_word(claim->group, SRV_RECORD_WORD) || !is_word(claim->waiting, SRV_RECORD_WORD) ||
        !is_word(claim->active, SRV_RECORD_WORD) || claim->owner[0] == '\0' ||
        !is_word(claim->owner, SRV_RECORD_OWNER) || !isfinite(claim->lease))
        return efm_error_set(error, EFM_E_ARGUMENT, "a claim without an owner, or with a word that is none");
    return store->class->claim(store, claim, record, error);
}

enum efm_status srv_store_renew(struct srv_store *store, enum srv_record_kind kind, const char *id,
                                const char *owner, double seconds, struct efm_error *error)
{
    enum efm_status status = check_name(kind, id, error);
    if (status != EFM_OK)
        return status;
    if (owner[0] == '\0' || !is_word(owner, SRV_RECORD_OWNER) || !isfinite(seconds))
        return efm_error_set(error, EFM_E_ARGUMENT, "a lease without an owner or an end");
    return store->class->renew(store, kind, id, owner, seconds, error);
}
