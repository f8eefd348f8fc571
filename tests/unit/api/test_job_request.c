// SPDX-License-Identifier: Apache-2.0
#include "api/job.h"
#include "tests/unit/api/api_test.h"

#include <stdlib.h>

#define PLATES "\"source\":\"threes\",\"target\":\"twos\""

static bool ask(struct api_train_request *request, const char *query, const char *type, const char *body,
                struct api_problem *problem)
{
    size_t size = strlen(body);
    char *copy = malloc(size + (size == 0));
    assert_non_null(copy);
    memcpy(copy, body, size);
    struct api_message message = message_of(query, type, copy, size);
    *problem = (struct api_problem){0};
    bool good = api_train_request_parse(request, &message, problem);
    free(copy);
    assert_true(good == (problem->code == API_P_NONE));
    return good;
}

static void trainings(void **state)
{
    (void)state;
    struct api_train_request request;
    struct api_problem problem;
    assert_true(
        ask(&request, "", "application/x-www-form-urlencoded",
            " {\"model\":\"m-1\"," PLATES ",\"steps\":77,\"threads\":64,\"replace\":true,\"webhook\":"
            "\"https://example.com:8443/hook?a=b#c\",\"metadata\":{\"by\":\"m\\u00e9\\n\",\"x\":\"\"}}",
            &problem));
    assert_string_equal(request.model, "m-1");
    assert_true(request.replace);
    assert_string_equal(request.webhook, "https://example.com:8443/hook?a=b#c");
    assert_string_equal(request.metadata, "{\"by\":\"m\xc3\xa9\\n\",\"x\":\"\"}");
    assert_int_equal(request.train.plates[EFM_SOURCE].origin, API_TRAIN_DATASET);
    assert_string_equal(request.train.plates[EFM_TARGET].path, "twos");
    assert_int_equal(request.train.values.steps, 77);
    assert_int_equal(request.train.values.threads, 64);
    api_train_request_release(&request);
    assert_null(request.metadata);

    assert_true(ask(&request, "", "", "{" PLATES ",\"webhook\":{\"url\":\"HTTP://[::1]/\"},\"metadata\":{}}",
                    &problem));
    assert_string_equal(request.webhook, "HTTP://[::1]/");
    assert_string_equal(request.model, "");
    assert_false(request.replace);
    assert_null(request.metadata);
    api_train_request_release(&request);
}

static void refuses_trainings(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum api_problem_code code;
        const char *pointer, *words;
    } wrong[] = {
        {"", API_P_EMPTY_BODY, NULL, "JSON object"},
        {"[]", API_P_MALFORMED_JSON, NULL, "JSON object"},
        {"{" PLATES ",}", API_P_MALFORMED_JSON, NULL, "line 1"},
        {"{\"model\":\"m\"}", API_P_MISSING_PARAMETER, "/source", "name of a dataset"},
        {"{" PLATES ",\"model\":\"-m\"}", API_P_INVALID_PARAMETER, "/model", "a-z"},
        {"{" PLATES ",\"model\":7}", API_P_INVALID_PARAMETER, "/model", NULL},
        {"{" PLATES ",\"replace\":\"yes\"}", API_P_INVALID_PARAMETER, "/replace", "true or false"},
        {"{" PLATES ",\"replace\":null}", API_P_INVALID_PARAMETER, "/replace", NULL},
        {"{" PLATES ",\"webhook\":7}", API_P_INVALID_PARAMETER, "/webhook", "URL"},
        {"{" PLATES ",\"webhook\":{}}", API_P_INVALID_PARAMETER, "/webhook", "URL"},
        {"{" PLATES ",\"webhook\":{\"url\":\"http://h/\",\"secret\":\"s\"}}", API_P_UNKNOWN_PARAMETER,
         "/webhook/secret", "url"},
        {"{" PLATES ",\"webhook\":\"\"}", API_P_URL_REFUSED, "/webhook", "http"},
        {"{" PLATES ",\"webhook\":\"ftp://h/\"}", API_P_URL_REFUSED, "/webhook", "http"},
        {"{" PLATES ",\"webhook\":{\"url\":\"file:///etc\"}}", API_P_URL_REFUSED, "/webhook/url", "http"},
        {"{" PLATES ",\"webhook\":\"http://user:word@h/\"}", API_P_URL_REFUSED, "/webhook", "password"},
        {"{" PLATES ",\"webhook\":\"http://h/ x\"}", API_P_URL_REFUSED, "/webhook", "%XX"},
        {"{" PLATES ",\"webhook\":\"http:///x\"}", API_P_URL_REFUSED, "/webhook", "host"},
        {"{" PLATES ",\"metadata\":[]}", API_P_INVALID_PARAMETER, "/metadata", "16"},
        {"{" PLATES ",\"metadata\":{\"k\":1}}", API_P_INVALID_PARAMETER, "/metadata/k", "512"},
        {"{" PLATES ",\"metadata\":{\"\":\"v\"}}", API_P_INVALID_PARAMETER, "/metadata", "64"},
        {"{" PLATES ",\"webhok\":\"http://h/\"}", API_P_UNKNOWN_PARAMETER, "/webhok", NULL},
        {"{" PLATES ",\"steps\":0}", API_P_INVALID_PARAMETER, "/steps", NULL},
        {"{" PLATES ",\"network\":{\"nf\":1}}", API_P_INVALID_PARAMETER, "/network/nf", NULL},
        {"{\"source\":{\"path\":\"/etc/passwd\"},\"target\":\"t\"}", API_P_INVALID_PARAMETER, "/source/path",
         "PUT /v1/datasets"},
    };
    struct api_train_request request;
    struct api_problem problem;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (ask(&request, "", "application/json", wrong[i].body, &problem))
            fail_msg("%s is taken", wrong[i].body);
        expect_problem(&problem, wrong[i].code, wrong[i].pointer, wrong[i].words);
        assert_null(strstr(problem.detail, "word@"));
        assert_true(request.metadata == NULL && request.train.plates[0].path == NULL);
    }
    /* several at once */
    assert_false(ask(&request, "", "", "{" PLATES ",\"model\":\"/\",\"replace\":1,\"steps\":0}", &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/model", NULL);
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/replace", NULL);
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/steps", NULL);

    assert_false(ask(&request, "model=m", "", "{" PLATES "}", &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/model", NULL);
    assert_false(ask(&request, "", "multipart/form-data; boundary=x", "--x\r\n", &problem));
    expect_problem(&problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "JSON");
    assert_false(ask(&request, "", "application/octet-stream", "\x89PNG", &problem));
    expect_problem(&problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "JSON");
}

static void bounds_metadata(void **state)
{
    (void)state;
    struct api_train_request request;
    struct api_problem problem;
    for (int over = 0; over < 4; over++) {
        char body[16384], key[80], value[600];
        size_t used = (size_t)snprintf(body, sizeof body, "{" PLATES ",\"metadata\":{");
        memset(key, 'k', sizeof key);
        memset(value, 'v', sizeof value);
        key[over == 1 ? 63 : 62] = '\0';
        value[over == 2 ? 513 : 512] = '\0';
        for (int i = 0; i < (over == 3 ? 17 : 16); i++)
            used += (size_t)snprintf(body + used, sizeof body - used, "%s\"%02d%s\":\"%s\"", i > 0 ? "," : "",
                                     i, key, value);
        snprintf(body + used, sizeof body - used, "}}");
        assert_int_equal(ask(&request, "", "", body, &problem), over == 0);
        if (over == 0)
            assert_true(strlen(request.metadata) > 16 * (64 + 512));
        api_train_request_release(&request);
    }
    char url[API_JOB_URL_SIZE + 8], body[sizeof url + 64];
    memset(url, 'u', sizeof url);
    memcpy(url, "http://h/", 9);
    for (size_t length = API_JOB_URL_SIZE - 1; length <= API_JOB_URL_SIZE; length++) {
        url[length] = '\0';
        snprintf(body, sizeof body, "{" PLATES ",\"webhook\":\"%s\"}", url);
        assert_int_equal(ask(&request, "", "", body, &problem), length < API_JOB_URL_SIZE);
        api_train_request_release(&request);
        url[length] = 'u';
    }
}

static void lists(void **state)
{
    (void)state;
    struct api_jobs_request request;
    struct api_problem problem = {0};
    struct api_message message = message_of("", "", "", 0);
    assert_true(api_jobs_parse(&request, &message, &problem));
    assert_true(request.status == -1 && request.kind == -1 && request.limit == 20);
    assert_true(request.model[0] == '\0' && request.after[0] == '\0' && request.seen.given == 0);
    message.query = "status=failed&kind=generate&model=m&limit=100&after=job_a1Z";
    assert_true(api_jobs_parse(&request, &message, &problem));
    assert_true(request.status == API_JOB_FAILED && request.kind == 2 && request.limit == 100);
    assert_string_equal(request.after, "job_a1Z");
    assert_string_equal(api_jobs_table.items[0].words[request.status], "failed");
    message.query = "status=finished";
    assert_true(api_jobs_parse(&request, &message, &problem));
    assert_int_equal(request.status, API_JOB_CANCELLED + 2);
    for (int i = API_JOB_QUEUED; i <= API_JOB_CANCELLED; i++)
        assert_string_equal(api_jobs_table.items[0].words[i], api_job_state_word((enum api_job_state)i));
    static const struct {
        const char *query, *pointer;
    } wrong[] = {{"status=done", "/status"},
                 {"kind=training", "/kind"},
                 {"limit=0", "/limit"},
                 {"limit=101", "/limit"},
                 {"after=evt_1", "/after"},
                 {"after=job_", "/after"},
                 {"after=job_a.b", "/after"},
                 {"after=job_012345678901234567890123456789012345678901234567890123456789", "/after"},
                 {"model=..", "/model"},
                 {"page=2", "/page"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        problem = (struct api_problem){0};
        message.query = wrong[i].query;
        if (api_jobs_parse(&request, &message, &problem))
            fail_msg("%s is taken", wrong[i].query);
        expect_problem(&problem, problem.code, wrong[i].pointer, NULL);
    }
}

static void waits_and_events(void **state)
{
    (void)state;
    struct api_job_wait wait;
    struct api_events_request events;
    struct api_problem problem = {0};
    struct api_message message = message_of("", "", "", 0);
    assert_true(api_job_wait_parse(&wait, &message, &problem) && wait.wait == 0);
    assert_true(api_events_parse(&events, &message, &problem) && events.after == 0 && events.limit == 1000);
    message.query = "wait=2.5";
    assert_true(api_job_wait_parse(&wait, &message, &problem) && wait.wait == 2.5);
    message.query = "after=17&limit=100";
    assert_true(api_events_parse(&events, &message, &problem) && events.after == 17 && events.limit == 100);
    message.query = "wait=301";
    assert_false(api_job_wait_parse(&wait, &message, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/wait", "0..300");
    problem = (struct api_problem){0};
    message.query = "limit=1001";
    assert_false(api_events_parse(&events, &message, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/limit", "1..1000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainings), cmocka_unit_test(refuses_trainings), cmocka_unit_test(bounds_metadata),
        cmocka_unit_test(lists),     cmocka_unit_test(waits_and_events),
    };
    return cmocka_run_group_tests_name("api/job_request", tests, NULL, NULL);
}
