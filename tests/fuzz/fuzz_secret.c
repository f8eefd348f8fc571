// SPDX-License-Identifier: Apache-2.0
/* Bytes as the secret of webhooks: one that is taken has the wanted length, says the same when it is written again, and signs. */
#include "api/parameters.h"
#include "server/jobs/webhooks.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail_unless(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct srv_webhook_secret secret, again;
    struct efm_error error = {0};
    char *text = malloc(size + 1), signature[SRV_WEBHOOK_SIGNATURE];
    fail_unless(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    const enum efm_status status = srv_webhook_secret_parse(&secret, text, &error);
    fail_unless(status == error.status && (status == EFM_OK || error.message[0] != '\0'));
    if (status == EFM_OK) {
        struct efm_buffer written = efm_buffer_limited(256);
        fail_unless(secret.size >= 24 && secret.size <= SRV_WEBHOOK_SECRET);
        efm_buffer_append_string(&written, "whsec_");
        api_base64_encode(&written, secret.key, secret.size);
        fail_unless(efm_buffer_append(&written, "", 1) == EFM_OK);
        fail_unless(srv_webhook_secret_parse(&again, (const char *)written.data, NULL) == EFM_OK);
        fail_unless(again.size == secret.size && memcmp(again.key, secret.key, secret.size) == 0);
        srv_webhook_sign(&secret, "msg_1", 1, data, size, signature);
        fail_unless(strncmp(signature, "v1,", 3) == 0 && strlen(signature) == 3 + 44);
        efm_buffer_release(&written);
    }
    free(text);
    return 0;
}
