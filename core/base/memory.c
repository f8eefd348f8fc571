// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool efm_size_multiply(size_t a, size_t b, size_t *result)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *result = product;
    return true;
}

bool efm_size_add(size_t a, size_t b, size_t *result)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *result = sum;
    return true;
}

static bool round_up(size_t size, size_t *result)
{
    size_t padded;
    if (!efm_size_add(size, EFM_ALIGNMENT - 1, &padded))
        return false;
    padded -= padded % EFM_ALIGNMENT;
    *result = padded == 0 ? EFM_ALIGNMENT : padded;
    return true;
}

void *efm_allocate(size_t size)
{
    size_t rounded;
    if (!round_up(size, &rounded) || rounded > PTRDIFF_MAX)
        return NULL;
    return aligned_alloc(EFM_ALIGNMENT, rounded);
}

void *efm_allocate_array(size_t count, size_t size)
{
    size_t bytes;
    if (!efm_size_multiply(count, size, &bytes))
        return NULL;
    void *block = efm_allocate(bytes);
    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

void efm_free(void *block)
{
    free(block);
}

char *efm_copy_string(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = efm_allocate(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

bool efm_arena_measure(struct efm_arena *plan, size_t count, size_t size)
{
    size_t bytes;
    return efm_size_multiply(count, size, &bytes) && round_up(bytes, &bytes) &&
           efm_size_add(plan->size, bytes, &plan->size);
}

enum efm_status efm_arena_create(struct efm_arena *plan, struct efm_error *error)
{
    plan->used = 0;
    plan->base = efm_allocate(plan->size);
    if (plan->base == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu bytes of working space", plan->size);
    return EFM_OK;
}

void *efm_arena_take(struct efm_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!efm_size_multiply(count, size, &bytes) || !round_up(bytes, &bytes) ||
        bytes > arena->size - arena->used)
        return NULL;
    void *piece = arena->base + arena->used;
    arena->used += bytes;
    return piece;
}

void efm_arena_release(struct efm_arena *arena)
{
    efm_free(arena->base);
    *arena = (struct efm_arena){0};
}
