// SPDX-License-Identifier: Apache-2.0
// Keys, names, pages and shares as clients meet them.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CI "Authorization: Bearer sk_continuous_01"
#define CD "Authorization: Bearer sk_delivering_002"
#define OPS "Authorization: Bearer sk_operations_000"

static struct test_daemon server;
static char keys_file[] = P_tmpdir "/efmd-keys-XXXXXX";

static int set_up(void **state)
{
    static const char keys[] = "ci infer sk_continuous_01\n"
                               "cd infer sk_delivering_002\n"
                               "ops infer,admin sk_operations_000\n"
                               "old infer,admin sk_long_forgotten_2 2020-05-05\n";
    (void)state;
    const int file = mkstemp(keys_file);
    assert_true(file >= 0);
    assert_int_equal(write(file, keys, sizeof keys - 1), sizeof keys - 1);
    return close(file);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(keys_file);
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static void send(const char *method, const char *path, const char *header, struct test_reply *reply)
{
    test_send(&server, &(struct test_request){.method = method, .path = path, .header = header}, reply);
}

static void expect(const char *method, const char *path, const char *header, int status)
{
    struct test_reply reply;
    send(method, path, header, &reply);
    test_expect(&reply, status, NULL);
    test_reply_release(&reply);
}

static void expect_code(const char *method, const char *path, const char *header, int status,
                        const char *code)
{
    struct test_reply reply;
    send(method, path, header, &reply);
    test_check_problem(&reply, status, code);
    test_reply_release(&reply);
}

static void keys_open_what_their_scopes_say(void **state)
{
    struct test_reply reply;
    char value[128];
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--api-keys-file", keys_file, NULL});
    static const char *const open[] = {"/livez", "/readyz", "/v2/health/live", "/openapi.json", "/", "/v2"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        expect("GET", open[i], NULL, 200);
    send("GET", "/v1/models", NULL, &reply);
    test_check_problem(&reply, 401, "unauthorized");
    assert_string_equal(test_reply_header(&reply, "WWW-Authenticate", value, sizeof value),
                        "Bearer realm=\"efmd\"");
    test_reply_release(&reply);
    expect_code("GET", "/v1/models", "Authorization: Bearer sk_continuous_0", 401, "unauthorized");
    expect_code("GET", "/v1/models", "Authorization: Bearer sk_long_forgotten_2", 401, "unauthorized");
    expect_code("GET", "/metrics", NULL, 401, "unauthorized");
    expect("GET", "/v1/models", CI, 200);
    expect("GET", "/metrics", CI, 200);
    expect_code("DELETE", "/v1/models/m", CI, 403, "forbidden");
    expect_code("DELETE", "/v1/models/m", OPS, 404, "unknown_model");
    expect_code("GET", "/v1/models/m/weights", CI, 403, "forbidden");
    expect_code("POST", "/v1/train", CI, 403, "forbidden");
    expect_code("POST", "/v2/repository/models/m/load", CI, 403, "forbidden");
    expect_code("POST", "/v1/transfer?model=m", NULL, 401, "unauthorized");
    // refused before the body is read, however long it is
    test_send(&server,
              &(struct test_request){.method = "PUT",
                                     .path = "/v1/datasets/d",
                                     .header = CI "\nExpect: 100-continue",
                                     .body = "1,2\n",
                                     .size = 4},
              &reply);
    test_check_problem(&reply, 403, "forbidden");
    test_reply_release(&reply);
    test_send(&server,
              &(struct test_request){.method = "PUT",
                                     .path = "/v1/datasets/d",
                                     .header = OPS,
                                     .body = "{\"toy\": \"gauss\"}",
                                     .size = 16},
              &reply);
    assert_true(reply.status != 401 && reply.status != 403);
    test_reply_release(&reply);
    send("GET", "/metrics", CI, &reply);
    assert_non_null(strstr((char *)reply.body, "efm_rejected_total{reason=\"no_key\"}"));
    assert_non_null(strstr((char *)reply.body, "efm_rejected_total{reason=\"wrong_key\"} 1"));
    assert_non_null(strstr((char *)reply.body, "efm_rejected_total{reason=\"expired_key\"} 1"));
    assert_non_null(strstr((char *)reply.body, "efm_rejected_total{reason=\"scope\"}"));
    test_reply_release(&reply);
}

/* The whole file. */
static char *read_log(void)
{
    FILE *file = fopen(server.log, "r");
    char *text = calloc(1, 1 << 20);
    assert_true(file != NULL && text != NULL);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void keys_are_never_logged(void **state)
{
    (void)state;
    test_daemon_start(&server,
                      (const char *const[]){"--api-keys-file", keys_file, "--log-level", "debug", NULL});
    expect("GET", "/v1/models", OPS, 200);
    expect("GET", "/v1/models?key=sk_operations_000", OPS, 200);
    expect("GET", "/v1/models", "Authorization: Bearer sk_not_one_of_these", 401);
    expect("GET", "/v1/models", "Authorization: sk_operations_000", 401);
    char *log = read_log();
    assert_non_null(strstr(log, "\"client\":\"key:ops\""));
    assert_null(strstr(log, "sk_"));
    assert_null(strstr(log, "sk_operations_000"));
    free(log);
}

/* Also those whom the guard was never asked about. */
static void who_is_refused_is_logged_by_address(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--api-keys-file", keys_file, NULL});
    expect_code("GET", "/v1/models/.x", OPS, 422, "invalid_name");
    // by hand, for no client in between would pass it on
    static const char broken[] = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n";
    struct test_reply reply;
    const int connection = test_connect(&server);
    test_write(connection, broken, sizeof broken - 1);
    test_read_reply(connection, &reply, 10 * test_patience());
    close(connection);
    test_check_problem(&reply, 400, "malformed_request");
    test_reply_release(&reply);
    expect_code("GET", "/v1/models", OPS "\nContent-Encoding: br", 415, "unsupported_media_type");
    expect_code("GET", "/nowhere", OPS, 404, "not_found");
    char *log = read_log();
    assert_non_null(strstr(log, "\"code\":\"malformed_request\""));
    assert_non_null(strstr(log, "\"client\":\"127.0.0.1\""));
    assert_null(strstr(log, "\"client\":\"\""));
    free(log);
}

static void a_training_is_ended_by_who_may_begin_one(void **state)
{
    static const char spec[] = "{\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\",\"count\":200},"
                               "\"steps\":1000000,\"model\":\"m\"}";
    struct test_reply reply;
    char path[160];
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--api-keys-file", keys_file, NULL});
    test_send(&server,
              &(struct test_request){.path = "/v1/train",
                                     .type = "application/json",
                                     .header = OPS,
                                     .body = spec,
                                     .size = sizeof spec - 1},
              &reply);
    test_expect(&reply, 202, NULL);
    json_t *job = test_reply_json(&reply);
    test_reply_release(&reply);
    const char *id = json_string_value(json_object_get(job, "id"));
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    expect("GET", path, CI, 200);
    expect_code("DELETE", path, CI, 403, "forbidden");
    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", id);
    expect_code("POST", path, CI, 403, "forbidden");
    send("POST", path, OPS, &reply);
    assert_true(reply.status == 200 || reply.status == 202);
    json_decref(job);
    test_reply_release(&reply);
}

/* Sends a request that is answered later; the path of its job. */
static void send_for_later(const char *headers, char path[160])
{
    struct test_reply reply;
    send("POST", "/v1/generate?model=plane&seed=1", headers, &reply);
    test_expect(&reply, 202, NULL);
    json_t *job = test_reply_json(&reply);
    snprintf(path, 160, "/v1/jobs/%s", json_string_value(json_object_get(job, "id")));
    json_decref(job);
    test_reply_release(&reply);
}

static void expect_count(const char *header, size_t wanted)
{
    struct test_reply reply;
    send("GET", "/v1/jobs", header, &reply);
    test_expect(&reply, 200, NULL);
    json_t *list = test_reply_json(&reply);
    assert_int_equal(json_array_size(json_object_get(list, "data")), wanted);
    json_decref(list);
    test_reply_release(&reply);
}

/* And two keys may use one Idempotency-Key. */
static void a_result_is_for_the_key_that_asked(void **state)
{
    static const struct {
        const char *method, *end;
    } asked[] = {{"GET", ""},         {"GET", "?wait=1"},      {"GET", "/result"},   {"GET", "/events"},
                 {"GET", "/events"},  {"GET", "/preview.png"}, {"GET", "/loss.png"}, {"GET", "/checkpoints"},
                 {"POST", "/cancel"}, {"DELETE", ""}};
    char path[160], other[160], again[160], text[192];
    (void)state;
    test_daemon_start(&server, NULL); // without keys, to put a model there
    test_world_plane(&server);
    test_daemon_restart(&server, (const char *const[]){"--api-keys-file", keys_file, NULL});
    send_for_later(CI "\nPrefer: respond-async\nIdempotency-Key: k1", path);
    send_for_later(CD "\nPrefer: respond-async\nIdempotency-Key: k1", other);
    assert_string_not_equal(path, other);
    send_for_later(CI "\nPrefer: respond-async\nIdempotency-Key: k1", again);
    assert_string_equal(path, again);
    snprintf(text, sizeof text, "%s?wait=20", path);
    expect("GET", text, CI, 200);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        snprintf(text, sizeof text, "%s%s", path, asked[i].end);
        expect_code(asked[i].method, text, i == 4 ? CD "\nAccept: application/json" : CD, 404, "unknown_job");
    }
    expect_count(CI, 1);
    expect_count(CD, 1);
    expect_count(OPS, 2);
    snprintf(text, sizeof text, "%s/result", path);
    expect("GET", text, CI, 200);
    expect("GET", text, OPS, 200);
    snprintf(text, sizeof text, "%s/events", path);
    expect("GET", text, CI "\nAccept: application/json", 200);
    expect("DELETE", path, CI, 204);
    expect_code("GET", path, CI, 410, "gone");
    expect_code("GET", path, CD, 410, "gone");
}

static void the_contract_says_what_takes_a_key(void **state)
{
    struct test_reply reply;
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--api-keys-file", keys_file, NULL});
    send("GET", "/openapi.json", NULL, &reply);
    json_t *document = test_reply_json(&reply);
    json_t *security = NULL;
    assert_int_equal(
        json_unpack(document, "{s:{s:{s:{s:o}}}}", "paths", "/v1/train", "post", "security", &security), 0);
    assert_int_equal(json_array_size(security), 1);
    const json_t *scopes = json_object_get(json_array_get(security, 0), "bearer");
    assert_string_equal(json_string_value(json_array_get(scopes, 0)), "admin");
    json_decref(document);
    test_reply_release(&reply);
}

static void other_names_are_refused(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    expect_code("GET", "/v1/models", "Host: evil.example", 421, "misdirected");
    expect("GET", "/v1/models", "Host: localhost:1", 200);
    expect_code("GET", "/nowhere", "Host: evil.example", 404, "not_found");
    static const char *const health[] = {"/livez", "/readyz", "/health", "/v2/health/live",
                                         "/v2/health/ready"};
    for (size_t i = 0; i < sizeof health / sizeof health[0]; i++)
        expect("GET", health[i], "Host: evil.example", 200);
    static const char *const others[] = {"/", "/v2", "/openapi.json", "/metrics"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        expect_code("GET", others[i], "Host: evil.example", 421, "misdirected");
    test_daemon_restart(&server, (const char *const[]){"--allow-host", "efm.example", NULL});
    expect("GET", "/v1/models", "Host: efm.example", 200);
    expect_code("GET", "/v1/models", "Host: evil.example", 421, "misdirected");
    // a scrape by address, and whoever is on the machine
    expect("GET", "/metrics", "Host: 10.0.0.7:8080", 200);
    expect("GET", "/metrics", "Host: [fd00::7]:8080", 200);
    expect("GET", "/v1/models", "Host: localhost", 200);
    assert_true(test_daemon_metric(&server, "efm_rejected_total", "reason=\"host\"") == 1);
}

static void pages_of_other_origins_are_refused(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    expect_code("GET", "/v1/models", "Origin: https://evil.example", 403, "foreign_origin");
    expect_code("POST", "/v1/train", "Origin: null", 403, "foreign_origin");
    expect_code("OPTIONS", "/v1/train", "Origin: null", 403, "foreign_origin");
    expect_code("GET", "/v1/models", "Sec-Fetch-Site: cross-site", 403, "foreign_origin");
    assert_true(test_daemon_metric(&server, "efm_rejected_total", "reason=\"origin\"") == 4);
}

/* A port that is published by a container, and a name that its owner has pointed at it. */
static void pages_that_are_pointed_here_are_refused(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--listen", "0.0.0.0:0", "--admin", "open", NULL});
    expect_code("DELETE", "/v1/models/m", "Host: evil.example:80\nOrigin: http://evil.example:80", 403,
                "foreign_origin");
    expect_code("DELETE", "/v1/models/m", "Host: 10.0.0.7:80\nOrigin: http://10.0.0.7:80", 404,
                "unknown_model");
    expect_code("DELETE", "/v1/models/m", "Host: evil.example", 404, "unknown_model"); // no page
}

static void expect_header(const struct test_reply *reply, const char *name, const char *wanted)
{
    char value[512];
    assert_string_equal(test_reply_header(reply, name, value, sizeof value), wanted);
}

static void pages_of_an_allowed_origin_may_ask(void **state)
{
    struct test_reply reply;
    char value[256];
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--cors-origin", "https://app.example",
                                                     "--api-keys-file", keys_file, NULL});
    // before it asks with a key, a browser asks whether it may
    send("OPTIONS", "/v1/transfer",
         "Origin: https://app.example\nAccess-Control-Request-Method: POST\n"
         "Access-Control-Request-Headers: authorization,content-type",
         &reply);
    test_expect(&reply, 204, NULL);
    expect_header(&reply, "Access-Control-Allow-Origin", "https://app.example");
    assert_non_null(
        strstr(test_reply_header(&reply, "Access-Control-Allow-Methods", value, sizeof value), "POST"));
    expect_header(&reply, "Access-Control-Allow-Headers", "authorization,content-type");
    expect_header(&reply, "Access-Control-Allow-Credentials", "");
    test_reply_release(&reply);
    // who does not say which is told all of them, whole
    static const char *const asked[] = {"", "\nAccess-Control-Request-Headers: a b",
                                        "\nAccess-Control-Request-Headers: <a>",
                                        "\nAccess-Control-Request-Headers: ,"};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        snprintf(value, sizeof value, "Origin: https://app.example\nAccess-Control-Request-Method: POST%s",
                 asked[i]);
        send("OPTIONS", "/v1/transfer", value, &reply);
        expect_header(
            &reply, "Access-Control-Allow-Headers",
            "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, "
            "If-None-Match, "
            "If-Range, If-Unmodified-Since, Inference-Header-Content-Length, Last-Event-ID, Prefer, Range, "
            "traceparent, X-Request-Id");
        test_reply_release(&reply);
    }
    send("GET", "/v1/models", "Origin: https://app.example\n" CI, &reply);
    test_expect(&reply, 200, "application/json");
    expect_header(&reply, "Access-Control-Allow-Origin", "https://app.example");
    test_reply_release(&reply);
    send("GET", "/v1/models", "Origin: https://app.example", &reply); // the page may read why
    test_check_problem(&reply, 401, "unauthorized");
    expect_header(&reply, "Access-Control-Allow-Origin", "https://app.example");
    test_reply_release(&reply);
    send("GET", "/v1/models", CI, &reply); // no page
    expect_header(&reply, "Access-Control-Allow-Origin", "");
    test_reply_release(&reply);
    expect_code("GET", "/v1/models", "Origin: https://app.example.evil.example", 403, "foreign_origin");
}

static void a_client_has_its_share(void **state)
{
    struct test_reply replies[3];
    struct test_request requests[3];
    size_t refused = 0;
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--client-requests", "2", NULL});
    test_world_slow(&server);
    for (size_t i = 0; i < 3; i++)
        requests[i] = (struct test_request){.method = "POST", .path = TEST_SLOW "&timeout=1.5"};
    test_send_all(&server, requests, 3, replies);
    for (size_t i = 0; i < 3; i++) {
        assert_true(replies[i].status == 504 || replies[i].status == 429);
        if (replies[i].status == 429) {
            test_check_problem(&replies[i], 429, "client_limit");
            refused++;
        }
        test_reply_release(&replies[i]);
    }
    assert_int_equal(refused, 1);
    for (int i = 0; i < 20; i++) // given back by the time of the answer
        expect("GET", "/v1/models", NULL, 200);
    assert_true(test_daemon_metric(&server, "efm_rejected_total", "reason=\"client_limit\"") == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(keys_open_what_their_scopes_say, stop),
        cmocka_unit_test_teardown(keys_are_never_logged, stop),
        cmocka_unit_test_teardown(who_is_refused_is_logged_by_address, stop),
        cmocka_unit_test_teardown(a_training_is_ended_by_who_may_begin_one, stop),
        cmocka_unit_test_teardown(a_result_is_for_the_key_that_asked, stop),
        cmocka_unit_test_teardown(the_contract_says_what_takes_a_key, stop),
        cmocka_unit_test_teardown(other_names_are_refused, stop),
        cmocka_unit_test_teardown(pages_of_other_origins_are_refused, stop),
        cmocka_unit_test_teardown(pages_that_are_pointed_here_are_refused, stop),
        cmocka_unit_test_teardown(pages_of_an_allowed_origin_may_ask, stop),
        cmocka_unit_test_teardown(a_client_has_its_share, stop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
