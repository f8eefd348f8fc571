/* inner_work.h - an endpoint that answers a request of another protocol through /v1/transfer or /v1/generate.
 *
 * The request is read and said in our own words on a helper, the inner request waits and is computed as any
 * other, and its answer is said in the other protocol's words on the helper that made it, as is a problem of
 * the inner request: the client never learns that there was one.
 *
 *     struct infer_work { struct srv_inner_work base; ... };
 *     static const struct srv_inner_class class = {sizeof(struct infer_work), read, answer, NULL, release};
 *
 *     struct srv_inner_work *work = srv_inner_work_create(service, exchange, &class);
 *     if (work != NULL)
 *         srv_inner_work_submit(work);
 *
 * Threads: create and submit on an event thread; one at a time for a work. */
#ifndef SRV_ENDPOINTS_INNER_WORK_H
#define SRV_ENDPOINTS_INNER_WORK_H

#include "api/inner_request.h"
#include "server/engine/registry.h"
#include "server/engine/scheduler.h"
#include "server/http/http.h"

struct srv_inner_work;

struct srv_inner_class {
    size_t size; /* of the struct that embeds the work */
    /* Helper. NULL with a problem; else the inner request, which stays the work's, though its body is taken
     * out. */
    struct api_inner_request *(*read)(struct srv_inner_work *work, struct api_problem *problem);
    /* Helper. Initialises `reply` from the inner answer; false with a problem, and `reply` needs no release
     * then. */
    bool (*answer)(struct srv_inner_work *work, const struct api_reply *inner, struct api_reply *reply,
                   struct api_problem *problem);
    /* Any thread. Makes the pointers of an inner problem those of the outer request; NULL: they are the same. */
    void (*translate)(struct api_problem *problem);
    void (*release)(struct srv_inner_work *work); /* frees what the embedding struct has added */
};

struct srv_inner_work {
    struct srv_work work; /* first: the scheduler gives us this */
    const struct srv_inner_class *class;
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_inner_request *inner; /* after read */
};

/* Zeroed; NULL after a problem has been sent. */
struct srv_inner_work *srv_inner_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                             const struct srv_inner_class *class);
/* Takes it over. */
void srv_inner_work_submit(struct srv_inner_work *work);

/* The shape of the samples of a model into `shape`; dimension 0 when it is not known now. False with
 * API_P_UNKNOWN_MODEL. */
bool srv_inner_shape(struct srv_service *service, const char *model, struct efm_shape *shape,
                     struct api_problem *problem);

#endif
