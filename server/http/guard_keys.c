// SPDX-License-Identifier: Apache-2.0
#include "server/http/guard_keys.h"

#include "core/base/memory.h"
#include "core/base/sha256.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MOST = 4, KEY_LEAST = 16, KEY_MOST = 256, LINE_MOST = 512 };

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = year / 400, of_era = year - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

bool srv_day_end(const char *text, int64_t *seconds)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t parts[3] = {0};
    if (strlen(text) != 10 || text[4] != '-' || text[7] != '-')
        return false;
    for (size_t i = 0, part = 0; i < 10; i++) {
        if (i == 4 || i == 7) {
            part++;
            continue;
        }
        if (!isdigit((unsigned char)text[i]))
            return false;
        parts[part] = parts[part] * 10 + (text[i] - '0');
    }
    if (parts[0] < 1970 || parts[1] < 1 || parts[1] > 12 || parts[2] < 1 || parts[2] > lengths[parts[1] - 1])
        return false;
    const int64_t day = days_of(parts[0], parts[1], parts[2]);
    if (parts[1] == 2 && parts[2] == 29 && days_of(parts[0], 3, 1) == day)
        return false;
    *seconds = (day + 1) * 86400;
    return true;
}

static bool is_name(const char *text)
{
    const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length < SRV_KEY_NAME && text[length] == '\0';
}

static bool parse_scopes(struct srv_key *key, char *text)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        if (strcmp(word, "infer") == 0)
            key->infer = true;
        else if (strcmp(word, "admin") == 0)
            key->admin = true;
        else
            return false;
    }
    return key->infer || key->admin;
}

static bool parse_secret(struct srv_key *key, const char *text)
{
    static const char mark[] = "sha256:";
    const size_t length = strlen(text);
    if (strncmp(text, mark, sizeof mark - 1) == 0) {
        text += sizeof mark - 1;
        if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
            return false;
        memcpy(key->digest, text, 65);
        return true;
    }
    if (length < KEY_LEAST || length > KEY_MOST)
        return false;
    efm_sha256_hex(text, length, key->digest);
    return true;
}

static const char *parse_line(struct srv_key *key, char *line)
{
    char *words[WORDS_MOST + 1] = {0}, *rest = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL && count <= WORDS_MOST;
         word = strtok_r(NULL, " \t\r", &rest))
        words[count++] = word;
    if (count < 3 || count > WORDS_MOST)
        return "must be NAME SCOPES KEY and maybe a date";
    if (!is_name(words[0]))
        return "has a name of other characters than a-z A-Z 0-9 . _ - or more than 32";
    if (!parse_scopes(key, words[1]))
        return "has scopes other than infer, admin or infer,admin";
    if (!parse_secret(key, words[2]))
        return "has a key that is neither sha256: and 64 digits nor 16 to 256 characters";
    key->expires = INT64_MAX;
    if (count == 4 && !srv_day_end(words[3], &key->expires))
        return "has a date that is not YYYY-MM-DD";
    memcpy(key->name, words[0], strlen(words[0]) + 1);
    return NULL;
}

static bool is_taken(const struct srv_keys *keys, const struct srv_key *key)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i].name, key->name) == 0)
            return true;
    return false;
}

/* The next line without its end; NULL when there is none. */
static const char *cut_line(const char *text, const char *end, char out[LINE_MOST], bool *fits)
{
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    const size_t length = (size_t)((stop == NULL ? end : stop) - text);
    *fits = length < LINE_MOST && memchr(text, '\0', length) == NULL;
    if (*fits) {
        memcpy(out, text, length);
        out[length] = '\0';
        out[strcspn(out, "#")] = '\0';
    }
    return stop == NULL ? end : stop + 1;
}

enum efm_status srv_keys_parse(struct srv_keys *keys, const char *text, size_t size, struct efm_error *error)
{
    char line[LINE_MOST];
    const char *end = text + size;
    *keys = (struct srv_keys){.items = efm_allocate_array(SRV_KEYS_MOST, sizeof(struct srv_key))};
    if (keys->items == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the keys");
    const char *wrong = NULL;
    size_t number = 0;
    while (text < end && wrong == NULL) {
        struct srv_key key = {0};
        bool fits;
        text = cut_line(text, end, line, &fits);
        number++;
        if (!fits)
            wrong = "is longer than 511 bytes or holds a NUL";
        else if (line[strspn(line, " \t\r")] == '\0')
            continue;
        else
            wrong = parse_line(&key, line);
        if (wrong == NULL && is_taken(keys, &key))
            wrong = "has the name of an earlier line";
        if (wrong == NULL && keys->count == SRV_KEYS_MOST)
            wrong = "is one key too many (1024 at most)";
        if (wrong == NULL)
            keys->items[keys->count++] = key;
        explicit_bzero(&key, sizeof key);
    }
    explicit_bzero(line, sizeof line);
    if (wrong == NULL && keys->count == 0) {
        srv_keys_release(keys);
        return efm_error_set(error, EFM_E_FORMAT, "there is no key in the file of keys");
    }
    if (wrong == NULL)
        return EFM_OK;
    srv_keys_release(keys);
    return efm_error_set(error, EFM_E_FORMAT, "line %zu of the file of keys %s", number, wrong);
}

void srv_keys_release(struct srv_keys *keys)
{
    efm_free(keys->items);
    *keys = (struct srv_keys){0};
}

/* All 64 digits are looked at, whether they differ or not. */
static bool equal_digests(const char *a, const char *b)
{
    unsigned difference = 0;
    for (size_t i = 0; i < 64; i++)
        difference |= (unsigned)((unsigned char)a[i] ^ (unsigned char)b[i]);
    return difference == 0;
}

const struct srv_key *srv_keys_find(const struct srv_keys *keys, const char *token)
{
    char digest[65];
    const struct srv_key *found = NULL;
    efm_sha256_hex(token, strlen(token), digest);
    for (size_t i = 0; i < keys->count; i++) {
        const bool same = equal_digests(keys->items[i].digest, digest);
        found = same ? &keys->items[i] : found;
    }
    return found;
}
