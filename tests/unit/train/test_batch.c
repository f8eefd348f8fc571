// SPDX-License-Identifier: Apache-2.0
/* Batches: options, where points lie, targets against plain sums in double, and that nothing but (seed, step) enters. */
#include "core/train/batch.h"

#include "tests/unit/data/chaos.h"
#include "tests/unit/train/plates.h"

static const struct {
    enum efm_sampler sampler;
    enum efm_training_target target;
} pairs[] = {
    {EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE},     {EFM_SAMPLER_UNIFORM, EFM_TRAIN_SUPERPOSITION},
    {EFM_SAMPLER_GEOMETRIC, EFM_TRAIN_PER_PLATE},   {EFM_SAMPLER_GEOMETRIC, EFM_TRAIN_SUPERPOSITION},
    {EFM_SAMPLER_TUBE, EFM_TRAIN_PER_PLATE},        {EFM_SAMPLER_TUBE, EFM_TRAIN_SUPERPOSITION},
    {EFM_SAMPLER_MARGINAL, EFM_TRAIN_PER_PLATE},    {EFM_SAMPLER_MARGINAL, EFM_TRAIN_SUPERPOSITION},
    {EFM_SAMPLER_UNIFORM, EFM_TRAIN_CHAIN},         {EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN},
    {EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN_SINGLE}, {EFM_SAMPLER_UNIFORM, EFM_TRAIN_FLOW_MATCHING},
};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

/* ---- options ---- */

static void words_there_and_back(void **state)
{
    (void)state;
    enum efm_sampler sampler;
    enum efm_training_target target;
    for (unsigned i = 0; i <= EFM_SAMPLER_MARGINAL; i++) {
        assert_int_equal(efm_sampler_parse(efm_sampler_name((enum efm_sampler)i), &sampler), EFM_OK);
        assert_int_equal(sampler, i);
    }
    for (unsigned i = 0; i <= EFM_TRAIN_FLOW_MATCHING; i++) {
        enum efm_training_target one = (enum efm_training_target)i;
        assert_int_equal(efm_training_target_parse(efm_training_target_name(one), &target), EFM_OK);
        assert_int_equal(target, i);
    }
    assert_string_equal(efm_sampler_name(EFM_SAMPLER_TUBE), "tube");
    assert_string_equal(efm_training_target_name(EFM_TRAIN_CHAIN_SINGLE), "chain_single");
    assert_int_equal(efm_sampler_parse("chain_single", &sampler), EFM_E_NOT_FOUND);
    assert_int_equal(efm_training_target_parse("", &target), EFM_E_NOT_FOUND);
    assert_string_equal(efm_sampler_name((enum efm_sampler)99), "unknown");
    assert_string_equal(efm_training_target_name((enum efm_training_target)99), "unknown");
}

static void targets_say_what_is_learned(void **state)
{
    (void)state;
    assert_int_equal(efm_training_target_kind(EFM_TRAIN_PER_PLATE), EFM_FIELD_PER_PLATE);
    assert_int_equal(efm_training_target_kind(EFM_TRAIN_SUPERPOSITION), EFM_FIELD_SUPERPOSITION);
    assert_int_equal(efm_training_target_kind(EFM_TRAIN_CHAIN_SINGLE), EFM_FIELD_CHAIN);
    assert_int_equal(efm_training_target_kind(EFM_TRAIN_CHAIN), EFM_FIELD_CHAIN);
    assert_int_equal(efm_training_target_kind(EFM_TRAIN_FLOW_MATCHING), EFM_FIELD_FLOW_MATCHING);
    assert_false(efm_training_target_is_velocity(EFM_TRAIN_PER_PLATE));
    assert_false(efm_training_target_is_velocity(EFM_TRAIN_SUPERPOSITION));
    assert_false(efm_training_target_is_velocity(EFM_TRAIN_CHAIN));
    assert_true(efm_training_target_is_velocity(EFM_TRAIN_CHAIN_SINGLE));
    assert_true(efm_training_target_is_velocity(EFM_TRAIN_FLOW_MATCHING));
}

static void refuse(const struct efm_batch_options *options, const char *words)
{
    struct efm_error error = {0};
    assert_int_equal(efm_batch_options_check(options, &error), EFM_E_ARGUMENT);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not speak of '%s'", error.message, words);
}

#define REFUSE(member, value, words)                                                                         \
    do {                                                                                                     \
        struct efm_batch_options changed = usual;                                                            \
        changed.member = (value);                                                                            \
        refuse(&changed, words);                                                                             \
    } while (0)

static void options_have_limits(void **state)
{
    (void)state;
    struct efm_shape shapes[2] = {efm_shape_vector(2), efm_shape_image(32, 32, 3)};
    struct efm_batch_options usual;
    for (int i = 0; i < 2; i++) {
        efm_batch_options_default(&usual, &shapes[i]);
        assert_int_equal(efm_batch_options_check(&usual, NULL), EFM_OK);
    }
    usual.length = 10;
    usual.pairing = EFM_PAIRING_RANDOM;
    REFUSE(sampler, (enum efm_sampler)17, "out of range");
    REFUSE(target, (enum efm_training_target)17, "out of range");
    REFUSE(length, 0, "L must be");
    REFUSE(length, (double)NAN, "L must be");
    REFUSE(length, (double)INFINITY, "L must be");
    REFUSE(lowest, 0, "lowest");
    REFUSE(lowest, 5, "lowest");
    REFUSE(lowest, (double)NAN, "lowest");
    REFUSE(gamma, -1, "gamma");
    REFUSE(gamma, (double)NAN, "gamma");
    REFUSE(sigma, -1, "sigma");
    REFUSE(sigma, 11, "sigma");
    REFUSE(tau, 2, "tau");
    REFUSE(size, 0, "points");
    REFUSE(size, 65537, "points");
    REFUSE(charges, 63, "charges");
    REFUSE(charges, SIZE_MAX, "charges");
    REFUSE(refresh, 1000001, "stay");
    REFUSE(target, EFM_TRAIN_CHAIN_SINGLE, "marginal");
    usual.sampler = EFM_SAMPLER_MARGINAL;
    REFUSE(target, EFM_TRAIN_FLOW_MATCHING, "uniform");
    for (size_t i = 0; i < PAIRS; i++) {
        usual.sampler = pairs[i].sampler;
        usual.target = pairs[i].target;
        assert_int_equal(efm_batch_options_check(&usual, NULL), EFM_OK);
    }
}

/* ---- points ---- */

/* One charge a plate at 0 and 1 in D = 1: x tells the share of the way, z / L. */
static void points_lie_between_their_pair(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    const float source[1] = {0}, target[1] = {1};
    struct plates plates = plates_of(source, 1, target, 1, efm_shape_vector(1), 0);
    for (enum efm_sampler sampler = EFM_SAMPLER_UNIFORM; sampler <= EFM_SAMPLER_TUBE; sampler++) {
        struct efm_batch_options options = plates_options(sampler, EFM_TRAIN_PER_PLATE, SIZE);
        options.charges = 0;
        struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
        struct efm_training_batch batch = plates_make(batcher, 1);
        double mean = 0, square = 0, near[2] = {0}, away = 0, away2 = 0;
        for (size_t i = 0; i < SIZE; i++) {
            double z = (double)batch.z[i], off = (double)batch.x[i] - z / 4;
            assert_true(z > 0.01 - 1e-6 && z < 3.99 + 1e-6);
            mean += z / SIZE;
            square += z * z / SIZE;
            near[0] += z < 0.2;
            near[1] += z > 3.8;
            away += fabs(off) / SIZE;
            away2 += off * off / SIZE;
        }
        assert_true(fabs(mean - 2) < 0.05);
        if (sampler == EFM_SAMPLER_GEOMETRIC) {
            assert_true(near[0] > 0.15 * SIZE && near[1] > 0.15 * SIZE); /* a twentieth if uniform */
            assert_true(fabs(near[0] - near[1]) < 0.02 * SIZE);
        } else {
            assert_true(fabs(square - mean * mean - 3.98 * 3.98 / 12) < 0.03);
        }
        if (sampler == EFM_SAMPLER_TUBE) { /* of length |N(2, 0.4^2)| */
            assert_true(fabs(away - 2) < 0.02);
            assert_true(fabs(away2 - away * away - 0.16) < 0.01);
        } else {
            assert_true(away2 < 1e-12);
        }
        efm_batcher_destroy(batcher);
    }
    plates_free(&plates);
}

/* The tube's noise points everywhere: no component of it is preferred, and its length does not grow with D. */
static void a_tube_is_round(void **state)
{
    (void)state;
    enum { SIZE = 3000, D = 50 };
    float source[D] = {0}, target[D] = {0};
    struct plates plates = plates_of(source, 1, target, 1, efm_shape_vector(D), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_TUBE, EFM_TRAIN_PER_PLATE, SIZE);
    options.sigma = 0.1;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 1);
    double length = 0, mean[D] = {0}, square[D] = {0};
    for (size_t i = 0; i < SIZE; i++) {
        double sum = 0;
        for (size_t d = 0; d < D; d++) {
            double x = (double)batch.x[i * D + d];
            sum += x * x;
            mean[d] += x / SIZE;
            square[d] += x * x / SIZE;
        }
        length += sqrt(sum) / SIZE;
    }
    assert_true(fabs(length - 2) < 0.01);
    for (size_t d = 0; d < D; d++) {
        assert_true(fabs(mean[d]) < 0.025); /* a deviation is 0.005 */
        assert_true(fabs(square[d] - 4.0 / D) < 0.015);
    }
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* ---- targets ---- */

/* The charges of step `step` (as many as the samples of a plate: all, in some order), so sums over all samples. */
struct offsets {
    double x[4], z,
        top; /* mean of (x - y, dz) with weights r^-(D+1) e^-top, and the sum of weights in `total` */
    double total;
};

static struct offsets offsets_from(const struct plates *plates, int side, const float *x, double dz)
{
    size_t dimension = plates->dimension, count = plates->count[side];
    struct offsets sum = {.top = -INFINITY};
    for (int pass = 0; pass < 2; pass++)
        for (size_t j = 0; j < count; j++) {
            double r2 = dz * dz, l;
            for (size_t d = 0; d < dimension; d++) {
                double r = (double)x[d] - (double)plates->values[side][j * dimension + d];
                r2 += r * r;
            }
            l = -((double)dimension + 1) / 2 * log(r2);
            if (pass == 0) {
                sum.top = fmax(sum.top, l);
                continue;
            }
            double q = exp(l - sum.top) / (double)count;
            sum.total += q;
            sum.z += dz * q;
            for (size_t d = 0; d < dimension; d++)
                sum.x[d] += q * ((double)x[d] - (double)plates->values[side][j * dimension + d]);
        }
    return sum;
}

/* [D + 1] in plain double. */
static void plain_target(const struct plates *plates, const struct efm_batch_options *options, const float *x,
                         double z, double *out)
{
    size_t dimension = plates->dimension;
    struct offsets u = offsets_from(plates, 0, x, z), v = offsets_from(plates, 1, x, z - options->length);
    double a, b, root = sqrt((double)dimension + 1);
    u.x[dimension] = u.z;
    v.x[dimension] = v.z;
    double uu = 0, vv = 0, ee = 0;
    if (options->target == EFM_TRAIN_PER_PLATE) {
        for (size_t d = 0; d <= dimension; d++) {
            u.x[d] /= u.total;
            uu += u.x[d] * u.x[d];
            v.x[d] /= v.total;
            vv += v.x[d] * v.x[d];
        }
        a = root / (sqrt(uu) + options->gamma);
        b = root / (sqrt(vv) + options->gamma);
    } else {
        double top = fmax(u.top, v.top);
        a = exp(u.top - top);
        b = exp(v.top - top);
        for (size_t d = 0; d <= dimension; d++)
            ee += (a * u.x[d] - b * v.x[d]) * (a * u.x[d] - b * v.x[d]);
        a *= root / sqrt(ee);
        b *= root / sqrt(ee);
    }
    for (size_t d = 0; d <= dimension; d++)
        out[d] = a * u.x[d] - b * v.x[d];
}

static void fields_are_the_plain_sums(void **state)
{
    (void)state;
    for (size_t dimension = 1; dimension <= 3; dimension++)
        for (size_t k = 0; k < PAIRS; k++) {
            if (efm_training_target_is_velocity(pairs[k].target) || pairs[k].target == EFM_TRAIN_CHAIN)
                continue;
            struct plates plates = plates_random(80, 80, dimension, k);
            struct efm_batch_options options = plates_options(pairs[k].sampler, pairs[k].target, 80);
            struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
            struct efm_training_batch batch = plates_make(batcher, 4);
            assert_null(batch.weight);
            for (size_t i = 0; i < batch.size; i++) {
                double wanted[4], size = 0, off = 0;
                plain_target(&plates, &options, batch.x + i * dimension, (double)batch.z[i], wanted);
                for (size_t d = 0; d <= dimension; d++) {
                    double got =
                        d < dimension ? (double)batch.target_x[i * dimension + d] : (double)batch.target_z[i];
                    size += wanted[d] * wanted[d];
                    off += (got - wanted[d]) * (got - wanted[d]);
                }
                if (!(off < 1e-10 * fmax(size, 1)))
                    fail_msg("D %zu, pair %zu, point %zu: off by %g of %g", dimension, k, i, sqrt(off),
                             sqrt(size));
            }
            efm_batcher_destroy(batcher);
            plates_free(&plates);
        }
}

/* D = 3: rows up to +-2,000 of the plates one by one, which leaves out a part in 10^6. */
static void the_chain_is_the_sum_of_its_rows(void **state)
{
    (void)state;
    enum { D = 3, SIZE = 20, ROWS = 1000 };
    struct plates plates = plates_random(SIZE, SIZE, D, 3);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_MARGINAL, EFM_TRAIN_CHAIN, SIZE);
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 1);
    assert_non_null(batch.target_z);
    for (size_t i = 0; i < SIZE; i++) {
        const float *x = batch.x + D * i;
        double e[D + 1] = {0}, size = 0;
        for (size_t j = 0; j < (size_t)2 * SIZE; j++) {
            const float *c = plates.values[j % 2] + D * (j / 2);
            for (int m = -ROWS; m <= ROWS; m++) {
                double dz = (double)batch.z[i] - options.length * (2 * m + (double)(j % 2)), r2 = dz * dz;
                for (size_t d = 0; d < D; d++)
                    r2 += pow((double)x[d] - (double)c[d], 2);
                double q = (j % 2 == 0 ? 1 : -1) / (r2 * r2);
                for (size_t d = 0; d < D; d++)
                    e[d] += q * ((double)x[d] - (double)c[d]);
                e[D] += q * dz;
            }
        }
        for (size_t d = 0; d <= D; d++)
            size += e[d] * e[d];
        for (size_t d = 0; d <= D; d++) {
            double got = d < D ? (double)batch.target_x[D * i + d] : (double)batch.target_z[i];
            if (!(fabs(got - 2 * e[d] / sqrt(size)) < 1e-3))
                fail_msg("point %zu, component %zu: %g, not %g", i, d, got, 2 * e[d] / sqrt(size));
        }
    }
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* x runs from p to q: what is left of z / L and the velocity gives both back. */
static void flow_matching_is_the_slope_of_its_line(void **state)
{
    (void)state;
    enum { SIZE = 500, D = 5 };
    struct plates plates = plates_random(SIZE, SIZE, D, 3);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_UNIFORM, EFM_TRAIN_FLOW_MATCHING, SIZE);
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 0);
    size_t seen[2][SIZE] = {{0}};
    assert_null(batch.target_z);
    assert_null(batch.weight);
    for (size_t i = 0; i < SIZE; i++)
        for (int side = 0; side < 2; side++) {
            double way = (side == 0 ? 0 : options.length) - (double)batch.z[i], least = INFINITY;
            size_t best = 0;
            for (size_t j = 0; j < SIZE; j++) {
                double sum = 0;
                for (size_t d = 0; d < D; d++) {
                    double end = (double)batch.x[i * D + d] + way * (double)batch.target_x[i * D + d];
                    sum += fabs(end - (double)plates.values[side][j * D + d]);
                }
                best = sum < least ? j : best;
                least = fmin(least, sum);
            }
            assert_true(least < 1e-4);
            seen[side][best]++;
        }
    for (size_t j = 0; j < SIZE; j++) /* a pass: every sample of a plate in one pair */
        assert_true(seen[0][j] == 1 && seen[1][j] == 1);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* A height so small that it is lost beside L puts points onto charges of the target: nothing is a number that is not
 * one, and such points do not count. */
static void a_point_on_a_charge_does_no_harm(void **state)
{
    (void)state;
    enum { D = 3072, SIZE = 16 };
    float *values = plates_normal(D, 0, 1, 1);
    struct plates plates = plates_of(values, 1, values, 1, efm_shape_image(32, 32, 3), 0);
    for (size_t k = 0; k < PAIRS; k++) {
        struct efm_batch_options options = plates_options(pairs[k].sampler, pairs[k].target, SIZE);
        options.length = 10;
        options.gamma = 0;
        options.lowest = 5 - 1e-12; /* every point in the middle */
        for (int low = 0; low < 2; low++, options.lowest = 1e-8) {
            struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
            for (uint64_t step = 0; step < 2; step++) {
                struct efm_training_batch batch = plates_make(batcher, step);
                bool weighted = pairs[k].target == EFM_TRAIN_CHAIN_SINGLE;
                size_t wrong = 0;
                for (size_t i = 0; i < SIZE * D; i++)
                    wrong += !isfinite(batch.target_x[i]) || !isfinite(batch.x[i]);
                assert_int_equal(wrong, 0);
                for (size_t i = 0; i < SIZE; i++) {
                    assert_true(batch.target_z == NULL || isfinite(batch.target_z[i]));
                    assert_true(
                        batch.weight == NULL || batch.weight[i] == 0 ||
                        (weighted ? batch.weight[i] > 0 && batch.weight[i] <= 1 : batch.weight[i] == 1));
                }
            }
            efm_batcher_destroy(batcher);
        }
    }
    plates_free(&plates);
    free(values);
}

/* Heights in [L - 1e-3, ...] of a plate at L = 1e6 are L itself in floats: points on their charge, weight 0. */
static void a_point_without_a_target_has_no_weight(void **state)
{
    (void)state;
    enum { SIZE = 2000 };
    const float here[2] = {0.5f, 0.25f};
    struct plates plates = plates_of(here, 1, here, 1, efm_shape_vector(2), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_GEOMETRIC, EFM_TRAIN_SUPERPOSITION, SIZE);
    options.length = 1e6;
    options.lowest = 1e-3;
    options.sigma = 1e-2;
    options.tau = 1e-6;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    struct efm_training_batch batch = plates_make(batcher, 0);
    size_t on = 0;
    assert_non_null(batch.weight);
    for (size_t i = 0; i < SIZE; i++) {
        bool lost = batch.z[i] == 1e6f;
        on += lost;
        assert_true(batch.weight[i] == (lost ? 0.0f : 1.0f));
        assert_true(isfinite(batch.target_x[2 * i]) && isfinite(batch.target_z[i]));
        assert_true(!lost || (batch.target_x[2 * i] == 0 && batch.target_z[i] == 0));
    }
    assert_true(on > SIZE / 4);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* ---- what is drawn when ---- */

static bool same(const struct efm_training_batch *a, const struct efm_training_batch *b, size_t dimension)
{
    size_t rows = a->size * sizeof(float);
    return a->size == b->size && memcmp(a->x, b->x, rows * dimension) == 0 && memcmp(a->z, b->z, rows) == 0 &&
           memcmp(a->target_x, b->target_x, rows * dimension) == 0 &&
           (a->target_z == NULL) == (b->target_z == NULL) &&
           (a->target_z == NULL || memcmp(a->target_z, b->target_z, rows) == 0) &&
           (a->weight == NULL) == (b->weight == NULL) &&
           (a->weight == NULL || memcmp(a->weight, b->weight, rows) == 0);
}

/* Whatever was made before, and by whomever: the same bytes. */
static void a_step_depends_on_seed_and_step_alone(void **state)
{
    (void)state;
    static const size_t dimensions[] = {2, 100};
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 3, NULL), EFM_OK);
    for (size_t n = 0; n < 2; n++)
        for (size_t k = 0; k < 3 * PAIRS; k++) {
            struct plates plates = plates_random(120, 150, dimensions[n], k);
            struct efm_batch_options options =
                plates_options(pairs[k % PAIRS].sampler, pairs[k % PAIRS].target, 70);
            options.charges = k < 2 * PAIRS ? 100 : 0;
            options.refresh = k < PAIRS ? 1 : 3;
            struct efm_batcher *one = plates_batcher(&plates, &options, NULL);
            struct efm_batcher *other = plates_batcher(&plates, &options, team);
            options.seed++;
            struct efm_batcher *seed = plates_batcher(&plates, &options, NULL);
            struct efm_training_batch first = plates_make(one, 7), second, third;
            for (uint64_t step = 5; step < 8; step++)
                second = plates_make(other, step);
            third = plates_make(seed, 7);
            assert_true(same(&first, &second, dimensions[n]));
            assert_false(same(&first, &third, dimensions[n]));
            second = plates_make(other, 8);
            assert_false(same(&first, &second, dimensions[n]));
            efm_batcher_destroy(one);
            efm_batcher_destroy(other);
            efm_batcher_destroy(seed);
            plates_free(&plates);
        }
    efm_team_destroy(team);
}

/* D = 1, samples 0, 1, ... of the source and all at 0 on the target: x / (1 - z / L) is the sample. */
static void find_samples(const struct efm_training_batch *batch, double length, size_t *seen, size_t count)
{
    for (size_t i = 0; i < batch->size; i++) {
        double share = 1 - (double)batch->z[i] / length, sample = (double)batch->x[i] / share;
        assert_true(fabs(sample - round(sample)) < 0.01 && sample > -0.5 && sample < (double)count);
        seen[lround(sample)]++;
    }
}

static void expect_once(const size_t *seen, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (seen[i] != 1)
            fail_msg("sample %zu came %zu times", i, seen[i]);
}

static void charges_serve_in_turn_until_the_next_are_drawn(void **state)
{
    (void)state;
    enum { COUNT = 120 };
    float source[COUNT], target[COUNT] = {0};
    for (int i = 0; i < COUNT; i++)
        source[i] = (float)i;
    struct plates plates = plates_of(source, COUNT, target, COUNT, efm_shape_vector(1), 0);
    const struct {
        size_t size, charges, refresh, steps; /* in so many steps every sample makes a point */
    } cases[] = {{20, 60, 3, 6}, {30, 30, 1, 4}, {10, 120, 12, 12}, {20, 0, 5, 6}, {120, 0, 0, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct efm_batch_options options =
            plates_options(EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE, cases[k].size);
        options.charges = cases[k].charges;
        options.refresh = cases[k].refresh;
        options.lowest = 0.1;
        struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
        for (uint64_t pass = 0; pass < 2; pass++) {
            size_t seen[COUNT] = {0};
            for (uint64_t step = 0; step < cases[k].steps; step++) {
                struct efm_training_batch batch = plates_make(batcher, pass * cases[k].steps + step);
                find_samples(&batch, options.length, seen, COUNT);
            }
            expect_once(seen, COUNT);
        }
        efm_batcher_destroy(batcher);
    }
    plates_free(&plates);
}

/* Charges that are used again meet others: the differences q - p of a second turn are new. */
static void a_second_turn_makes_other_pairs(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    float source[COUNT], target[COUNT];
    for (int i = 0; i < COUNT; i++) {
        source[i] = (float)i;
        target[i] = 1000 * (float)i;
    }
    struct plates plates = plates_of(source, COUNT, target, COUNT, efm_shape_vector(1), 0);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE, COUNT);
    options.length = 2;
    options.lowest = 1 - 1e-9; /* z = 1: x = (p + q) / 2 */
    options.refresh = 3;
    struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
    size_t partner[3][COUNT];
    for (uint64_t step = 0; step < 3; step++) {
        struct efm_training_batch batch = plates_make(batcher, step);
        for (size_t i = 0; i < COUNT; i++) {
            long sum = lroundf(2 * batch.x[i]);
            partner[step][sum % 1000] = (size_t)(sum / 1000);
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_true(partner[0][i] != partner[1][i] && partner[1][i] != partner[2][i] &&
                    partner[0][i] != partner[2][i]);
    efm_batcher_destroy(batcher);
    plates_free(&plates);
}

/* The whole data set with a random hue: the same charges for 16 steps unless told, then others. What the charges are is
 * seen in the targets at one and the same point. */
static void a_whole_augmented_set_is_drawn_anew_at_times(void **state)
{
    (void)state;
    float *values = plates_normal(6 * 12, 0, 0.3, 1);
    struct plates plates = plates_of(values, 6, values, 6, efm_shape_image(2, 2, 3), EFM_AUGMENT_HUE);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE, 6);
    options.charges = 0;
    options.refresh = 0;
    struct efm_batcher *by_default = plates_batcher(&plates, &options, NULL);
    options.refresh = 16;
    struct efm_batcher *sixteen = plates_batcher(&plates, &options, NULL);
    options.refresh = 4;
    struct efm_batcher *four = plates_batcher(&plates, &options, NULL);
    for (uint64_t step = 0; step < 40; step++) {
        struct efm_training_batch a = plates_make(by_default, step), b = plates_make(sixteen, step);
        struct efm_training_batch c = plates_make(four, step);
        assert_true(same(&a, &b, 12));
        assert_true(same(&a, &c, 12) == (step < 4));
    }
    efm_batcher_destroy(by_default);
    efm_batcher_destroy(sixteen);
    efm_batcher_destroy(four);
    plates_free(&plates);
    free(values);
}

static void noise_is_a_plate_too(void **state)
{
    (void)state;
    float *values = plates_normal(50 * 3, 0, 1, 1);
    struct plates plates = plates_of(NULL, 0, values, 50, efm_shape_vector(3), 0);
    for (size_t k = 0; k < PAIRS; k++)
        for (size_t charges = 0; charges <= 64; charges += 64) {
            struct efm_batch_options options = plates_options(pairs[k].sampler, pairs[k].target, 64);
            options.charges = charges;
            struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
            struct efm_training_batch batch = plates_make(batcher, 2);
            assert_int_equal(batch.size, 64);
            assert_true(efm_batcher_bytes(batcher) > 64 * 3 * 2 * sizeof(float));
            efm_batcher_destroy(batcher);
        }
    plates_free(&plates);
    free(values);
}

/* ---- creation ---- */

static void shapes_must_agree(void **state)
{
    (void)state;
    struct plates a = plates_random(5, 5, 3, 1), b = plates_random(5, 5, 4, 1);
    struct efm_batch_options options = plates_options(EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE, 4);
    struct efm_batcher *batcher = (struct efm_batcher *)&options;
    struct efm_error error = {0};
    assert_int_equal(efm_batcher_create(&batcher, &options, a.samples[0], b.samples[1], NULL, &error),
                     EFM_E_SHAPE);
    assert_null(batcher);
    options.size = 0;
    assert_int_equal(efm_batcher_create(&batcher, &options, a.samples[0], a.samples[1], NULL, NULL),
                     EFM_E_ARGUMENT);
    efm_batcher_destroy(NULL);
    plates_free(&a);
    plates_free(&b);
}

static void creation_survives_any_failing_allocation(void **state)
{
    (void)state;
    for (size_t k = 0; k < PAIRS; k++)
        for (size_t dimension = 2; dimension < 100; dimension += 60) {
            struct plates plates = plates_random(20, 30, dimension, k);
            struct efm_batch_options options = plates_options(pairs[k].sampler, pairs[k].target, 10);
            options.charges = k % 2 == 0 ? 12 : 0;
            enum efm_status status = EFM_E_MEMORY;
            size_t failures = 0;
            for (size_t n = 0; status != EFM_OK; n++) {
                struct efm_batcher *batcher;
                struct efm_error error = {0};
                chaos_arm(n);
                status = efm_batcher_create(&batcher, &options, plates.samples[0], plates.samples[1], NULL,
                                            &error);
                chaos_disarm();
                if (status != EFM_OK) {
                    failures++;
                    assert_int_equal(status, EFM_E_MEMORY);
                    assert_int_equal(error.status, EFM_E_MEMORY);
                    assert_null(batcher);
                    continue;
                }
                /* A step takes no memory at all. */
                chaos_arm(0);
                struct efm_training_batch batch;
                assert_int_equal(efm_batcher_make(batcher, 1, &batch, NULL), EFM_OK);
                chaos_disarm();
                efm_batcher_destroy(batcher);
            }
            assert_true(failures >= (efm_training_target_is_velocity(pairs[k].target) ? 1 : 7));
            plates_free(&plates);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_there_and_back),
        cmocka_unit_test(targets_say_what_is_learned),
        cmocka_unit_test(options_have_limits),
        cmocka_unit_test(points_lie_between_their_pair),
        cmocka_unit_test(a_tube_is_round),
        cmocka_unit_test(fields_are_the_plain_sums),
        cmocka_unit_test(the_chain_is_the_sum_of_its_rows),
        cmocka_unit_test(flow_matching_is_the_slope_of_its_line),
        cmocka_unit_test(a_point_on_a_charge_does_no_harm),
        cmocka_unit_test(a_point_without_a_target_has_no_weight),
        cmocka_unit_test(a_step_depends_on_seed_and_step_alone),
        cmocka_unit_test(charges_serve_in_turn_until_the_next_are_drawn),
        cmocka_unit_test(a_second_turn_makes_other_pairs),
        cmocka_unit_test(a_whole_augmented_set_is_drawn_anew_at_times),
        cmocka_unit_test(noise_is_a_plate_too),
        cmocka_unit_test(shapes_must_agree),
        cmocka_unit_test(creation_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests_name("train/batch", tests, NULL, NULL);
}
