/* router.h - from a request target and a method to an endpoint.
 *
 *     struct srv_target target;
 *     if (!srv_target_parse(&target, uri, &problem)) ...
 *     if (!srv_route(routes, count, "GET", &target, &match, &problem)) ...      404, 405, 422
 *
 * Threads: pure functions. */
#ifndef SRV_HTTP_ROUTER_H
#define SRV_HTTP_ROUTER_H

#include "api/parameters.h"
#include "api/problem.h"
#include "server/http/http.h"

#include <stdbool.h>
#include <stddef.h>

/* A request target taken apart. All strings lie in `text`. */
struct srv_target {
    char *text;        /* owned (efm_free) */
    const char *raw;   /* the path as sent: "/v1/models/a%2eb" */
    const char *path;  /* the path decoded: "/v1/models/a.b" */
    const char *query; /* as sent, after the '?'; "" for none */
};

/* Takes the origin form ("/path?query") and the absolute form ("http://host/path"). False with a problem when
 * an escape is broken or hides a NUL, or when there is no memory; the target is then "" throughout. */
bool srv_target_parse(struct srv_target *target, const char *uri, struct api_problem *problem);
/* The host and port in an absolute form, `length` bytes; NULL in any other form. */
const char *srv_target_authority(const char *uri, size_t *length);
void srv_target_release(struct srv_target *target);

struct srv_match {
    const struct srv_endpoint *endpoint; /* NULL for OPTIONS */
    const char *route;                   /* the canonical path template, "none" when nothing matches */
    char name[API_NAME_SIZE];            /* what stood for {name}; "" for none */
    char allow[64];                      /* "GET, HEAD, OPTIONS" */
};

/* Finds the endpoint; a literal path wins over one with {name}. `match` is filled as far as the search went,
 * also when it ends in a problem. */
bool srv_route(const struct srv_endpoint *const *routes, size_t count, const char *method,
               const struct srv_target *target, struct srv_match *match, struct api_problem *problem);

#endif
