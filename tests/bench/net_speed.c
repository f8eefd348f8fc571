// SPDX-License-Identifier: Apache-2.0
/* How long a U-Net takes: one pass for each line on standard input, so that it can take turns with another program; or
 * what its convolutions reach by themselves.
 *
 *   net_speed infer NF MULT BLOCKS BATCH PRECISION THREADS     seconds of a forward pass, a line for each line read
 *   net_speed train NF MULT BLOCKS BATCH PRECISION THREADS     of a training step: gradient, clipping, Adam, EMA
 *   net_speed layers NF MULT BLOCKS BATCH PRECISION THREADS    a table of the kinds of convolutions
 *
 * MULT is ch_mult, "1,2,2,2". Images of 32 x 32 x 3, attention at 16, no dropout. The first line printed is the number of
 * bytes that weights and activations take. */
#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/net/unet_internal.h"
#include "core/train/optimiser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void must(enum efm_status status, const struct efm_error *error)
{
    if (status == EFM_OK)
        return;
    fprintf(stderr, "net_speed: %s\n", error->message);
    exit(1);
}

static float *normals(size_t count, uint64_t stream, float scale)
{
    struct efm_random random;
    float *values = efm_allocate_array(count, sizeof *values);
    if (values == NULL)
        exit(1);
    efm_random_init(&random, 1, stream, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, values, count);
    for (size_t i = 0; i < count; i++)
        values[i] *= scale;
    return values;
}

static size_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value == 0 || value > 4096) {
        fprintf(stderr, "net_speed: %s is no number from 1 to 4096\n", text);
        exit(2);
    }
    return value;
}

struct world {
    struct efm_net *net;
    struct efm_net_weights *weights;
    struct efm_net_run *run;
    struct efm_team *team;
    struct efm_optimiser *optimiser;
    size_t batch;
    float *parameters, *gradient, *x, *z, *fx, *fz, *target_x, *target_z;
};

static void open_world(struct world *world, char **arguments, bool training)
{
    struct efm_error error = {0};
    struct efm_net_config config = {.arch = EFM_NET_UNET,
                                    .shape = efm_shape_image(32, 32, 3),
                                    .nf = (uint32_t)number(arguments[0]),
                                    .blocks = (uint32_t)number(arguments[2]),
                                    .attention = {16},
                                    .attention_count = 1};
    for (const char *text = arguments[1]; *text != '\0' && config.levels < EFM_NET_MAX_LEVELS; text++)
        if (*text != ',')
            config.ch_mult[config.levels++] = (uint32_t)(*text - '0');
    world->batch = number(arguments[3]);
    size_t threads = number(arguments[5]), dimension = config.shape.dimension;
    struct efm_net_weights_options options = {.training = training};
    must(efm_precision_parse(arguments[4], &options.precision), &error);
    options.shards = threads;
    options.shard_samples = (world->batch + threads - 1) / threads;
    must(efm_team_create(&world->team, threads, &error), &error);
    must(efm_net_create(&world->net, &config, &error), &error);
    must(efm_net_weights_create(&world->weights, world->net, &options, &error), &error);
    must(efm_net_run_create(&world->run, world->weights, world->batch, world->team, &error), &error);
    size_t size = efm_net_size(world->net);
    world->parameters = normals(size, 1, 0.02f);
    efm_net_weights_set(world->weights, world->parameters, world->team);
    world->x = normals(world->batch * dimension, 2, 1);
    world->z = normals(world->batch, 3, 1);
    world->fx = normals(world->batch * dimension, 4, 1);
    world->fz = normals(world->batch, 5, 1);
    size_t bytes = efm_net_weights_bytes(world->weights) + efm_net_run_bytes(world->run);
    if (training) {
        struct efm_optimiser_options optimiser;
        efm_optimiser_options_default(&optimiser);
        must(efm_optimiser_create(&world->optimiser, &optimiser, size, &error), &error);
        efm_optimiser_begin(world->optimiser, world->parameters);
        world->gradient = normals(size, 6, 0);
        world->target_x = normals(world->batch * dimension, 7, 1);
        world->target_z = normals(world->batch, 8, 1);
        bytes += 5 * size * sizeof(float); /* parameters, gradient, moments, average */
    }
    printf("%zu\n", bytes);
    fflush(stdout);
}

static void train(struct world *world)
{
    struct efm_error error = {0};
    struct efm_optimiser_outcome outcome;
    struct efm_net_sample_batch batch = {.count = world->batch,
                                         .x = world->x,
                                         .z = world->z,
                                         .target_x = world->target_x,
                                         .target_z = world->target_z};
    efm_net_weights_set(world->weights, world->parameters, world->team);
    efm_net_gradient(world->run, &batch, world->gradient);
    must(efm_optimiser_step(world->optimiser, world->parameters, world->gradient, world->team, &outcome,
                            &error),
         &error);
}

static void serve(struct world *world, bool training)
{
    for (int c = getchar(); c != EOF; c = getchar()) {
        if (c != '\n')
            continue;
        double begin = now();
        if (training)
            train(world);
        else
            efm_net_forward(world->run, world->x, world->z, world->batch, world->fx, world->fz);
        printf("%.6f\n", now() - begin);
        fflush(stdout);
    }
}

struct layer {
    struct efm_conv_options options;
    size_t count;
    double flops, seconds; /* of one */
};

/* The kinds of convolutions, each timed alone on one thread, image by image. */
static void print_layers(const struct world *world)
{
    enum { KINDS = 128 };
    static struct layer layers[KINDS];
    const struct unet_plan *plan = unet_plan(world->net);
    size_t kinds = 0;
    double all = 0, all_flops = 0, peak = 0;
    for (size_t i = 0; i < plan->conv_count; i++) {
        struct efm_conv_options options = plan->convs[i].options;
        size_t k = 0;
        options.no_input_gradient = false;
        while (k < kinds && memcmp(&layers[k].options, &options, sizeof options) != 0)
            k++;
        if (k == KINDS)
            continue;
        if (k == kinds) {
            const struct efm_conv *conv = unet_weights(world->weights)->convs[i];
            layers[kinds++] = (struct layer){
                .options = options, .flops = efm_conv_flops(conv), .seconds = efm_conv_time(conv, 9)};
        }
        layers[k].count++;
    }
    for (size_t k = 0; k < kinds; k++) {
        all += layers[k].seconds * (double)layers[k].count;
        all_flops += layers[k].flops * (double)layers[k].count;
        peak = layers[k].flops / layers[k].seconds > peak ? layers[k].flops / layers[k].seconds : peak;
    }
    printf("size  in   out  k s  count  GFLOP/s  of peak  ms an image, one thread\n");
    for (size_t k = 0; k < kinds; k++) {
        const struct layer *layer = &layers[k];
        printf("%3u %4u  %4u  %u %u  %4zu  %7.0f  %5.0f %%  %8.3f\n", layer->options.height,
               layer->options.in_channels, layer->options.out_channels, layer->options.kernel,
               layer->options.stride, layer->count, layer->flops / layer->seconds * 1e-9,
               100 * layer->flops / layer->seconds / peak, 1e3 * layer->seconds * (double)layer->count);
    }
    printf("convolutions alone: %.2f GFLOP, %.2f ms an image on one thread, %.0f GFLOP/s; peak %.0f\n",
           all_flops * 1e-9, 1e3 * all, all_flops / all * 1e-9, peak * 1e-9);
}

int main(int argument_count, char **arguments)
{
    static struct world world;
    const char *mode = argument_count == 8 ? arguments[1] : "";
    bool training = strcmp(mode, "train") == 0;
    if (!training && strcmp(mode, "infer") != 0 && strcmp(mode, "layers") != 0) {
        fprintf(stderr, "usage: see the head of tests/bench/net_speed.c\n");
        return 2;
    }
    open_world(&world, arguments + 2, training);
    if (strcmp(mode, "layers") == 0)
        print_layers(&world);
    else
        serve(&world, training);
    return 0;
}
