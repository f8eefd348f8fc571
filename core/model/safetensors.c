// SPDX-License-Identifier: Apache-2.0
#include "core/model/safetensors.h"

#include "core/base/memory.h"
#include "core/model/model_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_METADATA = 4096 };

/* Every tensor opens three brackets: its object, its shape, its offsets. */
static const size_t max_brackets = 3 * (size_t)EFM_SAFETENSORS_MAX_TENSORS + 2;
/* Of a tensor: one after it, two between its keys, one in its offsets, the rest in its shape. */
static const size_t max_commas =
    (4 + EFM_TENSOR_MAX_RANK) * (size_t)EFM_SAFETENSORS_MAX_TENSORS + MAX_METADATA;

struct efm_safetensors {
    json_t *header;                         /* owned; names and metadata are borrowed from it */
    const json_t *metadata;                 /* of the header; may be NULL */
    struct efm_tensor_entry *entries;       /* owned, in the order of their data */
    const struct efm_tensor_entry **sorted; /* owned, in the order of their names */
    size_t count;
};

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [EFM_TENSOR_F32] = {"F32", 4},   [EFM_TENSOR_F64] = {"F64", 8}, [EFM_TENSOR_F16] = {"F16", 2},
    [EFM_TENSOR_BF16] = {"BF16", 2}, [EFM_TENSOR_I64] = {"I64", 8}, [EFM_TENSOR_U8] = {"U8", 1},
};

size_t efm_tensor_type_size(enum efm_tensor_type type)
{
    return types[type].size;
}

const char *efm_tensor_type_name(enum efm_tensor_type type)
{
    return types[type].name;
}

struct efm_shown_text efm_show_text(const char *text)
{
    struct efm_shown_text shown = {{0}};
    size_t length = strlen(text), kept = length > 80 ? 80 : length;
    for (size_t i = 0; i < kept; i++)
        shown.text[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    if (kept < length)
        memcpy(shown.text + kept, "...", 4);
    return shown;
}

/* A JSON tree takes many times the bytes of its text, so brackets, depth and commas are counted against
 * what a true header can have before one is built. */
static bool is_plausible(const char *text, size_t size)
{
    size_t brackets = 0, commas = 0, depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char symbol = text[i];
        if (in_string) {
            i += symbol == '\\';
            in_string = symbol != '"';
            continue;
        }
        in_string = symbol == '"';
        commas += symbol == ',';
        if (symbol == '{' || symbol == '[') {
            brackets++;
            depth++;
        }
        if ((symbol == '}' || symbol == ']') && depth > 0)
            depth--;
        if (depth > 3 || brackets > max_brackets || commas > max_commas)
            return false;
    }
    return true;
}

static enum efm_status parse_header(json_t **header, const uint8_t *bytes, size_t size, size_t *header_size,
                                    struct efm_error *error)
{
    uint64_t length = 0;
    if (size < LENGTH_BYTES)
        return efm_error_set(error, EFM_E_FORMAT, "the safetensors file is truncated");
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)bytes[i] << 8 * i;
    if (length > size - LENGTH_BYTES)
        return efm_error_set(error, EFM_E_FORMAT,
                             "not safetensors, or truncated: a header of %llu bytes in a file of %zu",
                             (unsigned long long)length, size);
    if (length > EFM_SAFETENSORS_MAX_HEADER)
        return efm_error_set(error, EFM_E_LIMIT, "the safetensors header has %llu bytes, more than %d",
                             (unsigned long long)length, EFM_SAFETENSORS_MAX_HEADER);
    const char *text = (const char *)bytes + LENGTH_BYTES;
    if (length < 2 || text[0] != '{')
        return efm_error_set(error, EFM_E_FORMAT, "the safetensors header is not a JSON object");
    if (!is_plausible(text, (size_t)length))
        return efm_error_set(error, EFM_E_LIMIT, "the safetensors header is nested too deeply or too long");
    json_error_t reason;
    *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &reason);
    if (*header == NULL && json_error_code(&reason) == json_error_out_of_memory)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the safetensors header");
    if (*header == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the safetensors header is damaged at byte %d: %s",
                             reason.position, efm_show_text(reason.text).text);
    *header_size = (size_t)length;
    return EFM_OK;
}

static enum efm_status check_metadata(const json_t *metadata, struct efm_error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return efm_error_set(error, EFM_E_FORMAT, "__metadata__ of the safetensors file is not an object");
    json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value)) return efm_error_set(
        error, EFM_E_FORMAT, "__metadata__ \"%s\" is not a string", efm_show_text(key).text);
    return EFM_OK;
}

static enum efm_status parse_type(struct efm_tensor_entry *entry, const json_t *value,
                                  struct efm_error *error)
{
    const char *word = json_string_value(value);
    if (word == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' has no dtype",
                             efm_show_text(entry->name).text);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(word, types[i].name) == 0) {
            entry->type = (enum efm_tensor_type)i;
            return EFM_OK;
        }
    }
    return efm_error_set(error, EFM_E_UNSUPPORTED, "tensor '%s' is of type '%s', which is not read",
                         efm_show_text(entry->name).text, efm_show_text(word).text);
}

static bool read_size(const json_t *value, uint64_t *size)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *size = (uint64_t)json_integer_value(value);
    return true;
}

static enum efm_status parse_shape(struct efm_tensor_entry *entry, const json_t *value,
                                   struct efm_error *error)
{
    if (!json_is_array(value))
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' has no shape",
                             efm_show_text(entry->name).text);
    entry->rank = json_array_size(value);
    if (entry->rank > EFM_TENSOR_MAX_RANK)
        return efm_error_set(error, EFM_E_LIMIT, "tensor '%s' has %zu dimensions, more than %d",
                             efm_show_text(entry->name).text, entry->rank, EFM_TENSOR_MAX_RANK);
    entry->count = 1;
    bool fits = true;
    for (size_t i = 0; i < entry->rank && fits; i++)
        fits = read_size(json_array_get(value, i), &entry->shape[i]) &&
               efm_size_multiply(entry->count, (size_t)entry->shape[i], &entry->count);
    if (!fits || !efm_size_multiply(entry->count, efm_tensor_type_size(entry->type), &entry->size))
        return efm_error_set(error, EFM_E_FORMAT, "the shape of tensor '%s' is impossible",
                             efm_show_text(entry->name).text);
    return EFM_OK;
}

static enum efm_status parse_offsets(struct efm_tensor_entry *entry, const json_t *value, const uint8_t *data,
                                     size_t data_size, struct efm_error *error)
{
    uint64_t begin, end;
    if (json_array_size(value) != 2 || !read_size(json_array_get(value, 0), &begin) ||
        !read_size(json_array_get(value, 1), &end))
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' has no data_offsets",
                             efm_show_text(entry->name).text);
    if (begin > end || end > data_size)
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' lies outside of the file",
                             efm_show_text(entry->name).text);
    if (end - begin != entry->size)
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' has %llu bytes where its shape needs %zu",
                             efm_show_text(entry->name).text, (unsigned long long)(end - begin), entry->size);
    entry->data = data + begin;
    return EFM_OK;
}

static enum efm_status parse_entry(struct efm_tensor_entry *entry, const char *name, const json_t *value,
                                   const uint8_t *data, size_t data_size, struct efm_error *error)
{
    entry->name = name;
    if (!json_is_object(value) || json_object_size(value) != 3)
        return efm_error_set(error, EFM_E_FORMAT, "tensor '%s' is not {dtype, shape, data_offsets}",
                             efm_show_text(name).text);
    enum efm_status status = parse_type(entry, json_object_get(value, "dtype"), error);
    if (status == EFM_OK)
        status = parse_shape(entry, json_object_get(value, "shape"), error);
    if (status == EFM_OK)
        status = parse_offsets(entry, json_object_get(value, "data_offsets"), data, data_size, error);
    return status;
}

/* In the order of the data; empty tensors before the one that begins where they are. */
static int compare_places(const void *a, const void *b)
{
    const struct efm_tensor_entry *first = a, *second = b;
    if (first->data != second->data)
        return first->data < second->data ? -1 : 1;
    if ((first->size == 0) != (second->size == 0))
        return first->size == 0 ? -1 : 1;
    return strcmp(first->name, second->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct efm_tensor_entry *const *)a)->name,
                  (*(const struct efm_tensor_entry *const *)b)->name);
}

/* Each tensor begins where the one before it ended, so none overlap and no byte is left over. */
static enum efm_status check_places(const struct efm_safetensors *file, const uint8_t *data, size_t size,
                                    struct efm_error *error)
{
    const uint8_t *place = data;
    for (size_t i = 0; i < file->count; i++) {
        const struct efm_tensor_entry *entry = &file->entries[i];
        if (entry->data != place)
            return efm_error_set(error, EFM_E_FORMAT,
                                 entry->data < place ? "tensor '%s' overlaps another"
                                                     : "bytes before tensor '%s' belong to none",
                                 efm_show_text(entry->name).text);
        place += entry->size;
    }
    if (place != data + size)
        return efm_error_set(error, EFM_E_FORMAT, "%zu bytes at the end of the file belong to no tensor",
                             (size_t)(data + size - place));
    return EFM_OK;
}

static enum efm_status take_entries(struct efm_safetensors *file, const uint8_t *data, size_t size,
                                    struct efm_error *error)
{
    const char *key;
    json_t *value;
    size_t tensors = json_object_size(file->header) - (file->metadata != NULL);
    if (tensors > EFM_SAFETENSORS_MAX_TENSORS)
        return efm_error_set(error, EFM_E_LIMIT, "%zu tensors are more than %d", tensors,
                             EFM_SAFETENSORS_MAX_TENSORS);
    file->entries = efm_allocate_array(tensors, sizeof *file->entries);
    file->sorted = efm_allocate_array(tensors, sizeof *file->sorted);
    if (file->entries == NULL || file->sorted == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the index of %zu tensors", tensors);
    json_object_foreach(file->header, key, value)
    {
        if (value == file->metadata)
            continue;
        enum efm_status status = parse_entry(&file->entries[file->count], key, value, data, size, error);
        if (status != EFM_OK)
            return status;
        file->count++;
    }
    qsort(file->entries, file->count, sizeof *file->entries, compare_places);
    for (size_t i = 0; i < file->count; i++)
        file->sorted[i] = &file->entries[i];
    qsort(file->sorted, file->count, sizeof *file->sorted, compare_names);
    return check_places(file, data, size, error);
}

enum efm_status efm_safetensors_open(struct efm_safetensors **file, const uint8_t *bytes, size_t size,
                                     struct efm_error *error)
{
    size_t header_size = 0;
    struct efm_safetensors *opened = efm_allocate_array(1, sizeof *opened);
    if (opened == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to open a safetensors file");
    enum efm_status status = parse_header(&opened->header, bytes, size, &header_size, error);
    if (status != EFM_OK)
        goto done;
    opened->metadata = json_object_get(opened->header, "__metadata__");
    if (opened->metadata != NULL)
        status = check_metadata(opened->metadata, error);
    if (status == EFM_OK)
        status = take_entries(opened, bytes + LENGTH_BYTES + header_size, size - LENGTH_BYTES - header_size,
                              error);
done:
    if (status != EFM_OK) {
        efm_safetensors_close(opened);
        return status;
    }
    *file = opened;
    return EFM_OK;
}

void efm_safetensors_close(struct efm_safetensors *file)
{
    if (file == NULL)
        return;
    efm_free(file->entries);
    efm_free(file->sorted);
    json_decref(file->header);
    efm_free(file);
}

size_t efm_safetensors_count(const struct efm_safetensors *file)
{
    return file->count;
}

const struct efm_tensor_entry *efm_safetensors_at(const struct efm_safetensors *file, size_t index)
{
    return index < file->count ? &file->entries[index] : NULL;
}

const struct efm_tensor_entry *efm_safetensors_find(const struct efm_safetensors *file, const char *name)
{
    struct efm_tensor_entry wanted = {.name = name};
    const struct efm_tensor_entry *key = &wanted;
    const struct efm_tensor_entry *const *found =
        bsearch(&key, file->sorted, file->count, sizeof *file->sorted, compare_names);
    return found != NULL ? *found : NULL;
}

const char *efm_safetensors_metadata(const struct efm_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}
