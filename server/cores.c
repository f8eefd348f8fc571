// SPDX-License-Identifier: Apache-2.0
#include "server/cores.h"

#include "server/config.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 4096, CORES_MOST = 4096 };

/* The first line of a small file, without its end; false when it cannot be read. */
static bool read_line(const char *path, char *out, int size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool found = fgets(out, size, file) != NULL;
    fclose(file);
    if (found)
        out[strcspn(out, "\n")] = '\0';
    return found;
}

static double ratio(double quota, double period)
{
    return quota > 0 && period > 0 ? quota / period : INFINITY;
}

/* cpu.max is "max 100000" or "150000 100000". */
static double quota_of_version_2(const char *folder)
{
    char path[PATH_SIZE + 32], line[128];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return INFINITY;
    return ratio(quota, period);
}

static double quota_of_version_1(const char *folder)
{
    char path[PATH_SIZE + 32], line[128];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf", &quota) != 1)
        return INFINITY;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf", &period) != 1)
        return INFINITY;
    return ratio(quota, period);
}

/* The tightest quota from `group` up to `base`; a group that does not exist there (a container sees its own
 * group as the root) has none. */
static double tightest(const char *base, const char *group, double (*quota_of)(const char *folder))
{
    char folder[PATH_SIZE];
    int length = snprintf(folder, sizeof folder, "%s%s", base, group);
    if (length < 0 || length >= PATH_SIZE)
        return INFINITY;
    double least = INFINITY;
    const size_t shortest = strlen(base);
    while (strlen(folder) >= shortest) {
        least = fmin(least, quota_of(folder));
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash == folder)
            break;
        *slash = '\0';
    }
    return least;
}

static bool has_cpu(const char *controllers)
{
    size_t length = 0;
    for (const char *word = controllers; *word != '\0'; word += length + (word[length] == ',')) {
        length = strcspn(word, ",");
        if (length == 3 && strncmp(word, "cpu", 3) == 0)
            return true;
    }
    return false;
}

double srv_cores_quota(const char *root, const char *membership)
{
    FILE *file = fopen(membership, "re");
    if (file == NULL)
        return INFINITY;
    double least = INFINITY;
    char line[PATH_SIZE], base[PATH_SIZE];
    // "0::/path" is version 2, "4:cpu,cpuacct:/path" is version 1.
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL || group[1] != '/')
            continue;
        controllers++;
        *group++ = '\0';
        if (strcmp(group, "/") == 0)
            group[0] = '\0';
        if (controllers[0] == '\0') {
            least = fmin(least, tightest(root, group, quota_of_version_2));
        } else if (has_cpu(controllers)) {
            snprintf(base, sizeof base, "%.2000s/%.2000s", root, controllers);
            least = fmin(least, tightest(base, group, quota_of_version_1));
            snprintf(base, sizeof base, "%.4000s/cpu", root);
            least = fmin(least, tightest(base, group, quota_of_version_1));
        }
    }
    fclose(file);
    return least;
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
