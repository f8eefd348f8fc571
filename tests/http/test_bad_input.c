// SPDX-License-Identifier: Apache-2.0
// Everything that can be wrong with a request: each is told what is wrong, and the daemon is as it was
// before, also in memory, after the whole list has been sent many times.
#include "tests/http/bad_requests.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct test_daemon server;
static struct bad_requests bad;

static int start(void **state)
{
    static const char *const arguments[] = {"--max-image-body", "1M", "--max-body", "4M",
                                            "--queue",          "3",  NULL};
    (void)state;
    test_daemon_start(&server, arguments);
    test_world_pictures(&server);
    test_world_plane(&server);
    bad_requests_make(&bad);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    bad_requests_release(&bad);
    test_daemon_stop(&server);
    return 0;
}

static void still_answers(void)
{
    test_expect_request(
        &server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=plane&n=2&seed=1"},
        200);
    test_expect_request(&server, &(struct test_request){.path = "/livez"}, 200);
}

static void each_is_told_what_is_wrong(void **state)
{
    size_t wrong = 0;
    (void)state;
    for (size_t i = 0; i < bad.count; ++i) {
        const struct bad_request *one = &bad.items[i];
        struct test_reply reply;
        test_send(&server, &one->request, &reply);
        const char *code = NULL;
        json_t *json = json_loadb((const char *)reply.body, reply.size, 0, NULL);
        code = json_string_value(json_object_get(json, "code"));
        if (reply.status != one->status || code == NULL || strcmp(code, one->code) != 0) {
            print_error("%s: %d %s instead of %d %s: %.300s\n", one->what, reply.status,
                        code != NULL ? code : "-", one->status, one->code, (const char *)reply.body);
            ++wrong;
        } else {
            test_check_problem(&reply, one->status, one->code);
        }
        json_decref(json);
        test_reply_release(&reply);
    }
    if (wrong > 0)
        fail_msg("%zu of %zu bad requests were not answered as they should be", wrong, bad.count);
    still_answers();
}

static void broken_http(void **state)
{
    static const struct {
        const char *text;
        int lowest, highest;
    } cases[] = {
        {"NONSENSE\r\n\r\n", 0, 499},
        {"GET\r\n\r\n", 0, 499},
        {"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", 0, 505},
        {"POST /v1/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n", 0, 499},
        {"POST /v1/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 0, 499},
        {"POST /v1/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
         0, 499},
        {"POST /v1/transfer?model=plane HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
         "chunked\r\n\r\nzz\r\n",
         0, 499},
        {"GET /%zz%00%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400, 404},
        {"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400, 404},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n", 0, 499},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct test_reply reply;
        int connection = test_connect(&server);
        test_write(connection, cases[i].text, strlen(cases[i].text));
        test_read_reply(connection, &reply, 0.3);
        if (reply.status < cases[i].lowest || reply.status > cases[i].highest)
            fail_msg("case %zu was answered with %d", i, reply.status);
        test_reply_release(&reply);
        close(connection);
    }
    // endless header lines
    struct test_reply reply;
    int connection = test_connect(&server);
    char *line = malloc(300000);
    assert_non_null(line);
    memset(line, 'x', 300000);
    test_write(connection, "GET /livez HTTP/1.1\r\nHost: x\r\nA: ", 34);
    test_write(connection, line, 300000);
    test_read_reply(connection, &reply, 0.5);
    assert_true(reply.status == 0 || (reply.status >= 400 && reply.status < 500));
    test_reply_release(&reply);
    close(connection);
    free(line);
    still_answers();
}

/* What a proxy passes on as the body of a harmless request is no request of its own. */
static void hidden_requests(void **state)
{
    static const char text[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length : 56\r\n\r\n"
                               "DELETE /v1/models/plane HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct test_reply reply;
    (void)state;
    int connection = test_connect(&server);
    test_write(connection, text, sizeof text - 1);
    test_read_reply(connection, &reply, 2);
    assert_int_equal(reply.status, 400);
    test_reply_release(&reply);
    close(connection);
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/plane"}, 200);
    still_answers();
}

/* Bodies without a Content-Length are held to the limit while they come in. */
static void endless_body(void **state)
{
    static const char head[] =
        "POST /v1/transfer?model=pictures HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
        "chunked\r\nConnection: close\r\n\r\n";
    char chunk[16 + 65536];
    struct test_reply reply;
    (void)state;
    memset(chunk, 'y', sizeof chunk);
    memcpy(chunk, "10000\r\n", 7);
    memcpy(chunk + 7 + 65536, "\r\n", 2);
    int connection = test_connect(&server);
    test_write(connection, head, sizeof head - 1);
    for (int i = 0; i < 64; ++i) // four times the limit
        test_write(connection, chunk, 7 + 65536 + 2);
    test_read_reply(connection, &reply, 5);
    if (reply.status != 0) // the connection may be gone before the answer is read
        assert_int_equal(reply.status, 413);
    test_reply_release(&reply);
    close(connection);
    still_answers();
}

static void full_queue(void **state)
{
    static const char slow[] = "POST " TEST_SLOW " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    char text[64];
    int connections[3];
    struct test_reply reply;
    (void)state;
    test_world_slow(&server);
    for (int i = 0; i < 3; ++i) {
        connections[i] = test_connect(&server);
        test_write(connections[i], slow, sizeof slow - 1);
    }
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 3, 10));
    double begun = test_now();
    test_send(&server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=plane&seed=1"},
              &reply);
    test_check_problem(&reply, 429, "queue_full");
    assert_true(test_now() - begun < 1 * test_patience()); // refused at once, not after waiting
    assert_true(strtol(test_reply_header(&reply, "Retry-After", text, sizeof text), NULL, 10) >= 1);
    test_reply_release(&reply);
    assert_true(test_daemon_metric(&server, "efm_rejected_total", NULL) >= 1);
    test_expect_request(&server, &(struct test_request){.path = "/livez"}, 200);
    test_expect_request(&server, &(struct test_request){.path = "/v1/models"}, 200);
    for (int i = 0; i < 3; ++i)
        close(connections[i]);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 5));
    assert_true(test_daemon_metric(&server, "efm_late_evaluations_total", NULL) == 0);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/slow"}, 204);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/haze"},
                        204);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/fog"}, 204);
    still_answers();
}

static void send_the_list(size_t times)
{
    for (size_t round = 0; round < times; ++round)
        for (size_t i = 0; i < bad.count; ++i) {
            struct test_reply reply;
            test_send(&server, &bad.items[i].request, &reply);
            assert_int_equal(reply.status, bad.items[i].status);
            test_reply_release(&reply);
        }
}

static void memory_returns(void **state)
{
    (void)state;
    if (test_patience() > 1) { // a sanitizer keeps what was freed for a while
        send_the_list(1);
        still_answers();
        return;
    }
    send_the_list(5);
    double files = test_daemon_metric(&server, "process_open_fds", NULL);
    double before = test_daemon_metric(&server, "process_resident_memory_bytes", NULL);
    send_the_list(25);
    double after = test_daemon_metric(&server, "process_resident_memory_bytes", NULL);
    print_message("resident memory %.1f MiB, then %.1f MiB\n", before / 1048576, after / 1048576);
    assert_true(before > 0);
    assert_true(after < 1.04 * before);
    assert_true(test_daemon_metric(&server, "process_open_fds", NULL) <= files + 1);
    assert_true(test_daemon_settles(&server, "efm_queue_bytes", 0, 2));
    still_answers();
}

/* Half a million numbers are tens of megabytes of small blocks while they are read. */
static void memory_of_long_json_returns(void **state)
{
    struct efm_buffer body = efm_buffer_limited(TEST_FILE_LIMIT);
    (void)state;
    efm_buffer_append_string(&body, "{\"model\":\"plane\",\"vector\":[0");
    for (size_t i = 0; i < 480000; ++i)
        efm_buffer_append_string(&body, ",1");
    efm_buffer_append_string(&body, "]}");
    assert_int_equal(body.status, EFM_OK);
    struct test_request request = {.method = "POST",
                                   .path = "/v1/transfer",
                                   .body = body.data,
                                   .size = body.size,
                                   .type = "application/json"};
    double before = test_daemon_metric(&server, "process_resident_memory_bytes", NULL);
    for (int i = 0; i < 6; ++i)
        test_expect_problem(&server, &request, 422, "shape_mismatch");
    double after = INFINITY, limit = before + 12e6;
    for (int i = 0; i < 40 && after > limit; ++i) { // given back soon after the answer
        usleep(50000);
        after = test_daemon_metric(&server, "process_resident_memory_bytes", NULL);
    }
    print_message("resident memory %.1f MiB, then %.1f MiB\n", before / 1048576, after / 1048576);
    assert_true(after <= limit || test_patience() > 1); // a sanitizer keeps what was freed for a while
    efm_buffer_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_told_what_is_wrong),
        cmocka_unit_test(broken_http),
        cmocka_unit_test(hidden_requests),
        cmocka_unit_test(endless_body),
        cmocka_unit_test(full_queue),
        cmocka_unit_test(memory_returns),
        cmocka_unit_test(memory_of_long_json_returns),
    };
    return cmocka_run_group_tests_name("http/bad_input", tests, start, stop);
}
