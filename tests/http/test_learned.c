// SPDX-License-Identifier: Apache-2.0
// Learned models from outside: a file in and out, pictures both ways in as many evaluations as steps, noise as a start,
// the same bytes alone and under load, and files that are refused while the old model goes on.
#include "core/base/memory.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/tiny_net.h"
#include "tests/support/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct test_daemon server;
static struct efm_buffer unet, mlp, picture;

static struct efm_buffer file_of(struct efm_net *net, const struct efm_learned_spec *spec, uint64_t seed)
{
    struct efm_buffer out = efm_buffer_limited(TEST_FILE_LIMIT);
    struct efm_model *model = tiny_model(net, spec, seed);
    assert_int_equal(efm_model_save(model, &out, NULL), EFM_OK);
    efm_model_unref(model);
    efm_net_unref(net);
    return out;
}

static struct test_request put(const char *path, const struct efm_buffer *file)
{
    return (struct test_request){.method = "PUT", .path = path, .body = file->data, .size = file->size};
}

static struct test_request post(const char *path, bool with_picture)
{
    struct test_request request = {.method = "POST", .path = path};
    if (with_picture) {
        request.body = picture.data;
        request.size = picture.size;
    }
    return request;
}

static int start(void **state)
{
    (void)state;
    struct efm_learned_spec spec = tiny_spec(EFM_FIELD_PER_PLATE);
    spec.record = "{\"steps\":12,\"loss\":0.25}";
    spec.bf16 = true;
    unet = file_of(tiny_unet(8, 3), &spec, 1);
    spec = tiny_spec(EFM_FIELD_FLOW_MATCHING);
    spec.velocity = true;
    mlp = file_of(tiny_mlp(2), &spec, 2);
    picture = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&picture, 16, 3, 5, EFM_IMAGE_PNG);
    test_daemon_start(&server, (const char *const[]){"--precision", "f32", "--threads", "2", NULL});
    struct test_request requests[] = {put("/v1/models/unet", &unet), put("/v1/models/mlp", &mlp)};
    for (size_t i = 0; i < 2; i++)
        test_expect_request(&server, &requests[i], 201);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    efm_buffer_release(&unet);
    efm_buffer_release(&mlp);
    efm_buffer_release(&picture);
    return 0;
}

static json_t *get_json(const char *path)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static const char *word_of(const json_t *json, const char *member)
{
    const char *word = json_string_value(json_object_get(json, member));
    return word != NULL ? word : "";
}

static void shown_with_what_it_is(void **state)
{
    (void)state;
    json_t *json = get_json("/v1/models/unet"), *list = get_json("/v1/models");
    assert_string_equal(word_of(json, "arch"), "unet");
    assert_string_equal(word_of(json, "field"), "per_plate");
    assert_string_equal(word_of(json, "map"), "forward");
    assert_string_equal(word_of(json, "trained_on"), "per_plate");
    assert_string_equal(word_of(json, "precision"), "f32");
    assert_string_equal(word_of(json, "weights"), "bf16");
    assert_true(json_is_false(json_object_get(json, "velocity")));
    assert_true(json_number_value(json_object_get(json, "L")) == 2);
    assert_true(json_number_value(json_object_get(json, "lowest")) == 1e-3);
    struct efm_net *net = tiny_unet(8, 3);
    assert_int_equal(json_integer_value(json_object_get(json, "parameters")), efm_net_size(net));
    efm_net_unref(net);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "record"), "steps")), 12);
    assert_string_equal(word_of(json_object_get(json, "source"), "name"), "noise");
    assert_true(json_is_true(json_object_get(json_object_get(json, "source"), "standard_normal")));
    assert_string_equal(word_of(json_object_get(json, "target"), "name"), "spots");
    assert_string_equal(word_of(json_object_get(json, "defaults"), "solver"), "euler");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "defaults"), "steps")), 10);
    const json_t *data = json_object_get(list, "data");
    assert_int_equal(json_array_size(data), 2);
    assert_string_equal(word_of(json_array_get(data, 0), "arch"), "mlp");
    assert_true(json_is_true(json_object_get(json_array_get(data, 0), "velocity")));
    json_decref(json);
    json_decref(list);
}

static void pictures_go_both_ways(void **state)
{
    static const char *const directions[] = {"forward", "reverse"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char path[128], header[64];
        struct test_reply reply;
        struct efm_image image;
        snprintf(path, sizeof path, "/v1/transfer?model=unet&steps=7&direction=%s", directions[i]);
        struct test_request request = post(path, true);
        test_send(&server, &request, &reply);
        test_expect(&reply, 200, "image/png");
        assert_string_equal(test_reply_header(&reply, "Efm-Landed", header, sizeof header), "1/1");
        assert_string_equal(test_reply_header(&reply, "Efm-Steps", header, sizeof header), "7");
        test_read_picture(&image, reply.body, reply.size);
        assert_int_equal(image.width, 8);
        assert_int_equal(image.height, 8);
        efm_image_release(&image);
        test_reply_release(&reply);
    }
    struct test_request request = post("/transfer?model=unet", true);
    struct test_reply reply;
    char header[64];
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "image/png");
    assert_string_equal(test_reply_header(&reply, "Efm-Steps", header, sizeof header), "10");
    test_reply_release(&reply);
}

static void all_solvers_serve(void **state)
{
    static const char *const queries[] = {"solver=euler&steps=5&variable=log_z",
                                          "solver=heun&steps=4",
                                          "solver=rk45",
                                          "tolerance=0.01",
                                          "solver=arc_length",
                                          "solver=rk45&variable=log_z",
                                          "trajectory=4&format=npy"};
    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        char path[160], header[64];
        struct test_reply reply;
        snprintf(path, sizeof path, "/v1/generate?model=mlp&n=2&seed=3&%s", queries[i]);
        struct test_request request = post(path, false);
        test_send(&server, &request, &reply);
        test_expect(&reply, 200, NULL);
        assert_string_equal(test_reply_header(&reply, "Efm-Landed", header, sizeof header), "2/2");
        test_reply_release(&reply);
    }
}

static void generation_starts_from_noise(void **state)
{
    (void)state;
    struct test_reply one, two;
    size_t shape[8], rank;
    struct test_request request = post("/v1/generate?model=unet&n=5&seed=7&format=npy", false);
    test_send(&server, &request, &one);
    test_send(&server, &request, &two);
    test_expect(&one, 200, NULL);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.body, two.body, one.size);
    float *values = test_read_npy(one.body, one.size, shape, &rank);
    assert_int_equal(rank, 4);
    assert_int_equal(shape[0], 5);
    assert_int_equal(shape[3], 3);
    for (size_t i = 0; i < 5 * 8 * 8 * 3; i++)
        assert_true(isfinite(values[i]));
    assert_true(memcmp(values, values + 8 * 8 * 3, 8 * 8 * 3 * sizeof *values) != 0);
    efm_free(values);
    test_reply_release(&one);
    test_reply_release(&two);
    // the other plate is no noise, and a network keeps no samples
    request = post("/v1/generate?model=unet&direction=reverse", false);
    test_expect_problem(&server, &request, 422, "invalid_parameter");
}

static void the_field_is_told(void **state)
{
    const char *points =
        "{\"points\":[[0.5,0.25,1],[0,1,0.5],[0,0,1.5],[1,1,1],[2,1,1],[3,1,1],[4,1,1],[5,1,1],"
        "[6,1,1],[7,1,1],[8,1,1]]}";
    const struct test_request request = {
        .path = "/v1/models/mlp/field", .type = "application/json", .body = points, .size = strlen(points)};
    struct test_reply reply;
    (void)state;
    test_send(&server, &request, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    const json_t *directions = json_object_get(json, "directions");
    assert_int_equal(json_array_size(directions), 11);
    for (size_t i = 0; i < 11; i++) {
        double square = 0;
        for (size_t d = 0; d < 3; d++) {
            double part = json_number_value(json_array_get(json_array_get(directions, i), d));
            square += part * part;
        }
        assert_true(fabs(square - 1) < 1e-5);
    }
    json_decref(json);
    test_reply_release(&reply);
}

static void a_crowd_changes_nothing(void **state)
{
    enum { COUNT = 24 };
    static struct test_request requests[COUNT];
    static struct test_reply replies[COUNT];
    static char paths[COUNT][128];
    struct test_reply alone[2];
    (void)state;
    requests[0] = post("/v1/transfer?model=unet&seed=7&n=2&format=npy", true);
    requests[1] = post("/v1/generate?model=mlp&seed=7&n=3&format=npy", false);
    for (int i = 0; i < 2; i++) {
        test_send(&server, &requests[i], &alone[i]);
        test_expect(&alone[i], 200, NULL);
    }
    for (size_t i = 2; i < COUNT; i++) {
        if (i % 3 == 0) {
            requests[i] = requests[i % 2];
            continue;
        }
        snprintf(paths[i], sizeof paths[i], "/v1/generate?model=%s&seed=%zu&n=%zu&format=npy",
                 i % 2 == 0 ? "unet" : "mlp", i, 1 + i % 5);
        requests[i] = post(paths[i], false);
    }
    test_send_all(&server, requests, COUNT, replies);
    for (size_t i = 0; i < COUNT; i++) {
        test_expect(&replies[i], 200, NULL);
        if (i < 2 || i % 3 == 0) {
            assert_int_equal(replies[i].size, alone[i % 2].size);
            assert_memory_equal(replies[i].body, alone[i % 2].body, alone[i % 2].size);
        }
        test_reply_release(&replies[i]);
    }
    test_reply_release(&alone[0]);
    test_reply_release(&alone[1]);
}

static void the_download_is_the_upload(void **state)
{
    static const char *const paths[] = {"/v1/models/unet/weights", "/v1/models/mlp/weights"};
    const struct efm_buffer *files[] = {&unet, &mlp};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct test_reply reply;
        test_send(&server, &(struct test_request){.path = paths[i]}, &reply);
        test_expect(&reply, 200, NULL);
        assert_int_equal(reply.size, files[i]->size);
        assert_memory_equal(reply.body, files[i]->data, reply.size);
        test_reply_release(&reply);
    }
}

static void bad_files_leave_the_old_model(void **state)
{
    (void)state;
    struct efm_buffer bad = efm_buffer_limited(TEST_FILE_LIMIT);
    json_t *before = get_json("/v1/models/unet");
    efm_buffer_append(&bad, unet.data, unet.size);
    struct test_request request = put("/v1/models/unet", &bad);
    request.size = bad.size - 1; // cut
    test_expect_problem(&server, &request, 422, "invalid_model");
    request.size = bad.size;
    bad.data[bad.size - 1] = 0x7f; // 0x7fff: not a number
    bad.data[bad.size - 2] = 0xff;
    test_expect_problem(&server, &request, 422, "not_finite");
    efm_buffer_release(&bad);
    char *word = NULL;
    efm_buffer_append(&bad, unet.data, unet.size);
    for (size_t i = 0; i + 8 < bad.size && word == NULL; i++)
        if (memcmp(bad.data + i, "\"nf\":\"32", 8) == 0)
            word = (char *)bad.data + i;
    assert_non_null(word);
    word[6] = '6';
    word[7] = '4'; // tensors of another network
    request = put("/v1/models/unet", &bad);
    test_expect_problem(&server, &request, 422, "invalid_model");
    json_t *after = get_json("/v1/models/unet");
    assert_string_equal(word_of(before, "sha256"), word_of(after, "sha256"));
    json_decref(before);
    json_decref(after);
    efm_buffer_release(&bad);
    test_expect_request(&server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=unet"},
                        200);
}

static void the_budget_counts_working_space(void **state)
{
    (void)state;
    json_t *json = get_json("/v1/models/unet");
    double held = json_number_value(json_object_get(json, "memory"));
    assert_true(json_number_value(json_object_get(json, "bytes")) == (double)unet.size);
    assert_true(held > 2 * (double)unet.size);
    assert_true(test_daemon_metric(&server, "efm_model_memory_bytes", "model=\"unet\"") == held);
    json_decref(json);
}

static void survives_a_restart(void **state)
{
    (void)state;
    struct test_reply one, two;
    struct test_request request = post("/v1/transfer?model=unet&seed=7&format=npy", true);
    test_send(&server, &request, &one);
    test_expect(&one, 200, NULL);
    test_daemon_restart(&server,
                        (const char *const[]){"--precision", "f32", "--threads", "1", "--batch", "3", NULL});
    test_send(&server, &request, &two);
    test_expect(&two, 200, NULL);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.body, two.body, one.size);
    test_reply_release(&one);
    test_reply_release(&two);
    // too little memory for the working space of a batch: the model stays on the disk, and the daemon serves
    test_daemon_restart(&server, (const char *const[]){"--memory-budget", "1M", NULL});
    json_t *json = get_json("/v1/models/unet");
    assert_string_not_equal(word_of(json, "state"), "ready");
    json_decref(json);
    test_expect_problem(&server, &request, 422, "model_too_large");
    struct test_request again = put("/v1/models/other", &unet);
    test_expect_problem(&server, &again, 422, "model_too_large");
    test_daemon_restart(&server, NULL);
    json = get_json("/v1/models/unet");
    assert_string_equal(word_of(json, "state"), "ready");
    assert_string_not_equal(word_of(json, "precision"), "auto");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown_with_what_it_is),
        cmocka_unit_test(pictures_go_both_ways),
        cmocka_unit_test(all_solvers_serve),
        cmocka_unit_test(generation_starts_from_noise),
        cmocka_unit_test(the_field_is_told),
        cmocka_unit_test(a_crowd_changes_nothing),
        cmocka_unit_test(the_download_is_the_upload),
        cmocka_unit_test(bad_files_leave_the_old_model),
        cmocka_unit_test(the_budget_counts_working_space),
        cmocka_unit_test(survives_a_restart),
    };
    return cmocka_run_group_tests_name("http/learned", tests, start, stop);
}
