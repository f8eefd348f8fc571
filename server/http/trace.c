// SPDX-License-Identifier: Apache-2.0
#include "server/http/trace.h"

#include <stddef.h>
#include <string.h>

/* Where the fields of "vv-<32>-<16>-ff" begin. */
enum { VERSION = 0, TRACE = 3, PARENT = 36, FLAGS = 53, LENGTH = SRV_TRACEPARENT_SIZE - 1 };

static bool is_hex(const char *text, size_t length)
{
    return strspn(text, "0123456789abcdef") >= length;
}

static bool is_zero(const char *text, size_t length)
{
    return strspn(text, "0") >= length;
}

bool srv_trace_parse(const char *header, char traceparent[SRV_TRACEPARENT_SIZE])
{
    traceparent[0] = '\0';
    if (strnlen(header, LENGTH) < LENGTH || header[TRACE - 1] != '-' || header[PARENT - 1] != '-' ||
        header[FLAGS - 1] != '-')
        return false;
    if (!is_hex(header + VERSION, 2) || !is_hex(header + TRACE, SRV_TRACE_ID_LENGTH) ||
        !is_hex(header + PARENT, 16) || !is_hex(header + FLAGS, 2))
        return false;
    if (is_zero(header + TRACE, SRV_TRACE_ID_LENGTH) || is_zero(header + PARENT, 16) ||
        strncmp(header, "ff", 2) == 0)
        return false;
    const bool later = strncmp(header, "00", 2) != 0;
    if (header[LENGTH] != '\0' && !(later && header[LENGTH] == '-'))
        return false;
    memcpy(traceparent, header, LENGTH);
    traceparent[LENGTH] = '\0';
    if (later) { // what its other flags mean is not known
        const bool sampled = strchr("13579bdf", header[FLAGS + 1]) != NULL;
        memcpy(traceparent, "00", 2);
        memcpy(traceparent + FLAGS, sampled ? "01" : "00", 2);
    }
    return true;
}

const char *srv_trace_id(const char *traceparent)
{
    return traceparent[0] == '\0' ? traceparent : traceparent + TRACE;
}
