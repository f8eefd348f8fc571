// SPDX-License-Identifier: Apache-2.0
/* A query, a Content-Type and a body as points of a field and as starts of traces: finite and as many as
 * said. */
#include "api/points.h"
#include "tests/fuzz/api_target.h"

#include <math.h>

enum { DIMENSION = 2, MAX_POINTS = 16 };

static void check_points(const struct api_points *request)
{
    if (request->count == 0 || request->count > MAX_POINTS)
        abort();
    for (size_t i = 0; i < request->count * DIMENSION; i++)
        if (!isfinite(request->x[i]))
            abort();
    for (size_t i = 0; request->z != NULL && i < request->count; i++)
        if (!isfinite(request->z[i]))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target_message target;
    struct api_points request;
    struct api_problem problem = {0}, other = {0};
    take_message(&target, data, size);
    bool good = api_field_parse(&request, &target.message, DIMENSION, MAX_POINTS, &problem);
    if (good)
        check_points(&request);
    check_verdict(good, &problem);
    api_points_release(&request);
    good = api_trace_parse(&request, &target.message, DIMENSION, MAX_POINTS, &other);
    if (good)
        check_points(&request);
    check_verdict(good, &other);
    api_points_release(&request);
    free(target.body);
    return 0;
}
