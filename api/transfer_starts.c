// SPDX-License-Identifier: Apache-2.0
#include "api/transfer.h"

#include "core/base/random.h"

#include <string.h>

/* The floats of one input, out [dimension]. */
static bool decode_input(const struct api_transfer *request, const struct api_input *input,
                         const struct efm_shape *shape, float *out, struct api_problem *problem)
{
    if (input->vector != NULL) {
        memcpy(out, input->vector, shape->dimension * sizeof *out);
        return true;
    }
    const struct efm_image_options options = {
        .shape = *shape,
        .fit = (enum efm_image_fit)request->fit,
        .background = {request->background[0], request->background[1], request->background[2]},
        .limits = request->limits.image,
    };
    struct efm_image image = {0};
    struct efm_error error = {0};
    if (efm_image_decode(&image, input->bytes, input->size, &options, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_DAMAGED_IMAGE, input->pointer);
    efm_image_to_floats(&image, out);
    efm_image_release(&image);
    return true;
}

/* The result of input i and copy j has the index i * n + j, and its line the same image index. */
static bool decode_all(const struct api_transfer *request, const struct efm_shape *shape, float *starts,
                       struct api_problem *problem)
{
    size_t dimension = shape->dimension, n = request->n;
    for (size_t i = 0; i < request->input_count; i++) {
        float *first = starts + i * n * dimension;
        if (!decode_input(request, &request->inputs[i], shape, first, problem))
            return false;
        for (size_t j = 1; j < n; j++)
            memcpy(first + j * dimension, first, dimension * sizeof *starts);
    }
    return true;
}

/* Both draws use the same stream: the purpose CHOICE belongs to the line that starts here. */
static void draw_all(const struct efm_model *model, const struct api_plan *plan, float *starts)
{
    enum efm_plate_side side = plan->options.direction == EFM_DIRECTION_FORWARD ? EFM_SOURCE : EFM_TARGET;
    bool fresh = efm_model_domain(model, side)->standard_normal;
    size_t count = 0, dimension = plan->dimension;
    const float *charges = efm_field_charges(efm_model_field(model), side, &count);
    for (size_t i = 0; i < plan->line_count; i++) {
        struct efm_random stream;
        float *start = starts + i * dimension;
        efm_random_init(&stream, plan->seed, i, EFM_RANDOM_NOISE);
        if (fresh)
            efm_random_fill_normal(&stream, start, dimension);
        else
            memcpy(start, charges + efm_random_below(&stream, count) * dimension, dimension * sizeof *start);
    }
}

bool api_transfer_starts(const struct api_transfer *request, const struct efm_model *model,
                         const struct api_plan *plan, float *starts, struct api_problem *problem)
{
    if (request->operation == API_OP_TRANSFER)
        return decode_all(request, efm_model_shape(model), starts, problem);
    draw_all(model, plan, starts);
    return true;
}
