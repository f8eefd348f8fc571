// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/outbound.h"

#include "core/base/memory.h"
#include "server/jobs/outbound_address.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    MAX_URL = 2048,
    MAX_HEADERS = 256 << 10, // bytes of the headers of an answer
    CONNECT_SECONDS = 15,    // at most, within the time of the whole request
    SLOW_BYTES = 1000,       // a second,
    SLOW_SECONDS = 60,       // for so long: given up
    MAX_DECODINGS = 4        // of a path that is escaped again and again
};

/* A URL taken apart by the library that goes to it, so that what is checked is what is used. */
struct target {
    CURLU *url;
    char *scheme, *host, *port, *path; /* owned by libcurl */
};

struct prefix {
    struct target target;
    size_t path; /* bytes of its path that count: without '/' at the end */
};

struct srv_outbound {
    struct prefix *prefixes;
    size_t prefix_count;
    struct srv_networks networks;
    bool library; /* libcurl counts those who use it */
};

/* ---- URLs ---- */

static void release_target(struct target *target)
{
    curl_free(target->scheme);
    curl_free(target->host);
    curl_free(target->port);
    curl_free(target->path);
    curl_url_cleanup(target->url);
    *target = (struct target){0};
}

/* libcurl repairs what it can; what needs repair may be read differently by somebody else, and is refused: white
 * space, backslashes, more slashes than two, anything but ASCII (names are written in their xn-- form). */
static bool is_plain(const char *url)
{
    const size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                          : strncasecmp(url, "https://", 8) == 0 ? 8
                                                                 : 0;
    if (scheme == 0 || url[scheme] == '/' || url[scheme] == '\0')
        return false;
    size_t length = 0;
    for (; url[length] != '\0'; length++) {
        const char c = url[length];
        if (length >= MAX_URL || c <= ' ' || c > '~' || c == '\\')
            return false;
    }
    return memchr(url + scheme, '@', strcspn(url + scheme, "/?#")) == NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes one layer of %xx in place; false when there was none. */
static bool decode_path(char *path)
{
    char *out = path;
    bool found = false;
    for (const char *in = path; *in != '\0'; in++) {
        const int high = in[0] == '%' ? hex_digit(in[1]) : -1;
        const int low = high >= 0 ? hex_digit(in[2]) : -1;
        if (low < 0) {
            *out++ = *in;
            continue;
        }
        found = true;
        *out++ = high == 0 && low == 0 ? '?' : (char)(high * 16 + low); // no NUL: it would end the text
        in += 2;
    }
    *out = '\0';
    return found;
}

/* Is a segment "." or "..", parameters after a ';' apart? */
static bool climbs(const char *path)
{
    while (*path != '\0') {
        const size_t separator = strcspn(path, "/\\");
        const size_t name = strcspn(path, "/\\;");
        if ((name == 1 && path[0] == '.') || (name == 2 && path[0] == '.' && path[1] == '.'))
            return true;
        path += separator + (path[separator] != '\0');
    }
    return false;
}

/* libcurl takes "." and ".." out of a path; a server may see more of them, once it has undone escapes. */
static enum efm_status check_path(const char *path, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    bool decoded = true;
    char *copy = efm_copy_string(path);
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    for (int i = 0; i <= MAX_DECODINGS && decoded && status == EFM_OK; i++) {
        if (climbs(copy))
            status = efm_error_set(error, EFM_E_ARGUMENT, "the path has hidden dot segments");
        decoded = decode_path(copy);
    }
    if (status == EFM_OK && decoded)
        status = efm_error_set(error, EFM_E_ARGUMENT, "the path is escaped too often");
    efm_free(copy);
    return status;
}

static enum efm_status from_library(CURLUcode code, struct efm_error *error)
{
    if (code == CURLUE_OK)
        return EFM_OK;
    if (code == CURLUE_OUT_OF_MEMORY)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    return efm_error_set(error, EFM_E_ARGUMENT, "it is no URL: %s", curl_url_strerror(code));
}

/* On failure the target holds nothing. */
static enum efm_status parse_target(struct target *target, const char *url, struct efm_error *error)
{
    *target = (struct target){0};
    if (!is_plain(url))
        return efm_error_set(
            error, EFM_E_ARGUMENT,
            "it must begin with http:// or https:// and a host, without user information, and be "
            "printable ASCII without spaces and backslashes, at most %d bytes",
            MAX_URL);
    target->url = curl_url();
    if (target->url == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    CURLUcode code = curl_url_set(target->url, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    if (code == CURLUE_OK)
        code = curl_url_get(target->url, CURLUPART_SCHEME, &target->scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(target->url, CURLUPART_HOST, &target->host, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(target->url, CURLUPART_PORT, &target->port, CURLU_DEFAULT_PORT);
    if (code == CURLUE_OK)
        code = curl_url_get(target->url, CURLUPART_PATH, &target->path, 0);
    enum efm_status status = from_library(code, error);
    char *zone = NULL;
    if (status == EFM_OK &&
        (target->host[0] == '\0' || strchr(target->host, '%') != NULL || strcmp(target->port, "0") == 0 ||
         curl_url_get(target->url, CURLUPART_ZONEID, &zone, 0) == CURLUE_OK))
        status = efm_error_set(error, EFM_E_ARGUMENT, "its host or port is none");
    curl_free(zone);
    if (status == EFM_OK)
        status = check_path(target->path, error);
    if (status != EFM_OK)
        release_target(target);
    return status;
}

static bool begins_with(const struct target *target, const struct prefix *prefix)
{
    if (strcmp(target->scheme, prefix->target.scheme) != 0 ||
        strcasecmp(target->host, prefix->target.host) != 0 ||
        strcmp(target->port, prefix->target.port) != 0 ||
        strncmp(target->path, prefix->target.path, prefix->path) != 0)
        return false;
    const char after = target->path[prefix->path];
    return after == '/' || after == '\0';
}

static enum efm_status check_target(const struct srv_outbound *outbound, const struct target *target,
                                    struct efm_error *error)
{
    bool allowed = false;
    for (size_t i = 0; i < outbound->prefix_count && !allowed; i++)
        allowed = begins_with(target, &outbound->prefixes[i]);
    if (!allowed)
        return efm_error_set(error, EFM_E_ARGUMENT, "%s://%.80s:%s is not within the allowed prefixes",
                             target->scheme, target->host, target->port);
    if (!srv_networks_allow_literal(&outbound->networks, target->host))
        return efm_error_set(error, EFM_E_ARGUMENT, "%.80s is not a public address", target->host);
    return EFM_OK;
}

bool srv_outbound_check(const struct srv_outbound *outbound, const char *url, const char *pointer,
                        struct api_problem *problem)
{
    struct efm_error error = {0};
    struct target target;
    enum efm_status status = parse_target(&target, url, &error);
    if (status == EFM_OK)
        status = check_target(outbound, &target, &error);
    release_target(&target);
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

static enum efm_status parse_prefix(struct prefix *prefix, const char *word, size_t length,
                                    struct efm_error *error)
{
    struct efm_error reason = {0};
    char text[MAX_URL + 1];
    if (length >= sizeof text)
        return efm_error_set(error, EFM_E_ARGUMENT, "a prefix of %zu bytes is too long", length);
    memcpy(text, word, length);
    text[length] = '\0';
    if (strpbrk(text, "?#") != NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "the prefix %.100s has a query or a fragment", text);
    enum efm_status status = parse_target(&prefix->target, text, &reason);
    if (status != EFM_OK)
        return efm_error_set(error, status, "the prefix %.60s is refused: %.160s",
                             strchr(text, '@') == NULL ? text : "with an '@'", reason.message);
    prefix->path = strlen(prefix->target.path);
    while (prefix->path > 0 && prefix->target.path[prefix->path - 1] == '/')
        prefix->path--;
    return EFM_OK;
}

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
            parse_prefix(&outbound->prefixes[outbound->prefix_count], word, length, error);
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
        release_target(&outbound->prefixes[i].target);
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
    double asked;            /* when go_on was, the last time */
    enum efm_status stopped; /* why a function below ended it */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

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
    (void)data;
    transfer->header_bytes += unit * count;
    if (transfer->header_bytes <= MAX_HEADERS)
        return unit * count;
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
    if (now() - transfer->asked < 0.5)
        return 0;
    transfer->asked = now();
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

static bool set_where(CURL *easy, const struct target *target, struct transfer *transfer)
{
    return curl_easy_setopt(easy, CURLOPT_CURLU, target->url) == CURLE_OK &&
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

/* What became of it; the message names the origin of the target alone. */
static enum efm_status outcome(CURL *easy, CURLcode code, const struct transfer *transfer,
                               const struct target *target, struct efm_error *error)
{
    const char *reason = curl_easy_strerror(code);
    enum efm_status status = EFM_E_IO;
    long system = 0;
    if (code == CURLE_OK)
        return EFM_OK;
    if (transfer->stopped == EFM_E_ARGUMENT) {
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
    return efm_error_set(error, status, "%s://%.80s:%s: %s", target->scheme, target->host, target->port,
                         reason);
}

static enum efm_status run(CURL *easy, struct transfer *transfer, const struct target *target, int *status,
                           struct efm_error *error)
{
    struct curl_slist *headers = NULL;
    enum efm_status result = make_headers(&headers, transfer->request->headers, error);
    if (result == EFM_OK && !(set_where(easy, target, transfer) && set_bounds(easy, transfer) &&
                              set_what(easy, transfer->request, headers)))
        result = efm_error_set(error, EFM_E_MEMORY, "no memory for a request");
    if (result == EFM_OK) {
        long answered = 0;
        const CURLcode code = curl_easy_perform(easy);
        result = outcome(easy, code, transfer, target, error);
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
    struct transfer transfer = {.outbound = outbound, .request = request, .asked = now()};
    struct target target;
    *status = 0;
    enum efm_status result = parse_target(&target, request->url, error);
    if (result != EFM_OK)
        return result;
    result = check_target(outbound, &target, error);
    if (result == EFM_OK) {
        CURL *easy = curl_easy_init();
        if (easy == NULL)
            result = efm_error_set(error, EFM_E_MEMORY, "no memory for a request");
        else
            result = run(easy, &transfer, &target, status, error);
        curl_easy_cleanup(easy);
    }
    release_target(&target);
    return result;
}
