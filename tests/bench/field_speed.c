// SPDX-License-Identifier: Apache-2.0
/* field_speed - how fast the exact per-plate field is, and how fast it could be. field_speed.sh runs it beside
 * field_speed.py, the same expression in PyTorch.
 *
 *   field_speed data FOLDER sharp|spread POINTS CHARGES DIMENSION    writes what both programs read
 *   field_speed field FOLDER THREADS SECONDS                         ms an evaluation; writes field.f32
 *   field_speed compare FOLDER                                       field.f32 and torch.f32 are the same
 *   field_speed gemm M N K THREADS SECONDS                           GFLOP/s of cblas_sgemm by itself
 *
 * "sharp": L = 10, gaussian charges, points anywhere between the plates: few charges have weight.
 * "spread": L = 500, the same charges, points half-way: every charge has weight, and a second product with all
 * of them is needed. Numbers in the files are float32 in the order of the machine. */
#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/field/field.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double GAMMA = 5; /* the published softening for images */

struct problem {
    size_t points, charges, dimension;
    double length;
    float *source, *target; /* [charges, D] */
    float *augmented;       /* [points, D + 1], z last */
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "field_speed: %s%s%s\n", what, detail[0] != '\0' ? ": " : "", detail);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *allocate(size_t rows, size_t columns)
{
    size_t count;
    if (!efm_size_multiply(rows, columns, &count))
        die("too large", "");
    float *values = efm_allocate_array(count, sizeof *values);
    if (values == NULL)
        die("no memory", "");
    return values;
}

static void write_floats(const char *folder, const char *name, const float *values, size_t count)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(values, sizeof *values, count, file) != count || fclose(file) != 0)
        die("cannot write", path);
}

static float *read_floats(const char *folder, const char *name, size_t rows, size_t columns)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    float *values = allocate(rows, columns);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(values, sizeof *values, rows * columns, file) != rows * columns)
        die("cannot read", path);
    fclose(file);
    return values;
}

static void write_data(const char *folder, bool spread, size_t points, size_t charges, size_t dimension)
{
    char path[1024];
    double length = spread ? 500 : 10;
    struct efm_random random;
    float *source = allocate(charges, dimension), *target = allocate(charges, dimension);
    float *augmented = allocate(points, dimension + 1);
    efm_random_init(&random, 1, spread, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, source, charges * dimension);
    for (size_t i = 0; i < charges * dimension; i++)
        target[i] = (float)(2 + 0.5 * efm_random_normal(&random));
    for (size_t i = 0; i < points; i++) {
        double u = efm_random_uniform(&random), t = spread ? 0.4 + 0.2 * u : 0.01 + 0.98 * u;
        size_t j = (size_t)efm_random_below(&random, charges);
        float *x = augmented + i * (dimension + 1);
        for (size_t d = 0; d < dimension; d++)
            x[d] = (float)((1 - t) * source[j * dimension + d] + t * target[j * dimension + d] +
                           0.05 * efm_random_normal(&random));
        x[dimension] = (float)(t * length);
    }
    write_floats(folder, "source.f32", source, charges * dimension);
    write_floats(folder, "target.f32", target, charges * dimension);
    write_floats(folder, "points.f32", augmented, points * (dimension + 1));
    snprintf(path, sizeof path, "%s/shape", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "%zu %zu %zu %g %g\n", points, charges, dimension, length, GAMMA) < 0 ||
        fclose(file) != 0)
        die("cannot write", path);
    efm_free(source);
    efm_free(target);
    efm_free(augmented);
}

static struct problem read_problem(const char *folder)
{
    char path[1024];
    struct problem problem = {0};
    snprintf(path, sizeof path, "%s/shape", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%zu %zu %zu %lf", &problem.points, &problem.charges, &problem.dimension,
                               &problem.length) != 4)
        die("cannot read", path);
    fclose(file);
    problem.source = read_floats(folder, "source.f32", problem.charges, problem.dimension);
    problem.target = read_floats(folder, "target.f32", problem.charges, problem.dimension);
    problem.augmented = read_floats(folder, "points.f32", problem.points, problem.dimension + 1);
    return problem;
}

static void release_problem(struct problem *problem)
{
    efm_free(problem->source);
    efm_free(problem->target);
    efm_free(problem->augmented);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median seconds of a call over about this many seconds, at least three calls, after one that is not counted.
 */
static double median_time(void (*call)(void *context), void *context, double seconds)
{
    enum { MOST = 4096 };
    static double times[MOST];
    size_t count = 0;
    call(context);
    for (double end = now() + seconds; count < MOST && (count < 3 || now() < end); count++) {
        double begin = now();
        call(context);
        times[count] = now() - begin;
    }
    qsort(times, count, sizeof *times, by_size);
    return times[count / 2];
}

struct evaluation {
    const struct efm_field *field;
    struct efm_field_workspace *workspace;
    float *x;
    double *z;
    size_t count;
    struct efm_field_values values;
};

static void evaluate(void *context)
{
    struct evaluation *e = context;
    efm_field_evaluate(e->field, e->workspace, e->x, e->z, e->count, &e->values);
}

static void time_field(const char *folder, size_t threads, double seconds)
{
    struct efm_error error = {0};
    struct problem problem = read_problem(folder);
    size_t points = problem.points, dimension = problem.dimension;
    struct efm_exact_options options = {
        .kind = EFM_FIELD_PER_PLATE, .length = problem.length, .gamma = GAMMA};
    struct efm_field *field;
    struct efm_team *team;
    struct evaluation e = {.x = allocate(points, dimension), .count = points};
    e.z = efm_allocate_array(points, sizeof *e.z);
    e.values = (struct efm_field_values){.x = allocate(points, dimension),
                                         .z = efm_allocate_array(points, sizeof *e.z),
                                         .log_norm = efm_allocate_array(points, sizeof *e.z)};
    if (e.z == NULL || e.values.z == NULL || e.values.log_norm == NULL)
        die("no memory", "");
    if (efm_exact_field_create(&field, problem.source, problem.charges, problem.target, problem.charges,
                               dimension, &options, &error) != EFM_OK ||
        efm_team_create(&team, threads, &error) != EFM_OK ||
        efm_field_workspace_create(&e.workspace, field, points, team, &error) != EFM_OK)
        die("cannot make the field", error.message);
    e.field = field;
    for (size_t i = 0; i < points; i++) {
        memcpy(e.x + i * dimension, problem.augmented + i * (dimension + 1), dimension * sizeof(float));
        e.z[i] = (double)problem.augmented[i * (dimension + 1) + dimension];
    }
    printf("%.4f\n", 1e3 * median_time(evaluate, &e, seconds));
    /* The direction and the logarithm of the length, put together again. */
    float *vectors = allocate(points, dimension + 1);
    for (size_t i = 0; i < points; i++) {
        double length = exp(e.values.log_norm[i]);
        for (size_t d = 0; d < dimension; d++)
            vectors[i * (dimension + 1) + d] = (float)(length * (double)e.values.x[i * dimension + d]);
        vectors[i * (dimension + 1) + dimension] = (float)(length * e.values.z[i]);
    }
    write_floats(folder, "field.f32", vectors, points * (dimension + 1));
    efm_free(vectors);
    efm_field_workspace_destroy(e.workspace);
    efm_team_destroy(team);
    efm_field_destroy(field);
    efm_free(e.values.log_norm);
    efm_free(e.values.z);
    efm_free(e.values.x);
    efm_free(e.z);
    efm_free(e.x);
    release_problem(&problem);
}

/* Both computed the same vectors, to what float32 leaves of r^-(D + 1). */
static int compare(const char *folder)
{
    struct problem problem = read_problem(folder);
    size_t count = problem.points * (problem.dimension + 1);
    float *ours = read_floats(folder, "field.f32", problem.points, problem.dimension + 1);
    float *theirs = read_floats(folder, "torch.f32", problem.points, problem.dimension + 1);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)ours[i] - (double)theirs[i]);
        worst = difference <= worst ? worst : difference; /* keeps NaN */
        largest = fmax(largest, fabs((double)theirs[i]));
    }
    printf("%.1e\n", worst / largest);
    efm_free(ours);
    efm_free(theirs);
    release_problem(&problem);
    return worst <= 1e-3 * largest ? 0 : 1;
}

struct product {
    blasint m, n, k;
    float *a, *b, *c;
};

static void multiply(void *context)
{
    const struct product *p = context;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->m, p->n, p->k, 1, p->a, p->k, p->b, p->k, 0, p->c,
                p->n);
}

static void time_product(size_t m, size_t n, size_t k, int threads, double seconds)
{
    struct product p = {.m = (blasint)m,
                        .n = (blasint)n,
                        .k = (blasint)k,
                        .a = allocate(m, k),
                        .b = allocate(n, k),
                        .c = allocate(m, n)};
    struct efm_random random;
    efm_random_init(&random, 1, 0, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, p.a, m * k);
    efm_random_fill_normal(&random, p.b, n * k);
    openblas_set_num_threads(threads);
    double time = median_time(multiply, &p, seconds);
    printf("%.2f\n", 2e-9 * (double)m * (double)n * (double)k / time);
    efm_free(p.a);
    efm_free(p.b);
    efm_free(p.c);
}

static size_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value == 0 || value > 1u << 24)
        die("not a number in range", text);
    return value;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "data") == 0 && argc == 7) {
        write_data(argv[2], strcmp(argv[3], "spread") == 0, number(argv[4]), number(argv[5]),
                   number(argv[6]));
    } else if (strcmp(mode, "field") == 0 && argc == 5) {
        time_field(argv[2], number(argv[3]), strtod(argv[4], NULL));
    } else if (strcmp(mode, "compare") == 0 && argc == 3) {
        return compare(argv[2]);
    } else if (strcmp(mode, "gemm") == 0 && argc == 7) {
        time_product(number(argv[2]), number(argv[3]), number(argv[4]), (int)number(argv[5]),
                     strtod(argv[6], NULL));
    } else {
        fprintf(stderr, "usage: see the head of tests/bench/field_speed.c\n");
        return 2;
    }
    return 0;
}
