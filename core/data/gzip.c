// SPDX-License-Identifier: Apache-2.0
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <limits.h>
#include <zlib.h>

bool efm_gzip_probe(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == 8;
}

static voidpf take_memory(voidpf context, uInt count, uInt size)
{
    (void)context;
    return efm_allocate_array(count, size);
}

static void give_memory(voidpf context, voidpf block)
{
    (void)context;
    efm_free(block);
}

static enum efm_status fail_append(const struct efm_buffer *out, struct efm_error *error)
{
    if (out->status == EFM_E_LIMIT)
        return efm_error_set(error, EFM_E_LIMIT, "the gzip file unpacks to more than %zu bytes", out->limit);
    return efm_error_set(error, out->status, "no memory to unpack a gzip file");
}

/* One member, from its header to its checksum; what follows it is left in the stream. */
static enum efm_status unpack_member(struct efm_buffer *out, z_stream *stream, const uint8_t *end,
                                     struct efm_error *error)
{
    uint8_t chunk[16384];
    for (;;) {
        size_t left = (size_t)(end - stream->next_in);
        stream->avail_in = left > UINT_MAX ? UINT_MAX : (uInt)left;
        stream->next_out = chunk;
        stream->avail_out = sizeof chunk;
        int result = inflate(stream, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            return efm_error_set(error, EFM_E_MEMORY, "no memory to unpack a gzip file");
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return efm_error_set(error, EFM_E_FORMAT, "the gzip file is damaged");
        size_t made = sizeof chunk - stream->avail_out;
        if (efm_buffer_append(out, chunk, made) != EFM_OK)
            return fail_append(out, error);
        if (result == Z_STREAM_END)
            return EFM_OK;
        if (made == 0 && stream->next_in == end)
            return efm_error_set(error, EFM_E_FORMAT, "the gzip file is truncated");
    }
}

enum efm_status efm_gzip_unpack(struct efm_buffer *out, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    z_stream stream = {.zalloc = take_memory, .zfree = give_memory, .next_in = (z_const Bytef *)bytes};
    const uint8_t *end = bytes + size;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) /* the largest window; gzip, not zlib */
        return efm_error_set(error, EFM_E_MEMORY, "no memory to unpack a gzip file");
    enum efm_status status;
    for (;;) {
        status = unpack_member(out, &stream, end, error);
        if (status != EFM_OK || stream.next_in == end)
            break;
        if (!efm_gzip_probe(stream.next_in, (size_t)(end - stream.next_in))) {
            status = efm_error_set(error, EFM_E_FORMAT, "bytes that are not gzip follow the gzip file");
            break;
        }
        if (inflateReset(&stream) != Z_OK) {
            status = efm_error_set(error, EFM_E_INTERNAL, "the gzip reader could not start anew");
            break;
        }
    }
    inflateEnd(&stream);
    return status;
}
