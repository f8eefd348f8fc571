// SPDX-License-Identifier: Apache-2.0
#include "core/field/products.h"

#include "core/base/lanes.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    /* Terms of one chain of multiply-adds; chains are added up. Short ones keep the rounding error small, and what
     * they work on in the first-level cache. */
    CHAIN = 64,
    AHEAD = 24, /* dimensions that are fetched in advance in the second product */
    MOST_BLOCKS = 4,
};

/* One register tile: `rows` rows by `blocks` blocks of lanes,
 *     c[r, b, lane] (+)= sum_k a(k, r) x[k, b, lane]        rows of c and of x `step` apart
 * where a(k, r) lies at a[k * EFM_PANEL + r] ("across" a panel: rows are charges) or at a[r * EFM_PANEL + k]
 * ("along": rows are dimensions). */
struct tile {
    const float *a, *x;
    float *c;
    size_t terms, step;
    bool fresh; /* c is written, not added to */
};

typedef void multiply_tile(const struct tile *tile);

struct shape {
    size_t rows;
    multiply_tile *across, *along;
};

struct efm_kernels {
    const char *name;
    size_t blocks; /* at once, at most */
    struct shape shapes[MOST_BLOCKS];
};

/* The same text for every instruction set: PARTS vectors make a block of lanes. */
/* clang-format off */
#define TILE_BODY(ROWS, BLOCKS, PARTS, VECTOR, ZERO, LOAD, STORE, MULTIPLY_ADD, ADD, A_STEP, A_ROW)          \
    enum { WIDTH = EFM_LANES / (PARTS), VECTORS = (BLOCKS) * (PARTS) };                                      \
    const float *a = tile->a, *x = tile->x;                                                                  \
    const size_t terms = tile->terms, step = tile->step;                                                     \
    VECTOR sum[ROWS][VECTORS];                                                                               \
    EFM_UNROLL for (int r = 0; r < (ROWS); r++)                                                              \
        EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                         \
            sum[r][v] = ZERO;                                                                                \
    for (size_t k = 0; k < terms; k++) {                                                                     \
        VECTOR lanes[VECTORS];                                                                               \
        EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                         \
            lanes[v] = LOAD(x + k * step + v * WIDTH);                                                       \
        EFM_UNROLL for (int r = 0; r < (ROWS); r++) {                                                        \
            const float value = a[k * (A_STEP) + (size_t)r * (A_ROW)];                                       \
            EFM_UNROLL for (int v = 0; v < VECTORS; v++)                                                     \
                sum[r][v] = MULTIPLY_ADD(value, lanes[v], sum[r][v]);                                        \
        }                                                                                                    \
    }                                                                                                        \
    EFM_UNROLL for (int r = 0; r < (ROWS); r++)                                                              \
        EFM_UNROLL for (int v = 0; v < VECTORS; v++) {                                                       \
            float *c = tile->c + (size_t)r * step + v * WIDTH;                                               \
            STORE(c, tile->fresh ? sum[r][v] : ADD(LOAD(c), sum[r][v]));                                     \
        }

#define TILE(NAME, ROWS, BLOCKS, PARTS, ...) TILE_OF(NAME, ROWS, BLOCKS, PARTS, __VA_ARGS__)
#define TILE_OF(NAME, ROWS, BLOCKS, PARTS, TARGET, ...)                                                      \
    TARGET static void NAME##_across(const struct tile *tile)                                                \
    {                                                                                                        \
        TILE_BODY(ROWS, BLOCKS, PARTS, __VA_ARGS__, EFM_PANEL, 1)                                            \
    }                                                                                                        \
    TARGET static void NAME##_along(const struct tile *tile)                                                 \
    {                                                                                                        \
        TILE_BODY(ROWS, BLOCKS, PARTS, __VA_ARGS__, 1, EFM_PANEL)                                            \
    }
/* clang-format on */

TILE(plain, 2, 1, 4, EFM_LANES_PLAIN)
static const struct efm_kernels plain = {"plain", 1, {{2, plain_across, plain_along}}};

#if defined(__x86_64__)
TILE(avx2, 6, 1, 2, EFM_LANES_AVX2)
static const struct efm_kernels avx2 = {"avx2", 1, {{6, avx2_across, avx2_along}}};

TILE(one, 12, 1, 1, EFM_LANES_AVX512)
TILE(two, 12, 2, 1, EFM_LANES_AVX512)
TILE(three, 6, 3, 1, EFM_LANES_AVX512)
TILE(four, 6, 4, 1, EFM_LANES_AVX512)

static const struct efm_kernels avx512 = {"avx512",
                                          4,
                                          {{12, one_across, one_along},
                                           {12, two_across, two_along},
                                           {6, three_across, three_along},
                                           {6, four_across, four_along}}};
#endif

const struct efm_kernels *efm_kernels_at(size_t index)
{
    static const struct efm_kernels *const all[EFM_SETS] = {
        [EFM_SET_PLAIN] = &plain,
#if defined(__x86_64__)
        [EFM_SET_AVX2] = &avx2,
        [EFM_SET_AVX512] = &avx512,
#endif
    };
    enum efm_lanes_set set;
    return efm_lanes_at(index, &set) ? all[set] : NULL;
}

const char *efm_kernels_name(const struct efm_kernels *kernels)
{
    return kernels->name;
}

void efm_panels_fill(float *panels, const float *charges, const float *centre, size_t count, size_t dimension)
{
    size_t size = efm_panel_rows(dimension) * EFM_PANEL;
    for (size_t first = 0; first < count; first += EFM_PANEL, panels += size) {
        size_t rows = count - first < EFM_PANEL ? count - first : EFM_PANEL;
        /* Some dimensions at a time, so that what is written stays near for all charges. */
        for (size_t k = 0; k < dimension; k += CHAIN) {
            size_t end = dimension - k < CHAIN ? dimension : k + CHAIN;
            for (size_t j = 0; j < rows; j++)
                for (size_t d = k; d < end; d++)
                    panels[d * EFM_PANEL + j] = charges[(first + j) * dimension + d] - centre[d];
        }
    }
}

void efm_lanes_fill(float *lanes, size_t blocks, const float *rows, size_t stride, size_t count,
                    size_t dimension)
{
    size_t step = blocks * EFM_LANES;
    for (size_t d = 0; d < dimension && count < EFM_LANES; d++)
        memset(lanes + d * step, 0, EFM_LANES * sizeof *lanes);
    /* Some dimensions at a time, so that what is written stays near for all lanes. */
    for (size_t first = 0; first < dimension; first += CHAIN) {
        size_t end = dimension - first < CHAIN ? dimension : first + CHAIN;
        for (size_t lane = 0; lane < count; lane++)
            for (size_t d = first; d < end; d++)
                lanes[d * step + lane] = rows[lane * stride + d];
    }
}

/* Asks for `count` numbers that are wanted soon, from numbers[first] on, which may lie behind the end: charges come
 * from far away, and in steps that the processor does not foresee. */
static void fetch(const float *numbers, size_t first, size_t count)
{
    uintptr_t place = (uintptr_t)numbers + first * sizeof *numbers;
    for (size_t i = 0; i < count * sizeof *numbers; i += 64)
        __builtin_prefetch((const void *)(place + i), 0, 2);
}

/* The kernel for the next blocks. */
static const struct shape *shape_for(const struct efm_kernels *kernels, size_t blocks, size_t *together)
{
    *together = blocks < kernels->blocks ? blocks : kernels->blocks;
    return &kernels->shapes[*together - 1];
}

void efm_multiply_panel(const struct efm_kernels *kernels, const float *panel, size_t dimension,
                        const float *points, size_t blocks, float *dots)
{
    struct tile tile = {.step = blocks * EFM_LANES};
    for (size_t k = 0; k < dimension; k += CHAIN) {
        tile.terms = dimension - k < CHAIN ? dimension - k : CHAIN;
        tile.fresh = k == 0;
        for (size_t b = 0, together; b < blocks; b += together) {
            const struct shape *shape = shape_for(kernels, blocks - b, &together);
            tile.x = points + k * tile.step + b * EFM_LANES;
            for (size_t r = 0; r < EFM_PANEL; r += shape->rows) {
                if (b == 0)
                    fetch(panel, (k + CHAIN) * EFM_PANEL + r * CHAIN, shape->rows * CHAIN);
                tile.a = panel + k * EFM_PANEL + r;
                tile.c = dots + r * tile.step + b * EFM_LANES;
                shape->across(&tile);
            }
        }
    }
}

void efm_multiply_weights(const struct efm_kernels *kernels, const struct efm_panel_range *range,
                          const float *weights, size_t blocks, float *sums)
{
    size_t panel_size = efm_panel_rows(range->dimension) * EFM_PANEL;
    struct tile tile = {.terms = EFM_PANEL, .step = blocks * EFM_LANES};
    for (size_t p = 0; p < range->panel_count; p++) {
        const float *panel = range->panels + p * panel_size + range->first * EFM_PANEL;
        tile.fresh = p == 0;
        for (size_t b = 0, together; b < blocks; b += together) {
            const struct shape *shape = shape_for(kernels, blocks - b, &together);
            tile.x = weights + p * EFM_PANEL * tile.step + b * EFM_LANES;
            for (size_t d = 0; d < range->count; d += shape->rows) {
                if (b == 0)
                    fetch(panel, (d + AHEAD) * EFM_PANEL, shape->rows * EFM_PANEL);
                tile.a = panel + d * EFM_PANEL;
                tile.c = sums + d * tile.step + b * EFM_LANES;
                shape->along(&tile);
            }
        }
    }
}
