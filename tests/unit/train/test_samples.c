// SPDX-License-Identifier: Apache-2.0
/* Draws: every sample once a pass, whatever the cut and the team; what augmentation and noise may do. */
#include "core/train/samples.h"

#include "tests/support/check.h"
#include "tests/unit/data/chaos.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *block)
{
    if (block == NULL)
        abort();
    return block;
}

/* Sample i is the number i, D times. */
static struct efm_dataset *counted(size_t count, size_t dimension)
{
    float *values = must(malloc(count * dimension * sizeof *values));
    struct efm_shape shape = efm_shape_vector(dimension);
    struct efm_dataset *dataset;
    for (size_t i = 0; i < count * dimension; i++)
        values[i] = (float)(i / dimension);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, count, &shape, NULL), EFM_OK);
    free(values);
    return dataset;
}

static struct efm_samples *samples_of(struct efm_dataset *dataset, unsigned augmentation, uint64_t seed,
                                      enum efm_plate_side side)
{
    struct efm_samples *samples;
    struct efm_error error = {0};
    if (efm_samples_create(&samples, dataset, NULL, augmentation, seed, side, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return samples;
}

static void a_pass_holds_every_sample_once(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097};
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        size_t count = counts[k];
        struct efm_dataset *dataset = counted(count, 1);
        struct efm_samples *samples = samples_of(dataset, 0, 7, EFM_SOURCE);
        float *drawn = must(malloc(count * sizeof *drawn));
        assert_int_equal(efm_samples_count(samples), count);
        for (uint64_t pass = 0; pass < 3; pass++) {
            unsigned char *seen = must(calloc(count, 1));
            efm_samples_draw(samples, pass * count, count, drawn, NULL);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(seen[(size_t)drawn[i]]++, 0);
            free(seen);
        }
        free(drawn);
        efm_samples_destroy(samples);
        efm_dataset_unref(dataset);
    }
}

static size_t agreements(const float *a, const float *b, size_t count)
{
    size_t same = 0;
    for (size_t i = 0; i < count; i++)
        same += a[i] == b[i];
    return same;
}

/* Two random permutations agree in one place on average. */
static void passes_sides_and_seeds_have_orders_of_their_own(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct efm_dataset *dataset = counted(COUNT, 1);
    struct efm_samples *one = samples_of(dataset, 0, 7, EFM_SOURCE);
    struct efm_samples *side = samples_of(dataset, 0, 7, EFM_TARGET);
    struct efm_samples *seed = samples_of(dataset, 0, 8, EFM_SOURCE);
    float first[COUNT], other[COUNT], sorted[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        sorted[i] = (float)i;
    efm_samples_draw(one, 0, COUNT, first, NULL);
    assert_true(agreements(first, sorted, COUNT) < 8);
    efm_samples_draw(one, COUNT, COUNT, other, NULL);
    assert_true(agreements(first, other, COUNT) < 8);
    efm_samples_draw(side, 0, COUNT, other, NULL);
    assert_true(agreements(first, other, COUNT) < 8);
    efm_samples_draw(seed, 0, COUNT, other, NULL);
    assert_true(agreements(first, other, COUNT) < 8);
    efm_samples_destroy(one);
    efm_samples_destroy(side);
    efm_samples_destroy(seed);
    efm_dataset_unref(dataset);
}

/* Over many passes each sample comes first about equally often: chi-square of 15 degrees of freedom. */
static void every_sample_may_come_first(void **state)
{
    (void)state;
    enum { COUNT = 16, PASSES = 3200 };
    struct efm_dataset *dataset = counted(COUNT, 1);
    struct efm_samples *samples = samples_of(dataset, 0, 3, EFM_SOURCE);
    size_t hits[COUNT] = {0};
    for (uint64_t pass = 0; pass < PASSES; pass++) {
        float first;
        efm_samples_draw(samples, pass * COUNT, 1, &first, NULL);
        hits[(size_t)first]++;
    }
    double chi = 0, expected = (double)PASSES / COUNT;
    for (size_t i = 0; i < COUNT; i++)
        chi += ((double)hits[i] - expected) * ((double)hits[i] - expected) / expected;
    assert_true(chi < 45); /* one in ten thousand */
    efm_samples_destroy(samples);
    efm_dataset_unref(dataset);
}

/* [height, width, 3] images of three grey numbers that differ from pixel to pixel. */
static struct efm_dataset *grey(size_t count, uint32_t height, uint32_t width)
{
    struct efm_shape shape = efm_shape_image(height, width, 3);
    float *values = must(malloc(count * shape.dimension * sizeof *values));
    struct efm_dataset *dataset;
    for (size_t i = 0; i < count * shape.dimension; i++)
        values[i] = (float)(i / 3 % 101) / 50 - 1;
    assert_int_equal(efm_dataset_from_floats(&dataset, values, count, &shape, NULL), EFM_OK);
    free(values);
    return dataset;
}

static void cuts_and_teams_do_not_matter(void **state)
{
    (void)state;
    enum { COUNT = 90, D = 16 * 24 * 3 };
    struct efm_dataset *dataset = grey(37, 16, 24);
    struct efm_shape shape = efm_shape_image(16, 24, 3);
    struct efm_samples *all[2];
    struct efm_team *team;
    all[0] = samples_of(dataset, EFM_AUGMENT_HUE | EFM_AUGMENT_FLIP | EFM_AUGMENT_CROP, 5, EFM_SOURCE);
    assert_int_equal(efm_samples_create(&all[1], NULL, &shape, 0, 5, EFM_TARGET, NULL), EFM_OK);
    assert_int_equal(efm_team_create(&team, 3, NULL), EFM_OK);
    float *whole = must(malloc(COUNT * D * sizeof *whole)), *parts = must(malloc(COUNT * D * sizeof *parts));
    for (size_t k = 0; k < 2; k++) {
        efm_samples_draw(all[k], 1000, COUNT, whole, NULL);
        efm_samples_draw(all[k], 1000, COUNT, parts, team);
        assert_memory_equal(whole, parts, COUNT * D * sizeof *whole);
        memset(parts, 0, COUNT * D * sizeof *parts);
        for (size_t i = 0; i < COUNT; i += 1 + i % 5) {
            size_t some = COUNT - i < 1 + i % 5 ? COUNT - i : 1 + i % 5;
            efm_samples_draw(all[k], 1000 + i, some, parts + i * D, team);
        }
        assert_memory_equal(whole, parts, COUNT * D * sizeof *whole);
        efm_samples_draw(all[k], 1000, 0, parts, team);
        efm_samples_destroy(all[k]);
    }
    free(whole);
    free(parts);
    efm_team_destroy(team);
    efm_dataset_unref(dataset);
}

/* Of a white pixel: the colour itself. One channel full, one at 0, whatever between; black stays black. */
static void a_hue_is_fully_saturated(void **state)
{
    (void)state;
    enum { COUNT = 6000 };
    const float values[9] = {1, 1, 1, -1, -1, -1, 0, 0, 0};
    struct efm_shape shape = efm_shape_image(1, 3, 3);
    struct efm_dataset *dataset;
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 1, &shape, NULL), EFM_OK);
    struct efm_samples *samples = samples_of(dataset, EFM_AUGMENT_HUE, 2, EFM_SOURCE);
    float *drawn = must(malloc(COUNT * 9 * sizeof *drawn));
    size_t sectors[6] = {0};
    double mean[3] = {0};
    efm_samples_draw(samples, 0, COUNT, drawn, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        const float *white = drawn + 9 * i, *black = white + 3, *middle = white + 6;
        int most = 0, least = 0;
        for (int c = 0; c < 3; c++) {
            assert_true(black[c] == -1);
            assert_true(fabsf(middle[c] - (white[c] - 1) / 2) < 1e-6f);
            most = white[c] > white[most] ? c : most;
            least = white[c] < white[least] ? c : least;
            mean[c] += (double)white[c] / COUNT;
        }
        assert_true(white[most] == 1 && white[least] == -1);
        sectors[2 * most + ((least - most + 3) % 3 == 1)]++;
    }
    for (int c = 0; c < 3; c++)
        assert_true(fabs(mean[c]) < 0.05);
    for (int s = 0; s < 6; s++) /* uniform: 1000 each, deviation 29 */
        assert_in_range(sectors[s], 880, 1120);
    free(drawn);
    efm_samples_destroy(samples);
    efm_dataset_unref(dataset);
}

/* A ramp along the width, grey: as it is, or turned; half and half. */
static void a_flip_turns_half_of_the_images(void **state)
{
    (void)state;
    enum { COUNT = 1000, WIDTH = 5, HEIGHT = 2 };
    float ramp[HEIGHT * WIDTH], *drawn = must(malloc(COUNT * sizeof ramp));
    struct efm_shape shape = efm_shape_image(HEIGHT, WIDTH, 1);
    struct efm_dataset *dataset;
    for (size_t i = 0; i < HEIGHT * WIDTH; i++)
        ramp[i] = (float)i;
    assert_int_equal(efm_dataset_from_floats(&dataset, ramp, 1, &shape, NULL), EFM_OK);
    struct efm_samples *samples = samples_of(dataset, EFM_AUGMENT_FLIP, 2, EFM_SOURCE);
    size_t turned = 0;
    efm_samples_draw(samples, 0, COUNT, drawn, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        const float *image = drawn + i * HEIGHT * WIDTH;
        bool flipped = image[0] == WIDTH - 1;
        turned += flipped;
        for (size_t y = 0; y < HEIGHT; y++)
            for (size_t x = 0; x < WIDTH; x++)
                assert_true(image[y * WIDTH + x] == ramp[y * WIDTH + (flipped ? WIDTH - 1 - x : x)]);
    }
    assert_in_range(turned, 440, 560);
    free(drawn);
    efm_samples_destroy(samples);
    efm_dataset_unref(dataset);
}

/* Pixel (y, x) holds 100 y + x, so that a pixel tells where it came from. */
static void a_crop_moves_by_an_eighth_and_repeats_edges(void **state)
{
    (void)state;
    enum { COUNT = 2000, HEIGHT = 16, WIDTH = 24, D = HEIGHT * WIDTH * 3 };
    float image[D], *drawn = must(malloc(COUNT * sizeof image));
    struct efm_shape shape = efm_shape_image(HEIGHT, WIDTH, 3);
    struct efm_dataset *dataset;
    for (int i = 0; i < D; i++)
        image[i] = (float)(100 * (i / 3 / WIDTH) + i / 3 % WIDTH) + 0.25f * (float)(i % 3);
    assert_int_equal(efm_dataset_from_floats(&dataset, image, 1, &shape, NULL), EFM_OK);
    struct efm_samples *samples = samples_of(dataset, EFM_AUGMENT_CROP, 2, EFM_SOURCE);
    size_t seen[5][7] = {{0}};
    efm_samples_draw(samples, 0, COUNT, drawn, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        const float *got = drawn + i * D;
        int middle = (int)got[(8 * WIDTH + 12) * 3], dy = 8 - middle / 100, dx = 12 - middle % 100;
        assert_true(abs(dy) <= 2 && abs(dx) <= 3);
        seen[dy + 2][dx + 3]++;
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                for (int c = 0; c < 3; c++) {
                    int from_y = y - dy, from_x = x - dx;
                    from_y = from_y < 0 ? 0 : from_y >= HEIGHT ? HEIGHT - 1 : from_y;
                    from_x = from_x < 0 ? 0 : from_x >= WIDTH ? WIDTH - 1 : from_x;
                    if (got[(y * WIDTH + x) * 3 + c] != image[(from_y * WIDTH + from_x) * 3 + c])
                        fail_msg("pixel %d %d of image %zu, moved by %d %d", y, x, i, dy, dx);
                }
    }
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 7; x++)
            assert_in_range(seen[y][x], 25, 95); /* 57 each */
    free(drawn);
    efm_samples_destroy(samples);
    efm_dataset_unref(dataset);
}

static void noise_is_standard_normal(void **state)
{
    (void)state;
    enum { COUNT = 300, D = 1001 };
    struct efm_shape shape = efm_shape_vector(D);
    struct efm_samples *samples;
    assert_int_equal(efm_samples_create(&samples, NULL, &shape, 0, 1, EFM_SOURCE, NULL), EFM_OK);
    assert_int_equal(efm_samples_count(samples), 0);
    assert_int_equal(efm_samples_shape(samples)->dimension, D);
    float *drawn = must(malloc(COUNT * D * sizeof *drawn));
    efm_samples_draw(samples, 12345678901234ull, COUNT, drawn, NULL);
    double moments[5] = {0}, beside = 0, below = 0, largest = 0;
    size_t n = COUNT * D, inside[3] = {0};
    for (size_t i = 0; i < n; i++) {
        double x = (double)drawn[i], power = 1;
        assert_true(isfinite(x));
        for (int k = 1; k < 5; k++)
            moments[k] += (power *= x) / (double)n;
        for (int k = 0; k < 3; k++)
            inside[k] += fabs(x) < 1 + k;
        if (i % D > 0)
            beside += x * (double)drawn[i - 1] / (double)n;
        if (i >= D)
            below += x * (double)drawn[i - D] / (double)n;
        largest = fmax(largest, fabs(x));
    }
    assert_true(fabs(moments[1]) < 0.008 && fabs(moments[2] - 1) < 0.011); /* 4 deviations */
    assert_true(fabs(moments[3]) < 0.03 && fabs(moments[4] - 3) < 0.075);
    assert_true(fabs(beside) < 0.008 && fabs(below) < 0.008);
    for (int k = 0; k < 3; k++)
        assert_true(fabs((double)inside[k] / (double)n - erf((1 + k) / sqrt(2))) < 0.004);
    assert_true(largest > 4 && largest < 7);
    free(drawn);
    efm_samples_destroy(samples);
}

/* The next block of numbers is not the last one again: a long sample holds no part twice. */
static void long_noise_does_not_repeat(void **state)
{
    (void)state;
    enum { D = 4096 };
    struct efm_shape shape = efm_shape_vector(D);
    struct efm_samples *samples;
    float drawn[2 * D];
    size_t same = 0;
    assert_int_equal(efm_samples_create(&samples, NULL, &shape, 0, 1, EFM_SOURCE, NULL), EFM_OK);
    efm_samples_draw(samples, 0, 2, drawn, NULL);
    for (size_t step = 1; step < D; step *= 2)
        for (size_t i = 0; i + step < D; i++)
            same += drawn[i] == drawn[i + step];
    same += agreements(drawn, drawn + D, D);
    assert_true(same < 20);
    efm_samples_destroy(samples);
}

static void refuse(struct efm_dataset *dataset, const struct efm_shape *shape, unsigned augmentation)
{
    struct efm_samples *samples = (struct efm_samples *)&augmentation;
    struct efm_error error = {0};
    assert_int_equal(efm_samples_create(&samples, dataset, shape, augmentation, 0, EFM_SOURCE, &error),
                     EFM_E_ARGUMENT);
    assert_int_equal(error.status, EFM_E_ARGUMENT);
    assert_null(samples);
}

static void augmentations_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct efm_dataset *vectors = counted(3, 6), *images;
    struct efm_shape one = efm_shape_image(2, 3, 1), none = efm_shape_vector(0);
    const float pixels[6] = {0};
    assert_int_equal(efm_dataset_from_floats(&images, pixels, 1, &one, NULL), EFM_OK);
    refuse(vectors, NULL, EFM_AUGMENT_FLIP);
    refuse(vectors, NULL, EFM_AUGMENT_CROP);
    refuse(images, NULL, EFM_AUGMENT_HUE);
    refuse(images, NULL, 8);
    refuse(NULL, &one, EFM_AUGMENT_FLIP);
    refuse(NULL, &none, 0);
    efm_dataset_unref(vectors);
    efm_dataset_unref(images);
}

static void creation_survives_no_memory(void **state)
{
    (void)state;
    struct efm_dataset *dataset = counted(3, 6);
    struct efm_samples *samples;
    struct efm_error error = {0};
    chaos_arm(0);
    enum efm_status status = efm_samples_create(&samples, dataset, NULL, 0, 0, EFM_SOURCE, &error);
    chaos_disarm();
    assert_int_equal(status, EFM_E_MEMORY);
    assert_null(samples);
    efm_samples_destroy(NULL);
    efm_dataset_unref(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_holds_every_sample_once),
        cmocka_unit_test(passes_sides_and_seeds_have_orders_of_their_own),
        cmocka_unit_test(every_sample_may_come_first),
        cmocka_unit_test(cuts_and_teams_do_not_matter),
        cmocka_unit_test(a_hue_is_fully_saturated),
        cmocka_unit_test(a_flip_turns_half_of_the_images),
        cmocka_unit_test(a_crop_moves_by_an_eighth_and_repeats_edges),
        cmocka_unit_test(noise_is_standard_normal),
        cmocka_unit_test(long_noise_does_not_repeat),
        cmocka_unit_test(augmentations_that_do_not_fit_are_refused),
        cmocka_unit_test(creation_survives_no_memory),
    };
    return cmocka_run_group_tests_name("train/samples", tests, NULL, NULL);
}
