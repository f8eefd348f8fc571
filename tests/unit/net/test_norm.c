// SPDX-License-Identifier: Apache-2.0
/* The group norm as a whole: its statistics against a direct computation, its backward pass against differences. */
#include "core/base/random.h"
#include "core/net/kernels.h"
#include "tests/support/check.h"
#include "tests/unit/net/failures.h"

#include <math.h>

static struct efm_random stream;

static float between(double low, double high)
{
    return (float)(low + (high - low) * efm_random_uniform(&stream));
}

/* ---- an image of one or two tensors, with all that a norm takes ---- */

enum { ROWS = 3, WIDTH = 5, PIXELS = ROWS * WIDTH, MOST = 96, GROUPS = EFM_NORM_GROUPS };

struct image {
    size_t channels, first; /* first: of the first tensor */
    float x[PIXELS * MOST]; /* [pixels, channels] */
    float embedding[MOST], gamma[MOST], beta[MOST], dy[PIXELS * MOST];
    uint8_t keep[PIXELS * MOST];
    bool silu, embedded, dropout;
    float part[2][PIXELS * MOST], sums[2][ROWS * 2 * MOST];
};

static void image_fill(struct image *image, size_t channels, size_t first, double mean)
{
    image->channels = channels;
    image->first = first;
    for (size_t i = 0; i < PIXELS * channels; i++) {
        image->x[i] = between(mean - 2, mean + 2);
        image->dy[i] = between(-1, 1);
    }
    for (size_t c = 0; c < channels; c++) {
        image->embedding[c] = between(-1, 1);
        image->gamma[c] = between(0.5, 2);
        image->beta[c] = between(-1, 1);
    }
    efm_dropout_mask(image->keep, PIXELS * channels, 4, 0, 0.3);
}

/* The tensors and their row sums, and what efm_norm_forward reads. */
static struct efm_norm_input image_input(struct image *image)
{
    const struct efm_net_kernels *kernels = efm_net_kernels(EFM_PRECISION_F32);
    size_t channels[2] = {image->first, image->channels - image->first};
    for (size_t i = 0; i < 2; i++) {
        kernels->copy(image->part[i], channels[i], image->x + i * image->first, image->channels, PIXELS,
                      channels[i]);
        kernels->row_sums(image->part[i], ROWS, WIDTH, channels[i], image->sums[i]);
    }
    return (struct efm_norm_input){
        .sums = {image->sums[0], channels[1] ? image->sums[1] : NULL},
        .channels = {channels[0], channels[1]},
        .rows = ROWS,
        .width = WIDTH,
        .embedding = image->embedded ? image->embedding : NULL,
        .gamma = image->gamma,
        .beta = image->beta,
    };
}

/* ---- the same by definition ---- */

struct numbers {
    double x[PIXELS * MOST], embedding[MOST], gamma[MOST], beta[MOST];
};

static void numbers_of(const struct image *image, struct numbers *numbers)
{
    for (size_t i = 0; i < PIXELS * image->channels; i++)
        numbers->x[i] = (double)image->x[i];
    for (size_t c = 0; c < image->channels; c++) {
        numbers->embedding[c] = image->embedded ? (double)image->embedding[c] : 0;
        numbers->gamma[c] = (double)image->gamma[c];
        numbers->beta[c] = (double)image->beta[c];
    }
}

static void statistics(const struct image *image, const struct numbers *numbers, size_t group, double *mean,
                       double *inverse)
{
    size_t size = image->channels / GROUPS;
    double total = 0, square = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t p = 0; p < PIXELS; p++)
            for (size_t c = group * size; c < (group + 1) * size; c++) {
                double x = numbers->x[p * image->channels + c] + numbers->embedding[c];
                if (pass == 0)
                    total += x / (double)(PIXELS * size);
                else
                    square += (x - total) * (x - total) / (double)(PIXELS * size);
            }
    *mean = total;
    *inverse = 1 / sqrt(square + 1e-6);
}

/* sum of dy y, the loss whose gradient the backward pass gives. */
static double loss(const struct image *image, const struct numbers *numbers)
{
    size_t size = image->channels / GROUPS;
    double sum = 0;
    for (size_t group = 0; group < GROUPS; group++) {
        double mean, inverse;
        statistics(image, numbers, group, &mean, &inverse);
        for (size_t p = 0; p < PIXELS; p++)
            for (size_t c = group * size; c < (group + 1) * size; c++) {
                size_t i = p * image->channels + c;
                double hat = (numbers->x[i] + numbers->embedding[c] - mean) * inverse;
                double u = numbers->gamma[c] * hat + numbers->beta[c];
                double y = image->silu ? u / (1 + exp(-u)) : u;
                if (image->dropout)
                    y *= image->keep[i] / 0.7;
                sum += (double)image->dy[i] * y;
            }
    }
    return sum;
}

static double slope(const struct image *image, struct numbers *numbers, double *moved)
{
    const double step = 1e-5, start = *moved;
    *moved = start + step;
    double above = loss(image, numbers);
    *moved = start - step;
    double below = loss(image, numbers);
    *moved = start;
    return (above - below) / (2 * step);
}

/* ---- tests ---- */

static struct image image;
static struct numbers numbers;

static void check_forward(double tolerance)
{
    struct efm_norm_input input = image_input(&image);
    float scale[MOST], shift[MOST], hat_scale[MOST], hat_shift[MOST], inverse_deviation[GROUPS];
    efm_norm_forward(&input, scale, shift, hat_scale, hat_shift, inverse_deviation);
    numbers_of(&image, &numbers);
    size_t size = image.channels / GROUPS;
    for (size_t c = 0; c < image.channels; c++) {
        double mean, inverse, gamma = numbers.gamma[c];
        statistics(&image, &numbers, c / size, &mean, &inverse);
        double offset = (numbers.embedding[c] - mean) * inverse, large = 1 + fabs(offset);
        assert_true(fabs((double)inverse_deviation[c / size] / inverse - 1) < tolerance);
        assert_true(fabs((double)hat_scale[c] / inverse - 1) < tolerance);
        assert_true(fabs((double)scale[c] / (gamma * inverse) - 1) < tolerance);
        assert_true(fabs((double)hat_shift[c] - offset) < tolerance * large);
        assert_true(fabs((double)shift[c] - (numbers.beta[c] + gamma * offset)) < 2 * tolerance * large);
    }
    float again[MOST], again_shift[MOST];
    efm_norm_forward(&input, again, again_shift, NULL, NULL, NULL);
    assert_memory_equal(again, scale, image.channels * sizeof *scale);
    assert_memory_equal(again_shift, shift, image.channels * sizeof *scale);
}

static void forward_is_the_definition(void **state)
{
    (void)state;
    /* Groups of one and of three channels; one that lies across both tensors. */
    const size_t shapes[][2] = {{32, 32}, {96, 96}, {96, 64}, {96, 32}, {64, 37}};
    efm_random_init(&stream, 1, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int embedded = 0; embedded < 2; embedded++) {
            image_fill(&image, shapes[i][0], shapes[i][1], 0.3);
            image.embedded = embedded;
            check_forward(1e-6);
        }
}

static void a_large_mean_costs_digits_and_no_more(void **state)
{
    (void)state;
    efm_random_init(&stream, 2, 0, EFM_RANDOM_TEST);
    image.embedded = true;
    image_fill(&image, 64, 64, 100);
    check_forward(1e-3);
    /* All the same: the deviation is that of eps, or what rounding of the row sums makes of it. */
    image.embedded = false;
    for (size_t i = 0; i < PIXELS * 64; i++)
        image.x[i] = 1000.1f;
    struct efm_norm_input input = image_input(&image);
    float scale[MOST], shift[MOST], hat_scale[MOST], hat_shift[MOST], inverse[GROUPS];
    efm_norm_forward(&input, scale, shift, hat_scale, hat_shift, inverse);
    for (size_t group = 0; group < GROUPS; group++)
        assert_true(inverse[group] > 0 && inverse[group] < 1000.1f);
}

static void flat_groups_are_held_by_eps(void **state)
{
    (void)state;
    efm_random_init(&stream, 3, 0, EFM_RANDOM_TEST);
    image.embedded = false;
    image_fill(&image, 32, 32, 0);
    for (size_t i = 0; i < PIXELS * 32; i++)
        image.x[i] = 0.25f;
    struct efm_norm_input input = image_input(&image);
    float scale[MOST], shift[MOST], inverse[GROUPS];
    efm_norm_forward(&input, scale, shift, NULL, NULL, inverse);
    for (size_t group = 0; group < GROUPS; group++)
        assert_true(fabs((double)inverse[group] - 1000) < 1e-3);
}

static void check_slope(const char *what, size_t i, double found, double expected)
{
    if (!(fabs(found - expected) < 2e-5 * (1 + fabs(expected))))
        fail_msg("%s [%zu], %zu channels: %.8g, by differences %.8g", what, i, image.channels, found,
                 expected);
}

/* The chain that a net runs: statistics, sums of du, slopes, dx. */
static void check_backward(void)
{
    const struct efm_net_kernels *kernels = efm_net_kernels(EFM_PRECISION_F32);
    struct efm_norm_input input = image_input(&image);
    float scale[MOST], shift[MOST], hat_scale[MOST], hat_shift[MOST], inverse[GROUPS];
    float du_sum[MOST] = {0}, du_hat_sum[MOST] = {0}, factors[3][MOST], dx_sum[MOST] = {0};
    static float dx[2][PIXELS * MOST];
    efm_norm_forward(&input, scale, shift, hat_scale, hat_shift, inverse);
    for (size_t i = 0; i < 2; i++) { /* tensor by tensor, as if each had a norm of its own */
        size_t at = i * image.first, channels = input.channels[i];
        static uint8_t keep[PIXELS * MOST];
        for (size_t k = 0; k < PIXELS * channels; k++)
            keep[k] = image.keep[k / channels * image.channels + at + k % channels];
        struct efm_norm_map map = {scale + at,     shift + at, hat_scale + at,
                                   hat_shift + at, image.silu, image.dropout ? keep : NULL,
                                   1 / 0.7f};
        kernels->normalise_sums(image.dy + at, image.channels, image.part[i], PIXELS, channels, &map,
                                du_sum + at, du_hat_sum + at);
        if (i == 0 && channels < image.channels)
            continue;
        efm_norm_backward(du_sum, du_hat_sum, image.gamma, hat_scale, hat_shift, inverse, image.channels,
                          PIXELS, factors[0], factors[1], factors[2]);
    }
    for (size_t i = 0; i < 2; i++) {
        size_t at = i * image.first, channels = input.channels[i];
        static uint8_t keep[PIXELS * MOST];
        for (size_t k = 0; k < PIXELS * channels; k++)
            keep[k] = image.keep[k / channels * image.channels + at + k % channels];
        struct efm_norm_map map = {scale + at,     shift + at, hat_scale + at,
                                   hat_shift + at, image.silu, image.dropout ? keep : NULL,
                                   1 / 0.7f};
        struct efm_norm_slopes slopes = {factors[0] + at, factors[1] + at, factors[2] + at};
        kernels->normalise_backward(dx[i], image.dy + at, image.channels, image.part[i], PIXELS, channels,
                                    &map, &slopes, NULL, dx_sum + at);
    }
    numbers_of(&image, &numbers);
    for (size_t c = 0; c < image.channels; c += 1 + image.channels / 40) {
        check_slope("gamma", c, (double)du_hat_sum[c], slope(&image, &numbers, numbers.gamma + c));
        check_slope("beta", c, (double)du_sum[c], slope(&image, &numbers, numbers.beta + c));
        check_slope("embedding", c, (double)dx_sum[c], slope(&image, &numbers, numbers.embedding + c));
        size_t p = efm_random_below(&stream, PIXELS), i = c >= image.first, channels = input.channels[i];
        float found = dx[i][p * channels + c - i * image.first];
        check_slope("x", c, (double)found, slope(&image, &numbers, numbers.x + p * image.channels + c));
    }
}

static void backward_is_the_slope_of_forward(void **state)
{
    (void)state;
    const size_t shapes[][2] = {{32, 32}, {64, 64}, {96, 64}, {96, 32}};
    efm_random_init(&stream, 4, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int flags = 0; flags < 8; flags++) {
            image.silu = flags & 1;
            image.dropout = flags & 2;
            image.embedded = flags & 4;
            image_fill(&image, shapes[i][0], shapes[i][1], 0.3);
            check_backward();
        }
}

/* Cut in bands whose sums are put together, an image gives the same bytes: rows are what is added. */
static void bands_give_the_same_statistics(void **state)
{
    (void)state;
    efm_random_init(&stream, 5, 0, EFM_RANDOM_TEST);
    image.embedded = true;
    image_fill(&image, 96, 96, 0.3);
    struct efm_norm_input input = image_input(&image);
    float whole[2][MOST], bands[2][MOST];
    efm_norm_forward(&input, whole[0], whole[1], NULL, NULL, NULL);
    const struct efm_net_kernels *kernels = efm_net_kernels(EFM_PRECISION_F32);
    for (size_t row = 0; row < ROWS; row++)
        kernels->row_sums(image.x + row * WIDTH * 96, 1, WIDTH, 96, image.sums[0] + row * 2 * 96);
    efm_norm_forward(&input, bands[0], bands[1], NULL, NULL, NULL);
    assert_memory_equal(whole, bands, sizeof whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_definition),
        cmocka_unit_test(a_large_mean_costs_digits_and_no_more),
        cmocka_unit_test(flat_groups_are_held_by_eps),
        cmocka_unit_test(backward_is_the_slope_of_forward),
        cmocka_unit_test(bands_give_the_same_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
