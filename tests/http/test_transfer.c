// SPDX-License-Identifier: Apache-2.0
// POST /transfer as its users meet it: every way in, every way out, and the promise that a result depends on
// the input, the parameters and the seed alone.
#include "api/parameters.h"
#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct test_daemon server;
static struct efm_buffer picture; /* 8x8 PNG, not one of the charges */
static struct efm_buffer larger;  /* 20x20 PNG */

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_pictures(&server);
    test_world_plane(&server);
    picture = efm_buffer_limited(TEST_FILE_LIMIT);
    larger = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&picture, 8, 3, 5, EFM_IMAGE_PNG);
    test_make_picture(&larger, 20, 3, 6, EFM_IMAGE_PNG);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    efm_buffer_release(&picture);
    efm_buffer_release(&larger);
    test_daemon_stop(&server);
    return 0;
}

static struct test_request transfer(const char *path)
{
    return (struct test_request){.method = "POST", .path = path, .body = picture.data, .size = picture.size};
}

static struct test_request json_request(const char *path, const char *body)
{
    return (struct test_request){
        .method = "POST", .path = path, .type = "application/json", .body = body, .size = strlen(body)};
}

static void expect_picture(const struct test_reply *reply, uint32_t width, uint32_t height)
{
    struct efm_image image;
    test_read_picture(&image, reply->body, reply->size);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_int_equal(image.channels, 3);
    efm_image_release(&image);
}

/* {"image": BASE64, more...}, owned by the caller (efm_buffer_release). */
static struct efm_buffer json_body(const char *prefix, const char *more)
{
    struct efm_buffer body = efm_buffer_limited(TEST_FILE_LIMIT);
    efm_buffer_format(&body, "{\"image\":\"%s", prefix);
    api_base64_encode(&body, picture.data, picture.size);
    efm_buffer_format(&body, "\"%s}", more);
    assert_int_equal(body.status, EFM_OK);
    return body;
}

static void raw_bytes_in_and_png_out(void **state)
{
    char text[128];
    struct test_reply reply;
    struct test_request request = transfer("/v1/transfer?model=pictures&seed=7");
    (void)state;
    request.type = "image/png";
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "image/png");
    expect_picture(&reply, 8, 8);
    assert_string_equal(test_reply_header(&reply, "Efm-Seed", text, sizeof text), "7");
    assert_int_equal(strncmp(test_reply_header(&reply, "Efm-Model", text, sizeof text), "pictures", 8), 0);
    assert_true(strtol(test_reply_header(&reply, "Efm-Steps", text, sizeof text), NULL, 10) > 0);
    assert_string_equal(test_reply_header(&reply, "Efm-Landed", text, sizeof text), "1/1");
    assert_true(test_reply_header(&reply, "Server-Timing", text, sizeof text)[0] != '\0');
    assert_true(test_reply_header(&reply, "X-Request-Id", text, sizeof text)[0] != '\0');
    assert_string_equal(test_reply_header(&reply, "X-Content-Type-Options", text, sizeof text), "nosniff");
    test_reply_release(&reply);
}

static void every_way_in_gives_the_same_picture(void **state)
{
    const struct test_part parts[] = {
        {"image", "three.png", "image/png", picture.data, picture.size},
        {"model", NULL, NULL, "pictures", 8},
        {"seed", NULL, NULL, "7", 1},
    };
    struct efm_buffer plain = json_body("", ",\"model\":\"pictures\",\"seed\":7");
    struct efm_buffer uri = json_body("data:image/png;base64,", ",\"model\":\"pictures\",\"seed\":7");
    struct test_request requests[] = {
        transfer("/v1/transfer?model=pictures&seed=7"),
        transfer("/transfer?model=pictures&seed=7"),
        transfer("/v1/transfer?model=pictures&seed=7"), // a PUT without a type, as curl -T sends
        transfer("/v1/transfer?model=pictures&seed=7"), // the type that curl --data-binary claims
        {.path = "/v1/transfer", .parts = parts, .part_count = 3},
        {.path = "/v1/transfer?model=pictures&seed=7", .parts = parts, .part_count = 1},
        {.path = "/v1/transfer",
         .type = "application/json",
         .body = plain.data,
         .size = plain.size,
         .accept = "image/png"},
        {.path = "/v1/transfer",
         .type = "application/json",
         .body = uri.data,
         .size = uri.size,
         .accept = "image/png"},
    };
    enum { COUNT = sizeof requests / sizeof requests[0] };
    struct test_reply first, reply;
    (void)state;
    requests[2].method = "PUT";
    requests[3].type = "application/x-www-form-urlencoded";
    test_send(&server, &requests[0], &first);
    test_expect(&first, 200, "image/png");
    for (size_t i = 1; i < COUNT; ++i) {
        test_send(&server, &requests[i], &reply);
        test_expect(&reply, 200, "image/png");
        if (reply.size != first.size || memcmp(reply.body, first.body, first.size) != 0)
            fail_msg("request %zu gave another picture than the first", i);
        test_reply_release(&reply);
    }
    test_reply_release(&first);
    efm_buffer_release(&plain);
    efm_buffer_release(&uri);
}

static void every_way_out(void **state)
{
    static const struct {
        const char *query, *accept, *type;
        enum efm_image_format format;
    } cases[] = {
        {"", NULL, "image/png", EFM_IMAGE_PNG},
        {"", "*/*", "image/png", EFM_IMAGE_PNG},
        {"", "image/*", "image/png", EFM_IMAGE_PNG},
        {"", "image/jpeg", "image/jpeg", EFM_IMAGE_JPEG},
        {"", "image/webp", "image/webp", EFM_IMAGE_WEBP},
        {"", "image/png;q=0.1, image/webp", "image/webp", EFM_IMAGE_WEBP},
        {"", "text/html, image/jpeg;q=0.5", "image/jpeg", EFM_IMAGE_JPEG},
        {"&format=jpeg", NULL, "image/jpeg", EFM_IMAGE_JPEG},
        {"&format=jpeg&quality=10", NULL, "image/jpeg", EFM_IMAGE_JPEG},
        {"&format=webp", NULL, "image/webp", EFM_IMAGE_WEBP},
        {"&format=png", NULL, "image/png", EFM_IMAGE_PNG},
        {"", "application/json", "application/json", EFM_IMAGE_UNKNOWN},
        {"&format=json", NULL, "application/json", EFM_IMAGE_UNKNOWN},
        {"", "application/octet-stream", "application/octet-stream", EFM_IMAGE_UNKNOWN},
        {"&format=npy", NULL, NULL, EFM_IMAGE_UNKNOWN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char path[128];
        struct test_reply reply;
        snprintf(path, sizeof path, "/v1/transfer?model=pictures&seed=7%s", cases[i].query);
        struct test_request request = transfer(path);
        request.accept = cases[i].accept;
        test_send(&server, &request, &reply);
        test_expect(&reply, 200, cases[i].type);
        assert_int_equal(efm_image_sniff(reply.body, reply.size), cases[i].format);
        test_reply_release(&reply);
    }
    struct test_request request = transfer("/v1/transfer?model=pictures");
    request.accept = "text/html";
    test_expect_problem(&server, &request, 406, "not_acceptable");
}

static void json_answer_says_all(void **state)
{
    struct test_reply reply, image;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct api_problem problem = {0};
    struct test_request request = transfer("/v1/transfer?model=pictures&seed=9&n=2&format=json");
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "model")), "pictures");
    assert_int_equal(json_integer_value(json_object_get(json, "seed")), 9);
    const json_t *data = json_object_get(json, "data");
    assert_int_equal(json_array_size(data), 2);
    const json_t *item = json_array_get(data, 0);
    assert_true(json_is_true(json_object_get(item, "landed")));
    assert_string_equal(json_string_value(json_object_get(item, "state")), "landed");
    assert_true(json_integer_value(json_object_get(item, "evaluations")) > 0);
    assert_true(json_is_object(json_object_get(json, "timings")));
    const json_t *encoded = json_object_get(item, "b64_json");
    assert_true(api_base64_decode(json_string_value(encoded), json_string_length(encoded), &bytes, &size,
                                  &problem, "/"));
    request = transfer("/v1/transfer?model=pictures&seed=9");
    test_send(&server, &request, &image);
    struct efm_image one, other;
    test_read_picture(&one, bytes, size);
    test_read_picture(&other, image.body, image.size);
    assert_memory_equal(one.pixels, other.pixels, 8 * 8 * 3);
    efm_image_release(&one);
    efm_image_release(&other);
    efm_free(bytes);
    json_decref(json);
    test_reply_release(&image);
    test_reply_release(&reply);
}

static void several_results_are_one_grid(void **state)
{
    struct test_reply reply;
    struct efm_image image;
    struct test_request request = transfer("/v1/transfer?model=pictures&seed=7&n=4");
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "image/png");
    test_read_picture(&image, reply.body, reply.size);
    assert_in_range(image.width, 16, 24);
    assert_in_range(image.height, 16, 24);
    efm_image_release(&image);
    test_reply_release(&reply);

    const struct test_part parts[] = {
        {"image", "a.png", NULL, picture.data, picture.size},
        {"image", "b.png", NULL, larger.data, larger.size},
    };
    request = (struct test_request){
        .path = "/v1/transfer?model=pictures&format=npy&seed=1", .parts = parts, .part_count = 2};
    size_t shape[8], rank;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, NULL);
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 4);
    assert_int_equal(shape[0], 2);
    assert_int_equal(shape[1] * shape[2] * shape[3], 8 * 8 * 3);
    efm_free(values);
    test_reply_release(&reply);
}

static void trajectories(void **state)
{
    struct test_reply reply;
    struct efm_image image;
    struct test_request request = transfer("/v1/transfer?model=pictures&seed=7&trajectory=5&format=json");
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    const json_t *item = json_array_get(json_object_get(json, "data"), 0);
    assert_int_equal(json_array_size(json_object_get(item, "frames")), 5);
    json_decref(json);
    test_reply_release(&reply);

    request = transfer("/v1/transfer?model=pictures&seed=7&trajectory=5");
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "image/png");
    test_read_picture(&image, reply.body, reply.size);
    assert_in_range(image.width, 40, 60);
    assert_in_range(image.height, 8, 12);
    efm_image_release(&image);
    test_reply_release(&reply);

    size_t shape[8], rank;
    const char *body = "{\"vectors\":[[0.5,0.25],[-1,1]],\"trajectory\":6,\"format\":\"npy\"}";
    request = json_request("/v1/transfer?model=plane", body);
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, NULL);
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 3);
    assert_int_equal(shape[0], 2);
    assert_int_equal(shape[1], 6);
    assert_int_equal(shape[2], 2);
    assert_true(fabsf(values[0] - 0.5F) < 1e-6F && fabsf(values[1] - 0.25F) < 1e-6F); // begins at the input
    efm_free(values);
    test_reply_release(&reply);
}

static void vectors_in_json_and_npy(void **state)
{
    struct test_reply reply;
    const char *body = "{\"model\":\"plane\",\"vectors\":[[0.5,0.25],[-1,1],[0.1,-2]],\"seed\":3}";
    struct test_request request = json_request("/v1/transfer", body);
    float from_json[6];
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    const json_t *data = json_object_get(json, "data");
    assert_int_equal(json_array_size(data), 3);
    for (size_t i = 0; i < 6; ++i) {
        const json_t *vector = json_object_get(json_array_get(data, i / 2), "vector");
        assert_int_equal(json_array_size(vector), 2);
        from_json[i] = (float)json_number_value(json_array_get(vector, i % 2));
    }
    // the target's two clusters stand at (8, 0) and (-8, 0)
    for (size_t i = 0; i < 3; ++i)
        assert_true(fabsf(fabsf(from_json[2 * i]) - 8) < 2.5F && fabsf(from_json[2 * i + 1]) < 2.5F);
    json_decref(json);
    test_reply_release(&reply);

    static const float starts[] = {0.5F, 0.25F, -1, 1, 0.1F, -2};
    struct efm_buffer npy = efm_buffer_limited(TEST_FILE_LIMIT);
    size_t shape[8], rank;
    test_make_npy(&npy, "<f4", (size_t[]){3, 2}, 2, starts);
    request = (struct test_request){.path = "/v1/transfer?model=plane&seed=3",
                                    .accept = "application/octet-stream",
                                    .body = npy.data,
                                    .size = npy.size};
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/octet-stream");
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 2);
    assert_int_equal(shape[0], 3);
    for (size_t i = 0; i < 6; ++i)
        assert_true(values[i] == from_json[i]);
    efm_free(values);
    test_reply_release(&reply);

    request.accept = "image/png";
    test_expect_problem(&server, &request, 406, "not_acceptable");
    efm_buffer_release(&npy);
}

/* A megabyte of JSON is read by another thread than a line of it, and is the same request. */
static void long_json_is_read_like_short(void **state)
{
    static const struct {
        const char *start, *end;
        int status;
        const char *code;
    } cases[] = {
        {"{\"model\":\"plane\",\"format\":\"npy\",\"vector\":[0.5,0.25]", "}", 200, NULL},
        {"{\"model\":\"plane\",\"vector\":[0.5,0.25]", "", 400, "malformed_json"},
        {"{\"model\":\"nobody\",\"vector\":[0.5,0.25]", "}", 404, "unknown_model"},
        {"{\"model\":\"plane\",\"vector\":[0.5]", "}", 422, "shape_mismatch"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct efm_buffer body = efm_buffer_limited(TEST_FILE_LIMIT);
        struct test_reply reply, short_reply;
        efm_buffer_append_string(&body, cases[i].start);
        struct test_request request = json_request("/v1/transfer", "");
        for (size_t blank = 0; blank < 1 << 17; ++blank)
            efm_buffer_append_string(&body, "        ");
        efm_buffer_append_string(&body, cases[i].end);
        assert_int_equal(body.status, EFM_OK);
        request.body = body.data;
        request.size = body.size;
        if (cases[i].code != NULL) {
            test_expect_problem(&server, &request, cases[i].status, cases[i].code);
        } else {
            test_send(&server, &request, &reply);
            test_expect(&reply, 200, NULL);
            request = json_request("/v1/transfer",
                                   "{\"model\":\"plane\",\"format\":\"npy\",\"vector\":[0.5,0.25]}");
            test_send(&server, &request, &short_reply);
            assert_int_equal(reply.size, short_reply.size);
            assert_memory_equal(reply.body, short_reply.body, reply.size);
            test_reply_release(&short_reply);
            test_reply_release(&reply);
        }
        efm_buffer_release(&body);
    }
}

static void reverse_goes_back(void **state)
{
    struct test_reply reply;
    struct test_request request =
        json_request("/v1/transfer?model=plane&direction=reverse", "{\"vectors\":[[8,0],[-8.2,0.3]]}");
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    for (size_t i = 0; i < 2; ++i) {
        const json_t *vector = json_object_get(json_array_get(json_object_get(json, "data"), i), "vector");
        double x = json_number_value(json_array_get(vector, 0)),
               y = json_number_value(json_array_get(vector, 1));
        assert_true(hypot(x, y) < 4.5); // a sample of N(0, I)
    }
    json_decref(json);
    test_reply_release(&reply);
    struct test_request back = transfer("/v1/transfer?model=pictures&direction=reverse&seed=1");
    test_send(&server, &back, &reply);
    test_expect(&reply, 200, "image/png");
    expect_picture(&reply, 8, 8);
    test_reply_release(&reply);
}

static void seeds_decide(void **state)
{
    const char *body =
        "{\"vectors\":[[0.5,0.25],[0.5,0.25],[0.5,0.25],[0.5,0.25]],\"format\":\"npy\",\"seed\":%d}";
    struct test_reply replies[3];
    (void)state;
    for (int i = 0; i < 3; ++i) {
        char text[256];
        snprintf(text, sizeof text, body, i < 2 ? 11 : 12);
        struct test_request request = json_request("/v1/transfer?model=wanderer", text);
        test_send(&server, &request, &replies[i]);
        test_expect(&replies[i], 200, NULL);
    }
    assert_int_equal(replies[0].size, replies[1].size);
    assert_memory_equal(replies[0].body, replies[1].body, replies[0].size);
    assert_int_equal(replies[0].size, replies[2].size);
    assert_memory_not_equal(replies[0].body, replies[2].body, replies[0].size);
    for (size_t i = 0; i < 3; ++i)
        test_reply_release(&replies[i]);

    // without a seed one is drawn and told, and with it the result comes again
    char seed[64], path[128];
    struct test_request request = transfer("/v1/transfer?model=pictures");
    test_send(&server, &request, &replies[0]);
    test_expect(&replies[0], 200, "image/png");
    test_reply_header(&replies[0], "Efm-Seed", seed, sizeof seed);
    assert_true(seed[0] != '\0');
    snprintf(path, sizeof path, "/v1/transfer?model=pictures&seed=%s", seed);
    request = transfer(path);
    test_send(&server, &request, &replies[1]);
    test_expect(&replies[1], 200, "image/png");
    assert_int_equal(replies[0].size, replies[1].size);
    assert_memory_equal(replies[0].body, replies[1].body, replies[0].size);
    test_reply_release(&replies[0]);
    test_reply_release(&replies[1]);
}

static void a_full_queue_changes_nothing(void **state)
{
    enum { COUNT = 48 };
    static struct test_request requests[COUNT];
    static struct test_reply replies[COUNT];
    static char paths[COUNT][128];
    const char *vectors = "{\"vectors\":[[0.5,0.25],[-1,1],[0.1,-2]],\"seed\":3,\"format\":\"npy\"}";
    struct test_reply alone, alone_vectors;
    (void)state;
    requests[0] = transfer("/v1/transfer?model=pictures&seed=7&n=3&format=npy");
    requests[1] = json_request("/v1/transfer?model=wanderer", vectors);
    test_send(&server, &requests[0], &alone);
    test_send(&server, &requests[1], &alone_vectors);
    test_expect(&alone, 200, NULL);
    test_expect(&alone_vectors, 200, NULL);
    for (size_t i = 2; i < COUNT; ++i) {
        if (i % 5 == 0) {
            requests[i] = requests[i % 10 == 0 ? 0 : 1];
            continue;
        }
        snprintf(paths[i], sizeof paths[i], "/v1/transfer?model=pictures&seed=%zu&n=%zu&format=npy%s", i,
                 1 + i % 7, i % 3 == 0 ? "&solver=euler&steps=17" : "");
        requests[i] = transfer(paths[i]);
        if (i % 4 == 0) {
            requests[i].body = larger.data;
            requests[i].size = larger.size;
        }
    }
    test_send_all(&server, requests, COUNT, replies);
    for (size_t i = 0; i < COUNT; ++i) {
        const struct test_reply *expected = requests[i].body == vectors ? &alone_vectors : &alone;
        test_expect(&replies[i], 200, NULL);
        if (i < 2 || i % 5 == 0) {
            assert_int_equal(replies[i].size, expected->size);
            assert_memory_equal(replies[i].body, expected->body, expected->size);
        }
        test_reply_release(&replies[i]);
    }
    test_reply_release(&alone);
    test_reply_release(&alone_vectors);
}

static void solvers_and_variables(void **state)
{
    static const char *const queries[] = {
        "solver=euler&steps=20", "solver=heun&steps=10", "solver=rk45&tolerance=0.001",
        "solver=euler&steps=20&variable=log_z", "solver=heun&steps=10&variable=z"};
    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; ++i) {
        char path[160], steps[32];
        struct test_reply reply;
        snprintf(path, sizeof path, "/v1/transfer?model=pictures&seed=1&%s", queries[i]);
        struct test_request request = transfer(path);
        test_send(&server, &request, &reply);
        test_expect(&reply, 200, "image/png");
        // fixed steps: 20 evaluations on the way, and one where the line starts
        long evaluations = strtol(test_reply_header(&reply, "Efm-Steps", steps, sizeof steps), NULL, 10);
        if (i != 2)
            assert_in_range(evaluations, 20, 21);
        test_reply_release(&reply);
    }
}

static void other_sizes_and_kinds_of_pictures(void **state)
{
    static const char *const files[] = {"image/grey8.png", "image/rgb16.png",    "image/grey16.png",
                                        "image/rgba8.png", "image/palette8.png", "image/exif6.jpg",
                                        "image/rgb.jpg",   "image/lossy.webp"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
        struct test_reply reply;
        struct efm_buffer file = test_data_file(files[i]);
        struct test_request request = {
            .path = "/v1/transfer?model=pictures&seed=1", .body = file.data, .size = file.size};
        test_send(&server, &request, &reply);
        if (reply.status != 200)
            print_error("%s\n", files[i]);
        test_expect(&reply, 200, "image/png");
        expect_picture(&reply, 8, 8);
        test_reply_release(&reply);
        efm_buffer_release(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_bytes_in_and_png_out),
        cmocka_unit_test(every_way_in_gives_the_same_picture),
        cmocka_unit_test(every_way_out),
        cmocka_unit_test(json_answer_says_all),
        cmocka_unit_test(several_results_are_one_grid),
        cmocka_unit_test(trajectories),
        cmocka_unit_test(vectors_in_json_and_npy),
        cmocka_unit_test(long_json_is_read_like_short),
        cmocka_unit_test(reverse_goes_back),
        cmocka_unit_test(seeds_decide),
        cmocka_unit_test(a_full_queue_changes_nothing),
        cmocka_unit_test(solvers_and_variables),
        cmocka_unit_test(other_sizes_and_kinds_of_pictures),
    };
    return cmocka_run_group_tests_name("http/transfer", tests, start, stop);
}
