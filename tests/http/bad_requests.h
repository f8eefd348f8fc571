/* bad_requests.h - the list of requests that must be refused, each with its answer.
 *
 * Made for a daemon with the models of world.h, --max-image-body 1M and --max-body 4M. */
#ifndef TEST_BAD_REQUESTS_H
#define TEST_BAD_REQUESTS_H

#include "core/base/buffer.h"
#include "tests/support/client.h"

enum { BAD_REQUESTS_MAX = 128 };

struct bad_request {
    char what[80];
    char path[160];
    struct test_request request;
    struct test_part parts[3];
    struct efm_buffer body; /* owned */
    int status;
    const char *code;
};

struct bad_requests {
    struct bad_request items[BAD_REQUESTS_MAX];
    size_t count;
};

void bad_requests_make(struct bad_requests *all);
void bad_requests_release(struct bad_requests *all);

#endif
