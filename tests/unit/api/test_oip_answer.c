// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "core/data/npy.h"
#include "tests/unit/api/api_test.h"

#include <math.h>
#include <stdlib.h>

static const struct efm_shape PLANE = {0, 0, 0, 2}, PICTURE = {2, 2, 3, 12};

/* A request whose answer is rendered. */
static void ask(struct api_oip_infer *request, const struct efm_shape *shape, const char *json)
{
    const struct api_limits limits = api_limits_default();
    const struct api_message message = json_message("", json);
    struct api_problem problem = {0};
    if (!api_oip_infer_parse(request, "m", shape, &message, "", &limits, &problem))
        fail_msg("%s: %s", json, problem.detail);
}

#define POINTS                                                                                               \
    "{\"id\":\"a\\\"b\",\"inputs\":[{\"name\":\"input\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[1,"  \
    "2]}]}"

static void inner_answer(struct api_reply *inner, const float *values, const size_t *shape, size_t rank)
{
    api_reply_init(inner, 1 << 20);
    snprintf(inner->content_type, sizeof inner->content_type, "application/octet-stream");
    api_reply_header(inner, "Efm-Seed", "9007199254740991");
    api_reply_header(inner, "Efm-Steps", "12");
    api_reply_header(inner, "Efm-Landed", "1/2");
    api_reply_header(inner, "X-Other", "x");
    assert_int_equal(efm_npy_write_floats(&inner->body, values, shape, rank), EFM_OK);
}

static void numbers_in_json(void **state)
{
    const float values[] = {0.5F, -0.25F, 3, NAN};
    static const size_t shape[] = {2, 2};
    struct api_oip_infer request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    ask(&request, &PLANE, POINTS);
    inner_answer(&inner, values, shape, 2);
    assert_true(api_oip_infer_render(&request, &inner, &reply, &problem));
    assert_string_equal(reply.content_type, "application/json");
    assert_int_equal(reply.header_count, 3);
    json_t *json = json_of(&reply.body),
           *expected = json_pack("{s:s,s:s,s:s,s:{s:I,s:i,s:i},s:[{s:s,s:s,s:[ii],s:[f,f,i,n]}]}",
                                 "model_name", "m", "model_version", "1", "id", "a\"b", "parameters", "seed",
                                 (json_int_t)9007199254740991, "evaluations", 12, "landed", 1, "outputs",
                                 "name", "output", "datatype", "FP32", "shape", 2, 2, "data", 0.5, -0.25, 3);
    assert_true(json_equal(json, expected));
    json_decref(json);
    json_decref(expected);
    api_reply_release(&reply);
    api_reply_release(&inner);
    api_oip_infer_release(&request);
}

/* Three outputs in binary: JSON as long as the header says, then each tensor. */
static void tensors_in_binary(void **state)
{
    float values[12];
    static const size_t shape[] = {1, 2, 2, 3};
    struct api_oip_infer request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    for (size_t i = 0; i < 12; i++)
        values[i] = (float)i / 6 - 1;
    ask(&request, &PICTURE,
        "{\"parameters\":{\"operation\":\"generate\",\"binary_data_output\":true},\"outputs\":[{\"name\":"
        "\"pixels\"},{\"name\":\"output\"},{\"name\":\"image\",\"parameters\":{\"binary_data\":true}}]}");
    inner_answer(&inner, values, shape, 4);
    assert_true(api_oip_infer_render(&request, &inner, &reply, &problem));
    assert_string_equal(reply.content_type, "application/octet-stream");
    assert_string_equal(reply.headers[0].name, API_OIP_LENGTH_HEADER);
    const size_t length = strtoul(reply.headers[0].value, NULL, 10);
    json_t *json = json_loadb((const char *)reply.body.data, length, 0, NULL);
    json_t *outputs = json_object_get(json, "outputs");
    size_t at = length, sizes[3];
    for (size_t i = 0; i < 3; i++) {
        const json_t *parameters = json_object_get(json_array_get(outputs, i), "parameters");
        sizes[i] = (size_t)json_integer_value(json_object_get(parameters, "binary_data_size"));
    }
    json_decref(json);
    assert_int_equal(sizes[0], 12);
    assert_int_equal(reply.body.data[at], 0);
    assert_int_equal(reply.body.data[at + 11], 234); // (11/6 - 1 + 1) * 127.5, rounded
    at += sizes[0];
    assert_int_equal(sizes[1], sizeof values);
    assert_memory_equal(reply.body.data + at, values, sizeof values);
    at += sizes[1];
    const uint8_t *file = reply.body.data + at;
    assert_int_equal(file[0] | file[1] << 8 | file[2] << 16, sizes[2] - 4);
    assert_int_equal(efm_image_sniff(file + 4, sizes[2] - 4), EFM_IMAGE_PNG);
    assert_int_equal(at + sizes[2], reply.body.size);
    api_reply_release(&reply);
    api_reply_release(&inner);
    api_oip_infer_release(&request);
}

static void pictures_in_json(void **state)
{
    const float values[24] = {0};
    static const size_t shape[] = {2, 2, 2, 3};
    struct api_oip_infer request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    ask(&request, &PICTURE,
        "{\"parameters\":{\"operation\":\"generate\",\"format\":\"jpeg\"},"
        "\"outputs\":[{\"name\":\"image\"},{\"name\":\"pixels\"}]}");
    inner_answer(&inner, values, shape, 4);
    assert_true(api_oip_infer_render(&request, &inner, &reply, &problem));
    json_t *json = json_of(&reply.body);
    const json_t *images = json_array_get(json_object_get(json, "outputs"), 0);
    assert_string_equal(text_at(images, "datatype"), "BYTES");
    assert_int_equal(json_array_size(json_object_get(images, "data")), 2);
    assert_memory_equal(json_string_value(json_array_get(json_object_get(images, "data"), 1)), "/9j/", 4);
    const json_t *pixels = json_array_get(json_object_get(json, "outputs"), 1);
    assert_int_equal(json_array_size(json_object_get(pixels, "data")), 24);
    json_decref(json);
    api_reply_release(&reply);
    api_reply_release(&inner);
    api_oip_infer_release(&request);
}

/* A PNG alone is passed on as /v1/transfer made it. */
static void files_are_passed_on(void **state)
{
    struct api_oip_infer request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    ask(&request, &PICTURE,
        "{\"parameters\":{\"operation\":\"generate\"},\"outputs\":[{\"name\":\"image\"}]}");
    assert_int_equal(request.inner.media, API_MEDIA_JSON);
    api_reply_init(&inner, 1000);
    snprintf(inner.content_type, sizeof inner.content_type, "application/json");
    efm_buffer_append_string(&inner.body, "{\"data\":[{\"b64_json\":\"b25l\"},{\"b64_json\":\"dHdv\"}]}");
    assert_true(api_oip_infer_render(&request, &inner, &reply, &problem));
    json_t *json = json_of(&reply.body);
    const json_t *data = json_object_get(json_array_get(json_object_get(json, "outputs"), 0), "data");
    assert_string_equal(json_string_value(json_array_get(data, 0)), "b25l");
    assert_string_equal(json_string_value(json_array_get(data, 1)), "dHdv");
    json_decref(json);
    api_reply_release(&reply);
    api_reply_release(&inner);
    api_oip_infer_release(&request);
}

static void answers_that_are_none(void **state)
{
    static const char *const bodies[] = {"", "nonsense", "{}", "{\"data\":[{}]}",
                                         "{\"data\":[{\"b64_json\":\"*\"}]}"};
    struct api_oip_infer request;
    (void)state;
    ask(&request, &PICTURE,
        "{\"parameters\":{\"operation\":\"generate\"},\"outputs\":[{\"name\":\"image\"}]}");
    for (size_t i = 0; i < 2 * sizeof bodies / sizeof bodies[0]; i++) {
        struct api_problem problem = {0};
        struct api_reply inner, reply;
        api_reply_init(&inner, 1000);
        snprintf(inner.content_type, sizeof inner.content_type, "application/%s",
                 i % 2 == 0 ? "json" : "octet-stream");
        efm_buffer_append_string(&inner.body, bodies[i / 2]);
        assert_false(api_oip_infer_render(&request, &inner, &reply, &problem));
        assert_true(problem.code != API_P_NONE);
        assert_null(reply.body.data);
        api_reply_release(&inner);
    }
    api_oip_infer_release(&request);
}

static void answers_have_a_limit(void **state)
{
    const float values[200] = {0};
    static const size_t shape[] = {100, 2};
    struct api_oip_infer request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    ask(&request, &PLANE, POINTS);
    request.max_reply_bytes = 300;
    inner_answer(&inner, values, shape, 2);
    assert_false(api_oip_infer_render(&request, &inner, &reply, &problem));
    expect_problem(&problem, API_P_TOO_MANY_IMAGES, NULL, "300 bytes");
    request.outputs[0].binary = true;
    problem = (struct api_problem){0};
    assert_false(api_oip_infer_render(&request, &inner, &reply, &problem));
    expect_problem(&problem, API_P_TOO_MANY_IMAGES, NULL, NULL);
    api_reply_release(&inner);
    api_oip_infer_release(&request);
}

/* ---- models ---- */

static void metadata(void **state)
{
    struct efm_buffer out = efm_buffer_limited(4096);
    (void)state;
    api_oip_model_render("m", &PICTURE, &out);
    json_t *json = json_of(&out);
    assert_string_equal(text_at(json, "platform"), "efmd_safetensors");
    assert_int_equal(json_array_size(json_object_get(json, "inputs")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "outputs")), 3);
    json_decref(json);
    efm_buffer_release(&out);
    api_oip_model_render("m", &PLANE, &out);
    assert_true(buffer_is(
        &out,
        "{\"name\":\"m\",\"versions\":[\"1\"],\"platform\":\"efmd_safetensors\",\"inputs\":[{\"name\":"
        "\"input\",\"datatype\":\"FP32\",\"shape\":[-1,2]}],\"outputs\":[{\"name\":\"output\",\"datatype\":"
        "\"FP32\",\"shape\":[-1,2]}]}"));
    efm_buffer_release(&out);
    api_oip_server_render("1.2", &out);
    json_decref(json_of(&out));
    efm_buffer_release(&out);
}

static void shapes_of_descriptions(void **state)
{
    static const char *const wrong[] = {"",
                                        "{}",
                                        "{\"shape\":[]}",
                                        "{\"shape\":[1,2]}",
                                        "{\"shape\":[0]}",
                                        "{\"shape\":[-1]}",
                                        "{\"shape\":[\"2\"]}",
                                        "{\"shape\":[4294967295,4294967295,4294967295]}"};
    struct efm_shape shape;
    (void)state;
    assert_true(api_described_shape("{\"id\":\"m\",\"shape\":[2,2,3]}", &shape));
    assert_true(efm_shape_equal(&shape, &PICTURE));
    assert_true(api_described_shape("{\"shape\":[2]}", &shape));
    assert_true(efm_shape_equal(&shape, &PLANE));
    assert_false(api_described_shape(NULL, &shape));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(api_described_shape(wrong[i], &shape));
}

static void the_repository(void **state)
{
    struct efm_buffer out = efm_buffer_limited(4096);
    struct api_problem problem = {0};
    bool ready;
    (void)state;
    struct api_message message = json_message("", "{\"ready\":true}");
    assert_true(api_oip_index_parse(&message, &ready, &problem) && ready);
    message = json_message("", "");
    assert_true(api_oip_index_parse(&message, &ready, &problem) && !ready);
    assert_true(api_oip_load_parse(&message, false, &problem));
    message = json_message("", "{\"parameters\":{\"unload_dependents\":false}}");
    assert_true(api_oip_load_parse(&message, true, &problem));
    assert_false(api_oip_load_parse(&message, false, &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/parameters/unload_dependents", NULL);
    message = json_message("", "{\"parameters\":null}");
    problem = (struct api_problem){0};
    assert_true(api_oip_load_parse(&message, false, &problem));
    static const char *const wrong[] = {"[]", "{\"ready\":1}", "{\"x\":1}", "{"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        problem = (struct api_problem){0};
        message = json_message("", wrong[i]);
        assert_false(api_oip_index_parse(&message, &ready, &problem));
        assert_true(problem.code != API_P_NONE);
    }
    api_oip_index_item(0, "a", "ready", "", &out);
    api_oip_index_item(1, "b", "loading", "", &out);
    api_oip_index_item(2, "c", "unloaded", "", &out);
    api_oip_index_item(3, "d", "failed", "no \"x\"", &out);
    assert_true(buffer_is(
        &out, "{\"name\":\"a\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"},"
              "{\"name\":\"b\",\"version\":\"1\",\"state\":\"LOADING\",\"reason\":\"\"},"
              "{\"name\":\"c\",\"version\":\"1\",\"state\":\"UNAVAILABLE\",\"reason\":\"unloaded\"},"
              "{\"name\":\"d\",\"version\":\"1\",\"state\":\"UNAVAILABLE\",\"reason\":\"no \\\"x\\\"\"}"));
    efm_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_json),
        cmocka_unit_test(tensors_in_binary),
        cmocka_unit_test(pictures_in_json),
        cmocka_unit_test(files_are_passed_on),
        cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(answers_have_a_limit),
        cmocka_unit_test(metadata),
        cmocka_unit_test(shapes_of_descriptions),
        cmocka_unit_test(the_repository),
    };
    return cmocka_run_group_tests_name("api/oip_answer", tests, NULL, NULL);
}
