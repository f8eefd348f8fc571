// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/api/api_test.h"

static const enum api_media offers[] = {API_MEDIA_PNG, API_MEDIA_JPEG, API_MEDIA_WEBP, API_MEDIA_JSON,
                                        API_MEDIA_NPY};

static void accept_follows_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum api_media media;
    } cases[] = {
        {"", API_MEDIA_PNG},
        {"  ", API_MEDIA_PNG},
        {"*/*", API_MEDIA_PNG},
        {"*", API_MEDIA_PNG},
        {"image/*", API_MEDIA_PNG},
        {"image/jpeg", API_MEDIA_JPEG},
        {"IMAGE/JPEG", API_MEDIA_JPEG},
        {"application/json", API_MEDIA_JSON},
        {"application/*", API_MEDIA_JSON},
        {"application/octet-stream", API_MEDIA_NPY},
        {"application/x-npy", API_MEDIA_NPY},
        {"image/png;q=0.1, image/webp", API_MEDIA_WEBP},
        {"image/png ; q=0.1 , image/webp ; q=0.2", API_MEDIA_WEBP},
        {"image/*;q=0.5, image/jpeg;q=0.9", API_MEDIA_JPEG},
        {"image/png;q=0, */*", API_MEDIA_JPEG},
        {"image/*;q=0, */*;q=0.1", API_MEDIA_JSON},
        {"*/*;q=0.1, image/png;q=0", API_MEDIA_JPEG},
        {"text/html", API_MEDIA_NONE},
        {"text/html, image/jpeg;q=0.001", API_MEDIA_JPEG},
        {"*/*;q=0", API_MEDIA_NONE},
        {"image/jpeg;q=2", API_MEDIA_NONE}, /* not a qvalue: the range does not count */
        {"image/jpeg;q=0.1234", API_MEDIA_NONE},
        {"image/jpeg;q=1.001", API_MEDIA_NONE},
        {"image/jpeg;q=", API_MEDIA_NONE},
        {"image/jpeg;q=1.000", API_MEDIA_JPEG},
        {"image/jpeg;q=0.5;q=nonsense", API_MEDIA_JPEG},
        {"image/webp;level=\"a,b;q=0\";q=1, image/png;q=0.9", API_MEDIA_WEBP},
        {"image/webp;level=\"unclosed, image/png", API_MEDIA_WEBP},
        {",,,image/webp,,", API_MEDIA_WEBP},
        {"image", API_MEDIA_NONE},
        {"image/", API_MEDIA_NONE},
        {"text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", API_MEDIA_WEBP}, /* a browser */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (api_accept(cases[i].accept, offers, 5) != cases[i].media)
            fail_msg("'%s' gave %s", cases[i].accept, api_media_type(api_accept(cases[i].accept, offers, 5)));
    assert_int_equal(api_accept("*/*", offers, 0), API_MEDIA_NONE);
    assert_int_equal(api_accept("image/*, */*;q=0.1", offers + 3, 2), API_MEDIA_JSON);
}

static void accept_is_read_up_to_a_bound(void **state)
{
    (void)state;
    static char header[20000];
    size_t length = 0;
    for (int i = 0; i < 64; i++)
        length += (size_t)snprintf(header + length, sizeof header - length, "text/x%d,", i);
    snprintf(header + length, sizeof header - length, "image/png");
    assert_int_equal(api_accept(header, offers, 5), API_MEDIA_NONE);
    memset(header, ',', sizeof header - 1);
    assert_int_equal(api_accept(header, offers, 5), API_MEDIA_NONE);
}

static void refusing_is_not_the_same_as_not_naming(void **state)
{
    (void)state;
    assert_true(api_accept_refuses("image/png;q=0, */*", API_MEDIA_PNG));
    assert_true(api_accept_refuses("*/*;q=0", API_MEDIA_JSON));
    assert_false(api_accept_refuses("image/jpeg", API_MEDIA_PNG));
    assert_false(api_accept_refuses("", API_MEDIA_PNG));
    assert_false(api_accept_refuses("image/*;q=0, image/png;q=0.1", API_MEDIA_PNG));
}

static void npy_bears_the_name_that_is_liked(void **state)
{
    (void)state;
    assert_string_equal(api_accept_npy_type(""), "application/octet-stream");
    assert_string_equal(api_accept_npy_type("application/x-npy"), "application/x-npy");
    assert_string_equal(api_accept_npy_type("application/octet-stream"), "application/octet-stream");
    assert_string_equal(api_accept_npy_type("application/octet-stream;q=0.1, application/x-npy"),
                        "application/x-npy");
}

static void media_types_have_names(void **state)
{
    (void)state;
    assert_string_equal(api_media_type(API_MEDIA_PNG), "image/png");
    assert_string_equal(api_media_type(API_MEDIA_JPEG), "image/jpeg");
    assert_string_equal(api_media_type(API_MEDIA_WEBP), "image/webp");
    assert_string_equal(api_media_type(API_MEDIA_JSON), "application/json");
    assert_string_equal(api_media_type(API_MEDIA_NPY), "application/octet-stream");
    assert_string_equal(api_media_type(API_MEDIA_NONE), "");
}

static void content_type_is_reduced(void **state)
{
    (void)state;
    char type[32];
    api_content_type("Multipart/Form-Data; boundary=x", type, sizeof type);
    assert_string_equal(type, "multipart/form-data");
    api_content_type("  APPLICATION/json ", type, sizeof type);
    assert_string_equal(type, "application/json");
    api_content_type("", type, sizeof type);
    assert_string_equal(type, "");
    api_content_type("application/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", type, sizeof type);
    assert_int_equal(strlen(type), sizeof type - 1);
}

static void headers_cannot_be_smuggled(void **state)
{
    (void)state;
    struct api_reply reply;
    api_reply_init(&reply, 10);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body.limit, 10);
    api_reply_header(&reply, "Efm-Model", "a%sb", "\r\nSet-Cookie: x");
    assert_int_equal(reply.header_count, 1);
    assert_string_equal(reply.headers[0].name, "Efm-Model");
    assert_string_equal(reply.headers[0].value, "aSet-Cookie: xb");
    char text[300];
    memset(text, 'x', sizeof text);
    text[299] = '\0';
    api_reply_header(&reply, "X", "%s", text); // half of it would be another value
    api_reply_header(&reply, text, "x");
    assert_int_equal(reply.header_count, 1);
    text[sizeof reply.headers[1].value - 1] = '\0';
    api_reply_header(&reply, "X", "%s", text);
    assert_int_equal(reply.header_count, 2);
    assert_string_equal(reply.headers[1].value, text);
    for (int i = 0; i < 40; i++)
        api_reply_header(&reply, "X", "%d", i);
    assert_int_equal(reply.header_count, API_REPLY_HEADERS);
    efm_buffer_append_string(&reply.body, "12345");
    api_reply_release(&reply);
    assert_null(reply.body.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_follows_the_rfc),
        cmocka_unit_test(accept_is_read_up_to_a_bound),
        cmocka_unit_test(refusing_is_not_the_same_as_not_naming),
        cmocka_unit_test(npy_bears_the_name_that_is_liked),
        cmocka_unit_test(media_types_have_names),
        cmocka_unit_test(content_type_is_reduced),
        cmocka_unit_test(headers_cannot_be_smuggled),
    };
    return cmocka_run_group_tests_name("api/message", tests, NULL, NULL);
}
