/* flow.h - follow field lines from one plate to the other, one evaluation at a time.
 *
 * A line is one sample under way: where it is, how it steps, what it has seen. A flow is the place where
 * lines of one field are advanced together. It never loops: each call of efm_flow_step gives every line in it
 * exactly one evaluation of the field (one stage of its solver), so lines of many requests share a batch,
 * join at any moment, and can be withdrawn between two calls.
 *
 *     struct efm_flow_options options;
 *     efm_flow_options_default(&options, field);
 *     efm_line_create(&line, field, &options, start, image_index, &error);
 *     efm_flow_create(&flow, field, 64, NULL, &error);
 *     while (efm_line_state(line) == EFM_LINE_RUNNING)
 *         efm_flow_step(flow, &line, 1);
 *     memcpy(result, efm_line_position(line), D * sizeof(float));
 *
 * A line's result is a function of (field, options, start, image_index) alone, never of its neighbours.
 * In a learned field a line begins and lands at the height that the network was trained down to, and n Euler steps
 * are n evaluations. In the field of charges the first evaluation finds out at which height the line begins.
 * A start that is a charge itself has no line of its own: it leaves in a direction drawn from (seed, image_index).
 *
 * Threads: one thread at a time per flow and per line; many flows may share one field.
 */
#ifndef EFM_FLOW_FLOW_H
#define EFM_FLOW_FLOW_H

#include "core/field/field.h"

#include <stdint.h>

#define EFM_MAP_MAP(X)                                                                                       \
    X(EFM_MAP_FORWARD, "forward", "dx/dz = E_x/E_z from plate to plate; deterministic")                      \
    X(EFM_MAP_STOCHASTIC, "stochastic", "the line wherever it goes, on both sides of both plates")           \
    X(EFM_MAP_CHAIN, "chain", "dx/dz = E_x/E_z in the field of the endless chain; exact and deterministic")

#define EFM_SOLVER_MAP(X)                                                                                    \
    X(EFM_SOLVER_EULER, "euler", "one evaluation a step, fixed steps")                                       \
    X(EFM_SOLVER_HEUN, "heun", "two evaluations a step, fixed steps")                                        \
    X(EFM_SOLVER_RK45, "rk45", "Dormand-Prince, error control per line")                                     \
    X(EFM_SOLVER_ARC_LENGTH, "arc_length", "Dormand-Prince along the arc length, for lines that turn")

#define EFM_VARIABLE_MAP(X)                                                                                  \
    X(EFM_VARIABLE_Z, "z", "equal steps in z")                                                               \
    X(EFM_VARIABLE_LOG_Z, "log_z", "steps in ln(z / (L - z)): ever finer towards both plates")               \
    X(EFM_VARIABLE_ROOT_Z, "root_z",                                                                         \
      "steps in the root of the height over the plate where the line starts: finer there")

#define EFM_DIRECTION_MAP(X)                                                                                 \
    X(EFM_DIRECTION_FORWARD, "forward", "source to target")                                                  \
    X(EFM_DIRECTION_REVERSE, "reverse", "target to source")

#define EFM_FLOW_ENUM(symbol, word, meaning) symbol,
enum efm_map { EFM_MAP_MAP(EFM_FLOW_ENUM) };
enum efm_solver { EFM_SOLVER_MAP(EFM_FLOW_ENUM) };
enum efm_variable { EFM_VARIABLE_MAP(EFM_FLOW_ENUM) };
enum efm_direction { EFM_DIRECTION_MAP(EFM_FLOW_ENUM) };
#undef EFM_FLOW_ENUM

const char *efm_map_name(enum efm_map map);
EFM_MUST_CHECK enum efm_status efm_map_parse(const char *word, enum efm_map *map);

struct efm_flow_options {
    enum efm_map map;
    enum efm_solver solver;
    enum efm_variable variable; /* ignored by arc_length */
    enum efm_direction direction;
    uint32_t steps;           /* euler, heun: the steps of a whole line, 1..EFM_FLOW_MAX_STEPS */
    uint32_t max_evaluations; /* a line that needs more is dropped */
    double tolerance;         /* rk45, arc_length: rtol = atol */
    uint64_t seed;            /* of the line's own random streams */
    uint32_t frames; /* record the line as this many points, ends included; 0 or 2..EFM_FLOW_MAX_FRAMES */
};

enum { EFM_FLOW_MAX_STEPS = 1000, EFM_FLOW_MAX_FRAMES = 64 };

/* What serves this field best: map from the field's kind, solver, variable, steps, tolerance. */
void efm_flow_options_default(struct efm_flow_options *options, const struct efm_field *field);

/* Checks ranges and combinations: chain needs a chain field, stochastic a superposition of charges and arc_length... */
EFM_MUST_CHECK enum efm_status efm_flow_options_check(const struct efm_flow_options *options,
                                                      const struct efm_field *field, struct efm_error *error);

#define EFM_LINE_STATE_MAP(X)                                                                                \
    X(EFM_LINE_RUNNING, "running", "on its way")                                                             \
    X(EFM_LINE_LANDED, "landed", "has arrived at the other plate")                                           \
    X(EFM_LINE_TURNED, "turned", "dropped: the field turned back before the other plate")                    \
    X(EFM_LINE_LOST, "lost", "dropped: the number of evaluations ran out")                                   \
    X(EFM_LINE_NOT_FINITE, "not_finite", "dropped: the position stopped being a number")

enum efm_line_state {
#define EFM_LINE_ENUM(symbol, word, meaning) symbol,
    EFM_LINE_STATE_MAP(EFM_LINE_ENUM)
#undef EFM_LINE_ENUM
};
const char *efm_line_state_name(enum efm_line_state state);

struct efm_line;
struct efm_flow;

/* A line that starts at `start` [D], borrowed for the call, on the plate where the direction begins.
 * `image_index` names its random streams beside options->seed. All its memory is taken here.
 * Owned by the caller. EFM_E_ARGUMENT for bad options, EFM_E_NUMERIC for a start that is not finite,
 * EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_line_create(struct efm_line **line, const struct efm_field *field,
                                               const struct efm_flow_options *options, const float *start,
                                               uint64_t image_index, struct efm_error *error);
void efm_line_destroy(struct efm_line *line);

/* The bytes that one line with these options takes, for admission. */
size_t efm_line_bytes(const struct efm_field *field, const struct efm_flow_options *options);

enum efm_line_state efm_line_state(const struct efm_line *line);
const float *efm_line_position(const struct efm_line *line); /* [D], borrowed; the result once landed */
double efm_line_height(const struct efm_line *line);         /* z */
uint32_t efm_line_evaluations(const struct efm_line *line);  /* NFE so far, rejected steps included */
double efm_line_progress(const struct efm_line *line);       /* 0..1, never falls */

/* Lateral distance of the last evaluated point to the nearest charge of the plate it travels to; infinity in a learned
 * field. */
double efm_line_landing_distance(const struct efm_line *line);

/* The frames recorded so far: *x [*count, D] and *z [*count], borrowed. All of them once not running. */
void efm_line_frames(const struct efm_line *line, const float **x, const double **z, size_t *count);

/* Room for `capacity` lines at a step; `team` as in efm_field_workspace_create. `field` is borrowed. */
EFM_MUST_CHECK enum efm_status efm_flow_create(struct efm_flow **flow, const struct efm_field *field,
                                               size_t capacity, struct efm_team *team,
                                               struct efm_error *error);
void efm_flow_destroy(struct efm_flow *flow);
size_t efm_flow_capacity(const struct efm_flow *flow);

/* Gives each of `count` <= capacity running lines one evaluation; lines that are not running are left
 * alone. Returns how many of them are still running. Allocates nothing and cannot fail. */
size_t efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count);

#endif
