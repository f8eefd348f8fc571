// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answer.h"

#include "api/resources.h"
#include "server/engine/registry.h"

#include <stdio.h>
#include <string.h>

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

/* True when a list of entity tags holds `etag` by weak comparison, or is "*". */
static bool lists_etag(const char *list, const char *etag)
{
    if (strcmp(list, "*") == 0)
        return true;
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    size_t wanted = strlen(etag);
    while (*list != '\0') {
        list += strspn(list, " \t,");
        if (strncmp(list, "W/", 2) == 0)
            list += 2;
        size_t length = strcspn(list, ",");
        while (length > 0 && (list[length - 1] == ' ' || list[length - 1] == '\t'))
            length--;
        if (length > 0 && length == wanted && memcmp(list, etag, length) == 0)
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

bool srv_answer_not_modified(struct srv_exchange *exchange, const char *etag)
{
    if (!lists_etag(srv_exchange_header(exchange, "If-None-Match"), etag))
        return false;
    struct api_reply reply;
    api_reply_init(&reply, 0);
    reply.status = 304;
    api_reply_header(&reply, "ETag", "%s", etag);
    srv_exchange_reply(exchange, &reply);
    return true;
}

bool srv_answer_expected(const struct srv_exchange *exchange, const char *present, char expected[65])
{
    const char *match = srv_exchange_header(exchange, "If-Match");
    if (strcmp(srv_exchange_header(exchange, "If-None-Match"), "*") == 0) {
        expected[0] = '\0';
        return true;
    }
    if (match[0] == '\0')
        return false;
    /* "-" is the sha256 of nothing: the put will find something else and refuse */
    snprintf(expected, 65, "%s", "-");
    char etag[80];
    if (present == NULL)
        return true;
    snprintf(etag, sizeof(etag), "\"%s\"", present);
    if (lists_etag(match, etag))
        snprintf(expected, 65, "%s", present);
    return true;
}

struct efm_model *srv_answer_model(struct srv_service *service, struct srv_exchange *exchange,
                                   int64_t *created)
{
    const char *name = srv_exchange_name(exchange);
    struct efm_model *model = srv_registry_model(service->registry, name, created);
    if (model != NULL)
        return model;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_UNKNOWN_MODEL, NULL, "there is no model named '%.64s'", name);
    srv_exchange_problem(exchange, &problem);
    return NULL;
}

struct efm_dataset *srv_answer_dataset(struct srv_service *service, struct srv_exchange *exchange,
                                       int64_t *created)
{
    const char *name = srv_exchange_name(exchange);
    struct efm_dataset *dataset = srv_registry_dataset(service->registry, name, created);
    if (dataset != NULL)
        return dataset;
    struct api_problem problem = {0};
    api_problem_set(&problem, API_P_UNKNOWN_DATASET, NULL, "there is no dataset named '%.64s'", name);
    srv_exchange_problem(exchange, &problem);
    return NULL;
}
