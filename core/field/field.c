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

struct efm_rows efm_rows_of(const struct efm_exact_field *field, enum efm_plate_side side, double z)
{
    double length = field->base.length;
    struct efm_rows rows = {.offset = side == EFM_SOURCE ? z : z - length, .period = 2 * length};
    if (field->base.kind != EFM_FIELD_CHAIN)
        return rows;
    long k = field->chain_rows;
    if (k == 0)
        k = field->base.dimension <= EFM_EXACT_LOW_DIMENSION ? EFM_CHAIN_ROWS_LOW : EFM_CHAIN_ROWS_AUTO;
    /* Heights kL for -K <= k <= K+1, even for the source and odd for the target: symmetric about z = L/2. */
    rows.first = side == EFM_SOURCE ? -(k / 2) : -((k + 1) / 2);
    rows.last = side == EFM_SOURCE ? (k + 1) / 2 : k / 2;
    double nearest = round(rows.offset / rows.period);
    rows.nearest = nearest < (double)rows.first  ? rows.first
                   : nearest > (double)rows.last ? rows.last
                                                 : (long)nearest;
    return rows;
}

struct efm_row_sum efm_rows_sum(const struct efm_rows *rows, double s2, double h, double top)
{
    const double faint = 40; /* e^-40 of the nearest row is below the last bit of the sums */
    double dz = efm_rows_height(rows, rows->nearest);
    double first = -h * log(s2 + dz * dz) - top;
    double q = exp(first);
    struct efm_row_sum sum = {q, dz * q};
    bool up = true, down = true;
    for (long j = 1; up || down; j++) {
        if (down) {
            down = rows->nearest - j >= rows->first;
            dz = efm_rows_height(rows, rows->nearest - j);
            double l = -h * log(s2 + dz * dz) - top;
            down = down && l > first - faint;
            q = down ? exp(l) : 0;
            sum.q += q;
            sum.dz_q += dz * q;
        }
        if (up) {
            up = rows->nearest + j <= rows->last;
            dz = efm_rows_height(rows, rows->nearest + j);
            double l = -h * log(s2 + dz * dz) - top;
            up = up && l > first - faint;
            q = up ? exp(l) : 0;
            sum.q += q;
            sum.dz_q += dz * q;
        }
    }
    return sum;
}
