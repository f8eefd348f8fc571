/* products.h - products of charges with points and of charges with weights, each element summed in one order.
 *
 * A matrix library chooses its kernel, and with it the order of its sums, by the sizes of the matrices: a point's
 * last bits would depend on how many neighbours it has. Here a lane of a vector is a point, so nothing but the
 * point itself enters its sums, and charges lie ready for both products, so nothing is rearranged on the way.
 *
 *     const struct efm_kernels *kernels = efm_kernels_at(0);
 *     efm_lanes_fill(points, 1, x, dimension, 1, dimension);           one point, 15 lanes of zeros
 *     efm_multiply_panel(kernels, panel, dimension, points, 1, dots);  x . y for EFM_PANEL charges
 *     efm_multiply_weights(kernels, &range, weights, 1, sums);         sum of w y over all charges
 *
 * Panels: charges [count, D] as [panels, padded D, EFM_PANEL], zeros at the ends. Lanes: points [count, D], or their
 * weights [count, charges], as [D, blocks, EFM_LANES]. All memory is the caller's. Threads: all functions are
 * pure. */
#ifndef EFM_FIELD_PRODUCTS_H
#define EFM_FIELD_PRODUCTS_H

#include <stddef.h>

enum {
    EFM_LANES = 16,     /* points in a block */
    EFM_PANEL = 48,     /* charges in a panel */
    EFM_ROWS_STEP = 12, /* dimensions of a panel are padded to a multiple */
};

/* The kernels for one instruction set; on one machine always the first that it has. */
struct efm_kernels;

/* The best for this processor, the second best, ...; NULL behind the last. */
const struct efm_kernels *efm_kernels_at(size_t index);
const char *efm_kernels_name(const struct efm_kernels *kernels);

static inline size_t efm_panel_count(size_t charges)
{
    return charges / EFM_PANEL + (charges % EFM_PANEL != 0);
}

static inline size_t efm_panel_rows(size_t dimension)
{
    return dimension + (EFM_ROWS_STEP - dimension % EFM_ROWS_STEP) % EFM_ROWS_STEP;
}

/* panels[..] = charges - centre; the panels must hold zeros before. */
void efm_panels_fill(float *panels, const float *charges, const float *centre, size_t count,
                     size_t dimension);

/* Fills one of `blocks` blocks: lanes[d, 0, lane] = rows[lane * stride + d] for lane < count, else 0. */
void efm_lanes_fill(float *lanes, size_t blocks, const float *rows, size_t stride, size_t count,
                    size_t dimension);

/* dots[j, b, lane] = y_j . x_(b, lane), points [D, blocks, EFM_LANES], for the EFM_PANEL charges of one panel. */
void efm_multiply_panel(const struct efm_kernels *kernels, const float *panel, size_t dimension,
                        const float *points, size_t blocks, float *dots);

/* Dimensions [first, first + count) of all panels; first and count are multiples of EFM_ROWS_STEP. */
struct efm_panel_range {
    const float *panels;
    size_t panel_count, dimension, first, count;
};

/* sums[d, b, lane] = sum_j w_(b, lane)j y_jd over all charges; weights [panels * EFM_PANEL, blocks, EFM_LANES]. */
void efm_multiply_weights(const struct efm_kernels *kernels, const struct efm_panel_range *range,
                          const float *weights, size_t blocks, float *sums);

#endif
