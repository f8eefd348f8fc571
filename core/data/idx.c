// SPDX-License-Identifier: Apache-2.0
/* IDX, the format of MNIST: 00 00, a type, the number of sizes, the sizes in big-endian, the bytes. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

enum { TYPE_UNSIGNED_BYTE = 0x08, MAX_RANK = 4 };

static bool probe(const uint8_t *bytes, size_t size)
{
    return size >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] >= 0x08 && bytes[2] <= 0x0e &&
           bytes[3] >= 1 && bytes[3] <= 8;
}

static uint32_t read_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

enum efm_status efm_idx_header_size(const uint8_t *bytes, size_t *header, struct efm_error *error)
{
    if (bytes[2] != TYPE_UNSIGNED_BYTE)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "IDX of type 0x%02x is not read, only unsigned bytes",
                             bytes[2]);
    size_t rank = bytes[3];
    if (rank == 1)
        return efm_error_set(
            error, EFM_E_UNSUPPORTED,
            "IDX of one dimension holds labels, and labels are not samples; send the file of "
            "images");
    if (rank != 3 && rank != MAX_RANK)
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "IDX of %zu dimensions is not read; images have 3 or 4", rank);
    *header = 4 + 4 * rank;
    return EFM_OK;
}

bool efm_idx_sizes(const uint8_t *bytes, uint64_t sizes[4], size_t *total)
{
    bool fits = true;
    *total = sizes[3] = 1;
    for (size_t i = 0; i < bytes[3]; i++) {
        sizes[i] = read_big_endian(bytes + 4 + 4 * i);
        fits = fits && efm_size_multiply(*total, (size_t)sizes[i], total);
    }
    return fits;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    size_t header, total;
    uint64_t sizes[4];
    enum efm_status status = efm_idx_header_size(bytes, &header, error);
    if (status != EFM_OK)
        return status;
    if (size < header)
        return efm_error_set(error, EFM_E_FORMAT, "the IDX file ends in its header");
    if (!efm_idx_sizes(bytes, sizes, &total) || total != size - header)
        return efm_error_set(error, EFM_E_FORMAT,
                             "the IDX file promises %llu images of %llux%llux%llu and has %zu bytes for them",
                             (unsigned long long)sizes[0], (unsigned long long)sizes[1],
                             (unsigned long long)sizes[2], (unsigned long long)sizes[3], size - header);
    if (total == 0)
        return efm_error_set(error, EFM_E_FORMAT, "there are no samples in it");
    return efm_dataset_from_pixels(dataset, efm_idx_reader.format, bytes + header, sizes, options, error);
}

const struct efm_dataset_reader efm_idx_reader = {"idx", probe, read_samples};
