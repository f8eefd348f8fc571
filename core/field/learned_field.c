// SPDX-License-Identifier: Apache-2.0
/* learned_field.c - a network's (f_x, f_z) as a field: the same questions, answered without charges. */
#include "core/field/learned.h"

#include "core/field/field_internal.h"

#include <string.h>

struct learned_field {
    struct efm_field base;
    struct efm_learned_options options; /* precision resolved */
    struct efm_net *net;                /* referenced */
    struct efm_net_weights *weights;    /* owned; runs borrow it */
};

/* Parts of a workspace: the run is owned, the others lie in the arena. */
enum { PART_RUN, PART_HEIGHTS, PART_COMPONENTS };

static const struct learned_field *learned(const struct efm_field *field)
{
    return (const struct learned_field *)field;
}

/* ---- workspaces ---- */

static bool measure(const struct efm_field *field, size_t capacity, size_t slots, struct efm_arena *plan)
{
    (void)field;
    (void)slots;
    return efm_arena_measure(plan, capacity, sizeof(float)) &&
           efm_arena_measure(plan, capacity, sizeof(float));
}

static void lay_out(struct efm_field_workspace *workspace)
{
    workspace->parts[PART_HEIGHTS] = efm_arena_take(&workspace->arena, workspace->capacity, sizeof(float));
    workspace->parts[PART_COMPONENTS] = efm_arena_take(&workspace->arena, workspace->capacity, sizeof(float));
}

static enum efm_status open_run(struct efm_field_workspace *workspace, struct efm_error *error)
{
    struct efm_net_run *run = NULL;
    enum efm_status status = efm_net_run_create(&run, learned(workspace->field)->weights, workspace->capacity,
                                                workspace->team, error);
    workspace->parts[PART_RUN] = run;
    return status;
}

static void close_run(struct efm_field_workspace *workspace)
{
    efm_net_run_destroy(workspace->parts[PART_RUN]);
}

/* ---- evaluation ---- */

EFM_CLONES static double squared_length_of(const float *restrict x, size_t dimension)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t d = 0; d < dimension; d++)
        sum += (double)x[d] * (double)x[d];
    return sum;
}

EFM_CLONES static void divide_in_place(float *restrict x, double norm, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] = (float)((double)x[d] / norm);
}

/* (f_x, f_z), f_x in place of the direction, to unit length. Squares of floats neither vanish nor overflow in doubles. */
static void normalise(float *x, double z, size_t dimension, double *out_z, double *log_norm)
{
    double norm = sqrt(squared_length_of(x, dimension) + z * z);
    if (!(norm > 0) || !isfinite(norm)) {
        memset(x, 0, dimension * sizeof *x);
        *out_z = 0;
        *log_norm = norm == 0 ? -INFINITY : INFINITY; /* what is no number has no direction, as on a charge */
        return;
    }
    divide_in_place(x, norm, dimension);
    *out_z = z / norm;
    *log_norm = log(norm);
}

static void evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                     const double *z, size_t count, const struct efm_field_values *values)
{
    const struct learned_field *self = learned(field);
    float *heights = workspace->parts[PART_HEIGHTS], *components = workspace->parts[PART_COMPONENTS];
    size_t dimension = field->dimension;
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        heights[i] = (float)z[i];
    efm_net_forward(workspace->parts[PART_RUN], x, heights, count, values->x, components);
    for (size_t i = 0; i < count; i++) {
        double component = self->options.velocity ? 1 : (double)components[i];
        normalise(values->x + i * dimension, component, dimension, &values->z[i], &values->log_norm[i]);
    }
    for (size_t i = 0; i < 2 * count && values->nearest != NULL; i++)
        values->nearest[i] = INFINITY;
}

/* ---- life ---- */

static void destroy(struct efm_field *field)
{
    struct learned_field *self = (struct learned_field *)field;
    efm_net_weights_destroy(self->weights);
    efm_net_unref(self->net);
    efm_free(self);
}

static const struct efm_field_class learned_class = {
    .measure = measure,
    .lay_out = lay_out,
    .evaluate = evaluate,
    .destroy = destroy,
    .open = open_run,
    .close = close_run,
    .learned = true,
};

static enum efm_status check(const struct efm_net *net, const float *parameters,
                             const struct efm_learned_options *options, struct efm_error *error)
{
    if (!(options->length > 0) || !isfinite(options->length))
        return efm_error_set(error, EFM_E_ARGUMENT, "L must be a positive number, not %g", options->length);
    if (!(options->lowest > 0 && options->lowest < 0.5 * options->length))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the lowest height must lie above 0 and below L / 2, not at %g",
                             options->lowest);
    if ((unsigned)options->kind > EFM_FIELD_FLOW_MATCHING)
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no such kind of field");
    for (size_t i = 0; i < efm_net_size(net); i++)
        if (!isfinite(parameters[i]))
            return efm_error_set(error, EFM_E_NUMERIC, "parameter %zu of the network is not finite", i);
    return EFM_OK;
}

enum efm_status efm_learned_field_create(struct efm_field **result, struct efm_net *net,
                                         const float *parameters, const struct efm_learned_options *options,
                                         struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = check(net, parameters, options, error);
    if (status != EFM_OK)
        return status;
    struct learned_field *field = efm_allocate_array(1, sizeof *field);
    if (field == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a learned field");
    field->base = (struct efm_field){.class = &learned_class,
                                     .kind = options->kind,
                                     .dimension = efm_net_config(net)->shape.dimension,
                                     .length = options->length,
                                     .resolution = {options->lowest, options->lowest}};
    field->options = *options;
    field->net = efm_net_ref(net);
    status = efm_precision_resolve(&field->options.precision, error);
    if (status == EFM_OK) {
        const struct efm_net_weights_options wanted = {.precision = field->options.precision};
        status = efm_net_weights_create(&field->weights, net, &wanted, error);
    }
    if (status != EFM_OK) {
        destroy(&field->base);
        return status;
    }
    efm_net_weights_set(field->weights, parameters, NULL);
    *result = &field->base;
    return EFM_OK;
}

const struct efm_learned_options *efm_learned_field_options(const struct efm_field *field)
{
    return field->class == &learned_class ? &learned(field)->options : NULL;
}

struct efm_net *efm_learned_field_net(const struct efm_field *field)
{
    return field->class == &learned_class ? learned(field)->net : NULL;
}

size_t efm_learned_field_bytes(const struct efm_field *field)
{
    if (field->class != &learned_class)
        return 0;
    return sizeof(struct learned_field) + efm_net_weights_bytes(learned(field)->weights);
}

size_t efm_learned_field_run_bytes(const struct efm_field *field, size_t capacity, size_t threads)
{
    struct efm_arena plan = {0};
    size_t bytes;
    if (field->class != &learned_class)
        return 0;
    bool fits = measure(field, capacity, threads, &plan) &&
                efm_size_add(efm_net_run_bytes_planned(learned(field)->weights, capacity, threads), plan.size,
                             &bytes);
    return fits ? bytes : SIZE_MAX;
}
