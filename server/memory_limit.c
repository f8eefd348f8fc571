// SPDX-License-Identifier: Apache-2.0
#include "server/memory_limit.h"

#include "server/cgroup.h"
#include "server/config.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* A whole number alone; version 2 says "max" for none. */
static double read_bytes(const char *folder, const char *name)
{
    char path[SRV_CGROUP_PATH + 32], line[64], more;
    unsigned long long bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!srv_cgroup_read_line(path, line, sizeof line) || line[0] < '0' || line[0] > '9' ||
        sscanf(line, "%20llu%c", &bytes, &more) != 1 || bytes == 0)
        return INFINITY;
    return (double)bytes;
}

static double limit_of_version_2(const char *folder)
{
    return read_bytes(folder, "memory.max");
}

static double limit_of_version_1(const char *folder)
{
    return read_bytes(folder, "memory.limit_in_bytes");
}

double srv_memory_limit(const char *root, const char *membership)
{
    static const struct srv_cgroup_limit memory = {"memory", limit_of_version_2, limit_of_version_1};
    return srv_cgroup_least(root, membership, &memory);
}

uint64_t srv_config_memory(void)
{
    const double limit = srv_memory_limit("/sys/fs/cgroup", "/proc/self/cgroup");
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const double physical = pages > 0 && page > 0 ? (double)pages * (double)page : INFINITY;
    const double least = fmin(limit, physical);
    return least < 0x1p63 ? (uint64_t)least : UINT64_MAX;
}
