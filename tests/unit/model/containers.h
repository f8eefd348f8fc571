/* containers.h - safetensors files from their parts, for tests. */
#ifndef EFM_TESTS_MODEL_CONTAINERS_H
#define EFM_TESTS_MODEL_CONTAINERS_H

#include "core/base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Length, JSON, data. */
static inline struct efm_buffer make_container(const char *header, const void *data, size_t size)
{
    struct efm_buffer out = efm_buffer_limited(64 << 20);
    uint8_t length[8] = {0};
    for (size_t i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)strlen(header) >> 8 * i);
    efm_buffer_append(&out, length, sizeof length);
    efm_buffer_append_string(&out, header);
    efm_buffer_append(&out, data, size);
    assert_int_equal(out.status, EFM_OK);
    return out;
}

/* An exact heap copy, `shift` bytes off the alignment, so that a sanitizer sees every byte too many. */
static inline uint8_t *exact_copy(const void *bytes, size_t size, size_t shift, void **block)
{
    *block = malloc(size + shift + (size + shift == 0));
    assert_non_null(*block);
    if (size > 0)
        memcpy((uint8_t *)*block + shift, bytes, size);
    return (uint8_t *)*block + shift;
}

#endif
