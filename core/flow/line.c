// SPDX-License-Identifier: Apache-2.0
/* line.c - the life of a line: memory, start, what others may ask of it. */
#include "core/flow/flow_internal.h"

#include <math.h>
#include <string.h>

struct line_sizes {
    size_t dimension, stages, track, frames;
};

static struct line_sizes sizes_of(const struct efm_field *field, const struct efm_flow_options *options)
{
    size_t frames = options->frames;
    return (struct line_sizes){.dimension = efm_field_dimension(field),
                               .stages = efm_tableau_of(options->solver)->stages,
                               .track = frames == 0 ? 0 : 2 * frames + 2,
                               .frames = frames};
}

static bool measure(const struct line_sizes *sizes, struct efm_arena *plan)
{
    size_t row = sizes->dimension * sizeof(float);
    return efm_arena_measure(plan, 2, row) && efm_arena_measure(plan, sizes->stages, row) &&
           efm_arena_measure(plan, sizes->track, row) &&
           efm_arena_measure(plan, sizes->track, sizeof(double)) &&
           efm_arena_measure(plan, sizes->frames, row) &&
           efm_arena_measure(plan, sizes->frames, sizeof(double));
}

static void lay_out(struct efm_line *line, const struct line_sizes *sizes)
{
    size_t row = sizes->dimension * sizeof(float);
    line->x = efm_arena_take(&line->arena, 2, row);
    line->trial = line->x + sizes->dimension;
    line->k = efm_arena_take(&line->arena, sizes->stages, row);
    line->track = efm_arena_take(&line->arena, sizes->track, row);
    line->track_height = efm_arena_take(&line->arena, sizes->track, sizeof(double));
    line->track_capacity = sizes->track;
    line->track_stride = 1;
    line->frames = efm_arena_take(&line->arena, sizes->frames, row);
    line->frame_z = efm_arena_take(&line->arena, sizes->frames, sizeof(double));
}

static enum efm_plate_side other_plate(const struct efm_flow_options *options)
{
    return options->direction == EFM_DIRECTION_FORWARD ? EFM_TARGET : EFM_SOURCE;
}

static void begin(struct efm_line *line, const float *start)
{
    enum efm_plate_side own = line->options.direction == EFM_DIRECTION_FORWARD ? EFM_SOURCE : EFM_TARGET;
    double length = line->length;
    memcpy(line->x, start, line->dimension * sizeof(float));
    memcpy(line->trial, start, line->dimension * sizeof(float));
    line->height = 0;
    line->landing_distance = INFINITY;
    efm_line_record(line);
    if (efm_field_is_learned(line->field)) {
        /* No charge has to be looked for: the plates' ends of what the network knows are where lines begin and land. */
        line->start_height = efm_field_resolution(line->field, own);
        line->landing_height = efm_field_resolution(line->field, other_plate(&line->options));
        if (line->options.solver == EFM_SOLVER_EULER && line->options.steps == 1) {
            line->height = line->start_height; /* straight to the plate, whatever the variable */
            efm_line_ask_here(line, EFM_PHASE_LANDING, line->height);
        } else {
            efm_line_begin_steps(line, line->start_height);
        }
        return;
    }
    /* A tenth of the grain of a plate: there the nearest charge alone decides where the line goes. */
    line->start_height = fmin(0.1 * efm_field_resolution(line->field, own), 0.01 * length);
    line->landing_height =
        fmin(0.1 * efm_field_resolution(line->field, other_plate(&line->options)), 0.01 * length);
    line->trial_height = line->start_height;
    line->phase = EFM_PHASE_PROBE;
}

enum efm_status efm_line_create(struct efm_line **result, const struct efm_field *field,
                                const struct efm_flow_options *options, const float *start,
                                uint64_t image_index, struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = efm_flow_options_check(options, field, error);
    if (status != EFM_OK)
        return status;
    struct line_sizes sizes = sizes_of(field, options);
    for (size_t d = 0; d < sizes.dimension; d++)
        if (!isfinite(start[d]))
            return efm_error_set(error, EFM_E_NUMERIC, "component %zu of the start is not finite", d);
    struct efm_line *line = efm_allocate_array(1, sizeof *line);
    if (line == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a line");
    if (!measure(&sizes, &line->arena)) {
        efm_free(line);
        return efm_error_set(error, EFM_E_LIMIT, "a line of %zu dimensions is too large", sizes.dimension);
    }
    status = efm_arena_create(&line->arena, error);
    if (status != EFM_OK) {
        efm_free(line);
        return status;
    }
    line->field = field;
    line->options = *options;
    line->tableau = efm_tableau_of(options->solver);
    line->arc = options->solver == EFM_SOLVER_ARC_LENGTH;
    line->dimension = sizes.dimension;
    line->length = efm_field_length(field);
    line->sign = options->direction == EFM_DIRECTION_FORWARD ? 1 : -1;
    efm_random_init(&line->start_stream, options->seed, image_index, EFM_RANDOM_START);
    efm_random_init(&line->land_stream, options->seed, image_index, EFM_RANDOM_LAND);
    lay_out(line, &sizes);
    begin(line, start);
    *result = line;
    return EFM_OK;
}

void efm_line_destroy(struct efm_line *line)
{
    if (line == NULL)
        return;
    efm_arena_release(&line->arena);
    efm_free(line);
}

size_t efm_line_bytes(const struct efm_field *field, const struct efm_flow_options *options)
{
    struct line_sizes sizes = sizes_of(field, options);
    struct efm_arena plan = {0};
    return measure(&sizes, &plan) && efm_arena_measure(&plan, 1, sizeof(struct efm_line)) ? plan.size
                                                                                          : SIZE_MAX;
}

enum efm_line_state efm_line_state(const struct efm_line *line)
{
    return line->state;
}

const float *efm_line_position(const struct efm_line *line)
{
    return line->x;
}

double efm_line_height(const struct efm_line *line)
{
    return efm_line_z(line, line->height);
}

uint32_t efm_line_evaluations(const struct efm_line *line)
{
    return line->evaluations;
}

double efm_line_progress(const struct efm_line *line)
{
    return line->progress;
}

double efm_line_landing_distance(const struct efm_line *line)
{
    return line->landing_distance;
}

void efm_line_frames(const struct efm_line *line, const float **x, const double **z, size_t *count)
{
    *count = line->state == EFM_LINE_RUNNING ? 0 : line->options.frames;
    *x = line->frames;
    *z = line->frame_z;
}
