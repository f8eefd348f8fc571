// SPDX-License-Identifier: Apache-2.0
/* marginal.c - points as dense as the lines that cross them: with the density of E_z.
 *
 * The lateral offset of one charge's E_z is Cauchy-like: normal with the variance t = z^2 / g0^2, which is the law of
 * the time at which a Brownian motion from z reaches 0. In the chain the other plate is in the way, and only paths that
 * did not touch it count: a share a(t) of those with this t, 1 - z/L in all. */
#include "core/train/train_internal.h"

static const double PI = 3.14159265358979323846;

enum {
    IMAGES = 6,    /* of the sum over mirror images, short times */
    HARMONICS = 8, /* of its dual, long times */
    TRIES = 1000000,
};

double efm_marginal_acceptance(double z, double t, double length)
{
    double a = 0, twice = 2 * length;
    if (t > 200 * length * length) /* below e^-900 of all, and t may be infinite */
        return 0;
    if (t < twice * length) {
        for (int k = -IMAGES; k <= IMAGES; k++) {
            double image = z + k * twice;
            a += image / z * exp(-(image * image - z * z) / (2 * t));
        }
    } else {
        for (int n = 1; n <= HARMONICS; n++)
            a += n * sin(n * PI * z / length) * exp(-n * n * PI * PI * t / (twice * length));
        a *= PI / (length * length) / (z * exp(-z * z / (2 * t)) / sqrt(2 * PI * t * t * t));
    }
    return fmin(fmax(a, 0), 1);
}

static double time_to_reach(double z, struct efm_random *random)
{
    double g = efm_random_normal(random);
    return z * z / (g * g);
}

/* One capacitor: no plate is in the way, and offsets have no end. Those far out are drawn again. */
static double capacitor_spread(const struct efm_batch_options *options, double z, struct efm_random *random,
                               enum efm_plate_side *side)
{
    *side = efm_random_u32(random) & 1 ? EFM_TARGET : EFM_SOURCE;
    double height = *side == EFM_SOURCE ? z : fmax(options->length - z, 0),
           most = EFM_TRAIN_FAR * options->length;
    for (int i = 0; i < TRIES; i++) {
        double t = time_to_reach(height, random);
        if (t < most * most)
            return sqrt(t);
    }
    return most;
}

static double chain_spread(const struct efm_batch_options *options, double z, struct efm_random *random,
                           enum efm_plate_side *side)
{
    double length = options->length, t = time_to_reach(z, random);
    *side = EFM_SOURCE;
    if (efm_random_uniform(random) < efm_marginal_acceptance(z, t, length))
        return sqrt(t);
    *side = EFM_TARGET;
    double height = fmax(length - z, 1e-9 * length); /* z is a float, and may have become L */
    for (int i = 0; i < TRIES; i++) {
        t = time_to_reach(height, random);
        if (efm_random_uniform(random) < efm_marginal_acceptance(height, t, length))
            return sqrt(t);
    }
    return height; /* as good as never: a height is tried as rarely as it is hard to reach */
}

EFM_CLONES static void spread_out(float *restrict x, float spread, const float *restrict charge,
                                  size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] = charge[d] + spread * x[d];
}

void efm_train_point_marginal(const struct efm_batch_options *options, size_t dimension,
                              struct efm_train_point *point)
{
    bool chain = efm_training_target_kind(options->target) == EFM_FIELD_CHAIN;
    point->z = (float)efm_train_height(options, point->random);
    double z = (double)point->z;
    double spread = chain ? chain_spread(options, z, point->random, &point->side)
                          : capacitor_spread(options, z, point->random, &point->side);
    efm_train_normals(point->normal_seed, point->index, point->x, dimension);
    spread_out(point->x, (float)spread, point->side == EFM_SOURCE ? point->p : point->q, dimension);
}
