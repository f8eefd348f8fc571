// SPDX-License-Identifier: Apache-2.0
/* Bytes as the headers Prefer, Idempotency-Key and Last-Event-ID. */
#include "api/job.h"
#include "tests/fuzz/api_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_prefer prefer;
    struct api_problem problem = {0};
    char key[API_KEY_SIZE];
    char *header = malloc(size + 1);
    if (header == NULL)
        abort();
    memcpy(header, data, size);
    header[size] = '\0';
    api_prefer_parse(&prefer, header);
    if (prefer.wait_given && !(prefer.wait >= 0 && prefer.wait <= 1e9))
        abort();
    bool good = api_idempotency_key(header, key, &problem);
    check_verdict(good, &problem);
    if ((good && header[0] != '\0') != (key[0] != '\0') || strlen(key) >= sizeof key)
        abort();
    for (const char *at = key; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            abort();
    if (api_last_event_id(header) > INT64_MAX)
        abort();
    free(header);
    return 0;
}
