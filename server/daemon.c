// SPDX-License-Identifier: Apache-2.0
#include "server/daemon.h"

#include "core/net/net.h"
#include "server/build.h"
#include "server/clock.h"
#include "server/cores.h"
#include "server/endpoints/openapi_document.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"
#include "server/http/guard.h"
#include "server/http/http.h"
#include "server/http/tls.h"
#include "server/jobs/hub.h"
#include "server/jobs/janitor.h"
#include "server/jobs/jobs.h"
#include "server/jobs/outbound.h"
#include "server/jobs/previews.h"
#include "server/jobs/request_runner.h"
#include "server/jobs/train_worker.h"
#include "server/jobs/webhooks.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/store/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Descriptors beside those of connections: the store, event loops, logs. */
enum { OTHER_FILES = 128 };

/* Requests answered later that run at once, clients that wait for jobs, seconds between two rounds of the janitor. */
enum { PARALLEL_REQUESTS = 8, WAITING_CLIENTS = 1024, JANITOR_SECONDS = 5 };

/* ---- what the options say ---- */

/* Every connection needs a descriptor; the soft limit is often 1024 for the sake of select(). */
static void raise_file_limit(const struct srv_daemon *daemon)
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

static void share_cores(struct srv_daemon *daemon)
{
    const unsigned cores = srv_config_cores();
    daemon->workers = (unsigned)daemon->config.workers;
    daemon->threads = (unsigned)daemon->config.threads;
    srv_cores_share(cores, &daemon->workers, &daemon->threads);
    // what is shown to clients is what runs
    daemon->config.workers = daemon->workers;
    daemon->config.threads = daemon->threads;
    if (daemon->config.train_threads == 0)
        daemon->config.train_threads = cores;
}

static void set_limits(struct srv_daemon *daemon)
{
    struct api_limits *limits = &daemon->service.limits;
    *limits = api_limits_default();
    limits->max_images = daemon->config.max_images;
    limits->image.max_side = (uint32_t)daemon->config.max_side;
    limits->image.max_pixels = daemon->config.max_pixels;
}

static void set_replica(struct srv_daemon *daemon)
{
    char host[sizeof daemon->replica] = "efmd";
    if (daemon->config.replica[0] != '\0')
        snprintf(host, sizeof host, "%.63s", daemon->config.replica);
    else if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "efmd");
    host[sizeof host - 1] = '\0';
    snprintf(daemon->replica, sizeof daemon->replica, "%s", host);
}

static const char *state_dir(const struct srv_daemon *daemon)
{
    return daemon->config.state_dir[0] == '\0' ? NULL : daemon->config.state_dir;
}

static enum efm_status join_path(char out[PATH_MAX], const char *folder, const char *name,
                                 struct efm_error *error)
{
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return efm_error_set(error, EFM_E_IO, "the path of the state directory is too long");
    return EFM_OK;
}

/* ---- the parts, in order ---- */

static enum efm_status create_log(struct srv_daemon *daemon, struct efm_error *error)
{
    enum srv_log_level level;
    if (!srv_log_level_parse(daemon->config.log_level, &level))
        level = SRV_LOG_INFO; // refused when the options were read
    return srv_log_create(&daemon->service.log, level, STDERR_FILENO, error);
}

static enum efm_status create_base(struct srv_daemon *daemon, struct efm_error *error)
{
    struct srv_build build;
    enum efm_status status = create_log(daemon, error);
    if (status != EFM_OK)
        return status;
    srv_build_read(&build);
    srv_log(daemon->service.log, SRV_LOG_INFO, "starting", "\"version\":\"%s\"", build.version);
    raise_file_limit(daemon);
    share_cores(daemon);
    set_limits(daemon);
    set_replica(daemon);
    status = srv_openapi_create(&daemon->service.openapi, daemon->config.api_keys_file[0] != '\0', error);
    if (status == EFM_OK)
        status = srv_metrics_create(&daemon->service.metrics, error);
    if (status == EFM_OK)
        srv_metrics_set(
            daemon->service.metrics, SRV_M_BUILD_INFO, 1,
            "version=\"%s\",libmicrohttpd=\"%s\",jansson=\"%s\",onednn=\"%s\",instruction_set=\"%s\","
            "kernels=\"%s\",processor=\"%s\"",
            build.version, srv_http_library(), jansson_version_str(), build.onednn, build.instruction_set,
            build.kernels, build.processor);
    return status;
}

static enum efm_status open_state(struct srv_daemon *daemon, struct efm_error *error)
{
    const char *directory = state_dir(daemon);
    char path[PATH_MAX];
    int folder = -1;
    if (directory == NULL) {
        enum efm_status status = srv_store_open_sqlite(&daemon->service.store, NULL, error);
        return status == EFM_OK ? srv_blobs_open_memory(&daemon->service.blobs, error) : status;
    }
    enum efm_status status = srv_storage_folder(directory, &folder, error);
    if (status != EFM_OK)
        return status;
    close(folder);
    status = srv_storage_lock(directory, &daemon->state_lock, error);
    if (status == EFM_OK)
        status = join_path(path, directory, "records.sqlite", error);
    if (status == EFM_OK)
        status = srv_store_open_sqlite(&daemon->service.store, path, error);
    if (status == EFM_OK)
        status = join_path(path, directory, "blobs", error);
    return status == EFM_OK ? srv_blobs_open_files(&daemon->service.blobs, path, error) : status;
}

static enum efm_status create_registry(struct srv_daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    enum efm_precision precision = EFM_PRECISION_AUTO;
    if (efm_precision_parse(config->precision, &precision) != EFM_OK)
        precision = EFM_PRECISION_AUTO; // refused when the options were read
    enum efm_status status = efm_precision_resolve(&precision, error);
    if (status != EFM_OK)
        return status;
    const struct srv_registry_options options = {
        .store = daemon->service.store,
        .blobs = daemon->service.blobs,
        .adopt = state_dir(daemon),
        .scratch = state_dir(daemon),
        .max_models = config->max_models,
        .max_datasets = config->max_datasets,
        .memory_budget = config->memory_budget,
        .dataset_quota = config->dataset_quota,
        .image_limits = daemon->service.limits.image,
        .precision = precision,
        .workers = daemon->workers,
        .threads_per_worker = daemon->threads,
        .batch = config->batch,
    };
    return srv_registry_create(&daemon->service.registry, &options, daemon->service.metrics,
                               daemon->service.log, error);
}

static enum efm_status create_scheduler(struct srv_daemon *daemon, struct efm_error *error)
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

static enum efm_status create_outbound(struct srv_daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    struct srv_outbound_options options = {config->fetch_allow, config->allow_private};
    enum efm_status status = srv_outbound_create(&daemon->service.fetches, &options, error);
    if (status != EFM_OK)
        return status;
    options.allowed = config->webhook_allow;
    return srv_outbound_create(&daemon->service.webhook_calls, &options, error);
}

static enum efm_status create_jobs(struct srv_daemon *daemon, struct efm_error *error)
{
    const struct srv_config *config = &daemon->config;
    struct srv_service *service = &daemon->service;
    const struct srv_jobs_options options = {
        .store = service->store,
        .blobs = service->blobs,
        .replica = daemon->replica,
        .max_waiting = config->max_waiting_jobs,
        .max_finished = config->max_jobs,
        .ttl = config->job_ttl,
    };
    enum efm_status status = srv_jobs_create(&service->jobs, &options, service->metrics, service->log, error);
    if (status == EFM_OK)
        status = srv_hub_create(&service->hub, service->jobs, WAITING_CLIENTS, service->metrics, service->log,
                                error);
    return status == EFM_OK ? srv_previews_create(&service->previews, error) : status;
}

static enum efm_status create_webhooks(struct srv_daemon *daemon, struct efm_error *error)
{
    struct srv_service *service = &daemon->service;
    struct srv_webhooks_options options = {
        .store = service->store,
        .jobs = service->jobs,
        .outbound = service->webhook_calls,
        .replica = daemon->replica,
    };
    enum efm_status status = srv_webhook_secret_read(&options.secret, daemon->config.webhook_secret_file,
                                                     state_dir(daemon), error);
    if (status == EFM_OK)
        status = srv_webhooks_create(&daemon->webhooks, &options, service->metrics, service->log, error);
    explicit_bzero(&options.secret, sizeof options.secret);
    return status;
}

static enum efm_status create_workers(struct srv_daemon *daemon, struct efm_error *error)
{
    struct srv_service *service = &daemon->service;
    const struct srv_train_worker_options options = {
        .service = service,
        .threads = daemon->config.train_threads,
        .memory = daemon->config.train_memory,
        .checkpoint_seconds = daemon->config.checkpoint_seconds,
    };
    enum efm_status status = srv_train_worker_create(&daemon->train_worker, &options, error);
    if (status == EFM_OK)
        status = srv_request_runner_create(&daemon->request_runner, service, PARALLEL_REQUESTS, error);
    if (status == EFM_OK)
        status = srv_janitor_create(&daemon->janitor, service->jobs, JANITOR_SECONDS, error);
    return status;
}

static void on_job_changed(void *context, const char *id)
{
    struct srv_daemon *daemon = context;
    srv_hub_notify(daemon->service.hub, id);
    srv_train_worker_notice(daemon->train_worker, id);
    srv_request_runner_notice(daemon->request_runner, id);
    srv_webhooks_wake(daemon->webhooks);
}

static void on_job_submitted(void *context, const char *group)
{
    struct srv_daemon *daemon = context;
    if (strcmp(group, "train") == 0)
        srv_train_worker_wake(daemon->train_worker);
    else
        srv_request_runner_wake(daemon->request_runner);
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static enum efm_status make_guard(struct srv_guard **guard, const struct srv_config *config,
                                  struct srv_log *log, struct efm_error *error)
{
    char address[SRV_CONFIG_ADDRESS];
    uint16_t port;
    enum efm_status status = srv_config_listen(config, address, &port, error);
    if (status != EFM_OK)
        return status;
    const struct srv_guard_options options = {
        .keys_file = config->api_keys_file,
        .hosts = config->allow_host,
        .origins = config->cors_origin,
        .loopback = is_loopback(address),
        .admin_open = strcmp(config->admin, "open") == 0,
        .client_requests = config->client_requests,
        .log = log,
    };
    return srv_guard_create(guard, &options, error);
}

static enum efm_status create_guard(struct srv_daemon *daemon, struct efm_error *error)
{
    return make_guard(&daemon->service.guard, &daemon->config, daemon->service.log, error);
}

static enum efm_status read_tls(struct srv_tls *tls, const struct srv_config *config, struct efm_error *error)
{
    return config->tls_cert[0] == '\0' ? EFM_OK : srv_tls_read(tls, config->tls_cert, config->tls_key, error);
}

enum efm_status srv_daemon_check(const struct srv_config *config, struct efm_error *error)
{
    struct srv_guard *guard = NULL;
    struct srv_tls tls = {0};
    enum efm_status status = make_guard(&guard, config, NULL, error);
    if (status == EFM_OK)
        status = read_tls(&tls, config, error);
    srv_tls_release(&tls);
    srv_guard_destroy(guard);
    return status;
}

/* 0 is no port. */
static bool names_port(const char *path, uint16_t port)
{
    char text[16] = "";
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    const ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return port != 0 && got > 0 && strtoul(text, NULL, 10) == port;
}

static enum efm_status create_http(struct srv_daemon *daemon, struct efm_error *error)
{
    struct srv_tls tls = {0};
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
        .header_timeout = config->header_timeout,
        .body_timeout = config->body_timeout,
        .event_threads = (unsigned)config->event_threads,
        .guard = daemon->service.guard,
        .tls = config->tls_cert[0] == '\0' ? NULL : &tls,
        // one upload of the largest size, and the bodies of a full queue beside it
        .max_buffered = config->max_body + config->queue_bytes,
    };
    enum efm_status status = srv_config_listen(config, address, &options.port, error);
    if (status == EFM_OK && !srv_access_log_parse(config->access_log, &options.access_log))
        status = efm_error_set(error, EFM_E_ARGUMENT, "option --access-log is no such word");
    if (status == EFM_OK)
        status = read_tls(&tls, config, error);
    // Of a daemon that was killed it names a port that is not open. One with the port of this one may be running.
    if (config->port_file[0] != '\0' && !names_port(config->port_file, options.port))
        unlink(config->port_file);
    if (status == EFM_OK)
        status = srv_http_create(&daemon->service.http, &options, &daemon->service, error);
    srv_tls_release(&tls);
    return status;
}

static enum efm_status begin_restoring(struct srv_daemon *daemon, struct efm_error *error)
{
    return srv_registry_restore_later(daemon->service.registry, error);
}

/* The port as text, there in one moment: a reader sees no half of it. */
static enum efm_status write_port_file(struct srv_daemon *daemon, struct efm_error *error)
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
    daemon->has_port_file = written && rename(temporary, path) == 0;
    if (daemon->has_port_file)
        return EFM_OK;
    return efm_error_set(error, EFM_E_IO, "the port file %.150s cannot be written: %s", path,
                         strerror(errno));
}

enum efm_status srv_daemon_create(struct srv_daemon *daemon, struct efm_error *error)
{
    /* Workers come before the first request, which may wake them; a job that was left begins while the port opens. */
    static enum efm_status (*const parts[])(struct srv_daemon *, struct efm_error *) = {
        create_base,     open_state,   create_registry, create_scheduler, create_outbound, create_jobs,
        create_webhooks, create_guard, create_http,     begin_restoring,  create_workers,
    };
    daemon->service.config = &daemon->config;
    daemon->state_lock = -1;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        enum efm_status status = parts[i](daemon, error);
        if (status != EFM_OK)
            return status;
    }
    const struct srv_jobs_listener listener = {daemon, on_job_changed, on_job_submitted};
    srv_jobs_listen(daemon->service.jobs, &listener);
    // what was submitted before anybody listened
    srv_train_worker_wake(daemon->train_worker);
    srv_request_runner_wake(daemon->request_runner);
    return write_port_file(daemon, error);
}

bool srv_daemon_ready(const struct srv_daemon *daemon)
{
    return !srv_registry_restoring(daemon->service.registry);
}

void srv_daemon_feel_pulse(struct srv_daemon *daemon)
{
    (void)srv_scheduler_quota(daemon->service.scheduler);
}

/* ---- the end ---- */

static void pause_for(double seconds)
{
    const struct timespec time = srv_clock_moment(seconds);
    nanosleep(&time, NULL);
}

void srv_daemon_drain(struct srv_daemon *daemon)
{
    struct srv_service *service = &daemon->service;
    srv_log(service->log, SRV_LOG_INFO, "draining", "\"pending\":%zu", srv_http_pending(service->http));
    srv_registry_stop_restoring(service->registry);
    srv_http_announce_drain(service->http);
    pause_for(daemon->config.drain_delay);
    srv_http_drain(service->http);
    srv_train_worker_stop(daemon->train_worker);
    srv_request_runner_stop(daemon->request_runner, false);
    srv_hub_drain(service->hub);
    const double until = srv_clock() + daemon->config.shutdown_timeout;
    while (srv_http_pending(service->http) + srv_scheduler_load(service->scheduler) > 0 &&
           srv_clock() < until)
        pause_for(0.02);
    // a second more than was asked for is worth an answer to who came last
    srv_http_close_door(service->http, fmax(until - srv_clock(), 1));
    srv_log(service->log, SRV_LOG_INFO, "stopping", "\"cancelled\":%zu", srv_http_pending(service->http));
}

void srv_daemon_destroy(struct srv_daemon *daemon)
{
    struct srv_service *service = &daemon->service;
    // another daemon may have written its own into it
    if (daemon->has_port_file && names_port(daemon->config.port_file, srv_http_port(service->http)))
        unlink(daemon->config.port_file);
    if (service->registry != NULL) // changes wait for it
        srv_registry_stop_restoring(service->registry);
    // The scheduler still runs while the server and kept requests wait for their answers.
    if (service->scheduler != NULL)
        srv_scheduler_drain(service->scheduler);
    if (daemon->train_worker != NULL)
        srv_train_worker_stop(daemon->train_worker);
    if (daemon->request_runner != NULL)
        srv_request_runner_stop(daemon->request_runner, true);
    if (service->hub != NULL)
        srv_hub_drain(service->hub);
    if (service->jobs != NULL) // those who listen go one after the other
        srv_jobs_listen(service->jobs, NULL);
    srv_janitor_destroy(daemon->janitor);
    srv_request_runner_destroy(daemon->request_runner);
    srv_train_worker_destroy(daemon->train_worker);
    srv_http_destroy(service->http);
    srv_guard_destroy(service->guard);
    srv_webhooks_destroy(daemon->webhooks);
    if (service->scheduler != NULL)
        srv_scheduler_destroy(service->scheduler);
    srv_hub_destroy(service->hub);
    srv_previews_destroy(service->previews);
    srv_jobs_destroy(service->jobs);
    srv_outbound_destroy(service->webhook_calls);
    srv_outbound_destroy(service->fetches);
    srv_registry_destroy(service->registry);
    srv_blobs_close(service->blobs);
    srv_store_close(service->store);
    if (daemon->state_lock >= 0)
        close(daemon->state_lock);
    srv_openapi_destroy(service->openapi);
    srv_metrics_destroy(service->metrics);
    srv_log_destroy(service->log);
}
