// SPDX-License-Identifier: Apache-2.0
#include "api/problem.h"

#include "api/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct kind {
    int status;
    const char *code, *title;
};

static const struct kind KINDS[] = {{500, "none", "No problem"},
#define API_PROBLEM_KIND(symbol, http, code, title) {http, code, title},
                                    API_PROBLEM_MAP(API_PROBLEM_KIND)
#undef API_PROBLEM_KIND
};

static const struct kind *kind_of(enum api_problem_code code)
{
    return &KINDS[(size_t)code < API_P_COUNT ? code : API_P_INTERNAL];
}

int api_problem_status(enum api_problem_code code)
{
    return kind_of(code)->status;
}

const char *api_problem_code_name(enum api_problem_code code)
{
    return kind_of(code)->code;
}

const char *api_problem_title(enum api_problem_code code)
{
    return kind_of(code)->title;
}

bool api_problem_set(struct api_problem *problem, enum api_problem_code code, const char *pointer,
                     const char *format, ...)
{
    char text[sizeof problem->detail];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bool has_pointer = pointer != NULL && pointer[0] != '\0';
    if (problem->code == API_P_NONE) {
        problem->code = code;
        /* The detail is read without the list of fields, so it names the field too. */
        if (has_pointer)
            snprintf(problem->detail, sizeof problem->detail, "%.71s: %.240s", pointer + (pointer[0] == '/'),
                     text);
        else
            snprintf(problem->detail, sizeof problem->detail, "%s", text);
    }
    if (has_pointer && problem->field_count < API_PROBLEM_FIELDS) {
        size_t index = problem->field_count++;
        snprintf(problem->fields[index].pointer, sizeof problem->fields[index].pointer, "%.71s", pointer);
        snprintf(problem->fields[index].detail, sizeof problem->fields[index].detail, "%.199s", text);
    }
    return false;
}

/* "FROM" or "FROM/..." at the beginning of `text`, which `size` bytes have room for, becomes "TO..."; false for other texts. `after`:
 * what else may follow FROM. */
static bool move_start(char *text, size_t size, const char *from, const char *to, char after)
{
    char moved[sizeof((struct api_problem *)NULL)->detail];
    const size_t length = strlen(from);
    if (strncmp(text, from, length) != 0 || (text[length] != '/' && text[length] != after))
        return false;
    snprintf(moved, sizeof moved, "%s%s", to, text + length);
    snprintf(text, size, "%s", moved);
    return true;
}

void api_problem_move(struct api_problem *problem, const char *from, const char *to)
{
    bool moved = false;
    for (size_t i = 0; i < problem->field_count; i++)
        moved |= move_start(problem->fields[i].pointer, sizeof problem->fields[i].pointer, from, to, '\0');
    if (moved)
        move_start(problem->detail, sizeof problem->detail, from + 1, to + 1, ':');
}

static bool is_about_images(enum api_problem_code code)
{
    return code == API_P_DAMAGED_IMAGE || code == API_P_NOT_AN_IMAGE || code == API_P_UNSUPPORTED_IMAGE;
}

/* What is past a limit is the thing that was read: a body of a few bytes can ask for a dataset of gigabytes. */
static enum api_problem_code code_past_limit(enum api_problem_code when_format)
{
    if (is_about_images(when_format))
        return API_P_IMAGE_TOO_LARGE;
    if (when_format == API_P_INVALID_DATASET)
        return API_P_DATASET_TOO_LARGE;
    if (when_format == API_P_INVALID_MODEL)
        return API_P_MODEL_TOO_LARGE;
    return when_format == API_P_INVALID_NPY ? API_P_INVALID_NPY : API_P_BODY_TOO_LARGE;
}

static enum api_problem_code code_of(enum efm_status status, enum api_problem_code when_format)
{
    switch (status) {
    case EFM_E_FORMAT:
        return when_format;
    case EFM_E_UNSUPPORTED:
        return is_about_images(when_format) ? API_P_UNSUPPORTED_IMAGE : when_format;
    case EFM_E_LIMIT:
        return code_past_limit(when_format);
    case EFM_E_ARGUMENT:
        return API_P_INVALID_PARAMETER;
    case EFM_E_MEMORY:
        return API_P_NO_MEMORY;
    case EFM_E_IO:
        return API_P_STORAGE;
    case EFM_E_SHAPE:
        return API_P_SHAPE_MISMATCH;
    case EFM_E_NUMERIC:
        return API_P_NOT_FINITE;
    case EFM_E_NOT_FOUND:
        return API_P_NOT_FOUND;
    case EFM_E_EXISTS:
        return API_P_CONFLICT;
    case EFM_E_FULL:
        return API_P_QUEUE_FULL;
    case EFM_E_CANCELLED:
        return API_P_DRAINING;
    case EFM_E_DEADLINE:
        return API_P_DEADLINE;
    case EFM_OK:
    case EFM_E_INTERNAL:
        break;
    }
    return API_P_INTERNAL;
}

bool api_problem_from_error(struct api_problem *problem, const struct efm_error *error,
                            enum api_problem_code when_format, const char *pointer)
{
    const char *text = error->message[0] != '\0' ? error->message : efm_status_meaning(error->status);
    return api_problem_set(problem, code_of(error->status, when_format), pointer, "%s", text);
}

/* "queue_full" as the last part of an address: "queue-full" */
static void append_type(struct efm_buffer *out, const char *code)
{
    char dashed[48];
    snprintf(dashed, sizeof dashed, "%s", code);
    for (char *at = dashed; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
    efm_buffer_format(out, "{\"type\":\"/problems/%s\"", dashed);
}

static void append_member(struct efm_buffer *out, const char *name, const char *text)
{
    efm_buffer_format(out, ",\"%s\":", name);
    api_json_string(out, text);
}

void api_problem_render(const struct api_problem *problem, const char *request_id, const char *trace_id,
                        const char *instance, struct efm_buffer *out)
{
    const struct kind *kind = kind_of(problem->code);
    const char *detail = problem->detail[0] != '\0' ? problem->detail : kind->title;
    append_type(out, kind->code);
    append_member(out, "title", kind->title);
    efm_buffer_format(out, ",\"status\":%d", kind->status);
    append_member(out, "detail", detail);
    append_member(out, "instance", instance);
    append_member(out, "code", kind->code);
    append_member(out, "request_id", request_id);
    if (trace_id[0] != '\0')
        append_member(out, "trace_id", trace_id);
    append_member(out, "error", detail);
    for (size_t i = 0; i < problem->field_count; i++) {
        efm_buffer_append_string(out, i == 0 ? ",\"errors\":[{\"pointer\":" : ",{\"pointer\":");
        api_json_string(out, problem->fields[i].pointer);
        append_member(out, "detail", problem->fields[i].detail);
        efm_buffer_append_string(out, "}");
    }
    efm_buffer_append_string(out, problem->field_count > 0 ? "]}\n" : "}\n");
}
