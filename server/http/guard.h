/* guard.h - who may do what: API keys with scopes, the names under which the server may be asked, the pages that may ask it, and how
 * much one client may have under way.
 *
 * The file of keys, one a line ('#' begins a comment):
 *     NAME  SCOPES  KEY [EXPIRES]
 *     ci    infer        sha256:9f86d0...            a digest (printf %s "$key" | sha256sum), so that the file tells nobody the key
 *     ops   infer,admin  sk_3b1c0f2e9a7d44   2027-01-31   or the key itself, 16 to 256 characters; until the end of that day, UTC
 * It is read again when it changes; one that is gone or cannot be read is logged, and the keys stay. A key is compared by its digest, with every line, in a time that does not depend on where they
 * differ; it is never logged.
 *
 * Without a file everything is open to the machine itself (a server that listens on loopback). A server that others can reach keeps
 * what changes it (scope admin) shut until there are keys, or the operator says `admin = open`.
 *
 * Threads: any. */
#ifndef SRV_HTTP_GUARD_H
#define SRV_HTTP_GUARD_H

#include "api/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum srv_scope {
    SRV_SCOPE_ADMIN, /* first, so that an endpoint that says nothing is shut */
    SRV_SCOPE_INFER,
    SRV_SCOPE_OPEN /* health, the contract, the index: nobody is asked for a key */
};

struct srv_guard_options {
    const char *keys_file; /* "" for none */
    /* Names that the server may be asked under, with spaces between, without ports, beside localhost and all addresses, which no
     * stranger's page could be given under; "": no others when it listens on loopback, else any. */
    const char *hosts;
    const char
        *origins; /* of pages that may ask, as https://example.org, with spaces between; "*": any; "": none */
    bool loopback; /* it listens on loopback */
    bool admin_open;
    size_t client_requests; /* that one client may have under way; 0: no limit of its own */
    struct srv_log *log;    /* borrowed; NULL: none */
};

struct srv_guard;

/* EFM_E_IO, EFM_E_FORMAT (the message names the line, not what is in it), EFM_E_ARGUMENT for a host or origin that is none. */
EFM_MUST_CHECK enum efm_status
srv_guard_create(struct srv_guard **guard, const struct srv_guard_options *options, struct efm_error *error);
void srv_guard_destroy(struct srv_guard *guard);

/* What a request says of itself; "" for absent headers, borrowed. */
struct srv_guard_request {
    const char *host, *origin, *fetch_site; /* Host, Origin, Sec-Fetch-Site */
    const char *authorization;              /* Authorization */
    const char *address;                    /* of the peer: "127.0.0.1" */
    bool tls;
    bool probe; /* it asks for health, which is told under any name */
};

enum { SRV_CLIENT_SIZE = 72 };

struct srv_guard_pass {
    char
        client[SRV_CLIENT_SIZE]; /* "key:NAME" or the address: whose share of the server this request takes */
    bool cors;                   /* the origin is allowed: answer with Access-Control-Allow-Origin */
    bool admin;                  /* it may do what takes the scope admin */
};

/* False with API_P_MISDIRECTED, API_P_FOREIGN_ORIGIN, API_P_UNAUTHORIZED (no key, a wrong one, an expired one) or API_P_FORBIDDEN (the key's
 * scope, or admin without keys). `reason` is a word for metrics: "host", "origin", "no_key", "wrong_key", "expired_key", "scope", "admin". */
bool srv_guard_check(struct srv_guard *guard, const struct srv_guard_request *request, enum srv_scope scope,
                     struct srv_guard_pass *pass, const char **reason, struct api_problem *problem);

/* One more request of this client; false with API_P_CLIENT_LIMIT. Each true is given back by leave. */
bool srv_guard_enter(struct srv_guard *guard, const char *client, struct api_problem *problem);
void srv_guard_leave(struct srv_guard *guard, const char *client);

/* The Unix second at which the next key expires that has not; INT64_MAX when none does. */
int64_t srv_guard_next_expiry(struct srv_guard *guard);

/* True when there are keys. */
bool srv_guard_has_keys(struct srv_guard *guard);

#endif
