/* mlp_internal.h - what the forward and the backward pass of the fully connected network share. Only for mlp*.c.
 *
 * Samples go in blocks of EFM_MLP_ROWS, the last one padded with zeros, so that every product has one size and a
 * sample the same bytes wherever it is. In f32 the products are our own (mlp_product.h), in bf16 the library's, whose
 * products of constant size keep that in bf16 (there is a test). The first layer is a product in f32 in either precision: in bfloat16 the
 * coordinates themselves would be rounded. */
#ifndef EFM_NET_MLP_INTERNAL_H
#define EFM_NET_MLP_INTERNAL_H

#include "core/net/mlp_product.h"
#include "core/net/net_internal.h"

enum {
    EFM_MLP_LAYERS = 6,
    EFM_MLP_EMBEDDED = 3, /* the layer whose input has the embedding of z added to it */
    EFM_MLP_ROWS =
        32, /* in bf16 16 rows are a seventh slower, 64 a sixth faster and slow for a single sample */
};

struct efm_mlp_layer {
    size_t in, out;
    size_t weight, bias; /* offsets in the array of all parameters */
    bool relu;           /* after it */
};

struct efm_mlp_plan {
    struct efm_mlp_layer layers[EFM_MLP_LAYERS];
    size_t widest; /* of all inputs and outputs */
};

struct efm_mlp_weights {
    struct efm_arena arena;
    float *bias[EFM_MLP_LAYERS];
    float *packed[EFM_MLP_LAYERS];     /* efm_mlp_pack, forward in f32 */
    float *plain[EFM_MLP_LAYERS];      /* [out, in], backward in f32; training */
    uint16_t *rounded[EFM_MLP_LAYERS]; /* [out, in], forward and backward in bf16 */
    const struct efm_mlp_kernel *kernel;
};

/* Working space of one thread, EFM_MLP_ROWS rows each. */
struct efm_mlp_slot {
    float *ping, *pong; /* [rows, widest]; inference */
    float *embedding;   /* [rows, embedding] */
    float *z;           /* [rows] */
    uint16_t *rounded;  /* [rows, widest]; bf16 */
};

/* What the backward pass needs of every sample; rows are a multiple of EFM_MLP_ROWS. All NULL without training. */
struct efm_mlp_record {
    float *x;                          /* [rows, D] */
    float *activation[EFM_MLP_LAYERS]; /* [rows, out], after the ReLU */
    float *embedded;                   /* [rows, embedding], the input of layer EFM_MLP_EMBEDDED */
    float *delta[EFM_MLP_LAYERS];      /* [rows, out], d loss / d (output before the ReLU) */
    double *loss;                      /* [rows] */
};

struct efm_mlp_run {
    struct efm_arena arena;
    size_t slot_count;
    struct efm_mlp_slot *slots; /* in the arena */
    struct efm_mlp_record record;
    struct efm_matmul *forward[EFM_MLP_LAYERS], *backward[EFM_MLP_LAYERS]; /* bf16, from layer 1 on */
};

static inline const struct efm_mlp_plan *efm_mlp_plan(const struct efm_net_weights *weights)
{
    return weights->net->plan;
}

/* `count` samples of x [count, D] into block [EFM_MLP_ROWS, D] and z [EFM_MLP_ROWS], zeros behind them. */
void efm_mlp_load(float *block_x, float *block_z, const float *x, const float *z, size_t count,
                  size_t dimension);

/* out [rows, out of layer i] = the layer of in [rows, in], bias and ReLU included. rows <= EFM_MLP_ROWS, and equal
 * to it in bf16. */
void efm_mlp_layer_forward(const struct efm_net_run *run, size_t slot, size_t i, const float *in, size_t rows,
                           float *out);

/* out [rows, embedding] = in + embedding of z [rows]; in may be out. */
void efm_mlp_embed(const struct efm_net_run *run, size_t slot, const float *z, const float *in, size_t rows,
                   float *out);

/* The `gradient` of efm_mlp_class. */
double efm_mlp_gradient(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient);

#endif
