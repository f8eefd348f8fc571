// SPDX-License-Identifier: Apache-2.0
// POST /v1/models/{name}/field and /trace: the field and its lines seen from outside.
#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct test_daemon server;

/* One charge on each plate, at (0, 0) and (1, 0), so that the field is known. L = 2. */
static void put_pair(void)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_npy(&file, "<f4", (size_t[]){1, 2}, 2, (float[]){0, 0});
    test_put_dataset(&server, "left", file.data, file.size);
    efm_buffer_release(&file);
    test_make_npy(&file, "<f4", (size_t[]){1, 2}, 2, (float[]){1, 0});
    test_put_dataset(&server, "right", file.data, file.size);
    efm_buffer_release(&file);
    test_put_model(&server, "pair",
                   "{\"arch\":\"exact\",\"field\":\"superposition\",\"map\":\"forward\",\"source\":\"left\","
                   "\"target\":\"right\",\"length\":2}");
}

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_plane(&server);
    put_pair();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static struct test_request post(const char *path, const char *json)
{
    return (struct test_request){
        .path = path, .type = "application/json", .body = json, .size = strlen(json)};
}

/* E of a charge +1 at (0, 0, 0) and a charge -1 at (1, 0, 2), D + 1 = 3 dimensions: r / r^3. */
static void pair_field(double x, double y, double z, double out[3])
{
    double near = pow(x * x + y * y + z * z, -1.5);
    double far = pow((x - 1) * (x - 1) + y * y + (z - 2) * (z - 2), -1.5);
    out[0] = x * near - (x - 1) * far;
    out[1] = y * near - y * far;
    out[2] = z * near - (z - 2) * far;
}

static void field_of_two_charges(void **state)
{
    static const double points[][3] = {{0.5, 0.25, 1}, {-1, 2, 0.5}, {3, 0, 1.75}};
    struct test_request request =
        post("/v1/models/pair/field", "{\"points\":[[0.5,0.25,1],[-1,2,0.5],[3,0,1.75]]}");
    struct test_reply reply;
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    for (size_t i = 0; i < 3; ++i) {
        double field[3];
        pair_field(points[i][0], points[i][1], points[i][2], field);
        double norm = sqrt(field[0] * field[0] + field[1] * field[1] + field[2] * field[2]);
        const json_t *direction = json_array_get(json_object_get(json, "directions"), i);
        assert_int_equal(json_array_size(direction), 3);
        for (size_t k = 0; k < 3; ++k)
            assert_true(fabs(json_number_value(json_array_get(direction, k)) - field[k] / norm) < 1e-5);
        double log_norm = json_number_value(json_array_get(json_object_get(json, "log_norms"), i));
        assert_true(fabs(log_norm - log(norm)) < 1e-5);
    }
    json_decref(json);
    test_reply_release(&reply);
}

static void field_in_npy(void **state)
{
    struct test_reply reply;
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    size_t shape[8], rank;
    double field[3];
    (void)state;
    test_make_npy(&file, "<f8", (size_t[]){2, 3}, 2, (double[]){0.5, 0.25, 1, -1, 2, 0.5});
    test_send(&server,
              &(struct test_request){.path = "/v1/models/pair/field",
                                     .accept = "application/octet-stream",
                                     .body = file.data,
                                     .size = file.size},
              &reply);
    test_expect(&reply, 200, "application/octet-stream");
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 2);
    assert_int_equal(shape[0], 2);
    assert_int_equal(shape[1], 4); // direction and log norm
    pair_field(0.5, 0.25, 1, field);
    double norm = sqrt(field[0] * field[0] + field[1] * field[1] + field[2] * field[2]);
    for (size_t k = 0; k < 3; ++k)
        assert_true(fabs((double)values[k] - field[k] / norm) < 1e-5);
    assert_true(fabs((double)values[3] - log(norm)) < 1e-5);
    efm_free(values);
    efm_buffer_release(&file);
    test_reply_release(&reply);
}

static void traces(void **state)
{
    struct test_reply reply;
    struct test_request request = post("/v1/models/plane/trace?points=9", "{\"starts\":[[0.5,0.25],[-1,1]]}");
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    const json_t *lines = json_object_get(json, "lines");
    assert_int_equal(json_array_size(lines), 2);
    const json_t *line = json_array_get(lines, 0);
    assert_string_equal(json_string_value(json_object_get(line, "state")), "landed");
    assert_true(json_integer_value(json_object_get(line, "evaluations")) > 0);
    const json_t *points = json_object_get(line, "points");
    assert_int_equal(json_array_size(points), 9);
    double before = -1;
    for (size_t i = 0; i < 9; ++i) {
        const json_t *point = json_array_get(points, i);
        assert_int_equal(json_array_size(point), 3);
        double z = json_number_value(json_array_get(point, 2));
        assert_true(z > before); // the chain's lines never turn
        before = z;
    }
    assert_true(fabs(before - 6) < 0.01);
    json_decref(json);
    test_reply_release(&reply);

    size_t shape[8], rank;
    request.accept = "application/octet-stream";
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/octet-stream");
    float *values = test_read_npy(reply.body, reply.size, shape, &rank);
    assert_int_equal(rank, 3);
    assert_int_equal(shape[0] * 100 + shape[1] * 10 + shape[2], 293);
    efm_free(values);
    test_reply_release(&reply);
}

static void a_trace_ends_where_a_transfer_lands(void **state)
{
    struct test_reply reply;
    struct test_request request = post("/v1/models/plane/trace?points=2", "{\"starts\":[[0.5,0.25]]}");
    double end[2];
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    const json_t *points = json_object_get(json_array_get(json_object_get(json, "lines"), 0), "points");
    for (size_t k = 0; k < 2; ++k)
        end[k] = json_number_value(json_array_get(json_array_get(points, 1), k));
    json_decref(json);
    test_reply_release(&reply);
    request = post("/v1/transfer?model=plane", "{\"vector\":[0.5,0.25]}");
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json = test_reply_json(&reply);
    const json_t *vector = json_object_get(json_array_get(json_object_get(json, "data"), 0), "vector");
    for (size_t k = 0; k < 2; ++k)
        assert_true(fabs(end[k] - json_number_value(json_array_get(vector, k))) < 1e-4);
    json_decref(json);
    test_reply_release(&reply);
}

static void refusals(void **state)
{
    static const struct {
        const char *path, *json;
        int status;
        const char *code;
    } cases[] = {
        {"/v1/models/pair/field", "{\"points\":[[0.5,0.25]]}", 422, "shape_mismatch"},
        {"/v1/models/pair/field", "{\"points\":[[0.5,0.25,1],[1]]}", 422, "shape_mismatch"},
        {"/v1/models/pair/field", "{\"points\":[]}", 422, NULL},
        {"/v1/models/pair/field", "{\"points\":[[0.5,0.25,1e999]]}", 0, NULL},
        {"/v1/models/pair/field", "{\"points\":[[0.5,\"x\",1]]}", 422, NULL},
        {"/v1/models/pair/field", "{\"starts\":[[0.5,0.25,1]]}", 422, "unknown_parameter"},
        {"/v1/models/nobody/field", "{\"points\":[[0.5,0.25,1]]}", 404, "unknown_model"},
        {"/v1/models/nobody/trace", "{\"starts\":[[0.5,0.25]]}", 404, "unknown_model"},
        {"/v1/models/pair/trace?points=1", "{\"starts\":[[0.5,0.25]]}", 422, "invalid_parameter"},
        {"/v1/models/pair/trace?points=100000", "{\"starts\":[[0.5,0.25]]}", 422, "invalid_parameter"},
        {"/v1/models/pair/trace?knots=3", "{\"starts\":[[0.5,0.25]]}", 422, "unknown_parameter"},
        {"/v1/models/pair/trace", "{\"starts\":[[0.5,0.25,1]]}", 422, "shape_mismatch"},
        {"/v1/models/pair/trace", "[1,2]", 400, NULL},
        {"/v1/models/pair/trace", "", 400, "empty_body"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct test_reply reply;
        struct test_request request = post(cases[i].path, cases[i].json);
        test_send(&server, &request, &reply);
        if (cases[i].status != 0 && reply.status != cases[i].status)
            fail_msg("%s of %s: %d instead of %d", cases[i].path, cases[i].json, reply.status,
                     cases[i].status);
        assert_in_range(reply.status, 400, 422);
        if (cases[i].code != NULL)
            test_check_problem(&reply, cases[i].status, cases[i].code);
        test_reply_release(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(field_of_two_charges),
        cmocka_unit_test(field_in_npy),
        cmocka_unit_test(traces),
        cmocka_unit_test(a_trace_ends_where_a_transfer_lands),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("http/field", tests, start, stop);
}
