/* tls.h - the certificate and key of a server that speaks TLS itself, and what is written on a session beside libmicrohttpd.
 *
 *     struct srv_tls tls = {0};
 *     if (srv_tls_read(&tls, "cert.pem", "key.pem", &error) == EFM_OK) { ... srv_http_options.tls = &tls ... }
 *     srv_tls_release(&tls);          wipes the key
 *
 * TLS 1.2 and 1.3. The files are read once: a new certificate takes a restart. Threads: pure. */
#ifndef SRV_HTTP_TLS_H
#define SRV_HTTP_TLS_H

#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct srv_tls {
    char *certificate, *key; /* PEM, owned; the certificate may be followed by its chain */
    size_t key_size;
    int64_t expires; /* of the first certificate, Unix seconds; INT64_MAX: not known, or never */
};

/* EFM_E_IO, EFM_E_FORMAT when they are no PEM, or the key is not that of the certificate. */
EFM_MUST_CHECK enum efm_status srv_tls_read(struct srv_tls *tls, const char *certificate_file,
                                            const char *key_file, struct efm_error *error);
void srv_tls_release(struct srv_tls *tls);

/* The versions and ciphers, as GnuTLS writes them. */
extern const char srv_tls_priorities[];

/* Writes without waiting, and ends the sending side of the session. `session`: libmicrohttpd's, on which nothing else is being
 * written. */
void srv_tls_send_last(void *session, const void *bytes, size_t size);

#endif
