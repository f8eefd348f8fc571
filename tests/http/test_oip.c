// SPDX-License-Identifier: Apache-2.0
// The Open Inference Protocol over the same queue: the bytes of /v1/transfer, its refusals, and its hang-ups.
#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct test_daemon server;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, (const char *const[]){"--queue", "8", NULL});
    test_world_pictures(&server);
    test_world_plane(&server);
    test_world_slow(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static void post(const char *path, const void *body, size_t size, const char *header,
                 struct test_reply *reply)
{
    test_send(&server,
              &(struct test_request){.method = "POST",
                                     .path = path,
                                     .type = header == NULL ? NULL : "application/octet-stream",
                                     .body = body,
                                     .size = size,
                                     .header = header},
              reply);
}

static json_t *post_json(const char *path, const char *text)
{
    struct test_reply reply;
    post(path, text, strlen(text), NULL, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static void expect_get(const char *path, int status)
{
    test_expect_request(&server, &(struct test_request){.path = path}, status);
}

static void refuse(const char *path, const char *text, int status, const char *code)
{
    test_expect_problem(
        &server, &(struct test_request){.method = "POST", .path = path, .body = text, .size = strlen(text)},
        status, code);
}

static void health_and_metadata(void **state)
{
    struct test_reply reply;
    (void)state;
    expect_get("/v2", 200);
    expect_get("/v2/health/live", 200);
    expect_get("/v2/health/ready", 200);
    expect_get("/v2/models/pictures/versions/1", 200);
    expect_get("/v2/models/pictures/versions/2", 404);
    expect_get("/v2/models/nothing", 404);
    expect_get("/v2/models/nothing/ready", 404);
    test_send(&server, &(struct test_request){.path = "/v2/models/pictures"}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply),
           *expected =
               json_pack("{s:s,s:[s],s:s,s:[{s:s,s:s,s:[i,i,i,i]}],s:[{s:s,s:s,s:[i,i,i,i]},{s:s,s:s,s:[i,i,"
                         "i,i]},{s:s,s:s,s:[i]}]}",
                         "name", "pictures", "versions", "1", "platform", "efmd_safetensors", "inputs",
                         "name", "input", "datatype", "FP32", "shape", -1, 8, 8, 3, "outputs", "name",
                         "output", "datatype", "FP32", "shape", -1, 8, 8, 3, "name", "pixels", "datatype",
                         "UINT8", "shape", -1, 8, 8, 3, "name", "image", "datatype", "BYTES", "shape", -1);
    assert_true(json_equal(json, expected));
    json_decref(json);
    json_decref(expected);
    test_reply_release(&reply);
}

static const json_t *first_output(const json_t *json)
{
    return json_array_get(json_object_get(json, "outputs"), 0);
}

static void vectors_are_those_of_transfer(void **state)
{
    const char *own = "{\"vectors\":[[0.5,-1],[2,0.25]],\"model\":\"plane\",\"seed\":3,\"format\":\"npy\"}";
    struct test_reply reply;
    size_t shape[8], rank;
    (void)state;
    post("/v1/transfer", own, strlen(own), NULL, &reply);
    test_expect(&reply, 200, NULL);
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    test_reply_release(&reply);
    json_t *json =
        post_json("/v2/models/plane/versions/1/infer",
                  "{\"id\":\"mine\",\"parameters\":{\"seed\":3},\"inputs\":[{\"name\":\"input\",\"shape\":"
                  "[2,2],\"datatype\":\"FP64\",\"data\":[[0.5,-1],[2,0.25]]}]}");
    assert_string_equal(json_string_value(json_object_get(json, "id")), "mine");
    const json_t *data = json_object_get(first_output(json), "data");
    assert_int_equal(json_array_size(data), 4);
    for (size_t i = 0; i < 4; ++i)
        assert_true((float)json_number_value(json_array_get(data, i)) == values[i]);
    const json_t *parameters = json_object_get(json, "parameters");
    assert_int_equal(json_integer_value(json_object_get(parameters, "seed")), 3);
    assert_int_equal(json_integer_value(json_object_get(parameters, "landed")), 2);
    assert_true(json_integer_value(json_object_get(parameters, "evaluations")) > 1);
    json_decref(json);
    efm_free(values);
}

static void generating(void **state)
{
    (void)state;
    json_t *json =
        post_json("/v2/models/plane/infer",
                  "{\"parameters\":{\"operation\":\"generate\",\"n\":5,\"direction\":\"reverse\"}}");
    assert_int_equal(json_array_size(json_object_get(first_output(json), "data")), 10);
    json_decref(json);
}

/* The JSON in front of a binary answer; *tensors is what follows it. */
static json_t *split(const struct test_reply *reply, const uint8_t **tensors, size_t *size)
{
    char value[32];
    test_expect(reply, 200, "application/octet-stream");
    const size_t length =
        strtoul(test_reply_header(reply, "Inference-Header-Content-Length", value, sizeof value), NULL, 10);
    assert_in_range(length, 1, reply->size);
    json_t *json = json_loadb((const char *)reply->body, length, 0, NULL);
    assert_non_null(json);
    *tensors = reply->body + length;
    *size = reply->size - length;
    return json;
}

static void the_whole_body_is_an_image(void **state)
{
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply own, reply;
    const uint8_t *tensors;
    size_t size, shape[8], rank;
    (void)state;
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    post("/v1/transfer?model=pictures&seed=5&format=npy", png.data, png.size, NULL, &own);
    post("/v2/models/pictures/infer?seed=5", png.data, png.size, "Inference-Header-Content-Length: 0",
         &reply);
    float *values = test_read_npy(own.body, own.size, shape, &rank);
    json_decref(split(&reply, &tensors, &size));
    assert_int_equal(size, 8 * 8 * 3 * sizeof(float));
    assert_memory_equal(tensors, values, size);
    char seed[32];
    assert_string_equal(test_reply_header(&reply, "Efm-Seed", seed, sizeof seed), "5");
    efm_free(values);
    test_reply_release(&own);
    test_reply_release(&reply);
    efm_buffer_release(&png);
}

static void files_are_those_of_transfer(void **state)
{
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT), body = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply own, reply;
    const uint8_t *tensors;
    size_t size;
    char header[64];
    (void)state;
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    post("/v1/transfer?model=pictures&seed=5", png.data, png.size, NULL, &own);
    test_expect(&own, 200, "image/png");
    efm_buffer_format(
        &body,
        "{\"parameters\":{\"seed\":5},\"inputs\":[{\"name\":\"input\",\"shape\":[1],\"datatype\":"
        "\"BYTES\",\"parameters\":{\"binary_data_size\":%zu}}],\"outputs\":[{\"name\":\"image\","
        "\"parameters\":{\"binary_data\":true}}]}",
        png.size + 4);
    snprintf(header, sizeof header, "Inference-Header-Content-Length: %zu", body.size);
    const uint8_t length[4] = {(uint8_t)png.size, (uint8_t)(png.size >> 8), 0, 0};
    efm_buffer_append(&body, length, sizeof length);
    efm_buffer_append(&body, png.data, png.size);
    post("/v2/models/pictures/infer", body.data, body.size, header, &reply);
    json_decref(split(&reply, &tensors, &size));
    assert_int_equal(size, own.size + 4);
    assert_memory_equal(tensors + 4, own.body, own.size);
    test_reply_release(&own);
    test_reply_release(&reply);
    efm_buffer_release(&png);
    efm_buffer_release(&body);
}

static void refusals(void **state)
{
    static const char two[] =
        "{\"inputs\":[{\"name\":\"input\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":"
        "[1,2,3]}]}";
    (void)state;
    refuse("/v2/models/nothing/infer", two, 404, "unknown_model");
    refuse("/v2/models/plane/infer", two, 422, "shape_mismatch");
    refuse("/v2/models/plane/infer", "{}", 422, "missing_parameter");
    refuse("/v2/models/plane/infer", "", 400, "empty_body");
    refuse("/v2/models/plane/infer", "{", 400, "malformed_json");
    refuse("/v2/models/plane/infer",
           "{\"parameters\":{\"operation\":\"generate\",\"solver\":\"heun\",\"tolerance\":0.1}}", 422,
           "invalid_parameter");
    refuse("/v2/models/slow/infer",
           "{\"parameters\":{\"operation\":\"generate\",\"n\":32,\"solver\":\"euler\",\"steps\":1000,"
           "\"timeout\":50000}}",
           504, "deadline_exceeded");
    refuse("/v2/repository/index", "[]", 400, "malformed_json");
    refuse("/v2/repository/models/nothing/load", "", 404, "unknown_model");
    refuse("/v2/repository/models/nothing/unload", "{\"parameters\":{\"unload_dependents\":false}}", 404,
           "unknown_model");
    refuse("/v2/repository/models/plane/load", "{\"parameters\":{\"config\":\"x\"}}", 422,
           "unknown_parameter");
}

/* A file that is found wanting inside is the client's own, at the path that the client knows. */
static void problems_are_about_what_was_sent(void **state)
{
    static const char *const bodies[][2] = {
        {"{\"inputs\":[{\"name\":\"input\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"bm8=\"]}]}",
         "/inputs/0/data/0"},
        {"{\"inputs\":[{\"name\":\"input\",\"shape\":[1,2,2],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}",
         "/inputs/0/shape"},
        {"{\"parameters\":{\"operation\":\"generate\",\"n\":4000}}", "/n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; ++i) {
        struct test_reply reply;
        post("/v2/models/pictures/infer", bodies[i][0], strlen(bodies[i][0]), NULL, &reply);
        assert_true(reply.status >= 413 && reply.status <= 422);
        json_t *problem = test_reply_json(&reply);
        const json_t *error = json_array_get(json_object_get(problem, "errors"), 0);
        assert_string_equal(json_string_value(json_object_get(error, "pointer")), bodies[i][1]);
        assert_string_equal(json_string_value(json_object_get(problem, "instance")),
                            "/v2/models/pictures/infer");
        assert_null(strstr((const char *)reply.body, "NPY of"));
        assert_null(strstr((const char *)reply.body, "/v1/"));
        json_decref(problem);
        test_reply_release(&reply);
    }
}

static void the_repository(void **state)
{
    struct test_reply reply;
    (void)state;
    json_t *index = post_json("/v2/repository/index", "{}");
    assert_int_equal(json_array_size(index), 4);
    json_decref(index);
    post("/v2/repository/models/plane/unload", "", 0, NULL, &reply);
    test_expect(&reply, 200, NULL);
    test_reply_release(&reply);
    expect_get("/v2/models/plane/ready", 409);
    index = post_json("/v2/repository/index", "{\"ready\":true}");
    assert_int_equal(json_array_size(index), 3);
    json_decref(index);
    post("/v2/repository/models/plane/load", "", 0, NULL, &reply);
    test_expect(&reply, 200, NULL);
    test_reply_release(&reply);
    expect_get("/v2/models/plane/ready", 200);
    expect_get("/v2/models/plane/versions/1/ready", 200);
}

static void a_full_queue(void **state)
{
    enum { MANY = 24 };
    static const char body[] = "{\"parameters\":{\"operation\":\"generate\",\"n\":8,\"solver\":\"euler\","
                               "\"steps\":1000,\"timeout\":1000000}}";
    struct test_request requests[MANY];
    struct test_reply replies[MANY];
    size_t full = 0;
    char wait[16];
    (void)state;
    for (size_t i = 0; i < MANY; ++i)
        requests[i] = (struct test_request){
            .method = "POST", .path = "/v2/models/slow/infer", .body = body, .size = sizeof body - 1};
    test_send_all(&server, requests, MANY, replies);
    for (size_t i = 0; i < MANY; ++i) {
        if (replies[i].status == 429) {
            test_check_problem(&replies[i], 429, "queue_full");
            assert_true(strtol(test_reply_header(&replies[i], "Retry-After", wait, sizeof wait), NULL, 10) >
                        0);
            ++full;
        } else {
            test_check_problem(&replies[i], 504, "deadline_exceeded");
        }
        test_reply_release(&replies[i]);
    }
    assert_true(full > 0);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 2));
}

static void hanging_up_frees_the_lines(void **state)
{
    static const char body[] =
        "{\"parameters\":{\"operation\":\"generate\",\"n\":32,\"solver\":\"euler\",\"steps\":1000}}";
    char request[300];
    const int length = snprintf(request, sizeof request,
                                "POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\n"
                                "Content-Length: %zu\r\n\r\n%s",
                                sizeof body - 1, body);
    (void)state;
    const double gone = test_daemon_metric(&server, "efm_cancelled_total", "reason=\"client_gone\"");
    int connection = test_connect(&server);
    test_write(connection, request, (size_t)length);
    const double give_up = test_now() + 20 * test_patience();
    while (test_daemon_metric(&server, "efm_lines_in_flight", NULL) < 32 && test_now() < give_up)
        test_sleep(0.005);
    assert_true(test_daemon_metric(&server, "efm_lines_in_flight", NULL) >= 32);
    close(connection);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 2));
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 2));
    assert_true(test_daemon_metric(&server, "efm_cancelled_total", "reason=\"client_gone\"") > gone);
    assert_true(test_daemon_metric(&server, "efm_late_evaluations_total", NULL) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_and_metadata),
        cmocka_unit_test(vectors_are_those_of_transfer),
        cmocka_unit_test(generating),
        cmocka_unit_test(the_whole_body_is_an_image),
        cmocka_unit_test(files_are_those_of_transfer),
        cmocka_unit_test(refusals),
        cmocka_unit_test(problems_are_about_what_was_sent),
        cmocka_unit_test(the_repository),
        cmocka_unit_test(a_full_queue),
        cmocka_unit_test(hanging_up_frees_the_lines),
    };
    return cmocka_run_group_tests_name("http/oip", tests, start, stop);
}
