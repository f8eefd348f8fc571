// SPDX-License-Identifier: Apache-2.0
/* Memory for samples, or a file without a name in its place. The file is memory that the system can write back and take
 * away when others need it; it goes with the last mapping, whatever becomes of the program. A disk that cannot be read
 * back later is a SIGBUS, as for any mapped file. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static enum efm_status fail_io(const char *what, uint64_t size, int reason, struct efm_error *error)
{
    if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG)
        return efm_error_set(error, EFM_E_FULL, "the disk has no room for %llu bytes of samples",
                             (unsigned long long)size);
    char text[96];
    const char *message = strerror_r(reason, text, sizeof text); /* the GNU one */
    return efm_error_set(error, EFM_E_IO, "cannot %s scratch file for samples: %s", what, message);
}

/* An open file that has no name, or soon none: some file systems know no O_TMPFILE. */
static int open_nameless(const char *folder)
{
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return file;
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/samples-XXXXXX", folder);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    file = mkostemp(path, O_CLOEXEC);
    if (file >= 0)
        unlink(path);
    return file;
}

/* Maps the whole of an open file. */
static enum efm_status map(struct efm_stored_samples *samples, size_t size, int file, int protection,
                           struct efm_error *error)
{
    void *data = mmap(NULL, size, protection, MAP_SHARED, file, 0);
    if (data == MAP_FAILED)
        return errno == ENOMEM
                   ? efm_error_set(error, EFM_E_MEMORY, "no memory to map %zu bytes of samples", size)
                   : fail_io("map the", size, errno, error);
    *samples = (struct efm_stored_samples){data, size, true};
    return EFM_OK;
}

static enum efm_status create_mapped(struct efm_stored_samples *samples, size_t size, const char *scratch,
                                     struct efm_error *error)
{
    int file = open_nameless(scratch);
    if (file < 0)
        return fail_io("make a", size, errno, error);
    int reason;
    do
        reason = size > INT64_MAX ? EFBIG : posix_fallocate(file, 0, (off_t)size);
    while (reason == EINTR);
    enum efm_status status = reason != 0 ? fail_io("make room in the", size, reason, error)
                                         : map(samples, size, file, PROT_READ | PROT_WRITE, error);
    close(file);
    return status;
}

enum efm_status efm_stored_samples_create(struct efm_stored_samples *samples, size_t size,
                                          const char *scratch, struct efm_error *error)
{
    if (scratch != NULL && size > EFM_SAMPLES_IN_MEMORY)
        return create_mapped(samples, size, scratch, error);
    void *data = efm_allocate(size);
    if (data == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu bytes of samples", size);
    *samples = (struct efm_stored_samples){data, size, false};
    return EFM_OK;
}

void efm_stored_samples_seal(struct efm_stored_samples *samples)
{
    if (samples->mapped)
        (void)mprotect(samples->data, samples->size, PROT_READ); /* a guard against ourselves, not needed */
}

void efm_stored_samples_release(struct efm_stored_samples *samples)
{
    if (samples->mapped)
        munmap(samples->data, samples->size);
    else
        efm_free(samples->data);
    *samples = (struct efm_stored_samples){0};
}

/* ---- bytes whose number is not known ---- */

struct efm_spill efm_spill_limited(uint64_t limit, const char *scratch)
{
    size_t in_memory = limit > SIZE_MAX ? SIZE_MAX : (size_t)limit;
    if (scratch != NULL && in_memory > EFM_SAMPLES_IN_MEMORY)
        in_memory = EFM_SAMPLES_IN_MEMORY;
    return (struct efm_spill){efm_buffer_limited(in_memory), scratch, limit, 0, -1};
}

static enum efm_status write_all(struct efm_spill *spill, const uint8_t *bytes, size_t size,
                                 struct efm_error *error)
{
    while (size > 0) {
        ssize_t written = write(spill->file, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fail_io("write the", spill->size, written < 0 ? errno : ENOSPC, error);
        bytes += written;
        size -= (size_t)written;
    }
    return EFM_OK;
}

/* What was held in memory goes to the file, and what comes after it too. */
static enum efm_status begin_file(struct efm_spill *spill, struct efm_error *error)
{
    spill->file = open_nameless(spill->scratch);
    if (spill->file < 0)
        return fail_io("make a", spill->size, errno, error);
    enum efm_status status = write_all(spill, spill->buffer.data, spill->buffer.size, error);
    efm_buffer_release(&spill->buffer);
    return status;
}

enum efm_status efm_spill_append(struct efm_spill *spill, const void *bytes, size_t size,
                                 struct efm_error *error)
{
    if (size > spill->limit - spill->size)
        return efm_error_set(error, EFM_E_LIMIT, "the file unpacks to more than %llu bytes",
                             (unsigned long long)spill->limit);
    spill->size += size;
    if (spill->file < 0) {
        enum efm_status status = efm_buffer_append(&spill->buffer, bytes, size);
        if (status == EFM_OK)
            return EFM_OK;
        if (status != EFM_E_LIMIT || spill->scratch == NULL)
            return efm_error_set(error, status, "no memory to unpack a file");
        status = begin_file(spill, error);
        if (status != EFM_OK)
            return status;
    }
    return write_all(spill, bytes, size, error);
}

enum efm_status efm_spill_take(struct efm_spill *spill, struct efm_stored_samples *samples,
                               struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    if (spill->file < 0) {
        *samples = (struct efm_stored_samples){spill->buffer.data, spill->buffer.size, false};
        spill->buffer = efm_buffer_limited(0);
    } else {
        status = map(samples, (size_t)spill->size, spill->file, PROT_READ, error);
    }
    efm_spill_release(spill);
    return status;
}

void efm_spill_release(struct efm_spill *spill)
{
    efm_buffer_release(&spill->buffer);
    if (spill->file >= 0)
        close(spill->file);
    spill->file = -1;
    spill->size = 0;
}
