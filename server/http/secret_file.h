/* secret_file.h - files that hold keys: read whole, and wiped. Threads: pure. */
#ifndef SRV_HTTP_SECRET_FILE_H
#define SRV_HTTP_SECRET_FILE_H

#include "core/base/buffer.h"

#include <stdbool.h>
#include <sys/stat.h>

/* All of the regular file at `path`, at most 1 MiB, with a zero byte past its end that is not counted. `noun` is for messages:
 * "the file of keys". EFM_E_IO, EFM_E_LIMIT, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_secret_file_read(struct efm_buffer *out, const char *path,
                                                    const char *noun, struct stat *facts,
                                                    struct efm_error *error);
/* Wipes and frees. */
void srv_secret_file_release(struct efm_buffer *bytes);

#endif
