// SPDX-License-Identifier: Apache-2.0
// Trainings as jobs: posted, watched, cancelled, deleted, and going on after the daemon was killed.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define NETWORK "\"network\":{\"arch\":\"mlp\",\"hidden\":24,\"hidden2\":40,\"embedding\":16},\"batch\":16"
#define SHORT "\"source\":\"gaussian\",\"target\":\"roll\",\"steps\":40," NETWORK
#define LONG "\"source\":\"gaussian\",\"target\":\"roll\",\"steps\":100000000," NETWORK

static struct test_daemon server;
static const char *const ARGUMENTS[] = {"--checkpoint-seconds", "0.2", "--train-memory", "64M", NULL};

enum { ID = 64 };

static int start(void **state)
{
    static const char roll[] = "{\"toy\":\"swiss_roll\",\"count\":200}";
    static const char space[] = "{\"toy\":\"gaussian\",\"count\":100,\"dimension\":3}";
    (void)state;
    test_daemon_start(&server, ARGUMENTS);
    test_put_dataset(&server, "roll", roll, sizeof roll - 1);
    test_put_dataset(&server, "space", space, sizeof space - 1);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

/* ---- short words ---- */

static struct test_request train(const char *json, const char *header)
{
    return (struct test_request){
        .path = "/train", .type = "application/json", .header = header, .body = json, .size = strlen(json)};
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

/* Posts it, and puts the id of the job that is the answer into id[ID]. */
static void post(const char *json, const char *header, char *id)
{
    struct test_reply reply;
    char location[128], wanted[128], wait[16];
    const struct test_request request = train(json, header);
    test_send(&server, &request, &reply);
    test_expect(&reply, 202, "application/json");
    json_t *job = test_reply_json(&reply);
    snprintf(id, ID, "%s", text_of(job, "id"));
    snprintf(wanted, sizeof wanted, "/v1/jobs/%s", id);
    assert_string_equal(test_reply_header(&reply, "Location", location, sizeof location), wanted);
    assert_string_equal(test_reply_header(&reply, "Retry-After", wait, sizeof wait), "2");
    assert_string_equal(text_of(job, "kind"), "train");
    json_decref(job);
    test_reply_release(&reply);
}

static void refuse(const char *json, int status, const char *code)
{
    const struct test_request request = train(json, NULL);
    test_expect_problem(&server, &request, status, code);
}

/* "/v1/jobs/ID" and what follows, good until the next call. */
static const char *path_of(const char *id, const char *rest)
{
    static char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s%s", id, rest);
    return path;
}

static json_t *get_json(const char *path)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path, .accept = "application/json"}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

/* The job once it has ended; the caller's. */
static json_t *await(const char *id)
{
    const double until = test_now() + 30 * test_patience();
    for (;;) {
        json_t *job = get_json(path_of(id, "?wait=10"));
        const char *status = text_of(job, "status");
        if (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0)
            return job;
        json_decref(job);
        if (test_now() > until)
            fail_msg("the job %s does not end", id);
    }
}

static void expect_end(const char *id, const char *status)
{
    json_t *job = await(id);
    if (strcmp(text_of(job, "status"), status) != 0)
        fail_msg("not %s: %s", status, json_dumps(job, 0));
    json_decref(job);
}

static void await_step(const char *id, json_int_t step)
{
    const double until = test_now() + 30 * test_patience();
    json_int_t now = 0;
    while (now < step && test_now() < until) {
        json_t *job = get_json(path_of(id, ""));
        now = json_integer_value(json_object_get(job, "step"));
        json_decref(job);
        test_sleep(0.02);
    }
    assert_true(now >= step);
}

static void cancel(const char *id)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.method = "POST", .path = path_of(id, "/cancel")}, &reply);
    if (reply.status != 202)
        test_expect(&reply, 200, "application/json");
    test_reply_release(&reply);
    expect_end(id, "cancelled");
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        count++;
    return count;
}

/* ---- tests ---- */

static void a_training_makes_a_model(void **state)
{
    char id[ID], location[128];
    struct test_reply reply;
    (void)state;
    post("{\"model\":\"made\",\"metadata\":{\"who\":\"me\"},\"seed\":5," SHORT "}", NULL, id);
    json_t *job = await(id);
    assert_string_equal(text_of(job, "status"), "succeeded");
    assert_int_equal(json_integer_value(json_object_get(job, "step")), 40);
    assert_string_equal(text_of(json_object_get(job, "metadata"), "who"), "me");
    assert_string_equal(text_of(json_object_get(job, "result"), "model"), "made");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(job, "hyperparameters"), "seed")), 5);
    json_decref(job);
    json_t *model = get_json("/v1/models/made");
    assert_string_equal(text_of(model, "trained_by"), id);
    json_decref(model);
    test_send(&server, &(struct test_request){.path = path_of(id, "/result")}, &reply);
    test_expect(&reply, 303, NULL);
    test_reply_header(&reply, "Location", location, sizeof location);
    assert_string_equal(location, "/v1/models/made/weights");
    test_reply_release(&reply);
    test_expect_request(
        &server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=made&n=2&format=json"},
        200);
    // the name is taken now
    refuse("{\"model\":\"made\"," SHORT "}", 409, "conflict");
    char other[ID];
    post("{\"model\":\"made\",\"replace\":true," SHORT "}", NULL, other);
    expect_end(other, "succeeded");
    // what the first one made is not what its name stands for now
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/result")}, 410, "gone");
    test_expect_request(&server, &(struct test_request){.path = path_of(other, "/result")}, 303);
}

static void its_events_are_a_list_and_a_stream(void **state)
{
    char id[ID], header[64], *last;
    struct test_reply reply;
    (void)state;
    post("{" SHORT "}", NULL, id);
    test_send(&server, &(struct test_request){.path = path_of(id, "/events")}, &reply);
    test_expect(&reply, 200, "text/event-stream");
    const char *text = (const char *)reply.body;
    assert_int_equal(strncmp(text, "retry: 2000\n\n", 13), 0);
    assert_non_null(strstr(text, "\"queued\""));
    assert_non_null(strstr(text, "\"succeeded\""));
    assert_true(count_of(text, "event: metrics\n") > 0);
    // the last one by itself, and after it there is nothing to come back for
    unsigned long long number = 0;
    for (last = (char *)text; strstr(last + 1, "\nid: ") != NULL;)
        last = strstr(last + 1, "\nid: ");
    assert_int_equal(sscanf(last, "\nid: %llu", &number), 1);
    test_reply_release(&reply);
    snprintf(header, sizeof header, "Last-Event-ID: %llu", number);
    test_send(&server, &(struct test_request){.path = path_of(id, "/events"), .header = header}, &reply);
    test_expect(&reply, 204, NULL);
    test_reply_release(&reply);
    snprintf(header, sizeof header, "Last-Event-ID: %llu", number - 1);
    test_send(&server, &(struct test_request){.path = path_of(id, "/events"), .header = header}, &reply);
    test_expect(&reply, 200, "text/event-stream");
    assert_int_equal(count_of((const char *)reply.body, "\nevent: "), 1);
    test_reply_release(&reply);
    json_t *list = get_json(path_of(id, "/events?limit=2"));
    assert_int_equal(json_array_size(json_object_get(list, "data")), 2);
    assert_true(json_is_true(json_object_get(list, "has_more")));
    json_decref(list);
    test_expect_problem(&server,
                        &(struct test_request){.path = path_of(id, "/events"), .accept = "image/png"}, 406,
                        "not_acceptable");
}

static void expect_picture(const char *path)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, "image/png");
    assert_true(reply.size > 100 && memcmp(reply.body, "\x89PNG", 4) == 0);
    test_reply_release(&reply);
}

static void it_is_watched_while_it_runs_and_ends_when_asked(void **state)
{
    char id[ID], etag[128], header[160];
    struct test_reply reply;
    (void)state;
    post("{\"model\":\"long\"," LONG "}", NULL, id);
    refuse("{\"model\":\"long\"," SHORT "}", 409, "conflict"); // it is being made
    await_step(id, 10);
    expect_picture(path_of(id, "/preview.png"));
    expect_picture(path_of(id, "/loss.png"));
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/result")}, 409, "not_finished");
    test_expect_problem(&server, &(struct test_request){.method = "DELETE", .path = path_of(id, "")}, 409,
                        "conflict");
    // news of any kind for whoever knows how it was
    test_send(&server, &(struct test_request){.path = path_of(id, "")}, &reply);
    test_expect(&reply, 200, "application/json");
    test_reply_header(&reply, "ETag", etag, sizeof etag);
    test_reply_release(&reply);
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    test_send(&server, &(struct test_request){.path = path_of(id, "?wait=30"), .header = header}, &reply);
    test_expect(&reply, 200, "application/json");
    test_reply_release(&reply);
    const double until = test_now() + 20 * test_patience();
    size_t checkpoints = 0;
    while (checkpoints == 0 && test_now() < until) {
        json_t *list = get_json(path_of(id, "/checkpoints"));
        checkpoints = json_array_size(json_object_get(list, "data"));
        json_decref(list);
        test_sleep(0.05);
    }
    assert_true(checkpoints > 0);
    cancel(id);
    cancel(id); // may be repeated
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/result")}, 409, "conflict");
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/long"}, 404);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = path_of(id, "")}, 204);
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "")}, 410, "gone");
    test_expect_problem(&server, &(struct test_request){.path = path_of(id, "/events")}, 410, "gone");
    test_expect_problem(&server, &(struct test_request){.path = "/v1/jobs/job_never"}, 404, "unknown_job");
}

static void what_is_wrong_is_said_at_once(void **state)
{
    (void)state;
    refuse("{\"source\":\"gaussian\",\"target\":\"nobody\"}", 404, "unknown_dataset");
    refuse("{\"source\":\"gaussian\",\"target\":\"http://127.0.0.1/x.npy\"}", 422, "url_refused");
    refuse("{\"webhook\":\"https://example.org/\"," SHORT "}", 422, "url_refused");
    refuse("{\"source\":\"space\",\"target\":\"roll\"}", 422, "shape_mismatch");
    refuse("{\"learning_rates\":1," SHORT "}", 422, "unknown_parameter");
    refuse("{\"source\":\"gaussian\",\"target\":\"roll\",\"network\":{\"arch\":\"unet\"}}", 422,
           "invalid_parameter");
    refuse("{\"source\":\"gaussian\",\"target\":{\"dataset\":\"roll\",\"first\":200}}", 422,
           "invalid_parameter");
    refuse("{\"model\":\"../x\"," SHORT "}", 422, "invalid_parameter");
    refuse("{\"source\":\"gaussian\",\"target\":\"roll\",\"network\":{\"hidden\":4096,\"hidden2\":4096}}",
           422, "model_too_large");
    refuse("{", 400, "malformed_json");
}

static void a_key_makes_one_job(void **state)
{
    static const char key[] = "Idempotency-Key: \"once\"";
    char first[ID], second[ID], replayed[16];
    struct test_reply reply;
    (void)state;
    post("{\"model\":\"once\"," SHORT "}", key, first);
    expect_end(first, "succeeded");
    // the model that it made is not in the way
    const struct test_request again = train("{\"model\":\"once\"," SHORT "}", key);
    test_send(&server, &again, &reply);
    test_expect(&reply, 202, "application/json");
    assert_string_equal(test_reply_header(&reply, "Idempotency-Replayed", replayed, sizeof replayed), "true");
    json_t *job = test_reply_json(&reply);
    snprintf(second, sizeof second, "%s", text_of(job, "id"));
    assert_string_equal(text_of(job, "status"), "succeeded");
    json_decref(job);
    test_reply_release(&reply);
    assert_string_equal(first, second);
    const struct test_request other = train("{\"model\":\"twice\"," SHORT "}", key);
    test_expect_problem(&server, &other, 422, "idempotency_key_reused");
}

static void jobs_wait_for_each_other_and_are_listed(void **state)
{
    char ids[3][ID], path[160];
    (void)state;
    for (int i = 0; i < 3; i++)
        post("{" LONG "}", NULL, ids[i]);
    await_step(ids[0], 1);
    json_t *job = get_json(path_of(ids[2], ""));
    assert_string_equal(text_of(job, "status"), "queued");
    assert_int_equal(json_integer_value(json_object_get(job, "queue_position")), 2);
    json_decref(job);
    json_t *list = get_json("/v1/jobs?status=queued");
    const json_t *data = json_object_get(list, "data");
    assert_int_equal(json_array_size(data), 2);
    assert_string_equal(text_of(json_array_get(data, 0), "id"), ids[2]);
    json_decref(list);
    snprintf(path, sizeof path, "/v1/jobs?kind=train&limit=1&after=%s", ids[1]);
    list = get_json(path);
    data = json_object_get(list, "data");
    assert_int_equal(json_array_size(data), 1);
    assert_string_equal(text_of(json_array_get(data, 0), "id"), ids[0]);
    json_decref(list);
    for (int i = 2; i >= 0; i--)
        cancel(ids[i]);
    assert_true(test_daemon_settles(&server, "efm_event_streams", 0, 10));
}

static void a_killed_daemon_goes_on(void **state)
{
    char id[ID], waiting[ID];
    (void)state;
    post("{\"model\":\"killed\",\"source\":\"gaussian\",\"target\":\"roll\",\"steps\":4000," NETWORK "}",
         NULL, id);
    post("{\"model\":\"waited\"," SHORT "}", NULL, waiting);
    await_step(id, 1);
    test_daemon_signal(&server, SIGKILL);
    (void)test_daemon_wait(&server, 10);
    test_daemon_relaunch(&server, ARGUMENTS);
    expect_end(id, "succeeded");
    expect_end(waiting, "succeeded");
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/killed"}, 200);
}

static void a_stopped_daemon_leaves_its_jobs_for_the_next(void **state)
{
    char id[ID];
    (void)state;
    post("{" LONG "}", NULL, id);
    await_step(id, 1);
    test_daemon_restart(&server, ARGUMENTS);
    await_step(id, 1);
    cancel(id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_training_makes_a_model),
        cmocka_unit_test(its_events_are_a_list_and_a_stream),
        cmocka_unit_test(it_is_watched_while_it_runs_and_ends_when_asked),
        cmocka_unit_test(what_is_wrong_is_said_at_once),
        cmocka_unit_test(a_key_makes_one_job),
        cmocka_unit_test(jobs_wait_for_each_other_and_are_listed),
        cmocka_unit_test(a_killed_daemon_goes_on),
        cmocka_unit_test(a_stopped_daemon_leaves_its_jobs_for_the_next),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
