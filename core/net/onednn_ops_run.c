// SPDX-License-Identifier: Apache-2.0
/* onednn_ops_run.c - convolutions at work: a call sets two addresses and executes.
 *
 * The functions that run cannot report. Should the library refuse all the same (it allocates a little for each call),
 * what they were to write becomes NaN, which those who look after the numbers notice. */
#include "core/net/onednn_ops_internal.h"

#include <time.h>

static bool run_pass(const struct efm_conv *conv, const struct conv_geometry *g, enum dnn_pass pass,
                     size_t slot, const void *source, const void *out)
{
    static const int names[DNN_PASSES][3] = {{DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS},
                                             {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS},
                                             {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    dnn_be_single_threaded();
    dnnl_memory_t *memories = conv->dnn.slots[slot].memories + g->memories;
    dnnl_memory_t weights =
        pass == DNN_BACKWARD_WEIGHTS ? conv->dnn.slots[slot].gradient : conv->weights[pass];
    return dnn_set_data(memories[0], source) && dnn_set_data(memories[1], out) &&
           dnn_run(&conv->dnn, slot, g->passes[pass], names[pass], memories[0], memories[1], weights);
}

/* Rows of the output from `first` on, out of rows of the source from `row` on. */
static void run_rows(const struct efm_conv *conv, const struct conv_geometry *g, size_t slot,
                     const void *source, void *out, size_t first, size_t row)
{
    char *rows = (char *)out + first * conv->out_row;
    if (!run_pass(conv, g, DNN_FORWARD, slot, (const char *)source + row * conv->source_row, rows))
        dnn_fill_nan(rows, g->out_rows * conv->out_row);
}

void efm_conv_forward(const struct efm_conv *conv, size_t slot, const void *source, void *out, size_t images)
{
    for (size_t i = 0; i < images; i++)
        run_rows(conv, &conv->geometries[0], slot, source, out, i * conv->out_height,
                 i * conv->options.height);
}

size_t efm_conv_bands(const struct efm_conv *conv, size_t bands)
{
    bands = bands < conv->options.bands ? bands : conv->options.bands;
    while (bands > 1 && !conv->banded[bands])
        bands--;
    return bands > 1 ? bands : 1;
}

void efm_conv_forward_band(const struct efm_conv *conv, size_t slot, const void *source, void *out,
                           size_t band, size_t bands)
{
    if (bands < 2 || bands > conv->options.bands || !conv->banded[bands]) {
        if (band == 0)
            efm_conv_forward(conv, slot, source, out, 1);
        return;
    }
    size_t first = conv_band_start(conv, band, bands), row;
    struct conv_geometry wanted = conv_band_geometry(conv, band, bands, &row);
    run_rows(conv, conv_find_geometry(conv, &wanted), slot, source, out, first, row);
}

void efm_conv_backward_data(const struct efm_conv *conv, size_t slot, const void *out_gradient,
                            void *source_gradient, size_t images)
{
    size_t from = conv->out_height * conv->out_row, to = conv->options.height * conv->source_row;
    for (size_t i = 0; i < images; i++) {
        char *gradient = (char *)source_gradient + i * to;
        if (!run_pass(conv, &conv->geometries[0], DNN_BACKWARD_DATA, slot, gradient,
                      (const char *)out_gradient + i * from))
            dnn_fill_nan(gradient, to);
    }
}

void efm_conv_backward_weights(const struct efm_conv *conv, size_t slot, const void *source,
                               const void *out_gradient, size_t images)
{
    void *gradient = conv->dnn.slots[slot].gradient_data;
    if (images == 0)
        memset(gradient, 0, conv->gradient_size);
    else if (images > conv->options.images ||
             !run_pass(conv, &conv->geometries[images - 1], DNN_BACKWARD_WEIGHTS, slot, source, out_gradient))
        dnn_fill_nan(gradient, conv->gradient_size);
}

EFM_CLONES
static void add_floats(float *sum, const float *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++)
        sum[i] += x[i];
}

static bool reorder(const struct efm_conv *conv, enum dnn_pass pass, dnnl_memory_t from, dnnl_memory_t to)
{
    static const int names[] = {DNNL_ARG_FROM, DNNL_ARG_TO, 0};
    dnn_be_single_threaded();
    return dnn_run(&conv->dnn, 0, conv->reorders[pass], names, from, to, NULL);
}

void efm_conv_collect_gradient(const struct efm_conv *conv, size_t slots, float *gradient)
{
    for (size_t i = 1; i < slots; i++)
        add_floats(conv->dnn.slots[0].gradient_data, conv->dnn.slots[i].gradient_data,
                   conv->gradient_size / sizeof(float));
    if (!dnn_set_data(conv->parameters, gradient) ||
        !reorder(conv, DNN_BACKWARD_WEIGHTS, conv->dnn.slots[0].gradient, conv->parameters))
        dnn_fill_nan(gradient, conv->weight_count * sizeof *gradient);
}

void efm_conv_set_weights(struct efm_conv *conv, const float *weights)
{
    for (enum dnn_pass pass = DNN_FORWARD; pass < DNN_BACKWARD_WEIGHTS; pass++)
        if (conv->reorders[pass] != NULL && (!dnn_set_data(conv->parameters, weights) ||
                                             !reorder(conv, pass, conv->parameters, conv->weights[pass])))
            dnn_fill_nan(conv->weight_data[pass], conv->weight_size[pass]);
}

/* Numbers without a pattern in [-1, 1), in a precision. */
static void fill_scattered(void *values, size_t count, enum efm_precision precision)
{
    uint32_t word = 1;
    for (size_t i = 0; i < count; i++) {
        word = word * 1664525u + 1013904223u;
        float value = (float)(int32_t)word * 0x1p-31f;
        if (precision == EFM_PRECISION_BF16)
            ((uint16_t *)values)[i] = efm_bf16(value);
        else
            ((float *)values)[i] = value;
    }
}

/* Does this band give the bytes of the whole image? Every geometry is tried once. */
static bool band_is_same(const struct efm_conv *conv, size_t band, size_t bands, const void *source,
                         const char *whole, char *out)
{
    size_t first = conv_band_start(conv, band, bands), row;
    struct conv_geometry wanted = conv_band_geometry(conv, band, bands, &row);
    struct conv_geometry *g = conv_find_geometry(conv, &wanted);
    if (g->bytes == CONV_UNTRIED) {
        run_rows(conv, g, 0, source, out, first, row);
        size_t from = first * conv->out_row;
        g->bytes =
            memcmp(out + from, whole + from, g->out_rows * conv->out_row) == 0 ? CONV_SAME : CONV_DIFFERENT;
    }
    return g->bytes == CONV_SAME;
}

bool conv_check_bands(struct efm_conv *conv)
{
    const struct efm_conv_options *o = &conv->options;
    if (o->bands < 2)
        return true;
    size_t source_size = o->height * conv->source_row, out_size = conv->out_height * conv->out_row;
    float *weights = efm_allocate_array(conv->weight_count, sizeof *weights);
    char *source = efm_allocate(source_size), *whole = efm_allocate(out_size), *out = efm_allocate(out_size);
    bool good = weights != NULL && source != NULL && whole != NULL && out != NULL;
    if (good) {
        fill_scattered(weights, conv->weight_count, EFM_PRECISION_F32);
        fill_scattered(source, source_size / dnn_element_size(o->precision), o->precision);
        efm_conv_set_weights(conv, weights);
        efm_conv_forward(conv, 0, source, whole, 1);
        for (size_t n = 2; n <= o->bands; n++)
            for (size_t band = 0; band < n && (band == 0 || conv->banded[n]); band++)
                conv->banded[n] = band_is_same(conv, band, n, source, whole, out);
    } else {
        efm_error_set(&conv->dnn.failure, EFM_E_MEMORY, "no memory to try the bands of a convolution");
    }
    efm_free(weights);
    efm_free(source);
    efm_free(whole);
    efm_free(out);
    return good;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double efm_conv_time(const struct efm_conv *conv, size_t repeats)
{
    const struct efm_conv_options *o = &conv->options;
    size_t size = o->height * conv->source_row;
    void *source = efm_allocate(size), *out = efm_allocate(conv->out_height * conv->out_row);
    double best = 0;
    if (source != NULL && out != NULL) {
        fill_scattered(source, size / dnn_element_size(o->precision), o->precision);
        for (size_t i = 0; i < repeats; i++) {
            double start = seconds();
            efm_conv_forward(conv, 0, source, out, 1);
            double taken = seconds() - start;
            best = i == 0 || taken < best ? taken : best;
        }
    }
    efm_free(source);
    efm_free(out);
    return best;
}
