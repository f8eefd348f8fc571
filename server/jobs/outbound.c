// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/outbound.h"

#include "core/base/memory.h"
#include "server/clock.h"
#include "server/jobs/outbound_address.h"
#include "server/jobs/outbound_url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    MAX_HEADERS = 256 << 10, // bytes of the headers of an answer
    CONNECT_SECONDS = 15,    // at most, within the time of the whole request
    SLOW_BYTES = 1000,       // a second,
    SLOW_SECONDS = 60        // for so long: given up
};

struct srv_outbound {
    struct srv_url_prefix *prefixes;
    size_t prefix_count;
    struct srv_networks networks;
    bool library; /* libcurl counts those who use it */
};

static enum efm_status check_url(const struct srv_outbound *outbound, const struct srv_url *url,
                                 struct efm_error *error)
{
    bool allowed = false;
    for (size_t i = 0; i < outbound->prefix_count && !allowed; i++)
        allowed = srv_url_begins_with(url, &outbound->prefixes[i]);
    if (!allowed)
        return efm_error_set(error, EFM_E_ARGUMENT, "%s://%.80s:%s is not within the allowed prefixes",
                             url->scheme, url->host, url->port);
    if (!srv_networks_allow_literal(&outbound->networks, url->host))
        return efm_error_set(error, EFM_E_ARGUMENT, "%.80s is not a public address", url->host);
    return EFM_OK;
}

bool srv_outbound_check(const struct srv_outbound *outbound, const char *url, const char *pointer,
                        struct api_problem *problem)
{
    struct efm_error error = {0};
    struct srv_url parsed;
    enum efm_status status = srv_url_parse(&parsed, url, &error);
    if (status == EFM_OK)
        status = check_url(outbound, &parsed, &error);
    srv_url_release(&parsed);
    if (status == EFM_OK)
        return true;
    return api_problem_set(problem, status == EFM_E_MEMORY ? API_P_NO_MEMORY : API_P_URL_REFUSED, pointer,
                           "the URL is refused: %s", error.message);
}

bool srv_outbound_address_allowed(const struct srv_outbound *outbound, const struct sockaddr *address)
{
    return srv_networks_allow(&outbound->networks, address);
}

/* ---- prefixes ---- */

static enum efm_status parse_prefixes(struct srv_outbound *outbound, const char *text,
                                      struct efm_error *error)
{
    size_t length, count = 0;
    for (const char *word = srv_next_word(text, &length); word != NULL;
         word = srv_next_word(word + length, &length))
        count++;
    outbound->prefixes = efm_allocate_array(count, sizeof *outbound->prefixes);
    if (outbound->prefixes == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu prefixes", count);
    for (const char *word = srv_next_word(text, &length); word != NULL;
         word = srv_next_word(word + length, &length)) {
        enum efm_status status =
            srv_url_prefix_parse(&outbound->prefixes[outbound->prefix_count], word, length, error);
        if (status != EFM_OK)
            return status;
        outbound->prefix_count++;
    }
    return EFM_OK;
}

enum efm_status srv_outbound_create(struct srv_outbound **outbound,
                                    const struct srv_outbound_options *options, struct efm_error *error)
{
    *outbound = NULL;
    struct srv_outbound *created = efm_allocate_array(1, sizeof *created);
    if (created == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for outbound requests");
    enum efm_status status = EFM_OK;
    // counted by the library, under a lock of its own
    created->library = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (!created->library)
        status = efm_error_set(error, EFM_E_MEMORY, "libcurl does not start");
    if (status == EFM_OK)
        status = parse_prefixes(created, options->allowed, error);
    if (status == EFM_OK)
        status = srv_networks_parse(&created->networks, options->private_networks, error);
    if (status != EFM_OK) {
        srv_outbound_destroy(created);
        return status;
    }
    *outbound = created;
    return EFM_OK;
}

void srv_outbound_destroy(struct srv_outbound *outbound)
{
    if (outbound == NULL)
        return;
    for (size_t i = 0; i < outbound->prefix_count; i++)
        srv_url_release(&outbound->prefixes[i].url);
    efm_free(outbound->prefixes);
    srv_networks_release(&outbound->networks);
    if (outbound->library)
        curl_global_cleanup();
    efm_free(outbound);
}

/* ---- one request ---- */

struct transfer {
    const struct srv_outbound *outbound;
    const struct srv_outbound_request *request;
    uint64_t received;
    size_t header_bytes;
    bool head_is_whole;
    double asked;            /* when go_on was, the last time */
    enum efm_status stopped; /* why a function below ended it */
};

/* The only place where a name has become the address that is used. One forbidden address of a name spoils all that come
 * after it: a name that points both inside and outside is up to something. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *transfer = context;
    if (purpose != CURLSOCKTYPE_IPCXN || transfer->stopped != EFM_OK ||
        !srv_networks_allow(&transfer->outbound->networks, &address->addr)) {
        transfer->stopped = EFM_E_ARGUMENT;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t take_header(char *data, size_t unit, size_t count, void *context)
{
    struct transfer *transfer = context;
    const size_t size = unit * count;
    if (size > 5 && memcmp(data, "HTTP/", 5) == 0)
        transfer->head_is_whole = false; // another one, after an interim answer
    else if (size > 0 && size <= 2 && (data[0] == '\r' || data[0] == '\n'))
        transfer->head_is_whole = true;
    transfer->header_bytes += size;
    if (transfer->header_bytes <= MAX_HEADERS)
        return size;
    transfer->stopped = EFM_E_LIMIT;
    return 0;
}

static size_t take_body(char *data, size_t unit, size_t count, void *context)
{
    struct transfer *transfer = context;
    const struct srv_outbound_request *request = transfer->request;
    const size_t size = unit * count;
    if (size > request->limit - transfer->received) {
        transfer->stopped = EFM_E_LIMIT;
        return 0;
    }
    transfer->received += size;
    if (size > 0 && request->take != NULL && !request->take(request->context, (const uint8_t *)data, size)) {
        transfer->stopped = EFM_E_CANCELLED;
        return 0;
    }
    return size;
}

static int ask(void *context, curl_off_t expected, curl_off_t received, curl_off_t to_send, curl_off_t sent)
{
    struct transfer *transfer = context;
    const struct srv_outbound_request *request = transfer->request;
    (void)received, (void)to_send, (void)sent;
    // the library comes by once a second at least, and far more often while bytes flow
    if (srv_clock() - transfer->asked < 0.5)
        return 0;
    transfer->asked = srv_clock();
    if (request->go_on(request->context, transfer->received, expected > 0 ? (uint64_t)expected : 0))
        return 0;
    transfer->stopped = EFM_E_CANCELLED;
    return 1;
}

static bool is_header(const char *line)
{
    if (strchr(line, ':') == NULL)
        return false;
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < ' ' || *line == 127)
            return false;
    }
    return true;
}

/* *list is owned by the caller, on failure too. */
static enum efm_status make_headers(struct curl_slist **list, const char *const *headers,
                                    struct efm_error *error)
{
    // a body is sent at once, not after a 100
    *list = curl_slist_append(NULL, "Expect:");
    bool complete = *list != NULL;
    for (size_t i = 0; complete && headers != NULL && headers[i] != NULL; i++) {
        if (!is_header(headers[i]))
            return efm_error_set(error, EFM_E_ARGUMENT, "a header is no line of \"name: value\"");
        struct curl_slist *longer = curl_slist_append(*list, headers[i]);
        complete = longer != NULL;
        if (complete)
            *list = longer;
    }
    return complete ? EFM_OK : efm_error_set(error, EFM_E_MEMORY, "no memory for headers");
}

static bool set_where(CURL *easy, const struct srv_url *url, struct transfer *transfer)
{
    return curl_easy_setopt(easy, CURLOPT_CURLU, url->handle) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer) == CURLE_OK;
}

static bool set_bounds(CURL *easy, struct transfer *transfer)
{
    const struct srv_outbound_request *request = transfer->request;
    const double timeout = request->timeout > 86400 ? 86400 : request->timeout;
    const long most = (long)(timeout * 1000) > 0 ? (long)(timeout * 1000) : 1;
    const long connect = timeout > 0 && timeout < CONNECT_SECONDS ? most : CONNECT_SECONDS * 1000L;
    const curl_off_t limit = request->limit > INT64_MAX ? INT64_MAX : (curl_off_t)request->limit;
    bool set = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout > 0 ? most : 0L) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)SLOW_SECONDS) == CURLE_OK &&
               // of the Content-Length; bytes that come are counted by take_body
               curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, limit) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
    if (request->go_on != NULL)
        set = set && curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
              curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, ask) == CURLE_OK &&
              curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer) == CURLE_OK;
    return set;
}

static bool set_what(CURL *easy, const struct srv_outbound_request *request, struct curl_slist *headers)
{
    bool set = curl_easy_setopt(easy, CURLOPT_USERAGENT, "efmd/" EFMD_VERSION) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK;
    if (strcmp(request->method, "POST") == 0)
        set = set &&
              curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->size) == CURLE_OK &&
              curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->size > 0 ? request->body : "") == CURLE_OK;
    return set;
}

/* What became of it; the message names the origin alone. */
static enum efm_status outcome(CURL *easy, CURLcode code, const struct transfer *transfer,
                               const struct srv_url *url, struct efm_error *error)
{
    const char *reason = curl_easy_strerror(code);
    enum efm_status status = EFM_E_IO;
    long system = 0;
    if (code == CURLE_OK && transfer->head_is_whole)
        return EFM_OK;
    if (code == CURLE_OK) {
        reason = "the answer ends in its headers"; // which the library lets pass
    } else if (transfer->stopped == EFM_E_ARGUMENT) {
        status = EFM_E_ARGUMENT;
        reason = "its address is not a public one";
    } else if (transfer->stopped == EFM_E_LIMIT || code == CURLE_FILESIZE_EXCEEDED) {
        status = EFM_E_LIMIT;
        reason = "the answer is larger than the limit";
    } else if (transfer->stopped != EFM_OK) {
        status = transfer->stopped;
        reason = "it was stopped";
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        status = EFM_E_DEADLINE;
        reason = "no answer in time";
    } else if (code == CURLE_OUT_OF_MEMORY) {
        status = EFM_E_MEMORY;
    } else if (code == CURLE_COULDNT_CONNECT &&
               curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &system) == CURLE_OK && system != 0) {
        reason = strerror((int)system);
    }
    return efm_error_set(error, status, "%s://%.80s:%s: %s", url->scheme, url->host, url->port, reason);
}

static enum efm_status run(CURL *easy, struct transfer *transfer, const struct srv_url *url, int *status,
                           struct efm_error *error)
{
    struct curl_slist *headers = NULL;
    enum efm_status result = make_headers(&headers, transfer->request->headers, error);
    if (result == EFM_OK && !(set_where(easy, url, transfer) && set_bounds(easy, transfer) &&
                              set_what(easy, transfer->request, headers)))
        result = efm_error_set(error, EFM_E_MEMORY, "no memory for a request");
    if (result == EFM_OK) {
        long answered = 0;
        const CURLcode code = curl_easy_perform(easy);
        result = outcome(easy, code, transfer, url, error);
        // below 200: the answer itself never came
        if (curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answered) == CURLE_OK && answered >= 200)
            *status = (int)answered;
    }
    curl_slist_free_all(headers);
    return result;
}

enum efm_status srv_outbound_perform(struct srv_outbound *outbound,
                                     const struct srv_outbound_request *request, int *status,
                                     struct efm_error *error)
{
    struct transfer transfer = {.outbound = outbound, .request = request, .asked = srv_clock()};
    struct srv_url url;
    *status = 0;
    enum efm_status result = srv_url_parse(&url, request->url, error);
    if (result != EFM_OK)
        return result;
    result = check_url(outbound, &url, error);
    if (result == EFM_OK) {
        CURL *easy = curl_easy_init();
        if (easy == NULL)
            result = efm_error_set(error, EFM_E_MEMORY, "no memory for a request");
        else
            result = run(easy, &transfer, &url, status, error);
        curl_easy_cleanup(easy);
    }
    srv_url_release(&url);
    return result;
}
