/* http_peer.h - a client of a few hundred lines that can also do it wrong: raw sockets on loopback.
 *
 *     int peer = peer_dial(port);
 *     peer_send(peer, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
 *     struct peer_answer answer;
 *     assert_true(peer_read(peer, &answer));          one answer with its body
 *     peer_answer_release(&answer);
 *
 * Errors: functions fail the running cmocka test unless they say otherwise. Threads: a peer is one thread's.
 */
#ifndef TEST_HTTP_PEER_H
#define TEST_HTTP_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_answer {
    int status;
    char head[4096]; /* status line and headers */
    uint8_t *body;   /* owned; a zero byte follows it */
    size_t size;
};

int peer_dial(uint16_t port);
int peer_dial_ipv6(uint16_t port);

void peer_send(int peer, const char *text);
/* False when the other side has closed. */
bool peer_send_bytes(int peer, const void *data, size_t size);

/* The next answer, or its head alone (after HEAD). False when the connection ends or 10 seconds pass before
 * it is complete. */
bool peer_read(int peer, struct peer_answer *answer);
bool peer_read_head(int peer, struct peer_answer *answer);
void peer_answer_release(struct peer_answer *answer);

/* The value of a header, or NULL; valid until the next call. */
const char *peer_header(const struct peer_answer *answer, const char *name);

/* True when the other side closes within `seconds`, whatever it sends before. */
bool peer_is_closed(int peer, double seconds);

/* One request on a connection of its own; `extra` are further header lines, "" for none. */
void peer_ask(uint16_t port, const char *method, const char *path, const char *extra, const void *body,
              size_t size, struct peer_answer *answer);
/* The same; only the status. */
int peer_status(uint16_t port, const char *method, const char *path, const char *extra, const char *body);

double peer_clock(void);
void peer_sleep(double seconds);

#endif
