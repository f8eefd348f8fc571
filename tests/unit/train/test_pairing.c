// SPDX-License-Identifier: Apache-2.0
/* Matched pairs: the least sum against all permutations and against cycles that would lower it; and batches of them. */
#include "core/train/pairing.h"

#include "core/base/memory.h"
#include "tests/unit/data/chaos.h"
#include "tests/unit/train/plates.h"
#include "tests/unit/train/training.h"

/* ---- matching ---- */

static void expect_permutation(const uint32_t *partner, size_t count)
{
    bool *seen = must_have(calloc(count, sizeof *seen));
    for (size_t i = 0; i < count; i++) {
        assert_true(partner[i] < count && !seen[partner[i]]);
        seen[partner[i]] = true;
    }
    free(seen);
}

/* In a block of exactly the bytes that are asked for, so that a sanitizer sees every byte too many. */
static uint32_t *assign(const float *cost, size_t count)
{
    uint32_t *partner = must_have(malloc(count * sizeof *partner));
    void *space = must_have(malloc(efm_pairing_bytes(count)));
    efm_pairing_assign(cost, count, partner, space);
    expect_permutation(partner, count);
    free(space);
    return partner;
}

static uint32_t *match(const float *source, const float *target, size_t count, size_t dimension,
                       struct efm_team *team)
{
    uint32_t *partner = must_have(malloc(count * sizeof *partner));
    void *space = must_have(malloc(efm_pairing_bytes(count)));
    efm_pairing_match(source, target, count, dimension, partner, space, team);
    expect_permutation(partner, count);
    free(space);
    return partner;
}

/* The least sum over rows `row` and below, of columns that are not taken. */
static double least_sum(const float *cost, size_t count, size_t row, unsigned taken)
{
    double least = row == count ? 0 : (double)INFINITY;
    for (size_t j = 0; j < count && row < count; j++)
        if ((taken >> j & 1) == 0)
            least =
                fmin(least, (double)cost[row * count + j] + least_sum(cost, count, row + 1, taken | 1u << j));
    return least;
}

static void the_least_of_all_permutations(void **state)
{
    (void)state;
    struct efm_random random;
    efm_random_init(&random, 1, 0, EFM_RANDOM_TEST);
    for (size_t count = 1; count <= 7; count++)
        for (size_t trial = 0; trial < 60; trial++) {
            float cost[49];
            for (size_t i = 0; i < count * count; i++) {
                double number = efm_random_normal(&random);
                /* every third time whole numbers, many of them equal */
                cost[i] = (float)(trial % 3 == 0 ? round(number) : 100 * number);
            }
            uint32_t *partner = assign(cost, count);
            double sum = 0, least = least_sum(cost, count, 0, 0);
            for (size_t i = 0; i < count; i++)
                sum += (double)cost[i * count + partner[i]];
            if (!(sum <= least + 1e-3))
                fail_msg("%zu rows, trial %zu: %g, not %g", count, trial, sum, least);
            free(partner);
        }
}

/* How much moving partners around one cycle lowers the sum at most: 0 for the least one, by shortest paths from everyone
 * to everyone (Floyd and Warshall), in double. */
static double improvement(const double *cost, const uint32_t *partner, size_t count)
{
    double *way = must_have(malloc(count * count * sizeof *way)), least = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) /* i takes the partner of j */
            way[i * count + j] = cost[i * count + partner[j]] - cost[i * count + partner[i]];
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < count; j++)
                way[i * count + j] = fmin(way[i * count + j], way[i * count + k] + way[k * count + j]);
    for (size_t i = 0; i < count; i++)
        least = fmin(least, way[i * count + i]);
    free(way);
    return -least;
}

static double *distances(const float *source, const float *target, size_t count, size_t dimension)
{
    double *cost = must_have(calloc(count * count, sizeof *cost));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            for (size_t d = 0; d < dimension; d++) {
                double r = (double)source[i * dimension + d] - (double)target[j * dimension + d];
                cost[i * count + j] += r * r;
            }
    return cost;
}

/* Of points around `centre`; no cycle lowers the sum by more than `rounding` of it. */
static void expect_least(size_t count, size_t dimension, double centre, double rounding, uint64_t seed)
{
    float *source = plates_normal(count * dimension, centre, 1, seed);
    float *target = plates_normal(count * dimension, centre + 0.5, 2, seed + 1);
    double *cost = distances(source, target, count, dimension), sum = 0;
    uint32_t *partner = match(source, target, count, dimension, NULL);
    for (size_t i = 0; i < count; i++)
        sum += cost[i * count + partner[i]];
    double better = improvement(cost, partner, count);
    if (!(better <= rounding * sum))
        fail_msg("%zu pairs in %zu dimensions: %g of %g too much", count, dimension, better, sum);
    /* the judge sees it when two have changed partners */
    uint32_t first = partner[0];
    partner[0] = partner[1];
    partner[1] = first;
    assert_true(improvement(cost, partner, count) > 1e-4);
    free(partner);
    free(cost);
    free(source);
    free(target);
}

static void no_cycle_of_many_lowers_the_sum(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++)
        expect_least(60, 1 + seed, 0, 1e-6, 10 * seed);
    /* products of matrices, in pieces of 64 rows */
    expect_least(60, 9, 0, 1e-6, 100);
    expect_least(64, 40, 0, 1e-6, 101);
    expect_least(65, 300, 0, 1e-6, 102);
    expect_least(150, 12, 0, 1e-6, 103);
}

/* Vectors may lie anywhere: |p|^2 is 1e8 times what pairs differ by. */
static void points_far_from_0_are_matched_as_well(void **state)
{
    (void)state;
    expect_least(60, 2, 1e4, 1e-4, 1);
    expect_least(60, 8, -1e4, 1e-4, 2);
}

/* Pictures, and the same pictures in another order. */
static void equals_find_each_other(void **state)
{
    (void)state;
    enum { COUNT = 70, D = 3072 };
    float *source = plates_normal((size_t)COUNT * D, 0, 0.5, 1),
          *target = must_have(malloc(sizeof(float[COUNT][D])));
    for (size_t i = 0; i < COUNT; i++)
        memcpy(target + (i * 31 + 5) % COUNT * D, source + i * D, D * sizeof *source);
    uint32_t *partner = match(source, target, COUNT, D, NULL);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(partner[i], (i * 31 + 5) % COUNT);
    free(partner);
    free(source);
    free(target);
}

static void ties_are_broken_somehow(void **state)
{
    (void)state;
    enum { COUNT = 90 };
    const size_t dimensions[] = {1, 2, 20};
    for (size_t k = 0; k < 3; k++) {
        size_t size = COUNT * dimensions[k];
        float *equal = must_have(calloc(size, sizeof *equal)),
              *lattice = must_have(malloc(size * sizeof *lattice));
        for (size_t i = 0; i < size; i++)
            lattice[i] = (float)(i % 3);
        free(match(equal, equal, COUNT, dimensions[k], NULL));
        free(match(lattice, equal, COUNT, dimensions[k], NULL));
        uint32_t *partner = match(lattice, lattice, COUNT, dimensions[k], NULL);
        for (size_t i = 0; i < COUNT; i++) /* every point has an equal */
            assert_memory_equal(lattice + i * dimensions[k], lattice + partner[i] * dimensions[k],
                                dimensions[k] * sizeof *lattice);
        free(partner);
        free(equal);
        free(lattice);
    }
    const float one[1] = {7};
    free(match(one, one, 1, 1, NULL));
}

/* Charge i has charge i: training goes on to a loss that says what is wrong. */
static void numbers_without_a_sum_do_no_harm(void **state)
{
    (void)state;
    enum { COUNT = 66, D = 10 };
    const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e19f};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        for (size_t dimension = 2; dimension <= D; dimension += D - 2) {
            float *source = plates_normal(COUNT * D, 0, 1, 1), *target = plates_normal(COUNT * D, 0, 1, 2);
            source[17 * dimension] = bad[k];
            target[3 * dimension] = bad[k];
            uint32_t *partner = match(source, target, COUNT, dimension, NULL);
            for (size_t i = 0; i < COUNT; i++)
                assert_int_equal(partner[i], i);
            free(partner);
            free(source);
            free(target);
        }
    /* as large as sums may become */
    float *cost = plates_normal(COUNT * COUNT, 0, 2e29, 3);
    free(assign(cost, COUNT));
    free(cost);
}

static void threads_do_not_enter(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    const size_t dimensions[] = {3, 100};
    for (size_t k = 0; k < 2; k++) {
        float *source = plates_normal(COUNT * dimensions[k], 0, 1, 1);
        float *target = plates_normal(COUNT * dimensions[k], 0, 1, 2);
        uint32_t *alone = match(source, target, COUNT, dimensions[k], NULL);
        for (size_t size = 1; size <= 3; size++) {
            struct efm_team *team = training_team(size);
            uint32_t *together = match(source, target, COUNT, dimensions[k], team);
            assert_memory_equal(alone, together, COUNT * sizeof *alone);
            free(together);
            efm_team_destroy(team);
        }
        free(alone);
        free(source);
        free(target);
    }
}

static void space_that_does_not_fit_is_told(void **state)
{
    (void)state;
    struct efm_arena plan = {0};
    assert_true(efm_pairing_bytes(1000) >= 1000 * 1000 * sizeof(float));
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 7, (size_t)1 << 32, ((size_t)1 << 32) - 1, (size_t)1 << 31};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        assert_int_equal(efm_pairing_bytes(counts[i]), SIZE_MAX);
    /* as a batcher plans with it */
    assert_false(efm_arena_measure(&plan, efm_pairing_bytes(SIZE_MAX), 1));
}

/* ---- batches ---- */

static const struct {
    enum efm_sampler sampler;
    enum efm_training_target target;
} kinds[] = {{EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE},
             {EFM_SAMPLER_GEOMETRIC, EFM_TRAIN_PER_PLATE},
             {EFM_SAMPLER_UNIFORM, EFM_TRAIN_SUPERPOSITION},
             {EFM_SAMPLER_UNIFORM, EFM_TRAIN_FLOW_MATCHING}};
enum { KINDS = sizeof kinds / sizeof kinds[0], D = 3 };

static struct efm_batch_options matched(size_t kind, size_t size, size_t charges, size_t refresh)
{
    struct efm_batch_options options = plates_options(kinds[kind].sampler, kinds[kind].target, size);
    options.pairing = EFM_PAIRING_MATCHED;
    options.charges = charges;
    options.refresh = refresh;
    return options;
}

static void words_there_and_back(void **state)
{
    (void)state;
    enum efm_pairing pairing;
    for (unsigned i = 0; i <= EFM_PAIRING_MATCHED; i++) {
        assert_int_equal(efm_pairing_parse(efm_pairing_name((enum efm_pairing)i), &pairing), EFM_OK);
        assert_int_equal(pairing, i);
    }
    assert_string_equal(efm_pairing_name(EFM_PAIRING_MATCHED), "matched");
    assert_int_equal(efm_pairing_parse("nearest", &pairing), EFM_E_NOT_FOUND);
    assert_string_equal(efm_pairing_name((enum efm_pairing)99), "unknown");
}

static void refuse(const struct efm_batch_options *options, const char *words)
{
    struct plates plates = plates_random(4, 4, D, 1);
    struct efm_batcher *batcher = (struct efm_batcher *)&plates;
    struct efm_error error = {0};
    assert_int_equal(efm_batch_options_check(options, &error), EFM_E_ARGUMENT);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not speak of '%s'", error.message, words);
    assert_int_equal(efm_batcher_create(&batcher, options, plates.samples[0], plates.samples[1], NULL, NULL),
                     EFM_E_ARGUMENT);
    assert_null(batcher);
    plates_free(&plates);
}

static void options_have_limits(void **state)
{
    (void)state;
    struct efm_batch_options options = matched(0, 8, EFM_BATCH_MOST_MATCHED, 0);
    assert_int_equal(efm_batch_options_check(&options, NULL), EFM_OK);
    options.charges++;
    refuse(&options, "8 points of a step up to 4096 charges, not 4097");
    options.charges = 0;
    refuse(&options, "not 0");
    options = matched(0, 8, 7, 0);
    refuse(&options, "charges");
    options.charges = 8;
    options.sampler = EFM_SAMPLER_MARGINAL;
    options.target = EFM_TRAIN_CHAIN_SINGLE;
    refuse(&options, "chain_single");
    options = matched(0, 8, 8, 0);
    options.pairing = (enum efm_pairing)2;
    refuse(&options, "out of range");
    options.pairing = EFM_PAIRING_RANDOM;
    options.charges = EFM_BATCH_MOST_CHARGES;
    assert_int_equal(efm_batch_options_check(&options, NULL), EFM_OK);
}

/* The charges of a round as the samples give them, and who belongs to whom. */
struct round {
    float *charges[2]; /* [count, D] */
    uint32_t *partner;
    size_t count;
};

static struct round draw_round(const struct plates *plates, uint64_t number, size_t count)
{
    struct round round = {.count = count};
    for (int side = 0; side < 2; side++) {
        round.charges[side] = must_have(malloc(count * D * sizeof(float)));
        efm_samples_draw(plates->samples[side], number * count, count, round.charges[side], NULL);
    }
    round.partner = match(round.charges[0], round.charges[1], count, D, NULL);
    return round;
}

static void free_round(struct round *round)
{
    free(round->charges[0]);
    free(round->charges[1]);
    free(round->partner);
}

/* A pair that no other point has yet, on whose segment point i lies at its height. */
static size_t find_pair(const struct round *round, const bool *used, const struct efm_training_batch *batch,
                        size_t i, double length)
{
    double t = (double)batch->z[i] / length;
    for (size_t k = 0; k < round->count; k++) {
        const float *p = round->charges[0] + k * D, *q = round->charges[1] + round->partner[k] * D;
        double off = 0, wrong = 0;
        for (size_t d = 0; d < D; d++) {
            off += fabs((1 - t) * (double)p[d] + t * (double)q[d] - (double)batch->x[i * D + d]);
            wrong += fabs(((double)q[d] - (double)p[d]) / length - (double)batch->target_x[i * D + d]);
        }
        if (!used[k] && off < 1e-5 && (batch->target_z != NULL || wrong < 1e-5))
            return k;
    }
    fail_msg("point %zu lies between no matched pair that is left", i);
    return 0;
}

/* The points of so many steps lie between the pairs of round `number`, each between a pair that no other has. */
static void expect_round(const struct plates *plates, struct efm_batcher *batcher,
                         const struct efm_batch_options *options, uint64_t number, uint64_t first,
                         uint64_t steps)
{
    struct round round = draw_round(plates, number, options->charges);
    bool *used = must_have(calloc(round.count, sizeof *used));
    for (uint64_t step = first; step < first + steps; step++) {
        struct efm_training_batch batch = plates_make(batcher, step);
        for (size_t i = 0; i < batch.size; i++) {
            used[find_pair(&round, used, &batch, i, options->length)] = true;
        }
    }
    free(used);
    free_round(&round);
}

/* Plates of different sizes, one of which is drawn more than once for a round; the last round is not used up. */
static void points_lie_between_matched_pairs(void **state)
{
    (void)state;
    static const struct {
        size_t size, charges, steps; /* of a round */
    } cases[] = {{20, 60, 3}, {40, 40, 1}, {25, 60, 2}, {1, 5, 5}, {70, 130, 1}};
    for (size_t kind = 0; kind < KINDS; kind++)
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            struct plates plates = plates_random(200, 190, D, k);
            struct efm_batch_options options = matched(kind, cases[k].size, cases[k].charges, 0);
            struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
            for (uint64_t round = 0; round < 3; round++)
                expect_round(&plates, batcher, &options, round, round * cases[k].steps, cases[k].steps);
            efm_batcher_destroy(batcher);
            plates_free(&plates);
        }
}

static void a_told_refresh_is_obeyed(void **state)
{
    (void)state;
    struct plates plates = plates_random(200, 200, D, 1);
    for (size_t kind = 0; kind < KINDS; kind++) {
        struct efm_batch_options options = matched(kind, 20, 60, 7);
        struct efm_batcher *longer = plates_batcher(&plates, &options, NULL);
        options.refresh = 1;
        struct efm_batcher *shorter = plates_batcher(&plates, &options, NULL);
        for (uint64_t round = 0; round < 2; round++)
            for (uint64_t turn = 0; turn < 7; turn += 3) /* pairs serve again when all have served */
                expect_round(&plates, longer, &options, round, 7 * round + turn, turn < 6 ? 3 : 1);
        for (uint64_t step = 0; step < 4; step++)
            expect_round(&plates, shorter, &options, step, step, 1);
        efm_batcher_destroy(longer);
        efm_batcher_destroy(shorter);
    }
    plates_free(&plates);
}

static void noise_is_matched_too(void **state)
{
    (void)state;
    float *values = plates_normal(50 * D, 0, 1, 1);
    struct plates plates = plates_of(NULL, 0, values, 50, efm_shape_vector(D), 0);
    for (size_t kind = 0; kind < KINDS; kind++) {
        struct efm_batch_options options = matched(kind, 16, 48, 0);
        struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
        expect_round(&plates, batcher, &options, 0, 0, 3);
        expect_round(&plates, batcher, &options, 1, 3, 3);
        efm_batcher_destroy(batcher);
    }
    plates_free(&plates);
    free(values);
}

static bool same(const struct efm_training_batch *a, const struct efm_training_batch *b, size_t dimension)
{
    size_t rows = a->size * sizeof(float);
    return memcmp(a->x, b->x, rows * dimension) == 0 && memcmp(a->z, b->z, rows) == 0 &&
           memcmp(a->target_x, b->target_x, rows * dimension) == 0 &&
           (a->target_z == NULL || memcmp(a->target_z, b->target_z, rows) == 0);
}

/* Whatever was made before, and by whomever: the same bytes. */
static void a_step_depends_on_seed_and_step_alone(void **state)
{
    (void)state;
    const size_t dimensions[] = {2, 100};
    struct efm_team *team = training_team(3);
    for (size_t k = 0; k < 2 * KINDS; k++) {
        size_t dimension = dimensions[k / KINDS];
        struct plates plates = plates_random(120, 150, dimension, k);
        struct efm_batch_options options = matched(k % KINDS, 30, 100, 0);
        struct efm_batcher *one = plates_batcher(&plates, &options, NULL);
        struct efm_batcher *other = plates_batcher(&plates, &options, team);
        options.pairing = EFM_PAIRING_RANDOM;
        struct efm_batcher *random = plates_batcher(&plates, &options, NULL);
        struct efm_training_batch first = plates_make(one, 7), second, third = plates_make(random, 7);
        for (uint64_t step = 2; step < 8; step++)
            second = plates_make(other, step);
        assert_true(same(&first, &second, dimension));
        assert_false(same(&first, &third, dimension));
        second = plates_make(other, 8);
        assert_false(same(&first, &second, dimension));
        efm_batcher_destroy(one);
        efm_batcher_destroy(other);
        efm_batcher_destroy(random);
        plates_free(&plates);
    }
    efm_team_destroy(team);
}

static void bytes_count_the_pairs(void **state)
{
    (void)state;
    struct plates plates = plates_random(50, 50, D, 1);
    for (size_t kind = 0; kind < KINDS; kind++) {
        struct efm_batch_options options = matched(kind, 20, 300, 0);
        struct efm_batcher *pairs = plates_batcher(&plates, &options, NULL);
        options.pairing = EFM_PAIRING_RANDOM;
        struct efm_batcher *random = plates_batcher(&plates, &options, NULL);
        assert_true(efm_batcher_bytes(pairs) >=
                    efm_batcher_bytes(random) + efm_pairing_bytes(300) - 2 * sizeof(float[20][D]));
        efm_batcher_destroy(pairs);
        efm_batcher_destroy(random);
    }
    plates_free(&plates);
}

static void creation_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct plates plates = plates_random(20, 30, 60, 1);
    for (size_t kind = 0; kind < KINDS; kind++) {
        struct efm_batch_options options = matched(kind, 10, 12, 0);
        struct efm_batcher *batcher = NULL;
        enum efm_status status = EFM_E_MEMORY;
        size_t n = 0;
        for (; status != EFM_OK; n++) {
            chaos_arm(n);
            status = efm_batcher_create(&batcher, &options, plates.samples[0], plates.samples[1], NULL, NULL);
            chaos_disarm();
            assert_true(status == EFM_OK || (status == EFM_E_MEMORY && batcher == NULL));
        }
        assert_true(n > 1);
        struct efm_training_batch batch;
        chaos_arm(0); /* a step takes no memory */
        assert_int_equal(efm_batcher_make(batcher, 1, &batch, NULL), EFM_OK);
        chaos_disarm();
        efm_batcher_destroy(batcher);
    }
    plates_free(&plates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_of_all_permutations),
        cmocka_unit_test(no_cycle_of_many_lowers_the_sum),
        cmocka_unit_test(points_far_from_0_are_matched_as_well),
        cmocka_unit_test(equals_find_each_other),
        cmocka_unit_test(ties_are_broken_somehow),
        cmocka_unit_test(numbers_without_a_sum_do_no_harm),
        cmocka_unit_test(threads_do_not_enter),
        cmocka_unit_test(space_that_does_not_fit_is_told),
        cmocka_unit_test(words_there_and_back),
        cmocka_unit_test(options_have_limits),
        cmocka_unit_test(points_lie_between_matched_pairs),
        cmocka_unit_test(a_told_refresh_is_obeyed),
        cmocka_unit_test(noise_is_matched_too),
        cmocka_unit_test(a_step_depends_on_seed_and_step_alone),
        cmocka_unit_test(bytes_count_the_pairs),
        cmocka_unit_test(creation_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests_name("train/pairing", tests, NULL, NULL);
}
