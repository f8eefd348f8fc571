/* unet_world.h - small U-Nets of many forms with numbers that let everything matter, and samples for them. For
 * programs with cmocka; all numbers come from fixed seeds. */
#ifndef TESTS_NET_UNET_WORLD_H
#define TESTS_NET_UNET_WORLD_H

#include "core/base/random.h"
#include "core/net/net.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct unet_form {
    const char *name;
    uint32_t height, width, channels, levels, ch_mult[EFM_NET_MAX_LEVELS], blocks, attention[3], attentions;
};

enum {
    FORM_LEAST,
    FORM_NARROW,
    FORM_WIDE,
    FORM_ATTENTIVE,
    FORM_FLAT,
    FORM_PUBLISHED,
    FORM_WIDENING,
    FORM_LARGEST,
    FORMS
};

static const struct unet_form unet_forms[FORMS] = {
    [FORM_LEAST] = {"8x8, one level", 8, 8, 1, 1, {1}, 1, {0}, 0},
    [FORM_NARROW] = {"16x8, two levels", 16, 8, 3, 2, {1, 2}, 1, {8}, 1},
    [FORM_WIDE] = {"8x16, down to 2x4", 8, 16, 2, 3, {1, 1, 2}, 1, {0}, 0},
    [FORM_ATTENTIVE] = {"8x8, every level attends", 8, 8, 4, 3, {1, 2, 1}, 2, {8, 4, 2}, 3},
    [FORM_FLAT] = {"8x8, one level that attends", 8, 8, 3, 1, {2}, 2, {8}, 1},
    [FORM_PUBLISHED] = {"32x32, the published levels", 32, 32, 3, 4, {1, 2, 2, 2}, 1, {16}, 1},
    [FORM_WIDENING] = {"24x16, widths that shrink", 24, 16, 3, 2, {3, 1}, 1, {24, 12}, 2},
    [FORM_LARGEST] = {"128x128, four levels", 128, 128, 1, 4, {1, 1, 1, 1}, 1, {0}, 0},
};

static inline struct efm_net_config unet_config(int form, double dropout)
{
    const struct unet_form *f = &unet_forms[form];
    struct efm_net_config config = {.arch = EFM_NET_UNET,
                                    .shape = efm_shape_image(f->height, f->width, f->channels),
                                    .nf = 32,
                                    .levels = f->levels,
                                    .blocks = f->blocks,
                                    .attention_count = f->attentions,
                                    .dropout = dropout};
    memcpy(config.ch_mult, f->ch_mult, sizeof config.ch_mult);
    memcpy(config.attention, f->attention, sizeof f->attention);
    return config;
}

struct unet_world {
    struct efm_net *net;
    struct efm_net_weights *weights;
    float *parameters;
    size_t size, dimension;
};

/* The published start leaves the last layers of all branches at zero, and biases too: these get numbers here. */
static inline void unet_scatter(const struct efm_net *net, float *parameters)
{
    struct efm_random random;
    efm_random_init(&random, 6, 0, EFM_RANDOM_TEST);
    efm_net_initialise(net, 5, parameters);
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *p = efm_net_parameter(net, i);
        double spread = p->rank == 1 ? 0.2 : 1 / sqrt((double)p->fan_in);
        for (size_t k = 0; k < p->count && p->init != EFM_INIT_FAN_AVERAGE; k++)
            parameters[p->offset + k] += (float)(spread * efm_random_normal(&random));
    }
}

static inline struct unet_world unet_world_new(int form, double dropout,
                                               struct efm_net_weights_options options)
{
    struct unet_world world;
    struct efm_error error = {0};
    struct efm_net_config config = unet_config(form, dropout);
    if (efm_net_create(&world.net, &config, &error) != EFM_OK ||
        efm_net_weights_create(&world.weights, world.net, &options, &error) != EFM_OK)
        fail_msg("%s: %s", unet_forms[form].name, error.message);
    world.size = efm_net_size(world.net);
    world.dimension = config.shape.dimension;
    world.parameters = malloc(world.size * sizeof(float));
    assert_non_null(world.parameters);
    unet_scatter(world.net, world.parameters);
    efm_net_weights_set(world.weights, world.parameters, NULL);
    return world;
}

static inline void unet_world_free(struct unet_world *world)
{
    efm_net_weights_destroy(world->weights);
    efm_net_unref(world->net);
    free(world->parameters);
}

static inline struct efm_net_run *unet_run_new(const struct unet_world *world, size_t capacity,
                                               struct efm_team *team)
{
    struct efm_net_run *run;
    struct efm_error error = {0};
    if (efm_net_run_create(&run, world->weights, capacity, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return run;
}

static inline struct efm_team *unet_team_new(size_t threads)
{
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, threads, NULL), EFM_OK);
    return team;
}

static inline struct efm_net_weights_options unet_training(enum efm_precision precision, size_t shards,
                                                           size_t samples)
{
    return (struct efm_net_weights_options){
        .precision = precision, .training = true, .shards = shards, .shard_samples = samples};
}

static inline bool unet_has(enum efm_precision precision)
{
    return efm_precision_resolve(&precision, NULL) == EFM_OK;
}

struct unet_samples {
    size_t count, dimension;
    float *x, *z, *target_x, *target_z, *weight;
};

static inline struct unet_samples unet_samples_new(size_t count, size_t dimension, uint64_t seed)
{
    struct unet_samples s = {.count = count, .dimension = dimension};
    struct efm_random random;
    float **arrays[] = {&s.x, &s.target_x, &s.z, &s.target_z, &s.weight};
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < 5; i++) {
        size_t size = i < 2 ? count * dimension : count;
        *arrays[i] = malloc(size * sizeof(float));
        assert_non_null(*arrays[i]);
        efm_random_fill_normal(&random, *arrays[i], size);
    }
    for (size_t i = 0; i < count; i++) {
        s.z[i] = 3 * fabsf(s.z[i]);
        s.weight[i] = 0.2f + fabsf(s.weight[i]);
    }
    return s;
}

static inline void unet_samples_free(struct unet_samples *s)
{
    free(s->x);
    free(s->z);
    free(s->target_x);
    free(s->target_z);
    free(s->weight);
}

#endif
