// SPDX-License-Identifier: Apache-2.0
// Where the daemon goes by itself, and where it does not: prefixes, addresses, sizes, times.
#include "server/jobs/outbound.h"

#include "tests/support/check.h"
#include "tests/support/daemon.h"
#include "tests/support/receiver.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct srv_outbound *outbound;
static struct test_receiver receiver;

static void open_outbound(const char *allowed, const char *networks)
{
    struct efm_error error = {0};
    const struct srv_outbound_options options = {allowed, networks};
    srv_outbound_destroy(outbound);
    if (srv_outbound_create(&outbound, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
}

static int stop(void **state)
{
    (void)state;
    test_receiver_stop(&receiver);
    srv_outbound_destroy(outbound);
    outbound = NULL;
    return 0;
}

/* ---- URLs ---- */

static bool goes_to(const char *url)
{
    struct api_problem problem = {0};
    const bool goes = srv_outbound_check(outbound, url, "/source/url", &problem);
    assert_int_equal(problem.code, goes ? API_P_NONE : API_P_URL_REFUSED);
    if (!goes) {
        assert_string_equal(problem.fields[0].pointer, "/source/url");
        assert_null(strstr(problem.detail, "secret"));
    }
    return goes;
}

static void expect_goes(const char *const *urls, bool goes)
{
    for (; *urls != NULL; urls++) {
        if (goes_to(*urls) != goes)
            fail_msg("%s: %s", *urls, goes ? "refused" : "allowed");
    }
}

static void urls_begin_with_a_prefix(void **state)
{
    (void)state;
    open_outbound(" http://allowed.example\thttps://data.example:8443/sets/  http://8.8.8.8/ ", "");
    expect_goes(
        (const char *const[]){
            "http://allowed.example", "http://allowed.example/", "http://allowed.example/a/b?c=/../d#e",
            "http://allowed.example:80/a", "http://allowed.example:080/a", "HTTP://ALLOWED.Example/A",
            "http://allowed.example?x=1", "http://allowed.example/a@b", "http://allowed.example/a%20b",
            "http://allowed.example/a/../b", "http://allowed.example/group%2Fproject",
            "https://data.example:8443/sets", "https://data.example:8443/sets/",
            "https://data.example:8443/sets/digits.tar?token=secret", "https://data.example:8443/a/../sets/x",
            "http://8.8.8.8/x", "http://134744072/x", NULL},
        true);
    expect_goes(
        (const char *const[]){
            // another host, port, scheme
            "http://allowed.example.evil.example/", "http://evil.example/allowed.example",
            "http://allowed.example./", "http://xallowed.example/", "http://allowed.example:81/",
            "https://allowed.example/", "http://allowed.example:443/", "http://data.example:8443/sets/",
            "https://data.example/sets/", "ftp://allowed.example/", "file:///etc/passwd", "http://8.8.8.9/",
            "gopher://allowed.example/", "data:text/plain,x", "//allowed.example/", "allowed.example/",
            // user information and what looks like it
            "http://allowed.example@evil.example/", "http://allowed.example:80@evil.example/",
            "http://user:secret@allowed.example/", "http://@allowed.example/",
            "http://evil.example#@allowed.example/", "http://evil.example?@allowed.example/",
            // what libcurl or others would repair
            "http:/allowed.example/", "http:///allowed.example/", "http:\\\\allowed.example/",
            "http://evil.example\\@allowed.example/", "http://allowed.example\\.evil.example/",
            " http://allowed.example/", "http://allowed.example/ ", "http://allowed.example/a b",
            "http://allowed.example/a\tb", "http://allowed.example/a\r\nHost: evil",
            "http://allowed.example\n/", "http://allowed.example/\x7f", "http://allowed.example/\xc3\xbc",
            "http://\xc3\xa4llowed.example/", "http://allowed%2eexample/",
            "http://allowed.example%00.evil.example/", "http://allowed.example:99999/",
            "http://allowed.example:0/", "http://allowed.example:8o/", "http://[fe80::1%25eth0]/",
            "http://[::1/", "http://", "http://:80/", "", "http",
            // paths
            "https://data.example:8443/", "https://data.example:8443/setsx", "https://data.example:8443/set",
            "https://data.example:8443/SETS/", "https://data.example:8443/sets/../private",
            "https://data.example:8443/sets/%2e%2e/private", "https://data.example:8443/sets/.%2E/private",
            "https://data.example:8443/sets/..%2fprivate", "https://data.example:8443/sets/..%5cprivate",
            "https://data.example:8443/sets/%252e%252e/private",
            "https://data.example:8443/sets/..;x/private", "https://data.example:8443/sets/%2525252525252e/",
            "https://data.example:8443/%73ets/", NULL},
        false);
}

static void long_urls_are_refused(void **state)
{
    char url[4096];
    (void)state;
    open_outbound("http://allowed.example", "");
    snprintf(url, sizeof url, "http://allowed.example/%02000d", 0);
    assert_true(goes_to(url));
    snprintf(url, sizeof url, "http://allowed.example/%04000d", 0);
    assert_false(goes_to(url));
}

static void nothing_is_allowed_by_default(void **state)
{
    (void)state;
    open_outbound("", "");
    expect_goes((const char *const[]){"http://allowed.example/", "https://8.8.8.8/", NULL}, false);
}

static void literal_addresses_are_looked_at(void **state)
{
    (void)state;
    open_outbound(
        "http://127.0.0.1 http://10.1.2.3:8080 http://[::1] http://[::ffff:127.0.0.1] http://169.254.169.254 "
        "http://[2606:4700::1]",
        "10.1.0.0/16");
    expect_goes((const char *const[]){"http://10.1.2.3:8080/x", "http://[2606:4700::1]/", NULL}, true);
    expect_goes((const char *const[]){"http://127.0.0.1/", "http://0x7f.1/", "http://2130706433/",
                                      "http://017700000001/", "http://127.1/", "http://[::1]/",
                                      "http://[::ffff:127.0.0.1]/",
                                      "http://169.254.169.254/latest/meta-data/", NULL},
                false);
}

static void wrong_options_are_named(void **state)
{
    static const char *const prefixes[] = {"allowed.example",
                                           "ftp://allowed.example",
                                           "http://",
                                           "http://a.example/?q=1",
                                           "http://u:secret@a.example",
                                           "http://a.example#x",
                                           "http://a.example/../%2e",
                                           "https://*"};
    static const char *const networks[] = {"10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/",    "10.0.0.0/-1",
                                           "10.0.0.0/8x", "fd00::/129", "fd00::1/8",    "example.org",
                                           "10.0.0",      "/8",         "10.0.0.0/0008"};
    (void)state;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        struct efm_error error = {0};
        const struct srv_outbound_options options = {prefixes[i], ""};
        if (srv_outbound_create(&outbound, &options, &error) != EFM_E_ARGUMENT)
            fail_msg("%s was taken", prefixes[i]);
        assert_null(outbound);
        assert_null(strstr(error.message, "secret"));
    }
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        struct efm_error error = {0};
        const struct srv_outbound_options options = {"", networks[i]};
        if (srv_outbound_create(&outbound, &options, &error) != EFM_E_ARGUMENT)
            fail_msg("%s was taken", networks[i]);
        assert_non_null(strstr(error.message, networks[i]));
    }
}

/* ---- addresses ---- */

static bool may_connect(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return srv_outbound_address_allowed(outbound, (struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return srv_outbound_address_allowed(outbound, (struct sockaddr *)&in6);
}

static void expect_connects(const char *const *addresses, bool connects)
{
    for (; *addresses != NULL; addresses++) {
        if (may_connect(*addresses) != connects)
            fail_msg("%s: %s", *addresses, connects ? "refused" : "allowed");
    }
}

static void only_public_addresses_are_connected_to(void **state)
{
    const struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "x"};
    (void)state;
    open_outbound("", "");
    expect_connects(
        (const char *const[]){"1.1.1.1",         "8.8.8.8",          "9.255.255.255",   "11.0.0.0",
                              "100.63.255.255",  "100.128.0.0",      "126.255.255.255", "128.0.0.1",
                              "169.253.255.255", "169.255.0.0",      "172.15.255.255",  "172.32.0.0",
                              "192.0.1.0",       "192.167.255.255",  "192.169.0.0",     "198.17.255.255",
                              "198.20.0.0",      "223.255.255.255",  "2606:4700::1111", "2a00:1450::1",
                              "::ffff:8.8.8.8",  "64:ff9b::808:808", "2002:808:808::1", NULL},
        true);
    expect_connects((const char *const[]){"0.0.0.0",
                                          "0.1.2.3",
                                          "10.0.0.0",
                                          "10.255.255.255",
                                          "100.64.0.0",
                                          "100.127.255.255",
                                          "127.0.0.1",
                                          "127.255.255.255",
                                          "169.254.169.254",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.0.0.8",
                                          "192.0.2.1",
                                          "192.88.99.1",
                                          "192.168.1.1",
                                          "198.18.0.1",
                                          "198.19.255.255",
                                          "198.51.100.7",
                                          "203.0.113.7",
                                          "224.0.0.1",
                                          "239.255.255.255",
                                          "240.0.0.1",
                                          "255.255.255.255",
                                          "::",
                                          "::1",
                                          "::7f00:1",
                                          "::ffff:127.0.0.1",
                                          "::ffff:10.0.0.1",
                                          "::ffff:169.254.169.254",
                                          "64:ff9b::7f00:1",
                                          "64:ff9b::a9fe:a9fe",
                                          "64:ff9b:1::808:808",
                                          "2002:7f00:1::1",
                                          "2002:c0a8:101::1",
                                          "2001::1",
                                          "2001:db8::1",
                                          "3fff::1",
                                          "fc00::1",
                                          "fd12:3456::1",
                                          "fe80::1",
                                          "fec0::1",
                                          "ff02::1",
                                          "100::1",
                                          "5f00::1",
                                          NULL},
                    false);
    assert_false(srv_outbound_address_allowed(outbound, (const struct sockaddr *)&local));
}

static void networks_of_the_operator_are_connected_to(void **state)
{
    (void)state;
    open_outbound("", "10.1.0.0/16 192.168.7.9 fd00:1::/32\n127.0.0.0/9");
    expect_connects((const char *const[]){"10.1.0.0", "10.1.255.255", "192.168.7.9", "fd00:1::5",
                                          "::ffff:10.1.2.3", "127.0.0.1", "127.127.255.255",
                                          "64:ff9b::a01:203", "1.1.1.1", NULL},
                    true);
    expect_connects((const char *const[]){"10.0.255.255", "10.2.0.0", "192.168.7.8", "192.168.7.10",
                                          "fd00:2::5", "127.128.0.0", "::1", NULL},
                    false);
    open_outbound("", "0.0.0.0/0");
    expect_connects((const char *const[]){"127.0.0.1", "10.0.0.1", NULL}, true);
    expect_connects((const char *const[]){"::1", "fd00::1", NULL}, false);
}

/* ---- requests ---- */

struct taken {
    size_t size, most;
    bool wrong;
    int asked;
    bool stops;
};

static bool take(void *context, const uint8_t *bytes, size_t size)
{
    struct taken *taken = context;
    for (size_t i = 0; i < size; i++)
        taken->wrong |= bytes[i] != '0' + (taken->size + i) % 1000 % 10;
    taken->size += size;
    return taken->most == 0 || taken->size < taken->most;
}

static bool go_on(void *context, uint64_t received, uint64_t expected)
{
    struct taken *taken = context;
    (void)received;
    (void)expected;
    taken->asked++;
    return !taken->stops;
}

static void start(const struct test_answer *answers, size_t count)
{
    // the receiver reads them until the teardown, past the end of the test that made them
    static struct test_answer kept[8];
    assert_true(count <= sizeof kept / sizeof kept[0]);
    memcpy(kept, answers, count * sizeof *answers);
    test_receiver_start(&receiver, kept, count);
    open_outbound(receiver.url, "127.0.0.0/8");
}

static enum efm_status perform(const struct srv_outbound_request *request, int *status)
{
    struct efm_error error = {0};
    enum efm_status result = srv_outbound_perform(outbound, request, status, &error);
    assert_int_equal(error.status, result);
    assert_null(strstr(error.message, "secret"));
    return result;
}

static enum efm_status get(const char *path, struct taken *taken, uint64_t limit, double timeout, int *status)
{
    char url[256];
    snprintf(url, sizeof url, "%s%s", receiver.url, path);
    return perform(&(struct srv_outbound_request){.url = url,
                                                  .method = "GET",
                                                  .timeout = timeout,
                                                  .limit = limit,
                                                  .take = take,
                                                  .go_on = go_on,
                                                  .context = taken},
                   status);
}

static void a_get_takes_the_body(void **state)
{
    struct taken taken = {0};
    char value[128];
    int status;
    (void)state;
    start((const struct test_answer[]){{"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", .filler = 50000}},
          1);
    setenv("http_proxy", "http://127.0.0.1:1", 1); // not used
    const enum efm_status result = get("/a/../b?token=secret#c", &taken, 50000, 10, &status);
    unsetenv("http_proxy");
    assert_int_equal(result, EFM_OK);
    assert_int_equal(status, 200);
    assert_int_equal(taken.size, 50000);
    assert_false(taken.wrong);
    assert_memory_equal(receiver.received[0].head, "GET /b?token=secret HTTP/1.1\r\n", 30);
    assert_string_equal(test_received_header(&receiver.received[0], "User-Agent", value, sizeof value),
                        "efmd/" EFMD_VERSION);
    assert_string_equal(test_received_header(&receiver.received[0], "Authorization", value, sizeof value),
                        "");
}

static void a_post_sends_headers_and_body(void **state)
{
    static char body[20000];
    char value[128];
    int status;
    (void)state;
    memset(body, 'b', sizeof body);
    start((const struct test_answer[]){{TEST_ANSWER_200}}, 1);
    const char *const headers[] = {"Content-Type: application/json", "X-Test: yes", NULL};
    struct srv_outbound_request request = {.url = receiver.url,
                                           .method = "POST",
                                           .headers = headers,
                                           .body = body,
                                           .size = sizeof body,
                                           .timeout = 10,
                                           .limit = 100};
    assert_int_equal(perform(&request, &status), EFM_OK);
    assert_int_equal(status, 200);
    const struct test_received *received = &receiver.received[0];
    assert_int_equal(received->size, sizeof body);
    assert_memory_equal(received->body, body, sizeof body);
    assert_memory_equal(received->head, "POST / HTTP/1.1\r\n", 17);
    assert_string_equal(test_received_header(received, "Content-Type", value, sizeof value),
                        "application/json");
    assert_string_equal(test_received_header(received, "X-Test", value, sizeof value), "yes");
    assert_string_equal(test_received_header(received, "Expect", value, sizeof value), "");
    request.headers = (const char *const[]){"X-Test: yes\r\nHost: evil", NULL};
    assert_int_equal(perform(&request, &status), EFM_E_ARGUMENT);
    assert_int_equal(test_receiver_count(&receiver), 1);
}

static void every_status_is_an_answer_and_no_redirect_is_followed(void **state)
{
    struct taken taken = {0};
    int status;
    (void)state;
    start((const struct test_answer[]){{"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"},
                                       {"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n"},
                                       {TEST_ANSWER_500}},
          3);
    static const int statuses[] = {302, 404, 500};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(get("/a", &taken, 100, 10, &status), EFM_OK);
        assert_int_equal(status, statuses[i]);
    }
    assert_int_equal(test_receiver_count(&receiver), 3);
}

static void bodies_in_chunks_are_taken(void **state)
{
    struct taken taken = {0};
    int status;
    (void)state;
    start(
        (const struct test_answer[]){
            {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
             "chunked\r\nTrailer: X-Sum\r\n\r\n5\r\n01234\r\n3\r\n567\r\n0\r\nX-Sum: "
             "1\r\n\r\n"},
            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n3\r\n5"}},
        2);
    assert_int_equal(get("/", &taken, 8, 10, &status), EFM_OK);
    assert_int_equal(status, 200);
    assert_int_equal(taken.size, 8);
    assert_false(taken.wrong);
    assert_int_equal(get("/", &taken, 8, 10, &status), EFM_E_IO);
}

static void sizes_are_bounded(void **state)
{
    struct taken taken = {0};
    int status;
    (void)state;
    start((const struct test_answer[]){{"HTTP/1.1 200 OK\r\nContent-Length: 50001\r\n\r\n", .filler = 50001},
                                       {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", .filler = 1000000},
                                       {"HTTP/1.1 200 OK\r\nConnection: close\r\nX: ", .filler = 90000},
                                       {"HTTP/1.1 200 OK\r\nContent-Length: 50001\r\n\r\n", .filler = 1000}},
          4);
    assert_int_equal(get("/known", &taken, 50000, 10, &status), EFM_E_LIMIT);
    assert_int_equal(status, 200);
    assert_int_equal(taken.size, 0); // said beforehand
    assert_int_equal(get("/unknown", &taken, 50000, 10, &status), EFM_E_LIMIT);
    assert_in_range(taken.size, 1, 50000);
    taken.size = 0;
    assert_int_equal(get("/endless-header", &taken, 50000, 10, &status), EFM_E_IO);
    assert_int_equal(get("/cut", &taken, 60000, 10, &status), EFM_E_IO);
    assert_int_equal(taken.size, 1000);
}

static void many_headers_are_bounded(void **state)
{
    static char text[400000];
    struct taken taken = {0};
    size_t size = (size_t)snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n");
    int status;
    (void)state;
    while (size < 300000)
        size += (size_t)snprintf(text + size, sizeof text - size, "X-Header: %0100d\r\n", 0);
    snprintf(text + size, sizeof text - size, "Content-Length: 0\r\n\r\n");
    start((const struct test_answer[]){{text}}, 1);
    assert_int_equal(get("/", &taken, 100, 10, &status), EFM_E_LIMIT);
}

static void times_are_bounded(void **state)
{
    struct taken taken = {0};
    int status;
    (void)state;
    start((const struct test_answer[]){{TEST_ANSWER_200, .delay = 30},
                                       {"HTTP/1.1 200 OK\r\n\r\n", .filler = 1000000, .pace = 0.05}},
          2);
    const double begun = test_now();
    assert_int_equal(get("/silent", &taken, 100, 0.3, &status), EFM_E_DEADLINE);
    assert_int_equal(status, 0);
    assert_int_equal(get("/slow", &taken, 10000000, 0.3, &status), EFM_E_DEADLINE);
    assert_true(test_now() - begun < 5 * test_patience());
}

static void requests_are_broken_off(void **state)
{
    struct taken taken = {.most = 2000}, other = {.stops = true};
    int status;
    (void)state;
    start((const struct test_answer[]){{"HTTP/1.1 200 OK\r\n\r\n", .filler = 1000000, .lingers = true},
                                       {TEST_ANSWER_200, .delay = 30}},
          2);
    assert_int_equal(get("/", &taken, 10000000, 10, &status), EFM_E_CANCELLED);
    assert_true(taken.size >= 2000);
    const double begun = test_now();
    assert_int_equal(get("/", &other, 100, 0, &status), EFM_E_CANCELLED);
    assert_int_equal(other.asked, 1);
    assert_true(test_now() - begun < 3 * test_patience());
}

static void nobody_there_is_an_error_of_io(void **state)
{
    struct taken taken = {0};
    struct efm_error error = {0};
    char url[128];
    int status = -1;
    (void)state;
    start((const struct test_answer[]){{NULL}}, 1);
    assert_int_equal(get("/", &taken, 100, 10, &status), EFM_E_IO);
    assert_int_equal(status, 0);
    snprintf(url, sizeof url, "%s/?token=secret", receiver.url);
    test_receiver_stop(&receiver);
    const struct srv_outbound_request request = {.url = url, .method = "GET", .timeout = 10, .limit = 100};
    assert_int_equal(srv_outbound_perform(outbound, &request, &status, &error), EFM_E_IO);
    assert_int_equal(status, 0);
    assert_non_null(strstr(error.message, "refused"));
    assert_null(strstr(error.message, "secret"));
}

static void a_private_address_is_not_connected_to(void **state)
{
    char prefix[128], url[140];
    int status;
    (void)state;
    test_receiver_start(&receiver, (const struct test_answer[]){{TEST_ANSWER_200}}, 1);
    // a name that the check cannot know the address of
    snprintf(prefix, sizeof prefix, "http://localhost:%u", receiver.port);
    snprintf(url, sizeof url, "%s/secret", prefix);
    open_outbound(prefix, "");
    struct api_problem problem = {0};
    const struct srv_outbound_request request = {.url = url, .method = "GET", .timeout = 10, .limit = 100};
    assert_true(srv_outbound_check(outbound, url, "", &problem));
    assert_int_equal(perform(&request, &status), EFM_E_ARGUMENT);
    assert_int_equal(test_receiver_count(&receiver), 0);
    open_outbound(prefix, "127.0.0.0/8 ::1");
    assert_int_equal(perform(&request, &status), EFM_OK);
    assert_int_equal(test_receiver_count(&receiver), 1);
    const struct srv_outbound_request other = {.url = "http://127.0.0.1:1/", .method = "GET", .limit = 100};
    assert_int_equal(perform(&other, &status), EFM_E_ARGUMENT);
}

#define CASE(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(urls_begin_with_a_prefix),
        CASE(long_urls_are_refused),
        CASE(nothing_is_allowed_by_default),
        CASE(literal_addresses_are_looked_at),
        CASE(wrong_options_are_named),
        CASE(only_public_addresses_are_connected_to),
        CASE(networks_of_the_operator_are_connected_to),
        CASE(a_get_takes_the_body),
        CASE(a_post_sends_headers_and_body),
        CASE(every_status_is_an_answer_and_no_redirect_is_followed),
        CASE(bodies_in_chunks_are_taken),
        CASE(sizes_are_bounded),
        CASE(many_headers_are_bounded),
        CASE(times_are_bounded),
        CASE(requests_are_broken_off),
        CASE(nobody_there_is_an_error_of_io),
        CASE(a_private_address_is_not_connected_to),
    };
    return cmocka_run_group_tests_name("server/outbound", tests, NULL, NULL);
}
