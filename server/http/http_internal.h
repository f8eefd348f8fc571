/* http_internal.h - what the parts of server/http share.
 *
 *   http.c      libmicrohttpd's callbacks, the only file that includes microhttpd.h
 *   request.c   the stages of a request: headers, body, endpoint, end
 *   exchange.c  the exchange and its answer
 *   record.c    what is counted and logged of it
 *   outcome.c, conditions.c, coding.c   what the client knows already, or takes in fewer bytes
 *   direct.c    answers written on the socket while a body is still coming
 *   router.c    target and method to endpoint
 *   head.c      the headers alone
 *   body.c      the body and the budget of all bodies
 *   watcher.c   deadlines and hang-ups
 *   listen.c    the socket
 *   upload.c    bodies that the endpoint takes as they arrive
 *   stream.c    answers that go on
 *   trace.c     the traceparent header
 *   file_reply.c, range.c   answers that are files, and parts of them
 *   guard.c, guard_keys.c   who may ask
 *   tls.c       certificate and key
 *   replay.c    exchanges without a connection
 *
 * Life of an exchange: made when the request line is there, it has two references: one of the connection,
 * given up when libmicrohttpd says that the request has ended, and one of the duty to answer, given up by the
 * answer. A deferred exchange's connection is suspended; only its answer resumes it, so it cannot end before.
 * A stream's duty lasts until srv_stream_end, while its connection may end at any time. An exchange without a
 * connection has a reference of the call that made it in place of the connection's.
 */
#ifndef SRV_HTTP_INTERNAL_H
#define SRV_HTTP_INTERNAL_H

#include "server/http/body.h"
#include "server/http/http.h"
#include "server/http/router.h"
#include "server/http/trace.h"
#include "server/http/watcher.h"

#include <pthread.h>
#include <stdatomic.h>

struct MHD_Connection;
struct MHD_Daemon;

enum {
    SRV_REQUEST_ID_SIZE = 129,
    SRV_USER_AGENT_SIZE = 81,
    SRV_DESCRIPTION_SIZE = 512,
    SRV_TIMINGS_SIZE = 128,
    SRV_CLIENT_GONE = 499
};

/* What an exchange without a connection has in its place. */
struct srv_detached {
    char *method, *content_type, *accept; /* owned */
    uint8_t *body;                        /* owned, with a NUL past its end */
    void (*answer)(void *context, struct api_reply *reply);
    void (*refuse)(void *context, const struct api_problem *problem); /* NULL: it is an answer */
    void *context;
    atomic_bool *cancelled;               /* borrowed */
    bool admitted;                        /* before the server began to drain, perhaps */
    struct srv_detached *previous, *next; /* under the mutex */
};

struct srv_http {
    struct srv_http_options options; /* `address` is not kept */
    struct srv_service *service;
    struct MHD_Daemon *daemon;
    struct srv_watcher *watcher;
    struct srv_budget budget;
    int listener; /* libmicrohttpd's */
    uint16_t port;
    atomic_size_t begun; /* exchanges, ever */
    bool tls;
    atomic_bool announced, draining;
    atomic_size_t pending; /* exchanges not answered */
    pthread_mutex_t mutex;
    pthread_cond_t settled; /* handling or sending became smaller */
    /* under the mutex */
    bool stopping;
    size_t handling; /* exchanges that an endpoint has and has not answered */
    size_t sending;  /* exchanges whose answer is on its way out */
    struct srv_detached *first_detached;
};

enum srv_phase {
    SRV_PHASE_HEADERS,
    SRV_PHASE_BODY,    /* until the whole request is here; there may be no body at all */
    SRV_PHASE_SKIP,    /* refused: a short body is read away, then the answer follows */
    SRV_PHASE_LINGER,  /* refused and answered on the socket: reads on for a while, then closes */
    SRV_PHASE_HANDLED, /* the endpoint has it */
};

enum { SRV_LISTS = 5 };

/* What the headers are like, all together. */
struct srv_head {
    size_t count, bytes, hosts;
    bool in_place;                      /* it is known how they lie in memory */
    bool broken;                        /* some can be read in more than one way */
    bool old;                           /* of HTTP/1.0 */
    const char *end;                    /* of the line before, while they are read, and of the last one */
    struct efm_buffer lists[SRV_LISTS]; /* owned; see srv_head_value. Empty: the header is as it came */
};

struct srv_exchange {
    struct srv_http *http;             /* borrowed */
    struct MHD_Connection *connection; /* borrowed, valid until the request ends; NULL when detached */
    struct srv_watch *watch;           /* borrowed from the connection; NULL when detached */
    struct srv_detached *detached;     /* owned; NULL for an exchange of a connection */
    atomic_int references;
    atomic_bool cancelled, answered;
    double started;
    char request_id[SRV_REQUEST_ID_SIZE];
    char traceparent[SRV_TRACEPARENT_SIZE]; /* "": none */
    char user_agent[SRV_USER_AGENT_SIZE];   /* cut */
    char *uri;                              /* owned, as sent */
    const char *line_uri,
        *line_version; /* where the uri begins, and what follows its end, as they lie in memory */
    struct srv_target target;
    struct srv_match match;
    struct srv_head head;
    const char *head_end; /* past the headers as they lie in memory; NULL: not known */
    const char
        *method; /* as sent; the message says GET for HEAD. Outlives the request if an endpoint has it */
    struct api_message message;
    struct srv_guard_pass pass; /* what the guard found; its share is taken while `entered` */
    bool entered, preflight;
    char model[API_NAME_SIZE]; /* that the endpoint was asked for; "": not known */
    struct srv_body body;
    void *upload; /* owned, in place of the body; NULL: none, or taken */
    /* of the event thread */
    uint64_t upload_limit, upload_taken;
    double progress;         /* when the upload's deadline was last moved */
    uint64_t progress_bytes; /* that came since */
    enum srv_phase phase;
    size_t lingered; /* bytes read away after a direct answer */
    bool deferred, handling;
    /* written by the answer */
    struct efm_buffer spare; /* room for a problem when there is no memory for one */
    struct api_reply reply;
    struct srv_stream *stream; /* owned; NULL: the answer is whole */
    int file;                  /* owned, in place of the reply's body; -1: none */
    uint64_t file_offset, file_length;
    bool gzip;           /* the client takes it */
    bool refused_coding; /* the body came in one that is not taken */
    bool close;          /* the connection ends with this answer */
    bool gone;           /* nobody reads it */
};

/* What http.c is to do with the connection next. */
enum srv_verdict {
    SRV_GO_ON, /* nothing: more is to come, or it is suspended */
    SRV_SEND,  /* queue exchange->reply */
    SRV_CLOSE, /* close the connection without a word */
};

enum srv_ending { SRV_ENDED_WELL, SRV_ENDED_LATE, SRV_ENDED_BROKEN, SRV_ENDED_STOPPED };

/* exchange.c: NULL when there is no memory. */
struct srv_exchange *srv_exchange_create(struct srv_http *http, struct MHD_Connection *connection,
                                         struct srv_watch *watch, const char *uri);
void srv_exchange_unref(struct srv_exchange *exchange);
/* record.c: counts and logs the one line of a request. */
void srv_exchange_record(struct srv_exchange *exchange, int status, size_t bytes);
/* The model that the endpoint or the path names; "": none is known. */
const char *srv_exchange_model(const struct srv_exchange *exchange);
/* Members of a log line, with a leading comma: what the answer was, where the time went, and the trace. */
void srv_exchange_describe(const struct srv_exchange *exchange, const struct api_reply *reply,
                           char out[SRV_DESCRIPTION_SIZE]);
/* `method` as a constant, NULL when it is an unusual one. */
const char *srv_exchange_known_method(const char *method);
/* What the request says of itself: an X-Request-Id in place of the one that was made, traceparent, User-Agent. */
void srv_exchange_identify(struct srv_exchange *exchange);
/* Makes the answer the caller's to give, and gives up what came with the request; false after another. */
bool srv_exchange_claim(struct srv_exchange *exchange);
/* outcome.c: what the headers of the request make of an answer that is there: a problem when it is of another version than they
 * insist on (412), nothing when it is known already (304), fewer bytes when they may be coded. */
bool srv_exchange_is_wanted(const struct srv_exchange *exchange, const struct api_reply *reply,
                            struct api_problem *problem);
bool srv_exchange_is_known(const struct srv_exchange *exchange, const struct api_reply *reply);
void srv_exchange_make_known(struct api_reply *reply);
void srv_exchange_code(const struct srv_exchange *exchange, struct api_reply *reply);
/* Sends the answer that was claimed. */
void srv_exchange_send(struct srv_exchange *exchange, struct api_reply *reply);
/* Gives up the duty to answer, after which the server may be torn down. */
void srv_exchange_settle(struct srv_exchange *exchange);
/* Room for one problem to be rendered without memory; false when there is none even now. */
bool srv_exchange_reserve(struct srv_exchange *exchange);
/* The problem as a reply, by whoever has the duty to answer; the caller releases it or hands it on. */
void srv_exchange_render_problem(struct srv_exchange *exchange, const struct api_problem *problem,
                                 struct api_reply *reply);
/* The value of Server-Timing; `total` in seconds. */
void srv_timings_render(const struct api_timings *timings, double total, char out[SRV_TIMINGS_SIZE]);
/* Every header of an answer but those about its length. */
void srv_exchange_each_header(const struct srv_exchange *exchange, const struct api_reply *reply,
                              void (*visit)(void *context, const char *name, const char *value),
                              void *context);

/* Whether the route tells health: asked by probes, under any name and until the very end; with metrics, what is asked all the time. */
bool srv_is_health(const char *route);
bool srv_is_probe(const char *route);

/* request.c: the stages, all called by the connection's event thread. */
enum srv_verdict srv_request_start(struct srv_exchange *exchange, const char *method, const char *version);
enum srv_verdict srv_request_take(struct srv_exchange *exchange, const void *data, size_t size);
enum srv_verdict srv_request_finish(struct srv_exchange *exchange);
/* The connection has done with the exchange; `status` is what libmicrohttpd answered by itself, or 0. */
void srv_request_end(struct srv_exchange *exchange, enum srv_ending ending, int status);
/* srv_watcher_late for bodies: writes a 408; `context` is the exchange. */
void srv_request_late(int socket, void *context);

/* head.c: takes the blanks at the end off all values (RFC 9110, 5.5), joins what came in several lines and is one list, and keeps
 * what is to be said against the lines. Before anything else looks at the headers. `method` and `version`: as they lie in memory. */
void srv_head_read(struct srv_exchange *exchange, const char *method, const char *version);
/* The header, in one piece; "" when absent. */
const char *srv_head_value(const struct srv_exchange *exchange, const char *name);
void srv_head_release(struct srv_exchange *exchange);
/* What can be said against the headers alone: lines that others may read in another way, too many, a coding or an
 * expectation that is not taken. */
bool srv_head_check(struct srv_exchange *exchange, struct api_problem *problem);

/* upload.c: the body, given to the endpoint. False with a problem; an upload that had begun is then to be
 * abandoned, which the answer does. `limit`: in bytes. */
bool srv_upload_begin(struct srv_exchange *exchange, int64_t length, uint64_t limit,
                      struct api_problem *problem);
bool srv_upload_take(struct srv_exchange *exchange, const void *data, size_t size,
                     struct api_problem *problem);
void srv_upload_abandon(struct srv_exchange *exchange);

/* stream.c */
enum srv_stream_news {
    SRV_STREAM_BYTES,
    SRV_STREAM_WAIT, /* the connection has been suspended */
    SRV_STREAM_END
};
enum srv_stream_news srv_stream_read(struct srv_stream *stream, char *out, size_t size, size_t *count);
void srv_stream_close(struct srv_stream *stream, enum srv_ending ending); /* the request has ended */
void srv_stream_free(struct srv_stream *stream);                          /* NULL is fine */

/* replay.c */
void srv_detached_answer(struct srv_exchange *exchange, struct api_reply *reply);
void srv_detached_refuse(struct srv_exchange *exchange,
                         const struct api_problem *problem); /* where there is `refuse` */
void srv_detached_free(struct srv_detached *detached);       /* NULL is fine */
void srv_detached_cancel_all(struct srv_http *http);

/* admit.c: who may ask. False with a problem. */
bool srv_admit_client(struct srv_exchange *exchange, enum srv_scope scope, struct api_problem *problem);
/* The headers that let a page of an allowed origin ask, for the answer to OPTIONS. */
void srv_admit_preflight(struct srv_exchange *exchange, struct api_reply *reply);
/* Those that a page may send: what the browser asks for, when that is a list of names, otherwise all that mean something
 * here. Longer than a header of a reply may be. */
const char *srv_admit_headers(const struct srv_exchange *exchange);
/* Gives the client's share back; may be repeated. */
void srv_admit_leave(struct srv_exchange *exchange);

/* direct.c: writes a whole answer on the socket without waiting, and ends the sending side. */
void srv_direct_send(int socket, const struct srv_exchange *exchange, const struct api_reply *reply);

/* listen.c. The second: no new connections, while those that are being made still come in. */
EFM_MUST_CHECK enum efm_status srv_listen(const char *address, uint16_t port, int *socket, uint16_t *bound,
                                          struct efm_error *error);
bool srv_listen_no_more(int socket);

/* http.c: the few things that need libmicrohttpd. */
void srv_link_suspend(struct MHD_Connection *connection);
void srv_link_resume(struct MHD_Connection *connection);
const char *srv_link_header(struct MHD_Connection *connection, const char *name); /* "" when absent */
size_t srv_link_count(struct MHD_Connection *connection, const char *name);       /* how often it is there */
/* Every header as it came, in their order. */
void srv_link_each(struct MHD_Connection *connection,
                   void (*visit)(void *context, const char *name, const char *value), void *context);
/* What lies behind the head, of which `method` is the beginning; NULL when that is not known. */
const char *srv_link_head_end(struct MHD_Connection *connection, const char *method);
const char *srv_link_reason(int status);
void *srv_link_session(struct MHD_Connection *connection); /* of TLS; NULL without */
/* The peer's address as text, "" when it is none of the Internet's. */
void srv_link_address(struct MHD_Connection *connection, char *out, size_t size);

#endif
