// SPDX-License-Identifier: Apache-2.0
/* What a training is asked for: defaults, limits, and the text by which two of them are told apart. */
#include "core/train/trainer_internal.h"

enum { MAX_SHARDS = 64, AUGMENTATIONS = EFM_AUGMENT_HUE | EFM_AUGMENT_FLIP | EFM_AUGMENT_CROP };

void efm_trainer_spec_default(struct efm_trainer_spec *spec, const struct efm_shape *shape)
{
    *spec = (struct efm_trainer_spec){.precision = EFM_PRECISION_AUTO, .steps = 2000, .seed = 1, .shards = 2};
    efm_net_config_default(&spec->net, shape);
    if (spec->net.arch == EFM_NET_UNET) {
        /* a training of minutes on a few cores, where the published one takes days on accelerators */
        spec->net.nf = 32;
        spec->net.blocks = 2;
        spec->net.dropout = 0;
    }
    efm_batch_options_default(&spec->batch, shape);
    efm_optimiser_options_default(&spec->optimiser);
    spec->optimiser.rate = spec->net.arch == EFM_NET_UNET ? 1e-3 : 2e-3;
    spec->optimiser.warmup = 200;
    spec->optimiser.ema = 0.999;
    spec->optimiser.schedule = EFM_SCHEDULE_COSINE;
    efm_trainer_spec_complete(spec);
}

void efm_trainer_spec_complete(struct efm_trainer_spec *spec)
{
    spec->batch.seed = spec->seed;
    spec->optimiser.steps = spec->steps;
}

enum efm_status efm_trainer_spec_check(const struct efm_trainer_spec *spec, struct efm_error *error)
{
    struct efm_trainer_spec complete = *spec;
    efm_trainer_spec_complete(&complete);
    if (spec->steps < 1 || spec->steps > EFM_TRAINER_MAX_STEPS)
        return efm_error_set(error, EFM_E_ARGUMENT, "the steps are %llu, but lie between 1 and %llu",
                             (unsigned long long)spec->steps, (unsigned long long)EFM_TRAINER_MAX_STEPS);
    if (spec->shards < 1 || spec->shards > MAX_SHARDS)
        return efm_error_set(error, EFM_E_ARGUMENT, "the shards are %zu, but lie between 1 and %d",
                             spec->shards, MAX_SHARDS);
    if (spec->precision != EFM_PRECISION_AUTO && spec->precision != EFM_PRECISION_F32 &&
        spec->precision != EFM_PRECISION_BF16)
        return efm_error_set(error, EFM_E_ARGUMENT, "the precision is none of those that are known");
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++)
        if ((spec->augmentation[side] & ~(unsigned)AUGMENTATIONS) != 0)
            return efm_error_set(error, EFM_E_ARGUMENT, "an augmentation of the %s is not known",
                                 side == EFM_SOURCE ? "source" : "target");
    enum efm_status status = efm_net_config_check(&complete.net, error);
    if (status == EFM_OK)
        status = efm_batch_options_check(&complete.batch, error);
    if (status == EFM_OK)
        status = efm_optimiser_options_check(&complete.optimiser, error);
    return status;
}

/* ---- the text ---- */

static void append_size(struct efm_buffer *out, const char *key, uint64_t value)
{
    efm_buffer_format(out, "%s=%llu\n", key, (unsigned long long)value);
}

/* Seventeen digits bring back the same double. */
static void append_number(struct efm_buffer *out, const char *key, double value)
{
    efm_buffer_format(out, "%s=%.17g\n", key, value);
}

static void append_word(struct efm_buffer *out, const char *key, const char *word)
{
    efm_buffer_format(out, "%s=%s\n", key, word);
}

static void append_list(struct efm_buffer *out, const char *key, const uint32_t *values, size_t count)
{
    efm_buffer_format(out, "%s=", key);
    for (size_t i = 0; i < count; i++)
        efm_buffer_format(out, "%s%u", i == 0 ? "" : ",", values[i]);
    efm_buffer_append_string(out, "\n");
}

static void append_net(struct efm_buffer *out, const struct efm_net_config *net)
{
    append_word(out, "net.arch", efm_net_arch_name(net->arch));
    efm_buffer_format(out, "net.shape=%u,%u,%u,%zu\n", net->shape.height, net->shape.width,
                      net->shape.channels, net->shape.dimension);
    if (net->arch == EFM_NET_MLP) {
        append_size(out, "net.hidden", net->hidden);
        append_size(out, "net.hidden2", net->hidden2);
        append_size(out, "net.embedding", net->embedding);
        return;
    }
    append_size(out, "net.nf", net->nf);
    append_list(out, "net.ch_mult", net->ch_mult, net->levels);
    append_size(out, "net.blocks", net->blocks);
    append_list(out, "net.attention", net->attention, net->attention_count);
    append_number(out, "net.dropout", net->dropout);
}

static void append_batch(struct efm_buffer *out, const struct efm_batch_options *batch)
{
    append_word(out, "batch.sampler", efm_sampler_name(batch->sampler));
    append_word(out, "batch.target", efm_training_target_name(batch->target));
    append_word(out, "batch.pairing", efm_pairing_name(batch->pairing));
    append_number(out, "batch.length", batch->length);
    append_number(out, "batch.lowest", batch->lowest);
    append_size(out, "batch.size", batch->size);
    append_size(out, "batch.charges", batch->charges);
    append_size(out, "batch.refresh", batch->refresh);
    if (batch->target == EFM_TRAIN_PER_PLATE)
        append_number(out, "batch.gamma", batch->gamma);
    if (batch->sampler == EFM_SAMPLER_GEOMETRIC || batch->sampler == EFM_SAMPLER_TUBE)
        append_number(out, "batch.sigma", batch->sigma);
    if (batch->sampler == EFM_SAMPLER_GEOMETRIC)
        append_number(out, "batch.tau", batch->tau);
}

static void append_optimiser(struct efm_buffer *out, const struct efm_optimiser_options *optimiser)
{
    append_number(out, "optimiser.rate", optimiser->rate);
    append_number(out, "optimiser.beta1", optimiser->beta1);
    append_number(out, "optimiser.beta2", optimiser->beta2);
    append_number(out, "optimiser.epsilon", optimiser->epsilon);
    append_size(out, "optimiser.warmup", optimiser->warmup);
    append_word(out, "optimiser.schedule", efm_schedule_name(optimiser->schedule));
    if (optimiser->schedule == EFM_SCHEDULE_COSINE)
        append_size(out, "steps", optimiser->steps);
    append_number(out, "optimiser.clip", optimiser->clip);
    append_number(out, "optimiser.ema", optimiser->ema);
}

void efm_trainer_spec_text(const struct efm_trainer_spec *spec, const struct efm_net_config *net,
                           struct efm_buffer *out)
{
    append_net(out, net);
    append_batch(out, &spec->batch);
    append_optimiser(out, &spec->optimiser);
    append_size(out, "augmentation.source", spec->augmentation[EFM_SOURCE]);
    append_size(out, "augmentation.target", spec->augmentation[EFM_TARGET]);
    append_size(out, "seed", spec->seed);
    append_size(out, "shards", spec->shards);
    efm_buffer_append(out, "", 1);
}
