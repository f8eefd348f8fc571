/* guard_keys.h - the file of API keys; see guard.h for its form. Threads: pure. */
#ifndef SRV_HTTP_GUARD_KEYS_H
#define SRV_HTTP_GUARD_KEYS_H

#include "server/http/guard.h"

#include <stdint.h>

enum { SRV_KEY_NAME = 33, SRV_KEYS_MOST = 1024 };

struct srv_key {
    char name[SRV_KEY_NAME];
    bool infer, admin;
    char digest[65]; /* of the key, hex */
    int64_t expires; /* Unix seconds; INT64_MAX: never */
};

struct srv_keys {
    struct srv_key *items; /* owned */
    size_t count;
};

/* EFM_E_FORMAT names the line. */
EFM_MUST_CHECK enum efm_status srv_keys_parse(struct srv_keys *keys, const char *text, size_t size,
                                              struct efm_error *error);
void srv_keys_release(struct srv_keys *keys);

/* The key that `token` is, or NULL. Looks at every one of them, whichever it is. */
const struct srv_key *srv_keys_find(const struct srv_keys *keys, const char *token);

/* The Unix second at which the day after YYYY-MM-DD begins, UTC; false when it is no day. */
bool srv_day_end(const char *text, int64_t *seconds);

#endif
