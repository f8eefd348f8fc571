/* files.h - the files of a training: the model, and what stands beside it.
 * Writes leave the old or the new file, never a half. Threads: one. */
#ifndef SRV_TRAIN_FILES_H
#define SRV_TRAIN_FILES_H

#include "core/base/buffer.h"

#include <stdbool.h>

enum { SRV_TRAIN_FILE_NAME = 256 };

struct srv_train_files {
    int folder;                           /* open, or -1 */
    char model[SRV_TRAIN_FILE_NAME];      /* M.safetensors */
    char checkpoint[SRV_TRAIN_FILE_NAME]; /* M.checkpoint.safetensors */
    char log[SRV_TRAIN_FILE_NAME];        /* M.log.jsonl */
    char loss[SRV_TRAIN_FILE_NAME];       /* M.loss.png */
    char samples[SRV_TRAIN_FILE_NAME];    /* M.samples.png */
};

/* `path` of the model, in a folder that exists. EFM_E_ARGUMENT for a name that does not end in .safetensors, EFM_E_IO. */
EFM_MUST_CHECK enum efm_status srv_train_files_open(struct srv_train_files *files, const char *path,
                                                    struct efm_error *error);
void srv_train_files_close(struct srv_train_files *files);

bool srv_train_files_exists(const struct srv_train_files *files, const char *name);

/* Writes what the buffer holds, by temporary file, fsync and rename. EFM_E_IO; EFM_E_MEMORY for a buffer that failed. */
EFM_MUST_CHECK enum efm_status srv_train_files_write(const struct srv_train_files *files, const char *name,
                                                     const struct efm_buffer *bytes, struct efm_error *error);

/* Removes a file, and a temporary one that a killed training left of it; that there is none is no error. */
EFM_MUST_CHECK enum efm_status srv_train_files_remove(const struct srv_train_files *files, const char *name,
                                                      struct efm_error *error);

/* Splits a path into its folder, opened, and the rest, borrowed. EFM_E_IO. */
EFM_MUST_CHECK enum efm_status srv_train_open_folder(const char *path, int *folder, const char **name,
                                                     struct efm_error *error);

#endif
