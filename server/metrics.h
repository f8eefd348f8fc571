/* metrics.h - counters, gauges and histograms in the Prometheus text format (0.0.4).
 *
 *     srv_metrics_add(metrics, SRV_M_HTTP_REQUESTS, 1, "method=\"%s\",route=\"%s\",code=\"%d\"", ...);
 *
 * A series is born at its first use and lives for ever; a family holds at most SRV_METRICS_SERIES, so labels
 * are routes, codes, models and reasons, never ids. Threads: any. */
#ifndef SRV_METRICS_H
#define SRV_METRICS_H

#include "core/base/buffer.h"
#include "core/base/status.h"

#include <stddef.h>

enum { SRV_METRICS_SERIES = 256 };

/* symbol, kind, name, help, buckets (a list from metrics.c; 0 for none) */
#define SRV_METRICS_MAP(X)                                                                                   \
    X(SRV_M_BUILD_INFO, GAUGE, "efm_build_info", "Version and libraries of this build, always 1", NONE)      \
    X(SRV_M_HTTP_REQUESTS, COUNTER, "efm_http_requests_total", "Answered HTTP requests", NONE)               \
    X(SRV_M_HTTP_SECONDS, HISTOGRAM, "efm_http_request_duration_seconds", "From first byte to answer",       \
      SECONDS)                                                                                               \
    X(SRV_M_HTTP_IN_FLIGHT, GAUGE, "efm_http_requests_in_flight", "Requests being received or worked on",    \
      NONE)                                                                                                  \
    X(SRV_M_HTTP_CONNECTIONS, GAUGE, "efm_http_connections", "Open connections", NONE)                       \
    X(SRV_M_HTTP_CONNECTIONS_MOST, GAUGE, "efm_http_connections_limit", "Connections that are open at most", \
      NONE)                                                                                                  \
    X(SRV_M_READY, GAUGE, "efm_ready", "1 while new requests are taken, 0 from the signal to stop on", NONE) \
    X(SRV_M_PROBLEMS, COUNTER, "efm_problems_total", "Requests answered with a problem, by its code", NONE)  \
    X(SRV_M_KEY_EXPIRY, GAUGE, "efm_api_key_expiry_timestamp_seconds", "When the next API key expires",      \
      NONE)                                                                                                  \
    X(SRV_M_TLS_EXPIRY, GAUGE, "efm_tls_certificate_expiry_timestamp_seconds",                               \
      "When the certificate expires", NONE)                                                                  \
    X(SRV_M_BODY_BYTES, GAUGE, "efm_body_bytes", "Memory of request bodies that are arriving", NONE)         \
    X(SRV_M_QUEUE_REQUESTS, GAUGE, "efm_queue_requests", "Admitted requests that are not finished", NONE)    \
    X(SRV_M_ASIDE_REQUESTS, GAUGE, "efm_aside_requests",                                                     \
      "Requests beside the queue that are not finished: of jobs, uploads, looks at what is kept", NONE)      \
    X(SRV_M_QUEUE_BYTES, GAUGE, "efm_queue_bytes", "Memory reserved by admitted requests", NONE)             \
    X(SRV_M_QUEUE_CAPACITY, GAUGE, "efm_queue_capacity", "Requests that are admitted at most", NONE)         \
    X(SRV_M_QUEUE_BYTES_MOST, GAUGE, "efm_queue_capacity_bytes",                                             \
      "Memory that admitted requests may reserve", NONE)                                                     \
    X(SRV_M_QUEUE_SECONDS, HISTOGRAM, "efm_queue_wait_seconds", "From admission to the first evaluation",    \
      SECONDS)                                                                                               \
    X(SRV_M_REJECTED, COUNTER, "efm_rejected_total", "Requests refused, by reason", NONE)                    \
    X(SRV_M_CANCELLED, COUNTER, "efm_cancelled_total", "Requests given up, by reason", NONE)                 \
    X(SRV_M_LINES, GAUGE, "efm_lines_in_flight", "Field lines being followed", NONE)                         \
    X(SRV_M_LINES_CANCELLED, COUNTER, "efm_lines_cancelled_total",                                           \
      "Field lines withdrawn before they landed", NONE)                                                      \
    X(SRV_M_LINES_ENDED, COUNTER, "efm_lines_total", "Field lines that ended, by model and state", NONE)     \
    X(SRV_M_LATE_EVALUATIONS, COUNTER, "efm_late_evaluations_total",                                         \
      "Evaluations done for a request after its cancellation was known", NONE)                               \
    X(SRV_M_BATCH, HISTOGRAM, "efm_batch_images", "Lines in one evaluation", BATCH)                          \
    X(SRV_M_STEP_SECONDS, HISTOGRAM, "efm_step_seconds", "One evaluation of a batch", SHORT)                 \
    X(SRV_M_IMAGES, COUNTER, "efm_images_total", "Results delivered, by model and operation", NONE)          \
    X(SRV_M_EVALUATIONS, COUNTER, "efm_function_evaluations_total", "Field evaluations, by model", NONE)     \
    X(SRV_M_MODEL_LOADED, GAUGE, "efm_model_loaded", "1 for each model in memory", NONE)                     \
    X(SRV_M_MODEL_BYTES, GAUGE, "efm_model_memory_bytes", "Memory of each model", NONE)                      \
    X(SRV_M_MODELS_BYTES, GAUGE, "efm_models_memory_bytes",                                                  \
      "Memory that counts against the budget of models", NONE)                                               \
    X(SRV_M_MODELS_BUDGET, GAUGE, "efm_models_memory_budget_bytes", "Memory that models may take", NONE)     \
    X(SRV_M_MODEL_LOADS, COUNTER, "efm_model_loads_total", "Models brought into memory, by outcome", NONE)   \
    X(SRV_M_MODEL_LOAD_SECONDS, HISTOGRAM, "efm_model_load_seconds", "From file to warm model", SECONDS)     \
    X(SRV_M_MODEL_UNLOADS, COUNTER, "efm_model_unloads_total", "Models that left memory, by reason", NONE)   \
    X(SRV_M_DATASETS, GAUGE, "efm_datasets", "Datasets kept", NONE)                                          \
    X(SRV_M_DATASET_BYTES, GAUGE, "efm_dataset_bytes", "Bytes of stored datasets", NONE)                     \
    X(SRV_M_DATASET_QUOTA, GAUGE, "efm_dataset_quota_bytes", "Bytes that stored datasets may take", NONE)    \
    X(SRV_M_JOBS, GAUGE, "efm_jobs", "Jobs kept, by kind and state", NONE)                                   \
    X(SRV_M_JOBS_ENDED, COUNTER, "efm_jobs_ended_total", "Jobs that ended, by kind and state", NONE)         \
    X(SRV_M_TRAIN_STEPS, COUNTER, "efm_train_steps_total", "Training steps made", NONE)                      \
    X(SRV_M_TRAIN_LOSS, GAUGE, "efm_train_loss", "Loss of the training that runs", NONE)                     \
    X(SRV_M_TRAIN_CHECKPOINTS, COUNTER, "efm_train_checkpoints_total", "Checkpoints, by outcome", NONE)      \
    X(SRV_M_WEBHOOKS, COUNTER, "efm_webhook_deliveries_total", "Attempts to deliver webhooks, by outcome",   \
      NONE)                                                                                                  \
    X(SRV_M_FETCHED, COUNTER, "efm_fetched_bytes_total", "Bytes of datasets fetched from URLs", NONE)        \
    X(SRV_M_STREAMS, GAUGE, "efm_event_streams", "Clients that follow the events of a job", NONE)

enum srv_metric {
#define SRV_METRICS_ENUM(symbol, kind, name, help, buckets) symbol,
    SRV_METRICS_MAP(SRV_METRICS_ENUM)
#undef SRV_METRICS_ENUM
        SRV_M_COUNT
};

struct srv_metrics;

EFM_MUST_CHECK enum efm_status srv_metrics_create(struct srv_metrics **metrics, struct efm_error *error);
void srv_metrics_destroy(struct srv_metrics *metrics);

/* Counters and gauges: adds `value` (gauges may fall). `labels` is a printf format, "" for none; label values
 * that come from outside must be names that passed api_name_valid. Lost silently when the family is full. */
void srv_metrics_add(struct srv_metrics *metrics, enum srv_metric metric, double value, const char *labels,
                     ...) EFM_PRINTF(4, 5);
void srv_metrics_set(struct srv_metrics *metrics, enum srv_metric metric, double value, const char *labels,
                     ...) EFM_PRINTF(4, 5);
/* Histograms. */
void srv_metrics_observe(struct srv_metrics *metrics, enum srv_metric metric, double value,
                         const char *labels, ...) EFM_PRINTF(4, 5);
/* Removes one series (a model that is gone). */
void srv_metrics_remove(struct srv_metrics *metrics, enum srv_metric metric, const char *labels, ...)
    EFM_PRINTF(3, 4);

/* Everything, and process_{resident_memory_bytes,cpu_seconds_total,open_fds,start_time_seconds}. */
void srv_metrics_render(struct srv_metrics *metrics, struct efm_buffer *out);

#endif
