// SPDX-License-Identifier: Apache-2.0
#include "api/openai.h"
#include "core/data/npy.h"
#include "tests/unit/api/api_test.h"

static const struct efm_shape PLANE = {0, 0, 0, 2}, PICTURE = {4, 8, 3, 96};

static bool parse(struct api_openai_images *request, const struct api_message *message,
                  enum api_operation operation, struct api_problem *problem)
{
    const struct api_limits limits = api_limits_default();
    *problem = (struct api_problem){0};
    return api_openai_parse(request, message, operation, &limits, problem);
}

static void generate(struct api_openai_images *request, const char *json)
{
    const struct api_message message = json_message("", json);
    struct api_problem problem;
    if (!parse(request, &message, API_OP_GENERATE, &problem))
        fail_msg("%s: %s", json, problem.detail);
}

static const char *target_of(const struct api_openai_images *request)
{
    return (const char *)request->inner.target.data;
}

static void fields_become_a_query(void **state)
{
    struct api_openai_images request;
    struct api_problem problem = {0};
    (void)state;
    generate(&request,
             "{\"model\":\"m\",\"prompt\":\"p\",\"n\":2,\"size\":\"8x4\",\"seed\":7,\"steps\":5,"
             "\"solver\":\"euler\",\"direction\":\"reverse\",\"user\":null,\"quality\":\"auto\","
             "\"background\":\"auto\",\"moderation\":\"auto\",\"stream\":false,\"partial_images\":0,"
             "\"response_format\":\"b64_json\",\"output_format\":\"webp\",\"output_compression\":0}");
    assert_string_equal(api_openai_model(&request), "m");
    assert_true(api_openai_plan(&request, "m", &PICTURE, &problem));
    assert_string_equal(target_of(&request),
                        "/v1/generate?model=m&direction=reverse&solver=euler&steps=5&seed=7&n=2");
    assert_int_equal(request.format, EFM_IMAGE_WEBP);
    assert_int_equal(request.quality, 1);
    assert_int_equal(request.inner.media, API_MEDIA_NPY);
    assert_int_equal(request.inner.body.size, 0);
    api_openai_release(&request);
}

static void the_only_model_and_any_size(void **state)
{
    struct api_openai_images request;
    struct api_problem problem = {0};
    (void)state;
    generate(&request, "{\"size\":\"auto\"}");
    assert_null(api_openai_model(&request));
    assert_true(api_openai_plan(&request, "only", &PICTURE, &problem));
    assert_string_equal(target_of(&request), "/v1/generate?model=only");
    assert_int_equal(request.inner.media, API_MEDIA_JSON);
    api_openai_release(&request);
}

static void what_does_not_fit_the_model(void **state)
{
    struct api_openai_images request;
    struct api_problem problem = {0};
    (void)state;
    generate(&request, "{\"model\":\"m\",\"size\":\"4x8\"}");
    assert_false(api_openai_plan(&request, "m", &PICTURE, &problem));
    expect_problem(&problem, API_P_UNSUPPORTED_PARAMETER, "/size", "8x4");
    problem = (struct api_problem){0};
    assert_false(api_openai_plan(&request, "m", &PLANE, &problem));
    expect_problem(&problem, API_P_SHAPE_MISMATCH, "/model", "vectors");
    api_openai_release(&request);
}

static void what_is_not_done_is_refused(void **state)
{
    static const struct {
        const char *json;
        enum api_problem_code code;
        const char *pointer;
    } cases[] = {
        {"{\"size\":\"100000000000x100000000000\"}", API_P_UNSUPPORTED_PARAMETER, "/size"},
        {"{\"response_format\":\"url\"}", API_P_UNSUPPORTED_PARAMETER, "/response_format"},
        {"{\"output_format\":\"gif\"}", API_P_UNSUPPORTED_PARAMETER, "/output_format"},
        {"{\"output_compression\":80}", API_P_UNSUPPORTED_PARAMETER, "/output_compression"},
        {"{\"output_format\":\"jpeg\",\"output_compression\":101}", API_P_UNSUPPORTED_PARAMETER,
         "/output_compression"},
        {"{\"output_format\":\"jpeg\",\"output_compression\":-1}", API_P_UNSUPPORTED_PARAMETER,
         "/output_compression"},
        {"{\"quality\":\"hd\"}", API_P_UNSUPPORTED_PARAMETER, "/quality"},
        {"{\"background\":\"transparent\"}", API_P_UNSUPPORTED_PARAMETER, "/background"},
        {"{\"style\":\"vivid\"}", API_P_UNSUPPORTED_PARAMETER, "/style"},
        {"{\"stream\":true}", API_P_UNSUPPORTED_PARAMETER, "/stream"},
        {"{\"partial_images\":2}", API_P_UNSUPPORTED_PARAMETER, "/partial_images"},
        {"{\"mask\":{}}", API_P_UNSUPPORTED_PARAMETER, "/mask"},
        {"{\"trajectory\":4}", API_P_UNSUPPORTED_PARAMETER, "/trajectory"},
        {"{\"n\":[1]}", API_P_UNSUPPORTED_PARAMETER, "/n"},
        {"{\"n\":0}", API_P_INVALID_PARAMETER, "/n"},
        {"{\"model\":\"a b\"}", API_P_INVALID_PARAMETER, "/model"},
        {"{\"seed\":-1}", API_P_INVALID_PARAMETER, "/seed"},
        {"[1]", API_P_MALFORMED_JSON, NULL},
        {"{", API_P_MALFORMED_JSON, NULL},
        {"", API_P_EMPTY_BODY, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_openai_images request;
        struct api_problem problem;
        const struct api_message message = json_message("", cases[i].json);
        assert_false(parse(&request, &message, API_OP_GENERATE, &problem));
        expect_problem(&problem, cases[i].code, cases[i].pointer, NULL);
        api_openai_release(&request);
    }
}

static void expect_of_message(const struct api_message *message, enum api_operation operation,
                              enum api_problem_code code, const char *pointer)
{
    struct api_openai_images request;
    struct api_problem problem;
    assert_false(parse(&request, message, operation, &problem));
    expect_problem(&problem, code, pointer, NULL);
    api_openai_release(&request);
}

static void bodies_of_other_kinds(void **state)
{
    struct api_message message = json_message("n=2", "{}");
    (void)state;
    expect_of_message(&message, API_OP_GENERATE, API_P_UNSUPPORTED_PARAMETER, NULL);
    message = json_message("", "{}");
    expect_of_message(&message, API_OP_TRANSFER, API_P_MISSING_PARAMETER, "/image");
    message = message_of("", "image/png", "\x89PNG", 4);
    expect_of_message(&message, API_OP_TRANSFER, API_P_UNSUPPORTED_MEDIA_TYPE, NULL);
}

/* ---- forms ---- */

#define FIELD(name, value) "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define UPLOAD(name, value)                                                                                  \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"; filename=\"f.png\"\r\nContent-Type: "         \
    "image/png\r\n\r\n" value "\r\n"
#define END "--b--\r\n"

static struct api_message form_message(const char *form)
{
    return message_of("", "multipart/form-data; boundary=b", form, strlen(form));
}

static void forms_of_images(void **state)
{
    struct api_openai_images request;
    struct api_problem problem;
    const struct api_message message = form_message(FIELD("model", "m") UPLOAD("image[]", "ONE") FIELD(
        "prompt", "any\r\nlength") UPLOAD("image[]", "TWO") FIELD("n", "2") UPLOAD("image", "THREE") END);
    (void)state;
    assert_true(parse(&request, &message, API_OP_TRANSFER, &problem));
    assert_true(api_openai_plan(&request, "m", &PICTURE, &problem));
    assert_string_equal(target_of(&request), "/v1/transfer?model=m&n=2");
    static const char *const contents[] = {"\r\n\r\nONE\r\n--", "\r\n\r\nTWO\r\n--", "\r\n\r\nTHREE\r\n--"};
    for (size_t i = 0; i < 3; i++)
        assert_non_null(
            memmem(request.inner.body.data, request.inner.body.size, contents[i], strlen(contents[i])));
    assert_null(memmem(request.inner.body.data, request.inner.body.size, "length", 6));
    api_openai_release(&request);
}

static void forms_that_are_refused(void **state)
{
    struct api_message message = form_message(FIELD("model", "m") END);
    (void)state;
    expect_of_message(&message, API_OP_TRANSFER, API_P_MISSING_PARAMETER, "/image");
    message = form_message(UPLOAD("image", "x") UPLOAD("mask", "x") END);
    expect_of_message(&message, API_OP_TRANSFER, API_P_UNSUPPORTED_PARAMETER, "/mask");
    message = form_message(UPLOAD("image", "x") END);
    expect_of_message(&message, API_OP_GENERATE, API_P_UNSUPPORTED_PARAMETER, "/image");
    message = form_message(UPLOAD("image", "x") FIELD("size", "auto") FIELD("size", "auto") END);
    expect_of_message(&message, API_OP_TRANSFER, API_P_UNSUPPORTED_PARAMETER, "/size");
    message = form_message(UPLOAD("image", "x") "--b");
    expect_of_message(&message, API_OP_TRANSFER, API_P_MALFORMED_MULTIPART, NULL);
}

/* ---- answers ---- */

static void answer_of_files(void **state)
{
    struct api_openai_images request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    generate(&request, "{\"model\":\"m\"}");
    assert_true(api_openai_plan(&request, "m", &PICTURE, &problem));
    api_reply_init(&inner, 1000);
    snprintf(inner.content_type, sizeof inner.content_type, "application/json");
    api_reply_header(&inner, "Efm-Seed", "7");
    efm_buffer_append_string(&inner.body, "{\"data\":[{\"b64_json\":\"b25l\"},{\"b64_json\":\"dHdv\"}]}");
    assert_true(api_openai_render(&request, &inner, 1764000000, &reply, &problem));
    assert_string_equal(reply.content_type, "application/json");
    assert_string_equal(reply.headers[0].name, "Efm-Seed");
    assert_true(buffer_is(&reply.body,
                          "{\"created\":1764000000,\"data\":[{\"b64_json\":\"b25l\"},{\"b64_"
                          "json\":\"dHdv\"}],\"output_format\":\"png\",\"size\":\"8x4\",\"seed\":7}"));
    api_reply_release(&reply);
    efm_buffer_release(&inner.body);
    efm_buffer_append_string(&inner.body, "{\"data\":[{}]}");
    assert_false(api_openai_render(&request, &inner, 0, &reply, &problem));
    expect_problem(&problem, API_P_INTERNAL, NULL, NULL);
    api_reply_release(&inner);
    api_openai_release(&request);
}

static void answer_of_numbers(void **state)
{
    const float values[96] = {0};
    static const size_t shape[] = {1, 4, 8, 3};
    struct api_openai_images request;
    struct api_problem problem = {0};
    struct api_reply inner, reply;
    (void)state;
    generate(&request, "{\"model\":\"m\",\"output_format\":\"jpeg\"}");
    assert_true(api_openai_plan(&request, "m", &PICTURE, &problem));
    api_reply_init(&inner, 4000);
    snprintf(inner.content_type, sizeof inner.content_type, "application/octet-stream");
    assert_int_equal(efm_npy_write_floats(&inner.body, values, shape, 4), EFM_OK);
    assert_true(api_openai_render(&request, &inner, 1, &reply, &problem));
    json_t *json = json_of(&reply.body);
    const json_t *image = json_array_get(json_object_get(json, "data"), 0);
    assert_memory_equal(text_at(image, "b64_json"), "/9j/", 4);
    assert_string_equal(text_at(json, "output_format"), "jpeg");
    json_decref(json);
    api_reply_release(&reply);
    request.max_reply_bytes = 300; // less than a JPEG
    assert_false(api_openai_render(&request, &inner, 1, &reply, &problem));
    expect_problem(&problem, API_P_TOO_MANY_IMAGES, NULL, NULL);
    api_reply_release(&inner);
    api_openai_release(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_become_a_query),       cmocka_unit_test(the_only_model_and_any_size),
        cmocka_unit_test(what_does_not_fit_the_model), cmocka_unit_test(what_is_not_done_is_refused),
        cmocka_unit_test(bodies_of_other_kinds),       cmocka_unit_test(forms_of_images),
        cmocka_unit_test(forms_that_are_refused),      cmocka_unit_test(answer_of_files),
        cmocka_unit_test(answer_of_numbers),
    };
    return cmocka_run_group_tests_name("api/openai", tests, NULL, NULL);
}
