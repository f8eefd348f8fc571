// SPDX-License-Identifier: Apache-2.0
#include "api/job.h"
#include "core/base/memory.h"
#include "tests/unit/api/api_test.h"

#include <math.h>
#include <stdlib.h>

#define TEXT(field, text) snprintf(field, sizeof field, "%s", text)

/* Every field of a job that is stored, once each: name, and how it is compared. */
#define STORED_TEXTS(X)                                                                                      \
    X(id)                                                                                                    \
    X(kind)                                                                                                  \
    X(model)                                                                                                 \
    X(model_sha256)                                                                                          \
    X(webhook)                                                                                               \
    X(webhook_state)                                                                                         \
    X(dataset_query[0])                                                                                      \
    X(dataset_query[1])                                                                                      \
    X(target)                                                                                                \
    X(content_type)                                                                                          \
    X(accept)                                                                                                \
    X(result_type) X(result_headers) X(error_code) X(error_message) X(error_pointer) X(traceparent) X(owner)
#define STORED_REALS(X)                                                                                      \
    X(created)                                                                                               \
    X(started) X(finished) X(expires) X(loss) X(images_per_second) X(estimated_finish) X(checkpoint_time)
#define STORED_NUMBERS(X)                                                                                    \
    X(step)                                                                                                  \
    X(total_steps) X(seed) X(result_size) X(checkpoint_step) X(webhook_attempts) X(attempts)

static uint64_t random_state = 1;

static uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Valid UTF-8 with everything that JSON escapes, of any length that fits; now and then as long as can be. */
static void fill_text(char *text, size_t size)
{
    static const char *const pieces[] = {"a", "Z",    "0",    "\"", "\\",       "\n",           "\r", "\t",
                                         "/", "\x01", "\x7f", " ",  "\xc3\xa9", "\xe2\x82\xac", "{",  "}"};
    size_t used = 0, wanted = draw() % 4 == 0 ? size - 1 : draw() % size;
    while (used < wanted) {
        const char *piece = pieces[draw() % (sizeof pieces / sizeof pieces[0])];
        size_t length = strlen(piece);
        if (used + length > wanted)
            piece = "x", length = 1;
        memcpy(text + used, piece, length);
        used += length;
    }
    text[used] = '\0';
}

static double draw_real(void)
{
    static const double special[] = {0,      1,   -1.5, 1764000000.123456,   1e300,
                                     5e-324, 0.1, 1e15, 123456789012345678.0};
    return draw() % 2 == 0 ? special[draw() % (sizeof special / sizeof special[0])]
                           : (double)(int64_t)draw() / (double)(1 + (draw() >> 40));
}

static void fill_job(struct api_job *job)
{
    *job = (struct api_job){.state = (enum api_job_state)(draw() % 5),
                            .cancel_asked = draw() % 2 == 0,
                            .replace = draw() % 2 == 0,
                            .result_status = (int)draw(),
                            .queue_position = 3};
#define FILL(field) fill_text(job->field, sizeof job->field);
    STORED_TEXTS(FILL)
#undef FILL
#define FILL(field) job->field = draw_real();
    STORED_REALS(FILL)
#undef FILL
#define FILL(field) job->field = (__typeof__(job->field))(draw() >> draw() % 64);
    STORED_NUMBERS(FILL)
#undef FILL
    if (draw() % 3 != 0)
        TEXT(job->kind, draw() % 2 == 0 ? "train" : "transfer");
    if (draw() % 2 == 0)
        job->spec = efm_copy_string("{\n  \"source\": \"a \\\" \\u00e9\",\n  \"steps\": 5\n}\n");
    if (draw() % 2 == 0)
        job->metadata = efm_copy_string("{\"k\": \"v\\n\"}");
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static void expect_same(const struct api_job *a, const struct api_job *b)
{
#define SAME(field) assert_string_equal(a->field, b->field);
    STORED_TEXTS(SAME)
#undef SAME
#define SAME(field) assert_true(a->field == b->field);
    STORED_REALS(SAME)
    STORED_NUMBERS(SAME)
    SAME(state)
    SAME(cancel_asked)
    SAME(replace)
    SAME(result_status)
#undef SAME
    assert_true(same_text(a->spec, b->spec));
    assert_true(same_text(a->metadata, b->metadata));
}

/* Reads from a block of its own, so that a sanitizer sees every byte too many. */
static enum efm_status read_job(struct api_job *job, const void *text, size_t size, struct efm_error *error)
{
    char *copy = malloc(size + (size == 0));
    assert_non_null(copy);
    memcpy(copy, text, size);
    *error = (struct efm_error){0};
    enum efm_status status = api_job_read(job, copy, size, error);
    free(copy);
    assert_int_equal(status, error->status);
    return status;
}

static void states(void **state)
{
    (void)state;
    static const char *const words[] = {"queued", "running", "succeeded", "failed", "cancelled"};
    enum api_job_state parsed;
    for (int i = 0; i < 5; i++) {
        assert_string_equal(api_job_state_word((enum api_job_state)i), words[i]);
        assert_true(api_job_state_parse(words[i], &parsed) && (int)parsed == i);
        assert_int_equal(api_job_state_ended((enum api_job_state)i), i >= 2);
    }
    assert_false(api_job_state_parse("canceled", &parsed));
    assert_false(api_job_state_parse("", &parsed));
}

static void records_keep_everything(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        struct api_job job, back;
        struct efm_error error;
        struct efm_buffer text = efm_buffer_limited(1 << 20), again = efm_buffer_limited(1 << 20);
        if (i == 0)
            job = (struct api_job){0};
        else
            fill_job(&job);
        api_job_write(&job, &text);
        assert_int_equal(text.status, EFM_OK);
        if (read_job(&back, text.data, text.size, &error) != EFM_OK)
            fail_msg("%s", error.message);
        expect_same(&job, &back);
        assert_int_equal(back.queue_position, 0);
        api_job_write(&back, &again);
        assert_int_equal(again.size, text.size);
        assert_memory_equal(again.data, text.data, text.size);
        efm_buffer_release(&text);
        efm_buffer_release(&again);
        api_job_release(&job);
        api_job_release(&back);
        assert_null(back.spec);
    }
}

/* Headers and messages may be no UTF-8, or cut within a character: they come back as text that fits, and the job stays readable. */
static void records_mend_text(void **state)
{
    (void)state;
    struct api_job job = {.loss = NAN, .images_per_second = INFINITY}, back;
    struct efm_error error;
    struct efm_buffer text = efm_buffer_limited(1 << 20);
    memset(job.accept, 0xff, sizeof job.accept - 1);
    memset(job.error_message, 'x', sizeof job.error_message - 1);
    memcpy(job.error_message + sizeof job.error_message - 3, "\xe2\x82", 2);
    api_job_write(&job, &text);
    assert_int_equal(read_job(&back, text.data, text.size, &error), EFM_OK);
    assert_int_equal(strncmp(back.accept, "\xef\xbf\xbd\xef\xbf\xbd", 6), 0);
    assert_true(strlen(back.accept) < sizeof back.accept && strlen(back.accept) % 3 == 0);
    assert_int_equal(strspn(back.error_message, "x"), sizeof job.error_message - 3);
    assert_true(isnan(back.loss) && isnan(back.images_per_second));
    api_job_release(&back);
    efm_buffer_release(&text);
}

static void records_of_other_versions(void **state)
{
    (void)state;
    static const char newer[] =
        "{\"id\":\"job_a\",\"priority\":{\"deep\":[1,2]},\"state\":\"running\",\"colour\":null,\"step\":7}";
    struct api_job job;
    struct efm_error error;
    assert_int_equal(read_job(&job, newer, sizeof newer - 1, &error), EFM_OK);
    assert_string_equal(job.id, "job_a");
    assert_int_equal(job.state, API_JOB_RUNNING);
    assert_int_equal(job.step, 7);
    api_job_release(&job);
    assert_int_equal(read_job(&job, "{}", 2, &error), EFM_OK);
    assert_int_equal(job.state, API_JOB_QUEUED);
    api_job_release(&job);
}

static void refuses_records(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "{",
        "[]",
        "7",
        "{\"id\":7}",
        "{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        "{\"state\":\"lost\"}",
        "{\"state\":1}",
        "{\"step\":-1}",
        "{\"step\":1.5}",
        "{\"step\":\"\"}",
        "{\"step\":\"x\"}",
        "{\"step\":\"18446744073709551616\"}",
        "{\"created\":\"now\"}",
        "{\"cancel_asked\":1}",
        "{\"attempts\":4294967296}",
        "{\"result_status\":2147483648}",
        "{\"spec\":{}}",
        "{\"spec\":\"[]\",\"kind\":\"train\"}",
        "{\"spec\":\"{\",\"kind\":\"train\"}",
        "{\"metadata\":\"[1]\"}",
        "{\"metadata\":\"{}}\"}",
        "{\"id\":\"a\",\"id\":\"b\"}",
        "{\"metadata\":\"{}\",\"id\":true}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct api_job job;
        struct efm_error error;
        memset(&job, 0x55, sizeof job);
        if (read_job(&job, wrong[i], strlen(wrong[i]), &error) != EFM_E_FORMAT)
            fail_msg("%s: %s", wrong[i], efm_status_name(error.status));
        assert_true(error.message[0] != '\0' && job.id[0] == '\0' && job.spec == NULL &&
                    job.metadata == NULL);
    }
}

/* ---- what clients see ---- */

static struct api_job training(void)
{
    struct api_job job = {.state = API_JOB_RUNNING,
                          .created = 1764000000.9,
                          .started = 1764000002,
                          .estimated_finish = 1764000100.5,
                          .step = 4200,
                          .total_steps = 10000,
                          .loss = 0.031,
                          .images_per_second = 812,
                          .seed = 7,
                          .checkpoint_step = 4000,
                          .checkpoint_time = 1764000050.5};
    TEXT(job.id, "job_1");
    TEXT(job.kind, "train");
    TEXT(job.model, "mnist-2to3");
    job.spec = efm_copy_string("{\n  \"source\": \"a b\",\n  \"steps\": 10000\n}\n");
    job.metadata = efm_copy_string("{\"by\": \"me\"}");
    return job;
}

static void expect_render(const struct api_job *job, const char *wanted)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    api_job_render(job, &out);
    assert_int_equal(out.status, EFM_OK);
    efm_buffer_append(&out, "", 1);
    assert_string_equal((const char *)out.data, wanted);
    efm_buffer_release(&out);
}

static void renders_a_running_training(void **state)
{
    (void)state;
    struct api_job job = training();
    expect_render(
        &job,
        "{\"id\":\"job_1\",\"object\":\"job\",\"kind\":\"train\",\"status\":\"running\",\"created_at\":"
        "1764000000,\"started_at\":1764000002,\"finished_at\":null,\"estimated_finish\":1764000100,"
        "\"expires_at\":null,\"progress\":0.42,\"step\":4200,\"total_steps\":10000,\"queue_position\":0,"
        "\"model\":\"mnist-2to3\",\"hyperparameters\":{\"source\":\"a b\",\"steps\":10000},\"seed\":7,"
        "\"metadata\":{\"by\":\"me\"},\"metrics\":{\"loss\":0.031,\"images_per_second\":812},"
        "\"result\":null,\"error\":null,\"webhook\":null,\"checkpoint\":{\"step\":4000,\"created_at\":"
        "1764000050},\"urls\":{\"self\":\"/v1/jobs/job_1\",\"events\":\"/v1/jobs/job_1/events\","
        "\"cancel\":\"/v1/jobs/job_1/cancel\",\"preview\":\"/v1/jobs/job_1/preview.png\",\"loss\":"
        "\"/v1/jobs/job_1/loss.png\",\"checkpoints\":\"/v1/jobs/job_1/checkpoints\"}}");
    api_job_release(&job);
}

static void renders_a_queued_request(void **state)
{
    (void)state;
    struct api_job job = {.created = 1764000000, .queue_position = 2};
    TEXT(job.id, "job_2");
    TEXT(job.kind, "transfer");
    job.spec = efm_copy_string("{\"vectors\":[[1]]}"); /* not shown: it may be long */
    expect_render(
        &job,
        "{\"id\":\"job_2\",\"object\":\"job\",\"kind\":\"transfer\",\"status\":\"queued\",\"created_at\":"
        "1764000000,\"started_at\":null,\"finished_at\":null,\"estimated_finish\":null,\"expires_at\":"
        "null,\"progress\":0,\"step\":0,\"total_steps\":null,\"queue_position\":2,\"model\":null,"
        "\"hyperparameters\":null,\"seed\":0,\"metadata\":{},\"metrics\":null,\"result\":null,"
        "\"error\":null,\"webhook\":null,\"checkpoint\":null,\"urls\":{\"self\":\"/v1/jobs/job_2\","
        "\"events\":\"/v1/jobs/job_2/events\",\"cancel\":\"/v1/jobs/job_2/cancel\",\"result\":"
        "\"/v1/jobs/job_2/result\"}}");
    api_job_release(&job);
}

static json_t *rendered(const struct api_job *job)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    api_job_render(job, &out);
    json_t *json = json_of(&out);
    efm_buffer_release(&out);
    return json;
}

static double progress_of(const struct api_job *job)
{
    json_t *json = rendered(job);
    double progress = json_number_value(json_object_get(json, "progress"));
    json_decref(json);
    return progress;
}

/* Signatures and tokens stand in the query of a URL. */
static void shows_no_query_of_a_url(void **state)
{
    (void)state;
    struct api_job job = training();
    efm_free(job.spec);
    job.spec = efm_copy_string("{\"source\": \"https://a.example/x.npy?token=S1&\\\"S2\", \"target\": "
                               "\"HTTP://b.example/y#S3\", \"note\": \"is it http://c?\", \"steps\": 7}");
    TEXT(job.webhook, "https://example.com/hook?key=S4");
    json_t *json = rendered(&job), *part = json_object_get(json, "hyperparameters");
    assert_string_equal(text_at(part, "source"), "https://a.example/x.npy");
    assert_string_equal(text_at(part, "target"), "HTTP://b.example/y");
    assert_string_equal(text_at(part, "note"), "is it http://c?");
    assert_int_equal(json_integer_value(json_object_get(part, "steps")), 7);
    assert_string_equal(text_at(json_object_get(json, "webhook"), "url"), "https://example.com/hook");
    json_decref(json);
    api_job_release(&job);
}

static void renders_ends(void **state)
{
    (void)state;
    struct api_job job = training();
    job.state = API_JOB_SUCCEEDED;
    job.step = 9000; /* of 10000, for whatever reason */
    TEXT(job.model_sha256, "ab12");
    TEXT(job.webhook, "https://example.com/hook");
    TEXT(job.webhook_state, "pending");
    job.webhook_attempts = 2;
    json_t *json = rendered(&job), *part = json_object_get(json, "result");
    assert_string_equal(text_at(part, "model"), "mnist-2to3");
    assert_string_equal(text_at(part, "sha256"), "ab12");
    assert_string_equal(text_at(part, "url"), "/v1/models/mnist-2to3");
    assert_true(json_number_value(json_object_get(json, "progress")) == 1);
    assert_true(json_is_null(json_object_get(json, "estimated_finish")));
    part = json_object_get(json, "webhook");
    assert_string_equal(text_at(part, "url"), "https://example.com/hook");
    assert_string_equal(text_at(part, "status"), "pending");
    assert_int_equal(json_integer_value(json_object_get(part, "attempts")), 2);
    json_decref(json);

    job.state = API_JOB_FAILED;
    job.loss = NAN;
    TEXT(job.error_code, "not_finite");
    TEXT(job.error_message, "the loss of step 9000 is not finite");
    json = rendered(&job);
    part = json_object_get(json, "error");
    assert_string_equal(text_at(part, "code"), "not_finite");
    assert_string_equal(text_at(part, "message"), "the loss of step 9000 is not finite");
    assert_true(json_is_null(json_object_get(part, "param")));
    assert_true(json_is_null(json_object_get(json, "result")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "metrics"), "loss")));
    json_decref(json);
    assert_true(progress_of(&job) == 0.9);
    job.step = 10001;
    assert_true(progress_of(&job) == 1);
    api_job_release(&job);

    job = (struct api_job){.state = API_JOB_SUCCEEDED, .result_status = 200, .result_size = 4321};
    TEXT(job.id, "job_3");
    TEXT(job.kind, "generate");
    TEXT(job.result_type, "image/png");
    json = rendered(&job);
    part = json_object_get(json, "result");
    assert_string_equal(text_at(part, "url"), "/v1/jobs/job_3/result");
    assert_string_equal(text_at(part, "content_type"), "image/png");
    assert_int_equal(json_integer_value(json_object_get(part, "bytes")), 4321);
    assert_null(json_object_get(part, "sha256"));
    json_decref(json);
}

static void tags_change_with_the_job(void **state)
{
    (void)state;
    struct api_job job = training();
    char first[72], now[72];
    api_job_etag(&job, first);
    assert_true(strlen(first) == 66 && first[0] == '"' && first[65] == '"');
    api_job_etag(&job, now);
    assert_string_equal(first, now);
    job.attempts++; /* what is not shown changes nothing */
    api_job_etag(&job, now);
    assert_string_equal(first, now);
    for (int i = 0; i < 4; i++) {
        if (i == 0)
            job.step++;
        else if (i == 1)
            job.queue_position++;
        else if (i == 2)
            job.state = API_JOB_CANCELLED;
        else
            TEXT(job.webhook, "http://h/");
        char before[72];
        memcpy(before, i == 0 ? first : now, sizeof before);
        api_job_etag(&job, now);
        assert_string_not_equal(before, now);
    }
    api_job_release(&job);
}

/* ---- webhooks ---- */

static json_t *webhook_of(const struct api_job *job, double now)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    api_webhook_body(job, now, &out);
    assert_true(out.size < 20000);
    assert_null(memchr(out.data, '\n', out.size));
    json_t *json = json_of(&out);
    efm_buffer_release(&out);
    return json;
}

static void webhook_bodies(void **state)
{
    (void)state;
    struct api_job job = training();
    job.state = API_JOB_SUCCEEDED;
    json_t *json = webhook_of(&job, 1764000123.9), *data = json_object_get(json, "data");
    assert_string_equal(text_at(json, "type"), "job.succeeded");
    assert_string_equal(text_at(json, "timestamp"), "2025-11-24T16:02:03Z");
    assert_string_equal(text_at(data, "id"), "job_1");
    assert_int_equal(json_object_size(json_object_get(data, "hyperparameters")), 2);
    json_decref(json);

    /* a long spec goes, and what the client knows its job by stays */
    efm_free(job.spec);
    job.spec = efm_allocate(20000);
    assert_non_null(job.spec);
    memset(job.spec, 'a', 20000);
    memcpy(job.spec, "{\"a\":\"", 6);
    memcpy(job.spec + 20000 - 3, "\"}", 3);
    json = webhook_of(&job, 0);
    data = json_object_get(json, "data");
    assert_true(json_is_null(json_object_get(data, "hyperparameters")));
    assert_string_equal(text_at(json_object_get(data, "metadata"), "by"), "me");
    json_decref(json);

    efm_free(job.metadata);
    job.metadata = job.spec;
    job.spec = NULL;
    json = webhook_of(&job, 0);
    data = json_object_get(json, "data");
    assert_true(json_is_null(json_object_get(data, "metadata")));
    json_decref(json);

    /* the longest job there can be: every byte is escaped to six */
    memset(&job.id, 1, sizeof job.id - 1);
    memset(job.model, 1, sizeof job.model - 1);
    memset(job.model_sha256, 1, sizeof job.model_sha256 - 1);
    memset(job.webhook, 1, sizeof job.webhook - 1);
    memset(job.webhook_state, 1, sizeof job.webhook_state - 1);
    memset(job.error_code, 1, sizeof job.error_code - 1);
    memset(job.error_message, 1, sizeof job.error_message - 1);
    memset(job.error_pointer, 1, sizeof job.error_pointer - 1);
    memset(job.result_type, 1, sizeof job.result_type - 1);
    for (int end = API_JOB_SUCCEEDED; end <= API_JOB_CANCELLED; end++) {
        job.state = (enum api_job_state)end;
        json_decref(webhook_of(&job, 1e300));
        memset(job.kind, 1, sizeof job.kind - 1);
        json_decref(webhook_of(&job, -1));
        TEXT(job.kind, "train");
    }
    api_job_release(&job);
}

static void timestamps(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00Z"},          {-5, "1970-01-01T00:00:00Z"},
                 {NAN, "1970-01-01T00:00:00Z"},        {86399.99, "1970-01-01T23:59:59Z"},
                 {86400, "1970-01-02T00:00:00Z"},      {68169600, "1972-02-29T00:00:00Z"},
                 {951782400, "2000-02-29T00:00:00Z"},  {951868800, "2000-03-01T00:00:00Z"},
                 {946684799, "1999-12-31T23:59:59Z"},  {1709164800, "2024-02-29T00:00:00Z"},
                 {1735689599, "2024-12-31T23:59:59Z"}, {4107542400, "2100-03-01T00:00:00Z"},
                 {4107456000, "2100-02-28T00:00:00Z"}, {253402300799, "9999-12-31T23:59:59Z"},
                 {INFINITY, "9999-12-31T23:59:59Z"}};
    const struct api_job job = {.state = API_JOB_FAILED};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = webhook_of(&job, cases[i].seconds);
        assert_string_equal(text_at(json, "timestamp"), cases[i].text);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states),
        cmocka_unit_test(records_keep_everything),
        cmocka_unit_test(records_mend_text),
        cmocka_unit_test(records_of_other_versions),
        cmocka_unit_test(refuses_records),
        cmocka_unit_test(renders_a_running_training),
        cmocka_unit_test(renders_a_queued_request),
        cmocka_unit_test(shows_no_query_of_a_url),
        cmocka_unit_test(renders_ends),
        cmocka_unit_test(tags_change_with_the_job),
        cmocka_unit_test(webhook_bodies),
        cmocka_unit_test(timestamps),
    };
    return cmocka_run_group_tests_name("api/job", tests, NULL, NULL);
}
