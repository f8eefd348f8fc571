// SPDX-License-Identifier: Apache-2.0
#include "server/http/coding.h"

#include "core/base/memory.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* ---- Accept-Encoding ---- */

enum { Q_UNIT = 1000, ABSENT = -1 };

static const char *skip_blank(const char *at)
{
    return at + strspn(at, " \t");
}

size_t srv_token_length(const char *text)
{
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) ||
           (text[length] != '\0' && strchr("!#$%&'*+-.^_`|~", text[length]) != NULL))
        length++;
    return length;
}

/* 0, 0.5, 1.000: at most three decimals, at most 1. In thousandths. */
static bool read_q(const char **at, int *q)
{
    const char *from = *at;
    if (*from != '0' && *from != '1')
        return false;
    *q = (*from++ - '0') * Q_UNIT;
    if (*from == '.') {
        from++;
        for (int unit = Q_UNIT / 10; unit > 0 && isdigit((unsigned char)*from); unit /= 10)
            *q += (*from++ - '0') * unit;
    }
    *at = from;
    return *q <= Q_UNIT;
}

/* One member: a coding, and maybe ;q=. Moves on to what follows it. */
static bool read_member(const char **at, const char **coding, size_t *length, int *q)
{
    *q = Q_UNIT;
    *coding = *at;
    *length = srv_token_length(*at);
    if (*length == 0)
        return false;
    *at = skip_blank(*at + *length);
    if (**at != ';')
        return true;
    *at = skip_blank(*at + 1);
    if (strncasecmp(*at, "q=", 2) != 0)
        return false;
    *at += 2;
    if (!read_q(at, q))
        return false;
    *at = skip_blank(*at);
    return true;
}

static bool is_coding(const char *coding, size_t length, const char *name)
{
    return length == strlen(name) && strncasecmp(coding, name, length) == 0;
}

bool srv_accepts_gzip(const char *header)
{
    int gzip = ABSENT, identity = ABSENT, any = ABSENT;
    const char *at = skip_blank(header);
    while (*at != '\0') {
        if (*at != ',') {
            const char *coding;
            size_t length;
            int q;
            if (!read_member(&at, &coding, &length, &q))
                return false;
            int *named = is_coding(coding, length, "gzip") || is_coding(coding, length, "x-gzip") ? &gzip
                         : is_coding(coding, length, "identity")                                  ? &identity
                         : is_coding(coding, length, "*")                                         ? &any
                                                                                                  : NULL;
            if (named != NULL && q > *named)
                *named = q;
        }
        if (*at != ',' && *at != '\0')
            return false;
        at = *at == ',' ? skip_blank(at + 1) : at;
    }
    const int wants = gzip != ABSENT ? gzip : any;
    return wants > 0 && wants >= identity;
}

bool srv_is_coded(const char *content_encoding)
{
    const char *at = content_encoding;
    while (*at != '\0') {
        at += strspn(at, " \t,");
        const size_t length = strcspn(at, " \t,");
        if (length > 0 && !is_coding(at, length, "identity"))
            return true;
        at += length;
    }
    return false;
}

/* ---- gzip ---- */

/* Level 1 takes JSON to about a quarter, half as much again as level 6 in a third of its time. A window of 32 KB
 * with 16 added: the gzip format. */
enum { LEVEL = 1, WINDOW_BITS = 15 + 16, MEMORY_LEVEL = 8, PIECE = 16 * 1024 };

static void *allocate_for_zlib(void *context, unsigned count, unsigned size)
{
    (void)context;
    return efm_allocate_array(count, size);
}

static void free_for_zlib(void *context, void *memory)
{
    (void)context;
    efm_free(memory);
}

/* False when the room of `out` is not enough, or there is no memory. */
static bool deflate_all(z_stream *stream, struct efm_buffer *out)
{
    uint8_t piece[PIECE];
    int result;
    do {
        stream->next_out = piece;
        stream->avail_out = sizeof piece;
        result = deflate(stream, Z_FINISH);
        if (efm_buffer_append(out, piece, sizeof piece - stream->avail_out) != EFM_OK)
            return false;
    } while (result == Z_OK);
    return result == Z_STREAM_END;
}

bool srv_gzip(struct efm_buffer *body)
{
    z_stream stream = {.zalloc = allocate_for_zlib, .zfree = free_for_zlib};
    if (body->status != EFM_OK || body->size == 0 || body->size > UINT_MAX)
        return false;
    struct efm_buffer out = efm_buffer_limited(body->size - body->size / 10);
    if (deflateInit2(&stream, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    stream.next_in = body->data;
    stream.avail_in = (unsigned)body->size;
    const bool good = deflate_all(&stream, &out);
    deflateEnd(&stream);
    if (!good) {
        efm_buffer_release(&out);
        return false;
    }
    efm_buffer_release(body);
    *body = out;
    return true;
}
