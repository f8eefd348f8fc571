// SPDX-License-Identifier: Apache-2.0
/* What comes out of a training: checkpoints and pictures on the way, a model in the end. */
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/engine/registry.h"
#include "server/jobs/train_internal.h"
#include "server/metrics.h"
#include "server/train/sample_grid.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* MODEL_PAUSE: the longest, seconds. */
enum { FAILED_CHECKPOINTS = 3, MODEL_TRIES = 5, MODEL_PAUSE = 5, IMAGE_SAMPLES = 16, VECTOR_SAMPLES = 1000 };

/* Shares of the time that drawing may take: for those who ask, and for pictures that are kept at checkpoints. */
#define ASKED_SHARE (1.0 / 2)
#define KEPT_SHARE (1.0 / 20)

/* ---- checkpoints ---- */

static void save(void *context)
{
    struct srv_train_job *job = context;
    job->status = efm_trainer_save(job->trainer, &job->bytes, &job->error);
}

static enum efm_status put_blob(struct srv_train_job *job, const char *name, struct efm_error *error)
{
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(job->record.id, name, key);
    return srv_blobs_put(job->service->blobs, key, job->bytes.data, job->bytes.size, error);
}

static void checkpoint_failed(struct srv_train_job *job)
{
    const enum api_problem_code code = job->status == EFM_E_MEMORY ? API_P_NO_MEMORY : API_P_STORAGE;
    const unsigned long long step = (unsigned long long)efm_trainer_step_count(job->trainer);
    srv_metrics_add(job->service->metrics, SRV_M_TRAIN_CHECKPOINTS, 1, "outcome=\"failed\"");
    srv_train_job_warn(job, "checkpoint_failed", job->error.message);
    /* before the end, after which nothing is told */
    srv_train_job_event(job, "message", "warn", "a checkpoint could not be written; the last one stays",
                        "{\"step\":%llu,\"code\":\"%s\"}", step, api_problem_code_name(code));
    if (++job->failed_checkpoints >= FAILED_CHECKPOINTS)
        srv_train_job_fail(job, api_problem_code_name(code), "",
                           "%d checkpoints in a row could not be written, the last one at step %llu: %s",
                           FAILED_CHECKPOINTS, step, job->error.message);
}

void srv_train_checkpoint(struct srv_train_job *job)
{
    if (!job->begun || efm_trainer_step_count(job->trainer) == job->saved_step)
        return;
    job->bytes = efm_buffer_limited(SIZE_MAX / 2);
    srv_train_job_compute(job, save, job);
    if (!srv_train_job_still_ours(job)) {
        efm_buffer_release(&job->bytes); // whoever has it writes its own
        return;
    }
    if (job->status == EFM_OK)
        job->status = put_blob(job, "checkpoint", &job->error);
    const size_t size = job->bytes.size;
    efm_buffer_release(&job->bytes);
    job->saved = srv_clock();
    if (job->status != EFM_OK) {
        checkpoint_failed(job);
        return;
    }
    job->failed_checkpoints = 0;
    job->saved_step = job->record.checkpoint_step = efm_trainer_step_count(job->trainer);
    job->record.checkpoint_time = srv_store_now(job->service->store);
    srv_metrics_add(job->service->metrics, SRV_M_TRAIN_CHECKPOINTS, 1, "outcome=\"written\"");
    srv_train_job_event(job, "checkpoint", "info", "", "{\"step\":%llu,\"loss\":%.9g,\"bytes\":%zu}",
                        (unsigned long long)job->saved_step, job->record.loss, size);
}

/* ---- pictures ---- */

static struct efm_trainer_names names_of(const struct srv_train_job *job)
{
    return (struct efm_trainer_names){.source = job->train.plates[EFM_SOURCE].name,
                                      .target = job->train.plates[EFM_TARGET].name,
                                      .bf16 = job->train.values.weights == API_TRAIN_BF16};
}

static void draw(void *context)
{
    struct srv_train_job *job = context;
    struct efm_model *model = NULL;
    const struct efm_trainer_names names = names_of(job);
    size_t landed;
    job->status = efm_trainer_model(job->trainer, &names, &model, &job->error);
    if (job->status == EFM_OK) {
        const struct srv_sample_request request = {
            .model = model,
            .datasets = {job->datasets[EFM_SOURCE], job->datasets[EFM_TARGET]},
            .augmentation = job->spec.augmentation,
            .seed = job->spec.seed,
            .count = efm_shape_is_image(efm_model_shape(model)) ? IMAGE_SAMPLES : VECTOR_SAMPLES,
            .team = job->team,
        };
        job->status = srv_sample_grid_render(&request, &job->bytes, &landed, &job->error);
    }
    efm_model_unref(model);
}

/* Into job->bytes, to be released; whoever waits gets it. */
static bool make_preview(struct srv_train_job *job)
{
    struct srv_previews *previews = job->service->previews;
    const double began = srv_clock();
    job->bytes = efm_buffer_limited(SIZE_MAX / 2);
    srv_train_job_compute(job, draw, job);
    const double now = srv_clock(), cost = now - began;
    job->preview_due = now + cost * (1 / ASKED_SHARE - 1);
    job->preview_kept = now + cost * (1 / KEPT_SHARE - 1);
    if (job->status == EFM_OK) {
        if (srv_previews_wanted(previews))
            srv_previews_give(previews, job->bytes.data, job->bytes.size,
                              efm_trainer_step_count(job->trainer));
        return true;
    }
    struct api_problem problem = {0};
    efm_buffer_release(&job->bytes);
    srv_train_job_warn(job, "preview_failed", job->error.message);
    api_problem_from_error(&problem, &job->error, API_P_INTERNAL, NULL);
    srv_previews_fail(previews, &problem);
    return false;
}

void srv_train_preview_answer(struct srv_train_job *job)
{
    if (!srv_previews_wanted(job->service->previews) || srv_clock() < job->preview_due)
        return;
    if (make_preview(job))
        efm_buffer_release(&job->bytes);
}

void srv_train_preview_keep(struct srv_train_job *job, bool last)
{
    const bool wanted = last || atomic_load(&job->end) == SRV_TRAIN_GOES_ON;
    if (!wanted || (!last && srv_clock() < job->preview_kept) || !make_preview(job))
        return;
    struct efm_error error = {0};
    enum efm_status status = put_blob(job, "preview.png", &error);
    efm_buffer_release(&job->bytes);
    if (status != EFM_OK)
        srv_train_job_warn(job, "preview_not_kept", error.message);
    else
        srv_train_job_event(job, "preview", "info", "", "{\"step\":%llu}",
                            (unsigned long long)efm_trainer_step_count(job->trainer));
}

/* ---- the model ---- */

/* Whose model has the name. False when it is free. */
static bool find_maker(const struct srv_train_job *job, char maker[API_JOB_ID_SIZE], char sha256[65])
{
    struct srv_model_facts facts = {0};
    if (!srv_registry_model_facts(job->service->registry, srv_train_job_model(job), &facts))
        return false;
    snprintf(maker, API_JOB_ID_SIZE, "%.63s", facts.trained_by);
    memcpy(sha256, facts.sha256, sizeof facts.sha256);
    srv_model_facts_release(&facts);
    return true;
}

bool srv_train_model_is_there(struct srv_train_job *job)
{
    char maker[API_JOB_ID_SIZE], sha256[65];
    if (!find_maker(job, maker, sha256) || strcmp(maker, job->record.id) != 0)
        return false;
    memcpy(job->record.model_sha256, sha256, sizeof sha256);
    return true;
}

static bool name_taken(struct srv_train_job *job)
{
    return srv_train_job_fail(job, api_problem_code_name(API_P_CONFLICT), "/model",
                              "there is a model \"%s\" by now, and \"replace\" is not set",
                              srv_train_job_model(job));
}

bool srv_train_model_name_free(struct srv_train_job *job)
{
    char maker[API_JOB_ID_SIZE], sha256[65];
    return job->record.replace || !find_maker(job, maker, sha256) || name_taken(job);
}

static void make_model(void *context)
{
    struct srv_train_job *job = context;
    struct efm_model *model = NULL;
    const struct efm_trainer_names names = names_of(job);
    job->status = efm_trainer_model(job->trainer, &names, &model, &job->error);
    if (job->status == EFM_OK)
        job->status = efm_model_save(model, &job->bytes, &job->error);
    efm_model_unref(model);
}

/* True once it is in the registry. */
static bool put_once(struct srv_train_job *job, struct api_problem *problem)
{
    struct efm_model *model = NULL;
    struct srv_put put = {.expected = job->record.replace ? NULL : "", .trained_by = job->record.id};
    if (!srv_registry_put_model(job->service->registry, srv_train_job_model(job), job->bytes.data,
                                job->bytes.size, &put, &model, problem))
        return problem->code == API_P_PRECONDITION_FAILED && srv_train_model_is_there(job);
    memcpy(job->record.model_sha256, efm_model_sha256(model), sizeof job->record.model_sha256);
    efm_model_unref(model);
    return true;
}

/* A disk that is full and a budget that is used up may be so for a moment only. */
static bool put_model(struct srv_train_job *job)
{
    const double pause = fmin(MODEL_PAUSE, job->worker->options.checkpoint_seconds);
    struct efm_buffer bytes = job->bytes;
    for (int tries = 1;; tries++) {
        struct api_problem problem = {0};
        if (put_once(job, &problem))
            return true;
        if (tries == 1) { // all that training costs is kept
            job->bytes = (struct efm_buffer){0};
            srv_train_checkpoint(job);
            job->bytes = bytes;
        }
        if (problem.code == API_P_PRECONDITION_FAILED)
            return name_taken(job);
        if (problem.code == API_P_DRAINING)
            return srv_train_job_end(job, SRV_TRAIN_END_STOPPED);
        if ((problem.code != API_P_STORAGE && problem.code != API_P_NO_MEMORY) || tries == MODEL_TRIES)
            return srv_train_job_fail_problem(job, &problem);
        srv_train_job_warn(job, "model_not_put", problem.detail);
        if (!srv_train_job_pause(job, pause))
            return false;
    }
}

bool srv_train_model_put(struct srv_train_job *job)
{
    job->bytes = efm_buffer_limited(SIZE_MAX / 2);
    srv_train_job_compute(job, make_model, job);
    bool good = job->status == EFM_OK;
    if (!good) {
        const struct efm_error error = job->error;
        efm_buffer_release(&job->bytes);
        srv_train_checkpoint(job);
        return srv_train_job_fail_error(job, &error, API_P_INVALID_MODEL, "");
    }
    good = srv_train_job_goes_on(job) && put_model(job);
    efm_buffer_release(&job->bytes);
    if (good)
        srv_train_job_end(job, SRV_TRAIN_END_DONE);
    return good;
}
