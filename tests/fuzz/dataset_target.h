/* dataset_target.h - what the fuzz targets of core/data share: bytes as a dataset under small limits. */
#ifndef EFM_TESTS_FUZZ_DATASET_TARGET_H
#define EFM_TESTS_FUZZ_DATASET_TARGET_H

#include "core/data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is read is whole: every float can be had, is finite and within the range. */
static inline void look_at(struct efm_dataset *dataset, const struct efm_dataset_options *options)
{
    size_t count = efm_dataset_count(dataset), dimension = efm_dataset_shape(dataset)->dimension;
    float low, high;
    efm_dataset_range(dataset, &low, &high);
    if (count == 0 || count > options->max_count || dimension == 0 ||
        efm_dataset_bytes(dataset) > options->max_decoded_bytes + 4096)
        abort();
    float *values = malloc(count * dimension * sizeof *values);
    if (values == NULL || efm_dataset_floats(dataset, 0, count, values, NULL) != EFM_OK)
        abort();
    for (size_t i = 0; i < count * dimension; i++)
        if (!isfinite(values[i]) || values[i] < low || values[i] > high)
            abort();
    free(values);
    efm_dataset_unref(dataset);
}

static inline void read_as_dataset(const uint8_t *data, size_t size)
{
    struct efm_dataset_options options = efm_dataset_options_default();
    options.max_count = 1000;
    options.max_decoded_bytes = 1 << 18;
    options.image_limits = (struct efm_image_limits){256, 256 * 256};
    for (int turn = 0; turn < 2; turn++) {
        struct efm_dataset *dataset = NULL;
        struct efm_error error = {0};
        if (efm_dataset_read(&dataset, data, size, &options, &error) == EFM_OK)
            look_at(dataset, &options);
        else if (dataset != NULL || error.status == EFM_OK || error.message[0] == '\0')
            abort();
        options.shape = efm_shape_image(5, 4, 3);
    }
}

#endif
