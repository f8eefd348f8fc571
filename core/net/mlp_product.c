// SPDX-License-Identifier: Apache-2.0
#include "core/net/mlp_product.h"

#include <stdalign.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    TILE_ROWS = 8,
    MOST_ROWS = 32, /* of one pass over a panel */
    CHAIN =
        128, /* inputs of one chain of multiply-adds; a panel's share of them stays in the first-level cache */
    VECTORS = 3, /* of one register tile */
};

/* sums [ROWS, EFM_MLP_PANEL] (+)= x [ROWS, inputs `stride` apart] panel [inputs, EFM_MLP_PANEL] */
struct tile {
    const float *x, *panel;
    size_t stride, inputs;
    float *sums;
    bool fresh; /* sums are written, not added to */
};

struct efm_mlp_kernel {
    void (*multiply)(const struct tile *tile);
};

/* The same text for every instruction set. A register tile is ROWS rows by VECTORS vectors; several of them, side by
 * side and one below the other, make the TILE_ROWS by EFM_MLP_PANEL of a call. */
/* clang-format off */
#define UNROLL _Pragma("GCC unroll 16")
#define TILE(NAME, TARGET, ROWS, VECTOR, ZERO, LOAD, STORE, MULTIPLY_ADD, ADD)                               \
    TARGET static inline void NAME##_registers(const struct tile *tile, size_t row, size_t column)           \
    {                                                                                                        \
        enum { WIDTH = sizeof(VECTOR) / sizeof(float) };                                                     \
        const float *x = tile->x + row * tile->stride, *panel = tile->panel + column;                        \
        const size_t stride = tile->stride, inputs = tile->inputs;                                           \
        VECTOR sum[ROWS][VECTORS];                                                                           \
        UNROLL for (int r = 0; r < (ROWS); r++)                                                              \
            UNROLL for (int v = 0; v < VECTORS; v++)                                                         \
                sum[r][v] = ZERO;                                                                            \
        for (size_t k = 0; k < inputs; k++) {                                                                \
            VECTOR weights[VECTORS];                                                                         \
            UNROLL for (int v = 0; v < VECTORS; v++)                                                         \
                weights[v] = LOAD(panel + k * EFM_MLP_PANEL + v * WIDTH);                                    \
            UNROLL for (int r = 0; r < (ROWS); r++) {                                                        \
                const float value = x[(size_t)r * stride + k];                                               \
                UNROLL for (int v = 0; v < VECTORS; v++)                                                     \
                    sum[r][v] = MULTIPLY_ADD(value, weights[v], sum[r][v]);                                  \
            }                                                                                                \
        }                                                                                                    \
        UNROLL for (int r = 0; r < (ROWS); r++)                                                              \
            UNROLL for (int v = 0; v < VECTORS; v++) {                                                       \
                float *c = tile->sums + (row + (size_t)r) * EFM_MLP_PANEL + column + v * WIDTH;              \
                STORE(c, tile->fresh ? sum[r][v] : ADD(LOAD(c), sum[r][v]));                                 \
            }                                                                                                \
    }                                                                                                        \
    TARGET static void NAME##_tile(const struct tile *tile)                                                  \
    {                                                                                                        \
        const size_t width = VECTORS * sizeof(VECTOR) / sizeof(float);                                       \
        for (size_t row = 0; row < TILE_ROWS; row += (ROWS))                                                 \
            for (size_t column = 0; column < EFM_MLP_PANEL; column += width)                                 \
                NAME##_registers(tile, row, column);                                                         \
    }                                                                                                        \
    static const struct efm_mlp_kernel NAME = {NAME##_tile};
/* clang-format on */

/* Four floats at a time, in what every processor has. */
typedef float four __attribute__((vector_size(16)));

static inline four load_four(const float *p)
{
    four value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline void store_four(float *p, four value)
{
    memcpy(p, &value, sizeof value);
}

#define FOUR_MULTIPLY_ADD(value, weights, sum) ((sum) + (value) * (weights))
#define FOUR_ADD(a, b) ((a) + (b))
TILE(plain, , 4, four, (four){0}, load_four, store_four, FOUR_MULTIPLY_ADD, FOUR_ADD)

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX2_MULTIPLY_ADD(value, weights, sum) _mm256_fmadd_ps(_mm256_set1_ps(value), weights, sum)
TILE(avx2, AVX2, 4, __m256, _mm256_setzero_ps(), _mm256_loadu_ps, _mm256_storeu_ps, AVX2_MULTIPLY_ADD,
     _mm256_add_ps)

#define AVX512 __attribute__((target("avx512f")))
#define AVX512_MULTIPLY_ADD(value, weights, sum) _mm512_fmadd_ps(_mm512_set1_ps(value), weights, sum)
TILE(avx512, AVX512, 8, __m512, _mm512_setzero_ps(), _mm512_loadu_ps, _mm512_storeu_ps, AVX512_MULTIPLY_ADD,
     _mm512_add_ps)
#endif

const struct efm_mlp_kernel *efm_mlp_kernel_at(size_t index)
{
    const struct efm_mlp_kernel *all[3];
    size_t count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        all[count++] = &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[count++] = &avx2;
#endif
    all[count++] = &plain;
    return index < count ? all[index] : NULL;
}

void efm_mlp_pack(float *packed, const float *weights, size_t outputs, size_t inputs, size_t index)
{
    float *panel = packed + index * inputs * EFM_MLP_PANEL;
    const size_t first = index * EFM_MLP_PANEL, left = outputs - first;
    const size_t count = left < EFM_MLP_PANEL ? left : EFM_MLP_PANEL;
    for (size_t k = 0; k < inputs; k++)
        for (size_t i = 0; i < EFM_MLP_PANEL; i++)
            panel[k * EFM_MLP_PANEL + i] = i < count ? weights[(first + i) * inputs + k] : 0;
}

static void finish(const float *sums, const float *bias, size_t columns, size_t rows, bool relu,
                   size_t stride, float *out)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t k = 0; k < columns; k++) {
            const float value = sums[row * EFM_MLP_PANEL + k] + bias[k];
            out[row * stride + k] = relu && value < 0 ? 0 : value; /* a NaN stays one */
        }
}

/* Rows beyond the last full tile go through a tile of their own, copied, with zeros below them. */
static void panel_product(const struct efm_mlp_kernel *kernel, const float *panel, size_t inputs,
                          const float *x, size_t rows, float *sums)
{
    const size_t full = rows - rows % TILE_ROWS;
    for (size_t k = 0; k < inputs; k += CHAIN) {
        const size_t left = inputs - k;
        struct tile tile = {
            .panel = panel + k * EFM_MLP_PANEL, .inputs = left < CHAIN ? left : CHAIN, .fresh = k == 0};
        for (size_t row = 0; row < full; row += TILE_ROWS) {
            tile.x = x + row * inputs + k;
            tile.stride = inputs;
            tile.sums = sums + row * EFM_MLP_PANEL;
            kernel->multiply(&tile);
        }
        if (full == rows)
            continue;
        float rest[TILE_ROWS * CHAIN] = {0};
        for (size_t row = full; row < rows; row++)
            memcpy(rest + (row - full) * CHAIN, x + row * inputs + k, tile.inputs * sizeof(float));
        tile.x = rest;
        tile.stride = CHAIN;
        tile.sums = sums + full * EFM_MLP_PANEL;
        kernel->multiply(&tile);
    }
}

void efm_mlp_product(const struct efm_mlp_kernel *kernel, const float *packed, const float *bias,
                     size_t outputs, size_t inputs, const float *x, size_t rows, bool relu, float *out)
{
    alignas(64) float sums[MOST_ROWS * EFM_MLP_PANEL];
    for (size_t row = 0; row < rows; row += MOST_ROWS) {
        const size_t count = rows - row < MOST_ROWS ? rows - row : MOST_ROWS;
        for (size_t i = 0; i < efm_mlp_panels(outputs); i++) {
            const size_t first = i * EFM_MLP_PANEL, left = outputs - first;
            panel_product(kernel, packed + i * inputs * EFM_MLP_PANEL, inputs, x + row * inputs, count, sums);
            finish(sums, bias + first, left < EFM_MLP_PANEL ? left : EFM_MLP_PANEL, count, relu, outputs,
                   out + row * outputs + first);
        }
    }
}
