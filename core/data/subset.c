// SPDX-License-Identifier: Apache-2.0
#include "core/data/subset.h"

#include "core/base/memory.h"
#include "core/data/data_internal.h"

#include <string.h>

enum { HEADER = 8, TYPE_UNSIGNED_BYTE = 0x08 };

/* ---- labels ---- */

static enum efm_status read_plain(struct efm_labels *labels, const uint8_t *bytes, size_t size,
                                  struct efm_error *error)
{
    if (size < HEADER || bytes[0] != 0 || bytes[1] != 0)
        return efm_error_set(error, EFM_E_FORMAT, "the labels are no IDX file");
    if (bytes[2] != TYPE_UNSIGNED_BYTE || bytes[3] != 1)
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "labels are IDX of unsigned bytes in one dimension, not of type 0x%02x in %u",
                             bytes[2], bytes[3]);
    size_t count = (size_t)bytes[4] << 24 | (size_t)bytes[5] << 16 | (size_t)bytes[6] << 8 | bytes[7];
    if (count == 0 || count != size - HEADER)
        return efm_error_set(error, EFM_E_FORMAT, "the IDX file promises %zu labels and has %zu", count,
                             size - HEADER);
    uint8_t *values = efm_allocate(count);
    if (values == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu labels", count);
    memcpy(values, bytes + HEADER, count);
    *labels = (struct efm_labels){values, count};
    return EFM_OK;
}

enum efm_status efm_labels_read(struct efm_labels *labels, const uint8_t *bytes, size_t size,
                                struct efm_error *error)
{
    if (!efm_gzip_probe(bytes, size))
        return read_plain(labels, bytes, size, error);
    struct efm_spill unpacked = efm_spill_limited(HEADER + efm_dataset_options_default().max_count, NULL);
    enum efm_status status = efm_gzip_unpack(&unpacked, bytes, size, NULL, error);
    if (status == EFM_OK)
        status = read_plain(labels, unpacked.buffer.data, unpacked.buffer.size, error);
    efm_spill_release(&unpacked);
    return status;
}

void efm_labels_release(struct efm_labels *labels)
{
    efm_free(labels->values);
    *labels = (struct efm_labels){0};
}

/* ---- selection ---- */

static bool is_chosen(const struct efm_selection *selection, size_t index)
{
    return selection->labels == NULL || selection->labels->values[index] == selection->label;
}

/* The range [*begin, *end) that the selection means among `count` samples. */
static enum efm_status resolve_range(const struct efm_selection *selection, size_t count, size_t *begin,
                                     size_t *end, struct efm_error *error)
{
    const int64_t all = (int64_t)count;
    if (selection->first > all || selection->first < -all)
        return efm_error_set(error, EFM_E_ARGUMENT, "the first sample is %lld, and there are %zu",
                             (long long)selection->first, count);
    int64_t from = selection->first < 0 ? all + selection->first : selection->first, to = all;
    if (selection->count > all - from || selection->count < -all)
        return efm_error_set(error, EFM_E_ARGUMENT, "%lld samples from number %lld are past the end of %zu",
                             (long long)selection->count, (long long)from, count);
    if (selection->count != 0)
        to = selection->count > 0 ? from + selection->count : all + selection->count;
    if (to <= from)
        return efm_error_set(error, EFM_E_NOT_FOUND, "no sample is left of %zu by first %lld and count %lld",
                             count, (long long)selection->first, (long long)selection->count);
    *begin = (size_t)from;
    *end = (size_t)to;
    return EFM_OK;
}

static const struct efm_dataset_options unlimited = {.max_count = SIZE_MAX, .max_decoded_bytes = SIZE_MAX};

/* What `dataset` lacks but for its samples. */
static enum efm_status create_like(struct efm_dataset **subset, const struct efm_dataset *dataset,
                                   size_t count, struct efm_error *error)
{
    enum efm_status status =
        dataset->pixels != NULL
            ? efm_dataset_create_pixels(subset, dataset->format, count, &dataset->shape, &unlimited, error)
            : efm_dataset_create_floats(subset, dataset->format, count, &dataset->shape, &unlimited, error);
    if (status == EFM_OK)
        (*subset)->standard_normal = dataset->standard_normal;
    return status;
}

static void copy_sample(struct efm_dataset *subset, size_t to, const struct efm_dataset *dataset, size_t from)
{
    const size_t dimension = dataset->shape.dimension;
    if (dataset->pixels != NULL)
        memcpy(subset->pixels + to * dimension, dataset->pixels + from * dimension, dimension);
    else
        memcpy(subset->floats + to * dimension, dataset->floats + from * dimension,
               dimension * sizeof(float));
}

enum efm_status efm_dataset_select(struct efm_dataset **subset, const struct efm_dataset *dataset,
                                   const struct efm_selection *selection, struct efm_error *error)
{
    struct efm_dataset *made = NULL;
    size_t chosen = 0, begin = 0, end = 0, seen = 0;
    if (selection->labels != NULL && selection->labels->count != dataset->count)
        return efm_error_set(error, EFM_E_SHAPE, "there are %zu labels for %zu samples",
                             selection->labels->count, dataset->count);
    for (size_t i = 0; i < dataset->count; i++)
        chosen += is_chosen(selection, i);
    if (chosen == 0)
        return efm_error_set(error, EFM_E_NOT_FOUND, "no sample has the label %u", selection->label);
    enum efm_status status = resolve_range(selection, chosen, &begin, &end, error);
    if (status == EFM_OK)
        status = create_like(&made, dataset, end - begin, error);
    if (status != EFM_OK)
        return status;
    for (size_t i = 0; i < dataset->count; i++) {
        if (!is_chosen(selection, i))
            continue;
        if (seen >= begin && seen < end)
            copy_sample(made, seen - begin, dataset, i);
        seen++;
    }
    return efm_dataset_finish(subset, made, &unlimited, error);
}
