/* train_internal.h - what the files of the batcher share: streams of random numbers, and the points of a step. */
#ifndef EFM_TRAIN_TRAIN_INTERNAL_H
#define EFM_TRAIN_TRAIN_INTERNAL_H

#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/train/batch.h"

#include <math.h>

/* Run-time dispatch over instruction sets; a sanitizer is not ready yet when ifunc resolvers run. */
#if defined(__x86_64__) && !defined(EFM_NO_CLONES)
#define EFM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EFM_CLONES
#endif

/* ---- random numbers (samples.c) ---- */

/* What a stream of a training is for: each has a seed of its own, so that equal indices never meet. Never renumber. */
enum efm_train_role {
    EFM_TRAIN_SHUFFLE = 1,
    EFM_TRAIN_AUGMENT = 2,
    EFM_TRAIN_NOISE = 3,
    EFM_TRAIN_POINTS = 4,        /* where a point lies */
    EFM_TRAIN_POINTS_NORMAL = 5, /* the D normals of its offset */
};
uint64_t efm_train_seed(uint64_t seed, enum efm_train_role role, unsigned side);

/* out[count] = standard normals, vectorised: Philox and Box-Muller in floats. A function of (seed, index). */
void efm_train_normals(uint64_t seed, uint64_t index, float *out, size_t count);

/* Whether every pass holds the same values: data without augmentation. */
bool efm_samples_is_fixed(const struct efm_samples *samples);

/* ---- points (points.c, marginal.c) ---- */

/* A point to be made: everything that a sampler reads and writes. */
struct efm_train_point {
    const float *p, *q; /* [D] of the pair */
    struct efm_random *random;
    uint64_t normal_seed, index; /* names its D normals */
    float *x;                    /* [D] */
    float z;
    enum efm_plate_side side; /* marginal: of the charge that made it */
};

void efm_train_point_make(const struct efm_batch_options *options, size_t dimension,
                          struct efm_train_point *point);
void efm_train_point_marginal(const struct efm_batch_options *options, size_t dimension,
                              struct efm_train_point *point);

/* Uniform in [lowest, L - lowest]. */
double efm_train_height(const struct efm_batch_options *options, struct efm_random *random);

/* Of paths of a Brownian motion from z in (0, L) that reach 0 after the time t, the share that did so without
 * touching L. */
double efm_marginal_acceptance(double z, double t, double length);

/* A lateral offset past so many L * sqrt(D + 1) has no weight in any field of the chain. */
#define EFM_TRAIN_FAR 2.5

/* ---- the batcher (batch.c, targets.c) ---- */

struct efm_batcher {
    struct efm_batch_options options;
    const struct efm_samples *samples[2]; /* borrowed, by side */
    struct efm_team *team;                /* borrowed */
    size_t dimension;
    size_t charges[2]; /* of a round, in the field or the pool; 0: none are kept */
    size_t refresh;    /* steps that they stay; 0: for ever */
    uint64_t point_seed, normal_seed;
    bool drawn;
    uint64_t round; /* which charges are there */
    struct efm_field *field;
    struct efm_field_workspace *workspace;
    struct efm_arena arena;
    float *pairs[2];   /* [size, D]; NULL where points lie between charges of a round */
    float *pool[2];    /* [charges, D] of a round that no field holds */
    uint32_t *partner; /* [charges] matched pairs: the target's charge for each of the source */
    void *pairing;     /* working space */
    /* chain_single: the mean of a plate's samples [D], and their mean squared distance to it */
    double *mean[2], variance[2];
    float *x, *target_x, *z, *target_z, *weight;
    enum efm_plate_side *side;      /* [size] */
    double *height, *up, *log_norm; /* [size] */
    bool (*stop)(void *context);
    void *stop_context;
};

static inline bool efm_batcher_stopped(const struct efm_batcher *batcher)
{
    return batcher->stop != NULL && batcher->stop(batcher->stop_context);
}

/* The sample of a plate that point i of the step belongs to, [D]. */
const float *efm_batcher_pair(const struct efm_batcher *batcher, enum efm_plate_side side, uint64_t step,
                              size_t i);

/* Fills target_x, target_z and weight for the points in x and z; true when a weight is not 1. */
bool efm_batcher_target(struct efm_batcher *batcher, uint64_t step);

/* Fills mean and variance by the first samples of both plates, drawn into `pairs`. */
void efm_batcher_measure_plates(struct efm_batcher *batcher);

/* Calls body(batcher and step, i) for the points of a step, some at a time, on the team. */
typedef void efm_batcher_body(struct efm_batcher *batcher, uint64_t step, size_t i);
void efm_batcher_each(struct efm_batcher *batcher, uint64_t step, efm_batcher_body *body);

/* The velocity of the chain of one charge is r times this: sum_m q_m / sum_m dz_m q_m, with r from the charge to a point
 * and dz the point's height over the charge's plate, |dz| <= L. */
double efm_chain_single_ratio(double squared_distance, double dz, double length, size_t dimension);

#endif
