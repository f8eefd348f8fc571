// SPDX-License-Identifier: Apache-2.0
#include "core/data/stream_check.h"

#include "core/base/memory.h"
#include "core/data/data_internal.h"
#include "core/data/stream_internal.h"

#include <string.h>

enum {
    START = EFM_TAR_BLOCK, /* any kind is known by then */
    MAGIC = 4,             /* IDX and zip are known by 4 bytes */
    LONGER_MAGIC = 6,      /* NPY by 6 */
    GZIP_START = 3,
    MAX_HELD = EFM_TAR_MAX_PAX + 64, /* and an NPY header is shorter */
    MAX_JSON = 1 << 20,
};

struct efm_stream_check {
    struct efm_stream_limits limits;
    struct efm_error failure; /* the first one */
    uint64_t fed;
    uint8_t start[GZIP_START]; /* of the file, until it is known whether it is gzip */
    bool started;
    struct efm_gunzip *gunzip; /* owned; NULL when it is not */
    struct efm_stream_content content;
};

enum efm_status efm_stream_hold(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                size_t *taken, struct efm_error *error)
{
    size_t missing = content->wanted - content->held.size;
    *taken = size < missing ? size : missing;
    if (efm_buffer_append(&content->held, bytes, *taken) != EFM_OK)
        return efm_error_set(error, content->held.status, "no memory to look at a file");
    return EFM_OK;
}

/* ---- files with a header that says how long they are ---- */

static enum efm_status promise(struct efm_stream_content *content, uint64_t count, uint64_t length,
                               struct efm_error *error)
{
    if (count > content->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "%llu samples are more than the %zu allowed",
                             (unsigned long long)count, content->max_count);
    if (length > content->max_size)
        return efm_error_set(error, EFM_E_LIMIT,
                             "the header promises a file of %llu bytes, more than the %llu allowed",
                             (unsigned long long)length, (unsigned long long)content->max_size);
    content->length = length;
    return EFM_OK;
}

static enum efm_status read_idx_header(struct efm_stream_content *content, struct efm_error *error)
{
    const uint8_t *bytes = content->held.data;
    size_t header, total;
    uint64_t sizes[4];
    enum efm_status status = efm_idx_header_size(bytes, &header, error);
    content->wanted = header;
    if (status != EFM_OK || content->held.size < header)
        return status;
    if (!efm_idx_sizes(bytes, sizes, &total) || !efm_size_add(total, header, &total))
        return efm_error_set(error, EFM_E_FORMAT, "the IDX header promises more bytes than any file has");
    if (total == header)
        return efm_error_set(error, EFM_E_FORMAT, "there are no samples in it");
    if (sizes[3] != 1 && sizes[3] != 3)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "images have 1 or 3 channels, not %llu",
                             (unsigned long long)sizes[3]);
    return promise(content, sizes[0], total, error);
}

static enum efm_status read_npy_header(struct efm_stream_content *content, struct efm_error *error)
{
    struct efm_npy_view view;
    size_t start, length, needed;
    enum efm_status status =
        efm_npy_find_header(content->held.data, content->held.size, &start, &length, error);
    if (status != EFM_OK)
        return status;
    content->wanted = start + length; /* two short fields, the length at most EFM_NPY_MAX_HEADER */
    if (content->held.size < content->wanted)
        return EFM_OK;
    status = efm_npy_parse_header(content->held.data, content->held.size, &view, &needed, error);
    if (status == EFM_OK)
        status = efm_npy_check_samples(&view, error);
    if (status != EFM_OK)
        return status;
    if (!efm_size_add(needed, start + length, &needed))
        return efm_error_set(error, EFM_E_FORMAT, "the NPY header promises more bytes than any file has");
    return promise(content, view.shape[0], needed, error);
}

static enum efm_status read_zip_start(struct efm_stream_content *content, struct efm_error *error)
{
    content->wanted = efm_zip_start_size(content->held.data, content->held.size);
    if (content->held.size < content->wanted)
        return EFM_OK;
    return efm_zip_check_start(content->held.data, content->held.size, error);
}

/* Holds the header until `read` has seen all of it; then only counts. */
static enum efm_status feed_headed(struct efm_stream_content *content, size_t first, const uint8_t *bytes,
                                   size_t size,
                                   enum efm_status (*read)(struct efm_stream_content *, struct efm_error *),
                                   struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    if (content->wanted == 0)
        content->wanted = first;
    while (size > 0 && !content->started && status == EFM_OK) {
        size_t taken;
        status = efm_stream_hold(content, bytes, size, &taken, error);
        bytes += taken;
        size -= taken;
        content->at += taken;
        if (status != EFM_OK || content->held.size < content->wanted)
            continue;
        status = read(content, error);
        content->started = content->held.size >= content->wanted;
    }
    if (status != EFM_OK)
        return status;
    content->at += size;
    if (!content->started || content->at <= content->length)
        return EFM_OK;
    content->at = content->length;
    return efm_error_set(error, EFM_E_FORMAT, "the file goes on where it ends by its header");
}

static enum efm_status finish_headed(struct efm_stream_content *content, struct efm_error *error)
{
    if (!content->started)
        return efm_error_set(error, EFM_E_FORMAT, "the file ends in its header");
    if (content->length != UINT64_MAX && content->at != content->length)
        return efm_error_set(error, EFM_E_FORMAT,
                             "the file ends before the %llu bytes that its header promises",
                             (unsigned long long)content->length);
    return EFM_OK;
}

static enum efm_status feed_idx(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    return feed_headed(content, 4, bytes, size, read_idx_header, error);
}

static enum efm_status feed_npy(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    return feed_headed(content, 12, bytes, size, read_npy_header, error);
}

static enum efm_status feed_zip(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    return feed_headed(content, 4, bytes, size, read_zip_start, error);
}

/* ---- toys ---- */

static bool is_blank(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == 0 || strchr(" \n\r\t", bytes[i]) == NULL)
            return false;
    return true;
}

static enum efm_status feed_toy(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    for (; size > 0 && !content->started; size--, content->at++) {
        if (*bytes != '{' && !is_blank(bytes, 1))
            return efm_error_set(error, EFM_E_FORMAT, "there is something else than JSON");
        content->started = *bytes++ == '{';
    }
    content->at += size;
    if (content->at <= MAX_JSON)
        return EFM_OK;
    content->at = MAX_JSON;
    return efm_error_set(error, EFM_E_LIMIT, "the JSON of a toy has at most %d bytes", MAX_JSON);
}

static enum efm_status finish_toy(struct efm_stream_content *content, struct efm_error *error)
{
    if (!content->started)
        return efm_error_set(error, EFM_E_FORMAT, "there is nothing but spaces in the file");
    return EFM_OK;
}

/* ---- what kind it is ---- */

/* In the order of the readers, which find what they like in the same bytes. */
static const struct {
    const struct efm_dataset_reader *reader;
    struct efm_stream_kind kind;
} kinds[] = {
    {&efm_npy_reader, {"npy", feed_npy, finish_headed}},
    {&efm_idx_reader, {"idx", feed_idx, finish_headed}},
    {&efm_zip_reader, {"zip", feed_zip, finish_headed}},
    {&efm_toy_reader, {"toy", feed_toy, finish_toy}},
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

/* NULL: the bytes are of no kind that is known, or not yet. */
static const struct efm_stream_kind *find_kind(const uint8_t *bytes, size_t size)
{
    const struct efm_dataset_reader *reader = efm_dataset_find_reader(bytes, size);
    if (reader == &efm_tar_reader)
        return &efm_stream_tar_kind;
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (kinds[i].reader == reader)
            return &kinds[i].kind;
    /* JSON may come after any number of spaces, and nothing else does */
    return size >= START && is_blank(bytes, size) ? &kinds[KIND_COUNT - 1].kind : NULL;
}

/* Hands what was held to the kind that it turned out to be. */
static enum efm_status begin_kind(struct efm_stream_content *content, const struct efm_stream_kind *kind,
                                  struct efm_error *error)
{
    uint8_t start[START];
    size_t size = content->held.size;
    memcpy(start, content->held.data, size);
    content->held.size = 0;
    content->wanted = 0;
    content->kind = kind;
    return kind->feed(content, start, size, error);
}

/* Looks at the first few bytes, at a few more, and at a whole block if these are of no kind. */
static enum efm_status feed_start(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                  size_t *taken, struct efm_error *error)
{
    enum efm_status status = efm_stream_hold(content, bytes, size, taken, error);
    if (status != EFM_OK || content->held.size < content->wanted)
        return status;
    if (efm_gzip_probe(content->held.data, content->held.size))
        return efm_error_set(error, EFM_E_UNSUPPORTED, "a gzip file inside a gzip file is not read");
    const struct efm_stream_kind *kind = find_kind(content->held.data, content->held.size);
    if (kind != NULL)
        return begin_kind(content, kind, error);
    if (content->wanted == START)
        return efm_dataset_fail_unknown(content->held.data, content->held.size, error);
    content->wanted = content->wanted == MAGIC ? LONGER_MAGIC : START;
    return EFM_OK;
}

static uint64_t position(const struct efm_stream_content *content)
{
    return content->kind != NULL ? content->at : content->held.size;
}

static enum efm_status feed_content(void *context, const uint8_t *bytes, size_t size, struct efm_error *error)
{
    struct efm_stream_content *content = context;
    enum efm_status status = EFM_OK;
    if (size > content->max_size - content->fed)
        return efm_error_set(error, EFM_E_LIMIT, "the file unpacks to more than %llu bytes",
                             (unsigned long long)content->max_size);
    content->fed += size;
    while (size > 0 && content->kind == NULL && status == EFM_OK) {
        size_t taken;
        status = feed_start(content, bytes, size, &taken, error);
        bytes += taken;
        size -= taken;
    }
    return status == EFM_OK && size > 0 ? content->kind->feed(content, bytes, size, error) : status;
}

static enum efm_status finish_content(struct efm_stream_content *content, struct efm_error *error)
{
    if (content->kind == NULL) {
        const struct efm_stream_kind *kind =
            content->held.size > 0 ? find_kind(content->held.data, content->held.size) : NULL;
        enum efm_status status =
            kind != NULL ? begin_kind(content, kind, error)
                         : efm_dataset_fail_unknown(content->held.data, content->held.size, error);
        if (status != EFM_OK)
            return status;
    }
    return content->kind->finish(content, error);
}

/* ---- the file ---- */

enum efm_status efm_stream_check_create(struct efm_stream_check **check,
                                        const struct efm_stream_limits *limits, struct efm_error *error)
{
    struct efm_stream_check *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to look at a file");
    made->limits = *limits;
    made->content = (struct efm_stream_content){
        .max_size = limits->max_bytes,
        .max_count = limits->max_count,
        .length = UINT64_MAX,
        .wanted = MAGIC,
        .held = efm_buffer_limited(MAX_HELD),
    };
    *check = made;
    return EFM_OK;
}

void efm_stream_check_destroy(struct efm_stream_check *check)
{
    if (check == NULL)
        return;
    efm_gunzip_destroy(check->gunzip);
    efm_buffer_release(&check->content.held);
    efm_free(check);
}

/* Packed or plain bytes to where they belong. */
static enum efm_status pass_on(struct efm_stream_check *check, const uint8_t *bytes, size_t size,
                               struct efm_error *error)
{
    return check->gunzip != NULL ? efm_gunzip_feed(check->gunzip, bytes, size, error)
                                 : feed_content(&check->content, bytes, size, error);
}

/* The first three bytes tell whether it is gzip; `have` of them are there. */
static enum efm_status start(struct efm_stream_check *check, size_t have, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    check->started = true;
    if (efm_gzip_probe(check->start, have)) {
        check->content.max_size = check->limits.max_decoded;
        status = efm_gunzip_create(&check->gunzip, feed_content, &check->content, error);
    }
    return status == EFM_OK ? pass_on(check, check->start, have, error) : status;
}

static enum efm_status feed(struct efm_stream_check *check, const uint8_t *bytes, size_t size,
                            struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    if (size > check->limits.max_bytes - check->fed)
        return efm_error_set(error, EFM_E_LIMIT, "the file is larger than the %llu bytes allowed",
                             (unsigned long long)check->limits.max_bytes);
    while (size > 0 && check->fed < GZIP_START && status == EFM_OK) {
        check->start[check->fed++] = *bytes++;
        size--;
        if (check->fed == GZIP_START)
            status = start(check, GZIP_START, error);
    }
    check->fed += size;
    return status == EFM_OK && size > 0 ? pass_on(check, bytes, size, error) : status;
}

static enum efm_status finish(struct efm_stream_check *check, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    if (check->fed == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the dataset is empty");
    if (!check->started)
        status = start(check, (size_t)check->fed, error);
    if (status == EFM_OK && check->gunzip != NULL)
        status = efm_gunzip_finish(check->gunzip, error);
    return status == EFM_OK ? finish_content(&check->content, error) : status;
}

/* Keeps the first failure with its place, and repeats it. */
static enum efm_status settle(struct efm_stream_check *check, const struct efm_error *reason,
                              struct efm_error *error)
{
    if (reason->status != EFM_OK)
        efm_error_set(&check->failure, reason->status, "at byte %llu%s: %s",
                      (unsigned long long)position(&check->content),
                      check->gunzip != NULL ? " of what it unpacks to" : "", reason->message);
    if (check->failure.status == EFM_OK)
        return EFM_OK;
    return efm_error_set(error, check->failure.status, "%s", check->failure.message);
}

enum efm_status efm_stream_check_feed(struct efm_stream_check *check, const uint8_t *bytes, size_t size,
                                      struct efm_error *error)
{
    struct efm_error reason = {0};
    if (check->failure.status == EFM_OK && size > 0)
        reason.status = feed(check, bytes, size, &reason);
    return settle(check, &reason, error);
}

enum efm_status efm_stream_check_finish(struct efm_stream_check *check, struct efm_error *error)
{
    struct efm_error reason = {0};
    if (check->failure.status == EFM_OK)
        reason.status = finish(check, &reason);
    return settle(check, &reason, error);
}

const char *efm_stream_check_format(const struct efm_stream_check *check)
{
    return check->content.kind != NULL ? check->content.kind->format : "";
}
