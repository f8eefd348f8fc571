// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/train_worker.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/jobs/train_internal.h"
#include "server/log.h"

#include <math.h>
#include <unistd.h>

/* Seconds between looks for jobs that other replicas took or left. */
#define LOOK_SECONDS 2.0

/* 64-bit FNV-1a; never 0. Two ids of one mark only make the worker look once too often. */
static uint64_t mark_of(const char *id)
{
    uint64_t mark = 0xcbf29ce484222325u;
    for (; *id != '\0'; id++)
        mark = (mark ^ (unsigned char)*id) * 0x100000001b3u;
    return mark == 0 ? 1 : mark;
}

void srv_train_worker_wait(struct srv_train_worker *worker, double seconds)
{
    const struct timespec until = srv_clock_moment(srv_clock() + seconds);
    if (sem_clockwait(&worker->signal, CLOCK_MONOTONIC, &until) == 0)
        while (sem_trywait(&worker->signal) == 0) // one look is enough for all that happened
            continue;
}

static void run_job(struct srv_train_worker *worker, struct api_job *record)
{
    atomic_store(&worker->noticed, false);
    atomic_store(&worker->mark, mark_of(record->id));
    srv_train_job_run(worker, record);
    atomic_store(&worker->mark, 0);
}

static void *run(void *argument)
{
    struct srv_train_worker *worker = argument;
    const struct srv_service *service = worker->options.service;
    bool failing = false;
    atomic_store(&worker->self, gettid());
    while (!atomic_load(&worker->stop)) {
        struct api_job record = {0};
        struct efm_error error = {0};
        enum efm_status status = srv_jobs_claim(service->jobs, "train", &record, &error);
        if (status == EFM_OK) {
            run_job(worker, &record);
        } else {
            if (status != EFM_E_NOT_FOUND && !failing) {
                char quoted[320];
                srv_log(service->log, SRV_LOG_ERROR, "training_not_claimed", "\"reason\":%s",
                        srv_log_quote(error.message, quoted, sizeof quoted));
            }
            srv_train_worker_wait(worker, LOOK_SECONDS);
        }
        failing = status != EFM_OK && status != EFM_E_NOT_FOUND;
    }
    return NULL;
}

enum efm_status srv_train_worker_create(struct srv_train_worker **result,
                                        const struct srv_train_worker_options *options,
                                        struct efm_error *error)
{
    *result = NULL;
    struct srv_train_worker *worker = efm_allocate_array(1, sizeof *worker);
    if (worker == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the training worker");
    worker->options = *options;
    if (worker->options.threads < 1)
        worker->options.threads = 1;
    sem_init(&worker->signal, 0, 0);
    enum efm_status status = srv_idle_thread_create(&worker->idle, &worker->signal, error);
    if (status == EFM_OK && pthread_create(&worker->thread, NULL, run, worker) != 0)
        status = efm_error_set(error, EFM_E_MEMORY, "the system refused another thread");
    if (status != EFM_OK) {
        srv_idle_thread_destroy(worker->idle);
        sem_destroy(&worker->signal);
        efm_free(worker);
        return status;
    }
    *result = worker;
    return EFM_OK;
}

void srv_train_worker_wake(struct srv_train_worker *worker)
{
    if (worker != NULL)
        sem_post(&worker->signal);
}

void srv_train_worker_notice(struct srv_train_worker *worker, const char *id)
{
    /* no lock: whoever tells of a change shall not wait for one who computes */
    if (worker == NULL || atomic_load(&worker->mark) != mark_of(id) || gettid() == atomic_load(&worker->self))
        return;
    atomic_store(&worker->noticed, true);
    sem_post(&worker->signal);
}

void srv_train_worker_stop(struct srv_train_worker *worker)
{
    if (worker == NULL)
        return;
    atomic_store(&worker->stop, true);
    sem_post(&worker->signal);
}

void srv_train_worker_destroy(struct srv_train_worker *worker)
{
    if (worker == NULL)
        return;
    srv_train_worker_stop(worker);
    pthread_join(worker->thread, NULL);
    srv_idle_thread_destroy(worker->idle);
    sem_destroy(&worker->signal);
    efm_free(worker);
}
