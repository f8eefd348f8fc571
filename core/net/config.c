// SPDX-License-Identifier: Apache-2.0
#include "core/net/net_internal.h"

enum {
    LEAST_SIDE = 8,
    LEAST_DEEPEST_SIDE = 2,
    MOST_CHANNELS = 4,
    MOST_NF = 512,
    MOST_MULTIPLE = 8,
    MOST_BLOCKS = 8,
    /* Attention compares every pixel with every other: 4096 of them make 64 MB of scores an image. */
    MOST_ATTENDING_PIXELS = 4096,
    MOST_WIDTH = 65536,
    MOST_EMBEDDING = 4096,
    PUBLISHED_ATTENTION = 16,
    PUBLISHED_EMBEDDING = 128,
    PUBLISHED_WIDTH = 1024,   /* a dimension */
    MOST_DEFAULT_FACTORS = 4, /* the published widths grow with D, and the weights with their square */
};

static bool divisible(const struct efm_shape *shape, uint32_t levels)
{
    uint32_t factor = 1u << (levels - 1);
    return shape->height % factor == 0 && shape->width % factor == 0 &&
           shape->height / factor >= LEAST_DEEPEST_SIDE && shape->width / factor >= LEAST_DEEPEST_SIDE;
}

static void unet_default(struct efm_net_config *config)
{
    static const uint32_t published[] = {1, 2, 2, 2};
    const struct efm_shape *shape = &config->shape;
    config->arch = EFM_NET_UNET;
    config->nf = 128;
    config->levels = 4;
    while (config->levels > 1 && !divisible(shape, config->levels))
        config->levels--;
    for (uint32_t i = 0; i < config->levels; i++)
        config->ch_mult[i] = published[i];
    config->blocks = 4;
    config->dropout = 0.1;
    /* The published one attends at 16; sides like 28 have no such level, and the next smaller one stands for it. */
    uint32_t attending = PUBLISHED_ATTENTION;
    for (uint32_t i = config->levels; i-- > 0;)
        if (shape->height >> i <= PUBLISHED_ATTENTION)
            attending = shape->height >> i;
    config->attention[0] = attending;
    config->attention_count = 1;
}

void efm_net_config_default(struct efm_net_config *config, const struct efm_shape *shape)
{
    *config = (struct efm_net_config){.arch = EFM_NET_MLP, .shape = *shape};
    if (efm_shape_is_image(shape)) {
        unet_default(config);
        return;
    }
    size_t factors = shape->dimension < MOST_DEFAULT_FACTORS ? shape->dimension : MOST_DEFAULT_FACTORS;
    config->hidden = (uint32_t)(PUBLISHED_WIDTH * factors);
    config->hidden2 = (uint32_t)(PUBLISHED_WIDTH * (factors + 1));
    config->embedding = PUBLISHED_EMBEDDING;
}

void efm_net_config_complete(struct efm_net_config *config)
{
    if (config->arch != EFM_NET_MLP)
        return;
    if (config->hidden == 0)
        config->hidden = (uint32_t)(PUBLISHED_WIDTH * config->shape.dimension);
    if (config->hidden2 == 0)
        config->hidden2 = (uint32_t)(PUBLISHED_WIDTH * (config->shape.dimension + 1));
    if (config->embedding == 0)
        config->embedding = PUBLISHED_EMBEDDING;
}

#define REFUSE_UNLESS(condition, ...)                                                                        \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            return efm_error_set(error, EFM_E_ARGUMENT, __VA_ARGS__);                                        \
    } while (0)

static enum efm_status check_shape(const struct efm_shape *shape, struct efm_error *error)
{
    if (!efm_shape_is_image(shape)) {
        REFUSE_UNLESS(shape->height == 0 && shape->width == 0, "shape: a vector has no height and width");
        return EFM_OK;
    }
    REFUSE_UNLESS(shape->height >= 1 && shape->height <= MOST_WIDTH && shape->width >= 1 &&
                      shape->width <= MOST_WIDTH && shape->channels <= MOST_WIDTH,
                  "shape: the sides of an image are 1 to %d", MOST_WIDTH);
    REFUSE_UNLESS(shape->dimension / shape->channels / shape->height == shape->width &&
                      shape->dimension % ((size_t)shape->channels * shape->height) == 0,
                  "shape: the dimension is not that of its sides");
    return EFM_OK;
}

/* The levels that attend, and the middle, which always does. */
static enum efm_status check_attention(const struct efm_net_config *config, struct efm_error *error)
{
    REFUSE_UNLESS(config->attention_count <= EFM_NET_MAX_ATTENTION, "attention_count must be at most %d",
                  EFM_NET_MAX_ATTENTION);
    for (uint32_t i = 0; i < config->levels; i++) {
        uint32_t height = config->shape.height >> i, width = config->shape.width >> i;
        bool attends = i == config->levels - 1;
        for (uint32_t k = 0; k < config->attention_count; k++)
            attends = attends || config->attention[k] == height;
        REFUSE_UNLESS(!attends || height * width <= MOST_ATTENDING_PIXELS,
                      "attention: %" PRIu32 " x %" PRIu32 " pixels are too many, at most %d can attend",
                      height, width, MOST_ATTENDING_PIXELS);
    }
    return EFM_OK;
}

static enum efm_status check_unet(const struct efm_net_config *config, struct efm_error *error)
{
    const struct efm_shape *shape = &config->shape;
    REFUSE_UNLESS(efm_shape_is_image(shape), "shape: a unet takes images, not vectors");
    REFUSE_UNLESS(shape->height >= LEAST_SIDE && shape->height <= EFM_NET_MAX_SIDE &&
                      shape->width >= LEAST_SIDE && shape->width <= EFM_NET_MAX_SIDE,
                  "shape: the sides must be %d to %d pixels for a unet", LEAST_SIDE, EFM_NET_MAX_SIDE);
    REFUSE_UNLESS(shape->channels <= MOST_CHANNELS, "shape: a unet takes at most %d channels", MOST_CHANNELS);
    REFUSE_UNLESS(config->nf >= EFM_NORM_GROUPS && config->nf <= MOST_NF && config->nf % EFM_NORM_GROUPS == 0,
                  "nf must be a multiple of %d up to %d", EFM_NORM_GROUPS, MOST_NF);
    REFUSE_UNLESS(config->levels >= 1 && config->levels <= EFM_NET_MAX_LEVELS, "levels must be 1 to %d",
                  EFM_NET_MAX_LEVELS);
    REFUSE_UNLESS(divisible(shape, config->levels),
                  "levels: both sides must be divisible by %u and leave at least %d pixels",
                  1u << (config->levels - 1), LEAST_DEEPEST_SIDE);
    for (uint32_t i = 0; i < config->levels; i++)
        REFUSE_UNLESS(config->ch_mult[i] >= 1 && config->ch_mult[i] <= MOST_MULTIPLE,
                      "ch_mult must be 1 to %d at every level", MOST_MULTIPLE);
    REFUSE_UNLESS(config->blocks >= 1 && config->blocks <= MOST_BLOCKS, "blocks must be 1 to %d",
                  MOST_BLOCKS);
    REFUSE_UNLESS(config->dropout >= 0 && config->dropout < 1, "dropout must be at least 0 and below 1");
    return check_attention(config, error);
}

static enum efm_status check_mlp(const struct efm_net_config *given, struct efm_error *error)
{
    REFUSE_UNLESS(given->shape.dimension >= 1 && given->shape.dimension <= MOST_WIDTH,
                  "shape: an mlp takes 1 to %d numbers", MOST_WIDTH);
    struct efm_net_config config = *given;
    efm_net_config_complete(&config);
    REFUSE_UNLESS(config.hidden <= MOST_WIDTH, "hidden must be at most %d", MOST_WIDTH);
    REFUSE_UNLESS(config.hidden2 <= MOST_WIDTH, "hidden2 must be at most %d", MOST_WIDTH);
    /* The frequencies run from 1 to 1/10000 in half - 1 steps. */
    REFUSE_UNLESS(config.embedding >= 4 && config.embedding <= MOST_EMBEDDING && config.embedding % 2 == 0,
                  "embedding must be even, 4 to %d", MOST_EMBEDDING);
    /* Every factor is at most 2^16 + 1, so nothing overflows here. */
    uint64_t d = config.shape.dimension, m = config.hidden, m2 = config.hidden2, e = config.embedding;
    uint64_t size = (d + 1 + m + 1 + e) * m + e + (e + 1 + m2 + 1 + d + 1) * m2 + d + 1;
    REFUSE_UNLESS(size <= EFM_NET_MAX_PARAMETERS,
                  "hidden: the network would have %" PRIu64 " parameters, at most %" PRIu64 " are allowed",
                  size, EFM_NET_MAX_PARAMETERS);
    return EFM_OK;
}

enum efm_status efm_net_config_check(const struct efm_net_config *config, struct efm_error *error)
{
    enum efm_status status = check_shape(&config->shape, error);
    if (status != EFM_OK)
        return status;
    switch (config->arch) {
    case EFM_NET_UNET:
        return check_unet(config, error);
    case EFM_NET_MLP:
        return check_mlp(config, error);
    }
    return efm_error_set(error, EFM_E_ARGUMENT, "arch is not a known one");
}
