// SPDX-License-Identifier: Apache-2.0
/* The plates of a training that the daemon runs: a dataset that it keeps, or a URL that it goes to. */
#include "api/job.h"
#include "api/json.h"
#include "api/train_internal.h"

#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool fail_memory(struct api_problem *problem)
{
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the spec");
}

/* ---- URLs ---- */

/* After "http://" or "https://"; NULL when it begins otherwise. */
static const char *after_scheme(const char *url)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strncasecmp(url, schemes[i], strlen(schemes[i])) == 0)
            return url + strlen(schemes[i]);
    return NULL;
}

const char *api_train_url_fault(const char *url)
{
    const char *authority = after_scheme(url);
    if (authority == NULL)
        return "must be an http or https URL";
    size_t length = strnlen(url, API_JOB_URL_SIZE), host = strcspn(authority, "/?#");
    if (length == API_JOB_URL_SIZE)
        return "must be a URL of less than 1024 bytes";
    if (memchr(authority, '@', host) != NULL)
        return "must be a URL without a user or password in it";
    for (size_t i = 0; i < length; i++)
        if (url[i] <= ' ' || url[i] >= 0x7f || strchr("\"<>\\^`{|}", url[i]) != NULL)
            return "must be a URL whose unusual characters are written as %XX";
    if (host == 0 || authority[0] == ':')
        return "must be a URL with a host";
    return NULL;
}

/* ---- members ---- */

static bool keep(struct api_train_plate *plate, enum api_train_origin origin, const char *text,
                 struct api_problem *problem)
{
    plate->origin = origin;
    plate->path = efm_copy_string(text);
    return plate->path != NULL || fail_memory(problem);
}

static bool keep_url(struct api_train_plate *plate, const char *key, const char *name, const char *url,
                     struct api_problem *problem)
{
    const char *fault = api_train_url_fault(url);
    if (fault != NULL)
        return api_train_refuse(problem, API_P_URL_REFUSED, key, name, "%s", fault);
    return keep(plate, API_TRAIN_URL, url, problem);
}

static bool read_digest(struct api_train_plate *plate, const char *key, const json_t *value,
                        struct api_problem *problem)
{
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "sha256", "must be 64 hex digits");
    for (size_t i = 0; i < 64; i++)
        plate->sha256[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 'a' : text[i]);
    plate->sha256[64] = '\0';
    return true;
}

static bool read_place(struct api_train_plate *plate, const char *key, const char *name, const json_t *value,
                       struct api_problem *problem)
{
    const char *text = json_string_value(value);
    if (plate->path != NULL)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, name,
                                "is one place too many: give a dataset or a url");
    if (strcmp(name, "url") == 0)
        return keep_url(plate, key, name, text != NULL ? text : "", problem);
    if (text == NULL || !api_name_valid(text))
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, name,
                                "must be the name of a dataset: 1..64 of a-z A-Z 0-9 . _ -");
    return keep(plate, API_TRAIN_DATASET, text, problem);
}

bool api_train_read_stored_member(struct api_train_plate *plate, const char *key, const char *name,
                                  const json_t *value, bool *known, struct api_problem *problem)
{
    *known = true;
    if (strcmp(name, "dataset") == 0 || strcmp(name, "url") == 0)
        return read_place(plate, key, name, value, problem);
    if (strcmp(name, "sha256") == 0)
        return read_digest(plate, key, value, problem);
    if (strcmp(name, "path") == 0)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, name,
                                "is for efmd train; upload the file (PUT /v1/datasets/NAME) and give "
                                "\"dataset\": \"NAME\", or give its url");
    if (strcmp(name, "labels") == 0 || strcmp(name, "label") == 0)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, name,
                                "is for efmd train; upload each class as a dataset of its own");
    *known = false;
    return true;
}

bool api_train_check_stored(const struct api_train_plate *plate, const char *key, struct api_problem *problem)
{
    if (plate->path == NULL)
        return api_train_refuse(problem, API_P_MISSING_PARAMETER, key, "dataset",
                                "is needed, or a url or a toy in its place");
    return plate->sha256[0] == '\0' || plate->origin == API_TRAIN_URL ||
           api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "sha256", "goes with a url");
}

bool api_train_read_stored_word(struct api_train_plate *plate, const char *key, const char *text,
                                struct api_problem *problem)
{
    bool good;
    if (after_scheme(text) != NULL)
        good = keep_url(plate, key, "", text, problem);
    else if (api_name_valid(text))
        good = keep(plate, API_TRAIN_DATASET, text, problem);
    else
        good =
            api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "",
                             "must be the name of a dataset (PUT /v1/datasets/NAME uploads one), an http or "
                             "https URL, an object with one of them, a toy, or \"gaussian\"");
    if (good)
        api_train_name_stored(plate, key);
    return good;
}

/* ---- names, and writing ---- */

/* "https://host/sets/threes.tar.gz?x=1" is threes. */
static void name_by_url(struct api_train_plate *plate, const char *key)
{
    const char *path = after_scheme(plate->path);
    path += strcspn(path, "/?#");
    const char *end = path + strcspn(path, "?#"), *begin = path;
    for (const char *at = path; at < end; at++)
        if (*at == '/')
            begin = at + 1;
    size_t length = strcspn(begin, ".?#");
    char name[API_NAME_SIZE] = "";
    if (length < sizeof name)
        memcpy(name, begin, length);
    snprintf(plate->name, sizeof plate->name, "%s", api_name_valid(name) ? name : key);
}

void api_train_name_stored(struct api_train_plate *plate, const char *key)
{
    if (plate->origin == API_TRAIN_URL)
        name_by_url(plate, key);
    else
        snprintf(plate->name, sizeof plate->name, "%s", plate->path);
}

void api_train_render_stored(const struct api_train_plate *plate, struct efm_buffer *out)
{
    efm_buffer_append_string(out, plate->origin == API_TRAIN_URL ? "{\"url\": " : "{\"dataset\": ");
    api_json_string(out, plate->path);
    if (plate->sha256[0] != '\0')
        efm_buffer_format(out, ", \"sha256\": \"%s\"", plate->sha256);
}
