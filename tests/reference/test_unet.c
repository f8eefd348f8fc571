// SPDX-License-Identifier: Apache-2.0
/* The U-Net against numbers that PyTorch computed in float64: outputs, loss, every gradient, ten steps of Adam; see
 * tests/data/reference/README.md. And its promise of bytes that do not depend on neighbours or threads. */
#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/model/safetensors.h"
#include "core/net/net.h"
#include "core/train/optimiser.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double F32_TOLERANCE = 1e-4, BF16_TOLERANCE = 2e-2;

enum { CHANNELS = 3, SIDE = 16, DIMENSION = CHANNELS * SIDE * SIDE, BATCH = 4, STEPS = 10 };

struct fixture {
    uint8_t *bytes;
    struct efm_safetensors *file;
};

static void open_fixture(struct fixture *fixture, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/reference/%s.safetensors", getenv("EFMD_SOURCE_ROOT"), name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    fixture->bytes = malloc(size);
    assert_non_null(fixture->bytes);
    assert_int_equal(fread(fixture->bytes, 1, size, file), size);
    fclose(file);
    assert_int_equal(efm_safetensors_open(&fixture->file, fixture->bytes, size, NULL), EFM_OK);
}

static void close_fixture(struct fixture *fixture)
{
    efm_safetensors_close(fixture->file);
    free(fixture->bytes);
}

static float *floats(const struct fixture *fixture, const char *name, size_t *count)
{
    const struct efm_tensor_entry *entry = efm_safetensors_find(fixture->file, name);
    if (entry == NULL)
        print_message("no tensor %s\n", name);
    assert_non_null(entry);
    float *values = malloc(entry->count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(efm_safetensors_floats(entry, values, NULL), EFM_OK);
    if (count != NULL)
        *count = entry->count;
    return values;
}

/* Images [n, C, H, W] as [n, H, W, C]. */
static float *images(const struct fixture *fixture, const char *name)
{
    size_t count;
    float *planes = floats(fixture, name, &count);
    float *pixels = malloc(count * sizeof *pixels);
    assert_non_null(pixels);
    for (size_t i = 0; i < count; i++) {
        size_t image = i / DIMENSION, c = i % DIMENSION / (SIDE * SIDE), p = i % (SIDE * SIDE);
        pixels[image * DIMENSION + p * CHANNELS + c] = planes[i];
    }
    free(planes);
    return pixels;
}

struct world {
    struct efm_net *net;
    struct efm_net_weights *weights;
    struct efm_net_run *run;
    struct efm_team *team;
    float *parameters, *gradient;
};

static void take_parameters(const struct fixture *fixture, const struct efm_net *net, const char *prefix,
                            float *out)
{
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        char name[EFM_PARAMETER_NAME + 16];
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        size_t count;
        snprintf(name, sizeof name, "%s%s", prefix, parameter->name);
        float *values = floats(fixture, name, &count);
        assert_int_equal(count, parameter->count);
        memcpy(out + parameter->offset, values, count * sizeof *values);
        free(values);
    }
}

static void open_world(struct world *world, enum efm_precision precision, bool training, size_t threads)
{
    struct efm_error error = {0};
    struct efm_net_config config = {.arch = EFM_NET_UNET,
                                    .shape = efm_shape_image(SIDE, SIDE, CHANNELS),
                                    .nf = 32,
                                    .levels = 2,
                                    .ch_mult = {1, 2},
                                    .blocks = 1,
                                    .attention = {8},
                                    .attention_count = 1};
    memset(world, 0, sizeof *world);
    if (efm_net_create(&world->net, &config, &error) != EFM_OK)
        fail_msg("%s", error.message);
    struct efm_net_weights_options options = {
        .precision = precision, .training = training, .shard_samples = 2, .shards = 2};
    if (efm_net_weights_create(&world->weights, world->net, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_int_equal(efm_team_create(&world->team, threads, &error), EFM_OK);
    if (efm_net_run_create(&world->run, world->weights, BATCH, world->team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    world->parameters = malloc(efm_net_size(world->net) * sizeof(float));
    world->gradient = malloc(efm_net_size(world->net) * sizeof(float));
    assert_true(world->parameters != NULL && world->gradient != NULL);
    struct fixture fixture;
    open_fixture(&fixture, "unet_weights");
    take_parameters(&fixture, world->net, "weights.", world->parameters);
    close_fixture(&fixture);
    efm_net_weights_set(world->weights, world->parameters, world->team);
}

static void close_world(struct world *world)
{
    efm_net_run_destroy(world->run);
    efm_net_weights_destroy(world->weights);
    efm_team_destroy(world->team);
    efm_net_unref(world->net);
    free(world->parameters);
    free(world->gradient);
}

static double largest(const float *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)values[i]));
    return most;
}

static double largest_error(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = isfinite(a[i]) ? fmax(most, fabs((double)a[i] - b[i])) : INFINITY;
    return most;
}

static void check(const char *what, const float *is, const float *expected, size_t count, double tolerance,
                  double smallest_scale)
{
    double error = largest_error(is, expected, count) / fmax(largest(expected, count), smallest_scale);
    if (!(error <= tolerance))
        fail_msg("%s is off by %g of its largest value, allowed %g", what, error, tolerance);
}

static void check_outputs(enum efm_precision precision, double tolerance)
{
    struct world world;
    struct fixture fixture;
    open_world(&world, precision, false, 2);
    open_fixture(&fixture, "unet_forward_backward");
    float *x = images(&fixture, "x"), *z = floats(&fixture, "z", NULL);
    float *out_x = images(&fixture, "out_x"), *out_z = floats(&fixture, "out_z", NULL);
    float fx[BATCH * DIMENSION], fz[BATCH];
    efm_net_forward(world.run, x, z, BATCH, fx, fz);
    print_message("%s: f_x is off by %.2g, f_z by %.2g of the largest value\n", efm_precision_name(precision),
                  largest_error(fx, out_x, BATCH * DIMENSION) / largest(out_x, BATCH * DIMENSION),
                  largest_error(fz, out_z, BATCH) / largest(out_z, BATCH));
    check("f_x", fx, out_x, BATCH * DIMENSION, tolerance, 0);
    check("f_z", fz, out_z, BATCH, tolerance, 0);
    free(x);
    free(z);
    free(out_x);
    free(out_z);
    close_fixture(&fixture);
    close_world(&world);
}

static bool has_bf16(void)
{
    enum efm_precision precision = EFM_PRECISION_BF16;
    return efm_precision_resolve(&precision, NULL) == EFM_OK;
}

static void outputs_in_f32(void **state)
{
    (void)state;
    check_outputs(EFM_PRECISION_F32, F32_TOLERANCE);
}

static void outputs_in_bf16(void **state)
{
    (void)state;
    if (!has_bf16())
        skip();
    check_outputs(EFM_PRECISION_BF16, BF16_TOLERANCE);
}

static void check_gradients(enum efm_precision precision, double tolerance)
{
    struct world world;
    struct fixture fixture;
    open_world(&world, precision, true, 2);
    open_fixture(&fixture, "unet_forward_backward");
    float *x = images(&fixture, "x"), *z = floats(&fixture, "z", NULL);
    float *target_x = images(&fixture, "target_x"), *target_z = floats(&fixture, "target_z", NULL);
    float *loss = floats(&fixture, "loss", NULL);
    struct efm_net_sample_batch batch = {
        .count = BATCH, .x = x, .z = z, .target_x = target_x, .target_z = target_z};
    double is = efm_net_gradient(world.run, &batch, world.gradient), worst = 0, all = 0;
    print_message("%s: loss %.7g, expected %.7g\n", efm_precision_name(precision), is, (double)loss[0]);
    assert_true(fabs(is - loss[0]) <= tolerance * loss[0]);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < efm_net_parameter_count(world.net); i++) {
            const struct efm_parameter *parameter = efm_net_parameter(world.net, i);
            char name[EFM_PARAMETER_NAME + 16];
            snprintf(name, sizeof name, "grad.%s", parameter->name);
            float *expected = floats(&fixture, name, NULL);
            /* A bias of keys changes nothing, so its gradient is rounding alone: hence a smallest scale. */
            double scale = fmax(largest(expected, parameter->count), 1e-3 * all);
            double error =
                largest_error(world.gradient + parameter->offset, expected, parameter->count) / scale;
            all = pass == 0 ? fmax(all, largest(expected, parameter->count)) : all;
            if (pass == 1) {
                worst = fmax(worst, error);
                check(name, world.gradient + parameter->offset, expected, parameter->count, tolerance,
                      1e-3 * all);
            }
            free(expected);
        }
    }
    print_message("%s: gradients of %zu parameters are off by %.2g at most\n", efm_precision_name(precision),
                  efm_net_parameter_count(world.net), worst);
    free(x);
    free(z);
    free(target_x);
    free(target_z);
    free(loss);
    close_fixture(&fixture);
    close_world(&world);
}

static void gradients_in_f32(void **state)
{
    (void)state;
    check_gradients(EFM_PRECISION_F32, F32_TOLERANCE);
}

/* Each layer rounds its activations and their gradients to 8 bits; what was asked for is the output, this is a guard. */
static void gradients_in_bf16(void **state)
{
    (void)state;
    if (!has_bf16())
        skip();
    check_gradients(EFM_PRECISION_BF16, 0.15);
}

/* Whether the gradient of a parameter is 0 but for rounding: a bias of keys adds the same to all scores of a query, and
 * what is added to a channel that is a norm's whole group is taken away by the norm. Adam makes of such a gradient steps of
 * the full rate, whose direction is luck, in the reference too. */
static bool is_without_gradient(const struct fixture *gradients, const struct efm_parameter *parameter)
{
    char name[EFM_PARAMETER_NAME + 16];
    snprintf(name, sizeof name, "grad.%s", parameter->name);
    float *gradient = floats(gradients, name, NULL);
    bool without = largest(gradient, parameter->count) < 1e-6; /* the others are far above */
    free(gradient);
    return without;
}

static void check_average(const struct efm_net *net, const float *is, const float *expected)
{
    struct fixture gradients;
    double worst = 0, scale = largest(expected, efm_net_size(net));
    size_t left_out = 0;
    open_fixture(&gradients, "unet_forward_backward");
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        double error = largest_error(is + parameter->offset, expected + parameter->offset, parameter->count);
        if (is_without_gradient(&gradients, parameter)) {
            assert_true(error <= 2 * STEPS * 2e-4); /* all that ten steps can make */
            left_out += parameter->count;
            continue;
        }
        worst = fmax(worst, error / scale);
        if (!(error <= F32_TOLERANCE * scale))
            fail_msg("the average of %s is off by %g", parameter->name, error / scale);
    }
    print_message("the average is off by %.2g of its largest value; %zu of %zu numbers have no gradient\n",
                  worst, left_out, efm_net_size(net));
    assert_true(left_out < efm_net_size(net) / 20);
    close_fixture(&gradients);
}

static void ten_steps_of_adam(void **state)
{
    struct world world;
    struct fixture fixture;
    struct efm_error error = {0};
    struct efm_optimiser *optimiser;
    struct efm_optimiser_options options;
    (void)state;
    open_world(&world, EFM_PRECISION_F32, true, 2);
    open_fixture(&fixture, "unet_adam_ten_steps");
    efm_optimiser_options_default(&options);
    options.rate = 2e-4;
    options.warmup = 5;
    options.schedule = EFM_SCHEDULE_CONSTANT;
    options.steps = STEPS;
    options.clip = 1;
    options.ema = 0.999;
    size_t size = efm_net_size(world.net);
    if (efm_optimiser_create(&optimiser, &options, size, &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_optimiser_begin(optimiser, world.parameters);
    float *x = images(&fixture, "x"), *z = floats(&fixture, "z", NULL);
    float *target_x = images(&fixture, "target_x"), *target_z = floats(&fixture, "target_z", NULL);
    float *losses = floats(&fixture, "losses", NULL), *norms = floats(&fixture, "grad_norms", NULL);
    for (size_t step = 0; step < STEPS; step++) {
        struct efm_net_sample_batch batch = {.count = BATCH,
                                             .x = x + step * BATCH * DIMENSION,
                                             .z = z + step * BATCH,
                                             .target_x = target_x + step * BATCH * DIMENSION,
                                             .target_z = target_z + step * BATCH};
        struct efm_optimiser_outcome outcome;
        efm_net_weights_set(world.weights, world.parameters, world.team);
        double loss = efm_net_gradient(world.run, &batch, world.gradient);
        assert_int_equal(
            efm_optimiser_step(optimiser, world.parameters, world.gradient, world.team, &outcome, &error),
            EFM_OK);
        print_message("step %zu: loss off by %.2g, gradient norm by %.2g\n", step, loss / losses[step] - 1,
                      outcome.gradient_norm / norms[step] - 1);
        assert_true(fabs(loss / losses[step] - 1) <= F32_TOLERANCE);
        assert_true(fabs(outcome.gradient_norm / norms[step] - 1) <= F32_TOLERANCE);
    }
    float *average = malloc(size * sizeof *average);
    assert_non_null(average);
    take_parameters(&fixture, world.net, "ema.", average);
    check_average(world.net, efm_optimiser_state(optimiser)->average, average);
    free(average);
    free(x);
    free(z);
    free(target_x);
    free(target_z);
    free(losses);
    free(norms);
    efm_optimiser_destroy(optimiser);
    close_fixture(&fixture);
    close_world(&world);
}

static void check_bytes(enum efm_precision precision)
{
    enum { MANY = 11 };
    static float x[MANY * DIMENSION], expected[MANY * DIMENSION], fx[MANY * DIMENSION];
    float z[MANY], expected_z[MANY], fz[MANY];
    struct efm_random random;
    efm_random_init(&random, 5, 0, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, x, MANY * DIMENSION);
    for (size_t i = 0; i < MANY; i++)
        z[i] = (float)(10 * efm_random_uniform(&random));
    struct world world;
    open_world(&world, precision, false, 1);
    for (size_t i = 0; i < MANY; i++)
        efm_net_forward(world.run, x + i * DIMENSION, z + i, 1, expected + i * DIMENSION, expected_z + i);
    for (size_t threads = 1; threads <= 4; threads++) {
        struct efm_team *team;
        struct efm_net_run *run;
        assert_int_equal(efm_team_create(&team, threads, NULL), EFM_OK);
        assert_int_equal(efm_net_run_create(&run, world.weights, MANY, team, NULL), EFM_OK);
        for (size_t count = 1; count <= MANY; count++) {
            memset(fx, 0, sizeof fx);
            efm_net_forward(run, x, z, count, fx, fz);
            assert_memory_equal(fx, expected, count * DIMENSION * sizeof *fx);
            assert_memory_equal(fz, expected_z, count * sizeof *fz);
        }
        efm_net_run_destroy(run);
        efm_team_destroy(team);
    }
    close_world(&world);
}

static void alone_and_in_a_batch_in_f32(void **state)
{
    (void)state;
    check_bytes(EFM_PRECISION_F32);
}

static void alone_and_in_a_batch_in_bf16(void **state)
{
    (void)state;
    if (!has_bf16())
        skip();
    check_bytes(EFM_PRECISION_BF16);
}

/* A shard is a shard whoever computes it. */
static void gradients_do_not_depend_on_threads(void **state)
{
    struct world one, three;
    struct fixture fixture;
    (void)state;
    open_world(&one, EFM_PRECISION_F32, true, 1);
    open_world(&three, EFM_PRECISION_F32, true, 3);
    open_fixture(&fixture, "unet_forward_backward");
    float *x = images(&fixture, "x"), *z = floats(&fixture, "z", NULL),
          *target = images(&fixture, "target_x");
    struct efm_net_sample_batch batch = {.count = BATCH, .x = x, .z = z, .target_x = target};
    double a = efm_net_gradient(one.run, &batch, one.gradient),
           b = efm_net_gradient(three.run, &batch, three.gradient);
    assert_true(a == b);
    assert_memory_equal(one.gradient, three.gradient, efm_net_size(one.net) * sizeof(float));
    free(x);
    free(z);
    free(target);
    close_fixture(&fixture);
    close_world(&one);
    close_world(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_in_f32),
        cmocka_unit_test(outputs_in_bf16),
        cmocka_unit_test(gradients_in_f32),
        cmocka_unit_test(gradients_in_bf16),
        cmocka_unit_test(ten_steps_of_adam),
        cmocka_unit_test(alone_and_in_a_batch_in_f32),
        cmocka_unit_test(alone_and_in_a_batch_in_bf16),
        cmocka_unit_test(gradients_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
