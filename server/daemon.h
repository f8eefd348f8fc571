/* daemon.h - all parts of the running daemon, made in order, ended in reverse order.
 *
 *     struct srv_daemon daemon = {.config = ...};
 *     if (srv_daemon_create(&daemon, &error) == EFM_OK) {
 *         ...                       it serves
 *         srv_daemon_drain(&daemon);
 *     }
 *     srv_daemon_destroy(&daemon);
 *
 * Threads: one; signals are blocked before create, so that every thread inherits it. */
#ifndef SRV_DAEMON_H
#define SRV_DAEMON_H

#include "server/config.h"
#include "server/service.h"

struct srv_webhooks;
struct srv_train_worker;
struct srv_request_runner;
struct srv_janitor;

struct srv_daemon {
    struct srv_config config; /* filled by the caller */
    struct srv_service service;
    struct srv_webhooks *webhooks;
    struct srv_train_worker *train_worker;
    struct srv_request_runner *request_runner;
    struct srv_janitor *janitor;
    bool has_port_file;
    int state_lock; /* open while the state directory is ours; -1 */
    char replica[65];
    unsigned workers, threads;
};

/* Reads the files that options name, as create would: --check-config. */
EFM_MUST_CHECK enum efm_status srv_daemon_check(const struct srv_config *config, struct efm_error *error);

/* Makes all parts and listens; models are restored while requests are served. On failure destroy frees what was made. */
EFM_MUST_CHECK enum efm_status srv_daemon_create(struct srv_daemon *daemon, struct efm_error *error);

/* All models that go into memory at the start are there: /readyz says 200. */
bool srv_daemon_ready(const struct srv_daemon *daemon);

/* Takes and gives back the lock that all requests need: does not return while somebody keeps it. */
void srv_daemon_feel_pulse(struct srv_daemon *daemon);

/* /readyz says 503 while requests are still taken for --drain-delay; then new ones are refused, a training writes its checkpoint,
 * and what is under way has --shutdown-timeout. */
void srv_daemon_drain(struct srv_daemon *daemon);

/* What is left is cancelled; jobs go back to the store. */
void srv_daemon_destroy(struct srv_daemon *daemon);

#endif
