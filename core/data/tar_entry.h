/* tar_entry.h - the blocks of a tar, for those who have it whole and those who see it pass: ustar, with GNU long names
 * and pax records for names and sizes. Not for other rooms. Threads: pure functions. */
#ifndef EFM_DATA_TAR_ENTRY_H
#define EFM_DATA_TAR_ENTRY_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EFM_TAR_BLOCK = 512, EFM_TAR_MAX_NAME = 4096, EFM_TAR_MAX_PAX = 65536 };

/* What extension entries announced for the next one. */
struct efm_tar_pending {
    char name[EFM_TAR_MAX_NAME + 1];
    bool has_name;
    uint64_t size;
    bool has_size;
};

enum efm_tar_kind {
    EFM_TAR_SKIPPED,
    EFM_TAR_NAME, /* its data is for efm_tar_take_name */
    EFM_TAR_PAX,  /* its data is for efm_tar_take_pax */
    EFM_TAR_FILE, /* a sample */
};

struct efm_tar_entry {
    enum efm_tar_kind kind;
    uint64_t size;                   /* of the data, which fills whole blocks */
    char name[EFM_TAR_MAX_NAME + 1]; /* of what is no extension */
};

/* Whether a file begins like a tar. */
bool efm_tar_probe(const uint8_t *bytes, size_t size);

/* The block of zeros after the last entry. */
bool efm_tar_is_end(const uint8_t *block);

/* The entry of a header block; uses up what is pending. EFM_E_FORMAT, EFM_E_UNSUPPORTED. */
EFM_MUST_CHECK enum efm_status efm_tar_read_header(struct efm_tar_entry *entry,
                                                   struct efm_tar_pending *pending, const uint8_t *header,
                                                   struct efm_error *error);

/* The data of an extension entry; of a name the first EFM_TAR_MAX_NAME + 1 bytes are enough. EFM_E_FORMAT, EFM_E_LIMIT. */
EFM_MUST_CHECK enum efm_status efm_tar_take_name(struct efm_tar_pending *pending, const uint8_t *data,
                                                 size_t size, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_tar_take_pax(struct efm_tar_pending *pending, const uint8_t *data,
                                                size_t size, struct efm_error *error);

#endif
