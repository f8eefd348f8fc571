// SPDX-License-Identifier: Apache-2.0
#include "server/train/loss_curve.h"

#include "server/train/plotter.h"

#include <math.h>

static bool is_drawn(const struct srv_loss_point *point)
{
    return point->loss > 0 && isfinite(point->loss);
}

static struct srv_plot_axes find_axes(const struct srv_loss_point *points, size_t count)
{
    struct srv_plot_axes axes = {0, 1, INFINITY, 0, true, "step", "loss"};
    for (size_t i = 0; i < count; i++) {
        if (!is_drawn(&points[i]))
            continue;
        axes.x_high = fmax(axes.x_high, (double)points[i].step);
        axes.y_low = fmin(axes.y_low, points[i].loss);
        axes.y_high = fmax(axes.y_high, points[i].loss);
    }
    if (!(axes.y_high > 0)) {
        axes.y_low = 0.1;
        axes.y_high = 1;
    }
    axes.y_low /= 1.2;
    axes.y_high *= 1.2;
    return axes;
}

/* A moving average in the logarithm, as the axis is; `weight` 1 follows every point. */
static void draw_curve(struct srv_plot *plot, const struct srv_loss_point *points, size_t count,
                       double weight, enum srv_plot_colour colour)
{
    double step = NAN, loss = NAN;
    for (size_t i = 0; i < count; i++) {
        if (!is_drawn(&points[i]))
            continue;
        double next =
            isnan(loss) ? points[i].loss : exp((1 - weight) * log(loss) + weight * log(points[i].loss));
        if (isnan(step))
            srv_plot_dot(plot, (double)points[i].step, next, colour);
        else
            srv_plot_line(plot, step, loss, (double)points[i].step, next, colour);
        step = (double)points[i].step;
        loss = next;
    }
}

enum efm_status srv_loss_curve_render(const struct srv_loss_point *points, size_t count,
                                      struct efm_buffer *png, struct efm_error *error)
{
    const struct srv_plot_axes axes = find_axes(points, count);
    struct srv_plot plot;
    enum efm_status status = srv_plot_create(&plot, &axes, error);
    if (status != EFM_OK)
        return status;
    draw_curve(&plot, points, count, 1, SRV_PLOT_LIGHT);
    draw_curve(&plot, points, count, fmin(1, fmax(0.02, 20.0 / (double)(count + 1))), SRV_PLOT_BLUE);
    status = srv_plot_encode(&plot, png, error);
    srv_plot_release(&plot);
    return status;
}
