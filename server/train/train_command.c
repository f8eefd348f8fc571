// SPDX-License-Identifier: Apache-2.0
#include "server/train/train_command.h"

#include "core/base/memory.h"
#include "server/config.h"
#include "server/store/storage.h"
#include "server/train/plates.h"
#include "server/train/training.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SPEC = 4 << 20 };

static enum srv_train_exit print(struct efm_buffer *out)
{
    size_t written = fwrite(out->data, 1, out->size, stdout);
    bool failed = out->status != EFM_OK || written != out->size || fflush(stdout) != 0;
    efm_buffer_release(out);
    return failed ? SRV_TRAIN_FAILED : SRV_TRAIN_DONE;
}

static bool refuse_spec(struct srv_training *training, const struct api_problem *problem)
{
    srv_training_complain(training, "%.200s: %s", training->options.spec, problem->detail);
    return false;
}

static bool parse_spec(struct srv_training *training, int folder, const char *name)
{
    struct efm_error error = {0};
    struct api_problem problem = {0};
    uint8_t *bytes = NULL;
    size_t size;
    int64_t changed;
    if (srv_storage_read(folder, name, MAX_SPEC, &bytes, &size, &changed, &error) != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        return false;
    }
    bool good = api_train_parse(&training->train, bytes, size, &problem);
    efm_free(bytes);
    if (!good)
        return refuse_spec(training, &problem);
    if (training->options.steps != NULL &&
        !api_train_set_steps(&training->train, training->options.steps, &problem)) {
        srv_training_complain(training, "--%s", problem.detail);
        return false;
    }
    return true;
}

/* The spec, what it names, and what it leaves out. */
static bool read_all(struct srv_training *training)
{
    int folder;
    const char *name;
    struct efm_error error = {0};
    struct api_problem problem = {0};
    if (srv_train_open_folder(training->options.spec, &folder, &name, &error) != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        return false;
    }
    bool good = parse_spec(training, folder, name);
    if (good && srv_train_plates_read(training->datasets, &training->train, folder, &error) != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        good = false;
    }
    close(folder);
    if (!good)
        return false;
    return api_train_complete(&training->train, srv_train_plates_shape(training->datasets), &training->spec,
                              &problem) ||
           refuse_spec(training, &problem);
}

static size_t choose_threads(const struct srv_training *training)
{
    uint64_t threads = training->options.threads;
    if (threads == 0)
        threads = training->train.values.threads;
    return threads == 0 ? srv_config_cores() : (size_t)threads;
}

/* Opens what is written to, before hours are spent that could not be kept. */
static enum srv_train_exit open_files(struct srv_training *training)
{
    const struct srv_train_options *options = &training->options;
    struct efm_error error = {0};
    enum efm_status status = srv_train_files_open(&training->files, options->out, &error);
    if (status == EFM_OK)
        status = srv_training_log_open(&training->log, training->files.folder, training->files.log, &error);
    if (status != EFM_OK) {
        srv_training_complain(training, "%s", error.message);
        return status == EFM_E_ARGUMENT ? SRV_TRAIN_REFUSED : SRV_TRAIN_FAILED;
    }
    if (!options->resume && !options->overwrite &&
        srv_train_files_exists(&training->files, training->files.checkpoint)) {
        srv_training_complain(
            training,
            "%s is of a training that did not end; --resume goes on from it, --overwrite begins anew",
            training->files.checkpoint);
        return SRV_TRAIN_REFUSED;
    }
    return SRV_TRAIN_DONE;
}

static enum srv_train_exit run(struct srv_training *training)
{
    if (!read_all(training))
        return SRV_TRAIN_REFUSED;
    if (training->options.print_spec) {
        struct efm_buffer out = efm_buffer_limited(2 * MAX_SPEC);
        api_train_render(&training->train, &out);
        return print(&out);
    }
    training->threads = choose_threads(training);
    enum srv_train_exit result = open_files(training);
    return result == SRV_TRAIN_DONE ? srv_training_run(training) : result;
}

int srv_train_command(int argument_count, char *const *arguments)
{
    struct srv_training training = {.files.folder = -1, .log.file = -1, .progress.file = -1};
    struct efm_error error = {0};
    if (srv_train_options_read(&training.options, argument_count, arguments, &error) != EFM_OK) {
        srv_training_complain(&training, "%s", error.message);
        return SRV_TRAIN_REFUSED;
    }
    if (training.options.help) {
        struct efm_buffer out = efm_buffer_limited(1 << 16);
        srv_train_options_help(&out);
        return print(&out);
    }
    enum srv_train_exit result = run(&training);
    srv_training_log_close(&training.log);
    srv_train_files_close(&training.files);
    for (size_t side = 0; side < 2; side++)
        efm_dataset_unref(training.datasets[side]);
    api_train_release(&training.train);
    return result;
}
