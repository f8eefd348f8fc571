// SPDX-License-Identifier: Apache-2.0
/* A line with the Content-Type, then a form: every part lies inside of the body. */
#include "api/multipart.h"
#include "tests/fuzz/api_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct api_part parts[API_MULTIPART_MAX_PARTS];
    char type[256];
    struct api_problem problem = {0};
    size_t count;
    take_line(&data, &size, type, sizeof type);
    uint8_t *body = malloc(size + (size == 0));
    if (body == NULL)
        abort();
    memcpy(body, data, size);
    bool good = api_multipart_parse(type, body, size, parts, &count, &problem);
    for (size_t i = 0; good && i < count; i++)
        if (parts[i].data < body || parts[i].data > body + size ||
            parts[i].size > (size_t)(body + size - parts[i].data) || parts[i].name[0] == '\0')
            abort();
    check_verdict(good, &problem);
    free(body);
    return 0;
}
