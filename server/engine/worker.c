// SPDX-License-Identifier: Apache-2.0
/* A compute worker: picks a model, takes a batch or a slice, gives it one evaluation, gives it back. */
#include "server/engine/engine_internal.h"

#include <math.h>

static const double IDLE_WAIT = 0.05;
/* A workspace unused for this long is given back, and with it the reference to its model. */
static const double KEEP_SECONDS = 1;
/* With more busy models than workspaces a worker stays with those it has for this long at most. */
static const double STAY_SECONDS = 0.25;

/* ---- workspaces ---- */

static void release_workspace(struct srv_workspace *workspace)
{
    efm_flow_destroy(workspace->flow);
    efm_field_workspace_destroy(workspace->points);
    efm_model_unref(workspace->model);
    *workspace = (struct srv_workspace){0};
}

/* Without the lock: gives back what has not been used for `seconds`; true when something was. */
static bool release_unused(struct srv_worker *worker, double now, double seconds)
{
    bool released = false;
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++) {
        struct srv_workspace *workspace = &worker->workspaces[i];
        if (workspace->model == NULL || now - workspace->used < seconds)
            continue;
        release_workspace(workspace);
        released = true;
    }
    return released;
}

static bool has_unused(const struct srv_worker *worker, double now)
{
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++)
        if (worker->workspaces[i].model != NULL && now - worker->workspaces[i].used >= KEEP_SECONDS)
            return true;
    return false;
}

static bool has_any(const struct srv_worker *worker)
{
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++)
        if (worker->workspaces[i].model != NULL)
            return true;
    return false;
}

static struct srv_workspace *find_workspace(struct srv_worker *worker, const struct efm_model *model)
{
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++)
        if (worker->workspaces[i].model == model)
            return &worker->workspaces[i];
    return NULL;
}

/* Without the lock. A free place, or that of the least recently used model. */
static struct srv_workspace *free_workspace(struct srv_worker *worker)
{
    struct srv_workspace *oldest = &worker->workspaces[0];
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++) {
        if (worker->workspaces[i].model == NULL)
            return &worker->workspaces[i];
        if (worker->workspaces[i].used < oldest->used)
            oldest = &worker->workspaces[i];
    }
    release_workspace(oldest);
    return oldest;
}

size_t srv_points_capacity(const struct efm_field *field, size_t batch)
{
    enum { LEARNED_POINTS = 8 };
    return efm_field_is_learned(field) && batch > LEARNED_POINTS ? LEARNED_POINTS : batch;
}

static bool fill_workspace(struct srv_worker *worker, struct srv_workspace *workspace, bool slices,
                           struct efm_error *error)
{
    const struct efm_field *field = efm_model_field(workspace->model);
    size_t capacity = worker->batch.capacity;
    workspace->used = srv_clock();
    if (slices)
        return efm_field_workspace_create(&workspace->points, field, srv_points_capacity(field, capacity),
                                          worker->team, error) == EFM_OK;
    return efm_flow_create(&workspace->flow, field, capacity, worker->team, error) == EFM_OK;
}

/* Without the lock. Takes over the caller's reference to the model. */
static bool make_workspace(struct srv_worker *worker, struct efm_model *model, bool slices,
                           struct efm_error *error)
{
    struct srv_workspace *workspace = find_workspace(worker, model);
    if (workspace == NULL) {
        workspace = free_workspace(worker);
        workspace->model = model;
    } else {
        efm_model_unref(model);
    }
    if (fill_workspace(worker, workspace, slices, error))
        return true;
    /* what was kept for other models, or for the other kind of work, may be what is missing */
    if (slices) {
        efm_flow_destroy(workspace->flow);
        workspace->flow = NULL;
    } else {
        efm_field_workspace_destroy(workspace->points);
        workspace->points = NULL;
    }
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++)
        if (&worker->workspaces[i] != workspace && worker->workspaces[i].model != NULL)
            release_workspace(&worker->workspaces[i]);
    efm_error_clear(error);
    if (fill_workspace(worker, workspace, slices, error))
        return true;
    release_workspace(workspace);
    return false;
}

/* ---- choosing ---- */

static bool all_workspaces_busy(const struct srv_worker *worker, double now)
{
    for (size_t i = 0; i < SRV_WORKER_MODELS; i++)
        if (worker->workspaces[i].model == NULL || now - worker->workspaces[i].used > STAY_SECONDS)
            return false;
    return true;
}

/* (locked) The model that has had the least time. When it would push out a workspace that is in use, a model that
 * has one goes first, for a while: making working space costs more than an evaluation. */
static struct srv_model_group *choose_group(struct srv_worker *worker, double now)
{
    struct srv_model_group *next = NULL, *longest = NULL;
    double least = INFINITY;
    bool busy = all_workspaces_busy(worker, now);
    for (struct srv_model_group *group = worker->scheduler->first_group; group != NULL; group = group->next) {
        if (group->ready == 0 && group->idle_slices == 0)
            continue;
        if (longest == NULL)
            longest = group;
        if (busy && now - group->served <= STAY_SECONDS && find_workspace(worker, group->model) == NULL)
            continue;
        const double claim = srv_group_claim(group);
        if (claim < least) {
            least = claim;
            next = group;
        }
    }
    return next != NULL ? next : longest;
}

/* ---- the loop; each of these is entered and left with the lock held ---- */

static void serve_lines(struct srv_worker *worker, struct srv_model_group *group,
                        struct srv_workspace *workspace, double now)
{
    struct srv_scheduler *scheduler = worker->scheduler;
    if (!srv_batch_form(scheduler, &worker->batch, group, now))
        return;
    pthread_mutex_unlock(&scheduler->lock);
    srv_batch_run(scheduler, &worker->batch, workspace->flow);
    workspace->used = worker->batch.ended;
    pthread_mutex_lock(&scheduler->lock);
    srv_batch_return(scheduler, &worker->batch);
}

static void serve_slice(struct srv_worker *worker, struct srv_model_group *group,
                        struct srv_workspace *workspace, double now)
{
    struct srv_scheduler *scheduler = worker->scheduler;
    struct srv_work *work = srv_slice_take(scheduler, group, now);
    if (work == NULL)
        return;
    pthread_mutex_unlock(&scheduler->lock);
    double started;
    bool done = srv_slice_run(work, workspace->points, &started);
    workspace->used = srv_clock();
    pthread_mutex_lock(&scheduler->lock);
    srv_slice_return(scheduler, group, work, done, started);
}

/* Makes the working space that is missing; then the choice is made anew, for much may have changed. */
static void provide_workspace(struct srv_worker *worker, struct srv_model_group *group, bool slices)
{
    struct srv_scheduler *scheduler = worker->scheduler;
    struct efm_model *model = efm_model_ref(group->model);
    pthread_mutex_unlock(&scheduler->lock);
    struct efm_error error = {0};
    release_unused(worker, srv_clock(), KEEP_SECONDS);
    /* a second reference, so that the pointer still names this model when its works have to be failed */
    bool made = make_workspace(worker, efm_model_ref(model), slices, &error);
    if (!made) {
        srv_log(scheduler->log, SRV_LOG_WARNING, "workspace_failed", NULL);
        pthread_mutex_lock(&scheduler->lock);
        srv_group_fail(scheduler, model, &error, srv_clock());
        pthread_mutex_unlock(&scheduler->lock);
    }
    efm_model_unref(model);
    pthread_mutex_lock(&scheduler->lock);
}

static void serve(struct srv_worker *worker, struct srv_model_group *group, double now)
{
    bool slices = group->ready == 0 || (group->idle_slices > 0 && group->slice_next);
    struct srv_workspace *workspace = find_workspace(worker, group->model);
    bool missing = workspace == NULL || (slices ? workspace->points == NULL : workspace->flow == NULL);
    if (missing)
        provide_workspace(worker, group, slices);
    else if (slices)
        serve_slice(worker, group, workspace, now);
    else
        serve_lines(worker, group, workspace, now);
}

static void rest(struct srv_worker *worker)
{
    struct srv_scheduler *scheduler = worker->scheduler;
    bool watch = atomic_load(&scheduler->load) > 0 || has_any(worker);
    scheduler->idle_workers++;
    srv_scheduler_wait(scheduler, &scheduler->compute, watch ? IDLE_WAIT : INFINITY);
    scheduler->idle_workers--;
}

void *srv_worker_main(void *argument)
{
    struct srv_worker *worker = argument;
    struct srv_scheduler *scheduler = worker->scheduler;
    pthread_mutex_lock(&scheduler->lock);
    while (!scheduler->stopping) {
        double now = srv_clock();
        srv_scheduler_sweep(scheduler, now);
        if (has_unused(worker, now)) {
            pthread_mutex_unlock(&scheduler->lock);
            release_unused(worker, now, KEEP_SECONDS);
            pthread_mutex_lock(&scheduler->lock);
            continue;
        }
        struct srv_model_group *group = choose_group(worker, now);
        if (group != NULL)
            serve(worker, group, now);
        else
            rest(worker);
    }
    pthread_mutex_unlock(&scheduler->lock);
    release_unused(worker, INFINITY, 0);
    return NULL;
}
