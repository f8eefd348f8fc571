/* storage.h - files of the state directory: written so that a crash leaves the old or the new one, read with
 * a limit.
 *
 *     srv_storage_folder("/var/lib/efmd/models", &folder, &error);
 *     srv_storage_write(folder, "cats.safetensors", parts, 1, now, &error);      durable once it returns
 *     close(folder);
 *
 * Names are file names, checked by the caller. All functions give EFM_E_IO with the system's reason.
 * Threads: any; writers of one name must take turns. */
#ifndef SRV_STORE_STORAGE_H
#define SRV_STORE_STORAGE_H

#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct srv_storage_part {
    const void *data;
    size_t size;
};

/* Opens a folder, made with its parents when it is not there; the caller closes it. */
EFM_MUST_CHECK enum efm_status srv_storage_folder(const char *path, int *folder, struct efm_error *error);

/* Takes STATE/lock; EFM_E_IO when another process has it. Closing *file lets go. */
EFM_MUST_CHECK enum efm_status srv_storage_lock(const char *directory, int *file, struct efm_error *error);

/* Temporary file, fsync, rename, fsync of the folder. `changed`, in Unix seconds, is what srv_storage_read will
 * give for it. */
EFM_MUST_CHECK enum efm_status srv_storage_write(int folder, const char *name,
                                                 const struct srv_storage_part *parts, size_t count,
                                                 int64_t changed, struct efm_error *error);

/* A whole regular file of at most `limit` bytes, owned by the caller (efm_free); *changed is its time of last
 * change in Unix seconds. EFM_E_LIMIT, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_storage_read(int folder, const char *name, size_t limit, uint8_t **bytes,
                                                size_t *size, int64_t *changed, struct efm_error *error);

/* The same fsync as write; a file that is not there is no error. */
EFM_MUST_CHECK enum efm_status srv_storage_remove(int folder, const char *name, struct efm_error *error);

/* Removes temporary files that a crash left, then calls visit for every other file whose name ends in
 * `suffix`, sorted by name, with the name before the suffix. */
EFM_MUST_CHECK enum efm_status srv_storage_each(int folder, const char *suffix,
                                                void (*visit)(void *context, const char *stem), void *context,
                                                struct efm_error *error);

#endif
