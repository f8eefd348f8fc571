/* webhooks.h - tells clients that their job has ended: Standard Webhooks 1.0, kept in the store until it is delivered.
 *
 *   record WEBHOOK  id "msg_..."; parent = job id; group "webhook"; state pending, sending, delivered, failed; due = the next attempt;
 *                   document {"url", "attempts", "last_status", "last_error"}
 *
 * Attempts: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, each with up to a tenth more at random. 2xx is success,
 * 410 or an address that is refused ends it, everything else (3xx, too) is a failure. At least once: after a crash the same
 * id may come again. A job that is gone has nothing left to tell. The outcome of each attempt is an event of the job and shown in it.
 * A few attempts run at once, first ones before others, so that a receiver that does not answer holds up nobody else's.
 * Threads: a few of its own; create, wake, destroy from any. */
#ifndef SRV_JOBS_WEBHOOKS_H
#define SRV_JOBS_WEBHOOKS_H

#include "server/jobs/jobs.h"
#include "server/jobs/outbound.h"

enum { SRV_WEBHOOK_SECRET = 64 /* bytes at most */ };

struct srv_webhook_secret {
    uint8_t key[SRV_WEBHOOK_SECRET];
    size_t size; /* 24..64 */
};

/* "whsec_" and base64 of 24 to 64 bytes, with white space around. EFM_E_FORMAT; the message never shows it. */
EFM_MUST_CHECK enum efm_status srv_webhook_secret_parse(struct srv_webhook_secret *secret, const char *text,
                                                        struct efm_error *error);
/* From the file; when `file` is "", from DIR/webhook.secret, which is made (mode 0600) when it is not there; with neither, a random one
 * that ends with the process. */
EFM_MUST_CHECK enum efm_status srv_webhook_secret_read(struct srv_webhook_secret *secret, const char *file,
                                                       const char *state_dir, struct efm_error *error);

enum { SRV_WEBHOOK_SIGNATURE = 64 };
/* "v1,<base64 HMAC-SHA256(key, id.timestamp.body)>" */
void srv_webhook_sign(const struct srv_webhook_secret *secret, const char *id, int64_t timestamp,
                      const void *body, size_t size, char out[SRV_WEBHOOK_SIGNATURE]);

struct srv_webhooks_options {
    struct srv_store *store;
    struct srv_jobs *jobs;
    struct srv_outbound *outbound;
    struct srv_webhook_secret secret;
    const char *replica;
    double scale;   /* of the delays, for tests; 0: 1 */
    double timeout; /* seconds of one attempt; 0: 20 */
};

struct srv_webhooks;

EFM_MUST_CHECK enum efm_status srv_webhooks_create(struct srv_webhooks **webhooks,
                                                   const struct srv_webhooks_options *options,
                                                   struct srv_metrics *metrics, struct srv_log *log,
                                                   struct efm_error *error);
void srv_webhooks_wake(struct srv_webhooks *webhooks);
void srv_webhooks_destroy(
    struct srv_webhooks *webhooks); /* breaks off an attempt that runs; it is made again later */

#endif
