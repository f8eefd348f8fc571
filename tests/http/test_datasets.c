// SPDX-License-Identifier: Apache-2.0
// Datasets as a resource: every format in, shown, listed, deleted.
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
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

/* Puts and checks what the daemon tells about it. */
static void check_dataset(const char *query, const struct efm_buffer *file, const char *format, int count,
                          int side, int channels)
{
    char path[128];
    struct test_reply reply;
    snprintf(path, sizeof path, "/v1/datasets/sample%s", query);
    test_send(&server,
              &(struct test_request){.method = "PUT", .path = path, .body = file->data, .size = file->size},
              &reply);
    if (reply.status != 200)
        test_expect(&reply, 201, "application/json");
    test_reply_release(&reply);
    test_send(&server, &(struct test_request){.path = "/v1/datasets/sample"}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "id")), "sample");
    assert_string_equal(json_string_value(json_object_get(json, "object")), "dataset");
    assert_string_equal(json_string_value(json_object_get(json, "format")), format);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), count);
    const json_t *shape = json_object_get(json, "shape");
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), side);
    if (channels > 0) {
        assert_int_equal(json_array_size(shape), 3);
        assert_int_equal(json_integer_value(json_array_get(shape, 2)), channels);
    } else {
        assert_int_equal(json_array_size(shape), 1);
    }
    json_decref(json);
    test_reply_release(&reply);
}

static void every_format(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    (void)state;
    test_make_pictures_tar(&file, 12, 8, 3, 1);
    check_dataset("", &file, "tar", 12, 8, 3);
    check_dataset("?size=16", &file, "tar", 12, 16, 3);
    check_dataset("?size=4&channels=1&fit=contain&background=ffffff", &file, "tar", 12, 4, 1);
    efm_buffer_release(&file);
    test_make_pictures_npy(&file, 5, 8, 3, 1);
    check_dataset("", &file, "npy", 5, 8, 3);
    efm_buffer_release(&file);
    test_make_pictures_idx(&file, 300, 8, 1);
    check_dataset("", &file, "idx", 300, 8, 1);
    check_dataset("?size=16&channels=3", &file, "idx", 300, 16, 3);
    efm_buffer_release(&file);
    float *values = (float[]){1, 2, 3, 4, 5, 6};
    test_make_npy(&file, "<f4", (size_t[]){2, 3}, 2, values);
    check_dataset("", &file, "npy", 2, 3, 0);
    efm_buffer_release(&file);
    efm_buffer_append_string(&file, "{\"toy\":\"swiss_roll\",\"count\":50}");
    check_dataset("", &file, "toy", 50, 2, 0);
    efm_buffer_release(&file);
}

static void listed_and_deleted(void **state)
{
    struct test_reply reply;
    const char *toy = "{\"toy\":\"two_intervals\"}";
    (void)state;
    test_put_dataset(&server, "numbers", toy, strlen(toy));
    test_send(&server, &(struct test_request){.path = "/v1/datasets"}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "object")), "list");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(json, "data"), 0), "id")),
        "numbers");
    json_decref(json);
    test_reply_release(&reply);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/numbers"},
                        204);
    test_expect_problem(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/numbers"},
                        404, "unknown_dataset");
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/numbers"}, 404,
                        "unknown_dataset");
    assert_true(test_daemon_settles(&server, "efm_datasets", 1, 2)); // "sample" of the test before
}

static void put(const char *query, const void *bytes, size_t size, int status, const char *code)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/datasets/bad%s", query);
    struct test_request request = {.method = "PUT", .path = path, .body = bytes, .size = size};
    test_expect_problem(&server, &request, status, code);
}

static void damaged_files(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    (void)state;
    put("", NULL, 0, 400, "empty_body");
    put("", "what is this", 12, 422, "invalid_dataset");
    test_make_pictures_npy(&file, 5, 8, 3, 1);
    put("", file.data, file.size - 1, 422, "invalid_dataset");
    put("", file.data, 40, 422, "invalid_dataset");
    efm_buffer_release(&file);
    test_make_pictures_idx(&file, 5, 8, 1);
    put("", file.data, file.size - 3, 422, "invalid_dataset");
    efm_buffer_release(&file);
    test_make_npy(&file, "<f4", (size_t[]){2, 2}, 2, (float[]){1, 2, NAN, 4});
    put("", file.data, file.size, 422, "not_finite");
    efm_buffer_release(&file);
    test_make_npy(&file, "<f4", (size_t[]){2, 2}, 2, (float[]){1, 2, INFINITY, 4});
    put("", file.data, file.size, 422, "not_finite");
    efm_buffer_release(&file);
    test_tar_add(&file, "../escape.png", "x", 1);
    test_tar_end(&file);
    put("", file.data, file.size, 422, "invalid_dataset");
    efm_buffer_release(&file);
    test_tar_add(&file, "/etc/escape.png", "x", 1);
    test_tar_end(&file);
    put("", file.data, file.size, 422, "invalid_dataset");
    efm_buffer_release(&file);
    test_tar_add(&file, "text.png", "no picture", 10);
    test_tar_end(&file);
    put("", file.data, file.size, 422, "invalid_dataset");
    efm_buffer_release(&file);
    put("", "{\"toy\":\"dragon\"}", 16, 422, "invalid_dataset");
    put("?colour=red", "{\"toy\":\"gaussian\"}", 18, 422, "unknown_parameter");
    put("?size=0", "{\"toy\":\"gaussian\"}", 18, 422, "invalid_parameter");
    put("?size=8&size=8", "{\"toy\":\"gaussian\"}", 18, 422, "duplicate_parameter");
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/bad"}, 404, "unknown_dataset");
}

static void bad_names(void **state)
{
    static const char *const names[] = {".hidden", "-dash", "..%2F..%2Fetc%2Fpasswd", "a%20b", "a%0Ab"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        char path[256];
        struct test_reply reply;
        snprintf(path, sizeof path, "/v1/datasets/%s", names[i]);
        test_send(&server,
                  &(struct test_request){
                      .method = "PUT", .path = path, .body = "{\"toy\":\"gaussian\"}", .size = 18},
                  &reply);
        if (reply.status == 404)
            test_check_problem(&reply, 404, "not_found");
        else
            test_check_problem(&reply, 422, "invalid_name");
        test_reply_release(&reply);
    }
}

static void a_preview_to_look_at(void **state)
{
    struct efm_buffer file = efm_buffer_limited(TEST_FILE_LIMIT);
    struct test_reply reply;
    struct efm_image image = {0};
    char etag[128], header[160];
    (void)state;
    test_make_pictures_tar(&file, 12, 8, 3, 1);
    test_put_dataset(&server, "shown", file.data, file.size);
    efm_buffer_release(&file);
    test_send(&server, &(struct test_request){.path = "/v1/datasets/shown"}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    assert_int_equal(strlen(json_string_value(json_object_get(json, "sha256"))), 64);
    const char *preview = json_string_value(json_object_get(json_object_get(json, "urls"), "preview"));
    assert_string_equal(preview, "/v1/datasets/shown/preview.png");
    json_decref(json);
    test_reply_release(&reply);
    test_send(&server, &(struct test_request){.path = "/v1/datasets/shown/preview.png"}, &reply);
    test_expect(&reply, 200, "image/png");
    test_read_picture(&image, reply.body, reply.size);
    assert_true(image.width >= 24 && image.height >= 24);
    efm_image_release(&image);
    test_reply_header(&reply, "ETag", etag, sizeof etag);
    test_reply_release(&reply);
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    test_expect_request(
        &server, &(struct test_request){.path = "/v1/datasets/shown/preview.png", .header = header}, 304);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/nobody/preview.png"}, 404,
                        "unknown_dataset");
}

/* The same bytes read in another way are another dataset. */
static void conditions(void **state)
{
    const char *toy = "{\"toy\":\"uniform\",\"count\":4,\"shape\":[8,8,3]}";
    struct test_reply reply;
    char etag[128], none[160], match[160];
    struct test_request put_it = {
        .method = "PUT", .path = "/v1/datasets/guarded", .body = toy, .size = strlen(toy)};
    (void)state;
    put_it.header = "If-Match: *";
    test_expect_problem(&server, &put_it, 412, "precondition_failed");
    put_it.header = "If-None-Match: *";
    test_send(&server, &put_it, &reply);
    test_expect(&reply, 201, "application/json");
    test_reply_header(&reply, "ETag", etag, sizeof etag);
    test_reply_release(&reply);
    test_expect_problem(&server, &put_it, 412, "precondition_failed");
    snprintf(none, sizeof none, "If-None-Match: %s", etag);
    snprintf(match, sizeof match, "If-Match: %s", etag);
    struct test_request get_it = {.path = "/v1/datasets/guarded", .header = none};
    test_expect_request(&server, &get_it, 304);
    put_it.header = "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT";
    test_expect_problem(&server, &put_it, 412, "precondition_failed");
    put_it.header = "If-Match;"; // sent by libcurl as "If-Match:"
    test_expect_problem(&server, &put_it, 412, "precondition_failed");
    put_it.header = match;
    put_it.path = "/v1/datasets/guarded?size=8&channels=3";
    test_expect_request(&server, &put_it, 200);
    test_expect_request(&server, &get_it, 200);
    test_expect_problem(&server, &put_it, 412, "precondition_failed");
    test_expect_problem(
        &server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/guarded", .header = match},
        412, "precondition_failed");
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/guarded"},
                        204);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),         cmocka_unit_test(listed_and_deleted),
        cmocka_unit_test(damaged_files),        cmocka_unit_test(bad_names),
        cmocka_unit_test(a_preview_to_look_at), cmocka_unit_test(conditions),
    };
    return cmocka_run_group_tests_name("http/datasets", tests, start, stop);
}
