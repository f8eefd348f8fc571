/* blobs_suite.h - what every store of blobs must do, wherever the bytes lie. Each case gets an empty store. */
#ifndef TESTS_BLOBS_SUITE_H
#define TESTS_BLOBS_SUITE_H

#include "server/store/blobs.h"

struct blobs_case {
    const char *name;
    void (*run)(struct srv_blobs *blobs);
};

extern const struct blobs_case blobs_cases[];
extern const size_t blobs_case_count;

/* ---- short forms, for more tests of stores ---- */

void blobs_write(struct srv_blobs *blobs, const char *key, const char *text);
/* Whether the blob is there with this text; NULL: is not there. */
void blobs_expect(struct srv_blobs *blobs, const char *key, const char *text);
/* The keys below a prefix, joined by spaces; borrowed until the next call. */
const char *blobs_keys(struct srv_blobs *blobs, const char *prefix);
/* Threads put and remove blobs of one folder by turns through both stores, until each has done so `rounds` times. */
void blobs_put_and_remove(struct srv_blobs *one, struct srv_blobs *two, int rounds);

#endif
