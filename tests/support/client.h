/* client.h - requests to the daemon of a test, by libcurl, and by hand where the bytes must be wrong.
 *
 *     struct test_reply reply;
 *     test_send(&daemon, &(struct test_request){.method = "POST", .path = "/v1/transfer?model=m", .body =
 * png, .size = size}, &reply); assert_int_equal(reply.status, 200); test_reply_release(&reply);
 *
 * Errors: every function fails the running cmocka test, unless it says otherwise. Threads: one.
 */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include "tests/support/daemon.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a multipart form. */
struct test_part {
    const char *name;
    const char *filename; /* NULL: a plain field */
    const char *type;     /* NULL: libcurl's choice */
    const void *data;
    size_t size;
};

/* Everything borrowed. */
struct test_request {
    const char *method; /* NULL: GET, or POST when there is a body or a form */
    const char *path;   /* with the query */
    const char *accept; /* NULL: any */
    const char *type;   /* Content-Type; NULL: none is sent */
    const char *header; /* more, "Name: value", with '\n' between them; may be NULL */
    const void *body;   /* NULL and size 0: no body */
    size_t size;
    const struct test_part *parts; /* a form in place of a body */
    size_t part_count;
    double timeout; /* seconds; 0: 60 */
};

struct test_reply {
    int status;    /* 0 when there was no answer */
    char *headers; /* owned; raw lines of the last answer, never NULL after a call */
    uint8_t *body; /* owned; a zero byte follows it */
    size_t size;
};

void test_send(const struct test_daemon *daemon, const struct test_request *request,
               struct test_reply *reply);

/* As test_send, but says whether there was an answer. */
bool test_send_quietly(const struct test_daemon *daemon, const struct test_request *request,
                       struct test_reply *reply);

/* All at the same time, each on a connection of its own; replies [count]. */
void test_send_all(const struct test_daemon *daemon, const struct test_request *requests, size_t count,
                   struct test_reply *replies);

void test_reply_release(struct test_reply *reply);

/* The value of a header, copied to out[size]; "" when it is absent. Returns out. */
const char *test_reply_header(const struct test_reply *reply, const char *name, char *out, size_t size);

/* The body as JSON; the caller owns it. */
json_t *test_reply_json(const struct test_reply *reply);

/* Fails, showing the answer, unless it has this status (and, when not NULL, this media type). */
void test_expect(const struct test_reply *reply, int status, const char *media_type);

/* Sends, expects a status, releases. */
void test_expect_request(const struct test_daemon *daemon, const struct test_request *request, int status);

/* A connected socket; the bytes written to it; what came until the other side closed or `seconds` passed. */
int test_connect(const struct test_daemon *daemon);
void test_write(int socket, const void *bytes, size_t size);
void test_read_reply(int socket, struct test_reply *reply, double seconds);

#endif
