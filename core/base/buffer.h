/* buffer.h - a growing run of bytes that was born with its maximum size.
 *
 *     struct efm_buffer out = efm_buffer_limited(64 << 20);
 *     if (efm_buffer_append(&out, data, size) != EFM_OK) ...
 *     efm_buffer_release(&out);
 *
 * Threads: one thread at a time. */
#ifndef EFM_BASE_BUFFER_H
#define EFM_BASE_BUFFER_H

#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct efm_buffer {
    uint8_t *data; /* owned; NULL while empty */
    size_t size;
    size_t capacity;
    size_t limit;           /* an append past this fails with EFM_E_LIMIT */
    enum efm_status status; /* the first failure; later appends do nothing and return it */
};

/* An empty buffer that never grows past `limit` bytes. */
struct efm_buffer efm_buffer_limited(size_t limit);

/* EFM_OK, EFM_E_LIMIT or EFM_E_MEMORY. May be left unchecked when `status` is looked at in the end. */
enum efm_status efm_buffer_append(struct efm_buffer *buffer, const void *data, size_t size);
enum efm_status efm_buffer_append_string(struct efm_buffer *buffer, const char *text);
enum efm_status efm_buffer_format(struct efm_buffer *buffer, const char *format, ...) EFM_PRINTF(2, 3);

/* Room for `size` bytes more in one piece and no larger: what is big and known beforehand is not moved as it grows. Fails
 * as an append of so many bytes does. */
enum efm_status efm_buffer_reserve(struct efm_buffer *buffer, size_t size);

/* Frees the bytes and keeps the limit. */
void efm_buffer_release(struct efm_buffer *buffer);

#endif
