/* sample_grid.h - what a trained model makes of samples, as a picture to judge it by.
 *
 *     struct srv_sample_request request = {.model = model, .datasets = {source, target}, .count = 16};
 *     srv_sample_grid_render(&request, &png, &landed, &error);
 *
 * Images: a row of sources above a row of where they were carried. Vectors: results red on samples of the target
 * grey, by their first two numbers; of one number, its sorted values against their rank.
 * Threads: one a request. */
#ifndef SRV_TRAIN_SAMPLE_GRID_H
#define SRV_TRAIN_SAMPLE_GRID_H

#include "core/base/buffer.h"
#include "core/base/team.h"
#include "core/model/model.h"

enum { SRV_SAMPLE_STEPS = 10 }; /* of Euler: what a learned field shall do with */

struct srv_sample_request {
    const struct efm_model *model;
    struct efm_dataset *datasets[2]; /* by enum efm_plate_side; NULL: N(0, I) */
    const unsigned *augmentation;    /* [2] as in training */
    uint64_t seed;
    size_t count;          /* at least 1 */
    struct efm_team *team; /* borrowed; may be NULL */
};

/* Appends a PNG; *landed of the lines arrived, the others show where they were dropped. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_sample_grid_render(const struct srv_sample_request *request,
                                                      struct efm_buffer *png, size_t *landed,
                                                      struct efm_error *error);

/* The picture alone: sources, results and samples of the target, each [count, shape->dimension]; the arrays may be sorted. */
EFM_MUST_CHECK enum efm_status srv_sample_picture_render(const struct efm_shape *shape, float *sources,
                                                         float *results, float *targets, size_t count,
                                                         struct efm_buffer *png, struct efm_error *error);

#endif
