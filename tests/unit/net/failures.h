/* failures.h - counts the blocks that the code under test asks for and makes one of them fail. For programs linked
 * with -Wl,--wrap=efm_allocate,--wrap=efm_allocate_array,--wrap=efm_copy_string; include it in one source file. What
 * is left over after a failure is for the leak checker of a sanitizer to find.
 *
 *     for (size_t n = 0; status != EFM_OK; n++) {
 *         failures_after(n); status = ...; failures_stop();
 *     } */
#ifndef TESTS_NET_FAILURES_H
#define TESTS_NET_FAILURES_H

#include "core/base/memory.h"

#include <stdatomic.h>
#include <stdint.h>

static atomic_size_t failures_left = SIZE_MAX; /* blocks that still succeed */
static atomic_size_t failures_blocks;          /* asked for so far */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static inline void failures_after(size_t successes)
{
    atomic_store(&failures_left, successes);
}

static inline void failures_stop(void)
{
    atomic_store(&failures_left, SIZE_MAX);
}

static inline size_t failures_blocks_now(void)
{
    return atomic_load(&failures_blocks);
}

static inline bool failures_succeed(void)
{
    atomic_fetch_add(&failures_blocks, 1);
    return atomic_load(&failures_left) == SIZE_MAX || atomic_fetch_sub(&failures_left, 1) != 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return failures_succeed() ? __real_efm_allocate(size) : NULL;
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return failures_succeed() ? __real_efm_allocate_array(count, size) : NULL;
}

char *__wrap_efm_copy_string(const char *text)
{
    return failures_succeed() ? __real_efm_copy_string(text) : NULL;
}

#endif
