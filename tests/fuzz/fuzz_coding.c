// SPDX-License-Identifier: Apache-2.0
// An Accept-Encoding and a Content-Encoding header of any bytes: what takes gzip names it or takes all.
#include "server/http/coding.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    char *header = malloc(size + 1);
    if (header == NULL)
        return 0;
    memcpy(header, data, size);
    header[size] = '\0';
    if (srv_accepts_gzip(header) && strcasestr(header, "gzip") == NULL && strchr(header, '*') == NULL)
        abort();
    if (!srv_is_coded(header) && header[strspn(header, " \t,")] != '\0' &&
        strcasestr(header, "identity") == NULL)
        abort();
    free(header);
    return 0;
}
