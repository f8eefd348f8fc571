// SPDX-License-Identifier: Apache-2.0
/* flow.c - a place where lines of one field take their evaluations together. */
#include "core/flow/flow.h"

#include "core/flow/flow_internal.h"

#include <string.h>

struct efm_flow {
    const struct efm_field *field;
    struct efm_field_workspace *workspace;
    size_t capacity, dimension;
    struct efm_arena arena;
    float *x;           /* [capacity, D] */
    double *z;          /* [capacity] */
    float *direction_x; /* [capacity, D] */
    double *direction_z, *log_norm, *nearest;
    struct efm_line **running; /* [capacity] */
};

static void *take(struct efm_flow *flow, size_t count, size_t size, bool plan)
{
    if (!plan)
        return efm_arena_take(&flow->arena, count, size);
    /* An overflowing plan is made impossible to allocate instead of being reported piece by piece. */
    if (!efm_arena_measure(&flow->arena, count, size))
        flow->arena.size = SIZE_MAX - EFM_ALIGNMENT;
    return NULL;
}

static void lay_out(struct efm_flow *flow, bool plan)
{
    size_t n = flow->capacity, cells;
    if (!efm_size_multiply(n, flow->dimension, &cells))
        cells = SIZE_MAX;
    flow->x = take(flow, cells, sizeof(float), plan);
    flow->direction_x = take(flow, cells, sizeof(float), plan);
    flow->z = take(flow, n, sizeof(double), plan);
    flow->direction_z = take(flow, n, sizeof(double), plan);
    flow->log_norm = take(flow, n, sizeof(double), plan);
    flow->nearest = take(flow, n, 2 * sizeof(double), plan);
    flow->running = take(flow, n, sizeof(struct efm_line *), plan);
}

enum efm_status efm_flow_create(struct efm_flow **result, const struct efm_field *field, size_t capacity,
                                struct efm_team *team, struct efm_error *error)
{
    *result = NULL;
    if (capacity == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a flow has room for at least one line");
    struct efm_flow *flow = efm_allocate_array(1, sizeof *flow);
    if (flow == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a flow");
    flow->field = field;
    flow->capacity = capacity;
    flow->dimension = efm_field_dimension(field);
    lay_out(flow, true);
    enum efm_status status = efm_arena_create(&flow->arena, error);
    if (status == EFM_OK)
        status = efm_field_workspace_create(&flow->workspace, field, capacity, team, error);
    if (status != EFM_OK) {
        efm_flow_destroy(flow);
        return status;
    }
    lay_out(flow, false);
    *result = flow;
    return EFM_OK;
}

void efm_flow_destroy(struct efm_flow *flow)
{
    if (flow == NULL)
        return;
    efm_field_workspace_destroy(flow->workspace);
    efm_arena_release(&flow->arena);
    efm_free(flow);
}

size_t efm_flow_capacity(const struct efm_flow *flow)
{
    return flow->capacity;
}

size_t efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count)
{
    size_t dimension = flow->dimension, asked = 0, running = 0;
    for (size_t i = 0; i < count && asked < flow->capacity; i++) {
        if (lines[i]->state != EFM_LINE_RUNNING)
            continue;
        flow->running[asked] = lines[i];
        memcpy(flow->x + asked * dimension, lines[i]->trial, dimension * sizeof(float));
        flow->z[asked] = efm_line_z(lines[i], lines[i]->trial_height);
        asked++;
    }
    struct efm_field_values values = {flow->direction_x, flow->direction_z, flow->log_norm, flow->nearest};
    efm_field_evaluate(flow->field, flow->workspace, flow->x, flow->z, asked, &values);
    for (size_t i = 0; i < asked; i++) {
        struct efm_line_sample sample = {.x = flow->direction_x + i * dimension,
                                         .z = flow->direction_z[i],
                                         .log_norm = flow->log_norm[i],
                                         .nearest = {flow->nearest[2 * i], flow->nearest[2 * i + 1]}};
        efm_line_advance(flow->running[i], &sample);
        running += flow->running[i]->state == EFM_LINE_RUNNING;
    }
    return running;
}
