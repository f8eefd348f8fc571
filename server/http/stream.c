// SPDX-License-Identifier: Apache-2.0
/* Answers that go on. The stream lives as long as its exchange. libmicrohttpd asks for bytes on its event thread; when there are
 * none the connection is suspended, and the next write resumes it. While it is suspended the watcher looks for a hang-up and
 * sets the exchange's flag, as for any answer that is still to come. */
#include "core/base/memory.h"
#include "server/http/http_internal.h"

#include <string.h>

enum { PENDING_MOST = 1 << 20 };

struct srv_stream {
    struct srv_exchange *exchange;
    pthread_mutex_t lock;
    struct efm_buffer bytes; /* those from `taken` on are for the client */
    size_t taken, sent;      /* `sent`: in all */
    bool waiting;            /* the connection is suspended for want of bytes */
    bool ended;              /* by the writer */
    bool closed;             /* by the connection */
};

static struct srv_stream *create(struct srv_exchange *exchange)
{
    struct srv_stream *stream = efm_allocate_array(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->exchange = exchange;
    stream->bytes = efm_buffer_limited(2 * PENDING_MOST);
    pthread_mutex_init(&stream->lock, NULL);
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
    exchange->stream = stream;
    exchange->reply = *reply;
    api_reply_init(reply, 0);
    srv_body_release(&exchange->body);
    atomic_store(&exchange->answered, true);
    pthread_mutex_lock(&http->mutex);
    http->sending++;
    pthread_mutex_unlock(&http->mutex);
    if (exchange->deferred)
        srv_link_resume(exchange->connection); // stays followed to its end
    else
        srv_watcher_follow(http->watcher, exchange->watch, &exchange->cancelled, NULL, NULL);
    return stream;
}

/* (locked) */
static void wake(struct srv_stream *stream)
{
    if (!stream->waiting)
        return;
    stream->waiting = false;
    srv_link_resume(stream->exchange->connection);
}

/* (locked) */
static bool is_gone(const struct srv_stream *stream)
{
    return stream->closed || atomic_load(&stream->exchange->cancelled);
}

/* (locked) Moves what is left to the front, so that what was taken does not pile up. */
static void close_up(struct srv_stream *stream)
{
    struct efm_buffer *bytes = &stream->bytes;
    memmove(bytes->data, bytes->data + stream->taken, bytes->size - stream->taken);
    bytes->size -= stream->taken;
    stream->taken = 0;
}

bool srv_stream_write(struct srv_stream *stream, const void *bytes, size_t size)
{
    pthread_mutex_lock(&stream->lock);
    bool good =
        !is_gone(stream) && size <= PENDING_MOST && stream->bytes.size - stream->taken <= PENDING_MOST - size;
    if (good && stream->taken > 0)
        close_up(stream);
    good = good && efm_buffer_append(&stream->bytes, bytes, size) == EFM_OK;
    if (!good)
        atomic_store(&stream->exchange->cancelled, true);
    wake(stream);
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
    const size_t pending = stream->bytes.size - stream->taken;
    pthread_mutex_unlock(&stream->lock);
    return pending;
}

void srv_stream_end(struct srv_stream *stream)
{
    struct srv_exchange *exchange = stream->exchange;
    pthread_mutex_lock(&stream->lock);
    const bool gone = is_gone(stream);
    const size_t sent = stream->sent + stream->bytes.size - stream->taken;
    stream->ended = true;
    wake(stream);
    pthread_mutex_unlock(&stream->lock);
    srv_exchange_record(exchange, gone ? SRV_CLIENT_GONE : exchange->reply.status, sent);
    srv_exchange_settle(exchange);
}

/* ---- the connection's side, on its event thread ---- */

enum srv_stream_news srv_stream_read(struct srv_stream *stream, char *out, size_t size, size_t *count)
{
    enum srv_stream_news news = SRV_STREAM_BYTES;
    pthread_mutex_lock(&stream->lock);
    *count = stream->bytes.size - stream->taken;
    if (is_gone(stream)) {
        news = SRV_STREAM_BROKEN;
    } else if (*count > 0) {
        *count = *count < size ? *count : size;
        memcpy(out, stream->bytes.data + stream->taken, *count);
        stream->taken += *count;
        stream->sent += *count;
    } else if (stream->ended) {
        news = SRV_STREAM_END;
    } else {
        // under the lock: a write that comes now finds the connection suspended
        stream->waiting = true;
        srv_link_suspend(stream->exchange->connection);
        news = SRV_STREAM_WAIT;
    }
    pthread_mutex_unlock(&stream->lock);
    return news;
}

void srv_stream_close(struct srv_stream *stream)
{
    srv_watcher_unfollow(stream->exchange->http->watcher, stream->exchange->watch);
    pthread_mutex_lock(&stream->lock);
    stream->closed = true;
    stream->waiting = false;
    pthread_mutex_unlock(&stream->lock);
}
