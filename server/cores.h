/* cores.h - how many cores this process may keep busy, inside of a container too.
 * srv_config_cores() in config.h is the question to ask; this part is apart so that it can be tested with
 * made-up folders. Threads: any. */
#ifndef SRV_CORES_H
#define SRV_CORES_H

/* The tightest CPU quota, in cores, among the cgroups that `membership` (a file like /proc/self/cgroup) names
 * and their parents, under `root` (like /sys/fs/cgroup); version 2 and version 1. INFINITY when there is
 * none. */
double srv_cores_quota(const char *root, const char *membership);

/* How many workers, and threads of each, share `cores`. What is not 0 was asked for and stays; of the two that are not,
 * one worker has all cores, as far as SRV_CORES_TEAM goes. Both end at least 1. */
enum { SRV_CORES_TEAM = 64 };
void srv_cores_share(unsigned cores, unsigned *workers, unsigned *threads);

#endif
