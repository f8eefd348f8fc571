/* clock.h - the clock of all deadlines, and conditions that are waited for by it. Threads: any. */
#ifndef SRV_CLOCK_H
#define SRV_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

double srv_clock(void); /* CLOCK_MONOTONIC in seconds */

/* That moment of srv_clock, as the system takes it; `until` is finite and not negative. */
struct timespec srv_clock_moment(double until);

/* A condition for srv_condition_wait; false when there is no memory. */
bool srv_condition_init(pthread_cond_t *condition);

/* Until it is signalled, at most until that moment of srv_clock; INFINITY: for ever. May end early, as all waits may. */
void srv_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, double until);

#endif
