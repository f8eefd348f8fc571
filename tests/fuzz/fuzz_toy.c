// SPDX-License-Identifier: Apache-2.0
/* Bytes as the JSON of a toy, which is described as it is read. */
#include "core/data/toy.h"
#include "tests/fuzz/dataset_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_shape shape = {0};
    struct efm_error error = {0};
    size_t count = 0;
    options.max_count = 1000;
    enum efm_status status = efm_toy_describe(data, size, &options, &shape, &count, &error);
    if (status == EFM_OK ? count == 0 || count > 1000 || shape.dimension == 0 : error.message[0] == '\0')
        abort();
    read_as_dataset(data, size);
    return 0;
}
