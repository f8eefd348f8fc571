/* plates.h - two sets of samples and a batcher between them, for tests.
 *
 *     struct plates plates = plates_random(20, 30, 3, seed);
 *     struct efm_batcher *batcher = plates_batcher(&plates, &options, NULL);
 */
#ifndef EFM_TESTS_PLATES_H
#define EFM_TESTS_PLATES_H

#include "core/base/random.h"
#include "core/train/batch.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct plates {
    size_t count[2], dimension;
    float *values[2]; /* [count, D]; NULL for noise */
    struct efm_dataset *dataset[2];
    struct efm_samples *samples[2];
};

static inline void *must_have(void *block)
{
    if (block == NULL)
        abort(); /* in words that a compiler understands */
    return block;
}

/* Copies of `source` and `target`, or noise where they are NULL. */
static inline struct plates plates_of(const float *source, size_t m, const float *target, size_t n,
                                      struct efm_shape shape, unsigned augmentation)
{
    const float *values[2] = {source, target};
    struct plates plates = {{m, n}, shape.dimension, {NULL}, {NULL}, {NULL}};
    for (int side = 0; side < 2; side++) {
        size_t size = plates.count[side] * shape.dimension * sizeof(float);
        if (values[side] != NULL) {
            plates.values[side] = must_have(malloc(size));
            memcpy(plates.values[side], values[side], size);
            assert_int_equal(efm_dataset_from_floats(&plates.dataset[side], values[side], plates.count[side],
                                                     &shape, NULL),
                             EFM_OK);
        }
        assert_int_equal(efm_samples_create(&plates.samples[side], plates.dataset[side], &shape,
                                            values[side] != NULL ? augmentation : 0, 11,
                                            (enum efm_plate_side)side, NULL),
                         EFM_OK);
    }
    return plates;
}

static inline float *plates_normal(size_t count, double mean, double spread, uint64_t seed)
{
    float *values = must_have(malloc(count * sizeof *values));
    struct efm_random random;
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(mean + spread * efm_random_normal(&random));
    return values;
}

static inline struct plates plates_random(size_t m, size_t n, size_t dimension, uint64_t seed)
{
    float *source = plates_normal(m * dimension, -1, 1, seed);
    float *target = plates_normal(n * dimension, 2, 0.5, seed + 1);
    struct plates plates = plates_of(source, m, target, n, efm_shape_vector(dimension), 0);
    free(source);
    free(target);
    return plates;
}

static inline void plates_free(struct plates *plates)
{
    for (int side = 0; side < 2; side++) {
        efm_samples_destroy(plates->samples[side]);
        efm_dataset_unref(plates->dataset[side]);
        free(plates->values[side]);
    }
}

static inline struct efm_batch_options plates_options(enum efm_sampler sampler,
                                                      enum efm_training_target target, size_t size)
{
    return (struct efm_batch_options){.sampler = sampler,
                                      .target = target,
                                      .length = 4,
                                      .lowest = 0.01,
                                      .gamma = 0.1,
                                      .size = size,
                                      .charges = size,
                                      .refresh = 1,
                                      .seed = 5};
}

static inline struct efm_batcher *
plates_batcher(const struct plates *plates, const struct efm_batch_options *options, struct efm_team *team)
{
    struct efm_error error = {0};
    struct efm_batcher *batcher;
    if (efm_batcher_create(&batcher, options, plates->samples[0], plates->samples[1], team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return batcher;
}

static inline struct efm_training_batch plates_make(struct efm_batcher *batcher, uint64_t step)
{
    struct efm_training_batch batch;
    struct efm_error error = {0};
    if (efm_batcher_make(batcher, step, &batch, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return batch;
}

#endif
