/* stream_internal.h - what the parts of the stream check share: the content of a file as it passes, unpacked if it came
 * gzipped. Not for other rooms. */
#ifndef EFM_DATA_STREAM_INTERNAL_H
#define EFM_DATA_STREAM_INTERNAL_H

#include "core/base/buffer.h"
#include "core/data/stream_check.h"
#include "core/data/tar_entry.h"

/* What is expected next of a tar. */
enum efm_stream_tar_part {
    EFM_STREAM_TAR_HEADER,
    EFM_STREAM_TAR_EXTENSION, /* data that is kept: a name, pax records */
    EFM_STREAM_TAR_IMAGE,     /* the first bytes of a sample */
    EFM_STREAM_TAR_REST,      /* data and padding that nobody looks at */
    EFM_STREAM_TAR_ENDED,
};

struct efm_stream_tar {
    enum efm_stream_tar_part part;
    uint64_t left; /* of the data and padding of the entry */
    size_t count;  /* samples so far */
    struct efm_tar_pending pending;
    struct efm_tar_entry entry;
};

struct efm_stream_content {
    const struct efm_stream_kind *kind; /* NULL: not known yet */
    uint64_t at;                        /* bytes that were found good, or where the failure is */
    uint64_t fed;
    uint64_t max_size;
    size_t max_count;
    uint64_t length;        /* that the header promises for the whole; UINT64_MAX: it does not say */
    size_t wanted;          /* bytes of `held` before the next look */
    struct efm_buffer held; /* owned: a header, or another part that is looked at as a whole */
    bool started;           /* the header is done; toy: the brace was seen */
    struct efm_stream_tar tar;
};

/* One kind of file. */
struct efm_stream_kind {
    const char *format;
    enum efm_status (*feed)(struct efm_stream_content *content, const uint8_t *bytes, size_t size,
                            struct efm_error *error);
    enum efm_status (*finish)(struct efm_stream_content *content, struct efm_error *error);
};

extern const struct efm_stream_kind efm_stream_tar_kind;

/* Moves bytes into `held` until it has `content->wanted`; says how many. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_stream_hold(struct efm_stream_content *content, const uint8_t *bytes,
                                               size_t size, size_t *taken, struct efm_error *error);

#endif
