/* stream_check.h - looks at a dataset file while it arrives, so that what cannot be one is refused at its first wrong byte
 * and not after the last: a first look, in constant memory. What passes may still be refused when it is read.
 *
 *     struct efm_stream_check *check;
 *     efm_stream_check_create(&check, &limits, &error);
 *     while (bytes come)
 *         efm_stream_check_feed(check, bytes, size, &error);       EFM_E_FORMAT, EFM_E_LIMIT ...: send no more
 *     efm_stream_check_finish(check, &error);                      a file that ended too early
 *     efm_stream_check_destroy(check);
 *
 * Seen: the kind of the file (as in dataset.h) from its first bytes; IDX and NPY headers, their counts against the limits
 * and the exact length of the file; the checksum, type, size and name of every tar entry, and that each image begins like one;
 * the first local header of a zip; the same inside gzip. Cost: one pass, no copies but headers; images are not decoded.
 * Threads: one at a time per check. */
#ifndef EFM_DATA_STREAM_CHECK_H
#define EFM_DATA_STREAM_CHECK_H

#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct efm_stream_limits {
    size_t max_count;     /* samples */
    uint64_t max_bytes;   /* of the file as it arrives */
    uint64_t max_decoded; /* of what a gzip file unpacks to */
};

struct efm_stream_check;

EFM_MUST_CHECK enum efm_status efm_stream_check_create(struct efm_stream_check **check,
                                                       const struct efm_stream_limits *limits,
                                                       struct efm_error *error);
void efm_stream_check_destroy(struct efm_stream_check *check); /* NULL is fine */

/* After a failure every further call gives the same one. The message says at which byte, of the file or of what it unpacks
 * to. Whatever efm_dataset_read takes under the same limits passes, however it is cut. EFM_E_FORMAT, EFM_E_UNSUPPORTED,
 * EFM_E_LIMIT, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_stream_check_feed(struct efm_stream_check *check, const uint8_t *bytes,
                                                     size_t size, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_stream_check_finish(struct efm_stream_check *check,
                                                       struct efm_error *error);

/* "idx" "npy" "tar" "zip" "toy", "" while it is not known. */
const char *efm_stream_check_format(const struct efm_stream_check *check);

#endif
