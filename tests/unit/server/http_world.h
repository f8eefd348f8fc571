/* http_world.h - an HTTP server on a free loopback port with endpoints of the tests' own.
 *
 *     SERVED(test): cmocka_unit_test_setup_teardown(test, world_start_usual, world_stop_usual)
 *
 *     /hello /livez    "hello" at once               /echo /small /things/{name}   the body comes back
 *     /later?s=0.1     by another thread, after s    /wait                         503 when it is cancelled
 *     /text?n=5000     so many bytes of JSON with an ETag and a date; /picture?n= the same as an image
 *     /both            deferred, answered at once    /forgets /overflows /headers  what endpoints may do
 * wrong
 *
 * Errors: functions fail the running cmocka test. Threads: one, beside the server's. */
#ifndef TEST_HTTP_WORLD_H
#define TEST_HTTP_WORLD_H

#include "server/http/http.h"
#include "tests/unit/server/http_peer.h"

enum { MAX_BODY = 1 << 20, SMALL_BODY = 1000 };

struct world {
    struct srv_service service;
    struct srv_http *http;
    uint16_t port;
    int log_file;
    atomic_int calls;              /* of any endpoint */
    atomic_int cancelled_waits;    /* /wait saw its flag */
    _Atomic double seen_cancelled; /* when it did, the last time */
    atomic_bool message_was_wrong; /* what an endpoint found unlike the contract */
};
extern struct world world;

extern const struct srv_http_options world_usual;

void world_start(const struct srv_http_options *options);
void world_stop(void);
int world_start_usual(void **state);
int world_stop_usual(void **state);

/* The sample of that name and these labels, 0 when there is none; and whether it becomes `value` within some
 * seconds. */
double world_metric(const char *series);
bool world_settles(const char *series, double value);

void world_wait_for_calls(int count);
const char *world_log(void);

/* The answer is a problem of that kind, whole and with the request id of its header. */
void world_assert_problem(const struct peer_answer *answer, int status, const char *code);
/* The same for one request; `body` may be NULL. */
void world_assert_asks(const char *method, const char *path, const char *body, int status, const char *code);

#endif
