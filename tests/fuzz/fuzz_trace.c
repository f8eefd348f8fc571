// SPDX-License-Identifier: Apache-2.0
// A traceparent header of any bytes: what is taken is well-formed, and is taken again as it is.
#include "server/http/trace.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char first[SRV_TRACEPARENT_SIZE], second[SRV_TRACEPARENT_SIZE];
    if (size > 4096)
        return 0;
    char *header = malloc(size + 1);
    if (header == NULL)
        return 0;
    memcpy(header, data, size);
    header[size] = '\0';
    if (srv_trace_parse(header, first)) {
        if (strlen(first) != SRV_TRACEPARENT_SIZE - 1 || strncmp(first, "00-", 3) != 0 ||
            strspn(first, "0123456789abcdef-") != SRV_TRACEPARENT_SIZE - 1 ||
            strspn(srv_trace_id(first), "0") >= SRV_TRACE_ID_LENGTH)
            abort();
        if (!srv_trace_parse(first, second) || strcmp(first, second) != 0)
            abort();
    } else if (first[0] != '\0') {
        abort();
    }
    free(header);
    return 0;
}
