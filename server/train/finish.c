// SPDX-License-Identifier: Apache-2.0
/* The end of a training: the model first, for it is what all was for; then the pictures; then the checkpoint goes. */
#include "core/base/memory.h"
#include "server/train/sample_grid.h"
#include "server/train/training.h"

#include <stdio.h>

enum { IMAGE_SAMPLES = 16, VECTOR_SAMPLES = 1000 };

static enum efm_status write_model(struct srv_training *training, struct efm_model **model,
                                   struct efm_error *error)
{
    const struct efm_trainer_names names = {
        .source = training->train.plates[EFM_SOURCE].name,
        .target = training->train.plates[EFM_TARGET].name,
        .bf16 = training->train.values.weights == API_TRAIN_BF16,
    };
    struct efm_buffer bytes = efm_buffer_limited(SIZE_MAX);
    enum efm_status status = efm_trainer_model(training->trainer, &names, model, error);
    if (status == EFM_OK)
        status = efm_model_save(*model, &bytes, error);
    if (status == EFM_OK)
        status = srv_train_files_write(&training->files, training->files.model, &bytes, error);
    efm_buffer_release(&bytes);
    return status;
}

static enum efm_status write_curve(struct srv_training *training, struct efm_error *error)
{
    struct efm_buffer png = efm_buffer_limited(SIZE_MAX);
    struct srv_loss_point *points = NULL;
    size_t count = 0;
    enum efm_status status = srv_training_log_losses(&training->log, &points, &count, error);
    if (status == EFM_OK)
        status = srv_loss_curve_render(points, count, &png, error);
    if (status == EFM_OK)
        status = srv_train_files_write(&training->files, training->files.loss, &png, error);
    efm_free(points);
    efm_buffer_release(&png);
    return status;
}

static size_t count_samples(const struct srv_training *training, const struct efm_model *model)
{
    if (training->options.samples_given)
        return (size_t)training->options.samples;
    return efm_shape_is_image(efm_model_shape(model)) ? IMAGE_SAMPLES : VECTOR_SAMPLES;
}

static enum efm_status write_samples(struct srv_training *training, const struct efm_model *model,
                                     size_t count, size_t *landed, struct efm_error *error)
{
    const struct srv_sample_request request = {
        .model = model,
        .datasets = {training->datasets[EFM_SOURCE], training->datasets[EFM_TARGET]},
        .augmentation = training->spec.augmentation,
        .seed = training->spec.seed,
        .count = count,
        .team = training->team,
    };
    struct efm_buffer png = efm_buffer_limited(SIZE_MAX);
    *landed = 0;
    if (count == 0)
        return EFM_OK;
    enum efm_status status = srv_sample_grid_render(&request, &png, landed, error);
    if (status == EFM_OK)
        status = srv_train_files_write(&training->files, training->files.samples, &png, error);
    efm_buffer_release(&png);
    return status;
}

/* All that training costs is in the state: it is kept, so that another --resume only has to write. */
static enum srv_train_exit fail_model(struct srv_training *training, const struct efm_error *error)
{
    struct efm_error again = {0};
    bool kept = srv_training_checkpoint(training, &again) == EFM_OK;
    srv_training_complain(training, "the model cannot be written: %s; %s%s", error->message,
                          kept ? "all steps are in the checkpoint, --resume tries again"
                               : "and no checkpoint: ",
                          kept ? "" : again.message);
    return SRV_TRAIN_FAILED;
}

enum srv_train_exit srv_training_finish(struct srv_training *training)
{
    const struct srv_train_files *files = &training->files;
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    size_t landed = 0;
    const uint64_t step = efm_trainer_step_count(training->trainer);
    if (write_model(training, &model, &error) != EFM_OK) {
        efm_model_unref(model);
        return fail_model(training, &error);
    }
    const size_t count = count_samples(training, model);
    enum efm_status status = write_curve(training, &error);
    if (status == EFM_OK)
        status = write_samples(training, model, count, &landed, &error);
    if (status != EFM_OK)
        srv_training_complain(training, "%s is written, but not its pictures: %s", files->model,
                              error.message);
    srv_training_log_event(&training->log, "end", step, srv_training_now(),
                           "\"model\":\"%s\",\"samples\":%zu,\"landed\":%zu", efm_model_sha256(model), count,
                           landed);
    efm_model_unref(model);
    if (status != EFM_OK)
        return SRV_TRAIN_FAILED;
    const bool kept = srv_train_files_exists(files, files->checkpoint);
    if (srv_train_files_remove(files, files->checkpoint, &error) != EFM_OK) {
        srv_training_complain(training, "%s is written, but its checkpoint stays: %s", files->model,
                              error.message);
        return SRV_TRAIN_FAILED;
    }
    if (count > 0 && landed < count)
        srv_training_say(training, "%zu of the %zu lines of the picture did not land", count - landed, count);
    srv_training_say(training, "done: %s, %s%s%s, %s%s", files->model, files->loss, count > 0 ? ", " : "",
                     count > 0 ? files->samples : "", files->log, kept ? "; the checkpoint is removed" : "");
    return SRV_TRAIN_DONE;
}
