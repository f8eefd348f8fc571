/* helper_work.h - an endpoint whose work is done on a helper thread alone: reading a dataset, building a
 * model, writing a model file.
 *
 *     struct srv_helper_work *work = srv_helper_work_create(service, exchange, sizeof(*mine), &class);
 *     if (work != NULL)
 *         srv_helper_work_submit(work);
 *
 * Embed struct srv_helper_work as the first member; `work` does everything and fills `reply`; `release` frees
 * what it added. Threads: create and submit on an event thread. */
#ifndef SRV_ENDPOINTS_HELPER_WORK_H
#define SRV_ENDPOINTS_HELPER_WORK_H

#include "server/engine/scheduler.h"
#include "server/http/http.h"

struct srv_helper_work;

struct srv_helper_class {
    const char *operation;
    /* On a helper. False with a problem; otherwise the reply is sent. */
    bool (*run)(struct srv_helper_work *work, struct api_problem *problem);
    void (*release)(struct srv_helper_work *work); /* may be NULL */
    enum srv_lane lane;
};

struct srv_helper_work {
    struct srv_work work;
    const struct srv_helper_class *class;
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_reply reply;
    double started; /* when a helper took it up */
};

/* `size` zeroed bytes of the struct that embeds it; NULL after a problem has been sent. */
struct srv_helper_work *srv_helper_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                               size_t size, const struct srv_helper_class *class);

/* Takes over the work, whatever comes of it; `bytes` for admission. */
void srv_helper_work_submit(struct srv_helper_work *work, size_t bytes);

/* For a work that is not submitted: sends the problem and frees. */
void srv_helper_work_refuse(struct srv_helper_work *work, const struct api_problem *problem);

#endif
