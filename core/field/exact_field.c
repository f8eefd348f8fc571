// SPDX-License-Identifier: Apache-2.0
#include "core/field/field_internal.h"
#include "core/field/products.h"

#include <string.h>

/* A plate's resolution is a median over at most this many of its charges. */
enum { RESOLUTION_SAMPLES = 64 };
enum { CENTRE_STRIP = 256 }; /* dimensions whose mean is taken at once */

static void plate_release(struct efm_plate *plate)
{
    efm_free(plate->charges);
    efm_free(plate->panels);
    efm_free(plate->squared_norm);
    efm_free(plate->norm);
    efm_free(plate->columns);
    *plate = (struct efm_plate){0};
}

void efm_exact_field_release(struct efm_field *field)
{
    struct efm_exact_field *exact = (struct efm_exact_field *)field;
    plate_release(&exact->plates[EFM_SOURCE]);
    plate_release(&exact->plates[EFM_TARGET]);
    efm_free(exact->centre);
    efm_free(exact);
}

static const struct efm_field_class *choose_class(enum efm_exact_path path, size_t dimension)
{
    switch (path) {
    case EFM_EXACT_PLAIN:
        return &efm_coulomb_plain_class;
    case EFM_EXACT_BLAS:
        return &efm_coulomb_blas_class;
    case EFM_EXACT_LOW:
        return dimension <= EFM_EXACT_LOW_DIMENSION ? &efm_coulomb_low_class : NULL;
    case EFM_EXACT_AUTO:
        break;
    }
    return dimension <= EFM_EXACT_LOW_DIMENSION ? &efm_coulomb_low_class : &efm_coulomb_blas_class;
}

static enum efm_status check_sizes(size_t source_count, size_t target_count, size_t dimension,
                                   const struct efm_exact_options *options, struct efm_error *error)
{
    if (source_count == 0 || target_count == 0 || dimension == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "both plates need at least one charge");
    if (source_count > INT32_MAX || target_count > INT32_MAX || dimension > INT32_MAX / 2)
        return efm_error_set(error, EFM_E_LIMIT, "a plate holds at most %d charges", INT32_MAX);
    if (!(options->length > 0) || !isfinite(options->length))
        return efm_error_set(error, EFM_E_ARGUMENT, "L must be a positive number, not %g", options->length);
    if (!(options->gamma >= 0) || !isfinite(options->gamma))
        return efm_error_set(error, EFM_E_ARGUMENT, "gamma must not be negative, not %g", options->gamma);
    if ((unsigned)options->kind > EFM_FIELD_CHAIN)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "charges make no field of the kind %s: it can only be learned",
                             efm_field_kind_name(options->kind));
    if (options->chain_rows > 4096)
        return efm_error_set(error, EFM_E_ARGUMENT, "a chain has at most 4096 rows a side");
    return EFM_OK;
}

static enum efm_status check_charges(const float *source, size_t source_count, const float *target,
                                     size_t target_count, size_t dimension, struct efm_error *error)
{
    for (size_t i = 0; i < source_count * dimension; i++)
        if (!isfinite(source[i]))
            return efm_error_set(error, EFM_E_NUMERIC, "sample %zu of the source is not finite",
                                 i / dimension);
    for (size_t i = 0; i < target_count * dimension; i++)
        if (!isfinite(target[i]))
            return efm_error_set(error, EFM_E_NUMERIC, "sample %zu of the target is not finite",
                                 i / dimension);
    return EFM_OK;
}

static bool panels_length(size_t count, size_t dimension, size_t *length)
{
    return efm_size_multiply(efm_panel_count(count), EFM_PANEL * efm_panel_rows(dimension), length);
}

static bool plate_allocate(struct efm_plate *plate, size_t count, size_t dimension,
                           const struct efm_field_class *class)
{
    plate->count = count;
    plate->charges = efm_allocate_array(count * dimension, sizeof(float));
    if (plate->charges == NULL)
        return false;
    if (class == &efm_coulomb_low_class) {
        plate->columns = efm_allocate_array(count * dimension, sizeof(double));
        return plate->columns != NULL;
    }
    size_t length;
    if (class != &efm_coulomb_blas_class)
        return true;
    if (!panels_length(count, dimension, &length))
        return false;
    plate->panels = efm_allocate_array(length, sizeof(float));
    plate->squared_norm = efm_allocate_array(count, sizeof(double));
    plate->norm = efm_allocate_array(count, sizeof(double));
    return plate->panels != NULL && plate->squared_norm != NULL && plate->norm != NULL;
}

static void update_columns(struct efm_plate *plate, size_t dimension)
{
    for (size_t j = 0; j < plate->count; j++)
        for (size_t d = 0; d < dimension; d++)
            plate->columns[d * plate->count + j] = plate->charges[j * dimension + d];
}

EFM_CLONES static void add_row(double *restrict sum, const float *restrict row, size_t count)
{
#pragma omp simd
    for (size_t d = 0; d < count; d++)
        sum[d] += row[d];
}

/* The centre of one strip of dimensions. */
static void update_centre(void *context, size_t index, size_t slot)
{
    (void)slot;
    struct efm_exact_field *field = context;
    size_t dimension = field->base.dimension, first = index * CENTRE_STRIP;
    size_t count = dimension - first < CENTRE_STRIP ? dimension - first : CENTRE_STRIP;
    double centre[CENTRE_STRIP] = {0};
    for (int side = 0; side < 2; side++) {
        const struct efm_plate *plate = &field->plates[side];
        double sum[CENTRE_STRIP] = {0};
        for (size_t j = 0; j < plate->count; j++)
            add_row(sum, plate->charges + j * dimension + first, count);
        for (size_t d = 0; d < count; d++)
            centre[d] += sum[d] / (double)plate->count / 2;
    }
    for (size_t d = 0; d < count; d++)
        field->centre[first + d] = (float)centre[d];
}

/* Squared norms of a panel's charges: a lane is a charge, so each is summed in the order of its dimensions. */
EFM_CLONES static void panel_norms(double *restrict sum, const float *restrict panel, size_t dimension)
{
    for (size_t d = 0; d < dimension; d++) {
#pragma omp simd
        for (size_t j = 0; j < EFM_PANEL; j++)
            sum[j] += (double)panel[d * EFM_PANEL + j] * panel[d * EFM_PANEL + j];
    }
}

static void update_panel(void *context, size_t index, size_t slot)
{
    (void)slot;
    struct efm_exact_field *field = context;
    size_t dimension = field->base.dimension, first = efm_panel_count(field->plates[EFM_SOURCE].count);
    struct efm_plate *plate = &field->plates[index < first ? EFM_SOURCE : EFM_TARGET];
    index -= index < first ? 0 : first;
    size_t charge = index * EFM_PANEL;
    size_t count = plate->count - charge < EFM_PANEL ? plate->count - charge : EFM_PANEL;
    float *panel = plate->panels + index * EFM_PANEL * efm_panel_rows(dimension);
    double sum[EFM_PANEL] = {0};
    efm_panels_fill(panel, plate->charges + charge * dimension, field->centre, count, dimension);
    panel_norms(sum, panel, dimension);
    for (size_t j = 0; j < count; j++) {
        plate->squared_norm[charge + j] = sum[j];
        plate->norm[charge + j] = sqrt(sum[j]);
    }
}

void efm_exact_field_update(struct efm_field *field, struct efm_team *team)
{
    struct efm_exact_field *exact = (struct efm_exact_field *)field;
    size_t dimension = field->dimension;
    if (field->class == &efm_coulomb_low_class)
        for (int side = 0; side < 2; side++)
            update_columns(&exact->plates[side], dimension);
    if (field->class != &efm_coulomb_blas_class)
        return;
    size_t panels = efm_panel_count(exact->plates[0].count) + efm_panel_count(exact->plates[1].count);
    efm_team_run(team, (dimension + CENTRE_STRIP - 1) / CENTRE_STRIP, update_centre, exact);
    efm_team_run(team, panels, update_panel, exact);
}

float *efm_exact_field_charges(struct efm_field *field, enum efm_plate_side side)
{
    return ((struct efm_exact_field *)field)->plates[side].charges;
}

static double nearest_neighbour(const struct efm_plate *plate, size_t dimension, size_t self)
{
    double nearest = INFINITY;
    const float *x = plate->charges + self * dimension;
    for (size_t j = 0; j < plate->count; j++) {
        double sum = 0;
        const float *y = plate->charges + j * dimension;
        for (size_t d = 0; d < dimension && sum < nearest; d += 256) {
            size_t end = d + 256 < dimension ? d + 256 : dimension;
#pragma omp simd reduction(+ : sum)
            for (size_t e = d; e < end; e++)
                sum += ((double)x[e] - y[e]) * ((double)x[e] - y[e]);
        }
        if (sum > 0 && sum < nearest)
            nearest = sum;
    }
    return sqrt(nearest);
}

/* Median over charges spread evenly through the plate of the distance to the nearest different charge,
 * divided by sqrt(D + 1); a plate of one place only falls back to a thousandth of L. */
static double plate_resolution(const struct efm_plate *plate, size_t dimension, double length)
{
    double found[RESOLUTION_SAMPLES];
    size_t samples = plate->count < RESOLUTION_SAMPLES ? plate->count : RESOLUTION_SAMPLES;
    for (size_t i = 0; i < samples; i++) {
        double distance = nearest_neighbour(plate, dimension, i * plate->count / samples);
        size_t place = i;
        for (; place > 0 && found[place - 1] > distance; place--)
            found[place] = found[place - 1];
        found[place] = distance;
    }
    double median = found[samples / 2] / sqrt((double)dimension + 1);
    return isfinite(median) ? fmin(median, 0.1 * length) : 1e-3 * length;
}

enum efm_status efm_exact_field_create_empty(struct efm_field **result, size_t source_count,
                                             size_t target_count, size_t dimension,
                                             const struct efm_exact_options *options, struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = check_sizes(source_count, target_count, dimension, options, error);
    if (status != EFM_OK)
        return status;
    const struct efm_field_class *class = choose_class(options->path, dimension);
    if (class == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "the path for few dimensions ends at %d",
                             EFM_EXACT_LOW_DIMENSION);
    struct efm_exact_field *field = efm_allocate_array(1, sizeof *field);
    if (field == NULL || efm_exact_field_bytes(source_count, target_count, dimension) == SIZE_MAX)
        goto no_memory;
    field->base = (struct efm_field){
        .class = class, .kind = options->kind, .dimension = dimension, .length = options->length};
    field->gamma = options->gamma;
    field->chain_rows = options->chain_rows;
    field->base.resolution[EFM_SOURCE] = field->base.resolution[EFM_TARGET] = 1e-3 * options->length;
    if (!plate_allocate(&field->plates[EFM_SOURCE], source_count, dimension, class) ||
        !plate_allocate(&field->plates[EFM_TARGET], target_count, dimension, class))
        goto no_memory;
    if (class == &efm_coulomb_blas_class) {
        field->centre = efm_allocate_array(dimension, sizeof *field->centre);
        if (field->centre == NULL)
            goto no_memory;
    }
    *result = &field->base;
    return EFM_OK;
no_memory:
    if (field != NULL)
        efm_exact_field_release(&field->base);
    return efm_error_set(error, EFM_E_MEMORY, "no memory for a field of %zu and %zu charges", source_count,
                         target_count);
}

enum efm_status efm_exact_field_create(struct efm_field **result, const float *source, size_t source_count,
                                       const float *target, size_t target_count, size_t dimension,
                                       const struct efm_exact_options *options, struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = check_sizes(source_count, target_count, dimension, options, error);
    if (status == EFM_OK)
        status = check_charges(source, source_count, target, target_count, dimension, error);
    if (status == EFM_OK)
        status = efm_exact_field_create_empty(result, source_count, target_count, dimension, options, error);
    if (status != EFM_OK)
        return status;
    struct efm_exact_field *field = (struct efm_exact_field *)*result;
    memcpy(field->plates[EFM_SOURCE].charges, source, source_count * dimension * sizeof *source);
    memcpy(field->plates[EFM_TARGET].charges, target, target_count * dimension * sizeof *target);
    efm_exact_field_update(*result, NULL);
    for (int side = 0; side < 2; side++)
        field->base.resolution[side] = plate_resolution(&field->plates[side], dimension, options->length);
    return EFM_OK;
}

const float *efm_field_charges(const struct efm_field *field, enum efm_plate_side side, size_t *count)
{
    const struct efm_field_class *class = field->class;
    if (class != &efm_coulomb_plain_class && class != &efm_coulomb_blas_class &&
        class != &efm_coulomb_low_class) {
        *count = 0;
        return NULL;
    }
    const struct efm_plate *plate = &efm_exact_field(field)->plates[side];
    *count = plate->count;
    return plate->charges;
}

size_t efm_exact_field_bytes(size_t source_count, size_t target_count, size_t dimension)
{
    const size_t counts[2] = {source_count, target_count};
    struct efm_arena plan = {0};
    bool few = dimension <= EFM_EXACT_LOW_DIMENSION;
    bool fits = efm_arena_measure(&plan, 1, sizeof(struct efm_exact_field)) &&
                efm_arena_measure(&plan, dimension, sizeof(float));
    for (int side = 0; side < 2; side++) {
        size_t values = 0, copy = 0; /* the copy is of columns or of panels */
        fits = fits && efm_size_multiply(counts[side], dimension, &values) &&
               (few ||
                (dimension < SIZE_MAX / EFM_PANEL / 2 && panels_length(counts[side], dimension, &copy))) &&
               efm_arena_measure(&plan, values, sizeof(float)) &&
               efm_arena_measure(&plan, few ? values : copy, few ? sizeof(double) : sizeof(float)) &&
               efm_arena_measure(&plan, counts[side], sizeof(double)) &&
               efm_arena_measure(&plan, counts[side], sizeof(double));
    }
    return fits ? plan.size : SIZE_MAX;
}
