// SPDX-License-Identifier: Apache-2.0
// Every allocation of a request fails once, jansson's included: the answer is a problem, never a crash or a
// leak, and the same request succeeds afterwards.
#include "api/points.h"
#include "api/resources.h"
#include "tests/unit/api/models.h"

#include <stdlib.h>

static size_t left = SIZE_MAX; /* allocations that still succeed; SIZE_MAX: all */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);

static bool strikes(void)
{
    return left != SIZE_MAX && left-- == 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return strikes() ? NULL : __real_efm_allocate(size);
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return strikes() ? NULL : __real_efm_allocate_array(count, size);
}

static bool json_struck;

static void *allocate_json(size_t size)
{
    if (!strikes())
        return malloc(size);
    json_struck = true;
    return NULL;
}

/* One scenario; false with a problem when an allocation failed in it. */
typedef bool scenario(struct efm_model *model, struct api_problem *problem);

static void repeat(scenario *run, struct efm_model *model)
{
    for (size_t n = 0;; n++) {
        struct api_problem problem = {0};
        assert_true(n < 5000);
        left = n;
        json_struck = false;
        bool good = run(model, &problem);
        bool struck = left == SIZE_MAX;
        left = SIZE_MAX;
        if (!good) {
            assert_int_not_equal(problem.code, API_P_NONE);
            /* jansson 2.14 takes some failed allocations for wrong syntax, or loses the byte at hand */
            if (problem.code != API_P_NO_MEMORY && !json_struck)
                fail_msg("allocation %zu: %s: %s", n, api_problem_code_name(problem.code), problem.detail);
        } else if (!struck) {
            return; /* no allocation was left to fail */
        }
    }
}

static bool carry(struct api_message message, enum api_operation operation, struct efm_model *model,
                  struct api_problem *problem)
{
    struct api_limits limits = api_limits_default();
    struct api_transfer request;
    struct api_plan plan;
    struct api_reply reply = {0};
    float starts[4 * 72];
    bool good = api_transfer_parse(&request, &message, operation, &limits, problem) &&
                api_transfer_plan(&request, model, 1, &plan, problem) &&
                api_transfer_starts(&request, model, &plan, starts, problem);
    if (good) {
        struct efm_line *lines[4] = {0};
        struct api_outcome outcome = {.lines = lines};
        size_t kept = left;
        left = SIZE_MAX; /* the engine is not what is tried here */
        follow(lines, plan.line_count, model, &plan.options, starts);
        left = kept;
        good = api_transfer_render(&request, model, &plan, &outcome, &reply, problem);
        assert_true(good || reply.body.data == NULL);
        api_reply_release(&reply);
        for (size_t i = 0; i < plan.line_count; i++)
            efm_line_destroy(lines[i]);
    }
    api_transfer_release(&request);
    return good;
}

static struct efm_buffer picture;
static struct efm_buffer form;
static struct efm_buffer json;

static bool raw_to_png(struct efm_model *model, struct api_problem *problem)
{
    return carry(message_of("steps=2&n=2", "", picture.data, picture.size), API_OP_TRANSFER, model, problem);
}

static bool form_to_trajectory(struct efm_model *model, struct api_problem *problem)
{
    return carry(message_of("steps=2&trajectory=3", "multipart/form-data; boundary=XX", form.data, form.size),
                 API_OP_TRANSFER, model, problem);
}

static bool json_to_json(struct efm_model *model, struct api_problem *problem)
{
    return carry(message_of("steps=2&trajectory=2&format=json", "", json.data, json.size), API_OP_TRANSFER,
                 model, problem);
}

static bool generate_npy(struct efm_model *model, struct api_problem *problem)
{
    return carry(json_message("", "{\"steps\":2,\"n\":2,\"format\":\"npy\"}"), API_OP_GENERATE, model,
                 problem);
}

static bool field_both_ways(struct efm_model *model, struct api_problem *problem)
{
    float x[4] = {0};
    double z[2] = {1, 1}, log_norm[2] = {0, 0};
    struct efm_field_values values = {.x = x, .z = z, .log_norm = log_norm};
    bool good = true;
    (void)model;
    for (int i = 0; good && i < 2; i++) {
        struct api_points request;
        struct api_reply reply = {0};
        struct api_message message = json_message("", "{\"points\":[[1,2,3],[4,5,6]]}");
        message.accept = i == 0 ? "" : "application/x-npy";
        good = api_field_parse(&request, &message, 2, 10, problem) &&
               api_field_render(&request, &values, &reply, problem);
        api_reply_release(&reply);
        api_points_release(&request);
    }
    return good;
}

static bool spec(struct efm_model *model, struct api_problem *problem)
{
    struct api_exact_request request;
    struct api_message message =
        json_message("", "{\"arch\":\"exact\",\"source\":\"a\",\"target\":\"b\",\"L\":3}");
    bool is_weights;
    (void)model;
    return api_model_parse(&request, &message, &is_weights, problem);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct efm_model *model = picture_model();
    repeat(raw_to_png, model);
    repeat(form_to_trajectory, model);
    repeat(json_to_json, model);
    repeat(generate_npy, model);
    repeat(field_both_ways, model);
    repeat(spec, model);
    efm_model_unref(model);
}

static int prepare(void **state)
{
    (void)state;
    json_set_alloc_funcs(allocate_json, free);
    picture = picture_file(12, 9, 1, EFM_IMAGE_PNG);
    form = efm_buffer_limited(1 << 20);
    for (int i = 0; i < 2; i++) {
        efm_buffer_append_string(&form,
                                 "--XX\r\nContent-Disposition: form-data; name=image; filename=x\r\n\r\n");
        efm_buffer_append(&form, picture.data, picture.size);
        efm_buffer_append_string(&form, "\r\n");
    }
    efm_buffer_append_string(&form, "--XX--\r\n");
    json = efm_buffer_limited(1 << 20);
    efm_buffer_append_string(&json, "{\"images\":[\"");
    api_base64_encode(&json, picture.data, picture.size);
    efm_buffer_append_string(&json, "\",\"data:;base64,");
    api_base64_encode(&json, picture.data, picture.size);
    efm_buffer_append_string(&json, "\"]}");
    return json.status == EFM_OK && form.status == EFM_OK ? 0 : 1;
}

static int clear(void **state)
{
    (void)state;
    efm_buffer_release(&picture);
    efm_buffer_release(&form);
    efm_buffer_release(&json);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests_name("api/chaos", tests, prepare, clear);
}
