// SPDX-License-Identifier: Apache-2.0
/* Dense layers and SiLU of every instruction set, the embedding of heights, dropout masks. */
#include "core/base/random.h"
#include "core/net/vectors.h"
#include "tests/support/check.h"
#include "tests/unit/net/failures.h"

#include <math.h>
#include <stdlib.h>

static struct efm_random stream;

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
        x[i] = (float)(low + (high - low) * efm_random_uniform(&stream));
    return x;
}

static double silu(double u)
{
    return u / (1 + exp(-u));
}

static double silu_slope(double u)
{
    double sigmoid = 1 / (1 + exp(-u));
    return sigmoid * (1 + u / (1 + exp(u)));
}

static void silu_of_any_length(void **state)
{
    (void)state;
    efm_random_init(&stream, 6, 0, EFM_RANDOM_TEST);
    for (int set = 0; set < EFM_VECTOR_SETS; set++) {
        const struct efm_small_parts *parts = efm_small_parts_of((enum efm_vector_set)set);
        for (size_t count = 1; count < 70 && parts; count++) {
            float *x = floats(count, -10, 10), *dy = floats(count, -1, 1), *out = block(count, sizeof *out);
            parts->silu(out, x, count);
            for (size_t i = 0; i < count; i++)
                assert_true(fabs((double)out[i] - silu((double)x[i])) <= 3e-7 * fabs(silu((double)x[i])));
            parts->silu_backward(out, dy, x, count);
            for (size_t i = 0; i < count; i++)
                assert_true(fabs((double)out[i] - (double)dy[i] * silu_slope((double)x[i])) <= 4e-7);
            free(x), free(dy), free(out);
        }
    }
}

/* Sample by sample and in pieces: the same bytes, and nothing outside of a piece is written. */
static void check_pieces(const struct efm_small_parts *parts, const struct efm_dense_layer *layer)
{
    size_t m = layer->m;
    float *out = block(layer->count * m, sizeof *out);
    for (size_t n = 0; n < layer->count; n++) {
        struct efm_dense_layer sample = *layer;
        sample.count = 1;
        sample.x += n * layer->k;
        sample.out = out + n * m;
        for (size_t first = 0, last; first < m; first = last) {
            last = first + 1 + efm_random_below(&stream, m - first);
            parts->dense(&sample, first, last);
        }
    }
    assert_memory_equal(out, layer->out, layer->count * m * sizeof *out);
    free(out);
}

static void check_dense(const struct efm_small_parts *parts, size_t m, size_t k, size_t count, bool with_bias)
{
    float *weights = floats(m * k, -1, 1), *bias = floats(m, -1, 1), *x = floats(count * k, -1, 1);
    float *out = block(count * m, sizeof *out);
    struct efm_dense_layer layer = {weights, with_bias ? bias : NULL, x, out, m, k, count};
    parts->dense(&layer, 0, m);
    for (size_t n = 0; n < count; n++)
        for (size_t j = 0; j < m; j++) {
            double sum = with_bias ? (double)bias[j] : 0;
            for (size_t i = 0; i < k; i++)
                sum += (double)weights[j * k + i] * (double)x[n * k + i];
            assert_true(fabs((double)out[n * m + j] - sum) < 1e-6 * sqrt((double)k + 1));
        }
    check_pieces(parts, &layer);
    free(weights), free(bias), free(x), free(out);
}

static void dense_is_a_dot_product_in_one_order(void **state)
{
    (void)state;
    efm_random_init(&stream, 8, 0, EFM_RANDOM_TEST);
    const size_t sizes[][3] = {{1, 1, 1},    {3, 5, 2},   {9, 16, 7}, {64, 128, 13},
                               {33, 47, 64}, {6, 512, 1}, {1, 31, 5}};
    for (int set = 0; set < EFM_VECTOR_SETS; set++) {
        const struct efm_small_parts *parts = efm_small_parts_of((enum efm_vector_set)set);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && parts; i++) {
            check_dense(parts, sizes[i][0], sizes[i][1], sizes[i][2], true);
            check_dense(parts, sizes[i][0], sizes[i][1], sizes[i][2], false);
        }
    }
}

/* A part of the outputs leaves the others alone. */
static void what_is_public_calls_the_widest(void **state)
{
    (void)state;
    const float weights[] = {1, 2, 3, 4, 5, 6}, bias[] = {10, 20, 30}, x[] = {1, -1, 2, 0.5f};
    float out[] = {7, 7, 7, 7, 7, 7}, y[4], slope[4];
    efm_dense(weights, bias, 3, 2, x, 2, 1, 3, out);
    const float expected[] = {7, 19, 29, 7, 28, 43};
    assert_memory_equal(out, expected, sizeof out);
    efm_silu(y, x, 4);
    efm_silu_backward(slope, x, x, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(fabs((double)y[i] - silu((double)x[i])) < 1e-6);
        assert_true(fabs((double)slope[i] - (double)x[i] * silu_slope((double)x[i])) < 1e-6);
    }
}

static void heights_are_embedded_by_sines(void **state)
{
    (void)state;
    const float z[] = {0, 0.37f, 9.99f, 500};
    float out[4 * 128];
    efm_height_embedding(z, 4, 64, out);
    for (size_t n = 0; n < 4; n++)
        for (size_t i = 0; i < 64; i++) {
            double angle = (double)z[n] * pow(10000, -(double)i / 63);
            assert_true(fabs((double)out[n * 128 + i] - sin(angle)) < 1e-7);
            assert_true(fabs((double)out[n * 128 + 64 + i] - cos(angle)) < 1e-7);
        }
    efm_height_embedding(z + 1, 1, 1, out);
    assert_true(fabs((double)out[0] - sin((double)z[1])) < 1e-7 &&
                fabs((double)out[1] - cos((double)z[1])) < 1e-7);
}

static void dropout_drops_its_share(void **state)
{
    (void)state;
    enum { COUNT = 400000 };
    uint8_t *keep = block(COUNT, 1), *other = block(COUNT, 1);
    const double probabilities[] = {0, 0.1, 0.5, 0.97};
    for (size_t k = 0; k < 4; k++) {
        double p = probabilities[k], kept = 0, pairs = 0, both = 0, deviation = sqrt(p * (1 - p) * COUNT);
        efm_dropout_mask(keep, COUNT, 11 + k, 0, p);
        efm_dropout_mask(other, COUNT, 12 + k, 0, p);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(keep[i] <= 1);
            kept += keep[i];
            both += keep[i] & other[i];
            pairs += i ? keep[i] & keep[i - 1] : 0;
        }
        double expected = (1 - p) * (1 - p) * COUNT;
        assert_true(fabs(kept - (1 - p) * COUNT) <= 4 * deviation);
        /* Neighbours and other seeds are independent. */
        assert_true(fabs(both - expected) <= 6 * deviation + 1);
        assert_true(fabs(pairs - expected) <= 6 * deviation + 1);
    }
    free(keep), free(other);
}

static void dropout_is_the_same_everywhere(void **state)
{
    (void)state;
    uint8_t first[777], other[777];
    efm_small_parts_of(EFM_VECTOR_PLAIN)->keep(first, 777, 0xffffff00u, 0x123456789abcdefu, 0x70000000u);
    for (int set = 1; set < EFM_VECTOR_SETS; set++) {
        const struct efm_small_parts *parts = efm_small_parts_of((enum efm_vector_set)set);
        if (!parts)
            continue;
        parts->keep(other, 777, 0xffffff00u, 0x123456789abcdefu, 0x70000000u);
        assert_memory_equal(first, other, sizeof first);
    }
}

static void dropout_may_be_cut_anywhere(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    uint8_t whole[COUNT], parts[COUNT], later[COUNT];
    const uint64_t starts[] = {0, 77, 0xffffffffu - 300, 0x5fffffff0u};
    efm_random_init(&stream, 9, 0, EFM_RANDOM_TEST);
    for (size_t k = 0; k < 4; k++) {
        efm_dropout_mask(whole, COUNT, 3, starts[k], 0.4);
        for (size_t i = 0, count; i < COUNT; i += count) {
            count = 1 + efm_random_below(&stream, COUNT - i);
            efm_dropout_mask(parts + i, count, 3, starts[k] + i, 0.4);
        }
        assert_memory_equal(whole, parts, COUNT);
        efm_dropout_mask(later, COUNT, 3, starts[k] + 0x100000000u, 0.4);
        assert_memory_not_equal(whole, later, COUNT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silu_of_any_length),
        cmocka_unit_test(dense_is_a_dot_product_in_one_order),
        cmocka_unit_test(what_is_public_calls_the_widest),
        cmocka_unit_test(heights_are_embedded_by_sines),
        cmocka_unit_test(dropout_drops_its_share),
        cmocka_unit_test(dropout_is_the_same_everywhere),
        cmocka_unit_test(dropout_may_be_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
