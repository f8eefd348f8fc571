// SPDX-License-Identifier: Apache-2.0
/* The trainer, its steps, and what happens between them. */
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/jobs/train_internal.h"
#include "server/metrics.h"
#include "server/train/plates.h"

#include <math.h>

/* The idle thread works by itself for so long; an end that is asked for is heeded after each step all the same. */
#define RUN_SECONDS 0.05

/* Events of metrics: one a second at first, then ever fewer, 250 for each factor e of time: 1,700 a day, 2,200 a week. The
 * job itself is brought up to date every few seconds. */
#define EVENT_SECONDS 1.0
#define EVENT_SHARE (1.0 / 250)
#define PROGRESS_SECONDS 5.0

enum { MAX_SPEC = 1 << 20 };

/* ---- before the first ---- */

static bool has_ended(void *context)
{
    struct srv_train_job *job = context;
    return atomic_load(&job->end) != SRV_TRAIN_GOES_ON;
}

static void open_trainer(void *context)
{
    struct srv_train_job *job = context;
    job->spec.memory = job->worker->options.memory;
    job->status = efm_team_create(&job->team, job->threads, &job->error);
    if (job->status == EFM_OK)
        job->status = efm_trainer_create(&job->trainer, &job->spec, job->datasets[EFM_SOURCE],
                                         job->datasets[EFM_TARGET], job->team, &job->error);
    if (job->status == EFM_OK)
        efm_trainer_heed(job->trainer, has_ended, job);
    if (job->status != EFM_OK || job->checkpoint == NULL)
        return;
    const uint8_t *bytes = srv_blob_map(job->checkpoint, &job->error);
    if (bytes == NULL) {
        job->status = job->error.status;
        return;
    }
    enum efm_status status =
        efm_trainer_restore(job->trainer, bytes, (size_t)srv_blob_size(job->checkpoint), &job->not_restored);
    if (status == EFM_E_MEMORY) {
        job->error = job->not_restored;
        job->status = status;
    }
}

static bool find_checkpoint(struct srv_train_job *job)
{
    char key[SRV_BLOB_KEY];
    struct efm_error error = {0};
    srv_jobs_blob_key(job->record.id, "checkpoint", key);
    enum efm_status status = srv_blobs_open(job->service->blobs, key, &job->checkpoint, &error);
    if (status == EFM_OK || status == EFM_E_NOT_FOUND)
        return true;
    return srv_train_job_fail_error(job, &error, API_P_STORAGE, "");
}

static size_t choose_threads(const struct srv_train_job *job)
{
    const size_t most = job->worker->options.threads;
    const uint64_t asked = job->train.values.threads;
    return asked == 0 || asked > most ? most : (size_t)asked;
}

/* The spec with all that it left open, for whoever looks at the job. */
static bool complete(struct srv_train_job *job)
{
    struct api_problem problem = {0};
    struct efm_buffer text = efm_buffer_limited(MAX_SPEC);
    if (!api_train_complete(&job->train, srv_train_plates_shape(job->datasets), &job->spec, &problem))
        return srv_train_job_fail_problem(job, &problem);
    api_train_render(&job->train, &text);
    efm_buffer_append(&text, "", 1);
    char *whole = text.status == EFM_OK ? efm_copy_string((const char *)text.data) : NULL;
    efm_buffer_release(&text);
    if (whole == NULL)
        return srv_train_job_fail(job, api_problem_code_name(API_P_NO_MEMORY), "", "no memory for the spec");
    efm_free(job->record.spec);
    job->record.spec = whole;
    job->record.total_steps = job->spec.steps;
    job->record.seed = job->spec.seed;
    return true;
}

bool srv_train_steps_prepare(struct srv_train_job *job)
{
    if (!complete(job))
        return false;
    job->threads = choose_threads(job);
    if (!find_checkpoint(job))
        return false;
    srv_train_job_compute(job, open_trainer, job);
    srv_blob_close(job->checkpoint);
    job->checkpoint = NULL;
    if (job->status != EFM_OK)
        return srv_train_job_fail_error(job, &job->error, API_P_STORAGE, "");
    /* the same numbers come out of it, only later */
    if (job->not_restored.status != EFM_OK)
        srv_train_job_event(job, "message", "warn",
                            "the checkpoint could not be used, the training begins anew", "{}");
    if (job->not_restored.status != EFM_OK)
        srv_train_job_warn(job, "checkpoint_not_used", job->not_restored.message);
    job->first_step = job->saved_step = job->record.step = efm_trainer_step_count(job->trainer);
    job->begun = true;
    job->steps_began = job->reporting.since = job->saved = srv_clock();
    srv_previews_open(job->service->previews, job->record.id);
    srv_train_job_progress(job);
    return srv_train_job_goes_on(job);
}

/* ---- what is told of them ---- */

static void estimate_end(struct srv_train_job *job, double now)
{
    struct api_job *record = &job->record;
    const uint64_t made = record->step - job->first_step;
    if (made == 0)
        return;
    const double seconds = (now - job->steps_began) / (double)made;
    record->estimated_finish =
        srv_store_now(job->service->store) + seconds * (double)(job->spec.steps - record->step);
}

static void tell_metrics(struct srv_train_job *job, double now)
{
    struct srv_train_reporting *reporting = &job->reporting;
    struct api_job *record = &job->record;
    const double seconds = fmax(now - reporting->since, 1e-9);
    record->loss = reporting->loss / (double)reporting->steps;
    record->images_per_second = (double)reporting->steps * (double)job->spec.batch.size / seconds;
    srv_train_job_event(job, "metrics", "info", "",
                        "{\"step\":%llu,\"total_steps\":%llu,\"loss\":%.9g,\"gradient_norm\":%.9g,"
                        "\"learning_rate\":%.9g,\"images_per_second\":%.6g}",
                        (unsigned long long)record->step, (unsigned long long)record->total_steps,
                        record->loss, reporting->last.gradient_norm, reporting->last.rate,
                        record->images_per_second);
    reporting->loss = 0;
    reporting->steps = 0;
    reporting->since = reporting->shown = now;
}

static void report(struct srv_train_job *job)
{
    struct srv_train_reporting *reporting = &job->reporting;
    const double now = srv_clock();
    const double age = srv_store_now(job->service->store) - job->record.started;
    const double interval = fmax(EVENT_SECONDS, age * EVENT_SHARE);
    const bool first = reporting->shown <= 0, last = job->record.step == job->spec.steps;
    estimate_end(job, now);
    if (first || last || now - reporting->since >= interval) {
        tell_metrics(job, now);
    } else if (now - reporting->shown >= PROGRESS_SECONDS) {
        reporting->shown = now;
        srv_train_job_progress(job);
    }
}

/* ---- steps ---- */

static void make_some(void *context)
{
    struct srv_train_job *job = context;
    struct srv_train_reporting *reporting = &job->reporting;
    do {
        job->status = efm_trainer_step(job->trainer, &reporting->last, &job->error);
        if (job->status != EFM_OK)
            return;
        reporting->loss += reporting->last.loss;
        reporting->steps++;
    } while (reporting->last.step < job->spec.steps && srv_clock() < job->until && !has_ended(job));
}

static bool fail_step(struct srv_train_job *job)
{
    if (job->status == EFM_E_NUMERIC)
        return srv_train_job_fail(job, efm_status_name(EFM_E_NUMERIC), "", "%s", job->error.message);
    return srv_train_job_fail_error(job, &job->error, API_P_INTERNAL, "");
}

bool srv_train_steps_make(struct srv_train_job *job)
{
    struct srv_metrics *metrics = job->service->metrics;
    const double patience = job->worker->options.checkpoint_seconds;
    while (job->record.step < job->spec.steps) {
        if (!srv_train_job_goes_on(job))
            return false;
        job->until = srv_clock() + fmin(RUN_SECONDS, patience);
        srv_train_job_compute(job, make_some, job);
        const uint64_t step = efm_trainer_step_count(job->trainer);
        srv_metrics_add(metrics, SRV_M_TRAIN_STEPS, (double)(step - job->record.step), "%s", "");
        job->record.step = step;
        if (job->status == EFM_E_CANCELLED)
            return false;
        if (job->status != EFM_OK)
            return fail_step(job);
        srv_metrics_set(metrics, SRV_M_TRAIN_LOSS, job->reporting.last.loss, "%s", "");
        report(job);
        if (srv_clock() - job->saved >= patience && step < job->spec.steps) {
            srv_train_checkpoint(job);
            srv_train_preview_keep(job, false);
        }
        srv_train_preview_answer(job);
    }
    return srv_train_job_goes_on(job);
}
