// SPDX-License-Identifier: Apache-2.0
#include "core/net/net_internal.h"

#include "core/base/random.h"
#include "core/base/words.h"

#include <math.h>
#include <string.h>

/* The streams of the initial parameters, apart from those that training draws from the same seed. */
#define INITIAL_STREAMS ((uint64_t)1 << 55)

EFM_DEFINE_WORDS(efm_net_arch, EFM_NET_ARCH_MAP)
EFM_DEFINE_WORDS(efm_precision, EFM_PRECISION_MAP)

/* ---- the parameter table ---- */

enum efm_status efm_net_add_parameter(struct efm_net *net, const char *name, size_t rank, const size_t *shape,
                                      struct efm_parameter_kind kind, size_t *index, struct efm_error *error)
{
    struct efm_parameter parameter = {.rank = rank,
                                      .offset = net->size,
                                      .count = 1,
                                      .init = kind.init,
                                      .fan_in = kind.fan_in,
                                      .fan_out = kind.fan_out,
                                      .scale = kind.scale};
    size_t length = strlen(name);
    if (length >= sizeof parameter.name || rank < 1 || rank > EFM_PARAMETER_MAX_RANK)
        return efm_error_set(error, EFM_E_INTERNAL, "a parameter that the table cannot hold");
    memcpy(parameter.name, name, length + 1);
    size_t size = 0;
    bool fits = true;
    for (size_t i = 0; i < rank; i++) {
        parameter.shape[i] = shape[i];
        fits = fits && efm_size_multiply(parameter.count, shape[i], &parameter.count);
    }
    if (!fits || !efm_size_add(net->size, parameter.count, &size) || size > EFM_NET_MAX_PARAMETERS)
        return efm_error_set(error, EFM_E_LIMIT, "the network would have more than %" PRIu64 " parameters",
                             EFM_NET_MAX_PARAMETERS);
    if (!efm_array_grow(&net->parameters, net->parameter_count, &net->parameter_capacity,
                        sizeof *net->parameters))
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the table of parameters");
    *index = net->parameter_count;
    net->parameters[net->parameter_count++] = parameter;
    net->size = size;
    return EFM_OK;
}

/* ---- the net ---- */

static const struct efm_net_class *class_of(enum efm_net_arch arch)
{
    return arch == EFM_NET_UNET ? &efm_unet_class : &efm_mlp_class;
}

enum efm_status efm_net_create(struct efm_net **net, const struct efm_net_config *config,
                               struct efm_error *error)
{
    *net = NULL;
    enum efm_status status = efm_net_config_check(config, error);
    if (status != EFM_OK)
        return status;
    struct efm_net *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a network");
    atomic_init(&made->references, 1);
    made->class = class_of(config->arch);
    made->config = *config;
    efm_net_config_complete(&made->config);
    status = made->class->plan(made, error);
    if (status != EFM_OK) {
        efm_net_unref(made);
        return status;
    }
    *net = made;
    return EFM_OK;
}

struct efm_net *efm_net_ref(struct efm_net *net)
{
    atomic_fetch_add_explicit(&net->references, 1, memory_order_relaxed);
    return net;
}

void efm_net_unref(struct efm_net *net)
{
    if (net == NULL || atomic_fetch_sub_explicit(&net->references, 1, memory_order_acq_rel) != 1)
        return;
    net->class->plan_destroy(net);
    efm_free(net->parameters);
    efm_free(net);
}

const struct efm_net_config *efm_net_config(const struct efm_net *net)
{
    return &net->config;
}

size_t efm_net_size(const struct efm_net *net)
{
    return net->size;
}

size_t efm_net_parameter_count(const struct efm_net *net)
{
    return net->parameter_count;
}

const struct efm_parameter *efm_net_parameter(const struct efm_net *net, size_t index)
{
    return &net->parameters[index];
}

double efm_net_flops(const struct efm_net *net)
{
    return net->class->flops(net);
}

static void initialise_one(const struct efm_parameter *parameter, struct efm_random *random, float *values)
{
    if (parameter->init != EFM_INIT_FAN_AVERAGE) {
        for (size_t i = 0; i < parameter->count; i++)
            values[i] = parameter->init == EFM_INIT_ONE ? 1 : 0;
        return;
    }
    /* The published code replaces a scale of 0 by this: the last layers of the branches start at nearly zero. */
    double scale = parameter->scale == 0 ? 1e-10 : parameter->scale;
    double bound = sqrt(3 * scale / (((double)parameter->fan_in + (double)parameter->fan_out) / 2));
    for (size_t i = 0; i < parameter->count; i++)
        values[i] = (float)(bound * (2 * efm_random_uniform(random) - 1));
}

void efm_net_initialise(const struct efm_net *net, uint64_t seed, float *parameters)
{
    for (size_t i = 0; i < net->parameter_count; i++) {
        struct efm_random random;
        efm_random_init(&random, seed, INITIAL_STREAMS + i, EFM_RANDOM_TRAINING);
        initialise_one(&net->parameters[i], &random, parameters + net->parameters[i].offset);
    }
}

/* ---- weights ---- */

static enum efm_status check_weights_options(const struct efm_net_weights_options *options,
                                             struct efm_error *error)
{
    size_t samples;
    if (!options->training)
        return EFM_OK;
    if (options->shards == 0 || options->shard_samples == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "training needs at least one shard of one sample");
    if (!efm_size_multiply(options->shards, options->shard_samples, &samples))
        return efm_error_set(error, EFM_E_ARGUMENT, "too many shards or samples a shard");
    return EFM_OK;
}

enum efm_status efm_net_weights_create(struct efm_net_weights **weights, struct efm_net *net,
                                       const struct efm_net_weights_options *options, struct efm_error *error)
{
    *weights = NULL;
    struct efm_net_weights_options resolved = *options;
    enum efm_status status = check_weights_options(options, error);
    if (status == EFM_OK)
        status = efm_precision_resolve(&resolved.precision, error);
    if (status != EFM_OK)
        return status;
    if (!resolved.training)
        resolved.shards = resolved.shard_samples = 0;
    struct efm_net_weights *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the weights of a network");
    made->net = efm_net_ref(net);
    made->class = net->class;
    made->options = resolved;
    status = made->class->weights_create(made, error);
    if (status != EFM_OK) {
        efm_net_weights_destroy(made);
        return status;
    }
    *weights = made;
    return EFM_OK;
}

void efm_net_weights_set(struct efm_net_weights *weights, const float *parameters, struct efm_team *team)
{
    weights->class->weights_set(weights, parameters, team);
}

void efm_net_weights_destroy(struct efm_net_weights *weights)
{
    if (weights == NULL)
        return;
    weights->class->weights_destroy(weights);
    efm_net_unref(weights->net);
    efm_free(weights);
}

enum efm_precision efm_net_weights_precision(const struct efm_net_weights *weights)
{
    return weights->options.precision;
}

size_t efm_net_weights_bytes(const struct efm_net_weights *weights)
{
    return weights->class->weights_bytes(weights);
}

/* ---- runs ---- */

enum efm_status efm_net_run_create(struct efm_net_run **run, const struct efm_net_weights *weights,
                                   size_t capacity, struct efm_team *team, struct efm_error *error)
{
    const struct efm_net_weights_options *options = &weights->options;
    *run = NULL;
    if (capacity == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a run needs room for at least one sample");
    if (options->training && capacity > options->shards * options->shard_samples)
        return efm_error_set(error, EFM_E_ARGUMENT, "%zu shards of %zu samples do not hold %zu",
                             options->shards, options->shard_samples, capacity);
    if (weights->class->run_bytes(weights, capacity, efm_team_size(team)) == SIZE_MAX)
        return efm_error_set(error, EFM_E_LIMIT, "%zu samples at once need more memory than can be counted",
                             capacity);
    struct efm_net_run *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a run of a network");
    made->weights = weights;
    made->class = weights->class;
    made->capacity = capacity;
    made->team = team;
    enum efm_status status = made->class->run_create(made, error);
    if (status != EFM_OK) {
        efm_net_run_destroy(made);
        return status;
    }
    *run = made;
    return EFM_OK;
}

void efm_net_run_destroy(struct efm_net_run *run)
{
    if (run == NULL)
        return;
    run->class->run_destroy(run);
    efm_free(run);
}

size_t efm_net_run_bytes(const struct efm_net_run *run)
{
    return run->class->run_bytes(run->weights, run->capacity, efm_team_size(run->team));
}

size_t efm_net_run_bytes_planned(const struct efm_net_weights *weights, size_t capacity, size_t threads)
{
    return weights->class->run_bytes(weights, capacity, threads);
}

void efm_net_forward(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx,
                     float *fz)
{
    if (count > 0)
        run->class->forward(run, x, z, count, fx, fz);
}

double efm_net_gradient(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient)
{
    return run->class->gradient(run, batch, gradient);
}
