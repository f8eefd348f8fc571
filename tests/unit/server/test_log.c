// SPDX-License-Identifier: Apache-2.0
#include "server/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int file;
static struct srv_log *test_log;

static int setup(void **state)
{
    struct efm_error error = {0};
    (void)state;
    file = memfd_create("log", MFD_CLOEXEC);
    fcntl(file, F_SETFL, O_APPEND);
    return file >= 0 && srv_log_create(&test_log, SRV_LOG_INFO, file, &error) == EFM_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    srv_log_destroy(test_log);
    close(file);
    return 0;
}

static char *written(void)
{
    static char text[256 * 1024];
    ssize_t size = pread(file, text, sizeof text - 1, 0);
    assert_true(size >= 0);
    text[size] = '\0';
    return text;
}

static json_t *parse_line(const char *text)
{
    json_error_t error;
    json_t *line = json_loads(text, 0, &error);
    if (line == NULL)
        fail_msg("%s: %s", error.text, text);
    return line;
}

static void a_line_is_one_json_object(void **state)
{
    (void)state;
    srv_log(test_log, SRV_LOG_WARNING, "listening", "\"port\":%d,\"address\":\"%s\"", 8080, "127.0.0.1");
    json_t *line = parse_line(written());
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "listening");
    assert_int_equal(json_integer_value(json_object_get(line, "port")), 8080);
    const char *when = json_string_value(json_object_get(line, "time"));
    assert_int_equal(strlen(when), strlen("2025-01-31T12:00:00.123Z"));
    assert_int_equal(when[10], 'T');
    assert_int_equal(when[23], 'Z');
    json_decref(line);
    srv_log(test_log, SRV_LOG_INFO, "bare", NULL);
    assert_non_null(strstr(written(), "\"event\":\"bare\"}\n"));
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    srv_log(test_log, SRV_LOG_DEBUG, "quiet", NULL);
    srv_log(NULL, SRV_LOG_ERROR, "nowhere", NULL);
    assert_string_equal(written(), "");
}

static void a_line_too_long_stays_json(void **state)
{
    (void)state;
    char long_text[6000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (int cut = 0; cut < 3000; cut += 7) { // all lengths around the limit
        assert_int_equal(ftruncate(file, 0), 0);
        lseek(file, 0, SEEK_SET);
        srv_log(test_log, SRV_LOG_INFO, "long", "\"text\":\"%s\"", long_text + cut);
        json_t *line = parse_line(written());
        assert_string_equal(json_string_value(json_object_get(line, "event")), "long");
        json_decref(line);
    }
}

static void quoted_text_is_valid_json_and_fits(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "plain",
                                        "q\"uote\\d",
                                        "line\nfeed\ttab\x01\x7f",
                                        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8d",
                                        "\xff\xc0\x80\xed\xa0\x80\xf5",
                                        "cut off \xe2\x82"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t size = 3; size < 100; size++) {
            char out[100];
            memset(out, '#', sizeof out);
            assert_ptr_equal(srv_log_quote(texts[i], out, size), out);
            assert_true(strlen(out) < size);
            if (size < sizeof out)
                assert_int_equal(out[size], '#');
            json_error_t error;
            json_t *value = json_loads(out, JSON_DECODE_ANY, &error);
            if (value == NULL)
                fail_msg("%s: %s", error.text, out);
            json_decref(value);
        }
    }
    char out[64];
    assert_string_equal(srv_log_quote("a\"\n\xff", out, sizeof out), "\"a\\\"\\u000a\\ufffd\"");
    assert_string_equal(srv_log_quote("gr\xc3\xbcn", out, sizeof out), "\"gr\xc3\xbcn\"");
}

static void levels_have_names(void **state)
{
    enum srv_log_level level;
    (void)state;
    assert_true(srv_log_level_parse("debug", &level));
    assert_int_equal(level, SRV_LOG_DEBUG);
    assert_true(srv_log_level_parse("error", &level));
    assert_int_equal(level, SRV_LOG_ERROR);
    assert_false(srv_log_level_parse("loud", &level));
}

static void *write_many(void *argument)
{
    for (int i = 0; i < 200; i++)
        srv_log(test_log, SRV_LOG_INFO, "thread", "\"thread\":%d,\"line\":%d", *(int *)argument, i);
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    pthread_t threads[4];
    int numbers[4];
    size_t count = 0;
    (void)state;
    for (int i = 0; i < 4; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &numbers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (char *line = written(); *line != '\0'; count++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        json_decref(parse_line(line));
        line = end + 1;
    }
    assert_int_equal(count, 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_one_json_object, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_below_the_level_are_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_too_long_stays_json, setup, teardown),
        cmocka_unit_test(quoted_text_is_valid_json_and_fits),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test_setup_teardown(threads_do_not_mix_lines, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
