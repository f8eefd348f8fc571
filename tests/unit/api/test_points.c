// SPDX-License-Identifier: Apache-2.0
#include "api/points.h"
#include "core/data/npy.h"
#include "tests/unit/api/models.h"

#include <math.h>

typedef bool parser(struct api_points *request, const struct api_message *message, size_t dimension,
                    size_t max_points, struct api_problem *problem);

static void expect_refused(parser *parse, struct api_message message, enum api_problem_code code,
                           const char *pointer, const char *words)
{
    struct api_points request;
    struct api_problem problem = {0};
    bool good = parse(&request, &message, 2, 4, &problem);
    api_points_release(&request);
    if (good)
        fail_msg("taken: %s %.*s", message.query, (int)message.body_size, (const char *)message.body);
    expect_problem(&problem, code, pointer, words);
}

static void expect_parsed(parser *parse, struct api_points *request, struct api_message message)
{
    struct api_problem problem = {0};
    if (!parse(request, &message, 2, 4, &problem))
        fail_msg("%s", problem.detail);
}

static struct efm_buffer npy_file(const void *values, const size_t *shape, size_t rank)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_npy_write_floats(&out, values, shape, rank), EFM_OK);
    return out;
}

static void points_in_json_and_npy(void **state)
{
    (void)state;
    struct api_points request;
    const float values[6] = {0.5F, 0.25F, 1, -1, 2, 3};
    for (int i = 0; i < 2; i++) {
        struct efm_buffer file = npy_file(values, (size_t[]){2, 3}, 2);
        struct api_message message = i == 0 ? json_message("", "{\"points\":[[0.5,0.25,1],[-1,2,3]]}")
                                            : message_of("", "", file.data, file.size);
        expect_parsed(api_field_parse, &request, message);
        assert_int_equal(request.count, 2);
        assert_int_equal(request.dimension, 2);
        assert_memory_equal(request.x, ((float[]){0.5F, 0.25F, -1, 2}), 16);
        assert_true(request.z[0] == 1 && request.z[1] == 3);
        assert_int_equal(request.media, API_MEDIA_JSON);
        api_points_release(&request);
        efm_buffer_release(&file);
    }
}

static void starts_with_parameters(void **state)
{
    (void)state;
    struct api_points request;
    expect_parsed(api_trace_parse, &request,
                  json_message("points=9&direction=reverse", "{\"starts\":[[1,2]],\"solver\":\"euler\","
                                                             "\"steps\":7,\"seed\":3}"));
    assert_int_equal(request.points, 9);
    assert_int_equal(request.seed, 3);
    assert_null(request.z);
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    struct efm_flow_options options;
    struct api_problem problem = {0};
    assert_true(api_trace_options(&request, model, &options, &problem));
    assert_int_equal(options.frames, 9);
    assert_int_equal(options.direction, EFM_DIRECTION_REVERSE);
    assert_int_equal(options.solver, EFM_SOLVER_EULER);
    assert_int_equal(options.steps, 7);
    assert_int_equal(options.seed, 3);
    api_points_release(&request);
    expect_parsed(api_trace_parse, &request, json_message("", "{\"starts\":[[1,2]]}"));
    assert_true(api_trace_options(&request, model, &options, &problem));
    assert_int_equal(options.frames, 16);
    api_points_release(&request);
    expect_parsed(api_trace_parse, &request, json_message("solver=rk45&steps=3", "{\"starts\":[[1,2]]}"));
    assert_false(api_trace_options(&request, model, &options, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/steps", "no effect");
    api_points_release(&request);
    efm_model_unref(model);
}

static void wrong_points(void **state)
{
    (void)state;
    parser *field = api_field_parse, *trace = api_trace_parse;
    const float bad[6] = {1, 2, NAN, 4, 5, 6};
    expect_refused(field, json_message("", "{\"points\":[[1,2]]}"), API_P_SHAPE_MISMATCH, "/points/0",
                   "3 numbers");
    expect_refused(field, json_message("", "{\"points\":[[1,2,3],[1,2,3,4]]}"), API_P_SHAPE_MISMATCH,
                   "/points/1", NULL);
    expect_refused(field, json_message("", "{\"points\":[7]}"), API_P_SHAPE_MISMATCH, "/points/0", NULL);
    expect_refused(field, json_message("", "{\"points\":7}"), API_P_INVALID_PARAMETER, "/points", "array");
    expect_refused(field, json_message("", "{\"points\":[]}"), API_P_MISSING_PARAMETER, "/points",
                   "at least one");
    expect_refused(field, json_message("", "{}"), API_P_MISSING_PARAMETER, "/points", "absent");
    expect_refused(field, json_message("", "{\"points\":[[1,2,null]]}"), API_P_INVALID_PARAMETER, "/points/0",
                   "value 2");
    expect_refused(field, json_message("", "{\"points\":[[1,1e39,3]]}"), API_P_NOT_FINITE, "/points/0",
                   "value 1");
    expect_refused(field, json_message("", "{\"points\":[[1,2,1e999]]}"), API_P_MALFORMED_JSON, NULL, NULL);
    expect_refused(field, json_message("", "{\"points\":[[1,2,3],[1,2,3],[1,2,3],[1,2,3],[1,2,3]]}"),
                   API_P_TOO_MANY_IMAGES, "/points", "limit of 4");
    expect_refused(field, json_message("", "{\"starts\":[[1,2,3]]}"), API_P_UNKNOWN_PARAMETER, "/starts",
                   NULL);
    expect_refused(field, json_message("", "{\"points\":[[1,2,3]],\"pts\":1}"), API_P_UNKNOWN_PARAMETER,
                   "/pts", "one member, points");
    expect_refused(field, json_message("steps=4", "{\"points\":[[1,2,3]]}"), API_P_UNKNOWN_PARAMETER,
                   "/steps", NULL);
    expect_refused(field, json_message("", ""), API_P_EMPTY_BODY, NULL, NULL);
    expect_refused(field, json_message("", "[1]"), API_P_MALFORMED_JSON, NULL, "object");
    expect_refused(field, message_of("", "", "hello", 5), API_P_UNSUPPORTED_MEDIA_TYPE, NULL, NULL);
    expect_refused(trace, json_message("", "{\"starts\":[[1,2,3]]}"), API_P_SHAPE_MISMATCH, "/starts/0",
                   "2 numbers");
    expect_refused(trace, json_message("points=1", "{\"starts\":[[1,2]]}"), API_P_INVALID_PARAMETER,
                   "/points", NULL);
    expect_refused(trace, json_message("points=65", "{\"starts\":[[1,2]]}"), API_P_INVALID_PARAMETER,
                   "/points", NULL);
    expect_refused(trace, json_message("", "{\"starts\":[[1,2]],\"knots\":3}"), API_P_UNKNOWN_PARAMETER,
                   "/knots", NULL);
    struct efm_buffer file = npy_file(bad, (size_t[]){2, 3}, 2);
    expect_refused(field, message_of("", "", file.data, file.size), API_P_NOT_FINITE, "/points/0", "value 2");
    expect_refused(trace, message_of("", "", file.data, file.size), API_P_SHAPE_MISMATCH, "/starts",
                   "[n, 2]");
    expect_refused(field, message_of("", "", file.data, 20), API_P_INVALID_NPY, "/points", NULL);
    efm_buffer_release(&file);
    struct api_message message = json_message("", "{\"points\":[[1,2,3]]}");
    message.accept = "image/png";
    expect_refused(field, message, API_P_NOT_ACCEPTABLE, NULL, "application/json");
}

static void field_answers(void **state)
{
    (void)state;
    float x[4] = {0.6F, 0, 0, 0.1F};
    double z[2] = {0.8, 1}, log_norm[2] = {-1.5, -INFINITY};
    struct efm_field_values values = {.x = x, .z = z, .log_norm = log_norm};
    struct api_points request;
    struct api_problem problem = {0};
    struct api_reply reply;
    struct api_message message = json_message("", "{\"points\":[[1,2,3],[4,5,6]]}");
    expect_parsed(api_field_parse, &request, message);
    assert_true(api_field_render(&request, &values, &reply, &problem));
    assert_string_equal(reply.content_type, "application/json");
    assert_true(buffer_is(
        &reply.body, "{\"directions\":[[0.600000024,0,0.8],[0,0.100000001,1]],\"log_norms\":[-1.5,null]}\n"));
    api_reply_release(&reply);
    api_points_release(&request);
    message.accept = "application/octet-stream";
    expect_parsed(api_field_parse, &request, message);
    assert_true(api_field_render(&request, &values, &reply, &problem));
    assert_string_equal(reply.content_type, "application/octet-stream");
    assert_non_null(memmem(reply.body.data, reply.body.size, "(2, 4)", 6));
    const float expected[8] = {0.6F, 0, 0.8F, -1.5F, 0, 0.1F, 1, -INFINITY};
    assert_memory_equal(reply.body.data + reply.body.size - sizeof expected, expected, sizeof expected);
    api_reply_release(&reply);
    api_points_release(&request);
}

static void trace_answers(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    const char *body = "{\"starts\":[[0.5,0.25],[-1,1]],\"solver\":\"euler\",\"steps\":8,\"points\":5}";
    static const char *const accepts[] = {"", "application/x-npy"};
    for (int i = 0; i < 2; i++) {
        struct api_points request;
        struct api_problem problem = {0};
        struct api_reply reply;
        struct efm_flow_options options;
        struct efm_line *lines[2];
        struct api_message message = json_message("", body);
        message.accept = accepts[i];
        expect_parsed(api_trace_parse, &request, message);
        assert_true(api_trace_options(&request, model, &options, &problem));
        follow(lines, 1, model, &options, request.x);
        options.max_evaluations = 1; /* the second is dropped */
        follow(lines + 1, 1, model, &options, request.x + 2);
        assert_true(api_trace_render(&request, lines, &reply, &problem));
        if (i == 0) {
            json_t *json = json_of(&reply.body), *list = json_object_get(json, "lines"),
                   *line = json_array_get(list, 0);
            assert_string_equal(text_at(line, "state"), efm_line_state_name(efm_line_state(lines[0])));
            assert_int_equal(json_integer_value(json_object_get(line, "evaluations")),
                             efm_line_evaluations(lines[0]));
            assert_int_equal(json_array_size(json_object_get(line, "points")), 5);
            json_t *first = json_array_get(json_object_get(line, "points"), 0);
            assert_int_equal(json_array_size(first), 3);
            assert_true(json_number_value(json_array_get(first, 0)) == 0.5);
            assert_string_equal(text_at(json_array_get(list, 1), "state"), "lost");
            json_decref(json);
        } else {
            struct efm_npy_view view;
            struct efm_error error = {0};
            float last, start;
            assert_string_equal(reply.content_type, "application/x-npy");
            assert_int_equal(efm_npy_parse(reply.body.data, reply.body.size, &view, &error), EFM_OK);
            assert_memory_equal(view.shape, ((size_t[]){2, 5, 3}), sizeof(size_t) * 3);
            memcpy(&start, view.data + 4, 4);
            memcpy(&last, view.data + view.count * 4 - 4, 4);
            assert_true(start == 0.25F && last == (float)efm_line_height(lines[1]));
        }
        api_reply_release(&reply);
        api_points_release(&request);
        efm_line_destroy(lines[0]);
        efm_line_destroy(lines[1]);
    }
    efm_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_in_json_and_npy), cmocka_unit_test(starts_with_parameters),
        cmocka_unit_test(wrong_points),           cmocka_unit_test(field_answers),
        cmocka_unit_test(trace_answers),
    };
    return cmocka_run_group_tests_name("api/points", tests, NULL, NULL);
}
