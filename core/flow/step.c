// SPDX-License-Identifier: Apache-2.0
/* step.c - what a line does with one value of the field: start law, stages, error control. */
#include "core/flow/flow_internal.h"

#include <math.h>
#include <string.h>

/* Arc length steps are relative to the distance from the plates; this is the largest, so none jumps a plate.
 */
static const double LARGEST_ARC_STEP = 0.5;

void efm_line_end(struct efm_line *line, enum efm_line_state state)
{
    line->state = state;
    if (state == EFM_LINE_LANDED)
        line->progress = 1;
    efm_line_make_frames(line);
}

/* The step variable of a height and back, and d height / d t; see enum efm_variable. */
static double variable_of(const struct efm_line *line, double height)
{
    switch (line->options.variable) {
    case EFM_VARIABLE_LOG_Z:
        return log(height / (line->length - height));
    case EFM_VARIABLE_ROOT_Z:
        return sqrt(height);
    case EFM_VARIABLE_Z:
        break;
    }
    return height;
}

static double height_of(const struct efm_line *line, double t)
{
    switch (line->options.variable) {
    case EFM_VARIABLE_LOG_Z:
        return line->length / (1 + exp(-t));
    case EFM_VARIABLE_ROOT_Z:
        return t == line->t_end ? line->end_height : t * t; /* on the plate, not beside it */
    case EFM_VARIABLE_Z:
        break;
    }
    return t;
}

/* Euler's in root_z is that of the whole step, so that a step goes straight in z: at the start, where the root is steep, the
 * slope of a point would hardly move the line. */
static double slope_of_height(const struct efm_line *line, double height)
{
    switch (line->options.variable) {
    case EFM_VARIABLE_LOG_Z:
        return height * (line->length - height) / line->length;
    case EFM_VARIABLE_ROOT_Z:
        return line->options.solver == EFM_SOLVER_EULER ? 2 * line->t + line->step : 2 * sqrt(height);
    case EFM_VARIABLE_Z:
        break;
    }
    return 1;
}

void efm_line_ask(struct efm_line *line, enum efm_line_phase phase, double height)
{
    line->phase = phase;
    line->trial_height = height;
}

void efm_line_ask_here(struct efm_line *line, enum efm_line_phase phase, double height)
{
    memcpy(line->trial, line->x, line->dimension * sizeof(float));
    efm_line_ask(line, phase, height);
}

/* Poses the question of the next stage: trial = x + step * sum a_j k_j. */
void efm_line_ask_stage(struct efm_line *line)
{
    const double *a = line->tableau->a[line->stage];
    double height_change = 0;
    memcpy(line->trial, line->x, line->dimension * sizeof(float));
    for (unsigned j = 0; j < line->stage; j++) {
        if (a[j] == 0)
            continue;
        const float *k = line->k + j * line->dimension;
        float weight = (float)(line->step * a[j]);
        for (size_t d = 0; d < line->dimension; d++)
            line->trial[d] += weight * k[d];
        height_change += line->step * a[j] * line->k_height[j];
    }
    double height = line->arc ? line->height + height_change
                              : height_of(line, line->t + line->tableau->c[line->stage] * line->step);
    efm_line_ask(line, EFM_PHASE_STAGE, height);
}

/* The natural unit of an arc length step: how far the nearest charge is, a coordinate each; without charges
 * how far the nearest plate is. Never less than half the height at which a line lands. */
static double nearest_distance(const struct efm_line *line, const struct efm_line_sample *sample)
{
    double nearest = INFINITY, z = efm_line_z(line, line->trial_height);
    for (int side = 0; side < 2; side++) {
        double height = side == EFM_SOURCE ? z : z - line->length;
        double lateral2 = isfinite(sample->nearest[side])
                              ? sample->nearest[side] * sample->nearest[side] / ((double)line->dimension + 1)
                              : 0;
        nearest = fmin(nearest, sqrt(lateral2 + height * height));
    }
    return fmax(nearest, 0.5 * fmin(line->start_height, line->landing_height));
}

/* Writes the slope of stage `stage`; false where the line cannot go on in its variable. */
static bool take_slope(struct efm_line *line, const struct efm_line_sample *sample, unsigned stage)
{
    float *k = line->k + stage * line->dimension;
    double factor;
    if (line->arc) {
        /* Unit speed in units of that distance: laterally a coordinate each, in height at most one. */
        double lateral2 = (1 - sample->z * sample->z) / (double)line->dimension;
        double unit = nearest_distance(line, sample);
        line->next_unit = unit;
        if (stage == 0)
            line->unit = unit;
        factor = unit / sqrt(fmax(lateral2, 0) + sample->z * sample->z);
        line->k_height[stage] = factor * sample->z;
    } else {
        if (!(sample->z > 0))
            return false;
        factor = slope_of_height(line, line->trial_height) / sample->z;
        line->k_height[stage] = slope_of_height(line, line->trial_height);
    }
    factor *= line->sign;
    if (!isfinite(factor) || fabs(factor) > 1e30)
        return false;
    for (size_t d = 0; d < line->dimension; d++)
        k[d] = (float)(factor * sample->x[d]);
    return true;
}

/* ---- the start ---- */

void efm_line_begin_steps(struct efm_line *line, double height)
{
    line->height = height;
    line->stage = 0;
    if (line->arc) {
        line->t_end = INFINITY;
        line->step = 0.1;
    } else {
        double last = line->length - line->landing_height;
        bool straight =
            line->options.solver == EFM_SOLVER_EULER && line->options.variable != EFM_VARIABLE_LOG_Z;
        line->t = line->t_begin = variable_of(line, height);
        line->end_height = straight ? line->length : last;
        line->t_end = variable_of(line, line->end_height);
        /* With fixed steps the straight piece at the end is one of them, except where all steps are straight.
         */
        line->steps_left =
            straight || line->options.steps == 1 ? line->options.steps : line->options.steps - 1;
        line->step = (line->t_end - line->t) / (line->tableau->adaptive ? 16 : line->steps_left);
    }
    efm_line_ask_here(line, EFM_PHASE_STAGE, height);
}

/* A charge sends lines in all directions alike. The one straight up is like none of the others: on the axis nothing pulls
 * it aside, and it meets the middle between two equal charges. So a start on a charge takes a random point of the half
 * sphere around it; returns the height of that point. */
static double leave_charge(struct efm_line *line, double radius)
{
    double up = fabs(efm_random_normal(&line->start_stream)), square = up * up;
    for (size_t d = 0; d < line->dimension; d++) {
        line->trial[d] = (float)efm_random_normal(&line->start_stream);
        square += (double)line->trial[d] * (double)line->trial[d];
    }
    double scale = radius / sqrt(square);
    for (size_t d = 0; d < line->dimension; d++)
        line->x[d] += (float)(scale * (double)line->trial[d]);
    return scale * up;
}

/* The start law: a line begins where its own plate stops being grains: at the height that equals the distance
 * to the nearest charge, a coordinate each. On the plate itself the field would only push along the plate. */
static void take_probe(struct efm_line *line, const struct efm_line_sample *sample)
{
    int own = line->options.direction == EFM_DIRECTION_FORWARD ? EFM_SOURCE : EFM_TARGET;
    double root = sqrt((double)line->dimension + 1), height = sample->nearest[own] / root;
    if (!isfinite(height))
        height = efm_field_resolution(line->field, own); /* a field without charges */
    /* `forward` keeps to the line straight up, as printed: it may not follow one that bends back. */
    bool on_charge = height < line->start_height && line->options.map != EFM_MAP_FORWARD;
    height = fmin(fmax(height, line->start_height), 0.5 * line->length);
    if (line->options.map == EFM_MAP_STOCHASTIC) {
        line->start_height = height = fmax(height, efm_field_resolution(line->field, own));
        if (on_charge)
            (void)leave_charge(line, height * root); /* the side is chosen by E_z at this height */
        efm_line_ask_here(line, EFM_PHASE_ABOVE, height);
        return;
    }
    if (on_charge)
        height = fmin(fmax(leave_charge(line, height * root), 0.01 * height), 0.5 * line->length);
    efm_line_begin_steps(line, height);
}

/* E_z jumps by the density P at the plate: of P's lines the share E_z(0+) / P starts forward, the rest
 * backward. */
static void choose_side(struct efm_line *line, const struct efm_line_sample *behind)
{
    double before = line->field_before, after = efm_line_component(behind, line->t);
    double forward = after < 0 ? before / (before - after) : 1;
    double toss = efm_random_uniform(&line->start_stream);
    efm_line_begin_steps(line, toss < forward ? line->start_height : -line->start_height);
}

/* ---- the end of a step ---- */

/* Error of the height in an arc length step, in units of what is allowed. In the chain the height has a unit of its own,
 * the distance of the nearest plate: far out to the side charges are far away and the walls are not. */
static double height_error(const struct efm_line *line)
{
    double error = 0, unit = line->unit;
    if (line->options.map == EFM_MAP_CHAIN) {
        double wall = fmin(fabs(line->height), fabs(line->length - line->height));
        unit = fmin(unit, fmax(wall, 0.5 * fmin(line->start_height, line->landing_height)));
    }
    for (unsigned j = 0; j < line->tableau->stages; j++)
        error += line->tableau->error[j] * line->k_height[j];
    return fabs(error * line->step / (line->options.tolerance * unit));
}

/* RMS over the coordinates of the embedded error, in units of what is allowed. */
static double step_error(const struct efm_line *line)
{
    double sum = 0, tolerance = line->options.tolerance;
    for (size_t d = 0; d < line->dimension; d++) {
        double error = 0;
        for (unsigned j = 0; j < line->tableau->stages; j++)
            error += line->tableau->error[j] * (double)line->k[j * line->dimension + d];
        double size = line->arc ? line->unit : 1 + fmax(fabs(line->x[d]), fabs(line->trial[d]));
        error *= line->step / (tolerance * size);
        sum += error * error;
    }
    double lateral = sqrt(sum / (double)line->dimension);
    return line->arc ? fmax(lateral, height_error(line)) : lateral;
}

static void shrink_step(struct efm_line *line, double factor, enum efm_line_state otherwise)
{
    line->step *= factor;
    line->rejected = true;
    double smallest = line->arc ? 1e-9 : 1e-9 * fabs(line->t_end - line->t_begin);
    if (fabs(line->step) < smallest) {
        efm_line_end(line, otherwise);
        return;
    }
    if (line->stage == 0) { /* the slope at the beginning itself is bad: nothing can be shortened */
        efm_line_end(line, otherwise);
        return;
    }
    line->stage = 1;
    efm_line_ask_stage(line);
}

/* x and height after the step whose slopes are all known, into trial; returns the height. */
static double sum_stages(struct efm_line *line)
{
    double height = line->height;
    memcpy(line->trial, line->x, line->dimension * sizeof(float));
    for (unsigned j = 0; j < line->tableau->stages; j++) {
        double b = line->tableau->b[j];
        if (b == 0)
            continue;
        const float *k = line->k + j * line->dimension;
        float weight = (float)(line->step * b);
        for (size_t d = 0; d < line->dimension; d++)
            line->trial[d] += weight * k[d];
        height += line->step * b * line->k_height[j];
    }
    return height;
}

static void accept_step(struct efm_line *line, double height, double next_step,
                        const struct efm_line_sample *sample)
{
    memcpy(line->x, line->trial, line->dimension * sizeof(float));
    line->t += line->step;
    bool fixed = !line->tableau->adaptive;
    if (fixed && --line->steps_left == 0)
        line->t = line->t_end;
    line->height = line->arc ? height : height_of(line, line->t);
    double travelled =
        line->arc ? line->height / line->length : (line->t - line->t_begin) / (line->t_end - line->t_begin);
    line->progress = fmin(fmax(line->progress, travelled), 0.999);
    if (!efm_line_is_finite(line)) {
        efm_line_end(line, EFM_LINE_NOT_FINITE);
        return;
    }
    if (line->height == line->length) {
        efm_line_end(line, EFM_LINE_LANDED);
        return;
    }
    efm_line_record(line);
    const struct efm_line_sample *here = NULL;
    if (line->tableau->first_same_as_last) {
        here = sample;
        memcpy(line->k, line->k + (line->tableau->stages - 1) * line->dimension,
               line->dimension * sizeof(float));
        line->unit = line->next_unit;
        line->k_height[0] = line->k_height[line->tableau->stages - 1];
        line->step = next_step;
        if (!line->arc && line->t + line->step > line->t_end)
            line->step = line->t_end - line->t;
    }
    if (line->options.map == EFM_MAP_STOCHASTIC)
        efm_line_stochastic_events(line, here);
    else
        efm_line_plane_events(line, here);
}

/* No line of the chain leaves the slab, and one that is to stop at the other plate must not jump over it. */
static bool passes_wall(const struct efm_line *line, double height)
{
    if (!line->arc || line->options.map == EFM_MAP_STOCHASTIC)
        return false;
    return height > line->length || (height < 0 && line->options.map == EFM_MAP_CHAIN);
}

static void finish_step(struct efm_line *line, const struct efm_line_sample *sample)
{
    double height = sum_stages(line), next = line->step;
    if (line->tableau->adaptive) {
        double error = step_error(line);
        if (passes_wall(line, height))
            error = fmax(error, 1e3); /* the step was too long */
        if (!(error <= 1)) {
            double factor = isfinite(error) ? fmax(0.9 * pow(error, -1. / line->tableau->order), 0.2) : 0.2;
            shrink_step(line, factor, EFM_LINE_LOST);
            return;
        }
        double growth =
            fmin(0.9 * pow(fmax(error, 1e-8), -1. / line->tableau->order), line->rejected ? 1 : 5);
        next = line->step * growth;
        if (line->arc)
            next = fmin(next, LARGEST_ARC_STEP);
        line->rejected = false;
        /* The last step is made to end on t_end; rounding must not leave a crumb behind. */
        if (!line->arc && line->t_end - (line->t + line->step) < 1e-9 * (line->t_end - line->t_begin))
            line->step = line->t_end - line->t;
    }
    accept_step(line, height, next, sample);
}

static void take_stage(struct efm_line *line, const struct efm_line_sample *sample)
{
    if (!take_slope(line, sample, line->stage)) {
        if (line->tableau->adaptive)
            shrink_step(line, 0.25, EFM_LINE_TURNED);
        else
            efm_line_end(line, EFM_LINE_TURNED);
        return;
    }
    line->stage++;
    if (line->stage < line->tableau->stages)
        efm_line_ask_stage(line);
    else
        finish_step(line, sample);
}

void efm_line_advance(struct efm_line *line, const struct efm_line_sample *sample)
{
    int other = line->options.direction == EFM_DIRECTION_FORWARD ? EFM_TARGET : EFM_SOURCE;
    line->evaluations++;
    line->landing_distance = sample->nearest[other];
    switch (line->phase) {
    case EFM_PHASE_PROBE:
        take_probe(line, sample);
        break;
    case EFM_PHASE_ABOVE:
        line->t = sample->log_norm; /* reference of both logarithms */
        line->field_before = fmax(sample->z, 0);
        efm_line_ask_here(line, EFM_PHASE_BEHIND, -line->start_height);
        break;
    case EFM_PHASE_BEHIND:
        choose_side(line, sample);
        break;
    case EFM_PHASE_STAGE:
        take_stage(line, sample);
        break;
    case EFM_PHASE_LANDING:
        if (sample->z > 0)
            efm_line_land(line, sample);
        else
            efm_line_end(line, EFM_LINE_TURNED);
        break;
    case EFM_PHASE_BEYOND:
        efm_line_choose_landing(line, sample);
        break;
    }
    if (line->state == EFM_LINE_RUNNING && line->evaluations >= line->options.max_evaluations)
        efm_line_end(line, EFM_LINE_LOST);
}
