// SPDX-License-Identifier: Apache-2.0
/* points.c - where a network is trained: heights and places between a pair of samples. */
#include "core/train/train_internal.h"

enum {
    GEOMETRIC_STEPS = 291, /* the published M */
    TRIES = 1000,
};

double efm_train_height(const struct efm_batch_options *options, struct efm_random *random)
{
    double room = options->length - 2 * options->lowest;
    return options->lowest + room * efm_random_uniform(random);
}

/* The published law is dense near the source and leaves the plates behind: here M is as large as L allows, heights that
 * are out of range are drawn again, and half of them are measured from the target. */
static double geometric_height(const struct efm_batch_options *options, struct efm_random *random)
{
    double sigma = options->sigma > 0 ? options->sigma : 0.1;
    double growth = log1p(options->tau > 0 ? options->tau : 0.03);
    double most = fmin(GEOMETRIC_STEPS, fmax(log(options->length / sigma) / growth, 0));
    bool from_target = efm_random_u32(random) & 1;
    for (int i = 0; i < TRIES; i++) {
        double z = fabs(sigma * efm_random_normal(random)) * exp(growth * most * efm_random_uniform(random));
        if (z >= options->lowest && z <= options->length - options->lowest)
            return from_target ? options->length - z : z;
    }
    return efm_train_height(options, random); /* a range that the law hardly knows */
}

EFM_CLONES static void interpolate_pair(float *restrict x, const float *restrict p, const float *restrict q,
                                        float t, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] = t * q[d] + (1 - t) * p[d];
}

EFM_CLONES static double squared_noise(const float *x, size_t dimension)
{
    double sum = 0;
    for (size_t d = 0; d < dimension; d++) /* in one order on every machine: points do not depend on it */
        sum += (double)x[d] * x[d];
    return sum;
}

EFM_CLONES static void add_pair_to_noise(float *restrict x, float scale, const float *restrict p, float t,
                                         const float *restrict q, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] = scale * x[d] + (t * q[d] + (1 - t) * p[d]);
}

void efm_train_point_make(const struct efm_batch_options *options, size_t dimension,
                          struct efm_train_point *point)
{
    if (options->sampler == EFM_SAMPLER_MARGINAL) {
        efm_train_point_marginal(options, dimension, point);
        return;
    }
    point->side = EFM_SOURCE;
    point->z = (float)(options->sampler == EFM_SAMPLER_GEOMETRIC ? geometric_height(options, point->random)
                                                                 : efm_train_height(options, point->random));
    float t = (float)((double)point->z / options->length);
    if (options->sampler != EFM_SAMPLER_TUBE) {
        interpolate_pair(point->x, point->p, point->q, t, dimension);
        return;
    }
    double sigma = options->sigma > 0 ? options->sigma : options->length / 10;
    double size = fabs(options->length / 2 + sigma * efm_random_normal(point->random));
    efm_train_normals(point->normal_seed, point->index, point->x, dimension);
    double norm = sqrt(squared_noise(point->x, dimension));
    float scale = norm > 0 ? (float)(size / norm) : 0;
    add_pair_to_noise(point->x, scale, point->p, t, point->q, dimension);
}
