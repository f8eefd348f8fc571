// SPDX-License-Identifier: Apache-2.0
#include "server/http/guard.h"
#include "server/http/guard_keys.h"
#include "server/log.h"
#include "tests/support/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* printf %s sk_operations_000 | sha256sum */
#define OPS_KEY "sk_operations_000"
#define CI_KEY "sk_continuous_01"

static struct srv_guard *guard;
static struct srv_guard_pass pass;
static struct api_problem problem;
static const char *reason;
static char path[] = P_tmpdir "/efmd-keys-XXXXXX";

static void write_keys(const char *text)
{
    static int round = 0;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    // another time than the last one's, whatever the clock of the file system is worth
    const struct timespec times[2] = {{1700000000 + round, 0}, {1700000000 + round, 0}};
    round++;
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void make(const struct srv_guard_options *options)
{
    struct srv_guard_options all = *options;
    struct efm_error error = {0};
    all.keys_file = all.keys_file == NULL ? "" : all.keys_file;
    all.hosts = all.hosts == NULL ? "" : all.hosts;
    all.origins = all.origins == NULL ? "" : all.origins;
    srv_guard_destroy(guard);
    assert_int_equal(srv_guard_create(&guard, &all, &error), EFM_OK);
}

static bool ask(struct srv_guard_request request, enum srv_scope scope)
{
    request.host = request.host == NULL ? "localhost:8080" : request.host;
    request.origin = request.origin == NULL ? "" : request.origin;
    request.fetch_site = request.fetch_site == NULL ? "" : request.fetch_site;
    request.authorization = request.authorization == NULL ? "" : request.authorization;
    request.address = request.address == NULL ? "127.0.0.1" : request.address;
    problem = (struct api_problem){0};
    return srv_guard_check(guard, &request, scope, &pass, &reason, &problem);
}

static bool ask_with(const char *authorization, enum srv_scope scope)
{
    return ask((struct srv_guard_request){.authorization = authorization}, scope);
}

static void assert_refused(enum api_problem_code code, const char *why)
{
    assert_int_equal(problem.code, code);
    assert_string_equal(reason, why);
}

static int set_up(void **state)
{
    (void)state;
    const int file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int tear_down(void **state)
{
    (void)state;
    srv_guard_destroy(guard);
    guard = NULL;
    return unlink(path);
}

static void days_end(void **state)
{
    int64_t seconds;
    (void)state;
    assert_true(srv_day_end("1970-01-01", &seconds));
    assert_int_equal(seconds, 86400);
    assert_true(srv_day_end("2000-02-29", &seconds)); // date -u -d 2000-03-01 +%s
    assert_int_equal(seconds, 951868800);
    assert_true(srv_day_end("2026-12-31", &seconds));
    assert_int_equal(seconds, 1798761600);
    static const char *const none[] = {"",           "2026-1-1",   "2026-13-01", "2026-00-10", "2026-04-31",
                                       "2023-02-29", "1900-02-29", "2026-01-0a", "2026/01/01", "2026-01-011",
                                       "1969-12-31", "-999-01-01", "1999-12-9-", "1-9--1-391", "----------"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(srv_day_end(none[i], &seconds));
}

static void files_of_keys_are_read(void **state)
{
    static const char good[] =
        "# who may ask\n"
        "\n"
        "ci infer " CI_KEY " # the builds\r\n"
        "  ops\tinfer,admin   " OPS_KEY "   2031-01-31  \n"
        "last admin sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    struct srv_keys keys;
    struct efm_error error = {0};
    (void)state;
    assert_int_equal(srv_keys_parse(&keys, good, sizeof good - 1, &error), EFM_OK);
    assert_int_equal(keys.count, 3);
    const struct srv_key *key = srv_keys_find(&keys, CI_KEY);
    assert_non_null(key);
    assert_string_equal(key->name, "ci");
    assert_true(key->infer && !key->admin && key->expires == INT64_MAX);
    key = srv_keys_find(&keys, OPS_KEY);
    assert_non_null(key);
    assert_true(key->infer && key->admin && key->expires < INT64_MAX);
    key = srv_keys_find(&keys, "test"); // whose digest the last line is
    assert_non_null(key);
    assert_string_equal(key->name, "last");
    assert_null(srv_keys_find(&keys, "sk_continuous_0"));
    assert_null(srv_keys_find(&keys, "sk_continuous_011"));
    assert_null(srv_keys_find(&keys, ""));
    srv_keys_release(&keys);
}

static void what_is_no_key_is_named_by_its_line(void **state)
{
    static const char *const bad[] = {
        "ci infer\n",
        "ci infer short_key\n",
        "ci write " CI_KEY "\n",
        "ci , " CI_KEY "\n",
        "c/i infer " CI_KEY "\n",
        "ci infer sha256:12\n",
        "ci infer sha256:9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08\n",
        "ci infer " CI_KEY " tomorrow\n",
        "ci infer " CI_KEY " 2031-01-31 more\n",
        "ci infer " OPS_KEY "1\n", // the name is taken
    };
    struct srv_keys keys;
    struct efm_error error = {0};
    char text[256];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "# one\n%s%s", i == 9 ? "ci infer " CI_KEY "\n" : "a infer " OPS_KEY "\n",
                 bad[i]);
        assert_int_equal(srv_keys_parse(&keys, text, strlen(text), &error), EFM_E_FORMAT);
        assert_non_null(strstr(error.message, "line 3"));
        assert_null(strstr(error.message, "sk_"));
    }
    assert_int_equal(srv_keys_parse(&keys, "a infer \0aaaaaaaaaaaaaaaaaaaaaaa", 32, &error), EFM_E_FORMAT);
}

static void the_next_key_to_expire_is_known(void **state)
{
    (void)state;
    write_keys("ci infer " CI_KEY "\nold infer sk_long_forgotten_2 2020-05-05\n");
    make(&(struct srv_guard_options){.keys_file = path});
    assert_true(srv_guard_next_expiry(guard) == INT64_MAX); // what is over does not hide what comes
    write_keys("a infer " CI_KEY " 2999-02-01\nb infer " OPS_KEY
               " 2999-01-01\nold infer sk_long_forgotten_2 2020-05-05\n");
    make(&(struct srv_guard_options){.keys_file = path});
    int64_t expected;
    assert_true(srv_day_end("2999-01-01", &expected));
    assert_true(srv_guard_next_expiry(guard) == expected);
    make(&(struct srv_guard_options){.keys_file = ""});
    assert_true(srv_guard_next_expiry(guard) == INT64_MAX);
}

static void keys_have_scopes(void **state)
{
    (void)state;
    write_keys("ci infer " CI_KEY "\nops admin " OPS_KEY
               "\nold infer,admin sk_long_forgotten_2 2020-05-05\n");
    make(&(struct srv_guard_options){.keys_file = path, .loopback = true});
    assert_true(srv_guard_has_keys(guard));
    assert_true(ask_with("", SRV_SCOPE_OPEN));
    assert_false(ask_with("", SRV_SCOPE_INFER));
    assert_refused(API_P_UNAUTHORIZED, "no_key");
    assert_false(ask_with("Basic abc", SRV_SCOPE_INFER));
    assert_refused(API_P_UNAUTHORIZED, "no_key");
    assert_false(ask_with("Bearer ", SRV_SCOPE_INFER));
    assert_refused(API_P_UNAUTHORIZED, "no_key");
    assert_false(ask_with("Bearer sk_continuous_0", SRV_SCOPE_INFER)); // the beginning of one
    assert_refused(API_P_UNAUTHORIZED, "wrong_key");
    assert_false(ask_with("Bearer sk_long_forgotten_2", SRV_SCOPE_INFER));
    assert_refused(API_P_UNAUTHORIZED, "expired_key");
    assert_true(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
    assert_string_equal(pass.client, "key:ci");
    assert_false(pass.admin);
    assert_false(ask_with("bearer " CI_KEY, SRV_SCOPE_ADMIN));
    assert_refused(API_P_FORBIDDEN, "scope");
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_ADMIN));
    assert_true(pass.admin);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER)); // admin does all
}

static void a_changed_file_is_read_again(void **state)
{
    (void)state;
    write_keys("ci infer " CI_KEY "\n");
    make(&(struct srv_guard_options){.keys_file = path});
    assert_true(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
    write_keys("ops infer " OPS_KEY "\n");
    usleep(1100000); // the file is looked at once in a second
    assert_false(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER));
    write_keys("half a line\n");
    usleep(1100000);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER)); // what cannot be read changes nothing
    assert_int_equal(unlink(path), 0);
    usleep(1100000);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER));
    write_keys("");
    usleep(1100000);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER)); // being written, maybe
}

/* What cp -p, rsync -t and a rotation leave behind: the same time, and a key as long as the one before. */
static void a_file_in_its_place_is_seen(void **state)
{
    static const struct timespec times[2] = {{1600000000, 0}, {1600000000, 0}};
    static const char *const texts[] = {"ci infer sk_continuous_02\n", "ci infer sk_continuous_03\n"};
    char other[sizeof path + 8];
    (void)state;
    snprintf(other, sizeof other, "%s.new", path);
    write_keys("ci infer " CI_KEY "\n");
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    make(&(struct srv_guard_options){.keys_file = path});
    assert_true(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
    for (int renamed = 0; renamed < 2; renamed++) { // written over, or another file
        FILE *file = fopen(renamed ? other : path, "w");
        assert_non_null(file);
        assert_true(fputs(texts[renamed], file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(utimensat(AT_FDCWD, renamed ? other : path, times, 0), 0);
        if (renamed)
            assert_int_equal(rename(other, path), 0);
        usleep(1100000);
        assert_false(ask_with(renamed ? "Bearer sk_continuous_02" : "Bearer " CI_KEY, SRV_SCOPE_INFER));
        assert_true(
            ask_with(renamed ? "Bearer sk_continuous_03" : "Bearer sk_continuous_02", SRV_SCOPE_INFER));
    }
}

static size_t count_of(int log, const char *word)
{
    char text[8192];
    size_t count = 0;
    const ssize_t size = pread(log, text, sizeof text - 1, 0);
    text[size < 0 ? 0 : size] = '\0';
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        count++;
    return count;
}

static void a_file_that_is_gone_is_told_of_once(void **state)
{
    struct srv_log *log;
    struct efm_error error = {0};
    const int lines = memfd_create("log", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(srv_log_create(&log, SRV_LOG_INFO, lines, &error), EFM_OK);
    write_keys("ci infer " CI_KEY "\n");
    make(&(struct srv_guard_options){.keys_file = path, .log = log});
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 2; i++) {
        usleep(1100000);
        assert_true(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
        assert_int_equal(count_of(lines, "keys_refused"), 1);
    }
    write_keys("ops infer " OPS_KEY "\n");
    usleep(1100000);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER));
    assert_int_equal(count_of(lines, "keys_read"), 1);
    srv_guard_destroy(guard);
    guard = NULL;
    srv_log_destroy(log);
    close(lines);
}

/* Permission changes neither the time nor the size of a file. */
static void a_file_that_may_be_read_again_is_read(void **state)
{
    (void)state;
    if (geteuid() == 0) // who may read everything
        skip();
    write_keys("ci infer " CI_KEY "\n");
    make(&(struct srv_guard_options){.keys_file = path});
    write_keys("ops infer " OPS_KEY "\n");
    assert_int_equal(chmod(path, 0), 0);
    usleep(1100000);
    assert_true(ask_with("Bearer " CI_KEY, SRV_SCOPE_INFER));
    assert_int_equal(chmod(path, 0600), 0);
    usleep(1100000);
    assert_true(ask_with("Bearer " OPS_KEY, SRV_SCOPE_INFER));
}

static void without_keys_only_loopback_is_changed(void **state)
{
    (void)state;
    make(&(struct srv_guard_options){.loopback = true});
    assert_true(ask_with("", SRV_SCOPE_ADMIN) && pass.admin);
    assert_string_equal(pass.client, "127.0.0.1");
    make(&(struct srv_guard_options){.loopback = false});
    assert_true(ask_with("", SRV_SCOPE_INFER) && !pass.admin);
    assert_false(ask_with("", SRV_SCOPE_ADMIN));
    assert_refused(API_P_FORBIDDEN, "admin");
    make(&(struct srv_guard_options){.admin_open = true});
    assert_true(ask_with("", SRV_SCOPE_ADMIN) && pass.admin);
}

static bool ask_host(const char *host)
{
    return ask((struct srv_guard_request){.host = host}, SRV_SCOPE_INFER);
}

static void names_of_the_server(void **state)
{
    static const char *const own[] = {"localhost", "LOCALHOST:80", "127.0.0.1:8080",
                                      "[::1]:1",   "[fe80::1]",    "192.168.0.7"};
    static const char *const foreign[] = {"",
                                          "evil.example",
                                          "evil.example:8080",
                                          "localhost.evil.example",
                                          "localhost:",
                                          "localhost:80x",
                                          "[::1",
                                          "[localhost]",
                                          "1.2.3",
                                          "127.0.0.1.a.com",
                                          "localhost@evil",
                                          ":80"};
    (void)state;
    make(&(struct srv_guard_options){.loopback = true});
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        assert_true(ask_host(own[i]));
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        if (i == 4) // an empty port is a port
            continue;
        assert_false(ask_host(foreign[i]));
        assert_refused(API_P_MISDIRECTED, "host");
    }
    // probes may, and what takes no key may not
    assert_true(ask((struct srv_guard_request){.host = "evil.example", .probe = true}, SRV_SCOPE_OPEN));
    assert_false(ask((struct srv_guard_request){.host = "evil.example"}, SRV_SCOPE_OPEN));
    assert_refused(API_P_MISDIRECTED, "host");
    make(&(struct srv_guard_options){.loopback = false});
    assert_true(ask_host("any.example"));
    for (int loopback = 0; loopback < 2; loopback++) {
        make(&(struct srv_guard_options){.loopback = loopback, .hosts = "efm.example, efm.lan"});
        assert_true(ask_host("EFM.example:443") && ask_host("efm.lan"));
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) // it takes a name to be pointed here
            assert_true(ask_host(own[i]));
        assert_false(ask_host("efm.example.evil.example"));
        assert_false(ask_host("evil.example"));
    }
    struct efm_error error = {0};
    struct srv_guard *none = NULL;
    // nor what could be written down and never met
    static const char *const no_names[] = {"http://a.example", "efm.example:8080", "*",       "*.efm.example",
                                           "fd00::7",          "[fd00::7]:8080",   "[fd00::7"};
    for (size_t i = 0; i < sizeof no_names / sizeof no_names[0]; i++) {
        const struct srv_guard_options options = {.keys_file = "", .hosts = no_names[i], .origins = ""};
        error = (struct efm_error){0};
        assert_int_equal(srv_guard_create(&none, &options, &error), EFM_E_ARGUMENT);
        assert_non_null(strstr(error.message, no_names[i]));
        assert_non_null(strstr(error.message, "no port"));
    }
    make(&(struct srv_guard_options){.hosts = "[fd00::7]"});
    assert_true(ask_host("[fd00::7]:8080"));
}

static bool ask_page(const char *origin, const char *site)
{
    return ask((struct srv_guard_request){.origin = origin, .fetch_site = site}, SRV_SCOPE_INFER);
}

static void pages_of_others(void **state)
{
    (void)state;
    make(&(struct srv_guard_options){.loopback = true});
    assert_true(ask_page("http://localhost:8080", "same-origin") && !pass.cors);
    static const char *const foreign[] = {"null", "http://localhost:3000", "https://localhost:8080",
                                          "http://evil.example", "http://localhost:80800"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        assert_false(ask_page(foreign[i], ""));
        assert_refused(API_P_FOREIGN_ORIGIN, "origin");
    }
    assert_false(ask_page("", "cross-site")); // an image or a form
    assert_true(ask_page("", "same-site") && ask_page("", "none"));
    make(&(struct srv_guard_options){.loopback = true, .origins = "https://app.example"});
    assert_true(ask_page("https://app.example", "cross-site") && pass.cors);
    assert_false(ask_page("https://app.example:1", ""));
    assert_false(ask_page("null", ""));
    make(&(struct srv_guard_options){.loopback = true, .origins = "*"});
    assert_true(ask_page("null", "") && pass.cors);
    struct efm_error error = {0};
    struct srv_guard *none = NULL;
    const struct srv_guard_options options = {.keys_file = "", .hosts = "", .origins = "app.example"};
    assert_int_equal(srv_guard_create(&none, &options, &error), EFM_E_ARGUMENT);
}

static bool ask_own_page(const char *host, const char *origin)
{
    return ask((struct srv_guard_request){.host = host, .origin = origin}, SRV_SCOPE_ADMIN);
}

/* The owner of a name can point it here, and its page is then of the same origin as we are. */
static void a_page_is_own_under_own_names(void **state)
{
    (void)state;
    make(&(struct srv_guard_options){.admin_open = true});
    assert_false(ask_own_page("evil.example:8080", "http://evil.example:8080"));
    assert_refused(API_P_FOREIGN_ORIGIN, "origin");
    assert_false(ask_own_page("1.2.3.4.evil.example", "http://1.2.3.4.evil.example"));
    assert_false(ask_own_page("", "http://"));
    assert_true(ask_own_page("127.0.0.1:8080", "http://127.0.0.1:8080") && !pass.cors);
    assert_true(ask_own_page("[::1]:8080", "http://[::1]:8080"));
    assert_true(ask_own_page("localhost", "http://localhost"));
    assert_false(ask_own_page("127.0.0.1:8080", "http://127.0.0.1:8081"));
    assert_true(ask_own_page("evil.example", "")); // no page
    make(&(struct srv_guard_options){.admin_open = true, .hosts = "efm.example"});
    assert_true(ask_own_page("efm.example", "http://efm.example"));
    make(&(struct srv_guard_options){.admin_open = true, .origins = "http://efm.example"});
    assert_true(ask_own_page("efm.example", "http://efm.example"));
}

static void a_client_has_its_share(void **state)
{
    (void)state;
    make(&(struct srv_guard_options){.client_requests = 2});
    assert_true(srv_guard_enter(guard, "a", &problem) && srv_guard_enter(guard, "a", &problem));
    assert_true(srv_guard_enter(guard, "b", &problem));
    assert_false(srv_guard_enter(guard, "a", &problem));
    assert_int_equal(problem.code, API_P_CLIENT_LIMIT);
    assert_true(problem.retry_after > 0);
    srv_guard_leave(guard, "a");
    assert_true(srv_guard_enter(guard, "a", &problem));
    assert_false(srv_guard_enter(guard, "a", &problem));
    srv_guard_leave(guard, "a");
    srv_guard_leave(guard, "a");
    srv_guard_leave(guard, "b");
    // many clients that come and go leave nothing behind
    for (int i = 0; i < 100000; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.0.%d.%d", i / 256, i % 256);
        assert_true(srv_guard_enter(guard, name, &problem));
        srv_guard_leave(guard, name);
    }
    make(&(struct srv_guard_options){.client_requests = 0});
    for (int i = 0; i < 1000; i++)
        assert_true(srv_guard_enter(guard, "a", &problem));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_end),
        cmocka_unit_test(files_of_keys_are_read),
        cmocka_unit_test(what_is_no_key_is_named_by_its_line),
        cmocka_unit_test(the_next_key_to_expire_is_known),
        cmocka_unit_test(keys_have_scopes),
        cmocka_unit_test(a_changed_file_is_read_again),
        cmocka_unit_test(a_file_in_its_place_is_seen),
        cmocka_unit_test(a_file_that_is_gone_is_told_of_once),
        cmocka_unit_test(a_file_that_may_be_read_again_is_read),
        cmocka_unit_test(without_keys_only_loopback_is_changed),
        cmocka_unit_test(names_of_the_server),
        cmocka_unit_test(pages_of_others),
        cmocka_unit_test(a_page_is_own_under_own_names),
        cmocka_unit_test(a_client_has_its_share),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
