// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "api/multipart.h"
#include "api/transfer_internal.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FIELD = 512 }; /* bytes of a form field that is a parameter */

/* ---- adding one input ---- */

/* The next input, zeroed; NULL with a problem. Room for all that a request may have is taken at once. */
static struct api_input *next_input(struct api_transfer *request, struct api_problem *problem)
{
    size_t most = request->limits.max_images;
    if (request->input_count >= most) {
        api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the request has more than %zu inputs", most);
        return NULL;
    }
    if (request->inputs == NULL)
        request->inputs = efm_allocate_array(most, sizeof *request->inputs);
    if (request->inputs == NULL) {
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the inputs");
        return NULL;
    }
    return &request->inputs[request->input_count];
}

static bool starts_with(const uint8_t *bytes, size_t size, const char *text)
{
    size_t length = strlen(text);
    return size >= length && memcmp(bytes, text, length) == 0;
}

/* True when the first bytes read as text. */
static bool looks_like_text(const uint8_t *bytes, size_t size)
{
    size_t seen = size < 64 ? size : 64;
    for (size_t i = 0; i < seen;) {
        size_t length = api_utf8_length(bytes + i, size - i);
        if (length == 0 || (length == 1 && !isprint(bytes[i]) && !isspace(bytes[i])))
            return false;
        i += length;
    }
    return true;
}

/* 415 with a word on what the bytes seem to be. */
static bool refuse_bytes(const uint8_t *bytes, size_t size, const char *pointer, struct api_problem *problem)
{
    const char *kind = NULL;
    size_t start = 0;
    while (start < size && start < 64 && isspace(bytes[start]))
        start++;
    if (size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, pointer, "the image is empty");
    if (starts_with(bytes, size, "BM"))
        kind = "a BMP";
    else if (starts_with(bytes, size, "\x1f\x8b") || starts_with(bytes, size, "PK\x03\x04"))
        kind = "an archive";
    else if (size > start + 4 && bytes[start] == '<' && (bytes[start + 1] == '!' || bytes[start + 1] == 'h'))
        kind = "HTML";
    else if (!starts_with(bytes, size, "GIF8") && bytes[start < size ? start : 0] != '<' &&
             looks_like_text(bytes, size))
        kind = "text";
    if (kind != NULL)
        return api_problem_set(problem, API_P_NOT_AN_IMAGE, pointer,
                               "the bytes look like %s; taken are PNG, JPEG, WebP and NPY", kind);
    struct efm_image_info info;
    struct efm_error error = {0};
    if (efm_image_probe(bytes, size, &info, &error) == EFM_OK)
        return api_problem_set(problem, API_P_NOT_AN_IMAGE, pointer, "the image cannot be told by its bytes");
    return api_problem_set(problem, API_P_NOT_AN_IMAGE, pointer, "%s", error.message);
}

/* `owned` (may be NULL) holds the bytes and passes to the request, or is freed. */
static bool add_image(struct api_transfer *request, const uint8_t *bytes, size_t size, uint8_t *owned,
                      const char *pointer, struct api_problem *problem)
{
    struct api_input *input = NULL;
    if (efm_image_sniff(bytes, size) == EFM_IMAGE_UNKNOWN)
        refuse_bytes(bytes, size, pointer, problem);
    else
        input = next_input(request, problem);
    if (input == NULL) {
        efm_free(owned);
        return false;
    }
    *input = (struct api_input){.bytes = bytes, .size = size, .owned = owned};
    snprintf(input->pointer, sizeof input->pointer, "%s", pointer);
    request->input_count++;
    return true;
}

/* A new input of `length` floats that are still to be filled in; NULL with a problem. */
static struct api_input *add_vector(struct api_transfer *request, size_t length, const char *pointer,
                                    struct api_problem *problem)
{
    struct api_input *input = next_input(request, problem);
    if (input == NULL)
        return NULL;
    float *vector = efm_allocate_array(length, sizeof *vector);
    if (vector == NULL) {
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for a vector of %zu numbers", length);
        return NULL;
    }
    *input = (struct api_input){.vector = vector, .vector_length = length};
    snprintf(input->pointer, sizeof input->pointer, "%s", pointer);
    request->input_count++;
    return input;
}

/* ---- NPY ---- */

static bool is_npy(const uint8_t *bytes, size_t size)
{
    return starts_with(bytes, size, "\x93NUMPY");
}

/* Number and shape of the samples; false for ranks and types that say nothing about samples. */
static bool npy_samples(const struct efm_npy_view *view, size_t *count, size_t *length,
                        struct efm_shape *shape, struct api_problem *problem)
{
    bool image = view->rank == 4, vectors = view->rank == 1 || view->rank == 2;
    if (!image && (!vectors || view->type == EFM_NPY_U8))
        return api_problem_set(
            problem, API_P_SHAPE_MISMATCH, "/vectors",
            "an NPY of %zu dimensions%s is not taken; send float [n, D] or [n, height, width, "
            "channels]",
            view->rank, view->type == EFM_NPY_U8 ? " of bytes" : "");
    *shape = (struct efm_shape){0};
    *count = view->rank == 1 ? 1 : view->shape[0];
    if (*count == 0)
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/vectors", "the NPY holds no vectors");
    *length = view->count / *count;
    if (image) {
        for (size_t i = 1; i < 4; i++)
            if (view->shape[i] > UINT32_MAX)
                return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/vectors",
                                       "a side of %zu is too large", view->shape[i]);
        *shape =
            efm_shape_image((uint32_t)view->shape[1], (uint32_t)view->shape[2], (uint32_t)view->shape[3]);
    }
    return true;
}

static bool add_npy(struct api_transfer *request, const uint8_t *bytes, size_t size,
                    struct api_problem *problem)
{
    static const size_t sizes[] = {[EFM_NPY_U8] = 1, [EFM_NPY_F32] = 4, [EFM_NPY_F64] = 8};
    struct efm_npy_view view;
    struct efm_error error = {0};
    struct efm_shape shape = {0};
    size_t count = 0, length = 0;
    if (efm_npy_parse(bytes, size, &view, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_NPY, "/vectors");
    if (!npy_samples(&view, &count, &length, &shape, problem))
        return false;
    for (size_t i = 0; i < count; i++) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/vectors/%zu", i);
        struct api_input *input = add_vector(request, length, pointer, problem);
        if (input == NULL)
            return false;
        input->shape = shape;
        struct efm_npy_view one = view;
        one.count = length;
        one.data += i * length * sizes[view.type];
        if (efm_npy_floats(&one, input->vector, &error) != EFM_OK)
            return api_problem_from_error(problem, &error, API_P_NOT_FINITE, pointer);
    }
    return true;
}

static bool add_file(struct api_transfer *request, const uint8_t *bytes, size_t size, const char *pointer,
                     struct api_problem *problem)
{
    if (is_npy(bytes, size))
        return add_npy(request, bytes, size, problem);
    return add_image(request, bytes, size, NULL, pointer, problem);
}

/* ---- JSON ---- */

static bool add_base64(struct api_transfer *request, const json_t *value, const char *pointer,
                       struct api_problem *problem)
{
    uint8_t *bytes;
    size_t size;
    if (!json_is_string(value))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be a string: an image in base64, or a data: address");
    if (!api_base64_decode(json_string_value(value), json_string_length(value), &bytes, &size, problem,
                           pointer))
        return false;
    return add_image(request, bytes, size, bytes, pointer, problem);
}

static bool add_numbers(struct api_transfer *request, const json_t *value, const char *pointer,
                        struct api_problem *problem)
{
    if (!json_is_array(value))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "must be an array of numbers");
    size_t length = json_array_size(value);
    struct api_input *input = add_vector(request, length, pointer, problem);
    if (input == NULL)
        return false;
    for (size_t i = 0; i < length; i++) {
        const json_t *number = json_array_get(value, i);
        if (!json_is_number(number))
            return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "value %zu is not a number", i);
        input->vector[i] = (float)json_number_value(number);
    }
    return true;
}

typedef bool add_json(struct api_transfer *request, const json_t *value, const char *pointer,
                      struct api_problem *problem);

/* The members that carry inputs; a request has one of them. */
static const struct source {
    const char *name;
    add_json *add;
    bool many;
} SOURCES[] = {
    {"image", add_base64, false},
    {"images", add_base64, true},
    {"vector", add_numbers, false},
    {"vectors", add_numbers, true},
};

static const struct source *find_source(const char *name)
{
    for (size_t i = 0; i < sizeof SOURCES / sizeof SOURCES[0]; i++)
        if (strcmp(SOURCES[i].name, name) == 0)
            return &SOURCES[i];
    return NULL;
}

static bool add_source(struct api_transfer *request, const struct source *source, const json_t *value,
                       struct api_problem *problem)
{
    char pointer[32];
    snprintf(pointer, sizeof pointer, "/%s", source->name);
    if (request->input_count > 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "comes beside another input; give one of image, images, vector, vectors");
    if (!source->many)
        return source->add(request, value, pointer, problem);
    if (!json_is_array(value) || json_array_size(value) == 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be an array with at least one %s",
                               source->add == add_base64 ? "image in base64" : "vector");
    for (size_t i = 0; i < json_array_size(value); i++) {
        snprintf(pointer, sizeof pointer, "/%s/%zu", source->name, i);
        if (!source->add(request, json_array_get(value, i), pointer, problem))
            return false;
    }
    return true;
}

static bool read_members(struct api_transfer *request, json_t *root, struct api_problem *problem)
{
    const char *name;
    json_t *value;
    bool good = true;
    json_object_foreach(root, name, value)
    {
        const struct source *source = request->operation == API_OP_TRANSFER ? find_source(name) : NULL;
        if (source != NULL)
            good = add_source(request, source, value, problem) && good;
        else
            good =
                api_parameter_set_json(&api_transfer_table, request, &request->seen, name, value, problem) &&
                good;
        /* All mistakes are told at once, but a body of a million unknown names is not read to its end. */
        if (problem->field_count == API_PROBLEM_FIELDS)
            return false;
    }
    return good;
}

static bool read_json(struct api_transfer *request, const uint8_t *bytes, size_t size,
                      struct api_problem *problem)
{
    json_t *root = api_json_parse(bytes, size, problem);
    if (root == NULL)
        return false;
    bool good = json_is_object(root) ? read_members(request, root, problem)
                                     : api_problem_set(problem, API_P_MALFORMED_JSON, NULL,
                                                       "the JSON must be an object: {\"image\": ...}");
    json_decref(root);
    return good;
}

/* ---- forms ---- */

static bool is_image_field(const char *name)
{
    static const char *const names[] = {"image", "images", "image[]", "images[]", "file"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool read_field(struct api_transfer *request, const struct api_part *part, struct api_problem *problem)
{
    char pointer[72], text[MAX_FIELD + 1];
    snprintf(pointer, sizeof pointer, "/%s", part->name);
    if (request->operation == API_OP_TRANSFER && is_image_field(part->name)) {
        snprintf(pointer, sizeof pointer, "/image/%zu", request->input_count);
        return add_file(request, part->data, part->size, pointer, problem);
    }
    if (part->has_filename)
        return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer,
                               request->operation == API_OP_TRANSFER ? "is a file; files are named image"
                                                                     : "is a file; none is taken here");
    if (part->size > MAX_FIELD || memchr(part->data, '\0', part->size) != NULL)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "is longer than %d bytes or no text", MAX_FIELD);
    memcpy(text, part->data, part->size);
    text[part->size] = '\0';
    return api_parameter_set(&api_transfer_table, request, &request->seen, part->name, text, problem);
}

static bool read_form(struct api_transfer *request, const struct api_message *message,
                      struct api_problem *problem)
{
    struct api_part *parts = efm_allocate(API_MULTIPART_MAX_PARTS * sizeof *parts);
    size_t count = 0;
    if (parts == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the form");
    bool good =
        api_multipart_parse(message->content_type, message->body, message->body_size, parts, &count, problem);
    for (size_t i = 0; good && i < count; i++)
        good = read_field(request, &parts[i], problem);
    efm_free(parts);
    if (good && request->operation == API_OP_TRANSFER && request->input_count == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, "/image", "the form has no field image");
    return good;
}

/* ---- the body ---- */

/* No JSON begins like any of these. */
static bool is_file(const uint8_t *bytes, size_t size)
{
    return is_npy(bytes, size) || efm_image_sniff(bytes, size) != EFM_IMAGE_UNKNOWN;
}

bool api_transfer_read_body(struct api_transfer *request, const struct api_message *message,
                            struct api_problem *problem)
{
    const uint8_t *body = message->body;
    size_t size = message->body_size;
    bool transfer = request->operation == API_OP_TRANSFER;
    char type[64];
    api_content_type(message->content_type, type, sizeof type);
    if (size == 0)
        return transfer ? api_problem_set(problem, API_P_EMPTY_BODY, NULL,
                                          "the body is empty; send an image, NPY, a form or JSON")
                        : true;
    if (strcmp(type, "multipart/form-data") == 0)
        return read_form(request, message, problem);
    /* Told by the bytes, since curl -d and --data-binary call everything a form. */
    if (api_json_is_object(body, size) || (strcmp(type, "application/json") == 0 && !is_file(body, size))) {
        if (!read_json(request, body, size, problem))
            return false;
        if (transfer && request->input_count == 0)
            return api_problem_set(problem, API_P_MISSING_PARAMETER, "/image",
                                   "is absent; give one of image, images, vector, vectors");
        return true;
    }
    if (!transfer)
        return api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                               "parameters are taken from the query or as JSON, and no image is taken here");
    return add_file(request, body, size, "/image", problem);
}
