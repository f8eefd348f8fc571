/* tiny_net.h - networks that answer in microseconds, with parameters under which a line lands.
 *
 *     struct efm_net *net = tiny_unet(8, 3);
 *     float *parameters = tiny_parameters(net, 1);
 *     ...
 *     free(parameters); efm_net_unref(net);
 *
 * Errors: every function fails the running cmocka test. The same arguments make the same numbers. */
#ifndef TESTS_TINY_NET_H
#define TESTS_TINY_NET_H

#include "core/base/random.h"
#include "core/model/model.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static inline struct efm_net *tiny_net(const struct efm_net_config *config)
{
    struct efm_net *net = NULL;
    struct efm_error error = {0};
    if (efm_net_create(&net, config, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return net;
}

/* Images of `side` x `side`: two levels of one block each, attention below. */
static inline struct efm_net *tiny_unet(uint32_t side, uint32_t channels)
{
    const struct efm_net_config config = {.arch = EFM_NET_UNET,
                                          .shape = efm_shape_image(side, side, channels),
                                          .nf = 32,
                                          .levels = 2,
                                          .ch_mult = {1, 2},
                                          .blocks = 1,
                                          .attention = {side / 2},
                                          .attention_count = 1};
    return tiny_net(&config);
}

static inline struct efm_net *tiny_mlp(size_t dimension)
{
    const struct efm_net_config config = {.arch = EFM_NET_MLP,
                                          .shape = efm_shape_vector(dimension),
                                          .hidden = 24,
                                          .hidden2 = 40,
                                          .embedding = 16};
    return tiny_net(&config);
}

/* As published, but where that is zero there are small numbers; and the last bias makes f_z positive. */
static inline float *tiny_parameters(const struct efm_net *net, uint64_t seed)
{
    struct efm_random stream;
    size_t size = efm_net_size(net);
    float *parameters = malloc(size * sizeof *parameters);
    assert_non_null(parameters);
    efm_net_initialise(net, seed, parameters);
    efm_random_init(&stream, seed, 1, EFM_RANDOM_TEST);
    for (size_t i = 0; i < size; i++)
        if (parameters[i] == 0 || (parameters[i] > -1e-6F && parameters[i] < 1e-6F))
            parameters[i] = (float)(0.02 * efm_random_normal(&stream));
    parameters[size - 1] = 4;
    return parameters;
}

static inline struct efm_learned_spec tiny_spec(enum efm_field_kind kind)
{
    return (struct efm_learned_spec){.map = kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD,
                                     .kind = kind,
                                     .length = 2,
                                     .lowest = 1e-3,
                                     .gamma = 5,
                                     .target = efm_field_kind_name(kind),
                                     .names = {"noise", "spots"},
                                     .standard_normal = {true, false}};
}

static inline struct efm_model *tiny_model(struct efm_net *net, const struct efm_learned_spec *spec,
                                           uint64_t seed)
{
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    float *parameters = tiny_parameters(net, seed);
    if (efm_model_create_learned(&model, spec, net, parameters, &error) != EFM_OK)
        fail_msg("%s", error.message);
    free(parameters);
    return model;
}

#endif
