/* message.h - a request and a reply as plain values, so that the contract can be read, tested and fuzzed
 * without a daemon. Threads: plain values of one request. */
#ifndef API_MESSAGE_H
#define API_MESSAGE_H

#include "core/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything borrowed for the life of the request; strings are "" when absent, never NULL. */
struct api_message {
    const char *method;       /* "POST" */
    const char *path;         /* decoded, without the query */
    const char *query;        /* raw, after the '?' */
    const char *content_type; /* the header as sent */
    const char *accept;       /* the header as sent */
    const uint8_t *body;
    size_t body_size;
};

enum { API_REPLY_HEADERS = 16 };

struct api_header {
    char name[32];
    char value[128];
};

/* Where the time of an answer went, in seconds. The server makes Server-Timing and its log of them. */
struct api_timings {
    bool queued, computed; /* whether the ones below are known */
    double queue;          /* from admission to the first evaluation, or to the end when there is none */
    double infer, encode;  /* computed: evaluations; from the last one to the answer */
};

enum { API_FACTS_MODEL = 65 };

/* What is said of an answer in the log beside its status and its times. */
struct api_facts {
    const char *code;            /* of a problem, a constant; NULL: it is none */
    char model[API_FACTS_MODEL]; /* that the request named; "": none */
    uint64_t results,
        evaluations; /* of the field, over all results; 0: nothing was computed, or it is not known */
};

struct api_reply {
    int status;
    char content_type[64];
    struct efm_buffer body; /* owned; handed on to the connection */
    struct api_header headers[API_REPLY_HEADERS];
    size_t header_count;
    struct api_timings timings;
    struct api_facts facts;
};

/* An empty 200 reply whose body may grow to `limit` bytes. */
void api_reply_init(struct api_reply *reply, size_t limit);
void api_reply_release(struct api_reply *reply);

/* Adds a header, stripped of control characters, so that nothing from a client can start one of its own. Left out when
 * its name or value does not fit, for half of a value means something else, and past API_REPLY_HEADERS. */
void api_reply_header(struct api_reply *reply, const char *name, const char *format, ...) EFM_PRINTF(3, 4);

/* The header of that name, in any case; NULL when there is none. */
const struct api_header *api_reply_find(const struct api_reply *reply, const char *name);

/* Media types we can make. */
enum api_media {
    API_MEDIA_NONE,
    API_MEDIA_PNG,
    API_MEDIA_JPEG,
    API_MEDIA_WEBP,
    API_MEDIA_JSON,
    API_MEDIA_NPY, /* application/octet-stream, application/x-npy */
};

/* Picks the best of `offers` [count] for an Accept header (RFC 9110: q values, wildcards, specificity; ties
 * go to the earlier offer; an empty header accepts all). API_MEDIA_NONE when nothing fits. */
enum api_media api_accept(const char *accept, const enum api_media *offers, size_t count);
const char *api_media_type(enum api_media media);

/* True when the header forbids the media type (q=0), as opposed to not naming it. */
bool api_accept_refuses(const char *accept, enum api_media media);

/* Which of its two names an NPY answer bears for this client; borrowed for ever. */
const char *api_accept_npy_type(const char *accept);

/* The media type of a Content-Type header in lower case without parameters, copied to out[size]. */
void api_content_type(const char *header, char *out, size_t size);

#endif
