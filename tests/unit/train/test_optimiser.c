// SPDX-License-Identifier: Apache-2.0
#include "core/train/optimiser.h"

#include "core/base/memory.h"
#include "core/base/random.h"
#include "tests/support/check.h"
#include "tests/unit/data/chaos.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 40, COUNT = 2 * 65536 + 37 };

static struct efm_optimiser *create(const struct efm_optimiser_options *options, size_t count,
                                    const float *parameters)
{
    struct efm_error error = {0};
    struct efm_optimiser *optimiser;
    if (efm_optimiser_create(&optimiser, options, count, &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_optimiser_begin(optimiser, parameters);
    return optimiser;
}

static float *draw(size_t count, uint64_t stream, double scale)
{
    struct efm_random random;
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    efm_random_init(&random, 11, stream, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, values, count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(values[i] * scale);
    return values;
}

/* The same rules once more, in double and one number after the other. */
struct reference {
    double *p, *m, *v, *average;
};

static double reference_rate(const struct efm_optimiser_options *options, uint64_t step)
{
    double warm = options->warmup > 0 ? fmin((double)step / (double)options->warmup, 1) : 1;
    if (options->schedule == EFM_SCHEDULE_CONSTANT || step < options->warmup)
        return options->rate * warm;
    double progress = fmin((double)(step - options->warmup) / (double)(options->steps - options->warmup), 1);
    return options->rate * (0.01 + 0.99 * (1 + cos(acos(-1) * progress)) / 2);
}

static double reference_step(struct reference *reference, const struct efm_optimiser_options *options,
                             const float *gradient, size_t count, uint64_t step)
{
    double norm = 0, t = (double)step + 1, rate = reference_rate(options, step);
    for (size_t i = 0; i < count; i++)
        norm += (double)gradient[i] * gradient[i];
    norm = sqrt(norm);
    double factor =
        options->clip > 0 && options->clip / (norm + 1e-6) < 1 ? options->clip / (norm + 1e-6) : 1;
    double decay = fmin(options->ema, (1 + t) / (10 + t));
    for (size_t i = 0; i < count; i++) {
        double g = gradient[i] * factor;
        reference->m[i] = options->beta1 * reference->m[i] + (1 - options->beta1) * g;
        reference->v[i] = options->beta2 * reference->v[i] + (1 - options->beta2) * g * g;
        double m = reference->m[i] / (1 - pow(options->beta1, t));
        double v = reference->v[i] / (1 - pow(options->beta2, t));
        reference->p[i] -= rate * m / (sqrt(v) + options->epsilon);
        reference->average[i] = decay * reference->average[i] + (1 - decay) * reference->p[i];
    }
    return norm;
}

static struct reference begin_reference(const float *parameters, size_t count)
{
    double *block = calloc(4 * count, sizeof *block);
    assert_non_null(block);
    for (size_t i = 0; i < count; i++)
        block[i] = block[3 * count + i] = parameters[i];
    return (struct reference){block, block + count, block + 2 * count, block + 3 * count};
}

static void assert_close(const float *values, const double *wanted, size_t count, double tolerance,
                         const char *what)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs(values[i] - wanted[i]) / tolerance);
    if (!(worst <= 1))
        fail_msg("%s: off by %g", what, worst * tolerance);
}

static void compare(const struct efm_optimiser_options *options, size_t count, uint64_t steps)
{
    float *parameters = draw(count, 0, 1);
    struct efm_optimiser *optimiser = create(options, count, parameters);
    struct reference reference = begin_reference(parameters, count);
    const struct efm_optimiser_state *state = efm_optimiser_state(optimiser);
    for (uint64_t step = 0; step < steps; step++) {
        /* some steps are clipped and some are not */
        float *gradient = draw(count, 1 + step, (step % 3 == 0 ? 0.5 : 3) / sqrt((double)count));
        struct efm_optimiser_outcome outcome;
        assert_int_equal(state->step, step);
        assert_int_equal(efm_optimiser_step(optimiser, parameters, gradient, NULL, &outcome, NULL), EFM_OK);
        double norm = reference_step(&reference, options, gradient, count, step);
        assert_true(fabs(outcome.gradient_norm - norm) <= 1e-12 * norm);
        assert_true(fabs(outcome.rate - reference_rate(options, step)) <= 1e-15 * options->rate);
        free(gradient);
    }
    double size = 1 / sqrt((double)count);
    assert_close(parameters, reference.p, count, 1e-5, "parameters");
    assert_close(state->average, reference.average, count, 1e-5, "average");
    assert_close(state->first, reference.m, count, 1e-5 * size, "first moment");
    assert_close(state->second, reference.v, count, 1e-5 * size * size, "second moment");
    efm_optimiser_destroy(optimiser);
    free(reference.p);
    free(parameters);
}

static void follows_adam(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    efm_optimiser_options_default(&options);
    options.rate = 0.01;
    options.warmup = 0;
    compare(&options, 1, STEPS);
    compare(&options, COUNT, 5);
    options.clip = 0;
    options.ema = 0.5;
    compare(&options, 1000, STEPS);
    options.clip = 0.7;
    options.warmup = 7;
    options.schedule = EFM_SCHEDULE_COSINE;
    options.steps = STEPS - 5; /* and the last ones are past it */
    compare(&options, 1000, STEPS);
    options.beta1 = 0.5;
    options.beta2 = 0.9;
    options.epsilon = 1e-3;
    options.ema = 0;
    compare(&options, 77, STEPS);
    options.beta1 = options.beta2 = 0;
    compare(&options, 77, STEPS);
}

static void rate_follows_its_schedule(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    efm_optimiser_options_default(&options);
    options.rate = 0.5;
    options.warmup = 4;
    options.schedule = EFM_SCHEDULE_COSINE;
    options.steps = 8;
    const double rates[] = {0,     0.125, 0.25, 0.375, 0.5, 0.42750892834367049, 0.2525, 0.077491071656329485,
                            0.005, 0.005};
    float parameter = 1, gradient = 1;
    struct efm_optimiser *optimiser = create(&options, 1, &parameter);
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct efm_optimiser_outcome outcome;
        assert_int_equal(efm_optimiser_step(optimiser, &parameter, &gradient, NULL, &outcome, NULL), EFM_OK);
        assert_true(fabs(outcome.rate - rates[i]) < 1e-15);
        if (i == 0)
            assert_true(parameter == 1); /* the first rate of a warm-up is 0 */
    }
    efm_optimiser_destroy(optimiser);
    /* a training that is shorter than its warm-up never leaves it */
    options.steps = 2;
    optimiser = create(&options, 1, &parameter);
    for (size_t i = 0; i < 6; i++) {
        struct efm_optimiser_outcome outcome;
        assert_int_equal(efm_optimiser_step(optimiser, &parameter, &gradient, NULL, &outcome, NULL), EFM_OK);
        assert_true(outcome.rate == (i < 4 ? 0.125 * (double)i : 0.005));
    }
    efm_optimiser_destroy(optimiser);
}

static void average_follows_its_decay(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    efm_optimiser_options_default(&options);
    options.rate = 1;
    options.warmup = 0;
    options.ema = 0.25;
    float parameter = 0, gradient = 1;
    double wanted = 0;
    struct efm_optimiser *optimiser = create(&options, 1, &parameter);
    for (size_t n = 1; n <= 6; n++) {
        assert_int_equal(efm_optimiser_step(optimiser, &parameter, &gradient, NULL, NULL, NULL), EFM_OK);
        double decay = (double)(1 + n) / (double)(10 + n); /* 2/11, 3/12, then more than ema */
        decay = decay < 0.25 ? decay : 0.25;
        wanted = decay * wanted + (1 - decay) * parameter;
        assert_true(fabs(efm_optimiser_state(optimiser)->average[0] - wanted) < 1e-5);
    }
    efm_optimiser_destroy(optimiser);
}

static void team_leaves_no_trace(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    float *kept[4] = {NULL};
    efm_optimiser_options_default(&options);
    options.warmup = 1;
    for (size_t size = 0; size <= 3; size++) {
        struct efm_team *team = NULL;
        float *parameters = draw(COUNT, 0, 1);
        if (size > 0)
            assert_int_equal(efm_team_create(&team, size, NULL), EFM_OK);
        struct efm_optimiser *optimiser = create(&options, COUNT, parameters);
        for (uint64_t step = 0; step < 3; step++) {
            float *gradient = draw(COUNT, 1 + step, 1);
            assert_int_equal(efm_optimiser_step(optimiser, parameters, gradient, team, NULL, NULL), EFM_OK);
            free(gradient);
        }
        const struct efm_optimiser_state *now = efm_optimiser_state(optimiser);
        const float *arrays[4] = {parameters, now->first, now->second, now->average};
        for (size_t i = 0; i < 4; i++) {
            if (size == 0) {
                kept[i] = malloc(COUNT * sizeof(float));
                assert_non_null(kept[i]);
                memcpy(kept[i], arrays[i], COUNT * sizeof(float));
            }
            assert_memory_equal(kept[i], arrays[i], COUNT * sizeof(float));
        }
        efm_optimiser_destroy(optimiser);
        efm_team_destroy(team);
        free(parameters);
    }
    for (size_t i = 0; i < 4; i++)
        free(kept[i]);
}

/* Makes one step with this number in the middle of the gradient, and says whether anything changed by it. */
static enum efm_status step_with(struct efm_optimiser *optimiser, float *parameters, float bad, bool *changed,
                                 struct efm_error *error)
{
    enum { N = 70000 };
    struct efm_optimiser_state *state = efm_optimiser_state(optimiser);
    float *arrays[4] = {parameters, state->first, state->second, state->average};
    float *gradient = draw(N, 2, 1), *before = malloc(4 * N * sizeof *before);
    uint64_t step = state->step;
    assert_non_null(before);
    gradient[N - 3] = bad;
    for (size_t i = 0; i < 4; i++)
        memcpy(before + i * N, arrays[i], N * sizeof *before);
    enum efm_status status = efm_optimiser_step(optimiser, parameters, gradient, NULL, NULL, error);
    *changed = state->step != step;
    for (size_t i = 0; i < 4; i++)
        *changed = *changed || memcmp(before + i * N, arrays[i], N * sizeof *before) != 0;
    free(before);
    free(gradient);
    return status;
}

static void refuses_what_is_not_finite(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    bool changed;
    efm_optimiser_options_default(&options);
    options.warmup = 0;
    for (int clipped = 0; clipped < 2; clipped++) {
        options.clip = clipped;
        float *parameters = draw(70000, 0, 1);
        struct efm_optimiser *optimiser = create(&options, 70000, parameters);
        assert_int_equal(step_with(optimiser, parameters, 1, &changed, NULL), EFM_OK);
        assert_true(changed);
        const float bad[] = {NAN, INFINITY, -INFINITY};
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            struct efm_error error = {0};
            assert_int_equal(step_with(optimiser, parameters, bad[i], &changed, &error), EFM_E_NUMERIC);
            assert_false(changed);
            assert_string_equal(error.message, "the gradient is not finite");
        }
        /* whose square is no float: refused as it is, fine once it is clipped */
        assert_int_equal(step_with(optimiser, parameters, 1e30f, &changed, NULL),
                         clipped ? EFM_OK : EFM_E_NUMERIC);
        assert_true(changed == (clipped == 1));
        assert_int_equal(step_with(optimiser, parameters, 3e38f, &changed, NULL),
                         clipped ? EFM_OK : EFM_E_NUMERIC);
        assert_int_equal(step_with(optimiser, parameters, 1, &changed, NULL), EFM_OK);
        for (size_t i = 0; i < 70000; i++)
            assert_true(isfinite(parameters[i]) && isfinite(efm_optimiser_state(optimiser)->second[i]));
        efm_optimiser_destroy(optimiser);
        free(parameters);
    }
}

static void moments_that_fade_become_zero(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    float parameters[20], gradient[20];
    efm_optimiser_options_default(&options);
    options.warmup = 0;
    options.beta2 = 0.9;
    for (size_t i = 0; i < 20; i++)
        parameters[i] = gradient[i] = 1e-3f * (float)(1 + i);
    struct efm_optimiser *optimiser = create(&options, 20, parameters);
    const struct efm_optimiser_state *now = efm_optimiser_state(optimiser);
    for (size_t step = 0; step < 1000; step++) {
        assert_int_equal(efm_optimiser_step(optimiser, parameters, gradient, NULL, NULL, NULL), EFM_OK);
        memset(gradient, 0, sizeof gradient);
        for (size_t i = 0; i < 20; i++) {
            assert_int_not_equal(fpclassify(now->first[i]), FP_SUBNORMAL);
            assert_int_not_equal(fpclassify(now->second[i]), FP_SUBNORMAL);
        }
    }
    for (size_t i = 0; i < 20; i++)
        assert_true(now->first[i] == 0 && now->second[i] == 0 && isfinite(parameters[i]));
    efm_optimiser_destroy(optimiser);
}

static void goes_on_from_a_state(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    float one[50], other[50];
    efm_optimiser_options_default(&options);
    options.warmup = 3;
    float *start = draw(50, 0, 1);
    memcpy(one, start, sizeof one);
    struct efm_optimiser *first = create(&options, 50, one), *second = create(&options, 50, one);
    for (uint64_t step = 0; step < 9; step++) {
        float *gradient = draw(50, 1 + step, 1);
        if (step == 4) {
            const struct efm_optimiser_state *from = efm_optimiser_state(first);
            struct efm_optimiser_state *to = efm_optimiser_state(second);
            memcpy(to->first, from->first, sizeof one);
            memcpy(to->second, from->second, sizeof one);
            memcpy(to->average, from->average, sizeof one);
            to->step = from->step;
            memcpy(other, one, sizeof one);
        }
        assert_int_equal(efm_optimiser_step(first, one, gradient, NULL, NULL, NULL), EFM_OK);
        if (step >= 4)
            assert_int_equal(efm_optimiser_step(second, other, gradient, NULL, NULL, NULL), EFM_OK);
        free(gradient);
    }
    assert_memory_equal(one, other, sizeof one);
    assert_memory_equal(efm_optimiser_state(first)->average, efm_optimiser_state(second)->average,
                        sizeof one);
    efm_optimiser_destroy(first);
    efm_optimiser_destroy(second);
    free(start);
}

static void refuses_bad_options(void **state)
{
    (void)state;
    struct efm_optimiser_options good;
    efm_optimiser_options_default(&good);
    assert_int_equal(efm_optimiser_options_check(&good, NULL), EFM_OK);
    const struct {
        size_t place;
        double value;
        const char *word;
    } bad[] = {
#define BAD(member, value) {offsetof(struct efm_optimiser_options, member), value, #member}
        BAD(rate, 0),     BAD(rate, -1), BAD(rate, NAN),  BAD(rate, 1001), BAD(rate, INFINITY),
        BAD(beta1, -0.1), BAD(beta1, 1), BAD(beta2, NAN), BAD(beta2, 1),   BAD(epsilon, 0),
        BAD(epsilon, 2),  BAD(clip, -1), BAD(clip, NAN),  BAD(clip, 1e19), BAD(ema, 1),
        BAD(ema, -1),     BAD(ema, NAN),
#undef BAD
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct efm_optimiser_options options = good;
        struct efm_optimiser *optimiser = NULL;
        struct efm_error error = {0};
        memcpy((char *)&options + bad[i].place, &bad[i].value, sizeof(double));
        assert_int_equal(efm_optimiser_create(&optimiser, &options, 3, &error), EFM_E_ARGUMENT);
        assert_null(optimiser);
        if (strstr(error.message, bad[i].word) == NULL)
            fail_msg("%s is not in: %s", bad[i].word, error.message);
    }
    struct efm_optimiser_options options = good;
    options.schedule = EFM_SCHEDULE_COSINE;
    assert_int_equal(efm_optimiser_options_check(&options, NULL), EFM_E_ARGUMENT);
    options.steps = 1;
    assert_int_equal(efm_optimiser_options_check(&options, NULL), EFM_OK);
    options.schedule = (enum efm_schedule)2;
    assert_int_equal(efm_optimiser_options_check(&options, NULL), EFM_E_ARGUMENT);
}

static void words_come_back(void **state)
{
    (void)state;
    enum efm_schedule schedule;
    for (int i = EFM_SCHEDULE_CONSTANT; i <= EFM_SCHEDULE_COSINE; i++) {
        assert_int_equal(efm_schedule_parse(efm_schedule_name((enum efm_schedule)i), &schedule), EFM_OK);
        assert_int_equal(schedule, i);
    }
    assert_int_equal(efm_schedule_parse("linear", &schedule), EFM_E_NOT_FOUND);
    assert_string_equal(efm_schedule_name((enum efm_schedule)9), "unknown");
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_optimiser_options options;
    struct efm_optimiser *optimiser = NULL;
    size_t n = 0;
    efm_optimiser_options_default(&options);
    for (enum efm_status status = EFM_E_MEMORY; status != EFM_OK; n++) {
        chaos_arm(n);
        status = efm_optimiser_create(&optimiser, &options, 100, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && optimiser == NULL));
    }
    assert_true(n > 4);
    efm_optimiser_destroy(optimiser);
    efm_optimiser_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_adam),
        cmocka_unit_test(rate_follows_its_schedule),
        cmocka_unit_test(average_follows_its_decay),
        cmocka_unit_test(team_leaves_no_trace),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(moments_that_fade_become_zero),
        cmocka_unit_test(goes_on_from_a_state),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(words_come_back),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests_name("optimiser", tests, NULL, NULL);
}
