// SPDX-License-Identifier: Apache-2.0
// A request gives the same bytes alone and in a full batch, whatever the workers, their threads and the size of a batch: of a
// learned model in each precision, and of an exact one.
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/tiny_net.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct efm_buffer unet, picture;

/* Each is asked for alone, and with all others COPIES times at once. */
static const char *const requests[] = {
    "/v1/transfer?model=unet&seed=1",
    "/v1/transfer?model=unet&seed=2&n=3&solver=heun&steps=6",
    "/v1/generate?model=unet&seed=3&n=4&trajectory=5",
    "/v1/generate?model=unet&seed=3&n=2&format=npy",
    "/v1/transfer?model=pictures&seed=4",
    "/v1/transfer?model=pictures&seed=5&n=2&solver=euler&steps=30",
    "/v1/generate?model=pictures&seed=6&n=5&format=npy",
};
/* Lines enough for every batch, until they are hung up. */
static const char *const fillers[] = {
    "/v1/generate?model=unet&seed=8&n=48&steps=1000",
    "/v1/generate?model=unet&seed=9&n=48&steps=1000",
    "/v1/generate?model=pictures&seed=8&n=48&solver=euler&steps=1000",
    "/v1/generate?model=pictures&seed=9&n=48&solver=euler&steps=1000",
};
enum {
    REQUESTS = sizeof requests / sizeof requests[0],
    FILLERS = sizeof fillers / sizeof fillers[0],
    COPIES = 2
};

static int make_files(void **state)
{
    struct efm_learned_spec spec = tiny_spec(EFM_FIELD_PER_PLATE);
    struct efm_net *net = tiny_unet(8, 3);
    struct efm_model *model = tiny_model(net, &spec, 1);
    (void)state;
    unet = efm_buffer_limited(TEST_FILE_LIMIT);
    assert_int_equal(efm_model_save(model, &unet, NULL), EFM_OK);
    efm_model_unref(model);
    efm_net_unref(net);
    picture = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&picture, 16, 3, 5, EFM_IMAGE_PNG);
    return 0;
}

static int free_files(void **state)
{
    (void)state;
    efm_buffer_release(&unet);
    efm_buffer_release(&picture);
    return 0;
}

static struct test_request request_of(const char *path)
{
    struct test_request request = {.method = "POST", .path = path};
    if (strstr(path, "/transfer") != NULL) {
        request.body = picture.data;
        request.size = picture.size;
    }
    return request;
}

static void keep_or_compare(struct test_reply *kept, struct test_reply *reply, const char *path)
{
    test_expect(reply, 200, NULL);
    if (kept->body == NULL) {
        *kept = *reply;
        return;
    }
    if (kept->size != reply->size || memcmp(kept->body, reply->body, reply->size) != 0)
        fail_msg("%s has other bytes", path);
    test_reply_release(reply);
}

static void ask_alone(const struct test_daemon *server, struct test_reply kept[REQUESTS])
{
    for (size_t i = 0; i < REQUESTS; i++) {
        struct test_request request = request_of(requests[i]);
        struct test_reply reply;
        test_send(server, &request, &reply);
        keep_or_compare(&kept[i], &reply, requests[i]);
    }
}

static int begin(const struct test_daemon *server, const char *path)
{
    char text[256];
    const int length =
        snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", path);
    int connection = test_connect(server);
    test_write(connection, text, (size_t)length);
    return connection;
}

static void ask_in_a_crowd(const struct test_daemon *server, struct test_reply kept[REQUESTS])
{
    struct test_request all[COPIES * REQUESTS];
    struct test_reply replies[COPIES * REQUESTS];
    int connections[FILLERS];
    for (size_t i = 0; i < FILLERS; i++)
        connections[i] = begin(server, fillers[i]);
    const double give_up = test_now() + 20 * test_patience();
    while (test_daemon_metric(server, "efm_lines_in_flight", NULL) < 4 * 48 && test_now() < give_up)
        test_sleep(0.002);
    for (size_t i = 0; i < COPIES * REQUESTS; i++)
        all[i] = request_of(requests[i % REQUESTS]);
    test_send_all(server, all, COPIES * REQUESTS, replies);
    for (size_t i = 0; i < COPIES * REQUESTS; i++)
        keep_or_compare(&kept[i % REQUESTS], &replies[i], requests[i % REQUESTS]);
    for (size_t i = 0; i < FILLERS; i++)
        close(connections[i]);
}

static void run_daemon(const char *precision, int workers, int threads, int batch,
                       struct test_reply kept[REQUESTS])
{
    char workers_text[12], threads_text[12], batch_text[12];
    struct test_daemon server = {0};
    snprintf(workers_text, sizeof workers_text, "%d", workers);
    snprintf(threads_text, sizeof threads_text, "%d", threads);
    snprintf(batch_text, sizeof batch_text, "%d", batch);
    test_daemon_start(&server, (const char *const[]){"--precision", precision, "--workers", workers_text,
                                                     "--threads", threads_text, "--batch", batch_text, NULL});
    test_expect_request(&server,
                        &(struct test_request){
                            .method = "PUT", .path = "/v1/models/unet", .body = unet.data, .size = unet.size},
                        201);
    test_world_pictures(&server);
    ask_alone(&server, kept);
    ask_in_a_crowd(&server, kept);
    // it was in company, as far as the size of a batch goes
    const double full = test_daemon_metric(&server, "efm_batch_images_bucket", "le=\"64\""),
                 half = test_daemon_metric(&server, "efm_batch_images_bucket", "le=\"32\"");
    if (batch == 64 && workers == 1)
        assert_true(full > half);
    test_daemon_stop(&server);
}

/* Every pair of workers and batch, threads in turn: so there is every pair of two of the three. */
static void run_daemons(const char *precision, struct test_reply kept[REQUESTS])
{
    static const int batches[] = {1, 7, 64};
    const double begun = test_now();
    for (int workers = 1; workers <= 3; workers++)
        for (int i = 0; i < 3; i++)
            run_daemon(precision, workers, 1 + (workers + i) % 2, batches[i], kept);
    print_message("nine daemons in %.1f s\n", test_now() - begun);
}

static void release_all(struct test_reply kept[REQUESTS])
{
    for (size_t i = 0; i < REQUESTS; i++)
        test_reply_release(&kept[i]);
}

static void in_single_precision(void **state)
{
    struct test_reply kept[REQUESTS] = {0};
    (void)state;
    run_daemons("f32", kept);
    release_all(kept);
}

static void in_bf16(void **state)
{
    struct test_reply kept[REQUESTS] = {0}, single[REQUESTS] = {0};
    enum efm_precision precision = EFM_PRECISION_BF16;
    (void)state;
    if (efm_precision_resolve(&precision, NULL) != EFM_OK)
        skip();
    run_daemons("bf16", kept);
    run_daemon("f32", 1, 1, 64, single);
    // it was another precision indeed, and the exact model knows none
    assert_true(kept[3].size == single[3].size && memcmp(kept[3].body, single[3].body, kept[3].size) != 0);
    assert_true(kept[6].size == single[6].size && memcmp(kept[6].body, single[6].body, kept[6].size) == 0);
    release_all(kept);
    release_all(single);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_single_precision),
        cmocka_unit_test(in_bf16),
    };
    return cmocka_run_group_tests_name("http/same_bytes", tests, make_files, free_files);
}
