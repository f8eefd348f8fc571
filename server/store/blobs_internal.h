/* blobs_internal.h - what the stores of blobs share: a list that grows, and blobs that lie behind a descriptor. */
#ifndef SRV_STORE_BLOBS_INTERNAL_H
#define SRV_STORE_BLOBS_INTERNAL_H

#include "server/store/blobs.h"

#include <sys/stat.h>

/* EFM_E_FULL, EFM_E_MEMORY, EFM_E_ARGUMENT (a blob in place of a folder) or EFM_E_IO, by errno. `what` ends as in "the blob x cannot be written". */
enum efm_status srv_blobs_failed(const char *key, const char *what, struct efm_error *error);

/* Facts under way; zeroed it is empty. */
struct srv_blob_list {
    struct srv_blob_facts *facts; /* owned until finish */
    size_t count, capacity;
};
EFM_MUST_CHECK enum efm_status srv_blob_list_add(struct srv_blob_list *list, const char *key, uint64_t size,
                                                 double modified, struct efm_error *error);
/* Hands the facts over, sorted by key; or frees them when `status` is a failure. Returns `status`. */
enum efm_status srv_blob_list_finish(struct srv_blob_list *list, enum efm_status status,
                                     struct srv_blob_facts **facts, size_t *count);

/* An open blob that is a descriptor. */
struct srv_blob_file {
    struct srv_blob blob;
    int file;
    void *mapped; /* NULL until it is asked for */
};
/* Takes `file` over, and closes it when this fails. */
EFM_MUST_CHECK enum efm_status srv_blob_file_create(struct srv_blobs *blobs, int file, uint64_t size,
                                                    struct srv_blob **blob, struct efm_error *error);
const uint8_t *srv_blob_file_map(struct srv_blob *blob, struct efm_error *error);
int srv_blob_file_descriptor(struct srv_blob *blob);
void srv_blob_file_close(struct srv_blob *blob);

/* All of them, however often the system takes only a part; false with errno. */
bool srv_blob_write_all(int file, const void *bytes, size_t size);
double srv_blob_seconds(const struct timespec *time);

/* ---- blob_publish.c: names in a tree of folders ---- */

/* Puts the file `temporary` of the folder `temporaries`, already synced, under the key, in place of an older one, durably,
 * making the folders that are missing. False with errno: then the key is as it was. The temporary name is gone in
 * either case. Callers of one process take turns. */
EFM_MUST_CHECK bool srv_blob_publish(int root, int temporaries, const char *temporary, const char *key);
/* Removes the name and the folders that it leaves empty, durably; false with errno. A key that is not there is fine.
 * Takes turns with srv_blob_publish; against other processes that function tries again. */
EFM_MUST_CHECK bool srv_blob_withdraw(int root, const char *key);

#endif
