// SPDX-License-Identifier: Apache-2.0
/* small_parts.c - dense layers, SiLU of vectors, the embedding of heights and dropout masks. */
#include "core/net/vectors.h"

#include <math.h>

enum { PARTIAL = 16 }; /* sums of one dot product */

#define PARTS(name) name##_plain
#define PARTS_V(name) efm_v4_##name
#define PARTS_VECTOR efm_v4
#define PARTS_LANES 4
#define PARTS_TARGET
#define PARTS_ROWS 2
#define PARTS_SAMPLES 1
#include "core/net/small_parts_template.h"

#if defined(__x86_64__)
#define PARTS(name) name##_avx2
#define PARTS_V(name) efm_v8_##name
#define PARTS_VECTOR efm_v8
#define PARTS_LANES 8
#define PARTS_TARGET EFM_TARGET_V8
#define PARTS_ROWS 2
#define PARTS_SAMPLES 3
#include "core/net/small_parts_template.h"

#define PARTS(name) name##_avx512
#define PARTS_V(name) efm_v16_##name
#define PARTS_VECTOR efm_v16
#define PARTS_LANES 16
#define PARTS_TARGET EFM_TARGET_V16
#define PARTS_ROWS 4
#define PARTS_SAMPLES 4
#include "core/net/small_parts_template.h"
#endif

const struct efm_small_parts *efm_small_parts_of(enum efm_vector_set set)
{
    if (!efm_vector_set_runs(set))
        return NULL;
#if defined(__x86_64__)
    if (set >= EFM_VECTOR_AVX512)
        return &parts_avx512;
    if (set == EFM_VECTOR_AVX2)
        return &parts_avx2;
#endif
    return &parts_plain;
}

static const struct efm_small_parts *parts_here(void)
{
    return efm_small_parts_of(efm_vector_set_here());
}

void efm_dense(const float *weights, const float *bias, size_t m, size_t k, const float *x, size_t count,
               size_t first, size_t last, float *out)
{
    struct efm_dense_layer layer = {
        .weights = weights, .bias = bias, .x = x, .out = out, .m = m, .k = k, .count = count};
    parts_here()->dense(&layer, first, last);
}

void efm_silu(float *y, const float *x, size_t count)
{
    parts_here()->silu(y, x, count);
}

void efm_silu_backward(float *dx, const float *dy, const float *x, size_t count)
{
    parts_here()->silu_backward(dx, dy, x, count);
}

void efm_height_embedding(const float *z, size_t count, size_t half, float *out)
{
    double step = half > 1 ? -log(10000) / (double)(half - 1) : 0;
    for (size_t i = 0; i < half; i++) {
        double frequency = exp(step * (double)i);
        for (size_t n = 0; n < count; n++) {
            double angle = (double)z[n] * frequency;
            out[n * 2 * half + i] = (float)sin(angle);
            out[n * 2 * half + half + i] = (float)cos(angle);
        }
    }
}

/* ---- dropout ---- */

/* The finaliser of splitmix64: every bit of the key depends on every bit of the seed. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void efm_dropout_mask(uint8_t *keep, size_t count, uint64_t seed, uint64_t first, double probability)
{
    const uint32_t threshold = (uint32_t)fmin(rint(probability * 0x1p32), 0x1p32 - 1);
    while (count > 0) {
        /* The upper half of the place goes into the key; a key serves 2^32 places. */
        uint64_t key = mix(seed ^ mix(first >> 32)), left = 0x100000000u - (first & 0xffffffffu);
        size_t part = count < left ? count : (size_t)left;
        parts_here()->keep(keep, part, (uint32_t)first, key, threshold);
        keep += part;
        first += part;
        count -= part;
    }
}
