// SPDX-License-Identifier: Apache-2.0
// What the headers of a request make of its answer: nothing new (304), or fewer bytes (gzip); and what is refused
// before the body.
#include "core/base/memory.h"
#include "server/http/coding.h"
#include "server/http/conditions.h"
#include "tests/unit/server/http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

/* ---- Accept-Encoding ---- */

static void accept_encoding_is_weighed(void **state)
{
    static const char *const taken[] = {
        "gzip",       "GZip",       "x-gzip",         "deflate, gzip;q=1.0, *;q=0.5",
        "*",          "br, *",      "gzip;q=0.001",   "gzip;q=0.5, identity;q=0.5",
        " gzip\t,br", ",gzip",      "identity, gzip", "gzip;q=0, gzip",
        "gzip ; q=1", "*;q=0, gzip"};
    static const char *const refused[] = {"",
                                          " ",
                                          "identity",
                                          "br, deflate",
                                          "gzip;q=0",
                                          "gzip;q=0.000",
                                          "*;q=0",
                                          "gzip;q=2",
                                          "gzip;q=1.001",
                                          "gzip;q=-1",
                                          "gzip;q=0.1234",
                                          "gzip;q",
                                          "gzip;q=",
                                          "gzip;",
                                          "gzip br",
                                          "gzip;x=1",
                                          "notgzip",
                                          "gzip;q=0, *",
                                          "gzip/1",
                                          "\"gzip\"",
                                          "gzip;q=0.5, identity"};
    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (!srv_accepts_gzip(taken[i]))
            fail_msg("'%s' does not take gzip", taken[i]);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (srv_accepts_gzip(refused[i]))
            fail_msg("'%s' takes gzip", refused[i]);
    }
    assert_false(srv_is_coded(""));
    assert_false(srv_is_coded("identity, Identity"));
    assert_true(srv_is_coded("gzip"));
    assert_true(srv_is_coded("identity,br"));
}

static void expect_unpacked(const struct peer_answer *answer, size_t size)
{
    uint8_t *plain = malloc(size + 1);
    assert_non_null(plain);
    z_stream stream = {.next_in = answer->body,
                       .avail_in = (unsigned)answer->size,
                       .next_out = plain,
                       .avail_out = (unsigned)size + 1};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.total_out, size);
    assert_int_equal(strncmp((char *)plain, "{\"number\":0}{\"number\":1}", 24), 0);
    inflateEnd(&stream);
    free(plain);
}

static void json_comes_as_gzip_to_who_takes_it(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "GET", "/text?n=5000", "Accept-Encoding: gzip\r\n", NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(peer_header(&answer, "Content-Encoding"), "gzip");
    assert_string_equal(peer_header(&answer, "Content-Type"), "application/json");
    assert_string_equal(peer_header(&answer, "ETag"), "\"abc-gzip\"");
    assert_string_equal(peer_header(&answer, "Vary"), "Accept, Accept-Encoding");
    assert_true(answer.size < 2500);
    expect_unpacked(&answer, 5000);
    peer_answer_release(&answer);
    // as it is, and with the same Vary, to others
    static const char *const others[] = {"", "Accept-Encoding: identity\r\n",
                                         "Accept-Encoding: gzip;q=0\r\n"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        peer_ask(world.port, "GET", "/text?n=5000", others[i], NULL, 0, &answer);
        assert_null(peer_header(&answer, "Content-Encoding"));
        assert_string_equal(peer_header(&answer, "ETag"), "\"abc\"");
        assert_string_equal(peer_header(&answer, "Vary"), "Accept, Accept-Encoding");
        assert_int_equal(answer.size, 5000);
        peer_answer_release(&answer);
    }
}

static void what_gains_nothing_is_sent_as_it_is(void **state)
{
    static const char *const paths[] = {"/text?n=500", "/picture?n=5000",
                                        "/text?n=300000"}; // small, image, long
    static const size_t sizes[] = {500, 5000, 300000};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct peer_answer answer;
        peer_ask(world.port, "GET", paths[i], "Accept-Encoding: gzip\r\n", NULL, 0, &answer);
        assert_null(peer_header(&answer, "Content-Encoding"));
        assert_string_equal(peer_header(&answer, "ETag"), "\"abc\"");
        assert_int_equal(answer.size, sizes[i]);
        peer_answer_release(&answer);
    }
    struct efm_buffer noise = efm_buffer_limited(8192);
    uint32_t state_of = 1;
    for (int i = 0; i < 8000; i++) {
        state_of = state_of * 1664525u + 1013904223u;
        uint8_t byte = (uint8_t)(state_of >> 24);
        efm_buffer_append(&noise, &byte, 1);
    }
    const uint8_t *before = noise.data;
    assert_false(srv_gzip(&noise));
    assert_ptr_equal(noise.data, before);
    assert_int_equal(noise.size, 8000);
    efm_buffer_release(&noise);
}

static void head_agrees_with_get(void **state)
{
    struct peer_answer head, answer;
    char line[64];
    (void)state;
    peer_ask(world.port, "GET", "/text?n=5000", "Accept-Encoding: gzip\r\n", NULL, 0, &answer);
    int peer = peer_dial(world.port);
    peer_send(peer, "HEAD /text?n=5000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_true(peer_read_head(peer, &head));
    snprintf(line, sizeof line, "%zu", answer.size);
    assert_string_equal(peer_header(&head, "Content-Length"), line);
    assert_string_equal(peer_header(&head, "Content-Encoding"), "gzip");
    peer_answer_release(&answer);
    close(peer);
}

/* ---- conditions ---- */

static void lists_of_tags_are_read_strictly(void **state)
{
    static const struct {
        const char *header;
        enum srv_tags weak, strong;
    } rows[] = {
        {"", SRV_TAGS_ABSENT, SRV_TAGS_ABSENT},
        {"  ", SRV_TAGS_ABSENT, SRV_TAGS_ABSENT},
        {"*", SRV_TAGS_ANY, SRV_TAGS_ANY},
        {" * ", SRV_TAGS_ANY, SRV_TAGS_ANY},
        {"*, \"abc\"", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"\"abc\"", SRV_TAGS_FOUND, SRV_TAGS_FOUND},
        {"\"abc-gzip\"", SRV_TAGS_FOUND, SRV_TAGS_FOUND},
        {"\"abc-br\"", SRV_TAGS_OTHER, SRV_TAGS_OTHER},
        {"\"ab\"", SRV_TAGS_OTHER, SRV_TAGS_OTHER},
        {"\"abcd\"", SRV_TAGS_OTHER, SRV_TAGS_OTHER},
        {"W/\"abc\"", SRV_TAGS_FOUND, SRV_TAGS_OTHER},
        {"w/\"abc\"", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"\"x\",\"abc\"", SRV_TAGS_FOUND, SRV_TAGS_FOUND},
        {" \"x\" ,\t W/\"y\" , \"abc\" ,", SRV_TAGS_FOUND, SRV_TAGS_FOUND},
        {",, \"abc\"", SRV_TAGS_FOUND, SRV_TAGS_FOUND},
        {"\"a,b\", \"\"", SRV_TAGS_OTHER, SRV_TAGS_OTHER},
        {"\"abc\" \"x\"", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"\"abc\", x", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"abc", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"\"abc", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {"\"a bc\"", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
        {",", SRV_TAGS_MALFORMED, SRV_TAGS_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (srv_tags_find(rows[i].header, "\"abc\"", SRV_TAGS_WEAK) != rows[i].weak ||
            srv_tags_find(rows[i].header, "\"abc\"", SRV_TAGS_STRONG) != rows[i].strong)
            fail_msg("'%s' is read wrong", rows[i].header);
    }
    assert_int_equal(srv_tags_find("\"abc\"", NULL, SRV_TAGS_WEAK), SRV_TAGS_OTHER);
    assert_int_equal(srv_tags_find("\"abc\"", "W/\"abc\"", SRV_TAGS_WEAK), SRV_TAGS_FOUND);
    assert_int_equal(srv_tags_find("\"abc\"", "W/\"abc\"", SRV_TAGS_STRONG), SRV_TAGS_OTHER);
}

static void dates_are_read_in_three_forms(void **state)
{
    static const int64_t now = 1700000000, then = 784111777;
    static const char *const good[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "yesterday",
                                      "Mon, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Nov 1994 08:49:37 GMT ",
                                      "Wed, 31 Feb 1994 08:49:37 GMT",
                                      "sun, 06 nov 1994 08:49:37 gmt",
                                      "Sun, 05 Nov 0000 08:49:37 GMT",
                                      "784111777"};
    int64_t seconds = 0;
    char text[SRV_DATE_SIZE];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        if (!srv_date_parse(good[i], now, &seconds) || seconds != then)
            fail_msg("'%s' is read wrong", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (srv_date_parse(bad[i], now, &seconds))
            fail_msg("'%s' is taken", bad[i]);
    }
    // 73 is 2073, 74 is 1974
    assert_true(srv_date_parse("Monday, 06-Nov-73 08:49:37 GMT", now, &seconds) && seconds > now);
    assert_true(srv_date_parse("Wednesday, 06-Nov-74 08:49:37 GMT", now, &seconds) && seconds < now);
    srv_date_format(then, text);
    assert_string_equal(text, good[0]);
}

static int conditional(const char *method, const char *headers)
{
    return peer_status(world.port, method, "/text?n=2000", headers, NULL);
}

static void what_is_known_is_not_sent_again(void **state)
{
    struct peer_answer answer;
    (void)state;
    assert_int_equal(conditional("GET", "If-None-Match: \"abc\"\r\n"), 304);
    assert_int_equal(conditional("GET", "If-None-Match: \"x\", W/\"abc\"\r\n"), 304);
    assert_int_equal(conditional("GET", "If-None-Match: *\r\n"), 304);
    assert_int_equal(conditional("GET", "If-None-Match: \"x\"\r\n"), 200);
    assert_int_equal(conditional("GET", "If-None-Match: abc\r\n"), 200);
    assert_int_equal(conditional("POST", "If-None-Match: \"abc\"\r\n"), 200);
    assert_int_equal(conditional("GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), 304);
    assert_int_equal(conditional("GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"), 200);
    assert_int_equal(conditional("GET", "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n"), 200);
    assert_int_equal(conditional("GET", "If-Modified-Since: soon\r\n"), 200);
    // the tag decides where there is one
    assert_int_equal(conditional("GET", "If-None-Match: \"x\"\r\n"
                                        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
                     200);
    int peer = peer_dial(world.port);
    peer_send(peer, "GET /text?n=5000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n"
                    "If-None-Match: \"abc-gzip\"\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 304);
    assert_string_equal(peer_header(&answer, "ETag"), "\"abc-gzip\"");
    assert_string_equal(peer_header(&answer, "Last-Modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_null(peer_header(&answer, "Content-Encoding"));
    assert_null(peer_header(&answer, "Content-Type"));
    close(peer);
}

static void what_is_not_wanted_is_not_sent(void **state)
{
    static const struct {
        const char *headers;
        int status;
    } rows[] = {
        {"If-Match: \"abc\"\r\n", 200},
        {"If-Match: *\r\n", 200},
        {"If-Match: \"x\"\r\nIf-Match: \"abc\"\r\n", 200},
        {"If-Match: W/\"abc\"\r\n", 412},
        {"If-Match: \"x\"\r\n", 412},
        {"If-Match: abc\r\n", 412},
        {"If-Match:\r\n", 412},
        {"If-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n", 412}, // the first to be asked
        {"If-Match: \"abc\"\r\nIf-None-Match: \"abc\"\r\n", 304},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412},
        {"If-Unmodified-Since: Sun, 06 Nov 1994\r\n", 200},
        {"If-Match: \"abc\"\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int status = conditional("GET", rows[i].headers);
        if (status != rows[i].status)
            fail_msg("%s: %d", rows[i].headers, status);
    }
    assert_int_equal(conditional("POST", "If-Match: \"x\"\r\n"), 200);
    struct peer_answer answer;
    peer_ask(world.port, "GET", "/text?n=5000", "If-Match: \"x\"\r\n", NULL, 0, &answer);
    world_assert_problem(&answer, 412, "precondition_failed");
    peer_answer_release(&answer);
    assert_int_equal(peer_status(world.port, "GET", "/hello", "If-Match: \"x\"\r\n", NULL),
                     200); // has no tag
}

/* ---- values ---- */

static void blanks_around_a_value_are_no_part_of_it(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "POST", "/echo", "X-Test: \t two words \t\r\nX-Request-Id: mine \r\nAccept:  \r\n",
             "", 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(peer_header(&answer, "Echo-Test"), "two words");
    assert_string_equal(peer_header(&answer, "X-Request-Id"), "mine");
    assert_null(peer_header(&answer, "Echo-Accept")); // nothing is no header
    peer_answer_release(&answer);
    assert_int_equal(conditional("GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\t\r\n"), 304);
    // who expects it is told to go on, too
    int peer = peer_dial(world.port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x \r\nExpect: 100-continue \r\nContent-Length: 4\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 100);
    peer_send(peer, "body");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    // the library has seen no chunks in this one, and would take them for what is in them
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked \r\n\r\n");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 400, "malformed_request");
    peer_answer_release(&answer);
    close(peer);
}

static void lines_of_a_list_are_one_list(void **state)
{
    struct peer_answer answer;
    (void)state;
    assert_int_equal(conditional("GET", "If-None-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n"), 304);
    assert_int_equal(
        conditional("GET", "if-none-match: \"x\"\r\nX: y\r\nIf-None-Match:\r\nIF-NONE-MATCH: \"z\"\r\n"),
        200);
    // no list that a list could be
    assert_int_equal(conditional("GET", "If-None-Match: \"abc\"\r\nIf-None-Match: *\r\n"), 200);
    peer_ask(world.port, "GET", "/text?n=5000", "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", NULL, 0,
             &answer);
    assert_string_equal(peer_header(&answer, "Content-Encoding"), "gzip");
    peer_answer_release(&answer);
    peer_ask(world.port, "POST", "/echo", "Accept: a/b\r\nAccept: c/d;q=0.5 \r\nX-Test: 1\r\nX-Test: 2\r\n",
             "", 0, &answer);
    assert_string_equal(peer_header(&answer, "Echo-Accept"), "a/b, c/d;q=0.5");
    assert_string_equal(peer_header(&answer, "Echo-Test"), "1"); // not known to be a list
    peer_answer_release(&answer);
}

/* ---- refused before the body ---- */

static void a_coded_body_is_refused(void **state)
{
    static const char *const headers[] = {"Content-Encoding: gzip\r\n", "Content-Encoding: identity, br\r\n",
                                          "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"};
    struct peer_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        peer_ask(world.port, "POST", "/echo", headers[i], "body", 4, &answer);
        world_assert_problem(&answer, 415, "unsupported_media_type");
        assert_string_equal(peer_header(&answer, "Accept-Encoding"), "identity");
        peer_answer_release(&answer);
    }
    assert_int_equal(atomic_load(&world.calls), 0);
    assert_int_equal(peer_status(world.port, "POST", "/echo", "Content-Encoding: identity\r\n", "body"), 200);
}

static void only_100_continue_can_be_expected(void **state)
{
    struct peer_answer answer;
    (void)state;
    peer_ask(world.port, "POST", "/echo", "Expect: 200-ok\r\n", "body", 4, &answer);
    world_assert_problem(&answer, 417, "expectation_failed");
    peer_answer_release(&answer);
    int peer = peer_dial(world.port);
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n");
    assert_true(peer_read_head(peer, &answer));
    assert_int_equal(answer.status, 100);
    peer_send(peer, "body");
    assert_true(peer_read(peer, &answer));
    assert_int_equal(answer.status, 200);
    peer_answer_release(&answer);
    // and who waits for it is told at once when the body is not wanted
    peer_send(peer,
              "POST /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4000\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 413, "body_too_large");
    peer_answer_release(&answer);
    close(peer);
}

/* `count` headers of `size` bytes each. */
static void ask_with_headers(size_t count, size_t size, int status, const char *code)
{
    struct efm_buffer request = efm_buffer_limited(1 << 20);
    struct peer_answer answer;
    efm_buffer_append_string(&request, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (size_t i = 0; i < count; i++)
        efm_buffer_format(&request, "X-%03zu: %0*d\r\n", i, (int)size - 5, 0);
    efm_buffer_append_string(&request, "\r\n");
    int peer = peer_dial(world.port);
    assert_true(peer_send_bytes(peer, request.data, request.size));
    assert_true(peer_read(peer, &answer));
    if (code == NULL)
        assert_int_equal(answer.status, status);
    else
        world_assert_problem(&answer, status, code);
    peer_answer_release(&answer);
    assert_int_equal(peer_is_closed(peer, code == NULL ? 0.05 : 2), code != NULL);
    close(peer);
    efm_buffer_release(&request);
}

static void heads_are_bounded(void **state)
{
    struct peer_answer answer;
    (void)state;
    ask_with_headers(127, 20, 200, NULL); // and Host
    ask_with_headers(128, 20, 431, "headers_too_large");
    ask_with_headers(31, 1024, 200, NULL);
    ask_with_headers(33, 1024, 431, "headers_too_large");
    struct efm_buffer request = efm_buffer_limited(1 << 20);
    for (int more = 0; more < 2; more++) {
        efm_buffer_format(&request, "GET /hello?%0*d HTTP/1.1\r\nHost: x\r\n\r\n", 16 * 1024 - 7 + more, 0);
        int peer = peer_dial(world.port);
        assert_true(peer_send_bytes(peer, request.data, request.size));
        assert_true(peer_read(peer, &answer));
        close(peer);
        if (more == 0)
            assert_int_equal(answer.status, 200);
        else
            world_assert_problem(&answer, 414, "uri_too_long");
        peer_answer_release(&answer);
        efm_buffer_release(&request);
    }
}

static void a_strange_transfer_coding_is_refused(void **state)
{
    struct peer_answer answer;
    int peer = peer_dial(world.port);
    (void)state;
    peer_send(peer, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    assert_true(peer_read(peer, &answer));
    world_assert_problem(&answer, 400, "malformed_request");
    peer_answer_release(&answer);
    assert_true(peer_is_closed(peer, 2));
    close(peer);
}

/* Between a proxy and this server each of these could be two requests, or one. */
static void a_head_that_can_be_read_in_two_ways_is_refused(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } heads[] = {
#define HEAD(text) {text, sizeof text - 1}
        HEAD("Host: x\r\nContent-Length : 58\r\n\r\n"),
        HEAD("Host: x\r\nContent-Length\t: 58\r\n\r\n"),
        HEAD("Host: x\r\nContent-Length: 58\r\nTransfer-Encoding : chunked\r\n\r\n"),
        HEAD("Host: x\r\nX: a\rContent-Length: 58\r\n\r\n"),
        HEAD("Host: x\r\nX: a\r\r\n\r\n"),
        HEAD("Host: x\r\nContent\rLength: 58\r\n\r\n"),
        HEAD("Host: x\r\nContent-\xc4: 58\r\n\r\n"),
        HEAD("Host: x\r\n: 58\r\n\r\n"),
        HEAD("Host: x\r\n:\r\nX: /hello HTTP/1.1\r\nHost: x\r\n\r\n"), // which is a request line, too
        HEAD("Host: x\r\n\0Content-Length: 58\r\n\r\n"),
        HEAD("Host: x\r\nX: a\0Content-Length: 58\r\nY: b\r\n\r\n"),
        HEAD("Host: x\r\nX: a\0Content-Length: 58\r\n\r\n"),
        HEAD("Host: x\r\nContent-: 58\r\n Length\r\n\r\n"), // a line that goes on
        HEAD("Host: x\r\nContent-: 58\r\n\tLength\r\nY: b\r\n\r\n"),
        HEAD("Host: x\r\nHost: y\r\n\r\n"),
        HEAD("Host: x\r\nhost: x\r\n\r\n"),
        HEAD("Host: x\0\r\nY: b\r\n\r\n"),
        HEAD("Host: x\0 \r\nY: b\r\n\r\n"),
        HEAD("Host: x \0\r\nY: b\r\n\r\n"),
        HEAD("Host: x\r\nTransfer-Encoding: chunked\0\r\nY: b\r\n\r\n"),
        HEAD("Host: x\r\nX: a\0\r\n\r\n"),
#undef HEAD
    };
    struct peer_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        int peer = peer_dial(world.port);
        peer_send(peer, "GET /hello HTTP/1.1\r\n");
        assert_true(peer_send_bytes(peer, heads[i].text, heads[i].size));
        peer_send(peer, "DELETE /things/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        if (!peer_read(peer, &answer) || answer.status != 400)
            fail_msg("head %zu: %d", i, answer.status);
        world_assert_problem(&answer, 400, "malformed_request");
        assert_string_equal(peer_header(&answer, "Connection"), "close");
        peer_answer_release(&answer);
        assert_false(peer_read(peer, &answer)); // and nothing behind it is a request
        close(peer);
    }
    assert_int_equal(atomic_load(&world.calls), 0);
    // lines may end by a line feed alone, and values be empty or far from their names
    int peer = peer_dial(world.port);
    peer_send(
        peer,
        "GET /hello HTTP/1.1\nHost: x\nX:\nX-Y_z!: \t a\n\nGET /hello HTTP/1.1\r\nHost:x\r\nX:\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        assert_true(peer_read(peer, &answer));
        assert_int_equal(answer.status, 200);
        peer_answer_release(&answer);
    }
    close(peer);
}

/* The target that counts is the one that a proxy saw. */
static void a_first_line_that_can_be_read_in_two_ways_is_refused(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        int status;
    } heads[] = {
#define HEAD(text, status) {text, sizeof text - 1, status}
        HEAD("GET /hello\0/../things/x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET /hello\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET /hello?a=b\0c HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET /hello\0?a=b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET /%68ello\0x?%61=b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET\0X /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET /hello HTTP/1.0\r\n\0Content-Length: 58\r\n\r\n", 400),
        HEAD("POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        HEAD("POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        HEAD("GET http://evil.example/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET http://x:80/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET http://a@x/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET http://xx/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        HEAD("GET http://x/hello HTTP/1.1\r\nHost:\r\n\r\n", 400),
        HEAD("GET http://X/hello?a=b HTTP/1.1\r\nHost: x \r\n\r\n", 200),
        HEAD("GET https://x:8/hello HTTP/1.1\r\nHost: X:8\r\n\r\n", 200),
        HEAD("GET   /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        HEAD("GET /%68ell%6f HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        HEAD("GET /hello?a=b&c&%61=%62+d HTTP/1.1\r\nHost: x \t\r\nX: a \r\nY: \r\nZ:\r\n\r\n", 200),
        HEAD("GET /%68ello? HTTP/1.1\nHost: x \nX: a\r\nY: b\n\r\n", 200),
        HEAD("\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        HEAD("GET /hello HTTP/1.0\r\n\r\n", 200),
        HEAD("GET /hello HTTP/1.0\n\n", 200),
#undef HEAD
    };
    struct peer_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        int peer = peer_dial(world.port);
        assert_true(peer_send_bytes(peer, heads[i].text, heads[i].size));
        if (!peer_read(peer, &answer) || answer.status != heads[i].status)
            fail_msg("head %zu: %d", i, answer.status);
        if (answer.status == 400) {
            world_assert_problem(&answer, 400, "malformed_request");
            assert_true(peer_is_closed(peer, 2));
        }
        peer_answer_release(&answer);
        close(peer);
    }
}

/* A byte now and then keeps the idle timeout away, but not this one. */
static void slow_headers_end_with_408(void **state)
{
    struct srv_http_options options = world_usual;
    struct peer_answer answer;
    (void)state;
    options.header_timeout = 0.4;
    options.idle_timeout = 1;
    world_start(&options);
    int headers = peer_dial(world.port), line = peer_dial(world.port);
    const double begun = peer_clock();
    peer_send(headers, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    peer_send(line, "GET /he");
    for (int i = 0; i < 3; i++) {
        peer_sleep(0.1);
        peer_send(headers, "X");
        peer_send(line, "l");
    }
    assert_true(peer_read(headers, &answer));
    world_assert_problem(&answer, 408, "request_timeout");
    peer_answer_release(&answer);
    assert_true(peer_is_closed(headers, 2));
    bool open = true;
    while (open && peer_clock() - begun < 8) {
        peer_sleep(0.1);
        open = peer_send_bytes(line, "l", 1);
    }
    assert_false(open); // without a word: there is no request yet
    assert_true(peer_clock() - begun < 6);
    close(headers);
    close(line);
    assert_true(world_settles("efm_http_connections", 0));
    world_stop();
}

int main(void)
{
#define SERVED(test) cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_encoding_is_weighed),
        SERVED(json_comes_as_gzip_to_who_takes_it),
        SERVED(what_gains_nothing_is_sent_as_it_is),
        SERVED(head_agrees_with_get),
        cmocka_unit_test(lists_of_tags_are_read_strictly),
        cmocka_unit_test(dates_are_read_in_three_forms),
        SERVED(what_is_known_is_not_sent_again),
        SERVED(what_is_not_wanted_is_not_sent),
        SERVED(blanks_around_a_value_are_no_part_of_it),
        SERVED(lines_of_a_list_are_one_list),
        SERVED(a_coded_body_is_refused),
        SERVED(only_100_continue_can_be_expected),
        SERVED(heads_are_bounded),
        SERVED(a_strange_transfer_coding_is_refused),
        SERVED(a_head_that_can_be_read_in_two_ways_is_refused),
        SERVED(a_first_line_that_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(slow_headers_end_with_408),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
