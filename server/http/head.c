// SPDX-License-Identifier: Apache-2.0
#include "server/http/coding.h"
#include "server/http/http_internal.h"

#include <string.h>
#include <strings.h>

/* What libmicrohttpd can hold is more, and past that it answers by itself. */
enum { HEADERS_MOST = 128, HEADER_BYTES_MOST = 32 * 1024, TARGET_MOST = 16 * 1024 };

static bool check_sizes(const struct srv_exchange *exchange, struct api_problem *problem)
{
    size_t count, bytes;
    if (strlen(exchange->uri) > TARGET_MOST)
        return api_problem_set(problem, API_P_URI_TOO_LONG, NULL, "path and query have more than %d bytes",
                               TARGET_MOST);
    srv_link_measure(exchange->connection, &count, &bytes);
    if (count > HEADERS_MOST || bytes > HEADER_BYTES_MOST)
        return api_problem_set(problem, API_P_HEADERS_TOO_LARGE, NULL,
                               "%zu headers of %zu bytes; %d and %d are the most", count, bytes, HEADERS_MOST,
                               HEADER_BYTES_MOST);
    return true;
}

bool srv_head_check(struct srv_exchange *exchange, struct api_problem *problem)
{
    struct MHD_Connection *connection = exchange->connection;
    const char *expect = srv_link_header(connection, "Expect");
    const char *coding = srv_link_header(connection, "Content-Encoding");
    if (!check_sizes(exchange, problem))
        return false;
    if (expect[0] != '\0' && strcasecmp(expect, "100-continue") != 0)
        return api_problem_set(problem, API_P_EXPECTATION, NULL, "only 100-continue can be expected");
    exchange->refused_coding = srv_link_count(connection, "Content-Encoding") > 1 || srv_is_coded(coding);
    return !exchange->refused_coding ||
           api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                           "the body is coded by %.60s; it is taken as it is alone", coding);
}
