// SPDX-License-Identifier: Apache-2.0
/* The marginal sampler: the law of acceptance, the density E_z, and that the mean velocity is E_x / E_z. */
#include "core/train/train_internal.h"

#include "tests/unit/data/chaos.h"
#include "tests/unit/train/plates.h"

static const double PI = 3.14159265358979323846;

/* Of the paths that reach 0 from z, 1 - z/L do so before L. */
static void accepts_one_minus_z_over_l(void **state)
{
    (void)state;
    static const double heights[] = {0.02, 0.3, 0.5, 0.9, 0.99};
    enum { COUNT = 40000 };
    for (size_t k = 0; k < 5; k++) {
        double length = 3, z = heights[k] * length, sum = 0;
        struct efm_random random;
        efm_random_init(&random, 1, k, EFM_RANDOM_TEST);
        for (int i = 0; i < COUNT; i++) {
            double g = efm_random_normal(&random), a = efm_marginal_acceptance(z, z * z / (g * g), length);
            assert_true(a >= 0 && a <= 1);
            sum += a / COUNT;
        }
        assert_true(fabs(sum - (1 - heights[k])) < 0.012);
    }
}

/* The mirror images and their dual are one function: it has no step at t = 2 L^2. */
static void both_series_agree(void **state)
{
    (void)state;
    for (double z = 0.1; z < 3; z += 0.3) {
        double length = 3, t = 2 * length * length;
        double below = efm_marginal_acceptance(z, t * (1 - 1e-9), length);
        double above = efm_marginal_acceptance(z, t * (1 + 1e-9), length);
        assert_true(below > 0 && fabs(below - above) < 1e-6 * below);
    }
    assert_true(efm_marginal_acceptance(1e-9, 1e-18, 1) > 0.999999);
    assert_true(efm_marginal_acceptance(1, INFINITY, 3) == 0);
    assert_true(efm_marginal_acceptance(1, 1e300, 3) == 0);
}

/* By many rows, plainly: of the chain, q and dz q. */
static double slow_ratio(double s2, double dz, double length, size_t dimension)
{
    double h = ((double)dimension + 1) / 2, top = -h * log(s2 + dz * dz), q = 0, dz_q = 0;
    for (long m = dimension == 1 ? 400000 : 20000; m > 0; m--) { /* the small ones first */
        double up = dz + 2 * length * (double)m, down = dz - 2 * length * (double)m;
        double a = exp(-h * log(s2 + up * up) - top), b = exp(-h * log(s2 + down * down) - top);
        q += a + b;
        dz_q += up * a + down * b;
    }
    return (q + 1) / (dz_q + dz);
}

static void the_velocity_of_one_charge_is_that_of_its_rows(void **state)
{
    (void)state;
    static const size_t dimensions[] = {2, 3, 8, 64, 1024};
    for (size_t k = 0; k < 5; k++)
        for (double s = 0; s < 1.6; s += 0.4)
            for (double z = 0.1; z < 2; z += 0.8) {
                double length = 2, s2 = s * s * length * length * ((double)dimensions[k] + 1);
                double got = efm_chain_single_ratio(s2, z, length, dimensions[k]);
                double wanted = slow_ratio(s2, z, length, dimensions[k]);
                if (!(fabs(got / wanted - 1) < 2e-3)) /* where the sum has cancelled to e^-11 of its terms */
                    fail_msg("D %zu s %g z %g: %g, not %g", dimensions[k], s, z, got, wanted);
                double below = efm_chain_single_ratio(s2, -z, length, dimensions[k]);
                assert_true(fabs(below + got) < 1e-6 * fabs(got));
            }
    /* D = 1 in closed form against the rows, whose sum converges slowly. */
    for (double r = 0; r < 2; r += 0.5)
        assert_true(fabs(efm_chain_single_ratio(r * r, 0.7, 2, 1) / slow_ratio(r * r, 0.7, 2, 1) - 1) < 1e-4);
    /* Close to a plate it is straight away from the charge. */
    assert_true(fabs(efm_chain_single_ratio(1e-6, 1e-3, 2, 100) * 1e-3 - 1) < 1e-6);
}

/* One charge on the source at 0 and a far one on the target: with one capacitor half of the points are the source's,
 * and their offset at height z is z times a Cauchy number (D = 1), cut at 2.5 L. */
static void one_capacitor_spreads_like_cauchy(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    const float source = 0, target = 1000;
    struct plates plates = plates_of(&source, 1, &target, 1, efm_shape_vector(1), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_SUPERPOSITION, SIZE);
    options.charges = 0;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 3);
    double inside = 0, expected = 0, left = 0, low = 0;
    for (size_t i = 0; i < SIZE; i++) {
        double z = (double)batch.z[i], x = (double)batch.x[i];
        assert_true(z >= 0.0099 && z <= 3.9901);
        if (x > 500)
            continue;
        left++;
        low += z < 2;
        inside += fabs(x) < z;
        /* spread z / |g0| < 10 is |g0| > z / 10; P(|g| z / |g0| < z and that), over P(that) */
        expected += 0.5 / erfc(z / 10 / sqrt(2));
    }
    assert_true(fabs(left / SIZE - 0.5) < 0.015);
    assert_true(fabs(low / left - 0.5) < 0.02);
    /* Cut offsets are large ones, so that more lie within z than the half of a whole Cauchy. */
    assert_true(inside / left > 0.5 && inside / left < expected / left);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* E_z of the chain in D = 1 for a row of charges over the source, up to a factor: it integrates to 1 - z/L. */
static double chain_density(double r, double dz, double length)
{
    double a = PI * r / length, b = PI * dz / length;
    return sin(b) / (cosh(a) - cos(b)) / (2 * length);
}

/* D = 1: the share of points inside a window against the integral of E_z over it. */
static void chain_points_have_the_density_of_e_z(void **state)
{
    (void)state;
    enum { SIZE = 40000 };
    const float source = -1, target = 1;
    struct plates plates = plates_of(&source, 1, &target, 1, efm_shape_vector(1), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN_SINGLE, SIZE);
    options.length = 2;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 0);
    static const double windows[][4] = {{-1.2, -0.8, 0.2, 0.6}, {-0.5, 0.5, 0.8, 1.2}, {0.5, 1.5, 1.2, 1.8},
                                        {1.5, 4, 0.5, 1.5},     {-4, -1.5, 0.1, 1.9},  {0.8, 1.2, 1.6, 1.95}};
    for (size_t k = 0; k < sizeof windows / sizeof windows[0]; k++) {
        const double *w = windows[k];
        double found = 0, expected = 0, step = 0.01;
        for (size_t i = 0; i < SIZE; i++)
            found += (double)batch.x[i] > w[0] && (double)batch.x[i] < w[1] && (double)batch.z[i] > w[2] &&
                     (double)batch.z[i] < w[3];
        for (double x = w[0] + step / 2; x < w[1]; x += step)
            for (double z = w[2] + step / 2; z < w[3]; z += step)
                expected += (chain_density(x + 1, z, 2) + chain_density(x - 1, 2 - z, 2)) * step * step;
        expected *= SIZE / (2 - 0.02);
        if (!(fabs(found - expected) < 4 * sqrt(expected) + 0.01 * expected))
            fail_msg("window %zu: %g points, not %g", k, found, expected);
    }
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* D = 2: over points near one place the mean of v is E_x / E_z there. v has heavy tails, so windows are wide and far from
 * the plates; the field is averaged over the same points. */
static void the_mean_velocity_is_that_of_the_chain(void **state)
{
    (void)state;
    enum { SIZE = 8192, STEPS = 40 };
    const float source[2] = {0, 0}, target[2] = {1, 0.5f};
    struct plates plates = plates_of(source, 1, target, 1, efm_shape_vector(2), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN_SINGLE, SIZE);
    options.length = 2;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_exact_options exact = {.kind = EFM_FIELD_CHAIN, .path = EFM_EXACT_LOW, .length = 2};
    struct efm_field *field;
    struct efm_field_workspace *workspace;
    assert_int_equal(efm_exact_field_create(&field, source, 1, target, 1, 2, &exact, NULL), EFM_OK);
    assert_int_equal(efm_field_workspace_create(&workspace, field, 1, NULL, NULL), EFM_OK);
    static const double places[][3] = {{0.5, 0.25, 1}, {0, 0, 0.6}, {1, 0.5, 1.2}, {-0.5, 0.6, 0.9}};
    double sum[4][2] = {{0}}, wanted[4][2] = {{0}}, count[4] = {0};
    for (uint64_t step = 0; step < STEPS; step++) {
        struct efm_training_batch batch = plates_make(batcher, step);
        assert_null(batch.target_z);
        for (size_t i = 0; i < SIZE; i++)
            for (size_t k = 0; k < 4; k++) {
                const float *x = batch.x + 2 * i;
                double z = (double)batch.z[i], up, log_norm;
                if (fabs((double)x[0] - places[k][0]) > 0.2 || fabs((double)x[1] - places[k][1]) > 0.2 ||
                    fabs(z - places[k][2]) > 0.2)
                    continue;
                float direction[2];
                struct efm_field_values values = {.x = direction, .z = &up, .log_norm = &log_norm};
                efm_field_evaluate(field, workspace, x, &z, 1, &values);
                count[k]++;
                for (int d = 0; d < 2; d++) {
                    sum[k][d] += (double)batch.target_x[2 * i + (size_t)d];
                    wanted[k][d] += (double)direction[d] / up;
                }
            }
    }
    for (size_t k = 0; k < 4; k++) {
        assert_true(count[k] > 500);
        for (int d = 0; d < 2; d++)
            if (!(fabs(sum[k][d] - wanted[k][d]) / count[k] < 0.06))
                fail_msg("place %zu, component %d: %g, not %g, of %g points", k, d, sum[k][d] / count[k],
                         wanted[k][d] / count[k], count[k]);
    }
    efm_field_workspace_destroy(workspace);
    efm_field_destroy(field);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* The velocity is taken from the charge that made the point, in any dimension: finite, and away from the source or
 * towards the target. A weight of 0 is a point past 2.5 L. */
static void velocities_are_numbers_in_any_dimension(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 9, 3072};
    for (size_t k = 0; k < 4; k++) {
        size_t dimension = dimensions[k];
        struct plates plates = plates_random(50, 60, dimension, k);
        struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN_SINGLE, 300);
        options.lowest = 1e-8;
        struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
        for (uint64_t step = 0; step < 3; step++) {
            struct efm_training_batch batch = plates_make(batcher, step);
            size_t dropped = 0, wrong = 0;
            for (size_t i = 0; i < 300; i++) {
                dropped += batch.weight != NULL && batch.weight[i] == 0;
                for (size_t d = 0; d < dimension; d++)
                    wrong +=
                        !isfinite(batch.x[i * dimension + d]) || !isfinite(batch.target_x[i * dimension + d]);
            }
            assert_int_equal(wrong, 0);
            assert_true(dropped <= 3);
        }
        efm_batcher_destroy(batcher);
        plates_free(&plates);
    }
}

/* A function of the point alone, the same whichever charge made it: a plain one of the plates' means and variances; and with
 * it the loss is not that of a few points, as it is without. */
static void the_weight_knows_the_point_alone(void **state)
{
    (void)state;
    enum { COUNT = 64, SIZE = 8192 };
    struct plates plates = plates_random(COUNT, COUNT, 2, 9);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN_SINGLE, SIZE);
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 0);
    double mean[2][2] = {{0}}, variance[2] = {0}, weighted = 0, squares = 0, largest = 0, most = 0;
    for (int side = 0; side < 2; side++)
        for (int d = 0; d < 2; d++) {
            double square = 0;
            for (size_t i = 0; i < COUNT; i++) {
                double value = (double)plates.values[side][2 * i + (size_t)d];
                mean[side][d] += value / COUNT;
                square += value * value / COUNT;
            }
            variance[side] += square - mean[side][d] * mean[side][d];
        }
    assert_non_null(batch.weight);
    for (size_t i = 0; i < SIZE; i++) {
        const float *x = batch.x + 2 * i, *v = batch.target_x + 2 * i;
        double sum = 0, v2 = (double)v[0] * (double)v[0] + (double)v[1] * (double)v[1];
        for (int side = 0; side < 2; side++) {
            double a = (double)x[0] - mean[side][0], b = (double)x[1] - mean[side][1];
            double e2 = fmin(a * a + b * b + variance[side], 6.25 * 16 * 3);
            double ratio = efm_chain_single_ratio(e2, (double)batch.z[i] - 4 * side, 4, 2);
            sum += e2 * ratio * ratio / 2;
        }
        if (batch.weight[i] != 0 && !(fabs((double)batch.weight[i] * (1 + sum) - 1) < 1e-4))
            fail_msg("point %zu weighs %g, not %g", i, (double)batch.weight[i], 1 / (1 + sum));
        weighted += (double)batch.weight[i] * v2;
        squares += v2;
        largest = fmax(largest, (double)batch.weight[i] * v2);
        most = fmax(most, v2);
    }
    assert_true(most > 0.3 * squares);
    assert_true(largest < 0.05 * weighted);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_one_minus_z_over_l),
        cmocka_unit_test(both_series_agree),
        cmocka_unit_test(the_velocity_of_one_charge_is_that_of_its_rows),
        cmocka_unit_test(one_capacitor_spreads_like_cauchy),
        cmocka_unit_test(chain_points_have_the_density_of_e_z),
        cmocka_unit_test(the_mean_velocity_is_that_of_the_chain),
        cmocka_unit_test(velocities_are_numbers_in_any_dimension),
        cmocka_unit_test(the_weight_knows_the_point_alone),
    };
    return cmocka_run_group_tests_name("train/marginal", tests, NULL, NULL);
}
