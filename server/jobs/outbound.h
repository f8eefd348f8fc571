/* outbound.h - HTTP requests that the daemon makes itself, to addresses that its clients name: the only user of libcurl.
 *
 * A URL is gone to only when it begins with an allowed prefix (scheme, host and port whole; the path up to a '/'), has no user
 * information, and every address of its name that is tried, looked at when connecting, is public or lies in a network that the operator
 * allowed; one that is not ends the request. Redirects are not followed. Only http and https; proxies of the environment are not used.
 * Threads: any; a client may be shared. Requests block: worker threads only. */
#ifndef SRV_JOBS_OUTBOUND_H
#define SRV_JOBS_OUTBOUND_H

#include "api/problem.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct srv_outbound;

struct srv_outbound_options {
    const char *allowed;          /* prefixes with spaces between; "" none */
    const char *private_networks; /* CIDR with spaces between */
};

/* EFM_E_ARGUMENT names the prefix or network that is none. */
EFM_MUST_CHECK enum efm_status srv_outbound_create(struct srv_outbound **outbound,
                                                   const struct srv_outbound_options *options,
                                                   struct efm_error *error);
void srv_outbound_destroy(struct srv_outbound *outbound);

/* What can be known without connecting: form, scheme, prefix, a literal address. API_P_URL_REFUSED with `pointer`. Does not block. */
bool srv_outbound_check(const struct srv_outbound *outbound, const char *url, const char *pointer,
                        struct api_problem *problem);

/* Is this address (struct sockaddr) one that may be connected to? Exposed for tests. */
struct sockaddr;
bool srv_outbound_address_allowed(const struct srv_outbound *outbound, const struct sockaddr *address);

struct srv_outbound_request {
    const char *url;
    const char *method;         /* "GET", "POST" */
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const void *body;           /* of a POST */
    size_t size;
    double timeout; /* seconds for all of it; 0: none, but a transfer of under 1 kB/s over 60 s is given up */
    uint64_t limit; /* bytes of the answer's body */
    /* Gets the body as it comes, of an answer with any status; false: stop with EFM_E_CANCELLED. NULL: it is thrown away. */
    bool (*take)(void *context, const uint8_t *bytes, size_t size);
    /* Asked about once a second; false: stop with EFM_E_CANCELLED. NULL: never. */
    bool (*go_on)(void *context, uint64_t received, uint64_t expected);
    void *context;
};

/* *status is the HTTP status, 0 when there was no answer. EFM_OK for any complete answer, whatever its status. EFM_E_ARGUMENT: the URL or its address is not
 * allowed; EFM_E_IO: no connection, no answer, cut off; EFM_E_LIMIT; EFM_E_DEADLINE; EFM_E_CANCELLED; EFM_E_MEMORY. The
 * message never bears user information or a query. */
EFM_MUST_CHECK enum efm_status srv_outbound_perform(struct srv_outbound *outbound,
                                                    const struct srv_outbound_request *request, int *status,
                                                    struct efm_error *error);

#endif
