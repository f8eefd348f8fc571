/* team.h - a parallel-for: a fixed set of threads that run the pieces of one loop.
 *
 * The pieces must not depend on which thread runs them, so results are the same for every size of team.
 * A NULL team runs the loop on the calling thread. Between loops the threads sleep; they do not spin.
 *
 * Threads: efm_team_run from one thread at a time; bodies run on the team and on the caller. */
#ifndef EFM_BASE_TEAM_H
#define EFM_BASE_TEAM_H

#include "core/base/status.h"

#include <stdatomic.h>
#include <stddef.h>

struct efm_team;

/* Does piece `index`; `slot` in [0, size) names the thread, for per-thread working space. */
typedef void efm_team_body(void *context, size_t index, size_t slot);

/* A team of `size` threads in all, the caller of efm_team_run included; 1..256. */
EFM_MUST_CHECK enum efm_status efm_team_create(struct efm_team **team, size_t size, struct efm_error *error);
void efm_team_destroy(struct efm_team *team);

/* 1 for NULL. */
size_t efm_team_size(const struct efm_team *team);

/* Runs body for every index in [0, count) and returns when all are done. */
void efm_team_run(struct efm_team *team, size_t count, efm_team_body *body, void *context);

/* Runs body once on every thread of the team, index = slot, all at the same time: the bodies may wait for each other. */
void efm_team_run_each(struct efm_team *team, efm_team_body *body, void *context);

/* A place where the threads of one loop meet, again and again. Zero it before the first of them comes. Who waits looks for a
 * moment and then sleeps: on a busy machine the one that is waited for needs the processor, and threads that take
 * turns looking keep it away from it. */
struct efm_meeting {
    atomic_uint arrived, asleep;
};

/* Returns when all `size` threads have come as often as the caller, whose own count is *round, 0 at first. */
void efm_meeting_wait(struct efm_meeting *meeting, unsigned *round, unsigned size);

#endif
