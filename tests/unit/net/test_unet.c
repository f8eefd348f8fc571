// SPDX-License-Identifier: Apache-2.0
/* The U-Net: its table of parameters, outputs in many forms, the same bytes in any company and with any threads, bf16
 * beside f32, and memory. Its gradients are in test_unet_gradients.c, its agreement with the published one in
 * tests/reference. */
#include "tests/unit/net/failures.h"
#include "tests/unit/net/unet_world.h"

#include <pthread.h>

static const enum efm_precision precisions[] = {EFM_PRECISION_F32, EFM_PRECISION_BF16};

static struct efm_net_weights_options plain(enum efm_precision precision)
{
    return (struct efm_net_weights_options){.precision = precision};
}

struct outputs {
    float *fx, *fz;
};

static struct outputs outputs_new(const struct unet_samples *s)
{
    struct outputs outputs = {malloc(s->count * s->dimension * sizeof(float)),
                              malloc(s->count * sizeof(float))};
    assert_true(outputs.fx != NULL && outputs.fz != NULL);
    return outputs;
}

static void outputs_free(struct outputs *outputs)
{
    free(outputs->fx);
    free(outputs->fz);
}

static void forward(struct efm_net_run *run, const struct unet_samples *s, size_t first, size_t count,
                    struct outputs *out)
{
    memset(out->fx, 0xff, count * s->dimension * sizeof(float)); /* NaN: must be overwritten */
    memset(out->fz, 0xff, count * sizeof(float));
    efm_net_forward(run, s->x + first * s->dimension, s->z + first, count, out->fx, out->fz);
}

/* ---- the table of parameters ---- */

/* Names, shapes and places as PyTorch lists those of the published code. */
static void the_published_table(void **state)
{
    (void)state;
    static const struct {
        size_t index, offset, rank, shape[4];
        const char *name;
    } some[] = {
        {0, 0, 2, {512, 128}, "all_modules.0.weight"},
        {1, 65536, 1, {512}, "all_modules.0.bias"},
        {7, 332416, 1, {128}, "all_modules.3.GroupNorm_0.bias"},
        {88, 4749696, 2, {256, 256}, "all_modules.11.NIN_3.W"},
        {89, 4815232, 1, {256}, "all_modules.11.NIN_3.b"},
        {252, 23849600, 4, {256, 256, 3, 3}, "all_modules.29.Conv_1.weight"},
        {320, 35332992, 4, {256, 512, 3, 3}, "all_modules.36.Conv_0.weight"},
        {502, 57629568, 4, {4, 128, 3, 3}, "all_modules.54.weight"},
        {503, 57634176, 1, {4}, "all_modules.54.bias"},
    };
    struct efm_net *net;
    struct efm_net_config config;
    const struct efm_shape shape = efm_shape_image(32, 32, 3);
    efm_net_config_default(&config, &shape);
    assert_int_equal(efm_net_create(&net, &config, NULL), EFM_OK);
    assert_int_equal(efm_net_size(net), 57634180);
    assert_int_equal(efm_net_parameter_count(net), 504);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, some[i].index);
        assert_string_equal(parameter->name, some[i].name);
        assert_int_equal(parameter->offset, some[i].offset);
        assert_int_equal(parameter->rank, some[i].rank);
        assert_memory_equal(parameter->shape, some[i].shape, some[i].rank * sizeof(size_t));
    }
    assert_in_range((uintmax_t)(efm_net_flops(net) / 1e6), 17000, 21000);
    efm_net_unref(net);
}

static void check_table(const struct efm_net *net)
{
    size_t offset = 0;
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        size_t count = 1;
        for (size_t k = 0; k < parameter->rank; k++)
            count *= parameter->shape[k];
        assert_int_equal(parameter->count, count);
        assert_int_equal(parameter->offset, offset);
        offset += count;
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(parameter->name, efm_net_parameter(net, k)->name);
    }
    assert_int_equal(efm_net_size(net), offset);
}

static void tables_have_no_gaps(void **state)
{
    (void)state;
    for (int form = 0; form < FORMS; form++) {
        struct efm_net *net;
        struct efm_net_config config = unet_config(form, 0);
        assert_int_equal(efm_net_create(&net, &config, NULL), EFM_OK);
        check_table(net);
        assert_true(efm_net_flops(net) > 0);
        efm_net_unref(net);
    }
}

/* The largest that the rules allow are refused for their parameters or planned, never half planned. */
static void hostile_configurations_are_refused_or_planned(void **state)
{
    (void)state;
    size_t refused = 0, planned = 0;
    for (uint32_t multiple = 1; multiple <= 8; multiple++)
        for (uint32_t levels = 2; levels <= EFM_NET_MAX_LEVELS; levels++) {
            struct efm_net *net;
            struct efm_net_config config = {.arch = EFM_NET_UNET,
                                            .shape = efm_shape_image(128, 128, 4),
                                            .nf = 512,
                                            .levels = levels,
                                            .blocks = 8};
            for (uint32_t i = 0; i < levels; i++)
                config.ch_mult[i] = multiple;
            for (uint32_t i = 1; i < levels; i++)
                config.attention[config.attention_count++] = 128u >> i;
            enum efm_status status = efm_net_create(&net, &config, NULL);
            assert_true(status == EFM_OK || status == EFM_E_LIMIT);
            assert_true((status == EFM_OK) == (net != NULL));
            if (net != NULL)
                assert_true(efm_net_flops(net) > 1e12);
            *(status == EFM_OK ? &planned : &refused) += 1;
            efm_net_unref(net);
        }
    assert_true(refused > 0 && planned > 0);
}

/* ---- outputs ---- */

static double largest_of(const float *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = isfinite(values[i]) ? fmax(most, fabs((double)values[i])) : INFINITY;
    return most;
}

static double largest_distance(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Both precisions in one form. */
static void check_outputs(int form)
{
    struct outputs out[2];
    size_t dimension = 0, count = form == FORM_LARGEST ? 1 : 3;
    for (size_t p = 0; p < 2 && unet_has(precisions[p]); p++) {
        struct unet_world world = unet_world_new(form, 0.1, plain(precisions[p]));
        struct unet_samples s = unet_samples_new(count, world.dimension, 1);
        struct efm_net_run *run = unet_run_new(&world, count, NULL);
        dimension = world.dimension;
        out[p] = outputs_new(&s);
        forward(run, &s, 0, count, &out[p]);
        double x = largest_of(out[p].fx, count * dimension), z = largest_of(out[p].fz, count);
        assert_true(x > 0.1 && x < 100 && z > 1e-4 && z < 100);
        if (count > 1) /* an image and its height matter */
            assert_true(largest_distance(out[p].fx, out[p].fx + dimension, dimension) > 0.1);
        efm_net_run_destroy(run);
        unet_samples_free(&s);
        unet_world_free(&world);
    }
    if (unet_has(EFM_PRECISION_BF16)) {
        double x = largest_distance(out[0].fx, out[1].fx, count * dimension);
        double z = largest_distance(out[0].fz, out[1].fz, count);
        print_message("%s: bf16 is off by %.2g of f_x, %.2g of f_z\n", unet_forms[form].name,
                      x / largest_of(out[0].fx, count * dimension), z / largest_of(out[0].fz, count));
        assert_true(x > 0 && x <= 4e-2 * largest_of(out[0].fx, count * dimension));
        assert_true(z <= 4e-2 * fmax(largest_of(out[0].fz, count), 0.1));
        outputs_free(&out[1]);
    }
    outputs_free(&out[0]);
}

static void every_form_has_finite_outputs_in_both_precisions(void **state)
{
    (void)state;
    for (int form = 0; form < FORMS; form++)
        check_outputs(form);
}

/* The height reaches the image through the dense layers of the blocks. Where a group of a norm is one channel, as at
 * width 32, the norm takes what they add away again. */
static void the_height_matters(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_FLAT, 0, plain(EFM_PRECISION_F32));
    struct unet_samples s = unet_samples_new(2, world.dimension, 1);
    struct efm_net_run *run = unet_run_new(&world, 2, NULL);
    struct outputs out = outputs_new(&s);
    memcpy(s.x + world.dimension, s.x, world.dimension * sizeof(float));
    s.z[0] = 0.5f;
    s.z[1] = 2;
    forward(run, &s, 0, 2, &out);
    assert_true(largest_distance(out.fx, out.fx + world.dimension, world.dimension) > 1e-2);
    outputs_free(&out);
    efm_net_run_destroy(run);
    unet_samples_free(&s);
    unet_world_free(&world);
}

/* ---- the same bytes in any company ---- */

enum { COMPANY = 11 };

static void check_same(const struct unet_samples *s, const struct outputs *out, const struct outputs *alone,
                       size_t first, size_t count)
{
    assert_memory_equal(out->fx, alone->fx + first * s->dimension, count * s->dimension * sizeof(float));
    assert_memory_equal(out->fz, alone->fz + first, count * sizeof(float));
}

static void check_company(int form, enum efm_precision precision)
{
    struct unet_world world = unet_world_new(form, 0, plain(precision));
    struct unet_world trained = unet_world_new(form, 0, unet_training(precision, 2, 6));
    struct unet_samples s = unet_samples_new(COMPANY, world.dimension, 2);
    struct outputs alone = outputs_new(&s), out = outputs_new(&s);
    struct efm_net_run *run = unet_run_new(&world, 1, NULL);
    for (size_t i = 0; i < COMPANY; i++) {
        struct outputs one = {alone.fx + i * s.dimension, alone.fz + i};
        forward(run, &s, i, 1, &one);
    }
    efm_net_run_destroy(run);
    for (size_t threads = 1; threads <= 4; threads++) {
        static const size_t counts[] = {COMPANY, 1, 2, 3, 6};
        struct efm_team *team = unet_team_new(threads);
        run = unet_run_new(&world, COMPANY, team);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            size_t first = COMPANY - counts[i];
            forward(run, &s, first, counts[i], &out);
            check_same(&s, &out, &alone, first, counts[i]);
        }
        efm_net_run_destroy(run);
        efm_team_destroy(team);
    }
    run = unet_run_new(&trained, COMPANY, NULL); /* weights that train give the bytes of those that serve */
    forward(run, &s, 0, COMPANY, &out);
    check_same(&s, &out, &alone, 0, COMPANY);
    efm_net_run_destroy(run);
    outputs_free(&alone);
    outputs_free(&out);
    unet_samples_free(&s);
    unet_world_free(&world);
    unet_world_free(&trained);
}

static void an_image_has_the_same_bytes_everywhere(void **state)
{
    (void)state;
    for (size_t p = 0; p < 2 && unet_has(precisions[p]); p++) {
        check_company(FORM_NARROW, precisions[p]);
        check_company(FORM_ATTENTIVE, precisions[p]);
    }
}

static void a_bad_neighbour_does_no_harm(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_NARROW, 0, plain(EFM_PRECISION_F32));
    struct unet_samples s = unet_samples_new(3, world.dimension, 2);
    struct outputs alone = outputs_new(&s), out = outputs_new(&s);
    struct efm_net_run *run = unet_run_new(&world, 3, NULL);
    forward(run, &s, 0, 3, &alone);
    s.x[world.dimension] = NAN;
    forward(run, &s, 0, 3, &out);
    assert_true(isnan(out.fz[1]));
    s.x[world.dimension] = 0;
    assert_memory_equal(out.fx, alone.fx, world.dimension * sizeof(float));
    assert_memory_equal(out.fx + 2 * world.dimension, alone.fx + 2 * world.dimension,
                        world.dimension * sizeof(float));
    efm_net_run_destroy(run);
    outputs_free(&alone);
    outputs_free(&out);
    unet_samples_free(&s);
    unet_world_free(&world);
}

struct companion {
    const struct unet_world *world;
    const struct unet_samples *samples;
    const struct outputs *expected;
    pthread_barrier_t *together;
    size_t threads, first, count;
    bool same;
    pthread_t thread;
};

static bool is_as_expected(const struct companion *c, const struct outputs *out)
{
    size_t d = c->samples->dimension;
    return memcmp(out->fx, c->expected->fx + c->first * d, c->count * d * sizeof(float)) == 0 &&
           memcmp(out->fz, c->expected->fz + c->first, c->count * sizeof(float)) == 0;
}

/* Makes a run, uses it while the other uses its own, and lets it go, three times; nothing here may assert, for cmocka
 * knows one thread only. */
static void *keep_running(void *argument)
{
    struct companion *c = argument;
    struct outputs out = {malloc(c->count * c->samples->dimension * sizeof(float)),
                          malloc(c->count * sizeof(float))};
    struct efm_team *team = NULL;
    c->same = efm_team_create(&team, c->threads, NULL) == EFM_OK;
    for (int round = 0; round < 3; round++) { /* also after a failure, for the other waits */
        struct efm_net_run *run = NULL;
        c->same = c->same && efm_net_run_create(&run, c->world->weights, c->count, team, NULL) == EFM_OK;
        pthread_barrier_wait(c->together);
        for (int again = 0; again < 10 && c->same; again++) {
            forward(run, c->samples, c->first, c->count, &out);
            c->same = is_as_expected(c, &out);
        }
        efm_net_run_destroy(run);
    }
    efm_team_destroy(team);
    outputs_free(&out);
    return NULL;
}

static void two_runs_share_weights_at_once(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_NARROW, 0, plain(EFM_PRECISION_AUTO));
    struct unet_samples s = unet_samples_new(5, world.dimension, 2);
    struct outputs expected = outputs_new(&s);
    struct efm_net_run *run = unet_run_new(&world, 5, NULL);
    forward(run, &s, 0, 5, &expected);
    efm_net_run_destroy(run);
    pthread_barrier_t together;
    assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
    struct companion companions[] = {
        {.world = &world, .samples = &s, .expected = &expected, .threads = 2, .first = 0, .count = 3},
        {.world = &world, .samples = &s, .expected = &expected, .threads = 3, .first = 1, .count = 4}};
    for (size_t i = 0; i < 2; i++) {
        companions[i].together = &together;
        assert_int_equal(pthread_create(&companions[i].thread, NULL, keep_running, &companions[i]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(companions[i].thread, NULL);
    pthread_barrier_destroy(&together);
    assert_true(companions[0].same && companions[1].same);
    outputs_free(&expected);
    unet_samples_free(&s);
    unet_world_free(&world);
}

/* ---- options and memory ---- */

static void runs_are_limited(void **state)
{
    (void)state;
    enum { LANES = 64 };
    struct efm_net_run *runs[LANES], *more;
    struct unet_world world = unet_world_new(FORM_LEAST, 0, plain(EFM_PRECISION_F32));
    for (size_t i = 0; i < LANES; i++)
        runs[i] = unet_run_new(&world, 1, NULL);
    assert_int_equal(efm_net_run_create(&more, world.weights, 1, NULL, NULL), EFM_E_LIMIT);
    assert_null(more);
    efm_net_run_destroy(runs[7]);
    runs[7] = unet_run_new(&world, 1, NULL);
    for (size_t i = 0; i < LANES; i++)
        efm_net_run_destroy(runs[i]);
    unet_world_free(&world);
    world =
        unet_world_new(FORM_LEAST, 0, unet_training(EFM_PRECISION_F32, 70, 1)); /* more shards than lanes */
    runs[0] = unet_run_new(&world, 70, NULL);
    assert_int_equal(efm_net_run_create(&more, world.weights, 1, NULL, NULL), EFM_E_LIMIT);
    efm_net_run_destroy(runs[0]);
    assert_int_equal(efm_net_run_create(&more, world.weights, 71, NULL, NULL), EFM_E_ARGUMENT);
    runs[0] = unet_run_new(&world, 1, NULL);
    efm_net_run_destroy(runs[0]);
    unet_world_free(&world);
}

static void bytes_are_announced(void **state)
{
    (void)state;
    struct efm_team *team = unet_team_new(3);
    struct unet_world world = unet_world_new(FORM_NARROW, 0, plain(EFM_PRECISION_F32));
    for (size_t capacity = 1; capacity <= 40; capacity += 13) {
        struct efm_net_run *run = unet_run_new(&world, capacity, team);
        assert_int_equal(efm_net_run_bytes(run), efm_net_run_bytes_planned(world.weights, capacity, 3));
        efm_net_run_destroy(run);
    }
    size_t one = efm_net_run_bytes_planned(world.weights, 1, 1);
    const struct efm_net_config *config = efm_net_config(world.net);
    assert_true(one > config->shape.height * config->shape.width * config->nf * sizeof(float));
    assert_true(efm_net_run_bytes_planned(world.weights, 1, 4) > 2 * one);
    assert_true(efm_net_run_bytes_planned(world.weights, 8, 1) > 4 * one);
    assert_int_equal(efm_net_run_bytes_planned(world.weights, 1, 0), one);
    /* Threads and images that are under way together are both limited. */
    assert_int_equal(efm_net_run_bytes_planned(world.weights, SIZE_MAX, SIZE_MAX),
                     efm_net_run_bytes_planned(world.weights, 4096, 64));
    assert_true(efm_net_weights_bytes(world.weights) > world.size * sizeof(float));
    unet_world_free(&world);
    world = unet_world_new(FORM_LEAST, 0.1, unet_training(EFM_PRECISION_F32, 2, 3));
    struct efm_net_run *run = unet_run_new(&world, 6, team);
    assert_int_equal(efm_net_run_bytes(run), efm_net_run_bytes_planned(world.weights, 6, 1));
    assert_true(efm_net_weights_bytes(world.weights) > 3 * world.size * sizeof(float));
    efm_net_run_destroy(run);
    unet_world_free(&world);
    efm_team_destroy(team);
}

/* With every `stride`-th allocation failing in turn. Returns the number of blocks that all takes. */
static size_t check_failures(struct efm_net_weights_options options, size_t stride)
{
    struct efm_net_config config = unet_config(FORM_LEAST, 0.1);
    enum efm_status status = EFM_E_MEMORY;
    size_t n = 0;
    for (; status != EFM_OK; n += stride) {
        struct efm_net *net = NULL;
        struct efm_net_weights *weights = NULL;
        struct efm_net_run *run = NULL;
        struct efm_error error = {0};
        failures_after(n);
        status = efm_net_create(&net, &config, &error);
        if (status == EFM_OK)
            status = efm_net_weights_create(&weights, net, &options, &error);
        if (status == EFM_OK)
            status = efm_net_run_create(&run, weights, 2, NULL, &error);
        failures_stop();
        assert_int_equal(status, error.status);
        if (status != EFM_OK) {
            assert_int_equal(status, EFM_E_MEMORY);
            assert_true(error.message[0] != '\0');
            assert_null(run);
        }
        efm_net_run_destroy(run);
        efm_net_weights_destroy(weights);
        efm_net_unref(net);
    }
    return n;
}

static void creation_survives_any_failing_allocation(void **state)
{
    (void)state;
    size_t blocks = check_failures(unet_training(EFM_PRECISION_F32, 2, 2), 1);
    print_message("training: %zu allocations\n", blocks);
    assert_true(blocks > 100);
    blocks = check_failures(plain(EFM_PRECISION_AUTO), 7);
    print_message("serving: %zu allocations\n", blocks);
    assert_true(blocks > 100);
}

/* A run that could not be made gives back its lanes, and the slots that it opened serve the next one. */
static void a_run_that_fails_leaves_the_weights_as_they_were(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_LEAST, 0, plain(EFM_PRECISION_F32));
    struct unet_samples s = unet_samples_new(1, world.dimension, 2);
    struct outputs out = outputs_new(&s), again = outputs_new(&s);
    struct efm_team *team = unet_team_new(2);
    enum efm_status status = EFM_E_MEMORY;
    struct efm_net_run *run = NULL;
    size_t tries = 0;
    for (; status != EFM_OK; tries++) {
        failures_after(tries);
        status = efm_net_run_create(&run, world.weights, 1, team, NULL);
        failures_stop();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
    }
    assert_true(tries > 10);
    forward(run, &s, 0, 1, &out);
    efm_net_run_destroy(run);
    run = unet_run_new(&world, 1, NULL);
    forward(run, &s, 0, 1, &again);
    check_same(&s, &out, &again, 0, 1);
    efm_net_run_destroy(run);
    efm_team_destroy(team);
    outputs_free(&out);
    outputs_free(&again);
    unet_samples_free(&s);
    unet_world_free(&world);
}

static void forward_allocates_nothing(void **state)
{
    (void)state;
    struct unet_world world = unet_world_new(FORM_NARROW, 0, plain(EFM_PRECISION_AUTO));
    struct unet_samples s = unet_samples_new(3, world.dimension, 2);
    struct outputs out = outputs_new(&s);
    struct efm_team *team = unet_team_new(2);
    struct efm_net_run *run = unet_run_new(&world, 3, team);
    size_t before = failures_blocks_now();
    efm_net_weights_set(world.weights, world.parameters, team);
    forward(run, &s, 0, 3, &out);
    efm_net_forward(run, NULL, NULL, 0, NULL, NULL);
    assert_int_equal(failures_blocks_now(), before);
    efm_net_run_destroy(run);
    efm_team_destroy(team);
    outputs_free(&out);
    unet_samples_free(&s);
    unet_world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_table),
        cmocka_unit_test(tables_have_no_gaps),
        cmocka_unit_test(hostile_configurations_are_refused_or_planned),
        cmocka_unit_test(every_form_has_finite_outputs_in_both_precisions),
        cmocka_unit_test(the_height_matters),
        cmocka_unit_test(an_image_has_the_same_bytes_everywhere),
        cmocka_unit_test(a_bad_neighbour_does_no_harm),
        cmocka_unit_test(two_runs_share_weights_at_once),
        cmocka_unit_test(runs_are_limited),
        cmocka_unit_test(bytes_are_announced),
        cmocka_unit_test(creation_survives_any_failing_allocation),
        cmocka_unit_test(a_run_that_fails_leaves_the_weights_as_they_were),
        cmocka_unit_test(forward_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
