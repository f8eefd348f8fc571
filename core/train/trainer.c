// SPDX-License-Identifier: Apache-2.0
#include "core/train/trainer_internal.h"

#include "core/base/memory.h"
#include "core/base/random.h"

#include <math.h>
#include <stdint.h>

/* The streams that dropout is keyed by, apart from those of points, samples and initial parameters. */
#define DROPOUT_STREAMS ((uint64_t)1 << 54)

enum { MAX_RECORD = 4096 };

/* ---- create ---- */

static enum efm_status check_data(const struct efm_trainer_spec *spec,
                                  const struct efm_dataset *const datasets[2], struct efm_error *error)
{
    if (datasets[EFM_SOURCE] == NULL && datasets[EFM_TARGET] == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "there is nothing to learn between noise and noise");
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        if (datasets[side] == NULL)
            continue;
        const struct efm_shape *has = efm_dataset_shape(datasets[side]), *net = &spec->net.shape;
        if (!efm_shape_equal(has, net))
            return efm_error_set(error, EFM_E_SHAPE,
                                 "the %s has samples of %zu numbers (%ux%ux%u), the network takes %zu "
                                 "(%ux%ux%u)",
                                 side == EFM_SOURCE ? "source" : "target", has->dimension, has->height,
                                 has->width, has->channels, net->dimension, net->height, net->width,
                                 net->channels);
    }
    return EFM_OK;
}

/* Parameters, gradient, two moments and the average. */
static size_t number_bytes(const struct efm_net *net)
{
    return 5 * efm_net_size(net) * sizeof(float);
}

enum efm_status efm_trainer_bytes_least(const struct efm_trainer_spec *spec, size_t *bytes,
                                        struct efm_error *error)
{
    struct efm_net *net;
    enum efm_status status = efm_net_create(&net, &spec->net, error);
    if (status != EFM_OK)
        return status;
    const size_t fewest[2] = {1, 1};
    const size_t batcher = efm_batch_bytes_least(&spec->batch, fewest, spec->net.shape.dimension);
    if (!efm_size_add(number_bytes(net), batcher, bytes))
        *bytes = SIZE_MAX;
    efm_net_unref(net);
    return EFM_OK;
}

/* Once the weights are there. */
static size_t planned_bytes(const struct efm_trainer *trainer)
{
    size_t bytes =
        efm_net_run_bytes_planned(trainer->weights, trainer->spec.batch.size, efm_team_size(trainer->team));
    if (!efm_size_add(bytes, number_bytes(trainer->net), &bytes) ||
        !efm_size_add(bytes, efm_net_weights_bytes(trainer->weights), &bytes))
        return SIZE_MAX;
    return bytes;
}

static enum efm_status check_memory(const struct efm_trainer *trainer, size_t bytes, struct efm_error *error)
{
    if (trainer->spec.memory == 0 || bytes <= trainer->spec.memory)
        return EFM_OK;
    return efm_error_set(error, EFM_E_LIMIT,
                         "the training would take %zu bytes of memory, and may take %zu; a smaller network "
                         "or batch takes less",
                         bytes, trainer->spec.memory);
}

static enum efm_status check_batcher_memory(const struct efm_trainer *trainer, struct efm_error *error)
{
    const size_t counts[2] = {efm_samples_count(trainer->samples[EFM_SOURCE]),
                              efm_samples_count(trainer->samples[EFM_TARGET])};
    size_t bytes = efm_batch_bytes_least(&trainer->spec.batch, counts, trainer->spec.net.shape.dimension);
    if (!efm_size_add(bytes, planned_bytes(trainer), &bytes))
        bytes = SIZE_MAX;
    return check_memory(trainer, bytes, error);
}

static enum efm_status make_data(struct efm_trainer *trainer, struct efm_dataset *const datasets[2],
                                 struct efm_error *error)
{
    const struct efm_trainer_spec *spec = &trainer->spec;
    enum efm_status status = EFM_OK;
    for (int side = EFM_SOURCE; side <= EFM_TARGET && status == EFM_OK; side++) {
        struct efm_dataset *dataset = datasets[side];
        trainer->standard_normal[side] = dataset == NULL || efm_dataset_is_standard_normal(dataset);
        status = efm_samples_create(&trainer->samples[side], dataset, &spec->net.shape,
                                    spec->augmentation[side], spec->seed, (enum efm_plate_side)side, error);
        if (status == EFM_OK && dataset != NULL)
            status = efm_trainer_digest(dataset, trainer->team, trainer->digests[side], error);
    }
    if (status == EFM_OK)
        status = check_batcher_memory(trainer, error);
    if (status == EFM_OK)
        status = efm_batcher_create(&trainer->batcher, &spec->batch, trainer->samples[EFM_SOURCE],
                                    trainer->samples[EFM_TARGET], trainer->team, error);
    if (status == EFM_OK)
        status = check_memory(trainer, efm_trainer_bytes(trainer), error);
    return status;
}

/* Before each part, what is known by then. */
static enum efm_status make_net(struct efm_trainer *trainer, struct efm_error *error)
{
    const struct efm_trainer_spec *spec = &trainer->spec;
    const struct efm_net_weights_options options = {.precision = spec->precision,
                                                    .training = true,
                                                    .shard_samples = spec->batch.size / spec->shards +
                                                                     (spec->batch.size % spec->shards != 0),
                                                    .shards = spec->shards};
    enum efm_status status = efm_net_create(&trainer->net, &spec->net, error);
    if (status == EFM_OK)
        status = check_memory(trainer, number_bytes(trainer->net), error);
    if (status == EFM_OK)
        status = efm_net_weights_create(&trainer->weights, trainer->net, &options, error);
    if (status == EFM_OK)
        status = check_memory(trainer, planned_bytes(trainer), error);
    if (status == EFM_OK)
        status = efm_net_run_create(&trainer->run, trainer->weights, spec->batch.size, trainer->team, error);
    return status;
}

static enum efm_status make_numbers(struct efm_trainer *trainer, struct efm_error *error)
{
    size_t size = efm_net_size(trainer->net);
    enum efm_status status = efm_optimiser_create(&trainer->optimiser, &trainer->spec.optimiser, size, error);
    if (status != EFM_OK)
        return status;
    trainer->parameters = efm_allocate_array(size, sizeof *trainer->parameters);
    trainer->gradient = efm_allocate_array(size, sizeof *trainer->gradient);
    if (trainer->parameters == NULL || trainer->gradient == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a network of %zu parameters", size);
    efm_net_initialise(trainer->net, trainer->spec.seed, trainer->parameters);
    efm_optimiser_begin(trainer->optimiser, trainer->parameters);
    return EFM_OK;
}

enum efm_status efm_trainer_create(struct efm_trainer **trainer, const struct efm_trainer_spec *spec,
                                   struct efm_dataset *source, struct efm_dataset *target,
                                   struct efm_team *team, struct efm_error *error)
{
    struct efm_dataset *const datasets[2] = {source, target};
    *trainer = NULL;
    enum efm_status status = efm_trainer_spec_check(spec, error);
    if (status == EFM_OK)
        status = check_data(spec, (const struct efm_dataset *const *)datasets, error);
    if (status != EFM_OK)
        return status;
    struct efm_trainer *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a trainer");
    made->spec = *spec;
    made->team = team;
    efm_trainer_spec_complete(&made->spec);
    status = make_net(made, error);
    if (status == EFM_OK)
        status = make_numbers(made, error);
    if (status == EFM_OK)
        status = make_data(made, datasets, error);
    if (status != EFM_OK) {
        efm_trainer_destroy(made);
        return status;
    }
    *trainer = made;
    return EFM_OK;
}

void efm_trainer_destroy(struct efm_trainer *trainer)
{
    if (trainer == NULL)
        return;
    efm_batcher_destroy(trainer->batcher);
    efm_samples_destroy(trainer->samples[EFM_SOURCE]);
    efm_samples_destroy(trainer->samples[EFM_TARGET]);
    efm_optimiser_destroy(trainer->optimiser);
    efm_net_run_destroy(trainer->run);
    efm_net_weights_destroy(trainer->weights);
    efm_net_unref(trainer->net);
    efm_free(trainer->parameters);
    efm_free(trainer->gradient);
    efm_free(trainer);
}

/* ---- one step ---- */

static enum efm_status refuse_numbers(const char *what, uint64_t step, struct efm_error *error)
{
    return efm_error_set(error, EFM_E_NUMERIC,
                         "%s at step %llu; a smaller learning_rate or a gradient clip helps", what,
                         (unsigned long long)step);
}

void efm_trainer_heed(struct efm_trainer *trainer, bool (*stop)(void *context), void *context)
{
    trainer->stop = stop;
    trainer->stop_context = context;
    efm_batcher_heed(trainer->batcher, stop, context);
}

enum efm_status efm_trainer_step(struct efm_trainer *trainer, struct efm_trainer_report *report,
                                 struct efm_error *error)
{
    uint64_t step = efm_trainer_step_count(trainer);
    struct efm_training_batch batch;
    struct efm_optimiser_outcome outcome;
    struct efm_random random;
    enum efm_status status = efm_batcher_make(trainer->batcher, step, &batch, error);
    if (status != EFM_OK)
        return status;
    efm_random_init(&random, trainer->spec.seed, DROPOUT_STREAMS + step, EFM_RANDOM_TRAINING);
    const struct efm_net_sample_batch samples = {.count = batch.size,
                                                 .x = batch.x,
                                                 .z = batch.z,
                                                 .target_x = batch.target_x,
                                                 .target_z = batch.target_z,
                                                 .weight = batch.weight,
                                                 .dropout_seed = efm_random_u64(&random),
                                                 .dropout = trainer->spec.net.dropout > 0,
                                                 .stop = trainer->stop,
                                                 .stop_context = trainer->stop_context};
    efm_net_weights_set(trainer->weights, trainer->parameters, trainer->team);
    double loss = efm_net_gradient(trainer->run, &samples, trainer->gradient);
    if (trainer->stop != NULL && trainer->stop(trainer->stop_context))
        return efm_error_set(error, EFM_E_CANCELLED, "step %llu was broken off",
                             (unsigned long long)(step + 1));
    if (!isfinite(loss))
        return refuse_numbers("the loss is not finite", step + 1, error);
    status = efm_optimiser_step(trainer->optimiser, trainer->parameters, trainer->gradient, trainer->team,
                                &outcome, NULL);
    if (status == EFM_E_NUMERIC)
        return refuse_numbers("the gradient is not finite or far too large", step + 1, error);
    if (status != EFM_OK)
        return efm_error_set(error, status, "step %llu failed", (unsigned long long)(step + 1));
    trainer->loss = loss;
    if (report != NULL)
        *report = (struct efm_trainer_report){
            .step = step + 1, .loss = loss, .gradient_norm = outcome.gradient_norm, .rate = outcome.rate};
    return EFM_OK;
}

uint64_t efm_trainer_step_count(const struct efm_trainer *trainer)
{
    return efm_optimiser_state(trainer->optimiser)->step;
}

size_t efm_trainer_bytes(const struct efm_trainer *trainer)
{
    return number_bytes(trainer->net) + efm_net_weights_bytes(trainer->weights) +
           efm_net_run_bytes(trainer->run) + efm_batcher_bytes(trainer->batcher);
}

const struct efm_net *efm_trainer_net(const struct efm_trainer *trainer)
{
    return trainer->net;
}

const float *efm_trainer_parameters(const struct efm_trainer *trainer)
{
    return trainer->parameters;
}

const float *efm_trainer_average(const struct efm_trainer *trainer)
{
    return efm_optimiser_state(trainer->optimiser)->average;
}

/* ---- the model ---- */

static void write_record(const struct efm_trainer *trainer, struct efm_buffer *out)
{
    const struct efm_trainer_spec *spec = &trainer->spec;
    uint64_t step = efm_trainer_step_count(trainer);
    efm_buffer_format(
        out, "{\"steps\":%llu,\"seed\":%llu,\"sampler\":\"%s\",\"target\":\"%s\",\"pairing\":\"%s\"",
        (unsigned long long)step, (unsigned long long)spec->seed, efm_sampler_name(spec->batch.sampler),
        efm_training_target_name(spec->batch.target), efm_pairing_name(spec->batch.pairing));
    efm_buffer_format(out, ",\"charges\":%zu,\"batch\":%zu,\"loss\":", spec->batch.charges, spec->batch.size);
    if (step > 0)
        efm_buffer_format(out, "%.9g", trainer->loss);
    else
        efm_buffer_append_string(out, "null");
    efm_buffer_append_string(out, ",\"version\":\"" EFMD_VERSION "\"}");
    efm_buffer_append(out, "", 1);
}

enum efm_status efm_trainer_model(const struct efm_trainer *trainer, const struct efm_trainer_names *names,
                                  struct efm_model **model, struct efm_error *error)
{
    const struct efm_batch_options *batch = &trainer->spec.batch;
    struct efm_buffer record = efm_buffer_limited(MAX_RECORD);
    enum efm_field_kind kind = efm_training_target_kind(batch->target);
    *model = NULL;
    write_record(trainer, &record);
    enum efm_status status = record.status;
    if (status != EFM_OK) {
        efm_error_set(error, status, "no memory for the record of a training");
        goto done;
    }
    const struct efm_learned_spec spec = {
        .map = kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD,
        .kind = kind,
        .length = batch->length,
        .lowest = batch->lowest,
        /* a file has one above 0, whether its field was made with it or not */
        .gamma = batch->gamma > 0 ? batch->gamma : 1e-7,
        .velocity = efm_training_target_is_velocity(batch->target),
        .target = efm_training_target_name(batch->target),
        .bf16 = names->bf16,
        .precision = trainer->spec.precision,
        .names = {names->source, names->target},
        .standard_normal = {trainer->standard_normal[EFM_SOURCE], trainer->standard_normal[EFM_TARGET]},
        .record = (const char *)record.data};
    status = efm_model_create_learned(model, &spec, trainer->net, efm_trainer_average(trainer), error);
done:
    efm_buffer_release(&record);
    return status;
}
