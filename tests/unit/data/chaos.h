/* chaos.h - makes the n-th allocation of efmd fail. For programs linked with
 * -Wl,--wrap=efm_allocate,--wrap=efm_allocate_array,--wrap=efm_copy_string; include it in one source file.
 *
 *     for (size_t n = 0; status != EFM_OK; n++) { chaos_arm(n); status = ...; chaos_disarm(); }
 */
#ifndef EFM_TESTS_CHAOS_H
#define EFM_TESTS_CHAOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static size_t chaos_left = SIZE_MAX; /* allocations that still succeed */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static inline void chaos_arm(size_t successes)
{
    chaos_left = successes;
}

static inline void chaos_disarm(void)
{
    chaos_left = SIZE_MAX;
}

/* Only one fails: what comes after it must cope with having memory again. */
static inline bool chaos_strikes(void)
{
    if (chaos_left == SIZE_MAX)
        return false;
    return chaos_left-- == 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return chaos_strikes() ? NULL : __real_efm_allocate(size);
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return chaos_strikes() ? NULL : __real_efm_allocate_array(count, size);
}

char *__wrap_efm_copy_string(const char *text)
{
    return chaos_strikes() ? NULL : __real_efm_copy_string(text);
}

#endif
