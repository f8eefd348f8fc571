// SPDX-License-Identifier: Apache-2.0
#include "api/multipart.h"

#include "api/message.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_BOUNDARY = 70, MAX_HEADERS = 4096 };

/* The body that is still to be read. */
struct cursor {
    const uint8_t *at;
    size_t left;
};

static void advance(struct cursor *cursor, size_t count)
{
    cursor->at += count;
    cursor->left -= count;
}

static bool starts_with(const struct cursor *cursor, const char *text, size_t length)
{
    return cursor->left >= length && memcmp(cursor->at, text, length) == 0;
}

static bool refuse(struct api_problem *problem, const char *why)
{
    return api_problem_set(problem, API_P_MALFORMED_MULTIPART, NULL, "%s", why);
}

/* Copies a parameter of a header line ("...; name=\"x\"; filename=y") unquoted. False when it is absent or
 * too long. `line` [length] is not NUL-terminated. */
static bool header_parameter(const char *line, size_t length, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name), i = 0;
    while (i < length) {
        /* to the next ';' outside of quotes */
        for (bool quoted = false; i < length && (quoted || line[i] != ';'); i++) {
            if (line[i] == '"')
                quoted = !quoted;
            else if (quoted && line[i] == '\\' && i + 1 < length)
                i++;
        }
        i++;
        while (i < length && (line[i] == ' ' || line[i] == '\t'))
            i++;
        if (i + name_length >= length || strncasecmp(line + i, name, name_length) != 0 ||
            line[i + name_length] != '=')
            continue;
        i += name_length + 1;
        bool quoted = i < length && line[i] == '"';
        size_t written = 0;
        for (i += quoted; i < length; i++) {
            char c = line[i];
            if (quoted ? c == '"' : c == ';' || c == ' ' || c == '\t')
                break;
            if (quoted && c == '\\' && i + 1 < length)
                c = line[++i];
            if (c == '\0' || written + 1 >= size)
                return false;
            out[written++] = c;
        }
        out[written] = '\0';
        return !quoted || i < length;
    }
    return false;
}

static bool find_boundary(const char *content_type, char out[MAX_BOUNDARY + 5])
{
    char boundary[MAX_BOUNDARY + 1];
    if (!header_parameter(content_type, strnlen(content_type, MAX_HEADERS), "boundary", boundary,
                          sizeof boundary) ||
        boundary[0] == '\0')
        return false;
    snprintf(out, MAX_BOUNDARY + 5, "\r\n--%s", boundary);
    return true;
}

/* One header line of a part, without its line end. */
static bool read_header(const char *line, size_t length, struct api_part *part)
{
    const char *colon = memchr(line, ':', length);
    if (colon == NULL)
        return false;
    size_t name_length = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_length = length - name_length - 1;
    if (name_length == 19 && strncasecmp(line, "content-disposition", 19) == 0) {
        char filename[256];
        if (!header_parameter(value, value_length, "name", part->name, sizeof part->name))
            return false;
        /* A file name that is too long or encoded still says that this is a file. */
        part->has_filename = header_parameter(value, value_length, "filename", filename, sizeof filename) ||
                             memmem(value, value_length, "filename", 8) != NULL;
    } else if (name_length == 12 && strncasecmp(line, "content-type", 12) == 0) {
        char text[128];
        snprintf(text, sizeof text, "%.*s", (int)(value_length < 127 ? value_length : 127), value);
        api_content_type(text, part->content_type, sizeof part->content_type);
    }
    return true;
}

/* The header lines up to and with the empty one. */
static bool read_headers(struct cursor *cursor, struct api_part *part, struct api_problem *problem)
{
    size_t budget = MAX_HEADERS;
    for (;;) {
        size_t window = cursor->left < budget ? cursor->left : budget;
        const uint8_t *end = memmem(cursor->at, window, "\r\n", 2);
        if (end == NULL)
            return refuse(problem, cursor->left > budget ? "the header lines of a part are longer than 4 KiB"
                                                         : "the form ends inside the header lines of a part");
        size_t length = (size_t)(end - cursor->at);
        if (length == 0) {
            advance(cursor, 2);
            return true;
        }
        if (!read_header((const char *)cursor->at, length, part))
            return refuse(problem, "a part has a header line that cannot be read");
        advance(cursor, length + 2);
        budget -= length + 2;
    }
}

/* What follows a boundary: spaces, then a line end (more = true) or "--" (more = false). */
static bool end_of_boundary(struct cursor *cursor, bool *more)
{
    if (starts_with(cursor, "--", 2)) {
        *more = false;
        return true;
    }
    while (cursor->left > 0 && (*cursor->at == ' ' || *cursor->at == '\t'))
        advance(cursor, 1);
    *more = true;
    if (!starts_with(cursor, "\r\n", 2))
        return false;
    advance(cursor, 2);
    return true;
}

/* The first `delimiter` in what is left; NULL when there is none. A boundary holds no CR, so what fits in part can only begin
 * again behind that part, and no byte is compared twice: memmem would try each of 60 MB that nearly fit. */
static const uint8_t *find_delimiter(const struct cursor *cursor, const char *delimiter)
{
    const size_t length = strlen(delimiter);
    if (cursor->left < length)
        return NULL;
    const uint8_t *const last = cursor->at + (cursor->left - length);
    for (const uint8_t *at = cursor->at; at <= last; at++) {
        if (at[0] == '\r' && at[1] == '\n' && memcmp(at, delimiter, length) == 0)
            return at;
    }
    return NULL;
}

/* To just behind the first boundary; a preamble before it is skipped. */
static bool skip_preamble(struct cursor *cursor, const char *delimiter)
{
    size_t length = strlen(delimiter);
    if (starts_with(cursor, delimiter + 2, length - 2)) {
        advance(cursor, length - 2);
        return true;
    }
    const uint8_t *found = find_delimiter(cursor, delimiter);
    if (found == NULL)
        return false;
    advance(cursor, (size_t)(found - cursor->at) + length);
    return true;
}

static bool read_part(struct cursor *cursor, const char *delimiter, struct api_part *part,
                      struct api_problem *problem)
{
    *part = (struct api_part){0};
    if (!read_headers(cursor, part, problem))
        return false;
    if (part->name[0] == '\0')
        return refuse(problem, "a part has no name");
    /* An empty part may have its boundary right behind the empty line, sharing that line's end. */
    struct cursor shared = {cursor->at - 2, cursor->left + 2};
    const uint8_t *end = find_delimiter(&shared, delimiter);
    if (end == NULL)
        return refuse(problem, "the form has no closing boundary");
    part->data = cursor->at;
    part->size = end > cursor->at ? (size_t)(end - cursor->at) : 0;
    advance(&shared, (size_t)(end - shared.at) + strlen(delimiter));
    *cursor = shared;
    return true;
}

bool api_multipart_parse(const char *content_type, const uint8_t *body, size_t size, struct api_part *parts,
                         size_t *count, struct api_problem *problem)
{
    char delimiter[MAX_BOUNDARY + 5];
    struct cursor cursor = {body, size};
    bool more;
    *count = 0;
    if (!find_boundary(content_type, delimiter))
        return refuse(problem, "the Content-Type names no boundary of 1..70 characters");
    if (body == NULL || !skip_preamble(&cursor, delimiter))
        return refuse(problem, "the boundary of the Content-Type does not occur in the body");
    for (;;) {
        if (!end_of_boundary(&cursor, &more))
            return refuse(problem, "a boundary is not followed by a line end");
        if (!more)
            return true;
        if (*count == API_MULTIPART_MAX_PARTS)
            return api_problem_set(problem, API_P_MALFORMED_MULTIPART, NULL,
                                   "the form has more than %d parts", API_MULTIPART_MAX_PARTS);
        if (!read_part(&cursor, delimiter, &parts[*count], problem))
            return false;
        (*count)++;
    }
}
