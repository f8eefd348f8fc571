// SPDX-License-Identifier: Apache-2.0
/* A query, a Content-Type and a body as /transfer and /generate, against a model of vectors and one of
 * images: parsed, planned, decoded. */
#include "api/transfer.h"
#include "tests/fuzz/api_target.h"

#include <math.h>

enum { MAX_LINES = 8, MAX_DIMENSION = 4 * 6 * 3 };

static struct efm_model *make_model(const struct efm_shape *shape)
{
    float values[2 * MAX_DIMENSION];
    struct efm_dataset *plate = NULL;
    struct efm_model *model = NULL;
    const struct efm_exact_spec spec = {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_CHAIN, .length = 4};
    for (size_t i = 0; i < 2 * MAX_DIMENSION; i++)
        values[i] = (float)(i % 7) / 4 - 0.75F;
    if (efm_dataset_from_floats(&plate, values, 2, shape, NULL) != EFM_OK ||
        efm_model_create_exact(&model, &spec, plate, "a", plate, "b", NULL) != EFM_OK)
        abort();
    efm_dataset_unref(plate);
    return model;
}

static void run(const struct api_message *message, enum api_operation operation,
                const struct efm_model *model)
{
    struct api_limits limits = api_limits_default();
    struct api_transfer request;
    struct api_plan plan;
    struct api_problem problem = {0};
    static float starts[MAX_LINES * MAX_DIMENSION];
    limits.max_images = MAX_LINES;
    limits.image.max_pixels = 1 << 16;
    bool good = api_transfer_parse(&request, message, operation, &limits, &problem);
    if (good && request.input_count > MAX_LINES)
        abort();
    good = good && api_transfer_plan(&request, model, 1, &plan, &problem);
    if (good && (plan.line_count > MAX_LINES || plan.line_count == 0))
        abort();
    good = good && api_transfer_starts(&request, model, &plan, starts, &problem);
    for (size_t i = 0; good && i < plan.line_count * plan.dimension; i++)
        if (!isfinite(starts[i]))
            abort();
    check_verdict(good, &problem);
    api_transfer_release(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct efm_shape vectors = efm_shape_vector(2), images = efm_shape_image(4, 6, 3);
    static struct efm_model *plane, *pictures;
    struct target_message target;
    if (plane == NULL) {
        plane = make_model(&vectors);
        pictures = make_model(&images);
    }
    take_message(&target, data, size);
    run(&target.message, API_OP_TRANSFER, plane);
    run(&target.message, API_OP_TRANSFER, pictures);
    run(&target.message, API_OP_GENERATE, pictures);
    free(target.body);
    return 0;
}
