// SPDX-License-Identifier: Apache-2.0
#include "api/job.h"
#include "tests/unit/api/api_test.h"

#include <math.h>

static const struct api_event metrics = {.id = 17,
                                         .created = 1764000000.75,
                                         .type = "metrics",
                                         .level = "info",
                                         .message = "",
                                         .data = "{\"step\": 4200,\n \"loss\": 0.031}"};

static void renders(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    api_event_render(&metrics, &out);
    assert_true(buffer_is(&out, "{\"id\":\"17\",\"object\":\"job.event\",\"created_at\":1764000000,\"level\":"
                                "\"info\",\"type\":\"metrics\",\"message\":\"\",\"data\":{\"step\":4200,"
                                "\"loss\":0.031}}"));
    efm_buffer_release(&out);

    const struct api_event told = {
        .id = UINT64_MAX, .type = "message", .level = "warn", .message = "a \"disk\"\nis full", .data = "{}"};
    api_event_render(&told, &out);
    json_t *json = json_of(&out);
    assert_string_equal(text_at(json, "id"), "18446744073709551615");
    assert_string_equal(text_at(json, "message"), "a \"disk\"\nis full");
    assert_true(json_is_null(json_object_get(json, "created_at")));
    assert_int_equal(json_object_size(json_object_get(json, "data")), 0);
    json_decref(json);
    efm_buffer_release(&out);
}

static void missing_parts(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    const struct api_event bare = {.id = 1, .data = ""};
    api_event_render(&bare, &out);
    json_t *json = json_of(&out);
    assert_string_equal(text_at(json, "message"), "");
    assert_true(json_is_object(json_object_get(json, "data")));
    json_decref(json);
    efm_buffer_release(&out);
}

/* The lines of a frame: nothing that an event says begins another one. */
static void frames(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    api_event_frame(&metrics, &out);
    assert_true(buffer_is(&out, "id: 17\nevent: metrics\ndata: {\"id\":\"17\",\"object\":\"job.event\","
                                "\"created_at\":1764000000,\"level\":\"info\",\"type\":\"metrics\","
                                "\"message\":\"\",\"data\":{\"step\":4200,\"loss\":0.031}}\n\n"));
    efm_buffer_release(&out);

    const struct api_event hostile = {.id = 1,
                                      .type = "state\nid: 99",
                                      .level = "info",
                                      .message = "x\r\n\r\ndata: y",
                                      .data = "{\"a\":\"b\\\" \\n c\",\r\n\"d\":\"raw\nline\"}"};
    api_event_frame(&hostile, &out);
    assert_int_equal(out.status, EFM_OK);
    efm_buffer_append(&out, "", 1);
    const char *text = (const char *)out.data, *data = strstr(text, "data: ");
    assert_int_equal(strncmp(text, "id: 1\nevent: state\ndata: {", 26), 0);
    assert_non_null(data);
    assert_int_equal(strcspn(data, "\r\n"), strlen(data) - 2);
    assert_non_null(strstr(data, "\"a\":\"b\\\" \\n c\",\"d\"")); /* what is in a string stays */
    assert_string_equal(text + strlen(text) - 2, "\n\n");
    efm_buffer_release(&out);
}

static void last_event_ids(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t id;
    } cases[] = {{"", 0},
                 {"17", 17},
                 {"0", 0},
                 {"017", 17},
                 {"17 ", 17},
                 {"17x", 0},
                 {"-1", 0},
                 {"+1", 0},
                 {" 1", 0},
                 {"1.5", 0},
                 {"evt_3", 0},
                 {"9223372036854775807", INT64_MAX},
                 {"9223372036854775808", 0},
                 {"18446744073709551617", 0},
                 {"99999999999999999999999999999999999999", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(api_last_event_id(cases[i].header), cases[i].id);
}

static void checkpoints(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(1 << 16);
    api_checkpoint_render(4000, 1764000000.5, 0.031, 123456, &out);
    assert_true(buffer_is(&out, "{\"id\":\"ckpt_4000\",\"object\":\"job.checkpoint\",\"step_number\":4000,"
                                "\"created_at\":1764000000,\"metrics\":{\"loss\":0.031},\"bytes\":123456}"));
    efm_buffer_release(&out);
    api_checkpoint_render(1, INFINITY, NAN, UINT64_MAX, &out);
    json_t *json = json_loadb((const char *)out.data, out.size, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(json);
    assert_true(json_is_null(json_object_get(json, "created_at")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "metrics"), "loss")));
    json_decref(json);
    efm_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders),        cmocka_unit_test(missing_parts), cmocka_unit_test(frames),
        cmocka_unit_test(last_event_ids), cmocka_unit_test(checkpoints),
    };
    return cmocka_run_group_tests_name("api/event", tests, NULL, NULL);
}
