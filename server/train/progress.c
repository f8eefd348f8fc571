// SPDX-License-Identifier: Apache-2.0
#include "server/train/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double SMOOTHING = 0.98, ON_TERMINAL = 0.2, ELSEWHERE = 10;
enum { LINE = 200 };

void srv_progress_begin(struct srv_progress *progress, int file, uint64_t first_step, uint64_t steps,
                        size_t batch, double now)
{
    *progress = (struct srv_progress){.file = file,
                                      .is_terminal = file >= 0 && isatty(file) == 1,
                                      .first_step = first_step,
                                      .step = first_step,
                                      .steps = steps,
                                      .batch = batch,
                                      .begun = now,
                                      .shown = now};
}

/* "3:07", "2:03:07" */
static void render_time(double seconds, char *out, size_t size)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(out, size, "?");
        return;
    }
    unsigned long all = (unsigned long)seconds;
    if (all >= 3600)
        snprintf(out, size, "%lu:%02lu:%02lu", all / 3600, all / 60 % 60, all % 60);
    else
        snprintf(out, size, "%lu:%02lu", all / 60, all % 60);
}

void srv_progress_render(const struct srv_progress *progress, double now, char *out, size_t size)
{
    char elapsed[32], left[32];
    const double seconds = now - progress->begun, made = (double)(progress->step - progress->first_step);
    const double rate = seconds > 0 ? made / seconds : 0;
    render_time(seconds, elapsed, sizeof elapsed);
    render_time(rate > 0 ? (double)(progress->steps - progress->step) / rate : NAN, left, sizeof left);
    snprintf(out, size, "step %llu/%llu  loss %.4g  %.*f images/s  elapsed %s  left %s",
             (unsigned long long)progress->step, (unsigned long long)progress->steps,
             progress->weight > 0 ? progress->loss / progress->weight : NAN,
             rate * (double)progress->batch < 10 ? 1 : 0, rate * (double)progress->batch, elapsed, left);
}

/* A terminal that is gone is no reason to end a training. */
static void put(int file, const char *text)
{
    ssize_t written = write(file, text, strlen(text));
    (void)written;
}

static void show(struct srv_progress *progress, double now)
{
    char line[LINE], text[LINE + 16];
    srv_progress_render(progress, now, line, sizeof line);
    snprintf(text, sizeof text, progress->is_terminal ? "\r%s\033[K" : "%s\n", line);
    put(progress->file, text);
    progress->line_open = progress->is_terminal;
    progress->shown = now;
}

void srv_progress_step(struct srv_progress *progress, uint64_t step, double loss, double now)
{
    progress->step = step;
    progress->loss = SMOOTHING * progress->loss + (1 - SMOOTHING) * loss;
    progress->weight = SMOOTHING * progress->weight + (1 - SMOOTHING);
    if (progress->file >= 0 && now - progress->shown >= (progress->is_terminal ? ON_TERMINAL : ELSEWHERE))
        show(progress, now);
}

void srv_progress_break(struct srv_progress *progress)
{
    if (progress->line_open)
        put(progress->file, "\n");
    progress->line_open = false;
}

void srv_progress_end(struct srv_progress *progress, double now)
{
    if (progress->file >= 0 && progress->step > progress->first_step)
        show(progress, now);
    srv_progress_break(progress);
}
