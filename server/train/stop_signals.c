// SPDX-License-Identifier: Apache-2.0
#include "server/train/stop_signals.h"

#include <stdlib.h>
#include <unistd.h>

static void *watch(void *context)
{
    struct srv_stop_signals *signals = context;
    int number;
    sigwait(&signals->set, &number);
    atomic_store(&signals->asked, true);
    sigwait(&signals->set, &number);
    _exit(EXIT_FAILURE);
}

enum efm_status srv_stop_signals_start(struct srv_stop_signals *signals, struct efm_error *error)
{
    struct sigaction interrupt;
    atomic_init(&signals->asked, false);
    sigemptyset(&signals->set);
    sigaddset(&signals->set, SIGTERM);
    if (sigaction(SIGINT, NULL, &interrupt) != 0 || interrupt.sa_handler != SIG_IGN)
        sigaddset(&signals->set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals->set, &signals->before);
    if (pthread_create(&signals->thread, NULL, watch, signals) == 0)
        return EFM_OK;
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
    return efm_error_set(error, EFM_E_MEMORY, "no thread can be made to wait for signals");
}

void srv_stop_signals_end(struct srv_stop_signals *signals)
{
    /* sigwait is where a thread can be cancelled */
    pthread_cancel(signals->thread);
    pthread_join(signals->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}

bool srv_stop_signals_asked(struct srv_stop_signals *signals)
{
    return atomic_load_explicit(&signals->asked, memory_order_relaxed);
}
