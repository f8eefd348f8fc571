/* points.h - POST /v1/models/{name}/field and /trace: look at a field from outside.
 *
 * field: {"points": [[x_1..x_D, z], ...]} or NPY [n, D+1] in; {"directions": [[..D+1]], "log_norms": [..]} or
 * NPY [n, D+2] (direction, log norm last) out. trace: {"starts": [[x_1..x_D], ...]} or NPY [n, D] in, with
 * the parameters of /transfer that shape a line (direction, solver, variable, steps, tolerance, seed) and
 * points=k; {"lines": [{"state", "evaluations", "points": [[x.., z], ...]}]} or NPY [n, k, D+1] out. Threads:
 * pure. */
#ifndef API_POINTS_H
#define API_POINTS_H

#include "api/transfer.h"

struct api_points {
    struct api_parameters_seen seen;
    int direction, solver, variable;
    uint64_t steps, seed, points;
    double tolerance, timeout;
    float *x;  /* owned [count, dimension] */
    double *z; /* owned [count]; NULL for starts */
    size_t count, dimension;
    enum api_media media; /* JSON or NPY */
    const char *npy_type; /* the media type that an NPY answer bears; borrowed for ever */
};

extern const struct api_parameter_table api_trace_table;

/* `dimension` is the model's D; every point must have D + 1 (field) or D (trace) finite numbers. At most
 * `max_points`. */
bool api_field_parse(struct api_points *request, const struct api_message *message, size_t dimension,
                     size_t max_points, struct api_problem *problem);
bool api_trace_parse(struct api_points *request, const struct api_message *message, size_t dimension,
                     size_t max_points, struct api_problem *problem);
void api_points_release(struct api_points *request);

/* The options of the lines of a trace. */
bool api_trace_options(const struct api_points *request, const struct efm_model *model,
                       struct efm_flow_options *options, struct api_problem *problem);

bool api_field_render(const struct api_points *request, const struct efm_field_values *values,
                      struct api_reply *reply, struct api_problem *problem);
bool api_trace_render(const struct api_points *request, struct efm_line *const *lines,
                      struct api_reply *reply, struct api_problem *problem);

#endif
