/* trainer.h - a training that does one step when asked, can be saved at any step, and goes on bit for bit.
 *
 *     efm_trainer_create(&trainer, &spec, source, target, team, &error);
 *     while (efm_trainer_step_count(trainer) < spec.steps)
 *         efm_trainer_step(trainer, &report, &error);
 *     efm_trainer_save(trainer, &bytes, &error);               a checkpoint: safetensors
 *     efm_trainer_model(trainer, &names, &model, &error);      the moving average, as a model to serve or save
 *
 * It never loops, prints, or touches a file: the caller owns time. The state after a step is a function of (spec, data,
 * step): threads do not enter (spec.shards does).
 * Threads: one at a time per trainer. */
#ifndef EFM_TRAIN_TRAINER_H
#define EFM_TRAIN_TRAINER_H

#include "core/base/buffer.h"
#include "core/model/model.h"
#include "core/net/net.h"
#include "core/train/batch.h"
#include "core/train/optimiser.h"

struct efm_trainer_spec {
    struct efm_net_config net;
    struct efm_batch_options batch;
    struct efm_optimiser_options optimiser;
    enum efm_precision precision;
    unsigned augmentation[2]; /* by enum efm_plate_side: bits of enum efm_augmentation */
    uint64_t steps;           /* of the schedule, too: optimiser.steps is not looked at */
    uint64_t seed;            /* of everything: batch.seed is not looked at */
    size_t memory; /* bytes that it may take beside the datasets; 0: any. No number depends on it */
    size_t
        shards; /* the batch is cut into so many for the gradient; at least the threads that shall help; 1..64 */
};

/* Defaults for samples of this shape: network, sampler, target and so on as docs/measurements.md found them best. */
void efm_trainer_spec_default(struct efm_trainer_spec *spec, const struct efm_shape *shape);
EFM_MUST_CHECK enum efm_status efm_trainer_spec_check(const struct efm_trainer_spec *spec,
                                                      struct efm_error *error);

/* The bytes that a training takes at the least, whatever its datasets: parameters, gradient, two moments, the average, and charges. Allocates only the plan of the network. */
EFM_MUST_CHECK enum efm_status efm_trainer_bytes_least(const struct efm_trainer_spec *spec, size_t *bytes,
                                                       struct efm_error *error);

struct efm_trainer;

/* EFM_E_LIMIT when it would take more than spec->memory. `source` and `target` are referenced; NULL: N(0, I). One of them is data. `team` is borrowed. */
EFM_MUST_CHECK enum efm_status efm_trainer_create(struct efm_trainer **trainer,
                                                  const struct efm_trainer_spec *spec,
                                                  struct efm_dataset *source, struct efm_dataset *target,
                                                  struct efm_team *team, struct efm_error *error);
void efm_trainer_destroy(struct efm_trainer *trainer);

struct efm_trainer_report {
    uint64_t step; /* steps made, this one included */
    double loss, gradient_norm, rate;
};

/* From now on a step asks `stop`, from all threads of the team, and ends with EFM_E_CANCELLED soon after it is true. */
void efm_trainer_heed(struct efm_trainer *trainer, bool (*stop)(void *context), void *context);

/* EFM_E_NUMERIC when the loss or the gradient is not finite: the state is that before the step, and the message says
 * at which step and what helps. EFM_E_CANCELLED: the state is that before the step, too. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_trainer_step(struct efm_trainer *trainer,
                                                struct efm_trainer_report *report, struct efm_error *error);
uint64_t efm_trainer_step_count(const struct efm_trainer *trainer);
size_t efm_trainer_bytes(const struct efm_trainer *trainer);
const struct efm_net *efm_trainer_net(const struct efm_trainer *trainer);

/* Borrowed, [efm_net_size]: the parameters as they are, or their moving average. */
const float *efm_trainer_parameters(const struct efm_trainer *trainer);
const float *efm_trainer_average(const struct efm_trainer *trainer);

/* Appends a checkpoint: parameters, moments, average, step, the spec, and digests of the data and of the state. */
EFM_MUST_CHECK enum efm_status efm_trainer_save(const struct efm_trainer *trainer, struct efm_buffer *out,
                                                struct efm_error *error);

/* Goes on from a checkpoint of the same spec and data; steps at a constant rate, and what else changes no number, may
 * differ, and a spec of precision AUTO goes on from any. EFM_E_ARGUMENT names what differs, EFM_E_FORMAT for damage, be it one bit,
 * EFM_E_NUMERIC for numbers that are not finite, EFM_E_UNSUPPORTED for another version; the trainer is then
 * unchanged. */
EFM_MUST_CHECK enum efm_status efm_trainer_restore(struct efm_trainer *trainer, const uint8_t *bytes,
                                                   size_t size, struct efm_error *error);

struct efm_trainer_names {
    const char *source, *target; /* of the domains */
    bool bf16;                   /* weights are stored as bfloat16: half the file */
};

/* A model of the moving average, owned by the caller. */
EFM_MUST_CHECK enum efm_status efm_trainer_model(const struct efm_trainer *trainer,
                                                 const struct efm_trainer_names *names,
                                                 struct efm_model **model, struct efm_error *error);

#endif
