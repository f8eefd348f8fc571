// SPDX-License-Identifier: Apache-2.0
/* The products of each instruction set that this machine has, against sums in double; and a point's bytes do not
 * depend on the other points. */
#include "core/base/random.h"
#include "core/field/products.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    size_t charges, dimension, points;
};

static const struct shape shapes[] = {
    {1, 1, 1},   {1, 9, 16},   {47, 12, 17},   {48, 13, 33},    {49, 63, 64},
    {96, 64, 5}, {97, 65, 70}, {100, 200, 49}, {150, 500, 130},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

struct world {
    struct shape shape;
    size_t blocks, panels, rows; /* rows: padded dimension */
    float *charges, *centre, *packed, *points, *lanes, *weights, *weight_lanes;
    float *dots; /* [panels * EFM_PANEL, blocks, EFM_LANES] */
    float *sums; /* [rows, blocks, EFM_LANES] */
};

static float *zeros(size_t count)
{
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    return values;
}

static float *normals(size_t count, uint64_t stream)
{
    struct efm_random random;
    float *values = zeros(count);
    efm_random_init(&random, 11, stream, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, values, count);
    return values;
}

static void multiply(struct world *world, const struct efm_kernels *kernels)
{
    size_t dimension = world->shape.dimension, step = world->blocks * EFM_LANES;
    for (size_t p = 0; p < world->panels; p++)
        efm_multiply_panel(kernels, world->packed + p * world->rows * EFM_PANEL, dimension, world->lanes,
                           world->blocks, world->dots + p * EFM_PANEL * step);
    /* In two pieces where there are two. */
    size_t middle = world->rows / EFM_ROWS_STEP / 2 * EFM_ROWS_STEP;
    struct efm_panel_range range = {world->packed, world->panels, dimension, 0, middle};
    if (middle > 0)
        efm_multiply_weights(kernels, &range, world->weight_lanes, world->blocks, world->sums);
    range.first = middle;
    range.count = world->rows - middle;
    efm_multiply_weights(kernels, &range, world->weight_lanes, world->blocks, world->sums + middle * step);
}

/* The first `points` of the shape's points. */
static struct world world_new(const struct shape *shape, size_t points)
{
    size_t blocks = (points + EFM_LANES - 1) / EFM_LANES, step = blocks * EFM_LANES;
    struct world world = {.shape = *shape,
                          .blocks = blocks,
                          .panels = efm_panel_count(shape->charges),
                          .rows = efm_panel_rows(shape->dimension)};
    size_t padded = world.panels * EFM_PANEL;
    world.shape.points = points;
    world.charges = normals(shape->charges * shape->dimension, 1);
    world.centre = normals(shape->dimension, 2);
    world.points = normals(shape->points * shape->dimension, 3);
    world.weights = normals(shape->points * shape->charges, 4);
    world.packed = zeros(padded * world.rows);
    world.lanes = zeros(shape->dimension * step);
    world.weight_lanes = zeros(padded * step);
    world.dots = zeros(padded * step);
    world.sums = zeros(world.rows * step);
    efm_panels_fill(world.packed, world.charges, world.centre, shape->charges, shape->dimension);
    memset(world.lanes, 0xff, shape->dimension * step * sizeof(float)); /* not a number */
    for (size_t b = 0; b < blocks; b++) {
        size_t first = b * EFM_LANES, count = points - first < EFM_LANES ? points - first : EFM_LANES;
        efm_lanes_fill(world.lanes + first, blocks, world.points + first * shape->dimension, shape->dimension,
                       count, shape->dimension);
        efm_lanes_fill(world.weight_lanes + first, blocks, world.weights + first * shape->charges,
                       shape->charges, count, shape->charges);
    }
    return world;
}

static void world_free(struct world *world)
{
    float *all[] = {world->charges, world->centre,       world->packed, world->points, world->lanes,
                    world->weights, world->weight_lanes, world->dots,   world->sums};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static void expect_near(double got, double sum, double size)
{
    if (!(fabs(got - sum) <= 1e-6 * size)) /* chains of 64 terms, each of them off by 6e-8 of a part of it */
        fail_msg("%.9g in place of %.9g, terms of %.3g in all", got, sum, size);
}

static void check_sums(const struct world *world)
{
    const struct shape *shape = &world->shape;
    size_t step = world->blocks * EFM_LANES;
    for (size_t i = 0; i < step; i++) {
        bool is_point = i < shape->points;
        for (size_t j = 0; j < world->panels * EFM_PANEL; j++) {
            double sum = 0, size = 0;
            for (size_t d = 0; d < shape->dimension && is_point && j < shape->charges; d++) {
                double term = (double)(world->charges[j * shape->dimension + d] - world->centre[d]) *
                              (double)world->points[i * shape->dimension + d];
                sum += term;
                size += fabs(term);
            }
            expect_near((double)world->dots[j * step + i], sum, size);
        }
        for (size_t d = 0; d < world->rows; d++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < shape->charges && is_point && d < shape->dimension; j++) {
                double term = (double)(world->charges[j * shape->dimension + d] - world->centre[d]) *
                              (double)world->weights[i * shape->charges + j];
                sum += term;
                size += fabs(term);
            }
            expect_near((double)world->sums[d * step + i], sum, size);
        }
    }
}

static void sums_are_right(void **state)
{
    (void)state;
    for (size_t level = 0; efm_kernels_at(level) != NULL; level++)
        for (size_t s = 0; s < SHAPES; s++) {
            struct world world = world_new(&shapes[s], shapes[s].points);
            multiply(&world, efm_kernels_at(level));
            check_sums(&world);
            world_free(&world);
        }
}

static void neighbours_do_not_matter(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 15, 16, 17, 32, 47, 48, 49, 63, 64, 65, 128};
    for (size_t level = 0; efm_kernels_at(level) != NULL; level++)
        for (size_t s = 0; s < SHAPES; s++) {
            struct world whole = world_new(&shapes[s], shapes[s].points);
            multiply(&whole, efm_kernels_at(level));
            for (size_t c = 0; c < sizeof counts / sizeof counts[0] && counts[c] < shapes[s].points; c++) {
                struct world part = world_new(&shapes[s], counts[c]);
                size_t step = part.blocks * EFM_LANES, whole_step = whole.blocks * EFM_LANES;
                multiply(&part, efm_kernels_at(level));
                for (size_t j = 0; j < part.panels * EFM_PANEL; j++)
                    assert_memory_equal(part.dots + j * step, whole.dots + j * whole_step,
                                        counts[c] * sizeof(float));
                for (size_t d = 0; d < part.rows; d++)
                    assert_memory_equal(part.sums + d * step, whole.sums + d * whole_step,
                                        counts[c] * sizeof(float));
                world_free(&part);
            }
            world_free(&whole);
        }
}

static void a_bad_lane_stays_alone(void **state)
{
    (void)state;
    struct world good = world_new(&shapes[SHAPES - 1], 64), bad = world_new(&shapes[SHAPES - 1], 64);
    size_t step = good.blocks * EFM_LANES;
    bad.lanes[7 * step + 21] = NAN;
    bad.weight_lanes[3 * step + 21] = INFINITY;
    multiply(&good, efm_kernels_at(0));
    multiply(&bad, efm_kernels_at(0));
    for (size_t i = 0; i < step; i++) {
        assert_true((memcmp(&good.dots[i], &bad.dots[i], sizeof(float)) == 0) == (i != 21));
        assert_true((memcmp(&good.sums[i], &bad.sums[i], sizeof(float)) == 0) == (i != 21));
    }
    world_free(&good);
    world_free(&bad);
}

static void there_is_always_a_kernel(void **state)
{
    (void)state;
    size_t count = 0;
    while (efm_kernels_at(count) != NULL)
        print_message("%s\n", efm_kernels_name(efm_kernels_at(count++)));
    assert_true(count >= 1);
    assert_string_equal(efm_kernels_name(efm_kernels_at(count - 1)), "plain");
    assert_null(efm_kernels_at(count + 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_right),
        cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(a_bad_lane_stays_alone),
        cmocka_unit_test(there_is_always_a_kernel),
    };
    return cmocka_run_group_tests_name("field/products", tests, NULL, NULL);
}
