// SPDX-License-Identifier: Apache-2.0
/* Bytes as a zip, plain or gzipped, of images. */
#include "tests/fuzz/dataset_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_as_dataset(data, size);
    return 0;
}
