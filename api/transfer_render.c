// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "api/lines.h"
#include "api/transfer_internal.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <stdio.h>
#include <string.h>

bool api_transfer_full(const struct efm_buffer *out, struct api_problem *problem)
{
    if (out->status == EFM_E_MEMORY)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
    if (out->status == EFM_E_LIMIT)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the answer is larger than %zu bytes",
                               out->limit);
    return api_problem_set(problem, API_P_INTERNAL, NULL, "the answer could not be written");
}

/* ---- JSON ---- */

/* One sample as a member of data or of frames: an array of numbers, or a picture in base64. */
static bool append_sample(const struct api_transfer *request, const struct efm_model *model,
                          const struct api_plan *plan, const struct efm_line *line, const float *sample,
                          struct efm_buffer *out, struct api_problem *problem)
{
    if (efm_shape_is_image(efm_model_shape(model)))
        return api_transfer_append_base64(request, model, plan, line, sample, out, problem);
    api_json_floats(out, sample, plan->dimension);
    return true;
}

static bool append_frames(const struct api_transfer *request, const struct efm_model *model,
                          const struct api_plan *plan, const struct efm_line *line, struct efm_buffer *out,
                          struct api_problem *problem)
{
    const float *x;
    const double *z;
    size_t count;
    efm_line_frames(line, &x, &z, &count);
    efm_buffer_append_string(out, ",\"frames\":[");
    for (size_t i = 0; i < count; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        if (!append_sample(request, model, plan, line, x + i * plan->dimension, out, problem))
            return false;
    }
    efm_buffer_append_string(out, "],\"heights\":[");
    for (size_t i = 0; i < count; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        api_json_real(out, z[i]);
    }
    efm_buffer_append_string(out, "]");
    return true;
}

static bool append_result(const struct api_transfer *request, const struct efm_model *model,
                          const struct api_plan *plan, const struct efm_line *line, size_t index,
                          struct efm_buffer *out, struct api_problem *problem)
{
    enum efm_line_state state = efm_line_state(line);
    efm_buffer_format(
        out, "%s{\"index\":%zu,\"seed\":%llu,\"landed\":%s,\"state\":\"%s\",\"evaluations\":%u,\"%s\":",
        index > 0 ? "," : "", index, (unsigned long long)plan->seed,
        state == EFM_LINE_LANDED ? "true" : "false", efm_line_state_name(state), efm_line_evaluations(line),
        efm_shape_is_image(efm_model_shape(model)) ? "b64_json" : "vector");
    if (!append_sample(request, model, plan, line, efm_line_position(line), out, problem))
        return false;
    if (plan->options.frames > 0 && !append_frames(request, model, plan, line, out, problem))
        return false;
    efm_buffer_append_string(out, "}");
    return true;
}

static bool append_json(const struct api_transfer *request, const struct efm_model *model,
                        const struct api_plan *plan, const struct api_outcome *outcome,
                        struct efm_buffer *out, struct api_problem *problem)
{
    efm_buffer_append_string(out, "{\"model\":");
    api_json_string(out, request->model);
    efm_buffer_format(out, ",\"seed\":%llu,\"direction\":\"%s\",\"map\":\"%s\",\"solver\":\"%s\",\"data\":[",
                      (unsigned long long)plan->seed, api_direction_name(plan->options.direction),
                      efm_map_name(plan->options.map), api_solver_words[plan->options.solver]);
    for (size_t i = 0; i < plan->line_count && out->status == EFM_OK; i++)
        if (!append_result(request, model, plan, outcome->lines[i], i, out, problem))
            return false;
    /* Last, so that all before it is the same for the same request. */
    efm_buffer_format(out, "],\"timings\":{\"queue_ms\":%.3f,\"compute_ms\":%.3f}}\n",
                      outcome->queue_seconds * 1e3, outcome->compute_seconds * 1e3);
    return out->status == EFM_OK || api_transfer_full(out, problem);
}

/* ---- NPY ---- */

/* The result of a line, or its frames. */
static void copy_line(const struct efm_line *line, const struct api_plan *plan, float *out)
{
    const float *x = efm_line_position(line);
    const double *z;
    size_t count;
    if (plan->options.frames > 0)
        efm_line_frames(line, &x, &z, &count); /* all of them: the line has ended */
    memcpy(out, x, api_plan_frames(plan) * plan->dimension * sizeof *out);
}

static bool append_npy(const struct efm_model *model, const struct api_plan *plan,
                       struct efm_line *const *lines, struct efm_buffer *out, struct api_problem *problem)
{
    const struct efm_shape *sample = efm_model_shape(model);
    size_t shape[5], rank = 0, each = api_plan_frames(plan) * plan->dimension;
    shape[rank++] = plan->line_count;
    if (plan->options.frames > 0)
        shape[rank++] = plan->options.frames;
    if (efm_shape_is_image(sample)) {
        shape[rank++] = sample->height;
        shape[rank++] = sample->width;
        shape[rank++] = sample->channels;
    } else {
        shape[rank++] = sample->dimension;
    }
    /* the plan held this product against the limit of the answer */
    float *values = efm_allocate(plan->line_count * each * sizeof *values);
    if (values == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
    for (size_t i = 0; i < plan->line_count; i++)
        copy_line(lines[i], plan, values + i * each);
    enum efm_status status = efm_npy_write_floats(out, values, shape, rank);
    efm_free(values);
    return status == EFM_OK || api_transfer_full(out, problem);
}

/* ---- headers ---- */

static void set_headers(const struct api_transfer *request, const struct efm_model *model,
                        const struct api_plan *plan, const struct api_outcome *outcome,
                        struct api_reply *reply)
{
    const char *type = plan->media == API_MEDIA_NPY ? request->npy_type : api_media_type(plan->media);
    uint32_t evaluations = 0;
    size_t landed = 0;
    for (size_t i = 0; i < plan->line_count; i++) {
        uint32_t own = efm_line_evaluations(outcome->lines[i]);
        evaluations = own > evaluations ? own : evaluations;
        landed += efm_line_state(outcome->lines[i]) == EFM_LINE_LANDED;
    }
    snprintf(reply->content_type, sizeof reply->content_type, "%s", type);
    api_reply_header(reply, "Efm-Model", "%s@%.8s", request->model, efm_model_sha256(model));
    api_reply_header(reply, "Efm-Seed", "%llu", (unsigned long long)plan->seed);
    api_reply_header(reply, "Efm-Steps", "%u", evaluations);
    api_reply_header(reply, "Efm-Landed", "%zu/%zu", landed, plan->line_count);
}

bool api_transfer_render(const struct api_transfer *request, const struct efm_model *model,
                         const struct api_plan *plan, const struct api_outcome *outcome,
                         struct api_reply *reply, struct api_problem *problem)
{
    bool good;
    api_reply_init(reply, request->limits.max_reply_bytes);
    if (plan->media == API_MEDIA_JSON)
        good = append_json(request, model, plan, outcome, &reply->body, problem);
    else if (plan->media == API_MEDIA_NPY)
        good = append_npy(model, plan, outcome->lines, &reply->body, problem);
    else
        good = api_transfer_append_picture(request, model, plan, outcome->lines, &reply->body, problem);
    if (good)
        set_headers(request, model, plan, outcome, reply);
    else
        api_reply_release(reply);
    return good;
}
