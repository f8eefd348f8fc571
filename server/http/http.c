// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/clock.h"
#include "server/http/http_internal.h"
#include "server/http/tls.h"
#include "server/log.h"
#include "server/metrics.h"

#include <arpa/inet.h>
#include <math.h>
#include <microhttpd.h>
#include <string.h>
#include <time.h>

/* What libmicrohttpd keeps for a connection: its headers, and the pieces in which a body is read. */
enum { CONNECTION_MEMORY = 64 * 1024 };

/* How long a stopping server waits for answers that are being sent. */
enum { SEND_SECONDS = 5 };

void srv_link_suspend(struct MHD_Connection *connection)
{
    MHD_suspend_connection(connection);
}

void srv_link_resume(struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
}

const char *srv_link_header(struct MHD_Connection *connection, const char *name)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return value == NULL ? "" : value;
}

struct header_count {
    const char *name;
    size_t count;
};

static enum MHD_Result count_header(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct header_count *wanted = context;
    (void)kind;
    (void)value;
    wanted->count += strcasecmp(name, wanted->name) == 0;
    return MHD_YES;
}

size_t srv_link_count(struct MHD_Connection *connection, const char *name)
{
    struct header_count wanted = {.name = name};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_header, &wanted);
    return wanted.count;
}

struct header_visit {
    void (*visit)(void *context, const char *name, const char *value);
    void *context;
};

static enum MHD_Result visit_header(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    const struct header_visit *each = context;
    (void)kind;
    each->visit(each->context, name, value == NULL ? "" : value);
    return MHD_YES;
}

void srv_link_each(struct MHD_Connection *connection,
                   void (*visit)(void *context, const char *name, const char *value), void *context)
{
    struct header_visit each = {visit, context};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, visit_header, &each);
}

/* How a head lies in memory is not promised. It is known of these releases; later ones are strict about heads themselves. */
static bool keeps_heads_in_place(void)
{
    static const char known[] = "0.9.7";
    return strncmp(MHD_get_version(), known, sizeof known - 1) == 0;
}

const char *srv_link_head_end(struct MHD_Connection *connection, const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info == NULL || !keeps_heads_in_place() ? NULL : method + info->header_size;
}

const char *srv_link_reason(int status)
{
    return MHD_get_reason_phrase_for((unsigned)status);
}

void *srv_link_session(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info == NULL ? NULL : info->tls_session;
}

void srv_link_address(struct MHD_Connection *connection, char *out, size_t size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info == NULL ? NULL : info->client_addr;
    const char *text = NULL;
    if (address != NULL && address->sa_family == AF_INET)
        text = inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out,
                         (socklen_t)size);
    else if (address != NULL && address->sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, out,
                         (socklen_t)size);
    if (text == NULL)
        out[0] = '\0';
}

const char *srv_http_library(void)
{
    return MHD_get_version();
}

static void add_header(void *context, const char *name, const char *value)
{
    // Refused only for what no header may hold; the answer is better without it than not at all.
    enum MHD_Result added = MHD_add_response_header(context, name, value);
    (void)added;
}

static ssize_t read_stream(void *context, uint64_t position, char *out, size_t size)
{
    size_t count = 0;
    (void)position;
    switch (srv_stream_read(context, out, size, &count)) {
    case SRV_STREAM_BYTES:
        return (ssize_t)count;
    case SRV_STREAM_WAIT:
        return 0;
    case SRV_STREAM_END:
        break;
    }
    return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The stream lives until the request has ended, which is when libmicrohttpd asks no more. */
static struct MHD_Response *create_stream_response(struct srv_exchange *exchange)
{
    enum { PIECE = 16 * 1024 };
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, read_stream, exchange->stream, NULL);
    // In chunks the head alone would be followed by the last chunk, and the next answer could not be read.
    if (response != NULL && strcmp(exchange->method, "HEAD") == 0)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
}

/* The file is the response's once it is made. */
static struct MHD_Response *create_file_response(struct srv_exchange *exchange)
{
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64(exchange->file_length, exchange->file, exchange->file_offset);
    if (response != NULL)
        exchange->file = -1;
    return response;
}

/* Hands the body over without a copy. */
static enum MHD_Result send_reply(struct srv_exchange *exchange, struct MHD_Connection *connection)
{
    struct api_reply *reply = &exchange->reply;
    struct MHD_Response *response;
    if (exchange->stream != NULL) {
        response = create_stream_response(exchange);
    } else if (exchange->file >= 0) {
        response = create_file_response(exchange);
    } else if (reply->body.size == 0) {
        static char nothing[1];
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    } else {
        response =
            MHD_create_response_from_buffer_with_free_callback(reply->body.size, reply->body.data, efm_free);
    }
    if (response == NULL)
        return MHD_NO;
    if (exchange->stream == NULL && reply->body.size > 0)
        reply->body = efm_buffer_limited(0); // the response's from now on
    srv_exchange_each_header(exchange, reply, add_header, response);
    enum MHD_Result queued = MHD_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return queued;
}

static struct srv_watch *watch_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* A connection came or goes; its watch is its context. */
static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct srv_http *http = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        const double deadline = srv_clock() + http->options.idle_timeout + http->options.header_timeout;
        *socket_context = info == NULL ? NULL : srv_watcher_add(http->watcher, info->connect_fd, deadline);
    } else if (*socket_context != NULL) {
        srv_watcher_drop(http->watcher, *socket_context);
        *socket_context = NULL;
    }
    srv_metrics_add(http->service->metrics, SRV_M_HTTP_CONNECTIONS,
                    code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1, "");
}

/* The request line is there: makes the exchange. What is returned is the request's context from now on; NULL
 * (no memory) lets on_request close the connection. */
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct srv_http *http = context;
    struct srv_watch *watch = watch_of(connection);
    if (watch == NULL)
        return NULL;
    struct srv_exchange *exchange = srv_exchange_create(http, connection, watch, uri);
    if (exchange == NULL)
        return NULL;
    // the log names it whatever becomes of the request; the guard may know a better name
    srv_link_address(connection, exchange->pass.client, sizeof exchange->pass.client);
    exchange->line_uri = uri;
    exchange->line_version = uri + strlen(uri) + 1; // before escapes are decoded in place
    srv_watcher_arm(http->watcher, watch, exchange->started + http->options.header_timeout, exchange);
    return exchange;
}

/* Called after the headers, for each piece of the body, when all is there, and once more after a resume. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **request_context)
{
    struct srv_exchange *exchange = *request_context;
    enum srv_verdict verdict;
    (void)context;
    (void)url; // decoded already: the router wants it as it was sent
    if (exchange == NULL)
        return MHD_NO;
    if (exchange->phase == SRV_PHASE_HEADERS) {
        verdict = srv_request_start(exchange, method, version);
    } else if (*size > 0) {
        verdict = srv_request_take(exchange, data, *size);
        *size = 0;
    } else {
        verdict = srv_request_finish(exchange);
    }
    if (verdict == SRV_SEND)
        return send_reply(exchange, connection);
    return verdict == SRV_GO_ON ? MHD_YES : MHD_NO;
}

static enum srv_ending ending_of(enum MHD_RequestTerminationCode code)
{
    switch (code) {
    case MHD_REQUEST_TERMINATED_COMPLETED_OK:
        return SRV_ENDED_WELL;
    case MHD_REQUEST_TERMINATED_TIMEOUT_REACHED:
        return SRV_ENDED_LATE;
    case MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN:
        return SRV_ENDED_STOPPED;
    case MHD_REQUEST_TERMINATED_WITH_ERROR:
    case MHD_REQUEST_TERMINATED_READ_ERROR:
    case MHD_REQUEST_TERMINATED_CLIENT_ABORT:
        break;
    }
    return SRV_ENDED_BROKEN;
}

static void on_request_end(void *context, struct MHD_Connection *connection, void **request_context,
                           enum MHD_RequestTerminationCode code)
{
    struct srv_exchange *exchange = *request_context;
    (void)context;
    if (exchange == NULL)
        return;
    *request_context = NULL;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_HTTP_STATUS);
    srv_request_end(exchange, ending_of(code), info == NULL ? 0 : (int)info->http_status);
}

static enum efm_status start_daemon(struct srv_http *http, const char *address, struct efm_error *error)
{
    const struct srv_http_options *options = &http->options;
    int socket;
    enum efm_status status = srv_listen(address, options->port, &socket, &http->port, error);
    if (status != EFM_OK)
        return status;
    http->listener = socket;
    unsigned threads = options->event_threads;
    if (threads > options->connection_limit)
        threads = options->connection_limit; // each takes a share of the connections
    const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                           (http->tls ? MHD_USE_TLS : 0u) |
                           (MHD_is_feature_supported(MHD_FEATURE_EPOLL) ? MHD_USE_EPOLL : MHD_USE_POLL);
    struct MHD_OptionItem extra[5] = {{MHD_OPTION_END, 0, NULL}};
    size_t count = 0;
    if (threads > 1) // a pool of one is no pool
        extra[count++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL};
    if (http->tls) {
        extra[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, options->tls->certificate};
        extra[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, options->tls->key};
        extra[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)srv_tls_priorities};
    }
    extra[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_CONNECTION_LIMIT,
        options->connection_limit, MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_request_end, http, MHD_OPTION_ARRAY, extra, MHD_OPTION_END);
    // libmicrohttpd owns the socket, and closes it when it cannot start.
    if (http->daemon == NULL)
        return efm_error_set(error, EFM_E_INTERNAL, "libmicrohttpd cannot start on %.64s port %u", address,
                             (unsigned)http->port);
    return EFM_OK;
}

static enum efm_status init_locks(struct srv_http *http, struct efm_error *error)
{
    if (!srv_condition_init(&http->settled))
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the server's locks");
    pthread_mutex_init(&http->mutex, NULL);
    return EFM_OK;
}

/* What never changes, and what must be there before it first happens: a counter that begins with 1 has not risen. */
static void init_metrics(const struct srv_http *http)
{
    struct srv_metrics *metrics = http->service->metrics;
    const struct srv_tls *tls = http->options.tls;
    srv_metrics_set(metrics, SRV_M_HTTP_CONNECTIONS_MOST, http->options.connection_limit, "");
    srv_metrics_set(metrics, SRV_M_READY, 1, "");
    if (tls != NULL && tls->expires < INT64_MAX)
        srv_metrics_set(metrics, SRV_M_TLS_EXPIRY, (double)tls->expires, "");
    for (int code = API_P_NONE + 1; code < API_P_COUNT; code++)
        srv_metrics_add(metrics, SRV_M_PROBLEMS, 0, "code=\"%s\"", api_problem_code_name(code));
}

enum efm_status srv_http_create(struct srv_http **http, const struct srv_http_options *options,
                                struct srv_service *service, struct efm_error *error)
{
    struct srv_http *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the server");
    made->options = *options;
    made->options.address = NULL;
    made->tls = options->tls != NULL;
    if (made->options.header_timeout <= 0 || made->options.header_timeout > options->body_timeout)
        made->options.header_timeout = options->body_timeout;
    made->service = service;
    made->budget.limit = options->max_buffered;
    enum efm_status status = init_locks(made, error);
    if (status != EFM_OK) {
        efm_free(made);
        return status;
    }
    double tick = fmin(options->body_timeout, made->options.header_timeout) / 8;
    tick = tick < 0.01 ? 0.01 : tick > 0.25 ? 0.25 : tick;
    status = srv_watcher_create(&made->watcher, tick, srv_request_late, error);
    // Before the first request can come.
    *http = made;
    service->http = made;
    init_metrics(made);
    if (status == EFM_OK)
        status = start_daemon(made, options->address, error);
    made->options.tls = NULL; // lent for the start alone
    if (status != EFM_OK) {
        *http = service->http = NULL;
        srv_http_destroy(made);
    }
    return status;
}

uint16_t srv_http_port(const struct srv_http *http)
{
    return http->port;
}

bool srv_http_draining(const struct srv_http *http)
{
    return atomic_load(&http->announced);
}

void srv_http_announce_drain(struct srv_http *http)
{
    atomic_store(&http->announced, true);
    srv_metrics_set(http->service->metrics, SRV_M_READY, 0, "");
}

void srv_http_drain(struct srv_http *http)
{
    srv_http_announce_drain(http);
    atomic_store(&http->draining, true);
}

void srv_http_close_door(struct srv_http *http, double seconds)
{
    static const double quiet = 0.2; // a client that was let in has sent its request by then
    const double until = srv_clock() + seconds;
    size_t begun;
    srv_listen_no_more(http->listener);
    do {
        const struct timespec pause = srv_clock_moment(quiet);
        begun = atomic_load(&http->begun);
        nanosleep(&pause, NULL);
    } while ((atomic_load(&http->begun) != begun || atomic_load(&http->pending) > 0) && srv_clock() < until);
}

size_t srv_http_pending(const struct srv_http *http)
{
    return atomic_load(&http->pending);
}

size_t srv_http_body_bytes(const struct srv_http *http)
{
    return atomic_load(&http->budget.used);
}

/* Every flag set, every deferred exchange answered, every answer sent or given up. */
static void settle(struct srv_http *http)
{
    srv_http_drain(http);
    pthread_mutex_lock(&http->mutex);
    http->stopping = true;
    pthread_mutex_unlock(&http->mutex);
    srv_watcher_cancel_all(http->watcher);
    srv_detached_cancel_all(http);

    pthread_mutex_lock(&http->mutex);
    while (http->handling > 0)
        pthread_cond_wait(&http->settled, &http->mutex);
    const double until = srv_clock() + SEND_SECONDS;
    while (http->sending > 0 && srv_clock() < until)
        srv_condition_wait(&http->settled, &http->mutex, until);
    pthread_mutex_unlock(&http->mutex);
}

void srv_http_destroy(struct srv_http *http)
{
    if (http == NULL)
        return;
    if (http->daemon != NULL) {
        settle(http);
        MHD_stop_daemon(http->daemon);
    }
    srv_watcher_destroy(http->watcher);
    pthread_cond_destroy(&http->settled);
    pthread_mutex_destroy(&http->mutex);
    efm_free(http);
}
