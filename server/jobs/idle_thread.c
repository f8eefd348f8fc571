// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/idle_thread.h"

#include "core/base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LOWEST = 19 };

struct srv_idle_thread {
    pthread_t thread;
    sem_t begin, *done;
    atomic_bool busy, ended;
    void (*body)(void *context);
    void *context;
};

static void be_idle(void)
{
    const struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST); // of this thread alone, on Linux
}

static void *run(void *argument)
{
    struct srv_idle_thread *thread = argument;
    be_idle();
    for (;;) {
        while (sem_wait(&thread->begin) != 0)
            continue;
        if (atomic_load(&thread->ended))
            return NULL;
        thread->body(thread->context);
        atomic_store(&thread->busy, false);
        sem_post(thread->done);
    }
}

enum efm_status srv_idle_thread_create(struct srv_idle_thread **result, sem_t *done, struct efm_error *error)
{
    *result = NULL;
    struct srv_idle_thread *thread = efm_allocate_array(1, sizeof *thread);
    if (thread == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a thread");
    thread->done = done;
    sem_init(&thread->begin, 0, 0);
    if (pthread_create(&thread->thread, NULL, run, thread) != 0) {
        sem_destroy(&thread->begin);
        efm_free(thread);
        return efm_error_set(error, EFM_E_MEMORY, "the system refused another thread");
    }
    *result = thread;
    return EFM_OK;
}

void srv_idle_thread_destroy(struct srv_idle_thread *thread)
{
    if (thread == NULL)
        return;
    atomic_store(&thread->ended, true);
    sem_post(&thread->begin);
    pthread_join(thread->thread, NULL);
    sem_destroy(&thread->begin);
    efm_free(thread);
}

void srv_idle_thread_begin(struct srv_idle_thread *thread, void (*body)(void *context), void *context)
{
    thread->body = body;
    thread->context = context;
    atomic_store(&thread->busy, true);
    sem_post(&thread->begin);
}

bool srv_idle_thread_busy(const struct srv_idle_thread *thread)
{
    return atomic_load(&thread->busy);
}
