// SPDX-License-Identifier: Apache-2.0
#include "core/data/npy.h"

#include "core/base/memory.h"
#include "core/data/data_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

static const struct {
    const char *descr;
    size_t size;
} types[] = {
    [EFM_NPY_U8] = {"|u1", 1},
    [EFM_NPY_F32] = {"<f4", sizeof(float)},
    [EFM_NPY_F64] = {"<f8", sizeof(double)},
};

/* The text of the header under reading. */
struct cursor {
    const char *at;
    const char *end;
};

static void skip_spaces(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\t'))
        cursor->at++;
}

/* Takes `symbol`, with spaces before it, if it is next. */
static bool take(struct cursor *cursor, char symbol)
{
    skip_spaces(cursor);
    if (cursor->at == cursor->end || *cursor->at != symbol)
        return false;
    cursor->at++;
    return true;
}

/* A quoted word without escapes, borrowed from the header. */
static bool take_string(struct cursor *cursor, const char **text, size_t *length)
{
    skip_spaces(cursor);
    if (cursor->at == cursor->end || (*cursor->at != '\'' && *cursor->at != '"'))
        return false;
    char quote = *cursor->at++;
    *text = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != quote) {
        if (*cursor->at < ' ' || *cursor->at > '~' || *cursor->at == '\\')
            return false;
        cursor->at++;
    }
    *length = (size_t)(cursor->at - *text);
    return take(cursor, quote);
}

static bool take_word(struct cursor *cursor, const char *word)
{
    skip_spaces(cursor);
    size_t length = strlen(word);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, word, length) != 0)
        return false;
    cursor->at += length;
    return true;
}

static bool take_number(struct cursor *cursor, size_t *number)
{
    skip_spaces(cursor);
    const char *start = cursor->at;
    size_t value = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        if (!efm_size_multiply(value, 10, &value) ||
            !efm_size_add(value, (size_t)(*cursor->at - '0'), &value))
            return false;
        cursor->at++;
    }
    *number = value;
    return cursor->at > start;
}

static bool word_is(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(text, word, length) == 0;
}

static enum efm_status parse_descr(struct cursor *cursor, struct efm_npy_view *view, struct efm_error *error)
{
    const char *text;
    size_t length;
    if (take(cursor, '['))
        return efm_error_set(error, EFM_E_UNSUPPORTED, "NPY of records is not read");
    if (!take_string(cursor, &text, &length))
        return efm_error_set(error, EFM_E_FORMAT, "the type in the NPY header is damaged");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (word_is(text, length, types[i].descr)) {
            view->type = (enum efm_npy_type)i;
            return EFM_OK;
        }
    }
    return efm_error_set(error, EFM_E_UNSUPPORTED, "NPY of type '%s' is not read, only |u1, <f4 and <f8",
                         efm_show_name(text, length).text);
}

static enum efm_status parse_order(struct cursor *cursor, struct efm_error *error)
{
    if (take_word(cursor, "False"))
        return EFM_OK;
    if (take_word(cursor, "True"))
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "NPY in Fortran order is not read; save numpy.ascontiguousarray of it");
    return efm_error_set(error, EFM_E_FORMAT, "fortran_order in the NPY header is neither True nor False");
}

static enum efm_status parse_shape(struct cursor *cursor, struct efm_npy_view *view, struct efm_error *error)
{
    bool valid = take(cursor, '(');
    bool comma = true;
    while (valid && !take(cursor, ')')) {
        size_t number;
        valid = comma && take_number(cursor, &number);
        if (!valid)
            break;
        if (view->rank == EFM_NPY_MAX_RANK)
            return efm_error_set(error, EFM_E_UNSUPPORTED, "NPY of more than %d dimensions is not read",
                                 EFM_NPY_MAX_RANK);
        view->shape[view->rank++] = number;
        comma = take(cursor, ',');
    }
    /* (3) is a number in brackets, not a tuple */
    if (!valid || (view->rank == 1 && !comma))
        return efm_error_set(error, EFM_E_FORMAT, "the shape in the NPY header is damaged");
    return EFM_OK;
}

/* {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with the keys in any order. */
static enum efm_status parse_header(struct cursor *cursor, struct efm_npy_view *view, struct efm_error *error)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    enum { DESCR, ORDER, SHAPE, KEYS };
    bool seen[KEYS] = {false};
    bool comma = true;
    if (!take(cursor, '{'))
        return efm_error_set(error, EFM_E_FORMAT, "the NPY header is not a dictionary");
    while (!take(cursor, '}')) {
        const char *text;
        size_t length, key = 0;
        if (!comma || !take_string(cursor, &text, &length) || !take(cursor, ':'))
            return efm_error_set(error, EFM_E_FORMAT, "the dictionary of the NPY header is damaged");
        while (key < KEYS && !word_is(text, length, keys[key]))
            key++;
        if (key == KEYS || seen[key])
            return efm_error_set(error, EFM_E_FORMAT, "the key '%s' of the NPY header is unknown or twice",
                                 efm_show_name(text, length).text);
        seen[key] = true;
        enum efm_status status = key == DESCR   ? parse_descr(cursor, view, error)
                                 : key == ORDER ? parse_order(cursor, error)
                                                : parse_shape(cursor, view, error);
        if (status != EFM_OK)
            return status;
        comma = take(cursor, ',');
    }
    skip_spaces(cursor);
    if (cursor->at != cursor->end)
        return efm_error_set(error, EFM_E_FORMAT, "something follows the dictionary of the NPY header");
    if (!seen[DESCR] || !seen[ORDER] || !seen[SHAPE])
        return efm_error_set(error, EFM_E_FORMAT, "the NPY header lacks descr, fortran_order or shape");
    return EFM_OK;
}

enum efm_status efm_npy_find_header(const uint8_t *bytes, size_t size, size_t *start, size_t *length,
                                    struct efm_error *error)
{
    if (size < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0)
        return efm_error_set(error, EFM_E_FORMAT, "not an NPY file");
    if (size < 10)
        return efm_error_set(error, EFM_E_FORMAT, "the NPY file ends in its header");
    unsigned major = bytes[6], minor = bytes[7];
    if ((major != 1 && major != 2) || minor != 0)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "NPY version %u.%u is not read, only 1.0 and 2.0",
                             major, minor);
    *start = major == 1 ? 10 : 12;
    *length = bytes[8] | (size_t)bytes[9] << 8;
    if (major == 2 && size >= *start)
        *length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (*length > EFM_NPY_MAX_HEADER)
        return efm_error_set(error, EFM_E_LIMIT, "an NPY header of %zu bytes is longer than %d", *length,
                             EFM_NPY_MAX_HEADER);
    return EFM_OK;
}

enum efm_status efm_npy_parse_header(const uint8_t *bytes, size_t size, struct efm_npy_view *view,
                                     size_t *needed, struct efm_error *error)
{
    struct efm_npy_view found = {.count = 1};
    size_t start, length;
    enum efm_status status = efm_npy_find_header(bytes, size, &start, &length, error);
    if (status != EFM_OK)
        return status;
    if (size < start || length > size - start)
        return efm_error_set(error, EFM_E_FORMAT, "the NPY file ends in its header");
    found.data = bytes + start + length;
    struct cursor cursor = {(const char *)bytes + start, (const char *)found.data};
    status = parse_header(&cursor, &found, error);
    if (status != EFM_OK)
        return status;
    bool fits = true;
    for (size_t i = 0; i < found.rank; i++)
        fits = fits && efm_size_multiply(found.count, found.shape[i], &found.count);
    if (!fits || !efm_size_multiply(found.count, types[found.type].size, needed))
        return efm_error_set(error, EFM_E_FORMAT, "the shape of the NPY file is larger than any file");
    *view = found;
    return EFM_OK;
}

enum efm_status efm_npy_parse(const uint8_t *bytes, size_t size, struct efm_npy_view *view,
                              struct efm_error *error)
{
    struct efm_npy_view found;
    size_t needed;
    enum efm_status status = efm_npy_parse_header(bytes, size, &found, &needed, error);
    if (status != EFM_OK)
        return status;
    size_t left = size - (size_t)(found.data - bytes);
    if (needed != left)
        return efm_error_set(error, EFM_E_FORMAT,
                             "the NPY file has %zu bytes of data, not what its shape says", left);
    *view = found;
    return EFM_OK;
}

/* Elements first .. end - 1. */
static enum efm_status convert(const struct efm_npy_view *view, size_t first, size_t end, float *out,
                               struct efm_error *error)
{
    if (view->type == EFM_NPY_U8) {
        efm_pixels_to_floats(view->data + first, end - first, out + first);
        return EFM_OK;
    }
    for (size_t i = first; i < end; i++) {
        if (view->type == EFM_NPY_F32) {
            memcpy(&out[i], view->data + i * sizeof(float), sizeof(float));
        } else {
            double value;
            memcpy(&value, view->data + i * sizeof value, sizeof value);
            out[i] = (float)value;
        }
        if (!isfinite(out[i]))
            return efm_error_set(error, EFM_E_NUMERIC, "value %zu of the NPY file is not finite", i);
    }
    return EFM_OK;
}

enum efm_status efm_npy_floats(const struct efm_npy_view *view, float *out, struct efm_error *error)
{
    return convert(view, 0, view->count, out, error);
}

enum efm_status efm_npy_write_floats(struct efm_buffer *out, const float *values, const size_t *shape,
                                     size_t rank)
{
    char text[192];
    size_t count = 1, bytes;
    if (rank > EFM_NPY_MAX_WRITTEN_RANK)
        return EFM_E_ARGUMENT;
    int used = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (size_t i = 0; i < rank; i++) {
        if (!efm_size_multiply(count, shape[i], &count))
            return EFM_E_ARGUMENT;
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%zu%s", i == 0 ? "" : " ", shape[i],
                         i + 1 < rank || rank == 1 ? "," : "");
    }
    if (!efm_size_multiply(count, sizeof *values, &bytes))
        return EFM_E_ARGUMENT;
    used += snprintf(text + used, sizeof text - (size_t)used, "), }");

    /* spaces and a line end bring the data to a multiple of 64 */
    size_t padded = ((size_t)used + 1 + 10 + 63) / 64 * 64 - 10;
    memset(text + used, ' ', padded - (size_t)used);
    text[padded - 1] = '\n';
    uint8_t start[10] = {0, 0, 0, 0, 0, 0, 1, 0, (uint8_t)padded, (uint8_t)(padded >> 8)};
    memcpy(start, magic, sizeof magic);
    efm_buffer_append(out, start, sizeof start);
    efm_buffer_append(out, text, padded);
    return efm_buffer_append(out, values, bytes);
}

/* ---- the reader of datasets ---- */

static bool probe(const uint8_t *bytes, size_t size)
{
    return size >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

static enum efm_status float_shape(const struct efm_npy_view *view, struct efm_shape *shape,
                                   const struct efm_dataset_options *options, struct efm_error *error)
{
    if (view->rank == 2) {
        *shape = efm_shape_vector(view->shape[1]);
        return EFM_OK;
    }
    size_t channels = view->rank == 4 ? view->shape[3] : 1;
    size_t side = view->shape[1] > view->shape[2] ? view->shape[1] : view->shape[2];
    if (side > options->image_limits.max_side ||
        (uint64_t)view->shape[1] * view->shape[2] > options->image_limits.max_pixels)
        return efm_error_set(error, EFM_E_LIMIT, "images of %zux%zu pixels are larger than allowed",
                             view->shape[2], view->shape[1]);
    *shape = efm_shape_image((uint32_t)view->shape[1], (uint32_t)view->shape[2], (uint32_t)channels);
    return EFM_OK;
}

enum efm_status efm_npy_check_samples(const struct efm_npy_view *view, struct efm_error *error)
{
    if (view->count == 0)
        return efm_error_set(error, EFM_E_FORMAT, "there are no samples in it");
    if (view->rank < 2 || (view->rank == 2 && view->type == EFM_NPY_U8))
        return efm_error_set(
            error, EFM_E_UNSUPPORTED,
            "a dataset in NPY is [n, d] of floats, [n, h, w] or [n, h, w, channels], not %zu "
            "dimensions of %s",
            view->rank, types[view->type].descr);
    if (view->rank == 4 && view->shape[3] != 1 && view->shape[3] != 3)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "images have 1 or 3 channels, not %zu",
                             view->shape[3]);
    return EFM_OK;
}

/* All elements, asking on the way. */
static enum efm_status fill(struct efm_dataset *dataset, const struct efm_npy_view *view,
                            const struct efm_dataset_options *options, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    const size_t stride = EFM_DATASET_STRIDE / sizeof(float);
    for (size_t at = 0, end; at < view->count && status == EFM_OK; at = end) {
        end = view->count - at < stride ? view->count : at + stride;
        status = convert(view, at, end, dataset->floats, error);
        if (status == EFM_OK)
            status = efm_dataset_ask(options, error);
    }
    return status;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_npy_view view;
    struct efm_shape shape;
    enum efm_status status = efm_npy_parse(bytes, size, &view, error);
    if (status != EFM_OK)
        return status;
    status = efm_npy_check_samples(&view, error);
    if (status != EFM_OK)
        return status;
    if (view.type == EFM_NPY_U8) {
        uint64_t sizes[4] = {view.shape[0], view.shape[1], view.shape[2], view.rank == 4 ? view.shape[3] : 1};
        return efm_dataset_from_pixels(dataset, efm_npy_reader.format, view.data, sizes, options, error);
    }
    status = float_shape(&view, &shape, options, error);
    if (status == EFM_OK)
        status = efm_dataset_check_shape(options, &shape, error);
    if (status != EFM_OK)
        return status;

    struct efm_dataset *made = NULL;
    status = efm_dataset_create_floats(&made, efm_npy_reader.format, view.shape[0], &shape, options, error);
    if (status != EFM_OK)
        return status;
    status = fill(made, &view, options, error);
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    return efm_dataset_finish(dataset, made, options, error);
}

const struct efm_dataset_reader efm_npy_reader = {"npy", probe, read_samples};
