// SPDX-License-Identifier: Apache-2.0
/* Lists of works, and the groups of those that share a model. */
#include "core/base/memory.h"
#include "server/engine/engine_internal.h"

#include <math.h>
#include <stdio.h>

void srv_work_list_append(struct srv_work_list *list, struct srv_work *work)
{
    work->next = NULL;
    work->previous = list->last;
    if (list->last != NULL)
        list->last->next = work;
    else
        list->first = work;
    list->last = work;
    list->count++;
}

void srv_work_list_remove(struct srv_work_list *list, struct srv_work *work)
{
    if (work->previous != NULL)
        work->previous->next = work->next;
    else
        list->first = work->next;
    if (work->next != NULL)
        work->next->previous = work->previous;
    else
        list->last = work->previous;
    work->previous = work->next = NULL;
    list->count--;
}

/* ---- groups ---- */

enum srv_work_rank srv_work_rank_of(const struct srv_work *work)
{
    if (work->low_priority)
        return SRV_RANK_LOW;
    if (work->had >= SRV_SHORT || work->evaluations * (double)work->line_count > SRV_SHORT)
        return SRV_RANK_LONG;
    return SRV_RANK_SHORT;
}

static void append_group(struct srv_scheduler *scheduler, struct srv_model_group *group)
{
    group->next = NULL;
    group->previous = scheduler->last_group;
    if (scheduler->last_group != NULL)
        scheduler->last_group->next = group;
    else
        scheduler->first_group = group;
    scheduler->last_group = group;
}

static void remove_group(struct srv_scheduler *scheduler, struct srv_model_group *group)
{
    if (group->previous != NULL)
        group->previous->next = group->next;
    else
        scheduler->first_group = group->next;
    if (group->next != NULL)
        group->next->previous = group->previous;
    else
        scheduler->last_group = group->previous;
}

struct srv_model_group *srv_group_find(const struct srv_scheduler *scheduler, const struct efm_model *model)
{
    for (struct srv_model_group *group = scheduler->first_group; group != NULL; group = group->next)
        if (group->model == model)
            return group;
    return NULL;
}

void srv_group_release(struct srv_scheduler *scheduler, struct srv_model_group *group)
{
    if (group->lines.count > 0 || group->slices.count > 0 || group->holders > 0)
        return;
    remove_group(scheduler, group);
    efm_free(group);
}

/* Who comes new begins level with the one that has had least: neither is behind. */
static double least_service(const struct srv_scheduler *scheduler)
{
    double least = INFINITY;
    for (struct srv_model_group *group = scheduler->first_group; group != NULL; group = group->next)
        least = fmin(least, group->service);
    return isinf(least) ? 0 : least;
}

double srv_group_claim(const struct srv_model_group *group)
{
    static const double LEAD = 0.1; /* seconds that a model with a short work may be ahead of the others */
    for (const struct srv_work *work = group->lines.first; work != NULL; work = work->next)
        if (work->ready > 0 && srv_work_rank_of(work) == SRV_RANK_SHORT)
            return group->service - LEAD;
    return group->service;
}

bool srv_group_join(struct srv_scheduler *scheduler, struct srv_work *work, double now)
{
    struct srv_model_group *group = srv_group_find(scheduler, work->model);
    if (group == NULL) {
        group = efm_allocate_array(1, sizeof(*group));
        if (group == NULL)
            return false;
        group->model = work->model;
        group->served = now;
        group->service = least_service(scheduler);
        snprintf(group->name, sizeof(group->name), "%s", work->model_name);
        append_group(scheduler, group);
    }
    work->group = group;
    work->state = SRV_WORK_COMPUTING;
    if (work->line_count > 0) {
        srv_work_list_append(&group->lines, work);
        group->ready += work->ready;
    } else {
        srv_work_list_append(&group->slices, work);
        group->idle_slices++;
    }
    if (scheduler->idle_workers > 0)
        pthread_cond_broadcast(&scheduler->compute);
    return true;
}

void srv_group_leave(struct srv_scheduler *scheduler, struct srv_work *work)
{
    struct srv_model_group *group = work->group;
    work->group = NULL;
    if (work->line_count > 0) {
        srv_work_list_remove(&group->lines, work);
        group->ready -= work->ready;
        work->ready = 0;
    } else {
        srv_work_list_remove(&group->slices, work);
        if (work->taken == 0)
            group->idle_slices--;
    }
    srv_group_release(scheduler, group);
}

static void fail_list(struct srv_scheduler *scheduler, struct srv_work_list *list,
                      const struct efm_error *error, double now)
{
    struct srv_work *next;
    for (struct srv_work *work = list->first; work != NULL; work = next) {
        next = work->next;
        api_problem_set(&work->problem, API_P_NO_MEMORY, NULL, "%s", error->message);
        srv_work_end(scheduler, work, now);
    }
}

void srv_group_fail(struct srv_scheduler *scheduler, const struct efm_model *model,
                    const struct efm_error *error, double now)
{
    struct srv_model_group *group = srv_group_find(scheduler, model);
    if (group == NULL)
        return;
    group->holders++;
    fail_list(scheduler, &group->lines, error, now);
    fail_list(scheduler, &group->slices, error, now);
    group->holders--;
    srv_group_release(scheduler, group);
}

void srv_group_mark_served(struct srv_scheduler *scheduler, struct srv_model_group *group, double now)
{
    group->served = now;
    remove_group(scheduler, group);
    append_group(scheduler, group);
}
