/* mlp_product.h - rows of samples times a matrix of weights in f32, a row's bytes being its own.
 *
 * Every output is a sum over the inputs in one order, in multiply-adds, whatever its neighbours: this holds by
 * construction, which a library's product does not promise (and for AVX2 does not keep). Weights are packed once, in
 * panels of EFM_MLP_PANEL outputs, so that nothing is rearranged while multiplying.
 *
 * Threads: pure functions. */
#ifndef EFM_NET_MLP_PRODUCT_H
#define EFM_NET_MLP_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

enum { EFM_MLP_PANEL = 48 };

static inline size_t efm_mlp_panels(size_t outputs)
{
    return (outputs + EFM_MLP_PANEL - 1) / EFM_MLP_PANEL;
}

/* The inner loop for one instruction set. */
struct efm_mlp_kernel;

/* Those that this processor runs, the fastest first; NULL past the last. The last one is plain C. */
const struct efm_mlp_kernel *efm_mlp_kernel_at(size_t index);

/* Panel `index` of packed [efm_mlp_panels(outputs), inputs, EFM_MLP_PANEL] from weights [outputs, inputs]; zeros stand
 * for outputs that are not there. */
void efm_mlp_pack(float *packed, const float *weights, size_t outputs, size_t inputs, size_t index);

/* out [rows, outputs] = x [rows, inputs] weights^T + bias [outputs], and 0 for what is negative with `relu`. x may not
 * overlap out. */
void efm_mlp_product(const struct efm_mlp_kernel *kernel, const float *packed, const float *bias,
                     size_t outputs, size_t inputs, const float *x, size_t rows, bool relu, float *out);

#endif
