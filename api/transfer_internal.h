/* transfer_internal.h - what the files of /transfer and /generate share. Not for other rooms. */
#ifndef API_TRANSFER_INTERNAL_H
#define API_TRANSFER_INTERNAL_H

#include "api/transfer.h"

/* Reads the body: inputs, and parameters of forms and JSON (transfer_inputs.c). */
bool api_transfer_read_body(struct api_transfer *request, const struct api_message *message,
                            struct api_problem *problem);

static inline bool api_transfer_given(const struct api_transfer *request, const char *name)
{
    return api_parameter_given(&api_transfer_table, &request->seen, name);
}

/* Points recorded of each line; 1 without a trajectory. */
static inline size_t api_plan_frames(const struct api_plan *plan)
{
    return plan->options.frames > 0 ? plan->options.frames : 1;
}

/* Pictures in a row of the answer. */
size_t api_plan_columns(const struct api_plan *plan);

enum { API_GRID_GAP = 2 };

/* The pictures of all lines as one file in the answer's format (transfer_picture.c). */
bool api_transfer_append_picture(const struct api_transfer *request, const struct efm_model *model,
                                 const struct api_plan *plan, struct efm_line *const *lines,
                                 struct efm_buffer *out, struct api_problem *problem);

/* One sample as PNG in base64, in quotes. */
bool api_transfer_append_base64(const struct api_transfer *request, const struct efm_model *model,
                                const struct api_plan *plan, const struct efm_line *line, const float *sample,
                                struct efm_buffer *out, struct api_problem *problem);

/* A buffer that stopped: too large, or no memory. */
bool api_transfer_full(const struct efm_buffer *out, struct api_problem *problem);

#endif
