/* conditions.h - the conditions that a request can make: lists of entity tags, and dates (RFC 9110, 8.8 and 13.1).
 *
 *     switch (srv_tags_find(srv_exchange_header(exchange, "If-None-Match"), "\"0123\"", SRV_TAGS_WEAK)) ...
 *
 * A coding changes the bytes and so the tag: what is sent by gzip bears "0123-gzip" in place of "0123", and both
 * find "0123" here, so that a client may send back what it was given.
 *
 * Threads: any; plain functions. */
#ifndef SRV_HTTP_CONDITIONS_H
#define SRV_HTTP_CONDITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the tag of a coded answer has before its closing quote. */
#define SRV_GZIP_TAG "-gzip"

enum srv_tags {
    SRV_TAGS_ABSENT,    /* no such header, or an empty one */
    SRV_TAGS_MALFORMED, /* neither "*" nor a list of tags in quotes */
    SRV_TAGS_OTHER,     /* a list without this one */
    SRV_TAGS_FOUND,
    SRV_TAGS_ANY, /* "*" */
};

enum srv_tags_how {
    SRV_TAGS_WEAK,   /* If-None-Match: W/ makes no difference */
    SRV_TAGS_STRONG, /* If-Match: a weak tag is never the one */
};

/* Looks for `etag`, with its quotes and maybe W/, NULL when there is nothing to find. The whole list is read before
 * it counts. */
enum srv_tags srv_tags_find(const char *header, const char *etag, enum srv_tags_how how);

/* True when what has `etag` need not be sent again. A list that is not well-formed is no condition. */
bool srv_tags_not_modified(const char *if_none_match, const char *etag);

/* A date of HTTP, in any of its three forms, as seconds since 1970: false for anything else, and years before 1900. A year of two digits is
 * the one that is not more than 50 years after `now`. */
bool srv_date_parse(const char *text, int64_t now, int64_t *seconds);

/* False when If-Unmodified-Since names an earlier time than `modified`; what is no date is no condition. */
bool srv_unmodified_since(const char *header, int64_t modified);

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
enum { SRV_DATE_SIZE = 32 };
void srv_date_format(int64_t seconds, char out[SRV_DATE_SIZE]);

#endif
