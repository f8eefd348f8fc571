/* openapi.h - the OpenAPI 3.1 document, made from the same tables that parse the requests.
 *
 * What an endpoint says of itself (methods, path, parameters, media types, help, scope) comes from its entry in the route
 * table; the shapes of JSON, the status codes and the headers of each operation stand in openapi_rows.c and
 * openapi_schemas.c. An operation without a row there is shown with what its endpoint says.
 *
 *     const struct api_document_options options = {.version = "1.0"};
 *     api_openapi_render(operations, count, &options, &out);
 *
 * Threads: pure. */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include "api/parameters.h"

/* One endpoint, borrowed. */
struct api_operation_document {
    const char *methods; /* "POST PUT" */
    const char *path;    /* "/v1/models/{name}/field" */
    const struct api_parameter_table *parameters;
    const char *takes, *gives; /* media types, separated by spaces; "" for none */
    const char *help, *detail;
    const char *scope; /* that a key must have: "infer", "admin"; "" or NULL: nobody is asked for one */
};

struct api_document_options {
    const char *version; /* of the server */
    bool keyed;          /* there are keys: without one only what has no scope is answered */
};

/* Appends the JSON document. EFM_E_MEMORY, EFM_E_LIMIT. */
EFM_MUST_CHECK enum efm_status api_openapi_render(const struct api_operation_document *operations,
                                                  size_t count, const struct api_document_options *options,
                                                  struct efm_buffer *out);

#endif
