/* cgroup.h - what the control groups of a process leave it: version 1 and 2, inside of a container too.
 *
 *     static const struct srv_cgroup_limit cpu = {"cpu", quota_of_version_2, quota_of_version_1};
 *     srv_cgroup_least("/sys/fs/cgroup", "/proc/self/cgroup", &cpu);
 *
 * Threads: any. */
#ifndef SRV_CGROUP_H
#define SRV_CGROUP_H

#include <stdbool.h>

enum { SRV_CGROUP_PATH = 4096 };

struct srv_cgroup_limit {
    const char *controller; /* of version 1 */
    /* What the files in the folder of a group say, INFINITY: nothing. `folder` is shorter than SRV_CGROUP_PATH. */
    double (*version_2)(const char *folder), (*version_1)(const char *folder);
};

/* The tightest limit among the groups that `membership` (a file like /proc/self/cgroup) names and their parents, under `root`
 * (like /sys/fs/cgroup). INFINITY when there is none. */
double srv_cgroup_least(const char *root, const char *membership, const struct srv_cgroup_limit *limit);

/* The first line of a small file, without its end; false when it cannot be read. */
bool srv_cgroup_read_line(const char *path, char *out, int size);

#endif
