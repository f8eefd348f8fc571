// SPDX-License-Identifier: Apache-2.0
#include "tests/support/distance.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double distance_w1(float *a, float *b, size_t count)
{
    double sum = 0;
    qsort(a, count, sizeof *a, by_value);
    qsort(b, count, sizeof *b, by_value);
    for (size_t i = 0; i < count; i++)
        sum += fabs((double)a[i] - b[i]);
    return sum / (double)count;
}

double distance_w1_quantiles(float *a, size_t count, double (*quantile)(double u))
{
    enum { PIECES = 16 }; /* a sorted sample is constant between its quantiles, the distribution is not */
    double sum = 0;
    qsort(a, count, sizeof *a, by_value);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < PIECES; k++)
            sum += fabs(a[i] - quantile(((double)i + ((double)k + .5) / PIECES) / (double)count));
    return sum / (double)count / PIECES;
}

static double squared(const float *a, const float *b, size_t dimension)
{
    double sum = 0;
    for (size_t d = 0; d < dimension; d++)
        sum += ((double)a[d] - b[d]) * ((double)a[d] - b[d]);
    return sum;
}

static double mean_distance(const float *a, const float *b, size_t count, size_t dimension)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            sum += sqrt(squared(a + i * dimension, b + j * dimension, dimension));
    return sum / (double)count / (double)count;
}

double distance_energy(const float *a, const float *b, size_t count, size_t dimension)
{
    double between = 2 * mean_distance(a, b, count, dimension);
    double within = mean_distance(a, a, count, dimension) + mean_distance(b, b, count, dimension);
    return sqrt(fmax(between - within, 0));
}

struct assignment {
    size_t count, dimension;
    const float *a, *b;
    double *u, *v, *least; /* potentials of rows and columns, best reduced cost of a column */
    size_t *row_of, *way;  /* column -> row, column -> previous column; index 0 is a dummy */
    bool *used;
};

/* Finds a place for row i along the shortest augmenting path. */
static void place_row(struct assignment *s, size_t i)
{
    size_t n = s->count, column = 0;
    s->row_of[0] = i;
    for (size_t j = 0; j <= n; j++) {
        s->least[j] = INFINITY;
        s->used[j] = false;
    }
    do {
        size_t row = s->row_of[column], next = 0;
        double delta = INFINITY;
        s->used[column] = true;
        for (size_t j = 1; j <= n; j++) {
            if (s->used[j])
                continue;
            double cost =
                squared(s->a + (row - 1) * s->dimension, s->b + (j - 1) * s->dimension, s->dimension) -
                s->u[row] - s->v[j];
            if (cost < s->least[j]) {
                s->least[j] = cost;
                s->way[j] = column;
            }
            if (s->least[j] < delta) {
                delta = s->least[j];
                next = j;
            }
        }
        for (size_t j = 0; j <= n; j++) {
            if (s->used[j]) {
                s->u[s->row_of[j]] += delta;
                s->v[j] -= delta;
            } else {
                s->least[j] -= delta;
            }
        }
        column = next;
    } while (s->row_of[column] != 0);
    while (column != 0) {
        size_t previous = s->way[column];
        s->row_of[column] = s->row_of[previous];
        column = previous;
    }
}

double distance_w2(const float *a, const float *b, size_t count, size_t dimension)
{
    struct assignment s = {.count = count, .dimension = dimension, .a = a, .b = b};
    size_t n = count + 1;
    double sum = -1;
    s.u = calloc(n, sizeof *s.u);
    s.v = calloc(n, sizeof *s.v);
    s.least = calloc(n, sizeof *s.least);
    s.row_of = calloc(n, sizeof *s.row_of);
    s.way = calloc(n, sizeof *s.way);
    s.used = calloc(n, sizeof *s.used);
    if (s.u != NULL && s.v != NULL && s.least != NULL && s.row_of != NULL && s.way != NULL &&
        s.used != NULL) {
        for (size_t i = 1; i < n; i++)
            place_row(&s, i);
        sum = 0;
        for (size_t j = 1; j < n; j++)
            sum += squared(a + (s.row_of[j] - 1) * dimension, b + (j - 1) * dimension, dimension);
        sum = sqrt(sum / (double)count);
    }
    free(s.u);
    free(s.v);
    free(s.least);
    free(s.row_of);
    free(s.way);
    free(s.used);
    return sum;
}
