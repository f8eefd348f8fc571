// SPDX-License-Identifier: Apache-2.0
/* The gradients of the U-Net: against central differences of its own forward pass, with dropout, in shards that are full
 * or not, with any number of threads. */
#include "tests/unit/net/failures.h"
#include "tests/unit/net/unet_world.h"

enum { DIRECTIONS = 3 };

static const enum efm_precision precisions[] = {EFM_PRECISION_F32, EFM_PRECISION_BF16};

static struct efm_net_sample_batch batch_of(const struct unet_samples *s, size_t count)
{
    return (struct efm_net_sample_batch){
        .count = count, .x = s->x, .z = s->z, .target_x = s->target_x, .target_z = s->target_z};
}

static float *floats_new(size_t count)
{
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = NAN; /* must be overwritten */
    return values;
}

/* sum (a_i b_i), and the square root of sum (a_i b_i)^2: what that sum would be by chance. */
static double inner(const float *a, const float *b, size_t count, double *chance)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        double product = (double)a[i] * (double)b[i];
        sum += product;
        squares += product * product;
    }
    *chance = sqrt(squares);
    return sum;
}

static double distance(const float *a, const float *b, size_t count)
{
    double squares = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        squares += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(squares / norm);
}

/* ---- slopes ---- */

/* The loss from the outputs; with dropout, which the forward pass does not have, what the gradient's pass says. */
static double loss_at(const struct unet_world *world, struct efm_net_run *run,
                      const struct efm_net_sample_batch *batch, float *scratch)
{
    size_t d = world->dimension;
    double loss = 0;
    if (batch->dropout)
        return efm_net_gradient(run, batch, scratch);
    float *fx = floats_new(batch->count * d), *fz = floats_new(batch->count);
    efm_net_forward(run, batch->x, batch->z, batch->count, fx, fz);
    for (size_t i = 0; i < batch->count; i++) {
        double sum = batch->target_z != NULL ? pow((double)fz[i] - (double)batch->target_z[i], 2) : 0;
        for (size_t k = i * d; k < (i + 1) * d; k++)
            sum += pow((double)fx[k] - (double)batch->target_x[k], 2);
        loss += sum * (batch->weight != NULL ? (double)batch->weight[i] : 1);
    }
    free(fx);
    free(fz);
    return loss / ((double)batch->count * (double)(batch->target_z != NULL ? d + 1 : d));
}

/* Shares of a parameter's size: where all parameters move at once the loss bends sooner, and there is more of it to see
 * above the rounding. */
static const float STEP_OF_ALL = 0x1p-12f, STEP_OF_ONE = 0x1p-7f;

/* The slope of the loss along `direction`, whose entries are as large as the parameters are. */
static double slope(const struct unet_world *world, struct efm_net_run *run,
                    const struct efm_net_sample_batch *batch, const float *direction, float step,
                    float *scratch)
{
    float *moved = floats_new(world->size);
    double loss[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < world->size; i++)
            moved[i] = world->parameters[i] + (side == 0 ? step : -step) * direction[i];
        efm_net_weights_set(world->weights, moved, NULL);
        loss[side] = loss_at(world, run, batch, scratch);
    }
    efm_net_weights_set(world->weights, world->parameters, NULL);
    free(moved);
    return (loss[0] - loss[1]) / (2 * (double)step);
}

/* Random numbers as large as those of the tensor they move; `only`: one tensor, or all. */
static void draw_direction(const struct unet_world *world, uint64_t seed, size_t only, float *direction)
{
    struct efm_random random;
    efm_random_init(&random, seed, 1, EFM_RANDOM_TEST);
    memset(direction, 0, world->size * sizeof *direction);
    for (size_t t = 0; t < efm_net_parameter_count(world->net); t++) {
        const struct efm_parameter *p = efm_net_parameter(world->net, t);
        const float *values = world->parameters + p->offset;
        double chance, squares = inner(values, values, p->count, &chance);
        float size = (float)sqrt(squares / (double)p->count);
        if (only != SIZE_MAX && only != t)
            continue;
        for (size_t i = 0; i < p->count; i++)
            direction[p->offset + i] = size * (float)efm_random_normal(&random);
    }
}

struct case_of_gradient {
    int form;
    size_t count;
    bool velocity, weighted;
    double dropout;
};

static void check_slopes(const struct case_of_gradient *c)
{
    struct unet_world world =
        unet_world_new(c->form, c->dropout, unet_training(EFM_PRECISION_F32, 2, (c->count + 1) / 2));
    struct unet_samples s = unet_samples_new(c->count, world.dimension, 3);
    struct efm_net_run *run = unet_run_new(&world, c->count, NULL);
    struct efm_net_sample_batch batch = batch_of(&s, c->count);
    batch.target_z = c->velocity ? NULL : s.target_z;
    batch.weight = c->weighted ? s.weight : NULL;
    batch.dropout = c->dropout > 0;
    batch.dropout_seed = 77;
    float *gradient = floats_new(world.size), *direction = floats_new(world.size);
    float *scratch = floats_new(world.size);
    double loss = efm_net_gradient(run, &batch, gradient), worst = 0;
    assert_true(fabs(loss - loss_at(&world, run, &batch, scratch)) <= 1e-5 * loss);
    for (uint64_t seed = 0; seed < DIRECTIONS; seed++) {
        double chance;
        draw_direction(&world, seed, SIZE_MAX, direction);
        double is = inner(gradient, direction, world.size, &chance);
        double expected = slope(&world, run, &batch, direction, STEP_OF_ALL, scratch);
        worst = fmax(worst, fabs(is - expected) / chance);
        assert_true(chance > 1e-3 * loss);
    }
    print_message("%s: slopes are off by %.2g\n", unet_forms[c->form].name, worst);
    assert_true(worst <= 1e-2);
    free(gradient);
    free(direction);
    free(scratch);
    efm_net_run_destroy(run);
    unet_samples_free(&s);
    unet_world_free(&world);
}

static void gradients_are_slopes(void **state)
{
    (void)state;
    static const struct case_of_gradient cases[] = {
        {FORM_LEAST, 1, false, false, 0},    {FORM_NARROW, 3, false, true, 0},
        {FORM_WIDE, 4, true, false, 0},      {FORM_ATTENTIVE, 3, true, true, 0},
        {FORM_FLAT, 2, false, false, 0.3},   {FORM_NARROW, 5, true, false, 0.5},
        {FORM_WIDENING, 1, false, false, 0}, {FORM_PUBLISHED, 1, false, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_slopes(&cases[i]);
}

/* One tensor at a time, so that a small one cannot hide behind the large ones. */
static void every_tensor_has_its_slope(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_FLAT, 0, unet_training(EFM_PRECISION_F32, 1, 2));
    struct unet_samples s = unet_samples_new(2, world.dimension, 3);
    struct efm_net_run *run = unet_run_new(&world, 2, NULL);
    struct efm_net_sample_batch batch = batch_of(&s, 2);
    float *gradient = floats_new(world.size), *direction = floats_new(world.size);
    double loss = efm_net_gradient(run, &batch, gradient), worst = 0;
    for (size_t t = 0; t < efm_net_parameter_count(world.net); t++) {
        double chance;
        draw_direction(&world, 9, t, direction);
        double is = inner(gradient, direction, world.size, &chance);
        double expected = slope(&world, run, &batch, direction, STEP_OF_ONE, NULL);
        /* A bias of keys changes nothing: its slope is rounding. */
        double error = fabs(is - expected) / fmax(chance, 2e-3 * loss);
        if (error > 1e-2)
            print_message("%s: %g, expected %g\n", efm_net_parameter(world.net, t)->name, is, expected);
        worst = fmax(worst, error);
    }
    print_message("slopes of single tensors are off by %.2g\n", worst);
    assert_true(worst <= 1e-2);
    free(gradient);
    free(direction);
    efm_net_run_destroy(run);
    unet_samples_free(&s);
    unet_world_free(&world);
}

static void bf16_gradients_are_near(void **state)
{
    (void)state;
    float *gradients[2];
    double losses[2];
    size_t size = 0;
    if (!unet_has(EFM_PRECISION_BF16))
        skip();
    for (size_t p = 0; p < 2; p++) {
        struct unet_world world = unet_world_new(FORM_NARROW, 0, unet_training(precisions[p], 1, 4));
        struct unet_samples s = unet_samples_new(4, world.dimension, 3);
        struct efm_net_run *run = unet_run_new(&world, 4, NULL);
        struct efm_net_sample_batch batch = batch_of(&s, 4);
        size = world.size;
        gradients[p] = floats_new(size);
        losses[p] = efm_net_gradient(run, &batch, gradients[p]);
        efm_net_run_destroy(run);
        unet_samples_free(&s);
        unet_world_free(&world);
    }
    print_message("bf16: the gradient is off by %.2g\n", distance(gradients[1], gradients[0], size));
    assert_true(fabs(losses[1] - losses[0]) <= 2e-2 * losses[0]);
    assert_true(distance(gradients[1], gradients[0], size) <= 5e-2);
    free(gradients[0]);
    free(gradients[1]);
}

/* ---- dropout, shards, threads ---- */

static void dropout_is_a_function_of_its_seed(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_LEAST, 0.2, unet_training(EFM_PRECISION_F32, 2, 2));
    struct unet_samples s = unet_samples_new(4, world.dimension, 3);
    struct efm_net_run *run = unet_run_new(&world, 4, NULL);
    struct efm_net_sample_batch batch = batch_of(&s, 4);
    float *gradients[4];
    double losses[4];
    static const struct {
        bool dropout;
        uint64_t seed;
    } ways[] = {{true, 1}, {true, 2}, {false, 1}, {true, 1}};
    for (size_t i = 0; i < 4; i++) {
        batch.dropout = ways[i].dropout;
        batch.dropout_seed = ways[i].seed;
        gradients[i] = floats_new(world.size);
        losses[i] = efm_net_gradient(run, &batch, gradients[i]);
    }
    assert_memory_equal(gradients[0], gradients[3], world.size * sizeof(float));
    assert_true(losses[0] == losses[3] && losses[0] != losses[1] && losses[0] != losses[2]);
    assert_true(distance(gradients[1], gradients[0], world.size) > 1e-2);
    assert_true(distance(gradients[2], gradients[0], world.size) > 1e-2);
    for (size_t i = 0; i < 4; i++)
        free(gradients[i]);
    efm_net_run_destroy(run);
    unet_samples_free(&s);
    unet_world_free(&world);
}

static void gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (size_t p = 0; p < 2 && unet_has(precisions[p]); p++) {
        struct unet_world world = unet_world_new(FORM_NARROW, 0.2, unet_training(precisions[p], 3, 2));
        struct unet_samples s = unet_samples_new(5, world.dimension, 3);
        struct efm_net_sample_batch batch = batch_of(&s, 5);
        batch.dropout = true;
        float *one = floats_new(world.size), *other = floats_new(world.size);
        struct efm_net_run *run = unet_run_new(&world, 6, NULL);
        double loss = efm_net_gradient(run, &batch, one);
        efm_net_run_destroy(run);
        for (size_t threads = 1; threads <= 4; threads++) {
            struct efm_team *team = unet_team_new(threads);
            run = unet_run_new(&world, 5, team);
            for (int again = 0; again < 2; again++) {
                assert_true(efm_net_gradient(run, &batch, other) == loss);
                assert_memory_equal(one, other, world.size * sizeof(float));
            }
            efm_net_run_destroy(run);
            efm_team_destroy(team);
        }
        free(one);
        free(other);
        unet_samples_free(&s);
        unet_world_free(&world);
    }
}

/* Shards that are full, not full or empty sum up to what one shard gives; what they held before does not matter. */
static void small_batches_leave_shards_empty(void **state)
{
    (void)state;
    struct unet_world cut = unet_world_new(FORM_NARROW, 0.2, unet_training(EFM_PRECISION_F32, 3, 3));
    struct unet_world whole = unet_world_new(FORM_NARROW, 0.2, unet_training(EFM_PRECISION_F32, 1, 9));
    struct unet_samples s = unet_samples_new(9, cut.dimension, 3);
    struct efm_net_run *cut_run = unet_run_new(&cut, 9, NULL), *whole_run = unet_run_new(&whole, 9, NULL);
    float *a = floats_new(cut.size), *b = floats_new(cut.size);
    static const size_t counts[] = {9, 7, 4, 2, 0, 1, 9};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct efm_net_sample_batch batch = batch_of(&s, counts[i]);
        batch.dropout = true; /* of a place in the batch, wherever the shards are cut */
        batch.dropout_seed = i;
        double losses[2] = {efm_net_gradient(cut_run, &batch, a), efm_net_gradient(whole_run, &batch, b)};
        assert_true(fabs(losses[0] - losses[1]) <= 1e-5 * losses[1]);
        if (counts[i] > 0)
            assert_true(distance(a, b, cut.size) <= 1e-4);
        for (size_t k = 0; k < cut.size && counts[i] == 0; k++)
            assert_true(a[k] == 0 && b[k] == 0);
    }
    free(a);
    free(b);
    efm_net_run_destroy(cut_run);
    efm_net_run_destroy(whole_run);
    unet_samples_free(&s);
    unet_world_free(&cut);
    unet_world_free(&whole);
}

static void gradients_allocate_nothing(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_ATTENTIVE, 0.2, unet_training(EFM_PRECISION_AUTO, 2, 2));
    struct unet_samples s = unet_samples_new(3, world.dimension, 3);
    struct efm_net_run *run = unet_run_new(&world, 3, NULL);
    struct efm_net_sample_batch batch = batch_of(&s, 3);
    float *gradient = floats_new(world.size);
    size_t before = failures_blocks_now();
    assert_true(isfinite(efm_net_gradient(run, &batch, gradient)));
    assert_int_equal(failures_blocks_now(), before);
    free(gradient);
    efm_net_run_destroy(run);
    unet_samples_free(&s);
    unet_world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(every_tensor_has_its_slope),
        cmocka_unit_test(bf16_gradients_are_near),
        cmocka_unit_test(dropout_is_a_function_of_its_seed),
        cmocka_unit_test(gradients_do_not_depend_on_threads),
        cmocka_unit_test(small_batches_leave_shards_empty),
        cmocka_unit_test(gradients_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
