/* unet_internal.h - the plan of a U-Net: tensors, operations in order, and where everything lies.
 *
 * A plan is made once from the configuration. Forward runs the operations in order, backward in reverse; which gradient
 * is written first and which is added to is decided in the plan, so a step only computes. */
#ifndef EFM_NET_UNET_INTERNAL_H
#define EFM_NET_UNET_INTERNAL_H

#include "core/net/net_internal.h"

#define UNET_NONE SIZE_MAX

struct unet_tensor {
    uint32_t height, width, channels;
    bool sums;         /* its row sums are taken when it is made */
    bool temporary;    /* read by one operation, as `other`: its gradient is that operation's */
    size_t made, used; /* first and last operation */
    size_t
        gradient; /* the tensor whose gradient buffer is this one's: itself, or what a temporary is added to */
};

enum unet_kind { UNET_CONV, UNET_NORM, UNET_UPSAMPLE, UNET_ATTENTION };

/* How the gradient of an input gets what an operation gives. */
enum unet_gradient { UNET_WRITE, UNET_WRITE_AND_ADD, UNET_ACCUMULATE };

struct unet_operation {
    enum unet_kind kind;
    size_t in[3]; /* CONV, UPSAMPLE: one; NORM: one or two side by side; ATTENTION: q, k, v */
    size_t out;
    enum unet_gradient how[3];
    size_t add[3]; /* WRITE_AND_ADD: the tensor whose gradient is added */

    /* CONV: out = conv(in) [+ other + biases] */
    size_t conv;            /* index into the plan's convolutions */
    size_t other;           /* tensor or UNET_NONE */
    bool other_accumulates; /* backward: the gradient of `other` is added to at once */
    bool
        finished; /* `other` and biases are added here; the first convolution of a block leaves it to its norm */
    size_t biases[2];   /* parameters or UNET_NONE */
    size_t bias_offset; /* of their sum in the small numbers */

    /* NORM */
    size_t gamma, beta; /* parameters */
    bool silu, dropout;
    size_t dense;       /* index into the plan's dense layers, or UNET_NONE */
    size_t channels;    /* of the output */
    size_t norm_index;  /* counts norms */
    size_t map_offset;  /* training: in floats, of its maps in those of an image */
    size_t keep_offset; /* training: of its dropout mask */

    /* ATTENTION */
    size_t attention_index;
};

struct unet_conv {
    struct efm_conv_options options;
    size_t parameter, weight_offset; /* weights begin at parameter.offset + weight_offset */
};

/* Dense_0 of a residual block: embedding of the height -> [out]. */
struct unet_dense {
    size_t weight, bias, conv_bias; /* parameters */
    size_t out, offset;             /* offset in the concatenation of all */
    size_t bias_offset;             /* of bias + conv_bias in the small numbers */
};

struct unet_plan {
    struct unet_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    struct unet_operation *operations;
    size_t operation_count, operation_capacity;
    struct unet_conv *convs;
    size_t conv_count, conv_capacity;
    struct unet_dense *denses;
    size_t dense_count, dense_capacity, dense_total;
    size_t input, output;          /* tensors */
    size_t embedding[4];           /* parameters: weight, bias of the two linear layers */
    size_t *small_offset;          /* [parameter_count] place of what is no convolution's weight; UNET_NONE */
    size_t small_parameters;       /* floats of those */
    size_t small_count;            /* and of the sums of biases behind them */
    size_t widest;                 /* channels of the widest norm */
    size_t norm_count, map_floats; /* training: maps of one image */
    size_t keep_bytes;
    size_t attention_count;
    size_t *attentions; /* [attention_count] operations */
    size_t attention_capacity;
    size_t largest; /* elements of the largest tensor */
};

static inline const struct unet_plan *unet_plan(const struct efm_net *net)
{
    return net->plan;
}

static inline size_t unet_elements(const struct unet_tensor *tensor)
{
    return (size_t)tensor->height * tensor->width * tensor->channels;
}

/* Attention over `tokens` of `channels`: its matrix products, shared by all attentions of one size. */
enum unet_product { UNET_QK, UNET_PV, UNET_DP, UNET_DQ, UNET_DK, UNET_DV, UNET_PRODUCTS };

/* Where tensors lie in the memory of one image, in bytes. For inference what is no longer needed is written over. */
struct unet_layout {
    size_t *values, *sums, *gradients; /* [tensor_count]; gradients for training alone */
    size_t bytes;                      /* of one image; below 2^40 for the largest net */
};

EFM_MUST_CHECK enum efm_status unet_layout_create(struct unet_layout *layout, const struct unet_plan *plan,
                                                  size_t element, bool training, struct efm_error *error);
void unet_layout_release(struct unet_layout *layout);

/* Threads that may compute with one set of weights at once, in all runs together. */
enum { UNET_LANES = 64 };

struct unet_weights {
    /* A bit for each one that a run has taken; training: the first alone, for the one run whose shards are its lanes. */
    atomic_uint_fast64_t lanes;
    struct unet_layout layout;
    const struct efm_net_kernels *kernels;
    struct efm_conv **convs;                       /* [conv_count] */
    struct efm_matmul *(*products)[UNET_PRODUCTS]; /* [attention_count] */
    float *small;                                  /* [small_count] */
    size_t element;
};

static inline struct unet_weights *unet_weights(const struct efm_net_weights *weights)
{
    return weights->parts;
}

static inline const float *unet_small(const struct unet_plan *plan, const struct unet_weights *weights,
                                      size_t parameter)
{
    return weights->small + plan->small_offset[parameter];
}

/* ---- memory of runs ---- */

/* What one chunk of images is computed in: a thread's of its own, or a shard's. Activations of image i of tensor t lie
 * at memory + values[t] * images + i * size: every tensor is contiguous over the images. */
struct unet_slot {
    char *memory;
    float *height;       /* [images, nf] sines and cosines */
    float *linear[2];    /* [images, 4 nf] before SiLU */
    float *hidden[2];    /* after it */
    float *dense;        /* [images, out] of each block, block after block */
    void *probabilities; /* inference: [tokens, tokens]; training: of each attention and image */
    /* training */
    float *maps;           /* [images, map_floats] */
    uint8_t *keep;         /* [images, keep_bytes] */
    float *dense_gradient; /* as dense */
    float *linear_gradient[2];
    float *small_gradient; /* [small_parameters] */
    float *fx, *fz;        /* [images, D], [images] */
    double loss;
};

/* Working space of one thread. */
struct unet_lane {
    float *scale, *shift, *hat_scale, *hat_shift; /* [widest] */
    float *du_sum, *du_hat_sum, *slopes, *dx_sum; /* [widest], slopes [3 widest] */
    float *scores;                                /* [tokens, tokens] */
    void *probabilities, *probability_gradient;   /* [tokens, tokens] elements */
    void *scratch;                                /* one image of the largest tensor */
};

struct unet_run {
    size_t images;     /* room of a slot */
    size_t lane_count; /* slots, and lanes: chunks or shards */
    size_t claimed;    /* bits of the lanes of the weights, from this one on: */
    size_t first_lane;
    size_t tokens; /* of the largest attention */
    struct unet_slot *slots;
    struct unet_lane *lanes;
    void *barriers; /* [lane_count], see unet_run.c */
    struct efm_arena arena;
};

static inline struct unet_run *unet_run(const struct efm_net_run *run)
{
    return run->parts;
}

/* One piece of work: images of a slot, or a band of rows of one image. */
struct unet_job {
    const struct efm_net_run *run;
    const struct unet_plan *plan;
    const struct unet_weights *weights;
    const struct efm_net_kernels *kernels;
    const struct unet_run *parts;
    struct unet_slot *slot;
    struct unet_lane *lane;
    size_t conv_slot; /* what it may use of each convolution: the run's lane, or the shard */
    size_t images;
    size_t band, bands; /* bands > 1: one image */
    bool training;
    bool dropout;
    uint64_t dropout_seed;
    size_t first_image;                       /* in the batch, for dropout */
    const struct efm_net_sample_batch *batch; /* NULL unless it trains */
};

static inline bool unet_stopped(const struct unet_job *job)
{
    return job->batch != NULL && efm_net_stopped(job->batch);
}

static inline void *unet_values(const struct unet_job *job, size_t tensor, size_t image)
{
    size_t bytes = unet_elements(&job->plan->tensors[tensor]) * job->kernels->element;
    return job->slot->memory + job->weights->layout.values[tensor] * job->parts->images + image * bytes;
}

static inline float *unet_sums(const struct unet_job *job, size_t tensor, size_t image)
{
    const struct unet_tensor *t = &job->plan->tensors[tensor];
    size_t bytes = (size_t)t->height * 2 * t->channels * sizeof(float);
    return (float *)(job->slot->memory + job->weights->layout.sums[tensor] * job->parts->images +
                     image * bytes);
}

static inline void *unet_gradient(const struct unet_job *job, size_t tensor, size_t image)
{
    tensor = job->plan->tensors[tensor].gradient;
    size_t bytes = unet_elements(&job->plan->tensors[tensor]) * job->kernels->element;
    return job->slot->memory + job->weights->layout.gradients[tensor] * job->parts->images + image * bytes;
}

/* The maps of a norm of one image: scale, shift, hat_scale, hat_shift [channels each], inverse deviations. */
static inline float *unet_map(const struct unet_job *job, const struct unet_operation *operation,
                              size_t image)
{
    return job->slot->maps + image * job->plan->map_floats + operation->map_offset;
}

static inline void *unet_probabilities(const struct unet_job *job, const struct unet_operation *operation,
                                       size_t image)
{
    size_t bytes = job->parts->tokens * job->parts->tokens * job->kernels->element;
    return (char *)job->slot->probabilities +
           (operation->attention_index * job->parts->images + image) * bytes;
}

/* Rows of `height` that a job does. */
struct unet_rows {
    size_t first, last;
};

static inline struct unet_rows unet_rows(const struct unet_job *job, size_t height)
{
    size_t bands = job->bands < height ? job->bands : height;
    if (job->band >= bands)
        return (struct unet_rows){0, 0};
    return (struct unet_rows){job->band * height / bands, (job->band + 1) * height / bands};
}

/* x and z into the slot: the input tensor and the embedding of the height; then the dense layers, of which each band
 * does a part. Between the stages, and between operations, bands wait for each other. */
enum { UNET_STAGES = 2 };
void unet_begin(const struct unet_job *job, int stage, const float *x, const float *z);
void unet_forward_operation(const struct unet_job *job, const struct unet_operation *operation);
void unet_finish(const struct unet_job *job, float *fx, float *fz);

/* The backward pass of a job whose forward pass has been made: gradient of the loss at the output, then everything. */
void unet_backward(const struct unet_job *job, const struct efm_net_sample_batch *batch);

enum efm_status unet_weights_create(struct efm_net_weights *weights, struct efm_error *error);
void unet_weights_set(struct efm_net_weights *weights, const float *parameters, struct efm_team *team);
void unet_weights_destroy(struct efm_net_weights *weights);
size_t unet_weights_bytes(const struct efm_net_weights *weights);

size_t unet_run_bytes(const struct efm_net_weights *weights, size_t capacity, size_t threads);
enum efm_status unet_run_create(struct efm_net_run *run, struct efm_error *error);
void unet_run_destroy(struct efm_net_run *run);
void unet_forward(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx,
                  float *fz);
double unet_gradient_of(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient);

#endif
