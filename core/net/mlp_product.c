// SPDX-License-Identifier: Apache-2.0
#include "core/net/mlp_product.h"

#include "core/base/lanes.h"

#include <stdalign.h>
#include <string.h>

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
#define TILE(NAME, ROWS, ...) TILE_OF(NAME, ROWS, __VA_ARGS__)
#define TILE_OF(NAME, ROWS, TARGET, VECTOR, ZERO, LOAD, STORE, MULTIPLY_ADD, ADD)                            \
    TARGET static inline void NAME##_registers(const struct tile *tile, size_t row, size_t column)           \
    {                                                                                                        \
        enum { WIDTH = sizeof(VECTOR) / sizeof(float) };                                                     \
        const float *x = tile->x + row * tile->stride, *panel = tile->panel + column;                        \
        const size_t stride = tile->stride, inputs = tile->inputs;                                           \
        VECTOR sum[ROWS][VECTORS];                                                                           \
        EFM_UNROLL for (int r = 0; r < (ROWS); r++)                                                          \
            EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                     \
                sum[r][v] = ZERO;                                                                            \
        for (size_t k = 0; k < inputs; k++) {                                                                \
            VECTOR weights[VECTORS];                                                                         \
            EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                     \
                weights[v] = LOAD(panel + k * EFM_MLP_PANEL + v * WIDTH);                                    \
            EFM_UNROLL for (int r = 0; r < (ROWS); r++) {                                                    \
                const float value = x[(size_t)r * stride + k];                                               \
                EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                 \
                    sum[r][v] = MULTIPLY_ADD(value, weights[v], sum[r][v]);                                  \
            }                                                                                                \
        }                                                                                                    \
        EFM_UNROLL for (int r = 0; r < (ROWS); r++)                                                          \
            EFM_UNROLL for (int v = 0; v < VECTORS; v++) {                                                   \
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

TILE(plain, 4, EFM_LANES_PLAIN)
#if defined(__x86_64__)
TILE(avx2, 4, EFM_LANES_AVX2)
TILE(avx512, 8, EFM_LANES_AVX512)
#endif

const struct efm_mlp_kernel *efm_mlp_kernel_at(size_t index)
{
    static const struct efm_mlp_kernel *const all[EFM_SETS] = {
        [EFM_SET_PLAIN] = &plain,
#if defined(__x86_64__)
        [EFM_SET_AVX2] = &avx2,
        [EFM_SET_AVX512] = &avx512,
#endif
    };
    enum efm_lanes_set set;
    return efm_lanes_at(index, &set) ? all[set] : NULL;
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
