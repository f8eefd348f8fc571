/* allocations.h - counts what the program takes from the system, and makes it fail. For programs linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=posix_memalign; include it in
 * one source file. Libraries that are loaded, such as OpenBLAS, are not seen.
 *
 *     struct allocations before = allocations_now();
 *     ...
 *     assert_int_equal(allocations_now().count, before.count);
 *
 *     for (size_t n = 0; status != EFM_OK; n++) {   the n-th allocation fails, those after it succeed
 *         allocations_fail(n); status = ...; allocations_succeed();
 *     }
 */
#ifndef TESTS_ALLOCATIONS_H
#define TESTS_ALLOCATIONS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct allocations {
    size_t count, bytes;
};

static atomic_size_t allocations_count, allocations_bytes;
static atomic_size_t allocations_left = SIZE_MAX; /* that still succeed */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);

static inline struct allocations allocations_now(void)
{
    return (struct allocations){atomic_load(&allocations_count), atomic_load(&allocations_bytes)};
}

static inline void allocations_fail(size_t successes)
{
    atomic_store(&allocations_left, successes);
}

static inline void allocations_succeed(void)
{
    atomic_store(&allocations_left, SIZE_MAX);
}

/* Counts one, and says whether it may succeed. */
static inline bool allocations_add(size_t bytes)
{
    atomic_fetch_add(&allocations_count, 1);
    atomic_fetch_add(&allocations_bytes, bytes);
    if (atomic_load(&allocations_left) == SIZE_MAX)
        return true;
    return atomic_fetch_sub(&allocations_left, 1) != 0; /* 0 - 1 is SIZE_MAX: only one fails */
}

void *__wrap_malloc(size_t size)
{
    return allocations_add(size) ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocations_add(count * size) ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *block, size_t size)
{
    return allocations_add(size) ? __real_realloc(block, size) : NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocations_add(size) ? __real_aligned_alloc(alignment, size) : NULL;
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    return allocations_add(size) ? __real_posix_memalign(block, alignment, size) : ENOMEM;
}

#endif
