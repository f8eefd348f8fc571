/* net.h - a learned field: a network f(x, z) -> (f_x, f_z), forward and backward.
 *
 * Three things, each made once and then used without allocating:
 *   efm_net           an architecture: its parameter table and the list of its operations. Immutable, shared.
 *   efm_net_weights   the numbers of one net, arranged for one precision. Shared by runs; immutable between sets.
 *   efm_net_run       the activations of a batch under way. One thread at a time.
 *
 *     efm_net_create(&net, &config, &error);
 *     efm_net_initialise(net, seed, parameters);                       parameters [efm_net_size(net)]
 *     efm_net_weights_create(&weights, net, &(struct efm_net_weights_options){.precision = EFM_PRECISION_AUTO}, &error);
 *     efm_net_weights_set(weights, parameters, team);
 *     efm_net_run_create(&run, weights, 16, team, &error);
 *     efm_net_forward(run, x, z, 16, fx, fz);
 *
 * All numbers of a net lie in one array of floats, in the order of its parameter table; gradients, Adam's moments
 * and the moving average have the same layout. Images lie as [height, width, channels].
 *
 * What comes out for an image is a function of (parameters, precision, x, z) alone: the same bytes alone, in a full
 * batch, at any place in it and with any number of threads.
 *
 * Source of the U-Net: the published network of electrostatic field matching (DDPM style), whose parameter names
 * and shapes it keeps; of the MLP: the toy network of the same work. */
#ifndef EFM_NET_NET_H
#define EFM_NET_NET_H

#include "core/base/shape.h"
#include "core/base/status.h"
#include "core/base/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EFM_NET_ARCH_MAP(X)                                                                                  \
    X(EFM_NET_UNET, "unet", "residual blocks over a pyramid of resolutions, for images")                     \
    X(EFM_NET_MLP, "mlp", "fully connected layers, for vectors")

#define EFM_PRECISION_MAP(X)                                                                                 \
    X(EFM_PRECISION_AUTO, "auto", "bf16 where the processor multiplies it natively, else f32")               \
    X(EFM_PRECISION_F32, "f32", "32-bit floats throughout")                                                  \
    X(EFM_PRECISION_BF16, "bf16", "activations and products in bfloat16, sums and master weights in f32")

#define EFM_NET_ENUM(symbol, word, meaning) symbol,
enum efm_net_arch { EFM_NET_ARCH_MAP(EFM_NET_ENUM) };
enum efm_precision { EFM_PRECISION_MAP(EFM_NET_ENUM) };
#undef EFM_NET_ENUM

const char *efm_net_arch_name(enum efm_net_arch arch);
EFM_MUST_CHECK enum efm_status efm_net_arch_parse(const char *word, enum efm_net_arch *arch);
const char *efm_precision_name(enum efm_precision precision);
EFM_MUST_CHECK enum efm_status efm_precision_parse(const char *word, enum efm_precision *precision);

/* AUTO becomes what this processor does best; EFM_E_UNSUPPORTED for bf16 where it cannot run. */
EFM_MUST_CHECK enum efm_status efm_precision_resolve(enum efm_precision *precision, struct efm_error *error);

/* The instruction set that the matrix library uses here ("avx512_core_bf16"), and its version; for ever. */
const char *efm_net_instruction_set(void);
const char *efm_net_library(void);

enum { EFM_NET_MAX_LEVELS = 6, EFM_NET_MAX_ATTENTION = 6, EFM_NET_MAX_SIDE = 128 };

struct efm_net_config {
    enum efm_net_arch arch;
    struct efm_shape
        shape; /* unet: an image of 8..128 pixels a side, divisible by 2^(levels-1), 1..4 channels */
    /* unet */
    uint32_t nf;     /* channels of the first level, a multiple of 32 */
    uint32_t levels; /* 1..EFM_NET_MAX_LEVELS */
    uint32_t ch_mult[EFM_NET_MAX_LEVELS];
    uint32_t blocks;                           /* residual blocks a level, 1..8 */
    uint32_t attention[EFM_NET_MAX_ATTENTION]; /* heights of the levels that attend; the middle always does */
    uint32_t attention_count;
    double dropout; /* of training alone, [0, 1) */
    /* mlp */
    uint32_t hidden;    /* width of the layers before the embedding; 0: 1024 D */
    uint32_t hidden2;   /* and after it; 0: 1024 (D + 1) */
    uint32_t embedding; /* of z, even; 0: 128 */
};

/* The published U-Net for `shape` (nf 128, ch_mult 1,2,2,2, 4 blocks, attention at 16), or the toy MLP for a vector. */
void efm_net_config_default(struct efm_net_config *config, const struct efm_shape *shape);

/* EFM_E_ARGUMENT with the member that is wrong. */
EFM_MUST_CHECK enum efm_status efm_net_config_check(const struct efm_net_config *config,
                                                    struct efm_error *error);

enum efm_init { EFM_INIT_ZERO, EFM_INIT_ONE, EFM_INIT_FAN_AVERAGE };

enum { EFM_PARAMETER_NAME = 64, EFM_PARAMETER_MAX_RANK = 4 };

struct efm_parameter {
    char name[EFM_PARAMETER_NAME]; /* as in a published checkpoint: "all_modules.3.Conv_0.weight" */
    size_t rank, shape[EFM_PARAMETER_MAX_RANK];
    size_t offset, count; /* in floats, in the array of all parameters */
    enum efm_init init;   /* FAN_AVERAGE: uniform in +-sqrt(3 scale / ((fan_in + fan_out) / 2)) */
    size_t fan_in, fan_out;
    double scale;
};

struct efm_net;

EFM_MUST_CHECK enum efm_status efm_net_create(struct efm_net **net, const struct efm_net_config *config,
                                              struct efm_error *error);
struct efm_net *efm_net_ref(struct efm_net *net);
void efm_net_unref(struct efm_net *net);

const struct efm_net_config *efm_net_config(const struct efm_net *net);
size_t efm_net_size(const struct efm_net *net); /* floats of all parameters */
size_t efm_net_parameter_count(const struct efm_net *net);
const struct efm_parameter *efm_net_parameter(const struct efm_net *net, size_t index);

/* Multiplications and additions of one forward pass of one sample, in convolutions and matrix products. */
double efm_net_flops(const struct efm_net *net);

/* Fills parameters [efm_net_size] as the published code does. The same seed gives the same numbers. */
void efm_net_initialise(const struct efm_net *net, uint64_t seed, float *parameters);

/* ---- weights ---- */

struct efm_net_weights;

struct efm_net_weights_options {
    enum efm_precision precision;
    bool training;        /* also arranged for the backward pass */
    size_t shard_samples; /* training: the largest number of samples in one shard, see efm_net_gradient */
    size_t shards;        /* training: in how many a batch is cut */
};

/* Prepares all operations; the numbers come with efm_net_weights_set. */
EFM_MUST_CHECK enum efm_status efm_net_weights_create(struct efm_net_weights **weights, struct efm_net *net,
                                                      const struct efm_net_weights_options *options,
                                                      struct efm_error *error);
/* parameters [efm_net_size], borrowed for the call. Not while a run uses the weights. */
void efm_net_weights_set(struct efm_net_weights *weights, const float *parameters, struct efm_team *team);
void efm_net_weights_destroy(struct efm_net_weights *weights);
enum efm_precision efm_net_weights_precision(const struct efm_net_weights *weights);
size_t efm_net_weights_bytes(const struct efm_net_weights *weights);

/* ---- runs ---- */

struct efm_net_run;

/* For up to `capacity` samples at once. `weights` and `team` (may be NULL) are borrowed for its life. Weights made for
 * training give a run that can do both; its capacity is then at most shards * shard_samples, and for a unet it is the only
 * run (EFM_E_LIMIT): the gradients lie with the weights. */
EFM_MUST_CHECK enum efm_status efm_net_run_create(struct efm_net_run **run,
                                                  const struct efm_net_weights *weights, size_t capacity,
                                                  struct efm_team *team, struct efm_error *error);
void efm_net_run_destroy(struct efm_net_run *run);
size_t efm_net_run_bytes(const struct efm_net_run *run);
/* What a run with a team of `threads` would take, for admission; SIZE_MAX on overflow. Allocates nothing. */
size_t efm_net_run_bytes_planned(const struct efm_net_weights *weights, size_t capacity, size_t threads);

/* x [count, D], z [count] -> fx [count, D], fz [count]; count <= capacity. No dropout. Cannot fail. */
void efm_net_forward(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx,
                     float *fz);

struct efm_net_sample_batch {
    size_t count;          /* <= capacity; shard s does samples [s * shard_samples, ...) */
    const float *x;        /* [count, D] */
    const float *z;        /* [count] */
    const float *target_x; /* [count, D] */
    const float *target_z; /* [count]; NULL: f_z is not trained and the mean is over D components alone */
    const float *weight;   /* [count] of each sample in the loss; NULL: all 1 */
    uint64_t dropout_seed; /* of this step; what is dropped depends on it and the place in the batch alone */
    bool dropout;
    /* Asked between pieces, by all threads of the team. Once it is true the rest is left out, and neither loss nor gradient mean
     * anything. NULL: never asked. */
    bool (*stop)(void *context);
    void *stop_context;
};

/* One forward and backward pass. The loss is sum_i weight_i |f(x_i, z_i) - target_i|^2 / (count (D + 1)). Writes
 * d loss / d parameter into gradient [efm_net_size] (overwritten) and returns the loss. The result depends on
 * the shards of the weights, never on the number of threads. */
double efm_net_gradient(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient);

#endif
