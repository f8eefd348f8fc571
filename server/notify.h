/* notify.h - tells the service manager (systemd, Type=notify) how the daemon does: one datagram a message, no library.
 *
 *     srv_notify(getenv("NOTIFY_SOCKET"), "READY=1");
 *
 * Threads: any. */
#ifndef SRV_NOTIFY_H
#define SRV_NOTIFY_H

#include <stdbool.h>

/* `address` is a path or, with a leading '@', the name of an abstract socket. False when it is NULL, neither of the
 * two, too long, or nobody takes the message; it never waits. */
bool srv_notify(const char *address, const char *message);

/* Seconds between two messages WATCHDOG=1: half of what the manager waits for. 0: it waits for none, or for those of another
 * process. The arguments are WATCHDOG_USEC and WATCHDOG_PID of the environment; each may be NULL. */
double srv_notify_watchdog(const char *microseconds, const char *process);

#endif
