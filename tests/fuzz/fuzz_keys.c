// SPDX-License-Identifier: Apache-2.0
/* Bytes as the file of API keys: whatever is taken has a name of its own, a scope and a digest, and a date is a day of the calendar. */
#include "server/http/guard_keys.h"

#include "core/base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail_unless(bool good)
{
    if (!good)
        abort();
}

static void check_key(const struct srv_keys *keys, size_t index)
{
    const struct srv_key *key = &keys->items[index];
    fail_unless(key->name[0] != '\0' && memchr(key->name, '\0', sizeof key->name) != NULL);
    fail_unless(key->infer || key->admin);
    fail_unless(strspn(key->digest, "0123456789abcdef") == 64 && key->digest[64] == '\0');
    fail_unless(key->expires == INT64_MAX || (key->expires > 0 && key->expires % 86400 == 0));
    for (size_t i = 0; i < index; i++)
        fail_unless(strcmp(keys->items[i].name, key->name) != 0);
}

/* Whichever key a text opens has its digest. */
static void check_find(const struct srv_keys *keys, const char *token)
{
    char digest[65];
    const struct srv_key *found = srv_keys_find(keys, token);
    efm_sha256_hex(token, strlen(token), digest);
    if (found != NULL)
        fail_unless(strcmp(found->digest, digest) == 0);
    for (size_t i = 0; found == NULL && i < keys->count; i++)
        fail_unless(strcmp(keys->items[i].digest, digest) != 0);
}

/* The second before the next day begins is of the day that was named. */
static void check_day(const char *text)
{
    int64_t end;
    if (!srv_day_end(text, &end))
        return;
    char again[16];
    struct tm day;
    const time_t last = (time_t)end - 1;
    fail_unless(end % 86400 == 0 && gmtime_r(&last, &day) != NULL);
    fail_unless(strftime(again, sizeof again, "%Y-%m-%d", &day) == 10 && strcmp(again, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct srv_keys keys;
    struct efm_error error = {0};
    const enum efm_status status = srv_keys_parse(&keys, (const char *)data, size, &error);
    fail_unless(status == error.status && (status == EFM_OK) == (keys.items != NULL));
    fail_unless(status == EFM_OK ? keys.count > 0 && keys.count <= SRV_KEYS_MOST : error.message[0] != '\0');
    for (size_t i = 0; i < keys.count; i++)
        check_key(&keys, i);
    char *text = malloc(size + 1), *rest = NULL;
    fail_unless(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *word = strtok_r(text, " \t\r\n", &rest); word != NULL;
         word = strtok_r(NULL, " \t\r\n", &rest)) {
        check_day(word);
        if (status == EFM_OK)
            check_find(&keys, word);
    }
    free(text);
    if (status == EFM_OK)
        srv_keys_release(&keys);
    return 0;
}
