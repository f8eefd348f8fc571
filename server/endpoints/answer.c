// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"

#include "core/base/sha256.h"
#include "server/http/conditions.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MOST = 64 << 20 };

void srv_answer_begin(struct api_reply *reply, int status)
{
    api_reply_init(reply, ANSWER_MOST);
    reply->status = status;
    snprintf(reply->content_type, sizeof(reply->content_type), "application/json");
}

void srv_answer_end(struct srv_exchange *exchange, struct api_reply *reply)
{
    if (reply->body.status == EFM_OK) {
        srv_exchange_reply(exchange, reply);
        return;
    }
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
    api_reply_release(reply);
    srv_exchange_problem(exchange, &problem);
}

void srv_answer_end_tagged(struct srv_exchange *exchange, struct api_reply *reply)
{
    char digest[65];
    if (reply->body.status == EFM_OK) {
        efm_sha256_hex(reply->body.data, reply->body.size, digest);
        api_reply_header(reply, "ETag", "\"%s\"", digest);
        api_reply_header(reply, "Cache-Control", "no-cache");
    }
    srv_answer_end(exchange, reply);
}

void srv_answer_modified(struct api_reply *reply, int64_t created)
{
    char date[SRV_DATE_SIZE];
    if ((int64_t)time(NULL) <= created)
        return;
    srv_date_format(created, date);
    api_reply_header(reply, "Last-Modified", "%s", date);
}

bool srv_answer_not_modified(struct srv_exchange *exchange, const char *etag)
{
    // a date comes first, and is held against that of the whole answer
    if (srv_exchange_header(exchange, "If-Unmodified-Since")[0] != '\0' ||
        !srv_tags_not_modified(srv_exchange_header(exchange, "If-None-Match"), etag))
        return false;
    struct api_reply reply;
    api_reply_init(&reply, 0);
    reply.status = 304;
    api_reply_header(&reply, "ETag", "%s", etag);
    srv_exchange_reply(exchange, &reply);
    return true;
}

/* Whether If-Match, and only where it is absent If-Unmodified-Since, is met; `given`: whether there is one of them. */
static bool is_as_expected(const struct srv_exchange *exchange, const char *etag, int64_t created,
                           bool *given)
{
    const char *header = srv_exchange_header(exchange, "If-Match");
    const char *since = srv_exchange_header(exchange, "If-Unmodified-Since");
    const enum srv_tags match = srv_tags_find(header, etag, SRV_TAGS_STRONG);
    *given = match != SRV_TAGS_ABSENT;
    if (*given)
        return match == SRV_TAGS_FOUND || (match == SRV_TAGS_ANY && etag != NULL);
    *given = etag != NULL && !srv_unmodified_since(since, INT64_MAX); // there is a date, and it is one
    return !*given || srv_unmodified_since(since, created);
}

bool srv_answer_expected(const struct srv_exchange *exchange, const char *etag, const char *sha256,
                         int64_t created, char expected[65])
{
    /* the sha256 of nothing: what changes things will find something else and refuse */
    static const char NEVER[] = "-";
    const enum srv_tags none =
        srv_tags_find(srv_exchange_header(exchange, "If-None-Match"), etag, SRV_TAGS_WEAK);
    bool given;
    bool right = is_as_expected(exchange, etag, created, &given);
    if (right && none == SRV_TAGS_ANY) {
        expected[0] = '\0';
        return true;
    }
    right = right && none != SRV_TAGS_FOUND && none != SRV_TAGS_MALFORMED && none != SRV_TAGS_ANY;
    if (right && !given)
        return false;
    snprintf(expected, 65, "%s", right ? sha256 : NEVER);
    return true;
}

/* ---- models and datasets ---- */

void srv_model_etag(const struct srv_model_facts *facts, char etag[SRV_ETAG_SIZE])
{
    snprintf(etag, SRV_ETAG_SIZE, "\"%s\"", facts->sha256);
}

void srv_dataset_etag(const struct srv_dataset_facts *facts, char etag[SRV_ETAG_SIZE])
{
    char query[65];
    efm_sha256_hex(facts->query, strlen(facts->query), query);
    if (facts->query[0] == '\0')
        snprintf(etag, SRV_ETAG_SIZE, "\"%s\"", facts->sha256);
    else
        snprintf(etag, SRV_ETAG_SIZE, "\"%s-%.16s\"", facts->sha256, query);
}

bool srv_answer_model_facts(struct srv_service *service, struct srv_exchange *exchange,
                            struct srv_model_facts *facts)
{
    const char *name = srv_exchange_name(exchange);
    if (srv_registry_model_facts(service->registry, name, facts))
        return true;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", name);
    srv_exchange_problem(exchange, &problem);
    return false;
}

bool srv_answer_dataset_facts(struct srv_service *service, struct srv_exchange *exchange,
                              struct srv_dataset_facts *facts)
{
    const char *name = srv_exchange_name(exchange);
    if (srv_registry_dataset_facts(service->registry, name, facts))
        return true;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_UNKNOWN_DATASET, NULL, "there is no dataset named '%.64s'", name);
    srv_exchange_problem(exchange, &problem);
    return false;
}

void srv_answer_render_model(const struct srv_model_facts *facts, const struct api_limits *limits,
                             struct efm_buffer *out)
{
    static const char *const words[] = {[SRV_MODEL_UNKNOWN] = "unknown",
                                        [SRV_MODEL_UNLOADED] = "unloaded",
                                        [SRV_MODEL_LOADING] = "loading",
                                        [SRV_MODEL_READY] = "ready",
                                        [SRV_MODEL_FAILED] = "failed"};
    const struct api_model_state state = {.about = facts->about,
                                          .word = words[facts->state],
                                          .reason = facts->reason,
                                          .sha256 = facts->sha256,
                                          .trained_by = facts->trained_by,
                                          .bytes = facts->bytes,
                                          .memory = facts->memory,
                                          .created = facts->created};
    api_model_render(&state, limits, out);
}

bool srv_answer_model(struct srv_service *service, const char *name, struct api_reply *reply,
                      struct api_problem *problem)
{
    struct srv_model_facts facts = {0};
    if (!srv_registry_model_facts(service->registry, name, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", name);
    srv_answer_begin(reply, 200);
    srv_answer_render_model(&facts, &service->limits, &reply->body);
    srv_model_facts_release(&facts);
    return true;
}

void srv_answer_render_dataset(const struct srv_dataset_facts *facts, struct efm_buffer *out)
{
    if (facts->about != NULL)
        efm_buffer_append_string(out, facts->about);
    else
        out->status = EFM_E_MEMORY;
}
