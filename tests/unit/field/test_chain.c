// SPDX-License-Identifier: Apache-2.0
/* The endless chain of capacitors: closed forms, sums of very many rows, and its mirrors. */
#include "tests/unit/field/capacitor.h"

#include <complex.h>

static const double PI = 3.14159265358979323846;

/* E_x - i E_z of one row of unit charges at 0 with period 2L, without the factor 1/S_1 = 1/2pi. */
static double complex row_field(double x, double z, double length)
{
    double complex u = PI * (x + I * z) / (2 * length);
    return PI / (2 * length) * (ccosh(u) / csinh(u));
}

static void expect_direction(const struct efm_field *field, float x, double z, double complex expected)
{
    float direction;
    double log_norm, up = ask_one(field, &x, z, &direction, &log_norm), norm = cabs(expected);
    /* The field is the difference of two rows' fields of pi / 2L each, in the expectation as well. */
    double tolerance = 1e-12 + 1e-14 * PI / (2 * efm_field_length(field) * norm);
    assert_true(fabs((double)direction - creal(expected) / norm) < 1e-7 + tolerance); /* a float */
    assert_true(fabs(up + cimag(expected) / norm) < tolerance);
    assert_true(fabs(log_norm - log(norm)) < tolerance);
}

static void one_pair_on_a_line_has_a_closed_form(void **state)
{
    (void)state;
    const float p = 0.25f, q = -1.5f, places[] = {-40, -3, -1.5f, 0, 0.25f, 0.25001f, 0.7f, 12};
    const double lengths[] = {0.3, 2, 50}, heights[] = {1e-6, 0.1, 0.5, 0.77, 1 - 1e-6, -0.3, 1.4};
    for (size_t l = 0; l < 3; l++) {
        struct capacitor plates = {1, 1, 1, lengths[l], (float *)&p, (float *)&q};
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
            for (size_t k = 0; k < sizeof heights / sizeof heights[0]; k++) {
                /* where even cosh overflows in a double complex the row is a plane of charge */
                double x = places[i], z = heights[k] * lengths[l];
                if (fabs(x - p) > 50 * lengths[l] || fabs(x - q) > 50 * lengths[l])
                    continue;
                double complex expected =
                    row_field(x - p, z, lengths[l]) - row_field(x - q, z - lengths[l], lengths[l]);
                if (cabs(expected) > 1e-9 * PI / (2 * lengths[l])) /* else lost to that difference */
                    expect_direction(field, places[i], z, expected);
            }
        efm_field_destroy(field);
    }
}

/* Far to the side E_z is e^-(pi s/L) of nothing, and must not be lost: it is what carries a line across. */
static void height_on_a_line_survives_far_to_the_side(void **state)
{
    (void)state;
    const float p = 0, q = 0.5f, x = 6;
    struct capacitor plates = {1, 1, 1, 1, (float *)&p, (float *)&q};
    struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
    float direction;
    double up = ask_one(field, &x, 0.5, &direction, NULL);
    /* E_z = (pi/2L) sin(pi z/L) / 2 * sum 1/(sinh^2 a + sin^2 b); E_x = (pi/2L) (coth - coth) */
    double a = PI * 6 / 2, b = PI * 5.5 / 2, sine2 = 0.5;
    double ez = 0.5 * (1 / (pow(sinh(a), 2) + sine2) + 1 / (pow(sinh(b), 2) + sine2));
    double ex = sinh(a) * cosh(a) / (pow(sinh(a), 2) + sine2) - sinh(b) * cosh(b) / (pow(sinh(b), 2) + sine2);
    assert_true(ez > 0 && up > 0);
    assert_true(fabs(up - ez / hypot(ez, ex)) < 1e-6); /* E_x is 1 - 1, good to ten digits */
    efm_field_destroy(field);
}

static double mean_of(const float *charges, size_t count, size_t dimension, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < count; j++)
        sum += charges[j * dimension + d] / (double)count;
    return sum;
}

/* What a chain lacks that ends after `periods` to either side. The far rows of a plate look like one charge in
 * its middle, so that those of both plates cancel but for the distance of their middles and for L. */
static double missing_rows(const struct capacitor *plates, double periods)
{
    double distance = 0;
    for (size_t d = 0; d < plates->dimension; d++)
        distance = fmax(distance, fabs(mean_of(plates->source, plates->m, plates->dimension, d) -
                                       mean_of(plates->target, plates->n, plates->dimension, d)));
    return 2 * (distance / plates->length + 1) *
           pow(2 * plates->length * periods, -(double)plates->dimension);
}

/* E of the endless path and of the plain one with 2000 capacitors to either side, in units of the nearest
 * charge's |E|. */
static void compare_with_many_rows(const struct capacitor *plates, uint64_t seed)
{
    enum { COUNT = 6, PERIODS = 2000 };
    size_t dimension = plates->dimension;
    struct efm_field *endless = capacitor_field(plates, EFM_FIELD_CHAIN, EFM_EXACT_LOW, 0);
    struct efm_field *many = capacitor_field(plates, EFM_FIELD_CHAIN, EFM_EXACT_PLAIN, 2 * PERIODS);
    struct probes points = probes_around(plates, COUNT, seed);
    struct answers a = ask(endless, &points, NULL), b = ask(many, &points, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        double s = fmin(b.nearest[2 * i], b.nearest[2 * i + 1]);
        double dz = fmin(points.z[i], plates->length - points.z[i]);
        double unit = -(double)dimension / 2 * log(s * s + dz * dz); /* |E| of a charge there */
        unit -= log((double)(plates->m + plates->n));
        double one = exp(a.log_norm[i] - unit), other = exp(b.log_norm[i] - unit);
        double error = fabs(one * a.z[i] - other * b.z[i]);
        for (size_t d = 0; d < dimension; d++) {
            size_t k = i * dimension + d;
            error = fmax(error, fabs(one * (double)a.x[k] - other * (double)b.x[k]));
        }
        if (!(error <= 1e-6 * (1 + other) + missing_rows(plates, PERIODS) / exp(unit)))
            fail_msg("D %zu, L %g, point %zu at z %g, nearest %g: error %g of %g", dimension, plates->length,
                     i, points.z[i], s, error, other);
    }
    answers_free(&a);
    answers_free(&b);
    probes_free(&points);
    efm_field_destroy(endless);
    efm_field_destroy(many);
}

static void endless_equals_very_many_rows(void **state)
{
    (void)state;
    const double lengths[] = {0.3, 3, 40};
    for (size_t dimension = 1; dimension <= 8; dimension++)
        for (size_t l = 0; l < (SLOW_BUILD ? 2 : 3); l++) {
            struct capacitor plates = capacitor_random(9, 7, dimension, lengths[l], dimension);
            compare_with_many_rows(&plates, l);
            capacitor_free(&plates);
        }
}

static const size_t dimensions[] = {1, 2, 5, 8, 9, 200};
enum { DIMENSIONS = sizeof dimensions / sizeof dimensions[0] };

/* From twenty lengths on every charge with its images is an even line of charge, E = C r / r^(D+1) towards the side;
 * the factor C drops out of the direction. However short the capacitor is. */
static void short_capacitors_are_lines_of_charge(void **state)
{
    (void)state;
    for (size_t dimension = 2; dimension <= 8; dimension++)
        for (double length = 0.03; length > 1e-5; length *= 0.5) {
            struct capacitor plates = capacitor_random(20, 15, dimension, length, dimension);
            struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
            float x[8] = {4, -1, 0, 2, 1, 1, -1, 0}, direction[8];
            double expected[8] = {0}, squares = 0, log_norm;
            for (size_t j = 0; j < 35; j++) {
                const float *y =
                    j < 20 ? plates.source + j * dimension : plates.target + (j - 20) * dimension;
                double r2 = squared_between(x, y, dimension);
                for (size_t d = 0; d < dimension; d++)
                    expected[d] += (j < 20 ? 1. / 20 : -1. / 15) * ((double)x[d] - y[d]) *
                                   pow(r2, -(double)dimension / 2);
            }
            for (size_t d = 0; d < dimension; d++)
                squares += expected[d] * expected[d];
            double up = ask_one(field, x, length / 3, direction, &log_norm);
            double line = sqrt(PI) * tgamma(dimension / 2.) / tgamma((dimension + 1) / 2.) / (2 * length);
            assert_true(fabs(up) < 1e-6);
            if (!(fabs(log_norm - log(line * sqrt(squares))) < 1e-6))
                fail_msg("D %zu, L %g: ln |E| %g, not %g", dimension, length, log_norm,
                         log(line * sqrt(squares)));
            for (size_t d = 0; d < dimension; d++)
                assert_true(fabs((double)direction[d] - expected[d] / sqrt(squares)) < 1e-6);
            efm_field_destroy(field);
            capacitor_free(&plates);
        }
}

/* Mirrored at either plate E_x stays and E_z turns round. */
static void every_plate_is_a_mirror(void **state)
{
    (void)state;
    for (size_t t = 0; t < DIMENSIONS; t++) {
        size_t dimension = dimensions[t];
        struct capacitor plates = capacitor_random(20, 30, dimension, 2, t);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        struct probes points = probes_around(&plates, 12, t);
        struct answers here = ask(field, &points, NULL);
        for (int mirror = 0; mirror < 3; mirror++) {
            struct probes there = probes_new(12, dimension);
            memcpy(there.x, points.x, 12 * dimension * sizeof(float));
            for (size_t i = 0; i < 12; i++)
                there.z[i] = mirror == 0   ? -points.z[i]
                             : mirror == 1 ? 2 * plates.length - points.z[i]
                                           : 2 * plates.length + points.z[i];
            double sign = mirror == 2 ? 1 : -1; /* two mirrors make the period */
            struct answers image = ask(field, &there, NULL);
            for (size_t i = 0; i < 12; i++) {
                assert_true(fabs(image.z[i] - sign * here.z[i]) < 1e-7);
                assert_true(fabs(image.log_norm[i] - here.log_norm[i]) < 1e-5);
                for (size_t d = 0; d < dimension; d++)
                    assert_true(fabs((double)image.x[i * dimension + d] - here.x[i * dimension + d]) < 1e-5);
            }
            answers_free(&image);
            probes_free(&there);
        }
        answers_free(&here);
        probes_free(&points);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

/* Beside the charges E_z vanishes on a plate and grows from it like the height. In few dimensions the series of
 * far rows is cut off after twenty terms, which leaves some 1e-9. */
static void height_vanishes_on_the_plates(void **state)
{
    (void)state;
    for (size_t t = 0; t < DIMENSIONS; t++) {
        size_t dimension = dimensions[t];
        struct capacitor plates = capacitor_random(20, 30, dimension, 2, t);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        struct probes points = probes_around(&plates, 3, t);
        const float *x = points.x + 2 * dimension; /* between two charges */
        for (int side = 0; side < 2; side++) {
            double plane = side * plates.length, inwards = side == 0 ? 1 : -1;
            double one = ask_one(field, x, plane + inwards * 1e-5, NULL, NULL);
            double two = ask_one(field, x, plane + inwards * 2e-5, NULL, NULL);
            assert_true(fabs(ask_one(field, x, plane, NULL, NULL)) < 1e-8);
            assert_true(one > 0);
            assert_true(fabs(two / one - 2) < 1e-3);
        }
        probes_free(&points);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

static void height_rises_everywhere_between_the_plates(void **state)
{
    (void)state;
    for (size_t t = 0; t < DIMENSIONS; t++) {
        struct capacitor plates = capacitor_random(50, 60, dimensions[t], 3, t);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        struct probes points = probes_around(&plates, 240, t);
        struct answers answers = ask(field, &points, NULL);
        for (size_t i = 0; i < 240; i++)
            if (i % 6 != 4) /* those are ten lengths from any charge, see test_rows.c */
                assert_true(answers.z[i] > 0);
        answers_free(&answers);
        probes_free(&points);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pair_on_a_line_has_a_closed_form),
        cmocka_unit_test(height_on_a_line_survives_far_to_the_side),
        cmocka_unit_test(endless_equals_very_many_rows),
        cmocka_unit_test(short_capacitors_are_lines_of_charge),
        cmocka_unit_test(every_plate_is_a_mirror),
        cmocka_unit_test(height_vanishes_on_the_plates),
        cmocka_unit_test(height_rises_everywhere_between_the_plates),
    };
    return cmocka_run_group_tests_name("field/chain", tests, NULL, NULL);
}
