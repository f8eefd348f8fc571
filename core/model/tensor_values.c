// SPDX-License-Identifier: Apache-2.0
/* The numbers of a tensor, whatever type of float they are stored as. */
#include "core/model/model_internal.h"
#include "core/model/safetensors.h"

#include <math.h>
#include <string.h>

static float from_half(uint16_t half)
{
    double sign = half & 0x8000 ? -1 : 1;
    int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    if (exponent == 0x1f)
        return fraction != 0 ? NAN : (float)(sign * INFINITY);
    if (exponent == 0)
        return (float)(sign * ldexp(fraction, -24));
    return (float)(sign * ldexp(1024 + fraction, exponent - 25));
}

static float from_brain(uint16_t brain)
{
    uint32_t bits = (uint32_t)brain << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Element `index` of a float tensor; every type of ours fits a double. */
static double read_value(const struct efm_tensor_entry *entry, size_t index)
{
    float narrow;
    double wide;
    uint16_t half;
    switch (entry->type) {
    case EFM_TENSOR_F32:
        memcpy(&narrow, entry->data + index * sizeof narrow, sizeof narrow);
        return narrow;
    case EFM_TENSOR_F64:
        memcpy(&wide, entry->data + index * sizeof wide, sizeof wide);
        return wide;
    case EFM_TENSOR_F16:
        memcpy(&half, entry->data + index * sizeof half, sizeof half);
        return from_half(half);
    case EFM_TENSOR_BF16:
        memcpy(&half, entry->data + index * sizeof half, sizeof half);
        return from_brain(half);
    case EFM_TENSOR_I64:
    case EFM_TENSOR_U8:
        break;
    }
    return NAN;
}

static enum efm_status check_is_float(const struct efm_tensor_entry *entry, struct efm_error *error)
{
    if (entry->type == EFM_TENSOR_I64 || entry->type == EFM_TENSOR_U8)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "tensor '%s' holds integers (%s), not floats",
                             efm_show_text(entry->name).text, efm_tensor_type_name(entry->type));
    return EFM_OK;
}

enum efm_status efm_safetensors_floats(const struct efm_tensor_entry *entry, float *out,
                                       struct efm_error *error)
{
    enum efm_status status = check_is_float(entry, error);
    if (status != EFM_OK)
        return status;
    if (entry->type == EFM_TENSOR_F32 && entry->count > 0) {
        memcpy(out, entry->data, entry->size);
        return EFM_OK;
    }
    for (size_t i = 0; i < entry->count; i++)
        out[i] = (float)read_value(entry, i);
    return EFM_OK;
}

enum efm_status efm_safetensors_doubles(const struct efm_tensor_entry *entry, double *out,
                                        struct efm_error *error)
{
    enum efm_status status = check_is_float(entry, error);
    for (size_t i = 0; i < entry->count && status == EFM_OK; i++)
        out[i] = read_value(entry, i);
    return status;
}
