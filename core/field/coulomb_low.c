// SPDX-License-Identifier: Apache-2.0
/* coulomb_low.c - the exact field in few dimensions, vectorised over the charges.
 *
 * With D <= 8 no charge is ever far enough to be left out, and powers of r are products instead of
 * logarithms: q = (r_min^2 / r^2)^((D+1)/2). Charges lie in columns, so that neighbours in memory are
 * neighbours in the sum. The far rows of an endless chain are summed by a series, see far_rows; for D = 1 all
 * rows have a closed form, see add_endless_line. */
#include "core/field/field_internal.h"

#include <string.h>

enum { PART_SQUARED };

static const double PI = 3.14159265358979323846;

/* One plate's contribution: sum of q, dz q, (x - y) q. */
struct sums {
    double q, dz_q;
    double x[EFM_EXACT_LOW_DIMENSION];
};

struct job {
    const struct efm_exact_field *field;
    struct efm_field_workspace *workspace;
    const float *x;
    const double *z;
    const struct efm_field_values *values;
};

static size_t squared_length(const struct efm_field *field)
{
    const struct efm_exact_field *exact = efm_exact_field(field);
    return exact->plates[0].count + exact->plates[1].count;
}

static bool measure(const struct efm_field *field, size_t capacity, size_t slots, struct efm_arena *plan)
{
    (void)capacity;
    return efm_arena_measure(plan, slots * squared_length(field), sizeof(double));
}

static void lay_out(struct efm_field_workspace *workspace)
{
    workspace->parts[PART_SQUARED] = efm_arena_take(
        &workspace->arena, efm_team_size(workspace->team) * squared_length(workspace->field), sizeof(double));
}

/* s2[j] = |x - y_j|^2; returns the smallest and leaves the largest in *farthest. */
EFM_CLONES static double squared_distances(const struct efm_plate *plate, const float *x, size_t dimension,
                                           double *restrict s2, double *farthest)
{
    size_t count = plate->count;
    double nearest = INFINITY;
    for (size_t d = 0; d < dimension; d++) {
        const double *restrict column = plate->columns + d * count;
        double xd = x[d];
        if (d == 0) {
#pragma omp simd
            for (size_t j = 0; j < count; j++)
                s2[j] = (xd - column[j]) * (xd - column[j]);
        } else {
#pragma omp simd
            for (size_t j = 0; j < count; j++)
                s2[j] += (xd - column[j]) * (xd - column[j]);
        }
    }
    double largest = 0;
#pragma omp simd reduction(min : nearest) reduction(max : largest)
    for (size_t j = 0; j < count; j++) {
        nearest = s2[j] < nearest ? s2[j] : nearest;
        largest = s2[j] > largest ? s2[j] : largest;
    }
    *farthest = largest;
    return nearest;
}

/* ratio^(power / 2) by multiplication; unrolled by the compiler for each dimension below. */
static inline __attribute__((always_inline)) double half_power(double ratio, size_t power)
{
    double result = power & 1 ? sqrt(ratio) : 1;
    for (size_t i = 0; i < power / 2; i++)
        result *= ratio;
    return result;
}

static inline __attribute__((always_inline)) void add_rows_of(const struct efm_plate *plate,
                                                              const struct efm_rows *rows, const float *x,
                                                              const double *restrict s2, double r2_unit,
                                                              size_t dimension, struct sums *sums)
{
    for (long m = rows->first; m <= rows->last; m++) {
        double dz = efm_rows_height(rows, m), dz2 = dz * dz, q_sum = 0;
        double lateral[EFM_EXACT_LOW_DIMENSION] = {0};
        for (size_t d = 0; d < dimension; d++) {
            const double *restrict column = plate->columns + d * plate->count;
            double xd = x[d], sum = 0;
            q_sum = 0;
#pragma omp simd reduction(+ : sum, q_sum)
            for (size_t j = 0; j < plate->count; j++) {
                double q = half_power(r2_unit / (s2[j] + dz2), dimension + 1);
                q_sum += q;
                sum += q * (xd - column[j]);
            }
            lateral[d] = sum;
        }
        sums->q += q_sum;
        sums->dz_q += dz * q_sum;
        for (size_t d = 0; d < dimension; d++)
            sums->x[d] += lateral[d];
    }
}

EFM_CLONES static void add_rows(const struct efm_plate *plate, const struct efm_rows *rows, const float *x,
                                const double *s2, double r2_unit, size_t dimension, struct sums *sums)
{
    switch (dimension) {
    case 1:
        add_rows_of(plate, rows, x, s2, r2_unit, 1, sums);
        break;
    case 2:
        add_rows_of(plate, rows, x, s2, r2_unit, 2, sums);
        break;
    case 3:
        add_rows_of(plate, rows, x, s2, r2_unit, 3, sums);
        break;
    default:
        add_rows_of(plate, rows, x, s2, r2_unit, dimension, sums);
    }
}

/* D = 1: all rows of an endless chain at once, E_x - i E_z = (pi / 2L) coth(pi (s + i dz) / 2L) a unit charge
 * (without 1/S_1 = 1/2pi): with a = pi s / 2L, b = pi dz / 2L this is (pi / 2L) (sinh a cosh a, sin b cos b)
 * / (sinh^2 a + sin^2 b). */
EFM_CLONES static void add_endless_line(const struct efm_plate *plate, double x, double dz, double length,
                                        struct sums *sums)
{
    double unit = PI / (2 * length), sine = sin(unit * dz), cosine = cos(unit * dz);
    double sine2 = sine * sine, x_sum = 0, z_sum = 0;
    const double *restrict y = plate->columns;
#pragma omp simd reduction(+ : x_sum, z_sum)
    for (size_t j = 0; j < plate->count; j++) {
        /* Past |a| = 20 sinh and cosh agree to the last bit, so their argument may stop there. The
         * exponential is taken by squaring a short series eight times, which vectorises. */
        double a = unit * (x - y[j]);
        a = a > 20 ? 20 : a < -20 ? -20 : a;
        double t = a * 0x1p-8, t2 = t * t;
        /* sinh(t) and cosh(t) - 1 to the last bit for |t| < 0.08, then doubled: both keep their relative
         * precision near 0 */
        double sinh_a = t * (1 + t2 * (1. / 6 + t2 * (1. / 120 + t2 * (1. / 5040 + t2 * (1. / 362880)))));
        double cosh_1 =
            t2 * (.5 + t2 * (1. / 24 + t2 * (1. / 720 + t2 * (1. / 40320 + t2 * (1. / 3628800)))));
        for (int i = 0; i < 8; i++) {
            double s = 2 * sinh_a * (1 + cosh_1);
            cosh_1 = 2 * sinh_a * sinh_a;
            sinh_a = s;
        }
        double w = 1 / (sinh_a * sinh_a + sine2);
        x_sum += sinh_a * (1 + cosh_1) * w;
        z_sum += w;
    }
    sums->x[0] += unit * x_sum;
    sums->dz_q += unit * sine * cosine * z_sum;
}

/* The rows of an endless chain beyond the near ones. With p = D + 1 and s below half of their distance,
 *     sum_m (s^2 + dz_m^2)^(-p/2) = sum_k binomial(-p/2, k) s^2k sum_m |dz_m|^-(p+2k),
 * where the sum over m is period^-(p+2k) times two Hurwitz zeta values: once a point, a polynomial in s^2 a
 * charge. */
enum { FAR_TERMS = 20, ZETA_TERMS = 10, MOST_NEAR_ROWS = 512 };

struct far_rows {
    double q[FAR_TERMS],
        dz_q[FAR_TERMS]; /* coefficients of (s^2 / unit2)^k, in units of the strongest charge */
    double unit2;
};

/* Adds zeta(p + 2k, alpha) unit^2k and zeta(p + 2k - 1, alpha) unit^2k: direct terms, then Euler-Maclaurin.
 */
static void add_zeta(double alpha, double p, double unit, double *sum_p, double *sum_p1)
{
    for (int j = 0; j <= ZETA_TERMS; j++) {
        double a = alpha + j, power = pow(a, -p), ratio = unit / a * (unit / a);
        for (int k = 0; k < FAR_TERMS; k++) {
            double n = p + 2 * k, head = 1, head1 = a;
            if (j == ZETA_TERMS) {
                head = a / (n - 1) + 0.5 + n / (12 * a) - n * (n + 1) * (n + 2) / (720 * a * a * a);
                n -= 1;
                head1 = a * (a / (n - 1) + 0.5 + n / (12 * a) - n * (n + 1) * (n + 2) / (720 * a * a * a));
            }
            sum_p[k] += power * head;
            sum_p1[k] += power * head1;
            power *= ratio;
        }
    }
}

/* Beyond s of 256 periods near rows would be too many, and all rows of a charge are an even line of charge to the
 * last bit: adds those charges to `sums`, with q in units of the strongest charge, and moves them to infinity.
 * Returns the largest s^2 of the others. */
static double take_lines(const struct efm_plate *plate, const struct efm_rows *rows, const float *x,
                         double *s2, double r2_unit, size_t dimension, struct sums *sums)
{
    double limit = MOST_NEAR_ROWS * rows->period / 2, farthest = 0;
    double line =
        sqrt(PI) * tgamma((double)dimension / 2) / tgamma(((double)dimension + 1) / 2) / rows->period;
    for (size_t j = 0; j < plate->count; j++) {
        if (s2[j] <= limit * limit) {
            farthest = fmax(farthest, s2[j]);
            continue;
        }
        double q = line * sqrt(s2[j]) * half_power(r2_unit / s2[j], dimension + 1);
        sums->q += q;
        for (size_t d = 0; d < dimension; d++)
            sums->x[d] += q * (x[d] - plate->columns[d * plate->count + j]);
        s2[j] = INFINITY;
    }
    return farthest;
}

/* Narrows `rows` to the near ones and sets up the series of all others. `farthest` is the largest s^2. */
static struct far_rows far_rows(struct efm_rows *rows, double farthest, double r2_unit, size_t dimension)
{
    double p = (double)dimension + 1;
    long count = (long)ceil(2 * sqrt(farthest) / rows->period);
    rows->first = rows->nearest - count;
    rows->last = rows->nearest + count;
    double above = rows->offset / rows->period - (double)(rows->first - 1); /* dz > 0, in periods */
    double below = (double)(rows->last + 1) - rows->offset / rows->period;  /* dz < 0 */
    double unit = fmin(above, below), q[2][FAR_TERMS] = {{0}}, dz_q[2][FAR_TERMS] = {{0}};
    add_zeta(above, p, unit, q[0], dz_q[0]);
    add_zeta(below, p, unit, q[1], dz_q[1]);
    struct far_rows far = {.unit2 = unit * rows->period * (unit * rows->period)};
    double binomial = pow(sqrt(r2_unit) / rows->period, p);
    for (int k = 0; k < FAR_TERMS; k++) {
        far.q[k] = binomial * (q[0][k] + q[1][k]);
        far.dz_q[k] = binomial * rows->period * (dz_q[0][k] - dz_q[1][k]);
        binomial *= (-p / 2 - k) / (k + 1);
    }
    return far;
}

EFM_CLONES static void add_far(const struct efm_plate *plate, const struct far_rows *far, const float *x,
                               const double *restrict s2, size_t dimension, struct sums *sums)
{
    double q_sum = 0, dz_sum = 0;
    for (size_t d = 0; d < dimension; d++) {
        const double *restrict column = plate->columns + d * plate->count;
        double xd = x[d], sum = 0;
        q_sum = dz_sum = 0;
#pragma omp simd reduction(+ : sum, q_sum, dz_sum)
        for (size_t j = 0; j < plate->count; j++) {
            double w = s2[j] / far->unit2, q = 0, dz_q = 0;
            double counts = w < 1 ? 1 : 0; /* the others were moved to infinity */
            w = w < 1 ? w : 0;
            for (int k = FAR_TERMS - 1; k >= 0; k--) {
                q = q * w + far->q[k];
                dz_q = dz_q * w + far->dz_q[k];
            }
            q *= counts;
            dz_q *= counts;
            q_sum += q;
            dz_sum += dz_q;
            sum += q * (xd - column[j]);
        }
        sums->x[d] += sum;
    }
    sums->q += q_sum;
    sums->dz_q += dz_sum;
}

static void store_point(const struct efm_exact_field *field, struct sums sums[2],
                        const struct efm_rows rows[2], double scale, size_t index,
                        const struct efm_field_values *values)
{
    size_t dimension = field->base.dimension;
    double *u = sums[EFM_SOURCE].x, *v = sums[EFM_TARGET].x;
    double m = (double)field->plates[EFM_SOURCE].count, n = (double)field->plates[EFM_TARGET].count;
    struct efm_raw_field raw = {.x = u, .scale = scale};
    if (field->base.kind == EFM_FIELD_PER_PLATE) {
        for (size_t d = 0; d < dimension; d++) {
            u[d] /= sums[EFM_SOURCE].q;
            v[d] /= sums[EFM_TARGET].q;
        }
        raw.z =
            efm_field_blend(u, rows[EFM_SOURCE].offset, v, rows[EFM_TARGET].offset, dimension, field->gamma);
        raw.scale = 0;
    } else {
        for (size_t d = 0; d < dimension; d++)
            u[d] = u[d] / m - v[d] / n;
        raw.z = sums[EFM_SOURCE].dz_q / m - sums[EFM_TARGET].dz_q / n;
    }
    efm_field_store(&raw, dimension, index, values);
}

static void evaluate_point(void *context, size_t index, size_t slot)
{
    const struct job *job = context;
    const struct efm_exact_field *field = job->field;
    size_t dimension = field->base.dimension;
    const float *x = job->x + index * dimension;
    double z = job->z[index];
    double *s2[2], r2_unit[2], farthest[2], h = ((double)dimension + 1) / 2;
    struct efm_rows rows[2];
    struct sums sums[2] = {{0}, {0}};
    s2[EFM_SOURCE] = (double *)job->workspace->parts[PART_SQUARED] + slot * squared_length(&field->base);
    s2[EFM_TARGET] = s2[EFM_SOURCE] + field->plates[EFM_SOURCE].count;
    for (int side = 0; side < 2; side++) {
        double nearest = squared_distances(&field->plates[side], x, dimension, s2[side], &farthest[side]);
        rows[side] = efm_rows_of(field, side, z);
        double dz = efm_rows_height(&rows[side], rows[side].nearest);
        r2_unit[side] = nearest + dz * dz;
        if (job->values->nearest != NULL)
            job->values->nearest[2 * index + (size_t)side] = sqrt(nearest);
    }
    if (field->base.kind != EFM_FIELD_PER_PLATE)
        r2_unit[EFM_SOURCE] = r2_unit[EFM_TARGET] = fmin(r2_unit[EFM_SOURCE], r2_unit[EFM_TARGET]);
    bool endless = field->base.kind == EFM_FIELD_CHAIN && field->chain_rows == 0;
    bool line = endless && dimension == 1;
    for (int side = 0; side < 2; side++) {
        const struct efm_plate *plate = &field->plates[side];
        if (line) {
            add_endless_line(plate, x[0], rows[side].offset, field->base.length, &sums[side]);
            continue;
        }
        if (endless) {
            if (!(farthest[side] <= pow(MOST_NEAR_ROWS * rows[side].period / 2, 2)))
                farthest[side] =
                    take_lines(plate, &rows[side], x, s2[side], r2_unit[side], dimension, &sums[side]);
            struct far_rows far = far_rows(&rows[side], farthest[side], r2_unit[side], dimension);
            add_far(plate, &far, x, s2[side], dimension, &sums[side]);
        }
        add_rows(plate, &rows[side], x, s2[side], r2_unit[side], dimension, &sums[side]);
    }
    store_point(field, sums, rows, line ? 0 : -h * log(r2_unit[EFM_SOURCE]), index, job->values);
}

static void evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                     const double *z, size_t count, const struct efm_field_values *values)
{
    struct job job = {efm_exact_field(field), workspace, x, z, values};
    efm_team_run(workspace->team, count, evaluate_point, &job);
}

const struct efm_field_class efm_coulomb_low_class = {measure, lay_out, evaluate, efm_exact_field_release};
