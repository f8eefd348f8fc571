// SPDX-License-Identifier: Apache-2.0
/* batch_options.c - words, defaults and limits of what a step is made of. */
#include "core/base/words.h"
#include "core/train/batch.h"

#include <math.h>
#include <string.h>

EFM_DEFINE_WORDS(efm_sampler, EFM_SAMPLER_MAP)
EFM_DEFINE_WORDS(efm_training_target, EFM_TARGET_MAP)
EFM_DEFINE_WORDS(efm_pairing, EFM_PAIRING_MAP)

enum efm_field_kind efm_training_target_kind(enum efm_training_target target)
{
    switch (target) {
    case EFM_TRAIN_PER_PLATE:
        return EFM_FIELD_PER_PLATE;
    case EFM_TRAIN_SUPERPOSITION:
        return EFM_FIELD_SUPERPOSITION;
    case EFM_TRAIN_CHAIN:
    case EFM_TRAIN_CHAIN_SINGLE:
        return EFM_FIELD_CHAIN;
    case EFM_TRAIN_FLOW_MATCHING:
        break;
    }
    return EFM_FIELD_FLOW_MATCHING;
}

bool efm_training_target_is_velocity(enum efm_training_target target)
{
    return target == EFM_TRAIN_CHAIN_SINGLE || target == EFM_TRAIN_FLOW_MATCHING;
}

void efm_batch_options_default(struct efm_batch_options *options, const struct efm_shape *shape)
{
    static const struct efm_batch_options image = {.sampler = EFM_SAMPLER_UNIFORM,
                                                   .pairing = EFM_PAIRING_MATCHED,
                                                   .target = EFM_TRAIN_SUPERPOSITION,
                                                   .length = 40,
                                                   .lowest = 1e-3,
                                                   .gamma = 5,
                                                   .size = 64,
                                                   .charges = 1024};
    static const struct efm_batch_options vector = {.sampler = EFM_SAMPLER_UNIFORM,
                                                    .target = EFM_TRAIN_FLOW_MATCHING,
                                                    .length = 6,
                                                    .lowest = 1e-3,
                                                    .gamma = 1e-7,
                                                    .size = 1024,
                                                    .charges = 2048};
    *options = efm_shape_is_image(shape) ? image : vector;
}

static enum efm_status check_numbers(const struct efm_batch_options *options, struct efm_error *error)
{
    if (!(options->length >= 1e-6 && options->length <= 1e6))
        return efm_error_set(error, EFM_E_ARGUMENT, "L must be 1e-6..1e6, not %g", options->length);
    if (!(options->lowest >= 1e-9 * options->length && options->lowest < options->length / 2))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the lowest height must be at least L / 1e9 and below L / 2, not %g",
                             options->lowest);
    if (!(options->gamma >= 0 && options->gamma <= 1e6))
        return efm_error_set(error, EFM_E_ARGUMENT, "gamma must be 0..1e6, not %g", options->gamma);
    if (!(options->sigma >= 0 && options->sigma <= options->length))
        return efm_error_set(error, EFM_E_ARGUMENT, "sigma must be 0..L, not %g", options->sigma);
    if (!(options->tau >= 0 && options->tau <= 1))
        return efm_error_set(error, EFM_E_ARGUMENT, "tau must be 0..1, not %g", options->tau);
    if (options->size < 1 || options->size > EFM_BATCH_MOST_POINTS)
        return efm_error_set(error, EFM_E_ARGUMENT, "a step takes 1 to %d points, not %zu",
                             EFM_BATCH_MOST_POINTS, options->size);
    if (options->charges > EFM_BATCH_MOST_CHARGES ||
        (options->charges != 0 && options->charges < options->size))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "charges must be 0 (all) or from the %zu points of a step up to %d, not %zu",
                             options->size, EFM_BATCH_MOST_CHARGES, options->charges);
    if (options->refresh > EFM_BATCH_MOST_REFRESH)
        return efm_error_set(error, EFM_E_ARGUMENT, "charges stay for %d steps at most, not %zu",
                             EFM_BATCH_MOST_REFRESH, options->refresh);
    return EFM_OK;
}

/* What does not go together. */
static enum efm_status check_words(const struct efm_batch_options *options, struct efm_error *error)
{
    if (options->pairing == EFM_PAIRING_MATCHED &&
        (options->charges == 0 || options->charges > EFM_BATCH_MOST_MATCHED))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "matched pairs need from the %zu points of a step up to %d charges, not %zu",
                             options->size, EFM_BATCH_MOST_MATCHED, options->charges);
    if (options->pairing == EFM_PAIRING_MATCHED && options->target == EFM_TRAIN_CHAIN_SINGLE)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the target chain_single takes charges one by one, not in matched pairs");
    if (options->target == EFM_TRAIN_CHAIN_SINGLE && options->sampler != EFM_SAMPLER_MARGINAL)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the target chain_single needs the sampler marginal, not %s: its mean is the "
                             "chain's velocity only where points are as dense as lines",
                             efm_sampler_name(options->sampler));
    if (options->target == EFM_TRAIN_FLOW_MATCHING && options->sampler != EFM_SAMPLER_UNIFORM)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the target flow_matching needs the sampler uniform, not %s",
                             efm_sampler_name(options->sampler));
    return EFM_OK;
}

enum efm_status efm_batch_options_check(const struct efm_batch_options *options, struct efm_error *error)
{
    if ((size_t)options->sampler >= EFM_WORD_COUNT(efm_sampler) ||
        (size_t)options->target >= EFM_WORD_COUNT(efm_training_target) ||
        (size_t)options->pairing >= EFM_WORD_COUNT(efm_pairing))
        return efm_error_set(error, EFM_E_ARGUMENT, "an option of the batch is out of range");
    enum efm_status status = check_numbers(options, error);
    return status == EFM_OK ? check_words(options, error) : status;
}
