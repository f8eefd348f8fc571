// SPDX-License-Identifier: Apache-2.0
// A model is loaded, replaced and unloaded again and again while requests use it: none of them fails, each is answered by one of the
// models whole, and the memory comes back.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/tiny_net.h"
#include "tests/support/world.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { CYCLES = 100, WARM_CYCLES = 30, CONNECTIONS = 8, KINDS = 3 };

static struct test_daemon server;
static struct efm_buffer files[KINDS], picture; // two exact models and a network
static struct test_reply expected[KINDS];

static struct test_request carry(const char *name)
{
    static const char swap[] = "/v1/transfer?model=swap&seed=3&steps=4&solver=euler&format=npy";
    static const char still[] = "/v1/transfer?model=still&seed=3&steps=4&solver=euler&format=npy";
    return (struct test_request){.method = "POST",
                                 .path = strcmp(name, "swap") == 0 ? swap : still,
                                 .body = picture.data,
                                 .size = picture.size};
}

static void make_exact(struct efm_buffer *out, uint64_t seed)
{
    struct efm_buffer warm = efm_buffer_limited(TEST_FILE_LIMIT), cold = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply reply;
    test_make_pictures_npy(&warm, 400, 16, 3, seed);
    test_make_pictures_npy(&cold, 400, 16, 3, seed + 1000);
    test_put_dataset(&server, "warm", warm.data, warm.size);
    test_put_dataset(&server, "cold", cold.data, cold.size);
    efm_buffer_release(&warm);
    efm_buffer_release(&cold);
    test_put_model(&server, "made", "{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"cold\"}");
    test_send(&server, &(struct test_request){.path = "/v1/models/made/weights"}, &reply);
    test_expect(&reply, 200, NULL);
    *out = efm_buffer_limited(TEST_FILE_LIMIT);
    efm_buffer_append(out, reply.body, reply.size);
    test_reply_release(&reply);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/made"}, 204);
}

static void make_network(struct efm_buffer *out)
{
    struct efm_learned_spec spec = tiny_spec(EFM_FIELD_PER_PLATE);
    struct efm_net *net = tiny_unet(16, 3);
    struct efm_model *model = tiny_model(net, &spec, 1);
    *out = efm_buffer_limited(TEST_FILE_LIMIT);
    assert_int_equal(efm_model_save(model, out, NULL), EFM_OK);
    efm_model_unref(model);
    efm_net_unref(net);
}

static struct test_request put(const char *path, size_t kind)
{
    return (struct test_request){
        .method = "PUT", .path = path, .body = files[kind].data, .size = files[kind].size};
}

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--precision", "f32", NULL});
    make_exact(&files[0], 1);
    make_exact(&files[1], 5000);
    make_network(&files[2]);
    picture = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&picture, 16, 3, 5, EFM_IMAGE_PNG);
    for (size_t i = 0; i < KINDS; ++i) { // what each answers
        struct test_request request = put("/v1/models/still", i), ask = carry("still");
        test_send(&server, &request, &expected[i]);
        assert_in_range(expected[i].status, 200, 201);
        test_reply_release(&expected[i]);
        test_send(&server, &ask, &expected[i]);
        test_expect(&expected[i], 200, NULL);
    }
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/still"}, 204);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; ++i) {
        efm_buffer_release(&files[i]);
        test_reply_release(&expected[i]);
    }
    efm_buffer_release(&picture);
    test_daemon_stop(&server);
    return 0;
}

/* ---- clients ---- */

struct client {
    atomic_bool *end;
    size_t answers, seen[KINDS];
    char trouble[200]; // "" for none
};

static bool same(const struct test_reply *a, const struct test_reply *b)
{
    return a->size == b->size && memcmp(a->body, b->body, a->size) == 0;
}

static void note(struct client *client, const struct test_reply *reply, bool answered)
{
    for (size_t i = 0; answered && reply->status == 200 && i < KINDS; ++i)
        if (same(reply, &expected[i])) {
            client->answers++;
            client->seen[i]++;
            return;
        }
    if (client->trouble[0] == '\0')
        snprintf(client->trouble, sizeof client->trouble, "status %d, %.150s", reply->status,
                 reply->status == 200 ? "of no model" : (const char *)reply->body);
}

static void *ask(void *context)
{
    struct client *client = context;
    const struct test_request request = carry("swap");
    while (!atomic_load(client->end)) {
        struct test_reply reply;
        bool answered = test_send_quietly(&server, &request, &reply);
        note(client, &reply, answered);
        test_reply_release(&reply);
    }
    return NULL;
}

/* ---- cycles ---- */

static void cycle(size_t number)
{
    struct test_request request = put("/v1/models/swap", number % KINDS);
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = "/v1/models/swap/load"},
                        200);
    test_expect_request(&server, &request, 200);
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = "/v1/models/swap/unload"},
                        200);
}

static void cycles_under_load(size_t count)
{
    pthread_t threads[CONNECTIONS];
    struct client clients[CONNECTIONS] = {0};
    atomic_bool end = false;
    size_t answers = 0, seen[KINDS] = {0};
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        clients[i].end = &end;
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &clients[i]), 0);
    }
    for (size_t i = 0; i < count; ++i)
        cycle(i);
    atomic_store(&end, true);
    for (size_t i = 0; i < CONNECTIONS; ++i)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        if (clients[i].trouble[0] != '\0')
            fail_msg("a request failed: %s", clients[i].trouble);
        answers += clients[i].answers;
        for (size_t k = 0; k < KINDS; ++k)
            seen[k] += clients[i].seen[k];
    }
    print_message("%zu cycles, %zu answers: %zu, %zu and %zu of each model\n", count, answers, seen[0],
                  seen[1], seen[2]);
    assert_true(answers > count);
}

/* Without a model, once workers have given back what they kept. */
static double resting_memory(void)
{
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = "/v1/models/swap/unload"},
                        200);
    test_sleep(1.5);
    return test_daemon_metric(&server, "process_resident_memory_bytes", NULL);
}

static void swapped_under_load(void **state)
{
    const bool measures = test_patience() <= 1; // a sanitizer keeps what was freed for a while
    struct test_request request = put("/v1/models/swap", 0);
    (void)state;
    test_expect_request(&server, &request, 201);
    if (!measures) {
        cycles_under_load(WARM_CYCLES);
        return;
    }
    cycles_under_load(WARM_CYCLES); // until every thread has been everywhere
    double before = resting_memory();
    cycles_under_load(CYCLES);
    double after = resting_memory();
    print_message("resident memory %.1f MiB, then %.1f MiB\n", before / 1048576, after / 1048576);
    assert_true(after <= 1.02 * before);
    assert_true(test_daemon_metric(&server, "efm_model_loaded", "model=\"swap\"") == 0);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 5));
    assert_true(test_daemon_settles(&server, "efm_queue_bytes", 0, 5));
}

/* A budget that holds one model at a time, and requests for two: each leaves for the other. */
static void two_models_in_the_room_of_one(void **state)
{
    enum { ROUNDS = 4 };
    struct test_request swap = put("/v1/models/swap", 0), still = put("/v1/models/still", 1);
    char budget[32];
    (void)state;
    test_expect_request(&server, &swap, 200);
    snprintf(budget, sizeof budget, "%.0f",
             1.5 * test_daemon_metric(&server, "efm_model_memory_bytes", "model=\"swap\""));
    test_daemon_restart(&server,
                        (const char *const[]){"--precision", "f32", "--memory-budget", budget, NULL});
    test_expect_request(&server, &still, 201);
    for (size_t i = 0; i < ROUNDS; ++i) {
        struct test_request request = carry(i % 2 == 0 ? "swap" : "still");
        struct test_reply reply;
        test_send(&server, &request, &reply);
        test_expect(&reply, 200, NULL);
        assert_true(same(&reply, &expected[i % 2]));
        test_reply_release(&reply);
    }
    assert_true(test_daemon_metric(&server, "efm_model_unloads_total", "evicted") >= ROUNDS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swapped_under_load),
        cmocka_unit_test(two_models_in_the_room_of_one),
    };
    return cmocka_run_group_tests_name("http/model_swap", tests, start, stop);
}
