/* world.h - datasets and models that the HTTP tests share, put through the daemon's own doors.
 *
 *     pictures          chain model of the datasets "warm" and "cold": 40 spots each, 8x8 RGB
 *     plane             chain model of the toys "normal" (N(0, I)) and "apart" (two clusters), D = 2
 *     wanderer          superposition field of the same, stochastic map
 *     slow              chain model of 64x64 RGB noise: TEST_SLOW takes many seconds on it
 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "tests/support/client.h"

/* A request of many evaluations, each of many lines. */
#define TEST_SLOW "/v1/generate?model=slow&solver=euler&steps=1000&n=32&seed=1"

void test_world_pictures(const struct test_daemon *daemon);
void test_world_plane(const struct test_daemon *daemon);
void test_world_slow(const struct test_daemon *daemon);

/* Puts and expects 200 or 201. */
void test_put_dataset(const struct test_daemon *daemon, const char *name, const void *bytes, size_t size);
void test_put_model(const struct test_daemon *daemon, const char *name, const char *json);

#endif
