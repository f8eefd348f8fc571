// SPDX-License-Identifier: Apache-2.0
#include "core/net/mlp_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- the plan ---- */

static enum efm_status add_layer(struct efm_net *net, size_t i, size_t in, size_t out,
                                 struct efm_error *error)
{
    struct efm_mlp_plan *plan = net->plan;
    const char *part = i < EFM_MLP_EMBEDDED ? "x_layers" : "out_layers";
    const size_t shape[] = {out, in};
    char name[EFM_PARAMETER_NAME];
    size_t index;
    snprintf(name, sizeof name, "%s.%zu.weight", part, i % EFM_MLP_EMBEDDED);
    struct efm_parameter_kind weight = {EFM_INIT_FAN_AVERAGE, in, out, 1}, bias = {.init = EFM_INIT_ZERO};
    enum efm_status status = efm_net_add_parameter(net, name, 2, shape, weight, &index, error);
    if (status != EFM_OK)
        return status;
    plan->layers[i] = (struct efm_mlp_layer){.in = in, .out = out, .relu = i < EFM_MLP_LAYERS - 1};
    plan->layers[i].weight = net->parameters[index].offset;
    snprintf(name, sizeof name, "%s.%zu.bias", part, i % EFM_MLP_EMBEDDED);
    status = efm_net_add_parameter(net, name, 1, shape, bias, &index, error);
    if (status != EFM_OK)
        return status;
    plan->layers[i].bias = net->parameters[index].offset;
    return EFM_OK;
}

static enum efm_status plan_mlp(struct efm_net *net, struct efm_error *error)
{
    const struct efm_net_config *config = &net->config;
    const size_t d = config->shape.dimension;
    const size_t widths[EFM_MLP_LAYERS + 1] = {
        d, config->hidden, config->hidden, config->embedding, config->hidden2, config->hidden2, d + 1};
    struct efm_mlp_plan *plan = efm_allocate_array(1, sizeof *plan);
    if (plan == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the plan of a network");
    net->plan = plan;
    plan->widest = d;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        enum efm_status status = add_layer(net, i, widths[i], widths[i + 1], error);
        if (status != EFM_OK)
            return status;
        if (widths[i + 1] > plan->widest)
            plan->widest = widths[i + 1];
    }
    return EFM_OK;
}

static void plan_destroy(struct efm_net *net)
{
    efm_free(net->plan);
}

static double flops(const struct efm_net *net)
{
    const struct efm_mlp_plan *plan = net->plan;
    double sum = 0;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++)
        sum += 2 * (double)plan->layers[i].in * (double)plan->layers[i].out;
    return sum;
}

/* ---- pieces of an arena: measured while it has no base, taken when it has one ---- */

static bool piece(struct efm_arena *arena, void *pointer, size_t rows, size_t columns, size_t size)
{
    size_t count;
    if (!efm_size_multiply(rows, columns, &count))
        return false;
    if (arena->base == NULL)
        return efm_arena_measure(arena, count, size);
    void *taken = efm_arena_take(arena, count, size);
    memcpy(pointer, &taken, sizeof taken);
    return taken != NULL;
}

/* ---- weights ---- */

static bool rounds(const struct efm_net_weights *weights, size_t i)
{
    return weights->options.precision == EFM_PRECISION_BF16 && i > 0;
}

static bool panels_piece(struct efm_arena *arena, float **packed, const struct efm_mlp_layer *layer)
{
    const size_t panels = efm_mlp_panels(layer->out);
    return piece(arena, packed, panels * EFM_MLP_PANEL, layer->in, sizeof(float));
}

static bool weights_lay_out(struct efm_mlp_weights *parts, const struct efm_net_weights *weights)
{
    bool fits = true;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        const struct efm_mlp_layer *layer = &efm_mlp_plan(weights)->layers[i];
        struct efm_arena *arena = &parts->arena;
        fits = fits && piece(arena, &parts->bias[i], 1, layer->out, sizeof(float));
        if (rounds(weights, i)) {
            fits = fits && piece(arena, &parts->rounded[i], layer->out, layer->in, sizeof(uint16_t));
            continue;
        }
        fits = fits && panels_piece(arena, &parts->packed[i], layer);
        if (weights->options.training && i > 0)
            fits = fits && piece(arena, &parts->plain[i], layer->out, layer->in, sizeof(float));
    }
    return fits;
}

static enum efm_status weights_create(struct efm_net_weights *weights, struct efm_error *error)
{
    struct efm_mlp_weights *parts = efm_allocate_array(1, sizeof *parts);
    if (parts == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the weights of a network");
    weights->parts = parts;
    parts->kernel = efm_mlp_kernel_at(0);
    if (!weights_lay_out(parts, weights))
        return efm_error_set(error, EFM_E_LIMIT, "the weights need more memory than can be counted");
    enum efm_status status = efm_arena_create(&parts->arena, error);
    if (status == EFM_OK && !weights_lay_out(parts, weights))
        return efm_error_set(error, EFM_E_INTERNAL, "the weights do not fit into what was planned");
    return status;
}

static void weights_destroy(struct efm_net_weights *weights)
{
    struct efm_mlp_weights *parts = weights->parts;
    if (parts == NULL)
        return;
    efm_arena_release(&parts->arena);
    efm_free(parts);
}

static size_t weights_bytes(const struct efm_net_weights *weights)
{
    const struct efm_mlp_weights *parts = weights->parts;
    return sizeof *weights + sizeof *parts + parts->arena.size;
}

struct setting {
    const struct efm_net_weights *weights;
    const float *parameters;
};

enum { SET_ROWS = EFM_MLP_PANEL };

/* Piece `index` is the index-th run of SET_ROWS rows of every layer that has so many. */
static void set_rows(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct setting *setting = context;
    const struct efm_net_weights *weights = setting->weights;
    const struct efm_mlp_weights *parts = weights->parts;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        const struct efm_mlp_layer *layer = &efm_mlp_plan(weights)->layers[i];
        const size_t first = index * SET_ROWS;
        const size_t last = first + SET_ROWS < layer->out ? first + SET_ROWS : layer->out;
        if (first >= layer->out)
            continue;
        const float *source = setting->parameters + layer->weight;
        const size_t begin = first * layer->in, count = (last - first) * layer->in;
        memcpy(parts->bias[i] + first, setting->parameters + layer->bias + first,
               (last - first) * sizeof(float));
        if (parts->rounded[i] != NULL)
            efm_net_kernels(EFM_PRECISION_BF16)
                ->from_floats(parts->rounded[i] + begin, source + begin, count);
        if (parts->packed[i] != NULL)
            efm_mlp_pack(parts->packed[i], source, layer->out, layer->in, index);
        if (parts->plain[i] != NULL)
            memcpy(parts->plain[i] + begin, source + begin, count * sizeof(float));
    }
}

static void weights_set(struct efm_net_weights *weights, const float *parameters, struct efm_team *team)
{
    struct setting setting = {weights, parameters};
    efm_team_run(team, (efm_mlp_plan(weights)->widest + SET_ROWS - 1) / SET_ROWS, set_rows, &setting);
}

/* ---- runs ---- */

static bool slots_lay_out(struct efm_mlp_run *parts, const struct efm_net_weights *weights)
{
    const size_t widest = efm_mlp_plan(weights)->widest, embedding = weights->net->config.embedding;
    struct efm_arena *arena = &parts->arena;
    const bool taking = arena->base != NULL;
    bool fits = piece(arena, &parts->slots, 1, parts->slot_count, sizeof *parts->slots);
    for (size_t i = 0; fits && i < parts->slot_count; i++) {
        struct efm_mlp_slot unused = {0}, *slot = taking ? &parts->slots[i] : &unused;
        fits = piece(arena, &slot->ping, EFM_MLP_ROWS, widest, sizeof(float)) &&
               piece(arena, &slot->pong, EFM_MLP_ROWS, widest, sizeof(float)) &&
               piece(arena, &slot->embedding, EFM_MLP_ROWS, embedding, sizeof(float)) &&
               piece(arena, &slot->z, EFM_MLP_ROWS, 1, sizeof(float));
        slot->rounded = NULL;
        if (weights->options.precision == EFM_PRECISION_BF16)
            fits = fits && piece(arena, &slot->rounded, EFM_MLP_ROWS, widest, sizeof(uint16_t));
    }
    return fits;
}

static bool record_lay_out(struct efm_mlp_run *parts, const struct efm_net_weights *weights, size_t rows)
{
    struct efm_mlp_record *record = &parts->record;
    struct efm_arena *arena = &parts->arena;
    const struct efm_net_config *config = &weights->net->config;
    bool fits = piece(arena, &record->x, rows, config->shape.dimension, sizeof(float)) &&
                piece(arena, &record->embedded, rows, config->embedding, sizeof(float)) &&
                piece(arena, &record->loss, rows, 1, sizeof(double));
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        const size_t out = efm_mlp_plan(weights)->layers[i].out;
        fits = fits && piece(arena, &record->activation[i], rows, out, sizeof(float)) &&
               piece(arena, &record->delta[i], rows, out, sizeof(float));
    }
    return fits;
}

static bool run_lay_out(struct efm_mlp_run *parts, const struct efm_net_weights *weights, size_t capacity)
{
    size_t rows;
    if (!slots_lay_out(parts, weights))
        return false;
    if (!weights->options.training)
        return true;
    return efm_size_add(capacity, EFM_MLP_ROWS - 1, &rows) &&
           record_lay_out(parts, weights, rows - rows % EFM_MLP_ROWS);
}

static size_t run_bytes(const struct efm_net_weights *weights, size_t capacity, size_t threads)
{
    struct efm_mlp_run plan = {.slot_count = threads};
    size_t bytes;
    if (!run_lay_out(&plan, weights, capacity) ||
        !efm_size_add(plan.arena.size, sizeof plan + sizeof(struct efm_net_run), &bytes))
        return SIZE_MAX;
    return bytes;
}

static enum efm_status make_products(struct efm_mlp_run *parts, const struct efm_net_weights *weights,
                                     struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    for (size_t i = 0; i < EFM_MLP_LAYERS && status == EFM_OK; i++) {
        const struct efm_mlp_layer *layer = &efm_mlp_plan(weights)->layers[i];
        if (!rounds(weights, i))
            continue;
        struct efm_matmul_options options = {.m = EFM_MLP_ROWS,
                                             .n = layer->out,
                                             .k = layer->in,
                                             .transpose_b = true,
                                             .precision = EFM_PRECISION_BF16,
                                             .out = EFM_PRECISION_F32,
                                             .slots = parts->slot_count};
        status = efm_matmul_create(&parts->forward[i], &options, error);
        if (status != EFM_OK || !weights->options.training)
            continue;
        options.n = layer->in;
        options.k = layer->out;
        options.transpose_b = false;
        status = efm_matmul_create(&parts->backward[i], &options, error);
    }
    return status;
}

static enum efm_status run_create(struct efm_net_run *run, struct efm_error *error)
{
    struct efm_mlp_run *parts = efm_allocate_array(1, sizeof *parts);
    if (parts == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a run of a network");
    run->parts = parts;
    parts->slot_count = efm_team_size(run->team);
    if (!run_lay_out(parts, run->weights, run->capacity))
        return efm_error_set(error, EFM_E_LIMIT, "the run needs more memory than can be counted");
    enum efm_status status = efm_arena_create(&parts->arena, error);
    if (status != EFM_OK)
        return status;
    if (!run_lay_out(parts, run->weights, run->capacity))
        return efm_error_set(error, EFM_E_INTERNAL, "the run does not fit into what was planned");
    return make_products(parts, run->weights, error);
}

static void run_destroy(struct efm_net_run *run)
{
    struct efm_mlp_run *parts = run->parts;
    if (parts == NULL)
        return;
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        efm_matmul_destroy(parts->forward[i]);
        efm_matmul_destroy(parts->backward[i]);
    }
    efm_arena_release(&parts->arena);
    efm_free(parts);
}

/* ---- forward ---- */

void efm_mlp_load(float *block_x, float *block_z, const float *x, const float *z, size_t count,
                  size_t dimension)
{
    memcpy(block_x, x, count * dimension * sizeof(float));
    memset(block_x + count * dimension, 0, (EFM_MLP_ROWS - count) * dimension * sizeof(float));
    memcpy(block_z, z, count * sizeof(float));
    memset(block_z + count, 0, (EFM_MLP_ROWS - count) * sizeof(float));
}

EFM_CLONES static void add_bias(float *y, const float *bias, size_t width, bool relu)
{
    for (size_t row = 0; row < EFM_MLP_ROWS; row++) {
        float *values = y + row * width;
        if (relu) {
            /* As written, a NaN stays one. */
#pragma omp simd
            for (size_t k = 0; k < width; k++) {
                const float value = values[k] + bias[k];
                values[k] = value < 0 ? 0 : value;
            }
        } else {
#pragma omp simd
            for (size_t k = 0; k < width; k++)
                values[k] += bias[k];
        }
    }
}

void efm_mlp_layer_forward(const struct efm_net_run *run, size_t slot, size_t i, const float *in, size_t rows,
                           float *out)
{
    const struct efm_mlp_layer *layer = &efm_mlp_plan(run->weights)->layers[i];
    const struct efm_mlp_weights *weights = run->weights->parts;
    const struct efm_mlp_run *parts = run->parts;
    if (weights->rounded[i] == NULL) {
        efm_mlp_product(weights->kernel, weights->packed[i], weights->bias[i], layer->out, layer->in, in,
                        rows, layer->relu, out);
        return;
    }
    uint16_t *rounded = parts->slots[slot].rounded;
    efm_net_kernels(EFM_PRECISION_BF16)->from_floats(rounded, in, EFM_MLP_ROWS * layer->in);
    efm_matmul_run(parts->forward[i], slot, rounded, weights->rounded[i], out);
    add_bias(out, weights->bias[i], layer->out, layer->relu);
}

void efm_mlp_embed(const struct efm_net_run *run, size_t slot, const float *z, const float *in, size_t rows,
                   float *out)
{
    const struct efm_mlp_run *parts = run->parts;
    const size_t width = run->weights->net->config.embedding;
    float *embedding = parts->slots[slot].embedding;
    efm_height_embedding(z, rows, width / 2, embedding);
    for (size_t k = 0; k < rows * width; k++)
        out[k] = in[k] + embedding[k];
}

struct pass {
    const struct efm_net_run *run;
    const float *x, *z;
    size_t count;
    float *fx, *fz;
};

static void forward_block(void *context, size_t index, size_t slot_index)
{
    const struct pass *pass = context;
    const struct efm_mlp_run *parts = pass->run->parts;
    const struct efm_mlp_slot *slot = &parts->slots[slot_index];
    const size_t d = pass->run->weights->net->config.shape.dimension, first = index * EFM_MLP_ROWS;
    const size_t left = pass->count - first, count = left < EFM_MLP_ROWS ? left : EFM_MLP_ROWS;
    const size_t rows = pass->run->weights->options.precision == EFM_PRECISION_BF16 ? EFM_MLP_ROWS : count;
    float *in = slot->ping, *out = slot->pong;
    efm_mlp_load(in, slot->z, pass->x + first * d, pass->z + first, count, d);
    for (size_t i = 0; i < EFM_MLP_LAYERS; i++) {
        if (i == EFM_MLP_EMBEDDED)
            efm_mlp_embed(pass->run, slot_index, slot->z, in, rows, in);
        efm_mlp_layer_forward(pass->run, slot_index, i, in, rows, out);
        float *swap = in;
        in = out;
        out = swap;
    }
    for (size_t row = 0; row < count; row++) {
        memcpy(pass->fx + (first + row) * d, in + row * (d + 1), d * sizeof(float));
        pass->fz[first + row] = in[row * (d + 1) + d];
    }
}

static void forward(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx,
                    float *fz)
{
    struct pass pass = {run, x, z, count, fx, fz};
    efm_team_run(run->team, (count + EFM_MLP_ROWS - 1) / EFM_MLP_ROWS, forward_block, &pass);
}

const struct efm_net_class efm_mlp_class = {
    .plan = plan_mlp,
    .plan_destroy = plan_destroy,
    .flops = flops,
    .weights_create = weights_create,
    .weights_set = weights_set,
    .weights_destroy = weights_destroy,
    .weights_bytes = weights_bytes,
    .run_bytes = run_bytes,
    .run_create = run_create,
    .run_destroy = run_destroy,
    .forward = forward,
    .gradient = efm_mlp_gradient,
};
