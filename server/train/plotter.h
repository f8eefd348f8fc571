/* plotter.h - a small bitmap plotter: a frame with ticks and numbers, lines and dots in it.
 *
 *     struct srv_plot plot;
 *     srv_plot_create(&plot, &(struct srv_plot_axes){0, 1000, 0.01, 1, true, "step", "loss"}, &error);
 *     srv_plot_line(&plot, 0, 1, 1000, 0.02, SRV_PLOT_BLUE);
 *     srv_plot_encode(&plot, &png, &error);
 *     srv_plot_release(&plot);
 *
 * Values are clipped to the frame. Threads: a plot belongs to one thread. */
#ifndef SRV_TRAIN_PLOTTER_H
#define SRV_TRAIN_PLOTTER_H

#include "core/image/image.h"

enum { SRV_PLOT_WIDTH = 640, SRV_PLOT_HEIGHT = 480 };

enum srv_plot_colour { SRV_PLOT_BLACK, SRV_PLOT_GREY, SRV_PLOT_LIGHT, SRV_PLOT_BLUE, SRV_PLOT_RED };

struct srv_plot_axes {
    double x_low, x_high, y_low, y_high; /* low < high; y > 0 where log_y */
    bool log_y;
    const char *x_name, *y_name; /* of letters that the font has: see plotter.c */
};

struct srv_plot {
    struct efm_image image; /* owned */
    struct srv_plot_axes axes;
};

/* White, with the frame, its ticks and their numbers. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_plot_create(struct srv_plot *plot, const struct srv_plot_axes *axes,
                                               struct efm_error *error);
void srv_plot_release(struct srv_plot *plot);

/* In the units of the axes. What is not finite is left out. */
void srv_plot_line(struct srv_plot *plot, double x0, double y0, double x1, double y1,
                   enum srv_plot_colour colour);
void srv_plot_dot(struct srv_plot *plot, double x, double y, enum srv_plot_colour colour);

/* Appends a PNG. */
EFM_MUST_CHECK enum efm_status srv_plot_encode(const struct srv_plot *plot, struct efm_buffer *out,
                                               struct efm_error *error);

#endif
