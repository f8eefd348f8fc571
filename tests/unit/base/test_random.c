// SPDX-License-Identifier: Apache-2.0
#include "core/base/random.h"

#include "tests/support/check.h"

#include <math.h>
#include <string.h>

enum { DRAWS = 100000 };

static struct efm_random stream_of(uint64_t seed, uint64_t image, enum efm_random_purpose purpose)
{
    struct efm_random stream;
    efm_random_init(&stream, seed, image, purpose);
    return stream;
}

/* The known answers that come with Random123. */
static void philox_gives_the_published_vectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        efm_philox4x32(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

/* A stream is the blocks of its counter one after the other, so numbers may never change between versions. */
static void a_stream_is_its_blocks(void **state)
{
    (void)state;
    struct efm_random stream = stream_of(0x0123456789abcdef, 7, EFM_RANDOM_NOISE);
    const uint32_t key[2] = {0x89abcdef, 0x01234567};
    for (uint32_t block = 0; block < 3; block++) {
        const uint32_t counter[4] = {block, 0, 7, (uint32_t)EFM_RANDOM_NOISE << 24};
        uint32_t expected[4];
        efm_philox4x32(counter, key, expected);
        for (int i = 0; i < 4; i++)
            assert_int_equal(efm_random_u32(&stream), expected[i]);
    }
}

static void a_stream_carries_into_its_second_word(void **state)
{
    (void)state;
    struct efm_random stream = stream_of(5, 0, EFM_RANDOM_TEST);
    stream.counter[0] = UINT32_MAX;
    const uint32_t next[4] = {0, 1, 0, (uint32_t)EFM_RANDOM_TEST << 24}, key[2] = {5, 0};
    uint32_t expected[4];
    for (int i = 0; i < 4; i++)
        efm_random_u32(&stream);
    efm_philox4x32(next, key, expected);
    assert_int_equal(efm_random_u32(&stream), expected[0]);
}

static void the_same_name_gives_the_same_numbers(void **state)
{
    (void)state;
    struct efm_random a = stream_of(3, 4, EFM_RANDOM_LAND), b = stream_of(3, 4, EFM_RANDOM_LAND);
    for (int i = 0; i < 100; i++)
        assert_true(efm_random_u64(&a) == efm_random_u64(&b));
    assert_true(efm_random_normal(&a) == efm_random_normal(&b));
}

/* The correlation of two streams of uniform numbers, in units of its own deviation. */
static double correlation(struct efm_random a, struct efm_random b)
{
    double sum = 0;
    for (int i = 0; i < DRAWS; i++)
        sum += (efm_random_uniform(&a) - 0.5) * (efm_random_uniform(&b) - 0.5);
    return sum * 12 / sqrt(DRAWS);
}

static void streams_of_other_names_are_independent(void **state)
{
    (void)state;
    const struct efm_random base = stream_of(1, 2, EFM_RANDOM_START);
    const struct efm_random others[] = {
        stream_of(1, 3, EFM_RANDOM_START),
        stream_of(2, 2, EFM_RANDOM_START),
        stream_of(1, 2, EFM_RANDOM_LAND),
        stream_of(1, 2 + (1ull << 32), EFM_RANDOM_START),
        stream_of(1 + (1ull << 32), 2, EFM_RANDOM_START),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct efm_random a = base, b = others[i];
        assert_true(efm_random_u64(&a) != efm_random_u64(&b));
        assert_true(fabs(correlation(base, others[i])) < 5);
    }
}

static void uniform_numbers_fill_the_open_interval(void **state)
{
    (void)state;
    struct efm_random stream = stream_of(8, 0, EFM_RANDOM_TEST);
    double sum = 0, squares = 0, least = 1, largest = 0;
    for (int i = 0; i < DRAWS; i++) {
        double u = efm_random_uniform(&stream);
        assert_true(u > 0 && u < 1);
        sum += u;
        squares += u * u;
        least = fmin(least, u);
        largest = fmax(largest, u);
    }
    assert_true(fabs(sum / DRAWS - 1. / 2) < 5 * sqrt(1. / 12 / DRAWS)); /* five deviations */
    assert_true(fabs(squares / DRAWS - 1. / 3) < 5 * sqrt(4. / 45 / DRAWS));
    assert_true(least < 1e-3 && largest > 1 - 1e-3);
}

/* The words that would round to the ends. */
static void the_ends_of_the_interval_never_come(void **state)
{
    (void)state;
    struct efm_random stream = {.used = 0};
    assert_true(efm_random_uniform(&stream) > 0);
    stream = (struct efm_random){.block = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
    assert_true(efm_random_uniform(&stream) < 1);
}

static void below_hits_every_number_alike(void **state)
{
    (void)state;
    enum { BOUND = 7 };
    struct efm_random stream = stream_of(9, 0, EFM_RANDOM_TEST);
    int seen[BOUND] = {0};
    double chi2 = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t k = efm_random_below(&stream, BOUND);
        assert_true(k < BOUND);
        seen[k]++;
    }
    for (int k = 0; k < BOUND; k++)
        chi2 += pow(seen[k] - (double)DRAWS / BOUND, 2) / ((double)DRAWS / BOUND);
    assert_true(chi2 < 30); /* six degrees of freedom: once in 25,000 seeds, and the seed is fixed */
    assert_true(efm_random_below(&stream, 1) == 0);
}

/* With a bound of three quarters of the range a plain remainder would fall into the first third of the bound
 * half of the time. */
static void below_refuses_the_incomplete_period(void **state)
{
    (void)state;
    const uint64_t bound = 3ull << 62;
    struct efm_random stream = stream_of(10, 0, EFM_RANDOM_TEST);
    int low = 0;
    for (int i = 0; i < 3000; i++) {
        uint64_t k = efm_random_below(&stream, bound);
        assert_true(k < bound);
        low += k < bound / 3;
    }
    assert_in_range(low, 870, 1130); /* 1000, five deviations of 26 */
}

static void normals_have_the_moments(void **state)
{
    (void)state;
    struct efm_random stream = stream_of(11, 0, EFM_RANDOM_NOISE);
    double moment[5] = {0}, product = 0, before = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = efm_random_normal(&stream), power = 1;
        for (int k = 0; k < 5; k++, power *= x)
            moment[k] += power / DRAWS;
        product += x * before / DRAWS; /* the two of a Box-Muller pair do not know one another */
        before = x;
    }
    double unit = 5 / sqrt(DRAWS);
    assert_true(fabs(moment[1]) < unit);
    assert_true(fabs(moment[2] - 1) < unit * sqrt(2));
    assert_true(fabs(moment[3]) < unit * sqrt(15));
    assert_true(fabs(moment[4] - 3) < unit * sqrt(96));
    assert_true(fabs(product) < unit);
}

static void fill_normal_is_the_same_stream(void **state)
{
    (void)state;
    struct efm_random a = stream_of(12, 1, EFM_RANDOM_NOISE), b = a;
    float whole[9], parts[9];
    efm_random_fill_normal(&a, whole, 9);
    efm_random_fill_normal(&b, parts, 4);
    efm_random_fill_normal(&b, parts + 4, 0);
    efm_random_fill_normal(&b, parts + 4, 5);
    assert_memory_equal(whole, parts, sizeof whole);
    struct efm_random c = stream_of(12, 1, EFM_RANDOM_NOISE);
    for (int i = 0; i < 9; i++)
        assert_true(whole[i] == (float)efm_random_normal(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(a_stream_is_its_blocks),
        cmocka_unit_test(a_stream_carries_into_its_second_word),
        cmocka_unit_test(the_same_name_gives_the_same_numbers),
        cmocka_unit_test(streams_of_other_names_are_independent),
        cmocka_unit_test(uniform_numbers_fill_the_open_interval),
        cmocka_unit_test(the_ends_of_the_interval_never_come),
        cmocka_unit_test(below_hits_every_number_alike),
        cmocka_unit_test(below_refuses_the_incomplete_period),
        cmocka_unit_test(normals_have_the_moments),
        cmocka_unit_test(fill_normal_is_the_same_stream),
    };
    return cmocka_run_group_tests_name("base/random", tests, NULL, NULL);
}
