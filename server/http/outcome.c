// SPDX-License-Identifier: Apache-2.0
#include "server/clock.h"
#include "server/http/coding.h"
#include "server/http/conditions.h"
#include "server/http/http_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Less is not worth a header; more would take long, and a handler that has not deferred holds up an event thread. */
enum { CODED_LEAST = 1024, CODED_MOST = 16 << 20, CODED_AT_ONCE = 256 * 1024 };

static bool reads(const struct srv_exchange *exchange)
{
    return strcmp(exchange->method, "GET") == 0 || strcmp(exchange->method, "HEAD") == 0;
}

/* If-Match where it is given, and only otherwise the date. */
static bool is_wanted(const struct srv_exchange *exchange, const struct api_reply *reply)
{
    const struct api_header *etag = api_reply_find(reply, "ETag");
    const struct api_header *date = api_reply_find(reply, "Last-Modified");
    const char *match = srv_exchange_header(exchange, "If-Match");
    if (match[0] != '\0') {
        const enum srv_tags tags = srv_tags_find(match, etag == NULL ? NULL : etag->value, SRV_TAGS_STRONG);
        return etag == NULL || tags == SRV_TAGS_FOUND || tags == SRV_TAGS_ANY;
    }
    int64_t modified;
    return date == NULL || !srv_date_parse(date->value, (int64_t)time(NULL), &modified) ||
           srv_unmodified_since(srv_exchange_header(exchange, "If-Unmodified-Since"), modified);
}

bool srv_exchange_is_wanted(const struct srv_exchange *exchange, const struct api_reply *reply,
                            struct api_problem *problem)
{
    const bool conditional = reply->status == 200 || reply->status == 304;
    if (!reads(exchange) || !conditional || exchange->detached != NULL || is_wanted(exchange, reply))
        return true;
    return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL,
                           "what is here is not what the request expects");
}

/* If-None-Match where it is given, and only otherwise the date. */
bool srv_exchange_is_known(const struct srv_exchange *exchange, const struct api_reply *reply)
{
    const struct api_header *etag = api_reply_find(reply, "ETag");
    const struct api_header *date = api_reply_find(reply, "Last-Modified");
    if (!reads(exchange) || reply->status != 200 || exchange->detached != NULL ||
        (etag == NULL && date == NULL))
        return false;
    const char *tags = srv_exchange_header(exchange, "If-None-Match");
    if (tags[0] != '\0')
        return etag != NULL && srv_tags_not_modified(tags, etag->value);
    const char *since = srv_exchange_header(exchange, "If-Modified-Since");
    const int64_t now = (int64_t)time(NULL);
    int64_t modified, known;
    return date != NULL && since[0] != '\0' && srv_date_parse(since, now, &known) && known <= now &&
           srv_date_parse(date->value, now, &modified) && modified <= known;
}

void srv_exchange_make_known(struct api_reply *reply)
{
    static const char *const kept[] = {"ETag", "Last-Modified", "Cache-Control", "Vary"};
    size_t count = 0;
    for (size_t i = 0; i < reply->header_count; i++) {
        for (size_t j = 0; j < sizeof kept / sizeof kept[0]; j++) {
            if (strcasecmp(reply->headers[i].name, kept[j]) == 0) {
                reply->headers[count++] = reply->headers[i];
                break;
            }
        }
    }
    reply->header_count = count;
    reply->status = 304;
    reply->content_type[0] = '\0';
    efm_buffer_release(&reply->body);
}

/* JSON of any kind, and plain text as /metrics has it; never an image, which is small already. */
static bool is_text(const char *type)
{
    char name[64];
    api_content_type(type, name, sizeof name);
    const size_t length = strlen(name);
    return strcmp(name, "application/json") == 0 || strcmp(name, "text/plain") == 0 ||
           (length > 5 && strcmp(name + length - 5, "+json") == 0);
}

/* "0123" to "0123-gzip"; false when there is no room. */
static bool mark_tag(struct api_header *etag)
{
    const size_t length = strlen(etag->value), added = strlen(SRV_GZIP_TAG);
    if (length < 2 || etag->value[length - 1] != '"' || length + added >= sizeof etag->value)
        return false;
    snprintf(etag->value + length - 1, sizeof etag->value - length + 1, "%s\"", SRV_GZIP_TAG);
    return true;
}

/* A 304 bears the tag that the client has. */
static void mark_known(const struct srv_exchange *exchange, struct api_header *etag)
{
    struct api_header marked = *etag;
    if (mark_tag(&marked) && strstr(srv_exchange_header(exchange, "If-None-Match"), marked.value) != NULL)
        *etag = marked;
}

void srv_exchange_code(const struct srv_exchange *exchange, struct api_reply *reply)
{
    const struct api_header *found = api_reply_find(reply, "ETag");
    struct api_header *etag = found == NULL ? NULL : &reply->headers[found - reply->headers];
    const size_t size = reply->body.size, most = exchange->deferred ? CODED_MOST : CODED_AT_ONCE;
    const double started = srv_clock();
    if (!exchange->gzip || exchange->file >= 0)
        return;
    if (reply->status == 304 && etag != NULL)
        mark_known(exchange, etag);
    if (size < CODED_LEAST || size > most || !is_text(reply->content_type) ||
        reply->header_count == API_REPLY_HEADERS || api_reply_find(reply, "Content-Encoding") != NULL)
        return;
    struct api_header marked = {.name = ""};
    if (etag != NULL) {
        marked = *etag;
        if (!mark_tag(&marked))
            return;
    }
    if (!srv_gzip(&reply->body))
        return;
    if (etag != NULL)
        *etag = marked;
    api_reply_header(reply, "Content-Encoding", "gzip");
    if (reply->timings.computed)
        reply->timings.encode += srv_clock() - started;
}
