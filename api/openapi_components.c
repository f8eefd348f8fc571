// SPDX-License-Identifier: Apache-2.0
/* The components of the document: of all that there are those which it refers to. */
#include "api/json.h"
#include "api/openapi_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- what is referred to ---- */

static bool holds(const struct efm_buffer *out, size_t begin, const char *text)
{
    return out->status == EFM_OK && out->size > begin &&
           memmem(out->data + begin, out->size - begin, text, strlen(text)) != NULL;
}

static bool is_referred(const struct efm_buffer *out, size_t begin, const char *place, const char *name)
{
    char reference[128];
    snprintf(reference, sizeof reference, "\"#/components/%s/%s\"", place, name);
    return holds(out, begin, reference);
}

/* Those of one list that are referred to; each stands before those that it refers to itself. */
static void list(struct efm_buffer *out, size_t begin, const char *place,
                 const struct api_openapi_component *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_referred(out, begin, place, items[i].name))
            continue;
        api_json_string(out, items[i].name);
        efm_buffer_append_string(out, ":");
        api_openapi_text(out, items[i].text);
        if (items[i].table != NULL) {
            api_openapi_properties(out, items[i].table);
            api_openapi_text(out, items[i].end);
        }
        efm_buffer_append_string(out, ",");
    }
}

/* The comma after the last item goes. */
static void end_place(struct efm_buffer *out)
{
    if (out->size > 0 && out->data[out->size - 1] == ',')
        out->size--;
    efm_buffer_append_string(out, "}");
}

/* ---- problems ---- */

static const struct {
    int status;
    const char *code, *title;
} PROBLEMS[] = {
#define API_OPENAPI_PROBLEM(symbol, http, code, title) {http, code, title},
    API_PROBLEM_MAP(API_OPENAPI_PROBLEM)
#undef API_OPENAPI_PROBLEM
};
enum { PROBLEM_COUNT = sizeof PROBLEMS / sizeof PROBLEMS[0] };

static bool has_problem(int status)
{
    for (size_t i = 0; i < PROBLEM_COUNT; i++)
        if (PROBLEMS[i].status == status)
            return true;
    return false;
}

/* The codes of one status as an enumeration, or all when it is 0. */
static void problem_codes(struct efm_buffer *out, int status)
{
    const char *separator = "";
    for (size_t i = 0; i < PROBLEM_COUNT; i++) {
        if (status != 0 && PROBLEMS[i].status != status)
            continue;
        efm_buffer_append_string(out, separator);
        api_json_string(out, PROBLEMS[i].code);
        separator = ",";
    }
}

static void problem_description(struct efm_buffer *out, int status)
{
    char description[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < PROBLEM_COUNT && used < sizeof description; i++)
        if (PROBLEMS[i].status == status)
            used += (size_t)snprintf(description + used, sizeof description - used, "%s`%s`: %s.",
                                     used > 0 ? " " : "", PROBLEMS[i].code, PROBLEMS[i].title);
    api_openapi_member(out, "description", description);
}

/* The headers that come with one status beside X-Request-Id. */
static const char *problem_header(int status)
{
    if (status == 429)
        return ",'Retry-After':{'$ref':'#/components/headers/RetryAfter'},"
               "'RateLimit-Policy':{'$ref':'#/components/headers/RateLimitPolicy'},"
               "'RateLimit':{'$ref':'#/components/headers/RateLimit'}";
    if (status == 503)
        return ",'Retry-After':{'$ref':'#/components/headers/RetryAfter'}";
    if (status == 401)
        return ",'WWW-Authenticate':{'description':'Bearer','schema':{'type':'string'}}";
    return "";
}

static void problem_response(struct efm_buffer *out, int status)
{
    efm_buffer_format(out, "\"Problem%d\":{", status);
    problem_description(out, status);
    api_openapi_text(out, ",'headers':{'X-Request-Id':{'$ref':'#/components/headers/RequestId'}");
    api_openapi_text(out, problem_header(status));
    api_openapi_text(
        out, "},'content':{'application/problem+json':{'schema':{'allOf':["
             "{'$ref':'#/components/schemas/Problem'},{'type':'object','properties':{'status':{'type':"
             "'integer','const':");
    efm_buffer_format(out, "%d", status);
    api_openapi_text(out, "},'code':{'type':'string','enum':[");
    problem_codes(out, status);
    efm_buffer_append_string(out, "]}}}]}}}}");
}

static void problem_responses(struct efm_buffer *out, size_t begin)
{
    for (int status = 400; status < 600; status++) {
        char name[16];
        snprintf(name, sizeof name, "Problem%d", status);
        if (!has_problem(status) || !is_referred(out, begin, "responses", name))
            continue;
        problem_response(out, status);
        efm_buffer_append_string(out, ",");
    }
}

static void problem_schema(struct efm_buffer *out)
{
    api_openapi_text(
        out,
        "'Problem':{'type':'object','description':'RFC 9457 problem details',"
        "'required':['type','title','status','detail','code','request_id','error'],'properties':{"
        "'type':{'type':'string','description':'A relative address that ends in the code'},"
        "'title':{'type':'string'},'status':{'type':'integer','minimum':400,'maximum':599},"
        "'detail':{'type':'string'},'instance':{'type':'string','description':'The path that was asked for'},"
        "'request_id':{'type':'string'},'trace_id':{'type':'string','pattern':'^[0-9a-f]{32}$'},"
        "'error':{'type':'string','description':'The detail again, for clients made for other servers'},"
        "'errors':{'type':'array','description':'Which parameters are at fault, and in what way','items':{"
        "'type':'object','required':['pointer','detail'],'properties':{"
        "'pointer':{'type':'string','description':'A JSON pointer, or / and the name of a parameter'},"
        "'detail':{'type':'string'}}}},'code':{'type':'string','enum':[");
    problem_codes(out, 0);
    efm_buffer_append_string(out, "]}}}");
}

/* ---- the whole ---- */

static const char SECURITY[] = "'securitySchemes':{'bearer':{'type':'http','scheme':'bearer','description':'"
                               "A key of the server. Its scope is "
                               "infer, for what uses models, or admin, for what changes the server; a server "
                               "without keys asks for none'}},";

void api_openapi_components(struct efm_buffer *out, size_t begin)
{
    api_openapi_text(out, "'components':{");
    if (holds(out, begin, "{\"bearer\":["))
        api_openapi_text(out, SECURITY);
    api_openapi_text(out, "'responses':{");
    problem_responses(out, begin);
    end_place(out);
    api_openapi_text(out, ",'headers':{");
    list(out, begin, "headers", api_openapi_answered_headers, api_openapi_answered_header_count);
    end_place(out);
    api_openapi_text(out, ",'parameters':{");
    list(out, begin, "parameters", api_openapi_asked_headers, api_openapi_asked_header_count);
    end_place(out);
    api_openapi_text(out, ",'schemas':{");
    list(out, begin, "schemas", api_openapi_answer_schemas, api_openapi_answer_schema_count);
    list(out, begin, "schemas", api_openapi_request_schemas, api_openapi_request_schema_count);
    problem_schema(out);
    efm_buffer_append_string(out, "}}");
}
