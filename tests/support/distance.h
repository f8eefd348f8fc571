/* distance.h - how far two sets of samples are from one another, for tests and benches. */
#ifndef TESTS_DISTANCE_H
#define TESTS_DISTANCE_H

#include <stddef.h>

/* W1 of two samples of equal size in one dimension; both are sorted in place. */
double distance_w1(float *a, float *b, size_t count);

/* W1 of a sample to a distribution given by its quantile function; `a` is sorted in place. */
double distance_w1_quantiles(float *a, size_t count, double (*quantile)(double u));

/* sqrt(2 E|a - b| - E|a - a'| - E|b - b'|), [count, dimension]. */
double distance_energy(const float *a, const float *b, size_t count, size_t dimension);

/* W2 by the exact assignment (shortest augmenting paths, count^3 at worst); negative when memory is short. */
double distance_w2(const float *a, const float *b, size_t count, size_t dimension);

#endif
