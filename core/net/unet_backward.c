// SPDX-License-Identifier: Apache-2.0
/* unet_backward.c - from the loss back to every parameter, for the images of one shard. */
#include "core/net/unet_internal.h"

#include <math.h>
#include <string.h>

static float *small_gradient(const struct unet_job *job, size_t parameter)
{
    return job->slot->small_gradient + job->plan->small_offset[parameter];
}

/* Adds all elements of one image's tensor to another. */
static void accumulate(const struct unet_job *job, size_t tensor, void *out, const void *in)
{
    const struct unet_tensor *t = &job->plan->tensors[tensor];
    job->kernels->accumulate(out, t->channels, in, t->channels, (size_t)t->height * t->width, t->channels);
}

/* ---- the loss ---- */

/* Adds an image's part of the loss and writes its gradient at the output. */
static double begin_image(const struct unet_job *job, const struct efm_net_sample_batch *batch, size_t image,
                          float *row)
{
    const struct unet_tensor *out = &job->plan->tensors[job->plan->output];
    size_t index = job->first_image + image, channels = out->channels - 1u;
    size_t dimension = job->run->weights->net->config.shape.dimension;
    bool has_z = batch->target_z != NULL;
    double weight = batch->weight != NULL ? batch->weight[index] : 1, loss = 0;
    double factor = 2 * weight / ((double)batch->count * (double)(dimension + (has_z ? 1 : 0)));
    const float *fx = job->slot->fx + image * dimension, *target = batch->target_x + index * dimension;
    double z_error = has_z ? (double)job->slot->fz[image] - batch->target_z[index] : 0;
    float z_slope = (float)(factor * z_error / ((double)out->height * out->width));
    char *gradient = unet_gradient(job, job->plan->output, image);
    loss += z_error * z_error;
    for (size_t y = 0; y < out->height; y++) {
        for (size_t x = 0; x < out->width; x++) {
            float *pixel = row + x * out->channels;
            for (size_t c = 0; c < channels; c++, fx++, target++) {
                double error = (double)*fx - *target;
                loss += error * error;
                pixel[c] = (float)(factor * error);
            }
            pixel[channels] = z_slope;
        }
        size_t count = (size_t)out->width * out->channels;
        job->kernels->from_floats(gradient + y * count * job->kernels->element, row, count);
    }
    return loss * factor / 2;
}

/* ---- operations ---- */

static void backward_biases(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *out = &job->plan->tensors[operation->out];
    float *sum = job->lane->dx_sum;
    if (operation->biases[0] == UNET_NONE)
        return;
    memset(sum, 0, out->channels * sizeof *sum);
    for (size_t i = 0; i < job->images; i++)
        job->kernels->channel_sums(unet_gradient(job, operation->out, i), out->channels,
                                   (size_t)out->height * out->width, out->channels, sum);
    for (size_t k = 0; k < 2 && operation->biases[k] != UNET_NONE; k++)
        memcpy(small_gradient(job, operation->biases[k]), sum, out->channels * sizeof *sum);
}

static void backward_conv(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct efm_conv *conv = job->weights->convs[operation->conv];
    size_t in = operation->in[0];
    backward_biases(job, operation);
    for (size_t i = 0; i < job->images && operation->other_accumulates; i++)
        accumulate(job, operation->out, unet_gradient(job, operation->other, i),
                   unet_gradient(job, operation->out, i));
    for (size_t i = 0; i < job->images && in != job->plan->input; i++) {
        void *gradient = unet_gradient(job, in, i);
        bool adds = operation->how[0] == UNET_ACCUMULATE;
        efm_conv_backward_data(conv, job->conv_slot, unet_gradient(job, operation->out, i),
                               adds ? job->lane->scratch : gradient, 1);
        if (adds)
            accumulate(job, in, gradient, job->lane->scratch);
        else if (operation->how[0] == UNET_WRITE_AND_ADD)
            accumulate(job, in, gradient, unet_gradient(job, operation->add[0], i));
    }
    efm_conv_backward_weights(conv, job->conv_slot, unet_values(job, in, 0),
                              unet_gradient(job, operation->out, 0), job->images);
}

static struct efm_norm_map kept_map(const struct unet_job *job, const struct unet_operation *operation,
                                    size_t image, size_t first_channel)
{
    const float *kept = unet_map(job, operation, image) + first_channel;
    size_t channels = operation->channels;
    struct efm_norm_map map = {.scale = kept,
                               .shift = kept + channels,
                               .hat_scale = kept + 2 * channels,
                               .hat_shift = kept + 3 * channels,
                               .silu = operation->silu};
    double probability = job->run->weights->net->config.dropout;
    if (job->dropout && operation->dropout && probability > 0) {
        map.keep = job->slot->keep + image * job->plan->keep_bytes + operation->keep_offset;
        map.keep_scale = (float)(1 / (1 - probability));
    }
    return map;
}

/* The slopes of one image, and what its gamma and beta get. */
static void norm_slopes(const struct unet_job *job, const struct unet_operation *operation, size_t image)
{
    const struct unet_plan *plan = job->plan;
    struct unet_lane *lane = job->lane;
    size_t channels = operation->channels, first = 0, element = job->kernels->element;
    const struct unet_tensor *out = &plan->tensors[operation->out];
    size_t pixels = (size_t)out->height * out->width;
    const char *dy = unet_gradient(job, operation->out, image);
    memset(lane->du_sum, 0, channels * sizeof(float));
    memset(lane->du_hat_sum, 0, channels * sizeof(float));
    for (size_t k = 0; k < 2 && operation->in[k] != UNET_NONE; k++) {
        size_t own = plan->tensors[operation->in[k]].channels;
        struct efm_norm_map map = kept_map(job, operation, image, first);
        job->kernels->normalise_sums(dy + first * element, channels,
                                     unet_values(job, operation->in[k], image), pixels, own, &map,
                                     lane->du_sum + first, lane->du_hat_sum + first);
        first += own;
    }
    float *gamma = small_gradient(job, operation->gamma), *beta = small_gradient(job, operation->beta);
    for (size_t c = 0; c < channels; c++) {
        gamma[c] += lane->du_hat_sum[c];
        beta[c] += lane->du_sum[c];
    }
    const float *kept = unet_map(job, operation, image);
    efm_norm_backward(lane->du_sum, lane->du_hat_sum, unet_small(plan, job->weights, operation->gamma),
                      kept + 2 * channels, kept + 3 * channels, kept + 4 * channels, channels, pixels,
                      lane->slopes, lane->slopes + channels, lane->slopes + 2 * channels);
}

static void backward_norm(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_plan *plan = job->plan;
    struct unet_lane *lane = job->lane;
    size_t channels = operation->channels, element = job->kernels->element;
    const struct unet_tensor *out = &plan->tensors[operation->out];
    size_t pixels = (size_t)out->height * out->width;
    for (size_t i = 0; i < job->images; i++) {
        size_t first = 0;
        const char *dy = unet_gradient(job, operation->out, i);
        norm_slopes(job, operation, i);
        memset(lane->dx_sum, 0, channels * sizeof(float));
        for (size_t k = 0; k < 2 && operation->in[k] != UNET_NONE; k++) {
            size_t own = plan->tensors[operation->in[k]].channels;
            struct efm_norm_map map = kept_map(job, operation, i, first);
            struct efm_norm_slopes slopes = {lane->slopes + first, lane->slopes + channels + first,
                                             lane->slopes + 2 * channels + first};
            void *gradient = unet_gradient(job, operation->in[k], i);
            const void *add = operation->how[k] == UNET_ACCUMULATE ? gradient
                              : operation->how[k] == UNET_WRITE_AND_ADD
                                  ? unet_gradient(job, operation->add[k], i)
                                  : NULL;
            job->kernels->normalise_backward(gradient, dy + first * element, channels,
                                             unet_values(job, operation->in[k], i), pixels, own, &map,
                                             &slopes, add, lane->dx_sum + first);
            first += own;
        }
        if (operation->dense != UNET_NONE) {
            const struct unet_dense *dense = &plan->denses[operation->dense];
            memcpy(job->slot->dense_gradient + dense->offset * job->parts->images + i * dense->out,
                   lane->dx_sum, dense->out * sizeof(float));
        }
    }
}

static void backward_upsample(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *in = &job->plan->tensors[operation->in[0]];
    for (size_t i = 0; i < job->images; i++) {
        bool adds = operation->how[0] == UNET_ACCUMULATE;
        void *gradient = unet_gradient(job, operation->in[0], i);
        job->kernels->upsample_backward(adds ? job->lane->scratch : gradient,
                                        unet_gradient(job, operation->out, i), in->height, in->width,
                                        in->channels);
        if (adds)
            accumulate(job, operation->in[0], gradient, job->lane->scratch);
        else if (operation->how[0] == UNET_WRITE_AND_ADD)
            accumulate(job, operation->in[0], gradient, unet_gradient(job, operation->add[0], i));
    }
}

/* q, k and v are each read by the attention alone, so their gradients are simply written. */
static void backward_attention(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *out = &job->plan->tensors[operation->out];
    struct efm_matmul *const *products = job->weights->products[operation->attention_index];
    struct unet_lane *lane = job->lane;
    size_t tokens = (size_t)out->height * out->width, slot = job->conv_slot;
    float scale = 1 / sqrtf((float)out->channels);
    for (size_t i = 0; i < job->images; i++) {
        const void *q = unet_values(job, operation->in[0], i), *k = unet_values(job, operation->in[1], i);
        const void *v = unet_values(job, operation->in[2], i), *d_out = unet_gradient(job, operation->out, i);
        const void *p = unet_probabilities(job, operation, i);
        efm_matmul_run(products[UNET_DV], slot, p, d_out, unet_gradient(job, operation->in[2], i));
        efm_matmul_run(products[UNET_DP], slot, d_out, v, lane->scores);
        job->kernels->softmax_backward(lane->probability_gradient, p, lane->scores, tokens, tokens, scale);
        efm_matmul_run(products[UNET_DQ], slot, lane->probability_gradient, k,
                       unet_gradient(job, operation->in[0], i));
        efm_matmul_run(products[UNET_DK], slot, lane->probability_gradient, q,
                       unet_gradient(job, operation->in[1], i));
    }
}

static void backward_operation(const struct unet_job *job, const struct unet_operation *operation)
{
    switch (operation->kind) {
    case UNET_CONV:
        backward_conv(job, operation);
        break;
    case UNET_NORM:
        backward_norm(job, operation);
        break;
    case UNET_UPSAMPLE:
        backward_upsample(job, operation);
        break;
    case UNET_ATTENTION:
        backward_attention(job, operation);
        break;
    }
}

/* ---- the height ---- */

static void sum_rows(float *sum, const float *rows, size_t count, size_t width)
{
    memset(sum, 0, width * sizeof *sum);
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < width; c++)
            sum[c] += rows[i * width + c];
}

/* One linear layer: y = W x + b, dy [images, out] -> the gradients of W and b, and dx = W^T dy added to `dx`. */
static void backward_linear(const struct unet_job *job, size_t weight, size_t bias, size_t in, size_t out,
                            const float *x, const float *dy, float *dx)
{
    const float *weights = unet_small(job->plan, job->weights, weight);
    efm_sgemm(true, false, out, in, job->images, dy, out, x, in, 0, small_gradient(job, weight), in);
    sum_rows(small_gradient(job, bias), dy, job->images, out);
    if (dx != NULL)
        efm_sgemm(false, false, job->images, in, out, dy, out, weights, in, 1, dx, in);
}

static void backward_height(const struct unet_job *job)
{
    const struct unet_plan *plan = job->plan;
    struct unet_slot *slot = job->slot;
    size_t nf = job->run->weights->net->config.nf, time = 4 * nf, count = job->images * time;
    memset(slot->linear_gradient[1], 0, count * sizeof(float));
    for (size_t i = 0; i < plan->dense_count; i++) {
        const struct unet_dense *dense = &plan->denses[i];
        const float *dy = slot->dense_gradient + dense->offset * job->parts->images;
        backward_linear(job, dense->weight, dense->bias, time, dense->out, slot->hidden[1], dy,
                        slot->linear_gradient[1]);
        memcpy(small_gradient(job, dense->conv_bias), small_gradient(job, dense->bias),
               dense->out * sizeof(float));
    }
    efm_silu_backward(slot->linear_gradient[1], slot->linear_gradient[1], slot->linear[1], count);
    memset(slot->linear_gradient[0], 0, count * sizeof(float));
    backward_linear(job, plan->embedding[2], plan->embedding[3], time, time, slot->hidden[0],
                    slot->linear_gradient[1], slot->linear_gradient[0]);
    efm_silu_backward(slot->linear_gradient[0], slot->linear_gradient[0], slot->linear[0], count);
    backward_linear(job, plan->embedding[0], plan->embedding[1], nf, time, slot->height,
                    slot->linear_gradient[0], NULL);
}

void unet_backward(const struct unet_job *job, const struct efm_net_sample_batch *batch)
{
    const struct unet_plan *plan = job->plan;
    enum { LARGEST_ROW = EFM_NET_MAX_SIDE * 5 };
    float row[LARGEST_ROW];
    memset(job->slot->small_gradient, 0, plan->small_parameters * sizeof(float));
    job->slot->loss = 0;
    for (size_t i = 0; i < job->images; i++)
        job->slot->loss += begin_image(job, batch, i, row);
    for (size_t i = plan->operation_count; i-- > 0 && !unet_stopped(job);)
        backward_operation(job, &plan->operations[i]);
    backward_height(job);
}
