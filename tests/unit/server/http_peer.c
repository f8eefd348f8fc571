// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/http_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 10 };

double peer_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void peer_sleep(double seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

int peer_dial(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer >= 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address), 0);
    return peer;
}

int peer_dial_ipv6(uint16_t port)
{
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    int peer = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer >= 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address), 0);
    return peer;
}

bool peer_send_bytes(int peer, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t sent = send(peer, at, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

void peer_send(int peer, const char *text)
{
    assert_true(peer_send_bytes(peer, text, strlen(text)));
}

/* Waits until there is something to read; false after `until`. */
static bool wait_for(int peer, double until)
{
    double left = until - peer_clock();
    struct pollfd ready = {.fd = peer, .events = POLLIN};
    return left > 0 && poll(&ready, 1, (int)(left * 1000) + 1) == 1;
}

/* Byte by byte, so that nothing of a next answer is taken. */
static bool read_head(int peer, struct peer_answer *answer, double until)
{
    size_t used = 0;
    memset(answer, 0, sizeof *answer);
    while (used + 1 < sizeof answer->head) {
        if (!wait_for(peer, until) || recv(peer, answer->head + used, 1, 0) != 1)
            return false;
        used++;
        if (used >= 4 && memcmp(answer->head + used - 4, "\r\n\r\n", 4) == 0)
            return sscanf(answer->head, "HTTP/1.%*d %d", &answer->status) == 1;
    }
    return false;
}

bool peer_read_head(int peer, struct peer_answer *answer)
{
    return read_head(peer, answer, peer_clock() + PATIENCE);
}

bool peer_read(int peer, struct peer_answer *answer)
{
    const double until = peer_clock() + PATIENCE;
    if (!read_head(peer, answer, until))
        return false;
    const char *length = peer_header(answer, "Content-Length");
    const size_t size = length == NULL ? 0 : (size_t)strtoull(length, NULL, 10);
    answer->body = calloc(size + 1, 1);
    assert_non_null(answer->body);
    while (answer->size < size) {
        ssize_t got =
            wait_for(peer, until) ? recv(peer, answer->body + answer->size, size - answer->size, 0) : -1;
        if (got <= 0) {
            peer_answer_release(answer);
            return false;
        }
        answer->size += (size_t)got;
    }
    return true;
}

void peer_answer_release(struct peer_answer *answer)
{
    free(answer->body);
    answer->body = NULL;
}

const char *peer_header(const struct peer_answer *answer, const char *name)
{
    static _Thread_local char value[512];
    const size_t length = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *start = line + length + 1 + strspn(line + length + 1, " ");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(start, "\r"), start);
            return value;
        }
    }
    return NULL;
}

bool peer_is_closed(int peer, double seconds)
{
    char waste[4096];
    const double until = peer_clock() + seconds;
    while (wait_for(peer, until)) {
        if (recv(peer, waste, sizeof waste, 0) <= 0)
            return true;
    }
    return false;
}

void peer_ask(uint16_t port, const char *method, const char *path, const char *extra, const void *body,
              size_t size, struct peer_answer *answer)
{
    char head[2048], length[64] = "";
    int peer = peer_dial(port);
    if (body != NULL)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", size);
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: test\r\n%s%s\r\n", method, path, length, extra);
    peer_send(peer, head);
    assert_true(body == NULL || peer_send_bytes(peer, body, size));
    assert_true(strcmp(method, "HEAD") == 0 ? peer_read_head(peer, answer) : peer_read(peer, answer));
    close(peer);
}

int peer_status(uint16_t port, const char *method, const char *path, const char *extra, const char *body)
{
    struct peer_answer answer;
    peer_ask(port, method, path, extra, body, body == NULL ? 0 : strlen(body), &answer);
    peer_answer_release(&answer);
    return answer.status;
}
