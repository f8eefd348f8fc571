// SPDX-License-Identifier: Apache-2.0
/* coulomb.c - the exact field, plainly: every charge of every row, in double, by explicit differences.
 * The twin that the fast paths are measured against. */
#include "core/field/field_internal.h"

#include <string.h>

enum { PART_SUMS };

static bool measure(const struct efm_field *field, size_t capacity, size_t slots, struct efm_arena *plan)
{
    (void)capacity;
    (void)slots;
    return efm_arena_measure(plan, 2 * field->dimension, sizeof(double));
}

static void lay_out(struct efm_field_workspace *workspace)
{
    workspace->parts[PART_SUMS] =
        efm_arena_take(&workspace->arena, 2 * workspace->field->dimension, sizeof(double));
}

static double squared_distance(const float *x, const float *y, size_t dimension)
{
    double sum = 0;
    for (size_t d = 0; d < dimension; d++) {
        double difference = (double)x[d] - y[d];
        sum += difference * difference;
    }
    return sum;
}

static double nearest_squared(const struct efm_plate *plate, const float *x, size_t dimension)
{
    double nearest = INFINITY;
    for (size_t j = 0; j < plate->count; j++)
        nearest = fmin(nearest, squared_distance(x, plate->charges + j * dimension, dimension));
    return nearest;
}

/* Adds sign * sum_j sum_m (x - y_j, dz_m) q_jm / scale to sum[D] and the returned z; *total is the sum of q.
 */
static double add_plate(const struct efm_plate *plate, const struct efm_rows *rows, const float *x,
                        size_t dimension, double top, double factor, double *sum, double *total)
{
    double h = ((double)dimension + 1) / 2, z = 0;
    for (size_t j = 0; j < plate->count; j++) {
        const float *y = plate->charges + j * dimension;
        double s2 = squared_distance(x, y, dimension);
        struct efm_row_sum row = efm_rows_sum(rows, s2, h, top);
        for (size_t d = 0; d < dimension; d++)
            sum[d] += factor * row.q * ((double)x[d] - y[d]);
        z += factor * row.dz_q;
        *total += row.q;
    }
    return z;
}

static void evaluate_point(const struct efm_exact_field *field, double *sums, const float *x, double z,
                           size_t index, const struct efm_field_values *values)
{
    size_t dimension = field->base.dimension;
    double h = ((double)dimension + 1) / 2;
    double *u = sums, *v = sums + dimension;
    struct efm_rows rows[2];
    double top[2], z_sum[2], total[2] = {0, 0};
    memset(sums, 0, 2 * dimension * sizeof *sums);
    for (int side = 0; side < 2; side++) {
        rows[side] = efm_rows_of(field, side, z);
        double s2 = nearest_squared(&field->plates[side], x, dimension);
        double dz = efm_rows_height(&rows[side], rows[side].nearest);
        top[side] = -h * log(s2 + dz * dz);
        if (values->nearest != NULL)
            values->nearest[2 * index + (size_t)side] = sqrt(s2);
    }
    if (field->base.kind != EFM_FIELD_PER_PLATE)
        top[EFM_SOURCE] = top[EFM_TARGET] = fmax(top[EFM_SOURCE], top[EFM_TARGET]);
    for (int side = 0; side < 2; side++)
        z_sum[side] =
            add_plate(&field->plates[side], &rows[side], x, dimension, top[side],
                      1 / (double)field->plates[side].count, side == EFM_SOURCE ? u : v, &total[side]);
    struct efm_raw_field raw = {.x = u};
    if (field->base.kind == EFM_FIELD_PER_PLATE) {
        for (size_t d = 0; d < dimension; d++) {
            u[d] /= total[EFM_SOURCE] / (double)field->plates[EFM_SOURCE].count;
            v[d] /= total[EFM_TARGET] / (double)field->plates[EFM_TARGET].count;
        }
        raw.z =
            efm_field_blend(u, rows[EFM_SOURCE].offset, v, rows[EFM_TARGET].offset, dimension, field->gamma);
    } else {
        for (size_t d = 0; d < dimension; d++)
            u[d] -= v[d];
        raw.z = z_sum[EFM_SOURCE] - z_sum[EFM_TARGET];
        raw.scale = top[EFM_SOURCE];
    }
    efm_field_store(&raw, dimension, index, values);
}

static void evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                     const double *z, size_t count, const struct efm_field_values *values)
{
    for (size_t i = 0; i < count; i++)
        evaluate_point(efm_exact_field(field), workspace->parts[PART_SUMS], x + i * field->dimension, z[i], i,
                       values);
}

const struct efm_field_class efm_coulomb_plain_class = {measure, lay_out, evaluate, efm_exact_field_release};
