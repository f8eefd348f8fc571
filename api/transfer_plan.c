// SPDX-License-Identifier: Apache-2.0
#include "api/lines.h"
#include "api/transfer_internal.h"

#include "core/base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_SIDE = 2, MAX_JPEG_SIDE = 65500, MAX_WEBP_SIDE = 16383, MAX_PNG_SIDE = 1 << 20 };

/* ---- the answer ---- */

static bool decide_media(const struct api_transfer *request, const struct efm_shape *shape,
                         struct api_plan *plan, struct api_problem *problem)
{
    plan->media = efm_shape_is_image(shape) ? request->media : request->vector_media;
    if (plan->media != API_MEDIA_NONE)
        return true;
    if (api_transfer_given(request, "format"))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/format",
                               "must be json or npy: the samples of this model are vectors, not images");
    return api_problem_set(problem, API_P_NOT_ACCEPTABLE, NULL,
                           "the samples of this model are vectors: the answer can be application/json, "
                           "application/octet-stream or application/x-npy");
}

static bool decide_layout(const struct api_transfer *request, struct api_plan *plan,
                          struct api_problem *problem)
{
    bool one = plan->line_count == 1 && plan->options.frames == 0;
    plan->layout = (enum api_layout)request->layout;
    if (plan->layout == API_LAYOUT_AUTO || plan->media == API_MEDIA_JSON || plan->media == API_MEDIA_NPY)
        plan->layout = one ? API_LAYOUT_SINGLE : API_LAYOUT_GRID;
    if (plan->layout == API_LAYOUT_GRID || one)
        return true;
    if (plan->options.frames > 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/layout",
                               "must be grid: a trajectory is a row of pictures");
    return api_problem_set(problem, API_P_INVALID_PARAMETER, "/layout",
                           "single takes exactly one result, and this request has %zu", plan->line_count);
}

size_t api_plan_columns(const struct api_plan *plan)
{
    if (plan->options.frames > 0)
        return plan->options.frames;
    size_t columns = 1;
    while (columns * columns < plan->line_count)
        columns++;
    return columns;
}

/* Sides of the picture that the answer would be, against what its format can hold. */
static bool check_picture(const struct api_plan *plan, const struct efm_shape *shape,
                          struct api_problem *problem)
{
    uint64_t columns = api_plan_columns(plan), pictures = plan->line_count * api_plan_frames(plan);
    uint64_t rows = (pictures + columns - 1) / columns;
    uint64_t width = columns * (shape->width + (uint64_t)API_GRID_GAP);
    uint64_t height = rows * (shape->height + (uint64_t)API_GRID_GAP);
    uint64_t most = plan->media == API_MEDIA_WEBP   ? MAX_WEBP_SIDE
                    : plan->media == API_MEDIA_JPEG ? MAX_JPEG_SIDE
                                                    : MAX_PNG_SIDE;
    if (width - API_GRID_GAP <= most && height - API_GRID_GAP <= most)
        return true;
    return api_problem_set(problem, API_P_TOO_MANY_IMAGES, "/format",
                           "a picture of %llu x %llu pixels is more than %s can hold; ask for json or npy",
                           (unsigned long long)(width - API_GRID_GAP),
                           (unsigned long long)(height - API_GRID_GAP), api_media_type(plan->media));
}

/* The least that the answer takes while it is made: known before any line is followed. */
static bool check_size(const struct api_transfer *request, const struct api_plan *plan,
                       const struct efm_shape *shape, struct api_problem *problem)
{
    size_t number = plan->media == API_MEDIA_NPY ? sizeof(float) : 1, bytes = plan->line_count;
    if (plan->media != API_MEDIA_NPY && plan->media != API_MEDIA_JSON && !check_picture(plan, shape, problem))
        return false;
    if (efm_size_multiply(bytes, api_plan_frames(plan), &bytes) &&
        efm_size_multiply(bytes, plan->dimension, &bytes) && efm_size_multiply(bytes, number, &bytes) &&
        bytes <= request->limits.max_reply_bytes)
        return true;
    return api_problem_set(problem, API_P_TOO_MANY_IMAGES,
                           api_transfer_given(request, "trajectory") ? "/trajectory" : "/n",
                           "the answer would hold %zu results of %zu points, more than %zu bytes",
                           plan->line_count, api_plan_frames(plan), request->limits.max_reply_bytes);
}

/* ---- the inputs ---- */

static bool check_vector(const struct api_input *input, const struct efm_shape *shape,
                         struct api_problem *problem)
{
    const struct efm_shape *own = &input->shape;
    if (efm_shape_is_image(own) && efm_shape_is_image(shape) && !efm_shape_equal(own, shape))
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, input->pointer,
                               "is %u x %u x %u (height, width, channels), the model takes %u x %u x %u",
                               own->height, own->width, own->channels, shape->height, shape->width,
                               shape->channels);
    if (input->vector_length != shape->dimension || (efm_shape_is_image(own) && !efm_shape_is_image(shape)))
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, input->pointer,
                               "has %zu numbers%s, the model takes vectors of %zu", input->vector_length,
                               efm_shape_is_image(own) ? " as an image" : "", shape->dimension);
    for (size_t i = 0; i < input->vector_length; i++)
        if (!isfinite(input->vector[i]))
            return api_problem_set(problem, API_P_NOT_FINITE, input->pointer,
                                   "value %zu is not finite or too large for a float", i);
    return true;
}

static bool check_image(const struct api_input *input, const struct efm_shape *shape,
                        const struct efm_image_limits *limits, struct api_problem *problem)
{
    struct efm_image_info info;
    struct efm_error error = {0};
    if (!efm_shape_is_image(shape))
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, input->pointer,
                               "is an image, but the samples of this model are vectors of %zu numbers",
                               shape->dimension);
    if (efm_image_probe(input->bytes, input->size, &info, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_DAMAGED_IMAGE, input->pointer);
    if (info.cmyk)
        return api_problem_set(problem, API_P_UNSUPPORTED_IMAGE, input->pointer,
                               "is CMYK; save it as RGB or grey");
    if (info.width > limits->max_side || info.height > limits->max_side)
        return api_problem_set(problem, API_P_IMAGE_TOO_LARGE, input->pointer,
                               "is %u x %u pixels, the limit is %u a side", info.width, info.height,
                               limits->max_side);
    if ((uint64_t)info.width * info.height > limits->max_pixels)
        return api_problem_set(problem, API_P_IMAGE_TOO_LARGE, input->pointer,
                               "is %u x %u pixels, the limit is %llu in all", info.width, info.height,
                               (unsigned long long)limits->max_pixels);
    if (info.width < LEAST_SIDE || info.height < LEAST_SIDE)
        return api_problem_set(problem, API_P_IMAGE_TOO_SMALL, input->pointer,
                               "is %u x %u pixels, at least %d x %d are needed", info.width, info.height,
                               LEAST_SIDE, LEAST_SIDE);
    return true;
}

static bool check_inputs(const struct api_transfer *request, const struct efm_shape *shape,
                         struct api_problem *problem)
{
    for (size_t i = 0; i < request->input_count; i++) {
        const struct api_input *input = &request->inputs[i];
        bool good = input->vector != NULL ? check_vector(input, shape, problem)
                                          : check_image(input, shape, &request->limits.image, problem);
        if (!good)
            return false;
    }
    return true;
}

/* /generate needs a plate to draw from. */
static bool check_plate(const struct efm_model *model, enum efm_direction direction,
                        struct api_problem *problem)
{
    enum efm_plate_side side = direction == EFM_DIRECTION_FORWARD ? EFM_SOURCE : EFM_TARGET;
    size_t charges = 0;
    if (efm_model_domain(model, side)->standard_normal)
        return true;
    (void)efm_field_charges(efm_model_field(model), side, &charges);
    if (charges > 0)
        return true;
    return api_problem_set(problem, API_P_INVALID_PARAMETER, "/direction",
                           "%s starts at a plate that is not N(0, I) and of which the model keeps no samples",
                           api_direction_name(direction));
}

/* ---- the plan ---- */

static bool count_lines(const struct api_transfer *request, struct api_plan *plan,
                        struct api_problem *problem)
{
    size_t starts = request->operation == API_OP_TRANSFER ? request->input_count : 1;
    if (efm_size_multiply(starts, request->n, &plan->line_count) &&
        plan->line_count <= request->limits.max_images)
        return true;
    return api_problem_set(problem, API_P_TOO_MANY_IMAGES, "/n",
                           "%zu inputs with n = %llu each are more than %zu results", starts,
                           (unsigned long long)request->n, request->limits.max_images);
}

static bool decide_options(const struct api_transfer *request, const struct efm_model *model,
                           struct api_plan *plan, struct api_problem *problem)
{
    const struct api_line_choice choice = {
        .has_solver = api_transfer_given(request, "solver"),
        .has_variable = api_transfer_given(request, "variable"),
        .has_steps = api_transfer_given(request, "steps"),
        .has_tolerance = api_transfer_given(request, "tolerance"),
        .direction = request->direction,
        .solver = request->solver,
        .variable = request->variable,
        .steps = request->steps,
        .tolerance = request->tolerance,
        .seed = plan->seed,
        .frames = api_transfer_given(request, "trajectory") ? (uint32_t)request->trajectory : 0,
    };
    return api_line_options(&choice, model, &plan->options, problem);
}

bool api_transfer_plan(const struct api_transfer *request, const struct efm_model *model, uint64_t fresh_seed,
                       struct api_plan *plan, struct api_problem *problem)
{
    const struct efm_shape *shape = efm_model_shape(model);
    *plan = (struct api_plan){.dimension = shape->dimension};
    /* A drawn seed can be given back by any JSON client, too. */
    plan->seed = api_transfer_given(request, "seed") ? request->seed : fresh_seed & (uint64_t)API_SEED_MAX;
    return decide_media(request, shape, plan, problem) && count_lines(request, plan, problem) &&
           decide_options(request, model, plan, problem) && decide_layout(request, plan, problem) &&
           check_size(request, plan, shape, problem) && check_inputs(request, shape, problem) &&
           (request->operation == API_OP_TRANSFER || check_plate(model, plan->options.direction, problem));
}
