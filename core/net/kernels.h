/* kernels.h - what a net does between its convolutions: normalisation, SiLU, dropout, sums, resampling, softmax.
 *
 * One table a precision: elements of activations (void *) are float or bfloat16 (uint16_t), everything else is float,
 * and all arithmetic is in float. Activations lie as [pixels, channels] or [rows, width, channels]; `stride` is the
 * distance of two pixels in elements, so that two tensors can be written into one without a copy. A sum over an image
 * is taken row by row and the rows are added in order, so an image that is cut into bands gives the same bytes.
 *
 * GroupNorm + SiLU is a scale and a shift per channel of one image: u = scale x + shift, y = u / (1 + e^-u), where
 * scale = gamma / deviation and shift = beta + (embedding - mean) gamma / deviation; efm_norm_* below make them.
 *
 * Threads: pure functions. No pointer may be NULL unless said. */
#ifndef EFM_NET_KERNELS_H
#define EFM_NET_KERNELS_H

#include "core/net/net.h"

/* What a normalisation does to each channel of one image, and what its backward pass needs. All arrays [channels]. */
struct efm_norm_map {
    const float *scale, *shift;         /* u = scale x + shift */
    const float *hat_scale, *hat_shift; /* the normalised x = hat_scale x + hat_shift (backward alone) */
    bool silu;                          /* y = u sigmoid(u), else y = u */
    const uint8_t *keep;                /* dropout: [pixels, channels] of 0 or 1; NULL: none */
    float keep_scale;                   /* 1 / (1 - probability) */
};

/* dx = du_factor du + x_factor x + constant: the backward pass of the normalisation, per channel. */
struct efm_norm_slopes {
    const float *du_factor, *x_factor, *constant;
};

struct efm_net_kernels {
    size_t element; /* bytes */

    void (*from_floats)(void *out, const float *in, size_t count);
    void (*to_floats)(float *out, const void *in, size_t count);

    /* sums [rows, 2, channels] = for each row and channel the sum of x and of x^2 over its pixels. */
    void (*row_sums)(const void *x, size_t rows, size_t width, size_t channels, float *sums);

    /* out = a + b + bias; b (same shape) and bias [channels] may be NULL; out may be a or b. With `sums` not NULL also
     * the row sums of what was stored (rounded). */
    void (*add)(void *out, const void *a, const void *b, const float *bias, size_t rows, size_t width,
                size_t channels, float *sums);

    /* out[p * stride + c] = y(x[p * channels + c]), multiplied by keep * keep_scale where dropout is asked for. */
    void (*normalise)(void *out, size_t stride, const void *x, size_t pixels, size_t channels,
                      const struct efm_norm_map *map);

    /* du = dy * keep * keep_scale * y'(u), dy with `stride`. du_sum[c] += sum du, du_hat_sum[c] += sum du * hat(x). */
    void (*normalise_sums)(const void *dy, size_t stride, const void *x, size_t pixels, size_t channels,
                           const struct efm_norm_map *map, float *du_sum, float *du_hat_sum);

    /* dx = slopes(du, x) + add; `add` [pixels, channels] may be NULL or dx itself. dx_sum[c] += sum of dx without
     * `add`, when dx_sum is not NULL. */
    void (*normalise_backward)(void *dx, const void *dy, size_t stride, const void *x, size_t pixels,
                               size_t channels, const struct efm_norm_map *map,
                               const struct efm_norm_slopes *slopes, const void *add, float *dx_sum);

    /* Nearest neighbour: x [rows, width, channels] -> out [2 rows, 2 width, channels]; and its transpose (sums of 2 x 2;
     * rows and width are those of the smaller side in both). */
    void (*upsample)(void *out, const void *x, size_t rows, size_t width, size_t channels);
    void (*upsample_backward)(void *dx, const void *dy, size_t rows, size_t width, size_t channels);

    /* p[i, :] = softmax(scale * scores[i, :]); and d scores from d p: scale p (dp - sum dp p). */
    void (*softmax)(void *p, const float *scores, size_t rows, size_t columns, float scale);
    void (*softmax_backward)(void *dscores, const void *p, const float *dp, size_t rows, size_t columns,
                             float scale);

    /* sum[c] += sum over pixels of x[p * stride + c]. */
    void (*channel_sums)(const void *x, size_t stride, size_t pixels, size_t channels, float *sum);

    /* out[p * out_stride + c] = in[p * in_stride + c]; and out += in. */
    void (*copy)(void *out, size_t out_stride, const void *in, size_t in_stride, size_t pixels,
                 size_t channels);
    void (*accumulate)(void *out, size_t out_stride, const void *in, size_t in_stride, size_t pixels,
                       size_t channels);
};

const struct efm_net_kernels *efm_net_kernels(enum efm_precision precision); /* F32 or BF16 */

/* The plain twins: scalar loops in double that round once at the end. For tests. */
const struct efm_net_kernels *efm_net_reference_kernels(enum efm_precision precision);

/* ---- statistics of a group norm of one image; eps = 1e-6 ---- */

enum { EFM_NORM_GROUPS = 32 };

/* A norm may read two tensors that lie side by side (a skip connection): channels = first + second. */
struct efm_norm_input {
    const float *sums[2]; /* row sums [rows, 2, channels[i]]; sums[1] NULL and channels[1] 0 for one tensor */
    size_t channels[2];
    size_t rows, width;
    const float *embedding;    /* [channels] added to x before the norm; NULL: nothing */
    const float *gamma, *beta; /* [channels] */
};

/* Writes scale, shift, hat_scale, hat_shift [channels] each and the 1 / deviation of each group [EFM_NORM_GROUPS]. Row
 * sums are added in double, in the order of the rows. The last four may be NULL where only scale and shift are wanted. */
void efm_norm_forward(const struct efm_norm_input *input, float *scale, float *shift, float *hat_scale,
                      float *hat_shift, float *inverse_deviation);

/* From the sums of normalise_sums [channels]: the slopes of dx [channels each]. dx of the embedding is the dx_sum of
 * normalise_backward; d gamma = du_hat_sum, d beta = du_sum. */
void efm_norm_backward(const float *du_sum, const float *du_hat_sum, const float *gamma,
                       const float *hat_scale, const float *hat_shift, const float *inverse_deviation,
                       size_t channels, size_t pixels, float *du_factor, float *x_factor, float *constant);

/* ---- small parts ---- */

/* out [count, m] = x [count, k] weights[m, k]^T + bias [m] for outputs first .. last-1; every output is one dot product in one
 * order. bias may be NULL; with `silu` x is passed through SiLU first (the caller gives it already). */
void efm_dense(const float *weights, const float *bias, size_t m, size_t k, const float *x, size_t count,
               size_t first, size_t last, float *out);

/* y = x sigmoid(x), and dx = dy y'(x). */
void efm_silu(float *y, const float *x, size_t count);
void efm_silu_backward(float *dx, const float *dy, const float *x, size_t count);

/* out [count, 2 half] = sin(z w_i), cos(z w_i), w_i = 10000^(-i / (half - 1)), the angles taken in double. */
void efm_height_embedding(const float *z, size_t count, size_t half, float *out);

/* keep[i] = 1 with probability 1 - `probability`: a hash of (seed, first + i), so any part can be made alone. */
void efm_dropout_mask(uint8_t *keep, size_t count, uint64_t seed, uint64_t first, double probability);

/* bfloat16 of a float, to nearest even; NaN stays NaN. */
static inline uint16_t efm_bf16(float value)
{
    union {
        float f;
        uint32_t u;
    } bits = {value};
    if ((bits.u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits.u >> 16 | 0x40);
    return (uint16_t)((bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16);
}

static inline float efm_bf16_value(uint16_t value)
{
    union {
        uint32_t u;
        float f;
    } bits = {(uint32_t)value << 16};
    return bits.f;
}

#endif
