/* reference_kernels_template.h - the plain twins of one element type. Only reference_kernels.c includes it, with
 * TWIN(name), TWIN_ELEMENT, TWIN_GET(element) and TWIN_PUT(number). */
#ifdef TWIN

#define E TWIN_ELEMENT

static double TWIN(get)(const void *x, size_t i)
{
    return (double)TWIN_GET(((const E *)x)[i]);
}

static void TWIN(put)(void *x, size_t i, double value)
{
    ((E *)x)[i] = TWIN_PUT((float)value);
}

static void TWIN(from_floats)(void *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((E *)out)[i] = TWIN_PUT(in[i]);
}

static void TWIN(to_floats)(float *out, const void *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = TWIN_GET(((const E *)in)[i]);
}

static void TWIN(row_sums)(const void *x, size_t rows, size_t width, size_t channels, float *sums)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < channels; c++) {
            double sum = 0, square = 0;
            for (size_t p = 0; p < width; p++) {
                double value = TWIN(get)(x, (row * width + p) * channels + c);
                sum += value;
                square += value * value;
            }
            sums[row * 2 * channels + c] = (float)sum;
            sums[(row * 2 + 1) * channels + c] = (float)square;
        }
}

static void TWIN(add)(void *out, const void *a, const void *b, const float *bias, size_t rows, size_t width,
                      size_t channels, float *sums)
{
    for (size_t i = 0; i < rows * width * channels; i++) {
        double value = TWIN(get)(a, i);
        if (b)
            value += TWIN(get)(b, i);
        if (bias)
            value += (double)bias[i % channels];
        TWIN(put)(out, i, value);
    }
    if (sums)
        TWIN(row_sums)(out, rows, width, channels, sums);
}

static void TWIN(normalise)(void *out, size_t stride, const void *x, size_t pixels, size_t channels,
                            const struct efm_norm_map *map)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < channels; c++) {
            size_t i = p * channels + c;
            double u = (double)map->scale[c] * TWIN(get)(x, i) + (double)map->shift[c];
            double y = map->silu ? silu(u) : u;
            TWIN(put)(out, p * stride + c, y * kept(map, i));
        }
}

static double TWIN(du)(const void *dy, size_t stride, const void *x, size_t channels,
                       const struct efm_norm_map *map, size_t p, size_t c)
{
    size_t i = p * channels + c;
    double u = (double)map->scale[c] * TWIN(get)(x, i) + (double)map->shift[c];
    return TWIN(get)(dy, p * stride + c) * kept(map, i) * (map->silu ? silu_slope(u) : 1);
}

static void TWIN(normalise_sums)(const void *dy, size_t stride, const void *x, size_t pixels, size_t channels,
                                 const struct efm_norm_map *map, float *du_sum, float *du_hat_sum)
{
    for (size_t c = 0; c < channels; c++) {
        double sum = (double)du_sum[c], hat_sum = (double)du_hat_sum[c];
        for (size_t p = 0; p < pixels; p++) {
            double du = TWIN(du)(dy, stride, x, channels, map, p, c);
            double hat = (double)map->hat_scale[c] * TWIN(get)(x, p * channels + c);
            sum += du;
            hat_sum += du * (hat + (double)map->hat_shift[c]);
        }
        du_sum[c] = (float)sum;
        du_hat_sum[c] = (float)hat_sum;
    }
}

static void TWIN(normalise_backward)(void *dx, const void *dy, size_t stride, const void *x, size_t pixels,
                                     size_t channels, const struct efm_norm_map *map,
                                     const struct efm_norm_slopes *slopes, const void *add, float *dx_sum)
{
    for (size_t c = 0; c < channels; c++) {
        double sum = dx_sum ? (double)dx_sum[c] : 0;
        for (size_t p = 0; p < pixels; p++) {
            size_t i = p * channels + c;
            double value = (double)slopes->du_factor[c] * TWIN(du)(dy, stride, x, channels, map, p, c) +
                           (double)slopes->x_factor[c] * TWIN(get)(x, i) + (double)slopes->constant[c];
            sum += value;
            TWIN(put)(dx, i, value + (add ? TWIN(get)(add, i) : 0));
        }
        if (dx_sum)
            dx_sum[c] = (float)sum;
    }
}

/* Place of pixel (2 row + i / 2, 2 p + i % 2) of the larger side. */
static size_t TWIN(corner)(size_t row, size_t p, size_t i, size_t width, size_t channels)
{
    return ((2 * row + i / 2) * 2 * width + 2 * p + i % 2) * channels;
}

static void TWIN(upsample)(void *out, const void *x, size_t rows, size_t width, size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t p = 0; p < width; p++)
            for (size_t i = 0; i < 4; i++)
                for (size_t c = 0; c < channels; c++)
                    ((E *)out)[TWIN(corner)(row, p, i, width, channels) + c] =
                        ((const E *)x)[(row * width + p) * channels + c];
}

static void TWIN(upsample_backward)(void *dx, const void *dy, size_t rows, size_t width, size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t p = 0; p < width; p++)
            for (size_t c = 0; c < channels; c++) {
                double sum = 0;
                for (size_t i = 0; i < 4; i++)
                    sum += TWIN(get)(dy, TWIN(corner)(row, p, i, width, channels) + c);
                TWIN(put)(dx, (row * width + p) * channels + c, sum);
            }
}

static void TWIN(softmax)(void *p, const float *scores, size_t rows, size_t columns, float scale)
{
    for (size_t row = 0; row < rows; row++, scores += columns) {
        double top = -INFINITY, sum = 0;
        for (size_t i = 0; i < columns; i++)
            top = fmax(top, (double)scale * (double)scores[i]);
        for (size_t i = 0; i < columns; i++)
            sum += exp((double)scale * (double)scores[i] - top);
        for (size_t i = 0; i < columns; i++)
            TWIN(put)(p, row * columns + i, exp((double)scale * (double)scores[i] - top) / sum);
    }
}

static void TWIN(softmax_backward)(void *dscores, const void *p, const float *dp, size_t rows, size_t columns,
                                   float scale)
{
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * columns;
        double mean = 0;
        for (size_t i = first; i < first + columns; i++)
            mean += (double)dp[i] * TWIN(get)(p, i);
        for (size_t i = first; i < first + columns; i++)
            TWIN(put)(dscores, i, (double)scale * TWIN(get)(p, i) * ((double)dp[i] - mean));
    }
}

static void TWIN(channel_sums)(const void *x, size_t stride, size_t pixels, size_t channels, float *sum)
{
    for (size_t c = 0; c < channels; c++) {
        double total = (double)sum[c];
        for (size_t p = 0; p < pixels; p++)
            total += TWIN(get)(x, p * stride + c);
        sum[c] = (float)total;
    }
}

static void TWIN(copy)(void *out, size_t out_stride, const void *in, size_t in_stride, size_t pixels,
                       size_t channels)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < channels; c++)
            ((E *)out)[p * out_stride + c] = ((const E *)in)[p * in_stride + c];
}

static void TWIN(accumulate)(void *out, size_t out_stride, const void *in, size_t in_stride, size_t pixels,
                             size_t channels)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < channels; c++) {
            size_t i = p * out_stride + c;
            TWIN(put)(out, i, TWIN(get)(out, i) + TWIN(get)(in, p * in_stride + c));
        }
}

static const struct efm_net_kernels TWIN(twins) = {
    .element = sizeof(E),
    .from_floats = TWIN(from_floats),
    .to_floats = TWIN(to_floats),
    .row_sums = TWIN(row_sums),
    .add = TWIN(add),
    .normalise = TWIN(normalise),
    .normalise_sums = TWIN(normalise_sums),
    .normalise_backward = TWIN(normalise_backward),
    .upsample = TWIN(upsample),
    .upsample_backward = TWIN(upsample_backward),
    .softmax = TWIN(softmax),
    .softmax_backward = TWIN(softmax_backward),
    .channel_sums = TWIN(channel_sums),
    .copy = TWIN(copy),
    .accumulate = TWIN(accumulate),
};

#undef E
#undef TWIN
#undef TWIN_ELEMENT
#undef TWIN_GET
#undef TWIN_PUT
#endif
