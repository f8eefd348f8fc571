/* flow_internal.h - the inside of a line: its solver's state and the phases of its life.
 *
 * A line counts its height a from the plate where it starts (a = z forward, a = L - z reverse), so both
 * directions are the same problem: the travelling field is (sign * E_x, E_z) in (x, a), sign = +1 or -1. */
#ifndef EFM_FLOW_INTERNAL_H
#define EFM_FLOW_INTERNAL_H

#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/flow/flow.h"

#include <stdbool.h>

enum { EFM_FLOW_STAGES = 7 };

/* An explicit Runge-Kutta method; `error` is b minus the embedded method's b, all zero without one. */
struct efm_tableau {
    unsigned stages;
    unsigned order; /* of the adaptive ones */
    bool adaptive;
    bool first_same_as_last;
    double c[EFM_FLOW_STAGES], a[EFM_FLOW_STAGES][EFM_FLOW_STAGES], b[EFM_FLOW_STAGES],
        error[EFM_FLOW_STAGES];
};
const struct efm_tableau *efm_tableau_of(enum efm_solver solver);

/* What the next evaluation is for. */
enum efm_line_phase {
    EFM_PHASE_PROBE, /* exact fields: how far is the nearest charge of the own plate? decides the height of the start */
    EFM_PHASE_ABOVE,   /* stochastic: E_z just in front of the own plate */
    EFM_PHASE_BEHIND,  /* stochastic: and just behind it */
    EFM_PHASE_STAGE,   /* one stage of a step */
    EFM_PHASE_LANDING, /* the last straight piece to the plate needs the direction here */
    EFM_PHASE_BEYOND,  /* stochastic: E_z just behind the other plate */
};

struct efm_line {
    const struct efm_field *field; /* borrowed */
    struct efm_flow_options options;
    const struct efm_tableau *tableau;
    size_t dimension;
    double length, sign;
    bool arc; /* the step variable is the arc length */

    enum efm_line_state state;
    enum efm_line_phase phase;
    uint32_t evaluations;
    double progress, landing_distance;
    struct efm_random start_stream, land_stream;

    float *x; /* [D] where the present step begins, or the result */
    double height;
    float *trial; /* [D] where the next evaluation is */
    double trial_height;
    float *k; /* [stages, D] slopes dx/dt */
    double k_height[EFM_FLOW_STAGES];
    unsigned stage;

    double t, t_begin, t_end, step; /* of the step variable; t_end is infinite for arc length */
    uint32_t steps_left;            /* fixed steps */
    double start_height, landing_height, end_height; /* end: of the last step */
    double unit,
        next_unit;       /* arc length: the distance that steps are relative to, here and at the last stage */
    double field_before; /* stochastic: E_z in front of a plate, kept while the other side is looked at */
    bool rejected;       /* the last step was refused */

    float *track; /* [track_capacity, D] where steps ended, thinned by half whenever full */
    double *track_height;
    size_t track_count, track_capacity, track_stride, track_skipped;
    float *frames; /* [options.frames, D] */
    double *frame_z;
    struct efm_arena arena;
};

/* One field value as the line sees it. */
struct efm_line_sample {
    const float *x; /* [D] lateral part of the unit direction */
    double z, log_norm;
    double nearest[2]; /* to the charges of source and target */
};

/* Takes the answer to the line's question at (trial, trial_height) and poses the next one. */
void efm_line_advance(struct efm_line *line, const struct efm_line_sample *sample);

/* step.c: begins to step; poses the next question, at `trial`, or at x, or for the next stage of the step; and ends the line. */
void efm_line_begin_steps(struct efm_line *line, double height); /* the first one starts at (x, height) */
void efm_line_ask(struct efm_line *line, enum efm_line_phase phase, double height);
void efm_line_ask_here(struct efm_line *line, enum efm_line_phase phase, double height);
void efm_line_ask_stage(struct efm_line *line);
void efm_line_end(struct efm_line *line, enum efm_line_state state);

/* landing.c: what follows an accepted step, at (x, height) with `here` the field there, or NULL when it was not evaluated;
 * the answer of EFM_PHASE_BEYOND; and the last straight piece to the other plate. */
void efm_line_plane_events(struct efm_line *line, const struct efm_line_sample *here);
void efm_line_stochastic_events(struct efm_line *line, const struct efm_line_sample *here);
void efm_line_choose_landing(struct efm_line *line, const struct efm_line_sample *beyond);
void efm_line_land(struct efm_line *line, const struct efm_line_sample *sample);
bool efm_line_is_finite(const struct efm_line *line);

/* E_z of a sample in units of exp(reference). */
double efm_line_component(const struct efm_line_sample *sample, double reference);

/* The z of a height. */
static inline double efm_line_z(const struct efm_line *line, double height)
{
    return line->options.direction == EFM_DIRECTION_FORWARD ? height : line->length - height;
}

/* track.c: remembers where a step ended; and makes the frames when the line has ended. */
void efm_line_record(struct efm_line *line);
void efm_line_make_frames(struct efm_line *line);

#endif
