// SPDX-License-Identifier: Apache-2.0
#include "core/field/field.h"

#include "core/base/words.h"
#include "core/field/field_internal.h"

#include <string.h>

EFM_DEFINE_WORDS(efm_field_kind, EFM_FIELD_KIND_MAP)

bool efm_field_is_learned(const struct efm_field *field)
{
    return field->class->learned;
}

size_t efm_field_dimension(const struct efm_field *field)
{
    return field->dimension;
}

double efm_field_length(const struct efm_field *field)
{
    return field->length;
}

enum efm_field_kind efm_field_kind(const struct efm_field *field)
{
    return field->kind;
}

double efm_field_resolution(const struct efm_field *field, enum efm_plate_side side)
{
    return field->resolution[side];
}

enum efm_status efm_field_workspace_create(struct efm_field_workspace **result, const struct efm_field *field,
                                           size_t capacity, struct efm_team *team, struct efm_error *error)
{
    *result = NULL;
    if (capacity == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a workspace holds at least one point");
    struct efm_field_workspace *workspace = efm_allocate_array(1, sizeof *workspace);
    if (workspace == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a field workspace");
    workspace->field = field;
    workspace->team = team;
    workspace->capacity = capacity;
    if (!field->class->measure(field, capacity, efm_team_size(team), &workspace->arena)) {
        efm_free(workspace);
        return efm_error_set(error, EFM_E_LIMIT, "a workspace for %zu points is too large", capacity);
    }
    enum efm_status status = efm_arena_create(&workspace->arena, error);
    if (status == EFM_OK) {
        field->class->lay_out(workspace);
        if (field->class->open != NULL)
            status = field->class->open(workspace, error);
    }
    if (status != EFM_OK) {
        efm_arena_release(&workspace->arena);
        efm_free(workspace);
        return status;
    }
    *result = workspace;
    return EFM_OK;
}

void efm_field_workspace_destroy(struct efm_field_workspace *workspace)
{
    if (workspace == NULL)
        return;
    if (workspace->field->class->close != NULL)
        workspace->field->class->close(workspace);
    efm_arena_release(&workspace->arena);
    efm_free(workspace);
}

size_t efm_field_workspace_capacity(const struct efm_field_workspace *workspace)
{
    return workspace->capacity;
}

size_t efm_field_workspace_bytes(const struct efm_field_workspace *workspace)
{
    return sizeof *workspace + workspace->arena.size;
}

void efm_field_evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                        const double *z, size_t count, const struct efm_field_values *values)
{
    field->class->evaluate(field, workspace, x, z, count, values);
}

void efm_field_destroy(struct efm_field *field)
{
    if (field != NULL)
        field->class->destroy(field);
}

EFM_CLONES static double largest_size(const double *restrict x, size_t dimension)
{
    double largest = 0;
#pragma omp simd reduction(max : largest)
    for (size_t d = 0; d < dimension; d++) {
        double size = fabs(x[d]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

EFM_CLONES static double sum_of_squares(const double *restrict x, double factor, size_t dimension)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t d = 0; d < dimension; d++)
        sum += x[d] * factor * (x[d] * factor);
    return sum;
}

EFM_CLONES static void divide(float *restrict out, const double *restrict x, double norm, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        out[d] = (float)(x[d] / norm);
}

void efm_field_store(const struct efm_raw_field *raw, size_t dimension, size_t index,
                     const struct efm_field_values *values)
{
    double largest = largest_size(raw->x, dimension), height = fabs(raw->z);
    if (!(height <= largest)) /* a height that is no number, as on a charge, counts */
        largest = height;
    float *out = values->x + index * dimension;
    if (!(largest > 0) || !isfinite(largest)) {
        memset(out, 0, dimension * sizeof *out);
        values->z[index] = 0;
        values->log_norm[index] = largest == 0 ? -INFINITY : INFINITY; /* on a charge there is no direction */
        return;
    }
    /* Scaled by a power of two near the largest component first, so that squares neither vanish nor overflow. */
    int exponent = ilogb(largest) > -1000 ? ilogb(largest) : -1000;
    double factor = ldexp(1, -exponent), z = raw->z * factor;
    double norm = ldexp(sqrt(sum_of_squares(raw->x, factor, dimension) + z * z), exponent);
    divide(out, raw->x, norm, dimension);
    values->z[index] = raw->z / norm;
    values->log_norm[index] = raw->scale + log(norm);
}

EFM_CLONES static void blend(double *restrict ux, double a, const double *restrict vx, double b,
                             size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        ux[d] = a * ux[d] - b * vx[d];
}

double efm_field_blend(double *ux, double uz, const double *vx, double vz, size_t dimension, double gamma)
{
    double uu = uz * uz + sum_of_squares(ux, 1, dimension), vv = vz * vz + sum_of_squares(vx, 1, dimension);
    double root = sqrt((double)dimension + 1);
    double a = root / (sqrt(uu) + gamma), b = root / (sqrt(vv) + gamma);
    blend(ux, a, vx, b, dimension);
    return a * uz - b * vz;
}
