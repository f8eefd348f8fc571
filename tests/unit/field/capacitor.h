/* capacitor.h - two plates of random charges, points to look at them from, and the answers of a field.
 *
 *     struct capacitor plates = capacitor_random(100, 40, 3, 2.0, seed);
 *     struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
 *     struct probes points = probes_around(&plates, 20, seed);
 *     struct answers answers = ask(field, &points, NULL);
 */
#ifndef EFM_TESTS_CAPACITOR_H
#define EFM_TESTS_CAPACITOR_H

#include "core/base/random.h"
#include "core/field/field.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Sanitizers are ten times slower, so that they see fewer and smaller shapes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#ifndef SLOW_BUILD
#define SLOW_BUILD 0
#endif

struct capacitor {
    size_t m, n, dimension;
    double length;
    float *source, *target; /* [m, D], [n, D] */
};

struct probes {
    size_t count, dimension;
    float *x;
    double *z;
};

struct answers {
    size_t count, dimension;
    float *x;
    double *z, *log_norm, *nearest;
};

static inline void *must_have(void *block)
{
    if (block == NULL)
        abort(); /* in words that a compiler understands */
    return block;
}

static inline void fill_normal(struct efm_random *random, float *out, size_t count, double mean, double scale)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(mean + scale * efm_random_normal(random));
}

/* Charges of two overlapping clouds with a few duplicates, not centred on 0. */
static inline struct capacitor capacitor_random(size_t m, size_t n, size_t dimension, double length,
                                                uint64_t seed)
{
    struct capacitor plates = {m, n, dimension, length, NULL, NULL};
    struct efm_random random;
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    plates.source = must_have(malloc(m * dimension * sizeof(float)));
    plates.target = must_have(malloc(n * dimension * sizeof(float)));
    fill_normal(&random, plates.source, m * dimension, 1, 1);
    fill_normal(&random, plates.target, n * dimension, 1.3, 0.7);
    if (m > 4)
        memcpy(plates.source + 4 * dimension, plates.source, dimension * sizeof(float));
    if (n > 6)
        memcpy(plates.target + 6 * dimension, plates.target + dimension, dimension * sizeof(float));
    return plates;
}

static inline void capacitor_free(struct capacitor *plates)
{
    free(plates->source);
    free(plates->target);
}

static inline struct efm_field *capacitor_field_gamma(const struct capacitor *plates,
                                                      enum efm_field_kind kind, enum efm_exact_path path,
                                                      uint32_t chain_rows, double gamma)
{
    struct efm_exact_options options = {kind, path, plates->length, gamma, chain_rows};
    struct efm_error error = {0};
    struct efm_field *field;
    if (efm_exact_field_create(&field, plates->source, plates->m, plates->target, plates->n,
                               plates->dimension, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return field;
}

static inline struct efm_field *capacitor_field(const struct capacitor *plates, enum efm_field_kind kind,
                                                enum efm_exact_path path, uint32_t chain_rows)
{
    return capacitor_field_gamma(plates, kind, path, chain_rows, plates->dimension > 8 ? 5 : 1e-7);
}

static inline struct probes probes_new(size_t count, size_t dimension)
{
    return (struct probes){count, dimension, must_have(malloc(count * dimension * sizeof(float))),
                           must_have(malloc(count * sizeof(double)))};
}

/* Near a charge, on a charge's place (a duplicate where there is one), between two charges, in the middle of
 * the slab, far to the side, and near the far plate; in turn. All inside the slab. */
static inline struct probes probes_around(const struct capacitor *plates, size_t count, uint64_t seed)
{
    size_t dimension = plates->dimension;
    struct probes points = probes_new(count, dimension);
    struct efm_random random;
    efm_random_init(&random, seed, 1, EFM_RANDOM_TEST);
    for (size_t i = 0; i < count; i++) {
        const float *p = plates->source + efm_random_below(&random, plates->m) * dimension;
        const float *q = plates->target + efm_random_below(&random, plates->n) * dimension;
        float *x = points.x + i * dimension;
        double part = efm_random_uniform(&random), spread = 0;
        points.z[i] = plates->length * part;
        switch (i % 6) {
        case 0:
            part = 0;
            spread = 1e-6;
            points.z[i] = 1e-6 * plates->length;
            break;
        case 1:
            part = 0;
            p = plates->source;
            break;
        case 2:
            break;
        case 3:
            spread = 1;
            points.z[i] = plates->length / 2;
            break;
        case 4:
            spread = 30;
            break;
        default:
            part = 1;
            spread = 1e-3;
            points.z[i] = plates->length * (1 - 1e-4);
        }
        for (size_t d = 0; d < dimension; d++)
            x[d] = (float)((1 - part) * p[d] + part * q[d] + spread * efm_random_normal(&random));
    }
    return points;
}

static inline void probes_free(struct probes *points)
{
    free(points->x);
    free(points->z);
}

static inline struct answers answers_new(size_t count, size_t dimension)
{
    return (struct answers){count,
                            dimension,
                            must_have(malloc(count * dimension * sizeof(float))),
                            must_have(malloc(count * sizeof(double))),
                            must_have(malloc(count * sizeof(double))),
                            must_have(malloc(2 * count * sizeof(double)))};
}

static inline void answers_free(struct answers *answers)
{
    free(answers->x);
    free(answers->z);
    free(answers->log_norm);
    free(answers->nearest);
}

/* The answers for points [first, first + count), each array exactly as long as it must be. */
static inline struct answers ask_some(const struct efm_field *field, struct efm_field_workspace *workspace,
                                      const struct probes *points, size_t first, size_t count)
{
    struct answers answers = answers_new(count, points->dimension);
    struct efm_field_values values = {answers.x, answers.z, answers.log_norm, answers.nearest};
    efm_field_evaluate(field, workspace, points->x + first * points->dimension, points->z + first, count,
                       &values);
    return answers;
}

static inline struct answers ask(const struct efm_field *field, const struct probes *points,
                                 struct efm_team *team)
{
    struct efm_field_workspace *workspace;
    assert_int_equal(efm_field_workspace_create(&workspace, field, points->count, team, NULL), EFM_OK);
    struct answers answers = ask_some(field, workspace, points, 0, points->count);
    efm_field_workspace_destroy(workspace);
    return answers;
}

/* One point. `x` [D] or NULL takes the lateral direction, the z component is returned. */
static inline double ask_one(const struct efm_field *field, const float *x, double z, float *direction,
                             double *log_norm)
{
    size_t dimension = efm_field_dimension(field);
    struct probes point = {1, dimension, (float *)x, &z};
    struct answers answers = ask(field, &point, NULL);
    double result = answers.z[0];
    if (direction != NULL)
        memcpy(direction, answers.x, dimension * sizeof(float));
    if (log_norm != NULL)
        *log_norm = answers.log_norm[0];
    answers_free(&answers);
    return result;
}

static inline double squared_between(const float *a, const float *b, size_t dimension)
{
    double sum = 0;
    for (size_t d = 0; d < dimension; d++)
        sum += ((double)a[d] - b[d]) * ((double)a[d] - b[d]);
    return sum;
}

#endif
