/* memory.h - checked sizes, allocations that may fail, and an arena.
 *
 * Sizes are multiplied and added through the checked functions wherever a factor comes from
 * outside. All memory of core/ is obtained and freed here, so a test can make the n-th allocation fail
 * (the linker's --wrap=efm_allocate) and so every block is aligned for the widest vector loads.
 *
 * Threads: all functions are safe from any thread; an arena belongs to one thread at a time.
 */
#ifndef EFM_BASE_MEMORY_H
#define EFM_BASE_MEMORY_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { EFM_ALIGNMENT = 64 };

/* *result = a * b or a + b; false, leaving *result alone, when that does not fit a size_t. */
EFM_MUST_CHECK bool efm_size_multiply(size_t a, size_t b, size_t *result);
EFM_MUST_CHECK bool efm_size_add(size_t a, size_t b, size_t *result);

/* `size` bytes aligned to EFM_ALIGNMENT, contents undefined, owned by the caller (efm_free).
 * NULL when there is no memory. A size of 0 gives a valid block. */
EFM_MUST_CHECK void *efm_allocate(size_t size);

/* count * size bytes, set to zero; NULL on overflow or when there is no memory. */
EFM_MUST_CHECK void *efm_allocate_array(size_t count, size_t size);

/* Frees what efm_allocate or efm_allocate_array gave; NULL is fine. */
void efm_free(void *block);

/* Makes room for one more item behind `count` of them, `size` bytes each, in an owned array of *capacity. `array` is the address
 * of the pointer to its first item, which is NULL as long as *capacity is 0. When it is full it is moved to a block for
 * twice as many, zero behind the old ones. False when there is no memory: all is as it was.
 *
 *     if (!efm_array_grow(&list->items, list->count, &list->capacity, sizeof *list->items)) ... */
EFM_MUST_CHECK bool efm_array_grow(void *array, size_t count, size_t *capacity, size_t size);

/* A copy of `text`, owned by the caller (efm_free), or NULL. */
EFM_MUST_CHECK char *efm_copy_string(const char *text);

/* A block of memory handed out from its front and released as a whole. Plan the sizes first with
 * efm_arena_measure on a zeroed arena, then create it and take the same pieces in the same order. */
struct efm_arena {
    char *base;
    size_t size;
    size_t used;
};

/* Adds `count * size` bytes, aligned, to the plan; false when the sum overflows. */
EFM_MUST_CHECK bool efm_arena_measure(struct efm_arena *plan, size_t count, size_t size);

/* Allocates what was planned and makes the arena empty. EFM_E_MEMORY when there is no memory. */
EFM_MUST_CHECK enum efm_status efm_arena_create(struct efm_arena *plan, struct efm_error *error);

/* The next `count * size` bytes, borrowed until efm_arena_release; NULL when the plan was smaller. */
EFM_MUST_CHECK void *efm_arena_take(struct efm_arena *arena, size_t count, size_t size);

void efm_arena_release(struct efm_arena *arena);

#endif
