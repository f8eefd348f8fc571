// SPDX-License-Identifier: Apache-2.0
#include "server/http/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MOST = 1 << 20 };

static bool read_all(int file, struct efm_buffer *out)
{
    char piece[4096];
    ssize_t got;
    do {
        got = read(file, piece, sizeof piece);
        if (got > 0)
            efm_buffer_append(out, piece, (size_t)got);
    } while (out->status == EFM_OK && (got > 0 || (got < 0 && errno == EINTR)));
    explicit_bzero(piece, sizeof piece);
    return got == 0;
}

enum efm_status srv_secret_file_read(struct efm_buffer *out, const char *path, const char *noun,
                                     struct stat *facts, struct efm_error *error)
{
    *out = efm_buffer_limited(FILE_MOST + 1);
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe must not hold up the start
    if (file < 0 || fstat(file, facts) != 0 || !S_ISREG(facts->st_mode)) {
        const char *reason = file < 0 ? strerror(errno) : "it is no regular file";
        enum efm_status status =
            efm_error_set(error, EFM_E_IO, "%s %.150s cannot be read: %s", noun, path, reason);
        if (file >= 0)
            close(file);
        return status;
    }
    // in one piece, so that no half of it stays behind in memory
    if (facts->st_size <= FILE_MOST)
        efm_buffer_reserve(out, (size_t)facts->st_size + 1);
    const bool good = read_all(file, out);
    const int reason = errno;
    close(file);
    if (good && out->size <= FILE_MOST && efm_buffer_append(out, "", 1) == EFM_OK) {
        out->size--;
        return EFM_OK;
    }
    const enum efm_status status = out->status;
    srv_secret_file_release(out);
    if (status == EFM_E_MEMORY)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %s", noun);
    if (!good && status == EFM_OK)
        return efm_error_set(error, EFM_E_IO, "%s %.150s cannot be read: %s", noun, path, strerror(reason));
    return efm_error_set(error, EFM_E_LIMIT, "%s %.150s is longer than %d bytes", noun, path, FILE_MOST);
}

void srv_secret_file_release(struct efm_buffer *bytes)
{
    if (bytes->data != NULL)
        explicit_bzero(bytes->data, bytes->capacity);
    efm_buffer_release(bytes);
}
