// SPDX-License-Identifier: Apache-2.0
/* rows.c - one charge and its images in all rows of its plate. */
#include "core/field/field_internal.h"

static const double PI = 3.14159265358979323846;

/* Below e^-40 of the nearest row a row is under the last bit of the sums. */
static const double FAINT = 40;

struct efm_rows efm_rows_of(const struct efm_exact_field *field, enum efm_plate_side side, double z)
{
    double length = field->base.length;
    struct efm_rows rows = {.offset = side == EFM_SOURCE ? z : z - length,
                            .period = 2 * length,
                            .dimension = (double)field->base.dimension};
    if (field->base.kind != EFM_FIELD_CHAIN)
        return rows;
    long k = field->chain_rows;
    if (k == 0) {
        k = EFM_CHAIN_ROWS_AUTO;
        rows.endless = field->base.dimension > EFM_EXACT_LOW_DIMENSION;
    }
    /* Heights kL for -K <= k <= K+1, even for the source and odd for the target: symmetric about z = L/2. */
    rows.first = side == EFM_SOURCE ? -(k / 2) : -((k + 1) / 2);
    rows.last = side == EFM_SOURCE ? (k + 1) / 2 : k / 2;
    double nearest = round(rows.offset / rows.period);
    rows.nearest = rows.first; /* of a height that is not a number too */
    if (nearest > (double)rows.first)
        rows.nearest = nearest < (double)rows.last ? (long)nearest : rows.last;
    return rows;
}

static double log_gamma(double x)
{
    int sign; /* lgamma itself would write a global */
    return lgamma_r(x, &sign);
}

/* ln K_nu(x) for nu of a few and more: Debye's uniform expansion, Abramowitz and Stegun 9.7.8. */
static double log_bessel_k(double nu, double x)
{
    double y = x / nu, root = sqrt(1 + y * y), p = 1 / root, p2 = p * p;
    double eta = root + log(y / (1 + root));
    double u1 = p * (3 - 5 * p2) / 24;
    double u2 = p2 * (81 + p2 * (-462 + p2 * 385)) / 1152;
    return 0.5 * log(PI / (2 * nu)) - nu * eta - 0.5 * log(root) + log1p((u2 / nu - u1) / nu);
}

static double far_height_sum(const struct efm_rows *rows, double s2, double top)
{
    double length = rows->period / 2, k = PI / length, r = sqrt(s2), nu = rows->dimension / 2 - 1;
    double log_size = log(k / (length * (rows->dimension - 1)) * 2 * sqrt(PI)) - log_gamma(nu + 0.5) +
                      nu * log(k / (2 * r)) + log_bessel_k(nu, k * r);
    return sin(k * rows->offset) * exp(log_size - top);
}

static double even_line_sum(const struct efm_rows *rows, double s2, double top)
{
    double half = rows->dimension / 2;
    double log_size = log(sqrt(PI) / rows->period) + log_gamma(half) - log_gamma(half + 0.5) - half * log(s2);
    return exp(log_size - top);
}

static struct efm_row_sum direct_sum(const struct efm_rows *rows, double s2, double h, double top)
{
    double dz = efm_rows_height(rows, rows->nearest);
    double first = -h * log(s2 + dz * dz) - top;
    double q = exp(first);
    struct efm_row_sum sum = {q, dz * q};
    for (int side = -1; side <= 1; side += 2) {
        for (long m = rows->nearest + side; m >= rows->first && m <= rows->last; m += side) {
            dz = efm_rows_height(rows, m);
            double l = -h * log(s2 + dz * dz) - top;
            if (l < first - FAINT)
                break;
            q = exp(l);
            sum.q += q;
            sum.dz_q += dz * q;
        }
    }
    return sum;
}

struct efm_row_sum efm_rows_sum(const struct efm_rows *rows, double s2, double h, double top)
{
    double lengths2 = s2 / (rows->dimension + 1) / (rows->period * rows->period / 4); /* (s / L)^2 */
    if (!rows->endless || lengths2 < 2.25)
        return direct_sum(rows, s2, h, top);
    struct efm_row_sum sum;
    sum.q = lengths2 < 9 ? direct_sum(rows, s2, h, top).q : even_line_sum(rows, s2, top);
    sum.dz_q = far_height_sum(rows, s2, top);
    return sum;
}
