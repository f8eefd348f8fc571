// SPDX-License-Identifier: Apache-2.0
#include "core/field/field.h"

#include "core/field/field_internal.h"

#include <string.h>

static const char *const kind_words[] = {
#define KIND_WORD(symbol, word, meaning) word,
    EFM_FIELD_KIND_MAP(KIND_WORD)
#undef KIND_WORD
};

const char *efm_field_kind_name(enum efm_field_kind kind)
{
    return (size_t)kind < sizeof kind_words / sizeof kind_words[0] ? kind_words[kind] : "unknown";
}

enum efm_status efm_field_kind_parse(const char *word, enum efm_field_kind *kind)
{
    for (size_t i = 0; i < sizeof kind_words / sizeof kind_words[0]; i++)
        if (strcmp(word, kind_words[i]) == 0) {
            *kind = (enum efm_field_kind)i;
            return EFM_OK;
        }
    return EFM_E_NOT_FOUND;
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
    if (status != EFM_OK) {
        efm_free(workspace);
        return status;
    }
    field->class->lay_out(workspace);
    *result = workspace;
    return EFM_OK;
}

void efm_field_workspace_destroy(struct efm_field_workspace *workspace)
{
    if (workspace == NULL)
        return;
    efm_arena_release(&workspace->arena);
    efm_free(workspace);
}

size_t efm_field_workspace_capacity(const struct efm_field_workspace *workspace)
{
    return workspace->capacity;
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

void efm_field_store(const struct efm_raw_field *raw, size_t dimension, size_t index,
                     const struct efm_field_values *values)
{
    double largest = fabs(raw->z), sum = 0;
    for (size_t d = 0; d < dimension; d++)
        largest = fmax(largest, fabs(raw->x[d]));
    float *out = values->x + index * dimension;
    if (!(largest > 0) || !isfinite(largest)) {
        memset(out, 0, dimension * sizeof *out);
        values->z[index] = 0;
        values->log_norm[index] = largest == 0 ? -INFINITY : INFINITY; /* on a charge there is no direction */
        return;
    }
    /* Scaled by the largest component first, so that squares neither vanish nor overflow. */
    for (size_t d = 0; d < dimension; d++)
        sum += raw->x[d] / largest * (raw->x[d] / largest);
    sum += raw->z / largest * (raw->z / largest);
    double norm = largest * sqrt(sum);
    for (size_t d = 0; d < dimension; d++)
        out[d] = (float)(raw->x[d] / norm);
    values->z[index] = raw->z / norm;
    values->log_norm[index] = raw->scale + log(norm);
}

double efm_field_blend(double *ux, double uz, const double *vx, double vz, size_t dimension, double gamma)
{
    double uu = uz * uz, vv = vz * vz;
    for (size_t d = 0; d < dimension; d++) {
        uu += ux[d] * ux[d];
        vv += vx[d] * vx[d];
    }
    double root = sqrt((double)dimension + 1);
    double a = root / (sqrt(uu) + gamma), b = root / (sqrt(vv) + gamma);
    for (size_t d = 0; d < dimension; d++)
        ux[d] = a * ux[d] - b * vx[d];
    return a * uz - b * vz;
}
