/* receiver.h - a small HTTP server of a test, on a free port of loopback: it answers as it was told and remembers what came.
 *
 *     static struct test_receiver receiver;
 *     test_receiver_start(&receiver, (const struct test_answer[]){{.text = TEST_ANSWER_500}, {.text = TEST_ANSWER_200}}, 2);
 *     ... something posts to receiver.url ...
 *     assert_true(test_receiver_waits(&receiver, 2, 5));      receiver.received[0], receiver.received[1]
 *     test_receiver_stop(&receiver);
 *
 * The answers are given in their order, the last one again and again. One connection at a time.
 * Errors: functions fail the running cmocka test. Threads: one, beside the server's. */
#ifndef TEST_RECEIVER_H
#define TEST_RECEIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define TEST_ANSWER_200 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
#define TEST_ANSWER_500 "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

enum { TEST_RECEIVED = 64, TEST_RECEIVED_HEAD = 4096, TEST_RECEIVED_BODY = 32768 };

struct test_answer {
    const char *text; /* borrowed until stop; head and body as they are sent. NULL: the connection closes */
    const void *body; /* borrowed until stop; sent after it, where it is no text */
    size_t size;
    size_t filler; /* bytes of '0', '1', .. '9', '0', .. after that */
    double delay;  /* seconds before the first byte */
    double pace;   /* seconds between pieces of 1 kB */
    bool lingers;  /* the connection stays open after the last byte */
};

struct test_received {
    char head[TEST_RECEIVED_HEAD]; /* request line and headers */
    char body[TEST_RECEIVED_BODY];
    size_t size;
    double time; /* test_now() */
};

struct test_receiver {
    unsigned port;
    char url[64]; /* "http://127.0.0.1:40123" */
    struct test_received *received;
    /* the server's own */
    int listening;
    const struct test_answer *answers;
    size_t answer_count;
    pthread_t thread;
    pthread_mutex_t mutex;
    size_t count;  /* under the mutex */
    bool stopping; /* under the mutex */
};

/* `answers` is borrowed until stop. */
void test_receiver_start(struct test_receiver *receiver, const struct test_answer *answers, size_t count);
/* May be called twice. */
void test_receiver_stop(struct test_receiver *receiver);

/* Requests that came so far; those of `received` below it stay as they are. */
size_t test_receiver_count(struct test_receiver *receiver);
/* Have `count` of them come within `seconds`? */
bool test_receiver_waits(struct test_receiver *receiver, size_t count, double seconds);

/* The value of a header, copied to out[size]; "" when it is absent. Returns out. */
const char *test_received_header(const struct test_received *received, const char *name, char *out,
                                 size_t size);

#endif
