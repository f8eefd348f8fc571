// SPDX-License-Identifier: Apache-2.0
#include "core/base/buffer.h"

#include "core/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct efm_buffer efm_buffer_limited(size_t limit)
{
    return (struct efm_buffer){.limit = limit};
}

static enum efm_status move(struct efm_buffer *buffer, size_t capacity)
{
    uint8_t *grown = efm_allocate(capacity);
    if (grown == NULL)
        return EFM_E_MEMORY;
    if (buffer->size > 0)
        memcpy(grown, buffer->data, buffer->size);
    efm_free(buffer->data);
    buffer->data = grown;
    buffer->capacity = capacity;
    return EFM_OK;
}

/* Room for `size` bytes more, and for what comes after them unless they are `exact`. */
static enum efm_status grow(struct efm_buffer *buffer, size_t size, bool exact)
{
    size_t needed;
    if (!efm_size_add(buffer->size, size, &needed) || needed > buffer->limit)
        return EFM_E_LIMIT;
    if (needed <= buffer->capacity)
        return EFM_OK;
    if (exact)
        return move(buffer, needed);
    size_t capacity = buffer->capacity < 4096 ? 4096 : buffer->capacity;
    while (capacity < needed)
        capacity = capacity > buffer->limit / 2 ? buffer->limit : capacity * 2;
    return move(buffer, capacity);
}

enum efm_status efm_buffer_reserve(struct efm_buffer *buffer, size_t size)
{
    if (buffer->status == EFM_OK)
        buffer->status = grow(buffer, size, true);
    return buffer->status;
}

enum efm_status efm_buffer_append(struct efm_buffer *buffer, const void *data, size_t size)
{
    if (buffer->status != EFM_OK || size == 0)
        return buffer->status;
    buffer->status = grow(buffer, size, false);
    if (buffer->status != EFM_OK)
        return buffer->status;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return EFM_OK;
}

enum efm_status efm_buffer_append_string(struct efm_buffer *buffer, const char *text)
{
    return efm_buffer_append(buffer, text, strlen(text));
}

enum efm_status efm_buffer_format(struct efm_buffer *buffer, const char *format, ...)
{
    if (buffer->status != EFM_OK)
        return buffer->status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return buffer->status = EFM_E_INTERNAL;
    buffer->status = grow(buffer, (size_t)length + 1, false);
    if (buffer->status != EFM_OK)
        return buffer->status;
    va_start(arguments, format);
    vsnprintf((char *)buffer->data + buffer->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)length;
    return EFM_OK;
}

void efm_buffer_release(struct efm_buffer *buffer)
{
    efm_free(buffer->data);
    *buffer = (struct efm_buffer){.limit = buffer->limit};
}
