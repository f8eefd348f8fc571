// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "core/data/data_internal.h"
#include "core/data/tar_entry.h"

#include <stdlib.h>
#include <string.h>

/* One file that will be a sample. */
struct member {
    char *name; /* owned */
    const uint8_t *bytes;
    size_t size;
};

/* An archive on the way through. */
struct archive {
    const uint8_t *bytes;
    size_t size, at;
    const struct efm_dataset_options *options;
    struct efm_tar_pending pending;
    struct efm_tar_entry entry;
    struct member *members; /* owned */
    size_t count, capacity;
};

static enum efm_status grow(struct archive *archive, struct efm_error *error)
{
    if (archive->count == archive->options->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "the tar holds more than %zu images",
                             archive->options->max_count);
    if (!efm_array_grow(&archive->members, archive->count, &archive->capacity, sizeof *archive->members))
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a tar");
    return EFM_OK;
}

static enum efm_status take_file(struct archive *archive, const uint8_t *data, struct efm_error *error)
{
    enum efm_status status = grow(archive, error);
    if (status != EFM_OK)
        return status;
    char *copy = efm_copy_string(efm_archive_plain_name(archive->entry.name));
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a tar");
    archive->members[archive->count++] = (struct member){copy, data, (size_t)archive->entry.size};
    return EFM_OK;
}

static enum efm_status fail_truncated(struct efm_error *error)
{
    return efm_error_set(error, EFM_E_FORMAT, "the tar is truncated");
}

/* Reads the entry at the current place and moves past it; *ended at the closing block of zeros. */
static enum efm_status step(struct archive *archive, bool *ended, struct efm_error *error)
{
    if (archive->size - archive->at < EFM_TAR_BLOCK)
        return fail_truncated(error);
    const uint8_t *header = archive->bytes + archive->at;
    *ended = efm_tar_is_end(header);
    if (*ended)
        return EFM_OK;
    const struct efm_tar_entry *entry = &archive->entry;
    struct efm_error reason = {0};
    enum efm_status status = efm_tar_read_header(&archive->entry, &archive->pending, header, &reason);
    if (status != EFM_OK)
        return efm_error_set(error, status, "at byte %zu: %s", archive->at, reason.message);
    archive->at += EFM_TAR_BLOCK;
    if (entry->size > archive->size - archive->at)
        return fail_truncated(error);
    const uint8_t *data = archive->bytes + archive->at;
    size_t size = (size_t)entry->size;
    size_t padded = (size + EFM_TAR_BLOCK - 1) / EFM_TAR_BLOCK * EFM_TAR_BLOCK;
    if (padded > archive->size - archive->at)
        return fail_truncated(error);
    archive->at += padded;
    switch (entry->kind) {
    case EFM_TAR_NAME:
        return efm_tar_take_name(&archive->pending, data, size, error);
    case EFM_TAR_PAX:
        return efm_tar_take_pax(&archive->pending, data, size, error);
    case EFM_TAR_FILE:
        return take_file(archive, data, error);
    case EFM_TAR_SKIPPED:
        break;
    }
    return EFM_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum efm_status sort_members(struct archive *archive, struct efm_error *error)
{
    if (archive->count == 0)
        return EFM_OK;
    qsort(archive->members, archive->count, sizeof *archive->members, compare_names);
    for (size_t i = 1; i < archive->count; i++) {
        const char *name = archive->members[i].name;
        if (strcmp(archive->members[i - 1].name, name) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the tar holds two files of the name %s",
                                 efm_show_name(name, strlen(name)).text);
    }
    return EFM_OK;
}

static enum efm_status fetch(void *context, size_t index, const char **name, const uint8_t **bytes,
                             size_t *size, struct efm_error *error)
{
    const struct archive *archive = context;
    (void)error;
    *name = archive->members[index].name;
    *bytes = archive->members[index].bytes;
    *size = archive->members[index].size;
    return EFM_OK;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    struct archive archive = {.bytes = bytes, .size = size, .options = options};
    enum efm_status status = EFM_OK;
    bool ended = false;
    for (size_t i = 0; status == EFM_OK && !ended; i++) {
        status = i % 1024 == 0 ? efm_dataset_ask(options, error) : EFM_OK;
        if (status == EFM_OK)
            status = step(&archive, &ended, error);
    }
    if (status == EFM_OK && (archive.pending.has_name || archive.pending.has_size))
        status = fail_truncated(error);
    if (status == EFM_OK)
        status = sort_members(&archive, error);
    if (status == EFM_OK) {
        struct efm_image_files files = {&archive, archive.count, fetch};
        status = efm_dataset_from_files(dataset, efm_tar_reader.format, &files, options, error);
    }
    for (size_t i = 0; i < archive.count; i++)
        efm_free(archive.members[i].name);
    efm_free(archive.members);
    return status;
}

const struct efm_dataset_reader efm_tar_reader = {"tar", efm_tar_probe, read_samples};
