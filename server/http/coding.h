/* coding.h - content codings: which one a client takes, and gzip.
 *
 * Threads: any; plain functions. */
#ifndef SRV_HTTP_CODING_H
#define SRV_HTTP_CODING_H

#include "core/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Of the token (RFC 9110, 5.6.2) that the text begins with; 0 when there is none. */
size_t srv_token_length(const char *text);

/* True when an Accept-Encoding header (RFC 9110: q values, *, identity) lets gzip be sent and does not want it
 * less than the bytes as they are. False for "", and for what is not well-formed. */
bool srv_accepts_gzip(const char *header);

/* True when the header names a coding other than identity. */
bool srv_is_coded(const char *content_encoding);

/* Puts the gzip of `body` in its place. False, and `body` as it was, when there is no memory, or it would hardly
 * become smaller. Takes at most the size of the body, and some 300 KB, beside it. */
bool srv_gzip(struct efm_buffer *body);

#endif
