// SPDX-License-Identifier: Apache-2.0
/* Every kernel of every instruction set against its plain twin, on random shapes; bands, work in place and extremes. */
#include "core/base/random.h"
#include "core/net/vectors.h"
#include "tests/support/check.h"
#include "tests/unit/net/failures.h"

#include <math.h>
#include <stdlib.h>

static struct efm_random stream;

static double uniform(void)
{
    return efm_random_uniform(&stream);
}

/* ---- what the kernels are tried on ---- */

static const size_t all_channels[] = {1, 3, 5, 31, 32, 33, 96, 128};
enum { CHANNELS = sizeof all_channels / sizeof all_channels[0], GAP = 7 };

struct trial {
    const struct efm_net_kernels *fast, *twin;
    enum efm_precision precision;
    enum efm_vector_set set;
    size_t rows, width, pixels, channels, stride;
};

typedef void body(const struct trial *trial);

/* Calls body for both types of elements, every instruction set of this processor and all channels. */
static void try_all(body *run)
{
    efm_random_init(&stream, 5, 0, EFM_RANDOM_TEST);
    for (int set = 0; set < EFM_VECTOR_SETS; set++)
        for (int precision = EFM_PRECISION_F32; precision <= EFM_PRECISION_BF16; precision++)
            for (size_t i = 0; i < CHANNELS; i++) {
                struct trial trial = {.precision = (enum efm_precision)precision,
                                      .set = (enum efm_vector_set)set,
                                      .channels = all_channels[i]};
                trial.fast = efm_net_kernels_of(trial.set, trial.precision);
                trial.twin = efm_net_reference_kernels(trial.precision);
                if (!trial.fast)
                    continue;
                trial.rows = 1 + efm_random_below(&stream, 5);
                trial.width = 4 + efm_random_below(&stream, 30);
                trial.pixels = trial.rows * trial.width;
                trial.stride = trial.channels + (i % 2 ? GAP : 0);
                run(&trial);
            }
}

static void *block(size_t count, size_t size)
{
    void *memory = malloc(count * size); /* exactly, so that a sanitizer sees every step too far */
    assert_non_null(memory);
    return memory;
}

static float *floats(size_t count, double low, double high)
{
    float *x = block(count, sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(low + (high - low) * uniform());
    return x;
}

static void *elements(const struct trial *trial, size_t count)
{
    float *x = floats(count, -2, 2);
    void *out = block(count, trial->twin->element);
    trial->twin->from_floats(out, x, count);
    free(x);
    return out;
}

static void *copy_of(const void *x, size_t bytes)
{
    void *out = block(bytes, 1);
    memcpy(out, x, bytes);
    return out;
}

/* ---- comparisons ---- */

static const char *word_of(const struct trial *trial)
{
    return trial->precision == EFM_PRECISION_BF16 ? "bf16" : "f32";
}

static void check_close(const struct trial *trial, const char *what, const float *found,
                        const float *expected, size_t count, double ulp)
{
    double largest = 1e-30;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)expected[i]));
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)found[i] - (double)expected[i]);
        if (!(error <= 2e-6 * largest + ulp * fabs((double)expected[i])))
            fail_msg("%s, set %d, %s, %zu channels: [%zu] is %.9g, not %.9g (largest %g)", what,
                     (int)trial->set, word_of(trial), trial->channels, i, (double)found[i],
                     (double)expected[i], largest);
    }
}

static void check_elements(const struct trial *trial, const char *what, const void *found,
                           const void *expected, size_t count)
{
    float *a = block(count, sizeof *a), *b = block(count, sizeof *b);
    trial->twin->to_floats(a, found, count);
    trial->twin->to_floats(b, expected, count);
    check_close(trial, what, a, b, count, trial->precision == EFM_PRECISION_BF16 ? 0x1p-7 : 0);
    free(a);
    free(b);
}

/* A sum may cancel, so it is the sum of sizes that its error is held against. */
static void check_sums(const struct trial *trial, const char *what, const float *found, const float *expected,
                       size_t count, double terms)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) < 2e-7 * terms))
            fail_msg("%s, set %d, %s, %zu channels: sum [%zu] is %.9g, not %.9g", what, (int)trial->set,
                     word_of(trial), trial->channels, i, (double)found[i], (double)expected[i]);
}

/* ---- norm maps ---- */

struct maps {
    float *numbers; /* owned */
    uint8_t *keep;  /* owned */
    struct efm_norm_map map;
    struct efm_norm_slopes slopes;
};

static struct maps maps_of(const struct trial *trial, bool silu, bool dropout)
{
    size_t n = trial->channels;
    struct maps maps = {.numbers = floats(7 * n, -2, 2), .keep = block(trial->pixels * n, 1)};
    for (size_t i = 0; i < trial->pixels * n; i++)
        maps.keep[i] = uniform() > 0.3;
    const float *x = maps.numbers;
    maps.map = (struct efm_norm_map){.scale = x,
                                     .shift = x + n,
                                     .hat_scale = x + 2 * n,
                                     .hat_shift = x + 3 * n,
                                     .silu = silu,
                                     .keep = dropout ? maps.keep : NULL,
                                     .keep_scale = dropout ? 1 / 0.7f : NAN};
    maps.slopes = (struct efm_norm_slopes){x + 4 * n, x + 5 * n, x + 6 * n};
    return maps;
}

static void maps_release(struct maps *maps)
{
    free(maps->numbers);
    free(maps->keep);
}

/* ---- kernels against twins ---- */

static void conversions(const struct trial *trial)
{
    size_t count = trial->pixels * trial->channels;
    float *x = floats(count, -3, 3), *back = block(count, sizeof *back);
    void *a = block(count, trial->fast->element), *b = block(count, trial->fast->element);
    trial->fast->from_floats(a, x, count);
    trial->twin->from_floats(b, x, count);
    assert_memory_equal(a, b, count * trial->fast->element);
    trial->fast->to_floats(back, a, count);
    trial->twin->to_floats(x, b, count);
    assert_memory_equal(back, x, count * sizeof *x);
    free(x), free(back), free(a), free(b);
}

static void row_sums(const struct trial *trial)
{
    size_t count = trial->rows * 2 * trial->channels, row = trial->width * trial->channels;
    char *x = elements(trial, trial->pixels * trial->channels);
    float *found = block(count, sizeof *found), *expected = block(count, sizeof *found);
    trial->fast->row_sums(x, trial->rows, trial->width, trial->channels, found);
    trial->twin->row_sums(x, trial->rows, trial->width, trial->channels, expected);
    check_sums(trial, "row_sums", found, expected, count, 4 * (double)trial->width);
    for (size_t r = 0; r < trial->rows; r++) {
        trial->fast->row_sums(x + r * row * trial->fast->element, 1, trial->width, trial->channels, expected);
        assert_memory_equal(found + r * 2 * trial->channels, expected, 2 * trial->channels * sizeof *found);
    }
    free(x), free(found), free(expected);
}

/* All ways to leave something out, into new memory and into each operand. */
static void add_once(const struct trial *trial, bool with_b, bool with_bias, bool with_sums, int place)
{
    size_t count = trial->pixels * trial->channels, bytes = count * trial->fast->element;
    size_t sums = trial->rows * 2 * trial->channels;
    void *a = elements(trial, count), *b = elements(trial, count), *expected = block(bytes, 1);
    void *fresh = block(bytes, 1), *out = place == 0 ? fresh : place == 1 ? a : b;
    float *bias = floats(trial->channels, -1, 1), *found = block(sums, sizeof *found);
    float *again = block(sums, sizeof *found);
    trial->twin->add(expected, a, with_b ? b : NULL, with_bias ? bias : NULL, trial->rows, trial->width,
                     trial->channels, NULL);
    trial->fast->add(out, a, with_b ? b : NULL, with_bias ? bias : NULL, trial->rows, trial->width,
                     trial->channels, with_sums ? found : NULL);
    check_elements(trial, "add", out, expected, count);
    if (with_sums) {
        trial->fast->row_sums(out, trial->rows, trial->width, trial->channels, again);
        assert_memory_equal(found, again, sums * sizeof *found);
    }
    free(a), free(b), free(expected), free(fresh), free(bias), free(found), free(again);
}

static void add(const struct trial *trial)
{
    for (int flags = 0; flags < 8; flags++)
        for (int place = 0; place < (flags & 1 ? 3 : 2); place++)
            add_once(trial, flags & 1, flags & 2, flags & 4, place);
}

static void normalise_once(const struct trial *trial, bool silu, bool dropout)
{
    size_t count = trial->pixels * trial->channels, out_count = trial->pixels * trial->stride;
    size_t size = trial->fast->element, band = trial->pixels / 3;
    struct maps maps = maps_of(trial, silu, dropout);
    void *x = elements(trial, count), *expected = elements(trial, out_count);
    char *found = copy_of(expected, out_count * size), *bands = copy_of(expected, out_count * size);
    trial->twin->normalise(expected, trial->stride, x, trial->pixels, trial->channels, &maps.map);
    trial->fast->normalise(found, trial->stride, x, trial->pixels, trial->channels, &maps.map);
    check_elements(trial, "normalise", found, expected, out_count); /* and what lies between was left alone */
    trial->fast->normalise(bands, trial->stride, x, band, trial->channels, &maps.map);
    if (dropout)
        maps.map.keep += band * trial->channels;
    trial->fast->normalise(bands + band * trial->stride * size, trial->stride,
                           (char *)x + band * trial->channels * size, trial->pixels - band, trial->channels,
                           &maps.map);
    assert_memory_equal(bands, found, out_count * size);
    free(x), free(expected), free(found), free(bands);
    maps_release(&maps);
}

static void normalise(const struct trial *trial)
{
    for (int flags = 0; flags < 4; flags++)
        normalise_once(trial, flags & 1, flags & 2);
}

static void normalise_sums_once(const struct trial *trial, bool silu, bool dropout)
{
    size_t n = trial->channels, band = trial->pixels / 3, size = trial->fast->element;
    struct maps maps = maps_of(trial, silu, dropout);
    char *x = elements(trial, trial->pixels * n), *dy = elements(trial, trial->pixels * trial->stride);
    float *expected = floats(2 * n, -1, 1), *found = copy_of(expected, 2 * n * sizeof *found);
    float *bands = copy_of(expected, 2 * n * sizeof *found);
    const struct efm_net_kernels *fast = trial->fast;
    trial->twin->normalise_sums(dy, trial->stride, x, trial->pixels, n, &maps.map, expected, expected + n);
    fast->normalise_sums(dy, trial->stride, x, trial->pixels, n, &maps.map, found, found + n);
    check_sums(trial, "normalise_sums", found, expected, 2 * n, 20 * (double)trial->pixels);
    fast->normalise_sums(dy, trial->stride, x, band, n, &maps.map, bands, bands + n);
    if (dropout)
        maps.map.keep += band * n;
    fast->normalise_sums(dy + band * trial->stride * size, trial->stride, x + band * n * size,
                         trial->pixels - band, n, &maps.map, bands, bands + n);
    assert_memory_equal(bands, found, 2 * n * sizeof *found);
    free(x), free(dy), free(expected), free(found), free(bands);
    maps_release(&maps);
}

static void normalise_sums(const struct trial *trial)
{
    for (int flags = 0; flags < 4; flags++)
        normalise_sums_once(trial, flags & 1, flags & 2);
}

/* how: 0 without `add`, 1 with, 2 into itself. */
static void normalise_backward_once(const struct trial *trial, bool silu, bool dropout, int how, bool sums)
{
    size_t n = trial->channels, count = trial->pixels * n, size = trial->fast->element,
           band = trial->pixels / 2;
    struct maps maps = maps_of(trial, silu, dropout);
    char *x = elements(trial, count), *dy = elements(trial, trial->pixels * trial->stride);
    char *start = elements(trial, count), *expected = copy_of(start, count * size);
    char *found = copy_of(start, count * size), *bands = copy_of(start, count * size);
    float *sum0 = floats(n, -1, 1), *sum1 = copy_of(sum0, n * sizeof *sum0),
          *sum2 = copy_of(sum0, n * sizeof *sum0);
    const struct efm_net_kernels *fast = trial->fast;
    trial->twin->normalise_backward(expected, dy, trial->stride, x, trial->pixels, n, &maps.map, &maps.slopes,
                                    how ? start : NULL, sums ? sum0 : NULL);
    fast->normalise_backward(found, dy, trial->stride, x, trial->pixels, n, &maps.map, &maps.slopes,
                             how == 2 ? found
                             : how    ? start
                                      : NULL,
                             sums ? sum1 : NULL);
    check_elements(trial, "normalise_backward", found, expected, count);
    check_sums(trial, "normalise_backward", sum1, sum0, n, 20 * (double)trial->pixels);
    fast->normalise_backward(bands, dy, trial->stride, x, band, n, &maps.map, &maps.slopes,
                             how ? start : NULL, sums ? sum2 : NULL);
    if (dropout)
        maps.map.keep += band * n;
    size_t at = band * n * size;
    fast->normalise_backward(bands + at, dy + band * trial->stride * size, trial->stride, x + at,
                             trial->pixels - band, n, &maps.map, &maps.slopes, how ? start + at : NULL,
                             sums ? sum2 : NULL);
    assert_memory_equal(bands, found, count * size);
    assert_memory_equal(sum2, sum1, n * sizeof *sum1);
    free(x), free(dy), free(start), free(expected), free(found), free(bands);
    free(sum0), free(sum1), free(sum2);
    maps_release(&maps);
}

static void normalise_backward(const struct trial *trial)
{
    for (int flags = 0; flags < 8; flags++)
        for (int how = 0; how < 3; how++)
            normalise_backward_once(trial, flags & 1, flags & 2, how, flags & 4);
}

static void resampling(const struct trial *trial)
{
    size_t count = trial->pixels * trial->channels, size = trial->fast->element;
    void *x = elements(trial, count), *large = elements(trial, 4 * count);
    void *found = block(4 * count, size), *expected = block(4 * count, size);
    trial->fast->upsample(found, x, trial->rows, trial->width, trial->channels);
    trial->twin->upsample(expected, x, trial->rows, trial->width, trial->channels);
    assert_memory_equal(found, expected, 4 * count * size);
    trial->fast->upsample_backward(found, large, trial->rows, trial->width, trial->channels);
    trial->twin->upsample_backward(expected, large, trial->rows, trial->width, trial->channels);
    check_elements(trial, "upsample_backward", found, expected, count);
    free(x), free(large), free(found), free(expected);
}

static void softmax(const struct trial *trial)
{
    size_t rows = trial->pixels, columns = trial->channels, count = rows * columns;
    float *scores = floats(count, -30, 30), *dp = floats(count, -2, 2);
    void *found = block(count, trial->fast->element), *expected = block(count, trial->fast->element);
    trial->fast->softmax(found, scores, rows, columns, 0.3f);
    trial->twin->softmax(expected, scores, rows, columns, 0.3f);
    check_elements(trial, "softmax", found, expected, count);
    trial->fast->softmax((char *)found + columns * trial->fast->element, scores + columns, 1, columns, 0.3f);
    check_elements(trial, "softmax of a row", found, expected, count);
    void *p = copy_of(expected, count * trial->fast->element);
    trial->fast->softmax_backward(found, p, dp, rows, columns, 0.3f);
    trial->twin->softmax_backward(expected, p, dp, rows, columns, 0.3f);
    check_elements(trial, "softmax_backward", found, expected, count);
    free(scores), free(dp), free(found), free(expected), free(p);
}

static void strided(const struct trial *trial)
{
    size_t n = trial->channels, stride = trial->stride, size = trial->fast->element;
    size_t count = trial->pixels * (n + GAP), in_count = trial->pixels * stride;
    void *x = elements(trial, in_count), *expected = elements(trial, count);
    void *found = copy_of(expected, count * size);
    float *sum = floats(n, -1, 1), *twin_sum = copy_of(sum, n * sizeof *sum);
    trial->fast->copy(found, n + GAP, x, stride, trial->pixels / 2, n);
    trial->twin->copy(expected, n + GAP, x, stride, trial->pixels / 2, n);
    assert_memory_equal(found, expected, count * size);
    trial->fast->copy(found, n, x, n, 2, n);
    trial->twin->copy(expected, n, x, n, 2, n);
    assert_memory_equal(found, expected, count * size);
    trial->fast->accumulate(found, n + GAP, x, stride, trial->pixels, n);
    trial->twin->accumulate(expected, n + GAP, x, stride, trial->pixels, n);
    check_elements(trial, "accumulate", found, expected, count);
    trial->fast->channel_sums(x, stride, trial->pixels, n, sum);
    trial->twin->channel_sums(x, stride, trial->pixels, n, twin_sum);
    check_sums(trial, "channel_sums", sum, twin_sum, n, 2 * (double)trial->pixels);
    free(x), free(expected), free(found), free(sum), free(twin_sum);
}

#define TRY(name)                                                                                            \
    static void name##_like_the_twin(void **state)                                                           \
    {                                                                                                        \
        (void)state;                                                                                         \
        try_all(name);                                                                                       \
    }
TRY(conversions)
TRY(row_sums)
TRY(add)
TRY(normalise)
TRY(normalise_sums)
TRY(normalise_backward)
TRY(resampling)
TRY(softmax)
TRY(strided)

/* ---- rounding to bfloat16 ---- */

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void bf16_rounds_to_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x10000; i++) { /* what is a bfloat16 stays, a NaN stays a NaN */
        float value = efm_bf16_value((uint16_t)i);
        if (isnan(value))
            assert_true(isnan(efm_bf16_value(efm_bf16(value))));
        else
            assert_int_equal(efm_bf16(value), i);
        if (!isnan(value) && !isinf(value)) {
            assert_int_equal(efm_bf16(from_bits(i << 16 | 0x7fff)), i);           /* below the middle */
            assert_int_equal(efm_bf16(from_bits(i << 16 | 0x8001)), i + 1);       /* above */
            assert_int_equal(efm_bf16(from_bits(i << 16 | 0x8000)), i + (i & 1)); /* a tie */
        }
    }
    assert_true(isinf(efm_bf16_value(efm_bf16(3.4e38f))));
    assert_true(isnan(efm_bf16_value(efm_bf16(from_bits(0x7f800001)))));
    assert_true(isnan(efm_bf16_value(efm_bf16(from_bits(0xffffffff)))));
}

static void kernels_round_as_efm_bf16(void **state)
{
    (void)state;
    enum { COUNT = 0x30000 };
    float *x = block(COUNT, sizeof *x);
    uint16_t *out = block(COUNT, sizeof *out);
    for (uint32_t i = 0; i < COUNT; i++)
        x[i] = from_bits((i / 3) << 16 | (0x7fffu + i % 3));
    for (int set = 0; set < EFM_VECTOR_SETS; set++) {
        const struct efm_net_kernels *kernels =
            efm_net_kernels_of((enum efm_vector_set)set, EFM_PRECISION_BF16);
        if (!kernels)
            continue;
        kernels->from_floats(out, x, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            uint16_t expected = efm_bf16(x[i]);
            if (set == EFM_VECTOR_AVX512_BF16 && fabsf(x[i]) < 0x1p-126f)
                expected &= 0x8000;
            if (isnan(x[i]))
                assert_true(isnan(efm_bf16_value(out[i])));
            else
                assert_int_equal(out[i], expected);
        }
    }
    free(x), free(out);
}

/* ---- SiLU ---- */

static double silu(double u)
{
    return u / (1 + exp(-u));
}

static double silu_slope(double u)
{
    double sigmoid = 1 / (1 + exp(-u));
    return sigmoid * (1 + u / (1 + exp(u)));
}

enum { CURVE = 20001 };

/* y and y' of x [CURVE]: one pixel of a norm that changes nothing, and the sums of du of it with dy = 1. */
static void curve(const struct efm_net_kernels *kernels, const float *x, float *y, float *slope)
{
    float *one = floats(CURVE, 1, 1), *zero = floats(CURVE, 0, 0), *hat_sum = floats(CURVE, 0, 0);
    struct efm_norm_map map = {one, zero, one, zero, true, NULL, 1};
    kernels->normalise(y, CURVE, x, 1, CURVE, &map);
    memcpy(slope, zero, CURVE * sizeof *slope);
    kernels->normalise_sums(one, CURVE, x, 1, CURVE, &map, slope, hat_sum);
    free(one), free(zero), free(hat_sum);
}

static void silu_is_exact_to_the_last_bits(void **state)
{
    (void)state;
    float *x = block(CURVE, sizeof *x), *y = block(CURVE, sizeof *y), *slope = block(CURVE, sizeof *slope);
    for (size_t i = 0; i < CURVE; i++)
        x[i] = (float)i * 0.01f - 100;
    const float extremes[] = {-INFINITY, INFINITY, NAN, -3.4e38f, 3.4e38f, -0.0f, 1e-40f};
    memcpy(x, extremes, sizeof extremes);
    for (int set = 0; set < EFM_VECTOR_SETS; set++) {
        const struct efm_net_kernels *kernels =
            efm_net_kernels_of((enum efm_vector_set)set, EFM_PRECISION_F32);
        if (!kernels)
            continue;
        curve(kernels, x, y, slope);
        for (size_t i = 7; i < CURVE; i++) {
            double u = (double)x[i];
            assert_true(fabs((double)y[i] - silu(u)) <= 3e-7 * fabs(silu(u)) + 1e-35);
            assert_true(fabs((double)slope[i] - silu_slope(u)) <= 4e-7);
        }
        assert_true(fabsf(y[0]) < 1e-30f && fabsf(slope[0]) < 1e-30f);
        assert_true(isinf(y[1]) && y[1] > 0 && slope[1] == 1);
        assert_true(isnan(y[2]) && isnan(slope[2]));
        assert_true(fabsf(y[3]) < 1e-30f && fabsf(slope[3]) < 1e-30f);
        assert_true(y[4] == 3.4e38f && slope[4] == 1);
        assert_true(y[5] == 0 && slope[5] == 0.5f && fabsf(slope[6] - 0.5f) < 1e-6f);
    }
    free(x), free(y), free(slope);
}

/* ---- softmax ---- */

static double weighted(const float *scores, const float *dp, size_t columns, double scale, size_t moved,
                       double by)
{
    double sum = 0, total = 0;
    for (size_t i = 0; i < columns; i++) {
        double e = exp(scale * ((double)scores[i] + (i == moved ? by : 0)));
        sum += e;
        total += (double)dp[i] * e;
    }
    return total / sum;
}

static void softmax_backward_is_the_slope_of_softmax(void **state)
{
    (void)state;
    efm_random_init(&stream, 7, 0, EFM_RANDOM_TEST);
    enum { COLUMNS = 37 };
    float *scores = floats(COLUMNS, -3, 3), *dp = floats(COLUMNS, -1, 1), p[COLUMNS], dscores[COLUMNS];
    const struct efm_net_kernels *kernels = efm_net_kernels(EFM_PRECISION_F32);
    kernels->softmax(p, scores, 1, COLUMNS, 0.7f);
    kernels->softmax_backward(dscores, p, dp, 1, COLUMNS, 0.7f);
    for (size_t i = 0; i < COLUMNS; i++) {
        double scale = (double)0.7f, slope = (weighted(scores, dp, COLUMNS, scale, i, 1e-5) -
                                              weighted(scores, dp, COLUMNS, scale, i, -1e-5)) /
                                             2e-5;
        assert_true(fabs((double)dscores[i] - slope) < 1e-7);
    }
    free(scores), free(dp);
}

static void softmax_bears_large_scores(void **state)
{
    (void)state;
    const float scores[] = {3e38f, -3e38f, 3e38f, 0, 1e30f};
    float p[5];
    for (int set = 0; set < EFM_VECTOR_SETS; set++) {
        const struct efm_net_kernels *kernels =
            efm_net_kernels_of((enum efm_vector_set)set, EFM_PRECISION_F32);
        if (!kernels)
            continue;
        kernels->softmax(p, scores, 1, 5, 2);
        assert_true(p[0] == 0.5f && p[2] == 0.5f && p[1] < 1e-30f && p[3] < 1e-30f && p[4] < 1e-30f);
    }
}

static void the_table_is_the_widest(void **state)
{
    (void)state;
    for (int precision = EFM_PRECISION_F32; precision <= EFM_PRECISION_BF16; precision++) {
        const struct efm_net_kernels *widest = NULL;
        for (int set = 0; set < EFM_VECTOR_SETS; set++) {
            const struct efm_net_kernels *kernels =
                efm_net_kernels_of((enum efm_vector_set)set, (enum efm_precision)precision);
            if (kernels)
                widest = kernels;
        }
        assert_ptr_equal(efm_net_kernels((enum efm_precision)precision), widest);
        assert_int_equal(widest->element, precision == EFM_PRECISION_BF16 ? 2 : 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_like_the_twin),
        cmocka_unit_test(row_sums_like_the_twin),
        cmocka_unit_test(add_like_the_twin),
        cmocka_unit_test(normalise_like_the_twin),
        cmocka_unit_test(normalise_sums_like_the_twin),
        cmocka_unit_test(normalise_backward_like_the_twin),
        cmocka_unit_test(resampling_like_the_twin),
        cmocka_unit_test(softmax_like_the_twin),
        cmocka_unit_test(strided_like_the_twin),
        cmocka_unit_test(bf16_rounds_to_even),
        cmocka_unit_test(kernels_round_as_efm_bf16),
        cmocka_unit_test(silu_is_exact_to_the_last_bits),
        cmocka_unit_test(softmax_backward_is_the_slope_of_softmax),
        cmocka_unit_test(softmax_bears_large_scores),
        cmocka_unit_test(the_table_is_the_widest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
