// SPDX-License-Identifier: Apache-2.0
#include "core/net/mlp_internal.h"

/* Two loops over the team. The first goes through the batch block by block: forward, loss, and back to the delta of
 * every layer. The second goes through the weights by runs of rows, each one product over the whole batch, so that
 * no copy of the gradient is needed and the order of a sum depends on neither shards nor threads. */

#include <math.h>
#include <string.h>

enum { GRADIENT_ROWS = 256 };

struct step {
    const struct efm_net_run *run;
    const struct efm_net_sample_batch *batch;
    float *gradient;
};

/* ---- samples ---- */

/* Writes the delta [D + 1] of one sample's output and returns its part of the loss. */
static double sample_loss(const struct efm_net_sample_batch *batch, size_t sample, size_t d,
                          const float *output, float *delta)
{
    const float *target = batch->target_x + sample * d;
    const double weight = batch->weight != NULL ? batch->weight[sample] : 1;
    const double components = (double)(batch->target_z != NULL ? d + 1 : d);
    const double factor = weight / ((double)batch->count * components);
    double sum = 0;
    for (size_t k = 0; k < d; k++) {
        const double difference = (double)output[k] - (double)target[k];
        sum += difference * difference;
        delta[k] = (float)(2 * factor * difference);
    }
    delta[d] = 0;
    if (batch->target_z != NULL) {
        const double difference = (double)output[d] - (double)batch->target_z[sample];
        sum += difference * difference;
        delta[d] = (float)(2 * factor * difference);
    }
    return factor * sum;
}

static void record_forward(const struct step *step, size_t first, size_t count, size_t slot)
{
    const struct efm_net_run *run = step->run;
    const struct efm_mlp_run *parts = run->parts;
    const struct efm_mlp_record *record = &parts->record;
    const size_t d = run->weights->net->config.shape.dimension;
    float *z = parts->slots[slot].z;
    const float *in = record->x + first * d;
    efm_mlp_load(record->x + first * d, z, step->batch->x + first * d, step->batch->z + first, count, d);
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        const struct efm_mlp_layer *layer = &efm_mlp_plan(run->weights)->layers[i];
        if (i == EFM_MLP_EMBEDDED) {
            float *embedded = record->embedded + first * layer->in;
            efm_mlp_embed(run, slot, z, in, EFM_MLP_ROWS, embedded);
            in = embedded;
        }
        float *out = record->activation[i] + first * layer->out;
        efm_mlp_layer_forward(run, slot, i, in, EFM_MLP_ROWS, out);
        in = out;
    }
}

/* delta = 0 where the ReLU was closed. */
EFM_CLONES static void close_delta(float *delta, const float *activation, size_t count)
{
#pragma omp simd
    for (size_t k = 0; k < count; k++)
        delta[k] = activation[k] > 0 ? delta[k] : 0;
}

static void record_backward(const struct step *step, size_t first, size_t slot)
{
    const struct efm_net_run *run = step->run;
    const struct efm_mlp_run *parts = run->parts;
    const struct efm_mlp_record *record = &parts->record;
    const struct efm_mlp_weights *weights = run->weights->parts;
    for (size_t i = EFM_MLP_LAYERS - 1; i > 0; i--) {
        const struct efm_mlp_layer *layer = &efm_mlp_plan(run->weights)->layers[i];
        const float *delta = record->delta[i] + first * layer->out;
        float *below = record->delta[i - 1] + first * layer->in;
        if (weights->rounded[i] != NULL) {
            uint16_t *rounded = parts->slots[slot].rounded;
            efm_net_kernels(EFM_PRECISION_BF16)->from_floats(rounded, delta, EFM_MLP_ROWS * layer->out);
            efm_matmul_run(parts->backward[i], slot, rounded, weights->rounded[i], below);
        } else {
            efm_sgemm(false, false, EFM_MLP_ROWS, layer->in, layer->out, delta, layer->out, weights->plain[i],
                      layer->in, 0, below, layer->in);
        }
        /* The embedding between two layers is a constant, so the ReLU below it decides there too. */
        close_delta(below, record->activation[i - 1] + first * layer->in, EFM_MLP_ROWS * layer->in);
    }
}

static void sample_block(void *context, size_t index, size_t slot)
{
    const struct step *step = context;
    const struct efm_mlp_run *parts = step->run->parts;
    const struct efm_mlp_record *record = &parts->record;
    if (efm_net_stopped(step->batch))
        return;
    const size_t d = step->run->weights->net->config.shape.dimension, first = index * EFM_MLP_ROWS;
    const size_t left = step->batch->count - first, count = left < EFM_MLP_ROWS ? left : EFM_MLP_ROWS;
    record_forward(step, first, count, slot);
    const float *output = record->activation[EFM_MLP_LAYERS - 1];
    float *delta = record->delta[EFM_MLP_LAYERS - 1];
    for (size_t row = first; row < first + count; row++)
        record->loss[row] = sample_loss(step->batch, row, d, output + row * (d + 1), delta + row * (d + 1));
    memset(delta + (first + count) * (d + 1), 0, (EFM_MLP_ROWS - count) * (d + 1) * sizeof(float));
    record_backward(step, first, slot);
}

/* ---- weights ---- */

EFM_CLONES static void sum_columns(float *sum, const float *delta, size_t width, size_t rows, size_t columns)
{
    memset(sum, 0, columns * sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        const float *values = delta + row * width;
#pragma omp simd
        for (size_t k = 0; k < columns; k++)
            sum[k] += values[k];
    }
}

static const float *input_of(const struct efm_mlp_record *record, size_t i)
{
    if (i == 0)
        return record->x;
    return i == EFM_MLP_EMBEDDED ? record->embedded : record->activation[i - 1];
}

static size_t runs_of_rows(const struct efm_mlp_layer *layer)
{
    return (layer->out + GRADIENT_ROWS - 1) / GRADIENT_ROWS;
}

static void gradient_rows(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct step *step = context;
    if (efm_net_stopped(step->batch))
        return;
    const struct efm_mlp_run *parts = step->run->parts;
    const struct efm_mlp_layer *layers = efm_mlp_plan(step->run->weights)->layers;
    size_t i = 0;
    while (index >= runs_of_rows(&layers[i]))
        index -= runs_of_rows(&layers[i++]);
    const struct efm_mlp_layer *layer = &layers[i];
    const size_t first = index * GRADIENT_ROWS, left = layer->out - first;
    const size_t rows = left < GRADIENT_ROWS ? left : GRADIENT_ROWS;
    const float *delta = parts->record.delta[i] + first;
    /* In f32 in either precision: the batch is the inner dimension, and what is small in it would be lost. */
    efm_sgemm(true, false, rows, layer->in, step->batch->count, delta, layer->out,
              input_of(&parts->record, i), layer->in, 0, step->gradient + layer->weight + first * layer->in,
              layer->in);
    sum_columns(step->gradient + layer->bias + first, delta, layer->out, step->batch->count, rows);
}

double efm_mlp_gradient(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient)
{
    const struct efm_mlp_run *parts = run->parts;
    const struct efm_mlp_layer *layers = efm_mlp_plan(run->weights)->layers;
    struct step step = {run, batch, gradient};
    if (batch->count == 0) {
        memset(gradient, 0, run->weights->net->size * sizeof(float));
        return 0;
    }
    efm_team_run(run->team, (batch->count + EFM_MLP_ROWS - 1) / EFM_MLP_ROWS, sample_block, &step);
    size_t pieces = 0;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++)
        pieces += runs_of_rows(&layers[i]);
    efm_team_run(run->team, pieces, gradient_rows, &step);
    if (efm_net_stopped(batch))
        return NAN;
    double loss = 0;
    for (size_t row = 0; row < batch->count; row++)
        loss += parts->record.loss[row];
    return loss;
}
