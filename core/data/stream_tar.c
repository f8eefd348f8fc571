// SPDX-License-Identifier: Apache-2.0
#include "core/data/data_internal.h"
#include "core/data/stream_internal.h"

#include <string.h>

enum { IMAGE_START = 16 }; /* enough to tell an image from something else */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What comes next, and how much of it must be held before it can be looked at. */
static void expect(struct efm_stream_content *content, enum efm_stream_tar_part part, uint64_t wanted)
{
    content->tar.part = part;
    content->held.size = 0;
    content->wanted = (size_t)wanted;
}

/* Behind the data of an entry. */
static void expect_header(struct efm_stream_content *content)
{
    expect(content, EFM_STREAM_TAR_HEADER, EFM_TAR_BLOCK);
}

static void expect_rest(struct efm_stream_content *content)
{
    if (content->tar.left == 0)
        expect_header(content);
    else
        expect(content, EFM_STREAM_TAR_REST, 0);
}

static enum efm_status fail_image(const struct efm_stream_content *content, struct efm_error *error)
{
    const char *name = content->tar.entry.name;
    return efm_error_set(error, EFM_E_FORMAT, "%s: not a PNG, JPEG or WebP image",
                         efm_show_name(name, strlen(name)).text);
}

/* What to do with the data of the entry that was just read. */
static enum efm_status begin_data(struct efm_stream_content *content, struct efm_error *error)
{
    struct efm_stream_tar *tar = &content->tar;
    const uint64_t size = tar->entry.size;
    switch (tar->entry.kind) {
    case EFM_TAR_NAME:
        expect(content, EFM_STREAM_TAR_EXTENSION, smaller(size, EFM_TAR_MAX_NAME + 1));
        return EFM_OK;
    case EFM_TAR_PAX:
        if (size > EFM_TAR_MAX_PAX)
            return efm_error_set(error, EFM_E_LIMIT, "an extended header in the tar is longer than %d bytes",
                                 EFM_TAR_MAX_PAX);
        expect(content, EFM_STREAM_TAR_EXTENSION, size);
        return EFM_OK;
    case EFM_TAR_FILE:
        if (tar->count == content->max_count)
            return efm_error_set(error, EFM_E_LIMIT, "the tar holds more than %zu images",
                                 content->max_count);
        tar->count++;
        if (size == 0)
            return fail_image(content, error);
        expect(content, EFM_STREAM_TAR_IMAGE, smaller(size, IMAGE_START));
        return EFM_OK;
    case EFM_TAR_SKIPPED:
        break;
    }
    expect_rest(content);
    return EFM_OK;
}

static enum efm_status look_at_header(struct efm_stream_content *content, const uint8_t *header,
                                      struct efm_error *error)
{
    struct efm_stream_tar *tar = &content->tar;
    if (efm_tar_is_end(header)) {
        if (tar->pending.has_name || tar->pending.has_size)
            return efm_error_set(error, EFM_E_FORMAT, "the tar is truncated: it ends after an extension");
        if (tar->count == 0)
            return efm_error_set(error, EFM_E_FORMAT, "there are no images in it");
        expect(content, EFM_STREAM_TAR_ENDED, 0);
        return EFM_OK;
    }
    enum efm_status status = efm_tar_read_header(&tar->entry, &tar->pending, header, error);
    if (status != EFM_OK)
        return status;
    const uint64_t size = tar->entry.size, over = size % EFM_TAR_BLOCK;
    if (size > content->max_size - smaller(content->at, content->max_size) ||
        __builtin_add_overflow(size, over == 0 ? 0 : EFM_TAR_BLOCK - over, &tar->left))
        return efm_error_set(error, EFM_E_LIMIT,
                             "the tar entry has %llu bytes and ends past the %llu allowed",
                             (unsigned long long)size, (unsigned long long)content->max_size);
    return begin_data(content, error);
}

/* A part that is whole: `part` [content->wanted]. */
static enum efm_status look(struct efm_stream_content *content, const uint8_t *part, struct efm_error *error)
{
    struct efm_stream_tar *tar = &content->tar;
    enum efm_status status = EFM_OK;
    if (tar->part == EFM_STREAM_TAR_HEADER)
        return look_at_header(content, part, error);
    if (tar->part == EFM_STREAM_TAR_IMAGE) {
        if (efm_image_sniff(part, content->wanted) == EFM_IMAGE_UNKNOWN)
            return fail_image(content, error);
    } else if (tar->entry.kind == EFM_TAR_NAME) {
        status = efm_tar_take_name(&tar->pending, part, content->wanted, error);
    } else {
        status = efm_tar_take_pax(&tar->pending, part, content->wanted, error);
    }
    if (status == EFM_OK) {
        tar->left -= content->wanted;
        expect_rest(content);
    }
    return status;
}

/* Looks at the next part where it lies, or once it is held. content->at stays at its first byte until it was found good. */
static enum efm_status take_part(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                                 size_t *taken, struct efm_error *error)
{
    const size_t whole = content->wanted;
    enum efm_status status = EFM_OK;
    *taken = whole;
    if (content->held.size > 0 || size < whole) {
        status = efm_stream_hold(content, bytes, size, taken, error);
        if (status != EFM_OK || content->held.size < whole)
            return status;
        bytes = content->held.data;
    }
    status = look(content, bytes, error);
    if (status == EFM_OK)
        content->at += whole;
    return status;
}

static enum efm_status feed(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                            struct efm_error *error)
{
    struct efm_stream_tar *tar = &content->tar;
    enum efm_status status = EFM_OK;
    if (!content->started) {
        content->started = true;
        expect_header(content);
    }
    while (size > 0 && status == EFM_OK) {
        size_t taken = size;
        if (tar->part == EFM_STREAM_TAR_REST) {
            taken = (size_t)smaller(size, tar->left);
            content->at += taken;
            tar->left -= taken;
            expect_rest(content);
        } else if (tar->part == EFM_STREAM_TAR_ENDED) {
            content->at += taken; /* archivers fill up their last record */
        } else {
            status = take_part(content, bytes, size, &taken, error);
        }
        bytes += taken;
        size -= taken;
    }
    return status;
}

static enum efm_status finish(struct efm_stream_content *content, struct efm_error *error)
{
    if (content->tar.part == EFM_STREAM_TAR_ENDED)
        return EFM_OK;
    return efm_error_set(error, EFM_E_FORMAT, "the tar is truncated");
}

const struct efm_stream_kind efm_stream_tar_kind = {"tar", feed, finish};
