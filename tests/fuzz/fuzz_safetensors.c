// SPDX-License-Identifier: Apache-2.0
/* Bytes as a safetensors file, and as a model: nothing that opens may lie, and what loads must save. */
#include "core/base/memory.h"
#include "core/model/model.h"
#include "core/model/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct efm_safetensors *file, size_t size)
{
    for (size_t i = 0; i < efm_safetensors_count(file); i++) {
        const struct efm_tensor_entry *entry = efm_safetensors_at(file, i);
        if (efm_safetensors_find(file, entry->name) != entry || entry->size > size)
            abort();
        double *values = efm_allocate_array(entry->count, sizeof *values);
        if (values != NULL && efm_safetensors_doubles(entry, values, NULL) == EFM_OK)
            if (efm_safetensors_floats(entry, (float *)values, NULL) != EFM_OK)
                abort();
        efm_free(values);
    }
}

/* What was saved loads again to the same bytes. */
static void save_and_load(const struct efm_model *model)
{
    struct efm_buffer out = efm_buffer_limited(64 << 20), again = efm_buffer_limited(64 << 20);
    struct efm_model *copy = NULL;
    if (efm_model_save(model, &out, NULL) != EFM_OK ||
        efm_model_load(&copy, out.data, out.size, SIZE_MAX, NULL) != EFM_OK ||
        efm_model_save(copy, &again, NULL) != EFM_OK || out.size != again.size ||
        memcmp(out.data, again.data, out.size) != 0 ||
        strcmp(efm_model_sha256(model), efm_model_sha256(copy)) != 0)
        abort();
    efm_model_unref(copy);
    efm_buffer_release(&again);
    efm_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct efm_error error = {0};
    struct efm_safetensors *file = NULL;
    if (efm_safetensors_open(&file, data, size, &error) == EFM_OK)
        look_at(file, size);
    else if (error.status == EFM_OK || error.message[0] == '\0')
        abort();
    efm_safetensors_close(file);

    struct efm_model *model = NULL;
    efm_error_clear(&error);
    if (efm_model_load(&model, data, size, 1 << 20, &error) == EFM_OK)
        save_and_load(model);
    efm_model_unref(model);
    return 0;
}
