/* idle_thread.h - a thread that computes only when no other wants the processor.
 *
 *     srv_idle_thread_begin(thread, train_some, context);
 *     while (srv_idle_thread_busy(thread))
 *         sem_wait(done);
 *
 * Its policy is SCHED_IDLE, and nice 19 where the system refuses that; threads that a body makes inherit it. A body takes no lock that
 * others wait for: whoever is so low may hold it for long. So what touches store, blobs, registry or metrics stays with the caller.
 * Threads: one owner, who begins and asks. */
#ifndef SRV_JOBS_IDLE_THREAD_H
#define SRV_JOBS_IDLE_THREAD_H

#include "core/base/status.h"

#include <semaphore.h>
#include <stdbool.h>

struct srv_idle_thread;

/* `done` is borrowed, and posted whenever a body has ended. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_idle_thread_create(struct srv_idle_thread **thread, sem_t *done,
                                                      struct efm_error *error);
/* Waits for the body that runs. NULL is fine. */
void srv_idle_thread_destroy(struct srv_idle_thread *thread);

/* Nothing may be running. What the caller wrote before is seen by the body; what the body wrote is seen once busy is false. */
void srv_idle_thread_begin(struct srv_idle_thread *thread, void (*body)(void *context), void *context);
bool srv_idle_thread_busy(const struct srv_idle_thread *thread);

#endif
