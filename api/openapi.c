// SPDX-License-Identifier: Apache-2.0
#include "api/openapi.h"

#include "api/json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- small pieces ---- */

static void text(struct efm_buffer *out, const char *raw)
{
    efm_buffer_append_string(out, raw);
}

static void member(struct efm_buffer *out, const char *name, const char *value)
{
    efm_buffer_format(out, "\"%s\":", name);
    api_json_string(out, value);
}

/* The next word of a list separated by spaces, copied to word[size]; false at the end. */
static bool next_word(const char **list, char *word, size_t size)
{
    *list += strspn(*list, " ");
    size_t length = strcspn(*list, " ");
    if (length == 0)
        return false;
    snprintf(word, size, "%.*s", (int)length, *list);
    *list += length;
    return true;
}

static bool ends_with(const char *path, const char *end)
{
    size_t length = strlen(path), wanted = strlen(end);
    return length >= wanted && strcmp(path + length - wanted, end) == 0;
}

static const char *tag_of(const char *path)
{
    if (strstr(path, "/datasets") != NULL)
        return "datasets";
    if (strstr(path, "/models") != NULL)
        return "models";
    return ends_with(path, "/transfer") || ends_with(path, "/generate") ? "transfer" : "service";
}

/* ---- parameters ---- */

#define NAME_PATTERN "\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$\""

static void limits(struct efm_buffer *out, const struct api_parameter *parameter)
{
    efm_buffer_format(out,
                      "\"type\":\"%s\",\"minimum\":", parameter->kind == API_INTEGER ? "integer" : "number");
    api_json_real(out, parameter->low);
    text(out, ",\"maximum\":");
    /* whole numbers up to 2^53 in full: 15 digits would round the largest seed */
    if (parameter->kind == API_INTEGER)
        efm_buffer_format(out, "%.0f", parameter->high);
    else
        api_json_real(out, parameter->high);
}

static void words(struct efm_buffer *out, const char *const *list)
{
    text(out, "\"type\":\"string\",\"enum\":[");
    for (size_t i = 0; list[i] != NULL; i++) {
        text(out, i > 0 ? "," : "");
        api_json_string(out, list[i]);
    }
    text(out, "]");
}

static void schema(struct efm_buffer *out, const struct api_parameter *parameter)
{
    text(out, "{");
    switch (parameter->kind) {
    case API_INTEGER:
    case API_REAL:
        limits(out, parameter);
        break;
    case API_WORD:
        words(out, parameter->words);
        break;
    case API_NAME:
        text(out, NAME_PATTERN);
        break;
    case API_COLOUR:
        text(out, "\"type\":\"string\",\"pattern\":\"^(#?[0-9a-fA-F]{6}|white|black|grey|gray)$\"");
        break;
    }
    if (api_parameter_takes(parameter, parameter->fallback)) {
        text(out, ",\"default\":");
        if (parameter->kind == API_INTEGER || parameter->kind == API_REAL)
            text(out, parameter->fallback);
        else
            api_json_string(out, parameter->fallback);
    }
    text(out, "}");
}

/* Help, and what happens when the parameter is absent where that is not a plain value. */
static void describe(struct efm_buffer *out, const struct api_parameter *parameter)
{
    char description[512];
    const char *help = parameter->help != NULL ? parameter->help : parameter->name;
    if (parameter->fallback != NULL && !api_parameter_takes(parameter, parameter->fallback))
        snprintf(description, sizeof description, "%s. When absent: %s.", help, parameter->fallback);
    else
        snprintf(description, sizeof description, "%s.", help);
    member(out, "description", description);
}

static void query_parameters(struct efm_buffer *out, const struct api_parameter_table *table)
{
    if (table == NULL || table->count == 0)
        return;
    text(out, ",\"parameters\":[");
    for (size_t i = 0; i < table->count; i++) {
        text(out, i > 0 ? ",{" : "{");
        member(out, "name", table->items[i].name);
        text(out, ",\"in\":\"query\",\"required\":false,");
        describe(out, &table->items[i]);
        text(out, ",\"schema\":");
        schema(out, &table->items[i]);
        text(out, "}");
    }
    text(out, "]");
}

/* The {words} of a path, shared by its operations. */
static void path_parameters(struct efm_buffer *out, const char *path)
{
    bool first = true;
    for (const char *open = strchr(path, '{'); open != NULL; open = strchr(open + 1, '{')) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(open + 1, "}"), open + 1);
        text(out, first ? "\"parameters\":[{" : ",{");
        member(out, "name", name);
        text(out,
             ",\"in\":\"path\",\"required\":true,\"description\":\"Which one.\",\"schema\":{" NAME_PATTERN
             "}}");
        first = false;
    }
    text(out, first ? "" : "],");
}

/* ---- bodies ---- */

#define NUMBERS "{\"type\":\"array\",\"items\":{\"type\":\"number\"}}"
#define ROWS "{\"type\":\"array\",\"minItems\":1,\"items\":" NUMBERS "}"
#define BASE64 "{\"type\":\"string\",\"description\":\"An image in base64, or a data: address\"}"

/* The members of a JSON body that are no parameters, by the end of the path. */
static const struct {
    const char *path, *members;
} INPUTS[] = {
    {"/transfer", "\"image\":" BASE64 ",\"images\":{\"type\":\"array\",\"minItems\":1,\"items\":" BASE64 "},"
                  "\"vector\":" NUMBERS ",\"vectors\":" ROWS},
    {"/field", "\"points\":" ROWS},
    {"/trace", "\"starts\":" ROWS},
};

static const char *json_inputs(const char *path)
{
    for (size_t i = 0; i < sizeof INPUTS / sizeof INPUTS[0]; i++)
        if (ends_with(path, INPUTS[i].path))
            return INPUTS[i].members;
    return "";
}

/* An object of `members` and of all parameters, each of which may also come in a JSON body or a form. */
static void properties(struct efm_buffer *out, const struct api_parameter_table *table, const char *members)
{
    bool first = members[0] == '\0';
    text(out, "{\"type\":\"object\",\"properties\":{");
    text(out, members);
    for (size_t i = 0; table != NULL && i < table->count; i++) {
        text(out, first ? "" : ",");
        api_json_string(out, table->items[i].name);
        text(out, ":");
        schema(out, &table->items[i]);
        first = false;
    }
    text(out, "}}");
}

/* `operation` is NULL for an answer. */
static void media(struct efm_buffer *out, const char *type, const struct api_operation_document *operation)
{
    /* the JSON of a dataset is the dataset */
    bool takes_parameters = operation != NULL && strstr(operation->path, "/datasets") == NULL;
    const struct api_parameter_table *table = takes_parameters ? operation->parameters : NULL;
    api_json_string(out, type);
    text(out, ":{\"schema\":");
    if (strcmp(type, "multipart/form-data") == 0)
        properties(out, table,
                   operation != NULL && ends_with(operation->path, "/transfer")
                       ? "\"image\":{\"type\":\"string\",\"format\":\"binary\",\"description\":\"A file; may "
                         "be repeated\"}"
                       : "");
    else if (strcmp(type, "application/json") == 0)
        properties(out, table, operation != NULL ? json_inputs(operation->path) : "");
    else if (strncmp(type, "text/", 5) == 0)
        text(out, "{\"type\":\"string\"}");
    else
        text(out, "{\"type\":\"string\",\"format\":\"binary\"}");
    text(out, "}");
}

static void content(struct efm_buffer *out, const char *types, const struct api_operation_document *operation)
{
    char type[64];
    bool first = true;
    text(out, "\"content\":{");
    while (next_word(&types, type, sizeof type)) {
        text(out, first ? "" : ",");
        media(out, type, operation);
        first = false;
    }
    text(out, "}");
}

static bool is_empty(const char *list)
{
    return list == NULL || list[strspn(list, " ")] == '\0';
}

static void request_body(struct efm_buffer *out, const struct api_operation_document *operation,
                         const char *method)
{
    if (is_empty(operation->takes) || strcmp(method, "GET") == 0 || strcmp(method, "DELETE") == 0)
        return;
    /* parameters alone make a whole request to generate */
    text(out, ends_with(operation->path, "/generate") ? ",\"requestBody\":{\"required\":false,"
                                                      : ",\"requestBody\":{\"required\":true,");
    content(out, operation->takes, operation);
    text(out, "}");
}

static void response(struct efm_buffer *out, const char *status, const char *description, const char *gives)
{
    efm_buffer_format(out, "\"%s\":{", status);
    member(out, "description", description);
    if (!is_empty(gives)) {
        text(out, ",");
        content(out, gives, NULL);
    }
    text(out, "},");
}

static void responses(struct efm_buffer *out, const struct api_operation_document *operation,
                      const char *method)
{
    text(out, ",\"responses\":{");
    if (is_empty(operation->gives)) {
        response(out, "204", "Done.", "");
    } else {
        bool stores = strcmp(method, "PUT") == 0 && ends_with(operation->path, "}");
        response(out, "200", stores ? "Replaced what bore the name." : "The answer.", operation->gives);
        if (stores)
            response(out, "201", "Stored under a new name.", operation->gives);
    }
    text(out, "\"4XX\":{\"$ref\":\"#/components/responses/Problem\"},"
              "\"default\":{\"$ref\":\"#/components/responses/Problem\"}}");
}

/* ---- operations ---- */

/* "post_v1_models_name_field": unique, as method and path are. */
static void operation_id(struct efm_buffer *out, const char *method, const char *path)
{
    char both[160], id[160];
    size_t length = 0;
    snprintf(both, sizeof both, "%s%s", method, path);
    for (const char *at = both; *at != '\0'; at++)
        if (isalnum((unsigned char)*at))
            id[length++] = *at;
        else if (length > 0 && id[length - 1] != '_')
            id[length++] = '_';
    length -= length > 0 && id[length - 1] == '_';
    id[length] = '\0';
    member(out, "operationId", id);
}

static void operation_of(struct efm_buffer *out, const struct api_operation_document *operation,
                         const char *method)
{
    char lower[16];
    snprintf(lower, sizeof lower, "%s", method);
    for (char *at = lower; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    const char *help = operation->help != NULL ? operation->help : "";
    bool has_detail = operation->detail != NULL && operation->detail[0] != '\0';
    efm_buffer_format(out, "\"%s\":{", lower);
    operation_id(out, lower, operation->path);
    efm_buffer_format(out, ",\"tags\":[\"%s\"],", tag_of(operation->path));
    member(out, "summary", help);
    text(out, ",");
    member(out, "description", has_detail ? operation->detail : help);
    query_parameters(out, operation->parameters);
    request_body(out, operation, method);
    responses(out, operation, method);
    text(out, "}");
}

/* All operations of the path of operations[index]: several endpoints may share it. */
static void path_item(struct efm_buffer *out, const struct api_operation_document *operations, size_t count,
                      size_t index)
{
    const char *path = operations[index].path;
    bool first = true;
    api_json_string(out, path);
    text(out, ":{");
    path_parameters(out, path);
    for (size_t i = index; i < count; i++) {
        const char *methods = operations[i].methods;
        char method[16];
        while (strcmp(operations[i].path, path) == 0 && next_word(&methods, method, sizeof method)) {
            text(out, first ? "" : ",");
            operation_of(out, &operations[i], method);
            first = false;
        }
    }
    text(out, "}");
}

static bool is_first_of_path(const struct api_operation_document *operations, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(operations[i].path, operations[index].path) == 0)
            return false;
    return true;
}

/* ---- the frame of the document ---- */

static void head(struct efm_buffer *out, const char *version)
{
    text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"efmd\",");
    member(out, "version", version);
    text(out,
         ",\"summary\":\"Electrostatic field matching over HTTP\",\"description\":\"Carries images and "
         "vectors along the field lines between two charged plates, from one dataset to the other. Every "
         "parameter may come from the query, from a form field or from a JSON member, but only once. "
         "Errors are problem+json (RFC 9457).\",\"contact\":{\"name\":\"efmd\"},\"license\":{\"name\":"
         "\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},\"servers\":[{\"url\":\"/\",\"description\":\"This "
         "daemon\"}],\"security\":[],\"tags\":["
         "{\"name\":\"transfer\",\"description\":\"Carry samples from one plate to the other\"},"
         "{\"name\":\"models\",\"description\":\"Models, and looks at their fields\"},"
         "{\"name\":\"datasets\",\"description\":\"Samples that models are made of\"},"
         "{\"name\":\"service\",\"description\":\"Health, metrics and documents\"}]");
}

static void problem_component(struct efm_buffer *out)
{
    text(out, "\"components\":{\"responses\":{\"Problem\":{\"description\":\"What went wrong.\",\"content\":{"
              "\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}},"
              "\"schemas\":{\"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457 problem details\","
              "\"required\":[\"type\",\"title\",\"status\",\"detail\",\"code\",\"request_id\",\"error\"],"
              "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},"
              "\"status\":{\"type\":\"integer\",\"minimum\":400,\"maximum\":599},"
              "\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"},\"code\":{");
    static const char *const codes[] = {
#define API_OPENAPI_CODE(symbol, http, code, title) code,
        API_PROBLEM_MAP(API_OPENAPI_CODE)
#undef API_OPENAPI_CODE
            NULL};
    words(out, codes);
    text(out, "},\"request_id\":{\"type\":\"string\"},\"error\":{\"type\":\"string\",\"description\":\"The "
              "detail again, for clients made for other servers\"},\"errors\":{\"type\":\"array\",\"items\":{"
              "\"type\":\"object\",\"required\":[\"pointer\",\"detail\"],\"properties\":{\"pointer\":{"
              "\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}}}}");
}

enum efm_status api_openapi_render(const struct api_operation_document *operations, size_t count,
                                   const char *version, struct efm_buffer *out)
{
    bool first = true;
    head(out, version);
    text(out, ",\"paths\":{");
    for (size_t i = 0; i < count; i++) {
        if (!is_first_of_path(operations, i))
            continue;
        text(out, first ? "" : ",");
        path_item(out, operations, count, i);
        first = false;
    }
    text(out, "},");
    problem_component(out);
    text(out, "}\n");
    return out->status;
}
