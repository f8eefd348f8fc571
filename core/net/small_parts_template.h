/* small_parts_template.h - dense layers, SiLU and dropout for one width of vectors. Only small_parts.c includes it, with
 *     PARTS(name)        name with a suffix of its own for each inclusion
 *     PARTS_V(name)      the function `name` of these vectors (vectors.h)
 *     PARTS_VECTOR, PARTS_LANES, PARTS_TARGET
 *     PARTS_ROWS, PARTS_SAMPLES   rows of weights and samples of one tile, whose sums fit into the registers
 *
 * A dot product is 16 partial sums, number i over the places i, i + 16, ..., added up by halves: the same in every tile. */
#ifdef PARTS

#define F PARTS_VECTOR
#define LANES ((size_t)PARTS_LANES)
#define INLINE PARTS_TARGET EFM_INLINE
#define FUNCTION PARTS_TARGET static

INLINE float PARTS(sum)(const F *part)
{
    F half[PARTIAL / PARTS_LANES];
    EFM_UNROLL for (size_t v = 0; v < PARTIAL / LANES; v++) half[v] = part[v];
    EFM_UNROLL for (size_t count = PARTIAL / LANES / 2; count > 0; count /= 2)
        EFM_UNROLL for (size_t v = 0; v < count; v++) half[v] += half[v + count];
    return PARTS_V(sum)(half[0]);
}

/* sum[row][sample] += over PARTIAL terms. */
INLINE void PARTS(multiply)(F sum[PARTS_ROWS][PARTS_SAMPLES][PARTIAL / PARTS_LANES], const float *w,
                            size_t w_step, const float *x, size_t x_step, size_t rows, size_t samples)
{
    EFM_UNROLL for (size_t v = 0; v < PARTIAL / LANES; v++)
    {
        F lanes[PARTS_SAMPLES];
        EFM_UNROLL for (size_t s = 0; s < samples; s++) lanes[s] = PARTS_V(load)(x + s * x_step + v * LANES);
        EFM_UNROLL for (size_t r = 0; r < rows; r++)
        {
            F weights = PARTS_V(load)(w + r * w_step + v * LANES);
            EFM_UNROLL for (size_t s = 0; s < samples; s++) sum[r][s][v] =
                PARTS_V(fma)(weights, lanes[s], sum[r][s][v]);
        }
    }
}

INLINE void PARTS(tile)(const struct efm_dense_layer *layer, size_t row, size_t sample, size_t rows,
                        size_t samples)
{
    F sum[PARTS_ROWS][PARTS_SAMPLES][PARTIAL / PARTS_LANES];
    const size_t k = layer->k, whole = k - k % PARTIAL;
    const float *w = layer->weights + row * k, *x = layer->x + sample * k;
    EFM_UNROLL for (size_t r = 0; r < rows; r++) EFM_UNROLL for (size_t s = 0; s < samples; s++)
        EFM_UNROLL for (size_t v = 0; v < PARTIAL / LANES; v++) sum[r][s][v] = PARTS_V(set)(0);
    for (size_t i = 0; i < whole; i += PARTIAL)
        PARTS(multiply)(sum, w + i, k, x + i, k, rows, samples);
    if (whole < k) {
        float w_rest[PARTS_ROWS * PARTIAL] = {0}, x_rest[PARTS_SAMPLES * PARTIAL] = {0};
        for (size_t r = 0; r < rows; r++)
            memcpy(w_rest + r * PARTIAL, w + r * k + whole, (k - whole) * sizeof *w);
        for (size_t s = 0; s < samples; s++)
            memcpy(x_rest + s * PARTIAL, x + s * k + whole, (k - whole) * sizeof *x);
        PARTS(multiply)(sum, w_rest, PARTIAL, x_rest, PARTIAL, rows, samples);
    }
    EFM_UNROLL for (size_t r = 0; r < rows; r++) EFM_UNROLL for (size_t s = 0; s < samples; s++)
    {
        float bias = layer->bias ? layer->bias[row + r] : 0;
        layer->out[(sample + s) * layer->m + row + r] = PARTS(sum)(sum[r][s]) + bias;
    }
}

/* Rows of weights stay in the nearest cache over all samples. */
FUNCTION void PARTS(dense)(const struct efm_dense_layer *layer, size_t first, size_t last)
{
    size_t row = first;
    for (; row + PARTS_ROWS <= last; row += PARTS_ROWS) {
        size_t sample = 0;
        for (; sample + PARTS_SAMPLES <= layer->count; sample += PARTS_SAMPLES)
            PARTS(tile)(layer, row, sample, PARTS_ROWS, PARTS_SAMPLES);
        for (; sample < layer->count; sample++)
            PARTS(tile)(layer, row, sample, PARTS_ROWS, 1);
    }
    for (; row < last; row++)
        for (size_t sample = 0; sample < layer->count; sample++)
            PARTS(tile)(layer, row, sample, 1, 1);
}

FUNCTION void PARTS(silu)(float *y, const float *x, size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        PARTS_V(store)(y + i, PARTS_V(silu)(PARTS_V(load)(x + i)));
    if (i < count) {
        float rest[PARTS_LANES] = {0};
        memcpy(rest, x + i, (count - i) * sizeof *x);
        PARTS_V(store)(rest, PARTS_V(silu)(PARTS_V(load)(rest)));
        memcpy(y + i, rest, (count - i) * sizeof *y);
    }
}

FUNCTION void PARTS(silu_backward)(float *dx, const float *dy, const float *x, size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        F slope = PARTS_V(silu_slope)(PARTS_V(load)(x + i));
        PARTS_V(store)(dx + i, PARTS_V(load)(dy + i) * slope);
    }
    if (i < count) {
        float rest[PARTS_LANES] = {0};
        memcpy(rest, x + i, (count - i) * sizeof *x);
        PARTS_V(store)(rest, PARTS_V(silu_slope)(PARTS_V(load)(rest)));
        for (size_t j = i; j < count; j++)
            dx[j] = dy[j] * rest[j - i];
    }
}

/* 32-bit arithmetic alone, which every processor does in vectors: a finaliser of two multiplications with half of the
 * key before each. Constants: C. Wellons, "hash-prospector", lowbias32. */
FUNCTION void PARTS(keep)(uint8_t *restrict keep, size_t count, uint32_t first, uint64_t key,
                          uint32_t threshold)
{
    const uint32_t before = (uint32_t)key, between = (uint32_t)(key >> 32);
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        uint32_t x = first + (uint32_t)i + before;
        x = (x ^ x >> 16) * 0x7feb352du;
        x = ((x ^ x >> 15) + between) * 0x846ca68bu;
        keep[i] = x >= threshold;
    }
}

static const struct efm_small_parts PARTS(parts) = {PARTS(dense), PARTS(silu), PARTS(silu_backward),
                                                    PARTS(keep)};

#undef F
#undef LANES
#undef INLINE
#undef FUNCTION
#undef PARTS
#undef PARTS_V
#undef PARTS_VECTOR
#undef PARTS_LANES
#undef PARTS_TARGET
#undef PARTS_ROWS
#undef PARTS_SAMPLES
#endif
