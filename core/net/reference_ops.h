/* reference_ops.h - the plain twins of onednn_ops.h: loops in double over floats. For tests.
 * Shapes and orders as there; all images at once. Threads: pure functions. */
#ifndef EFM_NET_REFERENCE_OPS_H
#define EFM_NET_REFERENCE_OPS_H

#include "core/net/onednn_ops.h"

void efm_reference_conv(const struct efm_conv_options *options, const float *weights, const float *source,
                        float *out, size_t images);
void efm_reference_conv_data(const struct efm_conv_options *options, const float *weights,
                             const float *out_gradient, float *source_gradient, size_t images);
void efm_reference_conv_weights(const struct efm_conv_options *options, const float *source,
                                const float *out_gradient, float *gradient, size_t images);
void efm_reference_matmul(const struct efm_matmul_options *options, const float *a, const float *b, float *c);

#endif
