/* onednn_ops.h - convolutions and matrix products through oneDNN (its files alone know the library).
 *
 * Every primitive is made for one thread and one image (or one band of its rows), so the bytes of an image do not
 * depend on its neighbours or on the number of threads; parallel loops lie above. Elements are float or bfloat16
 * (uint16_t), sums are f32. Activations lie as [images, height, width, channels]; weights come and gradients go in the
 * order of the parameter table, in f32.
 *
 * Written for oneDNN 2.6; what differs in 3.x (descriptors that merged into primitive descriptors) stands in one place.
 *
 * The functions that return nothing cannot report. Should the library refuse all the same (it allocates a little in each
 * call), what they were to write becomes NaN.
 *
 * Threads: create, destroy, set_weights and collect_gradient from one thread at a time, while no slot runs; forward and
 * backward from many at once, each with a slot of its own. Any thread may call: the first call makes oneDNN
 * single-threaded on it (omp_set_num_threads(1)). */
#ifndef EFM_NET_ONEDNN_OPS_H
#define EFM_NET_ONEDNN_OPS_H

#include "core/base/status.h"
#include "core/net/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct efm_conv;

struct efm_conv_options {
    uint32_t height, width; /* of the input */
    uint32_t in_channels, out_channels;
    uint32_t kernel; /* 1 or 3 */
    uint32_t stride; /* 1: padded by kernel / 2 on all sides; 2: by one below and to the right (the published
                             downsampling), height and width even */
    bool in_out;     /* weights lie as (in, out), the published "NIN"; else (out, in, kernel, kernel) */
    bool no_input_gradient;       /* training: backward_data is never called */
    bool training;                /* also the two backward passes */
    enum efm_precision precision; /* F32 or BF16, resolved */
    size_t images;                /* training: the most of one backward_weights call; each number up to it has
                                     a primitive of its own, made in less than a millisecond */
    size_t slots;                 /* threads or shards that may run at once */
    size_t bands;                 /* forward_band is called with up to so many; below 2: never */
};

/* EFM_E_ARGUMENT for options out of range, EFM_E_UNSUPPORTED where the library or the processor cannot. The numbers come
 * with set_weights. */
EFM_MUST_CHECK enum efm_status efm_conv_create(struct efm_conv **conv, const struct efm_conv_options *options,
                                               struct efm_error *error);
void efm_conv_destroy(struct efm_conv *conv);

/* Makes a slot ready: its scratch and, for training, its gradient. Slot 0 is; every other one is opened before it is used.
 * Slots of different numbers may be opened at once; one that is open stays so. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_conv_open_slot(struct efm_conv *conv, size_t slot,
                                                  struct efm_error *error);
size_t efm_conv_bytes(const struct efm_conv *conv); /* weights, gradients and scratch of all slots */
double efm_conv_flops(const struct efm_conv *conv); /* of one image forward: 2 * out pixels * weights */

/* weights [out, in, k, k] or [in, out] floats, borrowed for the call: rounded and reordered for every pass that
 * was asked for. */
void efm_conv_set_weights(struct efm_conv *conv, const float *weights);

/* source [images, height, width, in] -> out [images, out_height, out_width, out], no bias. The one-image primitive, image
 * by image. */
void efm_conv_forward(const struct efm_conv *conv, size_t slot, const void *source, void *out, size_t images);

/* The largest number of bands, at most `bands`, that together give the bytes of the whole image; 1: none do. */
size_t efm_conv_bands(const struct efm_conv *conv, size_t bands);

/* Rows [band * out_height / bands, (band + 1) * out_height / bands) of one image: the same bytes as forward gives. That is
 * tried when the convolution is created; for numbers of bands where the library would give others or is slow, and for
 * those that were not announced, band 0 does the whole image and the rest do nothing. */
void efm_conv_forward_band(const struct efm_conv *conv, size_t slot, const void *source, void *out,
                           size_t band, size_t bands);

/* out_gradient [images, out_height, out_width, out] -> source_gradient [images, height, width, in], overwritten. */
void efm_conv_backward_data(const struct efm_conv *conv, size_t slot, const void *out_gradient,
                            void *source_gradient, size_t images);

/* The gradient of the weights over `images` images, kept in the slot in the library's own order, overwritten; 0 images
 * give 0. */
void efm_conv_backward_weights(const struct efm_conv *conv, size_t slot, const void *source,
                               const void *out_gradient, size_t images);

/* Sums slots 0 .. slots-1 in this order into gradient, in the order of the parameter table, overwritten. The sum is left
 * in slot 0, so call it once after each round of backward_weights; slots that did no round count with what they hold. */
void efm_conv_collect_gradient(const struct efm_conv *conv, size_t slots, float *gradient);

/* ---- matrix products of one image ---- */

struct efm_matmul;

struct efm_matmul_options {
    size_t m, n, k;
    bool transpose_a, transpose_b; /* a lies as [k, m], b as [n, k]; else a [m, k], b [k, n] */
    enum efm_precision precision;  /* of a and b */
    enum efm_precision out;        /* of c [m, n] */
    size_t slots;
};

EFM_MUST_CHECK enum efm_status efm_matmul_create(struct efm_matmul **matmul,
                                                 const struct efm_matmul_options *options,
                                                 struct efm_error *error);
void efm_matmul_destroy(struct efm_matmul *matmul);
size_t efm_matmul_bytes(const struct efm_matmul *matmul); /* scratch of all slots */
void efm_matmul_run(const struct efm_matmul *matmul, size_t slot, const void *a, const void *b, void *c);

/* c = a b + beta c in f32 on the calling thread: c [m, n]; a [m, k], transposed: it lies as [k, m]; b [k, n], transposed:
 * it lies as [n, k]. Rows of what lies there are lda, ldb, ldc floats apart. With beta 0 c is only written. */
void efm_sgemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
               const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* Seconds of the best of `repeats` runs of this convolution's forward pass of one image on one thread, on numbers of its
 * own, for the share of peak. Uses slot 0. 0 when there is no memory for it. */
double efm_conv_time(const struct efm_conv *conv, size_t repeats);

#endif
