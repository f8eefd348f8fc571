// SPDX-License-Identifier: Apache-2.0
#include "api/oip_internal.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILES = 4096, MAX_NESTING = 8 };

enum datatype { FP16, FP32, FP64, UINT8, BYTES, DATATYPES };
static const char *const DATATYPE_NAMES[] = {"FP16", "FP32", "FP64", "UINT8", "BYTES"};
static const size_t ELEMENT_BYTES[] = {2, 4, 8, 1, 4}; /* of BYTES at least: its length */

struct tensor {
    enum datatype type;
    size_t rank, shape[EFM_NPY_MAX_RANK], count;
    const json_t *data;   /* NULL: binary */
    const uint8_t *bytes; /* borrowed; unaligned */
    size_t size;
};

static bool refuse(struct api_problem *problem, const char *pointer, const char *what)
{
    return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "%s", what);
}

static bool no_memory(struct api_problem *problem)
{
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the input");
}

/* ---- numbers ---- */

/* A half to a float; the numbers of a half are all floats. */
static float from_half(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const double fraction = half & 1023;
    double value = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return (float)((half & 0x8000) != 0 ? -value : value);
}

static bool numbers_of_bytes(const struct tensor *tensor, float *out, struct api_problem *problem)
{
    static const enum efm_npy_type types[] = {
        [FP32] = EFM_NPY_F32, [FP64] = EFM_NPY_F64, [UINT8] = EFM_NPY_U8};
    if (tensor->type == FP16) {
        for (size_t i = 0; i < tensor->count; i++)
            out[i] = from_half((uint16_t)(tensor->bytes[2 * i] | tensor->bytes[2 * i + 1] << 8));
        return true;
    }
    const struct efm_npy_view view = {
        .type = types[tensor->type], .count = tensor->count, .data = tensor->bytes};
    struct efm_error error = {0};
    if (efm_npy_floats(&view, out, &error) == EFM_OK)
        return true;
    return api_problem_set(problem, API_P_NOT_FINITE, "/inputs/0/data", "holds a number that is not finite");
}

/* Where the next element of a flat or nested array goes. */
struct filling {
    const struct tensor *tensor;
    bool (*put)(struct filling *filling, const json_t *value, struct api_problem *problem);
    size_t count;
    float *numbers;
    struct api_file *files;
    uint8_t **owned; /* the bytes of the files */
};

static bool put_number(struct filling *filling, const json_t *value, struct api_problem *problem)
{
    float *out = &filling->numbers[filling->count];
    if (!json_is_number(value))
        return refuse(problem, "/inputs/0/data", "holds something that is no number");
    if (filling->tensor->type != UINT8) {
        *out = (float)json_number_value(value);
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT8_MAX)
        return refuse(problem, "/inputs/0/data", "holds a number that is no UINT8");
    const uint8_t pixel = (uint8_t)json_integer_value(value);
    const struct efm_npy_view one = {.type = EFM_NPY_U8, .count = 1, .data = &pixel};
    return efm_npy_floats(&one, out, NULL) == EFM_OK;
}

static bool fill(struct filling *filling, const json_t *array, int depth, struct api_problem *problem)
{
    if (depth == MAX_NESTING)
        return refuse(problem, "/inputs/0/data", "is nested deeper than its shape");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        if (json_is_array(value)) {
            if (!fill(filling, value, depth + 1, problem))
                return false;
            continue;
        }
        if (filling->count == filling->tensor->count)
            return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/data",
                                   "has more elements than the %zu of the shape", filling->count);
        if (!filling->put(filling, value, problem))
            return false;
        filling->count++;
    }
    return true;
}

static bool fill_all(struct filling *filling, struct api_problem *problem)
{
    const struct tensor *tensor = filling->tensor;
    if (!fill(filling, tensor->data, 0, problem))
        return false;
    return filling->count == tensor->count ||
           api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/data", "has %zu elements, the shape %zu",
                           filling->count, tensor->count);
}

static bool check_finite(const float *values, size_t count, struct api_problem *problem)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return api_problem_set(problem, API_P_NOT_FINITE, "/inputs/0/data",
                                   "element %zu is not finite or too large for a float", i);
    return true;
}

static bool put_numbers(struct api_oip_infer *request, const struct tensor *tensor,
                        struct api_problem *problem)
{
    float *values = efm_allocate_array(tensor->count, sizeof *values);
    if (values == NULL)
        return no_memory(problem);
    struct filling filling = {.tensor = tensor, .put = put_number, .numbers = values};
    bool good =
        tensor->data != NULL ? fill_all(&filling, problem) : numbers_of_bytes(tensor, values, problem);
    good = good && check_finite(values, tensor->count, problem) &&
           api_inner_numbers(&request->inner, values, tensor->shape, tensor->rank, problem);
    efm_free(values);
    return good;
}

/* ---- files ---- */

static bool files_of_bytes(const struct tensor *tensor, struct api_file *files, struct api_problem *problem)
{
    const uint8_t *at = tensor->bytes;
    size_t left = tensor->size;
    for (size_t i = 0; i < tensor->count; i++) {
        if (left < 4)
            return refuse(problem, "/inputs/0", "ends before its last element");
        size_t size = at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
        if (size > left - 4)
            return refuse(problem, "/inputs/0", "ends within an element");
        files[i] = (struct api_file){at + 4, size};
        at += 4 + size;
        left -= 4 + size;
    }
    return left == 0 || refuse(problem, "/inputs/0", "has bytes after its last element");
}

static bool put_file(struct filling *filling, const json_t *value, struct api_problem *problem)
{
    struct api_file *file = &filling->files[filling->count];
    uint8_t **bytes = &filling->owned[filling->count];
    if (!json_is_string(value))
        return refuse(problem, "/inputs/0/data", "must hold files in base64");
    if (!api_base64_decode(json_string_value(value), json_string_length(value), bytes, &file->size, problem,
                           "/inputs/0/data"))
        return false;
    file->bytes = *bytes;
    return true;
}

static bool put_files(struct api_oip_infer *request, const struct tensor *tensor, struct api_problem *problem)
{
    if (tensor->count > MAX_FILES)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, "/inputs/0/shape", "is more than %d files",
                               MAX_FILES);
    struct api_file *files = efm_allocate_array(tensor->count, sizeof *files);
    uint8_t **owned = efm_allocate_array(tensor->count, sizeof *owned);
    bool good = (files != NULL && owned != NULL) || no_memory(problem);
    struct filling filling = {.tensor = tensor, .put = put_file, .files = files, .owned = owned};
    if (good)
        good = tensor->data != NULL ? fill_all(&filling, problem) : files_of_bytes(tensor, files, problem);
    good = good && api_inner_files(&request->inner, files, tensor->count, problem);
    for (size_t i = 0; owned != NULL && i < tensor->count; i++)
        efm_free(owned[i]);
    efm_free(owned);
    efm_free(files);
    return good;
}

/* ---- an input as it is described ---- */

static bool read_type(struct tensor *tensor, const json_t *value, struct api_problem *problem)
{
    const char *name = json_string_value(json_object_get(value, "datatype"));
    for (int type = 0; name != NULL && type < DATATYPES; type++)
        if (strcmp(DATATYPE_NAMES[type], name) == 0) {
            tensor->type = (enum datatype)type;
            return true;
        }
    return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs/0/datatype",
                           "must be FP32, FP64, FP16, UINT8 or BYTES, not %.20s",
                           name == NULL ? "absent" : name);
}

static bool read_shape(struct tensor *tensor, const json_t *shape, struct api_problem *problem)
{
    tensor->rank = json_array_size(shape);
    tensor->count = 1;
    if (tensor->rank < 1 || tensor->rank > EFM_NPY_MAX_RANK)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs/0/shape",
                               "must be an array of 1 to %d sizes", EFM_NPY_MAX_RANK);
    for (size_t i = 0; i < tensor->rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 1)
            return refuse(problem, "/inputs/0/shape", "must hold whole numbers of at least 1");
        tensor->shape[i] = (size_t)json_integer_value(size);
        if (!efm_size_multiply(tensor->count, tensor->shape[i], &tensor->count))
            return refuse(problem, "/inputs/0/shape", "is too large");
    }
    return true;
}

static bool read_binary(struct tensor *tensor, const json_t *length, const struct api_oip_body *body,
                        struct api_problem *problem)
{
    size_t wanted;
    if (!json_is_integer(length) || json_integer_value(length) < 0 ||
        (size_t)json_integer_value(length) != body->tensors_size)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs/0/parameters/binary_data_size",
                               "must be the %zu bytes that follow the JSON", body->tensors_size);
    tensor->bytes = body->tensors;
    tensor->size = body->tensors_size;
    if (!efm_size_multiply(tensor->count, ELEMENT_BYTES[tensor->type], &wanted) ||
        (tensor->type == BYTES ? wanted > tensor->size : wanted != tensor->size))
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/shape",
                               "does not fit %zu bytes of %s", tensor->size, DATATYPE_NAMES[tensor->type]);
    return true;
}

/* The numbers of elements and of values in the JSON are bounded by the size of the body before anything is
 * allocated. */
static bool read_data(struct tensor *tensor, const json_t *data, const struct api_oip_body *body,
                      struct api_problem *problem)
{
    if (!json_is_array(data))
        return refuse(problem, "/inputs/0/data", "must be an array");
    if (body->tensors_size > 0)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               "bytes follow the JSON, and no input has a binary_data_size");
    if (tensor->count > body->json_size)
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/shape",
                               "has more elements than there are bytes");
    tensor->data = data;
    return true;
}

/* Samples of the model one after the other, as they are or flat; or a flat one. `model` with dimension 0 is not known. */
static bool check_shape(const struct tensor *tensor, const struct efm_shape *model,
                        struct api_problem *problem)
{
    char sizes[24 * EFM_NPY_MAX_RANK];
    const size_t *shape = tensor->shape, rank = tensor->rank;
    const bool image = efm_shape_is_image(model);
    if (model->dimension == 0 || (rank == 1 && shape[0] == model->dimension) ||
        (rank == 2 && shape[1] == model->dimension) ||
        (rank == 4 && image && shape[1] == model->height && shape[2] == model->width &&
         shape[3] == model->channels))
        return true;
    size_t used = 0;
    sizes[0] = '\0';
    for (size_t i = 0; i < rank; i++)
        used += (size_t)snprintf(sizes + used, sizeof sizes - used, "%s%zu", i == 0 ? "" : ", ", shape[i]);
    if (image)
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/shape",
                               "is [%s], the model takes [n, %u, %u, %u] or [n, %zu]", sizes, model->height,
                               model->width, model->channels, model->dimension);
    return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/inputs/0/shape",
                           "is [%s], the model takes [n, %zu]", sizes, model->dimension);
}

static bool put(struct api_oip_infer *request, const struct tensor *tensor, struct api_problem *problem)
{
    const bool vectors = request->shape.dimension > 0 && !efm_shape_is_image(&request->shape);
    if (vectors && (tensor->type == UINT8 || tensor->type == BYTES))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs/0/datatype",
                               "must be FP32, FP64 or FP16: the samples of this model are vectors");
    if (tensor->type == BYTES)
        return put_files(request, tensor, problem);
    return check_shape(tensor, &request->shape, problem) && put_numbers(request, tensor, problem);
}

bool api_oip_read_input(struct api_oip_infer *request, const json_t *value, const struct api_oip_body *body,
                        struct api_problem *problem)
{
    static const char *const members[] = {"name", "shape", "datatype", "parameters", "data", NULL};
    static const char *const known[] = {"binary_data_size", NULL};
    const json_t *parameters = json_object_get(value, "parameters"), *data = json_object_get(value, "data");
    const json_t *length = json_object_get(parameters, "binary_data_size");
    const char *name = json_string_value(json_object_get(value, "name"));
    struct tensor tensor = {.type = FP32};
    if (name == NULL || strcmp(name, "input") != 0)
        return refuse(problem, "/inputs/0/name", "must be input");
    if (!api_oip_only(value, members, "/inputs/0", problem) ||
        !api_oip_only(parameters, known, "/inputs/0/parameters", problem) ||
        !read_type(&tensor, value, problem) || !read_shape(&tensor, json_object_get(value, "shape"), problem))
        return false;
    if (data != NULL && length != NULL)
        return refuse(problem, "/inputs/0/data", "comes beside a binary_data_size; send one of them");
    bool good = length != NULL ? read_binary(&tensor, length, body, problem)
                               : read_data(&tensor, data, body, problem);
    return good && put(request, &tensor, problem);
}

/* ---- the whole body as the input ---- */

bool api_oip_read_whole(struct api_oip_infer *request, const struct api_oip_body *body,
                        struct api_problem *problem)
{
    const struct efm_shape *shape = &request->shape;
    if (efm_image_sniff(body->tensors, body->tensors_size) != EFM_IMAGE_UNKNOWN) {
        const struct api_file file = {body->tensors, body->tensors_size};
        return api_inner_files(&request->inner, &file, 1, problem);
    }
    size_t bytes;
    if (shape->dimension == 0 || !efm_size_multiply(shape->dimension, sizeof(float), &bytes) ||
        body->tensors_size % bytes != 0)
        return api_problem_set(problem, API_P_NOT_AN_IMAGE, NULL,
                               "the body is neither PNG, JPEG nor WebP, nor FP32 in the shape of the model");
    struct tensor tensor = {
        .type = FP32,
        .rank = efm_shape_is_image(shape) ? 4 : 2,
        .shape = {body->tensors_size / bytes, shape->height, shape->width, shape->channels},
        .count = body->tensors_size / sizeof(float),
        .bytes = body->tensors,
        .size = body->tensors_size};
    if (tensor.rank == 2)
        tensor.shape[1] = shape->dimension;
    return put_numbers(request, &tensor, problem);
}
