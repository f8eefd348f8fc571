/* config.h - every option of the daemon in one table: flag > environment EFM_... > file > default.
 * Threads: filled once in main, then only read. */
#ifndef SRV_CONFIG_H
#define SRV_CONFIG_H

#include "core/base/buffer.h"
#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

/* kind, member, flag (environment: EFM_ + upper case, '-' becomes '_'), default, low, high, help.
 * TEXT: char[256]; COUNT: uint64_t; SIZE: uint64_t bytes, with suffixes K M G (powers of 1024); SECONDS:
 * double. */
#define SRV_CONFIG_MAP(X)                                                                                    \
    X(TEXT, listen, "listen", "127.0.0.1:8080", 0, 0, "address:port to listen on; port 0 takes a free one")  \
    X(TEXT, state_dir, "state-dir", "", 0, 0,                                                                \
      "directory that keeps datasets and models; empty: memory only")                                        \
    X(TEXT, port_file, "port-file", "", 0, 0, "file that has the port while the daemon listens")             \
    X(TEXT, log_level, "log-level", "info", 0, 0, "debug, info, warning or error")                           \
    X(TEXT, access_log, "access-log", "on", 0, 0,                                                            \
      "lines of requests in the log: on (all), work (all but health and metrics), errors (400 and more), "   \
      "off")                                                                                                 \
    X(COUNT, workers, "workers", "0", 0, 64, "compute workers; 0: one for each --threads cores")             \
    X(COUNT, threads, "threads", "0", 0, 64, "threads of each worker; 0: all cores for one worker")          \
    X(COUNT, helpers, "helpers", "2", 1, 32, "threads that decode and encode")                               \
    X(COUNT, event_threads, "event-threads", "1", 1, 16, "threads that serve connections")                   \
    X(COUNT, batch, "batch", "64", 1, 1024, "field lines in one evaluation")                                 \
    X(TEXT, precision, "precision", "auto", 0, 0,                                                            \
      "what learned models run in: auto (as fast as this processor can), f32 or bf16")                       \
    X(COUNT, queue, "queue", "256", 1, 100000, "requests admitted and not finished")                         \
    X(SIZE, queue_bytes, "queue-bytes", "1G", 1 << 20, 1ull << 42,                                           \
      "memory reserved by admitted requests; by default an eighth of all memory at most")                    \
    X(COUNT, max_images, "max-images", "64", 1, 4096, "results of one request")                              \
    X(COUNT, max_side, "max-side", "8192", 16, 65535, "pixels along a side of an uploaded image")            \
    X(COUNT, max_pixels, "max-pixels", "16777216", 256, 1ull << 32, "pixels of an uploaded image")           \
    X(SIZE, max_body, "max-body", "1G", 1024, 1ull << 40,                                                    \
      "bytes of an uploaded model (a dataset: --dataset-quota); by default an eighth of all memory at most") \
    X(SIZE, max_image_body, "max-image-body", "64M", 1024, 1ull << 40, "bytes of a transfer request")        \
    X(SIZE, memory_budget, "memory-budget", "8G", 1 << 20, 1ull << 44,                                       \
      "memory of loaded models; the least recently used leave it; by default half of all memory at most")    \
    X(SIZE, dataset_quota, "dataset-quota", "64G", 1 << 20, 1ull << 50, "bytes of stored datasets")          \
    X(COUNT, max_models, "max-models", "256", 1, 100000, "models kept")                                      \
    X(COUNT, max_datasets, "max-datasets", "256", 1, 100000, "datasets kept")                                \
    X(SIZE, train_memory, "train-memory", "8G", 1 << 20, 1ull << 44,                                         \
      "bytes that a training may take beside its datasets")                                                  \
    X(COUNT, train_threads, "train-threads", "0", 0, 64,                                                     \
      "threads of a training; 0: all cores, at low priority")                                                \
    X(SECONDS, checkpoint_seconds, "checkpoint-seconds", "60", 0.01, 86400,                                  \
      "between checkpoints of a training")                                                                   \
    X(TEXT, replica, "replica", "", 0, 0,                                                                    \
      "name of this daemon in the leases of its jobs; empty: the host's")                                    \
    X(COUNT, max_waiting_jobs, "max-waiting-jobs", "64", 1, 100000, "jobs that are queued")                  \
    X(COUNT, max_jobs, "max-jobs", "1000", 1, 1000000, "finished jobs that are kept; the oldest leave")      \
    X(SECONDS, job_ttl, "job-ttl", "86400", 1, 31536000, "seconds that a finished job is kept")              \
    X(TEXT, fetch_allow, "fetch-allow", "", 0, 0,                                                            \
      "prefixes of URLs that datasets may come from, with spaces between; empty: none")                      \
    X(SIZE, fetch_limit, "fetch-limit", "4G", 1024, 1ull << 44, "bytes of a dataset that is fetched")        \
    X(TEXT, webhook_allow, "webhook-allow", "", 0, 0,                                                        \
      "prefixes of URLs that webhooks may go to; empty: none")                                               \
    X(TEXT, webhook_secret_file, "webhook-secret-file", "", 0, 0,                                            \
      "file with the secret that signs webhooks: whsec_ and base64; one is made in the state directory "     \
      "otherwise")                                                                                           \
    X(TEXT, allow_private, "allow-private", "", 0, 0,                                                        \
      "private networks that fetches and webhooks may go to, as 10.1.0.0/16, with spaces between")           \
    X(TEXT, api_keys_file, "api-keys-file", "", 0, 0,                                                        \
      "file of API keys, a line each: NAME SCOPES KEY [YYYY-MM-DD]; empty: nobody is asked for one")         \
    X(TEXT, admin, "admin", "auto", 0, 0,                                                                    \
      "without keys: auto lets a server on loopback alone be changed, open any")                             \
    X(TEXT, allow_host, "allow-host", "", 0, 0,                                                              \
      "names that the server may be asked under, with spaces between, beside localhost and addresses; "      \
      "empty: any, or no others on loopback")                                                                \
    X(TEXT, cors_origin, "cors-origin", "", 0, 0,                                                            \
      "origins of pages that may ask, as https://example.org, or *; empty: none")                            \
    X(COUNT, client_requests, "client-requests", "0", 0, 100000,                                             \
      "requests of one client (key, or address) under way at once; 0: no limit of its own")                  \
    X(TEXT, tls_cert, "tls-cert", "", 0, 0, "file with the certificate (PEM, with its chain): HTTPS")        \
    X(TEXT, tls_key, "tls-key", "", 0, 0, "file with the key of that certificate (PEM)")                     \
    X(COUNT, connections, "connections", "2048", 1, 100000, "open connections")                              \
    X(SECONDS, idle_timeout, "idle-timeout", "60", 1, 3600,                                                  \
      "seconds without a byte before a connection closes")                                                   \
    X(SECONDS, header_timeout, "header-timeout", "20", 0.1, 3600,                                            \
      "seconds for the headers of a request to arrive")                                                      \
    X(SECONDS, body_timeout, "body-timeout", "120", 1, 86400, "seconds for a whole request to arrive")       \
    X(SECONDS, timeout, "timeout", "300", 0.001, 86400, "seconds for a request, when it names none")         \
    X(SECONDS, max_timeout, "max-timeout", "86400", 0.001, 86400,                                            \
      "seconds that a request may name as its timeout")                                                      \
    X(SECONDS, drain_delay, "drain-delay", "0", 0, 600, "seconds to keep accepting after SIGTERM")           \
    X(SECONDS, shutdown_timeout, "shutdown-timeout", "30", 0, 3600, "seconds to finish requests after that")

#define SRV_CONFIG_TYPE_TEXT(name) char name[256]
#define SRV_CONFIG_TYPE_COUNT(name) uint64_t name
#define SRV_CONFIG_TYPE_SIZE(name) uint64_t name
#define SRV_CONFIG_TYPE_SECONDS(name) double name

struct srv_config {
#define SRV_CONFIG_MEMBER(kind, member, flag, fallback, low, high, help) SRV_CONFIG_TYPE_##kind(member);
    SRV_CONFIG_MAP(SRV_CONFIG_MEMBER)
#undef SRV_CONFIG_MEMBER
};

enum srv_config_action {
    SRV_CONFIG_RUN,
    SRV_CONFIG_VERSION,
    SRV_CONFIG_HELP,
    SRV_CONFIG_PRINT,
    SRV_CONFIG_CHECK
};

/* Reads defaults, then --config FILE or EFM_CONFIG ("name = value" lines, '#' comments), then `environment`
 * (as environ; unknown EFM_ names are refused, but for the addresses of Services that Kubernetes sets), then the arguments ("--name value" or "--name=value").
 * EFM_E_ARGUMENT with a message that names the option and where it stood. */
EFM_MUST_CHECK enum efm_status srv_config_read(struct srv_config *config, enum srv_config_action *action,
                                               int argument_count, char *const *arguments,
                                               char *const *environment, struct efm_error *error);

enum { SRV_CONFIG_ADDRESS = 64 };

/* Splits `listen` into the address, without brackets, and the port. */
EFM_MUST_CHECK enum efm_status srv_config_listen(const struct srv_config *config,
                                                 char address[SRV_CONFIG_ADDRESS], uint16_t *port,
                                                 struct efm_error *error);

/* One "name = value" line an option; what --print-config shows, and readable by --config. */
void srv_config_render(const struct srv_config *config, struct efm_buffer *out);
void srv_config_render_help(struct efm_buffer *out);

/* Cores this process may use: affinity and the cgroup's CPU quota, at least 1. */
unsigned srv_config_cores(void);

/* Bytes of memory this process may use: the cgroup's limit, else what the machine has. */
uint64_t srv_config_memory(void);

/* Lowers the options of memory to shares of `memory` bytes: half of it for models, an eighth for the queue, an eighth for a body. */
void srv_config_follow_memory(struct srv_config *config, uint64_t memory);

#endif
