// SPDX-License-Identifier: Apache-2.0
#include "server/http/coding.h"
#include "server/http/http_internal.h"

#include <string.h>
#include <strings.h>

/* What libmicrohttpd can hold is more, and past that it answers by itself. */
enum { HEADERS_MOST = 128, HEADER_BYTES_MOST = 32 * 1024, TARGET_MOST = 16 * 1024 };

/* The library has read the Transfer-Encoding by now, as it stands, and so do we. The value lies in its own buffer of the
 * request. */
static void trim(const char *name, const char *value, size_t size)
{
    char *text = (char *)(uintptr_t)value;
    if (strcasecmp(name, "Transfer-Encoding") == 0)
        return;
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t'))
        text[--size] = '\0';
}

/* Where it lies libmicrohttpd cuts the head into names and values, with zeros. So a value follows its name with nothing but
 * blanks between, and a name the line before with nothing but the zeros that were its end, CR LF or LF alone. When that is not
 * so, a NUL has hidden a part of the line, or a line that begins with a blank was sewn to the name before. */
static void look_at_header(void *context, const char *name, const char *value)
{
    struct srv_head *head = context;
    const size_t length = strlen(name), size = strlen(value);
    const char *start = name + length + 1, *end = head->end;
    head->count++;
    head->bytes += length + size;
    head->hosts += strcasecmp(name, "Host") == 0;
    // a proxy that takes the name without the blank, or the value as two lines, sees another request than we do
    head->broken |= length == 0 || srv_token_length(name) != length || strpbrk(value, "\r\n") != NULL;
    if (!head->in_place)
        return;
    head->broken |= start + strspn(start, " \t") != value;
    head->broken |= name != end + 1 && (name != end + 2 || end[1] != '\0');
    head->end = value + size;
}

static void visit_header(void *context, const char *name, const char *value)
{
    look_at_header(context, name, value);
    trim(name, value, strlen(value));
}

/* The three parts of the request line: after the method blanks may follow, the version stands right behind the uri, which ended
 * at its first NUL for us, and at the last blank for libmicrohttpd. */
static bool is_one_line(const struct srv_exchange *exchange, const char *method, const char *version)
{
    const char *at = method + strlen(method) + 1;
    while (at < exchange->line_uri && *at == ' ')
        at++;
    return at == exchange->line_uri && version == exchange->line_version;
}

/* After the last line there is nothing but the end of two lines: one without a name would have ended the head too early. */
static bool ends_well(const struct srv_head *head, const char *end)
{
    size_t count = 0;
    for (const char *at = head->end; at < end; at++) {
        if (*at != '\0' && strchr(" \t\r\n", *at) == NULL)
            return false;
        count += *at != ' ' && *at != '\t';
    }
    return count <= strlen("\r\n\r\n");
}

/* ---- lists ---- */

/* Headers that are lists: several lines are one list (RFC 9110, 5.3). */
static const struct {
    const char *name;
    bool tags; /* a list without a member is a condition all the same, and none that could be met */
} lists[SRV_LISTS] = {{"Accept", false},
                      {"Accept-Encoding", false},
                      {"If-Match", true},
                      {"If-None-Match", true},
                      {"Prefer", false}};

struct join {
    const char *name;
    struct efm_buffer *out;
    size_t lines;
};

static void join_line(void *context, const char *name, const char *value)
{
    struct join *join = context;
    if (strcasecmp(name, join->name) != 0)
        return;
    if (join->lines++ > 0)
        efm_buffer_append_string(join->out, ", ");
    efm_buffer_append_string(join->out, value);
}

static void join_list(struct srv_exchange *exchange, size_t list)
{
    struct efm_buffer *out = &exchange->head.lists[list];
    struct join join = {.name = lists[list].name, .out = out};
    const size_t lines = srv_link_count(exchange->connection, join.name);
    const bool empty = lines == 1 && srv_link_header(exchange->connection, join.name)[0] == '\0';
    if (lines < 2 && !(empty && lists[list].tags))
        return;
    *out = efm_buffer_limited(2 * HEADER_BYTES_MOST);
    srv_link_each(exchange->connection, join_line, &join);
    if (empty)
        efm_buffer_append_string(out, ",");
    efm_buffer_append(out, "", 1);
}

void srv_head_read(struct srv_exchange *exchange, const char *method, const char *version)
{
    struct srv_head *head = &exchange->head;
    head->in_place = exchange->head_end != NULL;
    head->old = strcmp(version, "HTTP/1.0") == 0;
    head->broken = head->in_place && !is_one_line(exchange, method, version);
    head->end = version + strlen(version);
    srv_link_each(exchange->connection, visit_header, head);
    for (size_t i = 0; i < SRV_LISTS; i++)
        join_list(exchange, i);
}

const char *srv_head_value(const struct srv_exchange *exchange, const char *name)
{
    for (size_t i = 0; i < SRV_LISTS; i++) {
        const struct efm_buffer *list = &exchange->head.lists[i];
        if (list->size > 0 && list->status == EFM_OK && strcasecmp(lists[i].name, name) == 0)
            return (const char *)list->data;
    }
    return srv_link_header(exchange->connection, name);
}

void srv_head_release(struct srv_exchange *exchange)
{
    for (size_t i = 0; i < SRV_LISTS; i++)
        efm_buffer_release(&exchange->head.lists[i]);
}

/* Half of a list is none. */
static bool check_lists(const struct srv_exchange *exchange, struct api_problem *problem)
{
    bool good = true;
    for (size_t i = 0; i < SRV_LISTS; i++)
        good &= exchange->head.lists[i].status == EFM_OK;
    if (good)
        return true;
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "there is no memory for the headers now");
}

/* ---- checks ---- */

/* An absolute form names the host once more, and a proxy goes by that one (RFC 9112, 3.2.2). */
static bool names_one_host(const struct srv_exchange *exchange)
{
    const char *host = srv_link_header(exchange->connection, "Host");
    size_t length;
    const char *authority = srv_target_authority(exchange->uri, &length);
    return authority == NULL || exchange->head.hosts == 0 ||
           (strlen(host) == length && strncasecmp(authority, host, length) == 0);
}

static bool check_lines(const struct srv_exchange *exchange, struct api_problem *problem)
{
    const struct srv_head *head = &exchange->head;
    if (strlen(exchange->uri) > TARGET_MOST)
        return api_problem_set(problem, API_P_URI_TOO_LONG, NULL, "path and query have more than %d bytes",
                               TARGET_MOST);
    if (head->count > HEADERS_MOST || head->bytes > HEADER_BYTES_MOST)
        return api_problem_set(problem, API_P_HEADERS_TOO_LARGE, NULL,
                               "%zu headers of %zu bytes; %d and %d are the most", head->count, head->bytes,
                               HEADERS_MOST, HEADER_BYTES_MOST);
    if (head->broken || (head->in_place && !ends_well(head, exchange->head_end)))
        return api_problem_set(
            problem, API_P_MALFORMED_REQUEST, NULL,
            "a header is no line of a name, a colon and a value, or a NUL is in the first line");
    if (head->hosts > 1)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL, "the Host is given more than once");
    return names_one_host(exchange) || api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                                                       "the path is of another host than the Host header");
}

bool srv_head_check(struct srv_exchange *exchange, struct api_problem *problem)
{
    struct MHD_Connection *connection = exchange->connection;
    const char *expect = srv_link_header(connection, "Expect");
    const char *coding = srv_link_header(connection, "Content-Encoding");
    if (!check_lines(exchange, problem) || !check_lists(exchange, problem))
        return false;
    if (expect[0] != '\0' && strcasecmp(expect, "100-continue") != 0)
        return api_problem_set(problem, API_P_EXPECTATION, NULL, "only 100-continue can be expected");
    exchange->refused_coding = srv_link_count(connection, "Content-Encoding") > 1 || srv_is_coded(coding);
    return !exchange->refused_coding ||
           api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                           "the body is coded by %.60s; it is taken as it is alone", coding);
}
