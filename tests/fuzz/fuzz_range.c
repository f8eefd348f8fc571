// SPDX-License-Identifier: Apache-2.0
// The Range header of any bytes, for a file of any size: a part lies inside the file.
#include "server/http/range.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t file_size = 0, offset = 0, length = 0;
    if (size < sizeof file_size || size > 4096)
        return 0;
    memcpy(&file_size, data, sizeof file_size);
    char *header = malloc(size - sizeof file_size + 1);
    if (header == NULL)
        return 0;
    memcpy(header, data + sizeof file_size, size - sizeof file_size);
    header[size - sizeof file_size] = '\0';
    switch (srv_range_parse(header, file_size, &offset, &length)) {
    case SRV_RANGE_PART:
        if (length == 0 || offset >= file_size || length > file_size - offset)
            abort();
        break;
    case SRV_RANGE_WHOLE:
    case SRV_RANGE_NONE:
        break;
    }
    free(header);
    return 0;
}
