/* progress.h - how far a training is, on standard error: one line rewritten on a terminal, else a line every 10 seconds.
 *
 *     step 1200/5000  loss 0.01234  8431 images/s  elapsed 1:23  left 4:22
 *
 * Time comes from the caller. Threads: one. */
#ifndef SRV_TRAIN_PROGRESS_H
#define SRV_TRAIN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct srv_progress {
    int file;         /* where lines go; -1: nowhere */
    bool is_terminal; /* `file` is one */
    bool line_open;   /* a line without its end stands on the terminal */
    uint64_t first_step, step, steps;
    size_t batch;
    double begun, shown; /* seconds of the caller's clock */
    double loss, weight; /* a moving average, and how much of it is filled */
};

/* From `first_step` steps made before, at time `now`. */
void srv_progress_begin(struct srv_progress *progress, int file, uint64_t first_step, uint64_t steps,
                        size_t batch, double now);

/* After each step. */
void srv_progress_step(struct srv_progress *progress, uint64_t step, double loss, double now);

/* Shows the last state whenever it was shown last, and ends the line. */
void srv_progress_end(struct srv_progress *progress, double now);

/* Ends a line that stands, so that a message may follow. */
void srv_progress_break(struct srv_progress *progress);

/* The line without its end, cut to size. */
void srv_progress_render(const struct srv_progress *progress, double now, char *out, size_t size);

#endif
