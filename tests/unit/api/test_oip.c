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

/* 0 is the default of this protocol's clients, 1 the highest of their priorities. */
static void numbers_of_priority_are_two(void **state)
{
    static const char *const cases[][2] = {
        {"0", "normal"},    {"1", "normal"},          {"2", "low"}, {"9223372036854775807", "low"},
        {"\"low\"", "low"}, {"\"normal\"", "normal"},
    };
    struct api_oip_infer request;
    char json[200], target[100];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(json, sizeof json, "{\"parameters\":{\"operation\":\"generate\",\"priority\":%s}}",
                 cases[i][0]);
        snprintf(target, sizeof target, "/v1/generate?model=m&priority=%s", cases[i][1]);
        accept(&request, &PLANE, json);
        assert_string_equal(target_of(&request), target);
        api_oip_infer_release(&request);
    }
}

/* The same numbers mean the same wherever they stand. */
static void the_query_counts_as_the_json_does(void **state)
{
    static const struct {
        const char *query, *target, *words;
    } cases[] = {
        {"timeout=2000", "/v1/generate?model=m&timeout=0.002", NULL},
        {"timeout=86400000000&priority=0", "/v1/generate?model=m&timeout=86400&priority=normal", NULL},
        {"priority=1", "/v1/generate?model=m&priority=normal", NULL},
        {"priority=2", "/v1/generate?model=m&priority=low", NULL},
        {"priority=low", "/v1/generate?model=m&priority=low", NULL},
        {"timeout=2", NULL, "timeout: must be a whole number of microseconds"},
        {"timeout=0.5", NULL, "timeout: must be a whole number of microseconds"},
        {"timeout=86400000001", NULL, "timeout: must be a whole number of microseconds"},
        {"timeout=", NULL, "timeout: must be a whole number of microseconds"},
        {"priority=high", NULL, "normal, low"},
        {"priority=-1", NULL, "normal, low"},
    };
    static const char json[] = "{\"parameters\":{\"operation\":\"generate\"}}";
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_oip_infer request;
        struct api_problem problem;
        const bool good = parse_with(&request, &PLANE, cases[i].query, json, sizeof json - 1, "", &problem);
        if (cases[i].target == NULL)
            expect_problem(&problem, API_P_INVALID_PARAMETER, NULL, cases[i].words);
        else if (!good)
            fail_msg("%s: %s", cases[i].query, problem.detail);
        else
            assert_string_equal(target_of(&request), cases[i].target);
        api_oip_infer_release(&request);
    }
}

/* Said of what the client sent, not of the array that it becomes. */
static void shapes_are_those_of_the_model(void **state)
{
    static const struct {
        const struct efm_shape *model;
        const char *json, *words; /* NULL: it fits */
    } cases[] = {
        {&PICTURE, "{" INPUT("[1,2,2,3]", "FP32", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}", NULL},
        {&PICTURE, "{" INPUT("[1,12]", "FP32", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}", NULL},
        {&PICTURE, "{" INPUT("[12]", "FP32", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}", NULL},
        {&PICTURE, "{" INPUT("[2,2,3]", "FP32", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}",
         "is [2, 2, 3], the model takes [n, 2, 2, 3] or [n, 12]"},
        {&PICTURE, "{" INPUT("[1,3,2,2]", "UINT8", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}", "is [1, 3, 2, 2]"},
        {&PICTURE, "{" INPUT("[2,6]", "FP32", "[0,0,0,0,0,0,0,0,0,0,0,0]") "}", "is [2, 6]"},
        {&PLANE, "{" INPUT("[2]", "FP64", "[1,2]") "}", NULL},
        {&PLANE, "{" INPUT("[3,2]", "FP64", "[1,2,3,4,5,6]") "}", NULL},
        {&PLANE, "{" INPUT("[1,1,2]", "FP64", "[1,2]") "}", "is [1, 1, 2], the model takes [n, 2]"},
        {&PLANE, "{" INPUT("[1,1,1,2]", "FP64", "[1,2]") "}", "is [1, 1, 1, 2], the model takes [n, 2]"},
        {&PLANE, "{" INPUT("[1]", "FP64", "[1]") "}", "is [1], the model takes [n, 2]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_oip_infer request;
        struct api_problem problem;
        const bool good =
            parse_with(&request, cases[i].model, "", cases[i].json, strlen(cases[i].json), "", &problem);
        if (good != (cases[i].words == NULL))
            fail_msg("%s: %s", cases[i].json, problem.detail);
        if (!good)
            expect_problem(&problem, API_P_SHAPE_MISMATCH, "/inputs/0/shape", cases[i].words);
        api_oip_infer_release(&request);
    }
}

static void numbers_are_finite(void **state)
{
    static const uint8_t halves[] = {0, 0x3c, 0, 0x7c}; // 1, infinity
    static const char json[] = "{" INPUT("[1,2]", "FP32", "[1,1e300]") "}";
    const float singles[] = {1, NAN};
    struct api_oip_infer request;
    struct api_problem problem;
    (void)state;
    assert_false(parse_binary(&request, &PLANE, BINARY("[1,2]", "FP16", "4"), halves, 4, &problem));
    expect_problem(&problem, API_P_NOT_FINITE, "/inputs/0/data", "element 1 is not finite");
    api_oip_infer_release(&request);
    assert_false(parse_binary(&request, &PLANE, BINARY("[1,2]", "FP32", "8"), singles, 8, &problem));
    expect_problem(&problem, API_P_NOT_FINITE, "/inputs/0/data", "finite");
    api_oip_infer_release(&request);
    assert_false(parse_with(&request, &PLANE, "", json, sizeof json - 1, "", &problem));
    expect_problem(&problem, API_P_NOT_FINITE, "/inputs/0/data", "element 1");
    api_oip_infer_release(&request);
}

static void problems_inside_are_said_outside(void **state)
{
    struct api_problem problem = {0};
    (void)state;
    api_problem_set(&problem, API_P_DAMAGED_IMAGE, "/image/3", "the PNG is truncated");
    api_problem_set(&problem, API_P_INVALID_PARAMETER, "/imagery", "is something else");
    api_oip_infer_problem(&problem);
    assert_string_equal(problem.fields[0].pointer, "/inputs/0/data/3");
    assert_string_equal(problem.detail, "inputs/0/data/3: the PNG is truncated");
    assert_string_equal(problem.fields[1].pointer, "/imagery");
    problem = (struct api_problem){0};
    api_problem_set(&problem, API_P_INVALID_NPY, "/vectors", "no");
    api_oip_infer_problem(&problem);
    assert_string_equal(problem.fields[0].pointer, "/inputs/0/data");
    assert_string_equal(problem.detail, "inputs/0/data: no");
}

/* Of the request that the client sent, not of the one that is made of it. */
static void problems_point_into_the_parameters(void **state)
{
    static const char *const json[] = {"{\"parameters\":{\"operation\":\"generate\",\"steps\":100000}}",
                                       "{\"parameters\":{\"operation\":\"generate\",\"sede\":1}}",
                                       "{\"parameters\":{\"operation\":\"generate\",\"timeout\":1}}"};
    static const char *const pointers[] = {"/parameters/steps", "/parameters/sede", "/parameters/timeout"};
    (void)state;
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++) {
        struct api_oip_infer request;
        struct api_problem problem;
        assert_false(parse_with(&request, &PLANE, "", json[i], strlen(json[i]), "", &problem));
        assert_int_equal(problem.field_count, 1);
        assert_string_equal(problem.fields[0].pointer, pointers[i]);
        api_oip_infer_release(&request);
    }
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
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"priority\":-1}}", API_P_INVALID_PARAMETER,
         "more (low)"},
        {"{" INPUT("[1,2]", "FP32", "[1,2]") ",\"parameters\":{\"priority\":\"high\"}}",
         API_P_INVALID_PARAMETER, "normal, low"},
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
    assert_true(parse_with(&request, &PICTURE, "seed=7&timeout=2000000", png, sizeof png, "0", &problem));
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

/* JSON of a fitting length would pass for floats. */
static void json_is_not_a_whole_body(void **state)
{
    const struct api_limits limits = api_limits_default();
    struct api_message message = message_of("", "", "{\"inputs\": [ ]} ", 16);
    struct api_oip_infer request;
    struct api_problem problem = {0};
    (void)state;
    message.content_type = "Application/JSON; charset=utf-8";
    assert_false(api_oip_infer_parse(&request, "m", &PLANE, &message, "0", &limits, &problem));
    expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "application/json");
    api_oip_infer_release(&request);
    problem = (struct api_problem){0};
    message.content_type = "application/octet-stream";
    assert_true(api_oip_infer_parse(&request, "m", &PLANE, &message, "0", &limits, &problem));
    api_oip_infer_release(&request);
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
        cmocka_unit_test(numbers_of_priority_are_two),
        cmocka_unit_test(the_query_counts_as_the_json_does),
        cmocka_unit_test(shapes_are_those_of_the_model),
        cmocka_unit_test(numbers_are_finite),
        cmocka_unit_test(problems_inside_are_said_outside),
        cmocka_unit_test(problems_point_into_the_parameters),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(the_length_of_the_json),
        cmocka_unit_test(the_whole_body),
        cmocka_unit_test(json_is_not_a_whole_body),
    };
    return cmocka_run_group_tests_name("api/oip", tests, NULL, NULL);
}
