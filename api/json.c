// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"

#include "api/parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 32,
    /* A number of two bytes takes some forty as a json_t: this keeps a body from growing past 100 MB. */
    MAX_VALUES = 1 << 21,
    /* As much as so many numbers take, before its first member. */
    OBJECT_VALUES = 6,
    /* With its name and its place in the table. */
    MEMBER_VALUES = 3,
    /* Far more than any request has; a table that grows to a million names stands still for each of its moves. */
    MAX_MEMBERS = 4096,
};

size_t api_utf8_length(const uint8_t *text, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t first = text[0];
    size_t length = first < 0x80   ? 1
                    : first < 0xc2 ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    /* over-long forms, surrogates, past U+10FFFF */
    if (length >= 3) {
        uint8_t second = text[1];
        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
            (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
            return 0;
    }
    return length;
}

static void append_escape(struct efm_buffer *out, uint8_t byte)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *pair = named; *pair != '\0'; pair += 2)
        if ((uint8_t)pair[0] == byte) {
            const char escape[2] = {'\\', pair[1]};
            efm_buffer_append(out, escape, 2);
            return;
        }
    char escape[8];
    int length = snprintf(escape, sizeof escape, "\\u%04x", byte);
    efm_buffer_append(out, escape, (size_t)length);
}

void api_json_string(struct efm_buffer *out, const char *text)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t size = strlen(text), plain = 0;
    efm_buffer_append(out, "\"", 1);
    while (plain < size) {
        size_t run = plain, length = 0;
        while (run < size) {
            length = api_utf8_length(bytes + run, size - run);
            if (length == 0 || bytes[run] < 0x20 || bytes[run] == '"' || bytes[run] == '\\' ||
                bytes[run] == 0x7f)
                break;
            run += length;
        }
        efm_buffer_append(out, bytes + plain, run - plain);
        if (run < size) {
            if (length == 0)
                efm_buffer_append_string(out, "\xef\xbf\xbd");
            else
                append_escape(out, bytes[run]);
            run++;
        }
        plain = run;
    }
    efm_buffer_append(out, "\"", 1);
}

void api_json_real(struct efm_buffer *out, double value)
{
    if (!isfinite(value)) {
        efm_buffer_append_string(out, "null");
        return;
    }
    char text[40];
    int length = snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value)
        length = snprintf(text, sizeof text, "%.17g", value);
    efm_buffer_append(out, text, (size_t)length);
}

void api_json_float(struct efm_buffer *out, float value)
{
    if (!isfinite(value)) {
        efm_buffer_append_string(out, "null");
        return;
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%.9g", (double)value);
    efm_buffer_append(out, text, (size_t)length);
}

void api_json_floats(struct efm_buffer *out, const float *values, size_t count)
{
    efm_buffer_append(out, "[", 1);
    for (size_t i = 0; i < count && out->status == EFM_OK; i++) {
        if (i > 0)
            efm_buffer_append(out, ",", 1);
        api_json_float(out, values[i]);
    }
    efm_buffer_append(out, "]", 1);
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

bool api_json_is_object(const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && is_space(bytes[at]))
        at++;
    return at < size && bytes[at] == '{';
}

/* What is open at one depth. */
struct level {
    bool is_object;
    size_t members; /* of the object, by its commas */
};

static bool refuse_bounds(size_t depth, size_t values, struct api_problem *problem)
{
    if (depth > MAX_DEPTH)
        return api_problem_set(problem, API_P_MALFORMED_JSON, NULL,
                               "the JSON is nested deeper than %d levels", MAX_DEPTH);
    if (values > MAX_VALUES)
        return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL,
                               "the JSON holds more than %d values; send large arrays as NPY", MAX_VALUES);
    return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL,
                           "an object of the JSON has more than %d members", MAX_MEMBERS);
}

/* Nesting, number of values and of the members of one object, counted outside of strings before a node is allocated. Brackets that
 * do not match are the parser's to refuse, which goes no further than the first of them. */
static bool within_bounds(const uint8_t *bytes, size_t size, struct api_problem *problem)
{
    struct level levels[MAX_DEPTH + 1] = {{0}};
    size_t depth = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = bytes[i];
        if (in_string) {
            if (byte == '\\')
                i++;
            else if (byte == '"')
                in_string = false;
            continue;
        }
        if (byte == '"') {
            in_string = true;
        } else if (byte == '[' || byte == '{') {
            depth++;
            values += byte == '{' ? OBJECT_VALUES : 1;
            if (depth <= MAX_DEPTH)
                levels[depth] = (struct level){.is_object = byte == '{', .members = 1};
        } else if (byte == ']' || byte == '}') {
            depth -= depth > 0;
        } else if (byte == ',') {
            values += levels[depth].is_object ? MEMBER_VALUES : 1;
            levels[depth].members += levels[depth].is_object;
        }
        if (depth > MAX_DEPTH || values > MAX_VALUES || levels[depth].members > MAX_MEMBERS)
            return refuse_bounds(depth, values, problem);
    }
    return true;
}

json_t *api_json_parse(const uint8_t *bytes, size_t size, struct api_problem *problem)
{
    if (!within_bounds(bytes, size, problem))
        return NULL;
    json_error_t error;
    json_t *value = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (value != NULL)
        return value;
    /* jansson has no words for most allocations that fail */
    if (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory)
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the JSON");
    else
        api_problem_set(problem, API_P_MALFORMED_JSON, NULL, "line %d, column %d: %.120s", error.line,
                        error.column, error.text);
    return NULL;
}
