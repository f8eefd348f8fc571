// SPDX-License-Identifier: Apache-2.0
#include "core/base/team.h"

#include "core/base/memory.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks at a meeting before a thread goes to sleep: some ten microseconds. */
enum { LOOKS = 1000 };

struct helper {
    struct efm_team *team;
    pthread_t thread;
    size_t slot;
};

struct efm_team {
    size_t size;
    size_t started; /* helper threads that run, for a half-open team */
    struct helper *helpers;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle;
    unsigned long round; /* counts loops, so that a helper joins each once */
    size_t busy;         /* helpers still inside the present loop */
    bool stop;
    efm_team_body *body;
    void *context;
    size_t count;
    bool each; /* a piece for every thread, its own */
    atomic_size_t next;
};

static void run_pieces(struct efm_team *team, size_t slot)
{
    if (team->each) {
        team->body(team->context, slot, slot);
        return;
    }
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed);
        if (index >= team->count)
            return;
        team->body(team->context, index, slot);
    }
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    struct efm_team *team = helper->team;
    unsigned long seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (!team->stop && team->round == seen)
            pthread_cond_wait(&team->work, &team->lock);
        if (team->stop)
            break;
        seen = team->round;
        pthread_mutex_unlock(&team->lock);
        run_pieces(team, helper->slot);
        pthread_mutex_lock(&team->lock);
        if (--team->busy == 0)
            pthread_cond_signal(&team->idle);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

enum efm_status efm_team_create(struct efm_team **result, size_t size, struct efm_error *error)
{
    *result = NULL;
    if (size < 1 || size > 256)
        return efm_error_set(error, EFM_E_ARGUMENT, "a team has 1 to 256 threads, not %zu", size);
    struct efm_team *team = efm_allocate_array(1, sizeof *team);
    if (team == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a thread team");
    team->size = size;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->work, NULL);
    pthread_cond_init(&team->idle, NULL);
    team->helpers = efm_allocate_array(size, sizeof *team->helpers);
    if (team->helpers == NULL) {
        efm_team_destroy(team);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a thread team");
    }
    for (; team->started < size - 1; team->started++) {
        struct helper *helper = &team->helpers[team->started];
        helper->team = team;
        helper->slot = team->started + 1;
        if (pthread_create(&helper->thread, NULL, helper_main, helper) != 0) {
            efm_team_destroy(team);
            return efm_error_set(error, EFM_E_MEMORY, "the system refused another thread");
        }
    }
    *result = team;
    return EFM_OK;
}

void efm_team_destroy(struct efm_team *team)
{
    if (team == NULL)
        return;
    pthread_mutex_lock(&team->lock);
    team->stop = true;
    pthread_cond_broadcast(&team->work);
    pthread_mutex_unlock(&team->lock);
    for (size_t i = 0; i < team->started; i++)
        pthread_join(team->helpers[i].thread, NULL);
    pthread_cond_destroy(&team->idle);
    pthread_cond_destroy(&team->work);
    pthread_mutex_destroy(&team->lock);
    efm_free(team->helpers);
    efm_free(team);
}

size_t efm_team_size(const struct efm_team *team)
{
    return team == NULL ? 1 : team->size;
}

static void run(struct efm_team *team, size_t count, bool each, efm_team_body *body, void *context)
{
    pthread_mutex_lock(&team->lock);
    team->each = each;
    team->body = body;
    team->context = context;
    team->count = count;
    atomic_store_explicit(&team->next, 0, memory_order_relaxed);
    team->busy = team->size - 1;
    team->round++;
    pthread_cond_broadcast(&team->work);
    pthread_mutex_unlock(&team->lock);
    run_pieces(team, 0);
    pthread_mutex_lock(&team->lock);
    while (team->busy > 0)
        pthread_cond_wait(&team->idle, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

void efm_team_run(struct efm_team *team, size_t count, efm_team_body *body, void *context)
{
    if (team != NULL && team->size > 1 && count > 1) {
        run(team, count, false, body, context);
        return;
    }
    for (size_t index = 0; index < count; index++)
        body(context, index, 0);
}

void efm_team_run_each(struct efm_team *team, efm_team_body *body, void *context)
{
    if (team != NULL && team->size > 1)
        run(team, team->size, true, body, context);
    else
        body(context, 0, 0);
}

/* ---- meetings ---- */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Everything here is in one order for all threads: either the sleeper sees the last arrival, or the last to arrive sees
 * that somebody sleeps. */
static void sleep_until(struct efm_meeting *meeting, unsigned wanted)
{
    atomic_fetch_add(&meeting->asleep, 1);
    for (unsigned seen = atomic_load(&meeting->arrived); seen < wanted; seen = atomic_load(&meeting->arrived))
        syscall(SYS_futex, &meeting->arrived, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&meeting->asleep, 1);
}

void efm_meeting_wait(struct efm_meeting *meeting, unsigned *round, unsigned size)
{
    const unsigned wanted = ++*round * size;
    if (atomic_fetch_add(&meeting->arrived, 1) + 1 == wanted) {
        if (atomic_load(&meeting->asleep) > 0)
            syscall(SYS_futex, &meeting->arrived, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        return;
    }
    for (unsigned looks = 0; looks < LOOKS; looks++) {
        if (atomic_load_explicit(&meeting->arrived, memory_order_acquire) >= wanted)
            return;
        relax();
    }
    sleep_until(meeting, wanted);
}
