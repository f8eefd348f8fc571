// SPDX-License-Identifier: Apache-2.0
/* kernels.c - the tables of kernels: kernels_template.h for every width of vectors and type of elements. */
#include "core/net/kernels.h"
#include "core/net/vectors.h"

#include <float.h>

enum {
    MOST_VECTORS = 4, /* of one block of channels */
    TILE = 32,        /* pixels over which a block's sums stay in registers */
};

static inline size_t tile_of(size_t pixels)
{
    return pixels < TILE ? pixels : TILE;
}

/* One row of an addition. */
struct addition {
    void *out;
    const void *a, *b;
    const float *bias;
    size_t width, channels;
    float *sums;
};

/* Pixels first .. last-1 of a backward pass. */
struct norm_tile {
    const void *dy, *x, *add;
    void *dx;
    size_t stride, channels, first, last;
    const struct efm_norm_map *map;
    const struct efm_norm_slopes *slopes;
    float *du_sum, *du_hat_sum, *dx_sum;
};

/* A pixel is a few cache lines: too few for a call of memcpy. */
EFM_INLINE void copy_bytes(void *to, const void *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64)
        memcpy((char *)to + i, (const char *)from + i, 64);
    for (; i + 4 <= bytes; i += 4)
        memcpy((char *)to + i, (const char *)from + i, 4);
    for (; i < bytes; i++)
        ((char *)to)[i] = ((const char *)from)[i];
}

/* clang-format off */
/* The statement with channels c .. c+n-1, n == LANES but for the last. */
#define EACH_VECTOR(COUNT, STATEMENT)                                                                        \
    {                                                                                                        \
        const size_t count_ = COUNT;                                                                         \
        size_t c = 0;                                                                                        \
        for (; c + LANES <= count_; c += LANES) {                                                            \
            const size_t n = LANES;                                                                          \
            STATEMENT;                                                                                       \
        }                                                                                                    \
        if (c < count_) {                                                                                    \
            const size_t n = count_ - c;                                                                     \
            STATEMENT;                                                                                       \
        }                                                                                                    \
    }

/* BLOCK(..., c, vectors, n) for blocks of up to 4 or up to 2 vectors. */
#define EACH_BLOCK(CHANNELS, BLOCK, ...)                                                                     \
    {                                                                                                        \
        size_t c_ = 0;                                                                                       \
        for (; c_ + 4 * LANES <= (CHANNELS); c_ += 4 * LANES)                                                \
            BLOCK(__VA_ARGS__, c_, 4, LANES);                                                                \
        REST_OF_BLOCKS(CHANNELS, BLOCK, __VA_ARGS__)                                                         \
    }
#define EACH_PAIR(CHANNELS, BLOCK, ...)                                                                      \
    {                                                                                                        \
        size_t c_ = 0;                                                                                       \
        REST_OF_BLOCKS(CHANNELS, BLOCK, __VA_ARGS__)                                                         \
    }
#define REST_OF_BLOCKS(CHANNELS, BLOCK, ...)                                                                 \
    for (; c_ + 2 * LANES <= (CHANNELS); c_ += 2 * LANES)                                                    \
        BLOCK(__VA_ARGS__, c_, 2, LANES);                                                                    \
    if (c_ + LANES <= (CHANNELS)) {                                                                          \
        BLOCK(__VA_ARGS__, c_, 1, LANES);                                                                    \
        c_ += LANES;                                                                                         \
    }                                                                                                        \
    if (c_ < (CHANNELS))                                                                                     \
        BLOCK(__VA_ARGS__, c_, 1, (CHANNELS) - c_);
/* clang-format on */

/* ---- four floats ---- */

#define KERNEL_V(name) efm_v4_##name
#define KERNEL_VECTOR efm_v4
#define KERNEL_LANES 4
#define KERNEL_TARGET

#define KERNEL(name) name##_f32_plain
#define KERNEL_ELEMENT float
#define KERNEL_LOAD efm_v4_load
#define KERNEL_STORE efm_v4_store
#include "core/net/kernels_template.h"

#define KERNEL(name) name##_bf16_plain
#define KERNEL_ELEMENT uint16_t
#define KERNEL_LOAD efm_v4_load_bf16
#define KERNEL_STORE efm_v4_store_bf16
#include "core/net/kernels_template.h"

#if defined(__x86_64__)
#undef KERNEL_V
#undef KERNEL_VECTOR
#undef KERNEL_LANES
#undef KERNEL_TARGET

/* ---- eight floats ---- */

#define KERNEL_V(name) efm_v8_##name
#define KERNEL_VECTOR efm_v8
#define KERNEL_LANES 8
#define KERNEL_TARGET EFM_TARGET_V8

#define KERNEL(name) name##_f32_avx2
#define KERNEL_ELEMENT float
#define KERNEL_LOAD efm_v8_load
#define KERNEL_STORE efm_v8_store
#include "core/net/kernels_template.h"

#define KERNEL(name) name##_bf16_avx2
#define KERNEL_ELEMENT uint16_t
#define KERNEL_LOAD efm_v8_load_bf16
#define KERNEL_STORE efm_v8_store_bf16
#include "core/net/kernels_template.h"

#undef KERNEL_V
#undef KERNEL_VECTOR
#undef KERNEL_LANES
#undef KERNEL_TARGET

/* ---- sixteen floats ---- */

#define KERNEL_V(name) efm_v16_##name
#define KERNEL_VECTOR efm_v16
#define KERNEL_LANES 16
#define KERNEL_TARGET EFM_TARGET_V16

#define KERNEL(name) name##_f32_avx512
#define KERNEL_ELEMENT float
#define KERNEL_LOAD efm_v16_load
#define KERNEL_STORE efm_v16_store
#include "core/net/kernels_template.h"

#define KERNEL(name) name##_bf16_avx512
#define KERNEL_ELEMENT uint16_t
#define KERNEL_LOAD efm_v16_load_bf16
#define KERNEL_STORE efm_v16_store_bf16
#include "core/net/kernels_template.h"

#undef KERNEL_TARGET
#define KERNEL_TARGET EFM_TARGET_V16_BF16

#define KERNEL(name) name##_bf16_native
#define KERNEL_ELEMENT uint16_t
#define KERNEL_LOAD efm_v16_load_bf16
#define KERNEL_STORE efm_v16_store_bf16_native
#include "core/net/kernels_template.h"
#endif

const struct efm_net_kernels *efm_net_kernels_of(enum efm_vector_set set, enum efm_precision precision)
{
    bool bf16 = precision == EFM_PRECISION_BF16;
    if (!efm_vector_set_runs(set))
        return NULL;
#if defined(__x86_64__)
    if (set == EFM_VECTOR_AVX512_BF16 && bf16)
        return &kernels_bf16_native;
    if (set >= EFM_VECTOR_AVX512)
        return bf16 ? &kernels_bf16_avx512 : &kernels_f32_avx512;
    if (set == EFM_VECTOR_AVX2)
        return bf16 ? &kernels_bf16_avx2 : &kernels_f32_avx2;
#endif
    return bf16 ? &kernels_bf16_plain : &kernels_f32_plain;
}

const struct efm_net_kernels *efm_net_kernels(enum efm_precision precision)
{
    return efm_net_kernels_of(efm_vector_set_here(), precision);
}
