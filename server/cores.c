// SPDX-License-Identifier: Apache-2.0
#include "server/cores.h"

#include "server/cgroup.h"
#include "server/config.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>

enum { CORES_MOST = 4096 };

static double ratio(double quota, double period)
{
    return quota > 0 && period > 0 ? quota / period : INFINITY;
}

/* cpu.max is "max 100000" or "150000 100000". */
static double quota_of_version_2(const char *folder)
{
    char path[SRV_CGROUP_PATH + 32], line[128];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!srv_cgroup_read_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return INFINITY;
    return ratio(quota, period);
}

static double quota_of_version_1(const char *folder)
{
    char path[SRV_CGROUP_PATH + 32], line[128];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!srv_cgroup_read_line(path, line, sizeof line) || sscanf(line, "%lf", &quota) != 1)
        return INFINITY;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!srv_cgroup_read_line(path, line, sizeof line) || sscanf(line, "%lf", &period) != 1)
        return INFINITY;
    return ratio(quota, period);
}

double srv_cores_quota(const char *root, const char *membership)
{
    static const struct srv_cgroup_limit cpu = {"cpu", quota_of_version_2, quota_of_version_1};
    return srv_cgroup_least(root, membership, &cpu);
}

static unsigned allowed_by_affinity(void)
{
    unsigned allowed = 1;
    cpu_set_t *set = CPU_ALLOC(CORES_MOST);
    if (set == NULL)
        return allowed;
    if (sched_getaffinity(0, CPU_ALLOC_SIZE(CORES_MOST), set) == 0)
        allowed = (unsigned)CPU_COUNT_S(CPU_ALLOC_SIZE(CORES_MOST), set);
    CPU_FREE(set);
    return allowed == 0 ? 1 : allowed;
}

unsigned srv_config_cores(void)
{
    unsigned cores = allowed_by_affinity();
    // Rounded up: with 1.5 cores two threads use what is there, one would not.
    double quota = ceil(srv_cores_quota("/sys/fs/cgroup", "/proc/self/cgroup"));
    if (quota < (double)cores)
        cores = quota < 1 ? 1 : (unsigned)quota;
    return cores;
}

static unsigned at_least_one(unsigned number)
{
    return number == 0 ? 1 : number;
}

void srv_cores_share(unsigned cores, unsigned *workers, unsigned *threads)
{
    if (*workers == 0 && *threads == 0)
        *workers = (cores + SRV_CORES_TEAM - 1) / SRV_CORES_TEAM;
    if (*workers == 0)
        *workers = cores / *threads;
    *workers = at_least_one(*workers);
    if (*threads == 0)
        *threads = at_least_one(cores / *workers);
}
