// SPDX-License-Identifier: Apache-2.0
/* What goes in and what comes out of an operation: bodies by media type, answers by status, their headers. */
#include "api/json.h"
#include "api/openapi_internal.h"

#include <stdio.h>
#include <string.h>

static bool is_empty(const char *list)
{
    return list == NULL || list[strspn(list, " ")] == '\0';
}

/* ---- media ---- */

static const char A_PART[] = "";

/* "type":{"schema":...,"example":...}; `schema` and `example` of JSON and of forms, may be NULL. Half a file (A_PART) is of no
 * shape. */
static void media(struct efm_buffer *out, const char *type, const char *schema, const char *example)
{
    const bool is_json = strcmp(type, "application/json") == 0;
    const bool is_form = strcmp(type, "multipart/form-data") == 0;
    api_json_string(out, type);
    if (strcmp(type, "text/event-stream") ==
        0) { /* a schema would be taken for that of the whole, or of one event */
        efm_buffer_append_string(out, ":{}");
        return;
    }
    api_openapi_text(out, ":{'schema':");
    if (schema == A_PART)
        api_openapi_text(out, "{'type':'string','format':'binary'}");
    else if ((is_json || is_form) && schema != NULL)
        api_openapi_ref(out, "schemas", schema);
    else if (is_json || is_form)
        api_openapi_text(out, "{'type':'object'}");
    else if (strncmp(type, "text/", 5) == 0)
        api_openapi_text(out, "{'type':'string'}");
    else
        api_openapi_text(out, "{'type':'string','format':'binary'}");
    if (is_json && example != NULL) {
        api_openapi_text(out, ",'example':");
        api_openapi_text(out, example);
    }
    efm_buffer_append_string(out, "}");
}

void api_openapi_request_body(struct efm_buffer *out, const struct api_operation_document *operation,
                              const char *method, const struct api_openapi_row *row)
{
    static const struct api_openapi_row nothing = {.methods = ""};
    const char *types = operation->takes, *separator = "";
    char type[64];
    if (row == NULL)
        row = &nothing;
    if (is_empty(types) || strcmp(method, "GET") == 0 || strcmp(method, "DELETE") == 0)
        return;
    efm_buffer_format(out, ",\"requestBody\":{\"required\":%s,\"content\":{",
                      row->body_optional ? "false" : "true");
    while (api_openapi_word(&types, type, sizeof type)) {
        const bool is_form = strcmp(type, "multipart/form-data") == 0;
        efm_buffer_append_string(out, separator);
        media(out, type, is_form ? row->form : row->body, row->example);
        separator = ",";
    }
    efm_buffer_append_string(out, "}}");
}

/* ---- answers ---- */

/* What a status says, and the headers that it alone brings. */
static const struct {
    const char *status, *description, *headers;
    bool has_body;
} ANSWERS[] = {
    {"200", "The answer.", "", true},
    {"201", "Stored under a new name.", "", true},
    {"202", "A job that goes on.", "", true},
    {"204", "Done; there is nothing to say.", "", false},
    {"206", "The part that Range asked for.", "ContentRange", true},
    {"303", "It is to be had at another place.", "Location", false},
    {"304", "What If-None-Match named is still so.", "ETag", false},
    {"409", "Not in memory.", "", true},
    {"503", "Not ready.", "RetryAfter", true},
};

static void answered_headers(struct efm_buffer *out, const char *names, const char *more)
{
    char name[64], header[64];
    const char *const lists[] = {"RequestId", names, more};
    api_openapi_text(out, ",'headers':{");
    for (size_t i = 0; i < 3; i++)
        for (const char *list = lists[i]; list != NULL && api_openapi_word(&list, name, sizeof name);) {
            for (size_t k = 0; k < api_openapi_answered_header_count; k++)
                if (strcmp(api_openapi_answered_headers[k].name, name) == 0) {
                    /* the name that the header has on the wire is kept where its end would be */
                    snprintf(header, sizeof header, "%s", api_openapi_answered_headers[k].end);
                    efm_buffer_append_string(out, i == 0 ? "" : ",");
                    api_json_string(out, header);
                    efm_buffer_append_string(out, ":");
                    api_openapi_ref(out, "headers", name);
                }
        }
    efm_buffer_append_string(out, "}");
}

/* "200":{...}; `word` is an item of row->answers. */
static void answer(struct efm_buffer *out, const char *word, const struct api_operation_document *operation,
                   const struct api_openapi_row *row)
{
    char status[4], type[64];
    const char *schema = strchr(word, ':'), *types = operation->gives, *separator = "";
    size_t i = 0;
    snprintf(status, sizeof status, "%.3s", word);
    while (i + 1 < sizeof ANSWERS / sizeof ANSWERS[0] && strcmp(ANSWERS[i].status, status) != 0)
        i++;
    efm_buffer_format(out, "\"%s\":{", status);
    api_openapi_member(out, "description", ANSWERS[i].description);
    const char *own = strcmp(status, "202") == 0              ? row->accepted
                      : schema == NULL && ANSWERS[i].has_body ? row->headers
                                                              : "";
    answered_headers(out, ANSWERS[i].headers, own);
    if (!ANSWERS[i].has_body || (schema == NULL && is_empty(types))) {
        efm_buffer_append_string(out, "},");
        return;
    }
    api_openapi_text(out, ",'content':{");
    if (schema != NULL)
        media(out, "application/json", schema + 1, NULL);
    while (schema == NULL && api_openapi_word(&types, type, sizeof type)) {
        efm_buffer_append_string(out, separator);
        media(out, type, strcmp(status, "206") == 0 ? A_PART : row->json, NULL);
        separator = ",";
    }
    if (status[0] == '5')
        api_openapi_text(out,
                         ",'application/problem+json':{'schema':{'$ref':'#/components/schemas/Problem'}}");
    efm_buffer_append_string(out, "}},");
}

static bool has_status(const char *list, const char *status)
{
    return list != NULL && strstr(list, status) != NULL;
}

static void problems(struct efm_buffer *out, const struct api_operation_document *operation,
                     const struct api_openapi_row *row)
{
    /* in their order; a key is asked for where there is a scope */
    static const char *const all[] = {"400", "401", "403", "404", "406", "408", "409",
                                      "410", "412", "413", "414", "415", "416", "417",
                                      "421", "422", "429", "431", "500", "503", "504"};
    static const char everywhere[] = "400 403 408 413 414 415 417 421 422 429 431 500 503 504";
    const bool keyed = !is_empty(operation->scope);
    const char *separator = "";
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char name[16];
        const bool wanted = has_status(everywhere, all[i]) || has_status(row->problems, all[i]) ||
                            (keyed && strcmp(all[i], "401") == 0);
        if (!wanted || has_status(row->answers, all[i]))
            continue;
        snprintf(name, sizeof name, "Problem%s", all[i]);
        efm_buffer_format(out, "%s\"%s\":", separator, all[i]);
        api_openapi_ref(out, "responses", name);
        separator = ",";
    }
}

void api_openapi_responses(struct efm_buffer *out, const struct api_operation_document *operation,
                           const struct api_openapi_row *row)
{
    const struct api_openapi_row plain = {.answers = is_empty(operation->gives) ? "204" : "200",
                                          .problems = "401 404 406 409 410 412 416"};
    char word[64];
    if (row == NULL)
        row = &plain;
    const char *answers = row->answers;
    api_openapi_text(out, ",'responses':{");
    while (api_openapi_word(&answers, word, sizeof word))
        answer(out, word, operation, row);
    problems(out, operation, row);
    efm_buffer_append_string(out, "}");
}

/* ---- headers of answers ---- */

#define HEADER(type, description) "{'description':'" description "','schema':{" type "}}"
#define ALWAYS(type, description) "{'required':true,'description':'" description "','schema':{" type "}}"
#define TEXT "'type':'string'"

/* `end` is the name on the wire. */
const struct api_openapi_component api_openapi_answered_headers[] = {
    {"RequestId", ALWAYS(TEXT, "That of the request, or a new one"), NULL, "X-Request-Id"},
    {"ETag", ALWAYS(TEXT, "Of what is shown, for conditional requests"), NULL, "ETag"},
    {"Location", ALWAYS(TEXT, "Where it is to be found"), NULL, "Location"},
    {"RetryAfter", HEADER("'type':'integer','minimum':0", "Seconds after which to ask again"), NULL,
     "Retry-After"},
    {"RateLimitPolicy", HEADER(TEXT, "How many requests may be in the queue"), NULL, "RateLimit-Policy"},
    {"RateLimit", HEADER(TEXT, "r: how many more may now; t: seconds until those there are done"), NULL,
     "RateLimit"},
    {"PreferenceApplied", HEADER(TEXT, "respond-async"), NULL, "Preference-Applied"},
    {"AcceptRanges", HEADER(TEXT, "bytes"), NULL, "Accept-Ranges"},
    {"ContentRange", HEADER(TEXT, "Which bytes of how many"), NULL, "Content-Range"},
    {"EfmModel", HEADER(TEXT, "Name and the beginning of the SHA-256 of the model"), NULL, "Efm-Model"},
    {"EfmSeed",
     HEADER("'type':'integer','minimum':0", "The seed: with it the same request gives the same bytes"), NULL,
     "Efm-Seed"},
    {"EfmSteps", HEADER("'type':'integer','minimum':0", "Evaluations of the field, the most of any line"),
     NULL, "Efm-Steps"},
    {"EfmLanded", HEADER(TEXT, "Lines that arrived, of all: 3/4"), NULL, "Efm-Landed"},
    {"EfmStep", HEADER("'type':'integer','minimum':0", "The step of the training after which it was drawn"),
     NULL, "Efm-Step"},
    {"ServerTiming", HEADER(TEXT, "Milliseconds: queue, infer and encode of what was computed, total of all"),
     NULL, "Server-Timing"},
    {"InferenceHeaderContentLength",
     HEADER("'type':'integer','minimum':0", "Bytes of the JSON, which binary tensors follow"), NULL,
     "Inference-Header-Content-Length"},
};
const size_t api_openapi_answered_header_count =
    sizeof api_openapi_answered_headers / sizeof api_openapi_answered_headers[0];
