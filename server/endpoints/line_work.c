// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/line_work.h"

#include "core/base/memory.h"
#include "server/clock.h"

#include <stdint.h>

double srv_lines_deadline(double timeout)
{
    return srv_clock() + timeout;
}

bool srv_lines_timeout_allowed(double timeout, double most, struct api_problem *problem)
{
    return timeout <= most ||
           api_problem_set(problem, API_P_INVALID_PARAMETER, "/timeout",
                           "must be at most the %g seconds that this server allows, not %g", most, timeout);
}

static bool is_npy(const struct api_message *message)
{
    return message->body_size > 0 && message->body[0] == 0x93;
}

size_t srv_points_numbers(const struct api_message *message)
{
    enum { JSON_VALUES_MOST = 2 << 20 }; /* api_json_parse takes no more */
    size_t numbers = message->body_size / (is_npy(message) ? sizeof(float) : 2) + 1;
    return !is_npy(message) && numbers > JSON_VALUES_MOST ? JSON_VALUES_MOST : numbers;
}

size_t srv_points_bytes(const struct api_message *message)
{
    enum { PARSED_JSON = 64, AS_NUMBERS = 16, AS_TEXT = 24 };
    size_t each = AS_NUMBERS + AS_TEXT + (is_npy(message) ? 0 : PARSED_JSON), bytes;
    if (!efm_size_multiply(srv_points_numbers(message), each, &bytes) ||
        !efm_size_add(bytes, message->body_size, &bytes))
        return SIZE_MAX;
    return bytes;
}

float *srv_lines_starts(size_t count, size_t dimension, struct api_problem *problem)
{
    size_t floats;
    float *starts = NULL;
    if (efm_size_multiply(count, dimension, &floats))
        starts = efm_allocate_array(floats, sizeof(*starts));
    if (starts == NULL)
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for %zu lines", count);
    return starts;
}

bool srv_lines_create(struct srv_work *work, const struct efm_flow_options *options, const float *starts,
                      size_t dimension, struct api_problem *problem)
{
    const struct efm_field *field = efm_model_field(work->model);
    struct efm_error error = {0};
    work->lines = efm_allocate_array(work->line_count, sizeof(struct efm_line *));
    if (work->lines == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for %zu lines", work->line_count);
    for (size_t i = 0; i < work->line_count; i++)
        if (efm_line_create(&work->lines[i], field, options, starts + i * dimension, i, &error) != EFM_OK)
            return api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER, NULL);
    return true;
}

double srv_lines_evaluations(const struct efm_flow_options *options)
{
    if (options->solver == EFM_SOLVER_EULER)
        return options->steps;
    return options->solver == EFM_SOLVER_HEUN ? 2.0 * options->steps : 0;
}

void srv_lines_destroy(struct srv_work *work)
{
    for (size_t i = 0; work->lines != NULL && i < work->line_count; i++)
        efm_line_destroy(work->lines[i]);
    efm_free(work->lines);
    work->lines = NULL;
}

void srv_work_timings(const struct srv_work *work, struct api_timings *timings)
{
    const bool computed = work->first_step > 0;
    *timings = (struct api_timings){
        .queued = true,
        .computed = computed,
        .queue = (computed ? work->first_step : work->finished) - work->submitted,
        .infer = computed ? work->finished - work->first_step : 0,
        .encode = computed ? srv_clock() - work->finished : 0,
    };
}

void srv_lines_facts(const struct srv_work *work, struct api_facts *facts)
{
    facts->results = work->line_count;
    facts->evaluations = 0;
    for (size_t i = 0; i < work->line_count; i++)
        facts->evaluations += efm_line_evaluations(work->lines[i]);
}
