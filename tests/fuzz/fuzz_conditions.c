// SPDX-License-Identifier: Apache-2.0
// Lists of entity tags and dates of any bytes: a tag that is found stands there, a date comes back as it is.
#include "server/http/conditions.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t now = 1700000000;
    if (size > 4096)
        return 0;
    char *header = malloc(size + 1);
    if (header == NULL)
        return 0;
    memcpy(header, data, size);
    header[size] = '\0';
    const enum srv_tags weak = srv_tags_find(header, "\"abc\"", SRV_TAGS_WEAK);
    const enum srv_tags strong = srv_tags_find(header, "\"abc\"", SRV_TAGS_STRONG);
    if (weak == SRV_TAGS_FOUND && strstr(header, "\"abc\"") == NULL && strstr(header, "\"abc-gzip\"") == NULL)
        abort();
    if ((strong == SRV_TAGS_FOUND && weak != SRV_TAGS_FOUND) ||
        (weak == SRV_TAGS_MALFORMED) != (strong == SRV_TAGS_MALFORMED))
        abort();
    if (srv_tags_find(header, NULL, SRV_TAGS_WEAK) == SRV_TAGS_FOUND)
        abort();
    int64_t seconds, again;
    if (srv_date_parse(header, now, &seconds)) {
        char text[SRV_DATE_SIZE];
        srv_date_format(seconds, text);
        if (!srv_date_parse(text, now, &again) || again != seconds)
            abort();
    }
    free(header);
    return 0;
}
