/* samples.h - the samples of one plate as training draws them: shuffled, augmented, or made of noise.
 *
 * Nothing has a state: sample number i of a training is a function of (seed, plate, i) alone. Pass i / count over the
 * data is a permutation of its own, so every sample is seen once a pass, and a training that resumes needs to know
 * nothing but its step.
 *
 *     efm_samples_create(&samples, dataset, EFM_AUGMENT_HUE, seed, EFM_SOURCE, &error);
 *     efm_samples_draw(samples, step * 1024, 1024, charges, team);
 *
 * Threads: immutable after creation; any. */
#ifndef EFM_TRAIN_SAMPLES_H
#define EFM_TRAIN_SAMPLES_H

#include "core/base/shape.h"
#include "core/base/team.h"
#include "core/data/dataset.h"
#include "core/field/field.h"

enum efm_augmentation {
    EFM_AUGMENT_HUE =
        1, /* 3 channels, a grey picture in each: times a colour of random hue, full saturation and value */
    EFM_AUGMENT_FLIP = 2, /* left and right exchanged, half of the time */
    EFM_AUGMENT_CROP = 4, /* moved by up to an eighth of a side, edges repeated */
};

struct efm_samples;

/* `dataset` is shared (referenced); NULL with `shape`: fresh draws of N(0, I), of which there are infinitely many.
 * EFM_E_ARGUMENT for an augmentation that does not fit the shape. */
EFM_MUST_CHECK enum efm_status efm_samples_create(struct efm_samples **samples, struct efm_dataset *dataset,
                                                  const struct efm_shape *shape, unsigned augmentation,
                                                  uint64_t seed, enum efm_plate_side side,
                                                  struct efm_error *error);
void efm_samples_destroy(struct efm_samples *samples);

/* Samples of a pass; 0 for noise. */
size_t efm_samples_count(const struct efm_samples *samples);
const struct efm_shape *efm_samples_shape(const struct efm_samples *samples);

/* Draws number first .. first + count - 1 into out [count, D]. */
void efm_samples_draw(const struct efm_samples *samples, uint64_t first, size_t count, float *out,
                      struct efm_team *team);

#endif
