/* http.h - the HTTP server: connections in, exchanges to endpoints, replies out.
 *
 * The only user of libmicrohttpd; endpoints see struct srv_exchange and nothing below it. A handler runs on
 * an event thread and must be quick: parse, check, submit. It either answers at once with srv_exchange_reply,
 * or calls srv_exchange_defer first and lets another thread answer later; meanwhile the connection is
 * suspended, a watcher polls its socket, and a client that hangs up sets the exchange's cancel flag.
 *
 *     static void handle(struct srv_service *service, struct srv_exchange *exchange)
 *     {
 *         const struct api_message *message = srv_exchange_message(exchange);
 *         ...
 *         srv_exchange_reply(exchange, &reply);      moves the body out of `reply`
 *     }
 *
 * Every exchange is answered exactly once, also when its client is gone (the reply is then dropped and logged
 * as 499). The exchange and all it lends live until that answer.
 */
#ifndef SRV_HTTP_H
#define SRV_HTTP_H

#include "api/message.h"
#include "api/parameters.h"
#include "api/problem.h"
#include "server/http/guard.h"
#include "server/log.h"
#include "server/service.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct srv_exchange;

typedef void srv_handler(struct srv_service *service, struct srv_exchange *exchange);

enum { SRV_ENDPOINT_PATHS = 3 };

/* Values of max_body that stand for options. */
#define SRV_BODY_UPLOAD SIZE_MAX       /* --max-body: datasets and models */
#define SRV_BODY_IMAGES (SIZE_MAX - 1) /* --max-image-body: requests */
#define SRV_BODY_STREAM (SIZE_MAX - 2) /* no limit here: the upload sets its own */

/* A body that is taken as it arrives instead of being kept in memory. All but abandon are called on the event
 * thread and must be quick. It may take longer than --body-timeout as long as it comes at 1000 bytes a second
 * or more. Each upload ends with exactly one of: abandon; or srv_exchange_take_upload by the handler, which
 * owns it then. */
struct srv_upload_class {
    /* The headers are there. `length`: the Content-Length or -1. NULL with a problem: the body is refused. */
    void *(*begin)(struct srv_service *service, struct srv_exchange *exchange, int64_t length,
                   struct api_problem *problem);
    /* False with a problem: the rest is refused, and abandon follows. */
    bool (*take)(void *upload, const void *bytes, size_t size, struct api_problem *problem);
    /* The client left, was late, or was refused. Any thread of the server. */
    void (*abandon)(void *upload);
};

/* One endpoint a file in server/endpoints/, listed in routes.c. */
struct srv_endpoint {
    const char *methods;                   /* "POST PUT"; HEAD is answered wherever GET is */
    const char *paths[SRV_ENDPOINT_PATHS]; /* the first is canonical: "/v1/models/{name}/field" */
    srv_handler *handle;
    size_t max_body;                       /* bytes, or SRV_BODY_...; 0: no body is taken (a body is 413) */
    const struct srv_upload_class *upload; /* NULL: the body is kept in memory for the handler */
    const struct api_parameter_table *parameters; /* for documents; NULL: none */
    const char *takes;                            /* media types of the body, for documents; "" none */
    const char *gives;                            /* media types of the answer */
    const char *help;                             /* one sentence */
    const char *detail;                           /* more for documents, may be NULL */
    enum srv_scope scope;                         /* that a key must have */
    /* Any thread: looks through every answer before it is sent; NULL: nothing. */
    void (*finish)(struct srv_service *service, struct api_reply *reply);
};

/* All endpoints of the daemon: server/endpoints/routes.c. */
extern const struct srv_endpoint *const srv_routes[];
extern const size_t srv_route_count;

/* The request, borrowed until the answer. message->body is complete and NUL-terminated past its end. */
const struct api_message *srv_exchange_message(const struct srv_exchange *exchange);
const char *srv_exchange_name(const struct srv_exchange *exchange); /* what stood for {name}; "" for none */
const char *srv_exchange_request_id(const struct srv_exchange *exchange);
/* Whether it is a kept request that is replayed for a job: nobody waits at the other end of a connection. */
bool srv_exchange_is_of_job(const struct srv_exchange *exchange);
/* "" when absent. Several lines of a list come as one, and an If-Match or If-None-Match with nothing in it as ",": a list that is
 * not well-formed. */
const char *srv_exchange_header(const struct srv_exchange *exchange, const char *name);
/* The model that the request names elsewhere than in its path: a valid name, for the log. Before the answer, and not beside it. */
void srv_exchange_name_model(struct srv_exchange *exchange, const char *name);
/* The traceparent that the request came with, well-formed, or "". */
const char *srv_exchange_traceparent(const struct srv_exchange *exchange);
double
srv_exchange_started(const struct srv_exchange *exchange); /* CLOCK_MONOTONIC seconds of the first byte */

/* The name of the key that it came with; "" without keys. */
const char *srv_exchange_key_name(const struct srv_exchange *exchange);
/* True when the client may do what takes the scope admin. */
bool srv_exchange_is_admin(const struct srv_exchange *exchange);

/* Set once the client has gone or the server stops now; stays valid until the answer. */
atomic_bool *srv_exchange_cancelled(struct srv_exchange *exchange);

/* Called by a handler before it hands the exchange to another thread. After it the handler must not touch the
 * exchange unless it still holds the duty to answer. Once deferred, further calls do nothing. */
void srv_exchange_defer(struct srv_exchange *exchange);

/* Calls the handler of the exchange's endpoint once more, for one that has been deferred and waited for
 * something. The caller, on any thread but an event thread, passes on the duty to answer. */
void srv_exchange_handle_again(struct srv_exchange *exchange);

/* Answers, from any thread, once. Takes the body out of `reply` and leaves it empty. */
void srv_exchange_reply(struct srv_exchange *exchange, struct api_reply *reply);
void srv_exchange_problem(struct srv_exchange *exchange, const struct api_problem *problem);

/* The upload that the body became, owned by the caller from now on; NULL when the endpoint has none or it was
 * taken. By whoever holds the duty to answer; what is not taken by then is abandoned. */
void *srv_exchange_take_upload(struct srv_exchange *exchange);

/* Answers with `reply` and, as its body, the bytes of an open file (reply->body stays unused): all of them,
 * or what Range asks for (206, 416, If-Range; one range, otherwise all are sent). Takes over the descriptor.
 * For HEAD and conditional requests as srv_exchange_reply. Any thread, once. */
void srv_exchange_reply_file(struct srv_exchange *exchange, struct api_reply *reply, int file, uint64_t size);

/* An answer that goes on for as long as there is something to say: Server-Sent Events.
 *
 *     stream = srv_exchange_stream(exchange, &reply);   in place of srv_exchange_reply
 *     srv_stream_write(stream, bytes, size);
 *     srv_stream_end(stream);                           the answer is complete; the stream is gone
 *
 * Threads: any, one at a time per stream. Writing never blocks: bytes are kept until the client takes them.
 * Whether the client is still there is noticed without a write. */
struct srv_stream;
/* Takes reply's status and headers and leaves it empty. NULL: the exchange has ended, and nothing more is to
 * be done: the client is gone, there is no memory (503), or the request came without a connection (422). */
struct srv_stream *srv_exchange_stream(struct srv_exchange *exchange, struct api_reply *reply);
/* False when nobody reads any more: the client has gone, has let 1 MiB pile up, or the server stops. To be
 * ended then. */
bool srv_stream_write(struct srv_stream *stream, const void *bytes, size_t size);
bool srv_stream_gone(struct srv_stream *stream);
/* Bytes that the client has not taken yet. */
size_t srv_stream_pending(struct srv_stream *stream);
void srv_stream_end(struct srv_stream *stream);

/* A request that came in another way than by a connection: kept from before, or made by another endpoint. It
 * is routed and handled like any other, and its answer goes to `answer`, once, from any thread; `reply` is
 * then the callee's (to be released). Headers other than these two are absent. */
struct srv_kept_request {
    const char *method, *target;       /* "POST", "/v1/transfer?model=m"; copied */
    const char *content_type, *accept; /* copied */
    uint8_t *body;                     /* owned (efm_free), taken over; may be NULL */
    size_t body_size;
    const char *request_id;  /* copied */
    const char *traceparent; /* copied; NULL or "": none */
    atomic_bool *cancelled;  /* borrowed until the answer; NULL: cannot be cancelled */
    bool admitted; /* a part of a request that was taken before: done while the server drains, too */
    void (*answer)(void *context, struct api_reply *reply);
    /* In place of `answer` for a problem, which is borrowed for the call; NULL: a problem is an answer like others. */
    void (*refuse)(void *context, const struct api_problem *problem);
    void *context;
};
/* False when there is no memory: `answer` is then not called, and the body is freed. While the server drains
 * it is answered with 503 like any other unless it is `admitted`; when it stops, `cancelled` is set. The handler runs in the call,
 * `answer` maybe too. Endpoints with uploads answer 422, a file comes as the body of the reply. Counted in
 * srv_http_pending, not in the metrics of HTTP. Not on an event thread. */
bool srv_http_replay(struct srv_http *http, struct srv_kept_request *request);

struct srv_tls;

struct srv_http_options {
    const struct srv_endpoint *const *routes; /* borrowed */
    size_t route_count;
    const char *address; /* "127.0.0.1", "::1", "0.0.0.0" */
    uint16_t port;       /* 0: any free one */
    size_t max_body, max_image_body;
    unsigned connection_limit;
    unsigned idle_timeout;  /* seconds without a byte */
    double header_timeout;  /* for the headers; 0, or more than body_timeout: as that */
    double body_timeout;    /* seconds for a whole request to arrive */
    unsigned event_threads; /* >= 1 */
    enum srv_access_log access_log;
    struct srv_guard *guard;   /* borrowed; NULL: everything is open to everybody */
    const struct srv_tls *tls; /* borrowed until create returns; NULL: plain HTTP */
    size_t max_buffered;       /* bytes of bodies being received, over all connections: past it 429 */
};

struct srv_http;

/* Binds and starts to listen, and sets service->http before the first request is taken. */
EFM_MUST_CHECK enum efm_status srv_http_create(struct srv_http **http, const struct srv_http_options *options,
                                               struct srv_service *service, struct efm_error *error);
uint16_t srv_http_port(const struct srv_http *http);

/* True while /readyz must say 503. */
bool srv_http_draining(const struct srv_http *http);

/* /readyz says 503 from now on while requests are still taken, so that load balancers look elsewhere first.
 */
void srv_http_announce_drain(struct srv_http *http);

/* New requests but health and metrics get 503; deferred ones go on. From the announcement on each answer is the last one
 * of its connection. */
void srv_http_drain(struct srv_http *http);

/* Takes no more connections, and waits until those that came have been answered and nothing has come for a moment: at
 * most `seconds`. Of draining servers. */
void srv_http_close_door(struct srv_http *http, double seconds);
size_t srv_http_pending(const struct srv_http *http);    /* exchanges not answered yet */
size_t srv_http_body_bytes(const struct srv_http *http); /* of bodies that are arriving */

/* Sets every cancel flag, waits until all deferred exchanges are answered (the scheduler must still run),
 * stops. */
void srv_http_destroy(struct srv_http *http);

/* The version of libmicrohttpd. */
const char *srv_http_library(void);

#endif
