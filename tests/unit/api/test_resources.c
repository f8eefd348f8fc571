// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"
#include "tests/unit/api/models.h"

/* ---- datasets ---- */

static bool parse_dataset(struct api_dataset_request *request, const char *query, const char *body,
                          struct api_problem *problem)
{
    struct api_message message = message_of(query, "", body, strlen(body));
    *problem = (struct api_problem){0};
    return api_dataset_parse(request, &message, problem);
}

static void dataset_parameters(void **state)
{
    (void)state;
    struct api_dataset_request request;
    struct api_problem problem;
    struct efm_dataset_options options, defaults = efm_dataset_options_default();
    assert_true(parse_dataset(&request, "", "x", &problem));
    api_dataset_options(&request, &options);
    assert_int_equal(options.shape.dimension, 0);
    assert_int_equal(options.fit, EFM_IMAGE_FIT_CROP);
    assert_int_equal(options.max_count, defaults.max_count);
    assert_true(parse_dataset(&request, "size=32&channels=1&fit=contain&background=ff8000", "x", &problem));
    api_dataset_options(&request, &options);
    assert_int_equal(options.shape.height, 32);
    assert_int_equal(options.shape.channels, 1);
    assert_int_equal(options.shape.dimension, 1024);
    assert_int_equal(options.fit, EFM_IMAGE_FIT_CONTAIN);
    assert_memory_equal(options.background, "\xff\x80\0", 3);
    struct efm_buffer query = efm_buffer_limited(256);
    api_dataset_query(&request, &query);
    efm_buffer_append(&query, "", 1);
    assert_string_equal(query.data, "size=32&channels=1&fit=contain&background=ff8000");
    efm_buffer_release(&query);
    assert_true(parse_dataset(&request, "", "", &problem)); // the body comes later
    api_dataset_query(&request, &query);
    assert_int_equal(query.size, 0);
    assert_true(parse_dataset(&request, "size=8", "x", &problem));
    api_dataset_options(&request, &options);
    assert_int_equal(options.shape.channels, 3);
    static const struct {
        const char *query, *body, *pointer;
        enum api_problem_code code;
    } wrong[] = {
        {"size=1", "x", "/size", API_P_INVALID_PARAMETER},
        {"size=4097", "x", "/size", API_P_INVALID_PARAMETER},
        {"size=8&channels=2", "x", "/channels", API_P_INVALID_PARAMETER},
        {"channels=1", "x", "/size", API_P_MISSING_PARAMETER},
        {"size=8&size=8", "x", "/size", API_P_DUPLICATE_PARAMETER},
        {"color=red", "x", "/color", API_P_UNKNOWN_PARAMETER},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(parse_dataset(&request, wrong[i].query, wrong[i].body, &problem));
        expect_problem(&problem, wrong[i].code, wrong[i].pointer, NULL);
    }
    struct api_message form = message_of("", "multipart/form-data; boundary=x", "--x", 3);
    struct api_exact_request model;
    bool is_weights;
    problem = (struct api_problem){0};
    assert_false(api_dataset_parse(&request, &form, &problem));
    expect_problem(&problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "curl -T");
    problem = (struct api_problem){0};
    assert_false(api_model_parse(&model, &form, &is_weights, &problem));
    expect_problem(&problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "curl -T");
}

static void datasets_as_they_are_shown(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    struct efm_dataset *vectors = toy_dataset("{\"toy\":\"two_intervals\",\"count\":50}");
    struct efm_dataset *images = toy_dataset("{\"toy\":\"uniform\",\"count\":5,\"shape\":[2,3,1]}");
    api_list_begin(&out);
    api_list_item(&out, 0);
    api_dataset_render("numbers", vectors, &(struct api_dataset_file){"ab", 70000000000, 1764000000}, &out);
    api_list_item(&out, 1);
    api_dataset_render("noise", images, &(struct api_dataset_file){"cd", 40, 0}, &out);
    api_list_end(&out);
    json_t *json = json_of(&out), *data = json_object_get(json, "data"), *item = json_array_get(data, 0);
    assert_string_equal(text_at(json, "object"), "list");
    assert_int_equal(json_array_size(data), 2);
    assert_string_equal(text_at(item, "id"), "numbers");
    assert_string_equal(text_at(item, "object"), "dataset");
    assert_string_equal(text_at(item, "format"), "toy");
    assert_int_equal(json_integer_value(json_object_get(item, "count")), 50);
    assert_int_equal(json_integer_value(json_object_get(item, "created")), 1764000000);
    assert_int_equal(json_array_size(json_object_get(item, "shape")), 1);
    assert_true(json_integer_value(json_object_get(item, "bytes")) == 70000000000);
    assert_string_equal(text_at(item, "sha256"), "ab");
    assert_string_equal(text_at(json_object_get(item, "urls"), "preview"),
                        "/v1/datasets/numbers/preview.png");
    double low = json_number_value(json_array_get(json_object_get(item, "range"), 0));
    assert_true(low < -2 && low >= -3);
    json_t *shape = json_object_get(json_array_get(data, 1), "shape");
    assert_int_equal(json_array_size(shape), 3);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), 3);
    json_decref(json);
    efm_buffer_release(&out);
    efm_dataset_unref(vectors);
    efm_dataset_unref(images);
}

/* ---- models ---- */

static bool parse_model(struct api_exact_request *request, struct api_message message, bool *is_weights,
                        struct api_problem *problem)
{
    *problem = (struct api_problem){0};
    return api_model_parse(request, &message, is_weights, problem);
}

#define PLATES "\"arch\":\"exact\",\"source\":\"a\",\"target\":\"b\""

static void spec_of(const char *query, const char *json, struct efm_exact_spec *spec)
{
    struct api_exact_request request;
    struct api_problem problem;
    bool is_weights;
    if (!parse_model(&request, json_message(query, json), &is_weights, &problem) ||
        !api_exact_spec(&request, spec, &problem))
        fail_msg("%s: %s", json, problem.detail);
    assert_false(is_weights);
    assert_string_equal(request.source, "a");
    assert_string_equal(request.target, "b");
}

static void specs(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum efm_map map;
        enum efm_field_kind kind;
    } cases[] = {
        {"{" PLATES "}", EFM_MAP_CHAIN, EFM_FIELD_CHAIN},
        {"{" PLATES ",\"map\":\"chain\"}", EFM_MAP_CHAIN, EFM_FIELD_CHAIN},
        {"{" PLATES ",\"map\":\"stochastic\"}", EFM_MAP_STOCHASTIC, EFM_FIELD_SUPERPOSITION},
        {"{" PLATES ",\"map\":\"forward\"}", EFM_MAP_FORWARD, EFM_FIELD_PER_PLATE},
        {"{" PLATES ",\"map\":\"forward\",\"field\":\"superposition\"}", EFM_MAP_FORWARD,
         EFM_FIELD_SUPERPOSITION},
        {"{" PLATES ",\"field\":\"per_plate\"}", EFM_MAP_FORWARD, EFM_FIELD_PER_PLATE},
        {"{" PLATES ",\"field\":\"superposition\"}", EFM_MAP_STOCHASTIC, EFM_FIELD_SUPERPOSITION},
        {"{" PLATES ",\"field\":\"chain\"}", EFM_MAP_CHAIN, EFM_FIELD_CHAIN},
    };
    struct efm_exact_spec spec;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        spec_of("", cases[i].json, &spec);
        assert_int_equal(spec.map, cases[i].map);
        assert_int_equal(spec.kind, cases[i].kind);
        assert_true(spec.length == 0 && spec.gamma == 0 && spec.max_charges == 0);
    }
    spec_of("max_charges=100", "{" PLATES ",\"L\":6,\"map\":\"forward\",\"gamma\":0.5}", &spec);
    assert_true(spec.length == 6 && spec.gamma == 0.5 && spec.max_charges == 100);
    spec_of("", "{" PLATES ",\"length\":2.5}", &spec);
    assert_true(spec.length == 2.5);
}

static void specs_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        const char *query, *json, *pointer;
        enum api_problem_code code;
    } cases[] = {
        {"", "{}", "/arch", API_P_MISSING_PARAMETER},
        {"", "{\"arch\":\"exact\",\"source\":\"a\"}", "/target", API_P_MISSING_PARAMETER},
        {"", "{\"arch\":\"magic\",\"source\":\"a\",\"target\":\"b\"}", "/arch", API_P_INVALID_PARAMETER},
        {"", "{\"arch\":\"exact\",\"source\":\"../a\",\"target\":\"b\"}", "/source", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"L\":0}", "/L", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"length\":-1}", "/length", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"L\":\"6\"}", "/L", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"L\":1,\"length\":1}", "/length", API_P_DUPLICATE_PARAMETER},
        {"L=1", "{" PLATES ",\"L\":1}", "/L", API_P_DUPLICATE_PARAMETER},
        {"", "{" PLATES ",\"max_charges\":0}", "/max_charges", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"color\":1}", "/color", API_P_UNKNOWN_PARAMETER},
        {"", "{" PLATES ",\"map\":\"chain\",\"field\":\"per_plate\"}", "/map", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"map\":\"stochastic\",\"field\":\"per_plate\"}", "/map", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"map\":\"forward\",\"field\":\"chain\"}", "/map", API_P_INVALID_PARAMETER},
        {"", "{" PLATES ",\"gamma\":1}", "/gamma", API_P_INVALID_PARAMETER},
        {"", "", NULL, API_P_EMPTY_BODY},
        {"", "{\"arch\":", NULL, API_P_MALFORMED_JSON},
        {"", "[1]", NULL, API_P_MALFORMED_JSON},
        {"", "hello there", NULL, API_P_MALFORMED_JSON},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_exact_request request;
        struct efm_exact_spec spec;
        struct api_problem problem;
        bool is_weights;
        if (parse_model(&request, json_message(cases[i].query, cases[i].json), &is_weights, &problem) &&
            api_exact_spec(&request, &spec, &problem))
            fail_msg("taken: %s", cases[i].json);
        expect_problem(&problem, cases[i].code, cases[i].pointer, NULL);
    }
}

static void model_files_are_told_by_their_bytes(void **state)
{
    (void)state;
    struct api_exact_request request;
    struct api_problem problem;
    struct efm_buffer file = efm_buffer_limited(1 << 20);
    struct efm_error error = {0};
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    bool is_weights = false;
    assert_int_equal(efm_model_save(model, &file, &error), EFM_OK);
    assert_true(parse_model(&request, message_of("", "application/json", file.data, file.size), &is_weights,
                            &problem));
    assert_true(is_weights);
    assert_true(parse_model(&request, message_of("", "", file.data, file.size), &is_weights, &problem));
    assert_true(is_weights);
    assert_false(parse_model(&request, message_of("L=3", "", file.data, file.size), &is_weights, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, NULL, "brings its own");
    efm_buffer_release(&file);
    efm_model_unref(model);
    /* a header of 123 bytes: the file's first byte is '{', too */
    uint8_t bytes[8 + 123] = {'{', 0, 0, 0, 0, 0, 0, 0, '{'};
    assert_true(parse_model(&request, message_of("", "", bytes, sizeof bytes), &is_weights, &problem));
    assert_true(is_weights);
    assert_true(parse_model(&request, message_of("", "", "what is this", 12), &is_weights, &problem));
    assert_true(is_weights); /* the reader of model files says what is wrong */
    assert_false(parse_model(&request, message_of("", "", "{\"arch\":{}", 10), &is_weights, &problem));
    assert_false(is_weights);
}

static void models_as_they_are_shown(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    struct api_limits limits = api_limits_default();
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    struct efm_flow_options options;
    efm_model_flow_options(model, &options);
    struct efm_buffer about = efm_buffer_limited(1 << 16);
    api_model_describe("plane", model, &about);
    efm_buffer_append(&about, "", 1);
    struct api_model_state now = {.about = (const char *)about.data,
                                  .word = "ready",
                                  .sha256 = efm_model_sha256(model),
                                  .trained_by = "job_1",
                                  .bytes = 1234,
                                  .memory = 99,
                                  .created = 1764000000};
    api_model_render(&now, &limits, &out);
    json_t *json = json_of(&out);
    static const char *const words[][2] = {{"id", "plane"},    {"object", "model"}, {"owned_by", "local"},
                                           {"state", "ready"}, {"arch", "exact"},   {"field", "chain"},
                                           {"map", "chain"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_string_equal(text_at(json, words[i][0]), words[i][1]);
    assert_int_equal(json_integer_value(json_object_get(json, "created")), 1764000000);
    assert_int_equal(json_integer_value(json_object_get(json, "L")), 4);
    assert_true(json_is_number(json_object_get(json, "gamma")));
    assert_int_equal(json_integer_value(json_array_get(json_object_get(json, "shape"), 0)), 2);
    json_t *source = json_object_get(json, "source"), *target = json_object_get(json, "target");
    assert_string_equal(text_at(source, "name"), "left");
    assert_true(json_is_true(json_object_get(source, "standard_normal")));
    assert_false(json_is_true(json_object_get(target, "standard_normal")));
    assert_int_equal(json_integer_value(json_object_get(target, "count")), 40);
    assert_string_equal(text_at(json, "sha256"), efm_model_sha256(model));
    json_t *defaults = json_object_get(json, "defaults");
    assert_int_equal(json_integer_value(json_object_get(defaults, "steps")), options.steps);
    assert_true(json_number_value(json_object_get(defaults, "tolerance")) == options.tolerance);
    assert_non_null(text_at(defaults, "solver"));
    assert_non_null(text_at(defaults, "variable"));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "limits"), "max_images")), 64);
    assert_int_equal(json_integer_value(json_object_get(json, "bytes")), 1234);
    assert_int_equal(json_integer_value(json_object_get(json, "memory")), 99);
    assert_string_equal(text_at(json, "trained_by"), "job_1");
    assert_null(json_object_get(json, "reason"));
    json_decref(json);
    efm_buffer_release(&out);
    now.word = "failed";
    now.reason = "the file is \"short\"";
    now.trained_by = "";
    api_model_render(&now, &limits, &out);
    json = json_of(&out);
    assert_string_equal(text_at(json, "state"), "failed");
    assert_string_equal(text_at(json, "reason"), "the file is \"short\"");
    assert_string_equal(text_at(json, "id"), "plane");
    assert_true(json_is_null(json_object_get(json, "trained_by")));
    json_decref(json);
    efm_buffer_release(&out);
    now.about = NULL;
    api_model_render(&now, &limits, &out);
    json = json_of(&out);
    assert_string_equal(text_at(json, "object"), "model");
    json_decref(json);
    efm_buffer_release(&out);
    efm_buffer_release(&about);
    efm_model_unref(model);
}

static void limits_unless_configured(void **state)
{
    (void)state;
    struct api_limits limits = api_limits_default();
    assert_int_equal(limits.max_images, 64);
    assert_int_equal(limits.image.max_side, efm_image_limits_default().max_side);
    assert_int_equal(limits.max_reply_bytes, 256 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dataset_parameters),
        cmocka_unit_test(datasets_as_they_are_shown),
        cmocka_unit_test(specs),
        cmocka_unit_test(specs_that_make_no_sense),
        cmocka_unit_test(model_files_are_told_by_their_bytes),
        cmocka_unit_test(models_as_they_are_shown),
        cmocka_unit_test(limits_unless_configured),
    };
    return cmocka_run_group_tests_name("api/resources", tests, NULL, NULL);
}
