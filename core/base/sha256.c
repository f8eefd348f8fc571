// SPDX-License-Identifier: Apache-2.0
#include "core/base/sha256.h"

#include <nettle/hmac.h>
#include <nettle/sha2.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(struct efm_sha256), "the state fits");
_Static_assert(_Alignof(struct sha256_ctx) <= _Alignof(struct efm_sha256), "and lies well");

void efm_sha256_begin(struct efm_sha256 *digest)
{
    sha256_init((struct sha256_ctx *)digest);
}

void efm_sha256_add(struct efm_sha256 *digest, const void *bytes, size_t size)
{
    sha256_update((struct sha256_ctx *)digest, size, bytes);
}

void efm_sha256_end(struct efm_sha256 *digest, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[EFM_SHA256_SIZE];
    sha256_digest((struct sha256_ctx *)digest, sizeof sum, sum);
    for (size_t i = 0; i < sizeof sum; i++) {
        out[2 * i] = digits[sum[i] >> 4];
        out[2 * i + 1] = digits[sum[i] & 15];
    }
    out[64] = '\0';
}

void efm_sha256_hex(const void *bytes, size_t size, char out[65])
{
    struct efm_sha256 digest;
    efm_sha256_begin(&digest);
    efm_sha256_add(&digest, bytes, size);
    efm_sha256_end(&digest, out);
}

void efm_hmac_sha256(const void *key, size_t key_size, const struct efm_sha256_part *parts, size_t count,
                     uint8_t out[EFM_SHA256_SIZE])
{
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, key_size, key);
    for (size_t i = 0; i < count; i++)
        hmac_sha256_update(&context, parts[i].size, parts[i].bytes);
    hmac_sha256_digest(&context, EFM_SHA256_SIZE, out);
}
