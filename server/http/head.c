// SPDX-License-Identifier: Apache-2.0
#include "server/http/coding.h"
#include "server/http/http_internal.h"

#include <string.h>
#include <strings.h>

/* What libmicrohttpd can hold is more, and past that it answers by itself. */
enum { HEADERS_MOST = 128, HEADER_BYTES_MOST = 32 * 1024, TARGET_MOST = 16 * 1024 };

/* What one header after the other tells of all. */
struct head {
    size_t count, bytes, hosts;
    bool broken;
    const char *end; /* of the value before, its zero; NULL: none yet */
};

/* libmicrohttpd cuts the head into names and values where it lies, with zeros. So a value follows its name with nothing but
 * blanks between, and a name the value before with nothing but zeros. When that is not so, a NUL has hidden a part of the
 * line, or a line that begins with a blank was sewn to the name before. */
static void look_at_header(void *context, const char *name, const char *value)
{
    struct head *head = context;
    const size_t length = strlen(name), size = strlen(value);
    const char *start = name + length + 1, *next = head->end;
    head->count++;
    head->bytes += length + size;
    head->hosts += strcasecmp(name, "Host") == 0;
    // a proxy that takes the name without the blank, or the value as two lines, sees another request than we do
    head->broken |= length == 0 || srv_token_length(name) != length || strpbrk(value, "\r\n") != NULL;
    head->broken |= start + strspn(start, " \t") != value;
    while (next != NULL && next != name && (*next == '\0' || *next == ' ' || *next == '\t'))
        next++;
    head->broken |= next != NULL && next != name;
    head->end = value + size;
}

/* After the last value there is nothing but the end of two lines: one without a name would have ended the head too early. */
static bool ends_well(const struct head *head, const char *end)
{
    size_t count = 0;
    for (const char *at = head->end; at != NULL && at < end; at++) {
        if (*at != '\0' && strchr(" \t\r\n", *at) == NULL)
            return false;
        count += *at != ' ' && *at != '\t';
    }
    return count <= strlen("\r\n\r\n");
}

static bool check_lines(const struct srv_exchange *exchange, struct api_problem *problem)
{
    struct head head = {0};
    if (strlen(exchange->uri) > TARGET_MOST)
        return api_problem_set(problem, API_P_URI_TOO_LONG, NULL, "path and query have more than %d bytes",
                               TARGET_MOST);
    srv_link_each(exchange->connection, look_at_header, &head);
    if (head.count > HEADERS_MOST || head.bytes > HEADER_BYTES_MOST)
        return api_problem_set(problem, API_P_HEADERS_TOO_LARGE, NULL,
                               "%zu headers of %zu bytes; %d and %d are the most", head.count, head.bytes,
                               HEADERS_MOST, HEADER_BYTES_MOST);
    if (head.broken || !ends_well(&head, exchange->head_end))
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               "a header is no line of a name, a colon and a value");
    return head.hosts <= 1 ||
           api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL, "the Host is given more than once");
}

bool srv_head_check(struct srv_exchange *exchange, struct api_problem *problem)
{
    struct MHD_Connection *connection = exchange->connection;
    const char *expect = srv_link_header(connection, "Expect");
    const char *coding = srv_link_header(connection, "Content-Encoding");
    if (!check_lines(exchange, problem))
        return false;
    if (expect[0] != '\0' && strcasecmp(expect, "100-continue") != 0)
        return api_problem_set(problem, API_P_EXPECTATION, NULL, "only 100-continue can be expected");
    exchange->refused_coding = srv_link_count(connection, "Content-Encoding") > 1 || srv_is_coded(coding);
    return !exchange->refused_coding ||
           api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                           "the body is coded by %.60s; it is taken as it is alone", coding);
}
