// SPDX-License-Identifier: Apache-2.0
#include "server/http/watcher.h"

#include "core/base/memory.h"
#include "server/clock.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64 };

struct srv_watch {
    struct srv_watch *previous, *next;
    int socket;
    double deadline;
    void *context;          /* for `late` */
    bool expired;           /* the deadline passed, the socket is shut down */
    atomic_bool *cancelled; /* not NULL while followed */
    srv_watcher_wake *wake; /* of who follows; may be NULL */
    void *follower;         /* for `wake` */
    bool ended;             /* the client sends no more */
    bool gone;              /* the client hung up while followed */
    bool dropped;
};

struct srv_watcher {
    pthread_mutex_t mutex;
    pthread_t thread;
    int poll, wake;
    double tick;
    srv_watcher_late *late;
    /* under the mutex */
    struct srv_watch *first;
    struct srv_watch *dropped; /* freed by the thread, which may still hold events that point to them */
    bool cancelling, stopping;
};

/* libmicrohttpd waits for edges, and misses an end that came along with data. This makes another edge and
 * takes nothing away: after its end the client sends no more. */
static void point_at_end(const struct srv_watch *watch)
{
    shutdown(watch->socket, SHUT_RD);
}

/* What may be freed before the events of the next wait are fetched. */
static struct srv_watch *take_dropped(struct srv_watcher *watcher)
{
    struct srv_watch *dropped = watcher->dropped;
    watcher->dropped = NULL;
    return dropped;
}

static void free_list(struct srv_watch *watch)
{
    while (watch != NULL) {
        struct srv_watch *next = watch->next;
        efm_free(watch);
        watch = next;
    }
}

static void look_at_all(struct srv_watcher *watcher, double now)
{
    for (struct srv_watch *watch = watcher->first; watch != NULL; watch = watch->next) {
        if (watch->ended && watch->cancelled == NULL)
            point_at_end(watch); // again: the first time may have been too early
        if (watch->deadline > now)
            continue;
        watch->deadline = INFINITY;
        watch->expired = true;
        if (watch->context != NULL)
            watcher->late(watch->socket, watch->context);
        watch->context = NULL;
        // Not closed: the descriptor is libmicrohttpd's, which now reads an end of file.
        shutdown(watch->socket, SHUT_RDWR);
    }
}

static void set_flag(struct srv_watch *watch, bool left)
{
    atomic_store(watch->cancelled, true);
    if (watch->wake != NULL)
        watch->wake(watch->socket, left, watch->follower);
}

static void handle_events(const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct srv_watch *watch = events[i].data.ptr;
        if (watch == NULL || watch->dropped) // the eventfd, or closed in the meantime
            continue;
        watch->ended = true;
        if (watch->cancelled != NULL) {
            watch->gone = true;
            set_flag(watch, true);
        } else {
            point_at_end(watch);
        }
    }
}

static void *run(void *argument)
{
    struct srv_watcher *watcher = argument;
    struct epoll_event events[EVENTS];
    double look = srv_clock() + watcher->tick;
    bool stopping = false;
    while (!stopping) {
        pthread_mutex_lock(&watcher->mutex);
        struct srv_watch *dropped = take_dropped(watcher);
        pthread_mutex_unlock(&watcher->mutex);
        free_list(dropped);

        double wait = look - srv_clock();
        int count = epoll_wait(watcher->poll, events, EVENTS, wait <= 0 ? 0 : (int)ceil(wait * 1000));
        const double now = srv_clock();
        pthread_mutex_lock(&watcher->mutex);
        handle_events(events, count);
        if (now >= look) {
            look_at_all(watcher, now);
            look = now + watcher->tick;
        }
        stopping = watcher->stopping;
        pthread_mutex_unlock(&watcher->mutex);
    }
    return NULL;
}

static enum efm_status start(struct srv_watcher *watcher, struct efm_error *error)
{
    watcher->poll = epoll_create1(EPOLL_CLOEXEC);
    watcher->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (watcher->poll < 0 || watcher->wake < 0 ||
        epoll_ctl(watcher->poll, EPOLL_CTL_ADD, watcher->wake, &event) != 0)
        return efm_error_set(error, EFM_E_IO, "the watcher of connections cannot have its descriptors");
    if (pthread_create(&watcher->thread, NULL, run, watcher) != 0)
        return efm_error_set(error, EFM_E_INTERNAL, "the watcher of connections cannot have a thread");
    return EFM_OK;
}

static void release(struct srv_watcher *watcher)
{
    free_list(watcher->first);
    free_list(watcher->dropped);
    if (watcher->poll >= 0)
        close(watcher->poll);
    if (watcher->wake >= 0)
        close(watcher->wake);
    pthread_mutex_destroy(&watcher->mutex);
    efm_free(watcher);
}

enum efm_status srv_watcher_create(struct srv_watcher **watcher, double tick, srv_watcher_late *late,
                                   struct efm_error *error)
{
    struct srv_watcher *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the watcher of connections");
    made->poll = made->wake = -1;
    made->tick = tick;
    made->late = late;
    pthread_mutex_init(&made->mutex, NULL); // cannot fail with default attributes
    enum efm_status status = start(made, error);
    if (status != EFM_OK)
        release(made);
    else
        *watcher = made;
    return status;
}

void srv_watcher_destroy(struct srv_watcher *watcher)
{
    if (watcher == NULL)
        return;
    pthread_mutex_lock(&watcher->mutex);
    watcher->stopping = true;
    pthread_mutex_unlock(&watcher->mutex);
    const uint64_t one = 1;
    ssize_t written = write(watcher->wake, &one, sizeof one);
    (void)written; // a full eventfd wakes as well
    pthread_join(watcher->thread, NULL);
    release(watcher);
}

/* One report of the end of what the client sends, or of a reset; data that waits is none. */
static void look_for_end(struct srv_watcher *watcher, struct srv_watch *watch, int operation)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = watch};
    int refused = epoll_ctl(watcher->poll, operation, watch->socket, &event);
    (void)refused;
}

struct srv_watch *srv_watcher_add(struct srv_watcher *watcher, int socket, double deadline)
{
    struct srv_watch *watch = efm_allocate_array(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    watch->socket = socket;
    watch->deadline = deadline;
    pthread_mutex_lock(&watcher->mutex);
    // When the kernel refuses, a hang-up is noticed late: no reason to refuse the connection.
    look_for_end(watcher, watch, EPOLL_CTL_ADD);
    watch->next = watcher->first;
    if (watcher->first != NULL)
        watcher->first->previous = watch;
    watcher->first = watch;
    pthread_mutex_unlock(&watcher->mutex);
    return watch;
}

void srv_watcher_drop(struct srv_watcher *watcher, struct srv_watch *watch)
{
    pthread_mutex_lock(&watcher->mutex);
    if (watch->previous != NULL)
        watch->previous->next = watch->next;
    else
        watcher->first = watch->next;
    if (watch->next != NULL)
        watch->next->previous = watch->previous;
    look_for_end(watcher, watch, EPOLL_CTL_DEL);
    watch->dropped = true;
    watch->previous = NULL;
    watch->next = watcher->dropped;
    watcher->dropped = watch;
    pthread_mutex_unlock(&watcher->mutex);
}

void srv_watcher_arm(struct srv_watcher *watcher, struct srv_watch *watch, double deadline, void *context)
{
    pthread_mutex_lock(&watcher->mutex);
    if (!watch->expired) {
        watch->deadline = deadline;
        watch->context = context;
    }
    pthread_mutex_unlock(&watcher->mutex);
}

bool srv_watcher_disarm(struct srv_watcher *watcher, struct srv_watch *watch)
{
    pthread_mutex_lock(&watcher->mutex);
    watch->deadline = INFINITY;
    watch->context = NULL;
    const bool in_time = !watch->expired;
    pthread_mutex_unlock(&watcher->mutex);
    return in_time;
}

void srv_watcher_follow(struct srv_watcher *watcher, struct srv_watch *watch, atomic_bool *cancelled,
                        srv_watcher_wake *wake, void *context)
{
    pthread_mutex_lock(&watcher->mutex);
    watch->cancelled = cancelled;
    watch->wake = wake;
    watch->follower = context;
    watch->gone = false;
    if (watcher->cancelling)
        set_flag(watch, false);
    look_for_end(watcher, watch, EPOLL_CTL_MOD); // again, should the end have been seen before
    pthread_mutex_unlock(&watcher->mutex);
}

bool srv_watcher_unfollow(struct srv_watcher *watcher, struct srv_watch *watch)
{
    pthread_mutex_lock(&watcher->mutex);
    watch->cancelled = NULL;
    watch->wake = NULL;
    watch->follower = NULL;
    const bool gone = watch->gone;
    pthread_mutex_unlock(&watcher->mutex);
    return gone;
}

void srv_watcher_cancel_all(struct srv_watcher *watcher)
{
    pthread_mutex_lock(&watcher->mutex);
    watcher->cancelling = true;
    for (struct srv_watch *watch = watcher->first; watch != NULL; watch = watch->next) {
        if (watch->cancelled != NULL)
            set_flag(watch, false);
    }
    pthread_mutex_unlock(&watcher->mutex);
}

int srv_watch_socket(const struct srv_watch *watch)
{
    return watch->socket;
}
