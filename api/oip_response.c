// SPDX-License-Identifier: Apache-2.0
#include "api/oip_internal.h"

#include "api/json.h"

#include <inttypes.h>
#include <stdio.h>

/* What an answer is written to: JSON, and the tensors that follow it. */
struct writing {
    const struct api_oip_infer *request;
    const struct api_inner_results *results;
    struct efm_buffer *json, tensors;
};

static bool is_full(const struct efm_buffer *out, struct api_problem *problem)
{
    if (out->status == EFM_E_LIMIT)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the answer is larger than %zu bytes",
                               out->limit);
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
}

/* ---- the data of one output ---- */

static void write_output(struct writing *writing, bool binary)
{
    const struct api_inner_results *results = writing->results;
    const size_t count = results->count * results->shape.dimension;
    if (binary)
        efm_buffer_append(&writing->tensors, results->values, count * sizeof *results->values);
    else
        api_json_floats(writing->json, results->values, count);
}

static bool write_pixels(struct writing *writing, bool binary, struct api_problem *problem)
{
    const struct api_inner_results *results = writing->results;
    for (size_t i = 0; i < results->count; i++) {
        struct efm_image image = {0};
        if (!api_inner_results_pixels(results, i, &image, problem))
            return false;
        if (binary)
            efm_buffer_append(&writing->tensors, image.pixels, results->shape.dimension);
        for (size_t k = 0; !binary && k < results->shape.dimension; k++)
            efm_buffer_format(writing->json, "%s%u", i + k == 0 ? "[" : ",", image.pixels[k]);
        efm_image_release(&image);
    }
    efm_buffer_append_string(writing->json, binary ? "" : "]");
    return true;
}

static void write_file(struct writing *writing, size_t index, bool binary, const struct efm_buffer *file)
{
    if (!binary) {
        efm_buffer_append_string(writing->json, index == 0 ? "[\"" : ",\"");
        api_base64_encode(writing->json, file->data, file->size);
        efm_buffer_append_string(writing->json, "\"");
        return;
    }
    const uint32_t size = (uint32_t)file->size;
    const uint8_t length[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                               (uint8_t)(size >> 24)};
    efm_buffer_append(&writing->tensors, length, sizeof length);
    efm_buffer_append(&writing->tensors, file->data, file->size);
}

static bool write_images(struct writing *writing, bool binary, struct api_problem *problem)
{
    const struct api_oip_infer *request = writing->request;
    const size_t limit = request->max_reply_bytes < UINT32_MAX ? request->max_reply_bytes : UINT32_MAX;
    bool good = true;
    for (size_t i = 0; good && i < writing->results->count; i++) {
        struct efm_buffer file = efm_buffer_limited(limit);
        good = api_inner_results_file(writing->results, i, request->format, request->quality, &file, problem);
        if (good)
            write_file(writing, i, binary, &file);
        efm_buffer_release(&file);
    }
    efm_buffer_append_string(writing->json, binary ? "" : "]");
    return good;
}

/* ---- one output ---- */

static void write_shape(struct efm_buffer *json, enum api_oip_output_kind kind, size_t count,
                        const struct efm_shape *shape)
{
    if (kind == API_OIP_IMAGE)
        efm_buffer_format(json, "[%zu]", count);
    else if (efm_shape_is_image(shape))
        efm_buffer_format(json, "[%zu,%u,%u,%u]", count, shape->height, shape->width, shape->channels);
    else
        efm_buffer_format(json, "[%zu,%zu]", count, shape->dimension);
}

static const char *datatype_of(enum api_oip_output_kind kind)
{
    return kind == API_OIP_OUTPUT ? "FP32" : kind == API_OIP_PIXELS ? "UINT8" : "BYTES";
}

static bool write_one(struct writing *writing, const struct api_oip_output *output,
                      struct api_problem *problem)
{
    const size_t before = writing->tensors.size;
    efm_buffer_format(writing->json,
                      "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":", api_oip_output_names[output->kind],
                      datatype_of(output->kind));
    write_shape(writing->json, output->kind, writing->results->count, &writing->results->shape);
    if (!output->binary)
        efm_buffer_append_string(writing->json, ",\"data\":");
    if (output->kind == API_OIP_OUTPUT)
        write_output(writing, output->binary);
    else if (!(output->kind == API_OIP_PIXELS ? write_pixels : write_images)(writing, output->binary,
                                                                             problem))
        return false;
    if (output->binary)
        efm_buffer_format(writing->json, ",\"parameters\":{\"binary_data_size\":%zu}",
                          writing->tensors.size - before);
    efm_buffer_append_string(writing->json, "}");
    return true;
}

/* ---- the whole ---- */

static bool write_json(struct writing *writing, struct api_problem *problem)
{
    const struct api_oip_infer *request = writing->request;
    const struct api_inner_results *results = writing->results;
    efm_buffer_append_string(writing->json, "{\"model_name\":");
    api_json_string(writing->json, request->model);
    efm_buffer_append_string(writing->json, ",\"model_version\":\"" API_OIP_VERSION "\"");
    if (request->id != NULL) {
        efm_buffer_append_string(writing->json, ",\"id\":");
        api_json_string(writing->json, json_string_value(request->id));
    }
    efm_buffer_format(writing->json,
                      ",\"parameters\":{\"seed\":%" PRIu64
                      ",\"evaluations\":%u,\"landed\":%zu},\"outputs\":[",
                      results->seed, results->evaluations, results->landed);
    for (size_t i = 0; i < request->output_count; i++) {
        efm_buffer_append_string(writing->json, i > 0 ? "," : "");
        if (!write_one(writing, &request->outputs[i], problem))
            return false;
    }
    efm_buffer_append_string(writing->json, "]}");
    return true;
}

/* Joins JSON and tensors. */
static void finish(struct writing *writing, struct api_reply *reply)
{
    bool binary = false;
    for (size_t i = 0; i < writing->request->output_count; i++)
        binary = binary || writing->request->outputs[i].binary;
    snprintf(reply->content_type, sizeof reply->content_type, "%s",
             binary ? "application/octet-stream" : "application/json");
    if (!binary)
        return;
    api_reply_header(reply, API_OIP_LENGTH_HEADER, "%zu", reply->body.size);
    efm_buffer_append(&reply->body, writing->tensors.data, writing->tensors.size);
    if (reply->body.status == EFM_OK)
        reply->body.status = writing->tensors.status;
}

bool api_oip_infer_render(const struct api_oip_infer *request, const struct api_reply *inner,
                          struct api_reply *reply, struct api_problem *problem)
{
    struct api_inner_results results;
    api_reply_init(reply, request->max_reply_bytes);
    struct writing writing = {.request = request,
                              .results = &results,
                              .json = &reply->body,
                              .tensors = efm_buffer_limited(request->max_reply_bytes)};
    bool good = api_inner_results_read(&results, inner, problem) && write_json(&writing, problem);
    if (good) {
        finish(&writing, reply);
        api_inner_headers(reply, inner);
        good = reply->body.status == EFM_OK || is_full(&reply->body, problem);
    }
    efm_buffer_release(&writing.tensors);
    api_inner_results_release(&results);
    if (!good)
        api_reply_release(reply);
    return good;
}
