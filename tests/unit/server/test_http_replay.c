// SPDX-License-Identifier: Apache-2.0
// Requests without a connection: routed, handled and answered like others.
#include "core/base/memory.h"
#include "tests/unit/server/http_world.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An answer as it came, for a test that waits for it. */
struct kept {
    atomic_int answers;
    struct api_reply reply;
};

static void keep(void *context, struct api_reply *reply)
{
    struct kept *kept = context;
    kept->reply = *reply;
    api_reply_init(reply, 0);
    atomic_fetch_add(&kept->answers, 1);
}

static bool replay(const char *method, const char *target, const char *text, atomic_bool *cancelled,
                   struct kept *kept)
{
    struct srv_kept_request request = {.method = method,
                                       .target = target,
                                       .content_type = "text/x-test",
                                       .accept = "image/png",
                                       .request_id = "kept-1",
                                       .cancelled = cancelled,
                                       .answer = keep,
                                       .context = kept};
    if (text != NULL) {
        request.body = efm_allocate(strlen(text));
        assert_non_null(request.body);
        memcpy(request.body, text, strlen(text));
        request.body_size = strlen(text);
    }
    memset(kept, 0, sizeof *kept);
    return srv_http_replay(world.http, &request);
}

static void wait_for(struct kept *kept)
{
    for (int i = 0; i < 2000 && atomic_load(&kept->answers) == 0; i++)
        peer_sleep(0.005);
    assert_int_equal(atomic_load(&kept->answers), 1);
}

static const char *header_of(const struct api_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    }
    return NULL;
}

static void assert_body(const struct kept *kept, const char *text)
{
    assert_int_equal(kept->reply.status, 200);
    assert_int_equal(kept->reply.body.size, strlen(text));
    assert_memory_equal(kept->reply.body.data, text, strlen(text));
}

static void assert_problem(struct kept *kept, int status, const char *code)
{
    wait_for(kept);
    assert_int_equal(kept->reply.status, status);
    assert_string_equal(kept->reply.content_type, "application/problem+json");
    json_t *body = json_loadb((const char *)kept->reply.body.data, kept->reply.body.size, 0, NULL);
    assert_non_null(body);
    assert_string_equal(json_string_value(json_object_get(body, "code")), code);
    assert_string_equal(json_string_value(json_object_get(body, "request_id")), "kept-1");
    json_decref(body);
    api_reply_release(&kept->reply);
}

static void it_is_answered_with_headers(void **state)
{
    struct kept kept;
    (void)state;
    assert_true(replay("PUT", "/things/a%2eb?q=1", "some text", NULL, &kept));
    wait_for(&kept);
    assert_body(&kept, "some text"); // the endpoint found a NUL past its end as well
    assert_string_equal(kept.reply.content_type, "text/x-test");
    assert_string_equal(header_of(&kept.reply, "Echo-Query"), "q=1");
    assert_string_equal(header_of(&kept.reply, "Echo-Name"), "a.b");
    assert_string_equal(header_of(&kept.reply, "Echo-Accept"), "image/png");
    assert_string_equal(header_of(&kept.reply, "Echo-Test"), "");
    api_reply_release(&kept.reply);
    assert_true(replay("POST", "/echo", NULL, NULL, &kept));
    wait_for(&kept);
    assert_body(&kept, "");
    api_reply_release(&kept.reply);
    assert_int_equal(srv_http_pending(world.http), 0);
    assert_true(world_metric("efm_http_requests_total{method=\"POST\",route=\"/echo\",code=\"200\"}") == 0);
    assert_true(world_metric("efm_http_requests_in_flight") == 0);
    assert_non_null(strstr(world_log(), "\"event\":\"replayed\",\"route\":\"/echo\",\"status\":200"));
}

static void limits_of_arriving_bodies_do_not_count(void **state)
{
    struct kept kept;
    char text[2 * SMALL_BODY];
    (void)state;
    memset(text, 'b', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_true(replay("POST", "/small", text, NULL, &kept));
    wait_for(&kept);
    assert_body(&kept, text);
    api_reply_release(&kept.reply);
}

static void another_thread_may_answer(void **state)
{
    struct kept kept;
    (void)state;
    assert_true(replay("GET", "/later?s=0.05", NULL, NULL, &kept));
    assert_int_equal(srv_http_pending(world.http), 1);
    assert_int_equal(atomic_load(&kept.answers), 0);
    wait_for(&kept);
    assert_body(&kept, "late s=0.05");
    api_reply_release(&kept.reply);
    for (int i = 0; i < 100 && srv_http_pending(world.http) > 0; i++)
        peer_sleep(0.002);
    assert_int_equal(srv_http_pending(world.http), 0);
    assert_true(replay("GET", "/both", NULL, NULL, &kept));
    wait_for(&kept);
    assert_body(&kept, "both");
    api_reply_release(&kept.reply);
}

static void problems_are_answers(void **state)
{
    struct kept kept;
    (void)state;
    assert_true(replay("GET", "/nothing", NULL, NULL, &kept));
    assert_problem(&kept, 404, "not_found");
    assert_true(replay("DELETE", "/echo", NULL, NULL, &kept));
    assert_problem(&kept, 405, "method_not_allowed");
    assert_true(replay("OPTIONS", "/echo", NULL, NULL, &kept));
    assert_problem(&kept, 422, "invalid_parameter");
    assert_true(replay("GET", "/%zz", NULL, NULL, &kept));
    assert_problem(&kept, 400, "malformed_request");
    assert_true(replay("GET", "/forgets", NULL, NULL, &kept));
    assert_problem(&kept, 500, "internal");
    assert_true(replay("GET", "/overflows", NULL, NULL, &kept));
    assert_problem(&kept, 503, "insufficient_memory");
    srv_http_drain(world.http);
    assert_true(replay("POST", "/echo", "x", NULL, &kept));
    assert_problem(&kept, 503, "draining");
}

static void take_problem(void *context, const struct api_problem *problem)
{
    struct kept *kept = context;
    kept->reply.status = api_problem_status(problem->code);
    atomic_fetch_add(&kept->answers, 1);
}

/* Where it is asked for, a problem comes as it is and is no answer. */
static void problems_may_come_as_they_are(void **state)
{
    static const struct {
        const char *target;
        int status;
    } cases[] = {{"/nothing", 404}, {"/forgets", 500}, {"/overflows", 503}, {"/both", 200}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kept kept = {.answers = 0};
        struct srv_kept_request request = {.method = "GET",
                                           .target = cases[i].target,
                                           .answer = keep,
                                           .refuse = take_problem,
                                           .context = &kept};
        assert_true(srv_http_replay(world.http, &request));
        wait_for(&kept);
        assert_int_equal(kept.reply.status, cases[i].status);
        assert_true(kept.reply.body.size == 0 || cases[i].status == 200);
        api_reply_release(&kept.reply);
    }
    assert_int_equal(srv_http_pending(world.http), 0);
}

static void what_was_admitted_is_answered_while_the_server_drains(void **state)
{
    struct kept kept = {.answers = 0};
    struct srv_kept_request request = {
        .method = "GET", .target = "/both", .admitted = true, .answer = keep, .context = &kept};
    (void)state;
    srv_http_drain(world.http);
    assert_true(srv_http_replay(world.http, &request));
    wait_for(&kept);
    assert_body(&kept, "both");
    api_reply_release(&kept.reply);
}

static void its_flag_is_the_callers(void **state)
{
    struct kept kept;
    atomic_bool cancelled = false;
    (void)state;
    assert_true(replay("GET", "/wait", NULL, &cancelled, &kept));
    world_wait_for_calls(1);
    peer_sleep(0.02);
    assert_int_equal(atomic_load(&kept.answers), 0);
    atomic_store(&cancelled, true);
    wait_for(&kept);
    assert_int_equal(kept.reply.status, 503);
    assert_int_equal(atomic_load(&world.cancelled_waits), 1);
    api_reply_release(&kept.reply);
}

static void the_end_of_the_server_sets_the_flag(void **state)
{
    struct kept kept[3];
    atomic_bool cancelled[2] = {false, false};
    (void)state;
    assert_true(replay("GET", "/wait", NULL, &cancelled[0], &kept[0]));
    assert_true(replay("GET", "/wait", NULL, NULL, &kept[1]));
    atomic_bool *early = malloc(sizeof *early); // not touched any more once it is answered
    assert_non_null(early);
    atomic_init(early, false);
    assert_true(replay("GET", "/later", NULL, early, &kept[2]));
    wait_for(&kept[2]);
    free(early);
    assert_true(srv_http_pending(world.http) >= 2);
    world_stop();
    assert_true(atomic_load(&cancelled[0]));
    assert_int_equal(atomic_load(&world.cancelled_waits), 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&kept[i].answers), 1);
        api_reply_release(&kept[i].reply);
    }
}

/* ---- endpoints that want a connection ---- */

static void *begin_nothing(struct srv_service *service, struct srv_exchange *exchange, int64_t length,
                           struct api_problem *problem)
{
    (void)service;
    (void)exchange;
    (void)length;
    atomic_store(&world.message_was_wrong, true);
    api_problem_set(problem, API_P_INTERNAL, NULL, "not to be called");
    return NULL;
}

static const struct srv_upload_class class = {.begin = begin_nothing};

static void handle_stream(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_reply reply;
    (void)service;
    api_reply_init(&reply, 0);
    if (srv_exchange_stream(exchange, &reply) != NULL)
        atomic_store(&world.message_was_wrong, true);
}

static void handle_upload(struct srv_service *service, struct srv_exchange *exchange)
{
    (void)service;
    (void)exchange;
    atomic_store(&world.message_was_wrong, true);
}

static const struct srv_endpoint stream = {"GET", {"/stream"}, handle_stream};
static const struct srv_endpoint upload = {"PUT", {"/upload"}, handle_upload, SRV_BODY_STREAM, &class};
static const struct srv_endpoint *const routes[] = {&stream, &upload};

static void streams_and_uploads_are_refused(void **state)
{
    struct srv_http_options options = world_usual;
    struct kept kept;
    (void)state;
    options.routes = routes;
    options.route_count = 2;
    world_start(&options);
    assert_true(replay("GET", "/stream", NULL, NULL, &kept));
    assert_problem(&kept, 422, "invalid_parameter");
    assert_true(replay("PUT", "/upload", "abc", NULL, &kept));
    assert_problem(&kept, 422, "invalid_parameter");
}

/* ---- many at once, and a server that ends meanwhile ---- */

enum { REPLAYS = 40 };

static void *replay_many(void *context)
{
    struct kept *kept = context;
    for (int i = 0; i < REPLAYS; i++) {
        struct srv_kept_request request = {.method = "GET",
                                           .target = i % 2 == 0 ? "/later?s=0.002" : "/wait",
                                           .answer = keep,
                                           .context = &kept[i]};
        if (!srv_http_replay(world.http, &request))
            atomic_store(&world.message_was_wrong, true);
    }
    return NULL;
}

static void each_is_answered_once(void **state)
{
    static struct kept kept[2][REPLAYS];
    pthread_t threads[2];
    (void)state;
    memset(kept, 0, sizeof kept);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, replay_many, kept[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    world_stop();
    for (int i = 0; i < 2 * REPLAYS; i++) {
        assert_int_equal(atomic_load(&kept[i / REPLAYS][i % REPLAYS].answers), 1);
        api_reply_release(&kept[i / REPLAYS][i % REPLAYS].reply);
    }
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(it_is_answered_with_headers),
        SERVED(limits_of_arriving_bodies_do_not_count),
        SERVED(another_thread_may_answer),
        SERVED(problems_are_answers),
        SERVED(problems_may_come_as_they_are),
        SERVED(what_was_admitted_is_answered_while_the_server_drains),
        SERVED(its_flag_is_the_callers),
        SERVED(the_end_of_the_server_sets_the_flag),
        cmocka_unit_test_teardown(streams_and_uploads_are_refused, world_stop_usual),
        SERVED(each_is_answered_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
