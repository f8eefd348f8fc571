// SPDX-License-Identifier: Apache-2.0
// The daemon: reads its options, makes its parts in order, serves until a signal, ends them in reverse order.
//
// The first SIGTERM or SIGINT: /readyz says 503 while requests are taken for --drain-delay, then new ones are
// refused, what is under way has --shutdown-timeout, what is left is cancelled. The second one: exit at once.

#include "core/field/products.h"
#include "core/net/net.h"
#include "server/config.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"
#include "server/http/http.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/service.h"
#include "server/train/train_command.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_BAD_OPTION = 2 };

/* Descriptors beside those of connections: files of the state directory, event loops, logs. */
enum { OTHER_FILES = 64 };

struct daemon {
    struct srv_config config;
    struct srv_service service;
    unsigned workers, threads;
};

static int print(struct efm_buffer *out)
{
    size_t written = fwrite(out->data, 1, out->size, stdout);
    bool failed = out->status != EFM_OK || written != out->size || fflush(stdout) != 0;
    efm_buffer_release(out);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void render_version(struct efm_buffer *out)
{
    efm_buffer_format(out, "efmd %s\nlibmicrohttpd %s\njansson %s\nfield kernels %s\n", EFMD_VERSION,
                      srv_http_library(), jansson_version_str(), efm_kernels_name(efm_kernels_at(0)));
}

/* What --help, --version, --print-config and --check-config do. */
static int act(const struct srv_config *config, enum srv_config_action action)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    if (action == SRV_CONFIG_HELP) {
        srv_config_render_help(&out);
        efm_buffer_append_string(
            &out, "\nefmd train SPEC.json --out MODEL.safetensors trains a model and ends, see "
                  "efmd train --help\n");
    } else if (action == SRV_CONFIG_VERSION)
        render_version(&out);
    else if (action == SRV_CONFIG_PRINT)
        srv_config_render(config, &out);
    else
        efm_buffer_append_string(&out, "the configuration is good\n");
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

/* Every connection needs a descriptor; the soft limit is often 1024 for the sake of select(). */
static void raise_file_limit(const struct daemon *daemon)
{
    struct rlimit limit;
    const rlim_t wanted = daemon->config.connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        srv_log(daemon->service.log, SRV_LOG_WARNING, "few_files",
                "\"limit\":%llu,\"wanted\":%llu,\"help\":\"raise the hard limit of open files (ulimit -Hn) "
                "or lower --connections\"",
                (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

/* One worker with all cores, unless the options share them out otherwise. */
static void share_cores(struct daemon *daemon)
{
    const unsigned cores = srv_config_cores();
    unsigned workers = (unsigned)daemon->config.workers, threads = (unsigned)daemon->config.threads;
    if (workers == 0 && threads == 0) {
        workers = 1;
        threads = cores;
    } else if (workers == 0) {
        workers = cores / threads;
    } else if (threads == 0) {
        threads = cores / workers;
    }
    daemon->workers = workers == 0 ? 1 : workers;
    daemon->threads = threads == 0 ? 1 : threads;
    // what is shown to clients is what runs
    daemon->config.workers = daemon->workers;
    daemon->config.threads = daemon->threads;
}

static void set_limits(struct daemon *daemon)
{
    struct api_limits *limits = &daemon->service.limits;
    *limits = api_limits_default();
    limits->max_images = daemon->config.max_images;
    limits->image.max_side = (uint32_t)daemon->config.max_side;
    limits->image.max_pixels = daemon->config.max_pixels;
}

static enum efm_status create_log(struct daemon *daemon, struct efm_error *error)
{
    enum srv_log_level level;
    if (!srv_log_level_parse(daemon->config.log_level, &level))
        level = SRV_LOG_INFO; // refused when the options were read
    return srv_log_create(&daemon->service.log, level, STDERR_FILENO, error);
}

static enum efm_status create_registry(struct daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    enum efm_precision precision = EFM_PRECISION_AUTO;
    if (efm_precision_parse(config->precision, &precision) != EFM_OK)
        precision = EFM_PRECISION_AUTO; // refused when the options were read
    enum efm_status status = efm_precision_resolve(&precision, error);
    if (status != EFM_OK)
        return status;
    const struct srv_registry_options options = {
        .state_dir = config->state_dir[0] == '\0' ? NULL : config->state_dir,
        .max_models = config->max_models,
        .max_datasets = config->max_datasets,
        .max_memory = config->memory,
        .image_limits = daemon->service.limits.image,
        .precision = precision,
        .workers = daemon->workers,
        .threads_per_worker = daemon->threads,
        .batch = config->batch,
    };
    return srv_registry_create(&daemon->service.registry, &options, daemon->service.metrics,
                               daemon->service.log, error);
}

static enum efm_status create_scheduler(struct daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    const struct srv_scheduler_options options = {
        .workers = daemon->workers,
        .threads_per_worker = daemon->threads,
        .helpers = (unsigned)config->helpers,
        .batch = config->batch,
        .max_works = config->queue,
        .max_bytes = config->queue_bytes,
    };
    return srv_scheduler_create(&daemon->service.scheduler, &options, daemon->service.metrics,
                                daemon->service.log, error);
}

static enum efm_status create_http(struct daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    char address[SRV_CONFIG_ADDRESS];
    struct srv_http_options options = {
        .routes = srv_routes,
        .route_count = srv_route_count,
        .address = address,
        .max_body = config->max_body,
        .max_image_body = config->max_image_body,
        .connection_limit = (unsigned)config->connections,
        .idle_timeout = (unsigned)ceil(config->idle_timeout),
        .body_timeout = config->body_timeout,
        .event_threads = (unsigned)config->event_threads,
        // one upload of the largest size, and the bodies of a full queue beside it
        .max_buffered = config->max_body + config->queue_bytes,
    };
    enum efm_status status = srv_config_listen(config, address, &options.port, error);
    if (status == EFM_OK)
        status = srv_http_create(&daemon->service.http, &options, &daemon->service, error);
    return status;
}

/* The port as text, there in one moment: a reader sees no half of it. */
static enum efm_status write_port_file(const struct daemon *daemon, struct efm_error *error)
{
    const char *path = daemon->config.port_file;
    char temporary[sizeof daemon->config.port_file + 8], text[16];
    if (path[0] == '\0')
        return EFM_OK;
    snprintf(temporary, sizeof temporary, "%s.new", path);
    const int length = snprintf(text, sizeof text, "%u\n", (unsigned)srv_http_port(daemon->service.http));
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool written = file >= 0 && write(file, text, (size_t)length) == length;
    if (file >= 0)
        written = close(file) == 0 && written;
    if (written && rename(temporary, path) == 0)
        return EFM_OK;
    return efm_error_set(error, EFM_E_IO, "the port file %.150s cannot be written: %s", path,
                         strerror(errno));
}

static enum efm_status create(struct daemon *daemon, struct efm_error *error)
{
    enum efm_status status = create_log(daemon, error);
    if (status != EFM_OK)
        return status;
    raise_file_limit(daemon);
    share_cores(daemon);
    set_limits(daemon);
    status = srv_metrics_create(&daemon->service.metrics, error);
    if (status == EFM_OK)
        status = create_registry(daemon, error);
    if (status == EFM_OK)
        status = create_scheduler(daemon, error);
    if (status == EFM_OK) {
        srv_metrics_set(daemon->service.metrics, SRV_M_BUILD_INFO, 1,
                        "version=\"%s\",libmicrohttpd=\"%s\",jansson=\"%s\",kernels=\"%s\"", EFMD_VERSION,
                        srv_http_library(), jansson_version_str(), efm_kernels_name(efm_kernels_at(0)));
        status = create_http(daemon, error);
    }
    return status == EFM_OK ? write_port_file(daemon, error) : status;
}

static void destroy(struct daemon *daemon)
{
    // The scheduler still runs while the server waits for its answers.
    if (daemon->service.scheduler != NULL)
        srv_scheduler_drain(daemon->service.scheduler);
    srv_http_destroy(daemon->service.http);
    if (daemon->service.scheduler != NULL)
        srv_scheduler_destroy(daemon->service.scheduler);
    if (daemon->service.registry != NULL)
        srv_registry_destroy(daemon->service.registry);
    srv_metrics_destroy(daemon->service.metrics);
    srv_log_destroy(daemon->service.log);
}

static void log_start(const struct daemon *daemon)
{
    const struct srv_config *config = &daemon->config;
    char address[SRV_CONFIG_ADDRESS], quoted[2 * SRV_CONFIG_ADDRESS];
    uint16_t port;
    if (srv_config_listen(config, address, &port, NULL) != EFM_OK)
        address[0] = '\0'; // it listens already
    srv_log(daemon->service.log, SRV_LOG_INFO, "listening",
            "\"address\":%s,\"port\":%u,\"version\":\"%s\",\"workers\":%u,\"threads\":%u",
            srv_log_quote(address, quoted, sizeof quoted), (unsigned)srv_http_port(daemon->service.http),
            EFMD_VERSION, daemon->workers, daemon->threads);
}

static void quit_now(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_FAILURE);
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

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void pause_for(double seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&time, NULL);
}

static void drain(struct daemon *daemon)
{
    struct srv_service *service = &daemon->service;
    srv_log(service->log, SRV_LOG_INFO, "draining", "\"pending\":%zu", srv_http_pending(service->http));
    srv_http_announce_drain(service->http);
    pause_for(daemon->config.drain_delay);
    srv_http_drain(service->http);
    const double until = now() + daemon->config.shutdown_timeout;
    while (srv_http_pending(service->http) + srv_scheduler_load(service->scheduler) > 0 && now() < until)
        pause_for(0.02);
    srv_log(service->log, SRV_LOG_INFO, "stopping", "\"cancelled\":%zu", srv_http_pending(service->http));
}

/* Left to itself the C library learns from every large block that is freed to keep larger ones, until a daemon that
 * once had large requests holds hundreds of megabytes for ever. */
static void give_memory_back(void)
{
    enum { LARGE = 1 << 20 };
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, 4 * LARGE);
    mallopt(M_ARENA_MAX, 1); /* malloc_trim leaves the end of every other arena where it is */
}

static int serve(struct daemon *daemon)
{
    struct efm_error error = {0};
    const sigset_t signals = ending_signals();
    int signal_number;
    // Blocked before the first thread is made, so that all inherit it.
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    give_memory_back();
    enum efm_status status = create(daemon, &error);
    if (status == EFM_OK) {
        log_start(daemon);
        sigwait(&signals, &signal_number);
        quit_on_next_signal();
        drain(daemon);
    } else {
        fprintf(stderr, "efmd: %s\n", error.message);
    }
    destroy(daemon);
    return status == EFM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argument_count, char **arguments)
{
    static struct daemon daemon;
    struct efm_error error = {0};
    enum srv_config_action action;
    if (argument_count > 1 && strcmp(arguments[1], "train") == 0)
        return srv_train_command(argument_count - 2, arguments + 2);
    if (srv_config_read(&daemon.config, &action, argument_count, arguments, environ, &error) != EFM_OK) {
        fprintf(stderr, "efmd: %s\n", error.message);
        return EXIT_BAD_OPTION;
    }
    daemon.service.config = &daemon.config;
    return action == SRV_CONFIG_RUN ? serve(&daemon) : act(&daemon.config, action);
}
