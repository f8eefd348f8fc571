/* safetensors.h - read and write the safetensors container: a JSON header and raw little-endian tensors.
 *
 * A reader borrows the bytes and believes nothing: header size, tensor count, names, types, shapes and
 * offsets are checked (begin <= end <= size, product of the shape times the element size = end - begin, no
 * overlap, no duplicate name, no byte unclaimed) before a tensor is handed out. Tensors may lie unaligned, as
 * the format allows.
 *
 *     efm_safetensors_open(&file, bytes, size, &error);
 *     const struct efm_tensor_entry *t = efm_safetensors_find(file, "weights.conv.weight");
 *     efm_safetensors_floats(t, out);
 *     efm_safetensors_close(file);
 *
 * Threads: a reader may be shared after opening.
 */
#ifndef EFM_MODEL_SAFETENSORS_H
#define EFM_MODEL_SAFETENSORS_H

#include "core/base/buffer.h"
#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { EFM_TENSOR_MAX_RANK = 8, EFM_SAFETENSORS_MAX_HEADER = 16 << 20, EFM_SAFETENSORS_MAX_TENSORS = 65536 };

enum efm_tensor_type {
    EFM_TENSOR_F32,
    EFM_TENSOR_F64,
    EFM_TENSOR_F16,
    EFM_TENSOR_BF16,
    EFM_TENSOR_I64,
    EFM_TENSOR_U8
};

size_t efm_tensor_type_size(enum efm_tensor_type type);
const char *efm_tensor_type_name(enum efm_tensor_type type); /* "F32", "BF16", ... as in the file */

struct efm_tensor_entry {
    const char *name; /* borrowed from the reader */
    enum efm_tensor_type type;
    size_t rank;
    uint64_t shape[EFM_TENSOR_MAX_RANK];
    size_t count;        /* elements */
    const uint8_t *data; /* borrowed from the bytes; unaligned */
    size_t size;         /* bytes */
};

struct efm_safetensors;

/* Checks everything; `bytes` stay borrowed until close. EFM_E_FORMAT, EFM_E_LIMIT, EFM_E_UNSUPPORTED,
 * EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_safetensors_open(struct efm_safetensors **file, const uint8_t *bytes,
                                                    size_t size, struct efm_error *error);
void efm_safetensors_close(struct efm_safetensors *file);

size_t efm_safetensors_count(const struct efm_safetensors *file);
const struct efm_tensor_entry *efm_safetensors_at(const struct efm_safetensors *file, size_t index);
const struct efm_tensor_entry *efm_safetensors_find(const struct efm_safetensors *file, const char *name);

/* The value of a key of __metadata__, borrowed; NULL when absent. */
const char *efm_safetensors_metadata(const struct efm_safetensors *file, const char *key);

/* Any of the float types to float32 / float64, out [entry->count]. EFM_E_UNSUPPORTED for integers. */
EFM_MUST_CHECK enum efm_status efm_safetensors_floats(const struct efm_tensor_entry *entry, float *out,
                                                      struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_safetensors_doubles(const struct efm_tensor_entry *entry, double *out,
                                                       struct efm_error *error);

struct efm_metadata_entry {
    const char *key;
    const char *value;
};

/* Appends a file of `tensors` and `metadata`, in the order given, to `out`. Tensor data lies in host
 * memory in little-endian order. The same input gives the same bytes. */
EFM_MUST_CHECK enum efm_status efm_safetensors_write(struct efm_buffer *out,
                                                     const struct efm_tensor_entry *tensors,
                                                     size_t tensor_count,
                                                     const struct efm_metadata_entry *metadata,
                                                     size_t metadata_count, struct efm_error *error);

#endif
