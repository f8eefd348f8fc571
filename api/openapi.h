/* openapi.h - the OpenAPI 3.1 document, made from the same tables that parse the requests. Threads: pure. */
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
};

/* Appends the JSON document. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status api_openapi_render(const struct api_operation_document *operations,
                                                  size_t count, const char *version, struct efm_buffer *out);

#endif
