// SPDX-License-Identifier: Apache-2.0
#include "tests/support/job.h"

#include "tests/support/check.h"

#include <stdio.h>
#include <string.h>

const char *test_job_text(const json_t *job, const char *member, const char *name)
{
    const json_t *owner = member == NULL ? job : json_object_get(job, member);
    const char *text = json_string_value(json_object_get(owner, name));
    return text == NULL ? "" : text;
}

void test_post_training(const struct test_daemon *daemon, const char *json, const char *header, char *id)
{
    struct test_reply reply;
    test_send(daemon,
              &(struct test_request){.path = "/v1/train",
                                     .type = "application/json",
                                     .header = header,
                                     .body = json,
                                     .size = strlen(json)},
              &reply);
    test_expect(&reply, 202, "application/json");
    json_t *job = test_reply_json(&reply);
    snprintf(id, TEST_JOB_ID, "%s", test_job_text(job, NULL, "id"));
    json_decref(job);
    test_reply_release(&reply);
}

static json_t *get_job(const struct test_daemon *daemon, const char *id, const char *query)
{
    char path[TEST_JOB_ID + 64];
    struct test_reply reply;
    snprintf(path, sizeof path, "/v1/jobs/%s%s", id, query);
    test_send(daemon, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *job = test_reply_json(&reply);
    test_reply_release(&reply);
    return job;
}

json_t *test_get_job(const struct test_daemon *daemon, const char *id)
{
    return get_job(daemon, id, "");
}

json_t *test_await_job(const struct test_daemon *daemon, const char *id)
{
    const double until = test_now() + 30 * test_patience();
    for (;;) {
        json_t *job = get_job(daemon, id, "?wait=5");
        const char *status = test_job_text(job, NULL, "status");
        if (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0)
            return job;
        json_decref(job);
        if (test_now() > until)
            fail_msg("the job %s does not end", id);
    }
}
