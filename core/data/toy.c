// SPDX-License-Identifier: Apache-2.0
#include "core/data/toy.h"

#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/data/data_internal.h"

#include <math.h>
#include <string.h>

static const double PI = 3.141592653589793238462643383280;
static const double default_centers[4] = {8, 0, -8, 0};

struct efm_toy_spec efm_toy_spec_default(enum efm_toy_kind kind)
{
    return (struct efm_toy_spec){
        .kind = kind,
        .count = 2000,
        .shape = efm_shape_vector(kind == EFM_TOY_TWO_INTERVALS ? 1 : 2),
        .seed = 1,
        .centers = kind == EFM_TOY_MIXTURE ? default_centers : NULL,
        .center_count = kind == EFM_TOY_MIXTURE ? 2 : 0,
        .deviation = 0.5,
        .noise = 0.1,
        .scale = 4 / (4.5 * PI),
    };
}

/* Within what a float holds without losing the small parts; NaN is outside. */
static bool is_sane(double value)
{
    return fabs(value) <= 1e6;
}

static enum efm_status check_mixture(const struct efm_toy_spec *spec, struct efm_error *error)
{
    if (spec->center_count == 0 || spec->center_count > EFM_TOY_MAX_CENTERS)
        return efm_error_set(error, EFM_E_ARGUMENT, "a mixture has 1 to %d centers, not %zu",
                             EFM_TOY_MAX_CENTERS, spec->center_count);
    if (!(spec->deviation > 0) || !is_sane(spec->deviation))
        return efm_error_set(error, EFM_E_ARGUMENT, "the deviation lies above 0 and up to 1e6, not at %g",
                             spec->deviation);
    for (size_t i = 0; i < spec->center_count * spec->shape.dimension; i++)
        if (!is_sane(spec->centers[i]))
            return efm_error_set(error, EFM_E_ARGUMENT, "a center lies at %g, past 1e6", spec->centers[i]);
    return EFM_OK;
}

enum efm_status efm_toy_spec_check(const struct efm_toy_spec *spec, struct efm_error *error)
{
    size_t dimension = spec->shape.dimension;
    if (spec->count == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a toy needs at least one sample");
    if (dimension == 0 || dimension > EFM_TOY_MAX_DIMENSION)
        return efm_error_set(error, EFM_E_ARGUMENT, "a toy has 1 to %d numbers a sample, not %zu",
                             EFM_TOY_MAX_DIMENSION, dimension);
    if (efm_shape_is_image(&spec->shape) && spec->kind != EFM_TOY_GAUSSIAN && spec->kind != EFM_TOY_UNIFORM)
        return efm_error_set(error, EFM_E_ARGUMENT, "only gaussian and uniform are drawn as images");
    if (spec->kind == EFM_TOY_MIXTURE)
        return check_mixture(spec, error);
    if (spec->kind == EFM_TOY_TWO_INTERVALS && dimension != 1)
        return efm_error_set(error, EFM_E_ARGUMENT, "two_intervals has dimension 1, not %zu", dimension);
    if (spec->kind != EFM_TOY_SWISS_ROLL)
        return EFM_OK;
    if (dimension != 2)
        return efm_error_set(error, EFM_E_ARGUMENT, "swiss_roll has dimension 2, not %zu", dimension);
    if (!(spec->noise >= 0) || !is_sane(spec->noise))
        return efm_error_set(error, EFM_E_ARGUMENT, "the noise lies between 0 and 1e6, not at %g",
                             spec->noise);
    if (!(spec->scale > 0) || !is_sane(spec->scale))
        return efm_error_set(error, EFM_E_ARGUMENT, "the scale lies above 0 and up to 1e6, not at %g",
                             spec->scale);
    return EFM_OK;
}

static void fill_swiss_roll(const struct efm_toy_spec *spec, struct efm_random *random, float *out)
{
    double angle = 1.5 * PI * (1 + 2 * efm_random_uniform(random));
    double radius = spec->scale * angle;
    out[0] = (float)(radius * cos(angle) + spec->noise * efm_random_normal(random));
    out[1] = (float)(radius * sin(angle) + spec->noise * efm_random_normal(random));
}

static void fill_sample(const struct efm_toy_spec *spec, struct efm_random *random, float *out)
{
    size_t dimension = spec->shape.dimension;
    const double *center;
    switch (spec->kind) {
    case EFM_TOY_GAUSSIAN:
        efm_random_fill_normal(random, out, dimension);
        return;
    case EFM_TOY_MIXTURE:
        center = spec->centers + efm_random_below(random, spec->center_count) * dimension;
        for (size_t i = 0; i < dimension; i++)
            out[i] = (float)(center[i] + spec->deviation * efm_random_normal(random));
        return;
    case EFM_TOY_SWISS_ROLL:
        fill_swiss_roll(spec, random, out);
        return;
    case EFM_TOY_UNIFORM:
        for (size_t i = 0; i < dimension; i++)
            out[i] = (float)(2 * efm_random_uniform(random) - 1);
        return;
    case EFM_TOY_TWO_INTERVALS:
        out[0] = (float)(2 * efm_random_uniform(random));
        out[0] = out[0] < 1 ? out[0] - 3 : out[0] + 1;
        return;
    }
}

/* Samples first .. end - 1, to where the first of all would lie in `out`. */
static void fill_range(const struct efm_toy_spec *spec, size_t first, size_t end, float *out)
{
    for (size_t i = first; i < end; i++) {
        struct efm_random random;
        /* The kind is part of the name: plates of two toys with one seed must not be copies of each other. */
        efm_random_init(&random, spec->seed, (uint64_t)spec->kind << 48 | i, EFM_RANDOM_DATASET);
        fill_sample(spec, &random, out + i * spec->shape.dimension);
    }
}

void efm_toy_fill(const struct efm_toy_spec *spec, float *out)
{
    fill_range(spec, 0, spec->count, out);
}

enum efm_status efm_toy_dataset(struct efm_dataset **dataset, const struct efm_toy_spec *spec,
                                const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_dataset *made = NULL;
    enum efm_status status = efm_toy_spec_check(spec, error);
    if (status == EFM_OK)
        status = efm_dataset_check_shape(options, &spec->shape, error);
    if (status == EFM_OK)
        status = efm_dataset_create_floats(&made, efm_toy_reader.format, spec->count, &spec->shape, options,
                                           error);
    if (status != EFM_OK)
        return status;
    const size_t stride = EFM_DATASET_STRIDE / sizeof(float) / spec->shape.dimension + 1;
    for (size_t at = 0, end; at < spec->count && status == EFM_OK; at = end) {
        end = spec->count - at < stride ? spec->count : at + stride;
        fill_range(spec, at, end, made->floats);
        status = efm_dataset_ask(options, error);
    }
    if (status != EFM_OK) {
        efm_dataset_unref(made);
        return status;
    }
    made->standard_normal = spec->kind == EFM_TOY_GAUSSIAN;
    return efm_dataset_finish(dataset, made, options, error);
}
