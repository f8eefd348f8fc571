// SPDX-License-Identifier: Apache-2.0
#include "server/train/training.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/store/storage.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

double srv_training_now(void)
{
    return srv_clock();
}

/* ---- words to the user ---- */

static void put(struct srv_training *training, const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    srv_progress_break(&training->progress);
    fprintf(stderr, "efmd train: %s\n", text);
}

void srv_training_say(struct srv_training *training, const char *format, ...)
{
    va_list arguments;
    if (training->options.quiet)
        return;
    va_start(arguments, format);
    put(training, format, arguments);
    va_end(arguments);
}

void srv_training_complain(struct srv_training *training, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put(training, format, arguments);
    va_end(arguments);
}

/* ---- checkpoints ---- */

enum efm_status srv_training_checkpoint(struct srv_training *training, struct efm_error *error)
{
    struct efm_buffer bytes = efm_buffer_limited(SIZE_MAX);
    enum efm_status status = efm_trainer_save(training->trainer, &bytes, error);
    if (status == EFM_OK)
        status = srv_train_files_write(&training->files, training->files.checkpoint, &bytes, error);
    if (status == EFM_OK)
        srv_training_log_event(&training->log, "checkpoint", efm_trainer_step_count(training->trainer),
                               srv_training_now(), "\"bytes\":%zu", bytes.size);
    efm_buffer_release(&bytes);
    return status;
}

static enum efm_status restore(struct srv_training *training, struct efm_error *error)
{
    const struct srv_train_files *files = &training->files;
    uint8_t *bytes = NULL;
    size_t size;
    int64_t changed;
    enum efm_status status =
        srv_storage_read(files->folder, files->checkpoint, SIZE_MAX, &bytes, &size, &changed, error);
    if (status == EFM_OK)
        status = efm_trainer_restore(training->trainer, bytes, size, error);
    efm_free(bytes);
    return status;
}

/* True when the training can begin, at the step of a checkpoint or anew. */
static bool begin(struct srv_training *training, bool *resumed)
{
    const struct srv_train_files *files = &training->files;
    struct efm_error error = {0};
    *resumed = training->options.resume && srv_train_files_exists(files, files->checkpoint);
    if (*resumed && restore(training, &error) != EFM_OK) {
        srv_training_complain(training, "%s cannot be resumed: %s; --overwrite begins anew",
                              files->checkpoint, error.message);
        return false;
    }
    if (*resumed)
        srv_training_say(training, "goes on from %s at step %llu", files->checkpoint,
                         (unsigned long long)efm_trainer_step_count(training->trainer));
    else if (training->options.resume)
        srv_training_say(training, "there is no %s to resume; begins anew", files->checkpoint);
    /* one that stayed would be taken for a checkpoint of the new training */
    if (training->options.overwrite && srv_train_files_remove(files, files->checkpoint, &error) != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        return false;
    }
    return true;
}

/* ---- steps ---- */

static enum srv_train_exit stop(struct srv_training *training)
{
    const unsigned long long step = efm_trainer_step_count(training->trainer);
    struct efm_error error = {0};
    srv_progress_end(&training->progress, srv_training_now());
    if (srv_training_checkpoint(training, &error) != EFM_OK) {
        srv_training_complain(training,
                              "interrupted at step %llu, and the checkpoint failed: %s; an older one stays",
                              step, error.message);
        return SRV_TRAIN_FAILED;
    }
    srv_training_log_event(&training->log, "interrupted", step, srv_training_now(), NULL);
    srv_training_say(training, "interrupted at step %llu; %s is written, --resume goes on from it", step,
                     training->files.checkpoint);
    return SRV_TRAIN_INTERRUPTED;
}

static enum srv_train_exit fail_step(struct srv_training *training, const struct efm_error *error)
{
    const unsigned long long step = efm_trainer_step_count(training->trainer);
    const char *checkpoint = training->files.checkpoint;
    srv_progress_end(&training->progress, srv_training_now());
    srv_training_log_event(&training->log, "failed", step, srv_training_now(), "\"status\":\"%s\"",
                           efm_status_name(error->status));
    srv_training_complain(training, "stopped after step %llu: %s; %s%s", step, error->message,
                          srv_train_files_exists(&training->files, checkpoint) ? "the last checkpoint stays: "
                                                                               : "there is no checkpoint yet",
                          srv_train_files_exists(&training->files, checkpoint) ? checkpoint : "");
    return SRV_TRAIN_FAILED;
}

static enum srv_train_exit make_steps(struct srv_training *training)
{
    double saved = srv_training_now();
    while (efm_trainer_step_count(training->trainer) < training->spec.steps) {
        struct efm_trainer_report report;
        struct efm_error error = {0};
        if (srv_stop_signals_asked(&training->signals))
            return stop(training);
        if (efm_trainer_step(training->trainer, &report, &error) != EFM_OK)
            return fail_step(training, &error);
        const double now = srv_training_now();
        srv_training_log_step(&training->log, &report, now);
        srv_progress_step(&training->progress, report.step, report.loss, now);
        if (now - saved < training->options.checkpoint_seconds || report.step == training->spec.steps)
            continue;
        /* what fails now, as on a full disk, may work the next time */
        if (srv_training_checkpoint(training, &error) != EFM_OK)
            srv_training_complain(
                training, "the checkpoint of step %llu failed: %s; an older one stays, training goes on",
                (unsigned long long)report.step, error.message);
        saved = srv_training_now();
    }
    srv_progress_end(&training->progress, srv_training_now());
    return srv_training_finish(training);
}

static enum srv_train_exit run_with_trainer(struct srv_training *training)
{
    bool resumed;
    if (!begin(training, &resumed))
        return SRV_TRAIN_FAILED;
    const uint64_t step = efm_trainer_step_count(training->trainer);
    const struct efm_net *net = efm_trainer_net(training->trainer);
    const double now = srv_training_now();
    srv_training_log_begin(&training->log, !resumed, training->spec.steps, training->spec.batch.size, now);
    srv_training_log_event(&training->log, "start", step, now,
                           "\"steps\":%llu,\"arch\":\"%s\",\"field\":\"%s\",\"parameters\":%zu,\"batch\":%zu,"
                           "\"shards\":%zu,\"threads\":%zu",
                           (unsigned long long)training->spec.steps,
                           efm_net_arch_name(training->spec.net.arch),
                           efm_training_target_name(training->spec.batch.target), efm_net_size(net),
                           training->spec.batch.size, training->spec.shards, training->threads);
    srv_training_say(training, "%s of %zu numbers learns %s, %llu steps of %zu, %zu threads",
                     efm_net_arch_name(training->spec.net.arch), efm_net_size(net),
                     efm_training_target_name(training->spec.batch.target),
                     (unsigned long long)training->spec.steps, training->spec.batch.size, training->threads);
    srv_progress_begin(&training->progress, training->options.quiet ? -1 : STDERR_FILENO, step,
                       training->spec.steps, training->spec.batch.size, now);
    return make_steps(training);
}

enum srv_train_exit srv_training_run(struct srv_training *training)
{
    struct efm_error error = {0};
    enum srv_train_exit result = SRV_TRAIN_FAILED;
    /* before the team, whose threads inherit what is blocked */
    enum efm_status status = srv_stop_signals_start(&training->signals, &error);
    if (status != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        return SRV_TRAIN_FAILED;
    }
    status = efm_team_create(&training->team, training->threads, &error);
    if (status == EFM_OK)
        status = efm_trainer_create(&training->trainer, &training->spec, training->datasets[EFM_SOURCE],
                                    training->datasets[EFM_TARGET], training->team, &error);
    if (status == EFM_OK)
        result = run_with_trainer(training);
    else
        srv_training_complain(training, "%s", error.message);
    if (status == EFM_E_ARGUMENT)
        result = SRV_TRAIN_REFUSED;
    efm_trainer_destroy(training->trainer);
    efm_team_destroy(training->team);
    srv_stop_signals_end(&training->signals);
    return result;
}
