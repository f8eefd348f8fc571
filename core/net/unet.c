// SPDX-License-Identifier: Apache-2.0
/* unet.c - the plan of the published U-Net: its parameters in published order, its operations, and for the way back
 * which gradient is written first and which is added to. */
#include "core/net/unet_internal.h"

#include <stdio.h>
#include <string.h>

/* What is being built. The first failure sticks, and all that follows does nothing. */
struct builder {
    struct efm_net *net;
    struct unet_plan *plan;
    const struct efm_net_config *config;
    struct efm_error *error;
    enum efm_status status;
    size_t module; /* number in the published names */
    size_t time;   /* width of the embedding */
    size_t stack[EFM_NET_MAX_LEVELS * 10], depth;
};

static void no_memory(struct builder *builder)
{
    if (builder->status == EFM_OK)
        builder->status = efm_error_set(builder->error, EFM_E_MEMORY, "no memory for the plan of a network");
}

static size_t add_tensor(struct builder *builder, size_t height, size_t width, size_t channels)
{
    struct unet_plan *plan = builder->plan;
    if (builder->status != EFM_OK ||
        !efm_array_grow(&plan->tensors, plan->tensor_count, &plan->tensor_capacity, sizeof *plan->tensors)) {
        no_memory(builder);
        return 0;
    }
    struct unet_tensor *tensor = &plan->tensors[plan->tensor_count];
    *tensor = (struct unet_tensor){.height = (uint32_t)height,
                                   .width = (uint32_t)width,
                                   .channels = (uint32_t)channels,
                                   .gradient = plan->tensor_count};
    return plan->tensor_count++;
}

static struct unet_operation *add_operation(struct builder *builder, enum unet_kind kind)
{
    static const struct unet_operation empty = {
        .in = {UNET_NONE, UNET_NONE, UNET_NONE},
        .add = {UNET_NONE, UNET_NONE, UNET_NONE},
        .other = UNET_NONE,
        .biases = {UNET_NONE, UNET_NONE},
        .dense = UNET_NONE,
    };
    struct unet_plan *plan = builder->plan;
    if (builder->status != EFM_OK || !efm_array_grow(&plan->operations, plan->operation_count,
                                                     &plan->operation_capacity, sizeof *plan->operations)) {
        no_memory(builder);
        return NULL;
    }
    struct unet_operation *operation = &plan->operations[plan->operation_count++];
    *operation = empty;
    operation->kind = kind;
    return operation;
}

/* ---- parameters ---- */

static size_t add_parameter(struct builder *builder, const char *part, size_t rank, const size_t *shape,
                            struct efm_parameter_kind kind)
{
    char name[EFM_PARAMETER_NAME];
    size_t index = 0;
    if (builder->status != EFM_OK)
        return 0;
    snprintf(name, sizeof name, "all_modules.%zu.%s", builder->module, part);
    builder->status = efm_net_add_parameter(builder->net, name, rank, shape, kind, &index, builder->error);
    return index;
}

static size_t add_vector(struct builder *builder, const char *part, size_t count, enum efm_init init)
{
    return add_parameter(builder, part, 1, &count, (struct efm_parameter_kind){.init = init});
}

/* Weights of a linear layer, [out, in]. */
static size_t add_linear(struct builder *builder, const char *part, size_t in, size_t out)
{
    const size_t shape[2] = {out, in};
    return add_parameter(builder, part, 2, shape,
                         (struct efm_parameter_kind){EFM_INIT_FAN_AVERAGE, in, out, 1});
}

static size_t add_kernel(struct builder *builder, const char *part, size_t in, size_t out, double scale)
{
    const size_t shape[4] = {out, in, 3, 3};
    return add_parameter(builder, part, 4, shape,
                         (struct efm_parameter_kind){scale == 0 ? EFM_INIT_ZERO : EFM_INIT_FAN_AVERAGE,
                                                     9 * in, 9 * out, scale});
}

/* A convolution of one pixel, stored as [in, out]. */
static size_t add_nin(struct builder *builder, const char *part, size_t in, size_t out, double scale)
{
    const size_t shape[2] = {in, out};
    return add_parameter(
        builder, part, 2, shape,
        (struct efm_parameter_kind){scale == 0 ? EFM_INIT_ZERO : EFM_INIT_FAN_AVERAGE, in, out, scale});
}

/* ---- operations ---- */

static struct unet_tensor tensor_at(const struct builder *builder, size_t index)
{
    return builder->status == EFM_OK ? builder->plan->tensors[index] : (struct unet_tensor){0};
}

static void want_sums(struct builder *builder, size_t tensor)
{
    if (builder->status == EFM_OK)
        builder->plan->tensors[tensor].sums = true;
}

struct conv_request {
    size_t in, parameter, weight_offset, out_channels;
    unsigned kernel, stride;
};

/* The convolution alone; the caller adds biases and what else the result takes. Returns the operation or NULL. */
static struct unet_operation *add_conv(struct builder *builder, const struct conv_request *request)
{
    struct unet_plan *plan = builder->plan;
    struct unet_tensor in = tensor_at(builder, request->in);
    size_t out =
        add_tensor(builder, in.height / request->stride, in.width / request->stride, request->out_channels);
    struct unet_operation *operation = add_operation(builder, UNET_CONV);
    if (operation == NULL ||
        !efm_array_grow(&plan->convs, plan->conv_count, &plan->conv_capacity, sizeof *plan->convs)) {
        no_memory(builder);
        return NULL;
    }
    plan->convs[plan->conv_count] = (struct unet_conv){
        .options = {.height = in.height,
                    .width = in.width,
                    .in_channels = in.channels,
                    .out_channels = (uint32_t)request->out_channels,
                    .kernel = request->kernel,
                    .stride = request->stride,
                    .in_out = request->kernel == 1,
                    .no_input_gradient = request->in == plan->input},
        .parameter = request->parameter,
        .weight_offset = request->weight_offset,
    };
    operation->in[0] = request->in;
    operation->out = out;
    operation->conv = plan->conv_count++;
    return operation;
}

/* A finished 3x3 convolution: bias added, sums taken. */
static size_t add_plain_conv(struct builder *builder, const char *name, size_t in, size_t out_channels,
                             unsigned stride, double scale)
{
    char part[32];
    snprintf(part, sizeof part, "%sweight", name);
    struct conv_request request = {.in = in, .out_channels = out_channels, .kernel = 3, .stride = stride};
    request.parameter = add_kernel(builder, part, tensor_at(builder, in).channels, out_channels, scale);
    snprintf(part, sizeof part, "%sbias", name);
    size_t bias = add_vector(builder, part, out_channels, EFM_INIT_ZERO);
    struct unet_operation *operation = add_conv(builder, &request);
    if (operation == NULL)
        return 0;
    operation->finished = true;
    operation->biases[0] = bias;
    return operation->out;
}

/* GroupNorm of one or two tensors side by side, into one. `name` is "GroupNorm_0." or "". */
static struct unet_operation *add_norm(struct builder *builder, const char *name, const size_t *in,
                                       size_t count, bool silu)
{
    char part[32];
    size_t channels = 0;
    struct unet_tensor first = tensor_at(builder, in[0]);
    for (size_t i = 0; i < count; i++) {
        channels += tensor_at(builder, in[i]).channels;
        want_sums(builder, in[i]);
    }
    snprintf(part, sizeof part, "%sweight", name);
    size_t gamma = add_vector(builder, part, channels, EFM_INIT_ONE);
    snprintf(part, sizeof part, "%sbias", name);
    size_t beta = add_vector(builder, part, channels, EFM_INIT_ZERO);
    size_t out = add_tensor(builder, first.height, first.width, channels);
    struct unet_operation *operation = add_operation(builder, UNET_NORM);
    if (operation == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        operation->in[i] = in[i];
    operation->out = out;
    operation->gamma = gamma;
    operation->beta = beta;
    operation->silu = silu;
    operation->channels = channels;
    return operation;
}

static size_t out_of(const struct unet_operation *operation)
{
    return operation == NULL ? 0 : operation->out;
}

/* Dense_0: what the height adds to each channel. Returns its index. */
static size_t add_dense(struct builder *builder, size_t out, size_t conv_bias)
{
    struct unet_plan *plan = builder->plan;
    size_t weight = add_linear(builder, "Dense_0.weight", builder->time, out);
    size_t bias = add_vector(builder, "Dense_0.bias", out, EFM_INIT_ZERO);
    if (builder->status != EFM_OK ||
        !efm_array_grow(&plan->denses, plan->dense_count, &plan->dense_capacity, sizeof *plan->denses)) {
        no_memory(builder);
        return 0;
    }
    plan->denses[plan->dense_count] = (struct unet_dense){
        .weight = weight, .bias = bias, .conv_bias = conv_bias, .out = out, .offset = plan->dense_total};
    plan->dense_total += out;
    return plan->dense_count++;
}

/* The shortcut of a block whose width changes: a 1x1 convolution of each input, added up. Returns the tensor. */
static size_t add_shortcut(struct builder *builder, const size_t *in, size_t count, size_t out_channels,
                           size_t parameter)
{
    size_t sum = UNET_NONE, offset = 0;
    for (size_t i = 0; i < count && builder->status == EFM_OK; i++) {
        struct conv_request request = {.in = in[i],
                                       .parameter = parameter,
                                       .weight_offset = offset * out_channels,
                                       .out_channels = out_channels,
                                       .kernel = 1,
                                       .stride = 1};
        struct unet_operation *operation = add_conv(builder, &request);
        if (operation == NULL)
            return UNET_NONE;
        offset += builder->plan->tensors[in[i]].channels;
        operation->finished = sum != UNET_NONE;
        operation->other = sum;
        sum = operation->out;
        builder->plan->tensors[sum].temporary = true;
    }
    return sum;
}

/* GroupNorm-SiLU-conv, + Dense(SiLU(embedding)), GroupNorm-SiLU-dropout-conv, + input or shortcut. */
static size_t add_residual_block(struct builder *builder, const size_t *in, size_t count, size_t out_channels)
{
    size_t channels = 0;
    for (size_t i = 0; i < count; i++)
        channels += tensor_at(builder, in[i]).channels;
    struct unet_operation *operation = add_norm(builder, "GroupNorm_0.", in, count, true);
    struct conv_request request = {
        .in = out_of(operation), .out_channels = out_channels, .kernel = 3, .stride = 1};
    request.parameter = add_kernel(builder, "Conv_0.weight", channels, out_channels, 1);
    size_t conv_bias = add_vector(builder, "Conv_0.bias", out_channels, EFM_INIT_ZERO);
    operation = add_conv(builder, &request);
    size_t dense = add_dense(builder, out_channels, conv_bias);
    size_t middle = out_of(operation);
    operation = add_norm(builder, "GroupNorm_1.", &middle, 1, true);
    if (operation == NULL)
        return 0;
    operation->dense = dense;
    operation->dropout = true;
    request.in = operation->out;
    request.parameter = add_kernel(builder, "Conv_1.weight", out_channels, out_channels, 0);
    size_t biases[2] = {add_vector(builder, "Conv_1.bias", out_channels, EFM_INIT_ZERO), UNET_NONE};
    size_t other = in[0];
    if (channels != out_channels || count > 1) {
        size_t nin = add_nin(builder, "NIN_0.W", channels, out_channels, 0.1);
        biases[1] = add_vector(builder, "NIN_0.b", out_channels, EFM_INIT_ZERO);
        other = add_shortcut(builder, in, count, out_channels, nin);
    }
    operation = add_conv(builder, &request);
    if (operation == NULL)
        return 0;
    operation->finished = true;
    operation->other = other;
    memcpy(operation->biases, biases, sizeof biases);
    builder->module++;
    return operation->out;
}

/* One head over all pixels, with a residual. */
static size_t add_attention(struct builder *builder, size_t in)
{
    struct unet_plan *plan = builder->plan;
    size_t channels = tensor_at(builder, in).channels, parts[4] = {0};
    struct unet_operation *operation = add_norm(builder, "GroupNorm_0.", &in, 1, false);
    size_t normal = out_of(operation);
    for (size_t i = 0; i < 4 && builder->status == EFM_OK; i++) {
        char part[16];
        struct conv_request request = {.out_channels = channels, .kernel = 1, .stride = 1};
        if (i == 3) {
            if (!efm_array_grow(&plan->attentions, plan->attention_count, &plan->attention_capacity,
                                sizeof(size_t))) {
                no_memory(builder);
                break;
            }
            struct unet_tensor like = tensor_at(builder, in);
            size_t out = add_tensor(builder, like.height, like.width, channels);
            operation = add_operation(builder, UNET_ATTENTION);
            if (operation == NULL)
                break;
            memcpy(operation->in, parts, 3 * sizeof parts[0]);
            operation->out = out;
            operation->attention_index = plan->attention_count;
            plan->attentions[plan->attention_count++] = plan->operation_count - 1;
            request.in = out;
        } else {
            request.in = normal;
        }
        snprintf(part, sizeof part, "NIN_%zu.W", i);
        request.parameter = add_nin(builder, part, channels, channels, i == 3 ? 0 : 0.1);
        snprintf(part, sizeof part, "NIN_%zu.b", i);
        size_t bias = add_vector(builder, part, channels, EFM_INIT_ZERO);
        operation = add_conv(builder, &request);
        if (operation == NULL)
            break;
        operation->finished = true;
        operation->biases[0] = bias;
        operation->other = i == 3 ? in : UNET_NONE;
        parts[i] = operation->out;
    }
    builder->module++;
    return parts[3];
}

static size_t add_upsampling(struct builder *builder, size_t in)
{
    struct unet_tensor tensor = tensor_at(builder, in);
    size_t out = add_tensor(builder, 2 * tensor.height, 2 * tensor.width, tensor.channels);
    struct unet_operation *operation = add_operation(builder, UNET_UPSAMPLE);
    if (operation == NULL)
        return 0;
    operation->in[0] = in;
    operation->out = out;
    out = add_plain_conv(builder, "Conv_0.", out, tensor.channels, 1, 1);
    builder->module++;
    return out;
}

static void push(struct builder *builder, size_t tensor)
{
    builder->stack[builder->depth++] = tensor;
}

static bool attends(const struct builder *builder, size_t tensor)
{
    struct unet_tensor like = tensor_at(builder, tensor);
    for (uint32_t i = 0; i < builder->config->attention_count; i++)
        if (builder->config->attention[i] == like.height)
            return true;
    return false;
}

static void add_linears(struct builder *builder)
{
    size_t widths[3] = {builder->config->nf, builder->time, builder->time};
    for (size_t i = 0; i < 2; i++) {
        builder->plan->embedding[2 * i] = add_linear(builder, "weight", widths[i], widths[i + 1]);
        builder->plan->embedding[2 * i + 1] = add_vector(builder, "bias", widths[i + 1], EFM_INIT_ZERO);
        builder->module++;
    }
}

static size_t add_way_down(struct builder *builder, size_t h)
{
    const struct efm_net_config *config = builder->config;
    push(builder, h);
    for (uint32_t level = 0; level < config->levels; level++) {
        for (uint32_t block = 0; block < config->blocks; block++) {
            h = add_residual_block(builder, &h, 1, (size_t)config->nf * config->ch_mult[level]);
            if (attends(builder, h))
                h = add_attention(builder, h);
            push(builder, h);
        }
        if (level + 1 < config->levels) {
            h = add_plain_conv(builder, "Conv_0.", h, tensor_at(builder, h).channels, 2, 1);
            builder->module++;
            push(builder, h);
        }
    }
    return h;
}

static size_t add_way_up(struct builder *builder, size_t h)
{
    const struct efm_net_config *config = builder->config;
    for (uint32_t level = config->levels; level-- > 0;) {
        for (uint32_t block = 0; block <= config->blocks; block++) {
            size_t both[2] = {h, builder->stack[--builder->depth]};
            h = add_residual_block(builder, both, 2, (size_t)config->nf * config->ch_mult[level]);
        }
        if (attends(builder, h))
            h = add_attention(builder, h);
        if (level > 0)
            h = add_upsampling(builder, h);
    }
    return h;
}

static void add_all(struct builder *builder)
{
    const struct efm_net_config *config = builder->config;
    const struct efm_shape *shape = &config->shape;
    struct unet_plan *plan = builder->plan;
    plan->input = UNET_NONE;
    size_t input = add_tensor(builder, shape->height, shape->width, shape->channels);
    plan->input = input;
    add_linears(builder);
    size_t h = add_plain_conv(builder, "", input, config->nf, 1, 1);
    builder->module++;
    h = add_way_down(builder, h);
    size_t widest = tensor_at(builder, h).channels;
    h = add_residual_block(builder, &h, 1, widest);
    h = add_attention(builder, h);
    h = add_residual_block(builder, &h, 1, widest);
    h = add_way_up(builder, h);
    h = out_of(add_norm(builder, "", &h, 1, true));
    builder->module++;
    plan->output = add_plain_conv(builder, "", h, (size_t)shape->channels + 1, 1, 0);
}

/* ---- what follows from the list ---- */

static void set_lives(struct unet_plan *plan)
{
    for (size_t i = 0; i < plan->operation_count; i++) {
        const struct unet_operation *operation = &plan->operations[i];
        plan->tensors[operation->out].made = plan->tensors[operation->out].used = i;
        for (size_t k = 0; k < 3; k++)
            if (operation->in[k] != UNET_NONE)
                plan->tensors[operation->in[k]].used = i;
        if (operation->other != UNET_NONE)
            plan->tensors[operation->other].used = i;
    }
    plan->tensors[plan->output].used = plan->operation_count;
    for (size_t i = 0; i < plan->tensor_count; i++)
        if (unet_elements(&plan->tensors[i]) > plan->largest)
            plan->largest = unet_elements(&plan->tensors[i]);
}

/* What a gradient holds while the operations are gone through backward. */
struct progress {
    bool written;
    size_t pending; /* it is to be this tensor's gradient plus what comes: nothing has been written yet */
};

static void set_gradients(struct unet_plan *plan, struct progress *progress)
{
    for (size_t i = 0; i < plan->tensor_count; i++)
        progress[i].pending = UNET_NONE;
    for (size_t i = plan->operation_count; i-- > 0;) {
        struct unet_operation *operation = &plan->operations[i];
        if (operation->other != UNET_NONE) {
            struct unet_tensor *other = &plan->tensors[operation->other];
            struct progress *state = &progress[operation->other];
            if (other->temporary)
                other->gradient = plan->tensors[operation->out].gradient;
            else if (state->written)
                operation->other_accumulates = true;
            else
                state->pending = operation->out;
        }
        for (size_t k = 0; k < 3 && operation->in[k] != UNET_NONE; k++) {
            struct progress *state = &progress[operation->in[k]];
            operation->how[k] = state->written                ? UNET_ACCUMULATE
                                : state->pending != UNET_NONE ? UNET_WRITE_AND_ADD
                                                              : UNET_WRITE;
            operation->add[k] = state->pending;
            state->pending = UNET_NONE;
            state->written = true;
        }
    }
}

/* Everything but the weights of convolutions lies together: norms, biases, linear layers. */
static void set_small(const struct efm_net *net, struct unet_plan *plan)
{
    for (size_t i = 0; i < net->parameter_count; i++)
        plan->small_offset[i] = 0;
    for (size_t i = 0; i < plan->conv_count; i++)
        plan->small_offset[plan->convs[i].parameter] = UNET_NONE;
    for (size_t i = 0; i < net->parameter_count; i++) {
        if (plan->small_offset[i] == UNET_NONE)
            continue;
        plan->small_offset[i] = plan->small_count;
        plan->small_count += net->parameters[i].count;
    }
    plan->small_parameters = plan->small_count;
    for (size_t i = 0; i < plan->operation_count; i++) {
        struct unet_operation *operation = &plan->operations[i];
        if (operation->kind == UNET_CONV && operation->biases[0] != UNET_NONE) {
            operation->bias_offset = plan->small_count;
            plan->small_count += plan->tensors[operation->out].channels;
        }
    }
    for (size_t i = 0; i < plan->dense_count; i++) {
        plan->denses[i].bias_offset = plan->small_count;
        plan->small_count += plan->denses[i].out;
    }
}

static void set_maps(struct unet_plan *plan)
{
    for (size_t i = 0; i < plan->operation_count; i++) {
        struct unet_operation *operation = &plan->operations[i];
        if (operation->kind != UNET_NORM)
            continue;
        operation->norm_index = plan->norm_count++;
        operation->map_offset = plan->map_floats;
        plan->map_floats += 4 * operation->channels + EFM_NORM_GROUPS;
        if (operation->dropout) {
            operation->keep_offset = plan->keep_bytes;
            plan->keep_bytes += unet_elements(&plan->tensors[operation->out]);
        }
        if (operation->channels > plan->widest)
            plan->widest = operation->channels;
    }
}

static void plan_destroy(struct efm_net *net)
{
    struct unet_plan *plan = net->plan;
    if (plan == NULL)
        return;
    efm_free(plan->tensors);
    efm_free(plan->operations);
    efm_free(plan->convs);
    efm_free(plan->denses);
    efm_free(plan->attentions);
    efm_free(plan->small_offset);
    efm_free(plan);
    net->plan = NULL;
}

static enum efm_status plan(struct efm_net *net, struct efm_error *error)
{
    struct unet_plan *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the plan of a network");
    net->plan = made;
    struct builder builder = {
        .net = net, .plan = made, .config = &net->config, .error = error, .time = 4 * (size_t)net->config.nf};
    add_all(&builder);
    if (builder.status != EFM_OK)
        return builder.status;
    struct progress *progress = efm_allocate_array(made->tensor_count, sizeof *progress);
    made->small_offset = efm_allocate_array(net->parameter_count, sizeof *made->small_offset);
    if (progress == NULL || made->small_offset == NULL) {
        efm_free(progress);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the plan of a network");
    }
    set_lives(made);
    set_gradients(made, progress);
    set_small(net, made);
    set_maps(made);
    efm_free(progress);
    return EFM_OK;
}

static double flops(const struct efm_net *net)
{
    const struct unet_plan *made = unet_plan(net);
    double sum = 0;
    for (size_t i = 0; i < made->operation_count; i++) {
        const struct unet_operation *operation = &made->operations[i];
        const struct unet_tensor *out = &made->tensors[operation->out];
        double pixels = (double)out->height * out->width;
        if (operation->kind == UNET_CONV) {
            const struct efm_conv_options *options = &made->convs[operation->conv].options;
            sum +=
                2 * pixels * options->kernel * options->kernel * options->in_channels * options->out_channels;
        } else if (operation->kind == UNET_ATTENTION) {
            sum += 4 * pixels * pixels * out->channels;
        }
    }
    for (size_t i = 0; i < made->dense_count; i++)
        sum += 2. * (double)made->denses[i].out * 4 * net->config.nf;
    return sum + 2. * 4 * net->config.nf * net->config.nf * 5;
}

const struct efm_net_class efm_unet_class = {
    .plan = plan,
    .plan_destroy = plan_destroy,
    .flops = flops,
    .weights_create = unet_weights_create,
    .weights_set = unet_weights_set,
    .weights_destroy = unet_weights_destroy,
    .weights_bytes = unet_weights_bytes,
    .run_bytes = unet_run_bytes,
    .run_create = unet_run_create,
    .run_destroy = unet_run_destroy,
    .forward = unet_forward,
    .gradient = unet_gradient_of,
};
