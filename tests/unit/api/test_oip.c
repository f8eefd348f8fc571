// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "core/base/memory.h"
#include "core/data/npy.h"
#include "tests/unit/api/api_test.h"

#include <math.h>
#include <stdlib.h>

static const struct efm_shape PLANE = {0, 0, 0, 2}, PICTURE = {2, 2, 3, 12};

static bool parse_with(struct api_oip_infer *request, const struct efm_shape *shape, const char *query,
                       const void *body, size_t size, const char *length, struct api_problem *problem)
{
    const struct api_limits limits = api_limits_default();
    const struct api_message message = message_of(query, "", body, size);
    *problem = (struct api_problem){0};
    return api_oip_infer_parse(request, "m", shape, &message, length, &limits, problem);
}

static void accept(struct api_oip_infer *request, const struct efm_shape *shape, const char *json)
{
    struct api_problem problem;
    if (!parse_with(request, shape, "", json, strlen(json), "", &problem))
        fail_msg("%s: %s", json, problem.detail);
}

static void refuse(const struct efm_shape *shape, const char *json, enum api_problem_code code,
                   const char *words)
{
    struct api_oip_infer request;
    struct api_problem problem;
    assert_false(parse_with(&request, shape, "", json, strlen(json), "", &problem));
    expect_problem(&problem, code, NULL, words);
    api_oip_infer_release(&request);
}

static const char *target_of(const struct api_oip_infer *request)
{
    return (const char *)request->inner.target.data;
}

/* The numbers of the inner body, whose shape must be this; owned by the caller (efm_free). */
static float *numbers_of(const struct api_oip_infer *request, const size_t *shape, size_t rank)
{
    struct efm_npy_view view;
    struct efm_error error = {0};
    assert_int_equal(efm_npy_parse(request->inner.body.data, request->inner.body.size, &view, &error),
                     EFM_OK);
    assert_int_equal(view.rank, rank);
    assert_memory_equal(view.shape, shape, rank * sizeof *shape);
    float *values = efm_allocate_array(view.count, sizeof *values);
    assert_non_null(values);
    assert_int_equal(efm_npy_floats(&view, values, &error), EFM_OK);
    return values;
}

#define INPUT(shape, type, data)                                                                             \
    "\"inputs\":[{\"name\":\"input\",\"shape\":" shape ",\"datatype\":\"" type "\",\"data\":" data "}]"

static void flat_and_nested_numbers(void **state)
{
    static const char *const texts[] = {
        "{" INPUT("[2,2]", "FP32", "[1,2.5,-3,4]") "}", "{" INPUT("[2,2]", "FP64", "[[1,2.5],[-3,4]]") "}",
        "{" INPUT("[2,2]", "FP16", "[[[1]],[2.5,-3],4]") ",\"id\":\"a\\\"b\",\"model_name\":\"m\"}"};
    static const float expected[] = {1, 2.5F, -3, 4};
    static const size_t shape[] = {2, 2};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct api_oip_infer request;
        accept(&request, &PLANE, texts[i]);
        assert_string_equal(target_of(&request), "/v1/transfer?model=m");
        assert_string_equal(request.inner.content_type, "application/x-npy");
        assert_int_equal(request.inner.media, API_MEDIA_NPY);
        float *values = numbers_of(&request, shape, 2);
        assert_memory_equal(values, expected, sizeof expected);
        efm_free(values);
        assert_int_equal(request.output_count, 1);
        assert_int_equal(request.outputs[0].kind, API_OIP_OUTPUT);
        assert_false(request.outputs[0].binary);
        api_oip_infer_release(&request);
    }
}

static void pixels_become_numbers(void **state)
{
    struct api_oip_infer request;
    static const size_t shape[] = {1, 2, 2, 3};
    (void)state;
    accept(&request, &PICTURE, "{" INPUT("[1,2,2,3]", "UINT8", "[0,255,51,0,0,0,0,0,0,0,0,204]") "}");
    float *values = numbers_of(&request, shape, 4);
    assert_float_equal(values[0], -1, 0);
    assert_float_equal(values[1], 1, 0);
    assert_float_equal(values[2], -0.6, 1e-6);
    assert_float_equal(values[11], 0.6, 1e-6);
    efm_free(values);
    api_oip_infer_release(&request);
}

/* Parses `json` followed by bytes. */
static bool parse_binary(struct api_oip_infer *request, const struct efm_shape *shape, const char *json,
                         const void *tensor, size_t size, struct api_problem *problem)
{
    char body[2048], length[24];
    const size_t json_size = strlen(json);
    assert_true(json_size + size < sizeof body);
    memcpy(body, json, json_size);
    memcpy(body + json_size, tensor, size);
    snprintf(length, sizeof length, "%zu", json_size);
    return parse_with(request, shape, "", body, json_size + size, length, problem);
}

#define BINARY(shape, type, size)                                                                            \
    "{\"inputs\":[{\"name\":\"input\",\"shape\":" shape ",\"datatype\":\"" type                              \
    "\",\"parameters\":{\"binary_data_size\":" size "}}],\"parameters\":{\"binary_data_output\":true}}"

static void binary_numbers(void **state)
{
    const float singles[] = {0.25F, -7};
    const double doubles[] = {0.25, -7};
    const uint8_t half_bytes[] = {0x00, 0x34, 0x00, 0xc7};
    static const size_t shape[] = {1, 2};
    struct {
        const char *json;
        const void *data;
        size_t size;
    } cases[] = {{BINARY("[1,2]", "FP32", "8"), singles, 8},
                 {BINARY("[1,2]", "FP64", "16"), doubles, 16},
                 {BINARY("[1,2]", "FP16", "4"), half_bytes, 4}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct api_oip_infer request;
        struct api_problem problem;
        assert_true(parse_binary(&request, &PLANE, cases[i].json, cases[i].data, cases[i].size, &problem));
        float *values = numbers_of(&request, shape, 2);
        assert_memory_equal(values, singles, sizeof singles);
        efm_free(values);
        assert_true(request.outputs[0].binary);
        api_oip_infer_release(&request);
        assert_false(
            parse_binary(&request, &PLANE, cases[i].json, cases[i].data, cases[i].size - 1, &problem));
        expect_problem(&problem, API_P_INVALID_PARAMETER, "/inputs/0/parameters/binary_data_size", "bytes");
        api_oip_infer_release(&request);
    }
}

static void halves_of_all_kinds(void **state)
{
    static const struct {
        uint16_t bits;
        float value;
    } cases[] = {{0x0000, 0},       {0x3c00, 1},        {0xc000, -2},
                 {0x7bff, 65504},   {0x0001, 0x1p-24F}, {0x03ff, 1023 * 0x1p-24F},
                 {0x0400, 0x1p-14F}};
    static const size_t shape[] = {1, 1};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_oip_infer request;
        struct api_problem problem;
        const uint8_t bytes[] = {(uint8_t)cases[i].bits, (uint8_t)(cases[i].bits >> 8)};
        assert_true(parse_binary(&request, NULL, BINARY("[1,1]", "FP16", "2"), bytes, 2, &problem));
        float *values = numbers_of(&request, shape, 2);
        assert_true(values[0] == cases[i].value);
        efm_free(values);
        api_oip_infer_release(&request);
    }
}

static bool holds(const struct efm_buffer *buffer, const char *text)
{
    return memmem(buffer->data, buffer->size, text, strlen(text)) != NULL;
}

static void files(void **state)
{
    struct api_oip_infer request;
    struct api_problem problem;
    static const uint8_t two[] = "\3\0\0\0one\4\0\0\0four";
    (void)state;
    accept(&request, &PICTURE, "{" INPUT("[2,1]", "BYTES", "[[\"b25l\"],[\"Zm91cg==\"]]") "}");
    assert_non_null(strstr(request.inner.content_type, "multipart/form-data; boundary="));
    assert_true(holds(&request.inner.body, "\r\n\r\none\r\n--"));
    assert_true(holds(&request.inner.body, "\r\n\r\nfour\r\n--"));
    api_oip_infer_release(&request);

    assert_true(parse_binary(&request, &PICTURE, BINARY("[2]", "BYTES", "15"), two, 15, &problem));
    assert_true(holds(&request.inner.body, "\r\n\r\none\r\n--"));
    assert_true(holds(&request.inner.body, "\r\n\r\nfour\r\n--"));
    api_oip_infer_release(&request);
    for (size_t size = 8; size < 15; size++) { // cut off anywhere
        char json[256];
        snprintf(json, sizeof json,
                 "{\"inputs\":[{\"name\":\"input\",\"shape\":[2],\"datatype\":\"BYTES\",\"parameters\":{"
                 "\"binary_data_size\":%zu}}]}",
                 size);
        assert_false(parse_binary(&request, &PICTURE, json, two, size, &problem));
        expect_problem(&problem, API_P_INVALID_PARAMETER, NULL, "ends");
        api_oip_infer_release(&request);
    }
    refuse(&PICTURE, "{" INPUT("[1]", "BYTES", "[\"*\"]") "}", API_P_INVALID_PARAMETER, "base64");
    refuse(&PICTURE, "{" INPUT("[1]", "BYTES", "[1]") "}", API_P_INVALID_PARAMETER, "base64");
    refuse(&PICTURE, "{" INPUT("[2]", "BYTES", "[\"b25l\"]") "}", API_P_SHAPE_MISMATCH, "has 1 elements");
}

/* A file that holds the boundary of the form does not end its part. */
static void boundaries_keep_off(void **state)
{
    struct api_oip_infer request;
    char json[400];
    struct efm_buffer text = efm_buffer_limited(400);
    (void)state;
    accept(&request, &PICTURE, "{" INPUT("[1]", "BYTES", "[\"b25l\"]") "}");
    const char *boundary = strchr(request.inner.content_type, '=') + 1;
    api_base64_encode(&text, (const uint8_t *)boundary, strlen(boundary));
    snprintf(json, sizeof json, "{" INPUT("[1]", "BYTES", "[\"%.*s\"]") "}", (int)text.size,
             (const char *)text.data);
    struct api_oip_infer other;
    accept(&other, &PICTURE, json);
    assert_string_not_equal(request.inner.content_type, other.inner.content_type);
    api_oip_infer_release(&request);
    api_oip_infer_release(&other);
    efm_buffer_release(&text);
}

static void parameters_become_a_query(void **state)
{
    struct api_oip_infer request;
    (void)state;
    accept(&request, &PLANE,
           "{\"parameters\":{\"operation\":\"generate\",\"n\":3,\"seed\":7,\"direction\":\"reverse\","
           "\"tolerance\":0.001,\"timeout\":2500000,\"binary_data_output\":true},\"inputs\":[]}");
    assert_string_equal(target_of(&request),
                        "/v1/generate?model=m&direction=reverse&tolerance=0.001&seed=7&n=3&timeout=2.5");
    assert_string_equal(request.inner.content_type, "");
    assert_int_equal(request.inner.body.size, 0);
    api_oip_infer_release(&request);
    accept(&request, &PICTURE,
           "{\"parameters\":{\"operation\":\"generate\",\"format\":\"webp\",\"quality\":40,"
           "\"background\":\"#FF8000\"},\"outputs\":[{\"name\":\"image\"}]}");
    assert_string_equal(target_of(&request), "/v1/generate?model=m&background=ff8000");
    assert_int_equal(request.format, EFM_IMAGE_WEBP);
    assert_int_equal(request.quality, 40);
    assert_int_equal(request.inner.media, API_MEDIA_NPY);
    api_oip_infer_release(&request);
}

static void what_cannot_be_meant_is_refused(void **state)
{
    static const struct {
        const char *json;
        enum api_problem_code code;
        const char *words;
    } cases[] = {
        {"[]", API_P_MALFORMED_JSON, "object"},
        {"{", API_P_MALFORMED_JSON, NULL},
        {"{}", API_P_MISSING_PARAMETER, "generate"},
        {"{\"imputs\":[]}", API_P_UNKNOWN_PARAMETER, "imputs"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"id\":7}", API_P_INVALID_PARAMETER, "id"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"model_name\":\"n\"}", API_P_INVALID_PARAMETER, "path"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"model_version\":\"2\"}", API_P_INVALID_PARAMETER, "1"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":[]}", API_P_INVALID_PARAMETER, "object"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"sede\":1}}", API_P_UNKNOWN_PARAMETER,
         "seed"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"seed\":\"1\"}}", API_P_INVALID_PARAMETER,
         "seed"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"model\":\"o\"}}", API_P_DUPLICATE_PARAMETER,
         "model"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"trajectory\":4}}", API_P_UNKNOWN_PARAMETER,
         "trajectory"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"layout\":\"grid\"}}",
         API_P_UNKNOWN_PARAMETER, "layout"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"format\":\"npy\"}}", API_P_INVALID_PARAMETER,
         "png"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"timeout\":1.5}}", API_P_INVALID_PARAMETER,
         "microseconds"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"operation\":\"x\"}}",
         API_P_INVALID_PARAMETER, "generate"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"operation\":\"generate\"}}",
         API_P_INVALID_PARAMETER, "not taken"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"outputs\":[{\"name\":\"x\"}]}", API_P_INVALID_PARAMETER,
         "pixels"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"outputs\":[{\"name\":\"pixels\"}]}", API_P_INVALID_PARAMETER,
         "vectors"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"outputs\":[{\"name\":\"output\"},{\"name\":\"output\"}]}",
         API_P_DUPLICATE_PARAMETER, "twice"},
        {"{" INPUT("[1,2]", "FP32",
                   "[1,2]") ",\"outputs\":[{\"name\":\"output\",\"parameters\":{\"classification\":3}}]}",
         API_P_UNKNOWN_PARAMETER, "classification"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"outputs\":[{\"name\":\"output\",\"parameters\":\"x\"}]}",
         API_P_INVALID_PARAMETER, "object"},
        {"{" INPUT("[1,2]", "BF16", "[1,2]") "}", API_P_INVALID_PARAMETER, "FP32"},
        {"{" INPUT("[1,2]", "UINT8", "[1,2]") "}", API_P_INVALID_PARAMETER, "vectors"},
        {"{" INPUT("[1,2]", "BYTES", "[\"\",\"\"]") "}", API_P_INVALID_PARAMETER, "vectors"},
        {"{" INPUT("[1,2]", "FP32", "[1]") "}", API_P_SHAPE_MISMATCH, "has 1 elements"},
        {"{" INPUT("[1,2]", "FP32", "[1,2,3]") "}", API_P_SHAPE_MISMATCH, "more elements"},
        {"{" INPUT("[1,2]", "FP32", "[1,\"2\"]") "}", API_P_INVALID_PARAMETER, "no number"},
        {"{" INPUT("[1,2]", "FP32", "[[[[[[[[[1,2]]]]]]]]]") "}", API_P_INVALID_PARAMETER, "nested"},
        {"{" INPUT("[]", "FP32", "[1]") "}", API_P_INVALID_PARAMETER, "shape"},
        {"{" INPUT("[0,2]", "FP32", "[]") "}", API_P_INVALID_PARAMETER, "at least 1"},
        {"{" INPUT("[-1,2]", "FP32", "[1,2]") "}", API_P_INVALID_PARAMETER, "at least 1"},
        {"{" INPUT("[4294967296,4294967296]", "FP32", "[1,2]") "}", API_P_INVALID_PARAMETER, "too large"},
        {"{" INPUT("[1000000000]", "FP32", "[1,2]") "}", API_P_SHAPE_MISMATCH, "more elements"},
        {"{" INPUT("[1,1,1,1,2]", "FP32", "[1,2]") "}", API_P_INVALID_PARAMETER, "shape"},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[1,2]}]}",
         API_P_INVALID_PARAMETER, "input"},
        {"{\"inputs\":[7]}", API_P_INVALID_PARAMETER, "input"},
        {"{\"inputs\":[{},{}]}", API_P_INVALID_PARAMETER, "must be one"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(&PLANE, cases[i].json, cases[i].code, cases[i].words);
}

static void the_length_of_the_json(void **state)
{
    static const char *const wrong[] = {"x", "-1", "99999999999", "3 ", "0x3", "4000"};
    const char *json = "{" INPUT("[1,2]", "FP32", "[1,2]") "}";
    struct api_oip_infer request;
    struct api_problem problem;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(parse_with(&request, &PLANE, "", json, strlen(json), wrong[i], &problem));
        expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, API_OIP_LENGTH_HEADER);
        api_oip_infer_release(&request);
    }
    assert_false(parse_with(&request, &PLANE, "", "", 0, "", &problem));
    expect_problem(&problem, API_P_EMPTY_BODY, NULL, NULL);
    api_oip_infer_release(&request);
    assert_false(parse_binary(&request, &PLANE, json, "more", 4, &problem)); // nobody's bytes
    expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "follow");
    api_oip_infer_release(&request);
}

static void the_whole_body(void **state)
{
    static const uint8_t png[] = "\x89PNG\r\n\x1a\n and so on";
    const float points[] = {1, 2, 3, 4};
    static const size_t shape[] = {2, 2};
    struct api_oip_infer request;
    struct api_problem problem;
    (void)state;
    assert_true(parse_with(&request, &PICTURE, "seed=7&timeout=2", png, sizeof png, "0", &problem));
    assert_string_equal(target_of(&request), "/v1/transfer?model=m&seed=7&timeout=2");
    assert_true(request.outputs[0].binary);
    assert_true(holds(&request.inner.body, "and so on"));
    api_oip_infer_release(&request);
    assert_true(parse_with(&request, &PLANE, "", points, sizeof points, "0", &problem));
    float *values = numbers_of(&request, shape, 2);
    assert_memory_equal(values, points, sizeof points);
    efm_free(values);
    api_oip_infer_release(&request);
    assert_false(parse_with(&request, &PLANE, "", points, 6, "0", &problem));
    expect_problem(&problem, API_P_NOT_AN_IMAGE, NULL, NULL);
    api_oip_infer_release(&request);
}

/* ---- answers ---- */

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
    accept(&request, &PLANE, "{" INPUT("[1,2]", "FP32", "[1,2]") ",\"id\":\"a\\\"b\"}");
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
    accept(&request, &PICTURE,
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
    accept(&request, &PICTURE,
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
    accept(&request, &PICTURE,
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
    accept(&request, &PICTURE,
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
    accept(&request, &PLANE, "{" INPUT("[1,2]", "FP32", "[1,2]") "}");
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
        cmocka_unit_test(flat_and_nested_numbers),
        cmocka_unit_test(pixels_become_numbers),
        cmocka_unit_test(binary_numbers),
        cmocka_unit_test(halves_of_all_kinds),
        cmocka_unit_test(files),
        cmocka_unit_test(boundaries_keep_off),
        cmocka_unit_test(parameters_become_a_query),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(the_length_of_the_json),
        cmocka_unit_test(the_whole_body),
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
    return cmocka_run_group_tests_name("api/oip", tests, NULL, NULL);
}
