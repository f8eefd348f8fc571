// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/http/http_internal.h"
#include "server/http/range.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *header_of(const struct api_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    }
    return "";
}

/* A range counts for GET alone, and for the version only that the client has the rest of. Dates are not
 * compared: with one of them all is sent. */
static bool range_applies(const struct srv_exchange *exchange, const struct api_reply *reply)
{
    const char *condition = srv_exchange_header(exchange, "If-Range");
    const char *etag = header_of(reply, "ETag");
    if (reply->status != 200 || strcmp(exchange->method, "GET") != 0 ||
        srv_link_count(exchange->connection, "Range") != 1)
        return false;
    return condition[0] == '\0' || (etag[0] == '"' && strcmp(condition, etag) == 0);
}

static void refuse_range(struct srv_exchange *exchange, uint64_t size)
{
    struct api_problem problem = {0};
    struct api_reply reply;
    api_problem_set(&problem, API_P_RANGE, NULL, "the file has %llu bytes", (unsigned long long)size);
    srv_exchange_render_problem(exchange, &problem, &reply);
    api_reply_header(&reply, "Content-Range", "bytes */%llu", (unsigned long long)size);
    api_reply_header(&reply, "Accept-Ranges", "bytes");
    srv_exchange_reply(exchange, &reply);
}

/* The first `size` bytes of the file; EFM_E_IO when there are fewer. */
static enum efm_status read_all(int file, uint64_t size, struct efm_buffer *out)
{
    char piece[16384];
    if (size > SIZE_MAX / 2)
        return EFM_E_LIMIT;
    *out = efm_buffer_limited((size_t)size);
    if (efm_buffer_reserve(out, (size_t)size) != EFM_OK)
        return out->status;
    while (out->size < size) {
        const size_t left = (size_t)size - out->size;
        ssize_t got = pread(file, piece, left < sizeof piece ? left : sizeof piece, (off_t)out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return EFM_E_IO;
        efm_buffer_append(out, piece, (size_t)got);
    }
    return out->status;
}

/* For a request without a connection the bytes are the body. */
static void reply_in_memory(struct srv_exchange *exchange, struct api_reply *reply, int file, uint64_t size)
{
    const enum efm_status status = read_all(file, size, &reply->body);
    close(file);
    if (status == EFM_OK) {
        srv_exchange_reply(exchange, reply);
        return;
    }
    struct api_problem problem = {0};
    api_reply_release(reply);
    if (status == EFM_E_IO)
        api_problem_set(&problem, API_P_INTERNAL, NULL, "the file cannot be read");
    else
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "there is no memory for the answer now");
    srv_exchange_problem(exchange, &problem);
}

void srv_exchange_reply_file(struct srv_exchange *exchange, struct api_reply *reply, int file, uint64_t size)
{
    uint64_t offset = 0, length = size;
    efm_buffer_release(&reply->body);
    reply->body = efm_buffer_limited(0); // forgets a failure too
    if (exchange->detached != NULL) {
        reply_in_memory(exchange, reply, file, size);
        return;
    }
    struct api_problem problem = {0};
    if (!srv_exchange_is_wanted(exchange, reply, &problem)) {
        close(file);
        api_reply_release(reply);
        srv_exchange_problem(exchange, &problem);
        return;
    }
    if (srv_exchange_is_known(exchange, reply)) {
        close(file);
        srv_exchange_make_known(reply);
        srv_exchange_reply(exchange, reply);
        return;
    }
    if (range_applies(exchange, reply)) {
        switch (srv_range_parse(srv_exchange_header(exchange, "Range"), size, &offset, &length)) {
        case SRV_RANGE_NONE:
            close(file);
            api_reply_release(reply);
            refuse_range(exchange, size);
            return;
        case SRV_RANGE_PART:
            reply->status = 206;
            api_reply_header(reply, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)offset,
                             (unsigned long long)(offset + length - 1), (unsigned long long)size);
            break;
        case SRV_RANGE_WHOLE:
            break;
        }
    }
    api_reply_header(reply, "Accept-Ranges", "bytes");
    if (!srv_exchange_claim(exchange)) {
        close(file);
        api_reply_release(reply);
        return;
    }
    exchange->file = file;
    exchange->file_offset = offset;
    exchange->file_length = length;
    srv_exchange_send(exchange, reply);
}
