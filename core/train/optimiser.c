// SPDX-License-Identifier: Apache-2.0
#include "core/train/optimiser.h"

#include "core/base/memory.h"
#include "core/base/words.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Run-time dispatch over instruction sets; a sanitizer is not ready yet when ifunc resolvers run. */
#if defined(__x86_64__) && !defined(EFM_NO_CLONES)
#define EFM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EFM_CLONES
#endif

/* Pieces are fixed and their sums added in order, so the team leaves no trace in a result. */
enum { PIECE = 65536, LANES = 16 };

/* With these an update stays far inside the floats: the gradient's square fits the second moment, and
 * MAX_GRADIENT / MIN_EPSILON * MAX_RATE fits a parameter. */
static const double MAX_GRADIENT = 1e18, MIN_EPSILON = 1e-15, MAX_RATE = 1000;

static const double COSINE_END = 0.01; /* of the rate, at the end of the training */

struct efm_optimiser {
    struct efm_optimiser_options options;
    size_t count, pieces;
    struct efm_optimiser_state state; /* arrays owned */
    double *squares;                  /* [pieces] sums of squares of the gradient */
};

EFM_DEFINE_WORDS(efm_schedule, EFM_SCHEDULE_MAP)

void efm_optimiser_options_default(struct efm_optimiser_options *options)
{
    *options = (struct efm_optimiser_options){.rate = 2e-4,
                                              .beta1 = 0.9,
                                              .beta2 = 0.999,
                                              .epsilon = 1e-8,
                                              .warmup = 5000,
                                              .schedule = EFM_SCHEDULE_CONSTANT,
                                              .clip = 1,
                                              .ema = 0.9999};
}

enum efm_status efm_optimiser_options_check(const struct efm_optimiser_options *options,
                                            struct efm_error *error)
{
    if (!(options->rate > 0 && options->rate <= MAX_RATE))
        return efm_error_set(error, EFM_E_ARGUMENT, "the learning rate is %g, but lies above 0 and up to %g",
                             options->rate, MAX_RATE);
    const struct {
        const char *name;
        double value;
    } shares[] = {{"beta1", options->beta1}, {"beta2", options->beta2}, {"ema", options->ema}};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        if (!(shares[i].value >= 0 && shares[i].value < 1))
            return efm_error_set(error, EFM_E_ARGUMENT, "%s is %g, but lies in [0, 1)", shares[i].name,
                                 shares[i].value);
    if (!(options->epsilon >= MIN_EPSILON && options->epsilon <= 1))
        return efm_error_set(error, EFM_E_ARGUMENT, "epsilon is %g, but lies in [%g, 1]", options->epsilon,
                             MIN_EPSILON);
    if (!(options->clip >= 0 && options->clip <= MAX_GRADIENT))
        return efm_error_set(error, EFM_E_ARGUMENT, "the gradient clip is %g, but lies in [0, %g]",
                             options->clip, MAX_GRADIENT);
    if ((size_t)options->schedule >= EFM_WORD_COUNT(efm_schedule))
        return efm_error_set(error, EFM_E_ARGUMENT, "the schedule is none of those that are known");
    if (options->schedule == EFM_SCHEDULE_COSINE && options->steps == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "a cosine needs to know of how many steps");
    return EFM_OK;
}

enum efm_status efm_optimiser_create(struct efm_optimiser **result,
                                     const struct efm_optimiser_options *options, size_t count,
                                     struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = efm_optimiser_options_check(options, error);
    if (status != EFM_OK)
        return status;
    struct efm_optimiser *optimiser = efm_allocate_array(1, sizeof *optimiser);
    if (optimiser == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for an optimiser");
    optimiser->options = *options;
    optimiser->count = count;
    optimiser->pieces = count / PIECE + (count % PIECE != 0);
    optimiser->squares = efm_allocate_array(optimiser->pieces, sizeof *optimiser->squares);
    optimiser->state.first = efm_allocate_array(count, sizeof(float));
    optimiser->state.second = efm_allocate_array(count, sizeof(float));
    optimiser->state.average = efm_allocate_array(count, sizeof(float));
    if (optimiser->squares == NULL || optimiser->state.first == NULL || optimiser->state.second == NULL ||
        optimiser->state.average == NULL) {
        efm_optimiser_destroy(optimiser);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the moments of %zu parameters", count);
    }
    *result = optimiser;
    return EFM_OK;
}

void efm_optimiser_destroy(struct efm_optimiser *optimiser)
{
    if (optimiser == NULL)
        return;
    efm_free(optimiser->squares);
    efm_free(optimiser->state.first);
    efm_free(optimiser->state.second);
    efm_free(optimiser->state.average);
    efm_free(optimiser);
}

void efm_optimiser_begin(struct efm_optimiser *optimiser, const float *parameters)
{
    memcpy(optimiser->state.average, parameters, optimiser->count * sizeof *parameters);
}

struct efm_optimiser_state *efm_optimiser_state(struct efm_optimiser *optimiser)
{
    return &optimiser->state;
}

/* ---- one step ---- */

/* What one piece of a step needs; the numbers of `update` are the same for all. */
struct step {
    struct efm_optimiser *optimiser;
    float *parameters;
    const float *gradient;
    struct update {
        float factor;         /* of the gradient, by clipping */
        float weight1, beta2; /* 1 - beta1, beta2 */
        float weight2;        /* 1 - beta2 */
        float size;           /* rate / (1 - beta1^t) */
        float scale;          /* 1 / sqrt(1 - beta2^t) */
        float epsilon;
        float average_weight; /* 1 - decay */
    } update;
};

static size_t piece_count(const struct efm_optimiser *optimiser, size_t index)
{
    size_t left = optimiser->count - index * PIECE;
    return left < PIECE ? left : PIECE;
}

/* In lanes of a fixed number, so that the width of the vectors does not enter the rounding. */
EFM_CLONES static double sum_squares(const float *restrict gradient, size_t count)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += (double)gradient[i + j] * gradient[i + j];
    }
    for (size_t i = whole; i < count; i++)
        lanes[i - whole] += (double)gradient[i] * gradient[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

static void square_piece(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct step *step = context;
    step->optimiser->squares[index] =
        sum_squares(step->gradient + index * PIECE, piece_count(step->optimiser, index));
}

/* What is too small to matter becomes zero: moments of parameters that are never used would otherwise decay into
 * subnormal numbers, on which many processors are a hundred times slower. */
static inline float flush(float value)
{
    return fabsf(value) < FLT_MIN ? 0 : value;
}

/* Clipping, Adam and the average in one pass, for the time goes into reading and writing the arrays. */
EFM_CLONES static void update_numbers(const struct update *update, const float *restrict gradient,
                                      float *restrict parameters, float *restrict first,
                                      float *restrict second, float *restrict average, size_t count)
{
    const struct update u = *update;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * u.factor;
        float m = flush(first[i] + u.weight1 * (g - first[i]));
        float v = flush(second[i] * u.beta2 + u.weight2 * (g * g));
        float p = parameters[i] - u.size * (m / (sqrtf(v) * u.scale + u.epsilon));
        first[i] = m;
        second[i] = v;
        parameters[i] = p;
        average[i] += u.average_weight * (p - average[i]);
    }
}

static void update_piece(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct step *step = context;
    const struct efm_optimiser_state *state = &step->optimiser->state;
    size_t at = index * PIECE;
    update_numbers(&step->update, step->gradient + at, step->parameters + at, state->first + at,
                   state->second + at, state->average + at, piece_count(step->optimiser, index));
}

/* The rate of the step after `step` updates. */
static double rate_at(const struct efm_optimiser_options *options, uint64_t step)
{
    if (step < options->warmup)
        return options->rate * ((double)step / (double)options->warmup);
    if (options->schedule == EFM_SCHEDULE_CONSTANT)
        return options->rate;
    if (step >= options->steps)
        return options->rate * COSINE_END;
    static const double pi = 3.14159265358979323846;
    double progress = (double)(step - options->warmup) / (double)(options->steps - options->warmup);
    return options->rate * (COSINE_END + (1 - COSINE_END) * 0.5 * (1 + cos(pi * progress)));
}

static struct update make_update(const struct efm_optimiser_options *options, uint64_t step, double rate,
                                 double factor)
{
    double t = (double)step + 1;
    return (struct update){
        .factor = (float)factor,
        .weight1 = (float)(1 - options->beta1),
        .beta2 = (float)options->beta2,
        .weight2 = (float)(1 - options->beta2),
        .size = (float)(rate / (1 - pow(options->beta1, t))),
        .scale = (float)(1 / sqrt(1 - pow(options->beta2, t))),
        .epsilon = (float)options->epsilon,
        .average_weight = (float)(1 - fmin(options->ema, (1 + t) / (10 + t))),
    };
}

enum efm_status efm_optimiser_step(struct efm_optimiser *optimiser, float *parameters, const float *gradient,
                                   struct efm_team *team, struct efm_optimiser_outcome *outcome,
                                   struct efm_error *error)
{
    const struct efm_optimiser_options *options = &optimiser->options;
    struct step step = {.optimiser = optimiser, .parameters = parameters, .gradient = gradient};
    efm_team_run(team, optimiser->pieces, square_piece, &step);
    double squares = 0;
    for (size_t i = 0; i < optimiser->pieces; i++)
        squares += optimiser->squares[i];
    double norm = sqrt(squares);
    /* as torch.nn.utils.clip_grad_norm_ */
    double factor = options->clip > 0 ? fmin(1, options->clip / (norm + 1e-6)) : 1;
    if (!isfinite(norm))
        return efm_error_set(error, EFM_E_NUMERIC, "the gradient is not finite");
    if (norm * factor > MAX_GRADIENT)
        return efm_error_set(error, EFM_E_NUMERIC, "the norm of the gradient is %g, more than %g", norm,
                             MAX_GRADIENT);
    double rate = rate_at(options, optimiser->state.step);
    step.update = make_update(options, optimiser->state.step, rate, factor);
    efm_team_run(team, optimiser->pieces, update_piece, &step);
    optimiser->state.step++;
    if (outcome != NULL)
        *outcome = (struct efm_optimiser_outcome){.gradient_norm = norm, .rate = rate};
    return EFM_OK;
}
