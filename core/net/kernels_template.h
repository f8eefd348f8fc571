/* kernels_template.h - the kernels of one element type and one width of vectors. Only kernels.c includes it, with
 *     KERNEL(name)          name with a suffix of its own for each inclusion
 *     KERNEL_V(name)        the function `name` of these vectors (vectors.h)
 *     KERNEL_VECTOR, KERNEL_LANES, KERNEL_TARGET
 *     KERNEL_ELEMENT, KERNEL_LOAD(p), KERNEL_STORE(p, vector)
 *
 * Kernels without sums go pixel by pixel. Kernels with sums go by blocks of up to four vectors of channels whose sums stay
 * in registers over a row or a tile of pixels; a block is a constant where it is inlined. Every sum runs over the
 * pixels in their order whatever the blocks and tiles. The last `n` channels, fewer than a vector, go through a copy. */
#ifdef KERNEL_ELEMENT

#define E KERNEL_ELEMENT
#define F KERNEL_VECTOR
#define LANES ((size_t)KERNEL_LANES)
#define INLINE KERNEL_TARGET EFM_INLINE
#define FUNCTION KERNEL_TARGET static

/* ---- the first n <= LANES of a vector ---- */

INLINE F KERNEL(get)(const E *p, size_t n)
{
    if (n == LANES)
        return KERNEL_LOAD(p);
    E part[KERNEL_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        part[i] = p[i];
    return KERNEL_LOAD(part);
}

INLINE void KERNEL(put)(E *p, F value, size_t n)
{
    if (n == LANES) {
        KERNEL_STORE(p, value);
        return;
    }
    E part[KERNEL_LANES];
    KERNEL_STORE(part, value);
    for (size_t i = 0; i < n; i++)
        p[i] = part[i];
}

/* The others are set to `rest`. */
INLINE F KERNEL(get_floats)(const float *p, size_t n, float rest)
{
    if (n == LANES)
        return KERNEL_V(load)(p);
    float part[KERNEL_LANES];
    for (size_t i = 0; i < LANES; i++)
        part[i] = i < n ? p[i] : rest;
    return KERNEL_V(load)(part);
}

INLINE void KERNEL(put_floats)(float *p, F value, size_t n)
{
    if (n == LANES) {
        KERNEL_V(store)(p, value);
        return;
    }
    float part[KERNEL_LANES];
    KERNEL_V(store)(part, value);
    for (size_t i = 0; i < n; i++)
        p[i] = part[i];
}

INLINE F KERNEL(get_bytes)(const uint8_t *p, size_t n)
{
    if (n == LANES)
        return KERNEL_V(load_bytes)(p);
    uint8_t part[KERNEL_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        part[i] = p[i];
    return KERNEL_V(load_bytes)(part);
}

/* ---- conversions ---- */

FUNCTION void KERNEL(from_floats)(void *out, const float *in, size_t count)
{
    E *to = out;
    EACH_VECTOR(count, KERNEL(put)(to + c, KERNEL(get_floats)(in + c, n, 0), n))
}

FUNCTION void KERNEL(to_floats)(float *out, const void *in, size_t count)
{
    const E *from = in;
    EACH_VECTOR(count, KERNEL(put_floats)(out + c, KERNEL(get)(from + c, n), n))
}

/* ---- sums and additions ---- */

INLINE void KERNEL(row_sums_block)(const E *x, size_t width, size_t channels, float *sums, size_t c,
                                   size_t vectors, size_t n)
{
    F sum[MOST_VECTORS], square[MOST_VECTORS];
    EFM_UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = square[v] = KERNEL_V(set)(0);
    for (size_t p = 0; p < width; p++)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++)
        {
            F value = KERNEL(get)(x + p * channels + c + v * LANES, n);
            sum[v] += value;
            square[v] = KERNEL_V(fma)(value, value, square[v]);
        }
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        KERNEL(put_floats)(sums + c + v * LANES, sum[v], n);
        KERNEL(put_floats)(sums + channels + c + v * LANES, square[v], n);
    }
}

FUNCTION void KERNEL(row_sums)(const void *x, size_t rows, size_t width, size_t channels, float *sums)
{
    for (size_t row = 0; row < rows; row++) {
        const E *from = (const E *)x + row * width * channels;
        float *to = sums + row * 2 * channels;
        EACH_BLOCK(channels, KERNEL(row_sums_block), from, width, channels, to)
    }
}

INLINE void KERNEL(add_block)(const struct addition *add, size_t c, size_t vectors, size_t n)
{
    F sum[MOST_VECTORS], square[MOST_VECTORS], bias[MOST_VECTORS];
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        sum[v] = square[v] = bias[v] = KERNEL_V(set)(0);
        if (add->bias)
            bias[v] = KERNEL(get_floats)(add->bias + c + v * LANES, n, 0);
    }
    for (size_t p = 0; p < add->width; p++)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++)
        {
            size_t at = p * add->channels + c + v * LANES;
            F value = KERNEL(get)((const E *)add->a + at, n);
            if (add->b)
                value += KERNEL(get)((const E *)add->b + at, n);
            KERNEL(put)((E *)add->out + at, value + bias[v], n);
            if (!add->sums)
                continue;
            value = KERNEL(get)((const E *)add->out + at, n); /* as it was rounded */
            sum[v] += value;
            square[v] = KERNEL_V(fma)(value, value, square[v]);
        }
    if (!add->sums)
        return;
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        KERNEL(put_floats)(add->sums + c + v * LANES, sum[v], n);
        KERNEL(put_floats)(add->sums + add->channels + c + v * LANES, square[v], n);
    }
}

FUNCTION void KERNEL(add)(void *out, const void *a, const void *b, const float *bias, size_t rows,
                          size_t width, size_t channels, float *sums)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width * channels;
        struct addition add = {.out = (E *)out + at,
                               .a = (const E *)a + at,
                               .b = b ? (const E *)b + at : NULL,
                               .bias = bias,
                               .width = width,
                               .channels = channels,
                               .sums = sums ? sums + row * 2 * channels : NULL};
        EACH_BLOCK(channels, KERNEL(add_block), &add)
    }
}

INLINE void KERNEL(channel_sums_block)(const E *x, size_t stride, size_t pixels, float *sums, size_t c,
                                       size_t vectors, size_t n)
{
    F sum[MOST_VECTORS];
    EFM_UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = KERNEL(get_floats)(sums + c + v * LANES, n, 0);
    for (size_t p = 0; p < pixels; p++)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++) sum[v] +=
            KERNEL(get)(x + p * stride + c + v * LANES, n);
    EFM_UNROLL for (size_t v = 0; v < vectors; v++) KERNEL(put_floats)(sums + c + v * LANES, sum[v], n);
}

FUNCTION void KERNEL(channel_sums)(const void *x, size_t stride, size_t pixels, size_t channels, float *sum)
{
    for (size_t first = 0; first < pixels; first += TILE) {
        const E *from = (const E *)x + first * stride;
        size_t count = tile_of(pixels - first);
        EACH_BLOCK(channels, KERNEL(channel_sums_block), from, stride, count, sum)
    }
}

FUNCTION void KERNEL(copy)(void *out, size_t out_stride, const void *in, size_t in_stride, size_t pixels,
                           size_t channels)
{
    if (out_stride == channels && in_stride == channels) {
        memcpy(out, in, pixels * channels * sizeof(E));
        return;
    }
    for (size_t p = 0; p < pixels; p++)
        copy_bytes((E *)out + p * out_stride, (const E *)in + p * in_stride, channels * sizeof(E));
}

FUNCTION void KERNEL(accumulate)(void *out, size_t out_stride, const void *in, size_t in_stride,
                                 size_t pixels, size_t channels)
{
    for (size_t p = 0; p < pixels; p++) {
        E *to = (E *)out + p * out_stride;
        const E *from = (const E *)in + p * in_stride;
        EACH_VECTOR(channels, KERNEL(put)(to + c, KERNEL(get)(to + c, n) + KERNEL(get)(from + c, n), n))
    }
}

/* ---- normalisation ---- */

INLINE void KERNEL(normalise_part)(E *to, const E *x, const struct efm_norm_map *map, const uint8_t *keep,
                                   size_t c, size_t n)
{
    F y = KERNEL_V(fma)(KERNEL(get_floats)(map->scale + c, n, 0), KERNEL(get)(x + c, n),
                        KERNEL(get_floats)(map->shift + c, n, 0));
    if (map->silu)
        y = KERNEL_V(silu)(y);
    if (keep)
        y *= KERNEL(get_bytes)(keep + c, n) * KERNEL_V(set)(map->keep_scale);
    KERNEL(put)(to + c, y, n);
}

FUNCTION void KERNEL(normalise)(void *out, size_t stride, const void *x, size_t pixels, size_t channels,
                                const struct efm_norm_map *map)
{
    const struct efm_norm_map here = *map; /* which no store can change */
    for (size_t p = 0; p < pixels; p++) {
        E *to = (E *)out + p * stride;
        const E *from = (const E *)x + p * channels;
        const uint8_t *keep = here.keep ? here.keep + p * channels : NULL;
        EACH_VECTOR(channels, KERNEL(normalise_part)(to, from, &here, keep, c, n))
    }
}

/* What the backward kernels need of a block of channels. */
struct KERNEL(norm_block) {
    F scale[2], shift[2], keep_scale;
};

INLINE struct KERNEL(norm_block)
    KERNEL(norm_block_of)(const struct efm_norm_map *map, size_t c, size_t vectors, size_t n)
{
    struct KERNEL(norm_block) block;
    block.keep_scale = KERNEL_V(set)(map->keep_scale);
    EFM_UNROLL for (size_t v = 0; v < 2; v++)
    {
        size_t at = v < vectors ? c + v * LANES : c;
        block.scale[v] = KERNEL(get_floats)(map->scale + at, n, 0);
        block.shift[v] = KERNEL(get_floats)(map->shift + at, n, 0);
    }
    return block;
}

/* du of one vector; `keep` of this pixel or NULL. */
INLINE F KERNEL(du_of)(F dy, F x, bool silu, const uint8_t *keep, F keep_scale, F scale, F shift, size_t n)
{
    if (silu)
        dy *= KERNEL_V(silu_slope)(KERNEL_V(fma)(scale, x, shift));
    if (keep)
        dy *= KERNEL(get_bytes)(keep, n) * keep_scale;
    return dy;
}

INLINE void KERNEL(normalise_sums_block)(const struct norm_tile *tile, size_t c, size_t vectors, size_t n)
{
    const struct efm_norm_map *map = tile->map;
    const struct KERNEL(norm_block) block = KERNEL(norm_block_of)(map, c, vectors, n);
    F sum[2], hat_sum[2], hat_scale[2], hat_shift[2];
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        sum[v] = KERNEL(get_floats)(tile->du_sum + c + v * LANES, n, 0);
        hat_sum[v] = KERNEL(get_floats)(tile->du_hat_sum + c + v * LANES, n, 0);
        hat_scale[v] = KERNEL(get_floats)(map->hat_scale + c + v * LANES, n, 0);
        hat_shift[v] = KERNEL(get_floats)(map->hat_shift + c + v * LANES, n, 0);
    }
    for (size_t p = tile->first; p < tile->last; p++)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++)
        {
            size_t at = p * tile->channels + c + v * LANES;
            F x = KERNEL(get)((const E *)tile->x + at, n);
            F dy = KERNEL(get)((const E *)tile->dy + p * tile->stride + c + v * LANES, n);
            F du = KERNEL(du_of)(dy, x, map->silu, map->keep ? map->keep + at : NULL, block.keep_scale,
                                 block.scale[v], block.shift[v], n);
            sum[v] += du;
            hat_sum[v] = KERNEL_V(fma)(du, KERNEL_V(fma)(hat_scale[v], x, hat_shift[v]), hat_sum[v]);
        }
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        KERNEL(put_floats)(tile->du_sum + c + v * LANES, sum[v], n);
        KERNEL(put_floats)(tile->du_hat_sum + c + v * LANES, hat_sum[v], n);
    }
}

FUNCTION void KERNEL(normalise_sums)(const void *dy, size_t stride, const void *x, size_t pixels,
                                     size_t channels, const struct efm_norm_map *map, float *du_sum,
                                     float *du_hat_sum)
{
    const struct efm_norm_map here = *map;
    struct norm_tile tile = {.dy = dy,
                             .x = x,
                             .stride = stride,
                             .channels = channels,
                             .map = &here,
                             .du_sum = du_sum,
                             .du_hat_sum = du_hat_sum};
    for (; tile.first < pixels; tile.first = tile.last) {
        tile.last = tile.first + tile_of(pixels - tile.first);
        EACH_PAIR(channels, KERNEL(normalise_sums_block), &tile)
    }
}

INLINE void KERNEL(normalise_backward_block)(const struct norm_tile *tile, size_t c, size_t vectors, size_t n)
{
    const struct efm_norm_map *map = tile->map;
    const struct KERNEL(norm_block) block = KERNEL(norm_block_of)(map, c, vectors, n);
    F sum[2], du_factor[2], x_factor[2], constant[2];
    EFM_UNROLL for (size_t v = 0; v < vectors; v++)
    {
        size_t at = c + v * LANES;
        sum[v] = KERNEL_V(set)(0);
        if (tile->dx_sum)
            sum[v] = KERNEL(get_floats)(tile->dx_sum + at, n, 0);
        du_factor[v] = KERNEL(get_floats)(tile->slopes->du_factor + at, n, 0);
        x_factor[v] = KERNEL(get_floats)(tile->slopes->x_factor + at, n, 0);
        constant[v] = KERNEL(get_floats)(tile->slopes->constant + at, n, 0);
    }
    for (size_t p = tile->first; p < tile->last; p++)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++)
        {
            size_t at = p * tile->channels + c + v * LANES;
            F x = KERNEL(get)((const E *)tile->x + at, n);
            F dy = KERNEL(get)((const E *)tile->dy + p * tile->stride + c + v * LANES, n);
            F du = KERNEL(du_of)(dy, x, map->silu, map->keep ? map->keep + at : NULL, block.keep_scale,
                                 block.scale[v], block.shift[v], n);
            F dx = KERNEL_V(fma)(du_factor[v], du, KERNEL_V(fma)(x_factor[v], x, constant[v]));
            sum[v] += dx;
            if (tile->add)
                dx += KERNEL(get)((const E *)tile->add + at, n);
            KERNEL(put)((E *)tile->dx + at, dx, n);
        }
    if (tile->dx_sum)
        EFM_UNROLL for (size_t v = 0; v < vectors; v++)
            KERNEL(put_floats)(tile->dx_sum + c + v * LANES, sum[v], n);
}

FUNCTION void KERNEL(normalise_backward)(void *dx, const void *dy, size_t stride, const void *x,
                                         size_t pixels, size_t channels, const struct efm_norm_map *map,
                                         const struct efm_norm_slopes *slopes, const void *add, float *dx_sum)
{
    const struct efm_norm_map here = *map;
    const struct efm_norm_slopes slopes_here = *slopes;
    struct norm_tile tile = {.dy = dy,
                             .x = x,
                             .add = add,
                             .dx = dx,
                             .stride = stride,
                             .channels = channels,
                             .map = &here,
                             .slopes = &slopes_here,
                             .dx_sum = dx_sum};
    for (; tile.first < pixels; tile.first = tile.last) {
        tile.last = tile.first + tile_of(pixels - tile.first);
        EACH_PAIR(channels, KERNEL(normalise_backward_block), &tile)
    }
}

/* ---- resampling ---- */

FUNCTION void KERNEL(upsample)(void *out, const void *x, size_t rows, size_t width, size_t channels)
{
    size_t bytes = channels * sizeof(E);
    for (size_t row = 0; row < rows; row++) {
        char *upper = (char *)out + row * 4 * width * bytes, *lower = upper + 2 * width * bytes;
        const char *from = (const char *)x + row * width * bytes;
        for (size_t p = 0; p < width; p++, from += bytes) {
            copy_bytes(upper + 2 * p * bytes, from, bytes);
            copy_bytes(upper + (2 * p + 1) * bytes, from, bytes);
            copy_bytes(lower + 2 * p * bytes, from, bytes);
            copy_bytes(lower + (2 * p + 1) * bytes, from, bytes);
        }
    }
}

FUNCTION void KERNEL(upsample_backward)(void *dx, const void *dy, size_t rows, size_t width, size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t p = 0; p < width; p++) {
            E *to = (E *)dx + (row * width + p) * channels;
            const E *upper = (const E *)dy + (row * 4 * width + 2 * p) * channels;
            const E *lower = upper + 2 * width * channels;
            EACH_VECTOR(channels,
                        KERNEL(put)(to + c,
                                    (KERNEL(get)(upper + c, n) + KERNEL(get)(upper + channels + c, n)) +
                                        (KERNEL(get)(lower + c, n) + KERNEL(get)(lower + channels + c, n)),
                                    n))
        }
}

/* ---- softmax ---- */

/* e^(scale (score - top)) of a vector, scale > 0; nothing for the columns behind the end, where score is -FLT_MAX. */
INLINE F KERNEL(softmax_part)(const float *scores, size_t c, size_t n, F scale, F top)
{
    F below = (top - KERNEL(get_floats)(scores + c, n, -FLT_MAX)) * scale;
    return KERNEL_V(exp_minus)(KERNEL_V(min)(KERNEL_V(set)(87), below));
}

INLINE void KERNEL(softmax_row)(E *p, const float *scores, size_t columns, F scale)
{
    F top = KERNEL_V(set)(scores[0]), sum = KERNEL_V(set)(0);
    EACH_VECTOR(columns, top = KERNEL_V(max)(top, KERNEL(get_floats)(scores + c, n, -FLT_MAX)))
    float lanes[KERNEL_LANES], most;
    KERNEL_V(store)(lanes, top);
    most = lanes[0];
    for (size_t i = 1; i < LANES; i++)
        most = most > lanes[i] ? most : lanes[i];
    top = KERNEL_V(set)(most);
    EACH_VECTOR(columns, sum += KERNEL(softmax_part)(scores, c, n, scale, top))
    F factor = KERNEL_V(set)(1 / KERNEL_V(sum)(sum));
    EACH_VECTOR(columns, KERNEL(put)(p + c, KERNEL(softmax_part)(scores, c, n, scale, top) * factor, n))
}

FUNCTION void KERNEL(softmax)(void *p, const float *scores, size_t rows, size_t columns, float scale)
{
    for (size_t row = 0; row < rows; row++)
        KERNEL(softmax_row)((E *)p + row * columns, scores + row * columns, columns, KERNEL_V(set)(scale));
}

FUNCTION void KERNEL(softmax_backward)(void *dscores, const void *p, const float *dp, size_t rows,
                                       size_t columns, float scale)
{
    for (size_t row = 0; row < rows; row++) {
        const E *from = (const E *)p + row * columns;
        const float *slope = dp + row * columns;
        E *to = (E *)dscores + row * columns;
        F sum = KERNEL_V(set)(0);
        EACH_VECTOR(columns,
                    sum = KERNEL_V(fma)(KERNEL(get)(from + c, n), KERNEL(get_floats)(slope + c, n, 0), sum))
        F mean = KERNEL_V(set)(KERNEL_V(sum)(sum)), factor = KERNEL_V(set)(scale);
        EACH_VECTOR(
            columns,
            KERNEL(put)(to + c,
                        KERNEL(get)(from + c, n) * factor * (KERNEL(get_floats)(slope + c, n, 0) - mean), n))
    }
}

static const struct efm_net_kernels KERNEL(kernels) = {
    .element = sizeof(E),
    .from_floats = KERNEL(from_floats),
    .to_floats = KERNEL(to_floats),
    .row_sums = KERNEL(row_sums),
    .add = KERNEL(add),
    .normalise = KERNEL(normalise),
    .normalise_sums = KERNEL(normalise_sums),
    .normalise_backward = KERNEL(normalise_backward),
    .upsample = KERNEL(upsample),
    .upsample_backward = KERNEL(upsample_backward),
    .softmax = KERNEL(softmax),
    .softmax_backward = KERNEL(softmax_backward),
    .channel_sums = KERNEL(channel_sums),
    .copy = KERNEL(copy),
    .accumulate = KERNEL(accumulate),
};

#undef E
#undef F
#undef LANES
#undef INLINE
#undef FUNCTION
#undef KERNEL
#undef KERNEL_ELEMENT
#undef KERNEL_LOAD
#undef KERNEL_STORE
#endif
