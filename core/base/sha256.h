/* sha256.h - the digest of some bytes, as hex text, whole or as they come, and a keyed one. By nettle. Threads: pure. */
#ifndef EFM_BASE_SHA256_H
#define EFM_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { EFM_SHA256_SIZE = 32 };

/* 64 hex digits and a NUL. */
void efm_sha256_hex(const void *bytes, size_t size, char out[65]);

/* The same in pieces: begin, add..., end. The state may be copied. */
struct efm_sha256 {
    _Alignas(8) uint8_t state[128];
};
void efm_sha256_begin(struct efm_sha256 *digest);
void efm_sha256_add(struct efm_sha256 *digest, const void *bytes, size_t size);
void efm_sha256_end(struct efm_sha256 *digest, char out[65]);

/* HMAC-SHA256 (RFC 2104) over parts one after the other. */
struct efm_sha256_part {
    const void *bytes;
    size_t size;
};
void efm_hmac_sha256(const void *key, size_t key_size, const struct efm_sha256_part *parts, size_t count,
                     uint8_t out[EFM_SHA256_SIZE]);

#endif
