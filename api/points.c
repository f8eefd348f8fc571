// SPDX-License-Identifier: Apache-2.0
#include "api/points.h"

#include "api/json.h"
#include "api/lines.h"

#include "core/base/memory.h"
#include "core/data/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct api_parameter PARAMETERS[] = {
    API_LINE_PARAMETERS(struct api_points),
    {"seed", API_INTEGER, offsetof(struct api_points, seed), .low = 0, .high = API_SEED_MAX, .fallback = "0",
     .help = "Of the lines of a stochastic map"},
    {"points", API_INTEGER, offsetof(struct api_points, points), .low = 2, .high = EFM_FLOW_MAX_FRAMES,
     .fallback = "16", .help = "Points that each line is shown as, both ends included"},
    {"timeout", API_REAL, offsetof(struct api_points, timeout), .low = 0.001, .high = 86400,
     .fallback = "the server's own", .help = "Seconds after which the request is given up"},
};

const struct api_parameter_table api_trace_table = {PARAMETERS, sizeof PARAMETERS / sizeof PARAMETERS[0]};
static const struct api_parameter_table NO_PARAMETERS = {NULL, 0};

/* What the two endpoints differ in while they read. */
struct reading {
    const struct api_parameter_table *table;
    const char *member;  /* that holds the rows */
    const char *pointer; /* "/points" */
    size_t width;        /* numbers of a row: D, or D + 1 with the height last */
    size_t max_points;
    bool has_heights;
};

/* ---- rows in ---- */

static bool allocate_rows(struct api_points *request, const struct reading *reading, size_t count,
                          struct api_problem *problem)
{
    size_t floats;
    if (count == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, reading->pointer,
                               "must hold at least one row of %zu numbers", reading->width);
    if (count > reading->max_points)
        return api_problem_set(problem, API_P_TOO_MANY_IMAGES, reading->pointer,
                               "has %zu rows, more than the limit of %zu", count, reading->max_points);
    if (efm_size_multiply(count, request->dimension, &floats))
        request->x = efm_allocate_array(floats, sizeof *request->x);
    if (reading->has_heights)
        request->z = efm_allocate_array(count, sizeof *request->z);
    if (request->x == NULL || (reading->has_heights && request->z == NULL))
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for %zu points", count);
    request->count = count;
    return true;
}

/* Puts number `column` of row `row` in its place. False when it is not finite there. */
static bool store(struct api_points *request, size_t row, size_t column, double value)
{
    if (column == request->dimension) {
        request->z[row] = value;
        return isfinite(value);
    }
    float *place = &request->x[row * request->dimension + column];
    *place = (float)value;
    return isfinite(*place);
}

static bool not_finite(const struct reading *reading, size_t row, size_t column, struct api_problem *problem)
{
    char pointer[48];
    snprintf(pointer, sizeof pointer, "%s/%zu", reading->pointer, row);
    return api_problem_set(problem, API_P_NOT_FINITE, pointer,
                           "value %zu is not finite or too large for a float", column);
}

static bool read_row(struct api_points *request, const struct reading *reading, size_t row,
                     const json_t *values, struct api_problem *problem)
{
    char pointer[48];
    snprintf(pointer, sizeof pointer, "%s/%zu", reading->pointer, row);
    if (!json_is_array(values) || json_array_size(values) != reading->width)
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, pointer, "must be an array of %zu numbers%s",
                               reading->width, reading->has_heights ? ": the sample, then the height z" : "");
    for (size_t column = 0; column < reading->width; column++) {
        const json_t *number = json_array_get(values, column);
        if (!json_is_number(number))
            return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "value %zu is not a number",
                                   column);
        if (!store(request, row, column, json_number_value(number)))
            return not_finite(reading, row, column, problem);
    }
    return true;
}

static bool read_rows(struct api_points *request, const struct reading *reading, const json_t *rows,
                      struct api_problem *problem)
{
    if (!json_is_array(rows))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, reading->pointer,
                               "must be an array of arrays of %zu numbers", reading->width);
    if (!allocate_rows(request, reading, json_array_size(rows), problem))
        return false;
    for (size_t row = 0; row < request->count; row++)
        if (!read_row(request, reading, row, json_array_get(rows, row), problem))
            return false;
    return true;
}

static bool read_member(struct api_points *request, const struct reading *reading, const char *name,
                        const json_t *value, struct api_problem *problem)
{
    if (strcmp(name, reading->member) == 0)
        return read_rows(request, reading, value, problem);
    if (reading->table->count > 0)
        return api_parameter_set_json(reading->table, request, &request->seen, name, value, problem);
    char pointer[72];
    api_parameter_pointer(name, pointer);
    return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer,
                           "is not known here; the JSON has one member, %s", reading->member);
}

static bool read_json(struct api_points *request, const struct reading *reading,
                      const struct api_message *message, struct api_problem *problem)
{
    json_t *root = api_json_parse(message->body, message->body_size, problem), *value;
    const char *name;
    bool good = root != NULL;
    if (good && !json_is_object(root))
        good = api_problem_set(problem, API_P_MALFORMED_JSON, NULL,
                               "the JSON must be an object: {\"%s\": ...}", reading->member);
    if (good) {
        json_object_foreach(root, name, value)
        {
            good = read_member(request, reading, name, value, problem) && good;
            if (problem->field_count == API_PROBLEM_FIELDS)
                break;
        }
    }
    json_decref(root);
    if (good && request->count == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, reading->pointer, "is absent");
    return good;
}

static bool read_npy(struct api_points *request, const struct reading *reading,
                     const struct api_message *message, struct api_problem *problem)
{
    static const size_t sizes[] = {[EFM_NPY_F32] = sizeof(float), [EFM_NPY_F64] = sizeof(double)};
    struct efm_npy_view view;
    struct efm_error error = {0};
    if (efm_npy_parse(message->body, message->body_size, &view, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_NPY, reading->pointer);
    if (view.rank != 2 || view.shape[1] != reading->width || view.type == EFM_NPY_U8)
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, reading->pointer,
                               "must be float32 or float64 of the shape [n, %zu]", reading->width);
    if (!allocate_rows(request, reading, view.shape[0], problem))
        return false;
    for (size_t i = 0; i < view.count; i++) {
        double value = 0;
        float single = 0;
        if (view.type == EFM_NPY_F64)
            memcpy(&value, view.data + i * sizes[EFM_NPY_F64], sizeof value);
        else
            memcpy(&single, view.data + i * sizes[EFM_NPY_F32], sizeof single);
        if (!store(request, i / reading->width, i % reading->width,
                   view.type == EFM_NPY_F64 ? value : (double)single))
            return not_finite(reading, i / reading->width, i % reading->width, problem);
    }
    return true;
}

static bool parse(struct api_points *request, const struct api_message *message,
                  const struct reading *reading, struct api_problem *problem)
{
    static const enum api_media offers[] = {API_MEDIA_JSON, API_MEDIA_NPY};
    bool npy = message->body_size >= 6 && memcmp(message->body, "\x93NUMPY", 6) == 0;
    char type[64];
    api_parameters_defaults(reading->table, request);
    bool good = api_parameters_from_query(reading->table, request, &request->seen, message->query, problem);
    api_content_type(message->content_type, type, sizeof type);
    if (message->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL, "the body is empty; send JSON or NPY");
    if (npy)
        good = read_npy(request, reading, message, problem) && good;
    else if (api_json_is_object(message->body, message->body_size) || strcmp(type, "application/json") == 0)
        good = read_json(request, reading, message, problem) && good;
    else
        good = api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "the body must be JSON or NPY");
    if (!good)
        return false;
    request->npy_type = api_accept_npy_type(message->accept);
    request->media = api_accept(message->accept, offers, 2);
    if (request->media == API_MEDIA_NONE)
        return api_problem_set(problem, API_P_NOT_ACCEPTABLE, NULL,
                               "the answer can be application/json, application/octet-stream or "
                               "application/x-npy");
    return true;
}

bool api_field_parse(struct api_points *request, const struct api_message *message, size_t dimension,
                     size_t max_points, struct api_problem *problem)
{
    const struct reading reading = {.table = &NO_PARAMETERS,
                                    .member = "points",
                                    .pointer = "/points",
                                    .width = dimension + 1,
                                    .max_points = max_points,
                                    .has_heights = true};
    *request = (struct api_points){.dimension = dimension};
    return parse(request, message, &reading, problem);
}

bool api_trace_parse(struct api_points *request, const struct api_message *message, size_t dimension,
                     size_t max_points, struct api_problem *problem)
{
    const struct reading reading = {.table = &api_trace_table,
                                    .member = "starts",
                                    .pointer = "/starts",
                                    .width = dimension,
                                    .max_points = max_points};
    *request = (struct api_points){.dimension = dimension};
    return parse(request, message, &reading, problem);
}

void api_points_release(struct api_points *request)
{
    efm_free(request->x);
    efm_free(request->z);
    request->x = NULL;
    request->z = NULL;
    request->count = 0;
}

bool api_trace_options(const struct api_points *request, const struct efm_model *model,
                       struct efm_flow_options *options, struct api_problem *problem)
{
    const struct api_parameter_table *table = &api_trace_table;
    const struct api_line_choice choice = {
        .has_solver = api_parameter_given(table, &request->seen, "solver"),
        .has_variable = api_parameter_given(table, &request->seen, "variable"),
        .has_steps = api_parameter_given(table, &request->seen, "steps"),
        .has_tolerance = api_parameter_given(table, &request->seen, "tolerance"),
        .direction = request->direction,
        .solver = request->solver,
        .variable = request->variable,
        .steps = request->steps,
        .tolerance = request->tolerance,
        .seed = request->seed,
        .frames = (uint32_t)request->points,
    };
    return api_line_options(&choice, model, options, problem);
}
