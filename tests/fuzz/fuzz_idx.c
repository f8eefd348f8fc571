// SPDX-License-Identifier: Apache-2.0
/* Bytes as an IDX file, plain or gzipped. */
#include "tests/fuzz/dataset_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_as_dataset(data, size);
    return 0;
}
