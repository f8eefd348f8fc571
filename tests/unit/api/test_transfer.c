// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"
#include "api/transfer.h"
#include "core/data/npy.h"
#include "tests/unit/api/models.h"

#include <math.h>
#include <stdlib.h>

/* ---- helpers ---- */

static bool parse(struct api_transfer *request, struct api_message message, struct api_problem *problem)
{
    struct api_limits limits = api_limits_default();
    enum api_operation operation =
        strstr(message.path, "generate") != NULL ? API_OP_GENERATE : API_OP_TRANSFER;
    limits.max_images = 8;
    limits.image.max_side = 100;
    limits.image.max_pixels = 5000;
    *problem = (struct api_problem){0};
    return api_transfer_parse(request, &message, operation, &limits, problem);
}

static void expect_parsed(struct api_transfer *request, struct api_message message)
{
    struct api_problem problem;
    if (!parse(request, message, &problem))
        fail_msg("%s: %s", api_problem_code_name(problem.code), problem.detail);
    expect_none(&problem);
}

static void expect_refused(struct api_message message, enum api_problem_code code, const char *pointer,
                           const char *words)
{
    struct api_transfer request;
    struct api_problem problem;
    bool good = parse(&request, message, &problem);
    api_transfer_release(&request);
    if (good)
        fail_msg("taken: %s %.*s", message.query, (int)message.body_size, (const char *)message.body);
    expect_problem(&problem, code, pointer, words);
}

static struct api_message generate_message(const char *query, const char *type, const char *body)
{
    struct api_message message = message_of(query, type, body, strlen(body));
    message.path = "/generate";
    return message;
}

/* {"MEMBER": [base64 of `file`], ...} as text; free it. */
static char *image_json(const struct efm_buffer *file, const char *before, const char *after)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    efm_buffer_append_string(&out, before);
    api_base64_encode(&out, file->data, file->size);
    efm_buffer_append_string(&out, after);
    efm_buffer_append(&out, "", 1);
    char *text = strdup((const char *)out.data);
    efm_buffer_release(&out);
    return text;
}

static struct efm_buffer npy_file(const float *values, const size_t *shape, size_t rank)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_npy_write_floats(&out, values, shape, rank), EFM_OK);
    return out;
}

/* ---- parsing ---- */

static void parameters_and_defaults(void **state)
{
    (void)state;
    struct api_transfer request;
    expect_parsed(
        &request,
        json_message("model=m&direction=backward&solver=arc_length&variable=log_z&quality=7&background=white",
                     "{\"vector\":[1,2],\"steps\":9,\"tolerance\":0.01,\"seed\":9007199254740991,\"n\":2,"
                     "\"trajectory\":64,\"timeout\":0.5,\"fit\":\"stretch\",\"layout\":\"grid\",\"priority\":"
                     "\"low\"}"));
    assert_string_equal(request.model, "m");
    assert_int_equal(request.solver, EFM_SOLVER_ARC_LENGTH);
    assert_int_equal(request.variable, EFM_VARIABLE_LOG_Z);
    assert_int_equal(request.steps, 9);
    assert_int_equal(request.seed, UINT64_C(9007199254740991));
    assert_int_equal(request.trajectory, 64);
    assert_true(request.timeout == 0.5);
    assert_int_equal(request.fit, EFM_IMAGE_FIT_STRETCH);
    assert_int_equal(request.layout, API_LAYOUT_GRID);
    assert_int_equal(request.background[0], 255);
    assert_int_equal(request.priority, API_PRIORITY_LOW);
    api_transfer_release(&request);
    expect_parsed(&request, json_message("", "{\"vector\":[1]}"));
    assert_string_equal(request.model, "");
    assert_int_equal(request.direction, EFM_DIRECTION_FORWARD);
    assert_int_equal(request.n, 1);
    assert_int_equal(request.quality, 90);
    assert_int_equal(request.layout, API_LAYOUT_AUTO);
    assert_int_equal(request.fit, EFM_IMAGE_FIT_CROP);
    assert_int_equal(request.priority, API_PRIORITY_NORMAL);
    api_transfer_release(&request);
}

static void parameters_out_of_range(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "steps=0",       "steps=1001", "tolerance=0.2", "tolerance=1e-9", "seed=9007199254740992",
        "n=0",           "n=4097",     "quality=0",     "quality=101",    "trajectory=1",
        "trajectory=65", "timeout=0",  "timeout=86401", "format=gif",     "solver=rk4",
        "direction=up",  "variable=x", "layout=row",    "fit=cover",      "background=red",
        "model=../x",    "priority=1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char pointer[40];
        snprintf(pointer, sizeof pointer, "/%.*s", (int)strcspn(wrong[i], "="), wrong[i]);
        expect_refused(json_message(wrong[i], "{\"vector\":[1]}"), API_P_INVALID_PARAMETER, pointer, NULL);
    }
    expect_refused(json_message("", "{\"vector\":[1],\"step\":3}"), API_P_UNKNOWN_PARAMETER, "/step",
                   "steps");
    expect_refused(json_message("steps=3", "{\"vector\":[1],\"steps\":3}"), API_P_DUPLICATE_PARAMETER,
                   "/steps", NULL);
    expect_refused(json_message("steps=0&nope=1", "{\"vector\":[1],\"seed\":\"x\"}"), API_P_INVALID_PARAMETER,
                   "/seed", "steps");
}

static void raw_images_are_told_by_their_bytes(void **state)
{
    (void)state;
    static const char *const types[] = {
        "",           "image/png",       "application/x-www-form-urlencoded", "application/octet-stream",
        "image/jpeg", "application/json"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct api_transfer request;
        struct efm_buffer file = picture_file(6, 4, 3,
                                              i == 4   ? EFM_IMAGE_JPEG
                                              : i == 3 ? EFM_IMAGE_WEBP
                                                       : EFM_IMAGE_PNG);
        expect_parsed(&request, message_of("", types[i], file.data, file.size));
        assert_int_equal(request.input_count, 1);
        assert_ptr_equal(request.inputs[0].bytes, file.data);
        assert_int_equal(request.inputs[0].size, file.size);
        assert_string_equal(request.inputs[0].pointer, "/image");
        api_transfer_release(&request);
        efm_buffer_release(&file);
    }
}

static void arrays_are_told_by_their_bytes(void **state)
{
    static const char *const types[] = {"", "application/json"};
    const float values[2] = {1, 2};
    const size_t shape[2] = {1, 2};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct api_transfer request;
        struct efm_buffer file = npy_file(values, shape, 2);
        expect_parsed(&request, message_of("", types[i], file.data, file.size));
        assert_int_equal(request.inputs[0].vector_length, 2);
        api_transfer_release(&request);
        efm_buffer_release(&file);
    }
}

static void other_bytes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        enum api_problem_code code;
        const char *words;
    } cases[] = {
        {"", 0, API_P_EMPTY_BODY, "empty"},
        {"GIF89a....", 10, API_P_NOT_AN_IMAGE, "GIF"},
        {"BM\x10\0\0\0....", 10, API_P_NOT_AN_IMAGE, "BMP"},
        {"II*\0....", 8, API_P_NOT_AN_IMAGE, "TIFF"},
        {"\n<!DOCTYPE html>", 16, API_P_NOT_AN_IMAGE, "HTML"},
        {"<html>", 6, API_P_NOT_AN_IMAGE, "HTML"},
        {"<svg xmlns=", 11, API_P_NOT_AN_IMAGE, "SVG"},
        {"model=m&n=4", 11, API_P_NOT_AN_IMAGE, "text"},
        {"[1,2]", 5, API_P_NOT_AN_IMAGE, "text"},
        {"x", 1, API_P_NOT_AN_IMAGE, "text"},
        {"\x1f\x8b\x08\0", 4, API_P_NOT_AN_IMAGE, "archive"},
        {"\0\1\2\3\4\5\6\7", 8, API_P_NOT_AN_IMAGE, "PNG, JPEG"},
        {"\x89PN", 3, API_P_NOT_AN_IMAGE, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(message_of("", "image/png", cases[i].bytes, cases[i].size), cases[i].code, NULL,
                       cases[i].words);
    expect_refused(json_message("", "[1,2]"), API_P_MALFORMED_JSON, NULL, "object");
    expect_refused(json_message("", "hello"), API_P_MALFORMED_JSON, NULL, "line 1");
    expect_refused(message_of("", "", "  {\"vector\":", 12), API_P_MALFORMED_JSON, NULL, NULL);
}

static void images_in_json(void **state)
{
    (void)state;
    struct api_transfer request;
    struct efm_buffer file = picture_file(6, 4, 3, EFM_IMAGE_PNG);
    char *plain = image_json(&file, "{\"image\":\"", "\"}");
    char *uri = image_json(&file, "{\"images\":[\"data:image/png;base64,", "\"]}");
    expect_parsed(&request, message_of("", "application/x-www-form-urlencoded", plain, strlen(plain)));
    assert_int_equal(request.input_count, 1);
    assert_int_equal(request.inputs[0].size, file.size);
    assert_memory_equal(request.inputs[0].bytes, file.data, file.size);
    assert_string_equal(request.inputs[0].pointer, "/image");
    api_transfer_release(&request);
    expect_parsed(&request, json_message("", uri));
    assert_memory_equal(request.inputs[0].bytes, file.data, file.size);
    assert_string_equal(request.inputs[0].pointer, "/images/0");
    api_transfer_release(&request);
    free(plain);
    free(uri);
    efm_buffer_release(&file);
    expect_refused(json_message("", "{\"image\":\"R0lGODlhAQ==\"}"), API_P_NOT_AN_IMAGE, "/image", "GIF");
    expect_refused(json_message("", "{\"images\":[\"!\"]}"), API_P_INVALID_PARAMETER, "/images/0", "base64");
    expect_refused(json_message("", "{\"image\":\"\"}"), API_P_EMPTY_BODY, "/image", "empty");
    expect_refused(json_message("", "{\"image\":5}"), API_P_INVALID_PARAMETER, "/image", "string");
    expect_refused(json_message("", "{\"images\":[]}"), API_P_INVALID_PARAMETER, "/images", "at least one");
    expect_refused(json_message("", "{\"images\":\"x\"}"), API_P_INVALID_PARAMETER, "/images", NULL);
    expect_refused(json_message("", "{}"), API_P_MISSING_PARAMETER, "/image", NULL);
    expect_refused(json_message("", "{\"vector\":[1],\"vectors\":[[1]]}"), API_P_INVALID_PARAMETER,
                   "/vectors", "one of");
}

static void vectors_in_json(void **state)
{
    (void)state;
    struct api_transfer request;
    expect_parsed(&request, json_message("", "{\"vectors\":[[1,-2.5],[3e-1,4,5]]}"));
    assert_int_equal(request.input_count, 2);
    assert_int_equal(request.inputs[1].vector_length, 3);
    assert_true(request.inputs[0].vector[1] == -2.5F && request.inputs[1].vector[0] == 0.3F);
    assert_string_equal(request.inputs[1].pointer, "/vectors/1");
    api_transfer_release(&request);
    expect_refused(json_message("", "{\"vector\":[1,null]}"), API_P_INVALID_PARAMETER, "/vector",
                   "value 1 is not a number");
    expect_refused(json_message("", "{\"vector\":[\"1\"]}"), API_P_INVALID_PARAMETER, "/vector", NULL);
    expect_refused(json_message("", "{\"vectors\":[1]}"), API_P_INVALID_PARAMETER, "/vectors/0", NULL);
    expect_refused(json_message("", "{\"vector\":[1e999]}"), API_P_MALFORMED_JSON, NULL, "overflow");
    expect_refused(json_message("", "{\"vector\":[NaN]}"), API_P_MALFORMED_JSON, NULL, NULL);
    expect_refused(json_message("", "{\"vectors\":[[1],[1],[1],[1],[1],[1],[1],[1],[1]]}"),
                   API_P_TOO_MANY_IMAGES, NULL, "8");
}

static void vectors_in_npy(void **state)
{
    (void)state;
    struct api_transfer request;
    float values[24] = {1, 2, 3, 4, 5, 6};
    struct efm_buffer file = npy_file(values, (size_t[]){3, 2}, 2);
    expect_parsed(&request, message_of("", "", file.data, file.size));
    assert_int_equal(request.input_count, 3);
    assert_memory_equal(request.inputs[2].vector, values + 4, 2 * sizeof(float));
    assert_int_equal(request.inputs[2].shape.channels, 0);
    api_transfer_release(&request);
    expect_refused(message_of("", "", file.data, file.size - 1), API_P_INVALID_NPY, "/vectors", NULL);
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){2, 2, 1, 3}, 4);
    expect_parsed(&request, message_of("", "", file.data, file.size));
    assert_int_equal(request.input_count, 2);
    assert_int_equal(request.inputs[1].shape.height * 100 + request.inputs[1].shape.width * 10 +
                         request.inputs[1].shape.channels,
                     213);
    api_transfer_release(&request);
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){2, 2, 2}, 3);
    expect_refused(message_of("", "", file.data, file.size), API_P_SHAPE_MISMATCH, "/vectors",
                   "3 dimensions");
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){0, 2}, 2);
    expect_refused(message_of("", "", file.data, file.size), API_P_SHAPE_MISMATCH, "/vectors", "no vectors");
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){12, 2}, 2);
    expect_refused(message_of("", "", file.data, file.size), API_P_TOO_MANY_IMAGES, NULL, NULL);
    efm_buffer_release(&file);
    values[3] = NAN;
    file = npy_file(values, (size_t[]){3, 2}, 2);
    expect_refused(message_of("", "", file.data, file.size), API_P_NOT_FINITE, "/vectors/1", "value 1");
    efm_buffer_release(&file);
}

static void form_of(struct efm_buffer *out, const char *disposition, const void *data, size_t size)
{
    efm_buffer_format(out, "--XX\r\nContent-Disposition: form-data; %s\r\n\r\n", disposition);
    efm_buffer_append(out, data, size);
    efm_buffer_append_string(out, "\r\n");
}

static void forms(void **state)
{
    (void)state;
    const char *type = "multipart/form-data; boundary=XX";
    struct api_transfer request;
    struct efm_buffer file = picture_file(6, 4, 3, EFM_IMAGE_PNG), body = efm_buffer_limited(1 << 20);
    form_of(&body, "name=\"image\"; filename=\"a.png\"", file.data, file.size);
    form_of(&body, "name=seed", "7", 1);
    form_of(&body, "name=\"image[]\"; filename=\"b.png\"", file.data, file.size);
    form_of(&body, "name=file; filename=c", file.data, file.size);
    efm_buffer_append_string(&body, "--XX--\r\n");
    expect_parsed(&request, message_of("model=m", type, body.data, body.size));
    assert_int_equal(request.input_count, 3);
    assert_int_equal(request.seed, 7);
    assert_string_equal(request.model, "m");
    assert_memory_equal(request.inputs[2].bytes, file.data, file.size);
    assert_string_equal(request.inputs[2].pointer, "/image/2");
    api_transfer_release(&request);
    expect_refused(message_of("seed=7", type, body.data, body.size), API_P_DUPLICATE_PARAMETER, "/seed",
                   NULL);
    expect_refused(message_of("", type, body.data, body.size - 9), API_P_MALFORMED_MULTIPART, NULL, NULL);
    struct api_message message = message_of("", type, body.data, body.size);
    message.path = "/generate";
    expect_refused(message, API_P_UNKNOWN_PARAMETER, "/image", "none is taken");
    efm_buffer_release(&body);
    form_of(&body, "name=seed", "7", 1);
    efm_buffer_append_string(&body, "--XX--\r\n");
    expect_refused(message_of("", type, body.data, body.size), API_P_MISSING_PARAMETER, "/image", NULL);
    message = message_of("", type, body.data, body.size);
    message.path = "/generate";
    expect_parsed(&request, message);
    assert_int_equal(request.seed, 7);
    api_transfer_release(&request);
    efm_buffer_release(&body);
    form_of(&body, "name=photo; filename=x", file.data, file.size);
    efm_buffer_append_string(&body, "--XX--\r\n");
    expect_refused(message_of("", type, body.data, body.size), API_P_UNKNOWN_PARAMETER, "/photo",
                   "named image");
    efm_buffer_release(&body);
    form_of(&body, "name=image; filename=x", "", 0);
    efm_buffer_append_string(&body, "--XX--\r\n");
    expect_refused(message_of("", type, body.data, body.size), API_P_EMPTY_BODY, "/image/0", NULL);
    efm_buffer_release(&body);
    form_of(&body, "name=seed", "7\0", 2);
    efm_buffer_append_string(&body, "--XX--\r\n");
    expect_refused(message_of("", type, body.data, body.size), API_P_INVALID_PARAMETER, "/seed", "no text");
    efm_buffer_release(&body);
    efm_buffer_release(&file);
}

static void generate_takes_parameters_alone(void **state)
{
    (void)state;
    struct api_transfer request;
    expect_parsed(&request, generate_message("model=m&n=4", "", ""));
    assert_int_equal(request.n, 4);
    assert_int_equal(request.input_count, 0);
    api_transfer_release(&request);
    expect_parsed(&request,
                  generate_message("", "application/x-www-form-urlencoded", "{\"n\":4,\"seed\":0}"));
    assert_int_equal(request.n, 4);
    api_transfer_release(&request);
    expect_refused(generate_message("", "", "{\"vectors\":[[1]]}"), API_P_UNKNOWN_PARAMETER, "/vectors",
                   NULL);
    expect_refused(generate_message("", "image/png", "\x89PNG\r\n\x1a\n...."), API_P_UNSUPPORTED_MEDIA_TYPE,
                   NULL, "no image");
    expect_refused(generate_message("", "", "n=4"), API_P_UNSUPPORTED_MEDIA_TYPE, NULL, NULL);
}

static void media_of_the_answer(void **state)
{
    (void)state;
    static const struct {
        const char *query, *accept;
        enum api_media media, vector_media;
    } cases[] = {
        {"", "", API_MEDIA_PNG, API_MEDIA_JSON},
        {"", "*/*", API_MEDIA_PNG, API_MEDIA_JSON},
        {"", "image/*", API_MEDIA_PNG, API_MEDIA_NONE},
        {"", "image/*, */*;q=0.1", API_MEDIA_PNG, API_MEDIA_JSON},
        {"", "application/x-npy", API_MEDIA_NPY, API_MEDIA_NPY},
        {"format=npy", "", API_MEDIA_NPY, API_MEDIA_NPY},
        {"format=jpeg", "image/png", API_MEDIA_JPEG, API_MEDIA_NONE},
        {"format=json", "*/*", API_MEDIA_JSON, API_MEDIA_JSON},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_transfer request;
        struct api_message message = json_message(cases[i].query, "{\"vector\":[1]}");
        message.accept = cases[i].accept;
        expect_parsed(&request, message);
        assert_int_equal(request.media, cases[i].media);
        assert_int_equal(request.vector_media, cases[i].vector_media);
        api_transfer_release(&request);
    }
    struct api_message message = json_message("", "{\"vector\":[1]}");
    message.accept = "text/html";
    expect_refused(message, API_P_NOT_ACCEPTABLE, NULL, "image/png");
    message.query = "format=png";
    message.accept = "image/png;q=0, */*";
    expect_refused(message, API_P_NOT_ACCEPTABLE, "/format", "refuses image/png");
}

/* ---- planning ---- */

static bool plan(struct api_message message, const struct efm_model *model, struct api_plan *made,
                 struct api_problem *problem)
{
    struct api_transfer request;
    expect_parsed(&request, message);
    *problem = (struct api_problem){0};
    bool good = api_transfer_plan(&request, model, 42, made, problem);
    api_transfer_release(&request);
    return good;
}

static void expect_unplanned(struct api_message message, const struct efm_model *model,
                             enum api_problem_code code, const char *pointer, const char *words)
{
    struct api_plan made;
    struct api_problem problem;
    if (plan(message, model, &made, &problem))
        fail_msg("planned: %s %.*s", message.query, (int)message.body_size, (const char *)message.body);
    expect_problem(&problem, code, pointer, words);
}

static void expect_planned(struct api_message message, const struct efm_model *model, struct api_plan *made)
{
    struct api_problem problem;
    if (!plan(message, model, made, &problem))
        fail_msg("%s: %s", message.query, problem.detail);
}

static void options_are_the_models_and_the_requests(void **state)
{
    (void)state;
    struct efm_model *chain = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    struct efm_flow_options own;
    struct api_plan made;
    efm_model_flow_options(chain, &own);
    const char *body = "{\"vectors\":[[1,2],[3,4]]}";
    expect_planned(json_message("", body), chain, &made);
    assert_int_equal(made.line_count, 2);
    assert_int_equal(made.dimension, 2);
    assert_int_equal(made.seed, 42);
    assert_int_equal(made.options.seed, 42);
    assert_int_equal(made.options.solver, own.solver);
    assert_int_equal(made.options.map, EFM_MAP_CHAIN);
    assert_int_equal(made.options.frames, 0);
    assert_int_equal(made.media, API_MEDIA_JSON);
    expect_planned(
        json_message("n=3&seed=7&direction=backward&solver=euler&steps=9&variable=z&trajectory=5", body),
        chain, &made);
    assert_int_equal(made.line_count, 6);
    assert_int_equal(made.options.seed, 7);
    assert_int_equal(made.options.direction, EFM_DIRECTION_REVERSE);
    assert_int_equal(made.options.solver, EFM_SOLVER_EULER);
    assert_int_equal(made.options.steps, 9);
    assert_int_equal(made.options.variable, EFM_VARIABLE_Z);
    assert_int_equal(made.options.frames, 5);
    expect_planned(json_message("tolerance=0.01", body), chain, &made);
    assert_true(made.options.tolerance == 0.01);
    assert_int_equal(made.options.solver, own.solver);
    expect_planned(json_message("variable=z", body), chain, &made);
    assert_int_equal(made.options.variable, EFM_VARIABLE_Z);
    assert_int_equal(made.options.solver, EFM_SOLVER_RK45);
    expect_planned(json_message("steps=10", body), chain, &made);
    assert_int_equal(made.options.solver, EFM_SOLVER_HEUN);
    assert_int_equal(made.options.steps, 10);
    expect_unplanned(json_message("solver=rk45&steps=10", body), chain, API_P_INVALID_PARAMETER, "/steps",
                     "no effect");
    expect_unplanned(json_message("solver=heun&tolerance=0.01", body), chain, API_P_INVALID_PARAMETER,
                     "/tolerance", "rk45");
    expect_unplanned(json_message("steps=5&tolerance=0.01", body), chain, API_P_INVALID_PARAMETER, NULL,
                     "no effect");
    expect_unplanned(json_message("n=5", body), chain, API_P_TOO_MANY_IMAGES, "/n", "more than 8");
    efm_model_unref(chain);

    struct efm_model *plates = plane_model(EFM_FIELD_PER_PLATE, EFM_MAP_FORWARD);
    expect_planned(json_message("tolerance=0.01", body), plates, &made);
    assert_int_equal(made.options.solver, EFM_SOLVER_RK45);
    efm_model_unref(plates);
}

static void stochastic_lines_need_arc_length(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_SUPERPOSITION, EFM_MAP_STOCHASTIC);
    struct api_plan made;
    const char *body = "{\"vector\":[1,2]}";
    expect_planned(json_message("", body), model, &made);
    assert_int_equal(made.options.solver, EFM_SOLVER_ARC_LENGTH);
    expect_unplanned(json_message("solver=euler", body), model, API_P_INVALID_PARAMETER, "/solver",
                     "stochastic");
    expect_unplanned(json_message("solver=heun&steps=4", body), model, API_P_INVALID_PARAMETER, "/solver",
                     "arc_length");
    expect_unplanned(json_message("solver=rk45", body), model, API_P_INVALID_PARAMETER, "/solver", NULL);
    expect_unplanned(json_message("steps=4", body), model, API_P_INVALID_PARAMETER, "/steps", "no effect");
    expect_unplanned(json_message("variable=z", body), model, API_P_INVALID_PARAMETER, "/variable",
                     "no effect");
    efm_model_unref(model);
}

static void vector_models_answer_in_numbers(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    struct api_message message = json_message("", "{\"vector\":[1,2]}");
    message.accept = "image/png";
    expect_unplanned(message, model, API_P_NOT_ACCEPTABLE, NULL, "vectors");
    message.accept = "";
    message.query = "format=png";
    expect_unplanned(message, model, API_P_INVALID_PARAMETER, "/format", "json or npy");
    efm_model_unref(model);
}

static void vectors_must_fit(void **state)
{
    (void)state;
    struct efm_model *plane = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN), *pictures = picture_model();
    float values[72] = {0};
    struct api_plan made;
    struct efm_buffer file = picture_file(6, 4, 3, EFM_IMAGE_PNG);
    expect_unplanned(json_message("", "{\"vectors\":[[1,2],[1,2,3]]}"), plane, API_P_SHAPE_MISMATCH,
                     "/vectors/1", "3 numbers");
    expect_unplanned(json_message("", "{\"vector\":[]}"), plane, API_P_SHAPE_MISMATCH, "/vector", NULL);
    expect_unplanned(json_message("", "{\"vector\":[1,1e39]}"), plane, API_P_NOT_FINITE, "/vector",
                     "value 1");
    expect_unplanned(message_of("format=json", "", file.data, file.size), plane, API_P_SHAPE_MISMATCH,
                     "/image", "vectors of 2");
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){1, 4, 6, 3}, 4);
    expect_planned(message_of("", "", file.data, file.size), pictures, &made);
    assert_int_equal(made.media, API_MEDIA_PNG);
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){1, 72}, 2);
    expect_planned(message_of("", "", file.data, file.size), pictures, &made);
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){1, 6, 4, 3}, 4);
    expect_unplanned(message_of("", "", file.data, file.size), pictures, API_P_SHAPE_MISMATCH, "/vectors/0",
                     "6 x 4 x 3");
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){3, 4, 6, 1}, 4);
    expect_unplanned(message_of("", "", file.data, file.size), pictures, API_P_SHAPE_MISMATCH, "/vectors/0",
                     "4 x 6 x 1");
    efm_buffer_release(&file);
    file = npy_file(values, (size_t[]){1, 1, 2, 1}, 4);
    expect_unplanned(message_of("format=json", "", file.data, file.size), plane, API_P_SHAPE_MISMATCH,
                     "/vectors/0", "as an image");
    efm_buffer_release(&file);
    efm_model_unref(plane);
    efm_model_unref(pictures);
}

static void image_headers_are_checked(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    struct api_plan made;
    static const struct {
        uint32_t width, height, channels;
        enum api_problem_code code;
    } cases[] = {{101, 5, 3, API_P_IMAGE_TOO_LARGE},
                 {5, 101, 3, API_P_IMAGE_TOO_LARGE},
                 {80, 80, 3, API_P_IMAGE_TOO_LARGE},
                 {1, 1, 3, API_P_IMAGE_TOO_SMALL},
                 {1, 50, 3, API_P_IMAGE_TOO_SMALL},
                 {50, 1, 1, API_P_IMAGE_TOO_SMALL},
                 {2, 2, 1, API_P_NONE},
                 {90, 50, 1, API_P_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_buffer file =
            picture_file(cases[i].width, cases[i].height, cases[i].channels, EFM_IMAGE_PNG);
        if (cases[i].code == API_P_NONE)
            expect_planned(message_of("", "", file.data, file.size), model, &made);
        else
            expect_unplanned(message_of("", "", file.data, file.size), model, cases[i].code, "/image",
                             "pixels");
        if (i == 0)
            expect_unplanned(message_of("", "", file.data, 20), model, API_P_DAMAGED_IMAGE, "/image",
                             "truncated");
        efm_buffer_release(&file);
    }
    efm_model_unref(model);
}

static void layouts(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    static const struct {
        const char *query;
        int layout; /* -1: refused */
    } cases[] = {
        {"", API_LAYOUT_SINGLE},
        {"layout=auto", API_LAYOUT_SINGLE},
        {"layout=single", API_LAYOUT_SINGLE},
        {"layout=grid", API_LAYOUT_GRID},
        {"n=2", API_LAYOUT_GRID},
        {"trajectory=3", API_LAYOUT_GRID},
        {"n=2&layout=single", -1},
        {"trajectory=3&layout=single", -1},
        {"n=2&layout=single&format=json", API_LAYOUT_GRID},
        {"n=2&layout=single&format=npy", API_LAYOUT_GRID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_plan made;
        struct api_message message = generate_message(cases[i].query, "", "");
        if (cases[i].layout < 0) {
            expect_unplanned(message, model, API_P_INVALID_PARAMETER, "/layout", NULL);
            continue;
        }
        expect_planned(message, model, &made);
        assert_int_equal(made.layout, cases[i].layout);
    }
    efm_model_unref(model);
}

static void answers_that_are_too_large(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    struct api_limits limits = api_limits_default();
    struct api_transfer request;
    struct api_plan made;
    struct api_problem problem = {0};
    struct api_message message = generate_message("n=8&trajectory=64&format=npy", "", "");
    limits.max_reply_bytes = 8 * 64 * 72 * 4 - 1;
    assert_true(api_transfer_parse(&request, &message, API_OP_GENERATE, &limits, &problem));
    assert_false(api_transfer_plan(&request, model, 1, &made, &problem));
    expect_problem(&problem, API_P_TOO_MANY_IMAGES, "/trajectory", NULL);
    api_transfer_release(&request);
    efm_model_unref(model);
    /* 64 frames of 300 pixels in a row are wider than a WebP can be */
    model = model_of("{\"toy\":\"gaussian\",\"count\":1,\"shape\":[2,300,1]}",
                     "{\"toy\":\"uniform\",\"count\":1,\"shape\":[2,300,1]}", EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    expect_unplanned(generate_message("trajectory=64&format=webp", "", ""), model, API_P_TOO_MANY_IMAGES,
                     "/format", "webp");
    expect_planned(generate_message("trajectory=64&format=png", "", ""), model, &made);
    efm_model_unref(model);
}

/* ---- starts ---- */

static void starts_of(struct api_message message, const struct efm_model *model, float *starts, size_t count)
{
    struct api_transfer request;
    struct api_plan made;
    struct api_problem problem = {0};
    expect_parsed(&request, message);
    assert_true(api_transfer_plan(&request, model, 42, &made, &problem));
    assert_int_equal(made.line_count, count);
    assert_true(api_transfer_starts(&request, model, &made, starts, &problem));
    api_transfer_release(&request);
}

static void inputs_become_starts(void **state)
{
    (void)state;
    struct efm_model *plane = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN), *pictures = picture_model();
    const float expected[8] = {1, 2, 1, 2, 3, 4, 3, 4};
    float starts[144];
    starts_of(json_message("n=2", "{\"vectors\":[[1,2],[3,4]]}"), plane, starts, 4);
    assert_memory_equal(starts, expected, sizeof expected);
    struct efm_buffer file = picture_file(6, 4, 3, EFM_IMAGE_PNG);
    starts_of(message_of("n=2", "", file.data, file.size), pictures, starts, 2);
    for (size_t i = 0; i < 144; i++)
        assert_true(fabsf(starts[i] - ((float)(uint8_t)(i % 72 * 37) / 127.5F - 1)) < 1e-6F);
    efm_buffer_release(&file);
    file = picture_file(40, 60, 1, EFM_IMAGE_PNG); /* grey and of another size: brought to the model's */
    starts_of(message_of("fit=contain&background=white", "", file.data, file.size), pictures, starts, 1);
    assert_true(starts[0] == 1.0F);
    starts_of(message_of("fit=contain&background=black", "", file.data, file.size), pictures, starts, 1);
    assert_true(starts[0] == -1.0F);
    efm_buffer_release(&file);
    efm_model_unref(plane);
    efm_model_unref(pictures);
}

static void damage_behind_the_header_is_found(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    struct efm_buffer file = picture_file(60, 60, 3, EFM_IMAGE_PNG);
    struct api_transfer request;
    struct api_plan made;
    struct api_problem problem = {0};
    float starts[72];
    expect_parsed(&request, message_of("", "", file.data, file.size / 2));
    assert_true(api_transfer_plan(&request, model, 42, &made, &problem));
    assert_false(api_transfer_starts(&request, model, &made, starts, &problem));
    expect_problem(&problem, API_P_DAMAGED_IMAGE, "/image", NULL);
    api_transfer_release(&request);
    efm_buffer_release(&file);
    efm_model_unref(model);
}

static bool is_charge(const struct efm_model *model, enum efm_plate_side side, const float *x)
{
    size_t count, dimension = efm_model_shape(model)->dimension;
    const float *charges = efm_field_charges(efm_model_field(model), side, &count);
    for (size_t i = 0; i < count; i++)
        if (memcmp(charges + i * dimension, x, dimension * sizeof *x) == 0)
            return true;
    return false;
}

static void generate_draws_from_the_plate_it_starts_at(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    float few[4], many[16], other[4], back[16];
    starts_of(generate_message("n=2&seed=5", "", ""), model, few, 2);
    starts_of(generate_message("n=8&seed=5", "", ""), model, many, 8);
    starts_of(generate_message("n=2&seed=6", "", ""), model, other, 2);
    assert_memory_equal(few, many, sizeof few);
    assert_memory_not_equal(few, other, sizeof few);
    assert_memory_not_equal(few, few + 2, 2 * sizeof(float));
    assert_false(is_charge(model, EFM_SOURCE, few)); /* N(0, I) is drawn fresh */
    starts_of(generate_message("n=8&seed=5&direction=reverse", "", ""), model, back, 8);
    size_t equal = 0;
    for (size_t i = 0; i < 8; i++) {
        assert_true(is_charge(model, EFM_TARGET, back + 2 * i));
        equal += memcmp(back, back + 2 * i, 2 * sizeof(float)) == 0;
    }
    assert_true(equal < 8);
    efm_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_and_defaults),
        cmocka_unit_test(parameters_out_of_range),
        cmocka_unit_test(raw_images_are_told_by_their_bytes),
        cmocka_unit_test(arrays_are_told_by_their_bytes),
        cmocka_unit_test(other_bytes_are_named),
        cmocka_unit_test(images_in_json),
        cmocka_unit_test(vectors_in_json),
        cmocka_unit_test(vectors_in_npy),
        cmocka_unit_test(forms),
        cmocka_unit_test(generate_takes_parameters_alone),
        cmocka_unit_test(media_of_the_answer),
        cmocka_unit_test(options_are_the_models_and_the_requests),
        cmocka_unit_test(stochastic_lines_need_arc_length),
        cmocka_unit_test(vector_models_answer_in_numbers),
        cmocka_unit_test(vectors_must_fit),
        cmocka_unit_test(image_headers_are_checked),
        cmocka_unit_test(layouts),
        cmocka_unit_test(answers_that_are_too_large),
        cmocka_unit_test(inputs_become_starts),
        cmocka_unit_test(damage_behind_the_header_is_found),
        cmocka_unit_test(generate_draws_from_the_plate_it_starts_at),
    };
    return cmocka_run_group_tests_name("api/transfer", tests, NULL, NULL);
}
