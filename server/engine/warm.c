// SPDX-License-Identifier: Apache-2.0
#include "server/engine/warm.h"

#include "core/base/memory.h"
#include "server/engine/engine_internal.h"

/* What a full batch may take, judged by one line of it. */
static const double FULL_SECONDS = 0.25;

struct points {
    float *x;  /* [count, D], at the origin */
    double *z; /* [count], half-way between the plates */
    struct efm_field_values values;
};

static void release_points(struct points *points)
{
    efm_free(points->x);
    efm_free(points->z);
    efm_free(points->values.x);
    efm_free(points->values.z);
    efm_free(points->values.log_norm);
}

static enum efm_status make_points(struct points *points, const struct efm_field *field, size_t count,
                                   struct efm_error *error)
{
    size_t floats = 0;
    if (efm_size_multiply(count, efm_field_dimension(field), &floats)) {
        points->x = efm_allocate_array(floats, sizeof(float));
        points->values.x = efm_allocate_array(floats, sizeof(float));
    }
    points->z = efm_allocate_array(count, sizeof(double));
    points->values.z = efm_allocate_array(count, sizeof(double));
    points->values.log_norm = efm_allocate_array(count, sizeof(double));
    if (points->x == NULL || points->z == NULL || points->values.x == NULL || points->values.z == NULL ||
        points->values.log_norm == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a first evaluation");
    for (size_t i = 0; i < count; i++)
        points->z[i] = 0.5 * efm_field_length(field);
    return EFM_OK;
}

static enum efm_status evaluate(const struct efm_field *field, size_t batch, struct efm_team *team,
                                struct efm_error *error)
{
    struct efm_field_workspace *workspace = NULL;
    struct points points = {0};
    enum efm_status status = make_points(&points, field, batch, error);
    if (status == EFM_OK)
        status = efm_field_workspace_create(&workspace, field, batch, team, error);
    if (status == EFM_OK) {
        efm_field_evaluate(field, workspace, points.x, points.z, 1, &points.values);
        const double started = srv_clock();
        efm_field_evaluate(field, workspace, points.x, points.z, 1, &points.values);
        if (batch > 1 && (srv_clock() - started) * (double)batch <= FULL_SECONDS)
            efm_field_evaluate(field, workspace, points.x, points.z, batch, &points.values);
    }
    efm_field_workspace_destroy(workspace);
    release_points(&points);
    return status;
}

enum efm_status srv_warm_model(const struct efm_model *model, size_t batch, size_t threads,
                               struct efm_error *error)
{
    struct efm_team *team = NULL;
    enum efm_status status = threads > 1 ? efm_team_create(&team, threads, error) : EFM_OK;
    if (status == EFM_OK)
        status = evaluate(efm_model_field(model), batch > 0 ? batch : 1, team, error);
    efm_team_destroy(team);
    return status;
}
