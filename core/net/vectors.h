/* vectors.h - a small vocabulary of vectors for the inner loops of this room, one prefix a width.
 *
 *     efm_v16_  16 floats, AVX-512 (f, bw, dq, vl)     functions with EFM_TARGET_V16
 *     efm_v8_    8 floats, AVX2 and FMA                functions with EFM_TARGET_V8
 *     efm_v4_    4 floats, what every processor has
 *
 * A loop is written once, in a *_template.h that is included once a width, and a table of its functions is chosen at
 * run time by efm_vector_set_here(). Written by hand and not left to the vectoriser, because sums must stay in registers
 * over a loop of pixels, in an order that no compiler chooses. Not for other rooms. Threads: pure functions. */
#ifndef EFM_NET_VECTORS_H
#define EFM_NET_VECTORS_H

#include "core/net/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum efm_vector_set {
    EFM_VECTOR_PLAIN,
    EFM_VECTOR_AVX2,
    EFM_VECTOR_AVX512,
    EFM_VECTOR_AVX512_BF16, /* bfloat16 is rounded by the processor: the same, but what is subnormal becomes 0 */
    EFM_VECTOR_SETS
};

static inline bool efm_vector_set_runs(enum efm_vector_set set)
{
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (set == EFM_VECTOR_AVX512_BF16)
        return avx512 && __builtin_cpu_supports("avx512bf16");
    if (set != EFM_VECTOR_PLAIN)
        return set == EFM_VECTOR_AVX512 ? avx512 : avx2;
#endif
    return set == EFM_VECTOR_PLAIN;
}

/* The widest that this processor runs. */
static inline enum efm_vector_set efm_vector_set_here(void)
{
    int set = EFM_VECTOR_SETS - 1;
    while (set > 0 && !efm_vector_set_runs((enum efm_vector_set)set))
        set--;
    return (enum efm_vector_set)set;
}

/* The tables of one instruction set; NULL where this processor lacks it. So that tests reach them all. */
const struct efm_net_kernels *efm_net_kernels_of(enum efm_vector_set set, enum efm_precision precision);

/* The arguments of efm_dense. */
struct efm_dense_layer {
    const float *weights, *bias, *x;
    float *out;
    size_t m, k, count;
};

struct efm_small_parts {
    void (*dense)(const struct efm_dense_layer *layer, size_t first, size_t last);
    void (*silu)(float *y, const float *x, size_t count);
    void (*silu_backward)(float *dx, const float *dy, const float *x, size_t count);
    /* keep[i] = whether a hash of (first + i, key) reaches the threshold. */
    void (*keep)(uint8_t *keep, size_t count, uint32_t first, uint64_t key, uint32_t threshold);
};

const struct efm_small_parts *efm_small_parts_of(enum efm_vector_set set);

#define EFM_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define EFM_UNROLL _Pragma("clang loop unroll(full)") /* early enough for small arrays to become registers */
#else
#define EFM_UNROLL _Pragma("GCC unroll 16")
#endif

/* What all widths have in common.
 *
 * exp_minus: e^-u for |u| <= 87 to 2e-7: u = r - n ln 2, e^-r = 1 - r + r^2 (a polynomial that interpolates at the
 * Chebyshev nodes of |r| <= ln 2 / 2, 1e-8), and n goes into the exponent by a multiplication, so that NaN stays NaN.
 * n is found by adding 1.5 * 2^23, whose lowest bits then are those of n.
 * silu and its slope: -87 stands for what is below, where both are under 1e-35, so that -inf gives no NaN. */
#define EFM_VECTOR_FUNCTIONS(V, TARGET)                                                                      \
    TARGET EFM_INLINE V V##_exp_minus(V u)                                                                   \
    {                                                                                                        \
        V shifted = V##_fma(u, V##_set(-1.44269504f), V##_set(12582912.0f));                                 \
        V n = shifted - V##_set(12582912.0f);                                                                \
        V r = V##_fma(n, V##_set(0.693359375f), u);                                                          \
        r = V##_fma(n, V##_set(-2.12194440e-4f), r);                                                         \
        V p = V##_fma(V##_set(0.00139262504f), r, V##_set(-0.00836323295f));                                 \
        p = V##_fma(p, r, V##_set(0.0416665524f));                                                           \
        p = V##_fma(p, r, V##_set(-0.166665763f));                                                           \
        p = V##_fma(p, r, V##_set(0.5f));                                                                    \
        p = V##_fma(p, r, V##_set(-1));                                                                      \
        p = V##_fma(p, r, V##_set(1));                                                                       \
        return p * V##_power_of_two(shifted);                                                                \
    }                                                                                                        \
    TARGET EFM_INLINE V V##_silu(V u)                                                                        \
    {                                                                                                        \
        u = V##_max(V##_set(-87), u);                                                                        \
        return u / (V##_set(1) + V##_exp_minus(V##_min(V##_set(87), u)));                                    \
    }                                                                                                        \
    TARGET EFM_INLINE V V##_silu_slope(V u)                                                                  \
    {                                                                                                        \
        u = V##_min(V##_set(87), V##_max(V##_set(-87), u));                                                  \
        V e = V##_exp_minus(u);                                                                              \
        V sigmoid = V##_set(1) / (V##_set(1) + e);                                                           \
        return sigmoid * V##_fma(u, e * sigmoid, V##_set(1));                                                \
    }

/* ---- four floats; max and min give the second where it is NaN, as the instructions of x86 do ---- */

typedef float efm_v4 __attribute__((vector_size(16)));
typedef uint32_t efm_v4_bits __attribute__((vector_size(16)));

EFM_INLINE efm_v4 efm_v4_set(float value)
{
    return (efm_v4){value, value, value, value};
}

EFM_INLINE efm_v4 efm_v4_load(const float *p)
{
    efm_v4 value;
    memcpy(&value, p, sizeof value);
    return value;
}

EFM_INLINE void efm_v4_store(float *p, efm_v4 value)
{
    memcpy(p, &value, sizeof value);
}

EFM_INLINE efm_v4 efm_v4_load_bf16(const uint16_t *p)
{
    efm_v4_bits bits = {p[0], p[1], p[2], p[3]};
    return (efm_v4)(bits << 16);
}

EFM_INLINE void efm_v4_store_bf16(uint16_t *p, efm_v4 value)
{
    efm_v4_bits bits = (efm_v4_bits)value, nan = (efm_v4_bits)(value != value);
    bits = (nan & (bits | 0x400000)) | (~nan & (bits + 0x7fff + (bits >> 16 & 1)));
    EFM_UNROLL for (int i = 0; i < 4; i++) p[i] = (uint16_t)(bits[i] >> 16);
}

EFM_INLINE efm_v4 efm_v4_load_bytes(const uint8_t *p)
{
    return (efm_v4){p[0], p[1], p[2], p[3]};
}

EFM_INLINE efm_v4 efm_v4_fma(efm_v4 a, efm_v4 b, efm_v4 c)
{
    return a * b + c;
}

EFM_INLINE efm_v4 efm_v4_max(efm_v4 a, efm_v4 b)
{
    efm_v4_bits first = (efm_v4_bits)(a > b);
    return (efm_v4)((first & (efm_v4_bits)a) | (~first & (efm_v4_bits)b));
}

EFM_INLINE efm_v4 efm_v4_min(efm_v4 a, efm_v4 b)
{
    efm_v4_bits first = (efm_v4_bits)(a < b);
    return (efm_v4)((first & (efm_v4_bits)a) | (~first & (efm_v4_bits)b));
}

EFM_INLINE efm_v4 efm_v4_power_of_two(efm_v4 shifted)
{
    return (efm_v4)(((efm_v4_bits)shifted + 127) << 23);
}

/* The sum of all lanes: halves are added until one lane is left, the same tree in all widths. */
EFM_INLINE float efm_v4_sum(efm_v4 x)
{
    return (x[0] + x[2]) + (x[1] + x[3]);
}

EFM_VECTOR_FUNCTIONS(efm_v4, )

#if defined(__x86_64__)

/* ---- eight floats ---- */

#define EFM_TARGET_V8 __attribute__((target("avx2,fma")))
typedef __m256 efm_v8;

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_set(float value)
{
    return _mm256_set1_ps(value);
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

EFM_TARGET_V8 EFM_INLINE void efm_v8_store(float *p, efm_v8 value)
{
    _mm256_storeu_ps(p, value);
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

EFM_TARGET_V8 EFM_INLINE void efm_v8_store_bf16(uint16_t *p, efm_v8 value)
{
    __m256i bits = _mm256_castps_si256(value);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i even = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    bits = _mm256_srli_epi32(_mm256_blendv_epi8(even, quiet, nan), 16);
    bits = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(bits));
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_load_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_fma(efm_v8 a, efm_v8 b, efm_v8 c)
{
    return _mm256_fmadd_ps(a, b, c);
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_max(efm_v8 a, efm_v8 b)
{
    return _mm256_max_ps(a, b);
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_min(efm_v8 a, efm_v8 b)
{
    return _mm256_min_ps(a, b);
}

EFM_TARGET_V8 EFM_INLINE efm_v8 efm_v8_power_of_two(efm_v8 shifted)
{
    __m256i n = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}

EFM_TARGET_V8 EFM_INLINE float efm_v8_sum(efm_v8 x)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

EFM_VECTOR_FUNCTIONS(efm_v8, EFM_TARGET_V8)

/* ---- sixteen floats ---- */

#define EFM_TARGET_V16 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define EFM_TARGET_V16_BF16 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
typedef __m512 efm_v16;

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_set(float value)
{
    return _mm512_set1_ps(value);
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

EFM_TARGET_V16 EFM_INLINE void efm_v16_store(float *p, efm_v16 value)
{
    _mm512_storeu_ps(p, value);
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

EFM_TARGET_V16 EFM_INLINE void efm_v16_store_bf16(uint16_t *p, efm_v16 value)
{
    __m512i bits = _mm512_castps_si512(value);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i even = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    bits = _mm512_mask_or_epi32(even, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

EFM_TARGET_V16_BF16 EFM_INLINE void efm_v16_store_bf16_native(uint16_t *p, efm_v16 value)
{
    _mm256_storeu_si256((__m256i *)(void *)p, (__m256i)_mm512_cvtneps_pbh(value));
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_fma(efm_v16 a, efm_v16 b, efm_v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_max(efm_v16 a, efm_v16 b)
{
    return _mm512_max_ps(a, b);
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_min(efm_v16 a, efm_v16 b)
{
    return _mm512_min_ps(a, b);
}

EFM_TARGET_V16 EFM_INLINE efm_v16 efm_v16_power_of_two(efm_v16 shifted)
{
    __m512i n = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}

EFM_TARGET_V16 EFM_INLINE float efm_v16_sum(efm_v16 x)
{
    return efm_v8_sum(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
}

EFM_VECTOR_FUNCTIONS(efm_v16, EFM_TARGET_V16)

#endif
#endif
