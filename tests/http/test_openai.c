// SPDX-License-Identifier: Apache-2.0
// The Images of the OpenAI API: the bytes of /v1/transfer and /v1/generate under other names.
#include "api/parameters.h"
#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <string.h>

static struct test_daemon server;
static struct efm_buffer one, two;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_pictures(&server);
    test_world_plane(&server);
    one = two = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&one, 8, 3, 5, EFM_IMAGE_PNG);
    test_make_picture(&two, 8, 3, 6, EFM_IMAGE_PNG);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    efm_buffer_release(&one);
    efm_buffer_release(&two);
    test_daemon_stop(&server);
    return 0;
}

static struct test_part field(const char *name, const char *value)
{
    return (struct test_part){.name = name, .data = value, .size = strlen(value)};
}

static struct test_part file(const char *name, const struct efm_buffer *bytes)
{
    return (struct test_part){
        .name = name, .filename = "f.png", .type = "image/png", .data = bytes->data, .size = bytes->size};
}

static json_t *edit(const struct test_part *parts, size_t count)
{
    struct test_reply reply;
    test_send(&server,
              &(struct test_request){.path = "/v1/images/edits", .parts = parts, .part_count = count},
              &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static json_t *generate(const char *body)
{
    struct test_reply reply;
    test_send(
        &server,
        &(struct test_request){
            .path = "/v1/images/generations", .type = "application/json", .body = body, .size = strlen(body)},
        &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

/* Image `index` of the answer is what our own endpoint gives. */
static void expect_image(const json_t *json, size_t index, const char *path, const struct efm_buffer *input)
{
    struct test_reply own;
    struct api_problem problem = {0};
    const char *text =
        json_string_value(json_object_get(json_array_get(json_object_get(json, "data"), index), "b64_json"));
    uint8_t *bytes;
    size_t size;
    assert_non_null(text);
    assert_true(api_base64_decode(text, strlen(text), &bytes, &size, &problem, ""));
    test_send(&server,
              &(struct test_request){.method = "POST",
                                     .path = path,
                                     .body = input == NULL ? NULL : input->data,
                                     .size = input == NULL ? 0 : input->size},
              &own);
    test_expect(&own, 200, NULL);
    assert_int_equal(size, own.size);
    assert_memory_equal(bytes, own.body, size);
    efm_free(bytes);
    test_reply_release(&own);
}

static void edits_are_transfers(void **state)
{
    (void)state;
    const struct test_part parts[] = {field("model", "pictures"), field("prompt", "a two"),
                                      file("image[]", &one),      file("image[]", &two),
                                      field("seed", "5"),         field("size", "8x8")};
    json_t *json = edit(parts, 6);
    assert_int_equal(json_array_size(json_object_get(json, "data")), 2);
    expect_image(json, 0, "/v1/transfer?model=pictures&seed=5", &one);
    assert_string_equal(json_string_value(json_object_get(json, "size")), "8x8");
    assert_string_equal(json_string_value(json_object_get(json, "output_format")), "png");
    assert_int_equal(json_integer_value(json_object_get(json, "seed")), 5);
    assert_true(json_integer_value(json_object_get(json, "created")) > 1700000000);
    json_decref(json);
}

static void other_formats_are_the_same_too(void **state)
{
    (void)state;
    const struct test_part jpeg[] = {field("model", "pictures"), file("image", &one), field("seed", "5"),
                                     field("output_format", "jpeg")};
    json_t *json = edit(jpeg, 4);
    expect_image(json, 0, "/v1/transfer?model=pictures&seed=5&format=jpeg", &one);
    json_decref(json);
    const struct test_part webp[] = {field("model", "pictures"), file("image", &one), field("seed", "5"),
                                     field("output_format", "webp"), field("output_compression", "70")};
    json = edit(webp, 5);
    expect_image(json, 0, "/v1/transfer?model=pictures&seed=5&format=webp&quality=70", &one);
    json_decref(json);
}

static void generations_generate(void **state)
{
    (void)state;
    json_t *json =
        generate("{\"model\":\"pictures\",\"prompt\":\"\",\"n\":3,\"seed\":7,\"direction\":\"reverse\"}");
    assert_int_equal(json_array_size(json_object_get(json, "data")), 3);
    expect_image(json, 0, "/v1/generate?model=pictures&seed=7&direction=reverse", NULL);
    json_decref(json);
}

static void refuse(const char *body, int status, const char *code)
{
    test_expect_problem(
        &server,
        &(struct test_request){
            .path = "/v1/images/generations", .type = "application/json", .body = body, .size = strlen(body)},
        status, code);
}

static void refusals(void **state)
{
    (void)state;
    refuse("{\"model\":\"gpt-image-1\",\"prompt\":\"\"}", 404, "unknown_model");
    refuse("{\"prompt\":\"\"}", 422, "missing_parameter"); // there are several models
    refuse("{\"model\":\"pictures\",\"size\":\"1024x1024\"}", 400, "unsupported_parameter");
    refuse("{\"model\":\"pictures\",\"response_format\":\"url\"}", 400, "unsupported_parameter");
    refuse("{\"model\":\"pictures\",\"style\":\"vivid\"}", 400, "unsupported_parameter");
    refuse("{\"model\":\"pictures\",\"n\":1000}", 413, "too_many_images");
    refuse("{\"model\":\"plane\"}", 422, "shape_mismatch");
    struct efm_buffer nothing = efm_buffer_limited(100);
    efm_buffer_append_string(&nothing, "nothing");
    const struct test_part parts[] = {field("model", "pictures"), file("image", &nothing)};
    test_expect_problem(&server,
                        &(struct test_request){.path = "/v1/images/edits", .parts = parts, .part_count = 2},
                        415, "not_an_image");
    struct test_reply reply; // said by the inner request, of this one
    test_send(&server, &(struct test_request){.path = "/v1/images/edits", .parts = parts, .part_count = 2},
              &reply);
    json_t *problem = test_reply_json(&reply);
    assert_string_equal(json_string_value(json_object_get(problem, "instance")), "/v1/images/edits");
    json_decref(problem);
    test_reply_release(&reply);
    efm_buffer_release(&nothing);
    assert_true(test_daemon_settles(&server, "efm_queue_requests", 0, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_transfers),
        cmocka_unit_test(other_formats_are_the_same_too),
        cmocka_unit_test(generations_generate),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("http/openai", tests, start, stop);
}
