// SPDX-License-Identifier: Apache-2.0
/* Answers that go on. The stream lives as long as its exchange. libmicrohttpd asks for bytes on its event
 * thread; when there are none the connection is suspended, and the next write resumes it. The watcher follows
 * the connection from the first byte to the last, so that a client that hangs up is noticed while nothing is
 * written or nothing can be sent.
 *
 * Locks: the watcher's before the stream's, the stream's before libmicrohttpd's. */
#include "core/base/memory.h"
#include "server/http/http_internal.h"

#include <string.h>
#include <sys/socket.h>

/* An idle stream keeps no more memory than KEPT for what it may write next. */
enum { PENDING_MOST = 1 << 20, KEPT = 16 * 1024 };

struct srv_stream {
    struct srv_exchange *exchange;
    pthread_mutex_t lock;
    struct efm_buffer bytes; /* those from `taken` on are for the client */
    size_t taken, sent;      /* `sent`: in all */
    bool waiting;            /* the connection is suspended for want of bytes */
    bool ended;              /* by the writer */
    bool left;               /* by the client, or given up because it does not read */
    bool stopped;            /* the server stops: what is pending still goes out */
    bool closed;             /* the request has ended; the connection may serve another or be gone */
};

static struct srv_stream *create(struct srv_exchange *exchange)
{
    struct srv_stream *stream = efm_allocate_array(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->exchange = exchange;
    stream->bytes = efm_buffer_limited(2 * PENDING_MOST);
    pthread_mutex_init(&stream->lock, NULL); // cannot fail with default attributes
    return stream;
}

void srv_stream_free(struct srv_stream *stream)
{
    if (stream == NULL)
        return;
    efm_buffer_release(&stream->bytes);
    pthread_mutex_destroy(&stream->lock);
    efm_free(stream);
}

/* (locked) */
static void wake(struct srv_stream *stream)
{
    if (!stream->waiting)
        return;
    stream->waiting = false;
    srv_link_resume(stream->exchange->connection);
}

/* (locked) Nobody reads; nothing can be written from here on. Also ends a connection that stands still
 * because its client takes nothing. */
static void give_up(struct srv_stream *stream)
{
    stream->left = true;
    if (!stream->closed)
        shutdown(srv_watch_socket(stream->exchange->watch), SHUT_RDWR);
    wake(stream);
}

/* Of the watcher. */
static void on_wake(int socket, bool left, void *context)
{
    struct srv_stream *stream = context;
    (void)socket;
    pthread_mutex_lock(&stream->lock);
    if (left) {
        give_up(stream);
    } else {
        stream->stopped = true;
        wake(stream);
    }
    pthread_mutex_unlock(&stream->lock);
}

static struct srv_stream *refuse(struct srv_exchange *exchange, struct api_reply *reply,
                                 enum api_problem_code code, const char *text)
{
    struct api_problem problem = {0};
    api_reply_release(reply);
    api_problem_set(&problem, code, NULL, "%s", text);
    srv_exchange_problem(exchange, &problem);
    return NULL;
}

struct srv_stream *srv_exchange_stream(struct srv_exchange *exchange, struct api_reply *reply)
{
    struct srv_http *http = exchange->http;
    if (exchange->detached != NULL)
        return refuse(exchange, reply, API_P_INVALID_PARAMETER, "events cannot be the result of a job");
    if (atomic_load(&exchange->cancelled)) // the answer finds out why, and drops what it is given
        return refuse(exchange, reply, API_P_DRAINING, "the server is shutting down");
    struct srv_stream *stream = create(exchange);
    if (stream == NULL)
        return refuse(exchange, reply, API_P_NO_MEMORY, "there is no memory for the answer now");
    if (!srv_exchange_claim(exchange)) {
        srv_stream_free(stream);
        api_reply_release(reply);
        return NULL;
    }
    exchange->stream = stream;
    exchange->reply = *reply;
    api_reply_init(reply, 0);
    pthread_mutex_lock(&http->mutex);
    http->sending++;
    pthread_mutex_unlock(&http->mutex);
    // Before it is resumed, and to its end; what has been reported before is reported again.
    srv_watcher_follow(http->watcher, exchange->watch, &exchange->cancelled, on_wake, stream);
    if (exchange->deferred)
        srv_link_resume(exchange->connection);
    return stream;
}

/* (locked) */
static bool is_gone(const struct srv_stream *stream)
{
    return stream->left || stream->stopped || stream->closed;
}

/* (locked) */
static size_t pending_of(const struct srv_stream *stream)
{
    return stream->bytes.size - stream->taken;
}

/* (locked) Moves what is left to the front once it is the smaller part, so that what was taken does not pile
 * up. */
static void close_up(struct srv_stream *stream)
{
    struct efm_buffer *bytes = &stream->bytes;
    if (stream->taken == 0 || stream->taken < pending_of(stream))
        return;
    memmove(bytes->data, bytes->data + stream->taken, pending_of(stream));
    bytes->size -= stream->taken;
    stream->taken = 0;
    if (bytes->size == 0 && bytes->capacity > KEPT)
        efm_buffer_release(bytes);
}

bool srv_stream_write(struct srv_stream *stream, const void *bytes, size_t size)
{
    pthread_mutex_lock(&stream->lock);
    bool good = !is_gone(stream);
    if (good && size > 0) {
        close_up(stream);
        good = size <= PENDING_MOST && pending_of(stream) <= PENDING_MOST - size &&
               efm_buffer_append(&stream->bytes, bytes, size) == EFM_OK;
        if (good)
            wake(stream);
        else
            give_up(stream);
    }
    pthread_mutex_unlock(&stream->lock);
    return good;
}

bool srv_stream_gone(struct srv_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    const bool gone = is_gone(stream);
    pthread_mutex_unlock(&stream->lock);
    return gone;
}

size_t srv_stream_pending(struct srv_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    const size_t pending = pending_of(stream);
    pthread_mutex_unlock(&stream->lock);
    return pending;
}

void srv_stream_end(struct srv_stream *stream)
{
    struct srv_exchange *exchange = stream->exchange;
    pthread_mutex_lock(&stream->lock);
    const bool left = stream->left;
    const size_t sent = stream->sent + (is_gone(stream) ? 0 : pending_of(stream));
    stream->ended = true;
    wake(stream);
    pthread_mutex_unlock(&stream->lock);
    srv_exchange_record(exchange, left ? SRV_CLIENT_GONE : exchange->reply.status, sent);
    srv_exchange_settle(exchange);
}

/* ---- the connection's side, on its event thread ---- */

enum srv_stream_news srv_stream_read(struct srv_stream *stream, char *out, size_t size, size_t *count)
{
    enum srv_stream_news news = SRV_STREAM_BYTES;
    pthread_mutex_lock(&stream->lock);
    *count = pending_of(stream);
    if (stream->left) {
        // The last chunk cannot be written any more, which closes the connection. An error reported from here
        // is not enough: libmicrohttpd 0.9.75 forgets a connection that had been suspended until its idle
        // timeout.
        news = SRV_STREAM_END;
    } else if (*count > 0) {
        *count = *count < size ? *count : size;
        memcpy(out, stream->bytes.data + stream->taken, *count);
        stream->taken += *count;
        stream->sent += *count;
        close_up(stream);
    } else if (stream->ended || stream->stopped) {
        news = SRV_STREAM_END;
    } else {
        // Under the lock: a write that comes now finds the connection suspended.
        stream->waiting = true;
        srv_link_suspend(stream->exchange->connection);
        news = SRV_STREAM_WAIT;
    }
    pthread_mutex_unlock(&stream->lock);
    return news;
}

void srv_stream_close(struct srv_stream *stream, enum srv_ending ending)
{
    srv_watcher_unfollow(stream->exchange->http->watcher, stream->exchange->watch);
    pthread_mutex_lock(&stream->lock);
    stream->closed = true;
    stream->left |= ending == SRV_ENDED_BROKEN || ending == SRV_ENDED_LATE;
    stream->waiting = false;
    pthread_mutex_unlock(&stream->lock);
}
