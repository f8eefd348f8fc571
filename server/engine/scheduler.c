// SPDX-License-Identifier: Apache-2.0
#include "server/engine/scheduler.h"

#include "core/base/memory.h"
#include "server/engine/engine_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

static const double SWEEP_SECONDS = 0.02;

void srv_scheduler_wait(struct srv_scheduler *scheduler, pthread_cond_t *condition, double seconds)
{
    srv_condition_wait(condition, &scheduler->lock, srv_clock() + seconds);
}

/* ---- the end of a work ---- */

bool srv_work_expired(const struct srv_work *work, double now)
{
    return now >= work->deadline || (work->cancelled != NULL && atomic_load(work->cancelled));
}

void srv_work_hand_over(struct srv_scheduler *scheduler, struct srv_work *work)
{
    work->state = SRV_WORK_COMPLETING;
    srv_work_list_append(&scheduler->ended, work);
    pthread_cond_signal(&scheduler->help);
}

void srv_work_end(struct srv_scheduler *scheduler, struct srv_work *work, double now)
{
    if (work->state == SRV_WORK_WAITING)
        srv_work_list_remove(&scheduler->waiting[work->lane], work);
    if (work->state == SRV_WORK_COMPUTING) {
        if (work->running > 0) {
            srv_metrics_add(scheduler->metrics, SRV_M_LINES, -(double)work->running, "");
            srv_metrics_add(scheduler->metrics, SRV_M_LINES_CANCELLED, (double)work->running, "");
        }
        srv_group_leave(scheduler, work);
    }
    work->finished = now;
    work->state = SRV_WORK_ENDED;
    if (work->taken == 0)
        srv_work_hand_over(scheduler, work);
}

void srv_work_withdraw(struct srv_scheduler *scheduler, struct srv_work *work, double now)
{
    bool cancelled = work->cancelled != NULL && atomic_load(work->cancelled);
    const char *reason = NULL;
    if (scheduler->stopping || (cancelled && scheduler->draining)) {
        reason = "shutdown";
        api_problem_set(&work->problem, API_P_DRAINING, NULL, "the server stopped before this was done");
    } else if (cancelled) {
        /* counted by the HTTP server, which sees clients go at every station */
        api_problem_set(&work->problem, API_P_DRAINING, NULL, "the request was withdrawn");
    } else {
        reason = "deadline";
        api_problem_set(&work->problem, API_P_DEADLINE, NULL,
                        "the request was not done within its %.6g seconds",
                        round(1000 * (work->deadline - work->submitted)) / 1000);
    }
    if (reason != NULL)
        srv_metrics_add(scheduler->metrics, SRV_M_CANCELLED, 1, "reason=\"%s\"", reason);
    srv_work_end(scheduler, work, now);
}

static void sweep_list(struct srv_scheduler *scheduler, struct srv_work_list *list, double now)
{
    struct srv_work *next;
    for (struct srv_work *work = list->first; work != NULL; work = next) {
        next = work->next;
        if (scheduler->stopping || srv_work_expired(work, now))
            srv_work_withdraw(scheduler, work, now);
    }
}

static void sweep_all(struct srv_scheduler *scheduler, double now)
{
    for (size_t lane = 0; lane < SRV_LANES; lane++)
        sweep_list(scheduler, &scheduler->waiting[lane], now);
    struct srv_model_group *next;
    for (struct srv_model_group *group = scheduler->first_group; group != NULL; group = next) {
        next = group->next;
        group->holders++; /* the group must outlive its last work for the second list */
        sweep_list(scheduler, &group->lines, now);
        sweep_list(scheduler, &group->slices, now);
        group->holders--;
        srv_group_release(scheduler, group);
    }
}

void srv_scheduler_sweep(struct srv_scheduler *scheduler, double now)
{
    if (now < scheduler->next_sweep)
        return;
    scheduler->next_sweep = now + SWEEP_SECONDS;
    sweep_all(scheduler, now);
}

/* ---- admission ---- */

/* (locked) */
static unsigned retry_after(const struct srv_scheduler *scheduler, double now)
{
    return (unsigned)fmin(SRV_RETRY_MOST, fmax(1, ceil(srv_pace_seconds(scheduler, now))));
}

/* (locked) */
static bool admit(struct srv_scheduler *scheduler, const struct srv_work *work, const char **reason,
                  struct api_problem *problem)
{
    const struct srv_scheduler_options *options = &scheduler->options;
    if (scheduler->draining) {
        *reason = "draining";
        return api_problem_set(problem, API_P_DRAINING, NULL, "the server takes no new requests");
    }
    *reason = "queue_bytes";
    if (work->bytes > options->max_bytes)
        return api_problem_set(problem, work->line_count > 0 ? API_P_TOO_MANY_IMAGES : API_P_BODY_TOO_LARGE,
                               NULL,
                               "this would need %zu bytes of memory, and all requests together have %zu",
                               work->bytes, options->max_bytes);
    if (work->bytes > options->max_bytes - scheduler->bytes) {
        problem->retry_after = retry_after(scheduler, srv_clock());
        return api_problem_set(problem, API_P_QUEUE_FULL, NULL,
                               "the %zu requests being worked on hold %zu of %zu bytes", scheduler->admitted,
                               scheduler->bytes, options->max_bytes);
    }
    const size_t here = work->aside ? scheduler->asides : scheduler->admitted - scheduler->asides;
    if (here >= (work->aside ? SRV_ASIDES_MOST : options->max_works)) {
        *reason = "queue_full";
        problem->retry_after = retry_after(scheduler, srv_clock());
        return api_problem_set(problem, API_P_QUEUE_FULL, NULL,
                               "%zu requests are being worked on, and there is room for no more", here);
    }
    return true;
}

bool srv_scheduler_submit(struct srv_scheduler *scheduler, struct srv_work *work, struct api_problem *problem)
{
    const char *reason = "";
    double now = srv_clock();
    work->submitted = now;
    work->first_step = work->finished = 0;
    work->problem = (struct api_problem){0};
    work->waiting = NULL;
    work->next_line = work->ready = work->taken = work->running = work->had = 0;
    work->group = NULL;
    work->state = SRV_WORK_WAITING;
    size_t bytes = work->bytes; /* once the lock is gone, so may be the work */

    pthread_mutex_lock(&scheduler->lock);
    bool admitted = admit(scheduler, work, &reason, problem);
    if (admitted) {
        if (scheduler->admitted == 0)
            scheduler->last_finish = now;
        scheduler->admitted++;
        scheduler->asides += work->aside;
        scheduler->bytes += bytes;
        atomic_fetch_add(&scheduler->load, 1);
        srv_work_list_append(&scheduler->waiting[work->lane], work);
        pthread_cond_signal(work->lane == SRV_LANE_LOAD ? &scheduler->bring : &scheduler->help);
        /* under the lock, so that the gauges never fall before they rise */
        srv_metrics_add(scheduler->metrics, work->aside ? SRV_M_ASIDE_REQUESTS : SRV_M_QUEUE_REQUESTS, 1, "");
        srv_metrics_add(scheduler->metrics, SRV_M_QUEUE_BYTES, (double)bytes, "");
    }
    pthread_mutex_unlock(&scheduler->lock);
    if (!admitted)
        srv_metrics_add(scheduler->metrics, SRV_M_REJECTED, 1, "reason=\"%s\"", reason);
    return admitted;
}

struct srv_quota srv_scheduler_quota(struct srv_scheduler *scheduler)
{
    struct srv_quota quota = {.most = scheduler->options.max_works};
    const double now = srv_clock();
    pthread_mutex_lock(&scheduler->lock);
    quota.used = scheduler->admitted - scheduler->asides;
    if (!scheduler->draining && quota.used < quota.most)
        quota.left = quota.most - quota.used;
    quota.seconds = scheduler->admitted > 0 ? retry_after(scheduler, now) : 0;
    pthread_mutex_unlock(&scheduler->lock);
    return quota;
}

size_t srv_scheduler_load(const struct srv_scheduler *scheduler)
{
    return atomic_load(&scheduler->load);
}

void srv_scheduler_drain(struct srv_scheduler *scheduler)
{
    pthread_mutex_lock(&scheduler->lock);
    scheduler->draining = true;
    pthread_mutex_unlock(&scheduler->lock);
}

/* ---- life ---- */

static enum efm_status start_workers(struct srv_scheduler *scheduler, struct efm_error *error)
{
    const struct srv_scheduler_options *options = &scheduler->options;
    scheduler->workers = efm_allocate_array(options->workers, sizeof(*scheduler->workers));
    if (scheduler->workers == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %u workers", options->workers);
    for (unsigned i = 0; i < options->workers; i++) {
        struct srv_worker *worker = &scheduler->workers[i];
        worker->scheduler = scheduler;
        if (!srv_batch_init(&worker->batch, options->batch))
            return efm_error_set(error, EFM_E_MEMORY, "no memory for batches of %zu lines", options->batch);
        if (options->threads_per_worker > 1) {
            enum efm_status status = efm_team_create(&worker->team, options->threads_per_worker, error);
            if (status != EFM_OK)
                return status;
        }
        if (pthread_create(&worker->thread, NULL, srv_worker_main, worker) != 0)
            return efm_error_set(error, EFM_E_MEMORY, "worker thread %u could not be started", i);
        scheduler->workers_started++;
    }
    return EFM_OK;
}

static enum efm_status start_helpers(struct srv_scheduler *scheduler, struct efm_error *error)
{
    const struct srv_scheduler_options *options = &scheduler->options;
    scheduler->helpers = efm_allocate_array(options->helpers, sizeof(*scheduler->helpers));
    if (scheduler->helpers == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %u helpers", options->helpers);
    for (unsigned i = 0; i < options->helpers; i++) {
        if (pthread_create(&scheduler->helpers[i], NULL, srv_helper_main, scheduler) != 0)
            return efm_error_set(error, EFM_E_MEMORY, "helper thread %u could not be started", i);
        scheduler->helpers_started++;
    }
    for (size_t i = 0; i < SRV_LOADERS; i++) {
        if (pthread_create(&scheduler->loaders[i], NULL, srv_loader_main, scheduler) != 0)
            return efm_error_set(error, EFM_E_MEMORY, "loader thread %zu could not be started", i);
        scheduler->loaders_started++;
    }
    return EFM_OK;
}

static bool init_locks(struct srv_scheduler *scheduler)
{
    if (!srv_condition_init(&scheduler->compute))
        return false;
    if (!srv_condition_init(&scheduler->help)) {
        pthread_cond_destroy(&scheduler->compute);
        return false;
    }
    if (!srv_condition_init(&scheduler->bring)) {
        pthread_cond_destroy(&scheduler->help);
        pthread_cond_destroy(&scheduler->compute);
        return false;
    }
    pthread_mutex_init(&scheduler->lock, NULL);
    return true;
}

/* What must stay at nought has to be seen there, not be absent. */
static void show_zeros(struct srv_scheduler *scheduler)
{
    struct srv_metrics *metrics = scheduler->metrics;
    srv_metrics_set(metrics, SRV_M_QUEUE_CAPACITY, (double)scheduler->options.max_works, "");
    srv_metrics_set(metrics, SRV_M_QUEUE_BYTES_MOST, (double)scheduler->options.max_bytes, "");
    srv_metrics_set(metrics, SRV_M_QUEUE_REQUESTS, 0, "");
    srv_metrics_set(metrics, SRV_M_ASIDE_REQUESTS, 0, "");
    srv_metrics_set(metrics, SRV_M_QUEUE_BYTES, 0, "");
    srv_metrics_set(metrics, SRV_M_LINES, 0, "");
    srv_metrics_add(metrics, SRV_M_LINES_CANCELLED, 0, "");
    srv_metrics_add(metrics, SRV_M_LATE_EVALUATIONS, 0, "");
}

enum efm_status srv_scheduler_create(struct srv_scheduler **scheduler,
                                     const struct srv_scheduler_options *options, struct srv_metrics *metrics,
                                     struct srv_log *log, struct efm_error *error)
{
    *scheduler = NULL;
    if (options->workers == 0 || options->helpers == 0 || options->batch == 0 || options->max_works == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "workers, helpers, batch and queue must be at least 1");
    struct srv_scheduler *made = efm_allocate_array(1, sizeof(*made));
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the scheduler");
    made->options = *options;
    made->metrics = metrics;
    made->log = log;
    if (!init_locks(made)) {
        efm_free(made);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the locks of the scheduler");
    }
    show_zeros(made);
    enum efm_status status = start_workers(made, error);
    if (status == EFM_OK)
        status = start_helpers(made, error);
    if (status != EFM_OK) {
        srv_scheduler_destroy(made);
        return status;
    }
    *scheduler = made;
    return EFM_OK;
}

void srv_scheduler_destroy(struct srv_scheduler *scheduler)
{
    if (scheduler == NULL)
        return;
    pthread_mutex_lock(&scheduler->lock);
    scheduler->draining = true;
    scheduler->stopping = true;
    sweep_all(scheduler, srv_clock());
    pthread_cond_broadcast(&scheduler->compute);
    pthread_cond_broadcast(&scheduler->help);
    pthread_cond_broadcast(&scheduler->bring);
    pthread_mutex_unlock(&scheduler->lock);

    for (size_t i = 0; i < scheduler->loaders_started; i++)
        pthread_join(scheduler->loaders[i], NULL);
    for (size_t i = 0; i < scheduler->workers_started; i++)
        pthread_join(scheduler->workers[i].thread, NULL);
    for (size_t i = 0; i < scheduler->helpers_started; i++)
        pthread_join(scheduler->helpers[i], NULL);
    if (scheduler->workers != NULL)
        for (size_t i = 0; i < scheduler->options.workers; i++) {
            efm_team_destroy(scheduler->workers[i].team);
            srv_batch_destroy(&scheduler->workers[i].batch);
        }
    efm_free(scheduler->workers);
    efm_free(scheduler->helpers);
    pthread_cond_destroy(&scheduler->bring);
    pthread_cond_destroy(&scheduler->help);
    pthread_cond_destroy(&scheduler->compute);
    pthread_mutex_destroy(&scheduler->lock);
    efm_free(scheduler);
}
