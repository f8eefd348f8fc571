// SPDX-License-Identifier: Apache-2.0
/* Configs of nets: defaults that fit their shape, every limit named, the words, and the table of parameters. */
#include "tests/support/check.h"
#include "tests/unit/net/failures.h"

#include "core/net/net_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void words_go_both_ways(void **state)
{
    (void)state;
    enum efm_net_arch arch;
    enum efm_precision precision;
    for (enum efm_net_arch i = EFM_NET_UNET; i <= EFM_NET_MLP; i++) {
        assert_int_equal(efm_net_arch_parse(efm_net_arch_name(i), &arch), EFM_OK);
        assert_int_equal(arch, i);
    }
    for (enum efm_precision i = EFM_PRECISION_AUTO; i <= EFM_PRECISION_BF16; i++) {
        assert_int_equal(efm_precision_parse(efm_precision_name(i), &precision), EFM_OK);
        assert_int_equal(precision, i);
    }
    assert_string_equal(efm_net_arch_name(EFM_NET_MLP), "mlp");
    assert_string_equal(efm_precision_name(EFM_PRECISION_BF16), "bf16");
    assert_int_equal(efm_net_arch_parse("MLP", &arch), EFM_E_NOT_FOUND);
    assert_int_equal(efm_precision_parse("", &precision), EFM_E_NOT_FOUND);
}

static void defaults_fit_their_shape(void **state)
{
    (void)state;
    static const struct {
        uint32_t side, levels, attention;
    } images[] = {{32, 4, 16}, {64, 4, 16}, {128, 4, 16}, {28, 3, 14}, {16, 4, 16},
                  {8, 3, 8},   {9, 1, 9},   {24, 4, 12},  {17, 1, 16}};
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        struct efm_shape shape = efm_shape_image(images[i].side, images[i].side, 3);
        struct efm_net_config config;
        efm_net_config_default(&config, &shape);
        assert_int_equal(efm_net_config_check(&config, NULL), EFM_OK);
        assert_int_equal(config.arch, EFM_NET_UNET);
        assert_int_equal(config.nf, 128);
        assert_int_equal(config.blocks, 4);
        assert_int_equal(config.levels, images[i].levels);
        assert_int_equal(config.attention_count, 1);
        assert_int_equal(config.attention[0], images[i].attention);
        assert_true(config.dropout == 0.1);
        for (uint32_t level = 0; level < config.levels; level++)
            assert_int_equal(config.ch_mult[level], level == 0 ? 1 : 2);
    }
    static const uint32_t vectors[][3] = {
        {1, 1024, 2048}, {2, 2048, 3072}, {4, 4096, 5120}, {784, 4096, 5120}};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct efm_shape shape = efm_shape_vector(vectors[i][0]);
        struct efm_net_config config;
        efm_net_config_default(&config, &shape);
        assert_int_equal(efm_net_config_check(&config, NULL), EFM_OK);
        assert_int_equal(config.arch, EFM_NET_MLP);
        assert_int_equal(config.hidden, vectors[i][1]);
        assert_int_equal(config.hidden2, vectors[i][2]);
        assert_int_equal(config.embedding, 128);
    }
}

/* ---- limits ---- */

static struct efm_net_config good_unet(void)
{
    return (struct efm_net_config){.arch = EFM_NET_UNET,
                                   .shape = efm_shape_image(32, 16, 3),
                                   .nf = 64,
                                   .levels = 3,
                                   .ch_mult = {1, 2, 3},
                                   .blocks = 2,
                                   .attention = {16, 99},
                                   .attention_count = 2,
                                   .dropout = 0.1};
}

static struct efm_net_config good_mlp(void)
{
    return (struct efm_net_config){
        .arch = EFM_NET_MLP, .shape = efm_shape_vector(5), .hidden = 40, .hidden2 = 50, .embedding = 8};
}

static void refused(struct efm_net_config config, const char *member)
{
    struct efm_error error = {0};
    struct efm_net *net;
    assert_int_equal(efm_net_config_check(&config, &error), EFM_E_ARGUMENT);
    assert_memory_equal(error.message, member, strlen(member));
    assert_int_equal(efm_net_create(&net, &config, NULL), EFM_E_ARGUMENT);
    assert_null(net);
}

static void accepted(struct efm_net_config config)
{
    struct efm_error error = {0};
    assert_int_equal(efm_net_config_check(&config, &error), EFM_OK);
    assert_int_equal(error.status, EFM_OK);
}

/* The good config after one assignment (or more: the comma operator). */
#define REFUSED(word, ...)                                                                                   \
    do {                                                                                                     \
        struct efm_net_config config = good;                                                                 \
        config.__VA_ARGS__;                                                                                  \
        refused(config, word);                                                                               \
    } while (0)
#define ACCEPTED(...)                                                                                        \
    do {                                                                                                     \
        struct efm_net_config config = good;                                                                 \
        config.__VA_ARGS__;                                                                                  \
        accepted(config);                                                                                    \
    } while (0)

static void unet_limits_are_named(void **state)
{
    (void)state;
    const struct efm_net_config good = good_unet();
    accepted(good);
    REFUSED("shape", shape = efm_shape_vector(3072));
    REFUSED("shape", shape = efm_shape_image(4, 16, 3));
    REFUSED("shape", shape = efm_shape_image(16, 132, 3));
    REFUSED("shape", shape = efm_shape_image(16, 16, 5));
    REFUSED("shape", shape.dimension = 1535);
    REFUSED("shape", shape.height = 0);
    ACCEPTED(shape = efm_shape_image(8, 128, 4));
    ACCEPTED(shape = efm_shape_image(128, 128, 1));
    REFUSED("nf", nf = 0);
    REFUSED("nf", nf = 48);
    REFUSED("nf", nf = 544);
    ACCEPTED(nf = 512);
    REFUSED("levels", levels = 0);
    REFUSED("levels", levels = 7);
    REFUSED("levels", shape = efm_shape_image(30, 32, 3));
    REFUSED("levels", shape = efm_shape_image(32, 30, 3));
    REFUSED("levels", levels = 5, config.ch_mult[3] = 1); /* 16 / 16 leaves a single pixel */
    REFUSED("ch_mult", ch_mult[2] = 0);
    REFUSED("ch_mult", ch_mult[0] = 9);
    ACCEPTED(ch_mult[3] = 9); /* there is no such level */
    REFUSED("blocks", blocks = 0);
    REFUSED("blocks", blocks = 9);
    REFUSED("dropout", dropout = 1);
    REFUSED("dropout", dropout = -0.1);
    REFUSED("dropout", dropout = NAN);
    REFUSED("attention_count", attention_count = 7);
    REFUSED("attention", shape = efm_shape_image(128, 64, 1), config.attention[0] = 128);
    REFUSED("attention", shape = efm_shape_image(128, 128, 1), config.levels = 1);
    REFUSED("arch", arch = (enum efm_net_arch)7);
}

static void mlp_limits_are_named(void **state)
{
    (void)state;
    const struct efm_net_config good = good_mlp();
    accepted(good);
    ACCEPTED(shape = efm_shape_image(3, 4, 2));
    ACCEPTED(shape = efm_shape_vector(65536));
    REFUSED("shape", shape = efm_shape_vector(0));
    REFUSED("shape", shape = efm_shape_vector(65537));
    REFUSED("shape", shape = efm_shape_vector((size_t)1 << 40));
    REFUSED("shape", shape.width = 5);
    REFUSED("hidden must", hidden = 65537);
    REFUSED("hidden2 must", hidden2 = 65537);
    REFUSED("hidden must", shape = efm_shape_vector(65), config.hidden = 0);
    REFUSED("hidden2 must", shape = efm_shape_vector(64), config.hidden2 = 0);
    REFUSED("hidden: ", hidden = 65536); /* too many parameters */
    REFUSED("embedding", embedding = 7);
    REFUSED("embedding", embedding = 2);
    REFUSED("embedding", embedding = 4098);
    ACCEPTED(embedding = 0);
}

/* ---- the table ---- */

static void zero_stands_for_the_published_widths(void **state)
{
    (void)state;
    struct efm_net_config config = {.arch = EFM_NET_MLP, .shape = efm_shape_vector(1)};
    struct efm_net *net;
    assert_int_equal(efm_net_create(&net, &config, NULL), EFM_OK);
    assert_int_equal(efm_net_config(net)->hidden, 1024);
    assert_int_equal(efm_net_config(net)->hidden2, 2048);
    assert_int_equal(efm_net_config(net)->embedding, 128);
    efm_net_unref(net);
    efm_net_unref(NULL);
}

static void the_table_is_contiguous_and_named_like_the_layers(void **state)
{
    (void)state;
    const struct efm_net_config config = good_mlp();
    static const struct {
        const char *name;
        size_t out, in;
    } layers[] = {{"x_layers.0", 40, 5},   {"x_layers.1", 40, 40},   {"x_layers.2", 8, 40},
                  {"out_layers.0", 50, 8}, {"out_layers.1", 50, 50}, {"out_layers.2", 6, 50}};
    struct efm_net *net;
    size_t offset = 0;
    assert_int_equal(efm_net_create(&net, &config, NULL), EFM_OK);
    assert_int_equal(efm_net_parameter_count(net), 12);
    for (size_t i = 0; i < 12; i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        char name[64];
        snprintf(name, sizeof name, "%s.%s", layers[i / 2].name, i % 2 == 0 ? "weight" : "bias");
        assert_string_equal(parameter->name, name);
        assert_int_equal(parameter->rank, i % 2 == 0 ? 2 : 1);
        assert_int_equal(parameter->shape[0], layers[i / 2].out);
        if (i % 2 == 0)
            assert_int_equal(parameter->shape[1], layers[i / 2].in);
        assert_int_equal(parameter->count, layers[i / 2].out * (i % 2 == 0 ? layers[i / 2].in : 1));
        assert_int_equal(parameter->offset, offset);
        offset += parameter->count;
    }
    assert_int_equal(efm_net_size(net), offset);
    assert_true(efm_net_flops(net) == 2 * (5 * 40 + 40 * 40 + 40 * 8 + 8 * 50 + 50 * 50 + 50 * 6));
    struct efm_net *other = efm_net_ref(net);
    efm_net_unref(net);
    assert_int_equal(efm_net_size(other), offset);
    efm_net_unref(other);
}

/* A net made by hand: no class is called. */
static void the_table_keeps_its_limits(void **state)
{
    (void)state;
    struct efm_net net = {0};
    struct efm_error error = {0};
    const size_t many[] = {65536, 32767}, one[] = {65536}, huge[] = {SIZE_MAX / 2, 3};
    const struct efm_parameter_kind kind = {.init = EFM_INIT_ZERO};
    size_t index;
    char name[EFM_PARAMETER_NAME + 1];
    memset(name, 'n', sizeof name);
    name[EFM_PARAMETER_NAME] = 0;
    assert_int_equal(efm_net_add_parameter(&net, name, 1, one, kind, &index, NULL), EFM_E_INTERNAL);
    assert_int_equal(efm_net_add_parameter(&net, "a", 5, one, kind, &index, NULL), EFM_E_INTERNAL);
    assert_int_equal(efm_net_add_parameter(&net, "a", 2, huge, kind, &index, NULL), EFM_E_LIMIT);
    assert_int_equal(efm_net_add_parameter(&net, "a", 2, many, kind, &index, &error), EFM_OK);
    assert_int_equal(index, 0);
    assert_int_equal(efm_net_add_parameter(&net, name + 1, 1, one, kind, &index, &error), EFM_OK);
    assert_int_equal(index, 1);
    assert_int_equal(efm_net_add_parameter(&net, "c", 1, (size_t[]){1}, kind, &index, &error), EFM_E_LIMIT);
    assert_int_equal(error.status, EFM_E_LIMIT);
    assert_int_equal(efm_net_size(&net), (size_t)1 << 31);
    for (size_t i = 2; i < 100; i++) {
        assert_int_equal(efm_net_add_parameter(&net, "none", 1, (size_t[]){0}, kind, &index, NULL), EFM_OK);
        assert_int_equal(index, i);
    }
    assert_string_equal(efm_net_parameter(&net, 0)->name, "a");
    efm_free(net.parameters);
}

static void initial_numbers_lie_where_they_should(void **state)
{
    (void)state;
    struct efm_net net = {0};
    enum { COUNT = 3000 };
    const size_t shape[] = {COUNT / 100, 100};
    const struct efm_parameter_kind kinds[] = {{EFM_INIT_FAN_AVERAGE, 100, 50, 1},
                                               {EFM_INIT_ZERO, 0, 0, 0},
                                               {EFM_INIT_ONE, 0, 0, 0},
                                               {EFM_INIT_FAN_AVERAGE, 100, 50, 0},
                                               {EFM_INIT_FAN_AVERAGE, 100, 50, 1}};
    static float values[5 * COUNT], again[5 * COUNT];
    for (size_t i = 0; i < 5; i++) {
        size_t index;
        assert_int_equal(efm_net_add_parameter(&net, "p", 2, shape, kinds[i], &index, NULL), EFM_OK);
    }
    efm_net_initialise(&net, 7, values);
    efm_net_initialise(&net, 7, again);
    assert_memory_equal(values, again, sizeof values);
    efm_net_initialise(&net, 8, again);
    assert_memory_not_equal(values, again, COUNT * sizeof(float));
    assert_memory_not_equal(values, values + (size_t)4 * COUNT, COUNT * sizeof(float));
    const float bound = sqrtf(3.0f / 75);
    float largest = 0, largest_of_none = 0;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < COUNT; i++) {
        largest = fmaxf(largest, fabsf(values[i]));
        largest_of_none = fmaxf(largest_of_none, fabsf(values[3 * COUNT + i]));
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
        assert_true(values[COUNT + i] == 0);
        assert_true(values[2 * COUNT + i] == 1);
    }
    assert_true(largest <= bound && largest > 0.99f * bound);
    assert_true(fabs(sum / COUNT) < 0.01 && fabs(squares / COUNT * 75 - 1) < 0.05);
    assert_true(largest_of_none <= 1e-5f * bound * 1.001f && largest_of_none > 0.99e-5f * bound);
    efm_free(net.parameters);
}

static void creation_survives_any_failing_allocation(void **state)
{
    (void)state;
    const struct efm_net_config configs[] = {good_mlp(), good_unet()};
    for (size_t i = 0; i < 2; i++) {
        enum efm_status status = EFM_E_MEMORY;
        size_t tries = 0;
        for (size_t n = 0; status != EFM_OK; n++, tries++) {
            struct efm_net *net;
            struct efm_error error = {0};
            failures_after(n);
            status = efm_net_create(&net, &configs[i], &error);
            failures_stop();
            assert_int_equal(status, error.status);
            if (status != EFM_OK) {
                assert_int_equal(status, EFM_E_MEMORY);
                assert_null(net);
            }
            efm_net_unref(net);
        }
        assert_true(tries > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_go_both_ways),
        cmocka_unit_test(defaults_fit_their_shape),
        cmocka_unit_test(unet_limits_are_named),
        cmocka_unit_test(mlp_limits_are_named),
        cmocka_unit_test(zero_stands_for_the_published_widths),
        cmocka_unit_test(the_table_is_contiguous_and_named_like_the_layers),
        cmocka_unit_test(the_table_keeps_its_limits),
        cmocka_unit_test(initial_numbers_lie_where_they_should),
        cmocka_unit_test(creation_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
