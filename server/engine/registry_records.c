// SPDX-License-Identifier: Apache-2.0
/* Records of models and datasets: written, read, held against conditions.
 *
 * A change reads the record, looks whether it is what the client expects, and commits for that version alone; another daemon that
 * was faster makes the commit fail, and it is tried anew. */
#include "api/json.h"
#include "core/base/memory.h"
#include "server/engine/registry_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 1000, TRIES = 16 };

/* ---- documents ---- */

static void append_text(struct efm_buffer *out, const char *member, const char *text)
{
    efm_buffer_format(out, ",\"%s\":", member);
    api_json_string(out, text);
}

static void render(const struct srv_item *item, struct efm_buffer *out)
{
    efm_buffer_format(out, "{\"bytes\":%llu,\"created\":%lld", (unsigned long long)item->bytes,
                      (long long)item->created);
    append_text(out, "blob", item->blob);
    append_text(out, "sha256", item->sha256);
    if (item->preview[0] != '\0')
        append_text(out, "preview", item->preview);
    if (item->query[0] != '\0')
        append_text(out, "query", item->query);
    if (item->trained_by[0] != '\0')
        append_text(out, "trained_by", item->trained_by);
    if (item->needs > 0)
        efm_buffer_format(out, ",\"needs\":%llu", (unsigned long long)item->needs);
    append_text(out, "about",
                item->about == NULL ? "{}" : item->about); /* as text: its numbers stay as they are */
    efm_buffer_append_string(out, "}");
    efm_buffer_append(out, "", 1);
}

/* A member that is text and fits; false when it is something else. An absent one is "". */
static bool copy_member(const json_t *root, const char *member, char *out, size_t size)
{
    const json_t *value = json_object_get(root, member);
    out[0] = '\0';
    if (value == NULL)
        return true;
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) >= size)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static uint64_t number(const json_t *root, const char *member)
{
    json_int_t value = json_integer_value(json_object_get(root, member));
    return value > 0 ? (uint64_t)value : 0;
}

/* All but "about". */
static bool read_members(struct srv_item *item, const json_t *root)
{
    item->bytes = number(root, "bytes");
    item->needs = number(root, "needs");
    item->created = (int64_t)number(root, "created");
    return copy_member(root, "blob", item->blob, sizeof item->blob) &&
           copy_member(root, "preview", item->preview, sizeof item->preview) &&
           copy_member(root, "sha256", item->sha256, sizeof item->sha256) &&
           copy_member(root, "query", item->query, sizeof item->query) &&
           copy_member(root, "trained_by", item->trained_by, sizeof item->trained_by) &&
           srv_blob_key_valid(item->blob) && strlen(item->sha256) == 64;
}

static enum efm_status parse(const struct srv_record *record, struct srv_item **item, struct efm_error *error)
{
    struct srv_item *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the record of %.64s", record->id);
    enum efm_status status = EFM_OK;
    json_error_t reason;
    json_t *root = json_loadb(record->document, record->size, 0, &reason);
    const char *about = json_string_value(json_object_get(root, "about"));
    made->about = about == NULL ? NULL : efm_copy_string(about);
    if ((root == NULL && json_error_code(&reason) == json_error_out_of_memory) ||
        (about != NULL && made->about == NULL))
        status = efm_error_set(error, EFM_E_MEMORY, "no memory for the record of %.64s", record->id);
    else if (!api_name_valid(record->id) || about == NULL || !read_members(made, root))
        status = efm_error_set(error, EFM_E_FORMAT, "the record of %.64s cannot be read", record->id);
    json_decref(root);
    if (status != EFM_OK) {
        srv_item_free(made);
        return status;
    }
    memcpy(made->name, record->id, strlen(record->id) + 1);
    made->version = record->version;
    made->state = SRV_MODEL_UNLOADED;
    *item = made;
    return EFM_OK;
}

enum efm_status srv_registry_fetch(struct srv_registry *registry, const struct srv_shelf *shelf,
                                   const char *name, struct srv_item **item, struct efm_error *error)
{
    struct srv_record record = {0};
    enum efm_status status = srv_store_get(registry->options.store, shelf->kind, name, &record, error);
    if (status == EFM_OK)
        status = parse(&record, item, error);
    srv_record_release(&record);
    return status;
}

/* ---- at the start ---- */

/* A record that no daemon could read is left where it is, and does not keep this one from starting. One for which there is
 * no memory does: who asks for it later would be told that there is nothing of this name. */
static enum efm_status take_in(struct srv_registry *registry, struct srv_shelf *shelf,
                               const struct srv_record *record, struct efm_error *failure)
{
    struct efm_error error = {0};
    struct srv_item *item = NULL;
    char reason[300];
    enum efm_status status = parse(record, &item, &error);
    if (status == EFM_OK && !srv_shelf_reserve(shelf))
        status = efm_error_set(&error, EFM_E_MEMORY, "no memory for one %s more", shelf->noun);
    if (status == EFM_OK) {
        srv_item_free(srv_shelf_put(shelf, item));
        return EFM_OK;
    }
    srv_item_free(item);
    if (status == EFM_E_MEMORY)
        return efm_error_set(failure, status, "%s", error.message);
    srv_log(registry->log, SRV_LOG_WARNING, "not_restored", "\"%s\":\"%.64s\",\"reason\":%s", shelf->noun,
            record->id, srv_log_quote(error.message, reason, sizeof reason));
    return EFM_OK;
}

enum efm_status srv_registry_read_records(struct srv_registry *registry, struct srv_shelf *shelf,
                                          struct efm_error *error)
{
    struct srv_query query = {.kind = shelf->kind, .limit = PAGE};
    for (;;) {
        struct srv_record *records = NULL;
        size_t count = 0;
        enum efm_status status = srv_store_list(registry->options.store, &query, &records, &count, error);
        if (status != EFM_OK)
            return status;
        for (size_t i = 0; i < count && status == EFM_OK; i++)
            status = take_in(registry, shelf, &records[i], error);
        if (count > 0)
            query.after = records[count - 1].sequence;
        srv_records_release(records, count);
        if (status != EFM_OK || count < PAGE)
            return status;
    }
}

/* The name in "models/NAME/...": its blobs stay as long as a record of this name cannot be read. */
static bool is_orphan(struct srv_registry *registry, const struct srv_shelf *shelf, const char *key)
{
    char name[SRV_BLOB_KEY];
    snprintf(name, sizeof name, "%s", key + strlen(shelf->folder));
    name[strcspn(name, "/")] = '\0';
    const struct srv_item *item = srv_shelf_find(shelf, name);
    if (item != NULL)
        return strcmp(item->blob, key) != 0 && strcmp(item->preview, key) != 0;
    struct srv_record record = {0};
    enum efm_status status = srv_store_get(registry->options.store, shelf->kind, name, &record, NULL);
    srv_record_release(&record);
    return status == EFM_E_NOT_FOUND;
}

enum efm_status srv_registry_remove_orphans(struct srv_registry *registry, const struct srv_shelf *shelf,
                                            struct efm_error *error)
{
    struct srv_blob_facts *facts = NULL;
    size_t count = 0;
    enum efm_status status = srv_blobs_list(registry->options.blobs, shelf->folder, &facts, &count, error);
    const double old = srv_store_now(registry->options.store) - registry->options.orphan_seconds;
    for (size_t i = 0; i < count && status == EFM_OK; i++)
        if ((registry->options.orphan_seconds <= 0 || facts[i].modified <= old) &&
            is_orphan(registry, shelf, facts[i].key)) {
            srv_log(registry->log, SRV_LOG_INFO, "cut_off_removed", "\"key\":\"%s\"", facts[i].key);
            srv_registry_remove_blob(registry, facts[i].key);
        }
    efm_free(facts);
    return status;
}

/* ---- conditions ---- */

static bool as_expected(const struct srv_shelf *shelf, const char *name, const struct srv_item *present,
                        const char *expected, struct api_problem *problem)
{
    if (expected == NULL || (present == NULL ? expected[0] == '\0' : strcmp(present->sha256, expected) == 0))
        return true;
    if (expected[0] == '\0')
        return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL, "there is a %s named %.64s already",
                               shelf->noun, name);
    return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL,
                           "the %s named %.64s is not as the request expects it", shelf->noun, name);
}

bool srv_registry_check_expected(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                                 const char *expected, struct api_problem *problem)
{
    pthread_mutex_lock(&registry->lock);
    const struct srv_item *present = srv_shelf_find(shelf, name);
    bool good = as_expected(shelf, name, present, expected, problem);
    if (good && present == NULL && shelf->count >= shelf->most)
        good =
            api_problem_set(problem, API_P_CONFLICT, NULL,
                            "there are %zu %ss already, and no more are allowed", shelf->count, shelf->noun);
    pthread_mutex_unlock(&registry->lock);
    return good;
}

/* ---- changes, with shelf->changes held ---- */

/* What is stored under the name into *present, NULL for nothing; false with a problem. */
static bool look_up(struct srv_registry *registry, const struct srv_shelf *shelf, const char *name,
                    struct srv_item **present, struct api_problem *problem)
{
    struct efm_error error = {0};
    *present = NULL;
    enum efm_status status = srv_registry_fetch(registry, shelf, name, present, &error);
    return status == EFM_OK || status == EFM_E_NOT_FOUND ||
           srv_registry_store_failed(registry, &error, problem);
}

/* Somebody else was faster: to be tried again. */
static bool lost_race(enum efm_status status)
{
    return status == EFM_E_EXISTS || status == EFM_E_NOT_FOUND || status == EFM_E_ARGUMENT;
}

static enum efm_status write_record(struct srv_registry *registry, const struct srv_shelf *shelf,
                                    struct srv_item *item, const struct srv_item *present,
                                    struct efm_error *error)
{
    struct efm_buffer document = efm_buffer_limited(SRV_RECORD_DOCUMENT);
    render(item, &document);
    if (document.status != EFM_OK) {
        enum efm_status status = document.status;
        efm_buffer_release(&document);
        return efm_error_set(error, status, "the record of %.64s cannot be made", item->name);
    }
    struct srv_record record = {
        .kind = shelf->kind, .document = (char *)document.data, .size = document.size - 1};
    snprintf(record.id, sizeof record.id, "%s", item->name);
    const struct srv_change change = {present == NULL ? SRV_INSERT : SRV_UPDATE, &record,
                                      present == NULL ? 0 : present->version};
    enum efm_status status = srv_store_commit(registry->options.store, &change, 1, NULL, error);
    item->version = record.version;
    efm_buffer_release(&document);
    return status;
}

/* The item is the store's now: onto the shelf with it, where there is room already. */
static void install(struct srv_registry *registry, struct srv_shelf *shelf, struct srv_item *item)
{
    pthread_mutex_lock(&registry->lock);
    struct srv_item *old = srv_shelf_put(shelf, item);
    struct efm_model *model = old == NULL ? NULL : srv_item_detach(registry, old, "replaced");
    item->used = ++registry->clock;
    if (item->model != NULL) {
        srv_metrics_set(registry->metrics, SRV_M_MODEL_LOADED, 1, "model=\"%s\"", item->name);
        srv_metrics_set(registry->metrics, SRV_M_MODEL_BYTES, (double)item->memory, "model=\"%s\"",
                        item->name);
    }
    pthread_cond_broadcast(&registry->loaded); /* who waits for the old one finds the new one */
    pthread_mutex_unlock(&registry->lock);
    efm_model_unref(model);
    srv_item_free(old);
    if (shelf == &registry->datasets)
        srv_registry_show_datasets(registry);
}

static void remove_blobs(struct srv_registry *registry, const struct srv_item *item)
{
    srv_registry_remove_blob(registry, item->blob);
    srv_registry_remove_blob(registry, item->preview);
}

static bool reserve(struct srv_registry *registry, struct srv_shelf *shelf, struct api_problem *problem)
{
    pthread_mutex_lock(&registry->lock);
    bool good = srv_shelf_reserve(shelf);
    pthread_mutex_unlock(&registry->lock);
    return good || api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for one %s more", shelf->noun);
}

/* A commit that failed may have happened all the same. When nobody can say, the new blobs stay, for the record may name them; the next
 * start removes those that it does not. */
static enum efm_status settle_doubt(struct srv_registry *registry, const struct srv_shelf *shelf,
                                    struct srv_item *item, const struct efm_error *failure,
                                    struct api_problem *problem)
{
    struct srv_item *stored = NULL;
    enum efm_status status = srv_registry_fetch(registry, shelf, item->name, &stored, NULL);
    const bool happened = status == EFM_OK && strcmp(stored->blob, item->blob) == 0;
    if (happened)
        item->version = stored->version;
    else if (status != EFM_OK && status != EFM_E_NOT_FOUND)
        item->blob[0] = item->preview[0] = '\0';
    srv_item_free(stored);
    if (happened)
        return EFM_OK;
    srv_registry_store_failed(registry, failure, problem);
    return EFM_E_INTERNAL;
}

/* One attempt; EFM_E_... of a lost race asks for another. */
static enum efm_status try_commit(struct srv_registry *registry, struct srv_shelf *shelf,
                                  struct srv_item *item, struct srv_put *put, struct srv_item **present,
                                  struct api_problem *problem)
{
    struct efm_error error = {0};
    if (!look_up(registry, shelf, item->name, present, problem) ||
        !as_expected(shelf, item->name, *present, put->expected, problem))
        return EFM_E_INTERNAL;
    if (*present == NULL && !srv_registry_check_expected(registry, shelf, item->name, NULL, problem))
        return EFM_E_INTERNAL;
    enum efm_status status = write_record(registry, shelf, item, *present, &error);
    if (status == EFM_OK || lost_race(status))
        return status;
    return settle_doubt(registry, shelf, item, &error, problem);
}

bool srv_registry_commit(struct srv_registry *registry, struct srv_shelf *shelf, struct srv_item *item,
                         struct srv_put *put, struct api_problem *problem)
{
    struct srv_item *present = NULL;
    enum efm_status status = EFM_E_EXISTS;
    pthread_mutex_lock(&shelf->changes);
    bool good = reserve(registry, shelf, problem);
    for (int i = 0; i < TRIES && good && lost_race(status); i++) {
        srv_item_free(present);
        present = NULL;
        status = try_commit(registry, shelf, item, put, &present, problem);
    }
    good = good && status == EFM_OK;
    if (good) {
        put->replaced = present != NULL;
        put->created = item->created;
        install(registry, shelf, item);
    }
    pthread_mutex_unlock(&shelf->changes);
    if (good && present != NULL)
        remove_blobs(registry, present);
    srv_item_free(present);
    return good ||
           api_problem_set(problem, API_P_CONFLICT, NULL, "others keep changing this %s", shelf->noun);
}

static enum efm_status try_delete(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                                  const char *expected, struct srv_item **present,
                                  struct api_problem *problem)
{
    struct efm_error error = {0};
    if (!look_up(registry, shelf, name, present, problem))
        return EFM_E_INTERNAL;
    if (*present == NULL) {
        srv_registry_unknown(shelf, name, problem);
        return EFM_E_INTERNAL;
    }
    if (!as_expected(shelf, name, *present, expected, problem))
        return EFM_E_INTERNAL;
    struct srv_record record = {.kind = shelf->kind};
    snprintf(record.id, sizeof record.id, "%s", name);
    const struct srv_change change = {SRV_DELETE, &record, (*present)->version};
    enum efm_status status = srv_store_commit(registry->options.store, &change, 1, NULL, &error);
    if (status != EFM_OK && !lost_race(status)) {
        srv_registry_store_failed(registry, &error, problem);
        return EFM_E_INTERNAL;
    }
    return status;
}

static void uninstall(struct srv_registry *registry, struct srv_shelf *shelf, const char *name)
{
    struct efm_model *model = NULL;
    pthread_mutex_lock(&registry->lock);
    struct srv_item *item = srv_shelf_take(shelf, name);
    if (item != NULL)
        model = srv_item_detach(registry, item, "deleted");
    pthread_cond_broadcast(&registry->loaded);
    pthread_mutex_unlock(&registry->lock);
    efm_model_unref(model);
    srv_item_free(item);
    if (shelf == &registry->datasets)
        srv_registry_show_datasets(registry);
}

bool srv_registry_delete(struct srv_registry *registry, struct srv_shelf *shelf, const char *name,
                         const char *expected, struct api_problem *problem)
{
    struct srv_item *present = NULL;
    enum efm_status status = EFM_E_EXISTS;
    if (!api_name_valid(name))
        return srv_registry_unknown(shelf, name, problem);
    if (!srv_registry_await_adoption(registry, problem))
        return false;
    pthread_mutex_lock(&shelf->changes);
    for (int i = 0; i < TRIES && lost_race(status); i++) {
        srv_item_free(present);
        present = NULL;
        status = try_delete(registry, shelf, name, expected, &present, problem);
    }
    /* also when another daemon has deleted it */
    if (status == EFM_OK || problem->code == shelf->unknown)
        uninstall(registry, shelf, name);
    pthread_mutex_unlock(&shelf->changes);
    if (status == EFM_OK)
        remove_blobs(registry, present);
    srv_item_free(present);
    return status == EFM_OK ||
           api_problem_set(problem, API_P_CONFLICT, NULL, "others keep changing this %s", shelf->noun);
}
