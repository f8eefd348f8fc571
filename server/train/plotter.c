// SPDX-License-Identifier: Apache-2.0
#include "server/train/plotter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The frame, in pixels; what is outside of it is for numbers and names. */
enum { LEFT = 72, RIGHT = SRV_PLOT_WIDTH - 16, TOP = 24, BOTTOM = SRV_PLOT_HEIGHT - 40 };
enum { GLYPH_WIDTH = 5, GLYPH_HEIGHT = 7, ADVANCE = 6, TICK = 4, TICKS = 5 };

static const uint8_t colours[][3] = {
    [SRV_PLOT_BLACK] = {0, 0, 0},    [SRV_PLOT_GREY] = {150, 150, 150}, [SRV_PLOT_LIGHT] = {205, 215, 235},
    [SRV_PLOT_BLUE] = {40, 80, 190}, [SRV_PLOT_RED] = {210, 40, 40},
};

/* Seven rows of five pixels, the leftmost in the highest of the five bits. */
static const struct {
    char letter;
    uint8_t rows[GLYPH_HEIGHT];
} font[] = {
    {'0', {14, 17, 19, 21, 25, 17, 14}}, {'1', {4, 12, 4, 4, 4, 4, 14}},
    {'2', {14, 17, 1, 2, 4, 8, 31}},     {'3', {31, 2, 4, 2, 1, 17, 14}},
    {'4', {2, 6, 10, 18, 31, 2, 2}},     {'5', {31, 16, 30, 1, 1, 17, 14}},
    {'6', {6, 8, 16, 30, 17, 17, 14}},   {'7', {31, 1, 2, 4, 8, 8, 8}},
    {'8', {14, 17, 17, 14, 17, 17, 14}}, {'9', {14, 17, 17, 15, 1, 2, 12}},
    {'.', {0, 0, 0, 0, 0, 12, 12}},      {'-', {0, 0, 0, 31, 0, 0, 0}},
    {'+', {0, 4, 4, 31, 4, 4, 0}},       {'a', {0, 0, 14, 1, 15, 17, 15}},
    {'e', {0, 0, 14, 17, 31, 16, 14}},   {'h', {16, 16, 22, 25, 17, 17, 17}},
    {'l', {12, 4, 4, 4, 4, 4, 14}},      {'o', {0, 0, 14, 17, 17, 17, 14}},
    {'p', {0, 0, 30, 17, 30, 16, 16}},   {'r', {0, 0, 22, 25, 16, 16, 16}},
    {'s', {0, 0, 14, 16, 14, 1, 30}},    {'t', {8, 8, 28, 8, 8, 9, 6}},
    {'x', {0, 0, 17, 10, 4, 10, 17}},    {'y', {0, 0, 17, 17, 15, 1, 14}},
};

static void set_pixel(struct srv_plot *plot, int x, int y, enum srv_plot_colour colour)
{
    if (x >= 0 && x < SRV_PLOT_WIDTH && y >= 0 && y < SRV_PLOT_HEIGHT)
        memcpy(plot->image.pixels + 3 * ((size_t)y * SRV_PLOT_WIDTH + (size_t)x), colours[colour], 3);
}

static void draw_glyph(struct srv_plot *plot, int x, int y, char letter)
{
    for (size_t i = 0; i < sizeof font / sizeof font[0]; i++) {
        if (font[i].letter != letter)
            continue;
        for (int row = 0; row < GLYPH_HEIGHT; row++)
            for (int column = 0; column < GLYPH_WIDTH; column++)
                if ((font[i].rows[row] >> (GLYPH_WIDTH - 1 - column) & 1) != 0)
                    set_pixel(plot, x + column, y + row, SRV_PLOT_BLACK);
    }
}

static void draw_text(struct srv_plot *plot, int x, int y, const char *text)
{
    for (; *text != '\0'; text++, x += ADVANCE)
        draw_glyph(plot, x, y, *text);
}

/* ---- from values to pixels ---- */

static double to_x(const struct srv_plot *plot, double x)
{
    const struct srv_plot_axes *axes = &plot->axes;
    return LEFT + (x - axes->x_low) / (axes->x_high - axes->x_low) * (RIGHT - LEFT);
}

static double to_y(const struct srv_plot *plot, double y)
{
    const struct srv_plot_axes *axes = &plot->axes;
    double part = axes->log_y ? log(y / axes->y_low) / log(axes->y_high / axes->y_low)
                              : (y - axes->y_low) / (axes->y_high - axes->y_low);
    return BOTTOM - part * (BOTTOM - TOP);
}

static bool in_frame(double x, double y)
{
    return x >= LEFT && x <= RIGHT && y >= TOP && y <= BOTTOM; /* false for NaN */
}

void srv_plot_dot(struct srv_plot *plot, double x, double y, enum srv_plot_colour colour)
{
    double at_x = to_x(plot, x), at_y = to_y(plot, y);
    if (!in_frame(at_x, at_y))
        return;
    for (int row = -1; row <= 1; row++)
        for (int column = -1; column <= 1; column++)
            if (row * column == 0)
                set_pixel(plot, (int)lround(at_x) + column, (int)lround(at_y) + row, colour);
}

void srv_plot_line(struct srv_plot *plot, double x0, double y0, double x1, double y1,
                   enum srv_plot_colour colour)
{
    double from_x = to_x(plot, x0), from_y = to_y(plot, y0), to_there_x = to_x(plot, x1),
           to_there_y = to_y(plot, y1);
    double length = fmax(fabs(to_there_x - from_x), fabs(to_there_y - from_y));
    if (!isfinite(length) || length > 1e6)
        return;
    int pixels = (int)ceil(length);
    for (int i = 0; i <= pixels; i++) {
        double part = pixels == 0 ? 0 : (double)i / pixels;
        double x = from_x + part * (to_there_x - from_x), y = from_y + part * (to_there_y - from_y);
        if (in_frame(x, y))
            set_pixel(plot, (int)lround(x), (int)lround(y), colour);
    }
}

/* ---- the frame ---- */

static void tick_x(struct srv_plot *plot, double value)
{
    char text[32];
    int x = (int)lround(to_x(plot, value));
    int length = snprintf(text, sizeof text, "%g", value);
    for (int i = 0; i < TICK; i++)
        set_pixel(plot, x, BOTTOM + 1 + i, SRV_PLOT_BLACK);
    draw_text(plot, x - length * ADVANCE / 2, BOTTOM + TICK + 4, text);
}

static void tick_y(struct srv_plot *plot, double value)
{
    char text[32];
    int y = (int)lround(to_y(plot, value));
    int length = snprintf(text, sizeof text, "%g", value);
    for (int i = 0; i < TICK; i++)
        set_pixel(plot, LEFT - 1 - i, y, SRV_PLOT_BLACK);
    draw_text(plot, LEFT - TICK - 4 - length * ADVANCE, y - GLYPH_HEIGHT / 2, text);
}

/* Ticks at 1, 2 or 5 times a power of ten, about TICKS of them. */
static void draw_ticks(struct srv_plot *plot, double low, double high,
                       void (*draw)(struct srv_plot *plot, double value))
{
    static const double multiples[] = {1, 2, 5, 10};
    double unit = pow(10, floor(log10((high - low) / TICKS))), step = unit;
    for (size_t i = 0; i < sizeof multiples / sizeof multiples[0] && (high - low) / step > TICKS; i++)
        step = unit * multiples[i];
    double first = ceil(low / step - 1e-9);
    for (int i = 0; i <= 2 * TICKS && (first + i) * step <= high + 1e-9 * step; i++)
        draw(plot, first + i == 0 ? 0 : (first + i) * step);
}

/* Ticks at powers of ten, and between them where there are few. */
static void draw_log_ticks(struct srv_plot *plot, double low, double high)
{
    bool fine = log10(high / low) < 2;
    int every = (int)ceil(log10(high / low) / (2 * TICKS)), last = (int)floor(log10(high) + 1e-9);
    every = every < 1 ? 1 : every;
    for (int power = (int)floor(log10(low)); power <= last; power += every)
        for (int multiple = 1; multiple <= (fine ? 5 : 1); multiple += multiple == 2 ? 3 : 1) {
            double value = multiple * pow(10, power);
            if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9))
                tick_y(plot, value);
        }
}

static void draw_frame(struct srv_plot *plot)
{
    const struct srv_plot_axes *axes = &plot->axes;
    for (int x = LEFT - 1; x <= RIGHT + 1; x++) {
        set_pixel(plot, x, TOP - 1, SRV_PLOT_BLACK);
        set_pixel(plot, x, BOTTOM + 1, SRV_PLOT_BLACK);
    }
    for (int y = TOP - 1; y <= BOTTOM + 1; y++) {
        set_pixel(plot, LEFT - 1, y, SRV_PLOT_BLACK);
        set_pixel(plot, RIGHT + 1, y, SRV_PLOT_BLACK);
    }
    draw_ticks(plot, axes->x_low, axes->x_high, tick_x);
    if (axes->log_y)
        draw_log_ticks(plot, axes->y_low, axes->y_high);
    else
        draw_ticks(plot, axes->y_low, axes->y_high, tick_y);
    draw_text(plot, LEFT, TOP - GLYPH_HEIGHT - 6, axes->y_name);
    draw_text(plot, (LEFT + RIGHT - (int)strlen(axes->x_name) * ADVANCE) / 2, BOTTOM + TICK + 20,
              axes->x_name);
}

enum efm_status srv_plot_create(struct srv_plot *plot, const struct srv_plot_axes *axes,
                                struct efm_error *error)
{
    plot->axes = *axes;
    plot->image = (struct efm_image){0};
    enum efm_status status = efm_image_create(&plot->image, SRV_PLOT_WIDTH, SRV_PLOT_HEIGHT, 3, error);
    if (status != EFM_OK)
        return status;
    memset(plot->image.pixels, 255, (size_t)3 * SRV_PLOT_WIDTH * SRV_PLOT_HEIGHT);
    draw_frame(plot);
    return EFM_OK;
}

void srv_plot_release(struct srv_plot *plot)
{
    efm_image_release(&plot->image);
}

enum efm_status srv_plot_encode(const struct srv_plot *plot, struct efm_buffer *out, struct efm_error *error)
{
    return efm_image_encode(out, &plot->image, EFM_IMAGE_PNG, 0, NULL, 0, error);
}
