// SPDX-License-Identifier: Apache-2.0
/* Bytes as a file that arrives in pieces: how they are cut changes nothing, and what the readers take passes. */
#include "tests/fuzz/dataset_target.h"

#include "core/data/stream_check.h"

enum { MAX_COUNT = 1000, MAX_DECODED = 1 << 18 };

static void check_in_pieces(const uint8_t *data, size_t size, size_t piece, struct efm_error *error)
{
    const struct efm_stream_limits limits = {
        .max_count = MAX_COUNT, .max_bytes = 1 << 20, .max_decoded = MAX_DECODED};
    struct efm_stream_check *check = NULL;
    enum efm_status status = efm_stream_check_create(&check, &limits, error);
    for (size_t at = 0; at < size && status == EFM_OK; at += piece) {
        size_t next = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(next);
        if (copy == NULL)
            abort();
        memcpy(copy, data + at, next);
        status = efm_stream_check_feed(check, copy, next, error);
        free(copy);
    }
    if (status == EFM_OK)
        status = efm_stream_check_finish(check, error);
    if (status != error->status || (status != EFM_OK && error->message[0] == '\0'))
        abort();
    efm_stream_check_destroy(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 7, 65536};
    struct efm_error error[3] = {0};
    for (size_t i = 0; i < 3; i++)
        check_in_pieces(data, size, pieces[i], &error[i]);
    /* A limit on the whole file may be seen before a fault that lies further in front of it. */
    for (size_t i = 1; i < 3; i++)
        if ((error[i].status == EFM_OK) != (error[0].status == EFM_OK))
            abort();

    struct efm_dataset_options options = efm_dataset_options_default();
    options.max_count = MAX_COUNT;
    options.max_decoded_bytes = MAX_DECODED;
    options.image_limits = (struct efm_image_limits){256, 256 * 256};
    struct efm_dataset *dataset = NULL;
    if (efm_dataset_read(&dataset, data, size, &options, NULL) == EFM_OK && error[0].status != EFM_OK)
        abort();
    efm_dataset_unref(dataset);
    return 0;
}
