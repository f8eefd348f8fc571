// SPDX-License-Identifier: Apache-2.0
/* One training from the claim to its end, whatever that is. */
#include "api/parameters.h"
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/jobs/train_internal.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Seconds between two renewals, and while a body computes between two looks. */
#define RENEW_SECONDS 2.0
#define GLANCE_SECONDS 0.5

/* How often an end is tried to be stored, and the longest pause between: the job is somebody's until then. */
enum { END_TRIES = 30, EVENT_DATA = 1024 };
#define END_PAUSE 5.0

/* Seconds before a job is begun again for which there was no memory. */
#define NO_MEMORY_PAUSE 1.0

/* ---- ends ---- */

bool srv_train_job_end(struct srv_train_job *job, enum srv_train_end end)
{
    enum srv_train_end expected = SRV_TRAIN_GOES_ON;
    atomic_compare_exchange_strong(&job->end, &expected, end);
    return false;
}

/* True when this is the reason that counts. */
static bool end_first(struct srv_train_job *job, enum srv_train_end end)
{
    enum srv_train_end expected = SRV_TRAIN_GOES_ON;
    return atomic_compare_exchange_strong(&job->end, &expected, end);
}

bool srv_train_job_fail(struct srv_train_job *job, const char *code, const char *pointer, const char *format,
                        ...)
{
    struct api_job *record = &job->record;
    va_list arguments;
    if (!end_first(job, SRV_TRAIN_END_FAILED))
        return false;
    va_start(arguments, format);
    vsnprintf(record->error_message, sizeof record->error_message, format, arguments);
    va_end(arguments);
    snprintf(record->error_code, sizeof record->error_code, "%s", code);
    snprintf(record->error_pointer, sizeof record->error_pointer, "%s", pointer);
    return false;
}

bool srv_train_job_fail_problem(struct srv_train_job *job, const struct api_problem *problem)
{
    return srv_train_job_fail(job, api_problem_code_name(problem->code),
                              problem->field_count > 0 ? problem->fields[0].pointer : "", "%s",
                              problem->detail);
}

bool srv_train_job_fail_error(struct srv_train_job *job, const struct efm_error *error,
                              enum api_problem_code when_format, const char *pointer)
{
    struct api_problem problem = {0};
    if (error->status == EFM_E_FULL) // of a disk, not of a queue
        api_problem_set(&problem, API_P_STORAGE, pointer, "%s", error->message);
    else
        api_problem_from_error(&problem, error, when_format, pointer);
    return srv_train_job_fail_problem(job, &problem);
}

/* ---- the lease ---- */

void srv_train_job_warn(struct srv_train_job *job, const char *event, const char *reason)
{
    char quoted[320];
    srv_log(job->service->log, SRV_LOG_WARNING, event, "\"job\":\"%s\",\"reason\":%s", job->record.id,
            srv_log_quote(reason, quoted, sizeof quoted));
}

/* A store that fails for a while does not end a training: whoever took the job over is found out later. */
static void heed_store(struct srv_train_job *job, enum efm_status status, bool cancel_asked,
                       const struct efm_error *error)
{
    if (status == EFM_E_NOT_FOUND)
        atomic_store(&job->end, SRV_TRAIN_END_LOST); // whatever else was to come of it
    else if (status == EFM_OK && cancel_asked)
        srv_train_job_end(job, SRV_TRAIN_END_CANCELLED);
    else if (status != EFM_OK && !job->store_failing)
        srv_train_job_warn(job, "training_not_stored", error->message);
    job->store_failing = status != EFM_OK;
}

static void keep_lease(struct srv_train_job *job)
{
    struct srv_train_worker *worker = job->worker;
    if (atomic_load(&worker->stop))
        srv_train_job_end(job, SRV_TRAIN_END_STOPPED);
    const bool noticed = atomic_exchange(&worker->noticed, false);
    const double now = srv_clock();
    if ((!noticed && now - job->renewed < RENEW_SECONDS) || atomic_load(&job->end) == SRV_TRAIN_END_LOST)
        return;
    struct efm_error error = {0};
    bool cancel_asked = false;
    job->renewed = now;
    enum efm_status status = srv_jobs_renew(job->service->jobs, job->record.id, &cancel_asked, &error);
    heed_store(job, status, cancel_asked, &error);
}

bool srv_train_job_still_ours(struct srv_train_job *job)
{
    job->renewed = 0;
    keep_lease(job);
    return atomic_load(&job->end) != SRV_TRAIN_END_LOST;
}

bool srv_train_job_goes_on(struct srv_train_job *job)
{
    keep_lease(job);
    return atomic_load(&job->end) == SRV_TRAIN_GOES_ON;
}

void srv_train_job_compute(struct srv_train_job *job, void (*body)(void *context), void *context)
{
    struct srv_train_worker *worker = job->worker;
    job->status = EFM_OK;
    efm_error_clear(&job->error);
    srv_idle_thread_begin(worker->idle, body, context);
    while (srv_idle_thread_busy(worker->idle)) {
        srv_train_worker_wait(worker, GLANCE_SECONDS);
        keep_lease(job);
    }
}

bool srv_train_job_pause(struct srv_train_job *job, double seconds)
{
    const double until = srv_clock() + seconds;
    while (srv_train_job_goes_on(job) && srv_clock() < until)
        srv_train_worker_wait(job->worker, seconds < GLANCE_SECONDS ? seconds : GLANCE_SECONDS);
    return srv_train_job_goes_on(job);
}

/* ---- what is told ---- */

static void store_progress(struct srv_train_job *job, const struct api_event *event)
{
    struct efm_error error = {0};
    if (atomic_load(&job->end) == SRV_TRAIN_END_LOST)
        return;
    enum efm_status status = srv_jobs_progress(job->service->jobs, &job->record, event, &error);
    heed_store(job, status, job->record.cancel_asked, &error);
}

void srv_train_job_progress(struct srv_train_job *job)
{
    store_progress(job, NULL);
}

void srv_train_job_event(struct srv_train_job *job, const char *type, const char *level, const char *message,
                         const char *format, ...)
{
    char data[EVENT_DATA];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(data, sizeof data, format, arguments);
    va_end(arguments);
    const struct api_event event = {.created = srv_store_now(job->service->store),
                                    .type = type,
                                    .level = level,
                                    .message = message,
                                    .data = length > 0 && (size_t)length < sizeof data ? data : "{}"};
    store_progress(job, &event);
}

const char *srv_train_job_model(const struct srv_train_job *job)
{
    return job->record.model[0] != '\0' ? job->record.model : job->record.id;
}

/* ---- the life ---- */

static bool read_spec(struct srv_train_job *job)
{
    struct api_problem problem = {0};
    const char *text = job->record.spec != NULL ? job->record.spec : "";
    json_t *spec = api_json_parse((const uint8_t *)text, strlen(text), &problem);
    bool good = spec != NULL && api_train_read(&job->train, spec, API_TRAIN_STORED, NULL, &problem);
    json_decref(spec);
    return good || srv_train_job_fail_problem(job, &problem);
}

static void train(struct srv_train_job *job)
{
    if (job->record.cancel_asked)
        srv_train_job_end(job, SRV_TRAIN_END_CANCELLED);
    else if (srv_train_model_is_there(job))
        srv_train_job_end(job, SRV_TRAIN_END_DONE);
    else if (srv_train_model_name_free(job) && read_spec(job) && srv_train_data_read(job) &&
             srv_train_steps_prepare(job) && srv_train_steps_make(job) && srv_train_model_put(job))
        srv_train_preview_keep(job, true);
}

static void give_back(struct srv_train_job *job)
{
    struct efm_error error = {0};
    srv_train_checkpoint(job);
    if (srv_jobs_give_back(job->service->jobs, &job->record, &error) != EFM_OK)
        srv_train_job_warn(job, "training_not_given_back", error.message); // its lease runs out
}

/* Nothing is gained by going on to the next job while this one has no end; but one that cannot be stored at all is left for the
 * lease to run out. */
static void finish(struct srv_train_job *job, enum api_job_state state)
{
    double pause = 0.1;
    job->record.state = state;
    for (int i = 0; i < END_TRIES; i++) {
        struct efm_error error = {0};
        enum efm_status status = srv_jobs_finish(job->service->jobs, &job->record, &error);
        if (status == EFM_OK || status == EFM_E_NOT_FOUND)
            return;
        srv_train_job_warn(job, "training_end_not_stored", error.message);
        if (atomic_load(&job->worker->stop))
            return;
        const double until = srv_clock() + pause;
        while (srv_clock() < until && !atomic_load(&job->worker->stop)) {
            srv_train_worker_wait(job->worker, pause);
            keep_lease(job);
        }
        pause = 2 * pause < END_PAUSE ? 2 * pause : END_PAUSE;
    }
}

static const char *end_word(enum srv_train_end end)
{
    static const char *const words[] = {
        [SRV_TRAIN_GOES_ON] = "failed",      [SRV_TRAIN_END_DONE] = "succeeded",
        [SRV_TRAIN_END_FAILED] = "failed",   [SRV_TRAIN_END_CANCELLED] = "cancelled",
        [SRV_TRAIN_END_STOPPED] = "stopped", [SRV_TRAIN_END_LOST] = "lost",
    };
    return words[end];
}

static void conclude(struct srv_train_job *job)
{
    const struct srv_service *service = job->service;
    srv_previews_open(service->previews, NULL);
    srv_metrics_remove(service->metrics, SRV_M_TRAIN_LOSS, "%s", "");
    if (atomic_load(&job->end) == SRV_TRAIN_GOES_ON)
        srv_train_job_fail(job, "internal", "", "the training ended without a reason");
    const enum srv_train_end end = atomic_load(&job->end);
    switch (end) {
    case SRV_TRAIN_END_STOPPED:
        give_back(job);
        break;
    case SRV_TRAIN_END_DONE:
        finish(job, API_JOB_SUCCEEDED);
        break;
    case SRV_TRAIN_END_CANCELLED:
        finish(job, API_JOB_CANCELLED);
        break;
    case SRV_TRAIN_END_FAILED:
        finish(job, API_JOB_FAILED);
        break;
    case SRV_TRAIN_GOES_ON:
    case SRV_TRAIN_END_LOST:
        break;
    }
    char quoted[400];
    srv_log(service->log, end == SRV_TRAIN_END_FAILED ? SRV_LOG_WARNING : SRV_LOG_INFO, "training_ended",
            "\"job\":\"%s\",\"how\":\"%s\",\"step\":%llu,\"seconds\":%.3f,\"code\":\"%s\",\"reason\":%s",
            job->record.id, end_word(end), (unsigned long long)job->record.step, srv_clock() - job->began,
            job->record.error_code, srv_log_quote(job->record.error_message, quoted, sizeof quoted));
}

static void release(struct srv_train_job *job)
{
    srv_blob_close(job->checkpoint);
    efm_trainer_destroy(job->trainer);
    efm_team_destroy(job->team);
    for (size_t side = 0; side < 2; side++)
        efm_dataset_unref(job->datasets[side]);
    efm_buffer_release(&job->bytes);
    api_train_release(&job->train);
    api_job_release(&job->record);
    efm_free(job);
}

void srv_train_job_run(struct srv_train_worker *worker, struct api_job *record)
{
    struct srv_train_job *job = efm_allocate_array(1, sizeof *job);
    if (job == NULL) { // there may be memory later
        const struct srv_service *service = worker->options.service;
        struct efm_error error = {0};
        if (srv_jobs_postpone(service->jobs, record, NO_MEMORY_PAUSE, &error) != EFM_OK)
            srv_log(service->log, SRV_LOG_WARNING, "training_not_given_back", "\"job\":\"%s\"", record->id);
        api_job_release(record);
        srv_train_worker_wait(worker, NO_MEMORY_PAUSE);
        return;
    }
    job->worker = worker;
    job->service = worker->options.service;
    job->record = *record;
    job->began = job->renewed = srv_clock();
    srv_log(job->service->log, SRV_LOG_INFO, "training_started",
            "\"job\":\"%s\",\"model\":\"%s\",\"attempt\":%u,\"checkpoint_step\":%llu", job->record.id,
            srv_train_job_model(job), job->record.attempts, (unsigned long long)job->record.checkpoint_step);
    train(job);
    conclude(job);
    release(job);
}
