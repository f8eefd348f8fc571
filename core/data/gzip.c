// SPDX-License-Identifier: Apache-2.0
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <limits.h>
#include <zlib.h>

enum { CHUNK = 65536 };

struct efm_gunzip {
    z_stream stream;
    efm_gunzip_sink *sink;
    void *context;
    bool inside; /* a member has begun and not ended */
    uint8_t chunk[CHUNK];
};

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

static enum efm_status fail_memory(struct efm_error *error)
{
    return efm_error_set(error, EFM_E_MEMORY, "no memory to unpack a gzip file");
}

enum efm_status efm_gunzip_create(struct efm_gunzip **gunzip, efm_gunzip_sink *sink, void *context,
                                  struct efm_error *error)
{
    struct efm_gunzip *made = efm_allocate(sizeof *made);
    if (made == NULL)
        return fail_memory(error);
    made->stream = (z_stream){.zalloc = take_memory, .zfree = give_memory};
    made->sink = sink;
    made->context = context;
    made->inside = true;                                /* an empty file is a truncated one */
    if (inflateInit2(&made->stream, 15 + 16) != Z_OK) { /* the largest window; gzip, not zlib */
        efm_free(made);
        return fail_memory(error);
    }
    *gunzip = made;
    return EFM_OK;
}

void efm_gunzip_destroy(struct efm_gunzip *gunzip)
{
    if (gunzip == NULL)
        return;
    inflateEnd(&gunzip->stream);
    efm_free(gunzip);
}

/* Unpacks until the input is used up or the member ends. */
static enum efm_status unpack_member(struct efm_gunzip *gunzip, struct efm_error *error)
{
    z_stream *stream = &gunzip->stream;
    size_t made;
    do {
        stream->next_out = gunzip->chunk;
        stream->avail_out = CHUNK;
        int result = inflate(stream, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            return fail_memory(error);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return efm_error_set(error, EFM_E_FORMAT, "the gzip file is damaged");
        made = CHUNK - stream->avail_out;
        enum efm_status status =
            made == 0 ? EFM_OK : gunzip->sink(gunzip->context, gunzip->chunk, made, error);
        if (status != EFM_OK)
            return status;
        gunzip->inside = result != Z_STREAM_END;
    } while (gunzip->inside && (stream->avail_in > 0 || made == CHUNK));
    return EFM_OK;
}

/* Another member follows the last one, and its first two bytes may come in two pieces. */
static enum efm_status begin_member(struct efm_gunzip *gunzip, struct efm_error *error)
{
    if (gunzip->stream.next_in[0] != 0x1f)
        return efm_error_set(error, EFM_E_FORMAT, "bytes that are not gzip follow the gzip file");
    if (inflateReset(&gunzip->stream) != Z_OK)
        return efm_error_set(error, EFM_E_INTERNAL, "the gzip reader could not start anew");
    gunzip->inside = true;
    return EFM_OK;
}

enum efm_status efm_gunzip_feed(struct efm_gunzip *gunzip, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    const uint8_t *end = bytes + size;
    z_stream *stream = &gunzip->stream;
    stream->next_in = (z_const Bytef *)bytes;
    while (stream->next_in < end) {
        size_t left = (size_t)(end - stream->next_in);
        enum efm_status status = gunzip->inside ? EFM_OK : begin_member(gunzip, error);
        stream->avail_in = left > UINT_MAX ? UINT_MAX : (uInt)left;
        if (status == EFM_OK)
            status = unpack_member(gunzip, error);
        if (status != EFM_OK)
            return status;
    }
    return EFM_OK;
}

enum efm_status efm_gunzip_finish(struct efm_gunzip *gunzip, struct efm_error *error)
{
    if (gunzip->inside)
        return efm_error_set(error, EFM_E_FORMAT, "the gzip file is truncated");
    return EFM_OK;
}

struct unpacking {
    struct efm_spill *out;
    const struct efm_dataset_options *options;
    size_t since; /* bytes since the caller was asked */
};

static enum efm_status spill(void *context, const uint8_t *bytes, size_t size, struct efm_error *error)
{
    struct unpacking *unpacking = context;
    enum efm_status status = EFM_OK;
    unpacking->since += size;
    if (unpacking->since >= EFM_DATASET_STRIDE && unpacking->options != NULL) {
        unpacking->since = 0;
        status = efm_dataset_ask(unpacking->options, error);
    }
    return status == EFM_OK ? efm_spill_append(unpacking->out, bytes, size, error) : status;
}

enum efm_status efm_gzip_unpack(struct efm_spill *out, const uint8_t *bytes, size_t size,
                                const struct efm_dataset_options *options, struct efm_error *error)
{
    struct unpacking unpacking = {out, options, 0};
    struct efm_gunzip *gunzip = NULL;
    enum efm_status status = efm_gunzip_create(&gunzip, spill, &unpacking, error);
    if (status == EFM_OK)
        status = efm_gunzip_feed(gunzip, bytes, size, error);
    if (status == EFM_OK)
        status = efm_gunzip_finish(gunzip, error);
    efm_gunzip_destroy(gunzip);
    return status;
}
