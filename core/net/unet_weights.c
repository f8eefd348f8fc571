// SPDX-License-Identifier: Apache-2.0
/* unet_weights.c - the numbers of a U-Net, arranged for its convolutions, and its small numbers beside them. */
#include "core/net/unet_internal.h"

#include <string.h>

enum { BANDS = 8 };

/* The sizes of one image's attention: tokens t and channels c. */
static struct efm_matmul_options product_options(enum unet_product product, size_t t, size_t c,
                                                 const struct efm_net_weights_options *options, size_t slots)
{
    struct efm_matmul_options made = {
        .n = t, .m = t, .k = c, .precision = options->precision, .out = EFM_PRECISION_F32, .slots = slots};
    switch (product) {
    case UNET_QK: /* scores [t, t] = q k^T */
    case UNET_DP: /* d p = d out v^T */
        made.transpose_b = true;
        break;
    case UNET_PV: /* out [t, c] = p v */
    case UNET_DQ: /* d q = d scores k */
    case UNET_DK: /* d k = d scores^T q */
    case UNET_DV: /* d v = p^T d out */
        made.n = c;
        made.k = t;
        made.transpose_a = product == UNET_DK || product == UNET_DV;
        made.out = options->precision;
        break;
    case UNET_PRODUCTS:
        break;
    }
    return made;
}

static enum efm_status create_products(struct efm_net_weights *weights, size_t slots, struct efm_error *error)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    struct unet_weights *parts = weights->parts;
    for (size_t i = 0; i < plan->attention_count; i++) {
        const struct unet_tensor *out = &plan->tensors[plan->operations[plan->attentions[i]].out];
        size_t tokens = (size_t)out->height * out->width;
        for (int product = 0; product < UNET_PRODUCTS; product++) {
            if (product > UNET_PV && !weights->options.training)
                break;
            struct efm_matmul_options options =
                product_options(product, tokens, out->channels, &weights->options, slots);
            enum efm_status status = efm_matmul_create(&parts->products[i][product], &options, error);
            if (status != EFM_OK)
                return status;
        }
    }
    return EFM_OK;
}

static enum efm_status create_convs(struct efm_net_weights *weights, size_t slots, struct efm_error *error)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    struct unet_weights *parts = weights->parts;
    for (size_t i = 0; i < plan->conv_count; i++) {
        struct efm_conv_options options = plan->convs[i].options;
        size_t rows = options.height / options.stride;
        options.precision = weights->options.precision;
        options.training = weights->options.training;
        options.images = options.training ? weights->options.shard_samples : 0;
        options.slots = slots;
        options.bands = options.training ? 1 : rows < BANDS ? rows : BANDS;
        enum efm_status status = efm_conv_create(&parts->convs[i], &options, error);
        if (status != EFM_OK)
            return status;
    }
    return EFM_OK;
}

enum efm_status unet_weights_create(struct efm_net_weights *weights, struct efm_error *error)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    struct unet_weights *parts = efm_allocate_array(1, sizeof *parts);
    if (parts == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the weights of a network");
    weights->parts = parts;
    parts->kernels = efm_net_kernels(weights->options.precision);
    parts->element = parts->kernels->element;
    parts->convs = efm_allocate_array(plan->conv_count, sizeof(struct efm_conv *));
    parts->products = efm_allocate_array(plan->attention_count, sizeof *parts->products);
    parts->small = efm_allocate_array(plan->small_count, sizeof(float));
    if (parts->convs == NULL || parts->products == NULL || parts->small == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the weights of a network");
    enum efm_status status =
        unet_layout_create(&parts->layout, plan, parts->element, weights->options.training, error);
    if (status != EFM_OK)
        return status;
    size_t slots = weights->options.training ? weights->options.shards : UNET_LANES;
    status = create_convs(weights, slots, error);
    return status == EFM_OK ? create_products(weights, slots, error) : status;
}

void unet_weights_destroy(struct efm_net_weights *weights)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    struct unet_weights *parts = weights->parts;
    if (parts == NULL)
        return;
    for (size_t i = 0; i < plan->conv_count && parts->convs != NULL; i++)
        efm_conv_destroy(parts->convs[i]);
    for (size_t i = 0; i < plan->attention_count && parts->products != NULL; i++)
        for (int product = 0; product < UNET_PRODUCTS; product++)
            efm_matmul_destroy(parts->products[i][product]);
    unet_layout_release(&parts->layout);
    efm_free(parts->convs);
    efm_free(parts->products);
    efm_free(parts->small);
    efm_free(parts);
    weights->parts = NULL;
}

size_t unet_weights_bytes(const struct efm_net_weights *weights)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    const struct unet_weights *parts = weights->parts;
    size_t sum = plan->small_count * sizeof(float);
    for (size_t i = 0; i < plan->conv_count; i++)
        sum += efm_conv_bytes(parts->convs[i]);
    for (size_t i = 0; i < plan->attention_count; i++)
        for (int product = 0; product < UNET_PRODUCTS; product++)
            if (parts->products[i][product] != NULL)
                sum += efm_matmul_bytes(parts->products[i][product]);
    return sum;
}

struct set_context {
    struct efm_net_weights *weights;
    const float *parameters;
};

static void set_conv(void *argument, size_t index, size_t slot)
{
    const struct set_context *context = argument;
    const struct efm_net *net = context->weights->net;
    const struct unet_conv *conv = &unet_plan(net)->convs[index];
    (void)slot;
    efm_conv_set_weights(unet_weights(context->weights)->convs[index],
                         context->parameters + net->parameters[conv->parameter].offset + conv->weight_offset);
}

/* The biases that are added in one place are added up once. */
static void sum_biases(const struct unet_plan *plan, struct unet_weights *parts, const size_t biases[2],
                       size_t count, float *sum)
{
    memcpy(sum, unet_small(plan, parts, biases[0]), count * sizeof *sum);
    if (biases[1] == UNET_NONE)
        return;
    const float *second = unet_small(plan, parts, biases[1]);
    for (size_t c = 0; c < count; c++)
        sum[c] += second[c];
}

void unet_weights_set(struct efm_net_weights *weights, const float *parameters, struct efm_team *team)
{
    const struct efm_net *net = weights->net;
    const struct unet_plan *plan = unet_plan(net);
    struct unet_weights *parts = weights->parts;
    for (size_t i = 0; i < net->parameter_count; i++)
        if (plan->small_offset[i] != UNET_NONE)
            memcpy(parts->small + plan->small_offset[i], parameters + net->parameters[i].offset,
                   net->parameters[i].count * sizeof *parameters);
    for (size_t i = 0; i < plan->operation_count; i++) {
        const struct unet_operation *operation = &plan->operations[i];
        if (operation->kind == UNET_CONV && operation->biases[0] != UNET_NONE)
            sum_biases(plan, parts, operation->biases, plan->tensors[operation->out].channels,
                       parts->small + operation->bias_offset);
    }
    for (size_t i = 0; i < plan->dense_count; i++) {
        const struct unet_dense *dense = &plan->denses[i];
        const size_t biases[2] = {dense->bias, dense->conv_bias};
        sum_biases(plan, parts, biases, dense->out, parts->small + dense->bias_offset);
    }
    struct set_context context = {weights, parameters};
    efm_team_run(team, plan->conv_count, set_conv, &context);
}
