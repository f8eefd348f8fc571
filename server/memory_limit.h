/* memory_limit.h - how much memory this process may take, inside of a container too.
 * srv_config_memory() in config.h is the question to ask; this part is apart so that it can be tested with
 * made-up folders. Threads: any. */
#ifndef SRV_MEMORY_LIMIT_H
#define SRV_MEMORY_LIMIT_H

/* The tightest limit of memory, in bytes, among the cgroups that `membership` (a file like /proc/self/cgroup) names and their
 * parents, under `root` (like /sys/fs/cgroup); version 2 and version 1, whose number for none is a large one. INFINITY when there is
 * none. */
double srv_memory_limit(const char *root, const char *membership);

#endif
