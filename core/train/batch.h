/* batch.h - what a network is trained on in one step: points of the training volume and the field there.
 *
 * A step draws `charges` samples a plate, puts `size` points between them by a sampler, and takes the target at the
 * points: the field of these charges (per_plate, superposition, chain), the velocity of a chain seen from one charge
 * (chain_single), or of a straight line (flow_matching). All of it is a function of (seed, step).
 *
 *     efm_batcher_create(&batcher, &options, source, target, team, &error);
 *     efm_batcher_make(batcher, step, &batch, &error);         batch.x [size, D] and so on, borrowed until the next
 *
 * Formulas: the published work for uniform, geometric, tube, per_plate and superposition; marginal and chain_single
 * are derived from the chain of capacitors (see docs/method.md).
 * Threads: one at a time per batcher. */
#ifndef EFM_TRAIN_BATCH_H
#define EFM_TRAIN_BATCH_H

#include "core/train/samples.h"

#define EFM_SAMPLER_MAP(X)                                                                                   \
    X(EFM_SAMPLER_UNIFORM, "uniform", "z uniform, x on the straight line of a random pair")                  \
    X(EFM_SAMPLER_GEOMETRIC, "geometric",                                                                    \
      "z = |N(0, sigma^2)| (1 + tau)^m from either plate, dense near both; x as uniform")                    \
    X(EFM_SAMPLER_TUBE, "tube", "uniform plus noise of random direction, of length |N(L/2, sigma^2)|")       \
    X(EFM_SAMPLER_MARGINAL, "marginal", "points as dense as the lines that cross them")

#define EFM_TARGET_MAP(X)                                                                                    \
    X(EFM_TRAIN_PER_PLATE, "per_plate", "the difference of the plates' normalised mean offsets")             \
    X(EFM_TRAIN_SUPERPOSITION, "superposition", "the unit direction of E times sqrt(D + 1)")                 \
    X(EFM_TRAIN_CHAIN, "chain", "the unit direction of the endless chain's E times sqrt(D + 1)")             \
    X(EFM_TRAIN_CHAIN_SINGLE, "chain_single",                                                                \
      "the velocity of the chain from the one charge that made the point")                                   \
    X(EFM_TRAIN_FLOW_MATCHING, "flow_matching", "the velocity (q - p) / L of a random pair, for comparison")

#define EFM_PAIRING_MAP(X)                                                                                   \
    X(EFM_PAIRING_RANDOM, "random", "points lie between charges that chance has paired")                     \
    X(EFM_PAIRING_MATCHED, "matched",                                                                        \
      "between charges paired one to one, so that the squared distances are least in all")

#define EFM_TRAIN_ENUM(symbol, word, meaning) symbol,
enum efm_sampler { EFM_SAMPLER_MAP(EFM_TRAIN_ENUM) };
enum efm_training_target { EFM_TARGET_MAP(EFM_TRAIN_ENUM) };
enum efm_pairing { EFM_PAIRING_MAP(EFM_TRAIN_ENUM) };
#undef EFM_TRAIN_ENUM

const char *efm_sampler_name(enum efm_sampler sampler);
EFM_MUST_CHECK enum efm_status efm_sampler_parse(const char *word, enum efm_sampler *sampler);
const char *efm_training_target_name(enum efm_training_target target);
EFM_MUST_CHECK enum efm_status efm_training_target_parse(const char *word, enum efm_training_target *target);

const char *efm_pairing_name(enum efm_pairing pairing);
EFM_MUST_CHECK enum efm_status efm_pairing_parse(const char *word, enum efm_pairing *pairing);

enum {
    EFM_BATCH_MOST_POINTS = 65536,
    EFM_BATCH_MOST_CHARGES = 1 << 24,
    EFM_BATCH_MOST_MATCHED = 4096, /* charges: the work of pairing them grows with their cube */
    EFM_BATCH_MOST_REFRESH = 1000000,
};

struct efm_batch_options {
    enum efm_sampler sampler;
    enum efm_pairing
        pairing; /* matched: all charges of a round, EFM_BATCH_MOST_MATCHED at most; not chain_single */
    enum efm_training_target target;
    double length; /* L > 0 */
    double lowest; /* heights lie in [lowest, L - lowest] */
    double gamma;  /* per_plate */
    size_t size;   /* points a step */
    /* A plate and step, >= size; 0: the whole data set (noise: EFM_BATCH_NOISE_CHARGES). For targets that are fields of
     * charges and for matched pairs; else `size` samples a plate are drawn for each step. */
    size_t charges;
    /* Charges are drawn anew every so many steps, points of a step use them in turn. 0: 1; charges / size where pairs
     * are matched, each of which is then used once; EFM_BATCH_REFRESH_ALL for the whole data set. A whole data set
     * without noise or augmentation is taken once, whatever this says. */
    size_t refresh;
    double sigma; /* geometric: 0: 0.1; tube: spread of the noise's length, 0: L/10 */
    double tau;   /* geometric: 0: 0.03 */
    uint64_t seed;
};

enum { EFM_BATCH_NOISE_CHARGES = 8192, EFM_BATCH_REFRESH_ALL = 16 };

/* What serves best by measurement: docs/learned.md for images, docs/measurements.md for vectors. The lowest height is
 * 1e-3, the published eps, for both. */
void efm_batch_options_default(struct efm_batch_options *options, const struct efm_shape *shape);
EFM_MUST_CHECK enum efm_status efm_batch_options_check(const struct efm_batch_options *options,
                                                       struct efm_error *error);

/* Which field the network learns: what a learned field of this target is called, and whether f_z is fixed to 1. */
enum efm_field_kind efm_training_target_kind(enum efm_training_target target);
bool efm_training_target_is_velocity(enum efm_training_target target);

struct efm_training_batch {
    size_t size;
    const float *x;        /* [size, D] */
    const float *z;        /* [size] */
    const float *target_x; /* [size, D] */
    const float *target_z; /* [size], NULL for a velocity */
    /* [size], NULL: all 1. 0 where there is no target: on a charge, or where a chain has no field left.
     * chain_single: 1 / (1 + (u_P^2 + u_Q^2) / 2), u_S = e |ratio(e, z)| being the speed that a charge of the plate S at
     * the distance e = sqrt(|x - mean_S|^2 + variance_S) would give, mean and summed variance of its first 1,024 samples or
     * more: about the size of the target, and a function of (x, z) alone, so that the mean is unbiased. */
    const float *weight;
};

/* The bytes that a batcher takes at the least; `counts`: samples of the plates, by enum efm_plate_side, 0 for noise. SIZE_MAX: more than there
 * can be. */
size_t efm_batch_bytes_least(const struct efm_batch_options *options, const size_t counts[2],
                             size_t dimension);

struct efm_batcher;

/* `source`, `target` and `team` are borrowed for its life; the samples have one shape (EFM_E_SHAPE). */
EFM_MUST_CHECK enum efm_status efm_batcher_create(struct efm_batcher **batcher,
                                                  const struct efm_batch_options *options,
                                                  const struct efm_samples *source,
                                                  const struct efm_samples *target, struct efm_team *team,
                                                  struct efm_error *error);
void efm_batcher_destroy(struct efm_batcher *batcher);
size_t efm_batcher_bytes(const struct efm_batcher *batcher);

/* From now on the making of a batch asks `stop`, from all threads of the team, and ends with EFM_E_CANCELLED soon after it is true. */
void efm_batcher_heed(struct efm_batcher *batcher, bool (*stop)(void *context), void *context);

/* The batch of step `step`, borrowed until the next call. EFM_E_CANCELLED. */
EFM_MUST_CHECK enum efm_status efm_batcher_make(struct efm_batcher *batcher, uint64_t step,
                                                struct efm_training_batch *batch, struct efm_error *error);

#endif
