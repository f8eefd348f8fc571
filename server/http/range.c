// SPDX-License-Identifier: Apache-2.0
#include "server/http/range.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

/* Reads digits; false when there are none. What is too large is as good as the largest number. */
static bool read_number(const char **text, uint64_t *value)
{
    const char *at = *text;
    *value = 0;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
            *value = UINT64_MAX;
    }
    const bool any = at != *text;
    *text = at;
    return any;
}

static enum srv_range last_bytes(uint64_t count, uint64_t size, uint64_t *offset, uint64_t *length)
{
    if (count == 0)
        return SRV_RANGE_NONE;
    if (size == 0) // the end of nothing is there, and cannot be written as a part
        return SRV_RANGE_WHOLE;
    *length = count < size ? count : size;
    *offset = size - *length;
    return SRV_RANGE_PART;
}

enum srv_range srv_range_parse(const char *header, uint64_t size, uint64_t *offset, uint64_t *length)
{
    uint64_t first = 0, last = UINT64_MAX;
    if (strncasecmp(header, "bytes=", 6) != 0)
        return SRV_RANGE_WHOLE;
    const char *text = header + 6;
    const bool has_first = read_number(&text, &first);
    if (*text != '-')
        return SRV_RANGE_WHOLE;
    text++;
    const bool has_last = read_number(&text, &last);
    if (*text != '\0' || (!has_first && !has_last) || (has_first && has_last && last < first))
        return SRV_RANGE_WHOLE;
    if (!has_first)
        return last_bytes(last, size, offset, length);
    if (first >= size)
        return SRV_RANGE_NONE;
    if (!has_last || last > size - 1)
        last = size - 1;
    *offset = first;
    *length = last - first + 1;
    return SRV_RANGE_PART;
}
