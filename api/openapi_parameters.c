// SPDX-License-Identifier: Apache-2.0
/* Parameters of the document: of queries and of JSON from the tables, of paths, and headers that requests may have. */
#include "api/json.h"
#include "api/openapi_internal.h"

#include <stdio.h>
#include <string.h>

#define NAME_PATTERN "'pattern':'^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$'"

/* ---- schemas of the tables ---- */

static void limits(struct efm_buffer *out, const struct api_parameter *parameter)
{
    efm_buffer_format(out,
                      "\"type\":\"%s\",\"minimum\":", parameter->kind == API_INTEGER ? "integer" : "number");
    api_json_real(out, parameter->low);
    api_openapi_text(out, ",'maximum':");
    /* whole numbers up to 2^53 in full: 15 digits would round the largest seed */
    if (parameter->kind == API_INTEGER)
        efm_buffer_format(out, "%.0f", parameter->high);
    else
        api_json_real(out, parameter->high);
}

static void words(struct efm_buffer *out, const char *const *list)
{
    api_openapi_text(out, "'type':'string','enum':[");
    for (size_t i = 0; list[i] != NULL; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        api_json_string(out, list[i]);
    }
    efm_buffer_append_string(out, "]");
}

static void type(struct efm_buffer *out, const struct api_parameter *parameter)
{
    switch (parameter->kind) {
    case API_INTEGER:
    case API_REAL:
        limits(out, parameter);
        break;
    case API_WORD:
        words(out, parameter->words);
        break;
    case API_NAME:
        api_openapi_text(out, "'type':'string'," NAME_PATTERN);
        break;
    case API_COLOUR:
        api_openapi_text(out, "'type':'string','pattern':'^(#?[0-9a-fA-F]{6}|white|black|grey|gray)$'");
        break;
    }
    if (!api_parameter_takes(parameter, parameter->fallback))
        return;
    api_openapi_text(out, ",'default':");
    if (parameter->kind == API_INTEGER || parameter->kind == API_REAL)
        efm_buffer_append_string(out, parameter->fallback);
    else
        api_json_string(out, parameter->fallback);
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
    api_openapi_member(out, "description", description);
}

void api_openapi_schema(struct efm_buffer *out, const struct api_parameter *parameter)
{
    efm_buffer_append_string(out, "{");
    type(out, parameter);
    efm_buffer_append_string(out, "}");
}

void api_openapi_properties(struct efm_buffer *out, const struct api_parameter_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        api_json_string(out, table->items[i].name);
        efm_buffer_append_string(out, ":{");
        describe(out, &table->items[i]);
        efm_buffer_append_string(out, ",");
        type(out, &table->items[i]);
        efm_buffer_append_string(out, "}");
    }
}

/* ---- parameters of operations ---- */

static void query_parameter(struct efm_buffer *out, const struct api_parameter *parameter)
{
    efm_buffer_append_string(out, "{");
    api_openapi_member(out, "name", parameter->name);
    api_openapi_text(out, ",'in':'query','required':false,");
    describe(out, parameter);
    api_openapi_text(out, ",'schema':");
    api_openapi_schema(out, parameter);
    efm_buffer_append_string(out, "}");
}

void api_openapi_parameters(struct efm_buffer *out, const struct api_parameter_table *table,
                            const struct api_openapi_row *row)
{
    const char *asks = row != NULL && row->asks != NULL ? row->asks : "";
    char name[64];
    api_openapi_text(out, ",'parameters':[");
    for (size_t i = 0; table != NULL && i < table->count; i++) {
        query_parameter(out, &table->items[i]);
        efm_buffer_append_string(out, ",");
    }
    while (api_openapi_word(&asks, name, sizeof name)) {
        api_openapi_ref(out, "parameters", name);
        efm_buffer_append_string(out, ",");
    }
    api_openapi_ref(out, "parameters", "RequestId");
    efm_buffer_append_string(out, "]");
}

/* What stands for {name}: by what the path leads to. */
static const struct {
    const char *word, *path, *text;
} WORDS[] = {
    {"version", "",
     "'description':'The version, of which every model has one','schema':{'type':'string','enum':['1']}"},
    {"name", "/jobs/",
     "'description':'The id of a job','example':'job_1','schema':{'type':'string'," NAME_PATTERN "}"},
    {"name", "/datasets/",
     "'description':'The name of a dataset','example':'threes','schema':{'type':'string'," NAME_PATTERN "}"},
    {"name", "/models/",
     "'description':'The name of a model','example':'exact','schema':{'type':'string'," NAME_PATTERN "}"},
    {"", "", "'description':'Which one','schema':{'type':'string'," NAME_PATTERN "}"},
};

static const char *word_of_path(const char *word, const char *path)
{
    size_t i = 0;
    while (WORDS[i].word[0] != '\0' &&
           (strcmp(WORDS[i].word, word) != 0 || strstr(path, WORDS[i].path) == NULL))
        i++;
    return WORDS[i].text;
}

void api_openapi_path_parameters(struct efm_buffer *out, const char *path)
{
    const char *separator = "\"parameters\":[{", *end = "";
    for (const char *open = strchr(path, '{'); open != NULL; open = strchr(open + 1, '{')) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)strcspn(open + 1, "}"), open + 1);
        efm_buffer_append_string(out, separator);
        api_openapi_member(out, "name", word);
        api_openapi_text(out, ",'in':'path','required':true,");
        api_openapi_text(out, word_of_path(word, path));
        efm_buffer_append_string(out, "}");
        separator = ",{";
        end = "],";
    }
    efm_buffer_append_string(out, end);
}

/* ---- headers of requests ---- */

#define HEADER(name, type, description)                                                                      \
    "{'name':'" name "','in':'header','required':false,'description':'" description "','schema':{" type "}}"
#define TEXT "'type':'string'"

const struct api_openapi_component api_openapi_asked_headers[] = {
    {"RequestId",
     HEADER("X-Request-Id", TEXT,
            "1 to 128 printable characters, which the answer and the log bear; anything else is replaced"),
     NULL, NULL},
    {"Prefer",
     HEADER("Prefer", TEXT,
            "RFC 7240. respond-async: what carries samples answers 202 with a job; wait=30: a job is told "
            "when there "
            "is news, or after so many seconds"),
     NULL, NULL},
    {"IdempotencyKey",
     HEADER("Idempotency-Key", TEXT ",'maxLength':512",
            "Makes it safe to send the request again: the same key gives the same job. 1 to 255 printable "
            "characters, bare or in quotes"),
     NULL, NULL},
    {"Traceparent", HEADER("traceparent", TEXT, "W3C Trace Context; goes along with the job to its webhook"),
     NULL, NULL},
    {"IfNoneMatch",
     HEADER("If-None-Match", TEXT, "ETags that are known already: 304 when it still is one of them"), NULL,
     NULL},
    {"IfNoneMatchAny",
     HEADER("If-None-Match", TEXT, "* refuses (412) to replace what is there, an ETag to replace just that"),
     NULL, NULL},
    {"IfMatch", HEADER("If-Match", TEXT, "ETags: refuses (412) to give or touch anything else"), NULL, NULL},
    {"IfUnmodifiedSince",
     HEADER("If-Unmodified-Since", TEXT, "A date: refuses (412) what is newer; where there is no If-Match"),
     NULL, NULL},
    {"Range", HEADER("Range", TEXT, "bytes=0-1023: a part of the file (206)"), NULL, NULL},
    {"IfRange", HEADER("If-Range", TEXT, "An ETag: the part when it is still this one, else all"), NULL,
     NULL},
    {"LastEventId", HEADER("Last-Event-ID", TEXT, "The id of an event: the stream goes on after it"), NULL,
     NULL},
    {"InferenceHeaderContentLength",
     HEADER("Inference-Header-Content-Length", "'type':'integer','minimum':0",
            "Bytes of the JSON, which binary tensors follow; 0: the whole body is the one input"),
     NULL, NULL},
};
const size_t api_openapi_asked_header_count =
    sizeof api_openapi_asked_headers / sizeof api_openapi_asked_headers[0];
