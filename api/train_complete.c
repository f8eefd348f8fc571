// SPDX-License-Identifier: Apache-2.0
/* What a training spec leaves out, filled in: between the spec as it was written and the trainer's. */
#include "api/json.h"
#include "api/train_internal.h"

#include <string.h>

/* ---- between the trainer's spec and the values of the tables ---- */

static void values_of(const struct efm_trainer_spec *spec, struct api_train_values *values)
{
    const struct efm_batch_options *batch = &spec->batch;
    const struct efm_optimiser_options *optimiser = &spec->optimiser;
    *values = (struct api_train_values){
        .field = (int)batch->target,
        .sampler = (int)batch->sampler,
        .pairing = (int)batch->pairing,
        .schedule = (int)optimiser->schedule,
        .precision = (int)spec->precision,
        .length = batch->length,
        .lowest = batch->lowest,
        .gamma = batch->gamma,
        .sigma = batch->sigma,
        .tau = batch->tau,
        .learning_rate = optimiser->rate,
        .clip = optimiser->clip,
        .ema = optimiser->ema,
        .batch = batch->size,
        .charges = batch->charges,
        .refresh = batch->refresh,
        .steps = spec->steps,
        .seed = spec->seed,
        .warmup = optimiser->warmup,
        .shards = spec->shards,
    };
}

static void set_values(struct efm_trainer_spec *spec, const struct api_train_values *values)
{
    struct efm_batch_options *batch = &spec->batch;
    struct efm_optimiser_options *optimiser = &spec->optimiser;
    batch->target = (enum efm_training_target)values->field;
    batch->sampler = (enum efm_sampler)values->sampler;
    batch->pairing = (enum efm_pairing)values->pairing;
    batch->length = values->length;
    batch->lowest = values->lowest;
    batch->gamma = values->gamma;
    batch->sigma = values->sigma;
    batch->tau = values->tau;
    batch->size = (size_t)values->batch;
    batch->charges = (size_t)values->charges;
    batch->refresh = (size_t)values->refresh;
    batch->seed = spec->seed = values->seed;
    optimiser->rate = values->learning_rate;
    optimiser->clip = values->clip;
    optimiser->ema = values->ema;
    optimiser->warmup = values->warmup;
    optimiser->schedule = (enum efm_schedule)values->schedule;
    optimiser->steps = spec->steps = values->steps;
    spec->precision = (enum efm_precision)values->precision;
    spec->shards = (size_t)values->shards;
}

static void network_of(const struct efm_net_config *config, struct api_train_network *network)
{
    *network = (struct api_train_network){
        .arch = (int)config->arch,
        .nf = config->nf,
        .blocks = config->blocks,
        .dropout = config->dropout,
        .hidden = config->hidden,
        .hidden2 = config->hidden2,
        .embedding = config->embedding,
        .levels = config->levels,
        .attention_count = config->attention_count,
    };
    memcpy(network->ch_mult, config->ch_mult, sizeof network->ch_mult);
    memcpy(network->attention, config->attention, sizeof network->attention);
}

static void set_network(struct efm_net_config *config, const struct api_train_network *network)
{
    config->arch = (enum efm_net_arch)network->arch;
    config->nf = (uint32_t)network->nf;
    config->blocks = (uint32_t)network->blocks;
    config->dropout = network->dropout;
    config->hidden = (uint32_t)network->hidden;
    config->hidden2 = (uint32_t)network->hidden2;
    config->embedding = (uint32_t)network->embedding;
    config->levels = network->levels;
    config->attention_count = network->attention_count;
    memcpy(config->ch_mult, network->ch_mult, sizeof config->ch_mult);
    memcpy(config->attention, network->attention, sizeof config->attention);
}

/* ---- filling in ---- */

static bool is_given(const struct api_train *train, const char *name)
{
    return api_parameter_given(&api_train_table, &train->seen, name);
}

/* Matched pairs are for a few thousand charges that points lie between. */
static bool can_match(const struct api_train *train, const struct api_train_values *defaults)
{
    const struct api_train_values *given = &train->values;
    enum efm_sampler sampler =
        (enum efm_sampler)(is_given(train, "sampler") ? given->sampler : defaults->sampler);
    if (sampler == EFM_SAMPLER_MARGINAL)
        return false;
    if (is_given(train, "charges") && (given->charges == 0 || given->charges > EFM_BATCH_MOST_MATCHED))
        return false;
    return !is_given(train, "batch") || given->batch <= EFM_BATCH_MOST_MATCHED;
}

/* Defaults that hang on what was given: a field that has one sampler or the other way round, and a batch that needs its
 * charges. */
static void adapt(const struct api_train *train, struct api_train_values *defaults)
{
    const struct api_train_values *given = &train->values;
    if (is_given(train, "field") &&
        (given->field == EFM_TRAIN_CHAIN_SINGLE || given->field == EFM_TRAIN_CHAIN))
        defaults->sampler = EFM_SAMPLER_MARGINAL;
    if (is_given(train, "field") && given->field == EFM_TRAIN_FLOW_MATCHING)
        defaults->sampler = EFM_SAMPLER_UNIFORM;
    if (!is_given(train, "field") && is_given(train, "sampler") && given->sampler != EFM_SAMPLER_UNIFORM &&
        defaults->field == EFM_TRAIN_FLOW_MATCHING)
        defaults->field = EFM_TRAIN_PER_PLATE; /* straight lines have points of their own */
    if (!can_match(train, defaults))
        defaults->pairing = EFM_PAIRING_RANDOM;
    if (is_given(train, "batch") && defaults->charges != 0 && defaults->charges < given->batch)
        defaults->charges = given->batch;
}

/* Every value that was not given, from `defaults`. */
static void fill(const struct api_parameter_table *table, const struct api_parameters_seen *seen,
                 void *values, const void *defaults)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct api_parameter *item = &table->items[i];
        size_t size = item->kind == API_WORD ? sizeof(int) : sizeof(uint64_t);
        _Static_assert(sizeof(double) == sizeof(uint64_t), "API_REAL and API_INTEGER are of one size");
        if ((seen->given >> i & 1) == 0)
            memcpy((char *)values + item->offset, (const char *)defaults + item->offset, size);
    }
}

static void fill_network(struct api_train_network *network, const struct api_train_network *defaults)
{
    fill(&api_train_network_table, &network->seen, network, defaults);
    if (!network->ch_mult_given) {
        network->levels = defaults->levels;
        memcpy(network->ch_mult, defaults->ch_mult, sizeof network->ch_mult);
    }
    if (!network->attention_given) {
        network->attention_count = defaults->attention_count;
        memcpy(network->attention, defaults->attention, sizeof network->attention);
    }
}

static bool is_of_mlp(const char *name)
{
    return strcmp(name, "hidden") == 0 || strcmp(name, "hidden2") == 0 || strcmp(name, "embedding") == 0;
}

static bool applies(const struct api_train_network *network, const char *name)
{
    return strcmp(name, "arch") == 0 || is_of_mlp(name) == (network->arch == EFM_NET_MLP);
}

/* A value that would do nothing is a mistake of some kind. */
static bool check_network(const struct api_train_network *network, struct api_problem *problem)
{
    const char *stray = NULL;
    for (size_t i = 0; i < api_train_network_table.count && stray == NULL; i++)
        if ((network->seen.given >> i & 1) != 0 && !applies(network, api_train_network_table.items[i].name))
            stray = api_train_network_table.items[i].name;
    if (network->arch == EFM_NET_MLP && (network->ch_mult_given || network->attention_given))
        stray = network->ch_mult_given ? "ch_mult" : "attention";
    return stray == NULL || api_train_refuse(problem, API_P_INVALID_PARAMETER, "network", stray,
                                             "does nothing in a network of arch %s",
                                             efm_net_arch_name((enum efm_net_arch)network->arch));
}

bool api_train_complete(struct api_train *train, const struct efm_shape *shape, struct efm_trainer_spec *spec,
                        struct api_problem *problem)
{
    struct api_train_values defaults;
    struct api_train_network network;
    struct efm_error error = {0};
    efm_trainer_spec_default(spec, shape);
    network_of(&spec->net, &network);
    fill_network(&train->network, &network);
    if (!check_network(&train->network, problem))
        return false;
    set_network(&spec->net, &train->network);
    values_of(spec, &defaults);
    /* half the file for a large network; a small one is not worth rounding */
    defaults.weights = spec->net.arch == EFM_NET_UNET ? API_TRAIN_BF16 : API_TRAIN_F32;
    adapt(train, &defaults);
    fill(&api_train_table, &train->seen, &train->values, &defaults);
    set_values(spec, &train->values);
    memcpy(spec->augmentation, train->augmentation, sizeof spec->augmentation);
    if (efm_trainer_spec_check(spec, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER, NULL);
    return true;
}

/* ---- rendering ---- */

static void render_value(const struct api_parameter *item, const void *values, struct efm_buffer *out)
{
    const char *place = (const char *)values + item->offset;
    uint64_t integer = 0;
    double real = 0;
    int word = 0;
    switch (item->kind) {
    case API_INTEGER:
        memcpy(&integer, place, sizeof integer);
        efm_buffer_format(out, "%llu", (unsigned long long)integer);
        break;
    case API_REAL:
        memcpy(&real, place, sizeof real);
        api_json_real(out, real);
        break;
    case API_WORD:
        memcpy(&word, place, sizeof word);
        api_json_string(out, item->words[word]);
        break;
    case API_COLOUR:
        efm_buffer_format(out, "\"%02x%02x%02x\"", (uint8_t)place[0], (uint8_t)place[1], (uint8_t)place[2]);
        break;
    case API_NAME:
        api_json_string(out, place);
        break;
    }
}

static void render_numbers(const char *name, const uint32_t *numbers, uint32_t count, struct efm_buffer *out)
{
    efm_buffer_format(out, ", \"%s\": [", name);
    for (uint32_t i = 0; i < count; i++)
        efm_buffer_format(out, "%s%u", i > 0 ? ", " : "", numbers[i]);
    efm_buffer_append_string(out, "]");
}

static void render_network(const struct api_train_network *network, struct efm_buffer *out)
{
    const char *separator = "{";
    for (size_t i = 0; i < api_train_network_table.count; i++) {
        const struct api_parameter *item = &api_train_network_table.items[i];
        if (!applies(network, item->name))
            continue;
        efm_buffer_format(out, "%s\"%s\": ", separator, item->name);
        render_value(item, network, out);
        separator = ", ";
    }
    if (network->arch == EFM_NET_UNET) {
        render_numbers("ch_mult", network->ch_mult, network->levels, out);
        render_numbers("attention", network->attention, network->attention_count, out);
    }
    efm_buffer_append_string(out, "}");
}

static void render_image(const struct api_train_image *image, struct efm_buffer *out)
{
    const char *separator = "{";
    for (size_t i = 0; i < api_train_image_table.count; i++) {
        const struct api_parameter *item = &api_train_image_table.items[i];
        efm_buffer_format(out, "%s\"%s\": ", separator, item->name);
        render_value(item, image, out);
        separator = ", ";
    }
    efm_buffer_append_string(out, "}");
}

void api_train_render(const struct api_train *train, struct efm_buffer *out)
{
    efm_buffer_append_string(out, "{\n  \"source\": ");
    api_train_render_plate(&train->plates[EFM_SOURCE], out);
    efm_buffer_append_string(out, ",\n  \"target\": ");
    api_train_render_plate(&train->plates[EFM_TARGET], out);
    if (train->image.height != 0) {
        efm_buffer_append_string(out, ",\n  \"image\": ");
        render_image(&train->image, out);
    }
    efm_buffer_append_string(out, ",\n  \"augment\": ");
    api_train_render_augment(train->augmentation, out);
    efm_buffer_append_string(out, ",\n  \"network\": ");
    render_network(&train->network, out);
    for (size_t i = 0; i < api_train_table.count; i++) {
        efm_buffer_format(out, ",\n  \"%s\": ", api_train_table.items[i].name);
        render_value(&api_train_table.items[i], &train->values, out);
    }
    efm_buffer_append_string(out, "\n}\n");
}
