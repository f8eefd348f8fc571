// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHOWN = 40, /* bytes of a client's text that a message quotes */
    MAX_NUMBER = 64,
};

/* ---- finding a parameter, and helping who misspelt one ---- */

enum { MAX_EDITED = 32, MAX_SUGGESTIONS = 3 };

/* Levenshtein distance of two short names. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[MAX_EDITED + 1], a_length = strnlen(a, MAX_EDITED), b_length = strnlen(b, MAX_EDITED);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = diagonal + (tolower((unsigned char)a[i - 1]) != b[j - 1]);
            diagonal = row[j];
            size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < shift ? change : shift;
        }
    }
    return row[b_length];
}

static void join(char *out, size_t size, const char *word)
{
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", word);
}

/* The known names close to `name`, or else all of them. */
static void list_names(const struct api_parameter_table *table, const char *name, char *out, size_t size)
{
    size_t closeness = strlen(name) < 5 ? 1 : 2, found = 0;
    out[0] = '\0';
    for (size_t i = 0; i < table->count && found < MAX_SUGGESTIONS; i++)
        if (edit_distance(name, table->items[i].name) <= closeness) {
            join(out, size, table->items[i].name);
            found++;
        }
    for (size_t i = 0; i < table->count && found == 0; i++)
        join(out, size, table->items[i].name);
}

void api_parameter_pointer(const char *name, char out[72])
{
    size_t length = 0;
    out[length++] = '/';
    for (; *name != '\0' && length < 68; name++) {
        bool escaped = *name == '~' || *name == '/';
        out[length++] = escaped ? '~' : *name;
        if (escaped)
            out[length++] = *name == '~' ? '0' : '1';
    }
    out[length] = '\0';
}

static bool refuse_unknown(const struct api_parameter_table *table, const char *name,
                           struct api_problem *problem)
{
    char names[160], pointer[72];
    list_names(table, name, names, sizeof names);
    api_parameter_pointer(name, pointer);
    if (table->count == 0)
        return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer, "no parameters are taken here");
    return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer, "is not a parameter here; known are %s",
                           names);
}

/* The parameter, marked as given; NULL with a problem. */
static const struct api_parameter *claim(const struct api_parameter_table *table,
                                         struct api_parameters_seen *seen, const char *name,
                                         struct api_problem *problem)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->items[i].name, name) != 0)
            continue;
        uint32_t bit = UINT32_C(1) << i;
        if ((seen->given & bit) != 0) {
            char pointer[72];
            api_parameter_pointer(name, pointer);
            api_problem_set(problem, API_P_DUPLICATE_PARAMETER, pointer,
                            "is given twice; give it once, in the query or in the body");
            return NULL;
        }
        seen->given |= bit;
        return &table->items[i];
    }
    refuse_unknown(table, name, problem);
    return NULL;
}

bool api_parameter_given(const struct api_parameter_table *table, const struct api_parameters_seen *seen,
                         const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->items[i].name, name) == 0)
            return (seen->given >> i & 1) != 0;
    return false;
}

/* ---- values ---- */

/* The place of the value in the struct that is filled. */
static void *place(const struct api_parameter *parameter, void *target)
{
    return (char *)target + parameter->offset;
}

static bool refuse(const struct api_parameter *parameter, const char *given, struct api_problem *problem)
{
    char pointer[72], shown[SHOWN + 4], words[120] = "";
    api_parameter_pointer(parameter->name, pointer);
    snprintf(shown, sizeof shown, "%.*s%s", SHOWN, given, strlen(given) > SHOWN ? "..." : "");
    switch (parameter->kind) {
    case API_INTEGER:
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be a whole number in %.0f..%.0f, not %s", parameter->low,
                               parameter->high, shown);
    case API_REAL:
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be a number in %g..%g, not %s", parameter->low, parameter->high, shown);
    case API_WORD:
        for (size_t i = 0; parameter->words[i] != NULL; i++)
            join(words, sizeof words, parameter->words[i]);
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "must be one of %s, not %s", words,
                               shown);
    case API_NAME:
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be 1..64 of a-z A-Z 0-9 . _ - and not start with . or -, not %s", shown);
    case API_COLOUR:
        break;
    }
    return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                           "must be a colour like ff8000, white, black or grey, not %s", shown);
}

static bool store_integer(const struct api_parameter *parameter, void *target, uint64_t value)
{
    if ((double)value < parameter->low || (double)value > parameter->high)
        return false;
    memcpy(place(parameter, target), &value, sizeof value);
    return true;
}

static bool store_real(const struct api_parameter *parameter, void *target, double value)
{
    if (!isfinite(value) || value < parameter->low || value > parameter->high)
        return false;
    memcpy(place(parameter, target), &value, sizeof value);
    return true;
}

static bool integer_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text) || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    }
    return store_integer(parameter, target, value);
}

static const char *skip_digits(const char *text)
{
    while (isdigit((unsigned char)*text))
        text++;
    return text;
}

/* The grammar of a JSON number but for leading zeros: strtod alone also takes " +0x1p3" and "nan". */
static bool is_decimal(const char *text)
{
    const char *at = text + (*text == '-'), *end = skip_digits(at);
    if (end == at)
        return false;
    if (*end == '.') {
        at = end + 1;
        end = skip_digits(at);
        if (end == at)
            return false;
    }
    if (*end == 'e' || *end == 'E') {
        at = end + 1;
        at += *at == '-' || *at == '+';
        end = skip_digits(at);
        if (end == at)
            return false;
    }
    return *end == '\0';
}

static bool real_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    return strlen(text) < MAX_NUMBER && is_decimal(text) && store_real(parameter, target, strtod(text, NULL));
}

static bool word_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    for (int i = 0; parameter->words[i] != NULL; i++)
        if (strcmp(parameter->words[i], text) == 0) {
            memcpy(place(parameter, target), &i, sizeof i);
            return true;
        }
    return false;
}

bool api_name_valid(const char *name)
{
    size_t length = strnlen(name, API_NAME_SIZE);
    if (length == 0 || length == API_NAME_SIZE || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] > 0x7f ||
            (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL))
            return false;
    return true;
}

static bool name_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    if (!api_name_valid(text))
        return false;
    memcpy(place(parameter, target), text, strlen(text) + 1);
    return true;
}

static bool colour_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    static const struct {
        const char *word, *digits;
    } named[] = {{"white", "ffffff"}, {"black", "000000"}, {"grey", "808080"}, {"gray", "808080"}};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (strcmp(text, named[i].word) == 0)
            text = named[i].digits;
    text += *text == '#';
    if (strlen(text) != 6 || strspn(text, "0123456789abcdefABCDEF") != 6)
        return false;
    unsigned long value = strtoul(text, NULL, 16);
    const uint8_t colour[3] = {(uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    memcpy(place(parameter, target), colour, sizeof colour);
    return true;
}

static bool value_from_text(const struct api_parameter *parameter, void *target, const char *text)
{
    switch (parameter->kind) {
    case API_INTEGER:
        return integer_from_text(parameter, target, text);
    case API_REAL:
        return real_from_text(parameter, target, text);
    case API_WORD:
        return word_from_text(parameter, target, text);
    case API_NAME:
        return name_from_text(parameter, target, text);
    case API_COLOUR:
        return colour_from_text(parameter, target, text);
    }
    return false;
}

bool api_parameter_set(const struct api_parameter_table *table, void *target,
                       struct api_parameters_seen *seen, const char *name, const char *text,
                       struct api_problem *problem)
{
    const struct api_parameter *parameter = claim(table, seen, name, problem);
    if (parameter == NULL)
        return false;
    if (value_from_text(parameter, target, text))
        return true;
    return refuse(parameter, *text == '\0' ? "nothing" : text, problem);
}

bool api_parameter_takes(const struct api_parameter *parameter, const char *text)
{
    struct api_parameter copy = *parameter;
    char scratch[API_NAME_SIZE];
    copy.offset = 0;
    return text != NULL && value_from_text(&copy, scratch, text);
}

void api_parameters_defaults(const struct api_parameter_table *table, void *target)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct api_parameter *parameter = &table->items[i];
        if (parameter->kind != API_NAME && parameter->fallback != NULL)
            (void)value_from_text(parameter, target, parameter->fallback);
    }
}

/* ---- values of JSON members ---- */

/* What a JSON value is, for the text of a refusal. */
static void describe(const json_t *value, char *out, size_t size)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};
    if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, size, "%g", json_real_value(value));
    else if (json_is_string(value))
        snprintf(out, size, "\"%.*s\"", SHOWN, json_string_value(value));
    else
        snprintf(out, size, "%s", kinds[json_typeof(value)]);
}

static bool integer_from_json(const struct api_parameter *parameter, void *target, const json_t *value)
{
    if (json_is_integer(value))
        return json_integer_value(value) >= 0 &&
               store_integer(parameter, target, (uint64_t)json_integer_value(value));
    /* 5.0 is an integer to JSON Schema; past 2^53 a double no longer tells */
    double real = json_is_real(value) ? json_real_value(value) : -1;
    return real >= 0 && real <= 0x1p53 && floor(real) == real &&
           store_integer(parameter, target, (uint64_t)real);
}

bool api_parameter_set_json(const struct api_parameter_table *table, void *target,
                            struct api_parameters_seen *seen, const char *name, const json_t *value,
                            struct api_problem *problem)
{
    const struct api_parameter *parameter = claim(table, seen, name, problem);
    if (parameter == NULL)
        return false;
    bool done = false;
    if (parameter->kind == API_INTEGER)
        done = integer_from_json(parameter, target, value);
    else if (parameter->kind == API_REAL)
        done = json_is_number(value) && store_real(parameter, target, json_number_value(value));
    else
        done = json_is_string(value) && value_from_text(parameter, target, json_string_value(value));
    if (done)
        return true;
    char shown[SHOWN + 8];
    describe(value, shown, sizeof shown);
    return refuse(parameter, shown, problem);
}
