// SPDX-License-Identifier: Apache-2.0
/* norm.c - statistics of a group norm: from row sums to a scale and a shift per channel, and the way back. */
#include "core/net/kernels.h"

#include <math.h>

static const double EPSILON = 1e-6;

/* Channels whose sums are added at once, row by row, so that the adding goes along the rows' memory. */
enum { BLOCK = 32 };

struct group_sums {
    double sum[EFM_NORM_GROUPS], square[EFM_NORM_GROUPS];
};

/* Adds channels first .. first+count-1 of tensor `part` to their groups. With an embedding e the sums over N pixels
 * become those of x + e: S + N e and Q + 2 e S + N e^2. */
static void add_channels(const struct efm_norm_input *input, size_t part, size_t first, size_t count,
                         struct group_sums *groups)
{
    double sum[BLOCK] = {0}, square[BLOCK] = {0};
    const size_t channels = input->channels[part], before = part ? input->channels[0] : 0;
    const size_t group_size = (input->channels[0] + input->channels[1]) / EFM_NORM_GROUPS;
    for (size_t row = 0; row < input->rows; row++) {
        const float *sums = input->sums[part] + row * 2 * channels + first;
#pragma omp simd
        for (size_t c = 0; c < count; c++) {
            sum[c] += (double)sums[c];
            square[c] += (double)sums[channels + c];
        }
    }
    double pixels = (double)input->rows * (double)input->width;
    for (size_t c = 0; c < count; c++) {
        size_t channel = before + first + c;
        double e = input->embedding ? (double)input->embedding[channel] : 0;
        groups->sum[channel / group_size] += sum[c] + pixels * e;
        groups->square[channel / group_size] += square[c] + e * (2 * sum[c] + pixels * e);
    }
}

/* The variance is Q / M - mean^2. In double the difference itself loses nothing that matters; what limits it is the row
 * sums, which are floats: their relative error of about 1e-7 comes back as 1e-7 (mean / deviation)^2 in the
 * variance. So a mean of 100 deviations costs three digits and one of 3000 leaves none; below that it is held at 0,
 * where eps alone decides. */
void efm_norm_forward(const struct efm_norm_input *input, float *scale, float *shift, float *hat_scale,
                      float *hat_shift, float *inverse_deviation)
{
    struct group_sums groups = {{0}, {0}};
    for (size_t part = 0; part < 2; part++)
        for (size_t first = 0; first < input->channels[part]; first += BLOCK) {
            size_t rest = input->channels[part] - first;
            add_channels(input, part, first, rest < BLOCK ? rest : BLOCK, &groups);
        }
    const size_t group_size = (input->channels[0] + input->channels[1]) / EFM_NORM_GROUPS;
    double count = (double)group_size * (double)input->rows * (double)input->width;
    for (size_t group = 0; group < EFM_NORM_GROUPS; group++) {
        double mean = groups.sum[group] / count, variance = groups.square[group] / count - mean * mean;
        if (variance < 0)
            variance = 0;
        double inverse = 1 / sqrt(variance + EPSILON);
        if (inverse_deviation)
            inverse_deviation[group] = (float)inverse;
        for (size_t c = group * group_size; c < (group + 1) * group_size; c++) {
            double offset = ((input->embedding ? (double)input->embedding[c] : 0) - mean) * inverse;
            scale[c] = (float)((double)input->gamma[c] * inverse);
            shift[c] = (float)((double)input->beta[c] + (double)input->gamma[c] * offset);
            if (hat_scale)
                hat_scale[c] = (float)inverse;
            if (hat_shift)
                hat_shift[c] = (float)offset;
        }
    }
}

/* For u = gamma hat + beta: dx = inverse (gamma du - mean(gamma du) - hat mean(gamma du hat)), the means over the group,
 * with hat = hat_scale x + hat_shift put in. */
void efm_norm_backward(const float *du_sum, const float *du_hat_sum, const float *gamma,
                       const float *hat_scale, const float *hat_shift, const float *inverse_deviation,
                       size_t channels, size_t pixels, float *du_factor, float *x_factor, float *constant)
{
    const size_t group_size = channels / EFM_NORM_GROUPS;
    for (size_t group = 0; group < EFM_NORM_GROUPS; group++) {
        const size_t first = group * group_size, last = first + group_size;
        double mean = 0, hat_mean = 0, inverse = (double)inverse_deviation[group];
        for (size_t c = first; c < last; c++) {
            mean += (double)gamma[c] * (double)du_sum[c];
            hat_mean += (double)gamma[c] * (double)du_hat_sum[c];
        }
        mean /= (double)group_size * (double)pixels;
        hat_mean /= (double)group_size * (double)pixels;
        for (size_t c = first; c < last; c++) {
            du_factor[c] = (float)(inverse * (double)gamma[c]);
            x_factor[c] = (float)(-inverse * hat_mean * (double)hat_scale[c]);
            constant[c] = (float)(-inverse * (mean + hat_mean * (double)hat_shift[c]));
        }
    }
}
