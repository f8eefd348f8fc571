// SPDX-License-Identifier: Apache-2.0
/* step.c - what a line does with one value of the field: start law, stages, error control, landing rules. */
#include "core/flow/flow_internal.h"

#include <math.h>
#include <string.h>

/* Lines past this many lengths of the capacitor will not come back in time. */
static const double FAR_AWAY = 1e4;
/* Arc length steps are relative to the distance from the plates; this is the largest, so none jumps a plate.
 */
static const double LARGEST_ARC_STEP = 0.5;
/* Agreement of two lengths, relative, that calls the last piece of a line straight: far below what chance gives, far
 * above the rounding of a field in which a single charge is left. */
static const double CAPTURE = 1e-9;

static void end(struct efm_line *line, enum efm_line_state state)
{
    line->state = state;
    if (state == EFM_LINE_LANDED)
        line->progress = 1;
    efm_line_make_frames(line);
}

/* The step variable of a height and back, and d height / d t; see enum efm_variable. */
static double variable_of(const struct efm_line *line, double height)
{
    return line->options.variable == EFM_VARIABLE_Z ? height : log(height / (line->length - height));
}

static double height_of(const struct efm_line *line, double t)
{
    return line->options.variable == EFM_VARIABLE_Z ? t : line->length / (1 + exp(-t));
}

static double slope_of_height(const struct efm_line *line, double height)
{
    return line->options.variable == EFM_VARIABLE_Z ? 1 : height * (line->length - height) / line->length;
}

static void ask(struct efm_line *line, enum efm_line_phase phase, double height)
{
    line->phase = phase;
    line->trial_height = height;
}

static void ask_here(struct efm_line *line, enum efm_line_phase phase, double height)
{
    memcpy(line->trial, line->x, line->dimension * sizeof(float));
    ask(line, phase, height);
}

/* Poses the question of the next stage: trial = x + step * sum a_j k_j. */
static void ask_stage(struct efm_line *line)
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
    ask(line, EFM_PHASE_STAGE, height);
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

/* Where a straight line along the direction of the sample reaches another height. */
static void point_straight(const struct efm_line *line, const struct efm_line_sample *sample, double height,
                           float *out)
{
    double slope = line->sign * (height - line->height) / sample->z;
    for (size_t d = 0; d < line->dimension; d++)
        out[d] = line->x[d] + (float)(slope * sample->x[d]);
}

static void move_straight(struct efm_line *line, const struct efm_line_sample *sample, double height)
{
    point_straight(line, sample, height, line->x);
    line->height = height;
}

static bool position_is_finite(const struct efm_line *line)
{
    for (size_t d = 0; d < line->dimension; d++)
        if (!isfinite(line->x[d]))
            return false;
    return true;
}

/* The last straight piece. A line that is being watched shows some of it: half of the way that is left, again and again. */
static void land(struct efm_line *line, const struct efm_line_sample *sample)
{
    enum { HALVINGS = 6 };
    for (int i = 0; i < HALVINGS && line->track_capacity > 0; i++) {
        move_straight(line, sample, 0.5 * (line->height + line->length));
        efm_line_record(line);
    }
    move_straight(line, sample, line->length);
    end(line, position_is_finite(line) ? EFM_LINE_LANDED : EFM_LINE_NOT_FINITE);
}

/* ---- the start ---- */

static void begin_steps(struct efm_line *line, double height)
{
    line->height = height;
    line->stage = 0;
    if (line->arc) {
        line->t_end = INFINITY;
        line->step = 0.1;
    } else {
        double last = line->length - line->landing_height;
        bool straight = line->options.solver == EFM_SOLVER_EULER && line->options.variable == EFM_VARIABLE_Z;
        line->t = line->t_begin = variable_of(line, height);
        line->t_end = variable_of(line, straight ? line->length : last);
        /* With fixed steps the straight piece at the end is one of them, except where all steps are straight.
         */
        line->steps_left =
            straight || line->options.steps == 1 ? line->options.steps : line->options.steps - 1;
        line->step = (line->t_end - line->t) / (line->tableau->adaptive ? 16 : line->steps_left);
    }
    ask_here(line, EFM_PHASE_STAGE, height);
}

/* The start law: a line begins where its own plate stops being grains: at the height that equals the distance
 * to the nearest charge, a coordinate each. On the plate itself the field would only push along the plate. */
static void take_probe(struct efm_line *line, const struct efm_line_sample *sample)
{
    int own = line->options.direction == EFM_DIRECTION_FORWARD ? EFM_SOURCE : EFM_TARGET;
    double height = sample->nearest[own] / sqrt((double)line->dimension + 1);
    if (!isfinite(height))
        height = efm_field_resolution(line->field, own); /* a field without charges */
    height = fmin(fmax(height, line->start_height), 0.5 * line->length);
    if (line->options.map != EFM_MAP_STOCHASTIC) {
        begin_steps(line, height);
        return;
    }
    line->start_height = height = fmax(height, efm_field_resolution(line->field, own));
    ask_here(line, EFM_PHASE_ABOVE, height);
}

static double component_along(const struct efm_line_sample *sample, double reference)
{
    return sample->z * exp(sample->log_norm - reference);
}

/* E_z jumps by the density P at the plate: of P's lines the share E_z(0+) / P starts forward, the rest
 * backward. */
static void choose_side(struct efm_line *line, const struct efm_line_sample *behind)
{
    double before = line->field_before, after = component_along(behind, line->t);
    double forward = after < 0 ? before / (before - after) : 1;
    double toss = efm_random_uniform(&line->start_stream);
    begin_steps(line, toss < forward ? line->start_height : -line->start_height);
}

/* ---- the end of a step ---- */

/* Error of the height in an arc length step, in units of what is allowed. The height has its own unit, the distance of
 * the nearest plate: far out to the side charges are far away and plates are not. */
static double height_error(const struct efm_line *line)
{
    double error = 0;
    double unit = fmin(fabs(line->height), fabs(line->length - line->height));
    unit = fmin(fmax(unit, 0.5 * fmin(line->start_height, line->landing_height)), line->unit);
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
        end(line, otherwise);
        return;
    }
    if (line->stage == 0) { /* the slope at the beginning itself is bad: nothing can be shortened */
        end(line, otherwise);
        return;
    }
    line->stage = 1;
    ask_stage(line);
}

/* After an accepted step, at (x, height) with the direction of `sample` when that was taken here. */
static void stochastic_events(struct efm_line *line, const struct efm_line_sample *here)
{
    double height = line->height, length = line->length;
    double below = line->start_height, above = line->landing_height * 10;
    bool rising = here->z > 0;
    if (fabs(height) <= below && (rising ? height < 0 : height > 0)) {
        /* Through the own plate: charges of the same sign let a line pass. */
        move_straight(line, here, rising ? below : -below);
        line->step = 0.1;
        line->stage = 0;
        ask_here(line, EFM_PHASE_STAGE, line->height);
        return;
    }
    if (fabs(height - length) <= above && rising && height < length) {
        /* The step over the plate is kept in `trial` until it is known whether the line stops on the way. */
        line->field_before = here->z;
        line->t = here->log_norm;
        point_straight(line, here, length + above, line->trial);
        ask(line, EFM_PHASE_BEYOND, length + above);
        return;
    }
    if (fabs(height - length) <= above && !rising && height > length) {
        land(line, here);
        return;
    }
    if (fabs(height) > FAR_AWAY * length) {
        end(line, EFM_LINE_LOST);
        return;
    }
    line->stage = 1;
    ask_stage(line);
}

/* E_z jumps by -Q at the other plate: of the lines that arrive from inside the share (E_z(L-) - E_z(L+)) /
 * E_z(L-) stops, the rest goes on behind the plate. */
static void choose_landing(struct efm_line *line, const struct efm_line_sample *beyond)
{
    double before = line->field_before, after = component_along(beyond, line->t);
    double toss = efm_random_uniform(&line->land_stream);
    if (after <= 0 || toss < (before - after) / before) {
        float part = (float)((line->length - line->height) / (line->trial_height - line->height));
        for (size_t d = 0; d < line->dimension; d++)
            line->x[d] += part * (line->trial[d] - line->x[d]);
        line->height = line->length;
        end(line, position_is_finite(line) ? EFM_LINE_LANDED : EFM_LINE_NOT_FINITE);
        return;
    }
    memcpy(line->x, line->trial, line->dimension * sizeof(float));
    line->height = line->trial_height;
    line->step = 0.1;
    line->stage = 0;
    ask(line, EFM_PHASE_STAGE, line->height);
}

/* Close to the charge that it will end on a line is straight, and the straight piece may be taken at once. It
 * is known by its length: continued to the plate, the direction here ends as far away as the nearest charge
 * is. */
static bool is_captured(const struct efm_line *line, const struct efm_line_sample *here)
{
    double height = line->length - line->height, lateral = line->landing_distance;
    if (here == NULL || !(here->z > 0) || !isfinite(lateral) ||
        lateral > height * sqrt((double)line->dimension))
        return false;
    double reached = height * sqrt(fmax(1 - here->z * here->z, 0)) / here->z;
    return fabs(reached - lateral) <= CAPTURE * lateral;
}

/* Whether the other plate is reached. In the chain E_z vanishes on the plate off the charges, and a line that comes in from
 * the side runs along the plate: it has arrived only where a charge is. */
static bool is_at_plate(const struct efm_line *line)
{
    if (line->height < line->length - line->landing_height)
        return false;
    double lateral = line->landing_distance / sqrt((double)line->dimension + 1);
    return line->options.map != EFM_MAP_CHAIN || !isfinite(lateral) || lateral <= 4 * line->landing_height;
}

static void plane_events(struct efm_line *line, const struct efm_line_sample *here)
{
    if (is_captured(line, here)) {
        land(line, here);
        return;
    }
    bool arrived = line->arc ? is_at_plate(line) : line->t >= line->t_end;
    if (arrived && here != NULL) {
        if (here->z > 0)
            land(line, here);
        else
            end(line, EFM_LINE_TURNED);
        return;
    }
    if (arrived) {
        ask_here(line, EFM_PHASE_LANDING, line->height);
        return;
    }
    if (line->arc && (line->height <= 0 || fabs(line->height) > FAR_AWAY * line->length)) {
        end(line, EFM_LINE_TURNED);
        return;
    }
    line->stage = here != NULL ? 1 : 0;
    if (here != NULL)
        ask_stage(line);
    else
        ask_here(line, EFM_PHASE_STAGE, line->height);
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
    if (!position_is_finite(line)) {
        end(line, EFM_LINE_NOT_FINITE);
        return;
    }
    if (line->height == line->length) {
        end(line, EFM_LINE_LANDED);
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
        stochastic_events(line, here);
    else
        plane_events(line, here);
}

static void finish_step(struct efm_line *line, const struct efm_line_sample *sample)
{
    double height = sum_stages(line), next = line->step;
    if (line->tableau->adaptive) {
        double error = step_error(line);
        bool plane = line->arc && line->options.map != EFM_MAP_STOCHASTIC;
        if (plane && (height > line->length || height < 0))
            error = fmax(error, 1e3); /* off the charges the planes are walls: the step was too long */
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
            end(line, EFM_LINE_TURNED);
        return;
    }
    line->stage++;
    if (line->stage < line->tableau->stages)
        ask_stage(line);
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
        ask_here(line, EFM_PHASE_BEHIND, -line->start_height);
        break;
    case EFM_PHASE_BEHIND:
        choose_side(line, sample);
        break;
    case EFM_PHASE_STAGE:
        take_stage(line, sample);
        break;
    case EFM_PHASE_LANDING:
        if (sample->z > 0)
            land(line, sample);
        else
            end(line, EFM_LINE_TURNED);
        break;
    case EFM_PHASE_BEYOND:
        choose_landing(line, sample);
        break;
    }
    if (line->state == EFM_LINE_RUNNING && line->evaluations >= line->options.max_evaluations)
        end(line, EFM_LINE_LOST);
}
