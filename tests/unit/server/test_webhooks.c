// SPDX-License-Identifier: Apache-2.0
// Ends of jobs are told: signed, again and again until somebody listens, across restarts, and to nobody else.
#include "server/jobs/webhooks.h"

#include "core/base/memory.h"
#include "server/metrics.h"
#include "tests/support/check.h"
#include "tests/support/daemon.h"
#include "tests/support/receiver.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SECRET[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
static const char TRACE[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

static struct {
    struct srv_store *store;
    struct srv_blobs *blobs;
    struct srv_metrics *metrics;
    struct srv_jobs *jobs;
    struct srv_outbound *outbound;
    struct srv_webhooks *webhooks;
    struct test_receiver receiver;
} world;

/* ---- the world ---- */

static int start(void **state)
{
    struct efm_error error = {0};
    (void)state;
    memset(&world, 0, sizeof world);
    if (srv_store_open_sqlite(&world.store, NULL, &error) != EFM_OK ||
        srv_blobs_open_memory(&world.blobs, &error) != EFM_OK ||
        srv_metrics_create(&world.metrics, &error) != EFM_OK)
        fail_msg("%s", error.message);
    const struct srv_jobs_options options = {.store = world.store,
                                             .blobs = world.blobs,
                                             .replica = "here",
                                             .max_waiting = 100,
                                             .max_finished = 100,
                                             .ttl = 1000};
    if (srv_jobs_create(&world.jobs, &options, world.metrics, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    srv_webhooks_destroy(world.webhooks);
    test_receiver_stop(&world.receiver);
    srv_outbound_destroy(world.outbound);
    srv_jobs_destroy(world.jobs);
    srv_metrics_destroy(world.metrics);
    srv_blobs_close(world.blobs);
    srv_store_close(world.store);
    return 0;
}

static void listen_with(const struct test_answer *answers, size_t count)
{
    test_receiver_start(&world.receiver, answers, count);
}

static void allow(const char *prefixes, const char *networks)
{
    struct efm_error error = {0};
    const struct srv_outbound_options options = {prefixes, networks};
    if (srv_outbound_create(&world.outbound, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
}

static void begin_sending_as(const char *replica, double scale, double timeout)
{
    struct efm_error error = {0};
    struct srv_webhooks_options options = {
        .store = world.store, .jobs = world.jobs, .replica = replica, .scale = scale, .timeout = timeout};
    if (world.outbound == NULL)
        allow(world.receiver.url, "127.0.0.1");
    options.outbound = world.outbound;
    if (srv_webhook_secret_parse(&options.secret, SECRET, &error) != EFM_OK ||
        srv_webhooks_create(&world.webhooks, &options, world.metrics, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
}

static void begin_sending(double scale, double timeout)
{
    begin_sending_as("here", scale, timeout);
}

static void end_sending(void)
{
    srv_webhooks_destroy(world.webhooks);
    world.webhooks = NULL;
}

/* A job that was worked on and has ended so. */
static void end_job(enum api_job_state state, const char *url, char id[API_JOB_ID_SIZE])
{
    struct efm_error error = {0};
    struct api_problem problem = {0};
    struct api_job job = {.kind = "transfer", .model = "m"};
    struct srv_submission submission = {.job = &job};
    snprintf(job.webhook, sizeof job.webhook, "%s", url);
    snprintf(job.traceparent, sizeof job.traceparent, "%s", TRACE);
    if (!srv_jobs_submit(world.jobs, &submission, &problem))
        fail_msg("%s", problem.detail);
    api_job_release(&job);
    if (srv_jobs_claim(world.jobs, "request", &job, &error) != EFM_OK)
        fail_msg("%s", error.message);
    memcpy(id, job.id, sizeof job.id);
    job.state = state;
    if (state == API_JOB_FAILED)
        snprintf(job.error_code, sizeof job.error_code, "not_finite");
    if (srv_jobs_finish(world.jobs, &job, &error) != EFM_OK)
        fail_msg("%s", error.message);
    api_job_release(&job);
    srv_webhooks_wake(world.webhooks);
}

/* The state that the job shows, once it is this one. */
static void expect_shown(const char *id, const char *state, unsigned attempts)
{
    struct api_job job = {.kind = ""};
    const double until = test_now() + 10 * test_patience();
    for (;;) {
        struct api_problem problem = {0};
        job = (struct api_job){.kind = ""};
        if (!srv_jobs_get(world.jobs, id, &job, &problem))
            fail_msg("%s", problem.detail);
        if (strcmp(job.webhook_state, state) == 0 && job.webhook_attempts == attempts)
            break;
        if (test_now() > until)
            fail_msg("the job shows %s after %u attempts, not %s after %u", job.webhook_state,
                     job.webhook_attempts, state, attempts);
        api_job_release(&job);
        test_sleep(0.005);
    }
    api_job_release(&job);
}

/* Of the only delivery. */
static void expect_record(const char *state, int attempts, int last_status)
{
    const struct srv_query query = {.kind = SRV_RECORD_WEBHOOK};
    struct srv_record *records;
    struct efm_error error = {0};
    size_t count;
    int found_attempts, found_status;
    const double until = test_now() + 5 * test_patience();
    for (;; test_sleep(0.005)) {
        assert_int_equal(srv_store_list(world.store, &query, &records, &count, &error), EFM_OK);
        assert_int_equal(count, 1);
        if (strcmp(records[0].state, state) == 0)
            break;
        if (test_now() > until)
            fail_msg("the record is %s, not %s", records[0].state, state);
        srv_records_release(records, count);
    }
    json_t *document = json_loads(records[0].document, 0, NULL);
    assert_non_null(document);
    assert_int_equal(
        json_unpack(document, "{s:i,s:i}", "attempts", &found_attempts, "last_status", &found_status), 0);
    assert_int_equal(found_attempts, attempts);
    assert_int_equal(found_status, last_status);
    assert_string_equal(records[0].owner, "");
    json_decref(document);
    srv_records_release(records, count);
}

struct events {
    size_t count;
    char last[512];
};

static bool visit(void *context, const struct api_event *event)
{
    struct events *events = context;
    events->count++;
    snprintf(events->last, sizeof events->last, "%s: %s %s", event->level, event->message, event->data);
    return true;
}

static struct events messages_of(const char *id)
{
    struct events events = {0};
    struct api_problem problem = {0};
    assert_true(srv_jobs_events_of(world.jobs, id, "message", 0, 100, visit, &events, &problem));
    return events;
}

/* Signed by our secret, at this time, with what the standard wants in the body. */
static void expect_signed(const struct test_received *received, const char *type, const char *job)
{
    struct srv_webhook_secret secret;
    struct efm_error error = {0};
    char id[128], moment[128], signature[128], expected[SRV_WEBHOOK_SIGNATURE], value[128];
    const char *found_type, *found_job, *timestamp;
    test_received_header(received, "webhook-id", id, sizeof id);
    test_received_header(received, "webhook-timestamp", moment, sizeof moment);
    test_received_header(received, "webhook-signature", signature, sizeof signature);
    assert_memory_equal(id, "msg_", 4);
    const double age = srv_store_now(world.store) - strtod(moment, NULL);
    assert_true(age > -1 && age < 60 * test_patience());
    assert_int_equal(srv_webhook_secret_parse(&secret, SECRET, &error), EFM_OK);
    srv_webhook_sign(&secret, id, strtoll(moment, NULL, 10), received->body, received->size, expected);
    assert_string_equal(signature, expected);
    assert_string_equal(test_received_header(received, "content-type", value, sizeof value),
                        "application/json");
    assert_string_equal(test_received_header(received, "traceparent", value, sizeof value), TRACE);
    assert_true(received->size < 20000);
    json_t *body = json_loads(received->body, 0, NULL);
    assert_non_null(body);
    assert_int_equal(json_unpack(body, "{s:s,s:s,s:{s:s}}", "type", &found_type, "timestamp", &timestamp,
                                 "data", "id", &found_job),
                     0);
    assert_string_equal(found_type, type);
    assert_string_equal(found_job, job);
    json_decref(body);
}

/* ---- secrets and signatures ---- */

static void the_signature_is_that_of_the_standard(void **state)
{
    static const char body[] = "{\"test\": 2432232314}";
    struct srv_webhook_secret secret;
    struct efm_error error = {0};
    char signature[SRV_WEBHOOK_SIGNATURE];
    (void)state;
    assert_int_equal(srv_webhook_secret_parse(&secret, SECRET, &error), EFM_OK);
    assert_int_equal(secret.size, 24);
    srv_webhook_sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, strlen(body), signature);
    assert_string_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void secrets_have_one_form(void **state)
{
    static const char *const wrong[] = {
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa", // 22 bytes
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
        "whsec_MfKQ9r8GKYqr TwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw x",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "A", // 66
    };
    struct srv_webhook_secret secret;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct efm_error error = {0};
        if (srv_webhook_secret_parse(&secret, wrong[i], &error) != EFM_E_FORMAT)
            fail_msg("%s was taken", wrong[i]);
        assert_null(strstr(error.message, "MfKQ"));
        assert_int_equal(secret.size, 0);
    }
    struct efm_error error = {0};
    assert_int_equal(
        srv_webhook_secret_parse(&secret, " \n whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\r\n", &error), EFM_OK);
    assert_int_equal(secret.size, 24);
}

static void the_secret_is_kept_in_a_file(void **state)
{
    struct srv_webhook_secret first, again, other;
    struct efm_error error = {0};
    struct stat info;
    const char *temporary = getenv("TMPDIR");
    char folder[200], path[256];
    (void)state;
    snprintf(folder, sizeof folder, "%.150s/efmd-webhooks-XXXXXX", temporary != NULL ? temporary : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/webhook.secret", folder);
    assert_int_equal(srv_webhook_secret_read(&first, "", folder, &error), EFM_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(srv_webhook_secret_read(&again, "", folder, &error), EFM_OK);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(srv_webhook_secret_read(&again, path, NULL, &error), EFM_OK);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(srv_webhook_secret_read(&other, "", "", &error), EFM_OK);
    assert_in_range(other.size, 24, 64);
    assert_memory_not_equal(&first, &other, sizeof first);
    assert_int_equal(srv_webhook_secret_read(&again, "", NULL, &error), EFM_OK);
    assert_memory_not_equal(&other, &again, sizeof other);
    // one that is damaged is not replaced: receivers would no longer know us
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("whsec_short", file);
    fclose(file);
    assert_int_equal(srv_webhook_secret_read(&again, "", folder, &error), EFM_E_FORMAT);
    unlink(path);
    efm_error_clear(&error);
    assert_int_equal(srv_webhook_secret_read(&again, path, folder, &error), EFM_E_IO);
    assert_int_not_equal(stat(path, &info), 0);
    rmdir(folder);
}

/* ---- deliveries ---- */

static void the_end_of_a_job_is_told(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    static const struct {
        enum api_job_state state;
        const char *type;
    } ends[] = {{API_JOB_SUCCEEDED, "job.succeeded"},
                {API_JOB_FAILED, "job.failed"},
                {API_JOB_CANCELLED, "job.cancelled"}};
    char id[API_JOB_ID_SIZE], url[128];
    (void)state;
    listen_with(answers, 1);
    begin_sending(1, 0);
    snprintf(url, sizeof url, "%s/hook?x=1", world.receiver.url);
    for (size_t i = 0; i < 3; i++) {
        end_job(ends[i].state, url, id);
        assert_true(test_receiver_waits(&world.receiver, i + 1, 5));
        const struct test_received *received = &world.receiver.received[i];
        assert_memory_equal(received->head, "POST /hook?x=1 HTTP/1.1\r\n", 25);
        expect_signed(received, ends[i].type, id);
        expect_shown(id, "delivered", 1);
        const struct events events = messages_of(id);
        assert_int_equal(events.count, 1);
        assert_non_null(strstr(events.last, "info: the webhook was delivered"));
    }
    end_job(API_JOB_SUCCEEDED, "", id);
    test_sleep(0.05);
    assert_int_equal(test_receiver_count(&world.receiver), 3);
}

static void what_fails_is_tried_again_under_the_same_id(void **state)
{
    static const struct test_answer answers[] = {
        {NULL},
        {TEST_ANSWER_500},
        {"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"},
        {TEST_ANSWER_200, .delay = 30},
        {"HTTP/1.1 204 Fine\r\n\r\n"}};
    char id[API_JOB_ID_SIZE], first[128], other[128];
    (void)state;
    listen_with(answers, 5);
    begin_sending(1e-5, 0.3 * test_patience());
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    assert_true(test_receiver_waits(&world.receiver, 5, 10));
    expect_shown(id, "delivered", 5);
    expect_record("delivered", 5, 204);
    for (size_t i = 0; i < 5; i++) {
        expect_signed(&world.receiver.received[i], "job.succeeded", id);
        test_received_header(&world.receiver.received[0], "webhook-id", first, sizeof first);
        test_received_header(&world.receiver.received[i], "webhook-id", other, sizeof other);
        assert_string_equal(first, other);
    }
    assert_int_equal(messages_of(id).count, 5);
    test_sleep(0.1);
    assert_int_equal(test_receiver_count(&world.receiver), 5);
}

static void delays_grow(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_500}};
    char id[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 1);
    begin_sending(1e-3, 0); // then after 5 ms, 300 ms, 1.8 s
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    assert_true(test_receiver_waits(&world.receiver, 3, 5));
    const struct test_received *received = world.receiver.received;
    assert_true(received[1].time - received[0].time >= 0.005);
    assert_true(received[2].time - received[1].time >= 0.3);
    test_sleep(0.1);
    assert_int_equal(test_receiver_count(&world.receiver), 3);
    expect_shown(id, "pending", 3);
    assert_non_null(strstr(messages_of(id).last, "warn: the webhook was not delivered"));
    assert_non_null(strstr(messages_of(id).last, "\"status\":500"));
}

static void it_gives_up_in_the_end(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_500}};
    char id[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 1);
    begin_sending(1e-6, 0);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    assert_true(test_receiver_waits(&world.receiver, 9, 10));
    expect_shown(id, "failed", 9);
    expect_record("failed", 9, 500);
    test_sleep(0.1);
    assert_int_equal(test_receiver_count(&world.receiver), 9);
}

static void gone_ends_it(void **state)
{
    static const struct test_answer answers[] = {{"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"}};
    char id[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 1);
    begin_sending(1e-6, 0);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    expect_shown(id, "failed", 1);
    expect_record("failed", 1, 410);
    test_sleep(0.1);
    assert_int_equal(test_receiver_count(&world.receiver), 1);
}

static void nobody_there_is_tried_again(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    char id[API_JOB_ID_SIZE], url[64];
    (void)state;
    listen_with(answers, 1);
    memcpy(url, world.receiver.url, sizeof url);
    allow(url, "127.0.0.1");
    test_receiver_stop(&world.receiver);
    begin_sending(1, 0);
    end_job(API_JOB_SUCCEEDED, url, id);
    expect_shown(id, "pending", 1);
    expect_record("pending", 1, 0);
    assert_non_null(strstr(messages_of(id).last, "refused"));
}

static void a_long_answer_is_not_read_to_its_end(void **state)
{
    static const struct test_answer answers[] = {
        {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", .filler = 100000000, .lingers = true}};
    char id[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 1);
    begin_sending(1, 10);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    expect_shown(id, "delivered", 1);
}

/* ---- restarts ---- */

static void deliveries_survive_a_restart(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_500}, {TEST_ANSWER_200}};
    char id[API_JOB_ID_SIZE], other[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 2);
    begin_sending(0.05, 0); // the second attempt comes after 0.25 s
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    expect_shown(id, "pending", 1);
    end_sending();
    end_job(API_JOB_FAILED, world.receiver.url, other); // and one that ends while nobody sends
    test_sleep(0.05);
    assert_int_equal(test_receiver_count(&world.receiver), 1);
    begin_sending(0.05, 0);
    expect_shown(id, "delivered", 2);
    expect_shown(other, "delivered", 1);
    assert_int_equal(test_receiver_count(&world.receiver), 3);
}

static void an_attempt_is_broken_off_and_made_again(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200, .delay = 60}, {TEST_ANSWER_200}};
    char id[API_JOB_ID_SIZE], first[128], second[128];
    (void)state;
    listen_with(answers, 2);
    begin_sending(1, 60);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    assert_true(test_receiver_waits(&world.receiver, 1, 5));
    const double begun = test_now();
    end_sending();
    assert_true(test_now() - begun < 3 * test_patience());
    expect_shown(id, "pending", 0);
    expect_record("pending", 0, 0);
    begin_sending(1, 60);
    expect_shown(id, "delivered", 1);
    test_received_header(&world.receiver.received[0], "webhook-id", first, sizeof first);
    test_received_header(&world.receiver.received[1], "webhook-id", second, sizeof second);
    assert_string_equal(first, second);
}

/* As one that was killed while it sent. */
static void claim_as(const char *owner)
{
    const struct srv_claim claim = {.kind = SRV_RECORD_WEBHOOK,
                                    .group = "webhook",
                                    .waiting = "pending",
                                    .active = "sending",
                                    .owner = owner,
                                    .lease = 1000};
    struct srv_record record = {0};
    struct efm_error error = {0};
    assert_int_equal(srv_store_claim(world.store, &claim, &record, &error), EFM_OK);
    srv_record_release(&record);
}

static void what_a_killed_run_was_sending_is_sent(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    char mine[API_JOB_ID_SIZE], other[API_JOB_ID_SIZE];
    (void)state;
    listen_with(answers, 1);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, mine);
    claim_as("here");
    end_job(API_JOB_SUCCEEDED, world.receiver.url, other);
    claim_as("there"); // another replica, which may still be at it
    begin_sending(0.001, 0);
    expect_shown(mine, "delivered", 1);
    test_sleep(0.1);
    expect_shown(other, "pending", 0);
    assert_int_equal(test_receiver_count(&world.receiver), 1);
}

static void many_are_each_told_once(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    enum { MANY = 20 };
    char ids[MANY][API_JOB_ID_SIZE];
    struct srv_webhooks *first;
    (void)state;
    listen_with(answers, 1);
    begin_sending(0.01, 0);
    first = world.webhooks;
    begin_sending_as("there", 0.01, 0);
    for (size_t i = 0; i < MANY; i++)
        end_job(API_JOB_SUCCEEDED, world.receiver.url, ids[i]);
    for (size_t i = 0; i < MANY; i++)
        expect_shown(ids[i], "delivered", 1);
    srv_webhooks_destroy(first);
    assert_int_equal(test_receiver_count(&world.receiver), MANY);
}

/* As many as may be held up: one less than there are attempts at once. */
static void who_does_not_answer_holds_up_nobody(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    enum { SILENT = 3 };
    char id[API_JOB_ID_SIZE], silent[64], both[160];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    (void)state;
    const int deaf =
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // takes connections, and never looks at them
    assert_int_equal(bind(deaf, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(deaf, 16), 0);
    assert_int_equal(getsockname(deaf, (struct sockaddr *)&address, &size), 0);
    snprintf(silent, sizeof silent, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    listen_with(answers, 1);
    snprintf(both, sizeof both, "%s %s", world.receiver.url, silent);
    allow(both, "127.0.0.1");
    begin_sending(1, 1000);
    for (int i = 0; i < SILENT; i++)
        end_job(API_JOB_SUCCEEDED, silent, id);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    expect_shown(id, "delivered", 1);
    end_sending(); // and the attempts are broken off
    close(deaf);
}

/* ---- not to be sent ---- */

static void no_private_address_is_told(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    char id[API_JOB_ID_SIZE], url[64];
    (void)state;
    listen_with(answers, 1);
    snprintf(url, sizeof url, "http://localhost:%u", world.receiver.port);
    allow(url, "");
    begin_sending(1e-6, 0);
    end_job(API_JOB_SUCCEEDED, url, id);
    expect_shown(id, "failed", 1);
    assert_non_null(strstr(messages_of(id).last, "not a public"));
    end_job(API_JOB_SUCCEEDED, "http://127.0.0.1:1/outside-of-the-prefix", id);
    expect_shown(id, "failed", 1);
    assert_int_equal(test_receiver_count(&world.receiver), 0);
}

static void of_a_job_that_is_gone_nothing_is_told(void **state)
{
    static const struct test_answer answers[] = {{TEST_ANSWER_200}};
    struct api_problem problem = {0};
    struct efm_error error = {0};
    char id[API_JOB_ID_SIZE], document[] = "{\"url\":\"http://127.0.0.1/\",\"attempts\":0}",
                              damaged[] = "{\"url\":";
    (void)state;
    listen_with(answers, 1);
    end_job(API_JOB_SUCCEEDED, world.receiver.url, id);
    assert_true(srv_jobs_delete(world.jobs, id, &problem));
    struct srv_record orphan = {.kind = SRV_RECORD_WEBHOOK,
                                .id = "msg_1",
                                .parent = "job_none",
                                .group = "webhook",
                                .state = "pending",
                                .document = document,
                                .size = strlen(document)};
    const struct srv_change change = {SRV_INSERT, &orphan, 0};
    assert_int_equal(srv_store_commit(world.store, &change, 1, NULL, &error), EFM_OK);
    begin_sending(1e-6, 0);
    expect_record("failed", 0, 0);
    // nor of a record that says nothing
    snprintf(orphan.id, sizeof orphan.id, "msg_2");
    orphan.document = damaged;
    orphan.size = strlen(damaged);
    assert_int_equal(srv_store_commit(world.store, &change, 1, NULL, &error), EFM_OK);
    const struct srv_query query = {.kind = SRV_RECORD_WEBHOOK,
                                    .states = (const char *const[]){"failed", NULL}};
    size_t failed = 0;
    for (int i = 0; i < 1000 && failed < 2; i++) {
        assert_int_equal(srv_store_count(world.store, &query, &failed, &error), EFM_OK);
        test_sleep(0.005);
    }
    assert_int_equal(failed, 2);
    assert_int_equal(test_receiver_count(&world.receiver), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_that_of_the_standard),
        cmocka_unit_test(secrets_have_one_form),
        cmocka_unit_test(the_secret_is_kept_in_a_file),
        CASE(the_end_of_a_job_is_told),
        CASE(what_fails_is_tried_again_under_the_same_id),
        CASE(delays_grow),
        CASE(it_gives_up_in_the_end),
        CASE(gone_ends_it),
        CASE(nobody_there_is_tried_again),
        CASE(a_long_answer_is_not_read_to_its_end),
        CASE(deliveries_survive_a_restart),
        CASE(an_attempt_is_broken_off_and_made_again),
        CASE(what_a_killed_run_was_sending_is_sent),
        CASE(many_are_each_told_once),
        CASE(who_does_not_answer_holds_up_nobody),
        CASE(no_private_address_is_told),
        CASE(of_a_job_that_is_gone_nothing_is_told),
    };
    return cmocka_run_group_tests_name("server/webhooks", tests, NULL, NULL);
}
