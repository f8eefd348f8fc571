// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/http/http_internal.h"
#include "server/http/range.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *header_of(const struct api_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    return "";
}

/* A range counts only for the version that the client has the rest of; dates are not compared, so they ask for all. */
static bool range_applies(const struct srv_exchange *exchange, const struct api_reply *reply)
{
    const char *condition = srv_exchange_header(exchange, "If-Range");
    const char *etag = header_of(reply, "ETag");
    if (reply->status != 200)
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
    srv_exchange_reply(exchange, &reply);
}

/* For a request without a connection the bytes are the body. */
static void read_whole(struct srv_exchange *exchange, struct api_reply *reply, int file, uint64_t size)
{
    char piece[16384];
    reply->body.limit = size < SIZE_MAX / 2 ? (size_t)size : 0;
    for (ssize_t got; (got = read(file, piece, sizeof piece)) != 0;)
        if (got < 0 || efm_buffer_append(&reply->body, piece, (size_t)got) != EFM_OK) {
            reply->body.status = EFM_E_IO;
            break;
        }
    close(file);
    srv_exchange_reply(exchange, reply);
}

void srv_exchange_reply_file(struct srv_exchange *exchange, struct api_reply *reply, int file, uint64_t size)
{
    uint64_t offset = 0, length = size;
    if (exchange->detached != NULL) {
        read_whole(exchange, reply, file, size);
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
    exchange->file = file;
    exchange->file_offset = offset;
    exchange->file_length = length;
    srv_exchange_reply(exchange, reply);
}
