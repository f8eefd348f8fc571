// SPDX-License-Identifier: Apache-2.0
#include "server/train/sample_grid.h"

#include "core/base/memory.h"
#include "core/train/samples.h"
#include "server/train/plotter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOW_CAPACITY = 64, GAP = 2 };

/* ---- pictures ---- */

static enum efm_status render_images(const struct efm_shape *shape, const float *sources,
                                     const float *results, size_t count, struct efm_buffer *png,
                                     struct efm_error *error)
{
    static const uint8_t white[3] = {255, 255, 255};
    struct efm_image *images = efm_allocate_array(2 * count, sizeof *images), grid = {0};
    enum efm_status status = EFM_OK;
    if (images == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a picture of samples");
    for (size_t i = 0; i < 2 * count && status == EFM_OK; i++) {
        const float *values =
            i < count ? sources + i * shape->dimension : results + (i - count) * shape->dimension;
        status = efm_image_create(&images[i], shape->width, shape->height, shape->channels, error);
        if (status == EFM_OK)
            efm_image_from_floats(&images[i], values);
    }
    if (status == EFM_OK)
        status = efm_image_grid(&grid, images, 2 * count, count, GAP, white, error);
    if (status == EFM_OK)
        status = efm_image_encode(png, &grid, EFM_IMAGE_PNG, 0, NULL, 0, error);
    efm_image_release(&grid);
    for (size_t i = 0; i < 2 * count; i++)
        efm_image_release(&images[i]);
    efm_free(images);
    return status;
}

static int compare(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

/* The lowest and highest of coordinate `axis` of both sets, with room around them. */
static void find_range(const float *a, const float *b, size_t count, size_t dimension, size_t axis,
                       double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        *low = fmin(*low, fmin((double)a[i * dimension + axis], (double)b[i * dimension + axis]));
        *high = fmax(*high, fmax((double)a[i * dimension + axis], (double)b[i * dimension + axis]));
    }
    double room = 0.05 * (*high - *low);
    if (!(isfinite(room) && room > 0))
        room = 1;
    *low = isfinite(*low) ? *low - room : -room;
    *high = isfinite(*high) ? *high + room : room;
}

static enum efm_status render_vectors(size_t dimension, float *results, float *targets, size_t count,
                                      struct efm_buffer *png, struct efm_error *error)
{
    struct srv_plot plot;
    struct srv_plot_axes axes = {0, 1, -0.05, 1.05, false, "x", dimension > 1 ? "y" : "share"};
    float *const sets[] = {targets, results};
    find_range(results, targets, count, dimension, 0, &axes.x_low, &axes.x_high);
    if (dimension > 1)
        find_range(results, targets, count, dimension, 1, &axes.y_low, &axes.y_high);
    enum efm_status status = srv_plot_create(&plot, &axes, error);
    if (status != EFM_OK)
        return status;
    for (size_t set = 0; set < 2; set++) {
        float *values = sets[set];
        if (dimension == 1)
            qsort(values, count, sizeof *values, compare);
        for (size_t i = 0; i < count; i++)
            srv_plot_dot(&plot, (double)values[i * dimension],
                         dimension > 1 ? (double)values[i * dimension + 1]
                                       : ((double)i + 0.5) / (double)count,
                         set == 0 ? SRV_PLOT_GREY : SRV_PLOT_RED);
    }
    status = srv_plot_encode(&plot, png, error);
    srv_plot_release(&plot);
    return status;
}

enum efm_status srv_sample_picture_render(const struct efm_shape *shape, float *sources, float *results,
                                          float *targets, size_t count, struct efm_buffer *png,
                                          struct efm_error *error)
{
    if (efm_shape_is_image(shape))
        return render_images(shape, sources, results, count, png, error);
    return render_vectors(shape->dimension, results, targets, count, png, error);
}

/* ---- samples, and where they are carried ---- */

static enum efm_status draw(const struct srv_sample_request *request, enum efm_plate_side side, float *out,
                            struct efm_error *error)
{
    struct efm_samples *samples = NULL;
    enum efm_status status =
        efm_samples_create(&samples, request->datasets[side], efm_model_shape(request->model),
                           request->augmentation[side], request->seed, side, error);
    if (status == EFM_OK)
        efm_samples_draw(samples, 0, request->count, out, request->team);
    efm_samples_destroy(samples);
    return status;
}

/* The lines of up to FLOW_CAPACITY starts from `first` on; *landed grows by those that arrive. */
static enum efm_status carry_some(const struct srv_sample_request *request, struct efm_flow *flow,
                                  const struct efm_flow_options *options, size_t first, const float *sources,
                                  float *results, size_t *landed, struct efm_error *error)
{
    const struct efm_field *field = efm_model_field(request->model);
    const size_t dimension = efm_field_dimension(field), left = request->count - first;
    const size_t count = left < FLOW_CAPACITY ? left : FLOW_CAPACITY;
    struct efm_line *lines[FLOW_CAPACITY] = {0};
    enum efm_status status = EFM_OK;
    for (size_t i = 0; i < count && status == EFM_OK; i++)
        status =
            efm_line_create(&lines[i], field, options, sources + (first + i) * dimension, first + i, error);
    while (status == EFM_OK && efm_flow_step(flow, lines, count) > 0)
        continue;
    for (size_t i = 0; i < count; i++) {
        if (status == EFM_OK) {
            *landed += efm_line_state(lines[i]) == EFM_LINE_LANDED;
            memcpy(results + (first + i) * dimension, efm_line_position(lines[i]),
                   dimension * sizeof *results);
        }
        efm_line_destroy(lines[i]);
    }
    return status;
}

static enum efm_status carry(const struct srv_sample_request *request, const float *sources, float *results,
                             size_t *landed, struct efm_error *error)
{
    struct efm_flow_options options;
    struct efm_flow *flow = NULL;
    efm_model_flow_options(request->model, &options);
    options.solver = EFM_SOLVER_EULER;
    options.steps = SRV_SAMPLE_STEPS;
    options.direction = EFM_DIRECTION_FORWARD;
    options.seed = request->seed;
    options.frames = 0;
    enum efm_status status =
        efm_flow_create(&flow, efm_model_field(request->model), FLOW_CAPACITY, request->team, error);
    for (size_t first = 0; first < request->count && status == EFM_OK; first += FLOW_CAPACITY)
        status = carry_some(request, flow, &options, first, sources, results, landed, error);
    efm_flow_destroy(flow);
    return status;
}

enum efm_status srv_sample_grid_render(const struct srv_sample_request *request, struct efm_buffer *png,
                                       size_t *landed, struct efm_error *error)
{
    const struct efm_shape *shape = efm_model_shape(request->model);
    float *sets[3] = {0}; /* sources, results, samples of the target */
    size_t total;
    enum efm_status status = EFM_OK;
    *landed = 0;
    if (!efm_size_multiply(request->count, shape->dimension, &total))
        return efm_error_set(error, EFM_E_LIMIT, "%zu samples are too many for a picture", request->count);
    for (size_t i = 0; i < 3 && status == EFM_OK; i++) {
        sets[i] = efm_allocate_array(total, sizeof(float));
        if (sets[i] == NULL)
            status = efm_error_set(error, EFM_E_MEMORY, "no memory for a picture of samples");
    }
    if (status == EFM_OK)
        status = draw(request, EFM_SOURCE, sets[0], error);
    if (status == EFM_OK)
        status = carry(request, sets[0], sets[1], landed, error);
    if (status == EFM_OK && !efm_shape_is_image(shape))
        status = draw(request, EFM_TARGET, sets[2], error);
    if (status == EFM_OK)
        status = srv_sample_picture_render(shape, sets[0], sets[1], sets[2], request->count, png, error);
    for (size_t i = 0; i < 3; i++)
        efm_free(sets[i]);
    return status;
}
