/* openapi_internal.h - what the files of the OpenAPI document share. Not for other rooms.
 *
 * Pieces of JSON stand in the sources with ' for ", and with a comma after the last item where that is handy:
 *
 *     api_openapi_text(out, "{'type':'array','items':{'type':'number'},}");
 *
 * Threads: pure. */
#ifndef API_OPENAPI_INTERNAL_H
#define API_OPENAPI_INTERNAL_H

#include "api/openapi.h"

/* Appends it with " for ', and without commas before ] and }. */
void api_openapi_text(struct efm_buffer *out, const char *quoted);

/* "name":"value" with the escapes of JSON. */
void api_openapi_member(struct efm_buffer *out, const char *name, const char *value);

/* The next word of a list separated by spaces, copied to word[size]; false at the end. */
bool api_openapi_word(const char **list, char *word, size_t size);

/* {"$ref":"#/components/PLACE/NAME"} */
void api_openapi_ref(struct efm_buffer *out, const char *place, const char *name);

/* ---- what is known of an operation beside its endpoint (openapi_rows.c) ---- */

struct api_openapi_row {
    const char *methods; /* "POST PUT" */
    const char *path;    /* without the prefix /v1 */
    const char *tag;
    /* Status codes of answers that are no problems; those of 200, 201 and 206 have what the endpoint gives. ":Name": JSON of that
     * schema and nothing else. */
    const char *answers;  /* "200 202:Job" */
    const char *json;     /* the schema of JSON among what the endpoint gives; NULL: any object */
    const char *headers;  /* of 200, 201 and 206, as names of components */
    const char *accepted; /* of 202 */
    const char *problems; /* status codes beyond those that any operation may have */
    const char *asks;     /* headers of requests, as names of components */
    const char *body;     /* the schema of a JSON body */
    const char *form;     /* and of a form */
    const char *example;  /* a JSON body, with ' for " */
    const char *curl;     /* what follows "curl -sf ", with $H for the server and ' as they are */
    bool body_optional;
};

/* The row of a method and a path, which may have the prefix; NULL: there is none. */
const struct api_openapi_row *api_openapi_find_row(const char *method, const char *path);

/* ---- parts of an operation, each with a comma before it ---- */

/* "parameters": the query of the table, and headers (openapi_parameters.c). */
void api_openapi_parameters(struct efm_buffer *out, const struct api_parameter_table *table,
                            const struct api_openapi_row *row);
/* "requestBody", where there is one (openapi_answers.c). */
void api_openapi_request_body(struct efm_buffer *out, const struct api_operation_document *operation,
                              const char *method, const struct api_openapi_row *row);
/* "responses". */
void api_openapi_responses(struct efm_buffer *out, const struct api_operation_document *operation,
                           const struct api_openapi_row *row);

/* "parameters" of a path: what its {words} stand for; with a comma after it. */
void api_openapi_path_parameters(struct efm_buffer *out, const char *path);

/* The schema of one parameter, and "name":schema of all, divided by commas. */
void api_openapi_schema(struct efm_buffer *out, const struct api_parameter *parameter);
void api_openapi_properties(struct efm_buffer *out, const struct api_parameter_table *table);

/* ---- components ---- */

/* "components" with all that the document so far, out->data from `begin` on, refers to (openapi_components.c). */
void api_openapi_components(struct efm_buffer *out, size_t begin);

/* One place of components: name and text of each. */
struct api_openapi_component {
    const char *name, *text;                 /* ' for "; with a table: up to its properties */
    const struct api_parameter_table *table; /* whose properties follow the text, may be NULL */
    const char *end;                         /* what follows them, may be NULL */
};
extern const struct api_openapi_component api_openapi_answer_schemas[], api_openapi_request_schemas[],
    api_openapi_asked_headers[], api_openapi_answered_headers[];
extern const size_t api_openapi_answer_schema_count, api_openapi_request_schema_count,
    api_openapi_asked_header_count, api_openapi_answered_header_count;

#endif
