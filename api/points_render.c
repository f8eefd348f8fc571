// SPDX-License-Identifier: Apache-2.0
#include "api/points.h"

#include "api/json.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <stdio.h>
#include <string.h>

enum { MAX_REPLY = 1 << 30 };

static void begin(const struct api_points *request, struct api_reply *reply)
{
    api_reply_init(reply, MAX_REPLY);
    snprintf(reply->content_type, sizeof reply->content_type, "%s",
             request->media == API_MEDIA_NPY ? request->npy_type : api_media_type(request->media));
}

static bool finish(struct api_reply *reply, struct api_problem *problem)
{
    enum efm_status status = reply->body.status;
    if (status == EFM_OK)
        return true;
    api_reply_release(reply);
    if (status == EFM_E_LIMIT)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the answer is larger than %d bytes",
                               MAX_REPLY);
    return api_problem_set(problem, status == EFM_E_MEMORY ? API_P_NO_MEMORY : API_P_INTERNAL, NULL,
                           "the answer could not be written: %s", efm_status_meaning(status));
}

/* Floats of [rows, width] for an NPY answer; NULL, with the buffer stopped, when there is no memory. */
static float *allocate_rows(struct efm_buffer *out, size_t rows, size_t width)
{
    size_t count;
    float *values = efm_size_multiply(rows, width, &count) ? efm_allocate_array(count, sizeof *values) : NULL;
    if (values == NULL)
        out->status = EFM_E_MEMORY;
    return values;
}

/* Appends and frees the floats. */
static void write_rows(struct efm_buffer *out, float *rows, const size_t *shape, size_t rank)
{
    enum efm_status status = efm_npy_write_floats(out, rows, shape, rank);
    if (out->status == EFM_OK)
        out->status = status;
    efm_free(rows);
}

/* [x_1, ..., x_D, last] */
static void append_point(struct efm_buffer *out, const float *x, size_t dimension, double last)
{
    efm_buffer_append_string(out, "[");
    for (size_t i = 0; i < dimension; i++) {
        api_json_float(out, x[i]);
        efm_buffer_append_string(out, ",");
    }
    api_json_real(out, last);
    efm_buffer_append_string(out, "]");
}

static void field_json(const struct api_points *request, const struct efm_field_values *values,
                       struct efm_buffer *out)
{
    efm_buffer_append_string(out, "{\"directions\":[");
    for (size_t i = 0; i < request->count && out->status == EFM_OK; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        append_point(out, values->x + i * request->dimension, request->dimension, values->z[i]);
    }
    efm_buffer_append_string(out, "],\"log_norms\":[");
    for (size_t i = 0; i < request->count && out->status == EFM_OK; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        api_json_real(out, values->log_norm[i]);
    }
    efm_buffer_append_string(out, "]}\n");
}

static void field_npy(const struct api_points *request, const struct efm_field_values *values,
                      struct efm_buffer *out)
{
    size_t dimension = request->dimension, width = dimension + 2;
    const size_t shape[2] = {request->count, width};
    float *rows = allocate_rows(out, request->count, width);
    if (rows == NULL)
        return;
    for (size_t i = 0; i < request->count; i++) {
        memcpy(rows + i * width, values->x + i * dimension, dimension * sizeof *rows);
        rows[i * width + dimension] = (float)values->z[i];
        rows[i * width + dimension + 1] = (float)values->log_norm[i];
    }
    write_rows(out, rows, shape, 2);
}

bool api_field_render(const struct api_points *request, const struct efm_field_values *values,
                      struct api_reply *reply, struct api_problem *problem)
{
    begin(request, reply);
    if (request->media == API_MEDIA_NPY)
        field_npy(request, values, &reply->body);
    else
        field_json(request, values, &reply->body);
    return finish(reply, problem);
}

static void line_json(const struct api_points *request, const struct efm_line *line, struct efm_buffer *out)
{
    const float *x;
    const double *z;
    size_t count;
    efm_line_frames(line, &x, &z, &count);
    efm_buffer_format(out, "{\"state\":\"%s\",\"evaluations\":%u,\"points\":[",
                      efm_line_state_name(efm_line_state(line)), efm_line_evaluations(line));
    for (size_t i = 0; i < count && out->status == EFM_OK; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        append_point(out, x + i * request->dimension, request->dimension, z[i]);
    }
    efm_buffer_append_string(out, "]}");
}

/* [n, k, D + 1] */
static void trace_npy(const struct api_points *request, struct efm_line *const *lines, struct efm_buffer *out)
{
    size_t dimension = request->dimension, width = dimension + 1;
    const size_t shape[3] = {request->count, request->points, width};
    float *rows = allocate_rows(out, request->count * request->points, width);
    if (rows == NULL)
        return;
    for (size_t i = 0; i < request->count; i++) {
        const float *x;
        const double *z;
        size_t count;
        efm_line_frames(lines[i], &x, &z, &count);
        for (size_t k = 0; k < count && k < request->points; k++) {
            float *row = rows + (i * request->points + k) * width;
            memcpy(row, x + k * dimension, dimension * sizeof *row);
            row[dimension] = (float)z[k];
        }
    }
    write_rows(out, rows, shape, 3);
}

bool api_trace_render(const struct api_points *request, struct efm_line *const *lines,
                      struct api_reply *reply, struct api_problem *problem)
{
    struct efm_buffer *out = &reply->body;
    begin(request, reply);
    if (request->media == API_MEDIA_NPY) {
        trace_npy(request, lines, out);
        return finish(reply, problem);
    }
    efm_buffer_append_string(out, "{\"lines\":[");
    for (size_t i = 0; i < request->count; i++) {
        efm_buffer_append_string(out, i > 0 ? "," : "");
        line_json(request, lines[i], out);
    }
    efm_buffer_append_string(out, "]}\n");
    return finish(reply, problem);
}
