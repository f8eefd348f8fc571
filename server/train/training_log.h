/* training_log.h - what happened in a training, as lines of JSON in a file, and read back for its curve.
 *
 *     {"event":"start","step":0,"steps":5000,...}
 *     {"event":"step","step":100,"loss":0.31,"rate":0.0002,"gradient_norm":1.2,"images_per_second":8431,"seconds":1.01}
 *
 * `loss` is the mean since the line before. A training that goes on appends; steps behind the checkpoint are then made,
 * and written, twice, and the later line counts. Writes that fail are left out: a log is no reason to end a training.
 * Threads: one. */
#ifndef SRV_TRAIN_TRAINING_LOG_H
#define SRV_TRAIN_TRAINING_LOG_H

#include "core/train/trainer.h"
#include "server/train/loss_curve.h"

struct srv_training_log {
    int file;
    size_t batch;
    double begun, written; /* seconds of the caller's clock */
    double loss;           /* summed since the last line */
    uint64_t count;        /* of steps since then */
    uint64_t every;        /* steps a line, at most */
};

/* Opens or makes the file and locks it, so that no two trainings write the same model: EFM_E_EXISTS when one does. EFM_E_IO. */
EFM_MUST_CHECK enum efm_status srv_training_log_open(struct srv_training_log *log, int folder,
                                                     const char *name, struct efm_error *error);
void srv_training_log_close(struct srv_training_log *log);

/* From here on lines are written: behind the old ones, or in their place when `anew`. */
void srv_training_log_begin(struct srv_training_log *log, bool anew, uint64_t steps, size_t batch,
                            double now);

/* `members` as in srv_log; NULL: none. */
void srv_training_log_event(struct srv_training_log *log, const char *event, uint64_t step, double now,
                            const char *members, ...) EFM_PRINTF(5, 6);

/* After each step; writes a line a second, or each hundred steps (of a short training: fewer), whichever comes first. */
void srv_training_log_step(struct srv_training_log *log, const struct efm_trainer_report *report, double now);

/* The losses of the whole training, in order of steps; *points is owned by the caller (efm_free), NULL when there are none.
 * Lines that are torn are left out. EFM_E_IO, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_training_log_losses(const struct srv_training_log *log,
                                                       struct srv_loss_point **points, size_t *count,
                                                       struct efm_error *error);

#endif
