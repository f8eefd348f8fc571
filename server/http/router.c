// SPDX-License-Identifier: Apache-2.0
#include "server/http/router.h"

#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes `length` bytes to out (room for length + 1); false for a broken escape or a NUL. */
static bool decode(const char *text, size_t length, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char byte = text[i];
        if (byte == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return false;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        out[used++] = byte;
    }
    out[used] = '\0';
    return true;
}

const char *srv_target_authority(const char *uri, size_t *length)
{
    size_t scheme = strncasecmp(uri, "http://", 7) == 0 ? 7 : strncasecmp(uri, "https://", 8) == 0 ? 8 : 0;
    *length = scheme == 0 ? 0 : strcspn(uri + scheme, "/?");
    return scheme == 0 ? NULL : uri + scheme;
}

/* The part of an absolute form that follows the authority. */
static const char *skip_authority(const char *uri)
{
    size_t length;
    const char *authority = srv_target_authority(uri, &length);
    return authority == NULL ? uri : authority + length;
}

bool srv_target_parse(struct srv_target *target, const char *uri, struct api_problem *problem)
{
    *target = (struct srv_target){.raw = "", .path = "", .query = ""};
    uri = skip_authority(uri);
    const char *mark = strchr(uri, '?');
    const size_t path_length = mark == NULL ? strlen(uri) : (size_t)(mark - uri);
    const size_t query_length = mark == NULL ? 0 : strlen(mark + 1);
    // raw path, query and decoded path in one block
    char *text = efm_allocate(2 * path_length + query_length + 3);
    if (text == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "there is no memory for the request's path");
    char *query = text + path_length + 1, *decoded = query + query_length + 1;
    memcpy(text, uri, path_length);
    text[path_length] = '\0';
    memcpy(query, mark == NULL ? "" : mark + 1, query_length);
    query[query_length] = '\0';
    if (!decode(text, path_length, decoded)) {
        efm_free(text);
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               "the path of the request has a broken percent escape");
    }
    target->text = text;
    target->raw = text;
    target->query = query;
    target->path = decoded;
    return true;
}

void srv_target_release(struct srv_target *target)
{
    efm_free(target->text);
    *target = (struct srv_target){.raw = "", .path = "", .query = ""};
}

enum fit { FIT_NONE, FIT_NAME, FIT_LITERAL };

/* One segment, still escaped, against literal text. */
static bool same_segment(const char *raw, size_t raw_length, const char *literal, size_t literal_length)
{
    for (size_t i = 0; i < raw_length; i++) {
        char byte = raw[i];
        if (byte == '%' && i + 2 < raw_length) { // escapes were checked when the target was parsed
            byte = (char)(hex_digit(raw[i + 1]) * 16 + hex_digit(raw[i + 2]));
            i += 2;
        }
        if (literal_length == 0 || byte != *literal)
            return false;
        literal++;
        literal_length--;
    }
    return literal_length == 0;
}

/* Compares a template with a raw path; the segment that stands for {name} goes to *name, *name_length. */
static enum fit fit_path(const char *template, const char *raw, const char **name, size_t *name_length)
{
    enum fit fit = FIT_LITERAL;
    while (*template == '/' && *raw == '/') {
        template ++;
        raw++;
        const size_t wanted = strcspn(template, "/"), given = strcspn(raw, "/");
        if (wanted == 6 && strncmp(template, "{name}", 6) == 0) {
            if (given == 0)
                return FIT_NONE;
            *name = raw;
            *name_length = given;
            fit = FIT_NAME;
        } else if (!same_segment(raw, given, template, wanted)) {
            return FIT_NONE;
        }
        template += wanted;
        raw += given;
    }
    return *template == '\0' && *raw == '\0' ? fit : FIT_NONE;
}

static enum fit fit_endpoint(const struct srv_endpoint *endpoint, const char *raw, const char **name,
                             size_t *name_length)
{
    for (size_t i = 0; i < SRV_ENDPOINT_PATHS && endpoint->paths[i] != NULL; i++) {
        enum fit fit = fit_path(endpoint->paths[i], raw, name, name_length);
        if (fit != FIT_NONE)
            return fit;
    }
    return FIT_NONE;
}

/* Whether the words of `methods`, divided by spaces, hold `method`. */
static bool has_method(const char *methods, const char *method)
{
    const size_t length = strlen(method);
    while (*methods != '\0') {
        const size_t word = strcspn(methods, " ");
        if (word == length && strncmp(methods, method, word) == 0)
            return true;
        methods += word + (methods[word] == ' ');
    }
    return false;
}

static void allow_method(char allow[64], const char *method, size_t length)
{
    const size_t used = strlen(allow);
    if (used + length + 3 > 64)
        return;
    snprintf(allow + used, 64 - used, "%s%.*s", used == 0 ? "" : ", ", (int)length, method);
}

static void allow_methods(char allow[64], const char *methods)
{
    while (*methods != '\0') {
        const size_t word = strcspn(methods, " ");
        allow_method(allow, methods, word);
        if (word == 3 && strncmp(methods, "GET", 3) == 0)
            allow_method(allow, "HEAD", 4);
        methods += word + (methods[word] == ' ');
    }
}

/* 404, with a hint where a slash at the end is all that is wrong. */
static bool refuse_path(const struct srv_endpoint *const *routes, size_t count,
                        const struct srv_target *target, struct api_problem *problem)
{
    const char *name;
    size_t length = strlen(target->raw), name_length;
    if (length > 1 && length < 512 && target->raw[length - 1] == '/') {
        char trimmed[512];
        memcpy(trimmed, target->raw, length - 1);
        trimmed[length - 1] = '\0';
        for (size_t i = 0; i < count; i++) {
            if (fit_endpoint(routes[i], trimmed, &name, &name_length) != FIT_NONE)
                return api_problem_set(problem, API_P_NOT_FOUND, NULL,
                                       "paths have no slash at their end here: leave the last one off");
        }
    }
    return api_problem_set(problem, API_P_NOT_FOUND, NULL,
                           "there is nothing at this path: see /openapi.json for what there is");
}

static bool take_name(struct srv_match *match, const char *raw, size_t length, struct api_problem *problem)
{
    char decoded[3 * API_NAME_SIZE];
    // A name of allowed letters, each one escaped, is three times as long as itself.
    bool valid = length < sizeof decoded && decode(raw, length, decoded) && strlen(decoded) < API_NAME_SIZE &&
                 api_name_valid(decoded);
    if (!valid)
        return api_problem_set(problem, API_P_INVALID_NAME, "/name",
                               "a name is 1 to %d of the letters a-z, A-Z, 0-9, '.', '_' and '-', and does "
                               "not start with '.' or '-'",
                               API_NAME_SIZE - 1);
    memcpy(match->name, decoded, strlen(decoded) + 1);
    return true;
}

bool srv_route(const struct srv_endpoint *const *routes, size_t count, const char *method,
               const struct srv_target *target, struct srv_match *match, struct api_problem *problem)
{
    *match = (struct srv_match){.route = "none"};
    enum fit best = FIT_NONE;
    const char *name = NULL, *best_name = NULL;
    size_t name_length = 0, best_length = 0;
    const bool options = strcmp(method, "OPTIONS") == 0;
    for (size_t i = 0; i < count; i++) {
        enum fit fit = fit_endpoint(routes[i], target->raw, &name, &name_length);
        if (fit == FIT_NONE || fit < best)
            continue;
        if (fit > best) {
            *match = (struct srv_match){.route = routes[i]->paths[0]};
            best = fit;
        }
        best_name = name;
        best_length = name_length;
        allow_methods(match->allow, routes[i]->methods);
        if (has_method(routes[i]->methods, method) ||
            (strcmp(method, "HEAD") == 0 && has_method(routes[i]->methods, "GET"))) {
            match->endpoint = routes[i];
            match->route = routes[i]->paths[0];
        }
    }
    if (best == FIT_NONE)
        return refuse_path(routes, count, target, problem);
    allow_method(match->allow, "OPTIONS", 7);
    if (!options && match->endpoint == NULL) {
        snprintf(problem->allow, sizeof problem->allow, "%s", match->allow);
        return api_problem_set(problem, API_P_METHOD_NOT_ALLOWED, NULL, "this path takes %s", match->allow);
    }
    return best == FIT_NAME && !options ? take_name(match, best_name, best_length, problem) : true;
}
