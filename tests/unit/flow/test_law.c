// SPDX-License-Identifier: Apache-2.0
/* Do the maps carry P to Q? In one dimension, P = U[-1, 1] and Q half U[-3, -2] and half U[2, 3]: the distance
 * W1 from where fresh lines land to Q, in units of the distance of two fresh samples of Q.
 *
 * The chain and the stochastic map are exact, but the plates are samples: with the noise of the starts and of both
 * plates a ratio of sqrt(3 / 2) is what can be had. The forward map is biased, and cannot come near. */
#include "core/data/toy.h"
#include "tests/support/distance.h"
#include "tests/unit/flow/voyage.h"

enum { COUNT = SLOW_BUILD ? 150 : 400, RUNS = SLOW_BUILD ? 4 : 8 };

static void draw(enum efm_toy_kind kind, uint64_t seed, float out[COUNT])
{
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    spec.count = COUNT;
    spec.shape = efm_shape_vector(1);
    spec.seed = seed;
    efm_toy_fill(&spec, out);
}

static double target_quantile(double u)
{
    return u < 0.5 ? -3 + 2 * u : 1 + 2 * u;
}

static double source_quantile(double u)
{
    return 2 * u - 1;
}

/* The mean W1 of two fresh samples. */
static double floor_of(enum efm_toy_kind kind)
{
    enum { FLOORS = 40 };
    float a[COUNT], b[COUNT];
    double sum = 0;
    for (uint64_t k = 0; k < FLOORS; k++) {
        draw(kind, 1000 + 2 * k, a);
        draw(kind, 1001 + 2 * k, b);
        sum += distance_w1(a, b, COUNT) / FLOORS;
    }
    return sum;
}

/* Carries `starts` and leaves the ends of those that landed in `out`; returns how many. */
static size_t carry(const struct efm_field *field, enum efm_map map, enum efm_direction direction,
                    const float starts[COUNT], float out[COUNT])
{
    struct efm_line *lines[COUNT];
    struct efm_flow *flow = flow_of(field, COUNT, NULL);
    struct efm_flow_options options;
    size_t landed = 0;
    efm_flow_options_default(&options, field);
    options.map = map;
    options.solver = EFM_SOLVER_ARC_LENGTH;
    options.direction = direction;
    if (map == EFM_MAP_FORWARD)
        options.solver = EFM_SOLVER_RK45;
    for (size_t i = 0; i < COUNT; i++)
        lines[i] = line_of(field, &options, starts + i, i);
    while (efm_flow_step(flow, lines, COUNT) > 0)
        ;
    for (size_t i = 0; i < COUNT; i++) {
        if (efm_line_state(lines[i]) == EFM_LINE_LANDED)
            out[landed++] = efm_line_position(lines[i])[0];
        efm_line_destroy(lines[i]);
    }
    efm_flow_destroy(flow);
    return landed;
}

/* The mean ratio over runs with plates and lines of their own. */
static double ratio_of(enum efm_map map, enum efm_direction direction, double length)
{
    bool forward = direction == EFM_DIRECTION_FORWARD;
    double (*quantile)(double) = forward ? target_quantile : source_quantile;
    float source[COUNT], target[COUNT], starts[COUNT], ends[COUNT];
    double w1 = 0;
    size_t landed = 0;
    for (uint64_t run = 0; run < RUNS; run++) {
        draw(EFM_TOY_UNIFORM, 3 * run + 1, source);
        draw(EFM_TOY_TWO_INTERVALS, 3 * run + 2, target);
        draw(forward ? EFM_TOY_UNIFORM : EFM_TOY_TWO_INTERVALS, 3 * run + 3, starts);
        struct capacitor plates = {COUNT, COUNT, 1, length, source, target};
        struct efm_field *field = capacitor_field(
            &plates, map == EFM_MAP_CHAIN ? EFM_FIELD_CHAIN : EFM_FIELD_SUPERPOSITION, EFM_EXACT_AUTO, 0);
        size_t count = carry(field, map, direction, starts, ends);
        assert_true(count > 0);
        landed += count;
        w1 += distance_w1_quantiles(ends, count, quantile) / RUNS;
        efm_field_destroy(field);
    }
    double ratio = w1 / floor_of(forward ? EFM_TOY_TWO_INTERVALS : EFM_TOY_UNIFORM);
    print_message("%-10s %s L %g: ratio %.2f, %zu of %d lines landed\n", efm_map_name(map),
                  forward ? "forward" : "reverse", length, ratio, landed, COUNT * RUNS);
    assert_true(landed >= COUNT * RUNS * 97 / 100);
    return ratio;
}

static void the_chain_carries_the_law(void **state)
{
    (void)state;
    assert_true(ratio_of(EFM_MAP_CHAIN, EFM_DIRECTION_FORWARD, 2) <= 1.5);
    assert_true(ratio_of(EFM_MAP_CHAIN, EFM_DIRECTION_REVERSE, 2) <= 1.5);
}

static void the_stochastic_map_carries_the_law(void **state)
{
    (void)state;
    assert_true(ratio_of(EFM_MAP_STOCHASTIC, EFM_DIRECTION_FORWARD, 2) <= 2);
}

static void the_forward_map_is_biased(void **state)
{
    (void)state;
    assert_true(ratio_of(EFM_MAP_FORWARD, EFM_DIRECTION_FORWARD, 2) > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chain_carries_the_law),
        cmocka_unit_test(the_stochastic_map_carries_the_law),
        cmocka_unit_test(the_forward_map_is_biased),
    };
    return cmocka_run_group_tests_name("flow/law", tests, NULL, NULL);
}
