// SPDX-License-Identifier: Apache-2.0
#include "api/message.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_RANGES = 64,   /* of one header; the rest is not read */
    MAX_HEADER = 8192, /* bytes */
    Q_UNIT = 1000,     /* q is kept in thousandths: RFC 9110 allows three decimals */
    UNMATCHED = -1,
};

const char *api_media_type(enum api_media media)
{
    static const char *const types[] = {
        [API_MEDIA_NONE] = "",
        [API_MEDIA_PNG] = "image/png",
        [API_MEDIA_JPEG] = "image/jpeg",
        [API_MEDIA_WEBP] = "image/webp",
        [API_MEDIA_JSON] = "application/json",
        [API_MEDIA_NPY] = "application/octet-stream",
    };
    return (size_t)media < sizeof types / sizeof types[0] ? types[media] : "";
}

/* A piece of the header, not NUL-terminated. */
struct span {
    const char *text;
    size_t length;
};

static struct span trim(struct span span)
{
    while (span.length > 0 && (*span.text == ' ' || *span.text == '\t')) {
        span.text++;
        span.length--;
    }
    while (span.length > 0 && (span.text[span.length - 1] == ' ' || span.text[span.length - 1] == '\t'))
        span.length--;
    return span;
}

/* Cuts the part before `separator` off the front of `rest`; separators in quoted strings do not count. */
static struct span cut(struct span *rest, char separator)
{
    size_t length = 0;
    bool quoted = false;
    for (; length < rest->length; length++) {
        char c = rest->text[length];
        if (quoted && c == '\\' && length + 1 < rest->length)
            length++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == separator && !quoted)
            break;
    }
    struct span part = {rest->text, length};
    size_t used = length < rest->length ? length + 1 : length;
    rest->text += used;
    rest->length -= used;
    return trim(part);
}

/* 0..1000, or UNMATCHED when it is not a qvalue: then the whole range does not count. */
static int parse_q(struct span text)
{
    if (text.length == 0 || text.length > 5 || (text.text[0] != '0' && text.text[0] != '1'))
        return UNMATCHED;
    int value = (text.text[0] - '0') * Q_UNIT, unit = Q_UNIT / 10;
    if (text.length > 1 && text.text[1] != '.')
        return UNMATCHED;
    for (size_t i = 2; i < text.length; i++, unit /= 10) {
        if (text.text[i] < '0' || text.text[i] > '9')
            return UNMATCHED;
        value += (text.text[i] - '0') * unit;
    }
    return value <= Q_UNIT ? value : UNMATCHED;
}

static int range_q(struct span parameters)
{
    while (parameters.length > 0) {
        struct span parameter = cut(&parameters, ';');
        if (parameter.length >= 2 && (parameter.text[0] == 'q' || parameter.text[0] == 'Q') &&
            parameter.text[1] == '=')
            return parse_q((struct span){parameter.text + 2, parameter.length - 2});
    }
    return Q_UNIT;
}

static bool same(struct span a, const char *b, size_t length)
{
    return a.length == length && strncasecmp(a.text, b, length) == 0;
}

/* 3: the type itself, 2: type / *, 1: * / *, 0: another one. */
static int specificity(struct span range, const char *type)
{
    size_t length = strlen(type), major = (size_t)(strchr(type, '/') - type);
    if (same(range, type, length))
        return 3;
    if (range.length == major + 2 && strncasecmp(range.text, type, major + 1) == 0 &&
        range.text[major + 1] == '*')
        return 2;
    return same(range, "*/*", 3) || same(range, "*", 1) ? 1 : 0;
}

/* The q of the most specific range that matches; UNMATCHED without one. An empty header takes everything. */
static int quality(const char *accept, const char *type)
{
    struct span rest = {accept, strnlen(accept, MAX_HEADER)};
    if (trim(rest).length == 0)
        return Q_UNIT;
    int best = 0, result = UNMATCHED;
    for (int i = 0; i < MAX_RANGES && rest.length > 0; i++) {
        struct span parameters = cut(&rest, ',');
        struct span range = cut(&parameters, ';');
        int match = specificity(range, type), q = range_q(parameters);
        if (match == 0 || q == UNMATCHED || match < best)
            continue;
        if (match > best || q > result)
            result = q;
        best = match;
    }
    return result;
}

/* NPY goes by two names; whichever the client likes better. */
static int media_quality(const char *accept, enum api_media media)
{
    int q = quality(accept, api_media_type(media));
    if (media != API_MEDIA_NPY)
        return q;
    int other = quality(accept, "application/x-npy");
    return other > q ? other : q;
}

enum api_media api_accept(const char *accept, const enum api_media *offers, size_t count)
{
    enum api_media best = API_MEDIA_NONE;
    int best_q = 0;
    for (size_t i = 0; i < count; i++) {
        int q = media_quality(accept, offers[i]);
        if (q > best_q) {
            best_q = q;
            best = offers[i];
        }
    }
    return best;
}

bool api_accept_refuses(const char *accept, enum api_media media)
{
    return media_quality(accept, media) == 0;
}

const char *api_accept_npy_type(const char *accept)
{
    const char *plain = api_media_type(API_MEDIA_NPY), *named = "application/x-npy";
    return quality(accept, named) > quality(accept, plain) ? named : plain;
}
