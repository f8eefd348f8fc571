// SPDX-License-Identifier: Apache-2.0
/* The rows of one charge: which there are, their sums, and what replaces the sums far to the side. */
#include "core/field/field_internal.h"
#include "tests/unit/field/capacitor.h"

static const size_t dimensions[] = {9, 12, 33, 100, 784, 3072};
enum { DIMENSIONS = sizeof dimensions / sizeof dimensions[0] };

static struct efm_rows rows_of(enum efm_field_kind kind, size_t dimension, uint32_t chain_rows,
                               enum efm_plate_side side, double z)
{
    struct efm_exact_field field = {.base = {.kind = kind, .dimension = dimension, .length = 1},
                                    .chain_rows = chain_rows};
    return efm_rows_of(&field, side, z);
}

static void a_capacitor_has_one_row(void **state)
{
    (void)state;
    struct efm_rows rows = rows_of(EFM_FIELD_SUPERPOSITION, 3, 5, EFM_TARGET, 0.25);
    assert_int_equal(rows.first, 0);
    assert_int_equal(rows.last, 0);
    assert_true(efm_rows_height(&rows, rows.nearest) == -0.75);
}

/* Heights k L for -K <= k <= K + 1, even k for the source and odd for the target. */
static void a_chain_alternates(void **state)
{
    (void)state;
    for (uint32_t k = 1; k < 8; k++)
        for (int side = 0; side < 2; side++) {
            struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, 3, k, (enum efm_plate_side)side, 0);
            size_t expected = 0, found = 0;
            for (long height = -(long)k; height <= (long)k + 1; height++)
                expected += (height & 1) == side;
            for (long m = rows.first; m <= rows.last; m++, found++) {
                double height = -efm_rows_height(&rows, m);
                assert_true(height >= -(double)k && height <= (double)k + 1);
                assert_true(fabs(remainder(height - side, 2)) == 0);
            }
            assert_int_equal(found, expected);
        }
}

static void the_nearest_row_is_found(void **state)
{
    (void)state;
    const double heights[] = {-9.3, -0.4, 0, 0.3, 0.51, 0.99, 1, 1.7, 4.2, 11, 1e300, INFINITY};
    for (size_t i = 0; i < sizeof heights / sizeof heights[0]; i++)
        for (int side = 0; side < 2; side++) {
            struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, 3, 6, (enum efm_plate_side)side, heights[i]);
            double least = INFINITY;
            for (long m = rows.first; m <= rows.last; m++)
                least = fmin(least, fabs(efm_rows_height(&rows, m)));
            assert_in_range(rows.nearest - rows.first, 0, rows.last - rows.first);
            assert_true(fabs(efm_rows_height(&rows, rows.nearest)) == least);
        }
    struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, 3, 6, EFM_SOURCE, NAN);
    assert_in_range(rows.nearest - rows.first, 0, rows.last - rows.first);
}

/* All rows by hand, none left out. */
static struct efm_row_sum slow_sum(const struct efm_rows *rows, double s2, double h, double top)
{
    struct efm_row_sum sum = {0, 0};
    for (long m = rows->first; m <= rows->last; m++) {
        double dz = efm_rows_height(rows, m), q = exp(-h * log(s2 + dz * dz) - top);
        sum.q += q;
        sum.dz_q += dz * q;
    }
    return sum;
}

struct place {
    double s2, h, top; /* at s lengths to the side, relative to the nearest row */
};

static struct place place_at(const struct efm_rows *rows, double s)
{
    double dz = efm_rows_height(rows, rows->nearest), h = (rows->dimension + 1) / 2;
    double s2 = s * s * (rows->dimension + 1);
    return (struct place){s2, h, -h * log(s2 + dz * dz)};
}

static void faint_rows_are_left_out_unnoticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMENSIONS; i++)
        for (double s = 0.01; s < 1.5; s *= 1.7) {
            struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_SOURCE, 0.3);
            struct place at = place_at(&rows, s);
            struct efm_row_sum fast = efm_rows_sum(&rows, at.s2, at.h, at.top);
            struct efm_row_sum slow = slow_sum(&rows, at.s2, at.h, at.top);
            assert_true(fabs(fast.q / slow.q - 1) < 1e-12);
            assert_true(fabs(fast.dz_q - slow.dz_q) < 1e-12 * slow.q);
        }
}

/* Where both hold: from 1.5 lengths, where the second term of the series is 2e-5 of the first in nine
 * dimensions and less in more, to 2, where the direct sum has lost nine digits to cancellation. */
static void the_series_equals_the_direct_sum(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMENSIONS; i++)
        for (double s = 1.5; s < 1.95; s += 0.1) {
            struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_TARGET, 0.37);
            struct place at = place_at(&rows, s);
            struct efm_row_sum series = efm_rows_sum(&rows, at.s2, at.h, at.top);
            struct efm_row_sum direct = slow_sum(&rows, at.s2, at.h, at.top);
            if (!(fabs(series.dz_q / direct.dz_q - 1) < 3e-5))
                fail_msg("D %zu, s %g: %g of the direct sum", dimensions[i], s,
                         series.dz_q / direct.dz_q - 1);
            assert_true(fabs(series.q / direct.q - 1) < 1e-10);
        }
}

static void the_line_of_charge_equals_the_direct_sum(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMENSIONS; i++)
        for (double s = 3; s < 20; s *= 1.5) {
            struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_SOURCE, 0.9);
            struct place at = place_at(&rows, s);
            struct efm_row_sum line = efm_rows_sum(&rows, at.s2, at.h, at.top);
            struct efm_row_sum direct = slow_sum(&rows, at.s2, at.h, at.top);
            if (!(fabs(line.q / direct.q - 1) < 1e-8))
                fail_msg("D %zu, s %g: %g of the direct sum", dimensions[i], s, line.q / direct.q - 1);
        }
}

static void the_sums_are_continuous(void **state)
{
    (void)state;
    const double joints[] = {1.5, 3};
    for (size_t i = 0; i < DIMENSIONS; i++)
        for (size_t k = 0; k < 2; k++)
            for (double z = 0.05; z < 1; z += 0.3) {
                struct efm_rows rows = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_SOURCE, z);
                struct place a = place_at(&rows, joints[k] * (1 - 1e-12)),
                             b = place_at(&rows, joints[k] * (1 + 1e-12));
                struct efm_row_sum inside = efm_rows_sum(&rows, a.s2, a.h, b.top);
                struct efm_row_sum outside = efm_rows_sum(&rows, b.s2, b.h, b.top);
                assert_true(fabs(inside.q / outside.q - 1) < 1e-8);
                if (!(fabs(inside.dz_q / outside.dz_q - 1) < 3e-5))
                    fail_msg("D %zu, z %g: %g at %g lengths", dimensions[i], z,
                             inside.dz_q / outside.dz_q - 1, joints[k]);
            }
}

/* One sign everywhere, and so a field that rises from plate to plate. In a double it can become 0 in the end:
 * e^-745 of the nearest charge's is the least that there is. */
static void the_sum_of_heights_has_one_sign(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMENSIONS; i++)
        for (double s = 0.1; s < 100; s *= 1.3)
            for (double z = 0.02; z < 1; z += 0.24) {
                struct efm_rows source = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_SOURCE, z);
                struct efm_rows target = rows_of(EFM_FIELD_CHAIN, dimensions[i], 0, EFM_TARGET, z);
                struct place at = place_at(&source, s);
                struct efm_row_sum p = efm_rows_sum(&source, at.s2, at.h, at.top);
                struct efm_row_sum q = efm_rows_sum(&target, at.s2, at.h, at.top);
                assert_true(p.q > 0 && q.q > 0);
                assert_true(p.dz_q >= 0 && q.dz_q <= 0);
                if (s < 4)
                    assert_true(p.dz_q > 0 && q.dz_q < 0);
            }
}

/* The same through a whole field: E_z stays up to where a double can tell it from nothing, and is never < 0. */
static void the_field_rises_far_to_the_side(void **state)
{
    (void)state;
    for (size_t i = 0; i < DIMENSIONS; i++) {
        struct capacitor plates = capacitor_random(15, 12, dimensions[i], 5, i);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        struct probes points = probes_around(&plates, 60, i);
        for (size_t k = 0; k < 60; k++) { /* from the middle straight out */
            double s = 100 * pow((double)(k + 1) / 60, 3);
            float *x = points.x + k * dimensions[i];
            for (size_t d = 0; d < dimensions[i]; d++)
                x[d] = (float)(1 + s * plates.length * (d % 2 == 0 ? 1 : -1));
        }
        struct answers answers = ask(field, &points, NULL);
        for (size_t k = 0; k < 60; k++) {
            double s = sqrt(squared_between(points.x + k * dimensions[i], plates.source, dimensions[i]) /
                            ((double)dimensions[i] + 1)) /
                       plates.length;
            assert_true(answers.z[k] >= 0);
            if (s < 4)
                assert_true(answers.z[k] > 0);
            assert_true(isfinite(answers.log_norm[k]));
        }
        answers_free(&answers);
        probes_free(&points);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_capacitor_has_one_row),
        cmocka_unit_test(a_chain_alternates),
        cmocka_unit_test(the_nearest_row_is_found),
        cmocka_unit_test(faint_rows_are_left_out_unnoticed),
        cmocka_unit_test(the_series_equals_the_direct_sum),
        cmocka_unit_test(the_line_of_charge_equals_the_direct_sum),
        cmocka_unit_test(the_sums_are_continuous),
        cmocka_unit_test(the_sum_of_heights_has_one_sign),
        cmocka_unit_test(the_field_rises_far_to_the_side),
    };
    return cmocka_run_group_tests_name("field/rows", tests, NULL, NULL);
}
