// SPDX-License-Identifier: Apache-2.0
#include "server/clock.h"

#include <math.h>

double srv_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct timespec srv_clock_moment(double until)
{
    const double whole = floor(until);
    return (struct timespec){.tv_sec = (time_t)whole, .tv_nsec = (long)((until - whole) * 1e9)};
}

bool srv_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    bool good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(condition, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return good;
}

void srv_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, double until)
{
    if (isinf(until)) {
        pthread_cond_wait(condition, mutex);
        return;
    }
    const struct timespec moment = srv_clock_moment(until);
    pthread_cond_timedwait(condition, mutex, &moment);
}
