// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "core/model/model_internal.h"
#include "core/model/safetensors.h"

#include <string.h>

/* The length of the UTF-8 sequence that starts here, or 0: JSON readers refuse anything else. */
static size_t sequence_length(const unsigned char *text)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t lowest;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t extra = 0; extra < 4; extra++) {
        if ((text[0] & forms[extra].mask) != forms[extra].lead)
            continue;
        uint32_t code = text[0] & (unsigned char)~forms[extra].mask;
        for (size_t i = 1; i <= extra; i++) {
            if ((text[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (text[i] & 0x3f);
        }
        bool valid = code >= forms[extra].lowest && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        return valid ? extra + 1 : 0;
    }
    return 0;
}

static enum efm_status append_text(struct efm_buffer *out, const char *text, struct efm_error *error)
{
    efm_buffer_append(out, "\"", 1);
    const unsigned char *at = (const unsigned char *)text;
    while (*at != 0) {
        size_t length = sequence_length(at);
        if (length == 0)
            return efm_error_set(error, EFM_E_ARGUMENT, "the text '%s' is not UTF-8",
                                 efm_show_text(text).text);
        if (*at < ' ') {
            efm_buffer_format(out, "\\u%04x", *at);
        } else {
            if (*at == '"' || *at == '\\')
                efm_buffer_append(out, "\\", 1);
            efm_buffer_append(out, at, length);
        }
        at += length;
    }
    efm_buffer_append(out, "\"", 1);
    return EFM_OK;
}

static enum efm_status append_metadata(struct efm_buffer *out, const struct efm_metadata_entry *metadata,
                                       size_t count, struct efm_error *error)
{
    efm_buffer_append_string(out, "\"__metadata__\":{");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            efm_buffer_append(out, ",", 1);
        enum efm_status status = append_text(out, metadata[i].key, error);
        if (status != EFM_OK)
            return status;
        efm_buffer_append(out, ":", 1);
        status = append_text(out, metadata[i].value, error);
        if (status != EFM_OK)
            return status;
    }
    efm_buffer_append(out, "}", 1);
    return EFM_OK;
}

static enum efm_status check_entry(const struct efm_tensor_entry *entry, struct efm_error *error)
{
    size_t count = 1, size = 0;
    bool fits = entry->rank <= EFM_TENSOR_MAX_RANK;
    for (size_t i = 0; i < entry->rank && fits; i++)
        fits = efm_size_multiply(count, (size_t)entry->shape[i], &count);
    if (!fits || !efm_size_multiply(count, efm_tensor_type_size(entry->type), &size) || size != entry->size)
        return efm_error_set(error, EFM_E_ARGUMENT, "tensor '%s' has %zu bytes, not those of its shape",
                             efm_show_text(entry->name).text, entry->size);
    return EFM_OK;
}

static enum efm_status append_entry(struct efm_buffer *out, const struct efm_tensor_entry *entry,
                                    size_t begin, size_t end, struct efm_error *error)
{
    enum efm_status status = append_text(out, entry->name, error);
    efm_buffer_format(out, ":{\"dtype\":\"%s\",\"shape\":[", efm_tensor_type_name(entry->type));
    for (size_t i = 0; i < entry->rank; i++)
        efm_buffer_format(out, "%s%llu", i == 0 ? "" : ",", (unsigned long long)entry->shape[i]);
    efm_buffer_format(out, "],\"data_offsets\":[%zu,%zu]}", begin, end);
    return status;
}

enum efm_status efm_safetensors_write_header(struct efm_buffer *out, const struct efm_tensor_entry *tensors,
                                             size_t tensor_count, const struct efm_metadata_entry *metadata,
                                             size_t metadata_count, struct efm_error *error)
{
    struct efm_buffer text = efm_buffer_limited(EFM_SAFETENSORS_MAX_HEADER);
    size_t begin = 0;
    enum efm_status status = EFM_OK;
    efm_buffer_append(&text, "{", 1);
    if (metadata_count > 0)
        status = append_metadata(&text, metadata, metadata_count, error);
    for (size_t i = 0; i < tensor_count && status == EFM_OK; i++) {
        size_t end;
        status = check_entry(&tensors[i], error);
        if (status != EFM_OK)
            break;
        if (!efm_size_add(begin, tensors[i].size, &end)) {
            status = efm_error_set(error, EFM_E_ARGUMENT, "the tensors are larger than memory");
            break;
        }
        if (i > 0 || metadata_count > 0)
            efm_buffer_append(&text, ",", 1);
        status = append_entry(&text, &tensors[i], begin, end, error);
        begin = end;
    }
    if (status != EFM_OK)
        goto done;
    /* spaces bring the data to a multiple of 8, so that a mapped file can be read in place */
    efm_buffer_append(&text, "}", 1);
    efm_buffer_append(&text, "        ", (8 - text.size % 8) % 8);
    status = text.status;
    if (status == EFM_OK) {
        uint8_t length[8];
        for (size_t i = 0; i < sizeof length; i++)
            length[i] = (uint8_t)((uint64_t)text.size >> 8 * i);
        efm_buffer_append(out, length, sizeof length);
        status = efm_buffer_append(out, text.data, text.size);
    }
    if (status != EFM_OK)
        efm_error_set(error, status, "no room for a safetensors header");
done:
    efm_buffer_release(&text);
    return status;
}

enum efm_status efm_safetensors_write(struct efm_buffer *out, const struct efm_tensor_entry *tensors,
                                      size_t tensor_count, const struct efm_metadata_entry *metadata,
                                      size_t metadata_count, struct efm_error *error)
{
    enum efm_status status =
        efm_safetensors_write_header(out, tensors, tensor_count, metadata, metadata_count, error);
    size_t size = 0; /* the header was written, so the sum is no larger than memory */
    for (size_t i = 0; i < tensor_count && status == EFM_OK; i++)
        size += tensors[i].size;
    if (status == EFM_OK && efm_buffer_reserve(out, size) != EFM_OK)
        status = efm_error_set(error, out->status, "no room for %zu bytes of tensors", size);
    for (size_t i = 0; i < tensor_count && status == EFM_OK; i++) {
        status = efm_buffer_append(out, tensors[i].data, tensors[i].size);
        if (status != EFM_OK)
            efm_error_set(error, status, "no room for tensor '%s'", efm_show_text(tensors[i].name).text);
    }
    return status;
}
