// SPDX-License-Identifier: Apache-2.0
#include "tests/support/receiver.h"

#include "tests/support/check.h"
#include "tests/support/daemon.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 1000, TICK = 10 /* milliseconds */ };

static bool is_stopping(struct test_receiver *receiver)
{
    pthread_mutex_lock(&receiver->mutex);
    const bool stopping = receiver->stopping;
    pthread_mutex_unlock(&receiver->mutex);
    return stopping;
}

/* Waits for bytes, a hang-up, or the end of the server. */
static bool readable(struct test_receiver *receiver, int peer)
{
    while (!is_stopping(receiver)) {
        struct pollfd watched = {.fd = peer, .events = POLLIN};
        if (poll(&watched, 1, TICK) > 0)
            return true;
    }
    return false;
}

/* False when the peer left, or the server ends, before `seconds` were over. */
static bool stays(struct test_receiver *receiver, int peer, double seconds)
{
    const double until = test_now() + seconds;
    while (test_now() < until) {
        struct pollfd watched = {.fd = peer, .events = POLLRDHUP};
        if (is_stopping(receiver) || poll(&watched, 1, TICK) > 0)
            return false;
    }
    return true;
}

const char *test_received_header(const struct test_received *received, const char *name, char *out,
                                 size_t size)
{
    const size_t length = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(received->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *value = line + 3 + length + strspn(line + 3 + length, " ");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
            break;
        }
    }
    return out;
}

/* A whole request with a Content-Length, or none. */
static bool read_request(struct test_receiver *receiver, int peer, struct test_received *received)
{
    char length[32], *end = NULL;
    size_t size = 0;
    while (end == NULL) {
        if (size + 1 >= sizeof received->head || !readable(receiver, peer))
            return false;
        // byte by byte, so that the body is left where it is
        const ssize_t got = recv(peer, received->head + size, 1, 0);
        if (got <= 0)
            return false;
        received->head[++size] = '\0';
        end =
            size >= 4 && memcmp(received->head + size - 4, "\r\n\r\n", 4) == 0 ? received->head + size : NULL;
    }
    const size_t expected =
        strtoul(test_received_header(received, "Content-Length", length, sizeof length), NULL, 10);
    while (received->size < expected) {
        if (expected >= sizeof received->body || !readable(receiver, peer))
            return false;
        const ssize_t got = recv(peer, received->body + received->size, expected - received->size, 0);
        if (got <= 0)
            return false;
        received->size += (size_t)got;
    }
    received->body[received->size] = '\0';
    received->time = test_now();
    return true;
}

static bool send_all(int peer, const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(peer, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

static void give_answer(struct test_receiver *receiver, int peer, const struct test_answer *answer)
{
    char piece[PIECE];
    if (!stays(receiver, peer, answer->delay) || answer->text == NULL ||
        !send_all(peer, answer->text, strlen(answer->text)) || !send_all(peer, answer->body, answer->size))
        return;
    for (size_t i = 0; i < sizeof piece; i++)
        piece[i] = (char)('0' + i % 10);
    for (size_t sent = 0; sent < answer->filler; sent += PIECE) {
        const size_t left = answer->filler - sent;
        if (!stays(receiver, peer, answer->pace) || !send_all(peer, piece, left < PIECE ? left : PIECE))
            return;
    }
    if (answer->lingers)
        stays(receiver, peer, 60);
}

static void serve(struct test_receiver *receiver, int peer)
{
    pthread_mutex_lock(&receiver->mutex);
    const size_t index = receiver->count;
    pthread_mutex_unlock(&receiver->mutex);
    if (index >= TEST_RECEIVED || !read_request(receiver, peer, &receiver->received[index]))
        return;
    pthread_mutex_lock(&receiver->mutex);
    receiver->count++;
    pthread_mutex_unlock(&receiver->mutex);
    give_answer(receiver, peer,
                &receiver->answers[index < receiver->answer_count ? index : receiver->answer_count - 1]);
}

static void *run(void *argument)
{
    struct test_receiver *receiver = argument;
    while (readable(receiver, receiver->listening)) {
        int peer = accept(receiver->listening, NULL, NULL);
        if (peer < 0)
            continue;
        serve(receiver, peer);
        // what is not read yet would turn the end into a reset, and take the answer with it
        shutdown(peer, SHUT_WR);
        close(peer);
    }
    return NULL;
}

void test_receiver_start(struct test_receiver *receiver, const struct test_answer *answers, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *receiver = (struct test_receiver){.answers = answers, .answer_count = count};
    assert_true(count > 0);
    receiver->received = calloc(TEST_RECEIVED, sizeof *receiver->received);
    assert_non_null(receiver->received);
    receiver->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(receiver->listening >= 0);
    assert_int_equal(bind(receiver->listening, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(receiver->listening, 16), 0);
    assert_int_equal(getsockname(receiver->listening, (struct sockaddr *)&address, &size), 0);
    receiver->port = ntohs(address.sin_port);
    snprintf(receiver->url, sizeof receiver->url, "http://127.0.0.1:%u", receiver->port);
    assert_int_equal(pthread_mutex_init(&receiver->mutex, NULL), 0);
    assert_int_equal(pthread_create(&receiver->thread, NULL, run, receiver), 0);
}

void test_receiver_stop(struct test_receiver *receiver)
{
    if (receiver->received == NULL)
        return;
    pthread_mutex_lock(&receiver->mutex);
    receiver->stopping = true;
    pthread_mutex_unlock(&receiver->mutex);
    pthread_join(receiver->thread, NULL);
    pthread_mutex_destroy(&receiver->mutex);
    close(receiver->listening);
    free(receiver->received);
    receiver->received = NULL;
}

size_t test_receiver_count(struct test_receiver *receiver)
{
    pthread_mutex_lock(&receiver->mutex);
    const size_t count = receiver->count;
    pthread_mutex_unlock(&receiver->mutex);
    return count;
}

bool test_receiver_waits(struct test_receiver *receiver, size_t count, double seconds)
{
    const double until = test_now() + seconds * test_patience();
    while (test_receiver_count(receiver) < count) {
        if (test_now() > until)
            return false;
        test_sleep(0.005);
    }
    return true;
}
