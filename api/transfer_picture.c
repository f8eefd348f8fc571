// SPDX-License-Identifier: Apache-2.0
#include "api/lines.h"
#include "api/transfer_internal.h"

#include "core/base/memory.h"

#include <stdarg.h>
#include <stdio.h>

static const uint8_t WHITE[3] = {255, 255, 255};

/* What a picture tells about itself. Nothing here depends on the time or on the neighbours of the request, so
 * that equal requests give equal bytes. */
enum { MAX_TEXTS = 9, TEXT_SIZE = 80 };
struct texts {
    struct efm_image_text items[MAX_TEXTS];
    char values[MAX_TEXTS][TEXT_SIZE];
    size_t count;
};

static void add_text(struct texts *texts, const char *key, const char *format, ...) EFM_PRINTF(3, 4);
static void add_text(struct texts *texts, const char *key, const char *format, ...)
{
    va_list arguments;
    size_t index = texts->count++;
    va_start(arguments, format);
    vsnprintf(texts->values[index], TEXT_SIZE, format, arguments);
    va_end(arguments);
    texts->items[index] = (struct efm_image_text){key, texts->values[index]};
}

static void describe(struct texts *texts, const struct api_transfer *request, const struct efm_model *model,
                     const struct api_plan *plan, uint32_t evaluations)
{
    const struct efm_flow_options *options = &plan->options;
    texts->count = 0;
    add_text(texts, "Software", "efmd");
    add_text(texts, "Model", "%s@%.8s", request->model, efm_model_sha256(model));
    add_text(texts, "Seed", "%llu", (unsigned long long)plan->seed);
    add_text(texts, "Direction", "%s", api_direction_name(options->direction));
    add_text(texts, "Map", "%s", efm_map_name(options->map));
    add_text(texts, "Solver", "%s", api_solver_words[options->solver]);
    if (options->solver != EFM_SOLVER_ARC_LENGTH)
        add_text(texts, "Variable", "%s", api_variable_words[options->variable]);
    if (options->solver == EFM_SOLVER_EULER || options->solver == EFM_SOLVER_HEUN)
        add_text(texts, "Steps", "%u", options->steps);
    else
        add_text(texts, "Tolerance", "%g", options->tolerance);
    add_text(texts, "Evaluations", "%u", evaluations);
}

static bool encode(const struct api_transfer *request, const struct efm_image *image,
                   enum efm_image_format format, const struct texts *texts, struct efm_buffer *out,
                   struct api_problem *problem)
{
    struct efm_error error = {0};
    enum efm_status status =
        efm_image_encode(out, image, format, (int)request->quality, texts->items, texts->count, &error);
    if (out->status != EFM_OK)
        return api_transfer_full(out, problem);
    if (status != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INTERNAL, NULL);
    return true;
}

static bool no_memory(struct api_problem *problem)
{
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to draw the answer");
}

/* The pictures of one line: its result, or its frames. */
static bool draw_line(struct efm_image *images, const struct efm_line *line, const struct efm_shape *shape,
                      const struct api_plan *plan)
{
    const float *x = efm_line_position(line);
    const double *z;
    size_t count;
    if (plan->options.frames > 0)
        efm_line_frames(line, &x, &z, &count); /* all of them: the line has ended */
    for (size_t i = 0; i < api_plan_frames(plan); i++) {
        if (efm_image_create(&images[i], shape->width, shape->height, shape->channels, NULL) != EFM_OK)
            return false;
        efm_image_from_floats(&images[i], x + i * plan->dimension);
    }
    return true;
}

static bool draw_sheet(const struct api_plan *plan, const struct efm_shape *shape,
                       struct efm_line *const *lines, struct efm_image *sheet, struct api_problem *problem)
{
    size_t frames = api_plan_frames(plan), count = plan->line_count * frames;
    struct efm_image *images = efm_allocate_array(count, sizeof *images);
    struct efm_error error = {0};
    bool good = images != NULL;
    for (size_t i = 0; good && i < plan->line_count; i++)
        good = draw_line(images + i * frames, lines[i], shape, plan);
    if (!good)
        (void)no_memory(problem);
    else if (efm_image_grid(sheet, images, count, api_plan_columns(plan), API_GRID_GAP, WHITE, &error) !=
             EFM_OK)
        good = api_problem_from_error(problem, &error, API_P_INTERNAL, NULL);
    for (size_t i = 0; images != NULL && i < count; i++)
        efm_image_release(&images[i]);
    efm_free(images);
    return good;
}

static enum efm_image_format format_of(enum api_media media)
{
    return media == API_MEDIA_JPEG   ? EFM_IMAGE_JPEG
           : media == API_MEDIA_WEBP ? EFM_IMAGE_WEBP
                                     : EFM_IMAGE_PNG;
}

bool api_transfer_append_picture(const struct api_transfer *request, const struct efm_model *model,
                                 const struct api_plan *plan, struct efm_line *const *lines,
                                 struct efm_buffer *out, struct api_problem *problem)
{
    struct texts texts;
    struct efm_image image = {0};
    uint32_t evaluations = 0;
    for (size_t i = 0; i < plan->line_count; i++)
        if (efm_line_evaluations(lines[i]) > evaluations)
            evaluations = efm_line_evaluations(lines[i]);
    describe(&texts, request, model, plan, evaluations);
    bool good = plan->layout == API_LAYOUT_SINGLE
                    ? draw_line(&image, lines[0], efm_model_shape(model), plan) || no_memory(problem)
                    : draw_sheet(plan, efm_model_shape(model), lines, &image, problem);
    good = good && encode(request, &image, format_of(plan->media), &texts, out, problem);
    efm_image_release(&image);
    return good;
}

bool api_transfer_append_base64(const struct api_transfer *request, const struct efm_model *model,
                                const struct api_plan *plan, const struct efm_line *line, const float *sample,
                                struct efm_buffer *out, struct api_problem *problem)
{
    const struct efm_shape *shape = efm_model_shape(model);
    struct texts texts;
    struct efm_image image = {0};
    struct efm_buffer file = efm_buffer_limited(request->limits.max_reply_bytes);
    describe(&texts, request, model, plan, efm_line_evaluations(line));
    bool good = efm_image_create(&image, shape->width, shape->height, shape->channels, NULL) == EFM_OK ||
                no_memory(problem);
    if (good) {
        efm_image_from_floats(&image, sample);
        good = encode(request, &image, EFM_IMAGE_PNG, &texts, &file, problem);
    }
    if (good) {
        efm_buffer_append(out, "\"", 1);
        api_base64_encode(out, file.data, file.size);
        efm_buffer_append(out, "\"", 1);
    }
    efm_buffer_release(&file);
    efm_image_release(&image);
    return good;
}
