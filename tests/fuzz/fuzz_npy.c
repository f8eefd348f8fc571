// SPDX-License-Identifier: Apache-2.0
/* Bytes as an NPY array, as a view and as a dataset. */
#include "core/base/memory.h"
#include "core/data/npy.h"
#include "tests/fuzz/dataset_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct efm_npy_view view;
    if (efm_npy_parse(data, size, &view, NULL) == EFM_OK) {
        struct efm_buffer out = efm_buffer_limited(64 << 20);
        float *values = efm_allocate_array(view.count, sizeof *values);
        if (values != NULL && efm_npy_floats(&view, values, NULL) == EFM_OK &&
            efm_npy_write_floats(&out, values, view.shape, view.rank) == EFM_OK &&
            efm_npy_parse(out.data, out.size, &view, NULL) != EFM_OK)
            abort();
        efm_free(values);
        efm_buffer_release(&out);
    }
    read_as_dataset(data, size);
    return 0;
}
