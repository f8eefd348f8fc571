/* training.h - small trainings for tests: a standard normal to a mixture in the plane, by a narrow MLP. */
#ifndef EFM_TESTS_TRAINING_H
#define EFM_TESTS_TRAINING_H

#include "core/data/toy.h"
#include "core/train/trainer.h"
#include "tests/support/check.h"

#include <string.h>

enum { TRAINING_SAMPLES = 300 };

static inline struct efm_dataset *training_toy(enum efm_toy_kind kind, struct efm_shape shape, uint64_t seed)
{
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_dataset *dataset;
    spec.count = TRAINING_SAMPLES;
    spec.shape = shape;
    spec.seed = seed;
    assert_int_equal(efm_toy_dataset(&dataset, &spec, &options, NULL), EFM_OK);
    return dataset;
}

static inline struct efm_trainer_spec training_spec(void)
{
    struct efm_trainer_spec spec;
    struct efm_shape shape = efm_shape_vector(2);
    efm_trainer_spec_default(&spec, &shape);
    spec.net.hidden = spec.net.hidden2 = 16;
    spec.net.embedding = 8;
    spec.batch.target = EFM_TRAIN_PER_PLATE;
    spec.batch.sampler = EFM_SAMPLER_UNIFORM;
    spec.batch.lowest = 0.1;
    spec.batch.size = 64;
    spec.batch.charges = 128;
    spec.optimiser.rate = 1e-3;
    spec.optimiser.warmup = 3;
    spec.optimiser.ema = 0.9;
    spec.precision = EFM_PRECISION_F32;
    spec.steps = 30;
    spec.shards = 4;
    return spec;
}

/* Between N(0, I) of a toy and a mixture. */
static inline struct efm_trainer *training_create(const struct efm_trainer_spec *spec, struct efm_team *team)
{
    struct efm_error error = {0};
    struct efm_trainer *trainer;
    struct efm_dataset *source = training_toy(EFM_TOY_GAUSSIAN, spec->net.shape, 1);
    struct efm_dataset *target = training_toy(
        efm_shape_is_image(&spec->net.shape) ? EFM_TOY_UNIFORM : EFM_TOY_MIXTURE, spec->net.shape, 1);
    if (efm_trainer_create(&trainer, spec, source, target, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    return trainer;
}

static inline void training_steps(struct efm_trainer *trainer, size_t steps)
{
    for (size_t i = 0; i < steps; i++) {
        struct efm_error error = {0};
        if (efm_trainer_step(trainer, NULL, &error) != EFM_OK)
            fail_msg("%s", error.message);
    }
}

static inline struct efm_buffer training_save(const struct efm_trainer *trainer)
{
    struct efm_error error = {0};
    struct efm_buffer out = efm_buffer_limited(64 << 20);
    if (efm_trainer_save(trainer, &out, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return out;
}

static inline bool training_same(const struct efm_buffer *one, const struct efm_buffer *other)
{
    return one->size == other->size && memcmp(one->data, other->data, one->size) == 0;
}

/* Fails unless the trainer stands where it stood when it was saved. */
static inline void training_expect(const struct efm_trainer *trainer, const struct efm_buffer *saved)
{
    struct efm_buffer now = training_save(trainer);
    assert_true(training_same(&now, saved));
    efm_buffer_release(&now);
}

static inline struct efm_team *training_team(size_t size)
{
    struct efm_team *team = NULL;
    if (size > 0)
        assert_int_equal(efm_team_create(&team, size, NULL), EFM_OK);
    return team;
}

#endif
