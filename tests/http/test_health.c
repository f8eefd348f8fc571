// SPDX-License-Identifier: Apache-2.0
// What operators and their tools look at: probes, metrics, the OpenAPI document, the index, request ids,
// methods and the way down.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon server;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_plane(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static json_t *get_json(const char *path, const char *type)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path, .accept = "application/json"}, &reply);
    test_expect(&reply, 200, type);
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static void probes(void **state)
{
    static const char *const paths[] = {"/livez", "/readyz", "/health"};
    (void)state;
    for (size_t i = 0; i < 3; ++i) {
        json_t *json = get_json(paths[i], "application/json");
        assert_string_equal(json_string_value(json_object_get(json, "status")), "ok");
        json_decref(json);
        test_expect_request(&server, &(struct test_request){.method = "HEAD", .path = paths[i]}, 200);
    }
}

/* Exit status of `promtool check metrics` on these bytes; -1 where it is not installed. */
static int run_promtool(const uint8_t *bytes, size_t size)
{
    char path[320];
    int status = -1;
    snprintf(path, sizeof path, "%s/metrics", server.folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int input = open(path, O_RDONLY);
        if (input < 0 || dup2(input, 0) < 0)
            _exit(126);
        execlp("promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void metrics_please_prometheus(void **state)
{
    struct test_reply reply;
    char type[128];
    (void)state;
    test_expect_request(
        &server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=plane&n=4&seed=1"},
        200);
    test_expect_problem(&server,
                        &(struct test_request){.method = "POST", .path = "/v1/generate?model=nobody"}, 404,
                        "unknown_model");
    test_send(&server, &(struct test_request){.path = "/metrics"}, &reply);
    test_expect(&reply, 200, "text/plain");
    test_reply_header(&reply, "Content-Type", type, sizeof type);
    assert_non_null(strstr(type, "version=0.0.4"));
    const char *text = (const char *)reply.body;
    static const char *const needed[] = {"\nefm_build_info{version=",
                                         "kernels=\"",
                                         "onednn=\"",
                                         "instruction_set=\"",
                                         "processor=\"",
                                         "\nefm_http_requests_total{",
                                         "\nefm_http_request_duration_seconds_bucket{",
                                         "\nefm_queue_requests ",
                                         "\nefm_queue_capacity ",
                                         "\nefm_queue_capacity_bytes 1073741824\n",
                                         "\nefm_models_memory_bytes ",
                                         "\nefm_models_memory_budget_bytes 8589934592\n",
                                         "\nefm_dataset_quota_bytes 68719476736\n",
                                         "\nefm_http_connections_limit 2048\n",
                                         "\nefm_ready 1\n",
                                         "\nefm_problems_total{code=\"unknown_model\"} 1\n",
                                         "\nefm_lines_total{",
                                         "\nefm_batch_images_bucket{",
                                         "\nefm_step_seconds_",
                                         "\nefm_images_total{",
                                         "\nefm_function_evaluations_total{",
                                         "\nefm_model_loaded{",
                                         "\nprocess_resident_memory_bytes ",
                                         "\nprocess_open_fds ",
                                         "\nprocess_cpu_seconds_total ",
                                         "\nprocess_start_time_seconds "};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; ++i)
        if (strstr(text, needed[i]) == NULL)
            fail_msg("no series%s", needed[i]);
    int status = run_promtool(reply.body, reply.size);
    if (status < 0)
        print_message("promtool is not installed\n");
    assert_true(status <= 0);
    test_reply_release(&reply);
    assert_true(test_daemon_metric(&server, "efm_images_total", "model=\"plane\"") >= 4);
}

static void document_names_every_path(void **state)
{
    static const char *const paths[] = {"/v1/transfer",
                                        "/v1/generate",
                                        "/v1/models",
                                        "/v1/models/{name}",
                                        "/v1/models/{name}/field",
                                        "/v1/models/{name}/trace",
                                        "/v1/datasets",
                                        "/v1/datasets/{name}",
                                        "/livez",
                                        "/readyz",
                                        "/metrics"};
    json_t *json = get_json("/openapi.json", "application/json");
    (void)state;
    assert_int_equal(strncmp(json_string_value(json_object_get(json, "openapi")), "3.1", 3), 0);
    assert_non_null(json_object_get(json_object_get(json, "info"), "title"));
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; ++i)
        if (!json_is_object(json_object_get(json_object_get(json, "paths"), paths[i])))
            fail_msg("%s is not in the document", paths[i]);
    json_decref(json);
}

static void index_greets(void **state)
{
    json_t *json = get_json("/", "application/json");
    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "name")), "efmd");
    assert_true(json_is_string(json_object_get(json, "version")));
    const json_t *build = json_object_get(json, "build");
    static const char *const members[] = {"compiler",        "libmicrohttpd", "onednn", "processor",
                                          "instruction_set", "precision",     "kernels"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; ++i)
        assert_true(json_is_string(json_object_get(build, members[i])));
    assert_true(json_integer_value(json_object_get(build, "cores")) > 0);
    json_decref(json);
}

static void request_ids(void **state)
{
    struct test_reply reply;
    char id[256];
    (void)state;
    test_send(&server, &(struct test_request){.path = "/livez", .header = "X-Request-Id: order-66.b"},
              &reply);
    assert_string_equal(test_reply_header(&reply, "X-Request-Id", id, sizeof id), "order-66.b");
    test_reply_release(&reply);
    test_send(&server, &(struct test_request){.path = "/nowhere", .header = "X-Request-Id: order-67"},
              &reply);
    test_check_problem(&reply, 404, "not_found");
    assert_string_equal(test_reply_header(&reply, "X-Request-Id", id, sizeof id), "order-67");
    test_reply_release(&reply);
    // too long: replaced
    char header[400] = "X-Request-Id: ";
    memset(header + 14, 'x', 300);
    header[314] = '\0';
    test_send(&server, &(struct test_request){.path = "/livez", .header = header}, &reply);
    assert_true(strlen(test_reply_header(&reply, "X-Request-Id", id, sizeof id)) <= 128);
    assert_true(id[0] != '\0' && strncmp(id, "xxxxxxxx", 8) != 0);
    test_reply_release(&reply);
}

static void methods(void **state)
{
    static const struct {
        const char *method, *path, *allowed;
    } cases[] = {
        {"DELETE", "/v1/transfer", "POST"},
        {"GET", "/v1/transfer", "POST"},
        {"GET", "/v1/generate", "POST"},
        {"POST", "/livez", "GET"},
        {"PUT", "/metrics", "GET"},
        {"POST", "/v1/models/plane", "PUT"},
        {"DELETE", "/v1/models", "GET"},
        {"POST", "/v1/datasets/x", "PUT"},
        {"GET", "/v1/models/plane/field", "POST"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char allow[128];
        struct test_reply reply;
        test_send(&server, &(struct test_request){.method = cases[i].method, .path = cases[i].path}, &reply);
        test_check_problem(&reply, 405, "method_not_allowed");
        test_reply_header(&reply, "Allow", allow, sizeof allow);
        if (strstr(allow, cases[i].allowed) == NULL)
            fail_msg("%s %s: Allow is \"%s\"", cases[i].method, cases[i].path, allow);
        test_reply_release(&reply);
    }
}

/* What has come of a body is memory, from its first bytes until it is whole or given up. */
static void bodies_that_arrive_are_counted(void **state)
{
    enum { PART = 300000 };
    static const char head[] =
        "POST /v1/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000\r\n\r\n";
    static char part[PART];
    (void)state;
    assert_true(test_daemon_settles(&server, "efm_body_bytes", 0, 10));
    int connection = test_connect(&server);
    test_write(connection, head, sizeof head - 1);
    test_write(connection, part, sizeof part);
    const double give_up = test_now() + 10 * test_patience();
    while (test_daemon_metric(&server, "efm_body_bytes", NULL) < PART && test_now() < give_up)
        test_sleep(0.01);
    assert_true(test_daemon_metric(&server, "efm_body_bytes", NULL) >= PART);
    close(connection);
    assert_true(test_daemon_settles(&server, "efm_body_bytes", 0, 10));
}

/* SIGTERM: what runs is finished, what is new is refused, then it ends. */
static void the_way_down(void **state)
{
    struct test_daemon other;
    struct test_reply reply;
    (void)state;
    test_daemon_start(&other, NULL);
    test_world_slow(&other);
    int connection = test_connect(&other);
    static const char request[] =
        "POST /v1/generate?model=slow&solver=euler&steps=100&n=4&seed=1 HTTP/1.1\r\n"
        "Host: localhost\r\nContent-Length: 0\r\n\r\n";
    test_write(connection, request, sizeof request - 1);
    double give_up = test_now() + 10 * test_patience();
    while (test_daemon_metric(&other, "efm_lines_in_flight", NULL) < 1 && test_now() < give_up)
        test_sleep(0.01);
    int probe = test_connect(&other); // open before, so that it is still served
    test_daemon_signal(&other, SIGTERM);
    test_sleep(0.1);
    static const char ready[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    test_write(probe, ready, sizeof ready - 1);
    test_read_reply(probe, &reply, 5);
    assert_true(reply.status == 503 || reply.status == 0); // 0: it had finished already
    test_reply_release(&reply);
    test_read_reply(connection, &reply, 60);
    assert_int_equal(reply.status, 200);
    test_reply_release(&reply);
    int status = test_daemon_wait(&other, 40 * test_patience());
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(connection);
    close(probe);
    test_daemon_stop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes),
        cmocka_unit_test(metrics_please_prometheus),
        cmocka_unit_test(document_names_every_path),
        cmocka_unit_test(index_greets),
        cmocka_unit_test(request_ids),
        cmocka_unit_test(methods),
        cmocka_unit_test(bodies_that_arrive_are_counted),
        cmocka_unit_test(the_way_down),
    };
    return cmocka_run_group_tests_name("http/health", tests, start, stop);
}
