// SPDX-License-Identifier: Apache-2.0
/* A helper: decodes before the computation and answers after it. Completions go first, for they free memory
 * and somebody waits for them. */
#include "core/base/memory.h"
#include "server/engine/engine_internal.h"

#include <malloc.h>
#include <math.h>

static const double IDLE_WAIT = 0.05;
/* After a work of this many bytes the memory that is free is given back to the system: a long JSON leaves millions of
 * small holes, which the C library would keep. */
enum { LARGE_WORK = 2 << 20 };

/* (locked) The oldest work to prepare. */
static struct srv_work *next_to_prepare(struct srv_scheduler *scheduler)
{
    struct srv_work *light = scheduler->waiting[SRV_LANE_LIGHT].first;
    struct srv_work *heavy = scheduler->waiting[SRV_LANE_HEAVY].first;
    size_t helpers = scheduler->options.helpers;
    if (helpers > 1 && scheduler->heavy_running >= helpers - 1)
        heavy = NULL;
    if (light == NULL || (heavy != NULL && heavy->submitted < light->submitted))
        return heavy;
    return light;
}

/* Without the lock: lists the lines that run. */
static bool list_lines(struct srv_work *work)
{
    if (work->line_count == 0)
        return true;
    if (work->lines == NULL)
        return api_problem_set(&work->problem, API_P_INTERNAL, NULL, "the lines were not made");
    work->waiting = efm_allocate_array(work->line_count, sizeof(*work->waiting));
    if (work->waiting == NULL)
        return api_problem_set(&work->problem, API_P_NO_MEMORY, NULL, "no memory to queue %zu lines",
                               work->line_count);
    for (size_t i = 0; i < work->line_count; i++)
        if (efm_line_state(work->lines[i]) == EFM_LINE_RUNNING)
            work->waiting[work->ready++] = i;
    work->running = work->ready;
    return true;
}

/* (locked) What comes after prepare. */
static void send_on(struct srv_scheduler *scheduler, struct srv_work *work, bool good)
{
    double now = srv_clock();
    bool computes = work->running > 0 || (work->line_count == 0 && work->class->slice != NULL);
    if (!good && work->problem.code == API_P_NONE)
        api_problem_set(&work->problem, API_P_INTERNAL, NULL, "the request could not be prepared");
    if (!good || !computes) {
        srv_work_end(scheduler, work, now);
    } else if (scheduler->stopping || srv_work_expired(work, now)) {
        srv_work_withdraw(scheduler, work, now);
    } else if (!srv_group_join(scheduler, work, now)) {
        api_problem_set(&work->problem, API_P_NO_MEMORY, NULL, "no memory to queue the request");
        srv_work_end(scheduler, work, now);
    } else if (work->running > 0) {
        srv_metrics_add(scheduler->metrics, SRV_M_LINES, (double)work->running, "");
    }
}

static void prepare(struct srv_scheduler *scheduler, struct srv_work *work)
{
    double now = srv_clock();
    if (srv_work_expired(work, now)) {
        srv_work_withdraw(scheduler, work, now);
        return;
    }
    const bool heavy = work->lane == SRV_LANE_HEAVY;
    srv_work_list_remove(&scheduler->waiting[work->lane], work);
    work->state = SRV_WORK_PREPARING;
    scheduler->heavy_running += heavy;
    pthread_mutex_unlock(&scheduler->lock);

    bool good = work->class->prepare == NULL || work->class->prepare(work, &work->problem);
    good = good && list_lines(work);

    pthread_mutex_lock(&scheduler->lock);
    scheduler->heavy_running -= heavy;
    if (scheduler->waiting[SRV_LANE_HEAVY].first != NULL)
        pthread_cond_signal(&scheduler->help);
    send_on(scheduler, work, good);
}

/* The work leaves the queue before its owner answers: a client that has its answer must not be refused
 * because of the very request that was answered. */
static void complete(struct srv_scheduler *scheduler, struct srv_work *work)
{
    srv_work_list_remove(&scheduler->ended, work);
    srv_pace_note_finish(scheduler, work, srv_clock());
    scheduler->admitted--;
    scheduler->asides -= work->aside;
    scheduler->bytes -= work->bytes;
    srv_metrics_add(scheduler->metrics, work->aside ? SRV_M_ASIDE_REQUESTS : SRV_M_QUEUE_REQUESTS, -1, "");
    srv_metrics_add(scheduler->metrics, SRV_M_QUEUE_BYTES, -(double)work->bytes, "");
    const bool large = work->bytes >= LARGE_WORK;
    pthread_mutex_unlock(&scheduler->lock);

    efm_free(work->waiting);
    work->waiting = NULL;
    work->class->complete(work, &work->problem);
    if (large)
        malloc_trim(0);

    pthread_mutex_lock(&scheduler->lock);
    if (atomic_fetch_sub(&scheduler->load, 1) == 1 && scheduler->stopping)
        pthread_cond_broadcast(&scheduler->help);
}

void *srv_helper_main(void *argument)
{
    struct srv_scheduler *scheduler = argument;
    pthread_mutex_lock(&scheduler->lock);
    for (;;) {
        srv_scheduler_sweep(scheduler, srv_clock());
        struct srv_work *work = next_to_prepare(scheduler);
        if (scheduler->ended.first != NULL)
            complete(scheduler, scheduler->ended.first);
        else if (work != NULL)
            prepare(scheduler, work);
        else if (scheduler->stopping && atomic_load(&scheduler->load) == 0)
            break;
        else
            srv_scheduler_wait(scheduler, &scheduler->help,
                               atomic_load(&scheduler->load) > 0 ? IDLE_WAIT : INFINITY);
    }
    pthread_mutex_unlock(&scheduler->lock);
    return NULL;
}

/* The rest of a work is done by the helpers, as for all others. */
void *srv_loader_main(void *argument)
{
    struct srv_scheduler *scheduler = argument;
    struct srv_work_list *waiting = &scheduler->waiting[SRV_LANE_LOAD];
    pthread_mutex_lock(&scheduler->lock);
    while (waiting->first != NULL || !scheduler->stopping) {
        srv_scheduler_sweep(scheduler, srv_clock());
        if (waiting->first != NULL)
            prepare(scheduler, waiting->first);
        else
            srv_scheduler_wait(scheduler, &scheduler->bring, INFINITY);
    }
    pthread_mutex_unlock(&scheduler->lock);
    return NULL;
}
