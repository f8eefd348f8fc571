/* body.h - the body of one request while it arrives: bounded by its own limit and, with all others that are
 * arriving, by one budget.
 *
 * A body of known length gets its memory at once (the kernel gives pages as they are written), one of unknown
 * length grows; either counts against the budget only as its bytes really come, so that nobody can take the
 * budget by announcing much and sending nothing.
 *
 * Threads: a body belongs to one thread at a time; the budget is shared. */
#ifndef SRV_HTTP_BODY_H
#define SRV_HTTP_BODY_H

#include "api/problem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct srv_budget {
    atomic_size_t used;
    size_t limit;
};

struct srv_body {
    struct srv_budget *budget; /* borrowed; NULL before begin */
    uint8_t *data;             /* owned; one more byte than `capacity`, for the NUL */
    size_t size, capacity, limit;
    size_t reserved; /* bytes of the budget */
};

enum { SRV_BODY_UNKNOWN = -1 };

/* `length` is the Content-Length, or SRV_BODY_UNKNOWN for a chunked body. False with API_P_BODY_TOO_LARGE,
 * API_P_QUEUE_FULL when the budget cannot take it now, or API_P_NO_MEMORY. */
bool srv_body_begin(struct srv_body *body, int64_t length, size_t limit, struct srv_budget *budget,
                    struct api_problem *problem);

/* The next bytes; the same problems. */
bool srv_body_append(struct srv_body *body, const void *data, size_t size, struct api_problem *problem);

/* All has come: puts the NUL past the end and gives the budget back; the bytes stay. False: no memory. */
bool srv_body_finish(struct srv_body *body, struct api_problem *problem);

/* Frees the bytes and gives back what is left of the budget. */
void srv_body_release(struct srv_body *body);

#endif
