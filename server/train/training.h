/* training.h - one training in the foreground: what it is made of, and its life after all of it is there.
 *
 * Threads: one, beside the team and the watcher of signals that it makes. */
#ifndef SRV_TRAIN_TRAINING_H
#define SRV_TRAIN_TRAINING_H

#include "api/train.h"
#include "server/train/files.h"
#include "server/train/options.h"
#include "server/train/progress.h"
#include "server/train/stop_signals.h"
#include "server/train/training_log.h"

/* How the process ends. */
enum srv_train_exit {
    SRV_TRAIN_DONE = 0,
    SRV_TRAIN_FAILED = 1,
    SRV_TRAIN_REFUSED = 2,     /* spec or options; nothing was changed */
    SRV_TRAIN_INTERRUPTED = 3, /* by a signal, with a checkpoint written */
};

struct srv_training {
    struct srv_train_options options;
    struct api_train train;
    struct efm_trainer_spec spec;
    struct efm_dataset *datasets[2]; /* owned; NULL: N(0, I) */
    struct srv_train_files files;
    struct srv_training_log log;
    struct srv_progress progress;
    struct srv_stop_signals signals;
    size_t threads;
    struct efm_team *team;
    struct efm_trainer *trainer;
};

/* From a training whose spec, datasets, files and log are there, to its end: the trainer, its steps, the model and pictures.
 * Tells the user what happens. */
enum srv_train_exit srv_training_run(struct srv_training *training);

/* On standard error, behind "efmd train: "; `say` is silent under --quiet. */
void srv_training_say(struct srv_training *training, const char *format, ...) EFM_PRINTF(2, 3);
void srv_training_complain(struct srv_training *training, const char *format, ...) EFM_PRINTF(2, 3);

/* The model and the pictures of a training that has made all its steps. */
enum srv_train_exit srv_training_finish(struct srv_training *training);

/* Writes a checkpoint in place of the last one, which stays when that fails. */
EFM_MUST_CHECK enum efm_status srv_training_checkpoint(struct srv_training *training,
                                                       struct efm_error *error);

double srv_training_now(void); /* seconds of a clock that never goes back */

#endif
