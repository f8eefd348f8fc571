// SPDX-License-Identifier: Apache-2.0
/* The fully connected network: against a direct computation in double, its gradients against finite differences of
 * that, the same bytes in any company, bf16 beside f32, and memory. */
#include "tests/support/check.h"
#include "tests/unit/net/failures.h"

#include "core/base/random.h"
#include "core/net/mlp_product.h"
#include "core/net/net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WIDTH = 2048, LAYERS = 6 };

struct samples {
    size_t count, d;
    float *x, *z, *target_x, *target_z, *weight;
};

static struct samples samples_new(size_t count, size_t d, uint64_t seed)
{
    struct samples s = {count, d, NULL, NULL, NULL, NULL, NULL};
    struct efm_random random;
    float **arrays[] = {&s.x, &s.target_x, &s.z, &s.target_z, &s.weight};
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < 5; i++) {
        const size_t size = i < 2 ? count * d : count;
        *arrays[i] = malloc(size * sizeof(float));
        efm_random_fill_normal(&random, *arrays[i], size);
    }
    for (size_t i = 0; i < count; i++) {
        s.z[i] = 3 * fabsf(s.z[i]);
        s.weight[i] = 0.2f + fabsf(s.weight[i]);
    }
    return s;
}

static void samples_free(struct samples *s)
{
    free(s->x);
    free(s->z);
    free(s->target_x);
    free(s->target_z);
    free(s->weight);
}

struct world {
    struct efm_net *net;
    struct efm_net_weights *weights;
    float *parameters;
};

static struct world world_new(size_t d, uint32_t hidden, uint32_t hidden2, uint32_t embedding,
                              struct efm_net_weights_options options)
{
    struct world w;
    struct efm_net_config config = {.arch = EFM_NET_MLP,
                                    .shape = efm_shape_vector(d),
                                    .hidden = hidden,
                                    .hidden2 = hidden2,
                                    .embedding = embedding};
    struct efm_random random;
    assert_int_equal(efm_net_create(&w.net, &config, NULL), EFM_OK);
    w.parameters = malloc(efm_net_size(w.net) * sizeof(float));
    efm_net_initialise(w.net, 5, w.parameters);
    efm_random_init(&random, 6, 0, EFM_RANDOM_TEST);
    for (size_t i = 1; i < efm_net_parameter_count(w.net); i += 2) { /* biases that do something */
        const struct efm_parameter *bias = efm_net_parameter(w.net, i);
        efm_random_fill_normal(&random, w.parameters + bias->offset, bias->count);
        for (size_t k = 0; k < bias->count; k++)
            w.parameters[bias->offset + k] *= 0.2f;
    }
    assert_int_equal(efm_net_weights_create(&w.weights, w.net, &options, NULL), EFM_OK);
    efm_net_weights_set(w.weights, w.parameters, NULL);
    return w;
}

static void world_free(struct world *w)
{
    efm_net_weights_destroy(w->weights);
    efm_net_unref(w->net);
    free(w->parameters);
}

static struct efm_net_run *run_new(const struct world *w, size_t capacity, struct efm_team *team)
{
    struct efm_net_run *run;
    assert_int_equal(efm_net_run_create(&run, w->weights, capacity, team, NULL), EFM_OK);
    return run;
}

static bool has_bf16(void)
{
    enum efm_precision precision = EFM_PRECISION_BF16;
    return efm_precision_resolve(&precision, NULL) == EFM_OK;
}

/* ---- the direct computation ---- */

/* out [D + 1] of one sample */
static void direct_forward(const struct world *w, const float *x, double z, double *out)
{
    double in[MOST_WIDTH];
    const size_t d = efm_net_config(w->net)->shape.dimension;
    const size_t half = efm_net_config(w->net)->embedding / 2;
    for (size_t k = 0; k < d; k++)
        in[k] = (double)x[k];
    for (size_t i = 0; i < LAYERS; i++) {
        const struct efm_parameter *weight = efm_net_parameter(w->net, 2 * i);
        const float *bias = w->parameters + efm_net_parameter(w->net, 2 * i + 1)->offset;
        const size_t rows = weight->shape[0], columns = weight->shape[1];
        for (size_t k = 0; i == 3 && k < half; k++) {
            const double angle = z * pow(10000, -(double)k / (double)(half - 1));
            in[k] += sin(angle);
            in[half + k] += cos(angle);
        }
        for (size_t row = 0; row < rows; row++) {
            const float *values = w->parameters + weight->offset + row * columns;
            double sum = (double)bias[row];
            for (size_t k = 0; k < columns; k++)
                sum += (double)values[k] * in[k];
            out[row] = i < LAYERS - 1 && sum < 0 ? 0 : sum;
        }
        memcpy(in, out, rows * sizeof(double));
    }
}

static double direct_loss(const struct world *w, const struct efm_net_sample_batch *batch)
{
    const size_t d = efm_net_config(w->net)->shape.dimension;
    double loss = 0, out[MOST_WIDTH];
    for (size_t i = 0; i < batch->count; i++) {
        double sum = 0;
        direct_forward(w, batch->x + i * d, (double)batch->z[i], out);
        for (size_t k = 0; k < d; k++)
            sum += pow(out[k] - (double)batch->target_x[i * d + k], 2);
        if (batch->target_z != NULL)
            sum += pow(out[d] - (double)batch->target_z[i], 2);
        loss += sum * (batch->weight != NULL ? (double)batch->weight[i] : 1);
    }
    return loss / ((double)batch->count * (double)(batch->target_z != NULL ? d + 1 : d));
}

static void check_forward(size_t d, uint32_t hidden, uint32_t hidden2, uint32_t embedding,
                          enum efm_precision precision, double tolerance)
{
    struct world w =
        world_new(d, hidden, hidden2, embedding, (struct efm_net_weights_options){.precision = precision});
    struct samples s = samples_new(37, d, 1);
    struct efm_net_run *run = run_new(&w, s.count, NULL);
    float *fx = malloc(s.count * d * sizeof(float)), *fz = malloc(s.count * sizeof(float));
    double out[MOST_WIDTH], largest = 0, worst = 0;
    efm_net_forward(run, s.x, s.z, s.count, fx, fz);
    for (size_t i = 0; i < s.count; i++) {
        direct_forward(&w, s.x + i * d, (double)s.z[i], out);
        for (size_t k = 0; k <= d; k++) {
            const double got = (double)(k < d ? fx[i * d + k] : fz[i]);
            largest = fmax(largest, fabs(out[k]));
            worst = fmax(worst, fabs(got - out[k]));
        }
    }
    assert_true(largest > 0.1);
    assert_true(worst <= tolerance * largest);
    assert_true(worst > 0);
    free(fx);
    free(fz);
    efm_net_run_destroy(run);
    samples_free(&s);
    world_free(&w);
}

static void forward_is_the_direct_computation(void **state)
{
    (void)state;
    check_forward(3, 20, 24, 8, EFM_PRECISION_F32, 1e-5);
    check_forward(1, 33, 65, 4, EFM_PRECISION_F32, 1e-5);
    check_forward(50, 1, 1, 6, EFM_PRECISION_F32, 1e-5);
    check_forward(300, 257, 130, 128, EFM_PRECISION_F32, 1e-5);
}

static void bf16_is_near(void **state)
{
    (void)state;
    if (!has_bf16())
        skip();
    check_forward(3, 20, 24, 8, EFM_PRECISION_BF16, 2e-2);
    check_forward(2, 300, 301, 128, EFM_PRECISION_BF16, 2e-2);
    check_forward(300, 257, 130, 128, EFM_PRECISION_BF16, 2e-2);
}

/* Every instruction set: near the sum in double, and a row's bytes its own at any place, with any neighbours. */
static void check_product(const struct efm_mlp_kernel *kernel, size_t outputs, size_t inputs, bool relu)
{
    enum { ROWS = 75 };
    struct samples s = samples_new(ROWS, inputs, 11), w = samples_new(outputs, inputs, 12);
    float *packed = malloc(efm_mlp_panels(outputs) * EFM_MLP_PANEL * inputs * sizeof(float));
    float *out = malloc(ROWS * outputs * sizeof(float)), *alone = malloc(outputs * sizeof(float));
    for (size_t i = 0; i < efm_mlp_panels(outputs); i++)
        efm_mlp_pack(packed, w.x, outputs, inputs, i);
    efm_mlp_product(kernel, packed, w.z, outputs, inputs, s.x, ROWS, relu, out);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < outputs; i++) {
            double sum = (double)w.z[i], size = fabs(sum);
            for (size_t k = 0; k < inputs; k++) {
                const double term = (double)s.x[row * inputs + k] * (double)w.x[i * inputs + k];
                sum += term;
                size += fabs(term);
            }
            sum = relu && sum < 0 ? 0 : sum;
            assert_true(fabs(sum - (double)out[row * outputs + i]) <= 1e-6 * size);
        }
        efm_mlp_product(kernel, packed, w.z, outputs, inputs, s.x + row * inputs, 1, relu, alone);
        assert_memory_equal(alone, out + row * outputs, outputs * sizeof(float));
    }
    free(packed);
    free(out);
    free(alone);
    samples_free(&s);
    samples_free(&w);
}

static void products_are_sums_of_a_row(void **state)
{
    (void)state;
    assert_non_null(efm_mlp_kernel_at(0));
    for (size_t i = 0; efm_mlp_kernel_at(i) != NULL; i++) {
        check_product(efm_mlp_kernel_at(i), 1, 1, false);
        check_product(efm_mlp_kernel_at(i), 48, 128, true);
        check_product(efm_mlp_kernel_at(i), 101, 300, false);
        check_product(efm_mlp_kernel_at(i), 49, 129, true);
    }
}

/* ---- gradients ---- */

static struct efm_net_weights_options training(enum efm_precision precision, size_t shards, size_t samples)
{
    return (struct efm_net_weights_options){
        .precision = precision, .training = true, .shards = shards, .shard_samples = samples};
}

static struct efm_net_sample_batch batch_of(const struct samples *s, bool velocity, bool weighted)
{
    return (struct efm_net_sample_batch){.count = s->count,
                                         .x = s->x,
                                         .z = s->z,
                                         .target_x = s->target_x,
                                         .target_z = velocity ? NULL : s->target_z,
                                         .weight = weighted ? s->weight : NULL};
}

/* `probes` entries of every tensor, the first and the last among them, by central differences in double. */
static void check_tensor(struct world *w, const struct efm_net_sample_batch *batch, const float *gradient,
                         const struct efm_parameter *parameter, size_t probes)
{
    double largest = 0, worst = 0;
    for (size_t k = 0; k < parameter->count; k++)
        largest = fmax(largest, fabs((double)gradient[parameter->offset + k]));
    for (size_t n = 0; n < probes; n++) {
        const size_t place = parameter->offset + n * (parameter->count - 1) / (probes - 1);
        const float kept = w->parameters[place];
        const float above = kept + 1e-4f, below = kept - 1e-4f;
        w->parameters[place] = above;
        double difference = direct_loss(w, batch);
        w->parameters[place] = below;
        difference -= direct_loss(w, batch);
        w->parameters[place] = kept;
        const double slope = difference / ((double)above - (double)below);
        worst = fmax(worst, fabs(slope - (double)gradient[place]));
    }
    assert_true(worst <= 1e-2 * largest);
}

static void check_gradient(size_t count, size_t d, uint32_t hidden, uint32_t hidden2, uint32_t embedding,
                           bool velocity, bool weighted, size_t probes)
{
    struct world w = world_new(d, hidden, hidden2, embedding, training(EFM_PRECISION_F32, 3, count));
    struct samples s = samples_new(count, d, 2);
    struct efm_net_run *run = run_new(&w, count + 1, NULL);
    const struct efm_net_sample_batch batch = batch_of(&s, velocity, weighted);
    float *gradient = malloc(efm_net_size(w.net) * sizeof(float));
    for (size_t i = 0; i < efm_net_size(w.net); i++)
        gradient[i] = NAN; /* must be overwritten */
    const double loss = efm_net_gradient(run, &batch, gradient), direct = direct_loss(&w, &batch);
    assert_true(fabs(loss - direct) <= 1e-5 * direct);
    for (size_t i = 0; i < efm_net_parameter_count(w.net); i++)
        check_tensor(&w, &batch, gradient, efm_net_parameter(w.net, i), probes);
    if (velocity) { /* nothing reaches the last output */
        const struct efm_parameter *bias = efm_net_parameter(w.net, 11);
        assert_true(gradient[bias->offset + d] == 0);
    }
    free(gradient);
    efm_net_run_destroy(run);
    samples_free(&s);
    world_free(&w);
}

static void gradients_are_slopes(void **state)
{
    (void)state;
    check_gradient(37, 3, 20, 24, 8, false, false, 20);
    check_gradient(64, 2, 9, 12, 6, false, true, 20);
    check_gradient(33, 3, 20, 24, 8, true, false, 20);
    check_gradient(1, 5, 20, 24, 8, true, true, 20);
    check_gradient(5, 4, 300, 270, 16, false, true, 5);
}

static void bf16_gradients_are_near(void **state)
{
    (void)state;
    if (!has_bf16())
        skip();
    struct samples s = samples_new(100, 3, 4);
    const struct efm_net_sample_batch batch = batch_of(&s, false, true);
    float *gradients[2];
    size_t size = 0;
    double losses[2], norm = 0, distance = 0;
    for (size_t i = 0; i < 2; i++) {
        struct world w =
            world_new(3, 128, 160, 32, training(i == 0 ? EFM_PRECISION_F32 : EFM_PRECISION_BF16, 1, s.count));
        struct efm_net_run *run = run_new(&w, s.count, NULL);
        size = efm_net_size(w.net);
        gradients[i] = malloc(size * sizeof(float));
        losses[i] = efm_net_gradient(run, &batch, gradients[i]);
        efm_net_run_destroy(run);
        world_free(&w);
    }
    for (size_t k = 0; k < size; k++) {
        norm += pow((double)gradients[0][k], 2);
        distance += pow((double)gradients[0][k] - (double)gradients[1][k], 2);
    }
    assert_true(fabs(losses[1] - losses[0]) < 2e-2 * losses[0]);
    assert_true(distance > 0 && sqrt(distance) < 5e-2 * sqrt(norm));
    free(gradients[0]);
    free(gradients[1]);
    samples_free(&s);
}

static void gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++) {
        if (p == EFM_PRECISION_BF16 && !has_bf16())
            break;
        struct world w = world_new(3, 300, 270, 16, training(p, 4, 50));
        struct samples s = samples_new(145, 3, 3);
        const struct efm_net_sample_batch batch = batch_of(&s, false, false);
        const size_t bytes = efm_net_size(w.net) * sizeof(float);
        float *one = malloc(bytes), *other = malloc(bytes);
        struct efm_net_run *run = run_new(&w, 145, NULL);
        const double loss = efm_net_gradient(run, &batch, one);
        efm_net_run_destroy(run);
        for (size_t threads = 1; threads <= 3; threads++) {
            struct efm_team *team;
            assert_int_equal(efm_team_create(&team, threads, NULL), EFM_OK);
            run = run_new(&w, 145 + threads, team);
            for (int again = 0; again < 2; again++) {
                assert_true(efm_net_gradient(run, &batch, other) == loss);
                assert_memory_equal(one, other, bytes);
            }
            efm_net_run_destroy(run);
            efm_team_destroy(team);
        }
        free(one);
        free(other);
        samples_free(&s);
        world_free(&w);
    }
}

static void an_empty_batch_has_no_gradient(void **state)
{
    (void)state;
    struct world w = world_new(2, 8, 8, 4, training(EFM_PRECISION_F32, 1, 4));
    struct efm_net_run *run = run_new(&w, 4, NULL);
    float *gradient = malloc(efm_net_size(w.net) * sizeof(float));
    gradient[0] = gradient[efm_net_size(w.net) - 1] = 1;
    assert_true(efm_net_gradient(run, &(struct efm_net_sample_batch){0}, gradient) == 0);
    assert_true(gradient[0] == 0 && gradient[efm_net_size(w.net) - 1] == 0);
    efm_net_forward(run, NULL, NULL, 0, NULL, NULL);
    free(gradient);
    efm_net_run_destroy(run);
    world_free(&w);
}

/* ---- the same bytes in any company ---- */

/* Sample 0 alone, and then at every place of a batch of others, one of which is not a number. */
static void check_places(const struct world *w, struct efm_team *team, const float *alone_x, float alone_z)
{
    const size_t d = efm_net_config(w->net)->shape.dimension, count = 75;
    struct samples s = samples_new(count, d, 9);
    struct samples kept = samples_new(count, d, 9);
    struct efm_net_run *run = run_new(w, count, team);
    float *fx = malloc(count * d * sizeof(float)), fz[75];
    for (size_t place = 0; place < count; place++) {
        memcpy(s.x, kept.x, count * d * sizeof(float));
        memcpy(s.z, kept.z, count * sizeof(float));
        s.x[(place + 1) % count * d] = NAN;
        memcpy(s.x + place * d, kept.x, d * sizeof(float));
        s.z[place] = kept.z[0];
        efm_net_forward(run, s.x, s.z, count, fx, fz);
        assert_memory_equal(fx + place * d, alone_x, d * sizeof(float));
        assert_memory_equal(&fz[place], &alone_z, sizeof(float));
        assert_true(isnan(fz[(place + 1) % count]));
        const size_t part = place + 1; /* the last of a smaller batch */
        efm_net_forward(run, s.x, s.z, part, fx, fz);
        assert_memory_equal(fx + place * d, alone_x, d * sizeof(float));
    }
    free(fx);
    efm_net_run_destroy(run);
    samples_free(&s);
    samples_free(&kept);
}

static void a_sample_has_the_same_bytes_everywhere(void **state)
{
    (void)state;
    static const uint32_t sizes[][4] = {{2, 70, 100, 8}, {1, 513, 67, 128}, {37, 16, 15, 6}};
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++)
        for (size_t i = 0; i < 3; i++) {
            if (p == EFM_PRECISION_BF16 && !has_bf16())
                return;
            const size_t d = sizes[i][0];
            struct samples s = samples_new(75, d, 9);
            struct efm_team *team;
            float alone_x[40], alone_z;
            struct world w = world_new(d, sizes[i][1], sizes[i][2], sizes[i][3],
                                       (struct efm_net_weights_options){.precision = p});
            struct world other = world_new(d, sizes[i][1], sizes[i][2], sizes[i][3], training(p, 5, 20));
            assert_int_equal(efm_team_create(&team, 3, NULL), EFM_OK);
            efm_net_weights_set(other.weights, other.parameters, team);
            struct efm_net_run *run = run_new(&w, 1, NULL);
            efm_net_forward(run, s.x, s.z, 1, alone_x, &alone_z);
            efm_net_run_destroy(run);
            check_places(&w, NULL, alone_x, alone_z);
            check_places(&w, team, alone_x, alone_z);
            check_places(&other, team, alone_x, alone_z); /* weights that train give it too */
            efm_team_destroy(team);
            samples_free(&s);
            world_free(&w);
            world_free(&other);
        }
}

/* ---- options and memory ---- */

static void options_are_checked(void **state)
{
    (void)state;
    struct world w = world_new(2, 8, 8, 4, training(EFM_PRECISION_F32, 3, 5));
    struct efm_net_weights *weights;
    struct efm_net_run *run;
    const size_t wrong[][2] = {{0, 5}, {5, 0}, {SIZE_MAX / 2, 3}};
    for (size_t i = 0; i < 3; i++) {
        struct efm_net_weights_options options = training(EFM_PRECISION_F32, wrong[i][0], wrong[i][1]);
        assert_int_equal(efm_net_weights_create(&weights, w.net, &options, NULL), EFM_E_ARGUMENT);
        assert_null(weights);
    }
    assert_int_equal(efm_net_run_create(&run, w.weights, 0, NULL, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_net_run_create(&run, w.weights, 16, NULL, NULL), EFM_E_ARGUMENT);
    assert_null(run);
    assert_int_equal(efm_net_run_create(&run, w.weights, 15, NULL, NULL), EFM_OK);
    assert_int_equal(efm_net_weights_precision(w.weights), EFM_PRECISION_F32);
    assert_int_equal(efm_net_run_bytes(run), efm_net_run_bytes_planned(w.weights, 15, 1));
    efm_net_run_destroy(run);
    efm_net_run_destroy(NULL);
    efm_net_weights_destroy(NULL);
    world_free(&w);
}

static void bytes_are_announced(void **state)
{
    (void)state;
    struct world plain = world_new(2, 64, 64, 8, (struct efm_net_weights_options){EFM_PRECISION_F32});
    struct world train = world_new(2, 64, 64, 8, training(EFM_PRECISION_F32, 1, 1000));
    const size_t size = efm_net_size(plain.net) * sizeof(float);
    /* Outputs are packed by 48, so that 3, 8 and 64 become 48, 48 and 96. */
    assert_in_range(efm_net_weights_bytes(plain.weights), size, 3 * size);
    assert_in_range(efm_net_weights_bytes(train.weights), efm_net_weights_bytes(plain.weights) + size - 4096,
                    efm_net_weights_bytes(plain.weights) + size + 4096);
    const size_t one = efm_net_run_bytes_planned(train.weights, 1, 1);
    assert_true(efm_net_run_bytes_planned(train.weights, 1, 2) > one);
    assert_true(efm_net_run_bytes_planned(train.weights, 1000, 1) >= one + (size_t)900 * 2 * 4 * 64 * 4);
    assert_int_equal(efm_net_run_bytes_planned(train.weights, SIZE_MAX / 64, 1), SIZE_MAX);
    assert_int_equal(efm_net_run_bytes_planned(train.weights, SIZE_MAX, 1), SIZE_MAX);
    assert_int_equal(efm_net_run_bytes_planned(train.weights, 1, SIZE_MAX / 8), SIZE_MAX);
    /* Without training the samples are the caller's, and only threads count. */
    assert_int_equal(efm_net_run_bytes_planned(plain.weights, SIZE_MAX, 1),
                     efm_net_run_bytes_planned(plain.weights, 1, 1));
    world_free(&plain);
    world_free(&train);
}

static void check_failures(const struct world *w, enum efm_precision precision)
{
    const struct efm_net_weights_options options = training(precision, 2, 40);
    enum efm_status status = EFM_E_MEMORY;
    size_t tries = 0;
    for (size_t n = 0; status != EFM_OK; n++, tries++) {
        struct efm_net_weights *weights = NULL;
        struct efm_net_run *run = NULL;
        struct efm_error error = {0};
        failures_after(n);
        status = efm_net_weights_create(&weights, w->net, &options, &error);
        if (status == EFM_OK)
            status = efm_net_run_create(&run, weights, 80, NULL, &error);
        failures_stop();
        assert_int_equal(status, error.status);
        if (status != EFM_OK) {
            assert_int_equal(status, EFM_E_MEMORY);
            assert_null(run);
        }
        efm_net_run_destroy(run);
        efm_net_weights_destroy(weights);
    }
    assert_true(tries > 4);
}

static void creation_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct world w = world_new(2, 64, 64, 8, (struct efm_net_weights_options){EFM_PRECISION_F32});
    check_failures(&w, EFM_PRECISION_F32);
    if (has_bf16())
        check_failures(&w, EFM_PRECISION_BF16);
    world_free(&w);
}

static void work_allocates_nothing(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++) {
        if (p == EFM_PRECISION_BF16 && !has_bf16())
            return;
        struct world w = world_new(2, 64, 64, 8, training(p, 1, 50));
        struct samples s = samples_new(50, 2, 1);
        const struct efm_net_sample_batch batch = batch_of(&s, false, false);
        struct efm_net_run *run = run_new(&w, 50, NULL);
        float *gradient = malloc(efm_net_size(w.net) * sizeof(float)), fx[100], fz[50];
        const size_t before = failures_blocks_now();
        efm_net_weights_set(w.weights, w.parameters, NULL);
        efm_net_forward(run, s.x, s.z, 50, fx, fz);
        efm_net_gradient(run, &batch, gradient);
        assert_int_equal(failures_blocks_now(), before);
        free(gradient);
        efm_net_run_destroy(run);
        samples_free(&s);
        world_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_direct_computation),
        cmocka_unit_test(bf16_is_near),
        cmocka_unit_test(products_are_sums_of_a_row),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(bf16_gradients_are_near),
        cmocka_unit_test(gradients_do_not_depend_on_threads),
        cmocka_unit_test(an_empty_batch_has_no_gradient),
        cmocka_unit_test(a_sample_has_the_same_bytes_everywhere),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(bytes_are_announced),
        cmocka_unit_test(creation_survives_any_failing_allocation),
        cmocka_unit_test(work_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
