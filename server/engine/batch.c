// SPDX-License-Identifier: Apache-2.0
/* Batches and slices that workers take from the groups of works that share a model. */
#include "core/base/memory.h"
#include "server/engine/engine_internal.h"

#include <math.h>
#include <string.h>

#define LOW_SHARE 0.0625 /* of the lines and of the time, where others go before low priority */

/* ---- batches of lines ---- */

static void mark_started(struct srv_scheduler *scheduler, struct srv_work *work, double now)
{
    if (work->first_step > 0)
        return;
    work->first_step = now;
    srv_metrics_observe(scheduler->metrics, SRV_M_QUEUE_SECONDS, now - work->submitted, "operation=\"%s\"",
                        work->class->operation);
}

bool srv_batch_init(struct srv_batch *batch, size_t capacity)
{
    batch->capacity = capacity;
    batch->lines = efm_allocate_array(capacity, sizeof(*batch->lines));
    batch->owners = efm_allocate_array(capacity, sizeof(struct srv_work *));
    batch->indices = efm_allocate_array(capacity, sizeof(*batch->indices));
    return batch->lines != NULL && batch->owners != NULL && batch->indices != NULL;
}

void srv_batch_destroy(struct srv_batch *batch)
{
    efm_free(batch->lines);
    efm_free(batch->owners);
    efm_free(batch->indices);
}

static void take_lines(struct srv_batch *batch, struct srv_work *work, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t index = work->waiting[work->next_line];
        work->next_line = (work->next_line + 1) % work->line_count;
        batch->lines[batch->count] = work->lines[index];
        batch->owners[batch->count] = work;
        batch->indices[batch->count] = index;
        batch->count++;
    }
    work->ready -= count;
    work->taken += count;
    work->had += count;
}

/* ---- who goes first ---- */

struct rank_count {
    size_t works, lines; /* that are ready */
};

static void withdraw_expired(struct srv_scheduler *scheduler, struct srv_model_group *group, double now)
{
    struct srv_work *next;
    for (struct srv_work *work = group->lines.first; work != NULL; work = next) {
        next = work->next;
        if (srv_work_expired(work, now))
            srv_work_withdraw(scheduler, work, now);
    }
}

static void count_ranks(const struct srv_model_group *group, struct rank_count counts[SRV_RANKS])
{
    for (const struct srv_work *work = group->lines.first; work != NULL; work = work->next) {
        if (work->ready == 0)
            continue;
        struct rank_count *count = &counts[srv_work_rank_of(work)];
        count->works++;
        count->lines += work->ready;
    }
}

/* Every work of the rank in turn gives up to `share` lines; whoever gave goes to the end of the list, so that the next
 * batch begins with those that this one left out. */
static void take_round(struct srv_scheduler *scheduler, struct srv_batch *batch, enum srv_work_rank rank,
                       size_t limit, size_t share, double now)
{
    struct srv_model_group *group = batch->group;
    struct srv_work *next, *work = group->lines.first;
    for (size_t left = group->lines.count; left > 0 && batch->count < limit; left--, work = next) {
        next = work->next;
        if (work->ready == 0 || srv_work_rank_of(work) != rank)
            continue;
        size_t count = work->ready < share ? work->ready : share;
        if (count > limit - batch->count)
            count = limit - batch->count;
        srv_work_list_remove(&group->lines, work);
        srv_work_list_append(&group->lines, work);
        mark_started(scheduler, work, now);
        take_lines(batch, work, count);
        group->ready -= count;
    }
}

/* Fills the batch up to `limit` with lines of a rank. Ranks are looked at anew in each round, for a work may turn out long. */
static void take_rank(struct srv_scheduler *scheduler, struct srv_batch *batch, enum srv_work_rank rank,
                      size_t limit, double now)
{
    while (batch->count < limit) {
        struct rank_count counts[SRV_RANKS] = {0};
        count_ranks(batch->group, counts);
        if (counts[rank].lines == 0)
            return;
        size_t share = (limit - batch->count) / counts[rank].works;
        take_round(scheduler, batch, rank, limit, share > 0 ? share : 1, now);
    }
}

/* The lines of this batch that are kept for a rank while others go before it: a share that adds up from batch to batch. */
static size_t keep_for(struct srv_model_group *group, enum srv_work_rank rank, bool others_first,
                       size_t total, const struct rank_count *count)
{
    static const double shares[SRV_RANKS] = {[SRV_RANK_LONG] = 0.25, [SRV_RANK_LOW] = LOW_SHARE};
    if (!others_first || count->lines == 0) {
        group->owed[rank] = 0;
        return 0;
    }
    group->owed[rank] += shares[rank] * (double)total;
    size_t kept = (size_t)group->owed[rank];
    if (kept > count->lines)
        kept = count->lines;
    group->owed[rank] -= (double)kept;
    return kept;
}

/* ---- the size of a batch ---- */

/* Workers that have nothing else to do share the lines of this model; not in crumbs, for a matrix product
 * lives from its size. */
static size_t share_lines(const struct srv_scheduler *scheduler, const struct srv_batch *batch, size_t ready)
{
    enum { CRUMB = 8 };
    size_t workers = scheduler->idle_workers + 1;
    size_t share = (ready + workers - 1) / workers;
    if (share < CRUMB)
        share = CRUMB;
    return share < batch->capacity ? share : batch->capacity;
}

/* A network takes its images one by one, so that many in a batch are no faster than few, and a request that comes meanwhile would wait
 * for all of them: as many as take QUANTUM. Where one is short: as few as keep the threads busy. An exact field
 * reads all its charges for a batch, however small: there a batch is full. */
static size_t batch_limit(const struct srv_scheduler *scheduler, const struct srv_batch *batch,
                          const struct rank_count counts[SRV_RANKS])
{
    static const double QUANTUM = 5e-3;
    const struct srv_model_group *group = batch->group;
    const size_t threads = scheduler->options.threads_per_worker;
    size_t limit = share_lines(scheduler, batch, group->ready);
    if (!efm_field_is_learned(efm_model_field(group->model)))
        return limit;
    size_t few = threads;
    if (group->line_seconds > 0 && QUANTUM / group->line_seconds > (double)few)
        few = (size_t)fmin(QUANTUM / group->line_seconds, (double)batch->capacity);
    if (few > threads)
        few -= few % threads;
    const size_t brief = (counts[SRV_RANK_SHORT].lines + threads - 1) / threads * threads;
    if (brief > 0 && brief < few)
        few = brief;
    return few < limit ? few : limit;
}

static void fill_batch(struct srv_scheduler *scheduler, struct srv_batch *batch, double now)
{
    struct srv_model_group *group = batch->group;
    struct rank_count counts[SRV_RANKS] = {0};
    count_ranks(group, counts);
    const size_t limit = batch_limit(scheduler, batch, counts);
    const bool before_long = counts[SRV_RANK_SHORT].lines > 0,
               before_low = before_long || counts[SRV_RANK_LONG].lines > 0;
    size_t kept = keep_for(group, SRV_RANK_LONG, before_long, limit, &counts[SRV_RANK_LONG]);
    size_t low = keep_for(group, SRV_RANK_LOW, before_low, limit, &counts[SRV_RANK_LOW]);
    if (kept > limit)
        kept = limit;
    if (low > limit - kept)
        low = limit - kept;
    take_rank(scheduler, batch, SRV_RANK_SHORT, limit - kept - low, now);
    take_rank(scheduler, batch, SRV_RANK_LONG, limit - low, now);
    take_rank(scheduler, batch, SRV_RANK_LOW, limit, now);
    // what was kept for those who have gone
    for (int rank = 0; rank < SRV_RANKS; rank++)
        take_rank(scheduler, batch, (enum srv_work_rank)rank, limit, now);
}

bool srv_batch_form(struct srv_scheduler *scheduler, struct srv_batch *batch, struct srv_model_group *group,
                    double now)
{
    group->holders++;
    group->slice_next = true;
    batch->group = group;
    batch->count = batch->live = 0;
    srv_group_mark_served(scheduler, group, now);
    withdraw_expired(scheduler, group, now);
    fill_batch(scheduler, batch, now);
    if (group->ready > 0 && scheduler->idle_workers > 0)
        pthread_cond_signal(&scheduler->compute);
    if (batch->count > 0)
        return true;
    group->holders--;
    srv_group_release(scheduler, group);
    return false;
}

/* Moves the lines of works that have expired since the batch was formed behind the others. */
static void strike_out(struct srv_batch *batch, double now)
{
    size_t live = batch->count;
    for (size_t i = 0; i < live;) {
        if (!srv_work_expired(batch->owners[i], now)) {
            i++;
            continue;
        }
        live--;
        struct efm_line *line = batch->lines[i];
        struct srv_work *owner = batch->owners[i];
        size_t index = batch->indices[i];
        batch->lines[i] = batch->lines[live];
        batch->owners[i] = batch->owners[live];
        batch->indices[i] = batch->indices[live];
        batch->lines[live] = line;
        batch->owners[live] = owner;
        batch->indices[live] = index;
    }
    batch->live = live;
}

void srv_batch_run(struct srv_scheduler *scheduler, struct srv_batch *batch, struct efm_flow *flow)
{
    batch->started = srv_clock();
    strike_out(batch, batch->started);
    if (batch->live > 0)
        efm_flow_step(flow, batch->lines, batch->live);
    batch->ended = srv_clock();
    if (batch->live == 0)
        return;
    const char *model = batch->group->name;
    srv_metrics_observe(scheduler->metrics, SRV_M_BATCH, (double)batch->live, "");
    srv_metrics_observe(scheduler->metrics, SRV_M_STEP_SECONDS, batch->ended - batch->started, "");
    srv_metrics_add(scheduler->metrics, SRV_M_EVALUATIONS, (double)batch->live, "model=\"%s\"", model);
}

static void count_ended(struct srv_scheduler *scheduler, const char *model, enum efm_line_state state,
                        size_t count)
{
    if (count > 0)
        srv_metrics_add(scheduler->metrics, SRV_M_LINES_ENDED, (double)count, "model=\"%s\",state=\"%s\"",
                        model, efm_line_state_name(state));
}

static void put_back(struct srv_batch *batch, struct srv_work *work, size_t index)
{
    work->waiting[(work->next_line + work->ready) % work->line_count] = index;
    work->ready++;
    batch->group->ready++;
}

/* A work whose last line has come back: done, to be withdrawn, or withdrawn meanwhile. */
static void settle(struct srv_scheduler *scheduler, struct srv_work *work, double now)
{
    if (work->state == SRV_WORK_ENDED)
        srv_work_hand_over(scheduler, work);
    else if (work->running == 0)
        srv_work_end(scheduler, work, now);
    else if (scheduler->stopping || srv_work_expired(work, now))
        srv_work_withdraw(scheduler, work, now);
}

static void count_late(struct srv_scheduler *scheduler, size_t late)
{
    if (late == 0)
        return;
    srv_metrics_add(scheduler->metrics, SRV_M_LATE_EVALUATIONS, (double)late, "");
    srv_log(scheduler->log, SRV_LOG_ERROR, "late_evaluation", "\"evaluations\":%zu", late);
}

/* A batch of low priority alone counts for many, so that its model comes behind the others too, by the share that
 * the rank has within a model. */
static double weight_of(const struct srv_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (!batch->owners[i]->low_priority)
            return 1;
    return 1 / LOW_SHARE;
}

static void note_time(struct srv_batch *batch, double weight)
{
    struct srv_model_group *group = batch->group;
    const double seconds = batch->ended - batch->started;
    group->service += weight * seconds;
    srv_pace_note_batch(group, batch);
}

void srv_batch_return(struct srv_scheduler *scheduler, struct srv_batch *batch)
{
    enum { STATES = EFM_LINE_NOT_FINITE + 1 };
    size_t ended[STATES] = {0}, stopped = 0, late = 0;
    const double weight = weight_of(batch); /* while the owners are there */
    for (size_t i = 0; i < batch->count; i++) {
        struct srv_work *work = batch->owners[i];
        enum efm_line_state state = efm_line_state(batch->lines[i]);
        work->taken--;
        if (work->state == SRV_WORK_ENDED) {
            late += i < batch->live && work->finished < batch->started;
        } else if (state == EFM_LINE_RUNNING) {
            put_back(batch, work, batch->indices[i]);
        } else {
            work->running--;
            srv_pace_note_line(batch->group, batch->lines[i]);
            ended[state]++;
            stopped++;
        }
        if (work->taken == 0)
            settle(scheduler, work, batch->ended);
    }
    if (stopped > 0)
        srv_metrics_add(scheduler->metrics, SRV_M_LINES, -(double)stopped, "");
    for (int state = 0; state < STATES; state++)
        count_ended(scheduler, batch->group->name, (enum efm_line_state)state, ended[state]);
    count_late(scheduler, late);
    note_time(batch, weight);
    if (batch->group->ready > 0 && scheduler->idle_workers > 0)
        pthread_cond_broadcast(&scheduler->compute);
    batch->group->holders--;
    srv_group_release(scheduler, batch->group);
    batch->group = NULL;
}

/* ---- slices ---- */

struct srv_work *srv_slice_take(struct srv_scheduler *scheduler, struct srv_model_group *group, double now)
{
    group->slice_next = false;
    for (struct srv_work *work = group->slices.first; work != NULL; work = work->next) {
        if (work->taken > 0)
            continue;
        srv_work_list_remove(&group->slices, work);
        srv_work_list_append(&group->slices, work);
        work->taken = 1;
        group->idle_slices--;
        group->holders++;
        mark_started(scheduler, work, now);
        srv_group_mark_served(scheduler, group, now);
        return work;
    }
    return NULL;
}

bool srv_slice_run(struct srv_work *work, struct efm_field_workspace *points, double *started)
{
    *started = srv_clock();
    if (srv_work_expired(work, *started)) {
        *started = INFINITY; /* nothing was evaluated */
        return false;
    }
    return work->class->slice(work, points);
}

void srv_slice_return(struct srv_scheduler *scheduler, struct srv_model_group *group, struct srv_work *work,
                      bool done, double started)
{
    double now = srv_clock();
    work->taken = 0;
    if (!isinf(started))
        group->service += now - started;
    if (work->state == SRV_WORK_ENDED) {
        count_late(scheduler, work->finished < started && !isinf(started));
        srv_work_hand_over(scheduler, work);
    } else {
        group->idle_slices++;
        if (done)
            srv_work_end(scheduler, work, now);
        else if (scheduler->stopping || srv_work_expired(work, now))
            srv_work_withdraw(scheduler, work, now);
        else if (scheduler->idle_workers > 0)
            pthread_cond_signal(&scheduler->compute);
    }
    group->holders--;
    srv_group_release(scheduler, group);
}
