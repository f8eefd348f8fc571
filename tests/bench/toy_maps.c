// SPDX-License-Identifier: Apache-2.0
/* toy_maps - do the three maps carry P to Q? In one dimension against the closed form, in two against a fresh sample.
 *
 * usage: toy_maps 1d|1d-own|2d|2d-own SAMPLES LINES RUNS [L ...]
 * Prints a table: distance to Q (mean over RUNS draws of plates and starts), the floor of two fresh samples of that
 * size, evaluations a line, dropped lines. 1d, 2d: the starts are fresh samples of P; -own: the charges of the source
 * plate themselves. */
#include "core/data/toy.h"
#include "core/flow/flow.h"
#include "tests/support/distance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct result {
    float *x; /* [count, dimension] where lines landed; dropped ones are left out */
    size_t count, dropped;
    double evaluations, seconds;
};

static void die(const char *what, const struct efm_error *error)
{
    fprintf(stderr, "toy_maps: %s: %s\n", what, error->message);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *draw(enum efm_toy_kind kind, size_t count, size_t dimension, uint64_t seed)
{
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    spec.count = count;
    spec.shape = efm_shape_vector(dimension);
    spec.seed = seed;
    float *values = malloc(count * dimension * sizeof *values);
    efm_toy_fill(&spec, values);
    return values;
}

static struct result follow(const struct efm_field *field, enum efm_map map, const float *starts,
                            size_t count, struct efm_team *team)
{
    enum { BATCH = 2048 };
    size_t dimension = efm_field_dimension(field);
    struct efm_error error = {0};
    struct efm_flow *flow;
    struct efm_flow_options options;
    static struct efm_line *lines[BATCH];
    struct result result = {.x = malloc(count * dimension * sizeof(float))};
    double begin = now();
    efm_flow_options_default(&options, field);
    options.map = map;
    options.max_evaluations = 20000;
    if (map == EFM_MAP_STOCHASTIC)
        options.solver = EFM_SOLVER_ARC_LENGTH;
    options.seed = 7;
    if (efm_flow_create(&flow, field, BATCH, team, &error) != EFM_OK)
        die("flow", &error);
    for (size_t first = 0; first < count; first += BATCH) {
        size_t n = count - first < BATCH ? count - first : BATCH;
        for (size_t i = 0; i < n; i++)
            if (efm_line_create(&lines[i], field, &options, starts + (first + i) * dimension, first + i,
                                &error) != EFM_OK)
                die("line", &error);
        while (efm_flow_step(flow, lines, n) > 0)
            ;
        for (size_t i = 0; i < n; i++) {
            result.evaluations += efm_line_evaluations(lines[i]);
            if (efm_line_state(lines[i]) == EFM_LINE_LANDED)
                memcpy(result.x + result.count++ * dimension, efm_line_position(lines[i]),
                       dimension * sizeof(float));
            else
                result.dropped++;
            efm_line_destroy(lines[i]);
        }
    }
    efm_flow_destroy(flow);
    result.evaluations /= (double)count;
    result.seconds = now() - begin;
    return result;
}

static double two_intervals_quantile(double u)
{
    return u < 0.5 ? -3 + 2 * u : 2 + 2 * (u - 0.5);
}

static struct efm_field *make_field(enum efm_map map, const float *p, const float *q, size_t count,
                                    size_t dimension, double length)
{
    struct efm_error error = {0};
    struct efm_field *field;
    struct efm_exact_options options = {
        .kind = map == EFM_MAP_CHAIN ? EFM_FIELD_CHAIN : EFM_FIELD_SUPERPOSITION, .length = length};
    if (efm_exact_field_create(&field, p, count, q, count, dimension, &options, &error) != EFM_OK)
        die("field", &error);
    return field;
}

/* W1 of two fresh samples of the target, on average. */
static double line_floor(size_t lines)
{
    enum { FLOORS = 50 };
    double floor = 0;
    for (uint64_t k = 0; k < FLOORS; k++) {
        float *a = draw(EFM_TOY_TWO_INTERVALS, lines, 1, 1000 + 2 * k);
        float *b = draw(EFM_TOY_TWO_INTERVALS, lines, 1, 1001 + 2 * k);
        floor += distance_w1(a, b, lines) / FLOORS;
        free(a);
        free(b);
    }
    return floor;
}

static void one_dimension(size_t samples, size_t lines, uint64_t runs, double length, bool own,
                          struct efm_team *team)
{
    double floor = line_floor(lines);
    for (enum efm_map map = EFM_MAP_FORWARD; map <= EFM_MAP_CHAIN; map++) {
        double w1 = 0, evaluations = 0, seconds = 0;
        size_t dropped = 0;
        for (uint64_t run = 0; run < runs; run++) {
            float *p = draw(EFM_TOY_UNIFORM, samples, 1, 3 * run + 1);
            float *q = draw(EFM_TOY_TWO_INTERVALS, samples, 1, 3 * run + 2);
            /* The same seed and kind give the samples of the plate itself. */
            float *starts = draw(EFM_TOY_UNIFORM, lines, 1, 3 * run + (own ? 1 : 3));
            struct efm_field *field = make_field(map, p, q, samples, 1, length);
            struct result result = follow(field, map, starts, lines, team);
            w1 += distance_w1_quantiles(result.x, result.count, two_intervals_quantile) / (double)runs;
            evaluations += result.evaluations / (double)runs;
            seconds += result.seconds;
            dropped += result.dropped;
            free(result.x);
            efm_field_destroy(field);
            free(p);
            free(q);
            free(starts);
        }
        printf("| 1-D %-5s | %4g | %-10s | W1 %.4f | floor %.4f | ratio %6.2f | NFE %6.1f | dropped %zu of "
               "%zu | "
               "%.1f s |\n",
               own ? "own" : "fresh", length, efm_map_name(map), w1, floor, w1 / floor, evaluations, dropped,
               lines * runs, seconds);
        fflush(stdout);
    }
}

struct plane_distances {
    double w2, energy;
};

/* Distances of two fresh samples of the target, on average. */
static struct plane_distances plane_floor(enum efm_toy_kind target, size_t lines)
{
    enum { FLOORS = 5 };
    struct plane_distances floor = {0, 0};
    for (uint64_t k = 0; k < FLOORS; k++) {
        float *a = draw(target, lines, 2, 1000 + 2 * k), *b = draw(target, lines, 2, 1001 + 2 * k);
        floor.w2 += distance_w2(a, b, lines, 2) / FLOORS;
        floor.energy += distance_energy(a, b, lines, 2) / FLOORS;
        free(a);
        free(b);
    }
    return floor;
}

static void two_dimensions(enum efm_toy_kind target, size_t samples, size_t lines, uint64_t runs,
                           double length, bool own, struct efm_team *team)
{
    struct plane_distances floor = plane_floor(target, lines);
    for (enum efm_map map = EFM_MAP_FORWARD; map <= EFM_MAP_CHAIN; map++) {
        struct plane_distances mean = {0, 0};
        double evaluations = 0, seconds = 0;
        size_t dropped = 0;
        for (uint64_t run = 0; run < runs; run++) {
            float *p = draw(EFM_TOY_GAUSSIAN, samples, 2, 4 * run + 1),
                  *q = draw(target, samples, 2, 4 * run + 2);
            float *starts = draw(EFM_TOY_GAUSSIAN, lines, 2, 4 * run + (own ? 1 : 3));
            float *fresh = draw(target, lines, 2, 4 * run + 4);
            struct efm_field *field = make_field(map, p, q, samples, 2, length);
            struct result result = follow(field, map, starts, lines, team);
            mean.w2 += distance_w2(result.x, fresh, result.count, 2) / (double)runs;
            mean.energy += distance_energy(result.x, fresh, result.count, 2) / (double)runs;
            evaluations += result.evaluations / (double)runs;
            seconds += result.seconds;
            dropped += result.dropped;
            free(result.x);
            efm_field_destroy(field);
            free(p);
            free(q);
            free(starts);
            free(fresh);
        }
        printf(
            "| 2-D %-5s %-10s | %4g | %-10s | W2 %.3f (floor %.3f) | energy %.4f (floor %.4f) | NFE %6.1f | "
            "dropped %zu of %zu | %.1f s |\n",
            own ? "own" : "fresh", target == EFM_TOY_SWISS_ROLL ? "swiss roll" : "mixture", length,
            efm_map_name(map), mean.w2, floor.w2, mean.energy, floor.energy, evaluations, dropped,
            lines * runs, seconds);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: toy_maps 1d|1d-own|2d|2d-own SAMPLES LINES RUNS [L ...]\n");
        return 2;
    }
    size_t samples = strtoul(argv[2], NULL, 10), lines = strtoul(argv[3], NULL, 10);
    struct efm_team *team;
    struct efm_error error = {0};
    if (efm_team_create(&team, 2, &error) != EFM_OK)
        die("team", &error);
    uint64_t runs = strtoul(argv[4], NULL, 10);
    for (int i = 5; i < argc; i++) {
        double length = atof(argv[i]);
        bool own = strstr(argv[1], "own") != NULL;
        if (argv[1][0] == '1') {
            one_dimension(samples, lines, runs, length, own, team);
        } else {
            two_dimensions(EFM_TOY_SWISS_ROLL, samples, lines, runs, length, own, team);
            two_dimensions(EFM_TOY_MIXTURE, samples, lines, runs, length, own, team);
        }
    }
    efm_team_destroy(team);
    return 0;
}
