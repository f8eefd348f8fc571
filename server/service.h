/* service.h - what every endpoint can reach: the parts of the running daemon, made by main.c and borrowed
 * by all others. Threads: the struct is filled before the first request and then only read. */
#ifndef SRV_SERVICE_H
#define SRV_SERVICE_H

#include "api/transfer.h"

struct srv_config;
struct srv_log;
struct srv_metrics;
struct srv_registry;
struct srv_scheduler;
struct srv_http;
struct srv_openapi;
struct srv_store;
struct srv_blobs;
struct srv_jobs;
struct srv_hub;
struct srv_previews;
struct srv_outbound;
struct srv_guard;

struct srv_service {
    const struct srv_config *config;
    struct srv_log *log;
    struct srv_metrics *metrics;
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_registry *registry;
    struct srv_jobs *jobs;
    struct srv_hub *hub;
    struct srv_previews *previews;
    struct srv_outbound *fetches,
        *webhook_calls; /* what addresses are gone to, for datasets and for webhooks */
    struct srv_scheduler *scheduler;
    struct srv_guard *guard;
    struct srv_http *http;
    struct srv_openapi *openapi;
    struct api_limits limits;
};

#endif
