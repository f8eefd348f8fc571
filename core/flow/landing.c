// SPDX-License-Identifier: Apache-2.0
/* landing.c - where lines end: at a charge, at a plate, behind it, or nowhere. */
#include "core/flow/flow_internal.h"

#include <math.h>
#include <string.h>

/* Lines past this many lengths of the capacitor will not come back in time. */
static const double FAR_AWAY = 1e4;
/* Agreement of two lengths, relative, that calls the last piece of a line straight: far below what chance gives, far
 * above the rounding of a field in which a single charge is left. */
static const double CAPTURE = 1e-9;

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

bool efm_line_is_finite(const struct efm_line *line)
{
    for (size_t d = 0; d < line->dimension; d++)
        if (!isfinite(line->x[d]))
            return false;
    return true;
}

double efm_line_component(const struct efm_line_sample *sample, double reference)
{
    return sample->z * exp(sample->log_norm - reference);
}

/* The last straight piece. A line that is being watched shows some of it: half of the way that is left, again and again. */
void efm_line_land(struct efm_line *line, const struct efm_line_sample *sample)
{
    enum { HALVINGS = 6 };
    for (int i = 0; i < HALVINGS && line->track_capacity > 0; i++) {
        move_straight(line, sample, 0.5 * (line->height + line->length));
        efm_line_record(line);
    }
    move_straight(line, sample, line->length);
    efm_line_end(line, efm_line_is_finite(line) ? EFM_LINE_LANDED : EFM_LINE_NOT_FINITE);
}

/* How far to the side a straight line along the direction goes until the other plate. */
static double straight_reach(const struct efm_line *line, const struct efm_line_sample *here)
{
    return (line->length - line->height) * sqrt(fmax(1 - here->z * here->z, 0)) / here->z;
}

/* Whether a straight piece through a plate stays about where it is: less than forty heights aside, a coordinate each. */
static bool crosses_steeply(const struct efm_line *line, const struct efm_line_sample *here)
{
    return 40 * fabs(here->z) * sqrt((double)line->dimension) >= sqrt(fmax(1 - here->z * here->z, 0));
}

/* After an accepted step, at (x, height), where the field is `here`. */
void efm_line_stochastic_events(struct efm_line *line, const struct efm_line_sample *here)
{
    double height = line->height, length = line->length;
    double below = line->start_height, above = line->landing_height * 10;
    bool rising = here->z > 0;
    /* A flat line is left to find its own way between the charges. */
    bool steep = crosses_steeply(line, here);
    if (steep && fabs(height) <= below && (rising ? height < 0 : height > 0)) {
        /* Through the own plate: charges of the same sign let a line pass. */
        move_straight(line, here, rising ? below : -below);
        line->step = 0.1;
        line->stage = 0;
        efm_line_ask_here(line, EFM_PHASE_STAGE, line->height);
        return;
    }
    if (steep && fabs(height - length) <= above && rising && height < length) {
        /* The step over the plate is kept in `trial` until it is known whether the line stops on the way. */
        line->field_before = here->z;
        line->t = here->log_norm;
        point_straight(line, here, length + above, line->trial);
        efm_line_ask(line, EFM_PHASE_BEYOND, length + above);
        return;
    }
    if (steep && fabs(height - length) <= above && !rising && height > length) {
        efm_line_land(line, here);
        return;
    }
    if (fabs(height) > FAR_AWAY * length) {
        efm_line_end(line, EFM_LINE_LOST);
        return;
    }
    line->stage = 1;
    efm_line_ask_stage(line);
}

/* E_z jumps by -Q at the other plate: of the lines that arrive from inside the share (E_z(L-) - E_z(L+)) /
 * E_z(L-) stops, the rest goes on behind the plate. */
void efm_line_choose_landing(struct efm_line *line, const struct efm_line_sample *beyond)
{
    double before = line->field_before, after = efm_line_component(beyond, line->t);
    double toss = efm_random_uniform(&line->land_stream);
    if (after <= 0 || toss < (before - after) / before) {
        float part = (float)((line->length - line->height) / (line->trial_height - line->height));
        for (size_t d = 0; d < line->dimension; d++)
            line->x[d] += part * (line->trial[d] - line->x[d]);
        line->height = line->length;
        efm_line_end(line, efm_line_is_finite(line) ? EFM_LINE_LANDED : EFM_LINE_NOT_FINITE);
        return;
    }
    memcpy(line->x, line->trial, line->dimension * sizeof(float));
    line->height = line->trial_height;
    line->step = 0.1;
    line->stage = 0;
    efm_line_ask(line, EFM_PHASE_STAGE, line->height);
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
    return fabs(straight_reach(line, here) - lateral) <= CAPTURE * lateral;
}

/* Whether the other plate is reached. In the chain E_z vanishes on the plate off the charges, and a line that comes in from
 * the side runs along the plate: it has arrived only where a charge is. */
static bool is_at_plate(const struct efm_line *line, const struct efm_line_sample *here)
{
    if (line->height < line->length - line->landing_height)
        return false;
    double lateral = line->landing_distance, grain = line->landing_height * sqrt((double)line->dimension + 1);
    if (line->options.map != EFM_MAP_CHAIN || !isfinite(lateral))
        return true;
    return lateral <= 4 * grain && here->z > 0 && straight_reach(line, here) <= 2 * lateral + grain;
}

void efm_line_plane_events(struct efm_line *line, const struct efm_line_sample *here)
{
    if (is_captured(line, here)) {
        efm_line_land(line, here);
        return;
    }
    bool arrived = line->arc ? is_at_plate(line, here) : line->t >= line->t_end;
    if (arrived && here != NULL) {
        if (here->z > 0)
            efm_line_land(line, here);
        else
            efm_line_end(line, EFM_LINE_TURNED);
        return;
    }
    if (arrived) {
        efm_line_ask_here(line, EFM_PHASE_LANDING, line->height);
        return;
    }
    if (line->arc && (line->height <= 0 || fabs(line->height) > FAR_AWAY * line->length)) {
        efm_line_end(line, EFM_LINE_TURNED);
        return;
    }
    line->stage = here != NULL ? 1 : 0;
    if (here != NULL)
        efm_line_ask_stage(line);
    else
        efm_line_ask_here(line, EFM_PHASE_STAGE, line->height);
}
