// SPDX-License-Identifier: Apache-2.0
/* The frame of the document: what the server is, its paths and their operations. */
#include "api/json.h"
#include "api/openapi_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- pieces ---- */

void api_openapi_text(struct efm_buffer *out, const char *quoted)
{
    static const char SPECIAL[] = "',";
    while (*quoted != '\0') {
        const size_t plain = strcspn(quoted, SPECIAL);
        efm_buffer_append(out, quoted, plain);
        quoted += plain;
        if (*quoted == '\'')
            efm_buffer_append_string(out, "\"");
        else if (*quoted == ',' && quoted[1] != ']' && quoted[1] != '}')
            efm_buffer_append_string(out, ",");
        quoted += *quoted != '\0';
    }
}

void api_openapi_member(struct efm_buffer *out, const char *name, const char *value)
{
    efm_buffer_format(out, "\"%s\":", name);
    api_json_string(out, value);
}

bool api_openapi_word(const char **list, char *word, size_t size)
{
    *list += strspn(*list, " ");
    const size_t length = strcspn(*list, " ");
    if (length == 0)
        return false;
    snprintf(word, size, "%.*s", (int)length, *list);
    *list += length;
    return true;
}

void api_openapi_ref(struct efm_buffer *out, const char *place, const char *name)
{
    efm_buffer_format(out, "{\"$ref\":\"#/components/%s/%s\"}", place, name);
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
    api_openapi_member(out, "operationId", id);
}

/* Where there are no keys, none is asked for. */
static void security(struct efm_buffer *out, const char *scope, bool keyed)
{
    if (scope == NULL || scope[0] == '\0')
        api_openapi_text(out, ",'security':[]");
    else
        efm_buffer_format(out, ",\"security\":[%s{\"bearer\":[\"%s\"]}]", keyed ? "" : "{},", scope);
}

static void code_sample(struct efm_buffer *out, const char *curl)
{
    char source[512];
    snprintf(source, sizeof source, "curl -sf %s", curl);
    api_openapi_text(out, ",'x-codeSamples':[{'lang':'Shell','label':'curl',");
    api_openapi_member(out, "source", source);
    efm_buffer_append_string(out, "}]");
}

static void operation_of(struct efm_buffer *out, const struct api_operation_document *operation,
                         const char *method, bool keyed)
{
    const struct api_openapi_row *row = api_openapi_find_row(method, operation->path);
    const char *help = operation->help != NULL ? operation->help : "";
    const bool has_detail = operation->detail != NULL && operation->detail[0] != '\0';
    char lower[16];
    snprintf(lower, sizeof lower, "%s", method);
    for (char *at = lower; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    efm_buffer_format(out, "\"%s\":{", lower);
    operation_id(out, lower, operation->path);
    efm_buffer_format(out, ",\"tags\":[\"%s\"],", row != NULL ? row->tag : "service");
    api_openapi_member(out, "summary", help);
    efm_buffer_append_string(out, ",");
    api_openapi_member(out, "description", has_detail ? operation->detail : help);
    security(out, operation->scope, keyed);
    api_openapi_parameters(out, operation->parameters, row);
    api_openapi_request_body(out, operation, method, row);
    api_openapi_responses(out, operation, row);
    if (row != NULL && row->curl != NULL)
        code_sample(out, row->curl);
    efm_buffer_append_string(out, "}");
}

/* ---- paths ---- */

/* All operations of the path of operations[index]: several endpoints may share it. */
static void path_item(struct efm_buffer *out, const struct api_operation_document *operations, size_t count,
                      size_t index, bool keyed)
{
    const char *path = operations[index].path, *separator = "";
    api_json_string(out, path);
    efm_buffer_append_string(out, ":{");
    api_openapi_path_parameters(out, path);
    for (size_t i = index; i < count; i++) {
        const char *methods = operations[i].methods;
        char method[16];
        while (strcmp(operations[i].path, path) == 0 && api_openapi_word(&methods, method, sizeof method)) {
            efm_buffer_append_string(out, separator);
            operation_of(out, &operations[i], method, keyed);
            separator = ",";
        }
    }
    efm_buffer_append_string(out, "}");
}

static bool is_first_of_path(const struct api_operation_document *operations, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(operations[i].path, operations[index].path) == 0)
            return false;
    return true;
}

/* ---- the frame of the document ---- */

static const struct {
    const char *name, *description;
} TAGS[] = {
    {"transfer", "Carry samples from one plate to the other"},
    {"models", "Models, and looks at their fields"},
    {"datasets", "Samples that models are made of"},
    {"jobs", "Trainings, and requests that are answered later"},
    {"service", "Health, metrics and documents"},
    {"inference", "Open Inference Protocol, version 2"},
    {"images", "Images as in the OpenAI API"},
};

/* True when an operation bears it. */
static bool has_tag(const struct api_operation_document *operations, size_t count, const char *tag)
{
    for (size_t i = 0; i < count; i++) {
        const char *methods = operations[i].methods;
        char method[16];
        while (api_openapi_word(&methods, method, sizeof method)) {
            const struct api_openapi_row *row = api_openapi_find_row(method, operations[i].path);
            if (strcmp(row != NULL ? row->tag : "service", tag) == 0)
                return true;
        }
    }
    return false;
}

static void head(struct efm_buffer *out, const char *version)
{
    api_openapi_text(out, "{'openapi':'3.1.0','info':{'title':'efmd',");
    api_openapi_member(out, "version", version);
    api_openapi_text(
        out,
        ",'summary':'Electrostatic field matching over HTTP','description':'Carries images and vectors along "
        "the "
        "field lines between two charged plates, from one dataset to the other. Every parameter may come "
        "from the "
        "query, from a form field or from a JSON member, but only once. Images are told by their bytes, "
        "whatever "
        "Content-Type says. Errors are problem+json (RFC 9457). HEAD is answered wherever GET is, and "
        "OPTIONS says "
        "which methods there are.','contact':{'name':'efmd'},'license':{'name':'Apache-2.0','identifier':"
        "'Apache-2.0'}},'servers':[{'url':'/','description':'This daemon'}],'security':[]");
}

static void tags(struct efm_buffer *out, const struct api_operation_document *operations, size_t count)
{
    const char *separator = "";
    api_openapi_text(out, ",'tags':[");
    for (size_t i = 0; i < sizeof TAGS / sizeof TAGS[0]; i++) {
        if (!has_tag(operations, count, TAGS[i].name))
            continue;
        efm_buffer_append_string(out, separator);
        efm_buffer_append_string(out, "{");
        api_openapi_member(out, "name", TAGS[i].name);
        efm_buffer_append_string(out, ",");
        api_openapi_member(out, "description", TAGS[i].description);
        efm_buffer_append_string(out, "}");
        separator = ",";
    }
    efm_buffer_append_string(out, "]");
}

enum efm_status api_openapi_render(const struct api_operation_document *operations, size_t count,
                                   const struct api_document_options *options, struct efm_buffer *out)
{
    const size_t begin = out->size;
    const char *separator = "";
    head(out, options->version);
    tags(out, operations, count);
    api_openapi_text(out, ",'paths':{");
    for (size_t i = 0; i < count; i++) {
        if (!is_first_of_path(operations, i))
            continue;
        efm_buffer_append_string(out, separator);
        path_item(out, operations, count, i, options->keyed);
        separator = ",";
    }
    efm_buffer_append_string(out, "},");
    api_openapi_components(out, begin);
    efm_buffer_append_string(out, "}\n");
    return out->status;
}
