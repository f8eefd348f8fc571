// SPDX-License-Identifier: Apache-2.0
// The daemon tells that a job has ended: signed with the secret of its state directory, again after it was killed.
#include "api/parameters.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "tests/support/check.h"
#include "tests/support/job.h"
#include "tests/support/problem.h"
#include "tests/support/receiver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct test_daemon server;
static struct test_receiver receiver;
static char allowed[128];

static const char *const *arguments(void)
{
    static const char *list[] = {"--webhook-allow", allowed, "--allow-private", "127.0.0.1", NULL};
    return list;
}

static void start(const struct test_answer *answers, size_t count)
{
    test_receiver_start(&receiver, answers, count);
    snprintf(allowed, sizeof allowed, "%s/hooks", receiver.url);
    test_daemon_start(&server, arguments());
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    test_receiver_stop(&receiver);
    return 0;
}

static void train(const char *header, char *id)
{
    char json[512];
    snprintf(json, sizeof json,
             "{\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\",\"count\":100},\"webhook\":\"%s/"
             "a?key=1\","
             "\"metadata\":{\"who\":\"me\"}," TEST_SMALL_TRAINING "}",
             allowed);
    test_post_training(&server, json, header, id);
}

/* The key of DIR/webhook.secret, which only its owner reads. Owned by the caller. */
static uint8_t *read_key(size_t *size)
{
    char path[400], text[256] = "";
    uint8_t *key;
    struct stat info;
    struct api_problem problem = {0};
    snprintf(path, sizeof path, "%s/webhook.secret", server.state);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    assert_memory_equal(text, "whsec_", 6);
    assert_true(api_base64_decode(text + 6, strlen(text + 6), &key, size, &problem, ""));
    return key;
}

static void expect_signed(const struct test_received *received)
{
    char id[128], moment[64], signature[128], dotted[256], expected[64];
    uint8_t sum[EFM_SHA256_SIZE];
    size_t size;
    uint8_t *key = read_key(&size);
    test_received_header(received, "webhook-id", id, sizeof id);
    test_received_header(received, "webhook-timestamp", moment, sizeof moment);
    test_received_header(received, "webhook-signature", signature, sizeof signature);
    snprintf(dotted, sizeof dotted, "%s.%s.", id, moment);
    const struct efm_sha256_part parts[] = {{dotted, strlen(dotted)}, {received->body, received->size}};
    efm_hmac_sha256(key, size, parts, 2, sum);
    struct efm_buffer text = efm_buffer_limited(64);
    api_base64_encode(&text, sum, sizeof sum);
    snprintf(expected, sizeof expected, "v1,%.*s", (int)text.size, (const char *)text.data);
    assert_string_equal(signature, expected);
    efm_buffer_release(&text);
    efm_free(key);
}

/* Polls until the job shows the delivery so. */
static void expect_shown(const char *id, const char *status, json_int_t attempts)
{
    const double until = test_now() + 10 * test_patience();
    for (;;) {
        json_t *job = test_get_job(&server, id);
        const json_t *webhook = json_object_get(job, "webhook");
        const bool shown = strcmp(test_job_text(job, "webhook", "status"), status) == 0 &&
                           json_integer_value(json_object_get(webhook, "attempts")) == attempts;
        if (!shown && test_now() > until)
            fail_msg("the job shows %s", json_dumps(webhook, 0));
        json_decref(job);
        if (shown)
            return;
        test_sleep(0.02);
    }
}

static void the_end_of_a_training_is_told(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    char id[TEST_JOB_ID], value[128], path[128];
    struct test_reply reply;
    (void)state;
    start(answers, 1);
    train("traceparent: " TRACE, id);
    assert_true(test_receiver_waits(&receiver, 1, 20));
    const struct test_received *received = &receiver.received[0];
    assert_memory_equal(received->head, "POST /hooks/a?key=1 HTTP/1.1\r\n", 30);
    assert_string_equal(test_received_header(received, "content-type", value, sizeof value),
                        "application/json");
    assert_string_equal(test_received_header(received, "traceparent", value, sizeof value), TRACE);
    expect_signed(received);
    json_t *body = json_loads(received->body, 0, NULL);
    assert_string_equal(test_job_text(body, NULL, "type"), "job.succeeded");
    assert_string_equal(test_job_text(body, "data", "id"), id);
    assert_string_equal(test_job_text(body, "data", "status"), "succeeded");
    json_decref(body);
    expect_shown(id, "delivered", 1);
    snprintf(path, sizeof path, "/v1/jobs/%s/events", id);
    test_send(&server, &(struct test_request){.path = path, .accept = "application/json"}, &reply);
    test_expect(&reply, 200, "application/json");
    assert_non_null(strstr((const char *)reply.body, "the webhook was delivered"));
    test_reply_release(&reply);
    assert_true(test_daemon_metric(&server, "efm_webhook_deliveries_total", "outcome=\"delivered\"") == 1);
}

static void a_delivery_survives_a_kill(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200, .delay = 60}, {TEST_ANSWER_200}};
    char id[TEST_JOB_ID], first[128], second[128];
    (void)state;
    start(answers, 2);
    train(NULL, id);
    assert_true(test_receiver_waits(&receiver, 1, 20));
    test_daemon_signal(&server, SIGKILL);
    assert_true(WIFSIGNALED(test_daemon_wait(&server, 10)));
    test_daemon_relaunch(&server, arguments());
    assert_true(test_receiver_waits(&receiver, 2, 10)); // not only when a lease has run out
    expect_signed(&receiver.received[0]);
    expect_signed(&receiver.received[1]);
    test_received_header(&receiver.received[0], "webhook-id", first, sizeof first);
    test_received_header(&receiver.received[1], "webhook-id", second, sizeof second);
    assert_string_equal(first, second);
    expect_shown(id, "delivered", 1);
}

static void a_stop_does_not_wait_for_a_receiver(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200, .delay = 60}, {TEST_ANSWER_200}};
    char id[TEST_JOB_ID];
    (void)state;
    start(answers, 2);
    train(NULL, id);
    assert_true(test_receiver_waits(&receiver, 1, 20));
    const double begun = test_now();
    test_daemon_restart(&server, arguments());
    assert_true(test_now() - begun < 10 * test_patience());
    expect_shown(id, "delivered", 1);
}

static void a_failure_is_shown(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_500}};
    char id[TEST_JOB_ID];
    (void)state;
    start(answers, 1);
    train(NULL, id);
    expect_shown(id, "pending", 1);
    assert_true(test_daemon_metric(&server, "efm_webhook_deliveries_total", "outcome=\"retry\"") == 1);
}

static void other_addresses_are_refused_at_once(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    static const char *const urls[] = {"http://127.0.0.1:1/hooks", "https://example.org/hooks",
                                       "http://169.254.169.254/latest/meta-data/"};
    (void)state;
    start(answers, 1);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char json[512];
        snprintf(json, sizeof json,
                 "{\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\",\"count\":100},\"webhook\":\"%"
                 "s\"," TEST_SMALL_TRAINING "}",
                 urls[i]);
        test_expect_problem(
            &server,
            &(struct test_request){
                .path = "/train", .type = "application/json", .body = json, .size = strlen(json)},
            422, "url_refused");
    }
    assert_int_equal(test_receiver_count(&receiver), 0);
}

#define CASE(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_end_of_a_training_is_told),       CASE(a_delivery_survives_a_kill),
        CASE(a_stop_does_not_wait_for_a_receiver), CASE(a_failure_is_shown),
        CASE(other_addresses_are_refused_at_once),
    };
    return cmocka_run_group_tests_name("http/webhooks", tests, NULL, NULL);
}
