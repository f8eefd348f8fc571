// SPDX-License-Identifier: Apache-2.0
// Every allocation on the way of a job through the contract fails once, jansson's included: the answer is an error, never a
// crash or a leak, and the same again succeeds afterwards.
#include "api/job.h"
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

/* EFM_OK, EFM_E_MEMORY, or EFM_E_FORMAT: jansson 2.14 takes some failed allocations for wrong syntax. */
typedef enum efm_status scenario(void);

static void repeat(scenario *run)
{
    for (size_t n = 0;; n++) {
        assert_true(n < 2000);
        left = n;
        json_struck = false;
        enum efm_status status = run();
        bool struck = left == SIZE_MAX;
        left = SIZE_MAX;
        if (status != EFM_OK && status != EFM_E_MEMORY && !json_struck)
            fail_msg("allocation %zu: %s", n, efm_status_name(status));
        if (status == EFM_OK && !struck)
            return; /* no allocation was left to fail */
    }
}

static const char REQUEST[] =
    "{\"model\":\"m\",\"source\":{\"url\":\"http://h/a\",\"count\":3},\"target\":{\"toy\":\"swiss_roll\"},"
    "\"webhook\":\"http://h/\",\"metadata\":{\"a\":\"b\"},\"image\":{\"height\":8,\"width\":8}}";
/* jansson 2.14 does not see that it has lost a byte for want of memory, and where that is the letter of an escape it calls abort(): so
 * its own allocations fail over the first of these only. */
static const char PLAIN[] =
    "{\"id\":\"job_1\",\"kind\":\"train\",\"state\":\"succeeded\",\"spec\":\"{}\",\"metadata\":\"{}\"}";
static const char ESCAPED[] = "{\"id\":\"job_1\",\"kind\":\"train\",\"state\":\"succeeded\",\"spec\":\"{"
                              "\\\"steps\\\": 5}\",\"metadata\":"
                              "\"{\\\"a\\\":\\\"b\\\"}\"}";

static enum efm_status request(void)
{
    struct api_train_request request;
    struct api_problem problem = {0};
    struct api_message message = json_message("", REQUEST);
    bool good = api_train_request_parse(&request, &message, &problem);
    if (!good) {
        assert_true(request.metadata == NULL && request.train.plates[0].path == NULL);
        return problem.code == API_P_NO_MEMORY ? EFM_E_MEMORY : EFM_E_FORMAT;
    }
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    struct efm_trainer_spec spec;
    const struct efm_shape plane = efm_shape_vector(2);
    assert_true(api_train_complete(&request.train, &plane, &spec, &problem));
    api_train_render(&request.train, &out);
    enum efm_status status = out.status;
    efm_buffer_release(&out);
    api_train_request_release(&request);
    return status;
}

static enum efm_status pass_record(const char *text)
{
    struct api_job job;
    struct efm_error error = {0};
    enum efm_status status = api_job_read(&job, text, strlen(text), &error);
    if (status != EFM_OK) {
        assert_true(job.spec == NULL && job.metadata == NULL);
        return status;
    }
    struct efm_buffer written = efm_buffer_limited(1 << 16), shown = efm_buffer_limited(1 << 16),
                      told = efm_buffer_limited(1 << 16);
    char tag[72];
    api_job_write(&job, &written);
    api_job_render(&job, &shown);
    api_webhook_body(&job, 1764000000, &told);
    api_job_etag(&job, tag);
    if (tag[0] == '\0' || written.status != EFM_OK || shown.status != EFM_OK || told.status != EFM_OK)
        status = EFM_E_MEMORY;
    efm_buffer_release(&written);
    efm_buffer_release(&shown);
    efm_buffer_release(&told);
    api_job_release(&job);
    return status;
}

static enum efm_status plain_record(void)
{
    return pass_record(PLAIN);
}

static enum efm_status escaped_record(void)
{
    return pass_record(ESCAPED);
}

static enum efm_status event(void)
{
    const struct api_event metrics = {1, 1764000000, "metrics", "info", "", "{\"loss\":1}"};
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    api_event_frame(&metrics, &out);
    enum efm_status status = out.status;
    efm_buffer_release(&out);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    json_set_alloc_funcs(allocate_json, free);
    repeat(request);
    repeat(plain_record);
    json_set_alloc_funcs(malloc, free);
    repeat(escaped_record);
    repeat(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests_name("api/job_memory", tests, NULL, NULL);
}
