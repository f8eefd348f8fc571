// SPDX-License-Identifier: Apache-2.0
// Every allocation on the way of a request of another protocol fails once, jansson's included: the answer
// is a problem, never a crash or a leak, and the same again succeeds afterwards.
#include "api/oip.h"
#include "api/openai.h"
#include "core/data/npy.h"
#include "tests/unit/api/api_test.h"

#include <stdlib.h>

static size_t left = SIZE_MAX; /* allocations that still succeed; SIZE_MAX: all */
static bool json_struck;

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

static void *allocate_json(size_t size)
{
    if (!strikes())
        return malloc(size);
    json_struck = true;
    return NULL;
}

typedef enum api_problem_code scenario(void);

/* jansson 2.14 takes some failed allocations for wrong syntax, and what it could not insert is then
 * missing. */
static void repeat(scenario *run)
{
    for (size_t n = 0;; n++) {
        assert_true(n < 2000);
        left = n;
        json_struck = false;
        const enum api_problem_code code = run();
        const bool struck = left == SIZE_MAX;
        left = SIZE_MAX;
        if (code != API_P_NONE && code != API_P_NO_MEMORY && !json_struck)
            fail_msg("allocation %zu: %s", n, api_problem_code_name(code));
        if (code == API_P_NONE && !struck)
            return; /* no allocation was left to fail */
    }
}

static const struct efm_shape PICTURE = {2, 2, 3, 12};
static const float VALUES[24];

/* What /v1/transfer would say: two images. */
static void answer(struct api_reply *inner, enum api_media media)
{
    static const size_t shape[] = {2, 2, 2, 3};
    const size_t kept = left;
    left = SIZE_MAX;
    api_reply_init(inner, 4096);
    snprintf(inner->content_type, sizeof inner->content_type, "%s", api_media_type(media));
    if (media == API_MEDIA_JSON)
        efm_buffer_append_string(&inner->body, "{\"data\":[{\"b64_json\":\"b25l\"}]}");
    else
        (void)!efm_npy_write_floats(&inner->body, VALUES, shape, 4);
    left = kept;
}

static enum api_problem_code infer(const char *json)
{
    const struct api_limits limits = api_limits_default();
    const struct api_message message = json_message("", json);
    struct api_problem problem = {0};
    struct api_oip_infer request;
    struct api_reply inner, reply;
    if (api_oip_infer_parse(&request, "m", &PICTURE, &message, "", &limits, &problem)) {
        answer(&inner, request.inner.media);
        if (api_oip_infer_render(&request, &inner, &reply, &problem))
            api_reply_release(&reply);
        api_reply_release(&inner);
    }
    api_oip_infer_release(&request);
    return problem.code;
}

static enum api_problem_code infer_numbers(void)
{
    return infer(
        "{\"id\":\"a\",\"parameters\":{\"timeout\":1000000},\"inputs\":[{\"name\":\"input\",\"shape\":[1,2,2,"
        "3],"
        "\"datatype\":\"UINT8\",\"data\":[1,2,3,4,5,6,7,8,9,10,11,12]}],\"outputs\":[{\"name\":\"output\"},"
        "{\"name\":\"pixels\",\"parameters\":{\"binary_data\":true}},{\"name\":\"image\"}]}");
}

static enum api_problem_code infer_files(void)
{
    return infer("{\"inputs\":[{\"name\":\"input\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"b25l\","
                 "\"dHdv\"]}],\"outputs\":[{\"name\":\"image\"}]}");
}

static enum api_problem_code images(const struct api_message *message, enum api_operation operation)
{
    const struct api_limits limits = api_limits_default();
    struct api_problem problem = {0};
    struct api_openai_images request;
    struct api_reply inner, reply;
    if (api_openai_parse(&request, message, operation, &limits, &problem) &&
        api_openai_plan(&request, "m", &PICTURE, &problem)) {
        answer(&inner, request.inner.media);
        if (api_openai_render(&request, &inner, 1, &reply, &problem))
            api_reply_release(&reply);
        api_reply_release(&inner);
    }
    api_openai_release(&request);
    return problem.code;
}

static enum api_problem_code images_by_json(void)
{
    const struct api_message message = json_message("", "{\"n\":2,\"output_format\":\"jpeg\"}");
    return images(&message, API_OP_GENERATE);
}

static enum api_problem_code images_by_form(void)
{
    static const char form[] = "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"f\"\r\n\r\n"
                               "x\r\n--b--\r\n";
    const struct api_message message =
        message_of("", "multipart/form-data; boundary=b", form, sizeof form - 1);
    return images(&message, API_OP_TRANSFER);
}

static void all_ways(void **state)
{
    static scenario *const ways[] = {infer_numbers, infer_files, images_by_json, images_by_form};
    (void)state;
    json_set_alloc_funcs(allocate_json, free);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        repeat(ways[i]);
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_ways)};
    return cmocka_run_group_tests_name("api/oip_memory", tests, NULL, NULL);
}
