/* stop_signals.h - SIGINT and SIGTERM: the first asks for a checkpoint and an end, the second ends the process at once.
 *
 *     srv_stop_signals_start(&signals, &error);              before any other thread is made
 *     while (!srv_stop_signals_asked(&signals)) ...
 *     srv_stop_signals_end(&signals);
 *
 * A thread of its own waits for them, so that the second one needs no answer from whoever computes. SIGINT stays ignored where it
 * was (nohup, a shell's background). Threads: start and end from one; asked from any. */
#ifndef SRV_TRAIN_STOP_SIGNALS_H
#define SRV_TRAIN_STOP_SIGNALS_H

#include "core/base/status.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct srv_stop_signals {
    pthread_t thread;
    sigset_t set, before;
    atomic_bool asked;
};

/* Must stay where it is until it is ended. */
EFM_MUST_CHECK enum efm_status srv_stop_signals_start(struct srv_stop_signals *signals,
                                                      struct efm_error *error);
void srv_stop_signals_end(struct srv_stop_signals *signals);
bool srv_stop_signals_asked(struct srv_stop_signals *signals);

#endif
