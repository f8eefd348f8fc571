/* lanes.h - vectors of floats for kernels that are written once, as a macro, and made for every instruction set.
 *
 * EFM_LANES_PLAIN, _AVX2 and _AVX512 each stand for the seven last arguments of such a macro: the attribute of a function that may use
 * them, the type, zero, load, store, value * lanes + sum, and a + b. Pass them through a macro with `...`, which splits them:
 *
 *     #define KERNEL(NAME, ROWS, ...) KERNEL_OF(NAME, ROWS, __VA_ARGS__)
 *     #define KERNEL_OF(NAME, ROWS, TARGET, VECTOR, ZERO, LOAD, STORE, MULTIPLY_ADD, ADD) ...
 *     KERNEL(plain, 2, EFM_LANES_PLAIN)
 *
 * Threads: pure. */
#ifndef EFM_BASE_LANES_H
#define EFM_BASE_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Loops of constant bounds unroll, so that arrays of vectors stay in registers. */
#define EFM_UNROLL _Pragma("GCC unroll 16")

/* Four floats at a time, in what every processor has. */
typedef float efm_four __attribute__((vector_size(16)));

static inline efm_four efm_four_load(const float *p)
{
    efm_four value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline void efm_four_store(float *p, efm_four value)
{
    memcpy(p, &value, sizeof value);
}

/* clang-format off */
#define EFM_FOUR_MULTIPLY_ADD(value, lanes, sum) ((sum) + (value) * (lanes))
#define EFM_FOUR_ADD(a, b) ((a) + (b))
#define EFM_LANES_PLAIN                                                                                      \
    , efm_four, (efm_four){0}, efm_four_load, efm_four_store, EFM_FOUR_MULTIPLY_ADD, EFM_FOUR_ADD

#if defined(__x86_64__)
#define EFM_AVX2_MULTIPLY_ADD(value, lanes, sum) _mm256_fmadd_ps(_mm256_set1_ps(value), lanes, sum)
#define EFM_LANES_AVX2                                                                                       \
    __attribute__((target("avx2,fma"))), __m256, _mm256_setzero_ps(), _mm256_loadu_ps, _mm256_storeu_ps,     \
        EFM_AVX2_MULTIPLY_ADD, _mm256_add_ps

#define EFM_AVX512_MULTIPLY_ADD(value, lanes, sum) _mm512_fmadd_ps(_mm512_set1_ps(value), lanes, sum)
#define EFM_LANES_AVX512                                                                                     \
    __attribute__((target("avx512f"))), __m512, _mm512_setzero_ps(), _mm512_loadu_ps, _mm512_storeu_ps,      \
        EFM_AVX512_MULTIPLY_ADD, _mm512_add_ps
#endif
/* clang-format on */

enum efm_lanes_set { EFM_SET_PLAIN, EFM_SET_AVX2, EFM_SET_AVX512, EFM_SETS };

/* The sets that this processor has, best first; false beyond the last, which is EFM_SET_PLAIN. */
static inline bool efm_lanes_at(size_t index, enum efm_lanes_set *set)
{
    enum efm_lanes_set sets[EFM_SETS];
    size_t count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        sets[count++] = EFM_SET_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[count++] = EFM_SET_AVX2;
#endif
    sets[count++] = EFM_SET_PLAIN;
    if (index >= count)
        return false;
    *set = sets[index];
    return true;
}

#endif
