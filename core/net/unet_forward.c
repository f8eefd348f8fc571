// SPDX-License-Identifier: Apache-2.0
/* unet_forward.c - the operations of a U-Net, for all images of a chunk or for a band of rows of one. */
#include "core/net/unet_internal.h"

#include <math.h>
#include <string.h>

/* ---- the height ---- */

static void begin_images(const struct unet_job *job, const float *x, const float *z)
{
    const struct unet_plan *plan = job->plan;
    struct unet_slot *slot = job->slot;
    const struct efm_net_config *config = &job->run->weights->net->config;
    size_t nf = config->nf, time = 4 * nf, images = job->images;
    job->kernels->from_floats(unet_values(job, plan->input, 0), x,
                              images * unet_elements(&plan->tensors[plan->input]));
    efm_height_embedding(z, images, nf / 2, slot->height);
    efm_dense(unet_small(plan, job->weights, plan->embedding[0]),
              unet_small(plan, job->weights, plan->embedding[1]), time, nf, slot->height, images, 0, time,
              slot->linear[0]);
    efm_silu(slot->hidden[0], slot->linear[0], images * time);
    efm_dense(unet_small(plan, job->weights, plan->embedding[2]),
              unet_small(plan, job->weights, plan->embedding[3]), time, time, slot->hidden[0], images, 0,
              time, slot->linear[1]);
    efm_silu(slot->hidden[1], slot->linear[1], images * time);
}

void unet_begin(const struct unet_job *job, int stage, const float *x, const float *z)
{
    const struct unet_plan *plan = job->plan;
    size_t time = 4 * (size_t)job->run->weights->net->config.nf;
    if (stage == 0) {
        if (job->band == 0)
            begin_images(job, x, z);
        return;
    }
    for (size_t i = 0; i < plan->dense_count; i++) {
        const struct unet_dense *dense = &plan->denses[i];
        efm_dense(unet_small(plan, job->weights, dense->weight), job->weights->small + dense->bias_offset,
                  dense->out, time, job->slot->hidden[1], job->images, job->band * dense->out / job->bands,
                  (job->band + 1) * dense->out / job->bands,
                  job->slot->dense + dense->offset * job->parts->images);
    }
}

/* ---- operations ---- */

/* Bytes of `row` rows of a tensor. */
static size_t row_bytes(const struct unet_job *job, const struct unet_tensor *tensor, size_t row)
{
    return row * tensor->width * tensor->channels * job->kernels->element;
}

/* Rows of a convolution's result get what is added to them, and their sums are taken. */
static void finish_rows(const struct unet_job *job, const struct unet_operation *operation, size_t image,
                        struct unet_rows rows)
{
    const struct unet_tensor *tensor = &job->plan->tensors[operation->out];
    size_t count = rows.last - rows.first, skipped = row_bytes(job, tensor, rows.first);
    char *out = (char *)unet_values(job, operation->out, image) + skipped;
    float *sums =
        tensor->sums ? unet_sums(job, operation->out, image) + rows.first * 2 * tensor->channels : NULL;
    if (count == 0)
        return;
    if (operation->finished) {
        const char *other = operation->other == UNET_NONE
                                ? NULL
                                : (const char *)unet_values(job, operation->other, image) + skipped;
        const float *bias =
            operation->biases[0] == UNET_NONE ? NULL : job->weights->small + operation->bias_offset;
        job->kernels->add(out, out, other, bias, count, tensor->width, tensor->channels, sums);
    } else if (sums != NULL) {
        job->kernels->row_sums(out, count, tensor->width, tensor->channels, sums);
    }
}

static void forward_conv(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct efm_conv *conv = job->weights->convs[operation->conv];
    const struct unet_tensor *tensor = &job->plan->tensors[operation->out];
    size_t bands = job->bands > 1 ? efm_conv_bands(conv, job->bands) : 1, height = tensor->height;
    if (job->band >= bands)
        return;
    struct unet_rows rows = {job->band * height / bands, (job->band + 1) * height / bands};
    if (bands > 1) {
        efm_conv_forward_band(conv, job->conv_slot, unet_values(job, operation->in[0], 0),
                              unet_values(job, operation->out, 0), job->band, bands);
        finish_rows(job, operation, 0, rows);
        return;
    }
    /* Image by image, so that the result is still near when it is added to. */
    for (size_t i = 0; i < job->images; i++) {
        efm_conv_forward(conv, job->conv_slot, unet_values(job, operation->in[0], i),
                         unet_values(job, operation->out, i), 1);
        finish_rows(job, operation, i, rows);
    }
}

/* Scale and shift of an image from its row sums, into the lane or, training, where the way back finds them. */
static struct efm_norm_map map_of(const struct unet_job *job, const struct unet_operation *operation,
                                  size_t image)
{
    const struct unet_plan *plan = job->plan;
    const struct unet_tensor *first = &plan->tensors[operation->in[0]];
    size_t channels = operation->channels;
    bool two = operation->in[1] != UNET_NONE;
    struct efm_norm_input input = {
        .sums = {unet_sums(job, operation->in[0], image),
                 two ? unet_sums(job, operation->in[1], image) : NULL},
        .channels = {first->channels, channels - first->channels},
        .rows = first->height,
        .width = first->width,
        .gamma = unet_small(plan, job->weights, operation->gamma),
        .beta = unet_small(plan, job->weights, operation->beta),
    };
    if (operation->dense != UNET_NONE) {
        const struct unet_dense *dense = &plan->denses[operation->dense];
        input.embedding = job->slot->dense + dense->offset * job->parts->images + image * dense->out;
    }
    struct efm_norm_map map = {.silu = operation->silu};
    if (job->training) {
        float *kept = unet_map(job, operation, image);
        map.scale = kept;
        map.shift = kept + channels;
        map.hat_scale = kept + 2 * channels;
        map.hat_shift = kept + 3 * channels;
        efm_norm_forward(&input, kept, kept + channels, kept + 2 * channels, kept + 3 * channels,
                         kept + 4 * channels);
    } else {
        map.scale = job->lane->scale;
        map.shift = job->lane->shift;
        efm_norm_forward(&input, job->lane->scale, job->lane->shift, NULL, NULL, NULL);
    }
    return map;
}

static void add_dropout(const struct unet_job *job, const struct unet_operation *operation, size_t image,
                        struct efm_norm_map *map)
{
    const struct unet_plan *plan = job->plan;
    double probability = job->run->weights->net->config.dropout;
    if (!job->dropout || !operation->dropout || probability == 0)
        return;
    uint8_t *keep = job->slot->keep + image * plan->keep_bytes + operation->keep_offset;
    efm_dropout_mask(keep, unet_elements(&plan->tensors[operation->out]), job->dropout_seed,
                     (job->first_image + image) * plan->keep_bytes + operation->keep_offset, probability);
    map->keep = keep;
    map->keep_scale = (float)(1 / (1 - probability));
}

static void forward_norm(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *out = &job->plan->tensors[operation->out];
    struct unet_rows rows = unet_rows(job, out->height);
    size_t pixels = (rows.last - rows.first) * out->width, element = job->kernels->element;
    if (pixels == 0)
        return;
    for (size_t i = 0; i < job->images; i++) {
        struct efm_norm_map map = map_of(job, operation, i);
        add_dropout(job, operation, i, &map);
        char *to = (char *)unet_values(job, operation->out, i) + row_bytes(job, out, rows.first);
        for (size_t k = 0; k < 2 && operation->in[k] != UNET_NONE; k++) {
            const struct unet_tensor *in = &job->plan->tensors[operation->in[k]];
            const char *from =
                (const char *)unet_values(job, operation->in[k], i) + row_bytes(job, in, rows.first);
            job->kernels->normalise(to, operation->channels, from, pixels, in->channels, &map);
            to += in->channels * element;
            map.scale += in->channels;
            map.shift += in->channels;
        }
    }
}

static void forward_upsample(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *in = &job->plan->tensors[operation->in[0]];
    const struct unet_tensor *out = &job->plan->tensors[operation->out];
    struct unet_rows rows = unet_rows(job, in->height);
    for (size_t i = 0; i < job->images && rows.last > rows.first; i++)
        job->kernels->upsample(
            (char *)unet_values(job, operation->out, i) + row_bytes(job, out, 2 * rows.first),
            (const char *)unet_values(job, operation->in[0], i) + row_bytes(job, in, rows.first),
            rows.last - rows.first, in->width, in->channels);
}

/* By one thread also where an image is cut into bands: a small part of the whole. */
static void forward_attention(const struct unet_job *job, const struct unet_operation *operation)
{
    const struct unet_tensor *out = &job->plan->tensors[operation->out];
    struct efm_matmul *const *products = job->weights->products[operation->attention_index];
    size_t tokens = (size_t)out->height * out->width;
    float scale = 1 / sqrtf((float)out->channels);
    for (size_t i = 0; i < job->images && job->band == 0; i++) {
        void *probabilities =
            job->training ? unet_probabilities(job, operation, i) : job->lane->probabilities;
        efm_matmul_run(products[UNET_QK], job->conv_slot, unet_values(job, operation->in[0], i),
                       unet_values(job, operation->in[1], i), job->lane->scores);
        job->kernels->softmax(probabilities, job->lane->scores, tokens, tokens, scale);
        efm_matmul_run(products[UNET_PV], job->conv_slot, probabilities,
                       unet_values(job, operation->in[2], i), unet_values(job, operation->out, i));
    }
}

void unet_forward_operation(const struct unet_job *job, const struct unet_operation *operation)
{
    switch (operation->kind) {
    case UNET_CONV:
        forward_conv(job, operation);
        break;
    case UNET_NORM:
        forward_norm(job, operation);
        break;
    case UNET_UPSAMPLE:
        forward_upsample(job, operation);
        break;
    case UNET_ATTENTION:
        forward_attention(job, operation);
        break;
    }
}

/* ---- the end ---- */

/* f_x from the first channels, f_z the mean of the last one. `row` has room for one row of floats. */
static void split_output(const struct unet_job *job, size_t image, float *row, float *fx, float *fz)
{
    const struct unet_tensor *out = &job->plan->tensors[job->plan->output];
    size_t channels = out->channels - 1;
    const char *values = unet_values(job, job->plan->output, image);
    double sum = 0;
    for (size_t y = 0; y < out->height; y++) {
        job->kernels->to_floats(row, values + row_bytes(job, out, y), (size_t)out->width * out->channels);
        for (size_t x = 0; x < out->width; x++, fx += channels) {
            const float *pixel = row + x * out->channels;
            for (size_t c = 0; c < channels; c++)
                fx[c] = pixel[c];
            sum += pixel[channels];
        }
    }
    *fz = (float)(sum / ((double)out->height * out->width));
}

void unet_finish(const struct unet_job *job, float *fx, float *fz)
{
    size_t dimension = job->run->weights->net->config.shape.dimension;
    enum { LARGEST_ROW = EFM_NET_MAX_SIDE * 5 };
    float row[LARGEST_ROW];
    for (size_t i = 0; i < job->images && job->band == 0; i++)
        split_output(job, i, row, fx + i * dimension, fz + i);
}
