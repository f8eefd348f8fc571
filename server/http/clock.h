/* clock.h - CLOCK_MONOTONIC in seconds, the clock of all deadlines. Threads: any. */
#ifndef SRV_HTTP_CLOCK_H
#define SRV_HTTP_CLOCK_H

#include <time.h>

static inline double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
