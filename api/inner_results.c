// SPDX-License-Identifier: Apache-2.0
#include "api/inner_request.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool refuse(struct api_problem *problem, const char *what)
{
    return api_problem_set(problem, API_P_INTERNAL, NULL, "the results cannot be read: %s", what);
}

static bool no_memory(struct api_problem *problem)
{
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the results");
}

static const char *header_of(const struct api_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    return "";
}

/* ---- reading ---- */

static bool read_numbers(struct api_inner_results *results, const struct efm_buffer *body,
                         struct api_problem *problem)
{
    struct efm_npy_view view;
    struct efm_error error = {0};
    if (efm_npy_parse(body->data, body->size, &view, &error) != EFM_OK)
        return refuse(problem, error.message);
    if (view.type != EFM_NPY_F32 || (view.rank != 2 && view.rank != 4) || view.count == 0)
        return refuse(problem, "an array of another kind");
    for (size_t i = 1; i < view.rank; i++)
        if (view.shape[i] > UINT32_MAX)
            return refuse(problem, "an array of another size");
    results->count = view.shape[0];
    results->shape = view.rank == 2 ? efm_shape_vector(view.shape[1])
                                    : efm_shape_image((uint32_t)view.shape[1], (uint32_t)view.shape[2],
                                                      (uint32_t)view.shape[3]);
    results->values = efm_allocate_array(view.count, sizeof *results->values);
    if (results->values == NULL)
        return no_memory(problem);
    memcpy(results->values, view.data, view.count * sizeof *results->values);
    return true;
}

static bool read_json(struct api_inner_results *results, const struct efm_buffer *body,
                      struct api_problem *problem)
{
    json_error_t error;
    results->json = json_loadb((const char *)body->data, body->size, 0, &error);
    if (results->json == NULL && json_error_code(&error) == json_error_out_of_memory)
        return no_memory(problem);
    results->count = json_array_size(json_object_get(results->json, "data"));
    return results->count > 0 || refuse(problem, "no results");
}

bool api_inner_results_read(struct api_inner_results *results, const struct api_reply *reply,
                            struct api_problem *problem)
{
    *results = (struct api_inner_results){
        .seed = strtoull(header_of(reply, "Efm-Seed"), NULL, 10),
        .evaluations = (unsigned)strtoul(header_of(reply, "Efm-Steps"), NULL, 10),
        .landed = strtoull(header_of(reply, "Efm-Landed"), NULL, 10), // "3/4"
    };
    if (reply->body.size == 0)
        return refuse(problem, "there are none");
    if (strcmp(reply->content_type, api_media_type(API_MEDIA_JSON)) == 0)
        return read_json(results, &reply->body, problem);
    return read_numbers(results, &reply->body, problem);
}

void api_inner_results_release(struct api_inner_results *results)
{
    json_decref(results->json);
    efm_free(results->values);
    *results = (struct api_inner_results){0};
}

/* ---- one result ---- */

bool api_inner_results_pixels(const struct api_inner_results *results, size_t index, struct efm_image *image,
                              struct api_problem *problem)
{
    const struct efm_shape *shape = &results->shape;
    if (results->values == NULL || !efm_shape_is_image(shape))
        return refuse(problem, "they are no images");
    if (efm_image_create(image, shape->width, shape->height, shape->channels, NULL) != EFM_OK)
        return no_memory(problem);
    efm_image_from_floats(image, results->values + index * shape->dimension);
    return true;
}

static bool copy_file(const json_t *text, struct efm_buffer *out, struct api_problem *problem)
{
    uint8_t *bytes;
    size_t size;
    if (!json_is_string(text))
        return refuse(problem, "a result without an image");
    if (!api_base64_decode(json_string_value(text), json_string_length(text), &bytes, &size, problem, NULL))
        return false;
    efm_buffer_append(out, bytes, size);
    efm_free(bytes);
    return true;
}

bool api_inner_results_file(const struct api_inner_results *results, size_t index,
                            enum efm_image_format format, int quality, struct efm_buffer *out,
                            struct api_problem *problem)
{
    struct efm_image image = {0};
    struct efm_error error = {0};
    bool good = true;
    if (results->json != NULL) {
        const json_t *result = json_array_get(json_object_get(results->json, "data"), index);
        good = copy_file(json_object_get(result, "b64_json"), out, problem);
    } else if (!api_inner_results_pixels(results, index, &image, problem)) {
        good = false;
    } else if (efm_image_encode(out, &image, format, quality, NULL, 0, &error) != EFM_OK &&
               out->status == EFM_OK) {
        good = api_problem_from_error(problem, &error, API_P_INTERNAL, NULL);
    }
    efm_image_release(&image);
    if (good && out->status == EFM_E_LIMIT)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the answer is larger than %zu bytes",
                               out->limit);
    return good && (out->status == EFM_OK || no_memory(problem));
}

void api_inner_headers(struct api_reply *reply, const struct api_reply *inner)
{
    reply->timings = inner->timings;
    reply->facts = inner->facts;
    for (size_t i = 0; i < inner->header_count; i++) {
        const struct api_header *header = &inner->headers[i];
        if (strncasecmp(header->name, "Efm-", 4) == 0)
            api_reply_header(reply, header->name, "%s", header->value);
    }
}
