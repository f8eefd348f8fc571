// SPDX-License-Identifier: Apache-2.0
/* targets.c - what a network shall say at the points of a step. */
#include "core/train/train_internal.h"

#include <string.h>

static const double PI = 3.14159265358979323846;

/* Rows on either side of the nearest one at most; in few dimensions an integral stands for those behind. */
enum { ROWS = 64 };
/* Samples of a plate that tell its mean and variance. */
enum { MEASURED = 1024 };
/* Below e^-40 of the nearest row a row is under the last bit of the sums. */
static const double FAINT = 40;

/* ---- the chain of one charge ---- */

struct chain_sum {
    double q, dz_q;
};

/* What the rows past +-(ROWS + 1/2) add to the sums, by integrals: that of dz q is known in closed form, that of q is
 * taken where the lateral offset no longer matters. */
static struct chain_sum rows_behind(double s2, double dz, double length, double h, double top)
{
    double reach = 2 * length * (ROWS + 0.5);
    double above = dz + reach, below = dz - reach;
    double log_above = log(s2 + above * above), log_below = log(s2 + below * below);
    double q = above * exp(-h * log_above - top) - below * exp(-h * log_below - top);
    double dz_q = exp((1 - h) * log_above - top) - exp((1 - h) * log_below - top);
    return (struct chain_sum){q / (2 * h - 1) / (2 * length), dz_q / (2 * h - 2) / (2 * length)};
}

double efm_chain_single_ratio(double squared_distance, double dz, double length, size_t dimension)
{
    double s2 = squared_distance;
    if (dimension == 1) { /* E_x - i E_z = coth(pi (r + i dz) / 2L) / 4L */
        double a = PI * sqrt(s2) / length;
        return PI / length * (a > 1e-8 ? sinh(a) / a : 1) / sin(PI * dz / length);
    }
    double h = ((double)dimension + 1) / 2, top = -h * log(s2 + dz * dz);
    struct chain_sum sum = {1, dz};
    for (int m = 1; m <= ROWS; m++) {
        double largest = -INFINITY;
        for (int sign = -1; sign <= 1; sign += 2) {
            double height = dz + sign * m * 2 * length, l = -h * log(s2 + height * height) - top;
            double q = exp(l);
            sum.q += q;
            sum.dz_q += height * q;
            largest = fmax(largest, l);
        }
        if (largest < -FAINT)
            return sum.q / sum.dz_q;
    }
    struct chain_sum behind = rows_behind(s2, dz, length, h, top);
    return (sum.q + behind.q) / (sum.dz_q + behind.dz_q);
}

EFM_CLONES static void offset_of(float *restrict out, const float *restrict x, const float *restrict y,
                                 size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        out[d] = x[d] - y[d];
}

EFM_CLONES static double squared_offset(const float *x, size_t dimension)
{
    /* Sixteen sums in a fixed order, the same for every instruction set. */
    double sums[16] = {0}, sum = 0;
    size_t whole = dimension - dimension % 16;
    for (size_t d = 0; d < whole; d += 16) {
#pragma omp simd
        for (size_t lane = 0; lane < 16; lane++)
            sums[lane] += (double)x[d + lane] * x[d + lane];
    }
    for (size_t d = whole; d < dimension; d++)
        sum += (double)x[d] * x[d];
    for (size_t lane = 0; lane < 16; lane++)
        sum += sums[lane];
    return sum;
}

EFM_CLONES static void scale_target(float *x, double factor, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] = (float)(factor * (double)x[d]);
}

static double squared_to_mean(const float *x, const double *mean, size_t dimension)
{
    double sum = 0;
    for (size_t d = 0; d < dimension; d++) /* in one order on every machine, as squared_offset */
        sum += ((double)x[d] - mean[d]) * ((double)x[d] - mean[d]);
    return sum;
}

void efm_batcher_measure_plates(struct efm_batcher *batcher)
{
    size_t dimension = batcher->dimension, size = batcher->options.size;
    for (int side = 0; side < 2; side++) {
        double *mean = batcher->mean[side], squares = 0;
        const float *samples = batcher->pairs[side];
        size_t count = 0, piece = size < MEASURED ? size : MEASURED;
        memset(mean, 0, dimension * sizeof *mean);
        for (; count < MEASURED; count += piece) {
            efm_samples_draw(batcher->samples[side], count, piece, batcher->pairs[side], batcher->team);
            for (size_t i = 0; i < piece * dimension; i++) {
                mean[i % dimension] += (double)samples[i];
                squares += (double)samples[i] * (double)samples[i];
            }
        }
        for (size_t d = 0; d < dimension; d++) {
            mean[d] /= (double)count;
            squares -= (double)count * mean[d] * mean[d];
        }
        batcher->variance[side] = fmax(squares / (double)count, 0);
    }
}

/* The velocity from one charge grows like 1/z beside its plate and like exp(pi r / L) far out: without a weight the loss
 * is that of a few points. What it will be about is known without the charge: that of one at the root mean square
 * distance from the plate's samples. See batch.h. */
static double chain_weight(const struct efm_batcher *batcher, size_t i)
{
    size_t dimension = batcher->dimension;
    double length = batcher->options.length, squared_speed = 0;
    double most = EFM_TRAIN_FAR * length * EFM_TRAIN_FAR * length * ((double)dimension + 1);
    for (int side = 0; side < 2; side++) {
        double e2 = squared_to_mean(batcher->x + i * dimension, batcher->mean[side], dimension) +
                    batcher->variance[side];
        double dz = batcher->height[i] - (side == EFM_TARGET ? length : 0);
        e2 = fmin(e2, most); /* beyond it the sums cancel */
        double ratio = efm_chain_single_ratio(e2, dz, length, dimension);
        squared_speed += e2 * ratio * ratio / 2;
    }
    double weight = 1 / (1 + squared_speed);
    return isfinite(weight) ? weight : 0;
}

/* A point without a target: its weight says so, and nothing in it is not a number. */
static void leave_out(struct efm_batcher *batcher, size_t i)
{
    memset(batcher->target_x + i * batcher->dimension, 0, batcher->dimension * sizeof(float));
    batcher->target_z[i] = 0;
    batcher->weight[i] = 0;
}

/* The offset is that of the point as the network sees it, in floats. */
static void chain_single(struct efm_batcher *batcher, uint64_t step, size_t i)
{
    size_t dimension = batcher->dimension;
    double length = batcher->options.length, far = EFM_TRAIN_FAR * length;
    float *v = batcher->target_x + i * dimension;
    enum efm_plate_side side = batcher->side[i];
    offset_of(v, batcher->x + i * dimension, efm_batcher_pair(batcher, side, step, i), dimension);
    double s2 = squared_offset(v, dimension), dz = batcher->height[i] - (side == EFM_TARGET ? length : 0);
    batcher->target_z[i] = 1;
    double ratio = efm_chain_single_ratio(s2, dz, length, dimension);
    if (!(s2 <= far * far * ((double)dimension + 1)) || !(fabs(ratio) * sqrt(s2) < 1e15) ||
        !isfinite(ratio)) {
        leave_out(batcher, i);
        return;
    }
    scale_target(v, ratio, dimension);
    batcher->weight[i] = (float)chain_weight(batcher, i);
}

static void flow_matching(struct efm_batcher *batcher, uint64_t step, size_t i)
{
    size_t dimension = batcher->dimension;
    float *v = batcher->target_x + i * dimension;
    batcher->weight[i] = 1;
    batcher->target_z[i] = 1;
    offset_of(v, efm_batcher_pair(batcher, EFM_TARGET, step, i),
              efm_batcher_pair(batcher, EFM_SOURCE, step, i), dimension);
    scale_target(v, 1 / batcher->options.length, dimension);
}

/* The field has left unit directions; per_plate keeps its length, the others are scaled to sqrt(D + 1). */
static void field_at(struct efm_batcher *batcher, uint64_t step, size_t i)
{
    (void)step;
    size_t dimension = batcher->dimension;
    bool per_plate = batcher->options.target == EFM_TRAIN_PER_PLATE;
    double size = per_plate ? exp(batcher->log_norm[i]) : sqrt((double)dimension + 1);
    batcher->weight[i] = 1;
    if (!isfinite(batcher->log_norm[i]) || !isfinite(batcher->up[i]) || !isfinite(size)) {
        leave_out(batcher, i);
        return;
    }
    scale_target(batcher->target_x + i * dimension, size, dimension);
    batcher->target_z[i] = (float)(size * batcher->up[i]);
}

/* In one call, which reads the charges once, unless that would take seconds: then it can be broken off between two. */
static void evaluate_field(struct efm_batcher *batcher)
{
    enum { PAIRS = 1 << 30, FEWEST = 64 };
    const size_t size = batcher->options.size, dimension = batcher->dimension;
    const size_t charges = batcher->charges[EFM_SOURCE] + batcher->charges[EFM_TARGET];
    const size_t together = PAIRS / charges > FEWEST ? PAIRS / charges : FEWEST;
    for (size_t i = 0, count; i < size && !efm_batcher_stopped(batcher); i += count) {
        count = size - i < together ? size - i : together;
        struct efm_field_values values = {
            .x = batcher->target_x + i * dimension, .z = batcher->up + i, .log_norm = batcher->log_norm + i};
        efm_field_evaluate(batcher->field, batcher->workspace, batcher->x + i * dimension,
                           batcher->height + i, count, &values);
    }
}

bool efm_batcher_target(struct efm_batcher *batcher, uint64_t step)
{
    size_t size = batcher->options.size;
    if (batcher->field != NULL) {
        evaluate_field(batcher);
        efm_batcher_each(batcher, step, field_at);
    } else if (batcher->options.target == EFM_TRAIN_CHAIN_SINGLE) {
        efm_batcher_each(batcher, step, chain_single);
    } else {
        efm_batcher_each(batcher, step, flow_matching);
    }
    for (size_t i = 0; i < size; i++)
        if (batcher->weight[i] != 1)
            return true;
    return false;
}
