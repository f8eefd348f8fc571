/* fake_exchange.h - exchanges and streams without a server, for tests of those that wait: they take the place of server/http in the
 * link. Include it in one source file.
 *
 *     struct srv_exchange exchange = {.reply = {0}};
 *     ... hand it over ...
 *     assert_true(fake_answered(&exchange, 5));
 *     assert_int_equal(exchange.status, 200);
 *     fake_release(&exchange);
 *
 * Threads: the members are written under fake_mutex; read them after fake_answered or fake_settles. */
#ifndef TEST_FAKE_EXCHANGE_H
#define TEST_FAKE_EXCHANGE_H

#include "server/clock.h"
#include "server/http/http.h"

#include <pthread.h>
#include <string.h>

struct srv_stream {
    char text[64 << 10];
    size_t size, pending;
    int writes;
    bool gone, ended;
};

struct srv_exchange {
    atomic_bool cancelled;
    bool deferred, answered, nobody; /* nobody: a stream is not to be had */
    int answers, status;
    const char *key; /* name of the API key; NULL: none */
    struct api_reply reply;
    struct api_problem problem;
    struct srv_stream stream;
};

static pthread_mutex_t fake_mutex = PTHREAD_MUTEX_INITIALIZER;

static inline void fake_sleep(double seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

void srv_exchange_defer(struct srv_exchange *exchange)
{
    exchange->deferred = true;
}

const char *srv_exchange_key_name(const struct srv_exchange *exchange)
{
    return exchange->key == NULL ? "" : exchange->key;
}

bool srv_exchange_is_admin(const struct srv_exchange *exchange)
{
    (void)exchange;
    return false;
}

atomic_bool *srv_exchange_cancelled(struct srv_exchange *exchange)
{
    return &exchange->cancelled;
}

void srv_exchange_reply(struct srv_exchange *exchange, struct api_reply *reply)
{
    pthread_mutex_lock(&fake_mutex);
    exchange->reply = *reply;
    exchange->status = reply->status;
    exchange->answered = true;
    exchange->answers++;
    pthread_mutex_unlock(&fake_mutex);
}

void srv_exchange_problem(struct srv_exchange *exchange, const struct api_problem *problem)
{
    pthread_mutex_lock(&fake_mutex);
    exchange->problem = *problem;
    exchange->status = api_problem_status(problem->code);
    exchange->answered = true;
    exchange->answers++;
    pthread_mutex_unlock(&fake_mutex);
}

struct srv_stream *srv_exchange_stream(struct srv_exchange *exchange, struct api_reply *reply)
{
    pthread_mutex_lock(&fake_mutex);
    exchange->reply = *reply;
    exchange->status = reply->status;
    exchange->answered = true;
    exchange->answers++;
    const bool nobody = exchange->nobody;
    pthread_mutex_unlock(&fake_mutex);
    return nobody ? NULL : &exchange->stream;
}

bool srv_stream_write(struct srv_stream *stream, const void *bytes, size_t size)
{
    pthread_mutex_lock(&fake_mutex);
    const bool room = size < sizeof stream->text - stream->size;
    if (room) {
        memcpy(stream->text + stream->size, bytes, size);
        stream->size += size;
        stream->text[stream->size] = '\0';
        stream->writes++;
    }
    const bool gone = stream->gone;
    pthread_mutex_unlock(&fake_mutex);
    return room && !gone;
}

bool srv_stream_gone(struct srv_stream *stream)
{
    pthread_mutex_lock(&fake_mutex);
    const bool gone = stream->gone;
    pthread_mutex_unlock(&fake_mutex);
    return gone;
}

size_t srv_stream_pending(struct srv_stream *stream)
{
    pthread_mutex_lock(&fake_mutex);
    const size_t pending = stream->pending;
    pthread_mutex_unlock(&fake_mutex);
    return pending;
}

void srv_stream_end(struct srv_stream *stream)
{
    pthread_mutex_lock(&fake_mutex);
    stream->ended = true;
    pthread_mutex_unlock(&fake_mutex);
}

/* Whether `flag`, a member of an exchange or stream, becomes true within so many seconds. */
static inline bool fake_settles(const bool *flag, double seconds)
{
    const double until = srv_clock() + seconds;
    for (;;) {
        pthread_mutex_lock(&fake_mutex);
        const bool now = *flag;
        pthread_mutex_unlock(&fake_mutex);
        if (now || srv_clock() > until)
            return now;
        fake_sleep(0.002);
    }
}

static inline bool fake_answered(const struct srv_exchange *exchange, double seconds)
{
    return fake_settles(&exchange->answered, seconds);
}

static inline const char *fake_header(const struct srv_exchange *exchange, const char *name)
{
    for (size_t i = 0; i < exchange->reply.header_count; i++) {
        if (strcmp(exchange->reply.headers[i].name, name) == 0)
            return exchange->reply.headers[i].value;
    }
    return "";
}

static inline void fake_release(struct srv_exchange *exchange)
{
    api_reply_release(&exchange->reply);
    *exchange = (struct srv_exchange){.status = 0};
}

#endif
