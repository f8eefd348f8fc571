/* sha256.h - the name of a file by its contents (FIPS 180-4). Threads: any. */
#ifndef EFM_BASE_SHA256_H
#define EFM_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* hex: 64 digits and a zero byte. */
void efm_sha256_hex(const void *data, size_t size, char hex[65]);

#endif
