// SPDX-License-Identifier: Apache-2.0
#include "server/http/tls.h"

#include "core/base/memory.h"
#include "server/http/secret_file.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

const char srv_tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

static char *copy_text(const struct efm_buffer *bytes)
{
    char *text = efm_allocate(bytes->size + 1);
    if (text != NULL)
        memcpy(text, bytes->data, bytes->size + 1); // with the zero byte
    return text;
}

/* Whether the two are what they should be, and belong together. */
static enum efm_status check(const struct efm_buffer *certificate, const struct efm_buffer *key,
                             struct efm_error *error)
{
    const gnutls_datum_t pem[2] = {{certificate->data, (unsigned)certificate->size},
                                   {key->data, (unsigned)key->size}};
    gnutls_certificate_credentials_t credentials;
    if (gnutls_certificate_allocate_credentials(&credentials) != GNUTLS_E_SUCCESS)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the certificate");
    const int refused =
        gnutls_certificate_set_x509_key_mem(credentials, &pem[0], &pem[1], GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (refused >= 0) // the number of the pair
        return EFM_OK;
    return efm_error_set(error, EFM_E_FORMAT, "the TLS certificate and key are no pair in PEM: %s",
                         gnutls_strerror(refused));
}

static int64_t expiry(const struct efm_buffer *certificate)
{
    const gnutls_datum_t pem = {certificate->data, (unsigned)certificate->size};
    gnutls_x509_crt_t first;
    if (gnutls_x509_crt_init(&first) != GNUTLS_E_SUCCESS)
        return INT64_MAX;
    // RFC 5280 has a time for certificates without an end, which GnuTLS gives as -1
    const time_t end = gnutls_x509_crt_import(first, &pem, GNUTLS_X509_FMT_PEM) == GNUTLS_E_SUCCESS
                           ? gnutls_x509_crt_get_expiration_time(first)
                           : (time_t)-1;
    gnutls_x509_crt_deinit(first);
    return end < 0 ? INT64_MAX : (int64_t)end;
}

enum efm_status srv_tls_read(struct srv_tls *tls, const char *certificate_file, const char *key_file,
                             struct efm_error *error)
{
    struct efm_buffer certificate = {0}, key = {0};
    struct stat facts;
    *tls = (struct srv_tls){0};
    enum efm_status status =
        srv_secret_file_read(&certificate, certificate_file, "the TLS certificate", &facts, error);
    if (status == EFM_OK)
        status = srv_secret_file_read(&key, key_file, "the TLS key", &facts, error);
    if (status == EFM_OK)
        status = check(&certificate, &key, error);
    if (status == EFM_OK) {
        tls->certificate = copy_text(&certificate);
        tls->key = copy_text(&key);
        tls->key_size = key.size;
        tls->expires = expiry(&certificate);
        if (tls->certificate == NULL || tls->key == NULL)
            status = efm_error_set(error, EFM_E_MEMORY, "no memory for the certificate");
    }
    srv_secret_file_release(&certificate);
    srv_secret_file_release(&key);
    if (status != EFM_OK)
        srv_tls_release(tls);
    return status;
}

void srv_tls_release(struct srv_tls *tls)
{
    if (tls->key != NULL)
        explicit_bzero(tls->key, tls->key_size);
    efm_free(tls->key);
    efm_free(tls->certificate);
    *tls = (struct srv_tls){0};
}

void srv_tls_send_last(void *session, const void *bytes, size_t size)
{
    // A few hundred bytes into an empty socket buffer: all or, when the client is gone, nothing.
    const ssize_t sent = gnutls_record_send(session, bytes, size);
    (void)sent;
    const int ended = gnutls_bye(session, GNUTLS_SHUT_WR);
    (void)ended;
}
