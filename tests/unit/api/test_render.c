// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"
#include "api/transfer.h"
#include "core/data/npy.h"
#include "tests/unit/api/models.h"

#include <math.h>

enum { MAX_LINES = 8 };

/* A request carried through all its stations. */
struct run {
    struct efm_model *model; /* borrowed */
    struct api_transfer request;
    struct api_plan plan;
    struct efm_line *lines[MAX_LINES];
    struct api_reply reply;
};

static void carry(struct run *run, const char *query, const char *accept, const char *json,
                  struct efm_model *model)
{
    struct api_limits limits = api_limits_default();
    struct api_problem problem = {0};
    struct api_message message = json_message(query, json);
    float starts[MAX_LINES * 72];
    enum api_operation operation = json[0] == '\0' ? API_OP_GENERATE : API_OP_TRANSFER;
    message.accept = accept;
    run->model = model;
    if (!api_transfer_parse(&run->request, &message, operation, &limits, &problem) ||
        !api_transfer_plan(&run->request, model, 42, &run->plan, &problem) ||
        !api_transfer_starts(&run->request, model, &run->plan, starts, &problem))
        fail_msg("%s: %s", query, problem.detail);
    assert_true(run->plan.line_count <= MAX_LINES);
    follow(run->lines, run->plan.line_count, model, &run->plan.options, starts);
}

static void render(struct run *run, double queue, double compute)
{
    struct api_outcome outcome = {.lines = run->lines, .queue_seconds = queue, .compute_seconds = compute};
    struct api_problem problem = {0};
    if (!api_transfer_render(&run->request, run->model, &run->plan, &outcome, &run->reply, &problem))
        fail_msg("%s", problem.detail);
}

static void end(struct run *run)
{
    api_reply_release(&run->reply);
    for (size_t i = 0; i < run->plan.line_count; i++)
        efm_line_destroy(run->lines[i]);
    api_transfer_release(&run->request);
}

static const char *header(const struct run *run, const char *name)
{
    for (size_t i = 0; i < run->reply.header_count; i++)
        if (strcmp(run->reply.headers[i].name, name) == 0)
            return run->reply.headers[i].value;
    fail_msg("no header %s", name);
    return "";
}

static struct efm_image decoded(const uint8_t *bytes, size_t size)
{
    struct efm_image image = {0};
    struct efm_image_options options = {.limits = efm_image_limits_default()};
    struct efm_error error = {0};
    if (efm_image_decode(&image, bytes, size, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return image;
}

static void one_picture_with_its_story(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    struct run run;
    char expected[128];
    carry(&run, "model=m&seed=7&solver=euler&steps=11", "", "", model);
    render(&run, 0.25, 0.5);
    assert_string_equal(run.reply.content_type, "image/png");
    assert_string_equal(header(&run, "Efm-Seed"), "7");
    char evaluations[16];
    snprintf(evaluations, sizeof evaluations, "%u", efm_line_evaluations(run.lines[0]));
    assert_string_equal(header(&run, "Efm-Steps"), evaluations);
    bool landed = efm_line_state(run.lines[0]) == EFM_LINE_LANDED;
    assert_string_equal(header(&run, "Efm-Landed"), landed ? "1/1" : "0/1");
    snprintf(expected, sizeof expected, "m@%.8s", efm_model_sha256(model));
    assert_string_equal(header(&run, "Efm-Model"), expected);
    struct efm_image image = decoded(run.reply.body.data, run.reply.body.size);
    assert_int_equal(image.width * 100 + image.height * 10 + image.channels, 643);
    struct efm_image same = {.width = 6, .height = 4, .channels = 3, .pixels = (uint8_t[72]){0}};
    efm_image_from_floats(&same, efm_line_position(run.lines[0]));
    assert_memory_equal(image.pixels, same.pixels, 72);
    efm_image_release(&image);
    const char *const texts[][2] = {
        {"Software", "efmd"},     {"Seed", "7"},    {"Solver", "euler"},         {"Steps", "11"},
        {"Direction", "forward"}, {"Map", "chain"}, {"Evaluations", evaluations}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t length =
            (size_t)snprintf(expected, sizeof expected, "tEXt%s%c%s", texts[i][0], 0, texts[i][1]);
        if (memmem(run.reply.body.data, run.reply.body.size, expected, length) == NULL)
            fail_msg("the PNG does not tell %s %s", texts[i][0], texts[i][1]);
    }
    end(&run);
    efm_model_unref(model);
}

static void equal_requests_give_equal_bytes(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    static const char *const formats[] = {"png", "jpeg", "webp", "npy"};
    for (size_t i = 0; i < 4; i++) {
        struct run one, two;
        char query[80];
        snprintf(query, sizeof query, "model=m&seed=7&steps=5&n=2&format=%s", formats[i]);
        carry(&one, query, "", "", model);
        render(&one, 0.1, 0.2);
        carry(&two, query, "", "", model);
        render(&two, 3, 4); /* another time */
        assert_int_equal(one.reply.body.size, two.reply.body.size);
        assert_memory_equal(one.reply.body.data, two.reply.body.data, one.reply.body.size);
        end(&one);
        end(&two);
    }
    efm_model_unref(model);
}

static void sheets(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    static const struct {
        const char *query;
        uint32_t width, height;
    } cases[] = {
        {"n=4&steps=2", 6 * 2 + 2, 4 * 2 + 2},
        {"n=3&steps=2", 6 * 2 + 2, 4 * 2 + 2},
        {"n=5&steps=2&format=webp", 6 * 3 + 4, 4 * 2 + 2},
        {"n=2&trajectory=5&steps=2&format=jpeg", 6 * 5 + 8, 4 * 2 + 2},
        {"trajectory=3&steps=2", 6 * 3 + 4, 4},
        {"layout=grid&steps=2", 6, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run run;
        carry(&run, cases[i].query, "", "", model);
        render(&run, 0, 0);
        struct efm_image image = decoded(run.reply.body.data, run.reply.body.size);
        assert_int_equal(image.width, cases[i].width);
        assert_int_equal(image.height, cases[i].height);
        if (i == 1) /* the empty place is white */
            assert_int_equal(image.pixels[image.width * image.height * 3 - 1], 255);
        efm_image_release(&image);
        end(&run);
    }
    efm_model_unref(model);
}

static void json_of_vectors(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    struct run run;
    carry(&run, "model=plane&seed=9&solver=heun&steps=6&trajectory=4", "",
          "{\"vectors\":[[0.5,0.25],[-1,1]]}", model);
    render(&run, 0.001, 0.002);
    assert_string_equal(run.reply.content_type, "application/json");
    json_t *json = json_of(&run.reply.body), *data = json_object_get(json, "data");
    assert_string_equal(text_at(json, "model"), "plane");
    assert_int_equal(json_integer_value(json_object_get(json, "seed")), 9);
    assert_string_equal(text_at(json, "direction"), "forward");
    assert_string_equal(text_at(json, "map"), "chain");
    assert_string_equal(text_at(json, "solver"), "heun");
    assert_true(json_real_value(json_object_get(json_object_get(json, "timings"), "queue_ms")) == 1.0);
    assert_true(json_real_value(json_object_get(json_object_get(json, "timings"), "compute_ms")) == 2.0);
    assert_int_equal(json_array_size(data), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = json_array_get(data, i), *frames = json_object_get(item, "frames");
        const float *end_point = efm_line_position(run.lines[i]);
        assert_int_equal(json_integer_value(json_object_get(item, "index")), i);
        assert_int_equal(json_integer_value(json_object_get(item, "seed")), 9);
        enum efm_line_state state_of_line = efm_line_state(run.lines[i]);
        assert_int_equal(json_is_true(json_object_get(item, "landed")), state_of_line == EFM_LINE_LANDED);
        assert_string_equal(text_at(item, "state"), efm_line_state_name(state_of_line));
        assert_int_equal(json_integer_value(json_object_get(item, "evaluations")),
                         efm_line_evaluations(run.lines[i]));
        assert_int_equal(json_array_size(frames), 4);
        assert_int_equal(json_array_size(json_object_get(item, "heights")), 4);
        for (size_t k = 0; k < 2; k++) { /* the floats read back exactly */
            assert_true((float)json_number_value(json_array_get(json_object_get(item, "vector"), k)) ==
                        end_point[k]);
            assert_true((float)json_number_value(json_array_get(json_array_get(frames, 3), k)) ==
                        end_point[k]);
        }
    }
    assert_true(json_number_value(json_array_get(
                    json_array_get(json_object_get(json_array_get(data, 0), "frames"), 0), 0)) == 0.5);
    json_decref(json);
    end(&run);
    efm_model_unref(model);
}

static void json_of_pictures(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    struct run run;
    carry(&run, "seed=9&steps=3&n=2&trajectory=2", "application/json", "", model);
    render(&run, 0, 0);
    json_t *json = json_of(&run.reply.body), *item = json_array_get(json_object_get(json, "data"), 1);
    json_t *files[2] = {json_object_get(item, "b64_json"),
                        json_array_get(json_object_get(item, "frames"), 1)};
    assert_int_equal(json_array_size(json_object_get(item, "frames")), 2);
    for (int i = 0; i < 2; i++) {
        struct api_problem problem = {0};
        uint8_t *bytes = NULL;
        size_t size;
        assert_true(api_base64_decode(json_string_value(files[i]), json_string_length(files[i]), &bytes,
                                      &size, &problem, "/"));
        struct efm_image image = decoded(bytes, size);
        assert_int_equal(image.width, 6);
        struct efm_image same = {.width = 6, .height = 4, .channels = 3, .pixels = (uint8_t[72]){0}};
        efm_image_from_floats(&same, efm_line_position(run.lines[1]));
        assert_memory_equal(image.pixels, same.pixels, 72);
        efm_image_release(&image);
        efm_free(bytes);
    }
    json_decref(json);
    end(&run);
    efm_model_unref(model);
}

static void npy_shapes(void **state)
{
    (void)state;
    struct efm_model *plane = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN), *pictures = picture_model();
    struct run run;
    struct efm_npy_view view;
    struct efm_error error = {0};
    float values[144];
    carry(&run, "n=2&steps=3", "application/x-npy", "", pictures);
    render(&run, 0, 0);
    assert_string_equal(run.reply.content_type, "application/x-npy");
    assert_int_equal(efm_npy_parse(run.reply.body.data, run.reply.body.size, &view, &error), EFM_OK);
    assert_int_equal(view.rank, 4);
    assert_memory_equal(view.shape, ((size_t[]){2, 4, 6, 3}), sizeof(size_t) * 4);
    assert_int_equal(efm_npy_floats(&view, values, &error), EFM_OK);
    assert_memory_equal(values + 72, efm_line_position(run.lines[1]), 72 * sizeof(float));
    end(&run);
    carry(&run, "n=2&steps=3&trajectory=3&format=npy", "", "", pictures);
    render(&run, 0, 0);
    assert_string_equal(run.reply.content_type, "application/octet-stream");
    assert_non_null(memmem(run.reply.body.data, run.reply.body.size, "(2, 3, 4, 6, 3)", 15));
    end(&run);
    carry(&run, "trajectory=3&steps=3&format=npy", "", "{\"vectors\":[[1,2],[3,4]]}", plane);
    render(&run, 0, 0);
    assert_int_equal(efm_npy_parse(run.reply.body.data, run.reply.body.size, &view, &error), EFM_OK);
    assert_int_equal(view.rank, 3);
    assert_memory_equal(view.shape, ((size_t[]){2, 3, 2}), sizeof(size_t) * 3);
    assert_int_equal(efm_npy_floats(&view, values, &error), EFM_OK);
    assert_true(values[0] == 1 && values[6] == 3);
    end(&run);
    efm_model_unref(plane);
    efm_model_unref(pictures);
}

/* Lines that are dropped: one evaluation is allowed, and they need more. */
static void lines_that_do_not_land_are_told(void **state)
{
    (void)state;
    struct efm_model *model = plane_model(EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
    static const char *const formats[] = {"json", "npy"};
    for (int i = 0; i < 2; i++) {
        struct run run;
        char query[80];
        float starts[4] = {1, 2, 3, 4};
        snprintf(query, sizeof query, "tolerance=0.001&trajectory=4&format=%s", formats[i]);
        carry(&run, query, "", "{\"vectors\":[[1,2],[3,4]]}", model);
        efm_line_destroy(run.lines[1]);
        struct efm_flow_options options = run.plan.options;
        options.max_evaluations = 1;
        follow(run.lines + 1, 1, model, &options, starts + 2);
        assert_int_equal(efm_line_state(run.lines[1]), EFM_LINE_LOST);
        render(&run, 0, 0);
        bool landed = efm_line_state(run.lines[0]) == EFM_LINE_LANDED;
        assert_string_equal(header(&run, "Efm-Landed"), landed ? "1/2" : "0/2");
        if (i == 0) {
            json_t *json = json_of(&run.reply.body), *item = json_array_get(json_object_get(json, "data"), 1);
            assert_true(json_is_false(json_object_get(item, "landed")));
            assert_string_equal(text_at(item, "state"), "lost");
            json_decref(json);
        } else {
            float last[2];
            memcpy(last, run.reply.body.data + run.reply.body.size - sizeof last, sizeof last);
            assert_memory_equal(last, efm_line_position(run.lines[1]), sizeof last);
        }
        end(&run);
    }
    efm_model_unref(model);
}

static void an_answer_past_its_limit_is_refused(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    static const char *const formats[] = {"png", "json", "npy", "jpeg", "webp"};
    for (size_t i = 0; i < 5; i++) {
        struct run run;
        char query[80];
        struct api_problem problem = {0};
        snprintf(query, sizeof query, "n=2&steps=1&format=%s", formats[i]);
        carry(&run, query, "", "", model);
        run.request.limits.max_reply_bytes = 90;
        struct api_outcome outcome = {.lines = run.lines};
        assert_false(api_transfer_render(&run.request, model, &run.plan, &outcome, &run.reply, &problem));
        expect_problem(&problem, API_P_TOO_MANY_IMAGES, NULL, "larger than 90 bytes");
        assert_null(run.reply.body.data);
        end(&run);
    }
    efm_model_unref(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_picture_with_its_story),
        cmocka_unit_test(equal_requests_give_equal_bytes),
        cmocka_unit_test(sheets),
        cmocka_unit_test(json_of_vectors),
        cmocka_unit_test(json_of_pictures),
        cmocka_unit_test(npy_shapes),
        cmocka_unit_test(lines_that_do_not_land_are_told),
        cmocka_unit_test(an_answer_past_its_limit_is_refused),
    };
    return cmocka_run_group_tests_name("api/render", tests, NULL, NULL);
}
