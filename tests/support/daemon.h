/* daemon.h - the real efmd on a free loopback port, for the length of a test program.
 *
 *     static struct test_daemon daemon;
 *     test_daemon_start(&daemon, (const char *const[]){"--batch", "8", NULL});
 *     ... requests, see client.h ...
 *     test_daemon_stop(&daemon);            SIGTERM; fails the test unless the exit status is 0
 *
 * The program is named by the environment variable EFMD. Each daemon has a temporary folder with its state
 * directory, its port file and its log, removed when it stops; the log is shown when something fails. A
 * daemon dies with the test program.
 *
 * Where TEST_PROXY names a program, it is started beside each daemon with the daemon's address, a file to write its port to and
 * TEST_PROXY_LOG, and requests of client.h go through it; sockets that are opened by hand, and metrics, go to the daemon itself.
 *
 * Errors: every function fails the running cmocka test. Threads: one.
 */
#ifndef TEST_DAEMON_H
#define TEST_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

struct test_daemon {
    pid_t pid; /* 0 while it does not run */
    unsigned port;
    char url[64];     /* "http://127.0.0.1:40123": where requests go */
    char own_url[64]; /* the daemon's, which is another one behind a proxy */
    pid_t proxy;      /* 0: none */
    char folder[256]; /* temporary */
    char state[300];  /* its --state-dir */
    char log[300];    /* file of its standard error */
};

/* Starts with further arguments (NULL-terminated; NULL for none) and waits until /readyz says 200. */
void test_daemon_start(struct test_daemon *daemon, const char *const *arguments);

/* Stops and starts again with the same state directory (and other arguments). */
void test_daemon_restart(struct test_daemon *daemon, const char *const *arguments);

/* Starts again after test_daemon_wait. */
void test_daemon_relaunch(struct test_daemon *daemon, const char *const *arguments);

/* Stops, checks the exit status, removes the folder. A daemon that does not run is fine. */
void test_daemon_stop(struct test_daemon *daemon);

/* The two halves of stopping, for tests of the shutdown itself. */
void test_daemon_signal(struct test_daemon *daemon, int signal);
int test_daemon_wait(struct test_daemon *daemon, double seconds); /* wait status, and pid becomes 0 */

/* The sum over all series of a metric; with `label` (as model="m") only those that bear it. 0 when absent. */
double test_daemon_metric(const struct test_daemon *daemon, const char *name, const char *label);

/* Polls the metric until it has the value; false when it has not within `seconds`. */
bool test_daemon_settles(const struct test_daemon *daemon, const char *name, double value, double seconds);

/* The end of the log, on standard error. */
void test_daemon_show_log(const struct test_daemon *daemon);

double test_now(void); /* CLOCK_MONOTONIC seconds */
void test_sleep(double seconds);

/* How much slower than usual this build may be: 1, or more under a sanitizer. */
double test_patience(void);

#endif
