/* points_work.h - the start and the end that /field and /trace have in common: a model, points in the body, an answer.
 *
 *     struct field_work { struct srv_points_work base; ... };
 *     struct srv_points_work *base = srv_points_work_create(service, exchange, sizeof(struct field_work), &class);
 *     if (base != NULL)
 *         srv_points_work_submit(base, bytes, release);
 *
 * Memory: the embedding struct belongs to the scheduler from submit until complete, which ends with
 * srv_points_work_end. Threads: one at a time for a work. */
#ifndef SRV_ENDPOINTS_POINTS_WORK_H
#define SRV_ENDPOINTS_POINTS_WORK_H

#include "api/points.h"
#include "server/engine/scheduler.h"
#include "server/http/http.h"

struct srv_points_work {
    struct srv_work work; /* first: the scheduler gives us this */
    struct srv_service *service;
    struct srv_exchange *exchange;
    struct api_points request;
};

/* `size` zeroed bytes of the struct that embeds it, with the model of the path; NULL after a problem has been sent, or while the
 * model is being loaded: the handler is then called again. */
struct srv_points_work *srv_points_work_create(struct srv_service *service, struct srv_exchange *exchange,
                                               size_t size, const struct srv_work_class *class);

/* Takes over the work; `release` frees what the embedding struct owns, when the work is refused. */
void srv_points_work_submit(struct srv_points_work *work, size_t bytes,
                            void (*release)(struct srv_points_work *work));

/* Frees the work and answers: with the reply where there is no problem. */
void srv_points_work_end(struct srv_points_work *work, struct api_reply *reply,
                         const struct api_problem *problem, void (*release)(struct srv_points_work *work));

#endif
