/* openapi_document.h - the document of /openapi.json, made once: it takes some ten milliseconds, for which all clients of an
 * event thread would wait. Threads: read by any. */
#ifndef SRV_ENDPOINTS_OPENAPI_DOCUMENT_H
#define SRV_ENDPOINTS_OPENAPI_DOCUMENT_H

#include "core/base/buffer.h"

#include <stdbool.h>

struct srv_openapi {
    struct efm_buffer text;
    char etag[72]; /* with its quotes */
};

/* `keyed`: the server has keys, and asks for one wherever there is a scope. */
EFM_MUST_CHECK enum efm_status srv_openapi_create(struct srv_openapi **openapi, bool keyed,
                                                  struct efm_error *error);
void srv_openapi_destroy(struct srv_openapi *openapi); /* NULL is fine */

#endif
