// SPDX-License-Identifier: Apache-2.0
#include "core/net/reference_ops.h"

#include "core/base/memory.h"

#include <string.h>

/* One term of a convolution: this pixel of the source times this tap of the kernel goes into this pixel of out. */
struct term {
    size_t source, out, tap; /* pixels of all images; y * kernel + x */
};

typedef void add_term(void *context, const struct term *term);

static void visit_pixel(const struct efm_conv_options *o, size_t image, size_t y, size_t x, add_term *add,
                        void *context)
{
    size_t padding = o->stride == 1 ? o->kernel / 2 : 0;
    size_t out_height = o->height / o->stride, out_width = o->width / o->stride;
    for (size_t tap = 0; tap < (size_t)o->kernel * o->kernel; tap++) {
        /* Above and left of the image the difference wraps and is too large as well. */
        size_t row = y * o->stride + tap / o->kernel - padding;
        size_t column = x * o->stride + tap % o->kernel - padding;
        if (row >= o->height || column >= o->width)
            continue;
        struct term term = {.source = (image * o->height + row) * o->width + column,
                            .out = (image * out_height + y) * out_width + x,
                            .tap = tap};
        add(context, &term);
    }
}

static void visit(const struct efm_conv_options *o, size_t images, add_term *add, void *context)
{
    for (size_t image = 0; image < images; image++)
        for (size_t y = 0; y < o->height / o->stride; y++)
            for (size_t x = 0; x < o->width / o->stride; x++)
                visit_pixel(o, image, y, x, add, context);
}

struct operands {
    const struct efm_conv_options *options;
    const float *weights, *source, *out; /* what is read */
    double *sum;                         /* of what is written */
};

static size_t weight_index(const struct efm_conv_options *o, size_t out, size_t in, size_t tap)
{
    return o->in_out ? in * o->out_channels + out : (out * o->in_channels + in) * o->kernel * o->kernel + tap;
}

static void add_forward(void *context, const struct term *term)
{
    const struct operands *operands = context;
    const struct efm_conv_options *o = operands->options;
    for (size_t out = 0; out < o->out_channels; out++)
        for (size_t in = 0; in < o->in_channels; in++)
            operands->sum[term->out * o->out_channels + out] +=
                (double)operands->weights[weight_index(o, out, in, term->tap)] *
                (double)operands->source[term->source * o->in_channels + in];
}

static void add_data(void *context, const struct term *term)
{
    const struct operands *operands = context;
    const struct efm_conv_options *o = operands->options;
    for (size_t out = 0; out < o->out_channels; out++)
        for (size_t in = 0; in < o->in_channels; in++)
            operands->sum[term->source * o->in_channels + in] +=
                (double)operands->weights[weight_index(o, out, in, term->tap)] *
                (double)operands->out[term->out * o->out_channels + out];
}

static void add_weights(void *context, const struct term *term)
{
    const struct operands *operands = context;
    const struct efm_conv_options *o = operands->options;
    for (size_t out = 0; out < o->out_channels; out++)
        for (size_t in = 0; in < o->in_channels; in++)
            operands->sum[weight_index(o, out, in, term->tap)] +=
                (double)operands->source[term->source * o->in_channels + in] *
                (double)operands->out[term->out * o->out_channels + out];
}

/* Sums in double and rounds once; NaN when there is no memory, which no comparison takes for right. */
static void sum_terms(struct operands operands, size_t images, add_term *add, float *result, size_t count)
{
    memset(result, 0xff, count * sizeof *result);
    operands.sum = efm_allocate_array(count, sizeof *operands.sum);
    if (operands.sum == NULL)
        return;
    visit(operands.options, images, add, &operands);
    for (size_t i = 0; i < count; i++)
        result[i] = (float)operands.sum[i];
    efm_free(operands.sum);
}

void efm_reference_conv(const struct efm_conv_options *options, const float *weights, const float *source,
                        float *out, size_t images)
{
    size_t pixels = (size_t)(options->height / options->stride) * (options->width / options->stride);
    sum_terms((struct operands){.options = options, .weights = weights, .source = source}, images,
              add_forward, out, images * pixels * options->out_channels);
}

void efm_reference_conv_data(const struct efm_conv_options *options, const float *weights,
                             const float *out_gradient, float *source_gradient, size_t images)
{
    sum_terms((struct operands){.options = options, .weights = weights, .out = out_gradient}, images,
              add_data, source_gradient, images * options->height * options->width * options->in_channels);
}

void efm_reference_conv_weights(const struct efm_conv_options *options, const float *source,
                                const float *out_gradient, float *gradient, size_t images)
{
    size_t taps = (size_t)options->kernel * options->kernel;
    sum_terms((struct operands){.options = options, .source = source, .out = out_gradient}, images,
              add_weights, gradient, taps * options->in_channels * options->out_channels);
}

void efm_reference_matmul(const struct efm_matmul_options *options, const float *a, const float *b, float *c)
{
    size_t m = options->m, n = options->n, k = options->k;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (double)a[options->transpose_a ? l * m + i : i * k + l] *
                       (double)b[options->transpose_b ? j * k + l : l * n + j];
            c[i * n + j] = (float)sum;
        }
}
