/* trainer_internal.h - what a trainer holds; shared by its files. Not for other rooms. */
#ifndef EFM_TRAIN_TRAINER_INTERNAL_H
#define EFM_TRAIN_TRAINER_INTERNAL_H

#include "core/train/trainer.h"

/* Past it a checkpoint's step is no step: bounds what a training may be asked for, too. */
#define EFM_TRAINER_MAX_STEPS ((uint64_t)1000000000)

struct efm_trainer {
    struct efm_trainer_spec spec; /* completed, see efm_trainer_spec_complete */
    struct efm_team *team;        /* borrowed, may be NULL */
    struct efm_samples *samples[2];
    bool standard_normal[2]; /* by enum efm_plate_side: a fresh draw is as good as a sample */
    char digests[2][65];     /* of the samples, in hexadecimal; "" for noise */
    struct efm_batcher *batcher;
    struct efm_net *net;
    struct efm_net_weights *weights;
    struct efm_net_run *run;
    struct efm_optimiser *optimiser;
    float *parameters, *gradient; /* [efm_net_size] */
    double loss;                  /* of the last step; 0 before the first */
    bool (*stop)(void *context);
    void *stop_context;
};

/* What has one home in the spec is put everywhere else: the seed into the batch, the steps into the optimiser. */
void efm_trainer_spec_complete(struct efm_trainer_spec *spec);

/* Appends all that enters the numbers but data and precision, a line "key=value" each. `net` is the completed config
 * of the net. The error is that of the buffer. */
void efm_trainer_spec_text(const struct efm_trainer_spec *spec, const struct efm_net_config *net,
                           struct efm_buffer *out);

/* The name of the samples by their numbers and order. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_trainer_digest(const struct efm_dataset *dataset, struct efm_team *team,
                                                  char hex[65], struct efm_error *error);

#endif
