// SPDX-License-Identifier: Apache-2.0
// The program: reads its options, runs the daemon until a signal, or does what else it was asked for.
//
// The first SIGTERM or SIGINT: /readyz says 503 while requests are taken for --drain-delay, then new ones are
// refused, what is under way has --shutdown-timeout, what is left is cancelled. The second one: exit at once.

#include "server/build.h"
#include "server/clock.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/http/http.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/train/train_command.h"

#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_BAD_OPTION = 2 };

static int print(struct efm_buffer *out)
{
    size_t written = fwrite(out->data, 1, out->size, stdout);
    bool failed = out->status != EFM_OK || written != out->size || fflush(stdout) != 0;
    efm_buffer_release(out);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void render_version(struct efm_buffer *out)
{
    struct srv_build build;
    srv_build_read(&build);
    efm_buffer_format(out,
                      "efmd %s\ncompiler %s\nlibmicrohttpd %s\njansson %s\nonednn %s\nprocessor %s\n"
                      "instruction set %s\nfield kernels %s\nprecision %s\n",
                      build.version, build.compiler, srv_http_library(), jansson_version_str(), build.onednn,
                      build.processor, build.instruction_set, build.kernels, build.precision);
}

/* What --help, --version, --print-config and --check-config do. */
static int act(const struct srv_config *config, enum srv_config_action action)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    struct efm_error error = {0};
    if (action == SRV_CONFIG_HELP) {
        srv_config_render_help(&out);
        efm_buffer_append_string(
            &out, "\nefmd train SPEC.json --out MODEL.safetensors trains a model and ends, see "
                  "efmd train --help\n");
    } else if (action == SRV_CONFIG_VERSION)
        render_version(&out);
    else if (action == SRV_CONFIG_PRINT)
        srv_config_render(config, &out);
    else if (srv_daemon_check(config, &error) == EFM_OK)
        efm_buffer_append_string(&out, "the configuration is good\n");
    else {
        fprintf(stderr, "efmd: %s\n", error.message);
        return EXIT_BAD_OPTION;
    }
    return print(&out);
}

static sigset_t ending_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return signals;
}

static void log_start(const struct srv_daemon *daemon)
{
    const struct srv_config *config = &daemon->config;
    char address[SRV_CONFIG_ADDRESS], quoted[2 * SRV_CONFIG_ADDRESS];
    uint16_t port;
    if (srv_config_listen(config, address, &port, NULL) != EFM_OK)
        address[0] = '\0'; // it listens already
    srv_log(daemon->service.log, SRV_LOG_INFO, "listening",
            "\"address\":%s,\"port\":%u,\"version\":\"%s\",\"cores\":%u,\"workers\":%u,"
            "\"threads\":%u",
            srv_log_quote(address, quoted, sizeof quoted), (unsigned)srv_http_port(daemon->service.http),
            EFMD_VERSION, srv_config_cores(), daemon->workers, daemon->threads);
}

static void quit_now(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_FAILURE);
}

/* All that was acknowledged is on the disk: what is still being computed may go. */
static void end_late(int signal_number)
{
    static const char line[] = "{\"level\":\"warning\",\"event\":\"left_work_undone\"}\n";
    (void)signal_number;
    const ssize_t written = write(STDERR_FILENO, line, sizeof line - 1);
    (void)written;
    _exit(EXIT_SUCCESS);
}

/* Threads are joined at the end, and some work cannot be broken off: the drawing of samples, the loading of a model. */
static void end_in_time(const struct srv_config *config)
{
    enum { GRACE = 5, MOST = 1 << 30 };
    const struct sigaction action = {.sa_handler = end_late};
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)fmin(ceil(config->drain_delay + config->shutdown_timeout) + GRACE, MOST));
}

/* From here on a second signal ends the process, whatever this thread waits for. */
static void quit_on_next_signal(void)
{
    const struct sigaction action = {.sa_handler = quit_now};
    const sigset_t signals = ending_signals();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

/* Left to itself the C library learns from every large block that is freed to keep larger ones, until a daemon that
 * once had large requests holds hundreds of megabytes for ever. */
static void give_memory_back(void)
{
    enum { LARGE = 1 << 20 };
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, 4 * LARGE);
    // Left to itself it also keeps small blocks that are freed for their like, a million after a long text of JSON, and joins them
    // all when a large one is asked for next: a second or two in which nobody else gets memory.
    mallopt(M_MXFAST, 0);
    mallopt(M_ARENA_MAX, 1); /* malloc_trim leaves the end of every other arena where it is */
    // Sets the C library's allocator up if another one stands before it (a sanitizer's): two threads that trim first would both.
    malloc_trim(0);
}

/* ---- while it serves ---- */

/* Seconds: how often this thread looks whether models are restored; how long the service manager shall have patience with that, told
 * anew every so often. */
static const double LOOK = 0.02, PATIENCE = 30, EXTEND = 5;

struct manager {
    const char *address; /* NULL: there is none */
    double started;
    double extended, fed; /* when it was last told so */
    double watchdog;      /* seconds between two messages; 0: none */
    bool ready;
};

static void tell_progress(struct manager *manager, struct srv_daemon *daemon, double now)
{
    char message[80];
    if (srv_daemon_ready(daemon)) {
        manager->ready = true;
        srv_log(daemon->service.log, SRV_LOG_INFO, "ready", "\"seconds\":%.3f", now - manager->started);
        srv_notify(manager->address, "READY=1\nSTATUS=serving");
    } else if (now - manager->extended >= EXTEND) {
        manager->extended = now;
        snprintf(message, sizeof message, "EXTEND_TIMEOUT_USEC=%.0f\nSTATUS=loading models", PATIENCE * 1e6);
        srv_notify(manager->address, message);
    }
}

/* A daemon whose threads wait for one another is not alive, though this one is. */
static void feed_watchdog(struct manager *manager, struct srv_daemon *daemon, double now)
{
    if (manager->watchdog <= 0 || now - manager->fed < manager->watchdog)
        return;
    srv_daemon_feel_pulse(daemon);
    manager->fed = now;
    srv_notify(manager->address, "WATCHDOG=1");
}

static void wait_for_signal(struct srv_daemon *daemon, struct manager *manager)
{
    const sigset_t signals = ending_signals();
    for (;;) {
        const double now = srv_clock();
        if (!manager->ready)
            tell_progress(manager, daemon, now);
        feed_watchdog(manager, daemon, now);
        double pause = manager->ready ? 3600 : LOOK;
        if (manager->watchdog > 0)
            pause = fmin(pause, fmax(manager->fed + manager->watchdog - srv_clock(), 0));
        const struct timespec time = srv_clock_moment(pause);
        if (sigtimedwait(&signals, NULL, &time) > 0)
            return;
    }
}

static int serve(struct srv_daemon *daemon)
{
    struct efm_error error = {0};
    const sigset_t signals = ending_signals();
    struct manager manager = {
        .address = getenv("NOTIFY_SOCKET"),
        .watchdog = srv_notify_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")),
        .started = srv_clock(),
        .extended = -INFINITY,
        .fed = -INFINITY,
    };
    // Blocked before the first thread is made, so that all inherit it.
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    give_memory_back();
    enum efm_status status = srv_daemon_create(daemon, &error);
    if (status == EFM_OK) {
        log_start(daemon);
        wait_for_signal(daemon, &manager);
        quit_on_next_signal();
        end_in_time(&daemon->config);
        srv_notify(manager.address, "STOPPING=1\nSTATUS=draining");
        srv_daemon_drain(daemon);
    } else {
        fprintf(stderr, "efmd: %s\n", error.message);
    }
    srv_daemon_destroy(daemon);
    return status == EFM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argument_count, char **arguments)
{
    static struct srv_daemon daemon;
    struct efm_error error = {0};
    enum srv_config_action action;
    if (argument_count > 1 && strcmp(arguments[1], "train") == 0)
        return srv_train_command(argument_count - 2, arguments + 2);
    if (srv_config_read(&daemon.config, &action, argument_count, arguments, environ, &error) != EFM_OK) {
        fprintf(stderr, "efmd: %s\n", error.message);
        return EXIT_BAD_OPTION;
    }
    return action == SRV_CONFIG_RUN ? serve(&daemon) : act(&daemon.config, action);
}
