/* optimiser.h - Adam with warm-up, clipping and a moving average, over one array of numbers.
 *
 *     efm_optimiser_create(&optimiser, &options, count, &error);
 *     efm_optimiser_step(optimiser, parameters, gradient, team, &outcome, &error);
 *
 * As the published code: rate * min(step / warmup, 1) with step counted from 0, the global norm clipped to
 * `clip`, Adam with bias correction, EMA decay min(ema, (1 + n) / (10 + n)), n = updates so far, from 1.
 * Threads: one at a time per optimiser. Results do not depend on the team. */
#ifndef EFM_TRAIN_OPTIMISER_H
#define EFM_TRAIN_OPTIMISER_H

#include "core/base/status.h"
#include "core/base/team.h"

#include <stddef.h>
#include <stdint.h>

#define EFM_SCHEDULE_MAP(X)                                                                                  \
    X(EFM_SCHEDULE_CONSTANT, "constant", "the rate stays after the warm-up")                                 \
    X(EFM_SCHEDULE_COSINE, "cosine", "the rate falls along half a cosine to a hundredth at the last step")

#define EFM_SCHEDULE_ENUM(symbol, word, meaning) symbol,
enum efm_schedule { EFM_SCHEDULE_MAP(EFM_SCHEDULE_ENUM) };
#undef EFM_SCHEDULE_ENUM
const char *efm_schedule_name(enum efm_schedule schedule);
EFM_MUST_CHECK enum efm_status efm_schedule_parse(const char *word, enum efm_schedule *schedule);

struct efm_optimiser_options {
    double rate, beta1, beta2, epsilon; /* 2e-4, 0.9, 0.999, 1e-8 */
    uint64_t warmup;                    /* steps; 0: none */
    enum efm_schedule schedule;
    uint64_t steps; /* of the whole training, for the schedule */
    double clip;    /* of the global norm; 0: none */
    double ema;     /* 0.9999 */
};

void efm_optimiser_options_default(struct efm_optimiser_options *options);
EFM_MUST_CHECK enum efm_status efm_optimiser_options_check(const struct efm_optimiser_options *options,
                                                           struct efm_error *error);

struct efm_optimiser;

/* The parts of its state, each [count] floats, for checkpoints and for models. */
struct efm_optimiser_state {
    float *first, *second; /* Adam's moments */
    float *average;        /* the moving average of the parameters */
    uint64_t step;         /* updates made */
};

struct efm_optimiser_outcome {
    double gradient_norm; /* before clipping */
    double rate;          /* that was used */
};

EFM_MUST_CHECK enum efm_status efm_optimiser_create(struct efm_optimiser **optimiser,
                                                    const struct efm_optimiser_options *options, size_t count,
                                                    struct efm_error *error);
void efm_optimiser_destroy(struct efm_optimiser *optimiser);

/* The average starts as these parameters. Before the first step. */
void efm_optimiser_begin(struct efm_optimiser *optimiser, const float *parameters);

/* Borrowed; what a checkpoint saves and, written into, what it restores. */
struct efm_optimiser_state *efm_optimiser_state(struct efm_optimiser *optimiser);

/* One update of parameters [count] by gradient [count], in place. EFM_E_NUMERIC, with nothing changed, when the norm
 * of the gradient is not finite, or after clipping above 1e18, whose square is hardly a float. */
EFM_MUST_CHECK enum efm_status efm_optimiser_step(struct efm_optimiser *optimiser, float *parameters,
                                                  const float *gradient, struct efm_team *team,
                                                  struct efm_optimiser_outcome *outcome,
                                                  struct efm_error *error);

#endif
