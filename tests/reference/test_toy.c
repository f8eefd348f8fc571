// SPDX-License-Identifier: Apache-2.0
/* Does training work in the end? N(0, I) to the swiss roll in seconds: where fresh starts land, against fresh samples. */
#include "core/data/toy.h"
#include "core/flow/flow.h"
#include "core/train/trainer.h"
#include "tests/support/check.h"
#include "tests/support/distance.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

enum { COUNT = 1000 };

static float *draw(enum efm_toy_kind kind, uint64_t seed)
{
    static float values[6][2 * COUNT];
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    spec.count = COUNT;
    spec.seed = seed;
    efm_toy_fill(&spec, values[seed % 6]);
    return values[seed % 6];
}

static struct efm_trainer_spec spec_of(enum efm_training_target target, uint64_t steps)
{
    const struct efm_shape plane = efm_shape_vector(2);
    struct efm_trainer_spec spec;
    efm_trainer_spec_default(&spec, &plane);
    bool straight = target == EFM_TRAIN_FLOW_MATCHING;
    spec.batch.target = target;
    spec.batch.sampler = straight ? EFM_SAMPLER_UNIFORM : EFM_SAMPLER_MARGINAL;
    spec.batch.size = target == EFM_TRAIN_CHAIN ? 128 : 512;
    spec.batch.charges = 512;
    spec.batch.lowest = 0.01;
    spec.net.hidden = spec.net.hidden2 = 128;
    spec.optimiser.rate = 3e-3;
    spec.optimiser.warmup = 50;
    spec.optimiser.ema = 0.99;
    spec.precision = EFM_PRECISION_F32;
    spec.steps = SLOW ? 20 : steps;
    return spec;
}

static struct efm_model *train(enum efm_training_target target, uint64_t steps)
{
    const struct efm_trainer_names names = {"gaussian", "swiss_roll", false};
    struct efm_trainer_spec spec = spec_of(target, steps);
    struct efm_toy_spec roll = efm_toy_spec_default(EFM_TOY_SWISS_ROLL);
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_dataset *dataset;
    struct efm_trainer *trainer;
    struct efm_model *model;
    struct efm_error error = {0};
    roll.count = 20000;
    assert_int_equal(efm_toy_dataset(&dataset, &roll, &options, NULL), EFM_OK);
    if (efm_trainer_create(&trainer, &spec, NULL, dataset, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
    for (uint64_t step = 0; step < spec.steps; step++)
        if (efm_trainer_step(trainer, NULL, &error) != EFM_OK)
            fail_msg("%s", error.message);
    assert_int_equal(efm_trainer_model(trainer, &names, &model, &error), EFM_OK);
    efm_trainer_destroy(trainer);
    efm_dataset_unref(dataset);
    return model;
}

/* Follows COUNT fresh starts in 50 Euler steps; lines that do not land stay where they are and count as such. */
static const float *follow(const struct efm_model *model)
{
    static float landed[2 * COUNT];
    static struct efm_line *lines[COUNT];
    const float *starts = draw(EFM_TOY_GAUSSIAN, 100);
    struct efm_flow_options options;
    struct efm_flow *flow;
    efm_model_flow_options(model, &options);
    options.solver = EFM_SOLVER_EULER;
    options.steps = 50;
    assert_int_equal(efm_flow_create(&flow, efm_model_field(model), COUNT, NULL, NULL), EFM_OK);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(
            efm_line_create(&lines[i], efm_model_field(model), &options, starts + 2 * i, i, NULL), EFM_OK);
    while (efm_flow_step(flow, lines, COUNT) > 0)
        ;
    for (size_t i = 0; i < COUNT; i++) {
        memcpy(landed + 2 * i, efm_line_position(lines[i]), 2 * sizeof *landed);
        efm_line_destroy(lines[i]);
    }
    efm_flow_destroy(flow);
    return landed;
}

/* Distances of the starts themselves are 1.5 (W2) and 0.6 (energy); floors 0.25 and 0.07. */
static void expect(enum efm_training_target target, uint64_t steps, double most_w2, double most_energy)
{
    struct efm_model *model = train(target, steps);
    const float *landed = follow(model);
    double w2 = 0, energy = 0, w2_floor = 0, energy_floor = 0;
    enum { DRAWS = 2 };
    for (uint64_t k = 0; k < DRAWS && !SLOW; k++) {
        const float *a = draw(EFM_TOY_SWISS_ROLL, 201 + 2 * k), *b = draw(EFM_TOY_SWISS_ROLL, 202 + 2 * k);
        w2 += distance_w2(landed, a, COUNT, 2) / DRAWS;
        energy += distance_energy(landed, a, COUNT, 2) / DRAWS;
        w2_floor += distance_w2(a, b, COUNT, 2) / DRAWS;
        energy_floor += distance_energy(a, b, COUNT, 2) / DRAWS;
    }
    print_message("%s: W2 %.3f of a floor of %.3f, energy %.3f of %.3f\n", efm_training_target_name(target),
                  w2, w2_floor, energy, energy_floor);
    assert_true(w2 <= most_w2 * w2_floor);
    assert_true(energy <= most_energy * energy_floor);
    efm_model_unref(model);
}

static void flow_matching_reaches_the_roll(void **state)
{
    (void)state;
    expect(EFM_TRAIN_FLOW_MATCHING, 1500, 2, 2);
}

static void the_chain_reaches_the_roll(void **state)
{
    (void)state;
    expect(EFM_TRAIN_CHAIN, 400, 4, 3);
}

static void the_chain_of_one_charge_comes_near(void **state)
{
    (void)state;
    expect(EFM_TRAIN_CHAIN_SINGLE, 800, 4, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flow_matching_reaches_the_roll),
        cmocka_unit_test(the_chain_reaches_the_roll),
        cmocka_unit_test(the_chain_of_one_charge_comes_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
