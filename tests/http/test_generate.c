// SPDX-License-Identifier: Apache-2.0
// POST /generate: fresh samples of the source, carried to the target.
#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct test_daemon server;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_pictures(&server);
    test_world_plane(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static void post(const char *path, const char *json, struct test_reply *reply)
{
    test_send(&server,
              &(struct test_request){.method = "POST",
                                     .path = path,
                                     .type = json != NULL ? "application/json" : NULL,
                                     .body = json,
                                     .size = json != NULL ? strlen(json) : 0},
              reply);
}

static void without_a_body(void **state)
{
    struct test_reply reply;
    struct efm_image image;
    (void)state;
    post("/v1/generate?model=pictures&n=9&seed=7", NULL, &reply);
    test_expect(&reply, 200, "image/png");
    test_read_picture(&image, reply.body, reply.size);
    assert_in_range(image.width, 24, 36); // three by three
    assert_in_range(image.height, 24, 36);
    efm_image_release(&image);
    test_reply_release(&reply);
    post("/generate?model=pictures", NULL, &reply);
    test_expect(&reply, 200, "image/png");
    test_read_picture(&image, reply.body, reply.size);
    assert_int_equal(image.width, 8);
    efm_image_release(&image);
    test_reply_release(&reply);
}

static void query_and_json_say_the_same(void **state)
{
    struct test_reply one, two;
    (void)state;
    post("/v1/generate?model=pictures&n=3&seed=7&format=npy", NULL, &one);
    post("/v1/generate", "{\"model\":\"pictures\",\"n\":3,\"seed\":7,\"format\":\"npy\"}", &two);
    test_expect(&one, 200, NULL);
    test_expect(&two, 200, NULL);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.body, two.body, one.size);
    test_reply_release(&one);
    test_reply_release(&two);
}

static void numbers_and_shapes(void **state)
{
    struct test_reply reply;
    size_t shape[8], rank, far = 0;
    (void)state;
    post("/v1/generate?model=plane&n=32&seed=7&format=npy", NULL, &reply);
    test_expect(&reply, 200, NULL);
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 2);
    assert_int_equal(shape[0], 32);
    assert_int_equal(shape[1], 2);
    for (size_t i = 0; i < 32; ++i) {
        far += fabsf(fabsf(values[2 * i]) - 8) < 2.5F && fabsf(values[2 * i + 1]) < 2.5F;
        for (size_t k = 0; k < i; ++k) // every sample starts from a point of its own
            assert_false(values[2 * i] == values[2 * k] && values[2 * i + 1] == values[2 * k + 1]);
    }
    assert_true(far >= 28);
    efm_free(values);
    test_reply_release(&reply);

    post("/v1/generate?model=plane&n=2&seed=7", NULL, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "data")), 2);
    json_decref(json);
    test_reply_release(&reply);
}

static void the_first_of_many_is_the_same_alone(void **state)
{
    struct test_reply few, many;
    size_t shape[8], rank;
    (void)state;
    post("/v1/generate?model=pictures&n=2&seed=5&format=npy", NULL, &few);
    post("/v1/generate?model=pictures&n=16&seed=5&format=npy", NULL, &many);
    test_expect(&few, 200, NULL);
    test_expect(&many, 200, NULL);
    float *one = test_read_npy(few.body, few.size, shape, &rank);
    float *all = test_read_npy(many.body, many.size, shape, &rank);
    assert_memory_equal(one, all, sizeof(float) * 2 * 8 * 8 * 3);
    efm_free(one);
    efm_free(all);
    test_reply_release(&few);
    test_reply_release(&many);
}

static void reverse_generates_the_source(void **state)
{
    struct test_reply reply;
    size_t shape[8], rank, near = 0;
    (void)state;
    post("/v1/generate?model=plane&n=8&seed=7&direction=reverse&format=npy", NULL, &reply);
    test_expect(&reply, 200, NULL);
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(shape[0], 8);
    for (size_t i = 0; i < 8; ++i)
        near += hypotf(values[2 * i], values[2 * i + 1]) < 4.5F;
    assert_int_equal(near, 8); // every line ends on a charge
    efm_free(values);
    test_reply_release(&reply);
}

static void inputs_are_refused(void **state)
{
    const char *body = "{\"model\":\"plane\",\"vectors\":[[1,2]]}";
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply reply;
    (void)state;
    test_expect_problem(
        &server,
        &(struct test_request){
            .path = "/v1/generate", .type = "application/json", .body = body, .size = strlen(body)},
        422, "unknown_parameter");
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    test_send(
        &server,
        &(struct test_request){.path = "/v1/generate?model=pictures", .body = png.data, .size = png.size},
        &reply);
    assert_in_range(reply.status, 400, 422);
    test_reply_release(&reply);
    efm_buffer_release(&png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_body),
        cmocka_unit_test(query_and_json_say_the_same),
        cmocka_unit_test(numbers_and_shapes),
        cmocka_unit_test(the_first_of_many_is_the_same_alone),
        cmocka_unit_test(reverse_generates_the_source),
        cmocka_unit_test(inputs_are_refused),
    };
    return cmocka_run_group_tests_name("http/generate", tests, start, stop);
}
