// SPDX-License-Identifier: Apache-2.0
#include "server/service_variable.h"

#include <ctype.h>
#include <string.h>

static bool ends_with(const char *name, size_t length, const char *end)
{
    const size_t size = strlen(end);
    return length >= size && memcmp(name + length - size, end, size) == 0;
}

/* "_PORT_8080_TCP", as it is or with more behind it */
static bool holds_port(const char *name, size_t length)
{
    static const char word[] = "_PORT_";
    const char *at = memmem(name, length, word, sizeof word - 1);
    while (at != NULL) {
        const char *number = at + sizeof word - 1, *end = name + length;
        const char *rest = number;
        while (rest < end && isdigit((unsigned char)*rest))
            rest++;
        if (rest > number && end - rest >= 4 &&
            (memcmp(rest, "_TCP", 4) == 0 || memcmp(rest, "_UDP", 4) == 0))
            return true;
        at = memmem(number, (size_t)(end - number), word, sizeof word - 1);
    }
    return false;
}

bool srv_is_service_variable(const char *entry, size_t length)
{
    const char *value = entry + length + 1;
    if (ends_with(entry, length, "_PORT") &&
        (strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0))
        return true;
    return ends_with(entry, length, "_SERVICE_HOST") || ends_with(entry, length, "_SERVICE_PORT") ||
           memmem(entry, length, "_SERVICE_PORT_", 14) != NULL || holds_port(entry, length);
}
