/* outbound_url.h - URLs of outbound requests, taken apart by the library that goes to them, so that what is checked is what is used.
 * Threads: pure. */
#ifndef SRV_JOBS_OUTBOUND_URL_H
#define SRV_JOBS_OUTBOUND_URL_H

#include "core/base/status.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

enum { SRV_URL_MOST = 2048 /* bytes */ };

/* http or https, with a host and no user information; without "." and ".." in its path, however escaped. */
struct srv_url {
    CURLU *handle;
    char *scheme, *host, *port, *path; /* owned by libcurl */
};

/* On failure it holds nothing: EFM_E_ARGUMENT, whose message shows nothing of the text; EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_url_parse(struct srv_url *url, const char *text, struct efm_error *error);
void srv_url_release(struct srv_url *url);

struct srv_url_prefix {
    struct srv_url url;
    size_t path; /* bytes of its path that count: without '/' at the end */
};

/* `text` has `length` bytes and need not end there. Released by srv_url_release of its url. */
EFM_MUST_CHECK enum efm_status srv_url_prefix_parse(struct srv_url_prefix *prefix, const char *text,
                                                    size_t length, struct efm_error *error);

/* The same scheme, host and port, and a path that goes on with '/' where the prefix ends. */
bool srv_url_begins_with(const struct srv_url *url, const struct srv_url_prefix *prefix);

#endif
