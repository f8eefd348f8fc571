// SPDX-License-Identifier: Apache-2.0
/* How long what is admitted will take: from the evaluations that its lines still need and the time that one takes, and
 * where that is not known from the pace of the last finishes. */
#include "server/engine/engine_internal.h"

#include <math.h>

static double average(double old, double value)
{
    return old > 0 ? 0.8 * old + 0.2 * value : value;
}

void srv_pace_note_batch(struct srv_model_group *group, const struct srv_batch *batch)
{
    if (batch->live > 0)
        group->line_seconds =
            average(group->line_seconds, (batch->ended - batch->started) / (double)batch->live);
}

void srv_pace_note_line(struct srv_model_group *group, const struct efm_line *line)
{
    group->line_evaluations = average(group->line_evaluations, efm_line_evaluations(line));
}

/* Time between two finishes, as long as there was something to do; what was never computed says nothing about the
 * pace of the computation. */
void srv_pace_note_finish(struct srv_scheduler *scheduler, const struct srv_work *work, double now)
{
    const double seconds = now - fmax(scheduler->last_finish, work->submitted);
    scheduler->last_finish = now;
    if (work->first_step > 0 && work->problem.code == API_P_NONE)
        scheduler->seconds_a_work = average(scheduler->seconds_a_work, seconds);
}

/* What is admitted: seconds of one worker for the lines that are known, and how many works are not. */
struct outlook {
    double seconds;
    size_t unknown;
};

static void add_work(struct outlook *outlook, const struct srv_model_group *group,
                     const struct srv_work *work)
{
    const double a_line = work->evaluations > 0 ? work->evaluations
                          : group != NULL       ? group->line_evaluations
                                                : 0;
    if (work->line_count == 0 || a_line == 0 || group == NULL || group->line_seconds == 0) {
        outlook->unknown++;
        return;
    }
    /* a line that runs needs one more at least, however many it was thought to need */
    const double left = a_line * (double)work->line_count - (double)work->had;
    outlook->seconds += fmax(left, (double)work->running) * group->line_seconds;
}

static struct outlook look_ahead(const struct srv_scheduler *scheduler)
{
    struct outlook outlook = {0};
    size_t seen = scheduler->ended.count; /* these are done */
    for (const struct srv_model_group *group = scheduler->first_group; group != NULL; group = group->next) {
        for (const struct srv_work *work = group->lines.first; work != NULL; work = work->next)
            add_work(&outlook, group, work);
        for (const struct srv_work *work = group->slices.first; work != NULL; work = work->next)
            add_work(&outlook, group, work);
        seen += group->lines.count + group->slices.count;
    }
    const struct srv_work_list *light = &scheduler->waiting[SRV_LANE_LIGHT];
    for (const struct srv_work *work = light->first; work != NULL; work = work->next)
        add_work(&outlook, srv_group_find(scheduler, work->model), work);
    seen += light->count;
    /* those on helpers alone, and what is in a helper's hands */
    if (scheduler->admitted > seen)
        outlook.unknown += scheduler->admitted - seen;
    return outlook;
}

/* A finish that is overdue counts as well, so the answer is honest before the first one and when the pace drops. */
double srv_pace_seconds(const struct srv_scheduler *scheduler, double now)
{
    const struct outlook outlook = look_ahead(scheduler);
    const double pace = fmax(scheduler->seconds_a_work, now - scheduler->last_finish);
    return outlook.seconds / (double)scheduler->options.workers +
           (outlook.unknown > 0 ? pace * (double)outlook.unknown : 0);
}
