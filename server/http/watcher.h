/* watcher.h - one thread that looks after sockets while libmicrohttpd does not.
 *
 * It ends connections whose request takes too long to arrive (a byte now and then keeps an idle timeout from
 * ever firing), and it notices when the client of a suspended exchange hangs up: the exchange's cancel flag
 * is then set. Data that waits to be read is no hang-up; a peer that closes its sending side is taken for
 * gone.
 *
 *     watch = srv_watcher_add(watcher, socket, now + 60);            the connection is there
 *     srv_watcher_arm(watcher, watch, now + 120, exchange);          its request must be here by then
 *     in_time = srv_watcher_disarm(watcher, watch);                  it is
 *     srv_watcher_follow(watcher, watch, &cancelled, NULL, NULL);    suspended
 *     gone = srv_watcher_unfollow(watcher, watch);                   about to be resumed
 *     srv_watcher_drop(watcher, watch);                              the connection is about to be closed
 *
 * Threads: any. `late` and `wake` are called with the watcher's lock held: they may not call it. */
#ifndef SRV_HTTP_WATCHER_H
#define SRV_HTTP_WATCHER_H

#include "core/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>

struct srv_watcher;
struct srv_watch;

/* Called just before a socket is shut down because its deadline has passed, with what srv_watcher_arm got. */
typedef void srv_watcher_late(int socket, void *context);

/* Called right after a flag was set: because the client hung up (`left`), or by srv_watcher_cancel_all. */
typedef void srv_watcher_wake(int socket, bool left, void *context);

/* `tick`: seconds between two looks at the deadlines. */
EFM_MUST_CHECK enum efm_status srv_watcher_create(struct srv_watcher **watcher, double tick,
                                                  srv_watcher_late *late, struct efm_error *error);

/* Joins the thread; all watches are freed. */
void srv_watcher_destroy(struct srv_watcher *watcher);

/* `deadline` is CLOCK_MONOTONIC seconds, INFINITY for none. NULL when there is no memory. The socket stays
 * the caller's and must be open until the watch is dropped. */
EFM_MUST_CHECK struct srv_watch *srv_watcher_add(struct srv_watcher *watcher, int socket, double deadline);
void srv_watcher_drop(struct srv_watcher *watcher, struct srv_watch *watch);

/* `context` goes to `late`; NULL: the socket is shut down without a word. */
void srv_watcher_arm(struct srv_watcher *watcher, struct srv_watch *watch, double deadline, void *context);

/* No deadline from here on. False when the last one had passed and the socket was shut down. */
bool srv_watcher_disarm(struct srv_watcher *watcher, struct srv_watch *watch);

/* `cancelled` is set when the client hangs up, and by srv_watcher_cancel_all; then `wake` is called, which
 * may be NULL. */
void srv_watcher_follow(struct srv_watcher *watcher, struct srv_watch *watch, atomic_bool *cancelled,
                        srv_watcher_wake *wake, void *context);

/* True when the client had hung up. `wake` is not called after it. */
bool srv_watcher_unfollow(struct srv_watcher *watcher, struct srv_watch *watch);

/* Sets the flags of all that are followed now or later. */
void srv_watcher_cancel_all(struct srv_watcher *watcher);

/* The socket of a watch. */
int srv_watch_socket(const struct srv_watch *watch);

#endif
