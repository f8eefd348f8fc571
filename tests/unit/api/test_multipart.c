// SPDX-License-Identifier: Apache-2.0
#include "api/multipart.h"
#include "tests/unit/api/api_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct api_part parts[API_MULTIPART_MAX_PARTS];
static const char *const TYPE = "multipart/form-data; boundary=XX";

static bool parse(const char *type, const char *body, size_t *count, struct api_problem *problem)
{
    /* a copy of exact size, so that a read past the end is seen */
    size_t size = strlen(body);
    uint8_t *copy = malloc(size + (size == 0));
    memcpy(copy, body, size);
    *problem = (struct api_problem){0};
    bool good = api_multipart_parse(type, copy, size, parts, count, problem);
    for (size_t i = 0; good && i < *count; i++) /* views into `body` outlive the copy */
        parts[i].data = (const uint8_t *)body + (parts[i].data - copy);
    free(copy);
    return good;
}

static void expect_malformed(const char *type, const char *body, const char *words)
{
    struct api_problem problem;
    size_t count;
    if (parse(type, body, &count, &problem))
        fail_msg("'%s' was taken", body);
    expect_problem(&problem, API_P_MALFORMED_MULTIPART, NULL, words);
}

static void as_curl_sends_it(void **state)
{
    (void)state;
    struct api_problem problem;
    size_t count;
    assert_true(parse("multipart/form-data; boundary=------------------------d74496d66958873e",
                      "--------------------------d74496d66958873e\r\n"
                      "Content-Disposition: form-data; name=\"image\"; filename=\"a;b=\\\"c\\\".png\"\r\n"
                      "Content-Type: Image/PNG; x=y\r\n"
                      "\r\n"
                      "\x89PNG\r\n--not\r\n\r\n"
                      "--------------------------d74496d66958873e\r\n"
                      "Content-Disposition: form-data; name=\"seed\"\r\n\r\n7\r\n"
                      "--------------------------d74496d66958873e\r\n"
                      "content-disposition:form-data;filename*=UTF-8''x;name=file\r\n\r\n"
                      "\r\n--------------------------d74496d66958873e--\r\n",
                      &count, &problem));
    assert_int_equal(count, 3);
    assert_string_equal(parts[0].name, "image");
    assert_string_equal(parts[0].content_type, "image/png");
    assert_true(parts[0].has_filename);
    assert_int_equal(parts[0].size, 4 + 2 + 5 + 2);
    assert_memory_equal(parts[0].data, "\x89PNG\r\n--not\r\n", 13);
    assert_string_equal(parts[1].name, "seed");
    assert_string_equal(parts[1].content_type, "");
    assert_false(parts[1].has_filename);
    assert_int_equal(parts[1].size, 1);
    assert_string_equal(parts[2].name, "file");
    assert_true(parts[2].has_filename);
    assert_int_equal(parts[2].size, 0);
}

static void unusual_but_right(void **state)
{
    (void)state;
    struct api_problem problem;
    size_t count;
    assert_true(parse(
        "multipart/form-data; charset=utf-8; BOUNDARY=\"a b\"",
        "preamble\r\n--a b \t\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--a b--epilogue",
        &count, &problem));
    assert_int_equal(count, 1);
    assert_string_equal(parts[0].name, "x");
    assert_int_equal(parts[0].size, 1);
    assert_true(parse(TYPE, "--XX--", &count, &problem));
    assert_int_equal(count, 0);
    /* an empty part whose boundary follows at once */
    assert_true(
        parse(TYPE, "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n--XX--", &count, &problem));
    assert_int_equal(count, 1);
    assert_int_equal(parts[0].size, 0);
    /* a body that holds no more than the boundary's beginning */
    assert_true(parse(TYPE, "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--X\r\n--XX--", &count,
                      &problem));
    assert_int_equal(parts[0].size, 5);
}

static void malformed(void **state)
{
    (void)state;
    const char *part = "--XX\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--XX--";
    char text[300], body[400];
    expect_malformed("multipart/form-data", part, "boundary");
    expect_malformed("multipart/form-data; boundary=", part, "boundary");
    expect_malformed("multipart/form-data; boundary=\"\"", part, "boundary");
    expect_malformed("multipart/form-data; boundary=\"XX", part, "boundary");
    memset(text, 'b', sizeof text);
    memcpy(text, "multipart/form-data; boundary=", 30);
    text[30 + 71] = '\0';
    expect_malformed(text, part, "1..70");
    expect_malformed("multipart/form-data; boundary=YY", part, "does not occur");
    expect_malformed(TYPE, "", "does not occur");
    expect_malformed(TYPE, "--XX", "line end");
    expect_malformed(TYPE, "--XXX\r\n", "line end");
    expect_malformed(TYPE, "--XX\r\n", "ends inside");
    expect_malformed(TYPE, "--XX\r\nContent-Disposition: form-data; name=x", "ends inside");
    expect_malformed(TYPE, "--XX\r\n\r\n1\r\n--XX--", "no name");
    expect_malformed(TYPE, "--XX\r\nContent-Type: text/plain\r\n\r\n1\r\n--XX--", "no name");
    expect_malformed(TYPE, "--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--", "cannot be read");
    expect_malformed(TYPE, "--XX\r\nContent-Disposition: form-data; name=\"x\r\n\r\n1\r\n--XX--",
                     "cannot be read");
    expect_malformed(TYPE, "--XX\r\nno colon\r\n\r\n1\r\n--XX--", "cannot be read");
    expect_malformed(TYPE, "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n1", "closing");
    expect_malformed(TYPE, "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--XX", "line end");
    expect_malformed(TYPE, "--XX\nContent-Disposition: form-data; name=x\n\n1\n--XX--", "line end");
    memset(text, 'n', 100);
    text[100] = '\0';
    snprintf(body, sizeof body, "--XX\r\nContent-Disposition: form-data; name=%s\r\n\r\n1\r\n--XX--", text);
    expect_malformed(TYPE, body, "cannot be read");
    struct api_problem problem = {0};
    size_t count;
    assert_false(api_multipart_parse(TYPE, NULL, 0, parts, &count, &problem));
}

static void bounded(void **state)
{
    (void)state;
    size_t size = 0, room = 200 * 300;
    char *body = malloc(room);
    struct api_problem problem;
    size_t count;
    for (int i = 0; i < 256; i++)
        size += (size_t)snprintf(body + size, room - size,
                                 "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n");
    snprintf(body + size, room - size, "--XX--");
    assert_true(parse(TYPE, body, &count, &problem));
    assert_int_equal(count, 256);
    snprintf(body + size, room - size, "--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--XX--");
    expect_malformed(TYPE, body, "more than 256");
    memset(body, 'x', room);
    memcpy(body, "--XX\r\nA: ", 9);
    body[6000] = '\0';
    expect_malformed(TYPE, body, "4 KiB");
    free(body);
}

/* Seconds of this thread for a form whose one part is `pattern` again and again, and never ends. */
static double seconds_of(const char *boundary, const char *pattern)
{
    enum { SIZE = 8 << 20 };
    static const char start[] = "\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--";
    char type[128];
    struct timespec from, to;
    struct api_problem problem = {0};
    size_t count, size = (size_t)snprintf(type, sizeof type, "--%s%s", boundary, start);
    char *body = malloc(SIZE);
    assert_non_null(body);
    memcpy(body, type, size);
    for (size_t i = 0; size < SIZE; size++, i++)
        body[size] = pattern[i % strlen(pattern)];
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    assert_false(api_multipart_parse(type, (const uint8_t *)body, SIZE, parts, &count, &problem));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    expect_problem(&problem, API_P_MALFORMED_MULTIPART, NULL, "no closing boundary");
    free(body);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* What fits nearly everywhere takes about as long as what fits nowhere. */
static void bytes_are_compared_once(void **state)
{
    static const char boundary[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    static const char *const patterns[] = {"a", "aab", "\r", "\r\n--", "\r\n--aaaaaaaaaaaaaaaaaaaa"};
    double usual = 1;
    (void)state;
    for (int i = 0; i < 3; i++)
        usual = fmin(usual, seconds_of(boundary, "x"));
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const double seconds = seconds_of(boundary, patterns[i]);
        if (seconds > 10 * usual + 0.02)
            fail_msg("'%s' took %.3f s, other bytes %.3f s", patterns[i], seconds, usual);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_curl_sends_it),
        cmocka_unit_test(unusual_but_right),
        cmocka_unit_test(malformed),
        cmocka_unit_test(bounded),
        cmocka_unit_test(bytes_are_compared_once),
    };
    return cmocka_run_group_tests_name("api/multipart", tests, NULL, NULL);
}
