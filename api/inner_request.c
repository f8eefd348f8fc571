// SPDX-License-Identifier: Apache-2.0
#include "api/inner_request.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TARGET_LIMIT = 4096, NPY_HEADER = 256, PART_HEADER = 192 };

void api_inner_init(struct api_inner_request *inner, size_t limit)
{
    *inner = (struct api_inner_request){.target = efm_buffer_limited(TARGET_LIMIT),
                                        .body = efm_buffer_limited(limit),
                                        .media = API_MEDIA_NPY};
}

void api_inner_release(struct api_inner_request *inner)
{
    efm_buffer_release(&inner->target);
    efm_buffer_release(&inner->body);
}

/* ---- the parameters ---- */

/* About the picture or the array that /v1/transfer answers with; the answer to another protocol has a form
 * of its own. */
static bool is_about_answer(const char *name)
{
    static const char *const names[] = {"format", "quality", "layout"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* None of the values has a letter that a query would have to escape. */
static void append_value(struct efm_buffer *out, const struct api_parameter *parameter, const char *value)
{
    uint64_t integer;
    double real;
    int word;
    uint8_t colour[3];
    switch (parameter->kind) {
    case API_INTEGER:
        memcpy(&integer, value, sizeof integer);
        efm_buffer_format(out, "%" PRIu64, integer);
        break;
    case API_REAL:
        memcpy(&real, value, sizeof real);
        efm_buffer_format(out, "%.17g", real);
        break;
    case API_WORD:
        memcpy(&word, value, sizeof word);
        efm_buffer_append_string(out, parameter->words[word]);
        break;
    case API_NAME:
        efm_buffer_append_string(out, value);
        break;
    case API_COLOUR:
        memcpy(colour, value, sizeof colour);
        efm_buffer_format(out, "%02x%02x%02x", colour[0], colour[1], colour[2]);
        break;
    }
}

bool api_inner_target(struct api_inner_request *inner, enum api_operation operation,
                      const struct api_transfer *parameters, struct api_problem *problem)
{
    struct efm_buffer *out = &inner->target;
    char divider = '?';
    efm_buffer_append_string(out, operation == API_OP_TRANSFER ? "/v1/transfer" : "/v1/generate");
    for (size_t i = 0; i < api_transfer_table.count; i++) {
        const struct api_parameter *parameter = &api_transfer_table.items[i];
        if (!api_parameter_given(&api_transfer_table, &parameters->seen, parameter->name) ||
            is_about_answer(parameter->name))
            continue;
        efm_buffer_format(out, "%c%s=", divider, parameter->name);
        append_value(out, parameter, (const char *)parameters + parameter->offset);
        divider = '&';
    }
    if (efm_buffer_append(out, "", 1) == EFM_OK)
        return true;
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the request");
}

/* ---- the inputs ---- */

static bool is_full(const struct efm_buffer *out, struct api_problem *problem)
{
    if (out->status == EFM_E_LIMIT)
        return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL, "the input is larger than %zu bytes",
                               out->limit);
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the input");
}

enum { BOUNDARY_SIZE = 48, BOUNDARY_TRIALS = 64 };

/* A line that no file holds. Whoever knows this code can write a file that holds them all. */
static bool choose_boundary(const struct api_file *files, size_t count, char out[BOUNDARY_SIZE],
                            struct api_problem *problem)
{
    for (unsigned trial = 0; trial < BOUNDARY_TRIALS; trial++) {
        size_t i = 0;
        snprintf(out, BOUNDARY_SIZE, "efm-file-5b0c1f27d94e8a63-%02u", trial);
        while (i < count && memmem(files[i].bytes, files[i].size, out, strlen(out)) == NULL)
            i++;
        if (i == count)
            return true;
    }
    return api_problem_set(problem, API_P_NOT_AN_IMAGE, NULL, "a file holds the boundaries of forms");
}

bool api_inner_files(struct api_inner_request *inner, const struct api_file *files, size_t count,
                     struct api_problem *problem)
{
    struct efm_buffer *out = &inner->body;
    char boundary[BOUNDARY_SIZE];
    if (!choose_boundary(files, count, boundary, problem))
        return false;
    snprintf(inner->content_type, sizeof inner->content_type, "multipart/form-data; boundary=%s", boundary);
    size_t bytes = PART_HEADER;
    for (size_t i = 0; i < count; i++)
        if (!efm_size_add(bytes, files[i].size + PART_HEADER, &bytes))
            bytes = SIZE_MAX;
    efm_buffer_reserve(out, bytes);
    for (size_t i = 0; i < count; i++) {
        efm_buffer_format(out,
                          "--%s\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%zu\"\r\n\r\n",
                          boundary, i);
        efm_buffer_append(out, files[i].bytes, files[i].size);
        efm_buffer_append_string(out, "\r\n");
    }
    efm_buffer_format(out, "--%s--\r\n", boundary);
    return out->status == EFM_OK || is_full(out, problem);
}

bool api_inner_numbers(struct api_inner_request *inner, const float *values, const size_t *shape, size_t rank,
                       struct api_problem *problem)
{
    struct efm_buffer *out = &inner->body;
    size_t bytes = sizeof *values;
    snprintf(inner->content_type, sizeof inner->content_type, "application/x-npy");
    for (size_t i = 0; i < rank; i++)
        if (!efm_size_multiply(bytes, shape[i], &bytes))
            return api_problem_set(problem, API_P_SHAPE_MISMATCH, NULL,
                                   "the shape of the input is too large");
    if (efm_size_add(bytes, NPY_HEADER, &bytes))
        efm_buffer_reserve(out, bytes);
    enum efm_status status = efm_npy_write_floats(out, values, shape, rank);
    return status == EFM_OK || is_full(out, problem);
}

/* ---- what is known of a model ---- */

bool api_described_shape(const char *about, struct efm_shape *shape)
{
    *shape = (struct efm_shape){0};
    json_t *root = about == NULL ? NULL : json_loads(about, 0, NULL);
    const json_t *sizes = json_object_get(root, "shape");
    const size_t rank = json_array_size(sizes);
    uint64_t size[3] = {0};
    bool good = rank == 1 || rank == 3;
    for (size_t i = 0; good && i < rank; i++) {
        json_int_t value = json_integer_value(json_array_get(sizes, i));
        good = value > 0 && value <= UINT32_MAX;
        size[i] = (uint64_t)value;
    }
    size_t area, dimension;
    good = good && (rank == 1 || (efm_size_multiply(size[0], size[1], &area) &&
                                  efm_size_multiply(area, size[2], &dimension)));
    if (good)
        *shape = rank == 1 ? efm_shape_vector(size[0])
                           : efm_shape_image((uint32_t)size[0], (uint32_t)size[1], (uint32_t)size[2]);
    json_decref(root);
    return good;
}
