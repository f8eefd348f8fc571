/* multipart.h - multipart/form-data (RFC 7578) as views into the body. Threads: pure. */
#ifndef API_MULTIPART_H
#define API_MULTIPART_H

#include "api/problem.h"

#include <stdint.h>

enum { API_MULTIPART_MAX_PARTS = 256 };

struct api_part {
    char name[64];
    char content_type[64]; /* "" when absent */
    bool has_filename;
    const uint8_t *data; /* borrowed from the body */
    size_t size;
};

/* Splits a body. `parts` [API_MULTIPART_MAX_PARTS]. False with API_P_MALFORMED_MULTIPART: no or bad boundary,
 * a part without a name, a missing end, header lines past 4 KiB, too many parts. */
bool api_multipart_parse(const char *content_type, const uint8_t *body, size_t size, struct api_part *parts,
                         size_t *count, struct api_problem *problem);

#endif
