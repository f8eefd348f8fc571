// SPDX-License-Identifier: Apache-2.0
#include "api/job.h"
#include "tests/unit/api/api_test.h"

static void preferences(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        bool respond_async;
        double wait; /* -1: not given */
    } cases[] = {
        {"", false, -1},
        {"respond-async", true, -1},
        {"Respond-ASYNC", true, -1},
        {"wait=30", false, 30},
        {"WAIT=30", false, 30},
        {"respond-async, wait=100", true, 100},
        {"wait=0,respond-async", true, 0},
        {"wait = 5", false, 5},
        {"wait=\"7\"", false, 7},
        {"wait=\"\\1\\2\"", false, 12},
        {"wait=010", false, 10},
        {" ,, respond-async ,,wait=3, ", true, 3},
        {"\trespond-async\t,\twait=3\t", true, 3},
        {"respond-async; a; b=c; d=\"e, wait=9\", wait=4", true, 4},
        {"respond-async;", true, -1},
        {"respond-async=\"\"", true, -1},
        {"respond-async=", true, -1},
        {"return=minimal, handling=lenient, respond-async", true, -1},
        {"foo=\"respond-async, wait=8\", wait=2", false, 2},
        {"foo=\"a\\\", wait=8\", wait=2", false, 2},
        /* of two the first one counts */
        {"wait=1, wait=2", false, 1},
        {"wait=x, wait=2", false, -1},
        {"respond-async=no, respond-async", false, -1},
        /* what cannot be read is passed over, up to its comma */
        {"wait=-1", false, -1},
        {"wait=1.5", false, -1},
        {"wait", false, -1},
        {"wait=", false, -1},
        {"respond-async wait=3", false, -1},
        {"respond-async/1, wait=3", false, 3},
        {"=, wait=3", false, 3},
        {"\"respond-async\", wait=3", false, 3},
        {"; respond-async, wait=3", false, 3},
        {"respond-async; =x, wait=3", false, 3},
        {"foo=\"open, respond-async", false, -1},
        {"respond-asyncs, wait2=3, xwait=4", false, -1},
        {"wait=99999999999999999999999999999999999999999999999999999999999999", false, 1e9},
        {"respond-async-and-a-name-that-is-longer-than-any-known-one, wait=1", false, 1},
        {"r\xc3\xa9spond-async, wait=6", false, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_prefer prefer;
        memset(&prefer, 0x55, sizeof prefer);
        api_prefer_parse(&prefer, cases[i].header);
        if (prefer.respond_async != cases[i].respond_async || prefer.wait_given != (cases[i].wait >= 0) ||
            (prefer.wait_given && prefer.wait != cases[i].wait))
            fail_msg("'%s': async %d, wait %d %g", cases[i].header, prefer.respond_async, prefer.wait_given,
                     prefer.wait);
    }
}

static void many_preferences(void **state)
{
    (void)state;
    struct api_prefer prefer;
    char header[16384] = "";
    size_t length = 0;
    while (length + 8 < sizeof header)
        length += (size_t)snprintf(header + length, sizeof header - length, "x,");
    snprintf(header + length, sizeof header - length, "wait=1");
    api_prefer_parse(&prefer, header); /* bounded: the last one is not reached */
    assert_false(prefer.wait_given);
}

static void keys(void **state)
{
    (void)state;
    char longest[API_KEY_SIZE + 2], quoted[2 * API_KEY_SIZE + 8];
    memset(longest, 'k', sizeof longest);
    longest[API_KEY_SIZE - 1] = '\0';
    quoted[0] = '"';
    for (size_t i = 0; i < API_KEY_SIZE - 1; i++)
        memcpy(quoted + 1 + 2 * i, "\\\"", 2); /* 255 escaped quotes */
    snprintf(quoted + 1 + 2 * (API_KEY_SIZE - 1), 4, "\"");
    const struct {
        const char *header, *key;
    } good[] = {
        {"", ""},
        {"\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"},
        {"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"},
        {"  \"a b\"\t", "a b"},
        {" a b ", "a b"},
        {"\"a\\\"b\\\\c\"", "a\"b\\c"},
        {"a\"b\\c", "a\"b\\c"},
        {longest, longest},
    };
    char out[API_KEY_SIZE];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct api_problem problem = {0};
        memset(out, 'x', sizeof out);
        if (!api_idempotency_key(good[i].header, out, &problem))
            fail_msg("'%s': %s", good[i].header, problem.detail);
        assert_string_equal(out, good[i].key);
    }
    struct api_problem problem = {0};
    assert_true(api_idempotency_key(quoted, out, &problem));
    assert_int_equal(strlen(out), API_KEY_SIZE - 1);
    assert_int_equal(strspn(out, "\""), API_KEY_SIZE - 1);

    memset(longest, 'k', sizeof longest - 1);
    longest[API_KEY_SIZE] = '\0';
    const char *const wrong[] = {
        " ",
        "\"\"",
        "\"",
        "\"a",
        "\"a\"b\"",
        "\"a\\b\"",
        "\"a\\\"",
        "\"a\", \"b\"",
        "\"a\";q",
        "a\tb",
        "a\x7f"
        "b",
        "caf\xc3\xa9",
        "\"a\x01\"",
        "\"\\\"",
        longest,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        problem = (struct api_problem){0};
        memset(out, 'x', sizeof out);
        if (api_idempotency_key(wrong[i], out, &problem))
            fail_msg("'%s' is taken as '%s'", wrong[i], out);
        expect_problem(&problem, API_P_MALFORMED_REQUEST, NULL, "Idempotency-Key");
        assert_string_equal(out, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preferences),
        cmocka_unit_test(many_preferences),
        cmocka_unit_test(keys),
    };
    return cmocka_run_group_tests_name("api/prefer", tests, NULL, NULL);
}
