// SPDX-License-Identifier: Apache-2.0
/* Prefer (RFC 7240) and Idempotency-Key (a String of RFC 8941, or bare). */
#include "api/job.h"

#include <string.h>
#include <strings.h>

/* ---- Prefer ---- */

enum { MAX_TOKEN = 32, MAX_PREFERENCES = 64 };
#define MOST_SECONDS 1e9 /* of wait; a longer one is cut */

/* A token or a quoted string, cut to MAX_TOKEN bytes: no word that is known is so long. */
struct word {
    char text[MAX_TOKEN + 1];
    size_t length; /* before it was cut */
};

static void add_letter(struct word *word, char letter)
{
    if (word->length < MAX_TOKEN) {
        word->text[word->length] = letter;
        word->text[word->length + 1] = '\0';
    }
    word->length++;
}

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t");
}

/* True for a token of at least one letter. */
static bool take_token(const char **at, struct word *word)
{
    static const char letters[] =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    *word = (struct word){0};
    for (size_t left = strspn(*at, letters); left > 0; left--)
        add_letter(word, *(*at)++);
    return word->length > 0;
}

/* After the opening quote. False when the header ends before the closing one. */
static bool take_quoted(const char **at, struct word *word)
{
    *word = (struct word){0};
    for (; **at != '\0'; ++*at) {
        if (**at == '"') {
            ++*at;
            return true;
        }
        if (**at == '\\' && (*at)[1] != '\0')
            ++*at;
        add_letter(word, **at);
    }
    return false;
}

/* token [ "=" [ word ] ]; an absent value is an empty one, as the RFC has it. */
static bool take_pair(const char **at, struct word *name, struct word *value)
{
    *value = (struct word){0};
    if (!take_token(at, name))
        return false;
    const char *after = skip_space(*at);
    if (*after != '=')
        return true;
    *at = skip_space(after + 1);
    if (**at == '"') {
        ++*at;
        return take_quoted(at, value);
    }
    (void)take_token(at, value);
    return true;
}

/* To the comma that ends what cannot be read, or to the end. */
static void skip_element(const char **at)
{
    struct word ignored;
    while (**at != '\0' && **at != ',') {
        ++*at;
        if ((*at)[-1] == '"')
            (void)take_quoted(at, &ignored);
    }
}

/* One preference and its parameters, up to the comma. False when it is none. */
static bool take_preference(const char **at, struct word *name, struct word *value)
{
    struct word parameter, ignored;
    bool good = take_pair(at, name, value);
    *at = skip_space(*at);
    while (good && **at == ';') {
        *at = skip_space(*at + 1);
        if (**at != ';' && **at != ',' && **at != '\0')
            good = take_pair(at, &parameter, &ignored);
        *at = skip_space(*at);
    }
    good = good && (**at == ',' || **at == '\0');
    skip_element(at);
    return good;
}

static bool is_word(const struct word *word, const char *text)
{
    return word->length == strlen(text) && strcasecmp(word->text, text) == 0;
}

static bool read_seconds(const struct word *word, double *seconds)
{
    double sum = 0;
    if (word->length == 0 || strspn(word->text, "0123456789") != strlen(word->text))
        return false;
    for (const char *at = word->text; *at != '\0'; at++)
        sum = sum * 10 + (*at - '0');
    *seconds = sum < MOST_SECONDS && word->length <= MAX_TOKEN ? sum : MOST_SECONDS;
    return true;
}

void api_prefer_parse(struct api_prefer *prefer, const char *header)
{
    bool asked_async = false, asked_wait = false; /* of several of one name the first one counts */
    *prefer = (struct api_prefer){0};
    for (size_t i = 0; i < MAX_PREFERENCES && *header != '\0'; i++) {
        struct word name, value;
        header += strspn(header, " \t,");
        if (*header == '\0' || !take_preference(&header, &name, &value))
            continue;
        if (is_word(&name, "respond-async") && !asked_async) {
            asked_async = true;
            prefer->respond_async = value.length == 0;
        } else if (is_word(&name, "wait") && !asked_wait) {
            asked_wait = true;
            prefer->wait_given = read_seconds(&value, &prefer->wait);
        }
    }
}

/* ---- Idempotency-Key ---- */

static bool refuse_key(struct api_problem *problem, char out[API_KEY_SIZE])
{
    out[0] = '\0';
    return api_problem_set(
        problem, API_P_MALFORMED_REQUEST, NULL,
        "Idempotency-Key must be 1..255 printable ASCII characters, which may stand in quotes "
        "with \\\" and \\\\ for \" and \\");
}

/* Between the quotes, escapes resolved. */
static bool unquote(const char *from, size_t length, char out[API_KEY_SIZE])
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        if (from[i] == '"' || written + 1 == API_KEY_SIZE)
            return false;
        if (from[i] == '\\') {
            i++;
            if (i == length || (from[i] != '"' && from[i] != '\\'))
                return false;
        }
        out[written++] = from[i];
    }
    out[written] = '\0';
    return true;
}

bool api_idempotency_key(const char *header, char out[API_KEY_SIZE], struct api_problem *problem)
{
    enum { MAX_QUOTED = 2 * API_KEY_SIZE };
    out[0] = '\0';
    if (header[0] == '\0')
        return true;
    const char *begin = skip_space(header);
    size_t length = strnlen(begin, MAX_QUOTED + 1);
    while (length > 0 && (begin[length - 1] == ' ' || begin[length - 1] == '\t'))
        length--;
    for (size_t i = 0; i < length; i++)
        if (begin[i] < ' ' || begin[i] > '~')
            return refuse_key(problem, out);
    if (length > MAX_QUOTED)
        return refuse_key(problem, out);
    if (begin[0] == '"') {
        bool closed = length >= 3 && begin[length - 1] == '"';
        return (closed && unquote(begin + 1, length - 2, out)) || refuse_key(problem, out);
    }
    if (length == 0 || length >= API_KEY_SIZE)
        return refuse_key(problem, out);
    memcpy(out, begin, length);
    out[length] = '\0';
    return true;
}
