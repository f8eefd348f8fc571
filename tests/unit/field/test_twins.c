// SPDX-License-Identifier: Apache-2.0
/* The fast paths against the plain one on random shapes.
 *
 * A field is a sum that may cancel, so its error is measured in units of the sum of the sizes of its terms,
 * S = sum_i |E_i|, which the test forms by itself. In these units: the path of matrix products lets pass an
 * error of 5e-5 in the logarithm of a weight as long as a product x.y is good to 2e-7 |x||y|, and the products
 * of nearly parallel vectors are seen to be off by three times that; the path for few dimensions is double
 * throughout, and its unit direction comes out as floats: 6e-8. */
#include "tests/unit/field/capacitor.h"

static const double BLAS_TOLERANCE = 2e-4;
static const double LOW_TOLERANCE = 1e-6;

enum { POINTS = 18, ROWS = 12 };

/* Sums over one plate around a point, relative to exp(top). */
struct sizes {
    double terms, total; /* sum of q r, sum of q */
    double offset;       /* |sum of q (x - y, dz)| */
};

static double nearest_squared(const float *charges, size_t count, const float *x, size_t dimension)
{
    double nearest = INFINITY;
    for (size_t j = 0; j < count; j++)
        nearest = fmin(nearest, squared_between(x, charges + j * dimension, dimension));
    return nearest;
}

static struct sizes plate_sizes(const float *charges, size_t count, const float *x, size_t dimension,
                                double dz, double top)
{
    struct sizes sizes = {0};
    double *sum = must_have(calloc(dimension, sizeof *sum)), h = ((double)dimension + 1) / 2;
    for (size_t j = 0; j < count; j++) {
        double r2 = squared_between(x, charges + j * dimension, dimension) + dz * dz;
        double q = exp(-h * log(r2) - top);
        sizes.total += q / (double)count;
        sizes.terms += q * sqrt(r2) / (double)count;
        for (size_t d = 0; d < dimension; d++)
            sum[d] += q * ((double)x[d] - charges[j * dimension + d]) / (double)count;
    }
    double squares = sizes.total * dz * (sizes.total * dz);
    for (size_t d = 0; d < dimension; d++)
        squares += sum[d] * sum[d];
    sizes.offset = sqrt(squares);
    free(sum);
    return sizes;
}

/* How many rows of a chain are about as near as the nearest one, for a charge at distance r from that. */
static double rows_in_reach(double r, double h, double period)
{
    return fmax(1, r * sqrt(3.14 / h) / period);
}

/* ln of S at a point. */
static double log_scale(const struct capacitor *plates, enum efm_field_kind kind, double gamma,
                        const float *x, double z)
{
    size_t dimension = plates->dimension;
    double h = ((double)dimension + 1) / 2, dz[2] = {z, z - plates->length}, r2[2], top[2], sum = 0;
    const float *charges[2] = {plates->source, plates->target};
    size_t counts[2] = {plates->m, plates->n};
    for (int side = 0; side < 2; side++) {
        if (kind == EFM_FIELD_CHAIN)
            dz[side] = remainder(dz[side], 2 * plates->length);
        r2[side] = nearest_squared(charges[side], counts[side], x, dimension) + dz[side] * dz[side];
        top[side] = -h * log(r2[side]);
    }
    double common = fmax(top[0], top[1]);
    for (int side = 0; side < 2; side++) {
        bool own = kind == EFM_FIELD_PER_PLATE;
        struct sizes sizes =
            plate_sizes(charges[side], counts[side], x, dimension, dz[side], own ? top[side] : common);
        if (own) /* u / (|u| + gamma): an error of u counts relative to |u| + gamma */
            sum += sqrt((double)dimension + 1) * sizes.terms / (sizes.offset + gamma * sizes.total);
        else if (kind == EFM_FIELD_CHAIN)
            sum += sizes.terms * rows_in_reach(sqrt(r2[side]), h, 2 * plates->length);
        else
            sum += sizes.terms;
    }
    return log(sum) + (kind == EFM_FIELD_PER_PLATE ? 0 : common);
}

static double worst_difference(const struct answers *a, const struct answers *b, size_t i, double scale)
{
    size_t dimension = a->dimension;
    double one = exp(a->log_norm[i] - scale), other = exp(b->log_norm[i] - scale);
    double squares = pow(one * a->z[i] - other * b->z[i], 2);
    for (size_t d = 0; d < dimension; d++)
        squares += pow(one * a->x[i * dimension + d] - other * b->x[i * dimension + d], 2);
    return sqrt(squares);
}

static void compare(const struct capacitor *plates, enum efm_field_kind kind, enum efm_exact_path path,
                    uint32_t chain_rows, const struct probes *points)
{
    double gamma = plates->dimension > 8 ? 5 : 1e-7;
    double tolerance = path == EFM_EXACT_LOW ? LOW_TOLERANCE : BLAS_TOLERANCE;
    struct efm_field *plain = capacitor_field_gamma(plates, kind, EFM_EXACT_PLAIN, chain_rows, gamma);
    struct efm_field *fast = capacitor_field_gamma(plates, kind, path, chain_rows, gamma);
    struct answers expected = ask(plain, points, NULL), got = ask(fast, points, NULL);
    for (size_t i = 0; i < points->count; i++) {
        double scale = log_scale(plates, kind, gamma, points->x + i * plates->dimension, points->z[i]);
        double error = worst_difference(&expected, &got, i, scale);
        if (!(error <= tolerance))
            fail_msg("D %zu, %zu and %zu charges, L %g, %s, path %d, point %zu at z %g: error %g",
                     plates->dimension, plates->m, plates->n, plates->length, efm_field_kind_name(kind), path,
                     i, points->z[i], error);
    }
    answers_free(&expected);
    answers_free(&got);
    efm_field_destroy(plain);
    efm_field_destroy(fast);
}

static size_t log_uniform(struct efm_random *random, double least, double largest)
{
    return (size_t)(least * pow(largest / least, efm_random_uniform(random)));
}

static void compare_shape(size_t m, size_t n, size_t dimension, double length, uint64_t seed)
{
    struct capacitor plates = capacitor_random(m, n, dimension, length, seed);
    struct probes points = probes_around(&plates, POINTS, seed);
    for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
        compare(&plates, kind, EFM_EXACT_BLAS, ROWS, &points);
        if (kind == EFM_FIELD_CHAIN && dimension > EFM_EXACT_LOW_DIMENSION)
            compare(&plates, kind, EFM_EXACT_BLAS, 0, &points);
        if (dimension <= EFM_EXACT_LOW_DIMENSION)
            compare(&plates, kind, EFM_EXACT_LOW, ROWS, &points);
    }
    probes_free(&points);
    capacitor_free(&plates);
}

static void few_dimensions(void **state)
{
    (void)state;
    struct efm_random random;
    efm_random_init(&random, 1, 0, EFM_RANDOM_TEST);
    for (uint64_t seed = 0; seed < (SLOW_BUILD ? 8 : 32); seed++)
        compare_shape(log_uniform(&random, 1, 700), log_uniform(&random, 1, 700), 1 + seed % 8,
                      0.05 * pow(1e4, efm_random_uniform(&random)), seed);
}

static void many_dimensions(void **state)
{
    (void)state;
    static const size_t dimensions[] = {9, 10, 16, 33, 100, 257, 784, 1001, 3072};
    struct efm_random random;
    efm_random_init(&random, 2, 0, EFM_RANDOM_TEST);
    for (uint64_t seed = 0; seed < (SLOW_BUILD ? 9 : 18); seed++)
        compare_shape(log_uniform(&random, 1, SLOW_BUILD ? 100 : 700),
                      log_uniform(&random, 1, SLOW_BUILD ? 100 : 700), dimensions[seed % 9],
                      0.05 * pow(1e4, efm_random_uniform(&random)), seed);
}

static void one_charge_a_plate(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 8, 9, 100};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        compare_shape(1, 1, dimensions[i], 3, i);
}

/* Outside of the capacitor, where lines of the stochastic map travel. */
static void behind_the_plates(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 5, 12, 64};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        struct capacitor plates = capacitor_random(60, 70, dimensions[i], 2, i);
        struct probes points = probes_around(&plates, POINTS, i);
        for (size_t k = 0; k < POINTS; k++)
            points.z[k] = k % 2 == 0 ? -points.z[k] : plates.length + 3 * points.z[k];
        enum efm_exact_path path = dimensions[i] <= 8 ? EFM_EXACT_LOW : EFM_EXACT_BLAS;
        compare(&plates, EFM_FIELD_SUPERPOSITION, path, 0, &points);
        compare(&plates, EFM_FIELD_PER_PLATE, path, 0, &points);
        compare(&plates, EFM_FIELD_CHAIN, path, ROWS, &points);
        probes_free(&points);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_dimensions),
        cmocka_unit_test(many_dimensions),
        cmocka_unit_test(one_charge_a_plate),
        cmocka_unit_test(behind_the_plates),
    };
    return cmocka_run_group_tests_name("field/twins", tests, NULL, NULL);
}
