// SPDX-License-Identifier: Apache-2.0
// What holds for every store of blobs: keys are looked at here, so that an implementation meets only good ones.
#include "server/store/blobs.h"

#include "core/base/memory.h"

#include <string.h>

static bool is_key_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* `length` bytes of `key` are parts joined by '/'. */
static bool are_parts(const char *key, size_t length)
{
    if (length == 0 || length >= SRV_BLOB_KEY || key[length - 1] == '/')
        return false;
    for (size_t i = 0; i < length; i++) {
        bool begins = i == 0 || key[i - 1] == '/';
        if (begins ? key[i] == '.' || key[i] == '/' : false)
            return false;
        if (key[i] != '/' && !is_key_byte(key[i]))
            return false;
    }
    return true;
}

bool srv_blob_key_valid(const char *key)
{
    return are_parts(key, strnlen(key, SRV_BLOB_KEY));
}

static enum efm_status check_key(const char *key, struct efm_error *error)
{
    if (!srv_blob_key_valid(key))
        return efm_error_set(error, EFM_E_ARGUMENT, "\"%.100s\" is no key of a blob", key);
    return EFM_OK;
}

static enum efm_status check_prefix(const char *prefix, struct efm_error *error)
{
    size_t length = strnlen(prefix, SRV_BLOB_KEY + 1);
    if (length > 0 && (prefix[length - 1] != '/' || !are_parts(prefix, length - 1)))
        return efm_error_set(error, EFM_E_ARGUMENT, "\"%.100s\" is no folder of blobs", prefix);
    return EFM_OK;
}

void srv_blobs_close(struct srv_blobs *blobs)
{
    if (blobs != NULL)
        blobs->class->close(blobs);
}

/* ---- writing ---- */

enum efm_status srv_blobs_begin(struct srv_blobs *blobs, const char *key, struct srv_blob_writer **writer,
                                struct efm_error *error)
{
    *writer = NULL;
    enum efm_status status = check_key(key, error);
    if (status == EFM_OK)
        status = blobs->class->begin(blobs, key, writer, error);
    if (status == EFM_OK) {
        (*writer)->blobs = blobs;
        (*writer)->written = 0;
        (*writer)->failed = false;
    }
    return status;
}

enum efm_status srv_blob_append(struct srv_blob_writer *writer, const void *bytes, size_t size,
                                struct efm_error *error)
{
    if (writer->failed)
        return efm_error_set(error, EFM_E_ARGUMENT, "an earlier write of this blob has failed");
    if (size == 0)
        return EFM_OK;
    enum efm_status status = writer->blobs->class->append(writer, bytes, size, error);
    if (status == EFM_OK)
        writer->written += size;
    else
        writer->failed = true;
    return status;
}

uint64_t srv_blob_written(const struct srv_blob_writer *writer)
{
    return writer->written;
}

enum efm_status srv_blob_commit(struct srv_blob_writer *writer, struct efm_error *error)
{
    if (!writer->failed)
        return writer->blobs->class->commit(writer, error);
    srv_blob_abort(writer); /* a part of it would look like the whole */
    return efm_error_set(error, EFM_E_ARGUMENT, "an earlier write of this blob has failed");
}

void srv_blob_abort(struct srv_blob_writer *writer)
{
    if (writer != NULL)
        writer->blobs->class->abort(writer);
}

enum efm_status srv_blobs_put(struct srv_blobs *blobs, const char *key, const void *bytes, size_t size,
                              struct efm_error *error)
{
    struct srv_blob_writer *writer;
    enum efm_status status = srv_blobs_begin(blobs, key, &writer, error);
    if (status != EFM_OK)
        return status;
    status = srv_blob_append(writer, bytes, size, error);
    if (status == EFM_OK)
        return srv_blob_commit(writer, error);
    srv_blob_abort(writer);
    return status;
}

enum efm_status srv_blobs_copy(struct srv_blobs *blobs, const char *from, const char *to,
                               struct efm_error *error)
{
    enum efm_status status = check_key(from, error);
    if (status == EFM_OK)
        status = check_key(to, error);
    return status != EFM_OK ? status : blobs->class->copy(blobs, from, to, error);
}

/* ---- reading ---- */

enum efm_status srv_blobs_open(struct srv_blobs *blobs, const char *key, struct srv_blob **blob,
                               struct efm_error *error)
{
    *blob = NULL;
    enum efm_status status = check_key(key, error);
    return status != EFM_OK ? status : blobs->class->open(blobs, key, blob, error);
}

uint64_t srv_blob_size(const struct srv_blob *blob)
{
    return blob->size;
}

const uint8_t *srv_blob_map(struct srv_blob *blob, struct efm_error *error)
{
    static const uint8_t nothing[1];
    return blob->size == 0 ? nothing : blob->blobs->class->map(blob, error);
}

int srv_blob_descriptor(struct srv_blob *blob)
{
    return blob->blobs->class->descriptor(blob);
}

void srv_blob_close(struct srv_blob *blob)
{
    if (blob != NULL)
        blob->blobs->class->close_blob(blob);
}

/* ---- many ---- */

enum efm_status srv_blobs_remove(struct srv_blobs *blobs, const char *key, struct efm_error *error)
{
    enum efm_status status = check_key(key, error);
    return status != EFM_OK ? status : blobs->class->remove(blobs, key, error);
}

enum efm_status srv_blobs_list(struct srv_blobs *blobs, const char *prefix, struct srv_blob_facts **facts,
                               size_t *count, struct efm_error *error)
{
    *facts = NULL;
    *count = 0;
    enum efm_status status = check_prefix(prefix, error);
    return status != EFM_OK ? status : blobs->class->list(blobs, prefix, facts, count, error);
}

enum efm_status srv_blobs_remove_all(struct srv_blobs *blobs, const char *prefix, struct efm_error *error)
{
    struct srv_blob_facts *facts;
    size_t count;
    enum efm_status status = srv_blobs_list(blobs, prefix, &facts, &count, error);
    if (status != EFM_OK)
        return status;
    for (size_t i = 0; i < count; i++) { /* what can go, goes, though one cannot */
        enum efm_status removed = srv_blobs_remove(blobs, facts[i].key, error);
        status = status == EFM_OK ? removed : status;
    }
    efm_free(facts);
    return status;
}
