// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_internal.h"
#include "server/http/tls.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* libmicrohttpd takes no answer while a body is arriving: not when it grows past its limit, not when it stops
 * coming. Nothing of an answer has been sent by then, so ours may be written on the socket, after which the
 * connection carries no other one. */

enum { ANSWER_LIMIT = 64 * 1024 };

static void append_header(void *context, const char *name, const char *value)
{
    efm_buffer_format(context, "%s: %s\r\n", name, value);
}

static void append_date(struct efm_buffer *out)
{
    char text[64];
    struct tm parts;
    const time_t now = time(NULL);
    gmtime_r(&now, &parts);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    append_header(out, "Date", text);
}

void srv_direct_send(int socket, const struct srv_exchange *exchange, const struct api_reply *reply)
{
    struct efm_buffer out = efm_buffer_limited(ANSWER_LIMIT);
    efm_buffer_format(&out, "HTTP/1.1 %d %s\r\n", reply->status, srv_link_reason(reply->status));
    append_date(&out);
    srv_exchange_each_header(exchange, reply, append_header, &out);
    if (!exchange->close)
        append_header(&out, "Connection", "close");
    efm_buffer_format(&out, "Content-Length: %zu\r\n\r\n", reply->body.size);
    if (strcmp(exchange->method, "HEAD") != 0)
        efm_buffer_append(&out, reply->body.data, reply->body.size);
    void *session = srv_link_session(exchange->connection);
    if (session != NULL && out.status == EFM_OK) {
        srv_tls_send_last(session, out.data, out.size);
    } else if (out.status == EFM_OK) {
        // A few hundred bytes into an empty socket buffer: all or, when the client is gone, nothing.
        ssize_t sent = send(socket, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent;
    }
    shutdown(socket, SHUT_WR);
    efm_buffer_release(&out);
}
